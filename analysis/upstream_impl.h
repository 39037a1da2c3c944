/* upstream_impl.h - what the files of the reference tool's evaluation share; not for other folders.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef UPSTREAM_IMPL_H
#define UPSTREAM_IMPL_H

#include "dg_upstream_evaluation.h"

/* A case in the reference's order of axes (y, x, z), doses in Gy. */
typedef struct upstream_volumes {
    int64_t shape[3], voxels;
    double spacing_mm[3];
    float *target_gy, *pred_gy; /* owned */
    uint64_t *masks;            /* owned */
    const char *const *structure;
    int structure_count;
    int threads;
} upstream_volumes;

/* Prescription in the name of a target ("PTV50.4"); 0: not a target. */
double upstream_prescription_gy(const char *structure);
/* Python's float32(value) >= threshold: the threshold is rounded to float32 first. */
static inline double upstream_threshold(double gy) { return (double)(float)gy; }

/* Objects under construction: `failed` collects whether memory ran out. */
void upstream_put(json_t *object, const char *key, json_t *value, bool *failed);
void upstream_put_number(json_t *object, const char *key, double value, bool *failed);

/* The parts of an entry; the caller's. `failed` as above. */
DG_MUST_USE dg_status upstream_gamma(const upstream_volumes *v, int subsample, json_t *out, bool *failed);
DG_MUST_USE dg_status upstream_dvh(const upstream_volumes *v, json_t *out, bool *failed);
DG_MUST_USE dg_status upstream_constraints(const json_t *dvh_metrics, json_t *out, bool *failed);

#endif
