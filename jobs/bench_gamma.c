/* bench_gamma.c - `dosegrid bench gamma REF EVAL`: seconds of a gamma map. SPDX-License-Identifier: Apache-2.0 */
#include "bench_impl.h"

#include "compute.h"
#include "dg_mem.h"
#include "dg_mpi.h"
#include "dg_trace.h"

#include <string.h>

static dg_status time_maps(const bench_settings *s, int threads, const gamma_pair *pair, json_t **answer)
{
    float *map = NULL;
    double *seconds = NULL, median_gamma;
    dg_gamma_summary sum = dg_gamma_summary_init();
    dg_status status;
    DG_TRY_GOTO(status, DG_NEW(&map, pair->voxels, "gamma map"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&seconds, s->steps, "times"), cleanup);
    for (int64_t i = -1; i < s->steps; i++) { /* the first one is not timed */
        const double start = dg_time_s();
        DG_TRY_GOTO(status, dg_gamma_map(&pair->params, &pair->dose[0], &pair->dose[1], NULL, threads, map), cleanup);
        if (i >= 0) seconds[i] = dg_time_s() - start;
    }
    dg_gamma_summary_add(&sum, map, NULL, 0, pair->voxels);
    DG_TRY_GOTO(status, dg_gamma_median(map, NULL, 0, pair->voxels, &median_gamma), cleanup);
    const double median = bench_median(seconds, s->steps);
    *answer = gamma_pair_to_json(pair, &sum, median_gamma, median, threads);
    if (*answer == NULL || json_object_set_new(*answer, "min_s", json_real(seconds[0])) != 0)
        status = DG_FAIL(DG_ERR_MEMORY, "no memory for the answer");
cleanup:
    dg_free(&seconds);
    dg_free(&map);
    return status;
}

dg_status bench_gamma(const dg_job_env *env, const bench_settings *s, json_t **answer)
{
    gamma_pair pair;
    char warning[256];
    int threads = (int)s->threads;
    if (s->path == NULL || s->second_path == NULL)
        return DG_FAIL(DG_ERR_USAGE, "bench gamma wants two doses: dosegrid bench gamma REF EVAL");
    if (threads == 0) DG_TRY(dg_affinity_set(env->comm, 0, &threads, warning, sizeof warning));
    dg_backend *backend = NULL;
    const bool device = strcmp(s->backend, "cuda") == 0 || strcmp(s->backend, "auto") == 0;
    DG_TRY(dg_compute_gamma(env->comm, device ? s->backend : "cpu", env->log, &backend));
    dg_status status = DG_OK;
    if (env->comm->rank == 0) {
        status = gamma_pair_read(&s->gamma, s->path, s->second_path, &pair);
        if (status == DG_OK) {
            pair.params.backend = backend;
            status = time_maps(s, threads, &pair, answer);
            gamma_pair_release(&pair);
        }
    }
    dg_backend_destroy(&backend);
    return status;
}
