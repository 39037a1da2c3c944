/* loss_window.cu - connectivity and clDice: windows of voxels, each voxel by a thread that gathers from its neighbours, out of
 * the caches but for the first, so that no sum needs atomics. Arrays cover all samples; sums in double, in a fixed order.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cuda_loss.h"

#include "dg_loss_window.h"

enum { THREADS = LOSS_THREADS, SUMS = DG_CLDICE_SUMS };

struct place {
    int64_t z, y, x;
};
__device__ static inline place place_of(const dg_space &s, int64_t v)
{
    return place{v / (s.y * s.x), v / s.x % s.y, v % s.x};
}
/* Sample n of a space of all samples. */
__device__ static inline dg_space sample_of(dg_space s, int64_t n)
{
    if (s.mask != nullptr) s.mask += n * s.z * s.y * s.x;
    return s;
}
/* Voxels of a sample for a thread. */
#define EACH_VOXEL(space)                                                                                            \
    for (int64_t voxels = (space).z * (space).y * (space).x, v = (int64_t)blockIdx.x * THREADS + threadIdx.x; v < voxels; \
         v += (int64_t)gridDim.x * THREADS)

/* 40 registers, 75 % (256 threads); 8 bytes a voxel in, 8 out. */
__global__ void window_take(loss_view b, float *p, float *t)
{
    const int64_t first = (int64_t)blockIdx.y * b.voxels;
    for (int64_t v = (int64_t)blockIdx.x * THREADS + threadIdx.x; v < b.voxels; v += (int64_t)gridDim.x * THREADS) {
        p[first + v] = loss_dose(b.y, first + v);
        t[first + v] = loss_dose(b.target, first + v) > 0.5f ? 1.0f : 0.0f;
    }
}

/* Sums of a block's chunk of sample blockIdx.y. */
__device__ static inline void put_sums(const double *sum, double *chunks)
{
    for (int k = 0; k < SUMS; k++) {
        const double whole = block_sum(sum[k]);
        if (threadIdx.x == 0) chunks[((int64_t)blockIdx.y * gridDim.x + blockIdx.x) * SUMS + k] = whole;
    }
}
__device__ static inline void add_chunks(const double *chunks, int count, int64_t n, double *sum)
{
    for (int k = 0; k < SUMS; k++) {
        sum[k] = 0;
        for (int i = 0; i < count; i++) sum[k] += chunks[(n * count + i) * SUMS + k];
    }
}

/* ---- connectivity ------------------------------------------------------------------------------------------------------ */

/* 80 registers, 37 % (256 threads); 8 bytes a voxel in (radius 1: 27 times, from the caches; 1 of the mask), 5 out. */
__global__ void connect(dg_space all, int radius, const float *p, const float *t, float *difference, uint8_t *at,
                        double *chunks)
{
    const int64_t voxels = all.z * all.y * all.x, first = (int64_t)blockIdx.y * voxels,
                  end = voxels * (blockIdx.x + 1) / gridDim.x;
    const dg_space s = sample_of(all, blockIdx.y);
    double sum[SUMS] = {0};
    for (int64_t v = voxels * blockIdx.x / gridDim.x + threadIdx.x; v < end; v += THREADS) {
        const place c = place_of(s, v);
        uint8_t ignored;
        if (!dg_space_counts(&s, v)) continue;
        const float d = dg_dilate(&s, p + first, c.z, c.y, c.x, radius, &at[first + v]) -
                        dg_dilate(&s, t + first, c.z, c.y, c.x, radius, &ignored);
        difference[first + v] = d;
        sum[0] += (double)d * (double)d;
        sum[1] += 1;
    }
    put_sums(sum, chunks);
}

/* factor: 2 over the voxels that count. 40 registers, 50 % (1 threads); a few numbers. */
__global__ void connect_totals(const double *chunks, int count, float *factors, double *value, int64_t stride)
{
    const int64_t n = blockIdx.x;
    double sum[SUMS];
    add_chunks(chunks, count, n, sum);
    value[n * stride] = sum[1] > 0 ? sum[0] / sum[1] : 0;
    factors[n] = sum[1] > 0 ? (float)(2 / sum[1]) : 0.0f;
}

/* 72 registers, 37 % (256 threads); 5 bytes a voxel in (radius 1: 27 times, from the caches; 1 of the mask), 4 out (8 where it
 * accumulates). */
