/* part_thin.h - 1x1x1 convolutions with at most DG_NARROW inputs or DG_THIN outputs, bound by memory and not worth a
 * matrix product; a part of kernels.c. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_PART_THIN_H
#define DG_PART_THIN_H

enum { NARROW_VOXELS = 32, NARROW_GROUP = 4 /* voxels that share a load of the weights */ };

/* `value` holds the inputs as f32, DG_NARROW apart. */
DG_INLINE void narrow_lanes(const float *value, const float *w, const float *bias, dg_rows y, dg_dtype type,
                            int64_t count, int64_t cin, int64_t cout, int64_t k, const int lanes)
{
    const vf start = vload(bias, DG_F32, k, lanes);
    for (int64_t v = 0; v < count; v += NARROW_GROUP) {
        vf sum[NARROW_GROUP];
        for (int i = 0; i < NARROW_GROUP; i++) sum[i] = start;
        for (int64_t c = 0; c < cin; c++) {
            const vf weight = vload(w + c * cout, DG_F32, k, lanes);
            for (int i = 0; i < NARROW_GROUP; i++) sum[i] += value[(v + i) * DG_NARROW + c] * weight;
        }
        for (int i = 0; i < NARROW_GROUP && v + i < count; i++)
            vstore(y.data, type, (v + i) * y.pitch + k, lanes, sum[i]);
    }
}

DG_INLINE void narrow_block(const float *value, const float *w, const float *bias, dg_rows y, dg_dtype type,
                            int64_t count, int64_t cin, int64_t cout)
{
    int64_t k = 0;
    for (; k + VL <= cout; k += VL) narrow_lanes(value, w, bias, y, type, count, cin, cout, k, VL);
    if (k < cout) narrow_lanes(value, w, bias, y, type, count, cin, cout, k, lanes_at(k, cout));
}

static void narrow(dg_rows x, const float *w, const float *bias, dg_rows y, int64_t count, int64_t cin, int64_t cout)
{
    float value[(NARROW_VOXELS + NARROW_GROUP) * DG_NARROW] = {0};
    for (int64_t v = 0; v < count; v += NARROW_VOXELS) {
        const int64_t voxels = count - v < NARROW_VOXELS ? count - v : NARROW_VOXELS;
        const dg_rows to = {(char *)y.data + (size_t)(v * y.pitch) * dg_dtype_size(y.dtype), y.dtype, y.pitch};
        for (int64_t i = 0; i < voxels; i++)
            for (int64_t c = 0; c < cin; c += VL)
                vstore(value, DG_F32, i * DG_NARROW + c, VL,
                       vload(x.data, x.dtype, (v + i) * x.pitch + c, lanes_at(c, cin)));
        if (y.dtype == DG_BF16)
            narrow_block(value, w, bias, to, DG_BF16, voxels, cin, cout);
        else
            narrow_block(value, w, bias, to, DG_F32, voxels, cin, cout);
    }
}

/* `voxels` (1..VL) voxels from v on: their sums are reduced together. */
DG_INLINE void thin_block(dg_rows x, dg_dtype type, const float *w, const float *bias, int cout, dg_rows y, int64_t v,
                          const int voxels, int64_t c)
{
    for (int o = 0; o < cout; o++) {
        vf sum[VL];
        for (int i = 0; i < VL; i++) sum[i] = vset(0.0f);
        int64_t k = 0;
        for (; k + VL <= c; k += VL)
            for (int i = 0; i < voxels; i++)
                sum[i] += vload(x.data, type, (v + i) * x.pitch + k, VL) * vload(w + o * c, DG_F32, k, VL);
        if (k < c)
            for (int i = 0; i < voxels; i++)
                sum[i] += vload(x.data, type, (v + i) * x.pitch + k, lanes_at(k, c)) *
                          vload(w + o * c, DG_F32, k, lanes_at(k, c));
        const vf result = vsum_each(sum) + (bias != NULL ? bias[o] : 0.0f);
        if (y.pitch == 1)
            vstore(y.data, y.dtype, v, voxels, result);
        else
            for (int i = 0; i < voxels; i++) vstore(y.data, y.dtype, (v + i) * y.pitch + o, 1, vset(result[i]));
    }
}

DG_INLINE void thin_rows(dg_rows x, dg_dtype type, const float *w, const float *bias, int cout, dg_rows y,
                         int64_t count, int64_t c)
{
    int64_t v = 0;
    for (; v + VL <= count; v += VL) thin_block(x, type, w, bias, cout, y, v, VL, c);
    if (v < count) thin_block(x, type, w, bias, cout, y, v, (int)(count - v), c);
}

/* w is transposed: [cout][c]. */
static void thin(dg_rows x, const float *w, const float *bias, int cout, dg_rows y, int64_t count, int64_t c)
{
    if (x.dtype == DG_BF16)
        thin_rows(x, DG_BF16, w, bias, cout, y, count, c);
    else
        thin_rows(x, DG_F32, w, bias, cout, y, count, c);
}

static void thin_back(dg_rows dy, const float *w, int cout, dg_rows dx, bool accumulate, int64_t count, int64_t c)
{
    for (int64_t v = 0; v < count; v++) {
        float g[DG_THIN] = {0};
        for (int o = 0; o < cout; o++) g[o] = vload(dy.data, dy.dtype, v * dy.pitch + o, 1)[0];
        for (int64_t k = 0; k < c; k += VL) {
            const int lanes = lanes_at(k, c);
            vf d = {0};
            for (int o = 0; o < cout; o++) d += g[o] * vload(w + o * c, DG_F32, k, lanes);
            if (accumulate) d += vload(dx.data, dx.dtype, v * dx.pitch + k, lanes);
            vstore(dx.data, dx.dtype, v * dx.pitch + k, lanes, d);
        }
    }
}

DG_INLINE void thin_weights_block(dg_rows x, dg_dtype type, dg_rows dy, int o, double *dw, int64_t v0, int64_t v1,
                                  int64_t c)
{
    for (int64_t k = 0; k < c; k += VL) {
        const int lanes = lanes_at(k, c);
        vf sum = {0};
        for (int64_t v = v0; v < v1; v++)
            sum += vload(dy.data, dy.dtype, v * dy.pitch + o, 1)[0] * vload(x.data, type, v * x.pitch + k, lanes);
        add_lanes(dw + k, sum, lanes);
    }
}

/* dw is [cout][c]. */
static void thin_weights(dg_rows x, dg_rows dy, int cout, double *dw, int64_t count, int64_t c)
{
    const int64_t step = block_voxels(c);
    for (int64_t v = 0; v < count; v += step) {
        const int64_t end = v + step < count ? v + step : count;
        for (int o = 0; o < cout; o++) {
            if (x.dtype == DG_BF16)
                thin_weights_block(x, DG_BF16, dy, o, dw + o * c, v, end, c);
            else
                thin_weights_block(x, DG_F32, dy, o, dw + o * c, v, end, c);
        }
    }
}

#endif
