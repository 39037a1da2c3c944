/* part_resample.h - pooling and trilinear resize, a part of kernels.c. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_PART_RESAMPLE_H
#define DG_PART_RESAMPLE_H

/* Offset in elements of corner j (z,y,x order) of a 2x2x2 window. */
DG_INLINE int64_t corner(int j, int64_t line, int64_t plane, int64_t pitch)
{
    return ((j >> 2) * plane + ((j >> 1) & 1) * line + (j & 1)) * pitch;
}

DG_INLINE void pool_line(dg_rows x, dg_dtype type, int64_t line, int64_t plane, dg_rows y, dg_dtype ty, int64_t count,
                         int64_t c)
{
    for (int64_t v = 0; v < count; v++)
        for (int64_t k = 0; k < c; k += VL) {
            const int lanes = lanes_at(k, c);
            const int64_t at = 2 * v * x.pitch + k;
            vf best = vload(x.data, type, at, lanes);
            for (int j = 0; j < 8; j++) ahead(x.data, type, at + corner(j, line, plane, x.pitch), 2 * line * x.pitch);
            for (int j = 1; j < 8; j++)
                best = vlarger(vload(x.data, type, at + corner(j, line, plane, x.pitch), lanes), best);
            vstore(y.data, ty, v * y.pitch + k, lanes, best);
        }
}

static void pool(dg_rows x, int64_t line, int64_t plane, dg_rows y, int64_t count, int64_t c)
{
    if (x.dtype == DG_BF16 && y.dtype == DG_BF16)
        pool_line(x, DG_BF16, line, plane, y, DG_BF16, count, c);
    else
        pool_line(x, x.dtype, line, plane, y, y.dtype, count, c);
}

DG_INLINE void pool_back_line(dg_rows x, dg_dtype type, int64_t line, int64_t plane, dg_rows dy, dg_dtype ty,
                              dg_rows dx, dg_dtype td, bool accumulate, int64_t count, int64_t c)
{
    for (int64_t v = 0; v < count; v++)
        for (int64_t k = 0; k < c; k += VL) {
            const int lanes = lanes_at(k, c);
            const int64_t at = 2 * v * x.pitch + k, to = 2 * v * dx.pitch + k;
            vf best = vload(x.data, type, at, lanes);
            vi winner = {0};
            for (int j = 0; j < 8; j++) {
                ahead(x.data, type, at + corner(j, line, plane, x.pitch), 2 * line * x.pitch);
                ahead_to_write(dx.data, td, to + corner(j, line, plane, dx.pitch), 2 * line * dx.pitch);
            }
            for (int j = 1; j < 8; j++) {
                vf a = vload(x.data, type, at + corner(j, line, plane, x.pitch), lanes);
                vi better = (a > best) | (a != a);
                best = vselect(better, a, best);
                winner = (better & j) | (winner & ~better);
            }
            const vf g = vload(dy.data, ty, v * dy.pitch + k, lanes);
            for (int j = 0; j < 8; j++) {
                const int64_t place = to + corner(j, line, plane, dx.pitch);
                vf d = vselect(winner == j, g, vset(0.0f));
                if (accumulate) d += vload(dx.data, td, place, lanes);
                vstore(dx.data, td, place, lanes, d);
            }
        }
}

static void pool_back(dg_rows x, int64_t line, int64_t plane, dg_rows dy, dg_rows dx, bool accumulate, int64_t count,
                      int64_t c)
{
    if (x.dtype == DG_BF16 && dy.dtype == DG_BF16 && dx.dtype == DG_BF16)
        pool_back_line(x, DG_BF16, line, plane, dy, DG_BF16, dx, DG_BF16, accumulate, count, c);
    else
        pool_back_line(x, x.dtype, line, plane, dy, dy.dtype, dx, dx.dtype, accumulate, count, c);
}

/* Voxel v, channels k.. of the weighted sum of lines. */
DG_INLINE vf blended(const dg_rows *source, dg_dtype type, const float *weight, const int sources, int64_t v, int64_t k,
                     const int lanes)
{
    vf sum = weight[0] * vload(source[0].data, type, v * source[0].pitch + k, lanes);
    for (int s = 1; s < sources; s++) sum += weight[s] * vload(source[s].data, type, v * source[s].pitch + k, lanes);
    return sum;
}

