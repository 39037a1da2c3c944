/* norm.cu - group norm, activation, FiLM and residual in one pass for the statistics and one for the rest; backward the
 * same. Per channel, sums of each chunk of rows are kept in registers (f32, against a pivot, so that a large mean costs
 * no digits), joined over the block in shared memory in a fixed tree, and over chunks in double.
 * Bytes per element, bf16: forward 2 + 4 (6 with a residual), backward 4 + 6. SPDX-License-Identifier: Apache-2.0 */
#include "cuda_kernels.h"

#include "cuda_activation.h"
#include "cuda_device.h"

enum { CHUNKS = 256, SUMS = 4 /* of backward, the most */, FOLD_THREADS = 128 };

int64_t dg_cuda_norm_scratch(int64_t n, int64_t c)
{
    return n * CHUNKS * SUMS * c + n * SUMS * c + 2 * n * c; /* chunks, whole, means of groups */
}

struct norm_arguments {
    view x, dy, y, residual;
    const float *gamma, *beta, *film, *stats;
    float *scratch; /* [n][chunks][sums][c] */
    int64_t voxels;
    int groups, chunks;
    float slope;
    dg_activation act;
    bool has_residual, accumulate;
};

/* What a thread knows of its V channels of sample blockIdx.y. */
template <int V> struct channels {
    float mean[V], rstd[V], gamma[V], beta[V], scale[V], shift[V];
};

template <int V> __device__ static inline channels<V> channels_of(const norm_arguments &a, int c)
{
    channels<V> k;
    const int n = (int)blockIdx.y, width = a.groups > 0 ? a.x.c / a.groups : 1;
    for (int i = 0; i < V; i++) {
        const float *s = a.stats + 2 * ((int64_t)n * a.groups + (c + i) / width);
        k.mean[i] = a.groups > 0 ? s[0] : 0.0f;
        k.rstd[i] = a.groups > 0 ? s[1] : 1.0f;
        k.gamma[i] = a.gamma != nullptr ? a.gamma[c + i] : 1.0f;
        k.beta[i] = a.gamma != nullptr ? a.beta[c + i] : 0.0f;
        k.scale[i] = a.film != nullptr ? 1.0f + a.film[(int64_t)n * 2 * a.x.c + c + i] : 1.0f;
        k.shift[i] = a.film != nullptr ? a.film[((int64_t)n * 2 + 1) * a.x.c + c + i] : 0.0f;
    }
    return k;
}

/* Rows of this thread: chunk blockIdx.x of sample blockIdx.y. */
__device__ static inline int64_t chunk_begin(int64_t voxels) { return voxels * blockIdx.x / gridDim.x; }
__device__ static inline int64_t chunk_end(int64_t voxels) { return voxels * (blockIdx.x + 1) / gridDim.x; }

/* Sums over the rows of the block of K values of V channels each; row 0 of the block writes them to the scratch. */
template <int V, int K> __device__ static inline void join_rows(const norm_arguments &a, int c, float (*sum)[V])
{
    DG_SHARED_DYNAMIC(float, shared); /* [y][x][V] */
    const int me = ((int)threadIdx.y * (int)blockDim.x + (int)threadIdx.x) * V;
    for (int k = 0; k < K; k++) {
        __syncthreads();
        for (int i = 0; i < V; i++) shared[me + i] = sum[k][i];
        for (int rows = (int)blockDim.y; rows > 1; rows = (rows + 1) / 2) {
            const int half = (rows + 1) / 2;
            __syncthreads();
            if ((int)threadIdx.y + half < rows)
                for (int i = 0; i < V; i++) shared[me + i] += shared[me + half * (int)blockDim.x * V + i];
        }
        if (threadIdx.y == 0 && c < a.x.c)
            for (int i = 0; i < V; i++)
                a.scratch[(((int64_t)blockIdx.y * a.chunks + blockIdx.x) * K + k) * a.x.c + c + i] = shared[me + i];
    }
}

/* ---- forward -------------------------------------------------------------------------------------------------------- */

/* Sums of x - pivot and of its square; the pivot is the sample's first voxel. 56 registers, 50 % (256 threads); bf16:
 * 2 bytes an element. */
