/* dg_npz.h - archives of arrays as numpy.savez writes them: a zip (zip64 too) of KEY.npy entries, stored or deflated.
 * Reading checks sizes before it allocates and every entry's CRC. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_NPZ_H
#define DG_NPZ_H

#include "dg_npy.h"

typedef struct dg_npz dg_npz;               /* open for reading */
typedef struct dg_npz_writer dg_npz_writer; /* being made */

/* Opens an archive. `role` names the file in messages ("NPZ of case X") and is kept. DG_ERR_IO; DG_ERR_FORMAT: no zip, its
 * directory is cut short or damaged, more than 4096 entries. Not thread-safe. */
DG_MUST_USE dg_status dg_npz_open(const char *path, const char *role, dg_npz **out);
void dg_npz_close(dg_npz **npz);
bool dg_npz_has(dg_npz *npz, const char *key);
/* Header of the array `key` (without .npy) from its first bytes. DG_ERR_DATA: no such key; DG_ERR_FORMAT: damaged. */
DG_MUST_USE dg_status dg_npz_header(dg_npz *npz, const char *key, dg_npy_header *out);
/* The whole entry, header included: *bytes is the caller's (dg_free). At most `limit` bytes, asked before allocating.
 * DG_ERR_DATA: no such key; DG_ERR_FORMAT: larger than `limit`, blown up beyond what deflate can do, CRC or stream damaged. */
DG_MUST_USE dg_status dg_npz_read(dg_npz *npz, const char *key, int64_t limit, char **bytes, int64_t *length);
/* An array as f32 in C order; *values [header.count] is the caller's (dg_free). Errors of dg_npz_read and dg_npy_to_f32, and
 * DG_ERR_DATA where the shape is not `shape` of `axes` (NULL: any). */
DG_MUST_USE dg_status dg_npz_read_f32(dg_npz *npz, const char *key, int axes, const int64_t *shape, float **values);

/* Begins an archive at `path`, written as a whole by finish. `role` as above. */
DG_MUST_USE dg_status dg_npz_create(const char *path, const char *role, dg_npz_writer **out);
/* Adds KEY.npy; `data` (little-endian, C order, count * element size of `descr`) is borrowed until finish. */
DG_MUST_USE dg_status dg_npz_add(dg_npz_writer *writer, const char *key, const char *descr, int axes,
                                 const int64_t *shape, const void *data, int64_t bytes);
/* Deflates and writes everything durably (NAME.tmp, fsync, rename), the same bytes for the same arrays; always destroys the
 * writer. `keep` false throws the archive away. DG_ERR_IO. */
DG_MUST_USE dg_status dg_npz_finish(dg_npz_writer **writer, bool keep);

#endif
