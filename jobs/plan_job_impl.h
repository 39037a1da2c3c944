/* plan_job_impl.h - what the files of `dosegrid plan` share: its settings and its answer.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PLAN_JOB_IMPL_H
#define PLAN_JOB_IMPL_H

#include "memory_need.h"
#include "scaling.h"

typedef struct plan_settings {
    dg_run_config config; /* first: the rows of run_config point into it */
    bool json;
    char device[DG_OPT_TEXT], devices[DG_OPT_TEXT];
    int64_t ranks, channels, cases;
    dg_int_list volume;
    double gflops, network_gbit;
} plan_settings;

/* What the shapes depend on. */
typedef struct plan_shapes {
    int64_t channels, constraints, patch[3];
} plan_shapes;

enum { PLAN_SCALES = 13 }; /* 1, 2, 4 .. 4096 ranks */
typedef struct plan_estimate {
    plan_shapes shape;
    dg_device device; /* with what was measured or given in place of its zeros */
    bool measured;
    int64_t parameters;
    dg_memory_need need;
    char less[512]; /* dg_memory_alternatives, where the device has less memory */
    double flops;   /* forward pass of a sample */
    dg_scaling_step step;
    double samples_per_s, node_hours; /* of all ranks; of train.steps or train.epochs, 0: not known */
    int64_t nodes, steps;
    dg_scaling_step scale[PLAN_SCALES]; /* as many samples a rank, on 2^i ranks */
    double window_s, sweep_s;           /* of one window; of --cases of --volume, 0: not asked */
    int64_t windows;                    /* of one case */
} plan_estimate;

/* Everything but the shapes, which are given. */
DG_MUST_USE dg_status plan_estimate_all(const plan_settings *settings, plan_estimate *estimate);

#endif
