/* ctest: libs=dg_nn,test_tensor label=unit timeout=120 args=--backend ref; --backend onednn */
/* t314_adversary.c - the discriminator of the adversarial term: its judgement against the network worked out here from its saved
 * weights, the slopes of the term and of its own loss against central differences, voxels and samples that do not count, its
 * update, its state, and what cannot be, refused by name. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_loss.h"
#include "test_tensor.h"

enum { N = 2, EDGE = 8, VOXELS = EDGE * EDGE * EDGE, INPUTS = 2, BASE = 3, LAYERS = 2, PARAMS = 6 };

/* The discriminator's parameters in PyTorch layout, as its state has them. */
typedef struct store {
    const char *name[PARAMS];
    int64_t count[PARAMS];
    float *value[PARAMS];
    int used;
} store;

static const char *const NAMES[PARAMS] = {"layers.0.weight", "layers.0.bias", "layers.1.weight",
                                          "layers.2.weight", "output.weight", "output.bias"};

static dg_status put(void *context, const char *name, dg_dtype type, int rank, const int64_t *shape, const void *values)
{
    store *s = context;
    int64_t count = 1;
    DG_CHECK(type == DG_F32 && s->used < PARAMS && strcmp(name, NAMES[s->used]) == 0);
    for (int i = 0; i < rank; i++) count *= shape[i];
    s->count[s->used] = count;
    if (s->value[s->used] == NULL) s->value[s->used] = test_floats(count);
    memcpy(s->value[s->used++], values, (size_t)count * sizeof(float));
    return DG_OK;
}

static dg_status get(void *context, const char *name, dg_dtype type, int rank, const int64_t *shape, void *values)
{
    const store *s = context;
    for (int i = 0; i < PARAMS; i++)
        if (strcmp(name, NAMES[i]) == 0) memcpy(values, s->value[i], (size_t)s->count[i] * sizeof(float));
    DG_CHECK(type == DG_F32 && rank > 0 && shape[0] > 0);
    return DG_OK;
}

static void save(dg_adversary *a, store *s)
{
    const dg_state state = dg_adversary_state(a);
    const dg_state_sink sink = {.context = s, .put = put};
    s->used = 0;
    DG_CHECK(strcmp(state.name, "adversary") == 0);
    DG_CHECK_OK(dg_state_save(&state, &sink));
    DG_CHECK(s->used == PARAMS);
}

static void load(dg_adversary *a, store *s)
{
    const dg_state state = dg_adversary_state(a);
    const dg_state_source source = {.context = s, .get = get};
    DG_CHECK_OK(state.load(state.object, &source, 1));
}

static void release(store *s)
{
    for (int i = 0; i < PARAMS; i++) free(s->value[i]);
}

/* ---- the network by its definition ------------------------------------------------------------------------------------ */

/* A convolution of x[cin][edge^3] with PyTorch's weights, zeros beyond the edge; the result has (edge / stride)^3 voxels. */
static double *convolve(const double *x, int cin, int edge, int cout, int kernel, int stride, const float *w,
                        const float *bias)
{
    const int size = edge / stride, voxels = size * size * size, taps = kernel * kernel * kernel;
    double *y = calloc((size_t)(cout * voxels), sizeof *y);
    DG_CHECK(y != NULL);
    for (int o = 0; o < cout; o++)
        for (int v = 0; v < voxels; v++) {
            double sum = bias != NULL ? (double)bias[o] : 0;
            for (int t = 0; t < taps; t++) {
                const int z = v / size / size * stride + t / kernel / kernel - 1,
                          row = v / size % size * stride + t / kernel % kernel - 1,
                          column = v % size * stride + t % kernel - 1;
                if (z < 0 || row < 0 || column < 0 || z >= edge || row >= edge || column >= edge) continue;
                for (int i = 0; i < cin; i++)
                    sum += (double)w[(o * cin + i) * taps + t] * x[((i * edge + z) * edge + row) * edge + column];
            }
            y[o * voxels + v] = sum;
        }
    return y;
}

