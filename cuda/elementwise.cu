/* elementwise.cu - activations, copies and gates over pitched channels-last views, bound by memory: each reads its inputs
 * and writes its output once. SPDX-License-Identifier: Apache-2.0 */
#include "cuda_kernels.h"

#include "cuda_activation.h"
#include "cuda_device.h"

#define BY_WIDTH(wide, kernel, ...) ((wide) ? launch_##kernel<8>(__VA_ARGS__) : launch_##kernel<1>(__VA_ARGS__))

/* 40 registers, 75 % (256 threads); bf16: 4 bytes an element. */
template <int V> __global__ void act_forward(dg_activation act, float slope, view x, view y, int64_t rows)
{
    const int c = channel_here(V);
    if (c >= x.c) return;
    for (int64_t r = first_row(); r < rows; r += row_step()) {
        float value[V];
        load<V>(x, r, c, value);
        for (int i = 0; i < V; i++) value[i] = activate(act, slope, value[i]);
        store<V>(y, r, c, value);
    }
}

/* 40 registers, 75 % (256 threads); bf16: 6 bytes an element, 8 where it accumulates. */
template <int V>
__global__ void act_backward(dg_activation act, float slope, view x, view dy, view dx, bool accumulate, int64_t rows)
{
    const int c = channel_here(V);
    if (c >= x.c) return;
    for (int64_t r = first_row(); r < rows; r += row_step()) {
        float value[V], d[V];
        load<V>(x, r, c, value);
        load<V>(dy, r, c, d);
        for (int i = 0; i < V; i++) d[i] *= activate_derivative(act, slope, value[i]);
        put<V>(dx, r, c, d, accumulate);
    }
}

/* 40 registers, 75 % (256 threads); bf16: 4 bytes an element, 6 where it accumulates. */
template <int V> __global__ void copy(view x, view y, bool accumulate, int64_t rows)
{
    const int c = channel_here(V);
    if (c >= x.c) return;
    for (int64_t r = first_row(); r < rows; r += row_step()) {
        float value[V];
        load<V>(x, r, c, value);
        put<V>(y, r, c, value, accumulate);
    }
}

/* 40 registers, 75 % (256 threads); bf16: 4 bytes an element and 2 a voxel. */
template <int V> __global__ void gate_forward(view x, view gate, view y, int64_t rows)
{
    const int c = channel_here(V);
    if (c >= x.c) return;
    for (int64_t r = first_row(); r < rows; r += row_step()) {
        float value[V], g;
        load<V>(x, r, c, value);
        load<1>(gate, r, 0, &g);
        for (int i = 0; i < V; i++) value[i] *= g;
        store<V>(y, r, c, value);
    }
}

/* 40 registers, 75 % (256 threads); bf16: 4 bytes an element. */
template <int V> __global__ void add_bias(view y, const float *bias, int64_t rows)
{
    const int c = channel_here(V);
    if (c >= y.c) return;
    for (int64_t r = first_row(); r < rows; r += row_step()) {
        float value[V];
        load<V>(y, r, c, value);
        for (int i = 0; i < V; i++) value[i] += bias[c + i];
        store<V>(y, r, c, value);
    }
}

/* One warp for each row: its lanes share the sum over channels that is the gate's gradient. */
enum { GATE_THREADS = 256 };
/* 48 registers, 62 % (256 threads); bf16: 6 bytes an element and 4 a voxel. */
__global__ void gate_backward(view x, view gate, view dy, view dx, bool accumulate, view dgate, int64_t rows)
{
    const int lane = (int)threadIdx.x % 32;
    const int64_t warps = (int64_t)gridDim.x * (GATE_THREADS / 32);
    for (int64_t r = (int64_t)blockIdx.x * (GATE_THREADS / 32) + threadIdx.x / 32; r < rows; r += warps) {
        float g, sum = 0;
        load<1>(gate, r, 0, &g);
        for (int c = lane; c < x.c; c += 32) {
            float value, d;
            load<1>(x, r, c, &value);
            load<1>(dy, r, c, &d);
            sum += d * value;
            d *= g;
            put<1>(dx, r, c, &d, accumulate);
        }
        for (int m = 16; m > 0; m /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, m);
        if (lane == 0) store<1>(dgate, r, 0, &sum);
    }
}

