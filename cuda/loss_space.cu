/* loss_space.cu - the gradient loss: differences in space order (8 bytes a voxel in, 4 out), signs of the three Sobel
 * responses (27 neighbours from the caches, 3 bytes out), their transpose (3 bytes in, 4 out). Sums in double, in a fixed
 * order. SPDX-License-Identifier: Apache-2.0 */
#include "cuda_loss.h"

#include "dg_loss_space.h"

enum { THREADS = LOSS_THREADS, SUMS = 2 /* counted voxels, sum of the responses */ };

struct space_view {
    dg_loss_grid grid;
    float *error;      /* [n][z,y,x] */
    signed char *sign; /* [3][n][z,y,x] */
    int64_t component; /* elements of one component of sign */
};

struct place {
    int64_t z, y, x;
};
__device__ static inline place place_of(const dg_loss_grid &g, int64_t v)
{
    return place{v / (g.y * g.x), v / g.x % g.y, v % g.x};
}
__device__ static inline int64_t row_of(const dg_loss_grid &g, const place &p)
{
    return dg_block_row(p.z, p.y, p.x, g.y, g.x, g.block[0], g.block[1], g.block[2]);
}

/* What a sum over the 27 neighbours takes: at(index) of those inside the volume, with the weights of the three kernels. */
template <class F> __device__ static inline void each_neighbour(const dg_loss_grid &g, const place &p, F body)
{
    for (int dz = -1; dz <= 1; dz++)
        for (int dy = -1; dy <= 1; dy++)
            for (int dx = -1; dx <= 1; dx++) {
                const int64_t z = p.z + dz, y = p.y + dy, x = p.x + dx;
                if (z < 0 || y < 0 || x < 0 || z >= g.z || y >= g.y || x >= g.x) continue;
                const float sz = dg_sobel_smooth(dz), sy = dg_sobel_smooth(dy), sx = dg_sobel_smooth(dx);
                body((z * g.y + y) * g.x + x, (float)dz * sy * sx, sz * (float)dy * sx, sz * sy * (float)dx);
            }
}

/* 40 registers, 75 % (256 threads); 8 bytes a voxel in (1 of the mask), 4 out. */
__global__ void space_errors(loss_view b, space_view s)
{
    const int64_t first = (int64_t)blockIdx.y * b.voxels;
    for (int64_t v = (int64_t)blockIdx.x * THREADS + threadIdx.x; v < b.voxels; v += (int64_t)gridDim.x * THREADS) {
        const int64_t row = first + row_of(s.grid, place_of(s.grid, v));
        s.error[first + v] = loss_counts(b, row) ? loss_dose(b.y, row) - loss_dose(b.target, row) : 0.0f;
    }
}

/* 56 registers, 50 % (256 threads); 4 bytes a voxel in (27 times, from the caches), 3 out. */
__global__ void space_responses(loss_view b, space_view s, double *chunks)
{
    const int64_t first = (int64_t)blockIdx.y * b.voxels, end = b.voxels * (blockIdx.x + 1) / gridDim.x;
    double sum[SUMS] = {0};
    for (int64_t v = b.voxels * blockIdx.x / gridDim.x + threadIdx.x; v < end; v += THREADS) {
        const place p = place_of(s.grid, v);
        float g[3] = {0, 0, 0};
        const bool counts = loss_counts(b, first + row_of(s.grid, p));
        const float *error = s.error + first;
        if (counts)
            each_neighbour(s.grid, p, [&](int64_t at, float wz, float wy, float wx) {
                g[0] += wz * error[at];
                g[1] += wy * error[at];
                g[2] += wx * error[at];
            });
        sum[0] += counts;
        for (int k = 0; k < 3; k++) {
            s.sign[k * s.component + first + v] = (signed char)((g[k] > 0) - (g[k] < 0));
            sum[1] += fabsf(g[k]);
        }
    }
    for (int k = 0; k < SUMS; k++) {
        const double whole = block_sum(sum[k]);
        if (threadIdx.x == 0) chunks[((int64_t)blockIdx.y * gridDim.x + blockIdx.x) * SUMS + k] = whole;
    }
}

/* norm[sample]: 1 / 32 over three times the voxels that count.
 * 40 registers, 50 % (1 threads); a few numbers. */
__global__ void space_totals(const double *chunks, int count, double *norm, double *value, int64_t stride)
{
    const int64_t n = blockIdx.x;
    double sum[SUMS] = {0};
    for (int i = 0; i < count; i++)
        for (int k = 0; k < SUMS; k++) sum[k] += chunks[(n * count + i) * SUMS + k];
    norm[n] = sum[0] > 0 ? (double)DG_SOBEL_NORM / (3.0 * sum[0]) : 0.0;
    value[n * stride] = sum[1] * norm[n];
}

/* The transpose: differences change their sign, sums do not.
 * 48 registers, 62 % (256 threads); 3 bytes a voxel in (27 times, from the caches), 4 out (8 where it accumulates). */
__global__ void space_slopes(loss_view b, space_view s, const float *weight, view dy, bool accumulate,
                             const double *norm)
{
    const int64_t first = (int64_t)blockIdx.y * b.voxels;
    const float scale = (float)(*weight * norm[blockIdx.y]);
    for (int64_t v = (int64_t)blockIdx.x * THREADS + threadIdx.x; v < b.voxels; v += (int64_t)gridDim.x * THREADS) {
        const place p = place_of(s.grid, v);
        const int64_t row = first + row_of(s.grid, p);
        const signed char *sign = s.sign + first;
        const int64_t component = s.component;
        float d = 0;
        if (loss_counts(b, row))
            each_neighbour(s.grid, p, [&](int64_t at, float wz, float wy, float wx) {
                d -= wz * sign[at] + wy * sign[component + at] + wx * sign[2 * component + at];
            });
        d *= scale;
        put<1>(dy, row, 0, &d, accumulate);
    }
}

int64_t loss_gradient_workspace(const dg_loss_batch *shape)
{
    const int64_t n = shape->y.n, voxels = n * dg_tensor_voxels(&shape->y);
    return n * (LOSS_CHUNKS * SUMS + 1) * (int64_t)sizeof(double) + voxels * (int64_t)(sizeof(float) + 3);
}

cudaError_t loss_gradient(const loss_call &call)
{
    const loss_view b = loss_view_of(call.batch);
    const int64_t n = call.batch->y.n;
    double *norm = (double *)call.workspace, *scratch = norm + n;
    space_view s = {dg_loss_grid_of(call.batch), (float *)(scratch + n * LOSS_CHUNKS * SUMS), nullptr, n * b.voxels};
    s.sign = (signed char *)(s.error + n * b.voxels);
    const dim3 chunks = loss_chunks(b.voxels, n), grid = loss_stream(b.voxels, n);
    cudaError_t error = DG_LAUNCH(space_errors, grid, dim3(THREADS), 0, call.stream, b, s);
    if (error == cudaSuccess)
        error = DG_LAUNCH_SYNC(space_responses, chunks, dim3(THREADS), 0, call.stream, b, s, scratch);
    if (error == cudaSuccess)
        error = DG_LAUNCH(space_totals, dim3((unsigned)n), dim3(1), 0, call.stream, scratch, (int)chunks.x, norm,
                          call.value, call.stride);
    if (error != cudaSuccess || call.dy == nullptr) return error;
    return DG_LAUNCH(space_slopes, grid, dim3(THREADS), 0, call.stream, b, s, call.weight, view_of(call.dy),
                     call.accumulate, norm);
}
