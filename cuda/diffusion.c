/* diffusion.c - the host side of diffusion.cu: arguments are checked, kernels are queued. SPDX-License-Identifier: Apache-2.0 */
#include "cuda_impl.h"

dg_status cuda_diffuse(dg_backend *backend, const dg_diffuse *how, const dg_tensor *condition, const float *clean,
                       float *wanted, dg_tensor *x)
{
    DG_TRY(dg_arguments_diffuse(condition, clean, wanted, x));
    DG_CUDA(dg_cuda_diffuse(cuda_of(backend)->stream, how, condition, clean, wanted, x));
    return DG_OK;
}

dg_status cuda_denoise(dg_backend *backend, const dg_denoise *step, const dg_noise *fresh, int64_t count,
                       const float *said, float *x, float *clean)
{
    DG_TRY(dg_arguments_denoise(count, said, x, clean));
    DG_CUDA(dg_cuda_denoise(cuda_of(backend)->stream, step, fresh, count, said, x, clean));
    return DG_OK;
}
