/* dg_augment.c - augmentation of patches, see dg_patch.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_augment_point.h"
#include "dg_patch.h"

#include <math.h>
#include <string.h>

/* One number gives the whole turn and the small angle on top of it, so that the stream is the same with and without. */
static double draw_angle(const dg_augment_config *config, double uniform)
{
    const double fold = config->rotate_fold > 1 ? (double)config->rotate_fold : 1, turn = floor(uniform * fold);
    const double small = (2 * (uniform * fold - turn) - 1) * config->rotate_deg * (M_PI / 180);
    return small + turn * (2 * M_PI / fold);
}

dg_augmentation dg_augment_draw(const dg_augment_config *config, dg_rng *rng)
{
    dg_augmentation a = {.noise_hu = config->noise_hu};
    int64_t reach = (int64_t)floor(config->shift_voxels);
    a.flip = dg_rng_uniform(rng) < 0.5 && config->flip;
    for (int k = 0; k < 3; k++) {
        int64_t step = (int64_t)floor(dg_rng_uniform(rng) * (double)(2 * reach + 1)) - reach;
        a.shift[k] = step > reach ? reach : step;
    }
    a.angle_rad = draw_angle(config, dg_rng_uniform(rng));
    a.contrast = (2 * dg_rng_uniform(rng) - 1) * config->contrast;
    a.offset_hu = (2 * dg_rng_uniform(rng) - 1) * config->brightness_hu;
    a.noise = *rng;
    return a;
}

void dg_augment_move(const dg_augmentation *a, const int64_t shape_zyx[3], const double spacing_zyx[3], dg_move *out)
{
    *out = (dg_move){.rotates = a->angle_rad != 0,
                     .flip = a->flip,
                     .cosine = cos(a->angle_rad),
                     .sine = sin(a->angle_rad),
                     .ratio = spacing_zyx[1] / spacing_zyx[2]};
    memcpy(out->n, shape_zyx, sizeof out->n);
    memcpy(out->shift, a->shift, sizeof out->shift);
}

void dg_augment_noise(const dg_augmentation *a, dg_noise *out)
{
    *out = (dg_noise){.used = a->noise.used, .deviation = a->noise_hu};
    memcpy(out->key, a->noise.key, sizeof out->key);
    memcpy(out->counter, a->noise.counter, sizeof out->counter);
}

/* The places of a stretch of a row are found once for all planes, and each plane is read along its rows. */
static void apply_rotated(const dg_move *m, bool nearest, const float *in, float *out)
{
    enum { STRETCH = 128 };
    dg_corners from[STRETCH];
    for (int64_t y = 0; y < m->n[1]; y++)
        for (int64_t x = 0; x < m->n[2]; x += STRETCH) {
            const int64_t count = m->n[2] - x < STRETCH ? m->n[2] - x : STRETCH;
            for (int64_t i = 0; i < count; i++) from[i] = dg_move_corners(m, y, x + i, nearest);
            for (int64_t z = 0; z < m->n[0]; z++) {
                const float *plane = in + dg_move_plane(m, z);
                float *to = out + (z * m->n[1] + y) * m->n[2] + x;
                for (int64_t i = 0; i < count; i++) to[i] = dg_corners_value(&from[i], plane);
            }
        }
}

void dg_augment_apply(const dg_augmentation *a, const int64_t shape_zyx[3], const double spacing_zyx[3], bool nearest,
                      const float *in, float *out)
{
    dg_move m;
    dg_augment_move(a, shape_zyx, spacing_zyx, &m);
    if (m.rotates) {
        apply_rotated(&m, nearest, in, out);
        return;
    }
    for (int64_t z = 0; z < m.n[0]; z++)
        for (int64_t y = 0; y < m.n[1]; y++) {
            const float *from = in + dg_move_plane(&m, z) + dg_move_row(&m, y);
            float *to = out + (z * m.n[1] + y) * m.n[2];
            for (int64_t x = 0; x < m.n[2]; x++) to[x] = from[dg_move_x(&m, x)];
        }
}

dg_brightening dg_augment_brightening(const dg_augmentation *a)
{
    return (dg_brightening){.gain = (float)(1 + a->contrast), .offset = (float)a->offset_hu};
}

void dg_augment_ct(const dg_augmentation *a, int64_t count, float *ct)
{
    const dg_brightening b = dg_augment_brightening(a);
    dg_rng rng = a->noise;
    for (int64_t i = 0; i < count; i++)
        ct[i] = dg_brightened(&b, ct[i], a->noise_hu == 0 ? 0 : (float)(a->noise_hu * dg_rng_normal(&rng)));
}

void dg_augment_reverse(int64_t n0, int64_t n1, int64_t n2, int axis, const float *in, float *out)
{
    for (int64_t i = 0; i < n0; i++)
        for (int64_t j = 0; j < n1; j++)
            for (int64_t k = 0; k < n2; k++) {
                int64_t a = axis == 0 ? n0 - 1 - i : i, b = axis == 1 ? n1 - 1 - j : j, c = axis == 2 ? n2 - 1 - k : k;
                out[(i * n1 + j) * n2 + k] = in[(a * n1 + b) * n2 + c];
            }
}

void dg_augment_shift(int64_t n0, int64_t n1, int64_t n2, const int64_t shift[3], const float *in, float *out)
{
    for (int64_t i = 0; i < n0; i++)
        for (int64_t j = 0; j < n1; j++)
            for (int64_t k = 0; k < n2; k++) {
                int64_t a = dg_clamp_index(i - shift[0], n0), b = dg_clamp_index(j - shift[1], n1);
                out[(i * n1 + j) * n2 + k] = in[(a * n1 + b) * n2 + dg_clamp_index(k - shift[2], n2)];
            }
}

void dg_augment_rotate01(int64_t n0, int64_t n1, int64_t n2, double angle_rad, const float *in, float *out)
{
    const double co = cos(angle_rad), si = sin(angle_rad);
    const double c0 = 0.5 * (double)(n0 - 1), c1 = 0.5 * (double)(n1 - 1);
    for (int64_t i = 0; i < n0; i++)
        for (int64_t j = 0; j < n1; j++) {
            double d0 = (double)i - c0, d1 = (double)j - c1;
            dg_corners c = dg_corners_of(c0 + co * d0 + si * d1, c1 - si * d0 + co * d1, n0, n1, false);
            for (int64_t k = 0; k < n2; k++) {
                double top = dg_mix(in[(c.y0 * n1 + c.x0) * n2 + k], in[(c.y0 * n1 + c.x1) * n2 + k], c.tx);
                double bottom = dg_mix(in[(c.y1 * n1 + c.x0) * n2 + k], in[(c.y1 * n1 + c.x1) * n2 + k], c.tx);
                out[(i * n1 + j) * n2 + k] = (float)dg_mix(top, bottom, c.ty);
            }
        }
}
