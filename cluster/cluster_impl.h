/* cluster_impl.h - the inside of dg_cluster, for this folder and its own tests. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_CLUSTER_IMPL_H
#define DG_CLUSTER_IMPL_H

#include "dg_cluster.h"

/* Runs a command (looked up in PATH, standard input empty) and keeps the first capacity - 1 bytes of its two outputs.
 * SLURM_TIME_FORMAT=%s is set, so that Slurm prints Unix times. *exit_code: 128 + n where signal n ended it. DG_ERR_IO:
 * it cannot be started, or does not end within the time and is killed. */
DG_MUST_USE dg_status dg_command_run(const char *const *argv, double timeout_s, char *output, size_t capacity,
                                     int *exit_code);

/* The scheduler adapter of Slurm for the job whose id stands in SLURM_JOB_ID. */
DG_MUST_USE dg_status dg_sched_slurm_create(dg_sched **out);
/* Finds job `id` in what `scontrol -o show job` printed (a line per job; an array's id lists all its tasks). */
DG_MUST_USE dg_status dg_slurm_read_job(const char *text, const char *id, dg_sched_job *out);

#endif
