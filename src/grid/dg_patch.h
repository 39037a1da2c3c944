/* dg_patch.h - where training patches lie, and how they are varied. Random choices come from Philox streams of the
 * caller, so that any rank can draw any sample. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_PATCH_H
#define DG_PATCH_H

#include "dg_grid.h"
#include "dg_rng.h"

struct dg_move;  /* dg_variation.h, as the next */
struct dg_noise;

/* Patches lie in a frame, a box of the volume of shape_zyx: the whole of it, or the part that matters. */
/* Where a patch begins that covers the axis of a frame, low to high - 1: centred on it, then moved into the volume where it
 * fits; an axis of the volume shorter than the patch is centred (the patch then leaves the volume on both sides). */
int64_t dg_patch_covering(int64_t length, int64_t low, int64_t high, int64_t patch);
/* A box of patch_zyx inside the frame, uniform over all positions. */
dg_box dg_patch_uniform(const int64_t shape_zyx[3], const dg_box *frame, const int64_t patch_zyx[3], dg_rng *rng);
/* A box centred on voxel `centre_zyx`, moved as little as needed to stay inside the frame where it fits. */
dg_box dg_patch_around(const int64_t shape_zyx[3], const dg_box *frame, const int64_t patch_zyx[3],
                       const int64_t centre_zyx[3]);

/* The reference's rule for centres of high dose, for comparison only (golden README quirk 8): candidates lie in
 * [half, max(half + 1, n - half)) on every axis and have dose > threshold; in C order. Returns how many; `centres` may be
 * NULL to count only. */
int64_t dg_patch_centres_upstream(const int64_t shape[3], const int64_t patch[3], const float *dose, float threshold,
                                  int64_t (*centres)[3]);

/* What one sample's augmentation does; drawn once, applied to every channel alike. */
typedef struct dg_augment_config {
    bool flip;             /* along x, the patient's left-right axis; left/right structures are swapped by the caller */
    double shift_voxels;   /* largest shift per axis */
    double rotate_deg;     /* largest angle about z, on top of the turns of rotate_fold */
    int64_t rotate_fold;   /* turns by a random multiple of 360/fold degrees too: beams that stand so map onto each other
                            * (Liu et al., Med Phys 48, 5566, 2021, on OpenKBP's nine beams); 0 and 1: none */
    double contrast;       /* largest relative change of CT numbers about the middle of their range */
    double brightness_hu;  /* largest change of all CT numbers together */
    double noise_hu;       /* standard deviation of CT noise */
} dg_augment_config;
typedef struct dg_augmentation {
    bool flip;
    int64_t shift[3];      /* voxels, zyx */
    double angle_rad;
    double contrast, offset_hu; /* of the CT: -0.1 is 10 % less */
    double noise_hu;
    dg_rng noise;          /* stream of the CT noise */
} dg_augmentation;
/* Shifts are whole voxels up to floor(shift_voxels). The same count of numbers is taken from `rng` whatever is switched
 * on, and the noise goes on where they end: use the stream for nothing else afterwards. */
dg_augmentation dg_augment_draw(const dg_augment_config *config, dg_rng *rng);

/* Applies flip, shift and rotation to one channel [z,y,x] in place of `out` (not in): rotation is bilinear in (y,x) about
 * the patch centre with coordinates clamped to the patch, or nearest for labels and masks. Order: flip, shift (source index clamped to the patch), rotation by angle_rad from x
 * to y, in mm. dg_augment_ct changes a CT whose middle is 0, in the unit of offset and noise: contrast, then offset, then noise, which
 * is the same for every box drawn from the same augmentation. */
void dg_augment_apply(const dg_augmentation *a, const int64_t shape_zyx[3], const double spacing_zyx[3], bool nearest,
                      const float *in, float *out);
void dg_augment_ct(const dg_augmentation *a, int64_t count, float *ct);
/* The same voxel by voxel, for those who compute where the patch is not: bit for bit what the two functions above give. */
void dg_augment_move(const dg_augmentation *a, const int64_t shape_zyx[3], const double spacing_zyx[3],
                     struct dg_move *out);
void dg_augment_noise(const dg_augmentation *a, struct dg_noise *out);
struct dg_brightening dg_augment_brightening(const dg_augmentation *a);

/* The reference's augmentation (golden README section 9), for comparison only: reversal of an axis, shift with clamping,
 * rotation in = R (i - c) + c on two axes. */
void dg_augment_reverse(int64_t n0, int64_t n1, int64_t n2, int axis, const float *in, float *out);
void dg_augment_shift(int64_t n0, int64_t n1, int64_t n2, const int64_t shift[3], const float *in, float *out);
void dg_augment_rotate01(int64_t n0, int64_t n1, int64_t n2, double angle_rad, const float *in, float *out);

#endif
