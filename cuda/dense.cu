/* dense.cu - linear layers on a few vectors, and self-attention over the voxels of a bottleneck: work that is small beside
 * the convolutions. Attention keeps no matrix of tokens x tokens: rows of the softmax are worked out again where they are
 * needed (as Dao et al., FlashAttention, 2022), from their maximum and sum. SPDX-License-Identifier: Apache-2.0 */
#include "cuda_kernels.h"

#include "cuda_device.h"

enum { THREADS = 128 };

static dim3 blocks_for(int64_t items) { return dim3((unsigned)((items + THREADS - 1) / THREADS)); }
__device__ static inline int64_t item_here() { return (int64_t)blockIdx.x * blockDim.x + threadIdx.x; }

/* ---- linear --------------------------------------------------------------------------------------------------------- */

/* 40 registers, 75 % (128 threads); a weight once for each sample: 4 bytes. */
__global__ void linear_forward(view x, const float *w, const float *b, view y)
{
    const int64_t item = item_here(), n = item / y.c;
    const int o = (int)(item % y.c);
    if (n >= x.n) return;
    float sum = b != nullptr ? b[o] : 0.0f;
    for (int i = 0; i < x.c; i++) {
        float value;
        load<1>(x, n, i, &value);
        sum += value * w[(int64_t)o * x.c + i];
    }
    store<1>(y, n, o, &sum);
}

/* One thread for each weight; the first of a row also sums the bias. 40 registers, 75 % (128 threads); 8 bytes a
 * weight. */
__global__ void linear_parameters(view x, view dy, float *dw, float *db)
{
    const int64_t item = item_here();
    const int o = (int)(item / x.c), i = (int)(item % x.c);
    if (o >= dy.c) return;
    float sum = 0, bias = 0, value, d;
    for (int64_t n = 0; n < x.n; n++) {
        load<1>(x, n, i, &value);
        load<1>(dy, n, o, &d);
        sum += d * value;
        bias += d;
    }
    dw[item] += sum;
    if (db != nullptr && i == 0) db[o] += bias;
}

/* 40 registers, 75 % (128 threads); 4 bytes a weight for each sample. */
__global__ void linear_data(const float *w, view dy, view dx, bool accumulate)
{
    const int64_t item = item_here(), n = item / dx.c;
    const int i = (int)(item % dx.c);
    if (n >= dx.n) return;
    float sum = 0, d;
    for (int o = 0; o < dy.c; o++) {
        load<1>(dy, n, o, &d);
        sum += d * w[(int64_t)o * dx.c + i];
    }
    put<1>(dx, n, i, &sum, accumulate);
}

cudaError_t dg_cuda_linear_forward(cudaStream_t stream, const dg_tensor *x, const float *w, const float *b,
                                   const dg_tensor *y)
{
    return DG_LAUNCH(linear_forward, blocks_for(x->n * y->c), dim3(THREADS), 0, stream, view_of(x), w, b, view_of(y));
}

cudaError_t dg_cuda_linear_backward(cudaStream_t stream, const dg_tensor *x, const float *w, const dg_tensor *dy,
                                    const dg_tensor *dx, bool accumulate, float *dw, float *db)
{
    cudaError_t error = DG_LAUNCH(linear_parameters, blocks_for(x->c * dy->c), dim3(THREADS), 0, stream, view_of(x),
                                  view_of(dy), dw, db);
    if (error != cudaSuccess || dx == nullptr) return error;
    return DG_LAUNCH(linear_data, blocks_for(x->n * x->c), dim3(THREADS), 0, stream, w, view_of(dy), view_of(dx),
                     accumulate);
}

/* ---- attention ------------------------------------------------------------------------------------------------------ */

/* Token `blockIdx.x` of head `blockIdx.y` of sample `blockIdx.z`; the block shares the tokens it looks at. */
struct head {
    view qkv;
    int64_t row0, tokens; /* first row of the sample */
    int q, k, v, width;   /* first channels */
    float scale;
};
__device__ static inline head head_here(const view &qkv, int heads, int64_t tokens)
{
    const int c = qkv.c / 3, width = c / heads, first = (int)blockIdx.y * width;
    return head{qkv, (int64_t)blockIdx.z * tokens, tokens, first, c + first, 2 * c + first, width,
                1.0f / sqrtf((float)width)};
}

/* Dot product of channels of two rows, which may be of two tensors. */
__device__ static inline float dot(const view &a, int64_t row_a, int ca, const view &b, int64_t row_b, int cb, int width)
{
    float sum = 0, p, q;
    for (int i = 0; i < width; i++) {
        load<1>(a, row_a, ca + i, &p);
        load<1>(b, row_b, cb + i, &q);
        sum += p * q;
    }
    return sum;
}
__device__ static inline float score(const head &h, int64_t i, int64_t j)
{
    return h.scale * dot(h.qkv, h.row0 + i, h.q, h.qkv, h.row0 + j, h.k, h.width);
}

/* Sum (or maximum) over the block in a fixed tree; every thread gets it. */
template <bool MAXIMUM> __device__ static inline float block_join(float value)
{
    __shared__ float part[THREADS];
    __syncthreads();
    part[threadIdx.x] = value;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if ((int)threadIdx.x < half) {
            const float other = part[threadIdx.x + half];
            part[threadIdx.x] = MAXIMUM ? fmaxf(part[threadIdx.x], other) : part[threadIdx.x] + other;
        }
    }
    __syncthreads();
    return part[0];
}

/* Maximum and sum of exponentials of row i, and y of it. 48 registers, 62 % (128 threads); keys and values again for
 * each token: bound by their loads from the L2 cache, tokens^2 x 4 bytes a channel of a head, in bf16. */
