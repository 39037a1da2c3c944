/* ctest: libs=test_tensor,dg_nn timeout=60 args=--backend ref; --backend onednn */
/* t307_optim.c - AdamW and SGD against PyTorch's numbers, clipping, the average of the weights, and a saved state that
 * goes on bit by bit. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_optim.h"
#include "test_tensor.h"

enum { COUNT = 4, STEPS = 3 };
static const float START[COUNT] = {0.5f, -1.25f, 2.0f, 0.0f};
static const float GRADIENT[STEPS][COUNT] = {
    {0.1f, -0.2f, 0.3f, 0.0f}, {-0.4f, 0.2f, 0.05f, 1e-3f}, {0.25f, 0.5f, -0.75f, 2.0f}};

static const dg_optim_config ADAMW = {
    .kind = DG_OPTIM_ADAMW, .lr = 0.05, .weight_decay = 0.1, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
static const dg_optim_config SGD = {.kind = DG_OPTIM_SGD, .lr = 0.05, .weight_decay = 0.1, .momentum = 0.9};

/* A table whose flat buffer has gaps: three parameters, the last one without decay. */
typedef struct bed {
    test_scope scope;
    dg_param_table table;
    float *weights, *gradients; /* backend */
} bed;

static bed open_bed(const char *backend)
{
    bed b = {.scope = test_scope_open(backend, 2)};
    const int64_t two[] = {2}, one[] = {1};
    int index = 0;
    DG_CHECK_OK(dg_param_table_add(&b.table, "a", DG_PARAM_VECTOR, 1, two, 1, &index));
    DG_CHECK_OK(dg_param_table_add(&b.table, "b", DG_PARAM_VECTOR, 1, one, 1, &index));
    DG_CHECK_OK(dg_param_table_add(&b.table, "c", DG_PARAM_VECTOR, 1, one, 1, &index));
    b.weights = test_buffer(&b.scope, NULL, b.table.total);
    b.gradients = test_buffer(&b.scope, NULL, b.table.total);
    return b;
}

static void close_bed(bed *b)
{
    dg_param_table_release(&b->table);
    test_scope_close(&b->scope);
}

static void set_flat(bed *b, float *device, const float values[COUNT])
{
    float *host = test_floats(b->table.total);
    const int64_t at[COUNT] = {0, 1, b->table.item[1].offset, b->table.item[2].offset};
    for (int i = 0; i < COUNT; i++) host[at[i]] = values[i];
    DG_CHECK_OK(b->scope.ops->upload(b->scope.backend, device, host, b->table.total * (int64_t)sizeof *host));
    free(host);
}

static void get_flat(bed *b, const float *device, float values[COUNT])
{
    float *host = test_buffer_get(&b->scope, device, b->table.total);
    const int64_t at[COUNT] = {0, 1, b->table.item[1].offset, b->table.item[2].offset};
    for (int i = 0; i < COUNT; i++) values[i] = host[at[i]];
    free(host);
}

static dg_optim *create(bed *b, const dg_optim_config *config)
{
    dg_optim *optim = NULL;
    DG_CHECK_OK(dg_optim_create(config, &b->table, b->scope.backend, &optim));
    return optim;
}

static double step(bed *b, dg_optim *optim, const float gradient[COUNT], double lr, double scale)
{
    double norm = 0;
    set_flat(b, b->gradients, gradient);
    DG_CHECK_OK(dg_optim_step(optim, lr, scale, b->weights, b->gradients, &norm));
    return norm;
}

static void run_steps(bed *b, const dg_optim_config *config, double scale, float out[COUNT])
{
    dg_optim *optim = create(b, config);
    set_flat(b, b->weights, START);
    for (int s = 0; s < STEPS; s++) {
        float g[COUNT];
        for (int i = 0; i < COUNT; i++) g[i] = (float)((double)GRADIENT[s][i] / scale);
        step(b, optim, g, config->lr, scale);
    }
    get_flat(b, b->weights, out);
    dg_optim_destroy(&optim);
    DG_CHECK(optim == NULL);
}

