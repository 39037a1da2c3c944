/* Samples become mean, standard deviation and percentiles: against numbers worked out by hand, the same file whatever memory
 * there is for it; a sample that is missing; what is removed.
 * ctest: libs=dg_run,PkgConfig::HDF5 label=unit timeout=60
 * SPDX-License-Identifier: Apache-2.0 */
#include "ensemble.h"

#include "dg_check.h"
#include "dg_mem.h"

#include <hdf5.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 5, VOXELS = 5 * 3 * 4 };
static const int64_t shape[3] = {5, 3, 4};
static const double spacing[3] = {3, 2, 2};

/* A voxel has the values 0, 1, 4, 9, 16 times its number in an order of its own. */
static float value_of(int64_t sample, int64_t voxel)
{
    const int64_t k = (sample * 2 + voxel) % SAMPLES;
    return (float)(k * k * (voxel + 1));
}

static void write_samples(const char *folder)
{
    const dg_grid grid = dg_grid_make(shape, spacing);
    float dose[VOXELS];
    dg_ledger_entry entry;
    for (int64_t s = 0; s < SAMPLES; s++) {
        char path[DG_PATH_MAX];
        for (int64_t v = 0; v < VOXELS; v++) dose[v] = value_of(s, v);
        DG_CHECK_OK(dg_ensemble_folder(folder, s, path));
        DG_CHECK_OK(dg_prediction_write(path, "case-1", &grid, "network", dose, &entry));
    }
}

static void read_floats(hid_t file, const char *name, float *out)
{
    const hid_t set = H5Dopen2(file, name, H5P_DEFAULT);
    DG_CHECK(set >= 0 && H5Dread(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, out) >= 0);
    H5Dclose(set);
}

static void check_file(const char *folder)
{
    char path[DG_PATH_MAX];
    float std[VOXELS], percentile[3 * VOXELS], *dose;
    dg_prediction_info info;
    DG_CHECK_OK(dg_prediction_load(folder, "case-1", &info, &dose));
    DG_CHECK_OK(dg_path_join(path, folder, "case-1.h5"));
    const hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    DG_CHECK(file >= 0);
    read_floats(file, "std", std);
    read_floats(file, "percentile", percentile);
    for (int v = 0; v < VOXELS; v++) {
        const double n = v + 1; /* 0 1 4 9 16: mean 6, mean square 70.8, median 4, 90 % 13.2 */
        DG_CHECK(fabs(dose[v] - 6 * n) < 1e-5 * n && fabs(std[v] - sqrt(70.8 - 36) * n) < 1e-5 * n);
        DG_CHECK(percentile[v] == 0 && percentile[VOXELS + v] == (float)(4 * n));
        DG_CHECK(fabs(percentile[2 * VOXELS + v] - 13.2 * n) < 1e-5 * n);
    }
    H5Fclose(file);
    dg_free(&dose);
}

int main(void)
{
    char folder[] = "/tmp/dosegrid-ensemble-XXXXXX", hex[2][DG_HASH_HEX], path[DG_PATH_MAX];
    DG_CHECK(mkdtemp(folder) != NULL);
    write_samples(folder);
    for (int k = 0; k < 2; k++) {
        dg_ledger_entry entry = {.done = false};
        const dg_ensemble ensemble = {.folder = folder,
                                      .samples = SAMPLES,
                                      .percent = {.value = {0, 50, 90}, .count = 3},
                                      .budget_bytes = k == 0 ? 1 : 2 * SAMPLES * 12 * 4}; /* one plane, two planes */
        DG_CHECK_OK(dg_ensemble_combine(&ensemble, "case-1", "network", &entry));
        strcpy(hex[k], entry.content_sha256);
        check_file(folder);
    }
    DG_CHECK(strcmp(hex[0], hex[1]) == 0);
    dg_ledger_entry entry = {.done = false};
    const dg_ensemble more = {.folder = folder, .samples = SAMPLES + 1};
    DG_CHECK_OK(dg_ensemble_folder(folder, SAMPLES - 1, path));
    DG_CHECK_FAILS(dg_ensemble_combine(&more, "case-1", "network", &entry), DG_ERR_IO, "prediction of case case-1");
    dg_ensemble_remove(folder, "case-1", SAMPLES); /* none beyond the last */
    DG_CHECK(dg_prediction_valid(path, "case-1", "network"));
    dg_ensemble_remove(folder, "case-1", 0);
    for (int64_t s = 0; s < SAMPLES; s++) {
        DG_CHECK_OK(dg_ensemble_folder(folder, s, path));
        DG_CHECK(!dg_prediction_valid(path, "case-1", "network"));
        DG_CHECK(remove(path) == 0); /* nothing else was in it */
    }
    DG_CHECK(dg_prediction_valid(folder, "case-1", "network"));
    dg_prediction_remove(folder, "case-1");
    DG_CHECK(remove(folder) == 0);
    return 0;
}