__global__ void connect_back(dg_space all, int radius, const float *difference, const uint8_t *at, const float *factors,
                             const float *weight, view dy, bool accumulate)
{
    const int64_t first = (int64_t)blockIdx.y * all.z * all.y * all.x;
    const dg_space s = sample_of(all, blockIdx.y);
    const float factor = factors[blockIdx.y] * *weight;
    EACH_VOXEL(s)
    {
        const place c = place_of(s, v);
        float d = 0;
        if (dg_space_counts(&s, v))
            d = factor * dg_dilate_back(&s, difference + first, at + first, c.z, c.y, c.x, radius);
        put<1>(dy, first + v, 0, &d, accumulate);
    }
}

static dg_space space_of(const dg_loss_batch *batch) { return dg_space{batch->y.z, batch->y.y, batch->y.x, batch->mask}; }

/* Sums of the chunks, and factors of the slopes. */
static int64_t totals_bytes(int64_t n)
{
    return n * (LOSS_CHUNKS * SUMS * (int64_t)sizeof(double) + 4 * (int64_t)sizeof(float));
}

int64_t loss_connectivity_workspace(const dg_loss_batch *shape)
{
    return totals_bytes(shape->y.n) + shape->y.n * dg_tensor_voxels(&shape->y) * (3 * (int64_t)sizeof(float) + 1);
}

cudaError_t loss_connectivity(const loss_call &call)
{
    const loss_view b = loss_view_of(call.batch);
    const dg_space s = space_of(call.batch);
    const int64_t n = call.batch->y.n;
    const int radius = call.term->kernel / 2;
    double *scratch = (double *)call.workspace;
    float *factors = (float *)(scratch + n * LOSS_CHUNKS * SUMS);
    float *p = factors + 4 * n, *t = p + n * b.voxels, *difference = t + n * b.voxels;
    uint8_t *at = (uint8_t *)(difference + n * b.voxels);
    const dim3 chunks = loss_chunks(b.voxels, n), grid = loss_stream(b.voxels, n);
    cudaError_t error = DG_LAUNCH(window_take, grid, dim3(THREADS), 0, call.stream, b, p, t);
    if (error == cudaSuccess)
        error = DG_LAUNCH_SYNC(connect, chunks, dim3(THREADS), 0, call.stream, s, radius, p, t, difference, at, scratch);
    if (error == cudaSuccess)
        error = DG_LAUNCH(connect_totals, dim3((unsigned)n), dim3(1), 0, call.stream, scratch, (int)chunks.x, factors,
                          call.value, call.stride);
    if (error != cudaSuccess || call.dy == nullptr) return error;
    return DG_LAUNCH(connect_back, grid, dim3(THREADS), 0, call.stream, s, radius, difference, at, factors, call.weight,
                     view_of(call.dy), call.accumulate);
}

/* ---- clDice ------------------------------------------------------------------------------------------------------------ */

/* The skeleton of one sample, of arrays of all of them: levels lie behind one another, a sample's levels together. */
__device__ static inline dg_skeleton skeleton_of(dg_skeleton k, int64_t n)
{
    const int64_t one = n * k.voxels, levels = n * k.levels * k.voxels;
    k.space = sample_of(k.space, n);
    k.eroded += levels + one;
    k.skeleton += levels;
    k.peak += levels;
    k.route += levels;
    k.ds += one;
    k.de += one;
    k.dx[0] += one;
    k.dx[1] += one;
    return k;
}

enum skeleton_step { ERODE, OPEN, SPLIT, DILATE_BACK, ERODE_BACK };

/* One pass over a level. A step of its own each, so that none keeps the registers of another:
 * 72 registers, 37 % (256 threads); erode 4 bytes a voxel in (7 times, from the caches), 6 out; open 12 in (4 of them 27 times),
 * 5 out; split 17 in, 8 out; dilate back 5 in (27 times) and 4, 4 out; erode back 6 in (7 times) and 4, 4 out. */
