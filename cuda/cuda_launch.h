/* cuda_launch.h - one spelling of a kernel launch for nvcc and for the stand-in of tests/cuda_on_cpu, which runs the same
 * sources on the host. DG_LAUNCH: threads of a block never meet. DG_LAUNCH_SYNC: they do (barriers, warp shuffles).
 * Both give the cudaError_t of the launch.
 * Beside each kernel stand the registers of a thread (no variant takes more on any GPU that is built for; none spills),
 * its stack where it has one, the
 * share of the 64 warps of an A100's or H100's multiprocessor that they and the block leave room for (occupancy), and the
 * bytes that it must move (its roofline). tests/t260_kernel_resources.sh compares them with what ptxas told. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_CUDA_LAUNCH_H
#define DG_CUDA_LAUNCH_H

#include <cuda_runtime.h>

#ifndef DG_LAUNCH
/* clang-format 14 would tear the launch brackets of CUDA apart in a header of C. */
/* clang-format off */
#define DG_LAUNCH(kernel, grid, block, shared, stream, ...) \
    ((kernel)<<<(grid), (block), (shared), (stream)>>>(__VA_ARGS__), cudaPeekAtLastError())
/* clang-format on */
#define DG_LAUNCH_SYNC DG_LAUNCH
#define DG_SHARED_DYNAMIC(type, name)             \
    extern __shared__ float4 dg_dynamic_shared[]; \
    type *name = (type *)dg_dynamic_shared
#endif

#endif
