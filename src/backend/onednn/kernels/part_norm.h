/* part_norm.h - fused normalisation loops, a part of kernels.c. Channels are taken a vector at a time, so that the
 * per-channel constants and sums stay in registers while the voxels of a block, which fits the first-level cache, pass.
 * Sums are f32 within a block and double between blocks. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_PART_NORM_H
#define DG_PART_NORM_H

/* Voxels of a block: about 8192 values, so that two or three bf16 operands fit the first-level cache. */
DG_INLINE int64_t block_voxels(int64_t c)
{
    int64_t voxels = 2048 / c;
    return voxels < 16 ? 16 : voxels > 256 ? 256 : voxels;
}

/* Asks for what the next block of the same tensor needs at this place: the hardware's own prefetch does not see far
 * enough past the jumps between blocks. */
DG_INLINE void ahead(const void *base, dg_dtype type, int64_t index, int64_t distance)
{
    __builtin_prefetch((const char *)base + (index + distance) * (type == DG_F32 ? 4 : 2), 0, 3);
}

DG_INLINE void ahead_to_write(const void *base, dg_dtype type, int64_t index, int64_t distance)
{
    __builtin_prefetch((const char *)base + (index + distance) * (type == DG_F32 ? 4 : 2), 1, 3);
}

DG_INLINE int lanes_at(int64_t k, int64_t c) { return c - k < VL ? (int)(c - k) : VL; }

DG_INLINE void add_lanes(double *sum, vf v, int lanes)
{
    for (int i = 0; i < lanes; i++) sum[i] += (double)v[i];
}

/* `type` of the result: see vsigmoid. */
DG_INLINE vf act_of(dg_activation kind, dg_dtype type, vf z, float slope)
{
    switch (kind) {
    case DG_ACT_SILU: return z * vsigmoid(z, type);
    case DG_ACT_RELU: return vgreater(vset(0.0f), z, vset(0.0f), z);
    case DG_ACT_LEAKY_RELU: return vgreater(z, vset(0.0f), z, z * slope);
    case DG_ACT_SIGMOID: return vsigmoid(z, type);
    case DG_ACT_NONE: break;
    }
    return z;
}

/* The derivative at z; *h gets the value. */
DG_INLINE vf act_slope(dg_activation kind, dg_dtype type, vf z, float slope, vf *h)
{
    vf s;
    switch (kind) {
    case DG_ACT_SILU:
        s = vsigmoid(z, type);
        *h = z * s;
        return s + *h * (1.0f - s);
    case DG_ACT_RELU: *h = act_of(kind, type, z, slope); return vgreater(z, vset(0.0f), vset(1.0f), vset(0.0f));
    case DG_ACT_LEAKY_RELU: *h = act_of(kind, type, z, slope); return vgreater(z, vset(0.0f), vset(1.0f), vset(slope));
    case DG_ACT_SIGMOID:
        s = vsigmoid(z, type);
        *h = s;
        return s * (1.0f - s);
    case DG_ACT_NONE: break;
    }
    *h = z;
    return vset(1.0f);
}

/* Expands a call with activation, and both types equal and constant, as compile-time constants. */
#define DG_BY_ACT(kind, CALL)                               \
    switch (kind) {                                         \
    case DG_ACT_SILU: CALL(DG_ACT_SILU); break;             \
    case DG_ACT_RELU: CALL(DG_ACT_RELU); break;             \
    case DG_ACT_LEAKY_RELU: CALL(DG_ACT_LEAKY_RELU); break; \
    case DG_ACT_SIGMOID: CALL(DG_ACT_SIGMOID); break;       \
    case DG_ACT_NONE: CALL(DG_ACT_NONE); break;             \
    }

