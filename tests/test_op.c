/* test_op.c - see test_op.h. SPDX-License-Identifier: Apache-2.0 */
#include "test_op.h"

#include "dg_check.h"

static const double SLOPE = 0.1, GRAD_SCALE = 1.5;

static void add_input(test_op *op, int i, dg_dtype dtype, test_shape shape, int64_t padding, bool gradient,
                      uint64_t seed)
{
    op->x_host[i] = test_random(seed * 16 + (uint64_t)i, test_count(shape), 1.0, 0.25);
    op->x[i] = test_tensor(op->scope, dtype, shape, padding, op->x_host[i]);
    if (gradient) op->dx[i] = test_tensor(op->scope, dtype, shape, padding, NULL);
    op->x_used[i] = true;
    op->x_gradient[i] = gradient;
}

static void add_param(test_op *op, int i, int64_t count, double scale, double shift, uint64_t seed)
{
    op->p_host[i] = test_random(seed * 16 + 8 + (uint64_t)i, count, scale, shift);
    op->p[i] = test_buffer(op->scope, op->p_host[i], count);
    op->dp[i] = test_buffer(op->scope, NULL, count);
    op->p_count[i] = count;
}

static void add_output(test_op *op, dg_dtype dtype, test_shape shape, uint64_t seed)
{
    op->dy_host = test_random(seed * 16 + 15, test_count(shape), 1.0, 0.125);
    op->y = test_tensor(op->scope, dtype, shape, op->desc.pad_y, NULL);
    op->dy = test_tensor(op->scope, dtype, shape, op->desc.pad_y, op->dy_host);
}

static dg_norm_desc norm_desc(const test_case *d)
{
    return (dg_norm_desc){.groups = d->groups, .eps = 1e-5, .act = d->act, .negative_slope = SLOPE};
}

static void create_conv(test_op *op, dg_dtype dtype, uint64_t seed)
{
    const test_case *d = &op->desc;
    const int64_t f = d->kernel == 2 ? 2 : 1, less = d->kernel == 4 ? 2 : 1, taps = d->kernel * d->kernel * d->kernel;
    add_input(op, 0, dtype, d->x, d->pad_x, true, seed);
    add_param(op, 0, taps * d->x.c * d->cout, 1.0 / sqrt((double)(taps * d->x.c)), 0, seed);
    if (d->bias) add_param(op, 1, d->cout, 0.5, 0, seed);
    add_output(op, dtype, (test_shape){d->x.n, f * d->x.z / less, f * d->x.y / less, f * d->x.x / less, d->cout}, seed);
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        const dg_conv_desc desc = {.kind = d->kernel == 2   ? DG_CONV_TRANSPOSE2
                                           : d->kernel == 4 ? DG_CONV_STRIDE2
                                                            : DG_CONV_SAME,
                                   .kernel = d->kernel,
                                   .n = d->x.n,
                                   .z = d->x.z,
                                   .y = d->x.y,
                                   .x = d->x.x,
                                   .cin = d->x.c,
                                   .cout = d->cout,
                                   .dtype = dtype,
                                   .training = true,
                                   .accumulate_dx = accumulate == 1};
        DG_CHECK_OK(op->scope->ops->conv_create(op->scope->backend, &desc, &op->conv[accumulate]));
    }
}

static void create_norm(test_op *op, dg_dtype dtype, uint64_t seed)
{
    const test_case *d = &op->desc;
    add_input(op, 0, dtype, d->x, d->pad_x, true, seed);
    if (d->residual) add_input(op, 1, dtype, d->x, d->pad_x, false, seed);
    if (d->affine || d->kind == TEST_LAYER_NORM) {
        add_param(op, 0, d->x.c, 0.5, 1, seed);
        add_param(op, 1, d->x.c, 0.5, 0, seed);
    }
    if (d->film) add_param(op, 2, d->x.n * 2 * d->x.c, 0.5, 0, seed);
    op->stats_count = 2 * d->x.n * (d->kind == TEST_NORM ? d->groups : d->x.z * d->x.y * d->x.x);
    op->stats = op->stats_count > 0 ? test_buffer(op->scope, NULL, op->stats_count) : NULL;
    add_output(op, dtype, d->x, seed);
}

static void *upload(test_op *op, const void *host, int64_t bytes)
{
    void *memory = test_buffer(op->scope, NULL, (bytes + 3) / 4);
    DG_CHECK_OK(op->scope->ops->upload(op->scope->backend, memory, host, bytes));
    return memory;
}

