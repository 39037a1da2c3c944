/* npz_beams.h - beams, control points and leaves in the archives of the vmat-diffusion scripts: `beam_geometry` of the metadata,
 * and arrays beam<k>_mlc_a and beam<k>_mlc_b [control point, leaf pair] in mm, k from 0. Names of beams, machines and plans are
 * neither read nor written. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_NPZ_BEAMS_H
#define DG_NPZ_BEAMS_H

#include "dg_dicom.h"
#include "dg_npz.h"

#include <jansson.h>

/* The beams that an archive holds, none where neither its metadata (may be NULL) nor its arrays tell of any; the caller's
 * (dg_dicom_plan_release), also after a failure. DG_ERR_DATA names the case, the beam and what does not fit. */
DG_MUST_USE dg_status npz_beams_read(dg_npz *npz, const json_t *metadata, const char *id, dg_dicom_plan *out);

/* `beam_geometry` of a plan: null without beams, NULL without memory. What the plan does not say is null. */
json_t *npz_beams_describe(const dg_dicom_plan *plan);
/* Adds the arrays of the leaves as float32; *block keeps their values and has to outlive the archive's writer (dg_free). */
DG_MUST_USE dg_status npz_beams_add(dg_npz_writer *npz, const dg_dicom_plan *plan, float **block);

#endif