DG_INLINE void moments_block_lanes(dg_rows x, dg_dtype type, int64_t v0, int64_t v1, int64_t c, const float *origin,
                                   double *sum, int64_t k, const int lanes)
{
    const vf o = vload(origin, DG_F32, k, lanes);
    vf s0 = {0}, s1 = {0}, q0 = {0}, q1 = {0};
    int64_t v = v0;
    for (; v + 1 < v1; v += 2) {
        ahead(x.data, type, v * x.pitch + k, (v1 - v0) * x.pitch);
        ahead(x.data, type, (v + 1) * x.pitch + k, (v1 - v0) * x.pitch);
        vf a = vload(x.data, type, v * x.pitch + k, lanes) - o;
        vf b = vload(x.data, type, (v + 1) * x.pitch + k, lanes) - o;
        s0 += a;
        s1 += b;
        q0 += a * a;
        q1 += b * b;
    }
    if (v < v1) {
        vf a = vload(x.data, type, v * x.pitch + k, lanes) - o;
        s0 += a;
        q0 += a * a;
    }
    add_lanes(sum + k, s0 + s1, lanes);
    add_lanes(sum + c + k, q0 + q1, lanes);
}

DG_INLINE void moments_block(dg_rows x, dg_dtype type, int64_t v0, int64_t v1, int64_t c, const float *origin,
                             double *sum)
{
    int64_t k = 0;
    for (; k + VL <= c; k += VL) moments_block_lanes(x, type, v0, v1, c, origin, sum, k, VL);
    if (k < c) moments_block_lanes(x, type, v0, v1, c, origin, sum, k, lanes_at(k, c));
}

static void moments(dg_rows x, int64_t count, int64_t c, const float *origin, double *sum)
{
    const int64_t step = block_voxels(c);
    for (int64_t v = 0; v < count; v += step) {
        const int64_t end = v + step < count ? v + step : count;
        if (x.dtype == DG_BF16)
            moments_block(x, DG_BF16, v, end, c, origin, sum);
        else
            moments_block(x, DG_F32, v, end, c, origin, sum);
    }
}

DG_INLINE void apply_block_lanes(const dg_norm_coefficients *f, dg_activation act, const bool film, dg_rows x,
                                 dg_dtype tx, const dg_rows *residual, dg_dtype tr, dg_rows y, dg_dtype ty, int64_t v0,
                                 int64_t v1, int64_t c, int64_t k, const int lanes)
{
    const vf a = vload(f->a, DG_F32, k, lanes), b = vload(f->b, DG_F32, k, lanes);
    const vf scale = film ? vload(f->scale, DG_F32, k, lanes) : vset(1.0f);
    const vf shift = film ? vload(f->shift, DG_F32, k, lanes) : vset(0.0f);
    if (residual != NULL) {
        const dg_rows r = *residual;
        for (int64_t v = v0; v < v1; v++) {
            ahead(x.data, tx, v * x.pitch + k, (v1 - v0) * x.pitch);
            ahead(r.data, tr, v * r.pitch + k, (v1 - v0) * r.pitch);
            ahead_to_write(y.data, ty, v * y.pitch + k, (v1 - v0) * y.pitch);
            vf h = act_of(act, ty, a * vload(x.data, tx, v * x.pitch + k, lanes) + b, f->slope);
            if (film) h = h * scale + shift;
            h += vload(r.data, tr, v * r.pitch + k, lanes);
            vstore(y.data, ty, v * y.pitch + k, lanes, h);
        }
    } else
        for (int64_t v = v0; v < v1; v++) {
            ahead(x.data, tx, v * x.pitch + k, (v1 - v0) * x.pitch);
            ahead_to_write(y.data, ty, v * y.pitch + k, (v1 - v0) * y.pitch);
            vf h = act_of(act, ty, a * vload(x.data, tx, v * x.pitch + k, lanes) + b, f->slope);
            vstore(y.data, ty, v * y.pitch + k, lanes, film ? h * scale + shift : h);
        }
}

DG_INLINE void apply_block(const dg_norm_coefficients *f, dg_activation act, dg_rows x, dg_dtype tx,
                           const dg_rows *residual, dg_dtype tr, dg_rows y, dg_dtype ty, int64_t v0, int64_t v1,
                           int64_t c)
{
    int64_t k = 0;
    if (f->scale != NULL)
        for (; k + VL <= c; k += VL) apply_block_lanes(f, act, true, x, tx, residual, tr, y, ty, v0, v1, c, k, VL);
    else
        for (; k + VL <= c; k += VL) apply_block_lanes(f, act, false, x, tx, residual, tr, y, ty, v0, v1, c, k, VL);
    if (k < c) apply_block_lanes(f, act, f->scale != NULL, x, tx, residual, tr, y, ty, v0, v1, c, k, lanes_at(k, c));
}

