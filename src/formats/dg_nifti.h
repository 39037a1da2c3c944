/* dg_nifti.h - volumes as NIfTI-1 and NIfTI-2 files, plain or gzipped, with their place in the patient.
 *
 * NIfTI's world is RAS (x to the right, y to the front); ours is LPS: the first two rows of the affine change sign, the
 * voxels keep their order (x fastest in both). Source: nifti.nimh.nih.gov, nifti1.h and nifti2.h.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_NIFTI_H
#define DG_NIFTI_H

#include "dg_dtype.h"
#include "dg_grid.h"

/* Reads a single-file volume (.nii, .nii.gz) of one to three axes as f32 [z,y,x] with its scaling applied; *values is the
 * caller's (dg_free). The sform gives the place, else the qform; lengths come in mm. `role` names the file in messages.
 * DG_ERR_IO; DG_ERR_FORMAT: not such a file, cut short, damaged; DG_ERR_DATA: no orientation, a sheared or impossible grid;
 * DG_ERR_UNSUPPORTED: several volumes, complex or colour values, a header with a separate .img. */
DG_MUST_USE dg_status dg_nifti_read(const char *path, const char *role, dg_grid *grid, float **values);

/* Version 1 keeps places as float, version 2 as double. AUTO: 1 unless float would move a voxel by more than 1 um. */
typedef enum dg_nifti_version { DG_NIFTI_AUTO, DG_NIFTI_1, DG_NIFTI_2 } dg_nifti_version;

/* Writes [z,y,x] values (DG_F32, DG_I16 or DG_U8), gzipped where the name ends in .gz; durably, and the same bytes for the
 * same volume. `description` (up to 79 characters) goes into the header. DG_ERR_IO. */
DG_MUST_USE dg_status dg_nifti_write(const char *path, const char *role, const dg_grid *grid, dg_dtype type,
                                     const void *values, const char *description, dg_nifti_version version);

#endif
