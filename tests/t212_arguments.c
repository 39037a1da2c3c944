/* ctest: libs=test_tensor label=unit timeout=60 args=--backend ref; --backend onednn */
/* t212_arguments.c - arguments that do not fit are a message and a status, never a crash or a wrong answer.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "test_tensor.h"

static dg_tensor make(test_scope *s, int64_t n, int64_t z, int64_t y, int64_t x, int64_t c)
{
    return test_tensor(s, DG_F32, (test_shape){n, z, y, x, c}, 0, NULL);
}

static void check_conv(test_scope *s)
{
    dg_conv_desc desc = {.kind = DG_CONV_SAME,
                         .kernel = 3,
                         .n = 1,
                         .z = 2,
                         .y = 2,
                         .x = 2,
                         .cin = 3,
                         .cout = 4,
                         .dtype = DG_F32,
                         .training = false};
    dg_conv *conv;
    dg_tensor x = make(s, 1, 2, 2, 2, 3), y = make(s, 1, 2, 2, 2, 4), wrong = make(s, 1, 2, 2, 3, 4);
    dg_tensor pitched = test_tensor(s, DG_F32, (test_shape){1, 2, 2, 2, 4}, 2, NULL);
    dg_tensor half = test_tensor(s, DG_BF16, (test_shape){1, 2, 2, 2, 4}, 0, NULL), nothing = y;
    float *dw = test_buffer(s, NULL, 27 * 12);
    DG_CHECK_OK(s->ops->conv_create(s->backend, &desc, &conv));
    DG_CHECK_FAILS(s->ops->conv_forward(s->backend, conv, &x, &wrong), DG_ERR_INTERNAL, "tensor y is [1,2,2,3,4]");
    DG_CHECK_FAILS(s->ops->conv_forward(s->backend, conv, &y, &y), DG_ERR_INTERNAL, "tensor x is [1,2,2,2,4]");
    DG_CHECK_FAILS(s->ops->conv_forward(s->backend, conv, &x, &pitched), DG_ERR_INTERNAL, "takes dense tensors");
    DG_CHECK_FAILS(s->ops->conv_forward(s->backend, conv, &x, &half), DG_ERR_INTERNAL, "element types");
    nothing.data = NULL;
    DG_CHECK_FAILS(s->ops->conv_forward(s->backend, conv, &x, &nothing), DG_ERR_INTERNAL, "tensor y has no memory");
    DG_CHECK_FAILS(s->ops->conv_backward_data(s->backend, conv, &y, &x), DG_ERR_INTERNAL, "made for inference");
    DG_CHECK_FAILS(s->ops->conv_backward_weights(s->backend, conv, &x, &y, dw, NULL), DG_ERR_INTERNAL, "for inference");
    s->ops->conv_destroy(s->backend, conv);
    desc.kernel = 5;
    DG_CHECK_FAILS(s->ops->conv_create(s->backend, &desc, &conv), DG_ERR_UNSUPPORTED, "kernel 5");
    desc.kind = DG_CONV_STRIDE2;
    desc.kernel = 4;
    desc.y = 3;
    DG_CHECK_FAILS(s->ops->conv_create(s->backend, &desc, &conv), DG_ERR_INTERNAL, "2, 3, 2: each must be even");
    desc.y = 2;
    desc.kind = DG_CONV_SAME;
    desc.kernel = 3;
    desc.cin = 0;
    DG_CHECK_FAILS(s->ops->conv_create(s->backend, &desc, &conv), DG_ERR_INTERNAL, "at least 1");
    desc.cin = 3;
    desc.dtype = DG_F64;
    DG_CHECK_FAILS(s->ops->conv_create(s->backend, &desc, &conv), DG_ERR_UNSUPPORTED, "f32 or bf16");
}

static void check_norm(test_scope *s)
{
    dg_tensor x = make(s, 1, 2, 2, 2, 6), y = make(s, 1, 2, 2, 2, 6), wrong = make(s, 1, 2, 2, 2, 3);
    float *v = test_buffer(s, NULL, 64);
    dg_norm_desc desc = {.groups = 4, .eps = 1e-5};
    DG_CHECK_FAILS(s->ops->norm_forward(s->backend, &desc, &x, v, v, NULL, NULL, v, &y), DG_ERR_INTERNAL,
                   "4 groups do not divide 6 channels");
    desc.groups = 3;
    DG_CHECK_FAILS(s->ops->norm_forward(s->backend, &desc, &x, v, NULL, NULL, NULL, v, &y), DG_ERR_INTERNAL,
                   "one of gamma and beta");
    DG_CHECK_FAILS(s->ops->norm_forward(s->backend, &desc, &x, v, v, NULL, NULL, NULL, &y), DG_ERR_INTERNAL,
                   "stats is missing");
    DG_CHECK_FAILS(s->ops->norm_forward(s->backend, &desc, &x, v, v, NULL, &wrong, v, &y), DG_ERR_INTERNAL, "residual");
    DG_CHECK_FAILS(s->ops->norm_backward(s->backend, &desc, &x, v, v, v, v, &y, &y, false, v, v, NULL), DG_ERR_INTERNAL,
                   "dfilm is missing");
    DG_CHECK_FAILS(s->ops->norm_backward(s->backend, &desc, &x, v, v, NULL, v, &y, &y, true, v, v, NULL),
                   DG_ERR_INTERNAL, "only without accumulation");
    DG_CHECK_FAILS(s->ops->layer_norm_forward(s->backend, 1e-5, &x, v, v, v, &wrong), DG_ERR_INTERNAL, "tensor y");
}

static void check_others(test_scope *s)
{
    dg_tensor x = make(s, 1, 2, 4, 2, 6), y = make(s, 1, 1, 2, 1, 6), one = make(s, 1, 2, 4, 2, 1);
    dg_tensor row = make(s, 2, 1, 1, 1, 5), out = make(s, 3, 1, 1, 1, 4), bad = x;
    float *v = test_buffer(s, NULL, 64);
    double *value = (double *)test_buffer(s, NULL, 2);
    const dg_loss_term loss = {.kind = DG_LOSS_MSE}, structure = {.kind = DG_LOSS_STRUCTURE},
                       wrong = {.kind = DG_LOSS_KINDS};
    const dg_loss_batch wide = {.y = x, .target = x}, good = {.y = one, .target = one};
    bad.pitch = 5;
    DG_CHECK_FAILS(s->ops->act_forward(s->backend, DG_ACT_RELU, 0, &x, &y), DG_ERR_INTERNAL, "tensor y is");
    DG_CHECK_FAILS(s->ops->act_forward(s->backend, DG_ACT_RELU, 0, &bad, &x), DG_ERR_INTERNAL, "not a valid view");
    DG_CHECK_FAILS(s->ops->act_backward(s->backend, DG_ACT_RELU, 0, &x, &x, &y, false), DG_ERR_INTERNAL, "tensor dx");
    DG_CHECK_FAILS(s->ops->copy(s->backend, &x, &y, false), DG_ERR_INTERNAL, "tensor y is");
    DG_CHECK_FAILS(s->ops->gate_forward(s->backend, &x, &x, &x), DG_ERR_INTERNAL, "tensor gate");
    DG_CHECK_FAILS(s->ops->gate_backward(s->backend, &x, &one, &x, &x, false, &x), DG_ERR_INTERNAL, "tensor gate");
    DG_CHECK_FAILS(s->ops->pool_forward(s->backend, &x, &x), DG_ERR_INTERNAL, "pool: tensor y");
    DG_CHECK_FAILS(s->ops->pool_backward(s->backend, &x, &y, &y, false), DG_ERR_INTERNAL, "tensor y is");
    DG_CHECK_FAILS(s->ops->resize_forward(s->backend, &x, &one), DG_ERR_INTERNAL, "resize: tensor y");
    DG_CHECK_FAILS(s->ops->linear_forward(s->backend, &row, v, v, &out), DG_ERR_INTERNAL, "linear");
    DG_CHECK_FAILS(s->ops->linear_forward(s->backend, &row, NULL, v, &row), DG_ERR_INTERNAL, "w is missing");
    DG_CHECK_FAILS(s->ops->attention_forward(s->backend, 1, &x, &x), DG_ERR_INTERNAL, "tensor qkv");
    DG_CHECK_FAILS(s->ops->attention_forward(s->backend, 4, &x, &y), DG_ERR_INTERNAL, "attention");
    DG_CHECK_FAILS(s->ops->loss(s->backend, &loss, &wide, v, v, value, 1, NULL, false), DG_ERR_INTERNAL,
                   "loss: tensor");
    DG_CHECK_FAILS(s->ops->loss(s->backend, &loss, &good, v, v, NULL, 1, NULL, false), DG_ERR_INTERNAL, "value");
    DG_CHECK_FAILS(s->ops->loss(s->backend, &loss, &good, NULL, v, value, 1, &one, false), DG_ERR_INTERNAL, "weight");
    DG_CHECK_FAILS(s->ops->loss(s->backend, &structure, &good, v, v, value, 1, NULL, false), DG_ERR_INTERNAL,
                   "regions");
    DG_CHECK_FAILS(s->ops->loss(s->backend, &wrong, &good, v, v, value, 1, NULL, false), DG_ERR_INTERNAL, "no kind");
}

int main(int argc, char **argv)
{
    test_scope scope = test_scope_open(argc == 3 ? argv[2] : "ref", 1);
    check_conv(&scope);
    check_norm(&scope);
    check_others(&scope);
    test_scope_close(&scope);
    return 0;
}
