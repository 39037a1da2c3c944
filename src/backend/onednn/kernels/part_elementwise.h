/* part_elementwise.h - activations, copies, gates and column sums, a part of kernels.c.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_PART_ELEMENTWISE_H
#define DG_PART_ELEMENTWISE_H

DG_INLINE void act_rows(dg_activation kind, float slope, dg_rows x, dg_rows y, int64_t count, int64_t c)
{
    for (int64_t v = 0; v < count; v++)
        for (int64_t k = 0; k < c; k += VL) {
            const int lanes = lanes_at(k, c);
            vf z = vload(x.data, x.dtype, v * x.pitch + k, lanes);
            vstore(y.data, y.dtype, v * y.pitch + k, lanes, act_of(kind, y.dtype, z, slope));
        }
}

static void act(dg_activation kind, float slope, dg_rows x, dg_rows y, int64_t count, int64_t c){
#define CALL(constant) act_rows(constant, slope, x, y, count, c)
    DG_BY_ACT(kind, CALL)
#undef CALL
}

DG_INLINE void act_back_rows(dg_activation kind, float slope, dg_rows x, dg_rows dy, dg_rows dx, bool accumulate,
                             int64_t count, int64_t c)
{
    for (int64_t v = 0; v < count; v++)
        for (int64_t k = 0; k < c; k += VL) {
            const int lanes = lanes_at(k, c);
            vf h, z = vload(x.data, x.dtype, v * x.pitch + k, lanes);
            vf d = vload(dy.data, dy.dtype, v * dy.pitch + k, lanes) * act_slope(kind, dx.dtype, z, slope, &h);
            if (accumulate) d += vload(dx.data, dx.dtype, v * dx.pitch + k, lanes);
            vstore(dx.data, dx.dtype, v * dx.pitch + k, lanes, d);
        }
}

static void act_back(dg_activation kind, float slope, dg_rows x, dg_rows dy, dg_rows dx, bool accumulate, int64_t count,
                     int64_t c){
#define CALL(constant) act_back_rows(constant, slope, x, dy, dx, accumulate, count, c)
    DG_BY_ACT(kind, CALL)
#undef CALL
}

DG_INLINE void copy_rows(dg_rows x, dg_dtype tx, dg_rows y, dg_dtype ty, bool accumulate, int64_t count, int64_t c)
{
    for (int64_t v = 0; v < count; v++)
        for (int64_t k = 0; k < c; k += VL) {
            const int lanes = lanes_at(k, c);
            vf d = vload(x.data, tx, v * x.pitch + k, lanes);
            if (accumulate) d += vload(y.data, ty, v * y.pitch + k, lanes);
            vstore(y.data, ty, v * y.pitch + k, lanes, d);
        }
}

static void copy(dg_rows x, dg_rows y, bool accumulate, int64_t count, int64_t c)
{
    if (!accumulate && x.dtype == y.dtype) { /* bit for bit */
        const size_t size = dg_dtype_size(x.dtype);
        for (int64_t v = 0; v < count; v++)
            memcpy((char *)y.data + (size_t)(v * y.pitch) * size, (const char *)x.data + (size_t)(v * x.pitch) * size,
                   (size_t)c * size);
    } else if (x.dtype == DG_BF16 && y.dtype == DG_BF16) {
        copy_rows(x, DG_BF16, y, DG_BF16, true, count, c);
    } else {
        copy_rows(x, x.dtype, y, y.dtype, accumulate, count, c);
    }
}

static void gate_apply(dg_rows x, dg_rows gate, dg_rows y, int64_t count, int64_t c)
{
    for (int64_t v = 0; v < count; v++) {
        const float g = vload(gate.data, gate.dtype, v * gate.pitch, 1)[0];
        for (int64_t k = 0; k < c; k += VL) {
            const int lanes = lanes_at(k, c);
            vstore(y.data, y.dtype, v * y.pitch + k, lanes, g * vload(x.data, x.dtype, v * x.pitch + k, lanes));
        }
    }
}

static void gate_back(dg_rows x, dg_rows gate, dg_rows dy, dg_rows dx, bool accumulate, dg_rows dgate, int64_t count,
                      int64_t c)
{
    for (int64_t v = 0; v < count; v++) {
        const float g = vload(gate.data, gate.dtype, v * gate.pitch, 1)[0];
        vf sum = {0};
        for (int64_t k = 0; k < c; k += VL) {
            const int lanes = lanes_at(k, c);
            vf d = vload(dy.data, dy.dtype, v * dy.pitch + k, lanes);
            sum += d * vload(x.data, x.dtype, v * x.pitch + k, lanes);
            d *= g;
            if (accumulate) d += vload(dx.data, dx.dtype, v * dx.pitch + k, lanes);
            vstore(dx.data, dx.dtype, v * dx.pitch + k, lanes, d);
        }
        vstore(dgate.data, dgate.dtype, v * dgate.pitch, 1, vset(vsum(sum)));
    }
}

DG_INLINE void column_block_lanes(dg_rows x, dg_dtype type, int64_t v0, int64_t v1, int64_t c, double *sum, int64_t k,
                                  const int lanes)
{
    vf s0 = {0}, s1 = {0};
    int64_t v = v0;
    for (; v + 1 < v1; v += 2) {
        s0 += vload(x.data, type, v * x.pitch + k, lanes);
        s1 += vload(x.data, type, (v + 1) * x.pitch + k, lanes);
    }
    if (v < v1) s0 += vload(x.data, type, v * x.pitch + k, lanes);
    add_lanes(sum + k, s0 + s1, lanes);
}

DG_INLINE void column_block(dg_rows x, dg_dtype type, int64_t v0, int64_t v1, int64_t c, double *sum)
{
    int64_t k = 0;
    for (; k + VL <= c; k += VL) column_block_lanes(x, type, v0, v1, c, sum, k, VL);
    if (k < c) column_block_lanes(x, type, v0, v1, c, sum, k, lanes_at(k, c));
}

static void column_sums(dg_rows x, int64_t count, int64_t c, double *sum)
{
    const int64_t step = block_voxels(c);
    for (int64_t v = 0; v < count; v += step) {
        const int64_t end = v + step < count ? v + step : count;
        if (x.dtype == DG_BF16)
            column_block(x, DG_BF16, v, end, c, sum);
        else
            column_block(x, DG_F32, v, end, c, sum);
    }
}

#endif
