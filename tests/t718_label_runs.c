/* ctest: libs=dg_run label=unit timeout=120 */
/* t718_label_runs.c - labels as a target: every key of their losses changes the loss or is refused; phases and their
 * mistakes; classes of labels, ignored voxels and distances in samples; phantom surfaces. SPDX-License-Identifier: Apache-2.0 */
#include "loss_setup.h"
#include "phantom_surface.h"
#include "sample.h"
#include "t7_cases.h"

#define LABELS "data: {cohort: c, target: labels, labels: {foreground: [1], ignore: [2]}}, model: {kind: topology_unet}"

enum { SIDE = 16 };

typedef struct world {
    dg_phantom_surface *scan[2];
    dg_case_data data[2];
    dg_cohort *cohort;
} world;

static void open_world(world *w)
{
    const dg_phantom_config config = {.shape = {SIDE, 2 * SIDE, SIDE}, .spacing_mm = {1, 1, 1}, .seed = 3};
    for (int i = 0; i < 2; i++) {
        DG_CHECK_OK(dg_phantom_surface_create(&config, i, &w->scan[i]));
        w->data[i] = w->scan[i]->data;
    }
    DG_CHECK_OK(dg_cohort_memory_create(w->data, 2, &w->cohort));
}

static void close_world(world *w)
{
    dg_cohort_close(&w->cohort);
    for (int i = 0; i < 2; i++) dg_phantom_surface_destroy(&w->scan[i]);
}

/* ---- keys ------------------------------------------------------------------------------------------------------------- */

/* The weighted loss of a fixed prediction at an epoch, by the settings alone. */
static double loss_of(const world *w, const char *yaml, double epoch)
{
    static const int64_t cases[] = {0, 1};
    dg_run_config config;
    dg_recipe *recipe = NULL;
    dg_loss_setup *setup = NULL;
    dg_backend *backend = NULL;
    dg_loss *loss = NULL;
    t7_config(yaml, &config);
    DG_CHECK_OK(dg_run_config_check(&config));
    DG_CHECK_OK(DG_NEW(&recipe, 1, "recipe"));
    DG_CHECK_OK(DG_NEW(&setup, 1, "setup"));
    DG_CHECK_OK(dg_recipe_resolve(&config, w->cohort, cases, 2, recipe));
    DG_CHECK_OK(dg_loss_setup_make(&config, w->cohort, cases, 2, recipe, setup));
    DG_CHECK_OK(dg_backend_create("ref", &(dg_backend_options){.threads = 1}, &backend));
    enum { N = 8 * 8 * 8 };
    float p[2 * N], t[2 * N], distance[2 * N];
    for (int i = 0; i < 2 * N; i++) {
        const int y = i / 8 % 8;
        t[i] = y == 3 || y == 4;
        distance[i] = (float)(y < 3 ? 3 - y : y > 4 ? y - 4 : -1);
        p[i] = 0.1f + 0.02f * (float)(i * 7 % 29) + 0.2f * t[i] * (float)(i >= N);
    }
    const dg_loss_batch batch = {
        .y = {p, DG_F32, 2, 8, 8, 8, 1, 1}, .target = {t, DG_F32, 2, 8, 8, 8, 1, 1}, .distance = distance};
    double value[2 * DG_LOSS_TERMS_MAX], sum = 0;
    DG_CHECK_OK(dg_loss_create(&setup->config, backend, &batch, &loss));
    DG_CHECK_OK(dg_loss_evaluate(loss, &batch, NULL));
    DG_CHECK_OK(dg_loss_read(loss, value));
    const int terms = setup->config.count;
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < terms; k++)
            sum += setup->config.weight[k] * dg_loss_course_factor(&setup->course[k], epoch) * value[i * terms + k] / 2;
    DG_CHECK(recipe->distance || strstr(yaml, "boundary") == NULL);
    dg_loss_destroy(&loss);
    dg_backend_destroy(&backend);
    dg_free(&recipe);
    dg_free(&setup);
    return sum;
}