/* One vector of channels along a line; neighbours of an output are often those of the one before. */
DG_INLINE void resize_lanes(const dg_rows *lines, dg_dtype type, const float *weights, const int sources,
                            const dg_axis *axis, dg_rows y, int64_t k, const int lanes)
{
    dg_rows source[4];
    float weight[4];
    for (int s = 0; s < sources; s++) source[s] = lines[s], weight[s] = weights[s];
    int64_t at_low = -1, at_high = -1;
    vf low = {0}, high = {0};
    for (int64_t o = 0; o < axis->out; o++) {
        const float w = axis->weight[o];
        ahead_to_write(y.data, type, o * y.pitch + k, axis->out * y.pitch); /* the next line */
        if (axis->lo[o] != at_low) {
            at_low = axis->lo[o];
            low = at_low == at_high ? high : blended(source, type, weight, sources, at_low, k, lanes);
        }
        if (axis->hi[o] != at_high) {
            at_high = axis->hi[o];
            high = blended(source, type, weight, sources, at_high, k, lanes);
        }
        vstore(y.data, type, o * y.pitch + k, lanes, (1.0f - w) * low + w * high);
    }
}

DG_INLINE void resize_line(const dg_rows *source, dg_dtype type, const float *weight, const int sources,
                           const dg_axis *axis, dg_rows y, int64_t c)
{
    int64_t k = 0;
    for (; k + VL <= c; k += VL) resize_lanes(source, type, weight, sources, axis, y, k, VL);
    if (k < c) resize_lanes(source, type, weight, sources, axis, y, k, lanes_at(k, c));
}

DG_INLINE void resize_typed(const dg_rows *source, dg_dtype type, const float *weight, int sources, const dg_axis *axis,
                            dg_rows y, int64_t c)
{
    switch (sources) {
    case 1: resize_line(source, type, weight, 1, axis, y, c); break;
    case 2: resize_line(source, type, weight, 2, axis, y, c); break;
    case 3: resize_line(source, type, weight, 3, axis, y, c); break;
    case 4: resize_line(source, type, weight, 4, axis, y, c); break;
    }
}

static void resize(const dg_rows *source, const float *weight, int sources, const dg_axis *x_axis, dg_rows y, int64_t c)
{
    if (y.dtype == DG_BF16)
        resize_typed(source, DG_BF16, weight, sources, x_axis, y, c);
    else
        resize_typed(source, DG_F32, weight, sources, x_axis, y, c);
}

/* buffer[v*c+k] = sum of weighted lines. */
DG_INLINE void blend_lines(const dg_rows *source, dg_dtype type, const float *weight, int sources, int64_t count,
                           int64_t c, float *buffer)
{
    for (int64_t v = 0; v < count; v++)
        for (int64_t k = 0; k < c; k += VL) {
            const int lanes = lanes_at(k, c);
            vf sum = {0};
            for (int s = 0; s < sources; s++)
                sum += weight[s] * vload(source[s].data, type, v * source[s].pitch + k, lanes);
            vstore(buffer, DG_F32, v * c + k, lanes, sum);
        }
}

static void blend(const dg_rows *source, const float *weight, int sources, int64_t count, int64_t c, float *buffer)
{
    if (source[0].dtype == DG_BF16)
        blend_lines(source, DG_BF16, weight, sources, count, c, buffer);
    else
        blend_lines(source, DG_F32, weight, sources, count, c, buffer);
}

DG_INLINE void collect(const dg_axis *axis, const float *buffer, dg_rows dx, dg_dtype type, bool accumulate, int64_t c)
{
    for (int64_t i = 0; i < axis->in; i++)
        for (int64_t k = 0; k < c; k += VL) {
            const int lanes = lanes_at(k, c);
            vf sum = {0};
            for (int64_t o = axis->first[i]; o < axis->last[i]; o++) {
                const float w = axis->weight[o];
                const float part = (axis->lo[o] == i ? 1.0f - w : 0.0f) + (axis->hi[o] == i ? w : 0.0f);
                sum += part * vload(buffer, DG_F32, o * c + k, lanes);
            }
            if (accumulate) sum += vload(dx.data, type, i * dx.pitch + k, lanes);
            vstore(dx.data, type, i * dx.pitch + k, lanes, sum);
        }
}

static void resize_back(const dg_rows *source, const float *weight, int sources, const dg_axis *x_axis, float *buffer,
                        dg_rows dx, bool accumulate, int64_t c)
{
    if (sources == 0) /* no output reads this line */
        memset(buffer, 0, (size_t)(x_axis->out * c) * sizeof *buffer);
    else
        blend(source, weight, sources, x_axis->out, c, buffer);
    if (dx.dtype == DG_BF16)
        collect(x_axis, buffer, dx, DG_BF16, accumulate, c);
    else
        collect(x_axis, buffer, dx, DG_F32, accumulate, c);
}

#endif