template <skeleton_step step> __global__ void skeleton_pass(dg_skeleton all, int level)
{
    const dg_skeleton k = skeleton_of(all, blockIdx.y);
    EACH_VOXEL(k.space)
    {
        const place c = place_of(k.space, v);
        if (step == ERODE) dg_skeleton_erode(&k, level, c.z, c.y, c.x);
        if (step == OPEN) dg_skeleton_open(&k, level, c.z, c.y, c.x);
        if (step == SPLIT) dg_skeleton_split(&k, level, c.z, c.y, c.x);
        if (step == DILATE_BACK) dg_skeleton_dilate_back(&k, level, c.z, c.y, c.x);
        if (step == ERODE_BACK) dg_skeleton_erode_back(&k, level, c.z, c.y, c.x);
    }
}

/* Level 0 from a volume. 40 registers, 75 % (256 threads); 4 bytes a voxel in, 4 out. */
__global__ void skeleton_begin(dg_skeleton all, const float *from)
{
    const dg_skeleton k = skeleton_of(all, blockIdx.y);
    EACH_VOXEL(k.space) k.eroded[v] = from[(int64_t)blockIdx.y * k.voxels + v];
}

/* The last level into a volume. 40 registers, 75 % (256 threads); 4 bytes a voxel in, 4 out. */
__global__ void skeleton_end(dg_skeleton all, float *to)
{
    const dg_skeleton k = skeleton_of(all, blockIdx.y);
    EACH_VOXEL(k.space) to[(int64_t)blockIdx.y * k.voxels + v] = k.skeleton[(k.levels - 1) * k.voxels + v];
}

/* 40 registers, 75 % (256 threads); 16 bytes a voxel in (1 of the mask). */
__global__ void cldice_sums(dg_skeleton all, const float *p, const float *t, const float *thin, double *chunks)
{
    const dg_skeleton k = skeleton_of(all, blockIdx.y);
    const int64_t first = (int64_t)blockIdx.y * k.voxels, end = k.voxels * (blockIdx.x + 1) / gridDim.x;
    const float *skeleton = k.skeleton + (k.levels - 1) * k.voxels;
    double sum[SUMS] = {0};
    for (int64_t v = k.voxels * blockIdx.x / gridDim.x + threadIdx.x; v < end; v += THREADS) {
        if (!dg_space_counts(&k.space, v)) continue;
        sum[0] += (double)(skeleton[v] * t[first + v]);
        sum[1] += (double)skeleton[v];
        sum[2] += (double)(thin[first + v] * p[first + v]);
        sum[3] += (double)thin[first + v];
    }
    put_sums(sum, chunks);
}

/* 48 registers, 50 % (1 threads); a few numbers. */
__global__ void cldice_totals(const __grid_constant__ dg_loss_term term, const double *chunks, int count,
                              float *factors, double *value, int64_t stride)
{
    const int64_t n = blockIdx.x;
    double sum[SUMS];
    add_chunks(chunks, count, n, sum);
    value[n * stride] = dg_cldice_finish(&term, sum, factors + 4 * n);
}

/* 40 registers, 75 % (256 threads); 4 bytes a voxel in (1 of the mask), 8 out. */
__global__ void cldice_seed(dg_skeleton all, const float *t, const float *factors)
{
    const dg_skeleton k = skeleton_of(all, blockIdx.y);
    const float *factor = factors + 4 * (int64_t)blockIdx.y;
    EACH_VOXEL(k.space)
    {
        const bool counts = dg_space_counts(&k.space, v);
        k.ds[v] = counts ? factor[0] * t[(int64_t)blockIdx.y * k.voxels + v] + factor[1] : 0.0f;
        k.dx[0][v] = 0.0f;
    }
}

/* 40 registers, 75 % (256 threads); 8 bytes a voxel in (1 of the mask), 4 out (8 where it accumulates). */
__global__ void cldice_put(dg_skeleton all, const float *thin, const float *factors, const float *weight, view dy,
                           bool accumulate)
{
    const dg_skeleton k = skeleton_of(all, blockIdx.y);
    const float factor = factors[4 * (int64_t)blockIdx.y + 2];
    EACH_VOXEL(k.space)
    {
        const int64_t row = (int64_t)blockIdx.y * k.voxels + v;
        float d = 0;
        if (dg_space_counts(&k.space, v)) d = *weight * (k.dx[0][v] + factor * thin[row]);
        put<1>(dy, row, 0, &d, accumulate);
    }
}