static const char ALL_TERMS[] =
    "dice: 1, focal: 1, boundary: 1, cldice: 1, connectivity: 1, variance: {weight: 1, least_entropy: 0.65}, "
    "entropy: {weight: 1, least_entropy: 0.65}";

/* The other value of every key of the label terms. */
static void check_keys(const world *w)
{
    static const char *const CHANGES[][2] = {
        {"loss.dice.weight", "dice: 2"},
        {"loss.dice.smooth", "dice: {weight: 1, smooth: 9}"},
        {"loss.focal.weight", "focal: 2"},
        {"loss.focal.alpha", "focal: {weight: 1, alpha: 0.9}"},
        {"loss.focal.gamma", "focal: {weight: 1, gamma: 1}"},
        {"loss.focal.foreground", "focal: {weight: 1, foreground: 3}"},
        {"loss.focal.background", "focal: {weight: 1, background: 3}"},
        {"loss.boundary.weight", "boundary: 2"},
        {"loss.boundary.theta0", "boundary: {weight: 1, theta0: 0}"},
        {"loss.boundary.theta", "boundary: {weight: 1, theta: 9, theta0: 0}"},
        {"loss.cldice.weight", "cldice: 2"},
        {"loss.cldice.iterations", "cldice: {weight: 1, iterations: 0}"},
        {"loss.cldice.smooth", "cldice: {weight: 1, smooth: 9}"},
        {"loss.connectivity.weight", "connectivity: 2"},
        {"loss.connectivity.kernel", "connectivity: {weight: 1, kernel: 5}"},
        {"loss.variance.weight", "variance: {weight: 2, least_entropy: 0.65}"},
        {"loss.variance.least_entropy", "variance: {weight: 1, least_entropy: 0.1}"},
        {"loss.entropy.weight", "entropy: {weight: 2, least_entropy: 0.65}"},
        {"loss.entropy.least_entropy", "entropy: {weight: 1, least_entropy: 0.1}"},
    };
    enum { COUNT = sizeof CHANGES / sizeof *CHANGES };
    int rows, found = 0;
    const dg_option *row = dg_run_config_rows(&rows);
    char yaml[2048];
    for (int i = 0; i < rows; i++) { /* no key of a label term is missing above */
        char term[64] = "";
        if (sscanf(row[i].key, "loss.%60[^.].", term) != 1 || strchr(row[i].key + 5, '.') == NULL) continue;
        if (strstr(" dice focal boundary cldice connectivity variance entropy ", term) == NULL) continue;
        found++;
        bool listed = false;
        for (int k = 0; k < COUNT; k++) listed = listed || strcmp(CHANGES[k][0], row[i].key) == 0;
        if (!listed) printf("%s is not tried\n", row[i].key);
        DG_CHECK(listed);
    }
    DG_CHECK(found == COUNT);
    for (int k = 0; k < COUNT; k++) {
        char term[64];
        (void)snprintf(term, sizeof term, "%.*s", (int)strcspn(CHANGES[k][1], ":"), CHANGES[k][1]);
        const bool entropy = strcmp(term, "variance") == 0 || strcmp(term, "entropy") == 0;
        (void)snprintf(yaml, sizeof yaml, "{" LABELS ", loss: {mse: 0, negative: 0, %s: %s}}", term,
                       entropy ? "{weight: 1, least_entropy: 0.65}" : "1");
        const double before = loss_of(w, yaml, 0);
        (void)snprintf(yaml, sizeof yaml, "{" LABELS ", loss: {mse: 0, negative: 0, %s}}", CHANGES[k][1]);
        const double after = loss_of(w, yaml, 0);
        if (!(fabs(after - before) > 1e-6)) printf("%s: %.9g, changed %.9g\n", CHANGES[k][0], before, after);
        DG_CHECK(fabs(after - before) > 1e-6);
    }
    /* the sum of all is the sum of each */
    (void)snprintf(yaml, sizeof yaml, "{" LABELS ", loss: {mse: 0, negative: 0, %s}}", ALL_TERMS);
    DG_CHECK(loss_of(w, yaml, 0) > 1);
}

