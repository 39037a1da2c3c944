/* kernels.h - the loops of the oneDNN backend that oneDNN does not serve well, for one thread each: the callers split the
 * work over threads and combine partial sums in a fixed order. kernels.c with the parts it includes is compiled three
 * times, for the base instruction set, AVX2 with FMA, and AVX-512 with BF16; each build exports one table.
 * Here products may fuse into additions (-ffp-contract=fast): bits differ between instruction sets, not between runs.
 * A `rows` is `count` voxels of `c` channels. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_ONEDNN_KERNELS_H
#define DG_ONEDNN_KERNELS_H

#include "dg_backend.h"
#include "dg_update.h"

/* A piece of a tensor: voxel v, channel k at element v * pitch + k. */
typedef struct dg_rows {
    void *data;
    dg_dtype dtype;
    int64_t pitch;
} dg_rows;

static inline dg_rows dg_rows_at(const dg_tensor *t, int64_t voxel)
{
    return (dg_rows){(char *)t->data + (size_t)(voxel * t->pitch) * dg_dtype_size(t->dtype), t->dtype, t->pitch};
}

/* Per-channel constants of a fused normalisation for one sample: z = a x + b, h = act(z), y = h (scale) + shift. scale
 * and shift are NULL without FiLM. */
typedef struct dg_norm_coefficients {
    const float *a, *b, *scale, *shift;
    dg_activation act;
    float slope;
} dg_norm_coefficients;

/* Optional per-axis interpolation: output o lies between inputs lo[o] and lo[o]+step (the last one clamped) with weight
 * w[o] on the upper; inputs i receive from outputs first[i] .. last[i]-1. */
typedef struct dg_axis {
    int64_t in, out;
    const int64_t *lo, *hi, *first, *last;
    const float *weight;
} dg_axis;

/* Up to DG_LABEL_TILE voxels of a batch of labels, for terms that sum over a sample: counts 1, or 0 where the voxel does
 * not count, and then p is 1/2 and the rest 0. */
enum { DG_LABEL_TILE = 256 };
typedef struct dg_label_tile {
    int64_t count;
    float p[DG_LABEL_TILE], t[DG_LABEL_TILE], distance[DG_LABEL_TILE], counts[DG_LABEL_TILE];
} dg_label_tile;

/* Windows of voxels along lines (part_window.h). A place holds, three bits each from bit 0 on, where the greatest value of a
 * window stands along x, y and z. */
enum { DG_WINDOW_RADIUS = 2, DG_PLACE_BITS = 3 };

