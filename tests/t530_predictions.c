/* ctest: libs=dg_h5,PkgConfig::HDF5 label=unit timeout=60 */
/* t530: predictions are read back or refused; the folder's hash is that of its content; ledgers of several ranks merge to
 * the newest line of each case. SPDX-License-Identifier: Apache-2.0 */
#include "dg_predictions.h"
#include "t5_cases.h"

#include <hdf5.h>

static void check_files(const char *folder)
{
    const int64_t shape[3] = {7, 40, 3};
    const double spacing[3] = {2, 3, 4};
    dg_grid grid = dg_grid_make(shape, spacing), back;
    dg_ledger_entry entry = {0};
    char first[DG_HASH_HEX], second[DG_HASH_HEX], bad[256], *bytes;
    float dose[7 * 40 * 3], *read;
    int64_t count, length;
    for (int i = 0; i < 7 * 40 * 3; i++) dose[i] = 0.1f * (float)i;
    DG_CHECK_OK(dg_prediction_write(folder, "pt_2", &grid, "model-a", dose, &entry));
    memcpy(first, entry.content_sha256, sizeof first);
    DG_CHECK_OK(dg_prediction_write(folder, "pt_1", &grid, "model-a", dose, &entry));
    DG_CHECK(strcmp(first, entry.content_sha256) != 0); /* another case */
    DG_CHECK_OK(dg_prediction_read(folder, "pt_2", &back, &read));
    DG_CHECK(memcmp(&back, &grid, sizeof grid) == 0 && memcmp(read, dose, sizeof dose) == 0);
    dg_free(&read);
    DG_CHECK(dg_prediction_valid(folder, "pt_2", "model-a") && !dg_prediction_valid(folder, "pt_2", "model-b"));
    DG_CHECK(!dg_prediction_valid(folder, "pt_3", "model-a"));
    DG_CHECK_FAILS(dg_prediction_read(folder, "pt_3", &back, &read), DG_ERR_IO, "prediction of case pt_3");
    DG_CHECK_OK(dg_predictions_content_hash(folder, first, &count, bad, sizeof bad));
    DG_CHECK(count == 2 && bad[0] == '\0');
    dose[5] = NAN;
    DG_CHECK_FAILS(dg_prediction_write(folder, "pt_4", &grid, "model-a", dose, &entry), DG_ERR_NUMERIC,
                   "voxel 5 of 840");
    DG_CHECK(!dg_file_exists(t5_path(folder, "pt_4.h5")));
    DG_CHECK_FAILS(dg_prediction_read(folder, "../pt_2", &back, &read), DG_ERR_USAGE, "cannot be a case id");
    t5_read_file(t5_path(folder, "pt_2.h5"), &bytes, &length);
    bytes[length - 40] ^= 1;
    t5_write_file(t5_path(folder, "pt_1.h5"), bytes, length / 2);
    DG_CHECK_FAILS(dg_prediction_read(folder, "pt_1", &back, &read), DG_ERR_FORMAT, "prediction of case pt_1");
    DG_CHECK_OK(dg_predictions_content_hash(folder, second, &count, bad, sizeof bad));
    DG_CHECK(count == 1 && strncmp(bad, "pt_1: prediction of case pt_1: ", 31) == 0 && strcmp(first, second) != 0);
    dg_free(&bytes);
}

/* The mean of several networks: the dose reads as ever, and their spread lies beside it. */
static void check_spread(const char *folder)
{
    enum { VOXELS = 4 * 5 * 6 };
    const int64_t shape[3] = {4, 5, 6};
    const double spacing[3] = {2, 3, 4};
    const dg_grid grid = dg_grid_make(shape, spacing);
    dg_grid back;
    dg_ledger_entry entry = {0}, alone = {0};
    float dose[VOXELS], std[VOXELS], found[VOXELS], *read;
    for (int i = 0; i < VOXELS; i++) {
        dose[i] = 0.5f * (float)i;
        std[i] = 0.25f * (float)(i % 7);
    }
    DG_CHECK_OK(dg_prediction_write(folder, "pt_9", &grid, "model-a", dose, &alone));
    DG_CHECK_OK(dg_prediction_write_spread(folder, "pt_9", &grid, "model-a", dose, std, &entry));
    DG_CHECK(strcmp(alone.content_sha256, entry.content_sha256) != 0);
    DG_CHECK_OK(dg_prediction_read(folder, "pt_9", &back, &read));
    DG_CHECK(memcmp(read, dose, sizeof dose) == 0);
    dg_free(&read);
    const hid_t file = H5Fopen(t5_path(folder, "pt_9.h5"), H5F_ACC_RDONLY, H5P_DEFAULT);
    const hid_t data = H5Dopen2(file, "std", H5P_DEFAULT);
    DG_CHECK(H5Dread(data, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, found) >= 0);
    DG_CHECK(H5Dclose(data) >= 0 && H5Fclose(file) >= 0 && memcmp(found, std, sizeof std) == 0);
    DG_CHECK(remove(t5_path(folder, "pt_9.h5")) == 0);
}

static dg_ledger_entry line(const char *id, bool done, const char *reason, double seconds)
{
    dg_ledger_entry e = {.done = done, .read_s = seconds, .compute_s = 2, .write_s = 3};
    snprintf(e.id, sizeof e.id, "%s", id);
    snprintf(e.reason, sizeof e.reason, "%s", reason);
    return e;
}

static void check_ledger(const char *folder)
{
    dg_ledger_entry *all, e = line("pt_2", false, "case pt_2: \"dose\", cut\nshort", 1.5);
    int64_t count;
    DG_CHECK_OK(dg_ledger_append(folder, 0, &e));
    e = line("pt_1", false, "first try", 1);
    DG_CHECK_OK(dg_ledger_append(folder, 1, &e));
    e = line("pt_1", true, "", 4);
    DG_CHECK_OK(dg_ledger_append(folder, 0, &e)); /* newer, of another rank */
    FILE *stream = fopen(t5_path(folder, "ledger-0.csv"), "a");
    DG_CHECK(stream != NULL && fputs("1e18,pt_1,failed,\"cut by a cra", stream) >= 0 && fclose(stream) == 0);
    DG_CHECK_OK(dg_ledger_read(folder, &all, &count));
    DG_CHECK(count == 2 && strcmp(all[0].id, "pt_1") == 0 && all[0].done && all[0].read_s == 4);
    DG_CHECK(strcmp(all[1].id, "pt_2") == 0 && !all[1].done && all[1].read_s == 1.5 && all[1].write_s == 3);
    DG_CHECK(strcmp(all[1].reason, "case pt_2: 'dose', cut short") == 0);
    dg_free(&all);
    e = line("pt_3", true, "", 9);
    DG_CHECK_OK(dg_ledger_append(folder, 0, &e)); /* after the torn line */
    DG_CHECK_OK(dg_ledger_read(folder, &all, &count));
    DG_CHECK(count == 3 && strcmp(all[2].id, "pt_3") == 0 && all[2].read_s == 9 && all[0].done);
    dg_free(&all);
}

int main(void)
{
    char folder[64];
    t5_temporary(folder);
    check_spread(folder);
    check_files(folder);
    check_ledger(folder);
    t5_remove_tree(folder);
    return 0;
}
