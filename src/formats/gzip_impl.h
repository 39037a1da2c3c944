/* gzip_impl.h - values packed as gzip streams. Private to src/formats. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_GZIP_IMPL_H
#define DG_GZIP_IMPL_H

#include "dg_status.h"

#include <stdint.h>

enum { GZIP_BITS = 15 + 16 }; /* zlib's window bits with the gzip wrapper */

/* Writes `plain` as it is, then `text` as one gzip stream, durably and the same bytes for the same text. DG_ERR_IO. */
DG_MUST_USE dg_status gzip_write(const char *path, const char *role, const void *plain, int64_t plain_bytes,
                                 const void *text, int64_t bytes);

#endif
