/* dg_tasks.h - a list of independent tasks, largest first, taken by ranks through an atomic counter.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_TASKS_H
#define DG_TASKS_H

#include "dg_comm.h"

typedef struct dg_tasks dg_tasks;

/* `cost[i]` of task i (any unit; all ranks pass the same). Ties go by index. @collective */
DG_MUST_USE dg_status dg_tasks_create(dg_comm *comm, const double *cost, int64_t count, dg_tasks **out);
/* The next task of this rank, or *task = -1 when none is left. Not collective. */
DG_MUST_USE dg_status dg_tasks_next(dg_tasks *tasks, int64_t *task);
/* No rank gets another task; those under way are not touched. Not collective. */
DG_MUST_USE dg_status dg_tasks_halt(dg_tasks *tasks);
void dg_tasks_destroy(dg_tasks **tasks); /* collective */

#endif
