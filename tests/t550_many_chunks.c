/* ctest: libs=dg_h5,PkgConfig::HDF5 label=unit timeout=120 */
/* t550: opening a case takes time in proportion to its chunks, whatever index HDF5 keeps them in; every chunk is found at
 * its own place, and a lost one is noticed. SPDX-License-Identifier: Apache-2.0 */
#include "h5_impl.h"
#include "t5_cases.h"

#include <time.h>

/* The CT tells its voxel: thin slices of 32 x 32 make many chunks of few bytes. */
static void write_case(const char *folder, int64_t ny, int64_t nx)
{
    const int64_t shape[3] = {1, ny, nx};
    dg_case_data data;
    int16_t *ct;
    memset(&data, 0, sizeof data);
    t5_fill_info(&data.info, "thin", shape);
    data.info.structure_count = data.info.constraint_count = 0;
    data.info.has_dose = false;
    DG_CHECK_OK(DG_NEW(&ct, ny * nx, "ct"));
    for (int64_t i = 0; i < ny * nx; i++) ct[i] = (int16_t)(i / nx / 32 * 97 + i % nx / 32);
    data.ct_hu = ct;
    DG_CHECK_OK(dg_case_write(folder, &data));
    dg_free(&ct);
}

static void check_voxel(dg_case *c, int64_t y, int64_t x)
{
    const dg_box box = {{0, y, x}, {1, 1, 1}};
    float value;
    DG_CHECK_OK(dg_case_read(c, DG_FIELD_CT_HU, 0, &box, &value));
    DG_CHECK(value == (float)(y / 32 * 97 + x / 32));
}

/* 128 x 128 chunks: walking to every one from the first takes about a minute of HDF5's time. */
static void check_large(const char *folder)
{
    dg_cohort *cohort;
    dg_case *c;
    write_case(folder, 4096, 4096);
    DG_CHECK_OK(dg_cohort_open(folder, &cohort));
    clock_t start = clock();
    DG_CHECK_OK(dg_case_open(cohort, 0, &c));
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    printf("16384 chunks: opened in %.3f s\n", seconds);
    DG_CHECK(seconds < 2);
    for (int64_t i = 0; i < 500; i++) check_voxel(c, i * 997 % 4096, i * 3571 % 4096);
    check_voxel(c, 0, 0);
    check_voxel(c, 4095, 4095);
    dg_case_close(&c);
    dg_cohort_close(&cohort);
}

typedef struct found_chunks {
    uint64_t address[9], bytes[9];
    int64_t count;
} found_chunks;

static bool take(void *user, int64_t index, uint64_t address, uint64_t bytes)
{
    found_chunks *found = user;
    DG_CHECK(index >= 0 && index < 9);
    found->address[index] = address;
    found->bytes[index] = bytes;
    found->count++;
    return true;
}

static bool refuse(void *user, int64_t index, uint64_t address, uint64_t bytes)
{
    (void)user, (void)index, (void)address, (void)bytes;
    return false;
}

/* Fills a dataset of 3 x 3 chunks of different sizes, in mixed order. */
static void write_dataset(const char *path, H5F_libver_t low, const hsize_t limit[2], int chunks)
{
    static int16_t values[32][32];
    const hsize_t shape[2] = {70, 90}, count[2] = {1, 1};
    const int64_t chunk[2] = {32, 32};
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), file, space = H5Screate_simple(2, shape, limit), dataset;
    hid_t list = dg_h5_dataset_list(H5T_STD_I16LE, 2, chunk);
    H5Pset_libver_bounds(access, low, H5F_LIBVER_LATEST);
    file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, access);
    dataset = H5Dcreate2(file, "d", H5T_STD_I16LE, space, H5P_DEFAULT, list, H5P_DEFAULT);
    DG_CHECK(dataset >= 0);
    for (int n = 0; n < chunks; n++) {
        hsize_t at = (hsize_t)(n * 4 % 9), start[2] = {at / 3 * 32, at % 3 * 32};
        hsize_t block[2] = {at / 3 == 2 ? 6 : 32, at % 3 == 2 ? 26 : 32};
        for (int i = 0; i < 32 * 32; i++) values[i / 32][i % 32] = (int16_t)(i * (int)(at + 1) % (11 + 40 * (int)at));
        hid_t memory = H5Screate_simple(2, block, NULL);
        H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, block);
        DG_CHECK(H5Dwrite(dataset, H5T_STD_I16LE, memory, space, H5P_DEFAULT, values) >= 0);
        H5Sclose(memory);
    }
    H5Dclose(dataset);
    H5Fclose(file);
    H5Sclose(space);
    H5Pclose(list);
    H5Pclose(access);
}