/* Numbers of torch 2.15 in double: torch.optim.AdamW and SGD on START and GRADIENT. */
static void check_against_torch(bed *b)
{
    static const double adamw[] = {0.4727932491678813, -1.2132676245898881, 1.8999138151467456, -0.06897533256712172};
    static const double sgd[] = {0.4979798128642571, -1.232127093631383, 1.9365368733254298, -0.1000947500045004};
    static const double nesterov[] = {0.4932015144873617, -1.240669988427578, 1.9339085860055014, -0.19013459750639305};
    const double *wanted[] = {adamw, sgd, nesterov};
    dg_optim_config config[] = {ADAMW, SGD, SGD};
    config[2].nesterov = true;
    for (int k = 0; k < 3; k++) {
        float got[COUNT], halved[COUNT];
        run_steps(b, &config[k], 1.0, got);
        for (int i = 0; i < COUNT; i++) DG_CHECK_NEAR((double)got[i], wanted[k][i], 2e-7);
        run_steps(b, &config[k], 0.5, halved); /* sums of two samples, and their mean */
        for (int i = 0; i < COUNT; i++) DG_CHECK_NEAR((double)halved[i], wanted[k][i], 2e-7);
    }
    /* Without decay on parameter c, its weight alone differs. */
    float all[COUNT], some[COUNT];
    run_steps(b, &SGD, 1.0, all);
    b->table.item[2].decay = false;
    run_steps(b, &SGD, 1.0, some);
    b->table.item[2].decay = true;
    DG_CHECK(memcmp(all, some, 3 * sizeof *all) == 0);
    DG_CHECK_NEAR((double)some[3], -0.05 * (2.0 + 0.9 * 1e-3) - 0.05 * 1e-3, 2e-7);
}

static void check_clip(bed *b)
{
    const dg_optim_config config = {.kind = DG_OPTIM_SGD, .lr = 1.0, .clip = 2.0};
    const float large[COUNT] = {3, 4, 0, 12}, small[COUNT] = {0.5f, 0, 1, 0}, zero[COUNT] = {0};
    float w[COUNT];
    dg_optim *optim = create(b, &config);
    set_flat(b, b->weights, zero);
    DG_CHECK_NEAR(step(b, optim, large, 1.0, 0.5), 6.5, 1e-6);
    get_flat(b, b->weights, w);
    for (int i = 0; i < COUNT; i++) DG_CHECK_NEAR((double)w[i], -(double)large[i] * 0.5 * (2.0 / (6.5 + 1e-6)), 1e-6);
    set_flat(b, b->weights, zero);
    DG_CHECK_NEAR(step(b, optim, small, 1.0, 1.0), sqrt(1.25), 1e-6);
    get_flat(b, b->weights, w);
    for (int i = 0; i < COUNT; i++) DG_CHECK_NEAR((double)w[i], -(double)small[i], 1e-6);
    dg_optim_destroy(&optim);
}

/* A gradient that is not finite changes nothing: neither weights nor moments nor the count of steps. */
static void check_not_finite(bed *b)
{
    float before[COUNT], after[COUNT];
    const float bad[2][COUNT] = {{0.1f, NAN, 0, 0}, {0.1f, 0, INFINITY, 0}};
    double norm = 0;
    dg_optim *optim = create(b, &ADAMW);
    set_flat(b, b->weights, START);
    for (int i = 0; i < 2; i++) {
        set_flat(b, b->gradients, bad[i]);
        DG_CHECK_FAILS(dg_optim_step(optim, 0.05, 1.0, b->weights, b->gradients, &norm), DG_ERR_NUMERIC, "update 0");
        DG_CHECK(!isfinite(norm));
    }
    get_flat(b, b->weights, after);
    DG_CHECK(memcmp(after, START, sizeof after) == 0);
    for (int s = 0; s < STEPS; s++) step(b, optim, GRADIENT[s], 0.05, 1.0);
    get_flat(b, b->weights, after);
    run_steps(b, &ADAMW, 1.0, before);
    DG_CHECK(memcmp(before, after, sizeof before) == 0);
    dg_optim_destroy(&optim);
}

