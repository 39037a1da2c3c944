/* doctor_gpu.c - see doctor_gpu.h: a bench of tensors and buffers, the same on two backends; an operation runs on both and
 * everything on the bench is compared, so that a write beside the result is seen too. SPDX-License-Identifier: Apache-2.0 */
#include "doctor_gpu.h"

#include "dg_backend.h"
#include "dg_bf16.h"
#include "dg_device.h"
#include "dg_mem.h"
#include "dg_rng.h"
#include "dg_trace.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { CHANNELS = 48, GROUPS = 8, HEADS = 4, SMALL = 8, THINGS = 40, REPEATS = 10 };
static const double timing_s = 0.2;

/* A tensor or buffer of the bench. */
typedef struct thing {
    void *data;
    int64_t count;
    dg_dtype dtype;
} thing;

/* x, dx, y, dy are full cubes, hx and hy have half the edge, g and dg one channel; a is attention's, v a linear layer's. */
typedef struct bench {
    dg_backend *backend;
    const dg_backend_ops *ops;
    int64_t edge;
    dg_dtype dtype;
    thing things[THINGS];
    int count;
    dg_tensor x, y, dx, dy, hx, hy, g, dg, qkv, dqkv, ay, vx, vy, vdx, y1, t1, d1;
    float *w, *dw, *w1, *bias, *dbias, *gamma, *beta, *dgamma, *dbeta, *film, *dfilm, *stats, *p, *m, *v, *q, *axis,
        *ring;
    float *weight;
    double *values;
    void *workspace;
    int32_t *found;
    dg_conv *conv3, *conv1, *down, *up;
} bench;

static dg_status add(bench *b, dg_dtype dtype, int64_t count, void *out)
{
    thing *t = &b->things[b->count];
    *t = (thing){.count = count, .dtype = dtype};
    DG_TRY(b->ops->alloc(b->backend, count * (int64_t)dg_dtype_size(dtype), "doctor's bench", &t->data));
    b->count++;
    memcpy(out, &t->data, sizeof t->data);
    return DG_OK;
}

static dg_status add_tensor(bench *b, dg_dtype dtype, int64_t n, int64_t edge, int64_t c, dg_tensor *out)
{
    *out = (dg_tensor){.dtype = dtype, .n = n, .z = edge, .y = edge, .x = edge, .c = c, .pitch = c};
    return add(b, dtype, n * edge * edge * edge * c, &out->data);
}

static dg_status make_tensors(bench *b)
{
    const int64_t e = b->edge, h = e / 2;
    dg_tensor *full[] = {&b->x, &b->y, &b->dx, &b->dy};
    for (int i = 0; i < 4; i++) DG_TRY(add_tensor(b, b->dtype, 1, e, CHANNELS, full[i]));
    DG_TRY(add_tensor(b, b->dtype, 1, h, CHANNELS, &b->hx));
    DG_TRY(add_tensor(b, b->dtype, 1, h, CHANNELS, &b->hy));
    DG_TRY(add_tensor(b, b->dtype, 1, e, 1, &b->g));
    DG_TRY(add_tensor(b, b->dtype, 1, e, 1, &b->dg));
    DG_TRY(add_tensor(b, DG_F32, 1, e, 1, &b->y1));
    DG_TRY(add_tensor(b, DG_F32, 1, e, 1, &b->t1));
    DG_TRY(add_tensor(b, DG_F32, 1, e, 1, &b->d1));
    DG_TRY(add_tensor(b, b->dtype, 1, 2, 3 * CHANNELS, &b->qkv));
    DG_TRY(add_tensor(b, b->dtype, 1, 2, 3 * CHANNELS, &b->dqkv));
    DG_TRY(add_tensor(b, b->dtype, 1, 2, CHANNELS, &b->ay));
    DG_TRY(add_tensor(b, DG_F32, 2, 1, CHANNELS, &b->vx));
    DG_TRY(add_tensor(b, DG_F32, 2, 1, CHANNELS, &b->vdx));
    return add_tensor(b, DG_F32, 2, 1, 2 * CHANNELS, &b->vy);
}

