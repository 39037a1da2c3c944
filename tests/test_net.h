/* test_net.h - what the network tests share: a model with its plan, weights and gradients on one backend, and the way
 * between PyTorch's NCDHW arrays and the engine. Faults end the program with 1. SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_NET_H
#define TEST_NET_H

#include "dg_loss.h"
#include "dg_plan.h"
#include "test_tensor.h"

typedef struct test_net {
    test_scope scope;
    dg_model *model;
    dg_plan *plan;
    float *weights, *gradients; /* flat, backend memory, lent by the scope */
    dg_loss_batch known; /* regions, scales and the like, as the loss gets them; nothing unless the test sets it */
    int64_t total;
} test_net;

/* Ends with 77 when the backend cannot run here. Weights are zero until test_net_weights. */
test_net test_net_open(const char *backend, int threads, const dg_model_config *model, const dg_plan_config *plan);
/* The same with a model the test has built itself; takes it over. */
test_net test_net_open_model(const char *backend, int threads, dg_model *model, const dg_plan_config *plan);
void test_net_close(test_net *net);
/* Uploads flat host weights and packs them. */
void test_net_weights(test_net *net, const float *flat);
/* dg_params_init with `seed`, and every norm's weight and bias moved off 1 and 0; host memory, free(). */
float *test_net_random_weights(const dg_param_table *table, uint64_t seed);

/* Input and conditioning from PyTorch layout: x (n,c,z,y,x), constraints (n,k) or NULL. */
void test_net_input(test_net *net, const float *x, const float *constraints);
/* Zeroes the gradients, runs forward, the loss (mean over samples) against `target` (n,1,z,y,x) and backward; the loss.
 * terms: [loss->count] means over the batch, may be NULL. */
double test_net_step(test_net *net, const dg_loss_config *loss, const float *target, double *terms);

/* Forward and loss alone. */
double test_net_loss(test_net *net, const dg_loss_config *loss, const float *target);

/* (n,c,z,y,x) <-> [n,z,y,x,c]; free(). */
float *test_channels_last(const float *from, test_shape shape);
float *test_channels_first(const float *from, test_shape shape);
/* A dense host copy of an engine tensor in PyTorch layout; free(). */
float *test_net_torch(test_net *net, const dg_tensor *tensor);

#endif
