/* export_impl.h - what the parts of `dosegrid export` share. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_EXPORT_IMPL_H
#define DG_EXPORT_IMPL_H

#include "dg_options.h"
#include "job.h"

typedef struct export_config {
    char output[DG_OPT_TEXT], predictions[DG_OPT_TEXT];
    int to;
    dg_string_list what, cases;
    bool force, json;
} export_config;

/* The weights of a checkpoint as one file. Not collective. */
DG_MUST_USE dg_status export_weights(const dg_job_env *env, const export_config *config, const char *checkpoint);
/* Volumes of a cohort's cases (and of predictions beside it) as NIfTI files in a folder: ID_ct.nii.gz, ID_dose.nii.gz,
 * ID_pred.nii.gz, ID_diff.nii.gz, ID_mask-NAME.nii.gz, ID_labels.nii.gz. Not collective. */
DG_MUST_USE dg_status export_volumes(const dg_job_env *env, const export_config *config, const char *cohort);

#endif