static dg_status make_buffers(bench *b)
{
    const int64_t e = b->edge, cube = e * e * e, c = CHANNELS;
    float **vectors[] = {&b->bias, &b->dbias, &b->gamma, &b->beta, &b->dgamma, &b->dbeta};
    float **flats[] = {&b->p, &b->m, &b->v, &b->q};
    for (int i = 0; i < 6; i++) DG_TRY(add(b, DG_F32, 2 * c, vectors[i]));
    for (int i = 0; i < 4; i++) DG_TRY(add(b, DG_F32, cube * c, flats[i]));
    DG_TRY(add(b, DG_F32, 64 * c * c, &b->w));
    DG_TRY(add(b, DG_F32, 27 * c * c, &b->dw));
    DG_TRY(add(b, DG_F32, 2 * c, &b->film));
    DG_TRY(add(b, DG_F32, 2 * c, &b->dfilm));
    DG_TRY(add(b, DG_F32, 2 * cube, &b->stats));
    DG_TRY(add(b, DG_F32, 3 * e, &b->axis));
    DG_TRY(add(b, DG_F32, 1, &b->weight));
    DG_TRY(add(b, DG_F64, 4, &b->values));
    return add(b, DG_I32, 1, &b->found);
}

static dg_status make_convs(bench *b)
{
    const int64_t e = b->edge;
    dg_conv_desc d = {.kind = DG_CONV_SAME,
                      .kernel = 3,
                      .n = 1,
                      .z = e,
                      .y = e,
                      .x = e,
                      .cin = CHANNELS,
                      .cout = CHANNELS,
                      .dtype = b->dtype,
                      .training = true};
    DG_TRY(b->ops->conv_create(b->backend, &d, &b->conv3));
    d.kernel = 1;
    DG_TRY(b->ops->conv_create(b->backend, &d, &b->conv1));
    d.kind = DG_CONV_STRIDE2;
    d.kernel = 4;
    DG_TRY(b->ops->conv_create(b->backend, &d, &b->down));
    d.kind = DG_CONV_TRANSPOSE2;
    d.kernel = 2;
    d.z = d.y = d.x = e / 2;
    return b->ops->conv_create(b->backend, &d, &b->up);
}

static dg_status bench_open(const char *name, int device, int64_t edge, dg_dtype dtype, bench *b)
{
    const dg_backend_options options = {.threads = 1, .deterministic = true, .device = device};
    const dg_loss_term term = {.kind = DG_LOSS_MSE};
    *b = (bench){.edge = edge, .dtype = dtype};
    DG_TRY(dg_backend_create(name, &options, &b->backend));
    b->ops = b->backend->ops;
    DG_TRY(make_tensors(b));
    DG_TRY(make_buffers(b));
    const dg_loss_batch batch = {.y = b->y1, .target = b->t1};
    DG_TRY(b->ops->alloc(b->backend, b->ops->loss_workspace(&term, &batch), "doctor's bench", &b->workspace));
    return make_convs(b);
}

static void bench_close(bench *b)
{
    if (b->backend == NULL) return;
    dg_conv *convs[] = {b->conv3, b->conv1, b->down, b->up};
    for (int i = 0; i < 4; i++)
        if (convs[i] != NULL) b->ops->conv_destroy(b->backend, convs[i]);
    for (int i = 0; i < b->count; i++) b->ops->free(b->backend, b->things[i].data);
    if (b->workspace != NULL) b->ops->free(b->backend, b->workspace);
    dg_backend_destroy(&b->backend);
}

/* ---- content -------------------------------------------------------------------------------------------------------- */

static double value_at(const thing *t, const void *host, int64_t i)
{
    switch (t->dtype) {
    case DG_BF16: return dg_bf16_to_f32(((const dg_bf16 *)host)[i]);
    case DG_F64: return ((const double *)host)[i];
    case DG_I32: return ((const int32_t *)host)[i];
    default: return ((const float *)host)[i];
    }
}

/* The same numbers for every bench of this size: multiples of 1/64 within [-2, 2), which bf16 holds. */
static dg_status fill_bench(bench *b)
{
    for (int i = 0; i < b->count; i++) {
        thing *t = &b->things[i];
        const bool positive = t->data == (void *)b->v || t->data == (void *)b->axis || t->data == (void *)b->weight;
        dg_rng rng = dg_rng_stream(1, DG_RNG_TEST, (uint64_t)i, 7);
        void *host = NULL;
        DG_TRY(dg_alloc(&host, (size_t)t->count, dg_dtype_size(t->dtype), "doctor's numbers"));
        for (int64_t k = 0; k < t->count; k++) {
            const float number = (float)((int)(dg_rng_u32(&rng) % 256u) - 128) / 64,
                        value = positive ? fabsf(number) + 0.25f : number;
            if (t->dtype == DG_BF16) ((dg_bf16 *)host)[k] = dg_bf16_from_f32(value);
            if (t->dtype == DG_F32) ((float *)host)[k] = value;
        }
        dg_status status = b->ops->upload(b->backend, t->data, host, t->count * (int64_t)dg_dtype_size(t->dtype));
        dg_free(&host);
        DG_TRY(status);
    }
    return DG_OK;
}

