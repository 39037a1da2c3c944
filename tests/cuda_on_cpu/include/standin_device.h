/* standin_device.h - what device code sees of the stand-in: thread indices, barriers, shuffles, atomics, launches.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_STANDIN_DEVICE_H
#define DG_STANDIN_DEVICE_H

#include <functional>
#include <math.h>
#include <string.h>
#include <tuple>

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(16) int4 {
    int x, y, z, w;
};
static inline float2 make_float2(float x, float y) { return float2{x, y}; }
static inline float4 make_float4(float x, float y, float z, float w) { return float4{x, y, z, w}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return uint4{x, y, z, w}; }

namespace standin {
/* Where the running thread is; changes with every thread, fiber or not. */
struct place {
    uint3 thread, block;
    dim3 block_dim, grid_dim;
};
extern place here;

/* Queues a kernel; `body` runs one thread. `fibers`: the threads of a block meet at barriers. */
struct shape {
    const char *name;
    dim3 grid, block;
    size_t shared_bytes;
    bool fibers;
};
cudaError_t launch(const shape &kernel, cudaStream_t stream, std::function<void()> body);
/* Arguments are taken by value at the launch, as a GPU does. */
template <class... P, class... A>
cudaError_t launch_with(const shape &s, cudaStream_t stream, void (*kernel)(P...), A... arguments)
{
    std::tuple<P...> held(arguments...);
    return launch(s, stream, [kernel, held] { std::apply(kernel, held); });
}
void *dynamic_shared();
/* Waits for all threads of the block; in a kernel without fibers an error. */
void barrier(const char *what);
/* Lane `from` of this warp's value of `bytes` <= 8; every lane of the warp that still runs takes part. */
void shuffle(const void *mine, void *theirs, size_t bytes, int from);
} // namespace standin

#define threadIdx (standin::here.thread)
#define blockIdx (standin::here.block)
#define blockDim (standin::here.block_dim)
#define gridDim (standin::here.grid_dim)
#define warpSize 32

#define __global__ static
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(...)
#define __grid_constant__
#define __constant__ static

/* Dynamic shared memory is NaN at the start of every block and has an end. */
#define DG_SHARED_DYNAMIC(type, name) type *name = (type *)standin::dynamic_shared()

#define DG_LAUNCH(kernel, grid, block, shared, stream, ...)                                                            \
    standin::launch_with(standin::shape{#kernel, (grid), (block), (shared), false}, (stream), kernel, __VA_ARGS__)
#define DG_LAUNCH_SYNC(kernel, grid, block, shared, stream, ...)                                                       \
    standin::launch_with(standin::shape{#kernel, (grid), (block), (shared), true}, (stream), kernel, __VA_ARGS__)

static inline void __syncthreads() { standin::barrier("__syncthreads"); }
static inline void __threadfence() {}
template <class T> static inline T standin_shuffle(T value, int from)
{
    T result;
    standin::shuffle(&value, &result, sizeof value, from);
    return result;
}
static inline int standin_lane() { return (int)(threadIdx.x % 32); }
template <class T> static inline T __shfl_xor_sync(unsigned, T value, int mask)
{
    return standin_shuffle(value, standin_lane() ^ mask);
}
template <class T> static inline T __shfl_down_sync(unsigned, T value, int delta)
{
    int from = standin_lane() + delta;
    return standin_shuffle(value, from < 32 ? from : standin_lane());
}
template <class T> static inline T __shfl_sync(unsigned, T value, int from) { return standin_shuffle(value, from % 32); }

template <class T> static inline T atomicAdd(T *at, T value)
{
    T before = *at;
    *at = before + value;
    return before;
}
template <class T> static inline T atomicMax(T *at, T value)
{
    T before = *at;
    *at = before > value ? before : value;
    return before;
}
static inline unsigned __float_as_uint(float f)
{
    unsigned u;
    memcpy(&u, &f, sizeof u);
    return u;
}
static inline float __uint_as_float(unsigned u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}
template <class T> static inline T __ldg(const T *p) { return *p; }
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
template <class T> static inline T min(T a, T b) { return b < a ? b : a; }
template <class T> static inline T max(T a, T b) { return a < b ? b : a; }

#endif