/* Instance norm where wanted, leaky ReLU of slope 0.2; in place. */
static void activate(double *y, int c, int voxels, bool norm)
{
    for (int k = 0; k < c; k++) {
        double mean = 0, square = 0, *at = y + k * voxels;
        for (int v = 0; v < voxels; v++) mean += at[v] / voxels;
        for (int v = 0; v < voxels; v++) square += (at[v] - mean) * (at[v] - mean) / voxels;
        for (int v = 0; v < voxels; v++) {
            if (norm) at[v] = (at[v] - mean) / sqrt(square + 1e-5);
            if (at[v] < 0) at[v] *= 0.2;
        }
    }
}

/* mean (D - 1)^2 and mean D^2 for a sample of seen[voxel][INPUTS] and dose[voxel]. */
static void judged(const store *s, const float *seen, const float *dose, double out[2])
{
    enum { CIN = INPUTS + 1 };
    double *x = calloc((size_t)(CIN * VOXELS), sizeof *x);
    DG_CHECK(x != NULL);
    for (int v = 0; v < VOXELS; v++) {
        for (int i = 0; i < INPUTS; i++) x[i * VOXELS + v] = seen[v * INPUTS + i];
        x[INPUTS * VOXELS + v] = dose[v];
    }
    double *a = convolve(x, CIN, 8, BASE, 4, 2, s->value[0], s->value[1]);
    activate(a, BASE, 64, false);
    double *b = convolve(a, BASE, 4, 2 * BASE, 4, 2, s->value[2], NULL);
    activate(b, 2 * BASE, 8, true);
    double *c = convolve(b, 2 * BASE, 2, 4 * BASE, 3, 1, s->value[3], NULL);
    activate(c, 4 * BASE, 8, true);
    double *d = convolve(c, 4 * BASE, 2, 1, 3, 1, s->value[4], s->value[5]);
    out[0] = out[1] = 0;
    for (int v = 0; v < 8; v++) {
        out[0] += (d[v] - 1) * (d[v] - 1) / 8;
        out[1] += d[v] * d[v] / 8;
    }
    double *const all[] = {x, a, b, c, d};
    for (int i = 0; i < 5; i++) free(all[i]);
}

/* ---- on a backend ----------------------------------------------------------------------------------------------------- */

typedef struct bed {
    test_scope scope;
    dg_adversary *judge;
    dg_loss *loss;
    dg_loss_batch batch;
    dg_tensor dy;
    float *seen, *y, *target;
    float *gradients; /* backend memory */
    store weights;
} bed;

static const dg_adversary_config CONFIG = {
    .inputs = INPUTS,
    .outputs = 1,
    .base = BASE,
    .layers = LAYERS,
    .seed = 5,
    .optim = {.kind = DG_OPTIM_ADAMW, .lr = 1e-3, .beta1 = 0.5, .beta2 = 0.999, .eps = 1e-8}};

/* Sum of weight * value over samples; the term's values. */
static double evaluate(bed *b, bool slopes, double value[2 * N])
{
    test_tensor_set(&b->scope, &b->batch.y, b->y);
    DG_CHECK_OK(dg_loss_evaluate(b->loss, &b->batch, slopes ? &b->dy : NULL));
    DG_CHECK_OK(dg_loss_read(b->loss, value));
    double sum = 0;
    for (int n = 0; n < N; n++) sum += 0.5 * value[2 * n] + 3 * value[2 * n + 1];
    return sum;
}

/* The discriminator's own loss of `count` samples, summed; its gradients where wanted. */
static double own_loss(bed *b, int64_t count, double value[N * DG_ADVERSARY_VALUES], float **gradients)
{
    const int64_t total = dg_adversary_params(b->judge)->total;
    double unused[2 * N], sum = 0;
    (void)evaluate(b, false, unused);
    DG_CHECK_OK(b->scope.ops->fill(b->scope.backend, b->gradients, total, 0));
    DG_CHECK_OK(dg_adversary_learn(b->judge, &b->batch, count, b->gradients));
    DG_CHECK_OK(dg_adversary_read(b->judge, value));
    for (int64_t i = 0; i < count; i++) sum += dg_adversary_score(unused[2 * i + 1], value + 3 * i).loss;
    if (gradients != NULL) *gradients = test_buffer_get(&b->scope, b->gradients, total);
    return sum;
}

