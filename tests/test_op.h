/* test_op.h - an operation of the backend table with inputs, made from one description on any backend and type, so that
 * finite differences, comparisons of backends and repeatability run over the same cases. SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_OP_H
#define TEST_OP_H

#include "test_tensor.h"

typedef enum test_kind {
    TEST_CONV,
    TEST_NORM,
    TEST_LAYER_NORM,
    TEST_ACT,
    TEST_COPY,
    TEST_GATE,
    TEST_POOL,
    TEST_RESIZE,
    TEST_LINEAR,
    TEST_ATTENTION,
    TEST_LOSS
} test_kind;

typedef struct test_case {
    const char *name;
    test_kind kind;
    test_shape x;         /* of the input; attention: of the output, qkv has 3c */
    int64_t pad_x, pad_y; /* pitch - c of input and output */
    int64_t cout;         /* conv, linear */
    int kernel;           /* conv: 1, 3, 2 for transposed, 4 for stride 2 */
    bool bias;            /* conv, linear */
    int64_t groups;       /* norm */
    bool affine, film, residual;
    dg_activation act;  /* norm, act; slope 0.1 */
    int64_t oz, oy, ox; /* resize: size of the output */
    int heads;
    dg_loss_term loss;
    bool mask;
} test_case;

enum { TEST_INPUTS = 2, TEST_PARAMS = 3 };

typedef struct test_op {
    test_case desc;
    test_scope *scope;
    dg_tensor x[TEST_INPUTS], dx[TEST_INPUTS];
    float *x_host[TEST_INPUTS]; /* dense values, changed freely before test_op_forward */
    bool x_used[TEST_INPUTS], x_gradient[TEST_INPUTS];
    float *p[TEST_PARAMS], *dp[TEST_PARAMS], *p_host[TEST_PARAMS];
    int64_t p_count[TEST_PARAMS]; /* 0: absent */
    dg_tensor y, dy;
    float *dy_host; /* the objective is sum dy * y */
    float *stats;
    int64_t stats_count;
    dg_conv *conv[2]; /* [accumulate_dx] */
    uint8_t *mask;
    float *weight;     /* loss: 1.5 */
    double *value;     /* loss: [n][dg_loss_term_values], backend memory */
    void *workspace;   /* loss */
    uint32_t *regions; /* loss: of every voxel */
} test_op;

/* Inputs are drawn from `seed`. */
test_op test_op_create(test_scope *scope, const test_case *desc, dg_dtype dtype, uint64_t seed);
/* Releases host memory and convolutions; tensors belong to the scope. */
void test_op_destroy(test_op *op);
/* Uploads all inputs and parameters, runs forward. */
void test_op_forward(test_op *op);
/* After forward. dx (=|+=), parameter gradients += what they held, film's "=". */
void test_op_backward(test_op *op, bool accumulate);
/* Forward, then sum dy * y (loss: 1.5 times the sum of the values). */
double test_op_objective(test_op *op);
/* Values of a loss on the host, [n][dg_loss_term_values]; free(). */
double *test_op_values(const test_op *op);
/* "film" is written, other parameter gradients are added to. */
bool test_op_param_is_set(const test_op *op, int param);

#endif