template <int V>
static cudaError_t launch_act_forward(cudaStream_t stream, dg_activation act, double slope, const dg_tensor *x,
                                      const dg_tensor *y)
{
    const rows_shape s = shape_rows(rows_of(x), (int)x->c, V, 1, STREAM_BLOCKS);
    return DG_LAUNCH(act_forward<V>, s.grid, s.block, 0, stream, act, (float)slope, view_of(x), view_of(y),
                     rows_of(x));
}
cudaError_t dg_cuda_act_forward(cudaStream_t stream, dg_activation act, double slope, const dg_tensor *x,
                                const dg_tensor *y)
{
    return BY_WIDTH(is_wide(x) && is_wide(y), act_forward, stream, act, slope, x, y);
}

template <int V>
static cudaError_t launch_act_backward(cudaStream_t stream, dg_activation act, double slope, const dg_tensor *x,
                                       const dg_tensor *dy, const dg_tensor *dx, bool accumulate)
{
    const rows_shape s = shape_rows(rows_of(x), (int)x->c, V, 1, STREAM_BLOCKS);
    return DG_LAUNCH(act_backward<V>, s.grid, s.block, 0, stream, act, (float)slope, view_of(x), view_of(dy),
                     view_of(dx), accumulate, rows_of(x));
}
cudaError_t dg_cuda_act_backward(cudaStream_t stream, dg_activation act, double slope, const dg_tensor *x,
                                 const dg_tensor *dy, const dg_tensor *dx, bool accumulate)
{
    return BY_WIDTH(is_wide(x) && is_wide(dy) && is_wide(dx), act_backward, stream, act, slope, x, dy, dx, accumulate);
}

template <int V>
static cudaError_t launch_copy(cudaStream_t stream, const dg_tensor *x, const dg_tensor *y, bool accumulate)
{
    const rows_shape s = shape_rows(rows_of(x), (int)x->c, V, 1, STREAM_BLOCKS);
    return DG_LAUNCH(copy<V>, s.grid, s.block, 0, stream, view_of(x), view_of(y), accumulate, rows_of(x));
}
cudaError_t dg_cuda_copy(cudaStream_t stream, const dg_tensor *x, const dg_tensor *y, bool accumulate)
{
    return BY_WIDTH(is_wide(x) && is_wide(y), copy, stream, x, y, accumulate);
}

template <int V>
static cudaError_t launch_gate_forward(cudaStream_t stream, const dg_tensor *x, const dg_tensor *gate,
                                       const dg_tensor *y)
{
    const rows_shape s = shape_rows(rows_of(x), (int)x->c, V, 1, STREAM_BLOCKS);
    return DG_LAUNCH(gate_forward<V>, s.grid, s.block, 0, stream, view_of(x), view_of(gate), view_of(y), rows_of(x));
}
cudaError_t dg_cuda_gate_forward(cudaStream_t stream, const dg_tensor *x, const dg_tensor *gate, const dg_tensor *y)
{
    return BY_WIDTH(is_wide(x) && is_wide(y), gate_forward, stream, x, gate, y);
}

cudaError_t dg_cuda_gate_backward(cudaStream_t stream, const dg_tensor *x, const dg_tensor *gate, const dg_tensor *dy,
                                  const dg_tensor *dx, bool accumulate_dx, const dg_tensor *dgate)
{
    const int64_t blocks = (rows_of(x) + GATE_THREADS / 32 - 1) / (GATE_THREADS / 32);
    return DG_LAUNCH_SYNC(gate_backward, dim3((unsigned)(blocks < STREAM_BLOCKS ? blocks : STREAM_BLOCKS)),
                          dim3(GATE_THREADS), 0, stream, view_of(x), view_of(gate), view_of(dy), view_of(dx),
                          accumulate_dx, view_of(dgate), rows_of(x));
}

template <int V> static cudaError_t launch_add_bias(cudaStream_t stream, const dg_tensor *y, const float *bias)
{
    const rows_shape s = shape_rows(rows_of(y), (int)y->c, V, 1, STREAM_BLOCKS);
    return DG_LAUNCH(add_bias<V>, s.grid, s.block, 0, stream, view_of(y), bias, rows_of(y));
}
cudaError_t dg_cuda_add_bias(cudaStream_t stream, const dg_tensor *y, const float *bias)
{
    return BY_WIDTH(is_wide(y), add_bias, stream, y, bias);
}
