/* dg_params.h - the parameters of a model: a table of named tensors laid out in one flat f32 buffer, in the order in
 * which a backward pass completes their gradients from the end to the start. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_PARAMS_H
#define DG_PARAMS_H

#include "dg_backend.h"
#include "dg_hash.h"
#include "dg_state.h"

#include <stdbool.h>

enum { DG_PARAM_NAME = 96 };

/* How a parameter lies in the engine, and so how its PyTorch form is made. */
typedef enum dg_param_kind {
    DG_PARAM_CONV,       /* engine [kz,ky,kx,cin,cout]; PyTorch (cout,cin,kz,ky,kx), or (cout,cin) of a linear layer */
    DG_PARAM_CONV_TRANSPOSE, /* engine [kz,ky,kx,cin,cout]; PyTorch (cin,cout,kz,ky,kx) */
    DG_PARAM_LINEAR,     /* [out,in], both */
    DG_PARAM_VECTOR      /* [c], both */
} dg_param_kind;

typedef struct dg_param {
    char name[DG_PARAM_NAME]; /* PyTorch state_dict name: "enc1.conv1.weight" */
    dg_param_kind kind;
    int rank;
    int64_t torch_shape[5];
    int64_t offset, count;    /* elements in the flat buffer; offsets are multiples of 16 */
    int64_t fan_in;           /* for initialisation */
    bool decay;               /* takes part in weight decay (all but learned loss weights) */
} dg_param;

typedef struct dg_param_table {
    dg_param *item; /* [count], owned */
    int count, capacity;
    int64_t total;  /* elements of the flat buffer */
} dg_param_table;

/* Appends one; DG_ERR_INTERNAL on a second one of the same name. Returns its index in *index. */
DG_MUST_USE dg_status dg_param_table_add(dg_param_table *table, const char *name, dg_param_kind kind, int rank,
                                         const int64_t *torch_shape, int64_t fan_in, int *index);
void dg_param_table_release(dg_param_table *table);
int dg_param_find(const dg_param_table *table, const char *name); /* -1: none */

/* One parameter between engine layout (at its place in `flat`, host memory) and PyTorch layout. */
void dg_param_to_torch(const dg_param *param, const float *flat, float *torch);
void dg_param_from_torch(const dg_param *param, const float *torch, float *flat);

/* PyTorch's default initialisation (uniform +-1/sqrt(fan_in) for weights and biases of convolutions and linear layers,
 * 1 and 0 for norms), drawn from Philox streams keyed by the parameter's index: the same on every backend and rank. */
void dg_params_init(const dg_param_table *table, uint64_t seed, float *flat);

/* sha256 over (name, torch shape, torch values) sorted by name: what `inspect` prints as weights_sha256. */
DG_MUST_USE dg_status dg_params_sha256(const dg_param_table *table, const float *flat, char hex[DG_HASH_HEX]);

/* Saves and loads `flat` (host memory) under the PyTorch names and shapes, for any flat buffer of this table
 * (weights, moments, averages). */
DG_MUST_USE dg_status dg_params_save(const dg_param_table *table, const float *flat, const dg_state_sink *sink);
DG_MUST_USE dg_status dg_params_load(const dg_param_table *table, float *flat, const dg_state_source *source);

#endif