static void check_refused(const char *yaml, const char *words)
{
    dg_run_config config;
    t7_config(yaml, &config);
    DG_CHECK_FAILS(dg_run_config_check(&config), DG_ERR_USAGE, words);
}

static void check_refusals(void)
{
    check_refused("{data: {cohort: c, target: labels}, model: {kind: topology_unet}}",
                  "data.labels.foreground is not set");
    check_refused("{data: {cohort: c, target: labels, labels: {foreground: [1]}}}",
                  "model.kind unet: labels are learned by");
    check_refused("{data: {cohort: c}, model: {kind: topology_unet}}", "data.target is dose");
    check_refused(
        "{data: {cohort: c, target: labels, labels: {foreground: [1], ignore: [1]}}, model: {kind: topology_unet}}",
        "value 1 is both ignored and a class");
    check_refused("{data: {cohort: c, target: labels, labels: {foreground: [0]}}, model: {kind: topology_unet}}",
                  "value 0 is both foreground and background");
    check_refused("{" LABELS ", loss: {dvh: 1}}", "look at a patient's structures");
    check_refused("{" LABELS ", train: {monitor: val_mae_gy}}", "labels are judged by val_dice_error");
    check_refused(
        "{data: {cohort: c, target: labels, labels: {foreground: [1]}, coarsen: 2}, model: {kind: topology_unet}}",
        "leave out data.spacing_mm and data.coarsen");
}

/* ---- phases ------------------------------------------------------------------------------------------------------------ */

static dg_status read_phases(const char *a, const char *b, const char *c, double blend, double epochs,
                             dg_loss_phases *out)
{
    const char *const text[] = {a, b, c};
    dg_string_list list = {.count = 0};
    for (int i = 0; i < 3; i++)
        if (text[i] != NULL) (void)snprintf(list.value[list.count++], sizeof list.value[0], "%s", text[i]);
    return dg_loss_phases_read(&list, blend, epochs, out);
}

static double weight_at(const dg_loss_phases *p, dg_loss_kind kind, double epoch)
{
    const dg_loss_course course = dg_loss_phases_course(p, kind);
    return dg_loss_course_factor(&course, epoch);
}

static void check_phases(void)
{
    dg_loss_phases p;
    DG_CHECK_OK(
        read_phases("0-30 dice=1", "31-39 dice=0.95 focal=0.05", "40-50 dice=0.85 focal=0.1 variance=0.03", 0, 51, &p));
    DG_CHECK(p.count == 3 && p.named[DG_LOSS_DICE] && p.named[DG_LOSS_VARIANCE] && !p.named[DG_LOSS_CLDICE]);
    DG_CHECK(weight_at(&p, DG_LOSS_DICE, 0) == 1 && weight_at(&p, DG_LOSS_DICE, 30.999) == 1);
    DG_CHECK(weight_at(&p, DG_LOSS_DICE, 31) == 0.95 && weight_at(&p, DG_LOSS_DICE, 39.5) == 0.95);
    DG_CHECK(weight_at(&p, DG_LOSS_DICE, 40) == 0.85 && weight_at(&p, DG_LOSS_DICE, 50.9) == 0.85);
    DG_CHECK(weight_at(&p, DG_LOSS_VARIANCE, 39.9) == 0 && weight_at(&p, DG_LOSS_VARIANCE, 40) == 0.03);
    DG_CHECK_OK(read_phases("0-9 dice=1", "10-19 focal=1", NULL, 4, 20, &p));
    DG_CHECK_NEAR(weight_at(&p, DG_LOSS_DICE, 11), 0.75, 1e-12);
    DG_CHECK_NEAR(weight_at(&p, DG_LOSS_FOCAL, 13), 0.75, 1e-12);
    DG_CHECK(weight_at(&p, DG_LOSS_FOCAL, 14) == 1 && weight_at(&p, DG_LOSS_FOCAL, 10) == 0);
    DG_CHECK_OK(read_phases("0%-60% dice=1", "60%-100% focal=2", NULL, 0, 5, &p));
    DG_CHECK(weight_at(&p, DG_LOSS_DICE, 2.99) == 1 && weight_at(&p, DG_LOSS_FOCAL, 3) == 2);
}