static void check_average(bed *b)
{
    dg_optim_config config = SGD;
    float w[COUNT], average[COUNT];
    double expected[COUNT];
    dg_optim *optim = create(b, &config);
    DG_CHECK(dg_optim_average(optim) == NULL);
    dg_optim_destroy(&optim);
    config.ema = 0.3;
    optim = create(b, &config);
    set_flat(b, b->weights, START);
    for (int k = 0; k < 9; k++) {
        const double decay = k == 0 ? 0 : fmin(0.3, (1.0 + k) / (10.0 + k));
        step(b, optim, GRADIENT[k % STEPS], 0.05, 1.0);
        get_flat(b, b->weights, w);
        get_flat(b, dg_optim_average(optim), average);
        for (int i = 0; i < COUNT; i++) {
            expected[i] = k == 0 ? (double)w[i] : decay * expected[i] + (1 - decay) * (double)w[i];
            DG_CHECK_NEAR((double)average[i], expected[i], 1e-6);
        }
    }
    dg_optim_destroy(&optim);
}

/* The moments of parameters a and b in a saved state. */
typedef struct moments {
    int of_b;
    double largest_of_a, largest_of_b;
} moments;

static dg_status note_moment(void *context, const char *name, dg_dtype type, int rank, const int64_t *shape,
                             const void *values)
{
    moments *found = context;
    const char *slash = strchr(name, '/');
    if (type != DG_F32 || rank != 1 || slash == NULL || strncmp(name, "ema", 3) == 0) return DG_OK;
    for (int64_t i = 0; i < shape[0]; i++) {
        const double size = fabs((double)((const float *)values)[i]);
        if (strcmp(slash, "/a") == 0) found->largest_of_a = fmax(found->largest_of_a, size);
        if (strcmp(slash, "/b") == 0) found->largest_of_b = fmax(found->largest_of_b, size);
    }
    found->of_b += strcmp(slash, "/b") == 0;
    return DG_OK;
}

static moments moments_of(dg_optim *optim)
{
    dg_state_memory *memory = NULL;
    dg_state_registry registry = {.count = 0};
    moments found = {.of_b = 0};
    const dg_state_sink sink = {.context = &found, .put = note_moment};
    DG_CHECK_OK(dg_state_register(&registry, dg_optim_state(optim)));
    DG_CHECK_OK(dg_state_memory_create(&memory));
    DG_CHECK_OK(dg_state_memory_save(memory, &registry));
    DG_CHECK_OK(dg_state_memory_replay(memory, "optimizer", &sink));
    dg_state_memory_destroy(&memory);
    return found;
}

/* A frozen parameter keeps its bits, has no moments and does not count in the norm; the others go as if it were not there. */
static void check_frozen(bed *b, const dg_optim_config *with)
{
    const bool frozen[] = {false, true, false};
    dg_optim_config config = *with;
    float alone[COUNT], together[COUNT], average[COUNT];
    config.clip = 0.25, config.ema = 0.9;
    for (int pass = 0; pass < 2; pass++) {
        dg_optim *optim = create(b, &config);
        set_flat(b, b->weights, START);
        if (pass == 1) DG_CHECK_OK(dg_optim_freeze(optim, frozen));
        for (int k = 0; k < STEPS; k++) {
            float g[COUNT];
            memcpy(g, GRADIENT[k], sizeof g);
            if (pass == 0) g[2] = 0; /* b */
            const double norm = step(b, optim, g, 0.05, 1.0);
            DG_CHECK_NEAR(norm, sqrt((double)(g[0] * g[0] + g[1] * g[1] + g[3] * g[3])), 1e-6);
        }
        get_flat(b, b->weights, pass == 0 ? alone : together);
        get_flat(b, dg_optim_average(optim), average);
        const moments found = moments_of(optim);
        DG_CHECK(found.of_b > 0 && found.largest_of_a > 0 && (pass == 0 || found.largest_of_b == 0));
        dg_optim_destroy(&optim);
    }
    DG_CHECK(together[2] == START[2] && average[2] == START[2] && alone[2] != START[2]);
    DG_CHECK(together[0] == alone[0] && together[1] == alone[1] && together[3] == alone[3]);
}

