/* A segmentation cut and joined as the surface detection study does it: against single windows, each predicted as a case of its own,
 * joined by its formula; windows of any pass; voxels that nothing reaches; a case smaller than a window.
 * ctest: libs=dg_run label=unit timeout=120 args=--backend ref; --backend onednn
 * SPDX-License-Identifier: Apache-2.0 */
#include "predictor.h"
#include "t7_cases.h"

#include <math.h>

enum { Z = 10, Y = 11, X = 15, PATCH = 6, OVER = 2, STRIDE = PATCH - OVER, WINDOW = PATCH * PATCH * PATCH };
enum { AT_Z = 2, AT_Y = 2, AT_X = 3, WINDOWS = AT_Z * AT_Y * AT_X };
static const int64_t shape[3] = {Z, Y, X}, window_shape[3] = {PATCH, PATCH, PATCH};
static const char yaml[] =
    "{data: {target: labels, channels: [ct], labels: {foreground: [1]}, patch: [6, 6, 6], ct_range: [-100, 100]}, model: {kind: "
    "topology_unet, base: 4, levels: 2}, loss: {mse: 0, negative: 0, dice: 1}}";
static const char *backend_name = "ref";

typedef struct network {
    dg_recipe recipe;
    dg_model *model;
    dg_backend *backend;
    float *weights; /* backend memory */
} network;

/* Cohorts of labels; what the labels are matters to nobody here. */
static void make_cohort(int count, const int64_t *n, const uint8_t *labels, t7_cohort *t)
{
    t7_create(t, count, n);
    for (int c = 0; c < count; c++) t->data[c].labels = labels;
    dg_cohort_close(&t->cohort);
    DG_CHECK_OK(dg_cohort_memory_create(t->data, count, &t->cohort));
}

static void open_network(const t7_cohort *t, network *n)
{
    const dg_backend_options options = {.threads = 1, .deterministic = true};
    const int64_t first = 0;
    dg_run_config config;
    float *host;
    void *memory;
    t7_config(yaml, &config);
    DG_CHECK_OK(dg_recipe_resolve(&config, t->cohort, &first, 1, &n->recipe));
    const dg_model_config model = dg_run_config_model(&config, n->recipe.count, n->recipe.constraint_count);
    DG_CHECK_OK(dg_model_create(&model, &n->model));
    DG_CHECK_OK(dg_backend_create(backend_name, &options, &n->backend));
    DG_CHECK_OK(n->backend->ops->alloc(n->backend, n->model->params.total * 4, "weights", &memory));
    n->weights = memory;
    DG_CHECK_OK(DG_NEW(&host, n->model->params.total, "weights"));
    dg_params_init(&n->model->params, 5, host);
    DG_CHECK_OK(n->backend->ops->upload(n->backend, n->weights, host, n->model->params.total * 4));
    dg_free(&host);
}

static dg_status predict(const network *n, const dg_cohort *cohort, int64_t index, bool study, int64_t batch,
                         float *out, int64_t *windows)
{
    const dg_predictor_config config = {
        .dtype = DG_F32, .overlap = (double)OVER / PATCH, .study = study, .batch = batch};
    dg_source *source;
    dg_predictor *predictor;
    dg_predictor_note note = {.windows = 0};
    DG_CHECK_OK(dg_source_create(cohort, &n->recipe, 0, &source));
    DG_CHECK_OK(dg_predictor_create(n->model, n->backend, source, &config, NULL, &predictor));
    DG_CHECK_OK(dg_predictor_set_weights(predictor, n->weights));
    DG_CHECK_OK(dg_source_pin(source, index));
    const dg_status status = dg_predictor_run(predictor, index, -1, out, &note);
    dg_source_unpin(source, index);
    dg_predictor_destroy(&predictor);
    dg_source_destroy(&source);
    *windows = note.windows;
    return status;
}

/* Window k of the volume as case k. */
static void cut_windows(const t7_cohort *whole, t7_cohort *windows)
{
    for (int k = 0; k < WINDOWS; k++)
        for (int i = 0; i < WINDOW; i++) {
            const int z = k / (AT_Y * AT_X) * STRIDE + i / (PATCH * PATCH),
                      y = k / AT_X % AT_Y * STRIDE + i / PATCH % PATCH;
            windows->ct[k][i] = whole->ct[0][(z * Y + y) * X + k % AT_X * STRIDE + i % PATCH];
        }
}

static double weight_at(int i)
{
    const int at[3] = {i / (PATCH * PATCH), i / PATCH % PATCH, i % PATCH};
    double least = 1;
    for (int a = 0; a < 3; a++) least = fmin(least, fmin(at[a], PATCH - 1 - at[a]) / (PATCH / 2.0));
    return least;
}

/* The probability of every voxel by the formula of the study. */
static void join(const network *n, const t7_cohort *windows, double *wanted)
{
    static double total[Z * Y * X];
    float one[WINDOW];
    int64_t count;
    for (int k = 0; k < WINDOWS; k++) {
        DG_CHECK_OK(predict(n, windows->cohort, k, false, 1, one, &count));
        DG_CHECK(count == 1);
        for (int i = 0; i < WINDOW; i++) {
            const int z = k / (AT_Y * AT_X) * STRIDE + i / (PATCH * PATCH),
                      y = k / AT_X % AT_Y * STRIDE + i / PATCH % PATCH;
            const int voxel = (z * Y + y) * X + k % AT_X * STRIDE + i % PATCH;
            wanted[voxel] += weight_at(i) * (double)one[i];
            total[voxel] += weight_at(i);
        }
    }
    for (int i = 0; i < Z * Y * X; i++) wanted[i] /= total[i] + 1e-8;
}

int main(int argc, char **argv)
{
    static const uint8_t labels[Z * Y * X];
    static double wanted[Z * Y * X];
    static float found[Z * Y * X], corrected[Z * Y * X];
    t7_cohort whole, windows;
    network n;
    int64_t count, nothing = 0;
    if (argc > 2) backend_name = argv[2];
    make_cohort(1, shape, labels, &whole);
    make_cohort(WINDOWS, window_shape, labels, &windows);
    cut_windows(&whole, &windows);
    open_network(&whole, &n);
    join(&n, &windows, wanted);
    for (int64_t batch = 1; batch <= 4; batch++) {
        DG_CHECK_OK(predict(&n, whole.cohort, 0, true, batch, found, &count));
        DG_CHECK(count == WINDOWS);
        for (int i = 0; i < Z * Y * X; i++) DG_CHECK_NEAR((double)found[i], wanted[i], 1e-6);
    }
    DG_CHECK_OK(predict(&n, whole.cohort, 0, false, 1, corrected, &count));
    for (int i = 0; i < Z * Y * X; i++) {
        nothing += found[i] == 0;
        DG_CHECK(corrected[i] > 0);
    }
    DG_CHECK(nothing == Z * Y * X - WINDOWS * STRIDE * STRIDE * STRIDE); /* rims and what no stride reaches */
    t7_cohort thin;
    make_cohort(1, (const int64_t[3]){PATCH - 1, Y, X}, labels, &thin);
    DG_CHECK_FAILS(predict(&n, thin.cohort, 0, true, 1, found, &count), DG_ERR_USAGE, "a window of 6 voxels");
    DG_CHECK_FAILS(predict(&n, thin.cohort, 0, true, 1, found, &count), DG_ERR_USAGE,
                   "case case-00, --compat upstream");
    n.backend->ops->free(n.backend, n.weights);
    dg_backend_destroy(&n.backend);
    dg_model_destroy(&n.model);
    t7_release(&whole);
    t7_release(&windows);
    t7_release(&thin);
    return 0;
}
