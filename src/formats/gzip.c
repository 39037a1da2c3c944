/* gzip.c - see gzip_impl.h. SPDX-License-Identifier: Apache-2.0 */
#include "gzip_impl.h"

#include "dg_file.h"
#include "dg_mem.h"

#include <string.h>
#include <zlib.h>

enum { STEP_MAX = 1 << 30 }; /* zlib counts in 32 bits */

/* Packs into out[room] from byte *used on. */
static int pack(z_stream *z, int64_t bytes, char *out, int64_t room, int64_t *used)
{
    int64_t left = bytes;
    int code = Z_OK;
    while (code == Z_OK) {
        const uInt in = left > STEP_MAX ? STEP_MAX : (uInt)left;
        const uInt space = room - *used > STEP_MAX ? STEP_MAX : (uInt)(room - *used);
        z->avail_in = in;
        z->next_out = (Bytef *)out + *used;
        z->avail_out = space;
        code = deflate(z, left == in ? Z_FINISH : Z_NO_FLUSH);
        left -= in - z->avail_in;
        *used += space - z->avail_out;
    }
    return code;
}

dg_status gzip_write(const char *path, const char *role, const void *plain, int64_t plain_bytes, const void *text,
                     int64_t bytes)
{
    z_stream z = {.next_in = NULL};
    char *packed = NULL;
    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_BITS, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return DG_FAIL(DG_ERR_MEMORY, "%s: no memory to pack it", role);
    /* zlib takes what it only reads without const. */
    memcpy(&z.next_in, &text, sizeof text);
    const int64_t room = plain_bytes + (int64_t)deflateBound(&z, (uLong)bytes);
    int64_t used = plain_bytes;
    int code = Z_OK;
    dg_status status = dg_alloc(&packed, (size_t)room, 1, role);
    if (status == DG_OK && plain_bytes > 0) memcpy(packed, plain, (size_t)plain_bytes);
    if (status == DG_OK) code = pack(&z, bytes, packed, room, &used);
    deflateEnd(&z);
    if (status == DG_OK && code != Z_STREAM_END) status = DG_FAIL(DG_ERR_INTERNAL, "%s: it cannot be packed", role);
    if (status == DG_OK) status = dg_file_write(path, packed, used);
    dg_free(&packed);
    return status;
}
