/* ref_diffusion.c - noise into samples and out of them, voxel by voxel, with numbers drawn one after the other.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ref.h"

#include "dg_rng.h"

#include <math.h>
#include <string.h>

/* The stream at its first number. */
static dg_rng stream_of(const dg_noise *noise)
{
    dg_rng rng = {.used = 4};
    memcpy(rng.key, noise->key, sizeof rng.key);
    memcpy(rng.counter, noise->counter, sizeof rng.counter);
    return rng;
}

static bool is_inside(const dg_diffuse *how, const dg_tensor *x, int64_t voxel)
{
    const int64_t at[3] = {voxel / (x->y * x->x), voxel / x->x % x->y, voxel % x->x};
    for (int axis = 0; axis < 3; axis++)
        if (at[axis] < how->inside[axis][0] || at[axis] >= how->inside[axis][1]) return false;
    return true;
}

dg_status ref_diffuse(dg_backend *backend, const dg_diffuse *how, const dg_tensor *condition, const float *clean,
                      float *wanted, dg_tensor *x)
{
    double *known, *out;
    DG_TRY(dg_arguments_diffuse(condition, clean, wanted, x));
    DG_TRY(ref_load(condition, &known));
    dg_status status = ref_zeros(x, &out);
    dg_rng rng = stream_of(&how->stream);
    for (int64_t v = 0; status == DG_OK && v < dg_tensor_voxels(x); v++) {
        const double e = (double)(float)(how->stream.deviation * dg_rng_normal(&rng)), x0 = (double)clean[v];
        wanted[v] = (float)((double)how->want_clean * x0 + (double)how->want_noise * e);
        out[v * x->c] = is_inside(how, x, v) ? (double)how->signal * x0 + (double)how->noise * e : 0;
        for (int64_t k = 0; k < condition->c; k++) out[v * x->c + 1 + k] = how->blind ? 0 : known[v * condition->c + k];
    }
    if (status == DG_OK) ref_store(out, x, false);
    dg_free(&known);
    if (status == DG_OK) dg_free(&out);
    return status;
}

dg_status ref_denoise(dg_backend *backend, const dg_denoise *k, const dg_noise *fresh, int64_t count, const float *said,
                      float *x, float *clean)
{
    dg_rng rng = fresh != NULL ? stream_of(fresh) : (dg_rng){.used = 4};
    DG_TRY(dg_arguments_denoise(count, said, x, clean));
    for (int64_t v = 0; v < count; v++) {
        const double here = (double)x[v], out = (double)said[v];
        const double e = fresh != NULL ? (double)(float)(fresh->deviation * dg_rng_normal(&rng)) : 0;
        const double dose = (double)(float)fmin(
            fmax((double)k->clean_x * here + (double)k->clean_out * out, (double)k->low), (double)k->high);
        const double noise = k->renew ? (double)k->renew_x * here + (double)k->renew_clean * dose
                                      : (double)k->noise_x * here + (double)k->noise_out * out;
        x[v] = (float)((double)k->to_clean * dose + (double)k->to_before * (double)clean[v] + (double)k->to_x * here +
                       (double)k->to_noise * noise + (double)k->fresh * e);
        clean[v] = (float)dose;
    }
    return DG_OK;
}
