/* cuda_block_sum.h - the sum over a block of threads, in a fixed tree, so that results are the same from run to run.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_CUDA_BLOCK_SUM_H
#define DG_CUDA_BLOCK_SUM_H

#include "cuda_launch.h"

enum { BLOCK_SUM_THREADS = 256 }; /* of the block that calls */

/* One value per thread; thread 0 gets the sum, the others 0. May be called again at once. */
__device__ static inline double block_sum(double value)
{
    __shared__ double part[BLOCK_SUM_THREADS / 32];
    __syncthreads();
    for (int m = 16; m > 0; m /= 2) value += __shfl_xor_sync(0xffffffffu, value, m);
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = value;
    __syncthreads();
    double sum = 0;
    if (threadIdx.x == 0)
        for (int w = 0; w < BLOCK_SUM_THREADS / 32; w++) sum += part[w];
    return sum;
}

#endif
