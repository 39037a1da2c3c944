/* ctest: libs=dg_formats,PkgConfig::TIFF label=unit timeout=60 */
/* t134_tiff.c - TIFF volumes written by libtiff come back; what is cut short anywhere is an error with its page, and what is no
 * grey volume is refused by name. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_tiff.h"

#include <tiffio.h>
#include <unistd.h>

enum { Z = 3, Y = 5, X = 7 };

static char path[64];

static int value_at(int bits, int z, int y, int x) { return (z * 1000 + y * 31 + x * 7) % (bits == 8 ? 256 : 65536); }

/* Pages of `bits`, with a compression and a number of lines in a strip; samples: values of a pixel. */
static void write_volume(int bits, int compression, int lines, int samples, int format, int last_width)
{
    TIFF *tiff = TIFFOpen(path, "w");
    DG_CHECK(tiff != NULL);
    for (int z = 0; z < Z; z++) {
        const int width = z == Z - 1 ? last_width : X;
        uint16_t wide[3 * X] = {0};
        uint8_t narrow[4 * 3 * X] = {0};
        TIFFSetField(tiff, TIFFTAG_IMAGEWIDTH, width);
        TIFFSetField(tiff, TIFFTAG_IMAGELENGTH, Y);
        TIFFSetField(tiff, TIFFTAG_BITSPERSAMPLE, bits);
        TIFFSetField(tiff, TIFFTAG_SAMPLESPERPIXEL, samples);
        TIFFSetField(tiff, TIFFTAG_SAMPLEFORMAT, format);
        TIFFSetField(tiff, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG);
        TIFFSetField(tiff, TIFFTAG_PHOTOMETRIC, samples == 3 ? PHOTOMETRIC_RGB : PHOTOMETRIC_MINISBLACK);
        TIFFSetField(tiff, TIFFTAG_COMPRESSION, compression);
        TIFFSetField(tiff, TIFFTAG_ROWSPERSTRIP, lines);
        for (int y = 0; y < Y; y++) {
            for (int x = 0; x < width && samples == 1; x++) {
                wide[x] = (uint16_t)value_at(bits, z, y, x);
                narrow[x] = (uint8_t)value_at(bits, z, y, x);
            }
            DG_CHECK(TIFFWriteScanline(tiff, bits == 16 ? (void *)wide : narrow, (uint32_t)y, 0) == 1);
        }
        DG_CHECK(TIFFWriteDirectory(tiff) == 1);
    }
    TIFFClose(tiff);
}

/* A page of 60000 x 60000 pixels of which one strip is there. */
static void write_claim(void)
{
    uint8_t line[60000] = {0};
    TIFF *tiff = TIFFOpen(path, "w");
    DG_CHECK(tiff != NULL);
    TIFFSetField(tiff, TIFFTAG_IMAGEWIDTH, 60000);
    TIFFSetField(tiff, TIFFTAG_IMAGELENGTH, 60000);
    TIFFSetField(tiff, TIFFTAG_BITSPERSAMPLE, 8);
    TIFFSetField(tiff, TIFFTAG_SAMPLESPERPIXEL, 1);
    TIFFSetField(tiff, TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_MINISBLACK);
    TIFFSetField(tiff, TIFFTAG_COMPRESSION, COMPRESSION_LZW);
    TIFFSetField(tiff, TIFFTAG_ROWSPERSTRIP, 60000);
    DG_CHECK(TIFFWriteScanline(tiff, line, 0, 0) == 1);
    TIFFClose(tiff);
}

static void check_back(int bits, int compression, int lines)
{
    dg_tiff tiff;
    write_volume(bits, compression, lines, 1, SAMPLEFORMAT_UINT, X);
    DG_CHECK_OK(dg_tiff_read(path, "scan", &tiff));
    DG_CHECK(tiff.shape[0] == Z && tiff.shape[1] == Y && tiff.shape[2] == X && tiff.bits == bits);
    for (int z = 0; z < Z; z++)
        for (int y = 0; y < Y; y++)
            for (int x = 0; x < X; x++) DG_CHECK(tiff.value[(z * Y + y) * X + x] == value_at(bits, z, y, x));
    dg_tiff_release(&tiff);
}

static void refused(dg_status status, const char *words)
{
    dg_tiff tiff;
    DG_CHECK_FAILS(dg_tiff_read(path, "scan", &tiff), status, words);
    DG_CHECK(tiff.value == NULL);
}

