/* diff_impl.h - how an input of `dosegrid diff` becomes one or more sides. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_DIFF_IMPL_H
#define DG_DIFF_IMPL_H

#include "config_diff.h"
#include "sweep_plan.h"

typedef struct diff_sides {
    dg_diff_side side[DG_DIFF_SIDES_MAX];
    int count;
} diff_sides;

/* [NAME=]PATH: a run's folder, a configuration, or a sweep (its file, or its folder), which gives a side for each
 * condition. A configuration is resolved as a run would: defaults, file, DG_* environment. Adds to `sides`;
 * diff_sides_release in any case. */
DG_MUST_USE dg_status diff_sides_add(const char *argument, diff_sides *sides);
/* The conditions of a sweep that has its folder, the reference first, as runs get them: under the --set and the DG_*
 * variables that its settings.json tells it began with. */
DG_MUST_USE dg_status diff_sides_add_sweep(const dg_sweep *sweep, diff_sides *sides);
void diff_sides_release(diff_sides *sides);

#endif
