/* augment.cu - a sample as it was read becomes the network's input and what the loss compares with: shift, rotation, noise,
 * mirroring, and the order of voxels. f64 as on the host, so that the bits are the host's (products must not fuse here).
 * SPDX-License-Identifier: Apache-2.0 */
#include "cuda_kernels.h"

#include "cuda_device.h"
#include "dg_augment_point.h"
#include "dg_loss_space.h"

enum { AUGMENT_THREADS = 256 };

/* A voxel of the input a thread. 56 registers, 50 % (256 threads), 40 bytes of stack (of cos); bf16: 6 bytes a channel and
 * voxel. */
__global__ void vary_input(const float *channels, dg_variation how, view x)
{
    const int64_t ny = x.y, nx = x.x, voxels = x.z * ny * nx;
    for (int64_t v = (int64_t)blockIdx.x * AUGMENT_THREADS + threadIdx.x; v < voxels;
         v += (int64_t)gridDim.x * AUGMENT_THREADS) {
        const int64_t z = v / (ny * nx), y = v / nx % ny, column = v % nx, from = how.mirrored ? nx - 1 - column : column;
        const dg_corners corners = dg_move_corners(&how.coarse, y, from, false);
        const float *plane = channels + dg_move_plane(&how.coarse, z);
        const float noise = how.scan != 0 && how.noise.deviation != 0 ? dg_noise_at(&how.noise, (z * ny + y) * nx + from) : 0;
        for (int c = 0; c < x.c; c++) {
            const int k = how.channel[c];
            float value = dg_corners_value(&corners, plane + k * voxels);
            if ((how.scan >> k & 1) != 0) value = dg_brightened(&how.brightening, value, noise);
            store<1>(x, v, c, &value);
        }
    }
}

/* A voxel of the outputs a thread. 56 registers, 50 % (256 threads); 18 bytes a voxel with regions, else 10. */
__global__ void vary_outputs(dg_raw_sample raw, dg_variation how, dg_varied_sample out)
{
    const int64_t ny = how.fine.n[1], nx = how.fine.n[2], voxels = how.fine.n[0] * ny * nx;
    for (int64_t v = (int64_t)blockIdx.x * AUGMENT_THREADS + threadIdx.x; v < voxels;
         v += (int64_t)gridDim.x * AUGMENT_THREADS) {
        const int64_t z = v / (ny * nx), y = v / nx % ny, column = v % nx, plane = dg_move_plane(&how.fine, z);
        const int64_t to = dg_block_row(z, y, how.mirrored ? nx - 1 - column : column, ny, nx, out.block[0],
                                        out.block[1], out.block[2]);
        if (raw.counted == nullptr) {
            out.counted[to] = 0;
            continue;
        }
        const dg_corners corners = dg_move_corners(&how.fine, y, column, false);
        out.target[to] = dg_corners_value(&corners, raw.target + plane);
        const dg_corners nearest = dg_move_corners(&how.fine, y, column, true);
        const int64_t at = plane + nearest.y0 + nearest.x0;
        out.counted[to] = raw.counted[at];
        if (raw.regions == nullptr) continue;
        const uint32_t bits = raw.regions[at];
        out.regions[to] = how.mirrored ? dg_mirrored_regions(bits, how.region, how.regions) : bits;
    }
}

static dim3 blocks_for(int64_t voxels)
{
    const int64_t blocks = (voxels + AUGMENT_THREADS - 1) / AUGMENT_THREADS;
    return dim3((unsigned)(blocks < STREAM_BLOCKS ? blocks : STREAM_BLOCKS));
}

cudaError_t dg_cuda_vary(cudaStream_t stream, const dg_raw_sample *raw, const dg_variation *how,
                         const dg_varied_sample *out)
{
    const dim3 block(AUGMENT_THREADS);
    cudaError_t error = cudaSuccess;
    if (raw->counted != nullptr)
        error = DG_LAUNCH(vary_input, blocks_for(dg_tensor_voxels(&out->x)), block, 0, stream, raw->channels, *how,
                          view_of(&out->x));
    if (error != cudaSuccess) return error;
    return DG_LAUNCH(vary_outputs, blocks_for(how->fine.n[0] * how->fine.n[1] * how->fine.n[2]), block, 0, stream, *raw,
                     *how, *out);
}