template <int V> __global__ void moments(norm_arguments a)
{
    const int c = channel_here(V);
    const int64_t first = (int64_t)blockIdx.y * a.voxels;
    float sum[2][V] = {{0}}, pivot[V], value[V];
    if (c < a.x.c) {
        load<V>(a.x, first, c, pivot);
        for (int64_t r = chunk_begin(a.voxels) + threadIdx.y; r < chunk_end(a.voxels); r += blockDim.y) {
            load<V>(a.x, first + r, c, value);
            for (int i = 0; i < V; i++) {
                const float d = value[i] - pivot[i];
                sum[0][i] += d;
                sum[1][i] += d * d;
            }
        }
    }
    join_rows<V, 2>(a, c, sum);
}

/* whole[n][k][c] = sum over chunks, in their order. 40 registers, 75 % (128 threads); 4 bytes a sum of a chunk. */
template <int K> __global__ void fold_chunks(const float *chunks, int count, int c, float *whole)
{
    const int at = (int)(blockIdx.x * blockDim.x + threadIdx.x), n = (int)blockIdx.y;
    if (at >= K * c) return;
    double sum = 0;
    for (int i = 0; i < count; i++) sum += chunks[((int64_t)n * count + i) * K * c + at];
    whole[(int64_t)n * K * c + at] = (float)sum;
}

/* Mean and 1/sqrt(variance + eps) of group blockIdx.x of sample blockIdx.y, from the chunks, by one thread per
 * channel and then one for the group. 40 registers, 75 % (128 threads); 8 bytes a channel of a chunk. */
__global__ void group_moments(norm_arguments a, float eps, float *stats)
{
    DG_SHARED_DYNAMIC(double, shared); /* [width][2]: sum and sum of squares, each against its channel's pivot */
    const int g = (int)blockIdx.x, n = (int)blockIdx.y, width = a.x.c / a.groups;
    for (int w = (int)threadIdx.x; w < width; w += (int)blockDim.x) {
        double sum[2] = {0, 0};
        for (int i = 0; i < a.chunks; i++)
            for (int k = 0; k < 2; k++)
                sum[k] += a.scratch[(((int64_t)n * a.chunks + i) * 2 + k) * a.x.c + g * width + w];
        shared[2 * w] = sum[0];
        shared[2 * w + 1] = sum[1];
    }
    __syncthreads();
    if (threadIdx.x != 0) return;
    const double count = (double)a.voxels;
    double total = 0, squares = 0;
    for (int w = 0; w < width; w++) {
        float pivot;
        load<1>(a.x, n * a.voxels, g * width + w, &pivot);
        total += shared[2 * w] + count * pivot;
    }
    const double mean = total / (count * width);
    for (int w = 0; w < width; w++) {
        float pivot;
        load<1>(a.x, n * a.voxels, g * width + w, &pivot);
        const double off = mean - pivot;
        squares += shared[2 * w + 1] - 2 * off * shared[2 * w] + count * off * off;
    }
    const double variance = squares / (count * width);
    stats[2 * ((int64_t)n * a.groups + g)] = (float)mean;
    stats[2 * ((int64_t)n * a.groups + g) + 1] = (float)(1.0 / sqrt((variance > 0 ? variance : 0) + (double)eps));
}

/* 88 registers, 25 % (256 threads); bf16: 4 bytes an element, 6 with a residual. */
template <int V> __global__ void apply(norm_arguments a)
{
    const int c = channel_here(V);
    const int64_t first = (int64_t)blockIdx.y * a.voxels;
    if (c >= a.x.c) return;
    const channels<V> k = channels_of<V>(a, c);
    for (int64_t r = first_row(); r < a.voxels; r += row_step()) {
        float value[V], extra[V];
        load<V>(a.x, first + r, c, value);
        if (a.has_residual) load<V>(a.residual, first + r, c, extra);
        for (int i = 0; i < V; i++) {
            value[i] = activate(a.act, a.slope, (value[i] - k.mean[i]) * (k.rstd[i] * k.gamma[i]) + k.beta[i]);
            value[i] = value[i] * k.scale[i] + k.shift[i] + (a.has_residual ? extra[i] : 0.0f);
        }
        store<V>(a.y, first + r, c, value);
    }
}