/* The largest error of everything on the bench, as a share of what is allowed: one bit of bf16, the order of additions in
 * f32, and in f32 convolutions the 10 bits of TF32 tensor cores. */
static dg_status compare(const bench *got, const bench *ref, bool convolution, double *worst)
{
    dg_status status = DG_OK;
    *worst = 0;
    for (int i = 0; i < got->count && status == DG_OK; i++) {
        const thing *t = &got->things[i];
        const int64_t bytes = t->count * (int64_t)dg_dtype_size(t->dtype);
        void *a = NULL, *b = NULL;
        double largest = 0;
        status = dg_alloc(&a, (size_t)bytes, 1, "doctor's results");
        if (status == DG_OK) status = dg_alloc(&b, (size_t)bytes, 1, "doctor's results");
        if (status == DG_OK) status = got->ops->download(got->backend, a, t->data, bytes);
        if (status == DG_OK) status = ref->ops->download(ref->backend, b, ref->things[i].data, bytes);
        for (int64_t k = 0; status == DG_OK && k < t->count; k++) largest = fmax(largest, fabs(value_at(t, b, k)));
        for (int64_t k = 0; status == DG_OK && k < t->count; k++) {
            const bool coarse = t->dtype == DG_BF16;
            const double wanted = value_at(t, b, k), eps = coarse ? 0x1p-7 : 1e-5;
            const double floor = convolution ? 2e-3 : coarse ? 1e-3 : 1e-5;
            const double error = fabs(value_at(t, a, k) - wanted) / (eps * fabs(wanted) + floor * largest + 1e-7);
            *worst = isnan(error) ? INFINITY : fmax(*worst, error);
        }
        dg_free(&a);
        dg_free(&b);
    }
    return status;
}

/* ---- operations ----------------------------------------------------------------------------------------------------- */

static const dg_norm_desc norm = {.groups = GROUPS, .eps = 1e-5, .act = DG_ACT_SILU};
#define RUN(operation, ...) \
    static dg_status run_##operation(bench *b) { return b->ops->operation(b->backend, __VA_ARGS__); }

