/* tiff.c - see dg_tiff.h. libtiff reads from memory, and what it complains of goes into the message of the error, not to a
 * terminal. SPDX-License-Identifier: Apache-2.0 */
#include "dg_tiff.h"

#include "dg_file.h"
#include "dg_mem.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <tiffio.h>

enum { REASON = 160, SIDE_MAX = 65535, FILE_MAX_SHIFT = 36 };
static const int64_t VOXELS_MAX = INT64_C(1) << 31;
/* A file that claims more values than this for each of its bytes lies about its size: no compression makes that of a scan. */
static const int64_t PACKED_MAX = INT64_C(1) << 15;

/* A file in memory, as libtiff reads it. */
typedef struct source {
    const uint8_t *data;
    int64_t bytes, at;
    char reason[REASON]; /* libtiff's last complaint */
} source;

static tmsize_t take(thandle_t handle, void *out, tmsize_t bytes)
{
    source *s = handle;
    const int64_t left = s->at < s->bytes ? s->bytes - s->at : 0, taken = bytes < left ? bytes : left;
    if (taken > 0) memcpy(out, s->data + s->at, (size_t)taken);
    s->at += taken > 0 ? taken : 0;
    return taken;
}

static tmsize_t refuse_write(thandle_t handle, void *data, tmsize_t bytes)
{
    (void)handle, (void)data, (void)bytes;
    return 0;
}

static toff_t seek(thandle_t handle, toff_t offset, int whence)
{
    source *s = handle;
    const int64_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? s->at : s->bytes;
    if (offset > (toff_t)INT64_MAX / 2) return (toff_t)-1;
    s->at = base + (int64_t)offset;
    return (toff_t)s->at;
}

static int close_nothing(thandle_t handle)
{
    (void)handle;
    return 0;
}

static toff_t size_of(thandle_t handle) { return (toff_t)((source *)handle)->bytes; }

static int keep_reason(TIFF *tiff, void *user, const char *module, const char *format, va_list arguments)
{
    source *s = user;
    (void)tiff, (void)module;
    (void)vsnprintf(s->reason, sizeof s->reason, format, arguments);
    return 1; /* told; nothing is printed */
}

static int ignore_warning(TIFF *tiff, void *user, const char *module, const char *format, va_list arguments)
{
    (void)tiff, (void)user, (void)module, (void)format, (void)arguments;
    return 1;
}

static TIFF *open_source(source *s)
{
    TIFFOpenOptions *options = TIFFOpenOptionsAlloc();
    if (options == NULL) return NULL;
    TIFFOpenOptionsSetErrorHandlerExtR(options, keep_reason, s);
    TIFFOpenOptionsSetWarningHandlerExtR(options, ignore_warning, s);
    TIFF *tiff =
        TIFFClientOpenExt("volume", "rm", s, take, refuse_write, seek, close_nothing, size_of, NULL, NULL, options);
    TIFFOpenOptionsFree(options);
    return tiff;
}

/* Width, height and bits of the open page. */
static dg_status check_page(TIFF *tiff, const char *role, int64_t page, uint32_t size[2], uint16_t *bits)
{
    uint16_t samples = 1, format = SAMPLEFORMAT_UINT, meaning = PHOTOMETRIC_MINISBLACK;
    if (TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &size[1]) != 1 || TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &size[0]) != 1)
        return DG_FAIL(DG_ERR_FORMAT, "the %s has no size in page %" PRId64, role, page);
    (void)TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLESPERPIXEL, &samples);
    (void)TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLEFORMAT, &format);
    (void)TIFFGetFieldDefaulted(tiff, TIFFTAG_BITSPERSAMPLE, bits);
    (void)TIFFGetField(tiff, TIFFTAG_PHOTOMETRIC, &meaning);
    if (size[0] < 1 || size[1] < 1 || size[0] > SIDE_MAX || size[1] > SIDE_MAX)
        return DG_FAIL(DG_ERR_FORMAT, "page %" PRId64 " of the %s is %u x %u; 1 to %d are possible", page, role,
                       size[0], size[1], SIDE_MAX);
    if (samples != 1 || format != SAMPLEFORMAT_UINT || (*bits != 8 && *bits != 16) || meaning != PHOTOMETRIC_MINISBLACK)
        return DG_FAIL(DG_ERR_UNSUPPORTED,
                       "page %" PRId64
                       " of the %s has %u values of %u bits a pixel, kind %u: grey values of 8 or 16 bits "
                       "without sign can be read",
                       page, role, samples, *bits, format);
    if (TIFFIsTiled(tiff))
        return DG_FAIL(DG_ERR_UNSUPPORTED, "the %s is stored in tiles; strips can be read (tiffcp -s)", role);
    return DG_OK;
}