static void refuse_phases(const char *a, const char *b, double blend, double epochs, const char *words)
{
    dg_loss_phases p;
    DG_CHECK_FAILS(read_phases(a, b, NULL, blend, epochs, &p), DG_ERR_USAGE, words);
}

static void check_bad_phases(void)
{
    refuse_phases("0-9 dice=1", "11-20 focal=1", 0, 0, "a gap with the phase before, which ends where epoch 10 begins");
    refuse_phases("0-9 dice=1", "9-20 focal=1", 0, 0, "an overlap with the phase before");
    refuse_phases("1-9 dice=1", NULL, 0, 0, "the first phase begins with the run");
    refuse_phases("0-9 dice=0", NULL, 0, 0, "no term has a weight");
    refuse_phases("0-9", NULL, 0, 0, "no term has a weight");
    refuse_phases("0-9 dise=1", NULL, 0, 0, "no term of the loss");
    refuse_phases("0-9 dice=1 dice=2", NULL, 0, 0, "a term stands there twice");
    refuse_phases("0-9 dice=-1", NULL, 0, 0, "a weight is a number of at least 0");
    refuse_phases("9-0 dice=1", NULL, 0, 0, "the range does not rise");
    refuse_phases("0-1.5 dice=1", NULL, 0, 0, "epochs are whole numbers");
    refuse_phases("0%-50% dice=1", "50%-99% focal=1", 0, 10, "a gap at the end");
    refuse_phases("0%-50% dice=1", NULL, 0, 0, "train.minutes says none");
    refuse_phases("0-9 dice=1", "50%-100% focal=1", 0, 20, "epochs and shares are mixed");
    refuse_phases("0-9 dice=1", "10-19 focal=1", 0, 40, "end with epoch 20 and the run has 40 epochs");
    refuse_phases("0-9 dice=1", "10-19 focal=1", 11, 20, "loss.blend is longer than the phase");
}

/* A term has one weight, and phases reach the loss. */
static void check_phases_in_runs(const world *w)
{
    static const int64_t cases[] = {0, 1};
    const char *const yaml =
        "{" LABELS
        ", train: {epochs: 4}, loss: {mse: 0, negative: 0, phases: ['0-1 dice=1', '2-3 dice=0.5 boundary=2']}}";
    DG_CHECK(loss_of(w, yaml, 0) > 0 && loss_of(w, yaml, 2.5) != loss_of(w, yaml, 0));
    dg_run_config config;
    dg_recipe *recipe = NULL;
    dg_loss_setup *setup = NULL;
    DG_CHECK_OK(DG_NEW(&recipe, 1, "recipe"));
    DG_CHECK_OK(DG_NEW(&setup, 1, "setup"));
    t7_config("{" LABELS ", train: {epochs: 2}, loss: {mse: 0, dice: 1, phases: ['0-1 dice=1']}}", &config);
    DG_CHECK_OK(dg_recipe_resolve(&config, w->cohort, cases, 2, recipe));
    DG_CHECK_FAILS(dg_loss_setup_make(&config, w->cohort, cases, 2, recipe, setup), DG_ERR_USAGE,
                   "loss.phases sets the weight of dice, and loss.dice.weight is 1 too");
    t7_config("{data: {cohort: c}, loss: {dice: 1}}", &config);
    DG_CHECK_FAILS(dg_loss_setup_make(&config, w->cohort, cases, 2, recipe, setup), DG_ERR_USAGE,
                   "loss.dice compares labels; it needs data.target: labels");
    t7_config("{" LABELS ", train: {epochs: 2}, loss: {weighting: learned, phases: ['0-1 dice=1']}}", &config);
    DG_CHECK_FAILS(dg_loss_setup_make(&config, w->cohort, cases, 2, recipe, setup), DG_ERR_USAGE, "leave one out");
    dg_free(&recipe);
    dg_free(&setup);
}

/* ---- samples ----------------------------------------------------------------------------------------------------------- */

