/* predictor_impl.h - private to predictor*.c: what lies in backend memory for a shape, and the work on one case.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_PREDICTOR_IMPL_H
#define DG_PREDICTOR_IMPL_H

#include "predictor.h"
#include "slab_reader.h"
#include "tiling.h"

/* Backend memory of a tiling and a batch. */
typedef struct predictor_memory {
    int64_t net[3], patch[3], batch, windows, tallest_step; /* windows of a layer */
    dg_ring volume, sum, strip;
    float *weight[3], *weight_sum[3];
    float *out;           /* finished planes of a layer */
    float *plain;         /* outputs of a pass, kept while the mirrored windows pass */
    float *constraint[2]; /* [batch, constraints], of the case and of the mirrored case */
    int32_t *bad;         /* [2][windows of a layer]: inputs, outputs that are not finite */
    /* of a diffusion: x_t, the dose of the step before, and what the network said: of the case, without it, both guided */
    dg_ring noisy;
    float *before, *said[3];
    void *block[24];
    int blocks;
} predictor_memory;

struct dg_predictor {
    const dg_model *model;
    dg_backend *backend;
    dg_source *source;
    dg_predictor_config config;
    dg_trace *trace;
    dg_heartbeat *heartbeat;
    const float *weights;
    bool packed;   /* the plan holds these weights */
    dg_plan *plan; /* of memory.batch windows of memory.patch, or NULL */
    predictor_memory memory;
    dg_slab_reader *reader;
    dg_sampling sampling; /* diffusion NULL: the network's output is the dose */
    int64_t ahead;        /* case whose first planes are being read; -1: none */
};

/* One case under way. */
typedef struct predictor_case {
    dg_predictor *p;
    const dg_case_info *info;
    int64_t index, next;
    const dg_tiling *tiling;
    float *values;     /* [output], in units of the scale */
    float *message;    /* a strip on its way between ranks; NULL: alone */
    int32_t *bad;      /* host copy of memory.bad */
    int64_t (*ran)[3]; /* starts of this rank's windows of the present layer */
    int64_t windows, in_layer;
    int64_t known;  /* planes that were brought to the backend */
    bool blind;     /* of a diffusion: the network is not told the case */
    int64_t strips; /* strips folded (rank 0) or sent, in order */
    double read_s, waited_s;
} predictor_case;

/* predictor_memory.c */
DG_MUST_USE dg_status predictor_prepare(dg_predictor *p, const dg_case_info *info, const dg_tiling *tiling);
void predictor_drop(dg_predictor *p);
/* Fills the conditioning vectors of a pass: of a diffusion the time, and nothing of the case when blind. */
DG_MUST_USE dg_status predictor_tell(dg_predictor *p, const dg_case_info *info, int64_t time, bool blind);
int64_t predictor_batch_of(const dg_predictor *p, const dg_tiling *tiling);

/* predictor.c: a case that ranks share goes on on all of them, or on none. Collective over those. */
bool predictor_is_shared(const predictor_case *c);
DG_MUST_USE dg_status predictor_agree(const predictor_case *c, dg_status status);

/* predictor_layers.c: all layers of a case; values is complete on the rank that keeps them. */
DG_MUST_USE dg_status predictor_layers(predictor_case *c);
/* The planes of a case alone, and then the windows of all its layers: what they blend to in memory.said[blind], on rank 0. */
DG_MUST_USE dg_status predictor_load(predictor_case *c);
DG_MUST_USE dg_status predictor_sweep(predictor_case *c);
/* After a failure of a sweep: what other ranks still send is taken, what they still wait for is sent. Returns the failure. */
DG_MUST_USE dg_status predictor_settle(predictor_case *c, dg_status status);

/* predictor_layers.c: windows at these starts, at most memory.batch, through the network. *output: what it said, f32 [count,z,y,x,1], in
 * the plan until the next pass. DG_ERR_NUMERIC as predictor_layers. */
DG_MUST_USE dg_status predictor_pass(predictor_case *c, const int64_t (*start)[3], int64_t count, dg_tensor *output);

/* predictor_study.c: values = the case as the study joins it; voxels that no window reaches with a weight are 0. Not collective. */
DG_MUST_USE dg_status predictor_study(predictor_case *c);

/* predictor.c: tiling and memory of a case, and its dose scale; ends with predictor_end. */
DG_MUST_USE dg_status predictor_begin(predictor_case *c, dg_tiling *tiling, double *scale_gy);
void predictor_end(predictor_case *c, dg_tiling *tiling);

/* predictor_sample.c: values = a sample of the diffusion in units of the scale, where they are kept. @collective where ranks
 * share cases. */
DG_MUST_USE dg_status predictor_sample(predictor_case *c);

#endif