/* ---- backward ------------------------------------------------------------------------------------------------------- */

/* Gradient of the affine value; hat and the activated value come along. */
struct affine_gradient {
    float hat, active, d;
};
template <int V>
__device__ static inline affine_gradient affine_of(const norm_arguments &a, const channels<V> &k, int i, float x,
                                                   float dy)
{
    affine_gradient e;
    e.hat = (x - k.mean[i]) * k.rstd[i];
    const float affine = e.hat * k.gamma[i] + k.beta[i];
    e.active = activate(a.act, a.slope, affine);
    e.d = dy * k.scale[i] * activate_derivative(a.act, a.slope, affine);
    return e;
}

/* Sums of d, d * hat, dy, dy * active. 128 registers, 25 % (256 threads); bf16: 4 bytes an element; few warps, but
 * two loads of 16 bytes in flight in each thread. */
template <int V> __global__ void gradient_sums(norm_arguments a)
{
    const int c = channel_here(V);
    const int64_t first = (int64_t)blockIdx.y * a.voxels;
    float sum[SUMS][V] = {{0}}, x[V], dy[V];
    if (c < a.x.c) {
        const channels<V> k = channels_of<V>(a, c);
        for (int64_t r = chunk_begin(a.voxels) + threadIdx.y; r < chunk_end(a.voxels); r += blockDim.y) {
            load<V>(a.x, first + r, c, x);
            load<V>(a.dy, first + r, c, dy);
            for (int i = 0; i < V; i++) {
                const affine_gradient e = affine_of<V>(a, k, i, x[i], dy[i]);
                sum[0][i] += e.d;
                sum[1][i] += e.d * e.hat;
                sum[2][i] += dy[i];
                sum[3][i] += dy[i] * e.active;
            }
        }
    }
    join_rows<V, SUMS>(a, c, sum);
}

/* Means over group blockIdx.x of sample blockIdx.y of gamma d and gamma d hat: means[n][group][2]. 40 registers, 50 %
 * (32 threads); 4 bytes a sum of a channel. */
__global__ void group_means(norm_arguments a, const float *whole, float *means)
{
    const int g = (int)blockIdx.x, n = (int)blockIdx.y, width = a.x.c / a.groups;
    if (threadIdx.x > 1) return;
    double sum = 0;
    for (int w = 0; w < width; w++) {
        const int c = g * width + w;
        sum += (double)(a.gamma != nullptr ? a.gamma[c] : 1.0f) * whole[((int64_t)n * SUMS + threadIdx.x) * a.x.c + c];
    }
    means[2 * ((int64_t)n * a.groups + g) + threadIdx.x] = (float)(sum / ((double)a.voxels * width));
}

/* One thread for each channel: parameter gradients over samples in their order, and those of FiLM. 40 registers, 75 %
 * (128 threads); a few numbers a channel. */
__global__ void parameter_gradients(norm_arguments a, const float *whole, float *dgamma, float *dbeta, float *dfilm)
{
    const int c = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (c >= a.x.c) return;
    double d = 0, dhat = 0;
    for (int64_t n = 0; n < a.x.n; n++) {
        const float *sum = whole + n * SUMS * a.x.c + c;
        d += sum[0];
        dhat += sum[a.x.c];
        if (dfilm != nullptr) dfilm[n * 2 * a.x.c + c] = sum[3 * a.x.c];
        if (dfilm != nullptr) dfilm[(n * 2 + 1) * a.x.c + c] = sum[2 * a.x.c];
    }
    if (dgamma != nullptr) dgamma[c] = (float)(dgamma[c] + dhat);
    if (dbeta != nullptr) dbeta[c] = (float)(dbeta[c] + d);
}

/* 104 registers, 25 % (256 threads); bf16: 6 bytes an element, 8 where it accumulates; two loads in flight in each
 * thread. */
