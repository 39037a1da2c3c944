/* The asymmetric loss has an exact answer: where a dose is uncertain its minimum is an expectile, above the mean by
 * 0.436, 0.364 and 0.276 standard deviations of a normal distribution at 3:1, 2.5:1 and 2:1. A sweep over these
 * ratios on phantoms, whose mean and spread are known in every voxel, is trained on the organs where planners differ;
 * the shift of its predictions is held against that, and against the expectile of the phantom's own distribution.
 * ctest: libs=dg_run label=slow timeout=600
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_mem.h"
#include "dg_predictions.h"
#include "phantom.h"
#include "split.h"

#include <unistd.h>

enum { RATIOS = 3, SEEDS = 2, CASES_MAX = 16, DRAWS = 300, EDGE = 12, VOXELS = EDGE * EDGE * EDGE, CASES = 160 };
static const double ratio[RATIOS] = {3, 2.5, 2}, normal_shift[RATIOS] = {0.436, 0.364, 0.276};
static const char *const condition[RATIOS + 1] = {"ratio3", "ratio2.5", "ratio2", "mean"};
static const double TOLERANCE = 0.1;
static const uint64_t SEED = 42; /* synth's default */

static void run(const char *arguments)
{
    char command[1024];
    snprintf(command, sizeof command, "'%s/dosegrid' %s >out.txt 2>err.txt", getenv("DG_TEST_BIN"), arguments);
    if (system(command) == 0) return;
    fprintf(stderr, "%s failed:\n", command);
    (void)!system("tail -n 30 err.txt >&2");
    exit(1);
}

