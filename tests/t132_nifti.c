/* ctest: libs=dg_formats,dg_grid,dg_base label=unit timeout=60 */
/* t132_nifti.c - NIfTI volumes: written and read again in every place and type, both versions and byte orders, hostile
 * headers. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_file.h"
#include "dg_hash.h"
#include "dg_mem.h"
#include "dg_nifti.h"

#include <math.h>
#include <unistd.h>

enum { Z = 3, Y = 4, X = 5, COUNT = Z * Y * X };

static dg_grid turned_grid(void)
{
    const int64_t shape[3] = {Z, Y, X};
    const double spacing[3] = {2.5, 1.5, 1};
    dg_grid grid = dg_grid_make(shape, spacing);
    const double origin[3] = {-100, 20.5, 7}, turn[9] = {0, -1, 0, 1, 0, 0, 0, 0, 1};
    memcpy(grid.origin_mm, origin, sizeof origin);
    memcpy(grid.direction, turn, sizeof turn);
    return grid;
}

static void check_same_grid(const dg_grid *a, const dg_grid *b)
{
    for (int i = 0; i < 3; i++) {
        DG_CHECK(a->shape[i] == b->shape[i]);
        DG_CHECK_NEAR(a->spacing_mm[i], b->spacing_mm[i], 1e-6);
        DG_CHECK_NEAR(a->origin_mm[i], b->origin_mm[i], 1e-4);
    }
    for (int i = 0; i < 9; i++) DG_CHECK_NEAR(a->direction[i], b->direction[i], 1e-6);
}

static void test_round_trip(const char *path, dg_dtype type, dg_nifti_version version)
{
    float real[COUNT], *back;
    int16_t whole[COUNT];
    uint8_t byte[COUNT];
    char hex[2][DG_HASH_HEX];
    const dg_grid grid = turned_grid();
    dg_grid read;
    for (int i = 0; i < COUNT; i++) {
        real[i] = (float)(i - 20) / 3;
        whole[i] = (int16_t)(1000 * (i - 30));
        byte[i] = (uint8_t)(4 * i);
    }
    const void *values = type == DG_F32 ? (void *)real : type == DG_I16 ? (void *)whole : (void *)byte;
    for (int k = 0; k < 2; k++) {
        DG_CHECK_OK(dg_nifti_write(path, "dose of case a", &grid, type, values, "dosegrid", version));
        DG_CHECK_OK(dg_hash_file(path, hex[k]));
    }
    DG_CHECK(strcmp(hex[0], hex[1]) == 0);
    DG_CHECK_OK(dg_nifti_read(path, "dose of case a", &read, &back));
    check_same_grid(&grid, &read);
    for (int i = 0; i < COUNT; i++)
        DG_CHECK(back[i] == (type == DG_F32 ? real[i] : type == DG_I16 ? (float)whole[i] : (float)byte[i]));
    dg_free(&back);
    unlink(path);
}

/* The header of a written file with one field changed. */
static void change(const char *path, long at, const void *bytes, size_t count)
{
    static const float values[COUNT];
    const dg_grid grid = turned_grid();
    DG_CHECK_OK(dg_nifti_write(path, "dose", &grid, DG_F32, values, "", DG_NIFTI_1));
    FILE *stream = fopen(path, "r+b");
    DG_CHECK(stream != NULL && fseek(stream, at, SEEK_SET) == 0 && fwrite(bytes, 1, count, stream) == count &&
             fclose(stream) == 0);
}

static void refused(long at, const void *bytes, size_t count, dg_status status, const char *words)
{
    dg_grid grid;
    float *values;
    change("t132.nii", at, bytes, count);
    DG_CHECK_FAILS(dg_nifti_read("t132.nii", "dose", &grid, &values), status, words);
    DG_CHECK(values == NULL);
}