/* Three steps, saved, and three more: as six in one go. */
static void check_state(bed *b, const dg_optim_config *config)
{
    float straight[COUNT], resumed[COUNT], mean[2][COUNT], middle[COUNT];
    dg_state_memory *memory = NULL;
    dg_state_registry registry = {0}, other = {0};
    dg_optim *optim = create(b, config), *fresh = create(b, config);
    DG_CHECK_OK(dg_state_memory_create(&memory));
    DG_CHECK_OK(dg_state_register(&registry, dg_optim_state(optim)));
    DG_CHECK_OK(dg_state_register(&other, dg_optim_state(fresh)));
    DG_CHECK(strcmp(registry.item[0].name, "optimizer") == 0);
    set_flat(b, b->weights, START);
    for (int s = 0; s < STEPS; s++) step(b, optim, GRADIENT[s], config->lr, 1.0);
    get_flat(b, b->weights, middle);
    DG_CHECK_OK(dg_state_memory_save(memory, &registry));
    for (int s = 0; s < STEPS; s++) step(b, optim, GRADIENT[s], config->lr, 1.0);
    get_flat(b, b->weights, straight);
    get_flat(b, dg_optim_average(optim), mean[0]);

    DG_CHECK_OK(dg_state_memory_load(memory, &other));
    set_flat(b, b->weights, middle);
    for (int s = 0; s < STEPS; s++) step(b, fresh, GRADIENT[s], config->lr, 1.0);
    get_flat(b, b->weights, resumed);
    get_flat(b, dg_optim_average(fresh), mean[1]);
    DG_CHECK(memcmp(straight, resumed, sizeof straight) == 0 && memcmp(mean[0], mean[1], sizeof mean[0]) == 0);

    /* Without the saved state the same steps end elsewhere: the comparison above can fail. */
    dg_optim_destroy(&fresh);
    fresh = create(b, config);
    set_flat(b, b->weights, middle);
    for (int s = 0; s < STEPS; s++) step(b, fresh, GRADIENT[s], config->lr, 1.0);
    get_flat(b, b->weights, resumed);
    DG_CHECK(memcmp(straight, resumed, sizeof straight) != 0);

    /* The state of another kind of optimiser is named. */
    dg_optim_config wrong = config->kind == DG_OPTIM_ADAMW ? SGD : ADAMW;
    dg_optim_destroy(&fresh);
    fresh = create(b, &wrong);
    dg_state_registry wrong_registry = {0};
    DG_CHECK_OK(dg_state_register(&wrong_registry, dg_optim_state(fresh)));
    DG_CHECK_FAILS(dg_state_memory_load(memory, &wrong_registry), DG_ERR_FORMAT,
                   wrong.kind == DG_OPTIM_ADAMW ? "m/a" : "momentum/a");
    dg_optim_destroy(&fresh);
    dg_optim_destroy(&optim);
    dg_state_memory_destroy(&memory);
}

static void refused(bed *b, dg_optim_config config, const char *words)
{
    dg_optim *optim = NULL;
    DG_CHECK_FAILS(dg_optim_create(&config, &b->table, b->scope.backend, &optim), DG_ERR_USAGE, words);
    DG_CHECK(optim == NULL);
}

static void check_refusals(bed *b)
{
    dg_optim_config c = ADAMW;
    c.lr = -1, refused(b, c, "lr is -1; it must be at least 0");
    c = ADAMW, c.lr = NAN, refused(b, c, "lr is nan");
    c = ADAMW, c.beta2 = 1, refused(b, c, "beta2 is 1; it must be in [0, 1)");
    c = ADAMW, c.eps = 0, refused(b, c, "eps is 0");
    c = ADAMW, c.clip = -2, refused(b, c, "clip is -2");
    c = ADAMW, c.ema = 1, refused(b, c, "ema is 1");
    c = ADAMW, c.schedule = DG_SCHEDULE_COSINE, c.warmup = 5, c.total_steps = 4;
    refused(b, c, "warmup is 5; it must be at most the steps of the schedule");
    c = SGD, c.nesterov = true, c.momentum = 0, refused(b, c, "momentum is 0; it must be above 0 with nesterov");
}

int main(int argc, char **argv)
{
    bed b = open_bed(argc == 3 ? argv[2] : "ref");
    dg_optim_config average = ADAMW;
    check_against_torch(&b);
    check_clip(&b);
    check_not_finite(&b);
    check_average(&b);
    check_frozen(&b, &ADAMW);
    check_frozen(&b, &SGD);
    average.ema = 0.9;
    check_state(&b, &average);
    average = SGD, average.ema = 0.9;
    check_state(&b, &average);
    check_refusals(&b);
    close_bed(&b);
    return 0;
}
