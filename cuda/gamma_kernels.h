/* gamma_kernels.h - launchers of the gamma search (gamma.cu). Problems hold pointers to device memory; `voxels` are the
 * reference's. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_CUDA_GAMMA_KERNELS_H
#define DG_CUDA_GAMMA_KERNELS_H

#include "dg_gamma_samples.h"

#include <cuda_runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Some consecutive spheres with their points, and the groups of all; device memory. */
typedef struct dg_cuda_gamma_spheres {
    int axes;
    int64_t first, count, points_before; /* points_before: of all spheres before `first` */
    const double *radius_mm;             /* of all spheres */
    const int64_t *point_end;            /* of all spheres: points up to and with this one */
    const double *offset_mm[3];          /* points of these spheres */
    int64_t grouped;
    const int64_t *group_end;
    const dg_gamma_group *group;
    const double *share[3];
    const int64_t *cell[3];
} dg_cuda_gamma_spheres;

/* How many stacks of DG_GAMMA_DEPTH boxes a device of so many multiprocessors makes use of. */
int64_t dg_cuda_gamma_stacks(int processors);
/* gamma [voxels] of the continuous search; NaN where not wanted. */
cudaError_t dg_cuda_gamma_search(cudaStream_t stream, const dg_gamma_problem *problem, int64_t voxels,
                                 dg_gamma_box *stacks, int64_t stack_count, float *gamma);
/* found [voxels]: infinite where wanted, else NaN. */
cudaError_t dg_cuda_gamma_begin(cudaStream_t stream, const dg_gamma_problem *problem, int64_t voxels, double *found);
/* Lowers `found` by the spheres; adds the number of voxels that larger ones may still lower to *open. */
cudaError_t dg_cuda_gamma_spheres_step(cudaStream_t stream, const dg_gamma_problem *problem,
                                       const dg_cuda_gamma_spheres *spheres, int64_t voxels, double *found, int *open);
/* To the map, limited to max_gamma. */
cudaError_t dg_cuda_gamma_finish(cudaStream_t stream, const dg_gamma_problem *problem, int64_t voxels,
                                 const double *found, float *gamma);

#ifdef __cplusplus
}
#endif

#endif