static void norm_apply(const dg_norm_coefficients *f, dg_rows x, const dg_rows *residual, dg_rows y, int64_t count,
                       int64_t c)
{
    const int64_t step = block_voxels(c);
    const dg_dtype tr = residual != NULL ? residual->dtype : x.dtype;
    const bool bf16 = x.dtype == DG_BF16 && y.dtype == DG_BF16 && tr == DG_BF16;
    const bool f32 = x.dtype == DG_F32 && y.dtype == DG_F32 && tr == DG_F32;
    for (int64_t v = 0; v < count; v += step) {
        const int64_t end = v + step < count ? v + step : count;
#define CALL_BF16(act) apply_block(f, act, x, DG_BF16, residual, DG_BF16, y, DG_BF16, v, end, c)
#define CALL_F32(act) apply_block(f, act, x, DG_F32, residual, DG_F32, y, DG_F32, v, end, c)
        if (bf16) {
            DG_BY_ACT(f->act, CALL_BF16)
        } else if (f32) {
            DG_BY_ACT(f->act, CALL_F32)
        } else {
            apply_block(f, f->act, x, x.dtype, residual, tr, y, y.dtype, v, end, c);
        }
#undef CALL_BF16
#undef CALL_F32
    }
}

DG_INLINE void back_sums_block_lanes(const dg_norm_coefficients *f, dg_activation act, dg_rows x, dg_dtype tx,
                                     dg_rows dy, dg_dtype ty, int64_t v0, int64_t v1, int64_t c, double *sum, int64_t k,
                                     const int lanes)
{
    const vf a = vload(f->a, DG_F32, k, lanes), b = vload(f->b, DG_F32, k, lanes);
    vf dz_sum = {0}, dzx_sum = {0}, h, xv, g, dz;
    if (f->scale != NULL) {
        const vf scale = vload(f->scale, DG_F32, k, lanes);
        vf dyh_sum = {0}, dy_sum = {0};
        for (int64_t v = v0; v < v1; v++) {
            ahead(x.data, tx, v * x.pitch + k, (v1 - v0) * x.pitch);
            ahead(dy.data, ty, v * dy.pitch + k, (v1 - v0) * dy.pitch);
            xv = vload(x.data, tx, v * x.pitch + k, lanes);
            g = vload(dy.data, ty, v * dy.pitch + k, lanes);
            dz = g * scale * act_slope(act, DG_F32, a * xv + b, f->slope, &h);
            dz_sum += dz;
            dzx_sum += dz * xv;
            dyh_sum += g * h;
            dy_sum += g;
        }
        add_lanes(sum + 2 * c + k, dyh_sum, lanes);
        add_lanes(sum + 3 * c + k, dy_sum, lanes);
    } else {
        for (int64_t v = v0; v < v1; v++) {
            ahead(x.data, tx, v * x.pitch + k, (v1 - v0) * x.pitch);
            ahead(dy.data, ty, v * dy.pitch + k, (v1 - v0) * dy.pitch);
            xv = vload(x.data, tx, v * x.pitch + k, lanes);
            g = vload(dy.data, ty, v * dy.pitch + k, lanes);
            dz = g * act_slope(act, DG_F32, a * xv + b, f->slope, &h);
            dz_sum += dz;
            dzx_sum += dz * xv;
        }
    }
    add_lanes(sum + k, dz_sum, lanes);
    add_lanes(sum + c + k, dzx_sum, lanes);
}