/* Every shorter file is an error or, where a whole page is missing at the end, never more than was written. */
static void check_cut(int compression)
{
    static char data[1 << 16];
    write_volume(16, compression, 2, 1, SAMPLEFORMAT_UINT, X);
    FILE *file = fopen(path, "rb");
    DG_CHECK(file != NULL);
    const size_t bytes = fread(data, 1, sizeof data, file);
    fclose(file);
    int errors = 0;
    for (size_t cut = 0; cut < bytes; cut++) {
        dg_tiff tiff;
        const dg_status status = dg_tiff_read_memory(data, (int64_t)cut, "scan", &tiff);
        DG_CHECK(status == DG_OK || status == DG_ERR_FORMAT || status == DG_ERR_UNSUPPORTED);
        if (status != DG_OK) DG_CHECK(strstr(dg_error_last()->text, "scan") != NULL);
        errors += status != DG_OK;
        if (status == DG_OK) dg_tiff_release(&tiff);
    }
    printf("compression %d: %d of %zu shortened files are errors\n", compression, errors, bytes);
    DG_CHECK((size_t)errors > bytes - 8);
}

/* What is written comes back; a folder that is not there is told. */
static void test_write(void)
{
    const int64_t shape[3] = {Z, Y, X}, wide[3] = {2, 3, 40000};
    uint16_t words[Z * Y * X];
    uint8_t bytes[Z * Y * X];
    for (int i = 0; i < Z * Y * X; i++) {
        words[i] = (uint16_t)(i * 611);
        bytes[i] = (uint8_t)(i * 7);
    }
    for (int bits = 8; bits <= 16; bits += 8) {
        dg_tiff back;
        DG_CHECK_OK(dg_tiff_write(path, "scan", shape, bits, bits == 8 ? (const void *)bytes : words));
        DG_CHECK_OK(dg_tiff_read(path, "scan", &back));
        DG_CHECK(memcmp(back.shape, shape, sizeof shape) == 0 && back.bits == bits);
        for (int i = 0; i < Z * Y * X; i++) DG_CHECK(back.value[i] == (bits == 8 ? bytes[i] : words[i]));
        dg_tiff_release(&back);
    }
    static uint16_t row[240000]; /* more than one strip */
    dg_tiff back;
    for (int i = 0; i < 240000; i++) row[i] = (uint16_t)(i % 50021);
    DG_CHECK_OK(dg_tiff_write(path, "scan", wide, 16, row));
    DG_CHECK_OK(dg_tiff_read(path, "scan", &back));
    DG_CHECK(memcmp(back.value, row, sizeof row) == 0);
    dg_tiff_release(&back);
    DG_CHECK_FAILS(dg_tiff_write("no/such/folder.tif", "mask of case c1", shape, 8, bytes), DG_ERR_IO,
                   "mask of case c1");
}

int main(void)
{
    (void)snprintf(path, sizeof path, "t134-%d.tif", (int)getpid());
    static const int COMPRESSIONS[] = {COMPRESSION_NONE, COMPRESSION_LZW, COMPRESSION_ADOBE_DEFLATE,
                                       COMPRESSION_PACKBITS};
    for (int c = 0; c < 4; c++)
        for (int bits = 8; bits <= 16; bits += 8)
            for (int lines = 1; lines <= Y; lines += 2) check_back(bits, COMPRESSIONS[c], lines);
    check_cut(COMPRESSION_NONE);
    check_cut(COMPRESSION_LZW);
    write_volume(8, COMPRESSION_NONE, 1, 3, SAMPLEFORMAT_UINT, X);
    refused(DG_ERR_UNSUPPORTED, "page 0 of the scan has 3 values of 8 bits a pixel");
    write_volume(16, COMPRESSION_NONE, 1, 1, SAMPLEFORMAT_INT, X);
    refused(DG_ERR_UNSUPPORTED, "grey values of 8 or 16 bits without sign can be read");
    write_volume(8, COMPRESSION_NONE, 1, 1, SAMPLEFORMAT_UINT, X - 1);
    refused(DG_ERR_UNSUPPORTED, "page 2 of the scan differs in size or bits from the first");
    write_claim();
    refused(DG_ERR_FORMAT, "page 0 of the scan claims 60000 x 60000 pixels in a file of");
    FILE *file = fopen(path, "wb");
    DG_CHECK(file != NULL && fputs("no TIFF at all", file) >= 0 && fclose(file) == 0);
    refused(DG_ERR_FORMAT, "the scan is no TIFF file");
    test_write();
    DG_CHECK(unlink(path) == 0);
    refused(DG_ERR_IO, "scan");
    return 0;
}
