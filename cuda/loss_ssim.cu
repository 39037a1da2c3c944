/* loss_ssim.cu - structural similarity: moments of all windows in space order (8 bytes a voxel in, 20 out), spread along one
 * axis after the other (4 bytes a voxel and field in, 11 times from the caches, and 4 out), judged, and slopes spread the same
 * way. Sums in double, in a fixed order. SPDX-License-Identifier: Apache-2.0 */
#include "cuda_loss.h"

#include "dg_loss_space.h"
#include "dg_loss_ssim.h"

enum { THREADS = LOSS_THREADS, SUMS = 2 /* counted voxels, sum of the term */ };

struct ssim_view {
    dg_loss_grid grid;
    float *field;  /* [1 + moments][n][z,y,x]: raw values from 1 on, spread ones from 0 on */
    int64_t apart; /* elements of one field */
};

__device__ static inline int64_t row_of(const dg_loss_grid &g, int64_t v)
{
    return dg_block_row(v / (g.y * g.x), v / g.x % g.y, v % g.x, g.y, g.x, g.block[0], g.block[1], g.block[2]);
}

/* 40 registers, 75 % (256 threads); 8 bytes a voxel in (1 of the mask), 20 out. */
__global__ void ssim_moments(loss_view b, ssim_view s)
{
    const int64_t first = (int64_t)blockIdx.y * b.voxels;
    for (int64_t v = (int64_t)blockIdx.x * THREADS + threadIdx.x; v < b.voxels; v += (int64_t)gridDim.x * THREADS) {
        const int64_t row = first + row_of(s.grid, v);
        float moment[DG_SSIM_MOMENTS] = {0};
        if (loss_counts(b, row)) dg_ssim_gather(loss_dose(b.y, row), loss_dose(b.target, row), moment);
        for (int k = 0; k < DG_SSIM_MOMENTS; k++) s.field[(k + 1) * s.apart + first + v] = moment[k];
    }
}

/* to = from, spread along the axis of `length` voxels that lie `stride` apart; blockIdx.y is the sample of a field.
 * 48 registers, 62 % (256 threads); 4 bytes a voxel in (11 times, from the caches), 4 out. */
__global__ void ssim_spread(const __grid_constant__ dg_ssim_bell bell, const float *from, float *to, int64_t voxels,
                            int64_t length, int64_t stride)
{
    from += (int64_t)blockIdx.y * voxels;
    to += (int64_t)blockIdx.y * voxels;
    for (int64_t v = (int64_t)blockIdx.x * THREADS + threadIdx.x; v < voxels; v += (int64_t)gridDim.x * THREADS) {
        const int64_t at = v / stride % length;
        float sum = 0;
        for (int o = -DG_SSIM_REACH; o <= DG_SSIM_REACH; o++)
            if (at + o >= 0 && at + o < length) sum += bell.tap[o < 0 ? -o : o] * from[v + o * stride];
        to[v] = sum;
    }
}

/* 64 registers, 50 % (256 threads); 20 bytes a voxel in (1 of the mask), 12 out. */
__global__ void ssim_judge(loss_view b, ssim_view s, double *chunks)
{
    const int64_t first = (int64_t)blockIdx.y * b.voxels, end = b.voxels * (blockIdx.x + 1) / gridDim.x;
    double sum[SUMS] = {0};
    for (int64_t v = b.voxels * blockIdx.x / gridDim.x + threadIdx.x; v < end; v += THREADS) {
        float moment[DG_SSIM_MOMENTS], slope[DG_SSIM_SLOPES] = {0};
        for (int k = 0; k < DG_SSIM_MOMENTS; k++) moment[k] = s.field[k * s.apart + first + v];
        if (loss_counts(b, first + row_of(s.grid, v))) {
            sum[0] += 1;
            sum[1] += dg_ssim_point(moment, slope);
        }
        for (int k = 0; k < DG_SSIM_SLOPES; k++) s.field[(k + 1) * s.apart + first + v] = slope[k];
    }
    for (int k = 0; k < SUMS; k++) {
        const double whole = block_sum(sum[k]);
        if (threadIdx.x == 0) chunks[((int64_t)blockIdx.y * gridDim.x + blockIdx.x) * SUMS + k] = whole;
    }
}

/* norm[sample]: 1 over the voxels that count.
 * 40 registers, 50 % (1 threads); a few numbers. */
