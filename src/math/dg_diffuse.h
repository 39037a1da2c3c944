/* dg_diffuse.h - a training sample of a diffusion made of a clean one, voxel by voxel, in f32: x_t = signal x_0 + noise e and what
 * the network is to say of it. dg_diffusion.h has the constants. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_DIFFUSE_H
#define DG_DIFFUSE_H

#include "dg_hd.h"
#include "dg_variation.h"

typedef struct dg_diffuse {
    float signal, noise;
    float want_clean, want_noise; /* the network is to say want_clean x_0 + want_noise e */
    int64_t inside[3][2]; /* zyx, first voxel and the one behind the last that lie in the volume: elsewhere x_t is 0 */
    bool blind;           /* the network is not told the case: all its channels are 0 */
    dg_noise stream;      /* e of voxel i is its number i */
} dg_diffuse;

DG_HD static inline bool dg_diffuse_inside(const dg_diffuse *k, int64_t z, int64_t y, int64_t x)
{
    return z >= k->inside[0][0] && z < k->inside[0][1] && y >= k->inside[1][0] && y < k->inside[1][1] &&
           x >= k->inside[2][0] && x < k->inside[2][1];
}

/* x_t of a voxel; *wanted: what the network is to say. */
DG_HD static inline float dg_diffuse_voxel(const dg_diffuse *k, bool inside, float clean, float e, float *wanted)
{
    *wanted = k->want_clean * clean + k->want_noise * e;
    return inside ? k->signal * clean + k->noise * e : 0.0f;
}

#endif