__global__ void attention_forward(view qkv, view y, int heads)
{
    const int64_t tokens = y.z * y.y * y.x, i = blockIdx.x;
    const head h = head_here(qkv, heads, tokens);
    float top = -INFINITY, sum = 0;
    for (int64_t j = threadIdx.x; j < tokens; j += THREADS) top = fmaxf(top, score(h, i, j));
    top = block_join<true>(top);
    for (int64_t j = threadIdx.x; j < tokens; j += THREADS) sum += expf(score(h, i, j) - top);
    sum = block_join<false>(sum);
    for (int c = 0; c < h.width; c++) {
        float part = 0, value;
        for (int64_t j = threadIdx.x; j < tokens; j += THREADS) {
            load<1>(qkv, h.row0 + j, h.v + c, &value);
            part += expf(score(h, i, j) - top) * value;
        }
        part = block_join<false>(part) / sum;
        if (threadIdx.x == 0) store<1>(y, h.row0 + i, (int)blockIdx.y * h.width + c, &part);
    }
}

/* What backward needs of row i of the softmax: rows[sample][head][i][3] = maximum, sum, mean of dy . v. */
__device__ static inline float *row_of(float *rows, const head &h, int64_t i)
{
    return rows + 3 * (((int64_t)blockIdx.z * gridDim.y + blockIdx.y) * h.tokens + i);
}
/* 48 registers, 62 % (128 threads); as attention_forward. */
__global__ void attention_rows(view qkv, view dy, int heads, float *rows)
{
    const int64_t tokens = dy.z * dy.y * dy.x, i = blockIdx.x;
    const head h = head_here(qkv, heads, tokens);
    float top = -INFINITY, sum = 0, mean = 0;
    for (int64_t j = threadIdx.x; j < tokens; j += THREADS) top = fmaxf(top, score(h, i, j));
    top = block_join<true>(top);
    for (int64_t j = threadIdx.x; j < tokens; j += THREADS) {
        const float e = expf(score(h, i, j) - top);
        sum += e;
        mean += e * dot(dy, h.row0 + i, (int)blockIdx.y * h.width, qkv, h.row0 + j, h.v, h.width);
    }
    sum = block_join<false>(sum);
    mean = block_join<false>(mean);
    if (threadIdx.x != 0) return;
    float *row = row_of(rows, h, i);
    row[0] = top;
    row[1] = sum;
    row[2] = mean / sum;
}

/* p_ij and the gradient of the score, from what is kept of row i. */
struct pair {
    float p, d;
};
__device__ static inline pair pair_of(const head &h, const view &dy, float *rows, int64_t i, int64_t j)
{
    const float *row = row_of(rows, h, i);
    pair e;
    e.p = expf(score(h, i, j) - row[0]) / row[1];
    e.d = h.scale * e.p *
          (dot(dy, h.row0 + i, (int)blockIdx.y * h.width, h.qkv, h.row0 + j, h.v, h.width) - row[2]);
    return e;
}

/* Gradients of q, k and v of token t: sums over the tokens it met. 56 registers, 56 % (128 threads); as
 * attention_forward, eight loads where that has two. */
__global__ void attention_backward(view qkv, view dy, view dqkv, int heads, float *rows)
{
    const int64_t tokens = dy.z * dy.y * dy.x, t = blockIdx.x;
    const head h = head_here(qkv, heads, tokens);
    for (int c = 0; c < h.width; c++) {
        float dq = 0, dk = 0, dv = 0, value;
        for (int64_t j = threadIdx.x; j < tokens; j += THREADS) {
            load<1>(qkv, h.row0 + j, h.k + c, &value);
            dq += pair_of(h, dy, rows, t, j).d * value;
            const pair e = pair_of(h, dy, rows, j, t);
            load<1>(qkv, h.row0 + j, h.q + c, &value);
            dk += e.d * value;
            load<1>(dy, h.row0 + j, (int)blockIdx.y * h.width + c, &value);
            dv += e.p * value;
        }
        dq = block_join<false>(dq);
        dk = block_join<false>(dk);
        dv = block_join<false>(dv);
        if (threadIdx.x != 0) continue;
        store<1>(dqkv, h.row0 + t, h.q + c, &dq);
        store<1>(dqkv, h.row0 + t, h.k + c, &dk);
        store<1>(dqkv, h.row0 + t, h.v + c, &dv);
    }
}

int64_t dg_cuda_attention_scratch(int heads, const dg_tensor *y) { return 3 * heads * rows_of(y); }

cudaError_t dg_cuda_attention_forward(cudaStream_t stream, int heads, const dg_tensor *qkv, const dg_tensor *y)
{
    const dim3 grid((unsigned)dg_tensor_voxels(y), (unsigned)heads, (unsigned)y->n);
    return DG_LAUNCH_SYNC(attention_forward, grid, dim3(THREADS), 0, stream, view_of(qkv), view_of(y), heads);
}

cudaError_t dg_cuda_attention_backward(cudaStream_t stream, int heads, const dg_tensor *qkv, const dg_tensor *dy,
                                       const dg_tensor *dqkv, float *scratch)
{
    const dim3 grid((unsigned)dg_tensor_voxels(dy), (unsigned)heads, (unsigned)dy->n);
    cudaError_t error =
        DG_LAUNCH_SYNC(attention_rows, grid, dim3(THREADS), 0, stream, view_of(qkv), view_of(dy), heads, scratch);
    if (error != cudaSuccess) return error;
    return DG_LAUNCH_SYNC(attention_backward, grid, dim3(THREADS), 0, stream, view_of(qkv), view_of(dy), view_of(dqkv),
                          heads, scratch);
}
