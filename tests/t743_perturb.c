/* ctest: libs=dg_h5,PkgConfig::HDF5 label=unit timeout=60 */
/* t743: predictions for the whole-program tests of evaluate, made from a cohort's own doses: shifted, scaled and with noise,
 * the same for the same case. As a program: t743_perturb COHORT PREDICTIONS [ID ...]; the named cases get a dose that is
 * no number in a file that is otherwise intact, which no writer of this program makes. Without arguments it tests itself.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_predictions.h"
#include "h5_impl.h"
#include "t5_cases.h"

static uint64_t text_seed(const char *text)
{
    uint64_t seed = 11;
    for (; *text != '\0'; text++) seed = seed * 131 + (uint64_t)*text;
    return seed;
}

/* One voxel along x later, up to 3 % more or less, and noise of up to 0.5 Gy where there is dose. */
static void perturb(const dg_case_info *info, const float *dose, float *out)
{
    dg_rng rng = dg_rng_stream(text_seed(info->id), DG_RNG_TEST, 7, 0);
    const int64_t n = info->grid.shape[2], voxels = dg_grid_voxels(&info->grid);
    const double scale = 0.97 + 0.06 * dg_rng_uniform(&rng);
    for (int64_t i = 0; i < voxels; i++) {
        const double before = dose[i % n == 0 ? i : i - 1], noise = dg_rng_uniform(&rng) - 0.5;
        const double gy = scale * (0.7 * dose[i] + 0.3 * before) + noise;
        out[i] = dose[i] > 0 && gy > 0 ? (float)gy : 0;
    }
}

static void put_nan(const char *folder, const char *id)
{
    char hex[DG_HASH_HEX];
    const hsize_t at[3] = {1, 1, 1}, one[3] = {1, 1, 1};
    const float nan_gy = NAN;
    char name[DG_CASE_ID + 8];
    snprintf(name, sizeof name, "%s.h5", id);
    dg_h5_lock();
    hid_t file = H5Fopen(t5_path(folder, name), H5F_ACC_RDWR, H5P_DEFAULT);
    DG_CHECK(file >= 0);
    hid_t dataset = H5Dopen2(file, "dose", H5P_DEFAULT), from = H5Screate_simple(3, one, NULL);
    hid_t to = H5Dget_space(dataset);
    DG_CHECK(H5Sselect_hyperslab(to, H5S_SELECT_SET, at, NULL, one, NULL) >= 0);
    DG_CHECK(H5Dwrite(dataset, H5T_NATIVE_FLOAT, from, to, H5P_DEFAULT, &nan_gy) >= 0);
    dg_h5_close(to);
    dg_h5_close(from);
    dg_h5_close(dataset);
    DG_CHECK(H5Adelete(file, "content_sha256") >= 0);
    DG_CHECK_OK(dg_h5_seal(file, "prediction", hex));
    dg_h5_close(file);
    dg_h5_unlock();
}

static void perturb_cohort(const char *cohort_path, const char *folder)
{
    dg_cohort *cohort;
    DG_CHECK_OK(dg_cohort_open(cohort_path, &cohort));
    for (int64_t i = 0; i < dg_cohort_count(cohort); i++) {
        const dg_case_info *info = dg_cohort_case(cohort, i);
        const int64_t *n = info->grid.shape, voxels = dg_grid_voxels(&info->grid);
        const dg_box all = {.shape = {n[0], n[1], n[2]}};
        dg_ledger_entry entry = {0};
        dg_case *c;
        float *dose, *out;
        DG_CHECK_OK(DG_NEW(&dose, voxels, "dose"));
        DG_CHECK_OK(DG_NEW(&out, voxels, "prediction"));
        DG_CHECK_OK(dg_case_open(cohort, i, &c));
        DG_CHECK_OK(dg_case_read(c, DG_FIELD_DOSE_GY, 0, &all, dose));
        dg_case_close(&c);
        perturb(info, dose, out);
        DG_CHECK_OK(dg_prediction_write(folder, info->id, &info->grid, "perturbed", out, &entry));
        dg_free(&dose);
        dg_free(&out);
    }
    dg_cohort_close(&cohort);
}

static void check_itself(void)
{
    char folder[64], predictions[80];
    t5_case c;
    dg_grid grid;
    float *dose;
    int64_t count;
    t5_temporary(folder);
    snprintf(predictions, sizeof predictions, "%s/p", folder);
    DG_CHECK(mkdir(t5_path(folder, "cases"), 0777) == 0);
    for (int k = 0; k < 2; k++) {
        t5_make(&c, k == 0 ? "a" : "b", 6, 5, 4);
        DG_CHECK_OK(dg_case_write(folder, &c.data));
        t5_release(&c);
    }
    DG_CHECK_OK(dg_cohort_write_index(folder, NULL, 0));
    perturb_cohort(folder, predictions);
    put_nan(predictions, "b");
    DG_CHECK_OK(dg_prediction_read(predictions, "b", &grid, &dose));
    count = 0;
    for (int64_t i = 0; i < 120; i++) count += isnan(dose[i]);
    DG_CHECK(count == 1 && isnan(dose[1 * 20 + 1 * 4 + 1]));
    dg_free(&dose);
    DG_CHECK_OK(dg_prediction_read(predictions, "a", &grid, &dose));
    for (int64_t i = 0; i < 120; i++) DG_CHECK(isfinite(dose[i]));
    dg_free(&dose);
    t5_remove_tree(folder);
}

int main(int argc, char **argv)
{
    if (argc == 1) check_itself();
    if (argc >= 3) perturb_cohort(argv[1], argv[2]);
    for (int i = 3; i < argc; i++) put_nan(argv[2], argv[i]);
    return 0;
}
