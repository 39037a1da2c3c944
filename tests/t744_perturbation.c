/* ctest: libs=dg_run label=unit timeout=60 */
/* t744: perturbed scans against what each perturbation says it does: offsets to the last digit, noise with its moments and the
 * same whatever box is read, larger voxels of a linear field by hand, masks that stay masks; doses stay.
 * SPDX-License-Identifier: Apache-2.0 */
#include "perturbation.h"
#include "source.h"
#include "t7_cases.h"

#include <math.h>
#include <string.h>

enum { N = 12, VOXELS = N * N * N, CHANNELS = 4 };
static const int64_t shape[3] = {N, N, N};
static const int64_t cases[2] = {0, 1};
static const char channels[] =
    "{data: {channels: [ct, mask.PTV70, rx, possible_dose], ct_range: [-1000, 1000]}, loss: {mask: none}}";

static void refuse(const char *text, const char *word)
{
    dg_perturbation p;
    DG_CHECK(dg_perturbation_parse(text, 1, &p) == DG_ERR_USAGE);
    DG_CHECK(strstr(dg_error_last()->text, word) != NULL);
    dg_error_clear();
}

static void test_words(void)
{
    static const char *const same[][2] = {{"hu=20", "hu=+20"},
                                          {"hu=+2e1", "hu=+20"},
                                          {"hu=-7.5", "hu=-7.5"},
                                          {"noise=15.0", "noise=15"},
                                          {"spacing=1.50", "spacing=1.5"}};
    dg_perturbation p;
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        DG_CHECK_OK(dg_perturbation_parse(same[i][0], 9, &p));
        DG_CHECK(strcmp(p.name, same[i][1]) == 0 && p.seed == 9);
    }
    static const char *const kinds[] = {"", "hu", "=5", "HU=5", "hue=5", "h=5", "blur=2"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) refuse(kinds[i], "hu=HU, noise=HU or spacing=FACTOR");
    static const char *const amounts[] = {"hu=0", "hu=1001", "hu=", "hu=5x", "hu=nan", "hu=-inf"};
    for (size_t i = 0; i < sizeof amounts / sizeof *amounts; i++) refuse(amounts[i], "-1000 to 1000 HU, but not 0");
    refuse("noise=0", "above 0 to 1000 HU");
    refuse("noise=-3", "above 0");
    refuse("spacing=1", "above 1 to 16 times");
    refuse("spacing=0.5", "above 1");
    refuse("spacing=17", "16 times");
}

/* A box of case `index` under a perturbation (NULL: as it is). */
static void read_box(const t7_cohort *t, const char *text, int64_t index, const dg_box *box, float *out, float *dose)
{
    dg_run_config config;
    dg_recipe recipe;
    dg_perturbation p;
    dg_source *source;
    t7_config(channels, &config);
    DG_CHECK_OK(dg_recipe_resolve(&config, t->cohort, cases, 2, &recipe));
    DG_CHECK_OK(dg_source_create(t->cohort, &recipe, 0, &source));
    if (text != NULL) {
        DG_CHECK_OK(dg_perturbation_parse(text, 5, &p));
        dg_source_perturb(source, &p);
    }
    DG_CHECK(dg_source_reads_whole(source) == (text != NULL && strncmp(text, "spacing", 7) == 0));
    DG_CHECK_OK(dg_source_pin(source, index));
    DG_CHECK_OK(dg_source_read(source, index, box, &(dg_source_buffers){.channels = out, .dose = dose}));
    dg_source_unpin(source, index);
    dg_source_destroy(&source);
}

static const dg_box whole = {.shape = {N, N, N}};

/* CT moves by 20 HU within the volume and nowhere else; no other channel does. */
static void test_offset(const t7_cohort *t)
{
    const dg_box box = {.start = {-1, 2, 5}, .shape = {N + 2, 3, 9}};
    enum { COUNT = (N + 2) * 3 * 9 };
    float *before = malloc(sizeof(float) * CHANNELS * COUNT), *after = malloc(sizeof(float) * CHANNELS * COUNT);
    DG_CHECK(before != NULL && after != NULL);
    read_box(t, NULL, 1, &box, before, NULL);
    read_box(t, "hu=+20", 1, &box, after, NULL);
    for (int i = 0; i < COUNT; i++) {
        const int64_t z = box.start[0] + i / 27, x = box.start[2] + i % 9;
        const bool inside = z >= 0 && z < N && x < N;
        DG_CHECK_NEAR(after[i] - before[i], inside ? 20.0 / 1000 : 0, 1e-6);
        if (!inside) DG_CHECK(after[i] == before[i]);
    }
    DG_CHECK(memcmp(after + COUNT, before + COUNT, sizeof(float) * (CHANNELS - 1) * COUNT) == 0);
    free(before);
    free(after);
}