static void check_values(bed *b)
{
    double value[2 * N], own[N * DG_ADVERSARY_VALUES];
    (void)evaluate(b, true, value);
    (void)own_loss(b, N, own, NULL);
    for (int n = 0; n < N; n++) {
        double fake[2], real[2];
        judged(&b->weights, b->seen + n * VOXELS * INPUTS, b->y + n * VOXELS, fake);
        judged(&b->weights, b->seen + n * VOXELS * INPUTS, b->target + n * VOXELS, real);
        printf("sample %d: %.6f, %.6f; of the plan %.6f, %.6f\n", n, fake[0], fake[1], real[0], real[1]);
        DG_CHECK_NEAR(value[2 * n + 1], fake[0], 2e-5);
        DG_CHECK_NEAR(own[3 * n], fake[1], 2e-5);
        DG_CHECK_NEAR(own[3 * n + 1], real[0], 2e-5);
        DG_CHECK_NEAR(own[3 * n + 2], real[1], 2e-5);
        const dg_adversary_scores s = dg_adversary_score(value[2 * n + 1], own + 3 * n);
        DG_CHECK_NEAR(s.loss, (real[0] + fake[1]) / 2, 2e-5);
        DG_CHECK_NEAR(s.fake, (fake[1] - fake[0] + 1) / 2, 2e-5);
        DG_CHECK_NEAR(s.real, (real[1] - real[0] + 1) / 2, 2e-5);
    }
}

static void check_slope(double worst, double size, const char *what)
{
    printf("%s: differs by %.2e of %.2e\n", what, worst, size);
    DG_CHECK(size > 0 && worst < 2e-3 * size);
}

/* Of the term, by every prediction's voxel looked at. */
static void check_prediction_slope(bed *b)
{
    const double h = 1.0 / 128;
    double value[2 * N], worst = 0, size = 0;
    (void)evaluate(b, true, value);
    float *got = test_tensor_get(&b->scope, &b->dy);
    for (int i = 0; i < N * VOXELS; i += 41) {
        const float kept = b->y[i];
        b->y[i] = kept + (float)h;
        double difference = evaluate(b, false, value);
        b->y[i] = kept - (float)h;
        difference = (difference - evaluate(b, false, value)) / (2 * h);
        b->y[i] = kept;
        worst = fmax(worst, fabs(difference - (double)got[i]));
        size = fmax(size, fabs(difference));
    }
    check_slope(worst, size, "slope of the term");
    free(got);
}

/* Of its own loss, by some of every parameter's numbers. */
static void check_weight_slopes(bed *b)
{
    const dg_param_table *table = dg_adversary_params(b->judge);
    const double h = 1.0 / 2048;
    double value[N * DG_ADVERSARY_VALUES], worst = 0, size = 0;
    float *flat;
    (void)own_loss(b, N, value, &flat);
    for (int p = 0; p < PARAMS; p++) {
        float *wanted = test_floats(table->item[p].count);
        DG_CHECK(strcmp(table->item[p].name, NAMES[p]) == 0);
        dg_param_to_torch(&table->item[p], flat, wanted);
        for (int64_t i = 0; i < b->weights.count[p]; i += 1 + b->weights.count[p] / 5) {
            float *at = &b->weights.value[p][i];
            const float kept = *at;
            *at = kept + (float)h;
            load(b->judge, &b->weights);
            double difference = own_loss(b, N, value, NULL);
            *at = kept - (float)h;
            load(b->judge, &b->weights);
            difference = (difference - own_loss(b, N, value, NULL)) / (2 * h);
            *at = kept;
            worst = fmax(worst, fabs(difference - (double)wanted[i]));
            size = fmax(size, fabs(difference));
        }
        free(wanted);
    }
    load(b->judge, &b->weights);
    check_slope(worst, size, "slope of its own loss");
    free(flat);
}

