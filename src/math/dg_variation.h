/* dg_variation.h - what augmentation does to one sample, in the terms that its voxels are computed in (dg_augment_point.h).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_VARIATION_H
#define DG_VARIATION_H

#include "dg_loss_term.h"

#include <stdbool.h>
#include <stdint.h>

/* Shift, then rotation by an angle from x to y, in mm, about the centre of the patch; what would come from outside the
 * patch comes from its nearest voxel, so that no other voxels need to be read. */
typedef struct dg_move {
    int64_t n[3], shift[3]; /* voxels, zyx */
    bool rotates, flip;     /* flip: before the shift, x is reversed */
    double cosine, sine;
    double ratio; /* spacing of y over that of x */
} dg_move;

/* Normal numbers of a stream of dg_rng.h from the place where it stood. */
typedef struct dg_noise {
    uint32_t key[2], counter[4];
    int used;         /* words of the last block that were taken before; 4: all */
    double deviation; /* 0: no noise */
} dg_noise;

/* What a CT's numbers become beside noise. */
typedef struct dg_brightening {
    float gain, offset; /* 1 and 0: what they are */
} dg_brightening;

/* What augmentation makes of one sample as it was read. */
enum { DG_VARIED_CHANNELS = 64 };
typedef struct dg_variation {
    dg_move coarse, fine; /* of the network's grid and of the outputs'; without flip: that is `mirrored` */
    bool mirrored;        /* at last x is reversed, and what has a partner takes its place */
    int8_t channel[DG_VARIED_CHANNELS]; /* of what was read, for each of the network's; themselves where not mirrored */
    uint64_t scan; /* bit k: channel k of what was read is a CT, which gets the next two, the same for all */
    dg_brightening brightening;
    dg_noise noise;
    int regions;
    int8_t region[DG_LOSS_REGIONS_MAX]; /* as `channel` */
} dg_variation;

#endif
