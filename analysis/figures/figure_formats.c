/* figure_formats.c - the written PNG and PDF: are they what was asked for, and do they say their resolution.
 * SPDX-License-Identifier: Apache-2.0 */
#include "figure_impl.h"

#include "dg_mem.h"

#include <math.h>
#include <string.h>
#include <zlib.h>

enum { PNG_HEAD = 33, PNG_PHYS = 21 }; /* signature with IHDR; a whole pHYs chunk (PNG specification, 11.3.5.3) */

static void put_u32(unsigned char *at, uint32_t value)
{
    for (int k = 0; k < 4; k++) at[k] = (unsigned char)(value >> (24 - 8 * k));
}

static uint32_t get_u32(const char *at)
{
    const unsigned char *byte = (const unsigned char *)at;
    return (uint32_t)byte[0] << 24 | (uint32_t)byte[1] << 16 | (uint32_t)byte[2] << 8 | byte[3];
}

static void make_phys(unsigned char chunk[PNG_PHYS], int dpi)
{
    uint32_t per_metre = (uint32_t)lround(dpi / 0.0254);
    put_u32(chunk, 9);
    memcpy(chunk + 4, "pHYs", 4);
    put_u32(chunk + 8, per_metre);
    put_u32(chunk + 12, per_metre);
    chunk[16] = 1; /* the unit is the metre */
    put_u32(chunk + 17, (uint32_t)crc32(0, chunk + 4, 13));
}

dg_status dg_png_finish(char **bytes, int64_t *length, int64_t width, int64_t height, int dpi, const char *figure)
{
    static const char signature[] = "\x89PNG\r\n\x1a\n";
    const char *in = *bytes;
    if (*length < PNG_HEAD || memcmp(in, signature, 8) != 0 || memcmp(in + 12, "IHDR", 4) != 0)
        return DG_FAIL(DG_ERR_IO, "%s: gnuplot wrote no PNG file", figure);
    if (get_u32(in + 16) != width || get_u32(in + 20) != height)
        return DG_FAIL(DG_ERR_IO, "%s: gnuplot wrote a PNG of %u x %u pixels where %lld x %lld were asked for", figure,
                       get_u32(in + 16), get_u32(in + 20), (long long)width, (long long)height);
    if (memmem(in, (size_t)*length, "IEND", 4) == NULL)
        return DG_FAIL(DG_ERR_IO, "%s: the PNG file is cut short", figure);
    char *out;
    DG_TRY(DG_NEW(&out, *length + PNG_PHYS, "PNG file"));
    memcpy(out, in, PNG_HEAD);
    make_phys((unsigned char *)out + PNG_HEAD, dpi);
    memcpy(out + PNG_HEAD + PNG_PHYS, in + PNG_HEAD, (size_t)*length - PNG_HEAD);
    dg_free(bytes);
    *bytes = out;
    *length += PNG_PHYS;
    return DG_OK;
}

dg_status dg_pdf_finish(char *bytes, int64_t length, const char *figure)
{
    static const char key[] = "/CreationDate (D:", date[] = "20000101000000";
    if (length < 32 || memcmp(bytes, "%PDF-", 5) != 0)
        return DG_FAIL(DG_ERR_IO, "%s: gnuplot wrote no PDF file", figure);
    if (memmem(bytes + length - 32, 32, "%%EOF", 5) == NULL)
        return DG_FAIL(DG_ERR_IO, "%s: the PDF file is cut short", figure);
    char *found = memmem(bytes, (size_t)length, key, sizeof key - 1);
    if (found != NULL && found + sizeof key - 1 + sizeof date - 1 <= bytes + length)
        memcpy(found + sizeof key - 1, date, sizeof date - 1);
    return DG_OK;
}
