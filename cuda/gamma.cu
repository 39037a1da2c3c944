/* gamma.cu - the gamma search, a voxel a thread, with the mathematics of the host's loops (dg_gamma_search.h,
 * dg_gamma_samples.h), compiled with --fmad=false so that sums and products round as theirs do.
 *
 * Bound by double arithmetic and its latency, not by memory: a voxel reads the 32 bytes of doses of each cell it opens,
 * mostly from cache, since neighbours open the same cells; 8 bytes a cell of ranges keep most cells shut. By groups, the
 * threads of a warp run through the same samples (one broadcast load each) over neighbouring doses (coalesced). Corners and
 * axes that are looked up by number lie on a small stack; boxes put off in global memory, DG_GAMMA_DEPTH for each thread.
 * SPDX-License-Identifier: Apache-2.0 */
#include "gamma_kernels.h"

#include "cuda_launch.h"

enum { SEARCH_THREADS = 128, SAMPLE_THREADS = 128 };

int64_t dg_cuda_gamma_stacks(int processors) { return (int64_t)processors * 2 * SEARCH_THREADS; }

__device__ static inline int64_t first_voxel() { return (int64_t)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ static inline int64_t voxel_step() { return (int64_t)gridDim.x * blockDim.x; }

__device__ static inline void index_of(const dg_gamma_problem &p, int64_t voxel, int64_t index[3])
{
    const int64_t row = voxel / p.shape[2];
    index[0] = row / p.shape[1];
    index[1] = row % p.shape[1];
    index[2] = voxel % p.shape[2];
}

/* 202 registers, 12 % (128 threads), 224 bytes of stack; 4 bytes a voxel written, 8 a cell and 32 an open cell read. */
__global__ void __launch_bounds__(SEARCH_THREADS, 2) gamma_search(dg_gamma_problem p, int64_t voxels,
                                                                  dg_gamma_box *stacks, float *gamma)
{
    dg_gamma_box *stack = stacks + first_voxel() * DG_GAMMA_DEPTH;
    for (int64_t voxel = first_voxel(); voxel < voxels; voxel += voxel_step()) {
        int64_t index[3];
        if (!dg_gamma_is_wanted(&p, voxel)) {
            gamma[voxel] = NAN;
            continue;
        }
        index_of(p, voxel, index);
        const dg_gamma_point point = dg_gamma_point_of(&p, index);
        gamma[voxel] = dg_gamma_to_float(dg_gamma_continuous(&p.field, &point, p.max_gamma, stack));
    }
}

/* 28 registers, 100 % (128 threads); 13 bytes a voxel. */
__global__ void gamma_begin(dg_gamma_problem p, int64_t voxels, double *found)
{
    for (int64_t voxel = first_voxel(); voxel < voxels; voxel += voxel_step())
        found[voxel] = dg_gamma_is_wanted(&p, voxel) ? INFINITY : NAN;
}

/* Smallest difference on the groups first .. end - 1. */
__device__ static double least_of_groups(const dg_cuda_gamma_spheres &s, const dg_gamma_beside &beside, int64_t first,
                                         int64_t end, double limit_gy)
{
    double least = INFINITY;
    for (int64_t g = first; g < end; g++) {
        double t[8];
        if (!dg_gamma_group_open(&s.group[g], &beside, limit_gy)) continue;
        dg_gamma_terms(&beside, &s.group[g], t);
        for (int64_t i = s.group[g].first; i < s.group[g].first + s.group[g].count; i++) {
            const double x = s.share[0][i], y = s.share[1][i], z = s.share[2][i];
            const double difference =
                (t[0] + t[1] * x) + y * (t[2] + t[3] * x) + z * ((t[4] + t[5] * x) + y * (t[6] + t[7] * x));
            least = fmin(least, fabs(difference));
        }
    }
    return least;
}

/* Spheres first .. first + count - 1, whose points start at 0 of `offset_mm`. *open counts the voxels that want more.
 * 118 registers, 25 % (128 threads), 72 bytes of stack; 20 bytes a voxel, 24 a point or sample, most of them from cache. */
__global__ void __launch_bounds__(SAMPLE_THREADS) gamma_spheres(dg_gamma_problem p, dg_cuda_gamma_spheres s,
                                                                int64_t voxels, double *found, int *open)
{
    for (int64_t voxel = first_voxel(); voxel < voxels; voxel += voxel_step()) {
        double gamma = found[voxel];
        if (isnan(gamma)) continue;
        if (s.first > 0 && gamma <= s.radius_mm[s.first - 1] / p.distance_mm) continue;
        int64_t index[3];
        index_of(p, voxel, index);
        const dg_gamma_point point = dg_gamma_point_of(&p, index);
        const double room = s.grouped > 0 ? dg_gamma_room_mm(&p.field, &point, s.axes) - 1e-6 : -1.0;
        dg_gamma_beside beside;
        if (room > 0.0) beside = dg_gamma_beside_of(&p, s.cell, index, voxel);
        bool done = false;
        for (int64_t k = s.first; k < s.first + s.count && !done; k++) {
            const double radius = s.radius_mm[k], t = radius / p.distance_mm;
            double least;
            if (k < s.grouped && radius <= room) {
                least = least_of_groups(s, beside, k > 0 ? s.group_end[k - 1] : 0, s.group_end[k],
                                        dg_gamma_limit_gy(&p, &point, gamma, t));
            } else {
                const int64_t from = k > s.first ? s.point_end[k - 1] - s.points_before : 0;
                const double *const offset[3] = {s.offset_mm[0] + from, s.offset_mm[1] + from, s.offset_mm[2] + from};
                least = dg_gamma_least_difference(&p.field, &point, offset, s.point_end[k] - s.points_before - from);
            }
            gamma = dg_gamma_after(&p, &point, gamma, t, least);
            done = gamma <= t;
        }
        found[voxel] = gamma;
        if (!done) atomicAdd(open, 1);
    }
}

/* 24 registers, 100 % (128 threads); 12 bytes a voxel. */
__global__ void gamma_finish(dg_gamma_problem p, int64_t voxels, const double *found, float *gamma)
{
    for (int64_t voxel = first_voxel(); voxel < voxels; voxel += voxel_step())
        gamma[voxel] = isnan(found[voxel]) || isinf(found[voxel]) ? NAN
                                                                  : dg_gamma_to_float(fmin(found[voxel], p.max_gamma));
}

static dim3 blocks_for(int64_t voxels)
{
    const int64_t blocks = (voxels + SAMPLE_THREADS - 1) / SAMPLE_THREADS, most = 1 << 20;
    return dim3((unsigned)(blocks < most ? blocks : most));
}

cudaError_t dg_cuda_gamma_search(cudaStream_t stream, const dg_gamma_problem *problem, int64_t voxels,
                                 dg_gamma_box *stacks, int64_t stack_count, float *gamma)
{
    const int64_t wanted = (voxels + SEARCH_THREADS - 1) / SEARCH_THREADS, most = stack_count / SEARCH_THREADS;
    return DG_LAUNCH(gamma_search, dim3((unsigned)(wanted < most ? wanted : most)), dim3(SEARCH_THREADS), 0, stream,
                     *problem, voxels, stacks, gamma);
}

cudaError_t dg_cuda_gamma_begin(cudaStream_t stream, const dg_gamma_problem *problem, int64_t voxels, double *found)
{
    return DG_LAUNCH(gamma_begin, blocks_for(voxels), dim3(SAMPLE_THREADS), 0, stream, *problem, voxels, found);
}

cudaError_t dg_cuda_gamma_spheres_step(cudaStream_t stream, const dg_gamma_problem *problem,
                                       const dg_cuda_gamma_spheres *spheres, int64_t voxels, double *found, int *open)
{
    return DG_LAUNCH(gamma_spheres, blocks_for(voxels), dim3(SAMPLE_THREADS), 0, stream, *problem, *spheres, voxels,
                     found, open);
}

cudaError_t dg_cuda_gamma_finish(cudaStream_t stream, const dg_gamma_problem *problem, int64_t voxels,
                                 const double *found, float *gamma)
{
    return DG_LAUNCH(gamma_finish, blocks_for(voxels), dim3(SAMPLE_THREADS), 0, stream, *problem, voxels, found,
                     gamma);
}