static dg_status run_conv3(bench *b)
{
    DG_TRY(b->ops->conv_pack(b->backend, b->conv3, b->w, b->bias));
    return b->ops->conv_forward(b->backend, b->conv3, &b->x, &b->y);
}
static dg_status run_conv3_data(bench *b)
{
    DG_TRY(b->ops->conv_pack(b->backend, b->conv3, b->w, b->bias));
    return b->ops->conv_backward_data(b->backend, b->conv3, &b->dy, &b->dx);
}
static dg_status run_conv3_weights(bench *b)
{
    return b->ops->conv_backward_weights(b->backend, b->conv3, &b->x, &b->dy, b->dw, b->dbias);
}
static dg_status run_conv1(bench *b)
{
    DG_TRY(b->ops->conv_pack(b->backend, b->conv1, b->w, b->bias));
    return b->ops->conv_forward(b->backend, b->conv1, &b->x, &b->y);
}
static dg_status run_down(bench *b)
{
    DG_TRY(b->ops->conv_pack(b->backend, b->down, b->w, b->bias));
    return b->ops->conv_forward(b->backend, b->down, &b->x, &b->hy);
}
static dg_status run_up(bench *b)
{
    DG_TRY(b->ops->conv_pack(b->backend, b->up, b->w, b->bias));
    return b->ops->conv_forward(b->backend, b->up, &b->hx, &b->y);
}
RUN(norm_forward, &norm, &b->x, b->gamma, b->beta, b->film, &b->dy, b->stats, &b->y)
static dg_status run_norm_backward(bench *b)
{
    DG_TRY(run_norm_forward(b));
    return b->ops->norm_backward(b->backend, &norm, &b->x, b->gamma, b->beta, b->film, b->stats, &b->dy, &b->dx, false,
                                 b->dgamma, b->dbeta, b->dfilm);
}
RUN(layer_norm_forward, 1e-5, &b->x, b->gamma, b->beta, b->stats, &b->y)
static dg_status run_layer_norm_backward(bench *b)
{
    DG_TRY(run_layer_norm_forward(b));
    return b->ops->layer_norm_backward(b->backend, &b->x, b->gamma, b->stats, &b->dy, &b->dx, false, b->dgamma,
                                       b->dbeta);
}
RUN(act_forward, DG_ACT_SILU, 0, &b->x, &b->y)
RUN(act_backward, DG_ACT_SILU, 0, &b->x, &b->dy, &b->dx, false)
RUN(copy, &b->x, &b->y, true)
RUN(gate_forward, &b->x, &b->g, &b->y)
RUN(gate_backward, &b->x, &b->g, &b->dy, &b->dx, false, &b->dg)
RUN(pool_forward, &b->x, &b->hy)
RUN(pool_backward, &b->x, &b->hx, &b->dx, false)
RUN(resize_forward, &b->hx, &b->y)
RUN(resize_backward, &b->dy, &b->hy, false)
RUN(linear_forward, &b->vx, b->w, b->bias, &b->vy)
RUN(linear_backward, &b->vx, b->w, &b->vy, &b->vdx, false, b->dw, b->dbias)
RUN(attention_forward, HEADS, &b->qkv, &b->ay)
RUN(attention_backward, HEADS, &b->qkv, &b->ay, &b->dqkv)
static dg_status run_loss(bench *b)
{
    const dg_loss_term term = {.kind = DG_LOSS_MSE};
    const dg_loss_batch batch = {.y = b->y1, .target = b->t1};
    return b->ops->loss(b->backend, &term, &batch, b->weight, b->workspace, b->values, 1, &b->d1, false);
}
RUN(fill, b->p, b->edge * b->edge * b->edge * CHANNELS, 0.5f)
RUN(axpy, b->edge * b->edge * b->edge * CHANNELS, 0.25, b->p, b->q)
static dg_status run_sum_squares(bench *b)
{
    double sum = 0;
    DG_TRY(b->ops->sum_squares(b->backend, b->edge * b->edge * b->edge * CHANNELS, b->p, &sum));
    return b->ops->upload(b->backend, b->values, &sum, sizeof sum);
}
static dg_status run_adamw(bench *b)
{
    const dg_adamw_desc d = {
        .lr = 1e-2, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.1, .step = 3, .grad_scale = 0.5};
    return b->ops->adamw(b->backend, &d, b->edge * b->edge * b->edge * CHANNELS, b->p, b->q, b->m, b->v);
}
static dg_status run_sgd(bench *b)
{
    const dg_sgd_desc d = {.lr = 0.1, .momentum = 0.9, .weight_decay = 0.01, .nesterov = true, .grad_scale = 0.5};
    return b->ops->sgd(b->backend, &d, b->edge * b->edge * b->edge * CHANNELS, b->p, b->q, b->m);
}
RUN(ema, 0.99, b->edge * b->edge * b->edge * CHANNELS, b->p, b->q)

static dg_ring ring_of(const bench *b)
{
    return (dg_ring){.data = b->p, .c = CHANNELS, .z = b->edge, .y = b->edge, .x = b->edge, .height = b->edge};
}
static dg_status run_gather(bench *b)
{
    const dg_ring volume = ring_of(b);
    dg_window_channels channels = {.outside = {0}};
    for (int k = 0; k < CHANNELS; k++) channels.from[k] = CHANNELS - 1 - k;
    const dg_windows windows = {.start = {{1, 0, -2}}, .mirrored = true};
    return b->ops->window_gather(b->backend, &volume, &channels, &windows, &b->x);
}
static dg_status run_blend(bench *b)
{
    const int64_t one[3] = {1, 1, 1}, e = b->edge;
    const float *weight[3] = {b->axis, b->axis + e, b->axis + 2 * e};
    const dg_windows windows = {.start = {{0, 1, 0}}};
    dg_ring sum = ring_of(b);
    sum.c = 1;
    return b->ops->window_blend(b->backend, &b->y1, one, &windows, weight, 0.5f, &sum);
}
static dg_status run_finish(bench *b)
{
    const int64_t e = b->edge;
    const float *weight[3] = {b->axis, b->axis + e, b->axis + 2 * e};
    dg_ring sum = ring_of(b);
    sum.c = 1;
    return b->ops->window_finish(b->backend, &sum, 0, e, weight, -1, 1, b->q);
}
RUN(find_nonfinite, &b->x, b->found)