static void create_loss(test_op *op, dg_dtype dtype, uint64_t seed)
{
    const test_case *d = &op->desc;
    const int64_t count = test_count(d->x);
    const float weight = (float)GRAD_SCALE;
    add_input(op, 0, dtype, d->x, d->pad_x, true, seed);
    add_input(op, 1, DG_F32, d->x, d->pad_y, false, seed);
    op->weight = test_buffer(op->scope, &weight, 1);
    op->value = (double *)test_buffer(op->scope, NULL, 2 * d->x.n * dg_loss_term_values(&d->loss));
    const int64_t bytes = op->scope->ops->loss_workspace(&d->loss, &(dg_loss_batch){.y = op->x[0]});
    op->workspace = test_buffer(op->scope, NULL, (bytes + 3) / 4);
    uint8_t *mask = calloc((size_t)count, 1);
    uint32_t *regions = calloc((size_t)count, sizeof *regions);
    DG_CHECK(mask != NULL && regions != NULL);
    /* The last of several samples has no voxel that counts. */
    const int64_t counted = d->x.n > 1 ? count / d->x.n * (d->x.n - 1) : count;
    for (int64_t i = 0; i < counted; i++) mask[i] = i % 3 != 1;
    for (int64_t i = 0; i < count; i++) regions[i] = (uint32_t)(i * 2654435761u >> 7);
    if (d->mask) op->mask = upload(op, mask, count);
    op->regions = upload(op, regions, count * (int64_t)sizeof *regions);
    free(mask);
    free(regions);
}

/* The term, and its gradient where dx is given. */
static dg_status run_loss(test_op *op, dg_tensor *dx, bool accumulate)
{
    const dg_loss_batch batch = {.y = op->x[0], .target = op->x[1], .mask = op->mask, .regions = op->regions};
    return op->scope->ops->loss(op->scope->backend, &op->desc.loss, &batch, op->weight, op->workspace, op->value,
                                dg_loss_term_values(&op->desc.loss), dx, accumulate);
}

double *test_op_values(const test_op *op)
{
    const int64_t count = op->desc.x.n * dg_loss_term_values(&op->desc.loss);
    double *value = calloc((size_t)count, sizeof *value);
    DG_CHECK(value != NULL);
    DG_CHECK_OK(op->scope->ops->download(op->scope->backend, value, op->value, count * (int64_t)sizeof *value));
    return value;
}

test_op test_op_create(test_scope *scope, const test_case *desc, dg_dtype dtype, uint64_t seed)
{
    test_op op = {.desc = *desc, .scope = scope};
    const test_shape x = desc->x;
    switch (desc->kind) {
    case TEST_CONV: create_conv(&op, dtype, seed); break;
    case TEST_NORM:
    case TEST_LAYER_NORM: create_norm(&op, dtype, seed); break;
    case TEST_LOSS: create_loss(&op, dtype, seed); break;
    case TEST_ACT:
    case TEST_COPY:
        add_input(&op, 0, dtype, x, desc->pad_x, true, seed);
        add_output(&op, dtype, x, seed);
        break;
    case TEST_GATE:
        add_input(&op, 0, dtype, x, desc->pad_x, true, seed);
        add_input(&op, 1, dtype, (test_shape){x.n, x.z, x.y, x.x, 1}, 0, true, seed);
        add_output(&op, dtype, x, seed);
        break;
    case TEST_POOL:
        add_input(&op, 0, dtype, x, desc->pad_x, true, seed);
        add_output(&op, dtype, (test_shape){x.n, x.z == 1 ? 1 : x.z / 2, x.y / 2, x.x / 2, x.c}, seed);
        break;
    case TEST_RESIZE:
        add_input(&op, 0, dtype, x, desc->pad_x, true, seed);
        add_output(&op, dtype, (test_shape){x.n, desc->oz, desc->oy, desc->ox, x.c}, seed);
        break;
    case TEST_LINEAR:
        add_input(&op, 0, DG_F32, x, desc->pad_x, true, seed);
        add_param(&op, 0, x.c * desc->cout, 0.5, 0, seed);
        if (desc->bias) add_param(&op, 1, desc->cout, 0.5, 0, seed);
        add_output(&op, DG_F32, (test_shape){x.n, 1, 1, 1, desc->cout}, seed);
        break;
    case TEST_ATTENTION:
        add_input(&op, 0, dtype, (test_shape){x.n, x.z, x.y, x.x, 3 * x.c}, desc->pad_x, true, seed);
        add_output(&op, dtype, x, seed);
        break;
    }
    return op;
}

void test_op_destroy(test_op *op)
{
    for (int i = 0; i < TEST_INPUTS; i++) free(op->x_host[i]);
    for (int i = 0; i < TEST_PARAMS; i++) free(op->p_host[i]);
    for (int i = 0; i < 2; i++)
        if (op->conv[i] != NULL) op->scope->ops->conv_destroy(op->scope->backend, op->conv[i]);
    free(op->dy_host);
    *op = (test_op){0};
}

bool test_op_param_is_set(const test_op *op, int param) { return op->desc.kind == TEST_NORM && param == 2; }

