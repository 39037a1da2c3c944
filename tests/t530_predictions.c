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

/* Every kind is read as what it is, planes of it too, and values that are none are refused. */
static void check_kinds(const char *folder)
{
    const int64_t shape[3] = {5, 6, 4};
    const double spacing[3] = {1, 1, 1};
    const dg_grid grid = dg_grid_make(shape, spacing);
    float p[120], back[120], *dose;
    uint8_t label[120], high = 7;
    dg_ledger_entry entry = {0};
    dg_prediction_info info;
    for (int i = 0; i < 120; i++) {
        p[i] = (float)i / 119;
        label[i] = i % 3 == 0;
    }
    DG_CHECK_OK(dg_prediction_write_kind(folder, "p", &grid, DG_PREDICTION_PROBABILITY, "m", p, NULL, &entry));
    DG_CHECK_OK(dg_prediction_write_label(folder, "l", &grid, "m", label, "{\"threshold\": 0.5}", &entry));
    DG_CHECK_OK(dg_prediction_write(folder, "d", &grid, "m", p, &entry));
    DG_CHECK_OK(dg_prediction_peek(folder, "l", &info));
    DG_CHECK(info.kind == DG_PREDICTION_LABEL && strcmp(dg_prediction_kind_name(info.kind), "label") == 0);
    DG_CHECK_OK(dg_prediction_read_probability(folder, "p", 0, 5, &info, back));
    DG_CHECK(info.kind == DG_PREDICTION_PROBABILITY && memcmp(back, p, sizeof p) == 0);
    DG_CHECK_OK(dg_prediction_read_probability(folder, "l", 2, 2, &info, back));
    for (int i = 0; i < 48; i++) DG_CHECK(back[i] == (float)label[48 + i]);
    DG_CHECK_OK(dg_prediction_load(folder, "p", &info, NULL));
    DG_CHECK_FAILS(dg_prediction_load(folder, "p", &info, &dose), DG_ERR_MISMATCH, "holds a probability, and a dose");
    DG_CHECK_FAILS(dg_prediction_read_probability(folder, "d", 0, 5, &info, back), DG_ERR_MISMATCH,
                   "holds a dose, and");
    DG_CHECK_FAILS(dg_prediction_read_probability(folder, "p", 4, 2, &info, back), DG_ERR_USAGE, "planes 4 to 5 of 5");
    p[7] = 1.5f;
    DG_CHECK_FAILS(dg_prediction_write_kind(folder, "x", &grid, DG_PREDICTION_PROBABILITY, "m", p, NULL, &entry),
                   DG_ERR_DATA, "probability 1.5 at voxel 7");
    label[3] = 2;
    DG_CHECK_FAILS(dg_prediction_write_label(folder, "x", &grid, "m", label, "{}", &entry), DG_ERR_DATA, "label 2");
    /* somebody else's file with a label that is none */
    hid_t file = H5Fopen(t5_path(folder, "l.h5"), H5F_ACC_RDWR, H5P_DEFAULT),
          data = H5Dopen2(file, "label", H5P_DEFAULT);
    const hsize_t at[3] = {1, 1, 1}, one[3] = {1, 1, 1};
    hid_t space = H5Dget_space(data), memory = H5Screate_simple(3, one, NULL);
    H5Sselect_hyperslab(space, H5S_SELECT_SET, at, NULL, one, NULL);
    DG_CHECK(H5Dwrite(data, H5T_NATIVE_UINT8, memory, space, H5P_DEFAULT, &high) >= 0);
    H5Sclose(memory);
    H5Sclose(space);
    H5Dclose(data);
    H5Fclose(file);
    DG_CHECK_FAILS(dg_prediction_read_probability(folder, "l", 0, 5, &info, back), DG_ERR_FORMAT, "holds the label 7");
    DG_CHECK_FAILS(dg_prediction_load(folder, "l", &info, NULL), DG_ERR_FORMAT, "prediction of case l");
    unlink(t5_path(folder, "p.h5"));
    unlink(t5_path(folder, "l.h5"));
    unlink(t5_path(folder, "d.h5"));
}

int main(void)
{
    char folder[64];
    t5_temporary(folder);
    check_kinds(folder);
    check_spread(folder);
    check_files(folder);
    check_ledger(folder);
    t5_remove_tree(folder);
    return 0;
}