static void write_file(const char *name, const char *text)
{
    FILE *file = fopen(name, "w");
    DG_CHECK(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
}

static void write_sweep(void)
{
    write_file(
        "base.yaml",
        "data:\n"
        "  cohort: cohort\n"
        "  split: {train: 0.85, val: 0.05, test: 0.1}\n"
        "  channels: [sdf.LeftParotid, sdf.RightParotid, sdf.PTV70, sdf.PTV63, sdf.PTV56, sdf.Larynx, possible_dose]\n"
        "  patch: [12, 12, 12]\n"
        "model: {base: 8, levels: 2}\n"
        "loss: {mse: 0, negative: 0, asymmetric: {weight: 1, targets: [LeftParotid, RightParotid]}}\n"
        "optim: {lr: 3e-3, clip: 1, ema: 0.98}\n"
        "train: {steps: 500, batch: 8, threads: 1, reduction: ordered, dtype: f32, validate_every: 0, "
        "checkpoint_every: 0}\n"
        "predict: {dtype: f32}\n"
        "evaluate: {gamma: none, resamples: 200, regions: [global], constraint_table: none}\n");
    write_file("sweep.yaml", "base: base.yaml\n"
                             "seeds: [1, 2]\n"
                             "reference: mean\n"
                             "conditions:\n"
                             "  mean: {set: {loss.asymmetric.ratio: 1}}\n"
                             "  ratio3: {set: {loss.asymmetric.ratio: 3}}\n"
                             "  ratio2.5: {set: {loss.asymmetric.ratio: 2.5}}\n"
                             "  ratio2: {set: {loss.asymmetric.ratio: 2}}\n");
}

/* Voxels of the two parotids whose dose is uncertain. */
typedef struct truth {
    int64_t index; /* of the case */
    bool in[VOXELS];
    double mean[VOXELS], std[VOXELS];
} truth;

static void read_truth(const char *id, truth *t)
{
    dg_phantom_config config = {.shape = {EDGE, EDGE, EDGE},
                                .spacing_mm = {20, 24, 24},
                                .seed = SEED,
                                .ambiguity = DG_AMBIGUITY_ONE,
                                .level = 0.004};
    dg_phantom *phantom;
    dg_grid grid;
    float *mean;
    t->index = strtoll(strrchr(id, '-') + 1, NULL, 10) - 1;
    DG_CHECK_OK(dg_phantom_create(&config, t->index, 0, &phantom));
    DG_CHECK_OK(dg_prediction_read("cohort/truth_mean", id, &grid, &mean));
    uint64_t bits = 0;
    for (int s = 0; s < phantom->data.info.structure_count; s++)
        if (strstr(phantom->data.info.structure[s].name, "Parotid") != NULL) bits |= UINT64_C(1) << s;
    for (int i = 0; i < VOXELS; i++) {
        t->mean[i] = phantom->mean_gy[i];
        t->std[i] = phantom->std_gy[i];
        t->in[i] = (phantom->masks[i] & bits) != 0 && t->std[i] > 0.05 * t->mean[i];
        DG_CHECK(mean[i] == phantom->mean_gy[i]); /* the phantom here is the cohort's */
    }
    dg_free(&mean);
    dg_phantom_destroy(&phantom);
}

/* Minimum of the mean of (r if y < t, else 1) (y - t)^2 over samples, by its own fixed point. */
static double expectile(const double *sample, int count, double r)
{
    double y = 0;
    for (int turn = 0; turn < 60; turn++) {
        double sum = 0, weights = 0;
        for (int i = 0; i < count; i++) {
            double w = sample[i] > y ? r : 1;
            sum += w * sample[i];
            weights += w;
        }
        y = sum / weights;
    }
    return y;
}

/* Mean over voxels of the expectile of the phantom's own doses, in standard deviations. */
static void exact_shifts(const truth *t, double shift[RATIOS])
{
    static double sample[VOXELS][DRAWS];
    int64_t count = 0;
    for (uint32_t draw = 1; draw <= DRAWS; draw++) {
        dg_phantom_config config = {.shape = {EDGE, EDGE, EDGE},
                                    .spacing_mm = {20, 24, 24},
                                    .seed = SEED,
                                    .ambiguity = DG_AMBIGUITY_ONE,
                                    .level = 0.004};
        dg_phantom *phantom;
        DG_CHECK_OK(dg_phantom_create(&config, t->index, draw, &phantom));
        for (int i = 0; i < VOXELS; i++)
            if (t->in[i]) sample[i][draw - 1] = (phantom->dose_gy[i] - t->mean[i]) / t->std[i];
        dg_phantom_destroy(&phantom);
    }
    for (int k = 0; k < RATIOS; k++) shift[k] = 0;
    for (int i = 0; i < VOXELS; i++) {
        if (!t->in[i]) continue;
        count++;
        const double mean = expectile(sample[i], DRAWS, 1);
        for (int k = 0; k < RATIOS; k++) shift[k] += expectile(sample[i], DRAWS, ratio[k]) - mean;
    }
    DG_CHECK(count >= 4);
    for (int k = 0; k < RATIOS; k++) shift[k] /= (double)count;
}

/* Mean over the voxels of a test case of (prediction - that of the mean's run with the same seed) / std. */
static double trained_shift(const truth *t, const char *id, const char *name, int seed)
{
    char folder[2][256];
    float *dose[2];
    dg_grid grid;
    double sum = 0;
    int64_t count = 0;
    for (int k = 0; k < 2; k++) {
        const char *of = k == 0 ? name : condition[RATIOS];
        snprintf(folder[k], sizeof folder[k], "sweep/experiments/%s/%s-s%d/predictions", of, of, seed);
        DG_CHECK_OK(dg_prediction_read(folder[k], id, &grid, &dose[k]));
    }
    for (int i = 0; i < VOXELS; i++) {
        if (!t->in[i]) continue;
        sum += (dose[0][i] - dose[1][i]) / t->std[i];
        count++;
    }
    for (int k = 0; k < 2; k++) dg_free(&dose[k]);
    return sum / (double)count;
}

static void check_shifts(void)
{
    char(*id)[DG_CASE_ID];
    int64_t count;
    truth *t;
    double exact[RATIOS] = {0}, one[RATIOS];
    DG_CHECK_OK(dg_split_read_part("sweep/experiments/mean/mean-s1/test_cases.json", DG_PART_TEST, &id, &count));
    DG_CHECK(count > 4 && count <= CASES_MAX);
    DG_CHECK_OK(DG_NEW(&t, count, "truth"));
    for (int64_t c = 0; c < count; c++) {
        read_truth(id[c], &t[c]);
        if (c < 3) exact_shifts(&t[c], one);
        for (int k = 0; k < RATIOS && c < 3; k++) exact[k] += one[k] / 3;
    }
    for (int k = 0; k < RATIOS; k++) {
        double shift = 0;
        for (int seed = 1; seed <= SEEDS; seed++)
            for (int64_t c = 0; c < count; c++)
                shift += trained_shift(&t[c], id[c], condition[k], seed) / (double)(count * SEEDS);
        printf("%g:1: trained %.3f, of a normal distribution %.3f, of the phantom's %.3f\n", ratio[k], shift,
               normal_shift[k], exact[k]);
        fflush(stdout);
        DG_CHECK_NEAR(shift, normal_shift[k], TOLERANCE);
        DG_CHECK_NEAR(shift, exact[k], TOLERANCE);
    }
    dg_free(&t);
    dg_free(&id);
}

int main(void)
{
    char folder[] = "/tmp/dosegrid-test.XXXXXX", command[128];
#if defined(__SANITIZE_ADDRESS__)
    printf("skipped: a measurement on trained networks; the sanitizers see the same code in t764_sweep\n");
    return DG_TEST_SKIPPED;
#endif
    DG_CHECK(getenv("DG_TEST_BIN") != NULL && mkdtemp(folder) != NULL && chdir(folder) == 0);
    snprintf(command, sizeof command, "synth -o cohort --cases %d --shape 12,12,12 --spacing 20,24,24 --ambiguity one",
             CASES);
    run(command);
    write_sweep();
    run("sweep sweep.yaml -o sweep --jobs 2 --no-figures");
    check_shifts();
    DG_CHECK(chdir("/") == 0);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}
