/* scaling.h - how long a training step and a sweep over a cohort take on many ranks: a roofline for each operation and a
 * latency-bandwidth model of the gradient reduction. Equations: doc/scaling.md. Pure arithmetic.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SCALING_H
#define SCALING_H

#include "dg_plan.h"
#include "device_table.h"

/* Seconds of one operation: the longer of arithmetic and memory, and its launch. */
double dg_scaling_operation_s(const dg_device *device, dg_dtype dtype, double flops, double bytes);

/* Seconds of one all-reduce of `bytes` over `ranks`: the fastest of a ring or tree inside a node, a ring over all, and reduce-scatter
 * in the nodes, ring or tree between them, gather in the nodes. 0 for one rank. */
double dg_scaling_reduce_s(const dg_device *device, int64_t ranks, double bytes);
/* The same in one fixed order over a binary tree, sums up and down again, nothing overlapping. */
double dg_scaling_ordered_s(const dg_device *device, int64_t ranks, double bytes);

/* What a rank does in a step. */
typedef struct dg_scaling_work {
    const dg_plan_cost *cost; /* borrowed: the steps of one pass */
    int count;
    int64_t passes; /* of a step; the reduction overlaps with the last one's backward */
    dg_dtype dtype;
    int64_t parameters;
    double bucket_bytes; /* of the reduction, as f32 gradients */
    double wire_bytes;   /* of a gradient that is sent */
    double update_bytes; /* optimiser, averaging, clearing and casting */
    double pass_bytes;   /* loss */
    bool ordered;
} dg_scaling_work;

typedef struct dg_scaling_step {
    double forward_s, backward_s, update_s; /* all passes */
    double reduce_s, exposed_s;             /* of the reduction; of that, not hidden behind backward */
    double step_s;
    double efficiency; /* step without a reduction / step_s */
} dg_scaling_step;
dg_scaling_step dg_scaling_step_time(const dg_device *device, const dg_scaling_work *work, int64_t ranks);

#endif