/* What H5Dget_chunk_info says, chunk by chunk. */
static void check_against_library(const char *path)
{
    const hsize_t chunk[2] = {32, 32}, grid[2] = {3, 3};
    found_chunks found = {.count = 0};
    hid_t file;
    DG_CHECK_OK(dg_h5_open(path, "test file", &file));
    hid_t dataset = H5Dopen2(file, "d", H5P_DEFAULT), space = H5Dget_space(dataset);
    DG_CHECK(dg_h5_chunks(dataset, 2, chunk, grid, take, &found) && found.count == 9);
    for (int64_t i = 0; i < 9; i++) {
        hsize_t offset[2], bytes;
        unsigned skipped;
        haddr_t address;
        DG_CHECK(H5Dget_chunk_info(dataset, space, (hsize_t)i, offset, &skipped, &address, &bytes) >= 0);
        int64_t index = (int64_t)(offset[0] / 32 * 3 + offset[1] / 32);
        DG_CHECK(found.address[index] == address && found.bytes[index] == bytes && bytes > 16);
    }
    DG_CHECK(!dg_h5_chunks(dataset, 2, chunk, grid, refuse, NULL));
    int16_t value; /* reading as such still reads */
    hsize_t start[2] = {40, 50}, one[2] = {1, 1};
    hid_t memory = H5Screate_simple(2, one, NULL);
    H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, one, NULL);
    DG_CHECK(H5Dread(dataset, H5T_STD_I16LE, memory, space, H5P_DEFAULT, &value) >= 0);
    DG_CHECK(value == (8 * 32 + 18) * 5 % (11 + 40 * 4));
    H5Sclose(memory);
    H5Sclose(space);
    H5Dclose(dataset);
    H5Fclose(file);
}

/* B-tree of format 1.8; fixed array, extensible array and new B-tree of format 1.10. */
static void check_indexes(const char *folder)
{
    static const hsize_t limits[3][2] = {{70, 90}, {H5S_UNLIMITED, 90}, {H5S_UNLIMITED, H5S_UNLIMITED}};
    const hsize_t chunk[2] = {32, 32}, grid[2] = {3, 3};
    const char *path = t5_path(folder, "indexes.h5");
    found_chunks found = {.count = 0};
    hid_t file;
    dg_h5_lock();
    for (int i = 0; i < 3; i++) {
        write_dataset(path, H5F_LIBVER_EARLIEST, limits[i], 9);
        check_against_library(path);
        write_dataset(path, H5F_LIBVER_V110, limits[i], 9);
        check_against_library(path);
    }
    write_dataset(path, H5F_LIBVER_V110, limits[0], 8);
    DG_CHECK_OK(dg_h5_open(path, "test file", &file));
    hid_t dataset = H5Dopen2(file, "d", H5P_DEFAULT);
    DG_CHECK(!dg_h5_chunks(dataset, 2, chunk, grid, take, &found));
    H5Dclose(dataset);
    H5Fclose(file);
    dg_h5_unlock();
}

int main(void)
{
    char folder[64];
    t5_temporary(folder);
    check_large(folder);
    check_indexes(folder);
    t5_remove_tree(folder);
    return 0;
}
