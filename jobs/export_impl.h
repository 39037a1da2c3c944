/* export_impl.h - what the parts of `dosegrid export` share. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_EXPORT_IMPL_H
#define DG_EXPORT_IMPL_H

#include "dg_cohort.h"
#include "dg_predictions.h"
#include "dg_options.h"
#include "job.h"

/* What of a case can be written; export_target says which of them a format knows. */
typedef enum export_what {
    WHAT_CT,
    WHAT_DOSE,
    WHAT_PRED,
    WHAT_DIFF,
    WHAT_MASKS,
    WHAT_LABELS,
    WHAT_SEGMENTATION,
    WHAT_DVH,
    WHAT_COUNT
} export_what;

typedef struct export_config {
    char output[DG_OPT_TEXT], predictions[DG_OPT_TEXT], reference[DG_OPT_TEXT], salt[DG_OPT_TEXT];
    int to, nifti_version, npz_version, bits;
    dg_string_list what, cases;
    bool force, json, link_plan;
} export_config;

/* An export of cases at work. */
typedef struct exporter {
    const dg_job_env *env;
    const export_config *config;
    bool wanted[WHAT_COUNT];
    dg_cohort *cohort;
    dg_case *open;            /* the case at hand */
    const dg_case_info *info; /* its */
    int64_t *chosen, count;   /* cases of the cohort that are exported */
    int64_t files;            /* written so far */
    void *state;              /* the target's, between begin and end */
} exporter;

/* A format that cases are written in. */
typedef struct export_target {
    const char *name;
    const char *what;                /* words of --what that it knows, for messages */
    unsigned knows;                  /* bit WHAT_...: likewise */
    unsigned by_default;             /* without --what */
    dg_status (*begin)(exporter *x); /* before the first case; NULL: nothing to do */
    dg_status (*write_case)(exporter *x);
    void (*end)(exporter *x); /* goes with begin, also after a failed one */
} export_target;
extern const export_target export_nifti, export_npz, export_csv, export_dicom, export_tiff;

/* The weights of a checkpoint as one file. Not collective. */
DG_MUST_USE dg_status export_weights(const dg_job_env *env, const export_config *config, const char *checkpoint);
/* Cases of a cohort (and predictions of them) into files of a folder. Not collective. */
DG_MUST_USE dg_status export_cases(const dg_job_env *env, const export_config *config, const export_target *target,
                                   const char *cohort);

/* A whole volume of the case at hand; *values is the caller's (dg_free). */
DG_MUST_USE dg_status export_read(exporter *x, dg_field field, int structure, float **values);
/* Likewise the clinical dose (DG_ERR_DATA without one) and the prediction (DG_ERR_DATA on another grid). */
DG_MUST_USE dg_status export_read_dose(exporter *x, float **dose_gy);
DG_MUST_USE dg_status export_read_prediction(exporter *x, float **dose_gy);
/* What the prediction is, and of a segmentation probabilities or a mask of 0 and 1 (of a dose: DG_ERR_MISMATCH). */
DG_MUST_USE dg_status export_prediction_kind(exporter *x, dg_prediction_kind *kind);
DG_MUST_USE dg_status export_read_segmentation(exporter *x, dg_prediction_kind *kind, float **values);
/* Bit k: structure k; all 0 of a case without structures. */
DG_MUST_USE dg_status export_read_mask_bits(exporter *x, uint64_t **bits);
/* OUTPUT/NAME with what no file may be called replaced; counts the file. */
DG_MUST_USE dg_status export_path(exporter *x, const char *name, char *path);

#endif