template <int V> __global__ void apply_backward(norm_arguments a, const float *means)
{
    const int c = channel_here(V), width = a.groups > 0 ? a.x.c / a.groups : 1;
    const int64_t first = (int64_t)blockIdx.y * a.voxels;
    if (c >= a.x.c) return;
    const channels<V> k = channels_of<V>(a, c);
    float mean_d[V], mean_dhat[V];
    for (int i = 0; i < V; i++) {
        const float *m = means + 2 * ((int64_t)blockIdx.y * a.groups + (c + i) / width);
        mean_d[i] = a.groups > 0 ? m[0] : 0.0f;
        mean_dhat[i] = a.groups > 0 ? m[1] : 0.0f;
    }
    for (int64_t r = first_row(); r < a.voxels; r += row_step()) {
        float x[V], d[V];
        load<V>(a.x, first + r, c, x);
        load<V>(a.dy, first + r, c, d);
        for (int i = 0; i < V; i++) {
            const affine_gradient e = affine_of<V>(a, k, i, x[i], d[i]);
            d[i] = a.groups > 0 ? k.rstd[i] * (k.gamma[i] * e.d - mean_d[i] - e.hat * mean_dhat[i]) : e.d;
        }
        put<V>(a.y, first + r, c, d, a.accumulate);
    }
}

/* ---- launches ------------------------------------------------------------------------------------------------------- */

static norm_arguments arguments_of(const dg_norm_desc *desc, const dg_tensor *x, const float *gamma, const float *beta,
                                   const float *film, const float *stats, float *scratch)
{
    norm_arguments a = {};
    a.x = view_of(x);
    a.gamma = gamma;
    a.beta = beta;
    a.film = film;
    a.stats = stats;
    a.scratch = scratch;
    a.voxels = dg_tensor_voxels(x);
    a.groups = (int)desc->groups;
    a.act = desc->act;
    a.slope = (float)desc->negative_slope;
    return a;
}

#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        cudaError_t error_ = (call);                                                                                   \
        if (error_ != cudaSuccess) return error_;                                                                      \
    } while (0)

/* A block for each chunk of rows: chunks depend on the shape alone, so sums do too. */
template <int V> static rows_shape shape_chunks(norm_arguments *a)
{
    rows_shape s = shape_rows(a->voxels, a->x.c, V, a->x.n, CHUNKS);
    a->chunks = (int)s.grid.x;
    return s;
}
static size_t join_bytes(const rows_shape &s, int v)
{
    return (size_t)s.block.x * s.block.y * (size_t)v * sizeof(float);
}

template <int V> static cudaError_t forward(cudaStream_t stream, norm_arguments a, double eps, float *stats)
{
    if (a.groups > 0) {
        const rows_shape s = shape_chunks<V>(&a);
        const dim3 grid((unsigned)a.groups, (unsigned)a.x.n);
        const size_t bytes = 2 * sizeof(double) * (size_t)(a.x.c / a.groups);
        TRY(DG_LAUNCH_SYNC(moments<V>, s.grid, s.block, join_bytes(s, V), stream, a));
        TRY(DG_LAUNCH_SYNC(group_moments, grid, dim3(FOLD_THREADS), bytes, stream, a, (float)eps, stats));
    }
    const rows_shape s = shape_rows(a.voxels, a.x.c, V, a.x.n, STREAM_BLOCKS);
    return DG_LAUNCH(apply<V>, s.grid, s.block, 0, stream, a);
}

cudaError_t dg_cuda_norm_forward(cudaStream_t stream, const dg_norm_desc *desc, const dg_tensor *x, const float *gamma,
                                 const float *beta, const float *film, const dg_tensor *residual, float *stats,
                                 const dg_tensor *y, float *scratch)
{
    norm_arguments a = arguments_of(desc, x, gamma, beta, film, stats, scratch);
    a.y = view_of(y);
    a.has_residual = residual != nullptr;
    if (a.has_residual) a.residual = view_of(residual);
    return is_wide(x) && is_wide(y) && is_wide(residual) ? forward<8>(stream, a, desc->eps, stats)
                                                         : forward<1>(stream, a, desc->eps, stats);
}