static dg_status run_forward(test_op *op)
{
    const dg_backend_ops *ops = op->scope->ops;
    dg_backend *backend = op->scope->backend;
    const test_case *d = &op->desc;
    const dg_norm_desc norm = norm_desc(d);
    switch (d->kind) {
    case TEST_CONV:
        DG_TRY(ops->conv_pack(backend, op->conv[0], op->p[0], op->p[1]));
        DG_TRY(ops->conv_pack(backend, op->conv[1], op->p[0], op->p[1]));
        return ops->conv_forward(backend, op->conv[0], &op->x[0], &op->y);
    case TEST_NORM:
        return ops->norm_forward(backend, &norm, &op->x[0], op->p[0], op->p[1], op->p[2],
                                 d->residual ? &op->x[1] : NULL, op->stats, &op->y);
    case TEST_LAYER_NORM:
        return ops->layer_norm_forward(backend, 1e-5, &op->x[0], op->p[0], op->p[1], op->stats, &op->y);
    case TEST_ACT: return ops->act_forward(backend, d->act, SLOPE, &op->x[0], &op->y);
    case TEST_COPY: return ops->copy(backend, &op->x[0], &op->y, false);
    case TEST_GATE: return ops->gate_forward(backend, &op->x[0], &op->x[1], &op->y);
    case TEST_POOL: return ops->pool_forward(backend, &op->x[0], &op->y);
    case TEST_RESIZE: return ops->resize_forward(backend, &op->x[0], &op->y);
    case TEST_LINEAR: return ops->linear_forward(backend, &op->x[0], op->p[0], op->p[1], &op->y);
    case TEST_ATTENTION: return ops->attention_forward(backend, d->heads, &op->x[0], &op->y);
    case TEST_LOSS: return run_loss(op, NULL, false);
    }
    return DG_ERR_INTERNAL;
}

void test_op_forward(test_op *op)
{
    for (int i = 0; i < TEST_INPUTS; i++)
        if (op->x_used[i]) test_tensor_set(op->scope, &op->x[i], op->x_host[i]);
    for (int i = 0; i < TEST_PARAMS; i++)
        if (op->p_count[i] > 0)
            DG_CHECK_OK(op->scope->ops->upload(op->scope->backend, op->p[i], op->p_host[i],
                                               op->p_count[i] * (int64_t)sizeof(float)));
    DG_CHECK_OK(run_forward(op));
}

void test_op_backward(test_op *op, bool accumulate)
{
    const dg_backend_ops *ops = op->scope->ops;
    dg_backend *backend = op->scope->backend;
    const test_case *d = &op->desc;
    const dg_norm_desc norm = norm_desc(d);
    dg_tensor *x = &op->x[0], *dx = &op->dx[0], *dy = &op->dy;
    switch (d->kind) {
    case TEST_CONV:
        DG_CHECK_OK(ops->conv_backward_data(backend, op->conv[accumulate], dy, dx));
        DG_CHECK_OK(ops->conv_backward_weights(backend, op->conv[accumulate], x, dy, op->dp[0], op->dp[1]));
        break;
    case TEST_NORM:
        DG_CHECK_OK(ops->norm_backward(backend, &norm, x, op->p[0], op->p[1], op->p[2], op->stats, dy, dx, accumulate,
                                       op->dp[0], op->dp[1], op->dp[2]));
        break;
    case TEST_LAYER_NORM:
        DG_CHECK_OK(
            ops->layer_norm_backward(backend, x, op->p[0], op->stats, dy, dx, accumulate, op->dp[0], op->dp[1]));
        break;
    case TEST_ACT: DG_CHECK_OK(ops->act_backward(backend, d->act, SLOPE, x, dy, dx, accumulate)); break;
    case TEST_COPY: DG_CHECK_OK(ops->copy(backend, dy, dx, accumulate)); break;
    case TEST_GATE: DG_CHECK_OK(ops->gate_backward(backend, x, &op->x[1], dy, dx, accumulate, &op->dx[1])); break;
    case TEST_POOL: DG_CHECK_OK(ops->pool_backward(backend, x, dy, dx, accumulate)); break;
    case TEST_RESIZE: DG_CHECK_OK(ops->resize_backward(backend, dy, dx, accumulate)); break;
    case TEST_LINEAR:
        DG_CHECK_OK(ops->linear_backward(backend, x, op->p[0], dy, dx, accumulate, op->dp[0], op->dp[1]));
        break;
    case TEST_ATTENTION: DG_CHECK_OK(ops->attention_backward(backend, d->heads, x, dy, dx)); break;
    case TEST_LOSS: DG_CHECK_OK(run_loss(op, dx, accumulate)); break;
    }
}

double test_op_objective(test_op *op)
{
    double sum = 0;
    test_op_forward(op);
    if (op->desc.kind == TEST_LOSS) {
        double *value = test_op_values(op);
        for (int64_t n = 0; n < op->desc.x.n; n++) sum += GRAD_SCALE * value[n * dg_loss_term_values(&op->desc.loss)];
        free(value);
        return sum;
    }
    float *y = test_tensor_get(op->scope, &op->y);
    for (int64_t i = 0; i < op->y.n * dg_tensor_voxels(&op->y) * op->y.c; i++) sum += (double)op->dy_host[i] * y[i];
    free(y);
    return sum;
}
