/* ctest: sources=src/base/*.c,analysis/dg_results.c pkg=jansson,yaml-0.1,libcrypto seconds=20 */
/* fuzz_results.c - any bytes are results of an evaluation or are refused by name; of what is read, every metric of every case
 * is a number or has a reason. SPDX-License-Identifier: Apache-2.0 */
#include "dg_results.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void must(bool condition)
{
    if (!condition) abort();
}

static void check_case(const dg_results *results, int64_t index)
{
    const dg_results_case *c = dg_results_get_case(results, index);
    must(c->id[0] != '\0' && strlen(c->id) < DG_RESULTS_TEXT && dg_results_find_case(results, c->id) == index);
    for (int64_t k = 0; k < dg_results_metric_count(results); k++) {
        const char *reason = "";
        const char *metric = dg_results_metric(results, k);
        must(metric[0] != '\0' && strlen(metric) < DG_RESULTS_METRIC && dg_results_has_metric(results, metric));
        const double value = dg_results_value(results, index, metric, &reason);
        must(isfinite(value) ? reason == NULL : reason != NULL && isnan(value));
    }
}

static void check_results(const dg_results *results)
{
    const dg_results_run *run = dg_results_get_run(results);
    const int64_t cases = dg_results_case_count(results);
    must(strlen(run->name) < DG_RESULTS_TEXT && strlen(run->condition) < DG_RESULTS_TEXT);
    must(dg_results_root(results) != NULL && strcmp(dg_results_name(results), "r.json") == 0);
    must(dg_results_version(results) < 2 || dg_results_settings(results) != NULL);
    for (int64_t i = 0; i < cases; i++) check_case(results, i);
    for (int64_t i = 1; i < cases; i++)
        must(strcmp(dg_results_get_case(results, i - 1)->id, dg_results_get_case(results, i)->id) < 0);
    for (int64_t i = 0; i < dg_results_failed_count(results); i++) {
        const char *id = NULL, *reason = NULL;
        dg_results_get_failed(results, i, &id, &reason);
        must(id != NULL && id[0] != '\0' && reason != NULL);
    }
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    dg_results *results = NULL;
    const dg_status status = dg_results_read_text((const char *)data, (int64_t)size, "r.json", &results);
    if (status == DG_OK) {
        check_results(results);
        dg_results_destroy(&results);
        must(results == NULL);
    } else {
        must(results == NULL && strncmp(dg_error_last()->text, "r.json", 6) == 0);
        must(status == DG_ERR_FORMAT || status == DG_ERR_DATA || status == DG_ERR_UNSUPPORTED);
    }
    return 0;
}