/* A sample beyond those of a pass adds nothing to its gradients. */
static void check_count(bed *b)
{
    const size_t bytes = (size_t)dg_adversary_params(b->judge)->total * sizeof(float);
    double value[N * DG_ADVERSARY_VALUES];
    float *first, *again, *both;
    (void)own_loss(b, 1, value, &first);
    (void)own_loss(b, N, value, &both);
    for (int i = VOXELS; i < 2 * VOXELS; i++) b->y[i] += 0.5f;
    (void)own_loss(b, 1, value, &again);
    for (int i = VOXELS; i < 2 * VOXELS; i++) b->y[i] -= 0.5f;
    DG_CHECK(memcmp(first, again, bytes) == 0 && memcmp(first, both, bytes) != 0);
    free(first), free(again), free(both);
    DG_CHECK_FAILS(dg_adversary_learn(b->judge, &b->batch, N + 1, b->gradients), DG_ERR_INTERNAL, "learns from 3");
}

static void check_idle(bed *b)
{
    double value[2 * N], idle[2 * N];
    (void)evaluate(b, true, value);
    float *slope = test_tensor_get(&b->scope, &b->dy);
    dg_adversary_rest(b->judge, true);
    dg_loss_destroy(&b->loss);
    const dg_loss_config alone = {
        .count = 1, .term = {{.kind = DG_LOSS_ADVERSARIAL}}, .weight = {3}, .adversary = b->judge};
    DG_CHECK_OK(dg_loss_create(&alone, b->scope.backend, &b->batch, &b->loss));
    DG_CHECK_OK(dg_loss_evaluate(b->loss, &b->batch, &b->dy));
    DG_CHECK_OK(dg_loss_read(b->loss, idle));
    float *none = test_tensor_get(&b->scope, &b->dy);
    for (int i = 0; i < N * VOXELS; i++) DG_CHECK(none[i] == 0);
    DG_CHECK(idle[0] == 0 && idle[1] == 0 && value[1] > 0 && slope[0] != 0);
    free(none), free(slope);
    dg_adversary_rest(b->judge, false);
    dg_loss_destroy(&b->loss);
}

/* What does not count moves nothing and gets no slope. */
static void check_mask(bed *b, const dg_loss_config *config)
{
    uint8_t counted[N * VOXELS];
    double value[2 * N], other[2 * N], own[N * DG_ADVERSARY_VALUES], own_other[N * DG_ADVERSARY_VALUES];
    for (int i = 0; i < N * VOXELS; i++) counted[i] = i % EDGE < 5 ? 1 : 0;
    uint8_t *mask = (uint8_t *)test_buffer(&b->scope, NULL, N * VOXELS / 4);
    DG_CHECK_OK(b->scope.ops->upload(b->scope.backend, mask, counted, N * VOXELS));
    DG_CHECK_OK(dg_loss_create(config, b->scope.backend, &b->batch, &b->loss));
    b->batch.mask = mask;
    DG_CHECK_FAILS(dg_loss_evaluate(b->loss, &b->batch, &b->dy), DG_ERR_INTERNAL, "a mask, and there was none");
    dg_loss_destroy(&b->loss);
    dg_adversary_destroy(&b->judge);
    DG_CHECK_OK(dg_adversary_create(&CONFIG, b->scope.backend, &b->batch, false, &b->judge));
    dg_loss_config masked = *config;
    masked.adversary = b->judge;
    DG_CHECK_OK(dg_loss_create(&masked, b->scope.backend, &b->batch, &b->loss));
    (void)evaluate(b, true, value);
    float *slope = test_tensor_get(&b->scope, &b->dy);
    (void)own_loss(b, N, own, NULL);
    for (int i = 0; i < N * VOXELS; i++) DG_CHECK(counted[i] != 0 ? slope[i] != 0 : slope[i] == 0);
    for (int i = 0; i < N * VOXELS; i++)
        if (counted[i] == 0) b->y[i] = 7, b->target[i] = -3;
    test_tensor_set(&b->scope, &b->batch.target, b->target);
    (void)evaluate(b, false, other);
    (void)own_loss(b, N, own_other, NULL);
    for (int n = 0; n < N; n++) DG_CHECK(other[2 * n + 1] == value[2 * n + 1]);
    DG_CHECK(memcmp(own, own_other, sizeof own) == 0);
    free(slope);
}

