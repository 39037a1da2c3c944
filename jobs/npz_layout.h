/* npz_layout.h - how the vmat-diffusion scripts (versions 2.3 and 2.4) lay a case out in an NPZ archive.
 *
 * Arrays are (Y,X,Z) with y to posterior, x to left, z to superior: ct = clip(HU, -1000, 3000)/4000 + 0.5, dose in units of
 * the prescription, masks (C,Y,X,Z), masks_sdf in units of 50 mm, constraints (13). Spacing (y, x, z) and prescription stand
 * in the pickled metadata alone. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_NPZ_LAYOUT_H
#define DG_NPZ_LAYOUT_H

#include "dg_structure.h"

enum { NPZ_CHANNELS_V23 = 8, NPZ_CHANNELS_V24 = 9 };
/* Channels in the order of both versions; the second has one more. */
extern const dg_structure npz_channel[NPZ_CHANNELS_V24];
/* Axis of a file's array for each of our z, y, x. */
extern const int npz_axis[3];
#define NPZ_HU_LOW (-1000.0F)
#define NPZ_HU_HIGH 3000.0F
#define NPZ_SDF_CLIP_MM 50.0

#endif
