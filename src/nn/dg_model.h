/* dg_model.h - architectures: from a description to a static graph with a parameter table. One C file per architecture;
 * `dg_model.c` is the registry. A model holds no weights and no shapes but channel counts: plans fix shapes.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_MODEL_H
#define DG_MODEL_H

#include "dg_graph.h"
#include "dg_params.h"

typedef struct dg_model_config {
    char kind[32];         /* "unet", "attention_unet" (gated skips), "bottleneck_attn" (self-attention at the bottom),
                            * "cascade" (a second U-Net, refine.*, corrects the dose of the first, coarse.*),
                            * "topology_unet" (instance norm, leaky ReLU; its output is a probability),
                            * "diffusion_unet" (knows the time of a diffusion step: its conditioning vector begins with
                            * base_channels sinusoids, see dg_diffusion.h), "patchgan" (a discriminator, whose output is of the
                            * deepest level; no model of doses: dg_adversary.h) */
    int64_t in_channels;   /* >= 1 */
    int64_t out_channels;  /* >= 1 */
    int64_t base_channels; /* of the first level */
    int64_t levels;        /* counts the bottleneck: the baseline has 5, channels base * (1,2,4,8,8), the
                            * topology U-Net base * (1,2,4,8,16,...) */
    int64_t constraints;   /* length of the conditioning vector; 0: no FiLM */
    int64_t cond_channels; /* width of the conditioning embedding (256) */
} dg_model_config;

typedef struct dg_model {
    dg_model_config config;
    dg_graph graph;        /* owned */
    dg_param_table params; /* owned */
} dg_model;

/* DG_ERR_USAGE for an unknown kind (lists the known ones) or a value out of range. */
DG_MUST_USE dg_status dg_model_create(const dg_model_config *config, dg_model **out);
void dg_model_destroy(dg_model **model);
/* Every spatial axis of the input must be a multiple of this (2^(levels-1)). */
int64_t dg_model_multiple(const dg_model *model);

#endif
