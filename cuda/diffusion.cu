/* diffusion.cu - noise into samples and out of them, a voxel a thread. The noise is made where it is used, from its number.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cuda_kernels.h"

#include "cuda_device.h"
#include "dg_augment_point.h"

enum { DIFFUSION_THREADS = 256 };

/* 40 registers, 75 % (256 threads), 40 bytes of stack (of cos); bf16: 10 bytes a voxel and 4 a channel. */
__global__ void diffuse(dg_diffuse how, view condition, const float *clean, float *wanted, view x)
{
    const int64_t voxels = x.z * x.y * x.x;
    for (int64_t v = (int64_t)blockIdx.x * DIFFUSION_THREADS + threadIdx.x; v < voxels;
         v += (int64_t)gridDim.x * DIFFUSION_THREADS) {
        const bool inside = dg_diffuse_inside(&how, v / (x.y * x.x), v / x.x % x.y, v % x.x);
        float to_say;
        const float noised = dg_diffuse_voxel(&how, inside, clean[v], dg_noise_at(&how.stream, v), &to_say);
        wanted[v] = to_say;
        store<1>(x, v, 0, &noised);
        for (int k = 0; k < condition.c; k++) {
            float value = 0;
            if (!how.blind) load<1>(condition, v, k, &value);
            store<1>(x, v, k + 1, &value);
        }
    }
}

/* 40 registers, 75 % (256 threads), 40 bytes of stack (of cos); 20 bytes a voxel. */
__global__ void denoise(dg_denoise step, dg_noise fresh, bool draws, int64_t count, const float *said, float *x,
                        float *clean)
{
    for (int64_t v = (int64_t)blockIdx.x * DIFFUSION_THREADS + threadIdx.x; v < count;
         v += (int64_t)gridDim.x * DIFFUSION_THREADS) {
        float dose = clean[v];
        x[v] = dg_denoise_voxel(&step, x[v], said[v], draws ? dg_noise_at(&fresh, v) : 0.0f, &dose);
        clean[v] = dose;
    }
}

static dim3 blocks_for(int64_t voxels)
{
    const int64_t blocks = (voxels + DIFFUSION_THREADS - 1) / DIFFUSION_THREADS;
    return dim3((unsigned)(blocks < STREAM_BLOCKS ? blocks : STREAM_BLOCKS));
}

cudaError_t dg_cuda_diffuse(cudaStream_t stream, const dg_diffuse *how, const dg_tensor *condition, const float *clean,
                            float *wanted, const dg_tensor *x)
{
    return DG_LAUNCH(diffuse, blocks_for(dg_tensor_voxels(x)), dim3(DIFFUSION_THREADS), 0, stream, *how,
                     view_of(condition), clean, wanted, view_of(x));
}

cudaError_t dg_cuda_denoise(cudaStream_t stream, const dg_denoise *step, const dg_noise *fresh, int64_t count,
                            const float *said, float *x, float *clean)
{
    const dg_noise none = {{0}, {0}, 4, 0};
    if (count == 0) return cudaSuccess;
    return DG_LAUNCH(denoise, blocks_for(count), dim3(DIFFUSION_THREADS), 0, stream, *step,
                     fresh != nullptr ? *fresh : none, fresh != nullptr, count, said, x, clean);
}