/* Memory traffic in passes over a full cube of channels (in the bench's type, and in f32), and arithmetic for each of its
 * voxels; 0 for operations too small to be bound by either. */
typedef struct operation {
    const char *name;
    dg_status (*run)(bench *b);
    double passes, passes_f32, flops;
} operation;
static const operation operations[] = {
    {"conv 3x3x3", run_conv3, 2, 0, 54.0 * CHANNELS *CHANNELS},
    {"conv 3x3x3, data", run_conv3_data, 2, 0, 54.0 * CHANNELS *CHANNELS},
    {"conv 3x3x3, weights", run_conv3_weights, 3, 0, 54.0 * CHANNELS *CHANNELS},
    {"conv 1x1x1", run_conv1, 2, 0, 2.0 * CHANNELS *CHANNELS},
    {"conv 4x4x4, stride 2", run_down, 1.125, 0, 16.0 * CHANNELS *CHANNELS},
    {"conv transposed", run_up, 1.125, 0, 2.0 * CHANNELS *CHANNELS},
    {"norm", run_norm_forward, 4, 0, 0},
    {"norm, both ways", run_norm_backward, 9, 0, 0},
    {"layer norm", run_layer_norm_forward, 2, 0, 0},
    {"layer norm, both ways", run_layer_norm_backward, 7, 0, 0},
    {"activation", run_act_forward, 2, 0, 0},
    {"activation, backward", run_act_backward, 3, 0, 0},
    {"copy", run_copy, 3, 0, 0},
    {"gate", run_gate_forward, 2, 0, 0},
    {"gate, backward", run_gate_backward, 3, 0, 0},
    {"pool", run_pool_forward, 1.125, 0, 0},
    {"pool, backward", run_pool_backward, 2.125, 0, 0},
    {"resize", run_resize_forward, 1.125, 0, 0},
    {"resize, backward", run_resize_backward, 1.125, 0, 0},
    {"linear", run_linear_forward, 0, 0, 0},
    {"linear, backward", run_linear_backward, 0, 0, 0},
    {"attention", run_attention_forward, 0, 0, 0},
    {"attention, backward", run_attention_backward, 0, 0, 0},
    {"loss", run_loss, 0, 0, 0},
    {"fill", run_fill, 0, 1, 0},
    {"axpy", run_axpy, 0, 3, 0},
    {"sum of squares", run_sum_squares, 0, 1, 0},
    {"AdamW", run_adamw, 0, 7, 0},
    {"SGD", run_sgd, 0, 5, 0},
    {"EMA", run_ema, 0, 3, 0},
    {"window gather", run_gather, 1, 1, 0},
    {"window blend", run_blend, 0, 0, 0},
    {"window finish", run_finish, 0, 0, 0},
    {"find not finite", run_find_nonfinite, 1, 0, 0},
};
enum { OPERATIONS = sizeof operations / sizeof operations[0] };

/* ---- the page ------------------------------------------------------------------------------------------------------- */

typedef struct result {
    double error[2]; /* f32, bf16: share of what is allowed */
    double seconds, share;
} result;

static dg_status check_all(const char *name, int device, dg_dtype dtype, int row, result *results)
{
    bench got, ref = {.backend = NULL};
    dg_status status = bench_open(name, device, SMALL, dtype, &got);
    if (status == DG_OK) status = bench_open("ref", 0, SMALL, dtype, &ref);
    for (int i = 0; i < OPERATIONS && status == DG_OK; i++) {
        status = fill_bench(&got);
        if (status == DG_OK) status = fill_bench(&ref);
        if (status == DG_OK) status = operations[i].run(&got);
        if (status == DG_OK) status = operations[i].run(&ref);
        if (status == DG_OK) status = compare(&got, &ref, operations[i].flops > 0, &results[i].error[row]);
        if (status != DG_OK) status = dg_error_context(status, "%s", operations[i].name);
    }
    bench_close(&ref);
    bench_close(&got);
    return status;
}