DG_INLINE void back_sums_block(const dg_norm_coefficients *f, dg_activation act, dg_rows x, dg_dtype tx, dg_rows dy,
                               dg_dtype ty, int64_t v0, int64_t v1, int64_t c, double *sum)
{
    int64_t k = 0;
    for (; k + VL <= c; k += VL) back_sums_block_lanes(f, act, x, tx, dy, ty, v0, v1, c, sum, k, VL);
    if (k < c) back_sums_block_lanes(f, act, x, tx, dy, ty, v0, v1, c, sum, k, lanes_at(k, c));
}

static void norm_back_sums(const dg_norm_coefficients *f, dg_rows x, dg_rows dy, int64_t count, int64_t c, double *sum)
{
    const int64_t step = block_voxels(c);
    for (int64_t v = 0; v < count; v += step) {
        const int64_t end = v + step < count ? v + step : count;
#define CALL_BF16(act) back_sums_block(f, act, x, DG_BF16, dy, DG_BF16, v, end, c, sum)
#define CALL_F32(act) back_sums_block(f, act, x, DG_F32, dy, DG_F32, v, end, c, sum)
        if (x.dtype == DG_BF16 && dy.dtype == DG_BF16) {
            DG_BY_ACT(f->act, CALL_BF16)
        } else if (x.dtype == DG_F32 && dy.dtype == DG_F32) {
            DG_BY_ACT(f->act, CALL_F32)
        } else {
            back_sums_block(f, f->act, x, x.dtype, dy, dy.dtype, v, end, c, sum);
        }
#undef CALL_BF16
#undef CALL_F32
    }
}

DG_INLINE void back_apply_block_lanes(const dg_norm_coefficients *f, dg_activation act, const float *p, const float *q,
                                      dg_rows x, dg_dtype tx, dg_rows dy, dg_dtype ty, dg_rows dx, dg_dtype td,
                                      bool accumulate, int64_t v0, int64_t v1, int64_t c, int64_t k, const int lanes)
{
    const vf a = vload(f->a, DG_F32, k, lanes), b = vload(f->b, DG_F32, k, lanes);
    const vf gain = f->scale != NULL ? a * vload(f->scale, DG_F32, k, lanes) : a;
    const vf pk = p != NULL ? vload(p, DG_F32, k, lanes) : vset(0.0f);
    const vf qk = p != NULL ? vload(q, DG_F32, k, lanes) : vset(0.0f);
    vf h;
    for (int64_t v = v0; v < v1; v++) {
        ahead(x.data, tx, v * x.pitch + k, (v1 - v0) * x.pitch);
        ahead(dy.data, ty, v * dy.pitch + k, (v1 - v0) * dy.pitch);
        ahead_to_write(dx.data, td, v * dx.pitch + k, (v1 - v0) * dx.pitch);
        vf xv = vload(x.data, tx, v * x.pitch + k, lanes);
        vf g = vload(dy.data, ty, v * dy.pitch + k, lanes);
        vf d = g * gain * act_slope(act, td, a * xv + b, f->slope, &h) + (pk * xv + qk);
        if (accumulate) d += vload(dx.data, td, v * dx.pitch + k, lanes);
        vstore(dx.data, td, v * dx.pitch + k, lanes, d);
    }
}

DG_INLINE void back_apply_block(const dg_norm_coefficients *f, dg_activation act, const float *p, const float *q,
                                dg_rows x, dg_dtype tx, dg_rows dy, dg_dtype ty, dg_rows dx, dg_dtype td,
                                bool accumulate, int64_t v0, int64_t v1, int64_t c)
{
    int64_t k = 0;
    for (; k + VL <= c; k += VL)
        back_apply_block_lanes(f, act, p, q, x, tx, dy, ty, dx, td, accumulate, v0, v1, c, k, VL);
    if (k < c) back_apply_block_lanes(f, act, p, q, x, tx, dy, ty, dx, td, accumulate, v0, v1, c, k, lanes_at(k, c));
}