__global__ void ssim_totals(const double *chunks, int count, double *norm, double *value, int64_t stride)
{
    const int64_t n = blockIdx.x;
    double sum[SUMS] = {0};
    for (int i = 0; i < count; i++)
        for (int k = 0; k < SUMS; k++) sum[k] += chunks[(n * count + i) * SUMS + k];
    norm[n] = sum[0] > 0 ? 1.0 / sum[0] : 0.0;
    value[n * stride] = sum[1] * norm[n];
}

/* 48 registers, 62 % (256 threads); 20 bytes a voxel in (1 of the mask), 4 out (8 where it accumulates). */
__global__ void ssim_slopes(loss_view b, ssim_view s, const float *weight, view dy, bool accumulate, const double *norm)
{
    const int64_t first = (int64_t)blockIdx.y * b.voxels;
    const float scale = (float)(*weight * norm[blockIdx.y]);
    for (int64_t v = (int64_t)blockIdx.x * THREADS + threadIdx.x; v < b.voxels; v += (int64_t)gridDim.x * THREADS) {
        const int64_t row = first + row_of(s.grid, v);
        float sum[DG_SSIM_SLOPES], d = 0;
        for (int k = 0; k < DG_SSIM_SLOPES; k++) sum[k] = s.field[k * s.apart + first + v];
        if (loss_counts(b, row)) d = scale * dg_ssim_slope(loss_dose(b.y, row), loss_dose(b.target, row), sum);
        put<1>(dy, row, 0, &d, accumulate);
    }
}

int64_t loss_ssim_workspace(const dg_loss_batch *shape)
{
    const int64_t n = shape->y.n, voxels = n * dg_tensor_voxels(&shape->y);
    return n * (LOSS_CHUNKS * SUMS + 1) * (int64_t)sizeof(double) +
           (DG_SSIM_MOMENTS + 1) * voxels * (int64_t)sizeof(float);
}

/* Fields 1 .. `fields` spread along all axes into 0 .. `fields` - 1: each goes down by one place, back and down again. */
static cudaError_t spread(const loss_call &call, const ssim_view &s, int fields)
{
    const dg_ssim_bell bell = dg_ssim_bell_make();
    const int64_t voxels = s.grid.z * s.grid.y * s.grid.x, n = call.batch->y.n;
    const int64_t length[3] = {s.grid.x, s.grid.y, s.grid.z}, stride[3] = {1, s.grid.x, s.grid.y * s.grid.x};
    const dim3 grid = loss_stream(voxels, n);
    cudaError_t error = cudaSuccess;
    for (int k = 0; k < fields && error == cudaSuccess; k++) {
        float *const low = s.field + k * s.apart, *const high = low + s.apart;
        for (int axis = 0; axis < 3 && error == cudaSuccess; axis++)
            error = DG_LAUNCH(ssim_spread, grid, dim3(THREADS), 0, call.stream, bell, axis == 1 ? low : high,
                              axis == 1 ? high : low, voxels, length[axis], stride[axis]);
    }
    return error;
}

cudaError_t loss_ssim(const loss_call &call)
{
    const loss_view b = loss_view_of(call.batch);
    const int64_t n = call.batch->y.n;
    double *norm = (double *)call.workspace, *scratch = norm + n;
    const ssim_view s = {dg_loss_grid_of(call.batch), (float *)(scratch + n * LOSS_CHUNKS * SUMS), n * b.voxels};
    const dim3 chunks = loss_chunks(b.voxels, n), grid = loss_stream(b.voxels, n);
    cudaError_t error = DG_LAUNCH(ssim_moments, grid, dim3(THREADS), 0, call.stream, b, s);
    if (error == cudaSuccess) error = spread(call, s, DG_SSIM_MOMENTS);
    if (error == cudaSuccess)
        error = DG_LAUNCH_SYNC(ssim_judge, chunks, dim3(THREADS), 0, call.stream, b, s, scratch);
    if (error == cudaSuccess)
        error = DG_LAUNCH(ssim_totals, dim3((unsigned)n), dim3(1), 0, call.stream, scratch, (int)chunks.x, norm,
                          call.value, call.stride);
    if (error == cudaSuccess && call.dy != nullptr) error = spread(call, s, DG_SSIM_SLOPES);
    if (error != cudaSuccess || call.dy == nullptr) return error;
    return DG_LAUNCH(ssim_slopes, grid, dim3(THREADS), 0, call.stream, b, s, call.weight, view_of(call.dy),
                     call.accumulate, norm);
}
