/* cluster_impl.h - the inside of dg_cluster, for this folder and its own tests. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_CLUSTER_IMPL_H
#define DG_CLUSTER_IMPL_H

#include "dg_batch.h"
#include "dg_cluster.h"
#include "dg_command.h"

#include <stdio.h>

/* The scheduler adapter of Slurm for the job whose id stands in SLURM_JOB_ID. */
DG_MUST_USE dg_status dg_sched_slurm_create(dg_sched **out);
/* Finds job `id` in what `scontrol -o show job` printed (a line per job; an array's id lists all its tasks). */
DG_MUST_USE dg_status dg_slurm_read_job(const char *text, const char *id, dg_sched_job *out);

/* The files of cluster/templates, embedded at build time. */
typedef struct batch_template {
    const char *name;
    const unsigned char *bytes;
    int length;
} batch_template;
extern const batch_template batch_templates[];
extern const int batch_template_count;

/* What dg_batch_render would refuse. */
DG_MUST_USE dg_status dg_batch_check(const dg_batch_resources *resources, const dg_batch_job *job);

/* What stands for @NAME@ in a template. */
typedef struct batch_field {
    const char *name;
    const char *text;
} batch_field;

/* *text = the template with its fields filled in; the caller's (dg_free). An unknown field is DG_ERR_INTERNAL. */
DG_MUST_USE dg_status dg_template_fill(const char *name, const batch_field *fields, int count, char **text);
/* Writes a word so that a shell reads it back unchanged. */
void dg_shell_word(FILE *to, const char *word);

#endif
