/* onednn_diffusion.c - noise into samples and out of them, rows over the threads. SPDX-License-Identifier: Apache-2.0 */
#include "onednn_impl.h"

#include "dg_augment_point.h"
#include "dg_bf16.h"

#include <string.h>

enum { BLOCK = 1024 }; /* voxels of a step at a time */

typedef struct diffusion_job {
    const dg_diffuse *how;
    const dg_tensor *condition, *x;
    const float *known; /* clean dose, or the network's words */
    float *wanted;
    const dg_denoise *step;
    const dg_noise *fresh;
    int64_t count;
    float *next, *clean;
} diffusion_job;

static void run_diffuse(void *context, int64_t item)
{
    const diffusion_job *job = context;
    const dg_tensor *x = job->x, *c = job->condition;
    const size_t size = dg_dtype_size(x->dtype), width = (size_t)c->c * size;
    const int64_t z = item / x->y, y = item % x->y;
    for (int64_t i = 0; i < x->x; i++) {
        const int64_t v = item * x->x + i;
        char *to = (char *)x->data + (size_t)(v * x->pitch) * size;
        const float e = dg_noise_at(&job->how->stream, v);
        const float noised =
            dg_diffuse_voxel(job->how, dg_diffuse_inside(job->how, z, y, i), job->known[v], e, &job->wanted[v]);
        if (x->dtype == DG_BF16)
            *(dg_bf16 *)to = dg_bf16_from_f32(noised);
        else
            *(float *)to = noised;
        if (job->how->blind)
            memset(to + size, 0, width);
        else
            memcpy(to + size, (const char *)c->data + (size_t)(v * c->pitch) * size, width);
    }
}

dg_status onednn_diffuse(dg_backend *backend, const dg_diffuse *how, const dg_tensor *condition, const float *clean,
                         float *wanted, dg_tensor *x)
{
    DG_TRY(dg_arguments_diffuse(condition, clean, wanted, x));
    diffusion_job job = {.how = how, .condition = condition, .x = x, .known = clean, .wanted = wanted};
    onednn_parallel(onednn_of(backend), x->z * x->y, run_diffuse, &job);
    return DG_OK;
}

static void run_denoise(void *context, int64_t item)
{
    const diffusion_job *job = context;
    const int64_t end = (item + 1) * BLOCK < job->count ? (item + 1) * BLOCK : job->count;
    for (int64_t v = item * BLOCK; v < end; v++) {
        const float e = job->fresh != NULL ? dg_noise_at(job->fresh, v) : 0;
        job->next[v] = dg_denoise_voxel(job->step, job->next[v], job->known[v], e, &job->clean[v]);
    }
}

dg_status onednn_denoise(dg_backend *backend, const dg_denoise *step, const dg_noise *fresh, int64_t count,
                         const float *said, float *x, float *clean)
{
    DG_TRY(dg_arguments_denoise(count, said, x, clean));
    diffusion_job job = {.step = step, .fresh = fresh, .count = count, .known = said, .next = x, .clean = clean};
    onednn_parallel(onednn_of(backend), (count + BLOCK - 1) / BLOCK, run_denoise, &job);
    return DG_OK;
}
