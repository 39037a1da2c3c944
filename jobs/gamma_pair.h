/* gamma_pair.h - what `dosegrid gamma` and `dosegrid bench gamma` share: the settings of a comparison and its two doses.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_GAMMA_PAIR_H
#define DG_GAMMA_PAIR_H

#include "dg_dose_file.h"
#include "dg_gamma.h"
#include "dg_options.h"

typedef struct gamma_settings {
    int method; /* dg_gamma_method */
    double dose_percent, distance_mm, cutoff_percent, interp_fraction, prescription_gy;
    bool local;
    char norm[DG_OPT_TEXT];
    dg_double_list max_gamma;             /* count 0: none */
    dg_double_list spacing_mm, offset_mm; /* of .npy doses; count 0: not given */
} gamma_settings;

/* Appends the rows of a gamma_settings that lies `base` bytes into the target; returns how many. */
enum { GAMMA_ROWS = 11 };
int gamma_rows(size_t base, dg_option rows[GAMMA_ROWS]);

/* Two doses on their axes, and what they are compared by. */
typedef struct gamma_pair {
    dg_dose_file file[2];  /* reference, evaluated; owned */
    double *axis_mm[2][3]; /* owned */
    dg_gamma_dose dose[2]; /* borrow from both */
    dg_gamma_params params;
    const char *norm; /* "max", "prescription" or "gy" */
    int64_t voxels;   /* of the reference */
} gamma_pair;

/* Reads both doses: FILE.h5:/path, FILE.nii(.gz), FILE.dcm (RTDOSE) or FILE.npy. Errors name the role ("reference dose"), not the path. */
DG_MUST_USE dg_status gamma_pair_read(const gamma_settings *settings, const char *reference, const char *evaluated,
                                      gamma_pair *out);
void gamma_pair_release(gamma_pair *pair);

/* {seconds, evaluated, passed, pass_percent, mean, median, max, method, dose_percent, ..}: figures and all parameters; the
 * caller's. NULL: no memory. */
json_t *gamma_pair_to_json(const gamma_pair *pair, const dg_gamma_summary *summary, double median, double seconds,
                           int threads);

#endif