/* The target is the foreground, what is ignored does not count, and an unlisted value is named. */
static void check_source(const world *w)
{
    static const int64_t cases[] = {0, 1};
    dg_run_config config;
    dg_recipe *recipe = NULL;
    dg_source *source = NULL;
    enum { VOXELS = SIDE * 2 * SIDE * SIDE };
    static float label[VOXELS];
    static uint8_t counted[VOXELS];
    const dg_box whole = {.shape = {SIDE, 2 * SIDE, SIDE}};
    const dg_source_buffers out = {.dose = label, .counted = counted};
    t7_config("{" LABELS "}", &config);
    DG_CHECK_OK(DG_NEW(&recipe, 1, "recipe"));
    DG_CHECK_OK(dg_recipe_resolve(&config, w->cohort, cases, 2, recipe));
    DG_CHECK_OK(dg_source_create(w->cohort, recipe, 0, &source));
    DG_CHECK_OK(dg_source_pin(source, 0));
    DG_CHECK_OK(dg_source_read(source, 0, &whole, &out));
    int64_t seen[3] = {0};
    for (int64_t i = 0; i < VOXELS; i++) {
        const int value = w->scan[0]->labels[i];
        seen[value]++;
        DG_CHECK(label[i] == (value == 1) && counted[i] == (value != 2));
    }
    DG_CHECK(seen[0] > 0 && seen[1] > 0 && seen[2] > 0);
    const int64_t *voxel, stray = VOXELS / 2;
    int64_t count;
    DG_CHECK_OK(dg_source_targets(source, 0, &voxel, &count));
    DG_CHECK(count > 0);
    for (int64_t i = 0; i < count; i++) DG_CHECK(w->scan[0]->labels[voxel[i]] == 1);
    w->scan[0]->labels[stray] = 7;
    DG_CHECK_FAILS(dg_source_read(source, 0, &whole, &out), DG_ERR_USAGE,
                   "case surface-0001: a label has the value 7, which data.labels lists neither");
    dg_source_unpin(source, 0);
    dg_source_destroy(&source);
    dg_free(&recipe);
}

/* As hard as they are said to be: 2 to 6 % foreground, ignored zones, and the same again from the same seed. */
static void check_phantoms(void)
{
    const dg_phantom_config config = {.shape = {48, 64, 48}, .spacing_mm = {1, 1, 1}, .seed = 5};
    for (int i = 0; i < 4; i++) {
        dg_phantom_surface *a, *b;
        DG_CHECK_OK(dg_phantom_surface_create(&config, i, &a));
        DG_CHECK_OK(dg_phantom_surface_create(&config, i, &b));
        const int64_t voxels = dg_grid_voxels(&a->data.info.grid);
        int64_t seen[3] = {0};
        double bright = 0, dark = 0;
        for (int64_t v = 0; v < voxels; v++) {
            seen[a->labels[v]]++;
            if (a->labels[v] == 1) bright += a->scan[v];
            if (a->labels[v] == 0) dark += a->scan[v];
        }
        const double share = (double)seen[1] / (double)voxels;
        printf("%s: foreground %.3f, unknown %.3f, contrast %.0f\n", a->data.info.id, share,
               (double)seen[2] / (double)voxels, bright / (double)seen[1] - dark / (double)seen[0]);
        DG_CHECK(share > 0.02 && share < 0.06 && seen[2] > 0);
        DG_CHECK(bright / (double)seen[1] > dark / (double)seen[0] + 40);
        DG_CHECK(memcmp(a->scan, b->scan, (size_t)voxels * sizeof *a->scan) == 0);
        DG_CHECK(memcmp(a->labels, b->labels, (size_t)voxels) == 0);
        dg_phantom_surface_destroy(&a);
        dg_phantom_surface_destroy(&b);
    }
}

int main(void)
{
    static world w; /* the cohort borrows its cases */
    open_world(&w);
    check_keys(&w);
    check_refusals();
    check_phases();
    check_bad_phases();
    check_phases_in_runs(&w);
    check_source(&w);
    check_phantoms();
    close_world(&w);
    return 0;
}
