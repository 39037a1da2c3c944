/* gamma_map.c - the gamma map of all wanted voxels, row by row over threads. SPDX-License-Identifier: Apache-2.0 */
#include "gamma_impl.h"

const char *dg_gamma_method_name(dg_gamma_method method)
{
    static const char *const names[DG_GAMMA_METHODS] = {"continuous", "pymedphys"};
    return (unsigned)method < DG_GAMMA_METHODS ? names[method] : "unknown";
}

static void map_row(const dg_gamma_setup *s, int64_t row, float *gamma)
{
    int64_t index[3] = {row / s->shape[1], row % s->shape[1], 0};
    for (; index[2] < s->shape[2]; index[2]++) {
        const int64_t voxel = row * s->shape[2] + index[2];
        if (!dg_gamma_is_wanted(s, voxel)) {
            gamma[voxel] = NAN;
            continue;
        }
        const dg_gamma_point point = dg_gamma_point_of(s, index);
        gamma[voxel] = (float)dg_gamma_continuous(&s->field, &point, s->params->max_gamma);
    }
}

static void map_continuous(const dg_gamma_setup *s, float *gamma)
{
    const int64_t rows = s->shape[0] * s->shape[1];
#pragma omp parallel for schedule(dynamic, 4) num_threads(s->threads)
    for (int64_t row = 0; row < rows; row++) map_row(s, row, gamma);
}

dg_status dg_gamma_map(const dg_gamma_params *params, const dg_gamma_dose *reference, const dg_gamma_dose *evaluated,
                       const uint8_t *where, int threads, float *gamma)
{
    dg_gamma_setup setup;
    dg_status status = DG_OK;
    DG_TRY(dg_gamma_setup_create(params, reference, evaluated, where, threads, &setup));
    if (params->norm_gy == 0.0) { /* a reference without dose: there is nothing to relate a difference to */
        for (int64_t i = 0; i < setup.voxels; i++) gamma[i] = NAN;
    } else if (params->method == DG_GAMMA_PYMEDPHYS) {
        status = dg_gamma_map_shells(&setup, gamma);
    } else {
        map_continuous(&setup, gamma);
    }
    dg_gamma_setup_release(&setup);
    return status;
}