/* It learns to tell the two apart; a gradient that is not finite leaves it as it is; its state gives the same judge back. */
static void check_learning(bed *b)
{
    double own[N * DG_ADVERSARY_VALUES], norm = 0, value[2 * N], again[2 * N], loss = 0;
    const double before = own_loss(b, N, own, NULL);
    for (int step = 0; step < 30; step++) {
        loss = own_loss(b, N, own, NULL);
        DG_CHECK_OK(dg_adversary_update(b->judge, 1e-3, 1.0 / N, b->gradients, &norm));
    }
    printf("its own loss falls from %.4f to %.4f\n", before, loss);
    DG_CHECK(loss < 0.5 * before && norm > 0);
    (void)evaluate(b, false, value);
    DG_CHECK_OK(b->scope.ops->fill(b->scope.backend, b->gradients, 1, INFINITY));
    DG_CHECK_FAILS(dg_adversary_update(b->judge, 1e-3, 1, b->gradients, &norm), DG_ERR_NUMERIC, "not finite");
    (void)evaluate(b, false, again);
    DG_CHECK(memcmp(value, again, sizeof value) == 0);
    save(b->judge, &b->weights);
    dg_loss_config config = *dg_loss_get_config(b->loss);
    dg_loss_destroy(&b->loss);
    dg_adversary_destroy(&b->judge);
    DG_CHECK_OK(dg_adversary_create(&CONFIG, b->scope.backend, &b->batch, false, &b->judge));
    config.adversary = b->judge;
    DG_CHECK_OK(dg_loss_create(&config, b->scope.backend, &b->batch, &b->loss));
    (void)evaluate(b, false, again);
    DG_CHECK(memcmp(value, again, sizeof value) != 0);
    load(b->judge, &b->weights);
    (void)evaluate(b, false, again);
    DG_CHECK(memcmp(value, again, sizeof value) == 0);
    DG_CHECK(strcmp(dg_adversary_optim_state(b->judge).name, "adversary_optimizer") == 0);
}

static void check_refusals(bed *b)
{
    dg_adversary *judge = NULL;
    dg_adversary_config config = CONFIG;
    config.layers = 3;
    DG_CHECK_FAILS(dg_adversary_create(&config, b->scope.backend, &b->batch, false, &judge), DG_ERR_USAGE,
                   "layers 3 divides the axes of a patch by 8; 8 x 8 x 8 voxels");
    config.layers = 4;
    DG_CHECK_FAILS(dg_adversary_create(&config, b->scope.backend, &b->batch, false, &judge), DG_ERR_USAGE,
                   "by 16; 8 x 8 x 8");
    config.layers = 2;
    config.outputs = 8;
    DG_CHECK_FAILS(dg_adversary_create(&config, b->scope.backend, &b->batch, false, &judge), DG_ERR_INTERNAL,
                   "2 + 8 channels got an input of 2 and 1 doses");
    DG_CHECK(judge == NULL);
    const dg_loss_config without = {.count = 1, .term = {{.kind = DG_LOSS_ADVERSARIAL}}, .weight = {1}};
    dg_loss *loss = NULL;
    DG_CHECK_FAILS(dg_loss_create(&without, b->scope.backend, &b->batch, &loss), DG_ERR_INTERNAL, "no discriminator");
}

