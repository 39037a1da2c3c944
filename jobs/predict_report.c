/* predict_report.c - what a prediction of many cases tells at its end. SPDX-License-Identifier: Apache-2.0 */
#include "predict_impl.h"

#include "dg_mem.h"
#include "dg_results.h"

#include <stdio.h>

/* Failures of this call's cases as the ledger has them, sorted by id. */
static dg_status list_failures(const work *w, json_t *list)
{
    dg_ledger_entry *entries = NULL;
    int64_t count = 0;
    DG_TRY(dg_ledger_read(w->s->output, &entries, &count));
    for (int64_t i = 0; i < count; i++) {
        if (entries[i].done) continue;
        json_array_append_new(list, json_pack("{s:s, s:s}", "id", entries[i].id, "reason", entries[i].reason));
    }
    dg_free(&entries);
    return DG_OK;
}

static void tell(const work *w)
{
    dg_log *log = w->env->log;
    char said[DG_ASSUMED_TEXT];
    int64_t assumed = 0;
    for (int64_t i = 0; i < w->count; i++) assumed += dg_case_info_assumed(dg_cohort_case(w->cohort, w->chosen[i]));
    dg_log_write(log, DG_LOG_INFO, "%lld cases predicted in %.1f s, %lld kept, %lld failed", (long long)w->done,
                 w->seconds, (long long)w->kept, (long long)w->failed);
    if (w->done > 0 && !w->network[0].recipe.labels)
        dg_log_write(log, DG_LOG_INFO,
                     "dose set to 0 outside possible_dose in %lld cases, outside the body in %lld, nowhere in %lld",
                     (long long)w->region[DG_REGION_POSSIBLE_DOSE], (long long)w->region[DG_REGION_BODY],
                     (long long)w->region[DG_REGION_ALL]);
    dg_assumed_text(assumed, w->count, said);
    if (said[0] != '\0') dg_log_write(log, DG_LOG_WARNING, "%s", said);
    if (w->outside > 0)
        dg_log_write(log, DG_LOG_WARNING,
                     "%lld cases are outside what the network was trained on (voxel size, or as named above)",
                     (long long)w->outside);
}

static dg_status print_json(const work *w)
{
    json_t *failures = json_array();
    const dg_status status = list_failures(w, failures);
    if (status != DG_OK) {
        json_decref(failures);
        return status;
    }
    return dg_job_print_json(
        w->env, json_pack("{s:I, s:I, s:I, s:f, s:I, s:I, s:I, s:I, s:I, s:s, s:b, s:i, s:I, s:I, s:o}", "done",
                          (json_int_t)w->done, "failed", (json_int_t)w->failed, "kept", (json_int_t)w->kept, "seconds",
                          w->seconds, "zero_outside_possible_dose", (json_int_t)w->region[DG_REGION_POSSIBLE_DOSE],
                          "zero_outside_body", (json_int_t)w->region[DG_REGION_BODY], "unrestricted",
                          (json_int_t)w->region[DG_REGION_ALL], "outside_training_range", (json_int_t)w->outside,
                          "window_batch", (json_int_t)w->config.batch, "weights_sha256", w->network[0].weights_sha256,
                          "averaged_weights", w->network[0].averaged, "networks", w->networks, "samples",
                          (json_int_t)w->ensemble.samples, "sample_steps",
                          (json_int_t)(w->diffusion != NULL ? w->sampling.count : 0), "failures", failures));
}

dg_status predict_report(const work *w)
{
    tell(w);
    if (w->s->json) DG_TRY(print_json(w));
    if (w->failed < w->count || w->stopped != 0 || w->s->perturbed != NULL) return DG_OK;
    return DG_FAIL(DG_ERR_DATA, "none of the %lld cases could be predicted; the ledger in %s has each one's reason",
                   (long long)w->count, w->s->output);
}
