/* foreign_prediction.h - predictions of other programs, a file a case: found by name, read, checked and laid on the case's grid.
 *
 * ID.nii.gz, ID.nii (Gy), ID.npz (key dose, (Y,X,Z), shares of the prescription as the vmat-diffusion scripts keep them),
 * ID.csv (OpenKBP table, Gy), ID.dcm or ID/RTDOSE.dcm (RTDOSE); ID_pred before the ending means the same.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_FOREIGN_PREDICTION_H
#define DG_FOREIGN_PREDICTION_H

#include "dg_cohort.h"
#include "dg_file.h"

/* What numbers mean. AUTO: shares of the prescription in NPZ, Gy elsewhere; values that look like the other are refused. */
typedef enum foreign_unit { FOREIGN_AUTO, FOREIGN_GY, FOREIGN_PRESCRIPTION } foreign_unit;

/* Path of the file of case `id` below `folder`; "" when there is none. DG_ERR_DATA: more than one. */
DG_MUST_USE dg_status foreign_prediction_find(const char *folder, const char *id, char path[DG_PATH_MAX]);
/* True for a file that foreign_prediction_find could find for some case. */
bool foreign_prediction_named(const char *name);
/* Reads it onto the case's grid: dose_gy [z,y,x] is the caller's (dg_free). Axes that are turned or run the other way are put
 * right exactly; only an RTDOSE may have another grid of its own and is resampled (B-spline, 0 outside; *resampled tells).
 * DG_ERR_DATA: another grid, NaN, negative or absurd doses, another unit. */
DG_MUST_USE dg_status foreign_prediction_read(const char *path, const dg_case_info *info, foreign_unit unit,
                                              int threads, bool *resampled, float **dose_gy);

#endif