/* Blocks of voxels: the doses of a cell are channels side by side, and their slopes come back to where they were. */
static void check_blocks(bed *b)
{
    const test_shape small = {1, 4, 4, 4, INPUTS}, fine = {1, 4, 4, 4 * 8, 1};
    const dg_adversary_config config = {
        .inputs = INPUTS, .outputs = 8, .base = BASE, .layers = 1, .seed = 3, .optim = CONFIG.optim};
    float *weight = test_buffer(&b->scope, (float[]){1}, 1);
    double *value = (double *)test_buffer(&b->scope, NULL, 2), up, down;
    dg_adversary *judge = NULL;
    dg_tensor dy = test_tensor(&b->scope, DG_F32, fine, 0, NULL);
    dg_loss_batch batch = {.y = test_tensor(&b->scope, DG_F32, fine, 0, b->y),
                           .target = test_tensor(&b->scope, DG_F32, fine, 0, b->target),
                           .block = {2, 2, 2},
                           .input = test_tensor(&b->scope, DG_F32, small, 0, b->seen)};
    DG_CHECK_OK(dg_adversary_create(&config, b->scope.backend, &batch, false, &judge));
    DG_CHECK_OK(dg_adversary_judge(judge, &batch, weight, value, 1, &dy, false));
    float *got = test_tensor_get(&b->scope, &dy);
    double worst = 0, size = 0;
    for (int i = 0; i < 512; i += 37) {
        const float kept = b->y[i];
        for (int side = 0; side < 2; side++) {
            b->y[i] = kept + (side == 0 ? 0.0078125f : -0.0078125f);
            test_tensor_set(&b->scope, &batch.y, b->y);
            DG_CHECK_OK(dg_adversary_judge(judge, &batch, weight, value, 1, NULL, false));
            DG_CHECK_OK(b->scope.ops->download(b->scope.backend, side == 0 ? &up : &down, value, sizeof up));
        }
        b->y[i] = kept;
        worst = fmax(worst, fabs((up - down) / 0.015625 - (double)got[i]));
        size = fmax(size, fabs((double)got[i]));
    }
    check_slope(worst, size, "slope of blocks");
    free(got);
    dg_adversary_destroy(&judge);
}

int main(int argc, char **argv)
{
    bed b = {.scope = test_scope_open(argc == 3 ? argv[2] : "onednn", 2)};
    const test_shape shape = {N, EDGE, EDGE, EDGE, 1}, input = {N, EDGE, EDGE, EDGE, INPUTS};
    b.seen = test_random(4, N * VOXELS * INPUTS, 0.5, 0);
    b.y = test_random(5, N * VOXELS, 0.5, 0.5);
    b.target = test_random(6, N * VOXELS, 0.25, 0.5);
    b.batch = (dg_loss_batch){.y = test_tensor(&b.scope, DG_F32, shape, 0, b.y),
                              .target = test_tensor(&b.scope, DG_F32, shape, 0, b.target),
                              .input = test_tensor(&b.scope, DG_F32, input, 0, b.seen)};
    b.dy = test_tensor(&b.scope, DG_F32, shape, 0, NULL);
    DG_CHECK_OK(dg_adversary_create(&CONFIG, b.scope.backend, &b.batch, false, &b.judge));
    b.gradients = test_buffer(&b.scope, NULL, dg_adversary_params(b.judge)->total);
    const dg_loss_config config = {.count = 2,
                                   .term = {{.kind = DG_LOSS_MSE}, {.kind = DG_LOSS_ADVERSARIAL}},
                                   .weight = {0.5, 3},
                                   .adversary = b.judge};
    DG_CHECK_OK(dg_loss_create(&config, b.scope.backend, &b.batch, &b.loss));
    save(b.judge, &b.weights);
    check_values(&b);
    check_prediction_slope(&b);
    check_weight_slopes(&b);
    check_count(&b);
    check_blocks(&b);
    check_refusals(&b);
    check_idle(&b);
    check_mask(&b, &config);
    check_learning(&b);
    dg_loss_destroy(&b.loss);
    dg_adversary_destroy(&b.judge);
    release(&b.weights);
    free(b.seen), free(b.y), free(b.target);
    test_scope_close(&b.scope);
    return 0;
}