template <int V>
static cudaError_t backward(cudaStream_t stream, norm_arguments a, float *dgamma, float *dbeta, float *dfilm)
{
    const rows_shape s = shape_chunks<V>(&a);
    float *whole = a.scratch + (int64_t)a.x.n * a.chunks * SUMS * a.x.c, *means = whole + a.x.n * SUMS * a.x.c;
    const dim3 columns((unsigned)((SUMS * a.x.c + FOLD_THREADS - 1) / FOLD_THREADS), (unsigned)a.x.n);
    const dim3 parameters((unsigned)((a.x.c + FOLD_THREADS - 1) / FOLD_THREADS));
    TRY(DG_LAUNCH_SYNC(gradient_sums<V>, s.grid, s.block, join_bytes(s, V), stream, a));
    TRY(DG_LAUNCH(fold_chunks<SUMS>, columns, dim3(FOLD_THREADS), 0, stream, a.scratch, a.chunks, a.x.c, whole));
    if (a.groups > 0)
        TRY(DG_LAUNCH(group_means, dim3((unsigned)a.groups, (unsigned)a.x.n), dim3(32), 0, stream, a, whole, means));
    TRY(DG_LAUNCH(parameter_gradients, parameters, dim3(FOLD_THREADS), 0, stream, a, whole, dgamma, dbeta, dfilm));
    const rows_shape r = shape_rows(a.voxels, a.x.c, V, a.x.n, STREAM_BLOCKS);
    return DG_LAUNCH(apply_backward<V>, r.grid, r.block, 0, stream, a, means);
}

cudaError_t dg_cuda_norm_backward(cudaStream_t stream, const dg_norm_desc *desc, const dg_tensor *x, const float *gamma,
                                  const float *beta, const float *film, const float *stats, const dg_tensor *dy,
                                  const dg_tensor *dx, bool accumulate, float *dgamma, float *dbeta, float *dfilm,
                                  float *scratch)
{
    norm_arguments a = arguments_of(desc, x, gamma, beta, film, stats, scratch);
    a.dy = view_of(dy);
    a.y = view_of(dx);
    a.accumulate = accumulate;
    if (gamma == nullptr) dgamma = dbeta = nullptr;
    if (film == nullptr) dfilm = nullptr;
    return is_wide(x) && is_wide(dy) && is_wide(dx) ? backward<8>(stream, a, dgamma, dbeta, dfilm)
                                                    : backward<1>(stream, a, dgamma, dbeta, dfilm);
}

/* ---- column sums ---------------------------------------------------------------------------------------------------- */

/* 48 registers, 62 % (256 threads); bf16: 2 bytes an element. */
template <int V> __global__ void sums_of_columns(norm_arguments a)
{
    const int c = channel_here(V);
    const int64_t first = (int64_t)blockIdx.y * a.voxels;
    float sum[1][V] = {{0}}, value[V];
    if (c < a.x.c) {
        for (int64_t r = chunk_begin(a.voxels) + threadIdx.y; r < chunk_end(a.voxels); r += blockDim.y) {
            load<V>(a.x, first + r, c, value);
            for (int i = 0; i < V; i++) sum[0][i] += value[i];
        }
    }
    join_rows<V, 1>(a, c, sum);
}

/* 40 registers, 75 % (128 threads); 4 bytes a sum of a chunk. */
__global__ void add_columns(const float *chunks, int64_t count, int c, float *out)
{
    const int at = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (at >= c) return;
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += chunks[i * c + at];
    out[at] = (float)(out[at] + sum);
}

template <int V> static cudaError_t column_sums(cudaStream_t stream, norm_arguments a, float *out)
{
    const rows_shape s = shape_chunks<V>(&a);
    const dim3 columns((unsigned)((a.x.c + FOLD_THREADS - 1) / FOLD_THREADS));
    TRY(DG_LAUNCH_SYNC(sums_of_columns<V>, s.grid, s.block, join_bytes(s, V), stream, a));
    return DG_LAUNCH(add_columns, columns, dim3(FOLD_THREADS), 0, stream, a.scratch, a.x.n * a.chunks, a.x.c, out);
}

cudaError_t dg_cuda_column_sums(cudaStream_t stream, const dg_tensor *x, float *out, float *scratch)
{
    const dg_norm_desc none = {};
    const norm_arguments a = arguments_of(&none, x, nullptr, nullptr, nullptr, nullptr, scratch);
    return is_wide(x) ? column_sums<8>(stream, a, out) : column_sums<1>(stream, a, out);
}
