/* ctest: libs=dg_formats,dg_grid,dg_base pkg=zlib label=unit timeout=60 */
/* t133_segmentation.c - structures as a 3D Slicer segmentation: every voxel of every structure comes back from the file's own
 * words, overlapping ones from layers of their own. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_file.h"
#include "dg_hash.h"
#include "dg_mem.h"
#include "dg_segmentation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

enum { Z = 3, Y = 4, X = 5, COUNT = Z * Y * X, STRUCTURES = 5 };

/* The number after KEY on a line of its own. */
static int number(const char *header, const char *key)
{
    const char *at = strstr(header, key);
    DG_CHECK(at != NULL && at[-1] == '\n');
    return atoi(at + strlen(key));
}

static void unpack(const char *bytes, int64_t length, unsigned char *out, int64_t want)
{
    z_stream z = {.avail_in = (uInt)length, .avail_out = (uInt)want, .next_out = out};
    memcpy(&z.next_in, &bytes, sizeof bytes);
    DG_CHECK(inflateInit2(&z, 15 + 16) == Z_OK && inflate(&z, Z_FINISH) == Z_STREAM_END && z.avail_out == 0);
    inflateEnd(&z);
}

int main(void)
{
    const int64_t shape[3] = {Z, Y, X};
    const double spacing[3] = {2.5, 1.5, 0.1};
    dg_grid grid = dg_grid_make(shape, spacing);
    dg_structure structure[STRUCTURES] = {{.name = "PTV70", .role = DG_ROLE_TARGET},
                                          {.name = "PTV\n56", .role = DG_ROLE_TARGET},
                                          {.name = "Rectum", .role = DG_ROLE_OAR},
                                          {.name = "Body", .role = DG_ROLE_BODY},
                                          {.name = "Empty", .role = DG_ROLE_OAR}};
    uint64_t bits[COUNT];
    char *file, hex[2][DG_HASH_HEX], key[64];
    int64_t length;
    grid.origin_mm[0] = -7;
    grid.origin_mm[2] = 0.1;
    for (int i = 0; i < COUNT; i++)
        bits[i] = 8 | (i % 2 == 0 ? 1 : 0) | (i % 4 == 0 ? 2 : 0) | (i % 2 == 1 && i % 3 == 0 ? 4 : 0);
    for (int k = 0; k < 2; k++) {
        DG_CHECK_OK(dg_segmentation_write("t133.seg.nrrd", "segmentation", &grid, structure, STRUCTURES, bits));
        DG_CHECK_OK(dg_hash_file("t133.seg.nrrd", hex[k]));
    }
    DG_CHECK(strcmp(hex[0], hex[1]) == 0);
    DG_CHECK_OK(dg_file_read("t133.seg.nrrd", "segmentation", 1 << 20, &file, &length));
    char *end = strstr(file, "\n\n");
    DG_CHECK(end != NULL && strncmp(file, "NRRD0004\n", 9) == 0);
    end[1] = '\0';
    DG_CHECK(strstr(file, "\nspace: left-posterior-superior\n") != NULL);
    DG_CHECK(strstr(file, "\nspace directions: none (0.10000000000000001,0,0) (0,1.5,0) (0,0,2.5)\n") != NULL);
    DG_CHECK(strstr(file, "\nspace origin: (0.10000000000000001,0,-7)\n") != NULL);
    DG_CHECK(strstr(file, "\nSegment1_Name:=PTV_56\n") != NULL);
    /* PTV70 shares its layer with Rectum alone, PTV56 overlaps PTV70, Body overlaps all, Empty nothing. */
    DG_CHECK(strstr(file, "\nsizes: 3 5 4 3\n") != NULL);
    static unsigned char values[3 * COUNT];
    unpack(end + 2, length - (end + 2 - file), values, sizeof values);
    int64_t set = 0;
    for (int k = 0; k < STRUCTURES; k++) {
        snprintf(key, sizeof key, "Segment%d_Layer:=", k);
        const int layer = number(file, key);
        snprintf(key, sizeof key, "Segment%d_LabelValue:=", k);
        const int label = number(file, key);
        DG_CHECK(label >= 1);
        for (int i = 0; i < COUNT; i++) DG_CHECK((values[3 * i + layer] == label) == (bits[i] >> k & 1));
    }
    for (size_t i = 0; i < sizeof values; i++) set += values[i] != 0;
    for (int i = 0; i < COUNT; i++) set -= __builtin_popcountll(bits[i]);
    DG_CHECK(set == 0);
    dg_free(&file);
    unlink("t133.seg.nrrd");
    return 0;
}
