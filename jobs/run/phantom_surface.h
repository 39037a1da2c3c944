/* phantom_surface.h - made-up scans of thin surfaces, as hard as those of the surface detection study: sheets 3 to 4 voxels
 * thick that fill 2 to 6 % of the volume and touch each other in places, holes, low contrast and noise, labels that stray
 * from the sheets by up to a voxel, and zones nobody labelled. A scan is a pure function of (seed, case).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_PHANTOM_SURFACE_H
#define DG_PHANTOM_SURFACE_H

#include "phantom.h"

/* Values of its labels. */
enum { DG_SURFACE_BACKGROUND = 0, DG_SURFACE_SHEET = 1, DG_SURFACE_UNKNOWN = 2 };

/* One case; everything is owned by it, `data` points into it. The CT holds the scan's intensities, about 0 to 600. */
typedef struct dg_phantom_surface {
    dg_case_data data;
    int16_t *scan;
    uint8_t *labels;
} dg_phantom_surface;

/* Case `index` (id "surface-0001" for 0) of shape, spacing and seed; the rest of the configuration is of patients.
 * DG_ERR_USAGE: shape or spacing out of range. */
DG_MUST_USE dg_status dg_phantom_surface_create(const dg_phantom_config *config, int64_t index,
                                                dg_phantom_surface **out);
void dg_phantom_surface_destroy(dg_phantom_surface **surface);

#endif