static void test_hostile(void)
{
    const int16_t many[8] = {4, X, Y, Z, 7, 1, 1, 1}, negative[8] = {3, -1, Y, Z}, huge[8] = {3, 16000, 16000, 16000};
    const int16_t none[2] = {0, 0}, colour = 128, axes = 9, tall[8] = {3, X, Y, 2 * Z};
    const float far = 1e30f, sheared[4] = {1, 1, 0, 0};
    dg_grid grid;
    float *values;
    refused(0, "\x5c\x01\x00\x01", 4, DG_ERR_FORMAT, "no NIfTI file");
    refused(344, "xyz", 4, DG_ERR_FORMAT, "ANALYZE");
    refused(344, "ni1", 4, DG_ERR_UNSUPPORTED, "separate .img");
    refused(40, many, sizeof many, DG_ERR_UNSUPPORTED, "several volumes (axis 4 has 7)");
    refused(40, &axes, sizeof axes, DG_ERR_FORMAT, "9 axes");
    refused(40, negative, sizeof negative, DG_ERR_DATA, "-1 voxels along x");
    refused(40, huge, sizeof huge, DG_ERR_DATA, "more than 2^31");
    refused(40, tall, sizeof tall, DG_ERR_FORMAT, "cut short");
    refused(70, &colour, sizeof colour, DG_ERR_UNSUPPORTED, "type 128");
    refused(252, none, sizeof none, DG_ERR_DATA, "does not say how it lies");
    refused(108, &far, sizeof far, DG_ERR_FORMAT, "values begin at byte");
    refused(280, sheared, sizeof sheared, DG_ERR_DATA, "right angles");
    DG_CHECK_FAILS(dg_nifti_read("/nowhere.nii", "dose", &grid, &values), DG_ERR_IO, "dose");
    unlink("t132.nii");
    /* A gzip stream that is cut, and one that is damaged. */
    static const float zero[COUNT];
    char *bytes;
    int64_t length;
    const dg_grid turned = turned_grid();
    DG_CHECK_OK(dg_nifti_write("t132.nii.gz", "dose", &turned, DG_F32, zero, "", DG_NIFTI_AUTO));
    DG_CHECK_OK(dg_file_read("t132.nii.gz", "dose", 1 << 20, &bytes, &length));
    DG_CHECK_OK(dg_file_write("t132.nii.gz", bytes, length / 3));
    DG_CHECK_FAILS(dg_nifti_read("t132.nii.gz", "dose", &grid, &values), DG_ERR_FORMAT, "cut short");
    memset(bytes + 20, 0xff, 20);
    DG_CHECK_OK(dg_file_write("t132.nii.gz", bytes, length));
    DG_CHECK(dg_nifti_read("t132.nii.gz", "dose", &grid, &values) == DG_ERR_FORMAT && values == NULL);
    dg_free(&bytes);
    unlink("t132.nii.gz");
}

/* Without an sform the qform says the same; scaling; metres. */
static void test_fields(void)
{
    const int16_t none = 0;
    const float scale[2] = {2, -1};
    const char metre = 1;
    dg_grid grid, wanted = turned_grid();
    float *values;
    change("t132.nii", 254, &none, sizeof none);
    DG_CHECK_OK(dg_nifti_read("t132.nii", "dose", &grid, &values));
    check_same_grid(&grid, &wanted);
    dg_free(&values);
    change("t132.nii", 112, scale, sizeof scale);
    DG_CHECK_OK(dg_nifti_read("t132.nii", "dose", &grid, &values));
    DG_CHECK(values[3] == -1);
    dg_free(&values);
    change("t132.nii", 123, &metre, 1);
    DG_CHECK_OK(dg_nifti_read("t132.nii", "dose", &grid, &values));
    DG_CHECK_NEAR(grid.spacing_mm[0], 2500, 1e-3);
    DG_CHECK_NEAR(grid.origin_mm[0], -100000, 1e-1);
    dg_free(&values);
    unlink("t132.nii");
}

/* What float cannot place goes out as version 2 where the choice is free; the header says which it is. */
static void test_versions(void)
{
    static const float zero[COUNT];
    dg_grid grid = turned_grid(), read;
    float *values;
    char *bytes;
    int64_t length;
    for (int far = 0; far < 2; far++) {
        if (far) grid.origin_mm[1] = 1e6 + 0.03;
        DG_CHECK_OK(dg_nifti_write("t132.nii", "dose", &grid, DG_F32, zero, "", DG_NIFTI_AUTO));
        DG_CHECK_OK(dg_file_read("t132.nii", "dose", 1 << 20, &bytes, &length));
        DG_CHECK(length == (far ? 544 : 352) + 4 * COUNT && bytes[0] == (far ? 540 : 348) % 256);
        dg_free(&bytes);
        DG_CHECK_OK(dg_nifti_read("t132.nii", "dose", &read, &values));
        DG_CHECK_NEAR(read.origin_mm[1], grid.origin_mm[1], far ? 1e-9 : 1e-5);
        dg_free(&values);
    }
    DG_CHECK_OK(dg_nifti_write("t132.nii", "dose", &grid, DG_F32, zero, "", DG_NIFTI_1));
    DG_CHECK_OK(dg_nifti_read("t132.nii", "dose", &read, &values));
    DG_CHECK(fabs(read.origin_mm[1] - grid.origin_mm[1]) > 1e-3); /* which is why AUTO did not take it */
    dg_free(&values);
    unlink("t132.nii");
}

int main(void)
{
    for (int version = DG_NIFTI_1; version <= DG_NIFTI_2; version++) {
        test_round_trip("t132.nii", DG_F32, (dg_nifti_version)version);
        test_round_trip("t132.nii.gz", DG_F32, (dg_nifti_version)version);
        test_round_trip("t132.nii.gz", DG_I16, (dg_nifti_version)version);
        test_round_trip("t132.nii", DG_U8, (dg_nifti_version)version);
    }
    test_versions();
    test_fields();
    test_hostile();
    return 0;
}
