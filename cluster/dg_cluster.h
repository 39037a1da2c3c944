/* dg_cluster.h - the site a job runs on: its scheduler, and whether what the launcher started is what the scheduler was
 * asked for. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_CLUSTER_H
#define DG_CLUSTER_H

#include "dg_comm.h"
#include "dg_sched.h"

/* The scheduler of this process: Slurm where SLURM_JOB_ID is set, else none. Nothing is asked of it yet. */
DG_MUST_USE dg_status dg_sched_open(dg_sched **out);

enum { DG_SITE_NOTES_MAX = 8, DG_SITE_NOTE_TEXT = 384 };

/* What is odd about the way the ranks were placed, but no reason to stop; the same on rank 0 only. */
typedef struct dg_site_notes {
    int count;
    char text[DG_SITE_NOTES_MAX][DG_SITE_NOTE_TEXT];
} dg_site_notes;

/* Compares ranks, hosts and GPUs with what Slurm was asked for. DG_ERR_MISMATCH, on every rank, with both numbers and
 * the remedy: one process where the job has several tasks (each would do the whole work), or a rank on a host that is
 * not the job's (nobody would end it with the job). Notes: fewer or more ranks than tasks, hosts without a rank, ranks
 * without a GPU of their own, GPUs without a rank. Nothing to compare without Slurm. @collective yes. */
DG_MUST_USE dg_status dg_site_check(dg_comm *comm, dg_site_notes *notes);

#endif