static dg_status read_page(TIFF *tiff, const source *s, const char *role, int64_t page, const dg_tiff *out, void *line)
{
    uint16_t *to = out->value + page * out->shape[1] * out->shape[2];
    for (int64_t y = 0; y < out->shape[1]; y++, to += out->shape[2]) {
        if (TIFFReadScanline(tiff, line, (uint32_t)y, 0) != 1)
            return DG_FAIL(DG_ERR_FORMAT,
                           "the %s is damaged or cut short in page %" PRId64 ", line %" PRId64 ": %.150s", role, page,
                           y, s->reason);
        for (int64_t x = 0; x < out->shape[2]; x++)
            to[x] = out->bits == 8 ? ((const uint8_t *)line)[x] : ((const uint16_t *)line)[x];
    }
    return DG_OK;
}

static dg_status add_page(TIFF *tiff, const source *s, const char *role, int64_t page, int64_t *room, dg_tiff *out)
{
    uint32_t size[2] = {0};
    uint16_t bits = 1;
    uint8_t *line = NULL;
    DG_TRY(check_page(tiff, role, page, size, &bits));
    if (page == 0) {
        out->shape[1] = size[0];
        out->shape[2] = size[1];
        out->bits = bits;
    }
    if (size[0] != out->shape[1] || size[1] != out->shape[2] || bits != out->bits)
        return DG_FAIL(DG_ERR_UNSUPPORTED, "page %" PRId64 " of the %s differs in size or bits from the first", page,
                       role);
    const int64_t area = out->shape[1] * out->shape[2];
    if ((page + 1) * area / PACKED_MAX > s->bytes)
        return DG_FAIL(DG_ERR_FORMAT,
                       "page %" PRId64 " of the %s claims %" PRId64 " x %" PRId64 " pixels in a file of %" PRId64
                       " bytes",
                       page, role, out->shape[1], out->shape[2], s->bytes);
    if ((page + 1) * area > VOXELS_MAX) return DG_FAIL(DG_ERR_UNSUPPORTED, "the %s has more than 2^31 voxels", role);
    if (page == *room) {
        const int64_t wanted = page == 0 ? 1 : 2 * page;
        DG_TRY(dg_grow(&out->value, (size_t)(*room * area), (size_t)(wanted * area), sizeof *out->value,
                       "pages of a TIFF"));
        *room = wanted;
    }
    const int64_t bytes = TIFFScanlineSize(tiff);
    if (bytes < out->shape[2] * (bits / 8))
        return DG_FAIL(DG_ERR_FORMAT, "page %" PRId64 " of the %s has lines of %" PRId64 " bytes", page, role, bytes);
    DG_TRY(dg_alloc(&line, (size_t)bytes, 1, "line of a TIFF"));
    dg_status status = read_page(tiff, s, role, page, out, line);
    dg_free(&line);
    return status;
}

dg_status dg_tiff_read_memory(const void *data, int64_t bytes, const char *role, dg_tiff *out)
{
    source s = {.data = data, .bytes = bytes};
    int64_t room = 0;
    dg_status status = DG_OK;
    memset(out, 0, sizeof *out);
    TIFF *tiff = open_source(&s);
    if (tiff == NULL) return DG_FAIL(DG_ERR_FORMAT, "the %s is no TIFF file, or damaged: %.150s", role, s.reason);
    do {
        status = add_page(tiff, &s, role, out->shape[0], &room, out);
        if (status == DG_OK) out->shape[0]++;
        s.reason[0] = '\0';
    } while (status == DG_OK && TIFFReadDirectory(tiff) == 1);
    if (status == DG_OK && s.reason[0] != '\0')
        status = DG_FAIL(DG_ERR_FORMAT, "the %s is damaged or cut short behind page %" PRId64 ": %.150s", role,
                         out->shape[0] - 1, s.reason);
    TIFFClose(tiff);
    if (status != DG_OK) dg_tiff_release(out);
    return status;
}

dg_status dg_tiff_read(const char *path, const char *role, dg_tiff *out)
{
    char *data = NULL;
    int64_t bytes = 0;
    memset(out, 0, sizeof *out);
    DG_TRY(dg_file_read(path, role, INT64_C(1) << FILE_MAX_SHIFT, &data, &bytes));
    dg_status status = dg_tiff_read_memory(data, bytes, role, out);
    dg_free(&data);
    return status;
}

void dg_tiff_release(dg_tiff *tiff)
{
    dg_free(&tiff->value);
    memset(tiff, 0, sizeof *tiff);
}
