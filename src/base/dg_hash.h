/* dg_hash.h - SHA-256 of bytes, files and content. Hex digests are 64 lower-case characters and a NUL.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_HASH_H
#define DG_HASH_H

#include "dg_dtype.h"
#include "dg_status.h"

enum { DG_HASH_HEX = 65 };

typedef struct dg_hash dg_hash; /* a running SHA-256 */

DG_MUST_USE dg_status dg_hash_create(dg_hash **out);
void dg_hash_destroy(dg_hash **hash);
DG_MUST_USE dg_status dg_hash_add(dg_hash *hash, const void *bytes, size_t count);
/* Adds a length-prefixed string, so that ("ab","c") and ("a","bc") differ. */
DG_MUST_USE dg_status dg_hash_add_string(dg_hash *hash, const char *text);
/* Adds (path, type, shape, little-endian values): one item of a content hash (design.md section 4). The caller adds
 * items sorted by path, attributes as items "path@name"; chunking and compression do not matter. */
DG_MUST_USE dg_status dg_hash_add_item(dg_hash *hash, const char *path, dg_dtype type, int rank, const int64_t *shape,
                                       const void *values);
/* The same without the values, which the caller adds with dg_hash_add in pieces, in order and complete. */
DG_MUST_USE dg_status dg_hash_begin_item(dg_hash *hash, const char *path, dg_dtype type, int rank,
                                         const int64_t *shape);
/* Ends the hash; it can only be destroyed afterwards. */
DG_MUST_USE dg_status dg_hash_finish(dg_hash *hash, char hex[DG_HASH_HEX]);

/* Digests of a block of memory and of a file; DG_ERR_IO names the file without its folders. */
DG_MUST_USE dg_status dg_hash_bytes(const void *bytes, size_t count, char hex[DG_HASH_HEX]);
DG_MUST_USE dg_status dg_hash_file(const char *path, char hex[DG_HASH_HEX]);

#endif