static void norm_back_apply(const dg_norm_coefficients *f, const float *p, const float *q, dg_rows x, dg_rows dy,
                            dg_rows dx, bool accumulate, int64_t count, int64_t c)
{
    const int64_t step = block_voxels(c);
    const bool bf16 = x.dtype == DG_BF16 && dy.dtype == DG_BF16 && dx.dtype == DG_BF16;
    const bool f32 = x.dtype == DG_F32 && dy.dtype == DG_F32 && dx.dtype == DG_F32;
    for (int64_t v = 0; v < count; v += step) {
        const int64_t end = v + step < count ? v + step : count;
#define CALL_BF16(act) back_apply_block(f, act, p, q, x, DG_BF16, dy, DG_BF16, dx, DG_BF16, accumulate, v, end, c)
#define CALL_F32(act) back_apply_block(f, act, p, q, x, DG_F32, dy, DG_F32, dx, DG_F32, accumulate, v, end, c)
        if (bf16) {
            DG_BY_ACT(f->act, CALL_BF16)
        } else if (f32) {
            DG_BY_ACT(f->act, CALL_F32)
        } else {
            back_apply_block(f, f->act, p, q, x, x.dtype, dy, dy.dtype, dx, dx.dtype, accumulate, v, end, c);
        }
#undef CALL_BF16
#undef CALL_F32
    }
}

static void layer_norm(dg_rows x, int64_t count, int64_t c, double eps, const float *gamma, const float *beta,
                       float *stats, dg_rows y)
{
    for (int64_t v = 0; v < count; v++) {
        double sum = 0.0, square = 0.0;
        for (int64_t k = 0; k < c; k += VL)
            sum += (double)vsum(vload(x.data, x.dtype, v * x.pitch + k, lanes_at(k, c)));
        const float mean = (float)(sum / (double)c);
        for (int64_t k = 0; k < c; k++) {
            float d = vload(x.data, x.dtype, v * x.pitch + k, 1)[0] - mean;
            square += (double)d * (double)d;
        }
        const float rstd = (float)(1.0 / sqrt(square / (double)c + eps));
        stats[2 * v] = mean;
        stats[2 * v + 1] = rstd;
        for (int64_t k = 0; k < c; k += VL) {
            const int lanes = lanes_at(k, c);
            vf h = (vload(x.data, x.dtype, v * x.pitch + k, lanes) - mean) * rstd;
            if (gamma != NULL) h *= vload(gamma, DG_F32, k, lanes);
            if (beta != NULL) h += vload(beta, DG_F32, k, lanes);
            vstore(y.data, y.dtype, v * y.pitch + k, lanes, h);
        }
    }
}

static void layer_norm_back(dg_rows x, int64_t count, int64_t c, const float *gamma, const float *stats, dg_rows dy,
                            dg_rows dx, bool accumulate, double *sum)
{
    for (int64_t v = 0; v < count; v++) {
        const float mean = stats[2 * v], rstd = stats[2 * v + 1];
        float g_sum = 0.0f, gx_sum = 0.0f;
        for (int64_t k = 0; k < c; k += VL) {
            const int lanes = lanes_at(k, c);
            vf xhat = (vload(x.data, x.dtype, v * x.pitch + k, lanes) - mean) * rstd;
            vf g = vload(dy.data, dy.dtype, v * dy.pitch + k, lanes);
            add_lanes(sum + k, g * xhat, lanes);
            add_lanes(sum + c + k, g, lanes);
            g *= gamma != NULL ? vload(gamma, DG_F32, k, lanes) : vset(1.0f);
            g_sum += vsum(g);
            gx_sum += vsum(g * xhat); /* lanes beyond c: g is 0 there */
        }
        g_sum /= (float)c;
        gx_sum /= (float)c;
        for (int64_t k = 0; k < c; k += VL) {
            const int lanes = lanes_at(k, c);
            vf xhat = (vload(x.data, x.dtype, v * x.pitch + k, lanes) - mean) * rstd;
            vf g = vload(dy.data, dy.dtype, v * dy.pitch + k, lanes);
            if (gamma != NULL) g *= vload(gamma, DG_F32, k, lanes);
            vf d = (g - g_sum - xhat * gx_sum) * rstd;
            if (accumulate) d += vload(dx.data, dx.dtype, v * dx.pitch + k, lanes);
            vstore(dx.data, dx.dtype, v * dx.pitch + k, lanes, d);
        }
    }
}

#endif