static cudaError_t make_skeleton(const loss_call &call, const dg_skeleton &k, dim3 grid, const float *from)
{
    cudaError_t error = DG_LAUNCH(skeleton_begin, grid, dim3(THREADS), 0, call.stream, k, from);
    for (int level = 0; level < k.levels && error == cudaSuccess; level++) {
        error = DG_LAUNCH(skeleton_pass<ERODE>, grid, dim3(THREADS), 0, call.stream, k, level);
        if (error == cudaSuccess)
            error = DG_LAUNCH(skeleton_pass<OPEN>, grid, dim3(THREADS), 0, call.stream, k, level);
    }
    return error;
}

static cudaError_t skeleton_back(const loss_call &call, dg_skeleton k, dim3 grid, const float *t, const float *thin,
                                 const float *factors)
{
    cudaError_t error = DG_LAUNCH(cldice_seed, grid, dim3(THREADS), 0, call.stream, k, t, factors);
    for (int level = k.levels - 1; level >= 0 && error == cudaSuccess; level--) {
        error = DG_LAUNCH(skeleton_pass<SPLIT>, grid, dim3(THREADS), 0, call.stream, k, level);
        if (error == cudaSuccess)
            error = DG_LAUNCH(skeleton_pass<DILATE_BACK>, grid, dim3(THREADS), 0, call.stream, k, level);
        if (error == cudaSuccess)
            error = DG_LAUNCH(skeleton_pass<ERODE_BACK>, grid, dim3(THREADS), 0, call.stream, k, level);
        float *const spare = k.dx[0];
        k.dx[0] = k.dx[1];
        k.dx[1] = spare;
    }
    if (error != cudaSuccess) return error;
    return DG_LAUNCH(cldice_put, grid, dim3(THREADS), 0, call.stream, k, thin, factors, call.weight, view_of(call.dy),
                     call.accumulate);
}

enum { CLDICE_FLOATS = 7 }; /* p, t, skeleton of t, and four gradients, besides eroded and skeleton of the levels */

int64_t loss_cldice_workspace(const dg_loss_term *term, const dg_loss_batch *shape)
{
    const int64_t levels = term->iterations + 1, voxels = shape->y.n * dg_tensor_voxels(&shape->y);
    return totals_bytes(shape->y.n) +
           voxels * ((CLDICE_FLOATS + 2 * levels + 1) * (int64_t)sizeof(float) + 3 * levels);
}

cudaError_t loss_cldice(const loss_call &call)
{
    const loss_view b = loss_view_of(call.batch);
    const int64_t n = call.batch->y.n, size = n * b.voxels;
    const int levels = call.term->iterations + 1;
    double *scratch = (double *)call.workspace;
    float *factors = (float *)(scratch + n * LOSS_CHUNKS * SUMS), *arrays = factors + 4 * n;
    float *p = arrays, *t = arrays + size, *thin = arrays + 2 * size;
    dg_skeleton k;
    k.space = space_of(call.batch);
    k.levels = levels;
    k.voxels = b.voxels;
    k.ds = arrays + 3 * size;
    k.de = arrays + 4 * size;
    k.dx[0] = arrays + 5 * size;
    k.dx[1] = arrays + 6 * size;
    k.eroded = arrays + CLDICE_FLOATS * size;
    k.skeleton = k.eroded + (levels + 1) * size;
    k.route = (uint16_t *)(k.skeleton + levels * size);
    k.peak = (uint8_t *)(k.route + levels * size);
    const dim3 chunks = loss_chunks(b.voxels, n), grid = loss_stream(b.voxels, n);
    cudaError_t error = DG_LAUNCH(window_take, grid, dim3(THREADS), 0, call.stream, b, p, t);
    if (error == cudaSuccess) error = make_skeleton(call, k, grid, t);
    if (error == cudaSuccess) error = DG_LAUNCH(skeleton_end, grid, dim3(THREADS), 0, call.stream, k, thin);
    if (error == cudaSuccess) error = make_skeleton(call, k, grid, p);
    if (error == cudaSuccess)
        error = DG_LAUNCH_SYNC(cldice_sums, chunks, dim3(THREADS), 0, call.stream, k, p, t, thin, scratch);
    if (error == cudaSuccess)
        error = DG_LAUNCH(cldice_totals, dim3((unsigned)n), dim3(1), 0, call.stream, *call.term, scratch, (int)chunks.x,
                          factors, call.value, call.stride);
    if (error != cudaSuccess || call.dy == nullptr) return error;
    return skeleton_back(call, k, grid, t, thin, factors);
}
