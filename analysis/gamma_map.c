/* gamma_map.c - the gamma map of all wanted voxels, row by row over threads. SPDX-License-Identifier: Apache-2.0 */
#include "gamma_lanes.h"

const char *dg_gamma_method_name(dg_gamma_method method)
{
    static const char *const names[DG_GAMMA_METHODS] = {"continuous", "pymedphys"};
    return (unsigned)method < DG_GAMMA_METHODS ? names[method] : "unknown";
}

dg_gamma_isa_kind dg_gamma_isa(void)
{
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd"))
        return DG_GAMMA_AVX512;
    return __builtin_cpu_supports("avx2") ? DG_GAMMA_AVX2 : DG_GAMMA_BASE;
}

static dg_status map_continuous(dg_gamma_setup *s, float *gamma)
{
    enum { ROWS = 4 }; /* of one task */
    const int64_t rows = s->problem.shape[0] * s->problem.shape[1];
    static dg_gamma_lanes *const lanes[DG_GAMMA_ISAS] = {dg_gamma_lanes_base, dg_gamma_lanes_avx2,
                                                         dg_gamma_lanes_avx512};
    dg_gamma_lanes *const map_rows = lanes[dg_gamma_isa()];
    bool any;
    DG_TRY(dg_gamma_setup_ranges(s, &any));
    if (!any) {
        for (int64_t i = 0; i < s->voxels; i++) gamma[i] = NAN;
        return DG_OK;
    }
    if (dg_gamma_on_device(s))
        return s->params->backend->ops->device->gamma(s->params->backend, &s->problem, NULL, gamma);
#pragma omp parallel for schedule(dynamic, 1) num_threads(s->threads)
    for (int64_t row = 0; row < rows; row += ROWS) map_rows(s, row, row + ROWS < rows ? row + ROWS : rows, gamma);
    return DG_OK;
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
        status = map_continuous(&setup, gamma);
    }
    dg_gamma_setup_release(&setup);
    return status;
}