/* Mean, deviation and independence of neighbours within 4 standard errors; the same noise in any box, another one in another case. */
static void test_noise(const t7_cohort *t)
{
    float *before = malloc(sizeof(float) * CHANNELS * VOXELS), *after = malloc(sizeof(float) * CHANNELS * VOXELS);
    float *other = malloc(sizeof(float) * CHANNELS * VOXELS), part[CHANNELS * 2 * 3 * 4];
    double sum = 0, squares = 0, neighbours = 0, cases_together = 0;
    DG_CHECK(before != NULL && after != NULL && other != NULL);
    read_box(t, NULL, 1, &whole, before, NULL);
    read_box(t, "noise=15", 1, &whole, after, NULL);
    read_box(t, "noise=15", 0, &whole, other, NULL);
    for (int i = 0; i < VOXELS; i++) {
        const double d = (double)(after[i] - before[i]) * 1000 / 15;
        const double next = i + 1 < VOXELS ? (double)(after[i + 1] - before[i + 1]) * 1000 / 15 : 0;
        const double in_other = (double)(other[i] - before[i]) * 1000 / 15 - 100.0 / 15; /* its CT is 100 HU higher */
        sum += d;
        squares += d * d;
        neighbours += d * next;
        cases_together += d * in_other;
    }
    const double error = 1 / sqrt((double)VOXELS);
    DG_CHECK_NEAR(sum / VOXELS, 0, 4 * error);
    DG_CHECK_NEAR(sqrt(squares / VOXELS), 1, 4 * error / sqrt(2));
    DG_CHECK_NEAR(neighbours / VOXELS, 0, 4 * error);
    DG_CHECK_NEAR(cases_together / VOXELS, 0, 4 * error);
    const dg_box box = {.start = {3, 4, 5}, .shape = {2, 3, 4}};
    read_box(t, "noise=15", 1, &box, part, NULL);
    for (int i = 0; i < 24; i++) DG_CHECK(part[i] == after[((3 + i / 12) * N + 4 + i / 4 % 3) * N + 5 + i % 4]);
    free(before);
    free(after);
    free(other);
}

/* Voxels twice as large: centres lie at 0.5, 2.5, .. 10.5 of the others; a linear field is what it was between the outermost of them
 * and stays level beyond. Masks hold 0 and 1; the part of a volume is that of the whole; doses are as they were. */
static void test_spacing(const t7_cohort *t)
{
    float *after = malloc(sizeof(float) * CHANNELS * VOXELS), *before = malloc(sizeof(float) * CHANNELS * VOXELS);
    float *dose = malloc(sizeof(float) * VOXELS), *known = malloc(sizeof(float) * VOXELS), part[CHANNELS * 2 * 3 * 4];
    DG_CHECK(after != NULL && before != NULL && dose != NULL && known != NULL);
    read_box(t, NULL, 1, &whole, before, known);
    read_box(t, "spacing=2", 1, &whole, after, dose);
    DG_CHECK(memcmp(dose, known, sizeof(float) * VOXELS) == 0);
    for (int i = 0; i < VOXELS; i++) {
        double at[3] = {i / (N * N), i / N % N, i % N};
        for (int axis = 0; axis < 3; axis++) at[axis] = fmin(fmax(at[axis], 0.5), N - 1.5);
        DG_CHECK_NEAR(after[i], (10 * at[0] + at[1] - at[2] - 100) / 1000, 2e-6);
        for (int c = 1; c < CHANNELS; c++) DG_CHECK(after[c * VOXELS + i] == 0 || after[c * VOXELS + i] == 1);
    }
    const dg_box box = {.start = {3, 4, 5}, .shape = {2, 3, 4}};
    read_box(t, "spacing=2", 1, &box, part, NULL);
    for (int c = 0; c < CHANNELS; c++)
        for (int i = 0; i < 24; i++)
            DG_CHECK(part[c * 24 + i] == after[c * VOXELS + ((3 + i / 12) * N + 4 + i / 4 % 3) * N + 5 + i % 4]);
    read_box(t, "spacing=16", 1, &whole, after, NULL); /* one voxel: its mean everywhere */
    for (int i = 0; i < VOXELS; i++) DG_CHECK_NEAR(after[i], (10 * 5.5 - 100) / 1000, 2e-6);
    free(after);
    free(before);
    free(dose);
    free(known);
}

int main(void)
{
    t7_cohort t;
    t7_create(&t, 2, shape);
    test_words();
    test_offset(&t);
    test_noise(&t);
    test_spacing(&t);
    t7_release(&t);
    return 0;
}