static dg_status time_all(const char *name, int device, int64_t edge, result *results, char *description,
                          size_t capacity)
{
    bench b;
    double bytes_per_s = 0, flops = 0;
    dg_status status = bench_open(name, device, edge, DG_BF16, &b);
    if (status == DG_OK) snprintf(description, capacity, "%s", b.backend->description);
    if (status == DG_OK && b.ops->device != NULL) b.ops->device->peaks(device, &bytes_per_s, &flops);
    if (status == DG_OK) status = fill_bench(&b);
    for (int i = 0; i < OPERATIONS && status == DG_OK; i++) {
        const operation *o = &operations[i];
        const double cube = (double)(edge * edge * edge), voxels = cube * CHANNELS;
        int runs = 0;
        status = o->run(&b); /* the first prepares */
        if (status == DG_OK) status = b.ops->sync(b.backend);
        const double start = dg_time_s();
        for (; status == DG_OK && runs < REPEATS && (runs == 0 || dg_time_s() - start < timing_s); runs++)
            status = o->run(&b);
        if (status == DG_OK) status = b.ops->sync(b.backend);
        results[i].seconds = (dg_time_s() - start) / (runs > 0 ? runs : 1);
        if (bytes_per_s > 0)
            results[i].share =
                fmax(voxels * (2 * o->passes + 4 * o->passes_f32) / bytes_per_s, o->flops * cube / flops) /
                results[i].seconds;
        if (status != DG_OK) status = dg_error_context(status, "%s", o->name);
    }
    bench_close(&b);
    return status;
}

static bool is_right(const result *r) { return r->error[0] <= 1 && r->error[1] <= 1; }

static void print_page(const char *description, int64_t edge, const result *results, bool good)
{
    printf("%s: every operation against ref; then bf16 at %lld^3 x %d channels\n\n", description, (long long)edge,
           CHANNELS);
    printf("%-7s %-22s %10s %10s %11s %9s\n", "", "operation", "f32 error", "bf16 error", "time", "roofline");
    for (int i = 0; i < OPERATIONS; i++) {
        const result *r = &results[i];
        char share[16] = "-";
        if (r->share > 0) snprintf(share, sizeof share, "%.0f %%", 100 * r->share);
        printf("%-7s %-22s %10.3f %10.3f %8.3f ms %9s\n", is_right(r) ? "ok" : "WRONG", operations[i].name, r->error[0],
               r->error[1], 1e3 * r->seconds, share);
    }
    printf("\nErrors are shares of what is allowed. The roofline is the time that memory or tensor cores alone would "
           "need.\n%s\n",
           good ? "All operations are right." : "SOME OPERATIONS ARE WRONG: do not compute on this device.");
}

static dg_status print_json(const dg_job_env *env, const char *description, int64_t edge, const result *results,
                            bool good)
{
    json_t *list = json_array();
    for (int i = 0; i < OPERATIONS; i++) {
        const result *r = &results[i];
        const bool finite = isfinite(r->error[0]) && isfinite(r->error[1]);
        json_array_append_new(list, json_pack("{s:s, s:b, s:f, s:f, s:f, s:f}", "name", operations[i].name, "ok",
                                              is_right(r), "error_f32", finite ? r->error[0] : 1e30, "error_bf16",
                                              finite ? r->error[1] : 1e30, "seconds", r->seconds, "roofline_share",
                                              r->share));
    }
    return dg_job_print_json(env, json_pack("{s:b, s:s, s:I, s:o}", "ok", good, "device", description, "edge",
                                            (json_int_t)edge, "operations", list));
}

dg_status doctor_gpu(const dg_job_env *env, const char *name, int64_t edge, bool json, int *exit_code)
{
    result results[OPERATIONS] = {{.seconds = 0}};
    char description[256] = "";
    int device = 0;
    bool good = true;
    const dg_backend_ops *ops = NULL;
    DG_TRY(dg_backend_find(name, &ops));
    if (ops->unavailable() != NULL) return DG_FAIL(DG_ERR_UNSUPPORTED, "no GPU to look at: %s", ops->unavailable());
    if (ops->device != NULL) DG_TRY(ops->device->place(env->comm, false, &device));
    if (env->comm->rank != 0) return DG_OK;
    DG_TRY(check_all(name, device, DG_F32, 0, results));
    DG_TRY(check_all(name, device, DG_BF16, 1, results));
    DG_TRY(time_all(name, device, edge, results, description, sizeof description));
    for (int i = 0; i < OPERATIONS; i++) good = good && is_right(&results[i]);
    if (!good) *exit_code = DG_EXIT_FAILED;
    if (json) return print_json(env, description, edge, results, good);
    print_page(description, edge, results, good);
    return DG_OK;
}