typedef struct dg_kernels {
    const char *name;
    /* Sums over rows of (x - origin) and its square are added to sum[0..c) and sum[c..2c). */
    void (*moments)(dg_rows x, int64_t count, int64_t c, const float *origin, double *sum);
    void (*norm_apply)(const dg_norm_coefficients *k, dg_rows x, const dg_rows *residual, dg_rows y, int64_t count,
                       int64_t c);
    /* Adds per channel: sum dz, sum dz*x, and with FiLM sum dy*h, sum dy; at sum[0..c), [c..2c), ... */
    void (*norm_back_sums)(const dg_norm_coefficients *k, dg_rows x, dg_rows dy, int64_t count, int64_t c, double *sum);
    /* dx (=|+=) a dz + p x + q, with p and q per channel; p NULL: dx (=|+=) a dz. */
    void (*norm_back_apply)(const dg_norm_coefficients *k, const float *p, const float *q, dg_rows x, dg_rows dy,
                            dg_rows dx, bool accumulate, int64_t count, int64_t c);
    void (*layer_norm)(dg_rows x, int64_t count, int64_t c, double eps, const float *gamma, const float *beta,
                       float *stats, dg_rows y);
    /* sum[0..c) += dy*xhat, sum[c..2c) += dy. */
    void (*layer_norm_back)(dg_rows x, int64_t count, int64_t c, const float *gamma, const float *stats, dg_rows dy,
                            dg_rows dx, bool accumulate, double *sum);

    void (*act)(dg_activation act, float slope, dg_rows x, dg_rows y, int64_t count, int64_t c);
    void (*act_back)(dg_activation act, float slope, dg_rows x, dg_rows dy, dg_rows dx, bool accumulate, int64_t count,
                     int64_t c);
    void (*copy)(dg_rows x, dg_rows y, bool accumulate, int64_t count, int64_t c);
    void (*gate)(dg_rows x, dg_rows gate, dg_rows y, int64_t count, int64_t c);
    void (*gate_back)(dg_rows x, dg_rows gate, dg_rows dy, dg_rows dx, bool accumulate, dg_rows dgate, int64_t count,
                      int64_t c);
    /* sum[k] += column sums. */
    void (*column_sums)(dg_rows x, int64_t count, int64_t c, double *sum);

    /* One output line of pooling (x points at the first of its four input lines; line and plane are input strides in
     * voxels), and one of its input pair of lines for backward. */
    void (*pool)(dg_rows x, int64_t line, int64_t plane, dg_rows y, int64_t count, int64_t c);
    void (*pool_back)(dg_rows x, int64_t line, int64_t plane, dg_rows dy, dg_rows dx, bool accumulate, int64_t count,
                      int64_t c);
    /* One line of the trilinear resize: 1 to 4 source lines with weights are blended, then along x. Backward: lines of
     * dy are blended into `buffer` (f32 [width][c]), then gathered per input voxel. */
    void (*resize)(const dg_rows *source, const float *weight, int sources, const dg_axis *x_axis, dg_rows y,
                   int64_t c);
    void (*resize_back)(const dg_rows *source, const float *weight, int sources, const dg_axis *x_axis, float *buffer,
                        dg_rows dx, bool accumulate, int64_t c);

    /* 1x1x1 convolutions with few inputs (cin <= DG_NARROW). w is [cin][cout] f32. */
    void (*narrow)(dg_rows x, const float *w, const float *bias, dg_rows y, int64_t count, int64_t cin, int64_t cout);
    /* 1x1x1 convolutions with few outputs (cout <= DG_THIN). w is [c][cout] f32. */
    void (*thin)(dg_rows x, const float *w, const float *bias, int cout, dg_rows y, int64_t count, int64_t c);
    void (*thin_back)(dg_rows dy, const float *w, int cout, dg_rows dx, bool accumulate, int64_t count, int64_t c);
    void (*thin_weights)(dg_rows x, dg_rows dy, int cout, double *dw, int64_t count, int64_t c);

    /* What dg_label_add adds, and scale * dg_label_slope. */
    void (*label_sums)(const dg_loss_term *term, const dg_label_tile *tile, double *sum);
    void (*label_slopes)(const dg_loss_term *term, const dg_label_tile *tile, const float *factor, float scale,
                         float *slope);
    /* The greatest of 2 radius + 1 lines, the first of equals, and which it was at bit `shift` of place (NULL: not wanted;
     * shift 0 overwrites). `hides`: infinity stands for a voxel that does not count, and never wins. */
    void (*widest)(const float *const *line, int radius, int64_t count, bool hides, float *best, int shift,
                   uint16_t *place);
    /* out[i] = sum of what the lines d send here: those whose place names this line. */
    void (*widest_back)(const float *const *d, const uint16_t *const *place, int radius, int64_t count, int shift,
                        float *out);
    /* The least of a voxel and its six neighbours (side: z-, z+, y-, y+; x has one more at either end), infinity where the
     * voxel does not count, which is where it is infinite itself; route (NULL: not wanted) is for erode_back. */
    void (*erode)(const float *x, const float *const side[4], int64_t count, float *out, uint16_t *route);
    /* out[i] = own[i] and what the erosions of the voxel and its neighbours send it of their gradients d. */
    void (*erode_back)(const float *own, const float *d, const float *const d_side[4], const uint16_t *route,
                       const uint16_t *const route_side[4], int64_t count, float *out);
    /* One level of a soft skeleton: excess = max(0, x - opened), skeleton = before + max(0, excess - before * excess), before
     * NULL: excess; 0 where x is infinite. Backward: from ds of this level that of excess (where x - opened is above 0) and,
     * in place, of before. */
    void (*skeleton)(const float *x, const float *opened, const float *before, int64_t count, float *excess,
                     float *skeleton);
    void (*skeleton_back)(const float *excess, const float *before, int64_t count, float *ds, float *de);

    void (*axpy)(int64_t count, float a, const float *x, float *y);
    double (*sum_squares)(int64_t count, const float *x);
    void (*adamw)(const dg_adamw_constants *k, int64_t count, float *p, const float *g, float *m, float *v);
    void (*sgd)(const dg_sgd_constants *k, int64_t count, float *p, const float *g, float *momentum);
    void (*ema)(float one_minus_decay, int64_t count, const float *p, float *average);
    float (*dot)(int64_t count, const float *a, const float *b);
    /* Row-wise softmax of scores * scale in place; and ds = p * (dp - sum(dp * p)) * scale into dp. */
    void (*softmax)(int64_t count, float scale, float *scores);
    void (*softmax_back)(int64_t count, float scale, const float *p, float *dp);
    /* Weights into a blocked layout: packed[row[i] + column[j]] = source[i * columns + j] as dtype. */
    void (*pack)(const float *source, int64_t rows, int64_t columns, const int64_t *row, const int64_t *column,
                 dg_dtype dtype, void *packed);
} dg_kernels;

enum { DG_THIN = DG_FUSED_OUTPUTS, DG_NARROW = 16 };

extern const dg_kernels dg_kernels_base, dg_kernels_avx2, dg_kernels_avx512;

#endif
