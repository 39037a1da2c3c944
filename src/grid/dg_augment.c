/* dg_augment.c - augmentation of patches, see dg_patch.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_patch.h"

#include <math.h>
#include <string.h>

dg_augmentation dg_augment_draw(const dg_augment_config *config, dg_rng *rng)
{
    dg_augmentation a = {.noise_hu = config->noise_hu};
    int64_t reach = (int64_t)floor(config->shift_voxels);
    a.flip = dg_rng_uniform(rng) < 0.5 && config->flip;
    for (int k = 0; k < 3; k++) {
        int64_t step = (int64_t)floor(dg_rng_uniform(rng) * (double)(2 * reach + 1)) - reach;
        a.shift[k] = step > reach ? reach : step;
    }
    a.angle_rad = (2 * dg_rng_uniform(rng) - 1) * config->rotate_deg * (M_PI / 180);
    a.noise = *rng;
    return a;
}

static inline int64_t clamp_index(int64_t i, int64_t n) { return i < 0 ? 0 : i >= n ? n - 1 : i; }
static inline double clamp_coordinate(double t, int64_t n)
{
    return t < 0 ? 0 : t > (double)(n - 1) ? (double)(n - 1) : t;
}

/* The source index along x of a flipped and shifted patch. */
static inline int64_t source_x(const dg_augmentation *a, int64_t i, int64_t n)
{
    int64_t s = clamp_index(i - a->shift[2], n);
    return a->flip ? n - 1 - s : s;
}

/* Where one output voxel of a plane comes from: four neighbours and their weights, before flip and shift. */
typedef struct corner {
    int64_t y0, y1, x0, x1;
    double ty, tx;
} corner;

static corner corner_make(double y, double x, int64_t ny, int64_t nx, bool nearest)
{
    y = clamp_coordinate(y, ny);
    x = clamp_coordinate(x, nx);
    if (nearest) {
        y = floor(y + 0.5);
        x = floor(x + 0.5);
    }
    corner c = {.y0 = (int64_t)floor(y), .x0 = (int64_t)floor(x)};
    c.y1 = clamp_index(c.y0 + 1, ny);
    c.x1 = clamp_index(c.x0 + 1, nx);
    c.ty = y - (double)c.y0;
    c.tx = x - (double)c.x0;
    return c;
}

static inline double mix(double a, double b, double t) { return t == 0 ? a : a + (b - a) * t; }

static void apply_rotated(const dg_augmentation *a, const int64_t n[3], const double spacing[3], bool nearest,
                          const float *in, float *out)
{
    const double co = cos(a->angle_rad), si = sin(a->angle_rad), ratio = spacing[1] / spacing[2];
    const double cy = 0.5 * (double)(n[1] - 1), cx = 0.5 * (double)(n[2] - 1);
    for (int64_t y = 0; y < n[1]; y++)
        for (int64_t x = 0; x < n[2]; x++) {
            double dy = (double)y - cy, dx = (double)x - cx;
            corner c = corner_make(cy + co * dy - si * dx / ratio, cx + si * dy * ratio + co * dx, n[1], n[2], nearest);
            int64_t y0 = clamp_index(c.y0 - a->shift[1], n[1]) * n[2];
            int64_t y1 = clamp_index(c.y1 - a->shift[1], n[1]) * n[2];
            int64_t x0 = source_x(a, c.x0, n[2]), x1 = source_x(a, c.x1, n[2]);
            for (int64_t z = 0; z < n[0]; z++) {
                const float *plane = in + clamp_index(z - a->shift[0], n[0]) * n[1] * n[2];
                double top = mix(plane[y0 + x0], plane[y0 + x1], c.tx);
                double bottom = mix(plane[y1 + x0], plane[y1 + x1], c.tx);
                out[(z * n[1] + y) * n[2] + x] = (float)mix(top, bottom, c.ty);
            }
        }
}

void dg_augment_apply(const dg_augmentation *a, const int64_t shape_zyx[3], const double spacing_zyx[3], bool nearest,
                      const float *in, float *out)
{
    const int64_t *n = shape_zyx;
    if (a->angle_rad != 0) {
        apply_rotated(a, n, spacing_zyx, nearest, in, out);
        return;
    }
    for (int64_t z = 0; z < n[0]; z++)
        for (int64_t y = 0; y < n[1]; y++) {
            const float *from =
                in + (clamp_index(z - a->shift[0], n[0]) * n[1] + clamp_index(y - a->shift[1], n[1])) * n[2];
            float *to = out + (z * n[1] + y) * n[2];
            for (int64_t x = 0; x < n[2]; x++) to[x] = from[source_x(a, x, n[2])];
        }
}

void dg_augment_ct_noise(const dg_augmentation *a, int64_t count, float *ct)
{
    if (a->noise_hu == 0) return;
    dg_rng rng = a->noise;
    for (int64_t i = 0; i < count; i++) ct[i] += (float)(a->noise_hu * dg_rng_normal(&rng));
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
                int64_t a = clamp_index(i - shift[0], n0), b = clamp_index(j - shift[1], n1);
                out[(i * n1 + j) * n2 + k] = in[(a * n1 + b) * n2 + clamp_index(k - shift[2], n2)];
            }
}

void dg_augment_rotate01(int64_t n0, int64_t n1, int64_t n2, double angle_rad, const float *in, float *out)
{
    const double co = cos(angle_rad), si = sin(angle_rad);
    const double c0 = 0.5 * (double)(n0 - 1), c1 = 0.5 * (double)(n1 - 1);
    for (int64_t i = 0; i < n0; i++)
        for (int64_t j = 0; j < n1; j++) {
            double d0 = (double)i - c0, d1 = (double)j - c1;
            corner c = corner_make(c0 + co * d0 + si * d1, c1 - si * d0 + co * d1, n0, n1, false);
            for (int64_t k = 0; k < n2; k++) {
                double top = mix(in[(c.y0 * n1 + c.x0) * n2 + k], in[(c.y0 * n1 + c.x1) * n2 + k], c.tx);
                double bottom = mix(in[(c.y1 * n1 + c.x0) * n2 + k], in[(c.y1 * n1 + c.x1) * n2 + k], c.tx);
                out[(i * n1 + j) * n2 + k] = (float)mix(top, bottom, c.ty);
            }
        }
}
