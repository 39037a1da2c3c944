/* dg_dicom_write.h - writing DICOM-RT: a predicted dose that a planning system opens and nobody takes for a calculated one, the
 * plan it hangs on, and structures.
 *
 * Patient, study, frame of reference and orientation are those of a reference CT series; every object gets new identifiers
 * (2.25.UUID) and a series of its own, and says PREDICTED DOSE - NOT CALCULATED - RESEARCH USE with version and weights.
 * Files hold the patient's identity: they belong where the reference came from. Messages name the case id alone. Calls share
 * the context of dg_dicom.h; none is collective. Sources: PS3.3 A.18-A.20, C.8.8. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_DICOM_WRITE_H
#define DG_DICOM_WRITE_H

#include "dg_dicom.h"
#include "dg_structure.h"

typedef struct dg_dicom_writer dg_dicom_writer;

/* Reads the headers of the series `ct` (one or more files, any order). `weights_sha256` says what predicted ("": nothing did;
 * doses cannot be written then). Rules: reference-damaged, reference-series (files of several series, patients or frames of
 * reference), reference-orientation (not HFS, HFP, FFS or FFP), reference-identity (patient id, study or frame missing). */
DG_MUST_USE dg_status dg_dicom_writer_create(dg_dicom_context *context, const dg_dicom_files *ct,
                                             const char *weights_sha256, dg_dicom_writer **out);
void dg_dicom_writer_destroy(dg_dicom_writer **writer);

/* RTSTRUCT of masks on a grid of the CT's axes: outlines along voxel edges with keyholes (dg_outline.h), so that the
 * pixel-centre rule gives the same masks back. bits[z,y,x]: bit k is structure[k]; structures without voxels are left out.
 * Plans written later refer to it. *written (may be NULL): how many structures. DG_ERR_UNSUPPORTED: a turned grid;
 * DG_ERR_IO. */
DG_MUST_USE dg_status dg_dicom_write_structures(dg_dicom_context *context, dg_dicom_writer *writer, const dg_grid *grid,
                                                const dg_structure *structure, int count, const uint64_t *bits,
                                                const char *path, int *written);
/* A new RTPLAN for doses to refer to: label PREDICTED, intent RESEARCH, UNAPPROVED, no beams. fractions 0: not known. */
DG_MUST_USE dg_status dg_dicom_write_plan(dg_dicom_context *context, dg_dicom_writer *writer, int64_t fractions,
                                          const char *path);
/* Doses refer to this plan instead. Rules: plan-damaged, plan-reference (of another patient, study or frame). */
DG_MUST_USE dg_status dg_dicom_link_plan(dg_dicom_context *context, dg_dicom_writer *writer,
                                         const dg_dicom_files *plan);
/* RTDOSE, type PHYSICAL, summation PLAN, of gy[z,y,x] >= 0, in the orientation of the CT with relative frame offsets; a plan
 * was written or linked before. bits 16 or 32: the full range is used, so that 32 bits err by less than 1e-7 of 400 Gy.
 * Rules: dose-values (negative or not finite), dose-size (4 GiB of pixels, or offsets of more than 64 kB). */
DG_MUST_USE dg_status dg_dicom_write_dose(dg_dicom_context *context, dg_dicom_writer *writer, const dg_grid *grid,
                                          const float *gy, int bits, const char *path);

#endif
