/* tiff_write.c - see dg_tiff.h. libtiff writes to memory, and the file appears whole. SPDX-License-Identifier: Apache-2.0 */
#include "dg_tiff.h"

#include "dg_file.h"
#include "dg_mem.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <tiffio.h>

enum { STRIP_BYTES = 1 << 20, REASON = 160 };
static const int64_t CLASSIC_MAX = INT64_C(1) << 32; /* offsets of a classic TIFF have 32 bits */

typedef struct sink {
    uint8_t *data;
    int64_t bytes, room, at;
    char reason[REASON]; /* libtiff's last complaint */
} sink;

static tmsize_t put(thandle_t handle, void *data, tmsize_t bytes)
{
    sink *s = handle;
    const int64_t end = s->at + (int64_t)bytes;
    if (end > s->room) {
        const int64_t room = 2 * end + 65536;
        if (dg_grow(&s->data, (size_t)s->room, (size_t)room, 1, "TIFF file") != DG_OK) return 0;
        s->room = room;
    }
    memcpy(s->data + s->at, data, (size_t)bytes);
    s->at = end;
    if (end > s->bytes) s->bytes = end;
    return bytes;
}

/* libtiff reads back the directories it links. */
static tmsize_t take(thandle_t handle, void *out, tmsize_t bytes)
{
    sink *s = handle;
    const int64_t left = s->at < s->bytes ? s->bytes - s->at : 0, taken = bytes < left ? bytes : left;
    if (taken > 0) memcpy(out, s->data + s->at, (size_t)taken);
    s->at += taken;
    return taken;
}

static toff_t seek(thandle_t handle, toff_t offset, int whence)
{
    sink *s = handle;
    const int64_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? s->at : s->bytes;
    s->at = base + (int64_t)offset;
    return (toff_t)s->at;
}

static toff_t size_of(thandle_t handle) { return (toff_t)((sink *)handle)->bytes; }

static int close_nothing(thandle_t handle)
{
    (void)handle;
    return 0;
}

static int keep_reason(TIFF *tiff, void *user, const char *module, const char *format, va_list arguments)
{
    (void)tiff, (void)module;
    vsnprintf(((sink *)user)->reason, REASON, format, arguments);
    return 1;
}

static TIFF *open_sink(sink *s, bool big)
{
    TIFFOpenOptions *options = TIFFOpenOptionsAlloc();
    if (options == NULL) return NULL;
    TIFFOpenOptionsSetErrorHandlerExtR(options, keep_reason, s);
    TIFFOpenOptionsSetWarningHandlerExtR(options, keep_reason, s);
    TIFF *tiff = TIFFClientOpenExt("TIFF file", big ? "w8" : "w", s, take, put, seek, close_nothing, size_of, NULL,
                                   NULL, options);
    TIFFOpenOptionsFree(options);
    return tiff;
}

static bool write_page(TIFF *tiff, const int64_t shape[3], int bits, const uint8_t *plane)
{
    const int64_t row = shape[2] * bits / 8, rows = row < STRIP_BYTES ? STRIP_BYTES / row : 1;
    bool ok = TIFFSetField(tiff, TIFFTAG_IMAGEWIDTH, (uint32_t)shape[2]) != 0 &&
              TIFFSetField(tiff, TIFFTAG_IMAGELENGTH, (uint32_t)shape[1]) != 0 &&
              TIFFSetField(tiff, TIFFTAG_BITSPERSAMPLE, bits) != 0 &&
              TIFFSetField(tiff, TIFFTAG_SAMPLESPERPIXEL, 1) != 0 &&
              TIFFSetField(tiff, TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_MINISBLACK) != 0 &&
              TIFFSetField(tiff, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG) != 0 &&
              TIFFSetField(tiff, TIFFTAG_ROWSPERSTRIP, (uint32_t)(rows < shape[1] ? rows : shape[1])) != 0 &&
              TIFFSetField(tiff, TIFFTAG_COMPRESSION, COMPRESSION_ADOBE_DEFLATE) != 0;
    for (int64_t y = 0; ok && y < shape[1]; y++)
        ok = TIFFWriteScanline(tiff, (void *)(uintptr_t)(plane + y * row), (uint32_t)y, 0) == 1;
    return ok && TIFFWriteDirectory(tiff) == 1;
}

dg_status dg_tiff_write(const char *path, const char *role, const int64_t shape[3], int bits, const void *values)
{
    sink s = {.data = NULL};
    const int64_t plane = shape[1] * shape[2] * bits / 8;
    TIFF *tiff = open_sink(&s, shape[0] * plane > CLASSIC_MAX / 2);
    bool ok = tiff != NULL;
    for (int64_t z = 0; ok && z < shape[0]; z++)
        ok = write_page(tiff, shape, bits, (const uint8_t *)values + z * plane);
    if (tiff != NULL) TIFFClose(tiff);
    dg_status status = ok ? DG_OK
                          : DG_FAIL(DG_ERR_IO, "%s: the TIFF file cannot be made: %s", role,
                                    s.reason[0] != '\0' ? s.reason : "no memory");
    if (status == DG_OK) status = dg_file_write(path, (const char *)s.data, s.bytes);
    dg_free(&s.data);
    return status == DG_OK ? DG_OK : dg_error_context(status, "%s", role);
}
