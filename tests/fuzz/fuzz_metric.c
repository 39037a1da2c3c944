/* ctest: sources=src/base/dg_mem.c,src/base/dg_status.c,src/grid/dg_grid.c,src/grid/dg_distance.c,analysis/dg_dvh.c,analysis/dvh_partial.c,analysis/dg_dvh_metric.c seconds=20 */
/* fuzz_metric.c - any text is a metric or is refused; a metric's own spelling means the same metric, and every
 * metric has a finite value or a reason. SPDX-License-Identifier: Apache-2.0 */
#include "dg_dvh_metric.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { VOXELS = 12 };
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void must(bool condition)
{
    if (!condition) abort();
}

static void evaluate(const dg_metric *m)
{
    static const float DOSE[VOXELS] = {0, 1, 2, 10, 20, 20, 20, 45, 60, 70, 71, 72};
    static const uint64_t MASKS[VOXELS] = {2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3};
    dg_dvh dvh, body;
    char reason[96];
    must(dg_dvh_create(DOSE, MASKS, 1, VOXELS, 10, &dvh) == DG_OK);
    must(dg_dvh_create(DOSE, MASKS, 2, VOXELS, 10, &body) == DG_OK);
    for (int rule = DG_DVH_ICRU; rule <= DG_DVH_LINEAR; rule++)
        for (int prescription = 0; prescription <= 70; prescription += 35) {
            const dg_metric_input in = {.dvh = &dvh,
                                        .body = prescription == 35 ? NULL : &body,
                                        .prescription_gy = prescription,
                                        .rule = (dg_dvh_rule)rule};
            const double value = dg_metric_evaluate(m, &in, reason);
            must(strlen(reason) < sizeof reason && isnan(value) == (reason[0] != '\0') && !isinf(value));
        }
    dg_dvh_release(&dvh);
    dg_dvh_release(&body);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    char *text = malloc(size + 1);
    dg_metric metric, again;
    must(text != NULL);
    if (size > 0) memcpy(text, data, size);
    text[size] = '\0';
    const dg_status status = dg_metric_parse(text, &metric);
    if (status == DG_OK) {
        must(dg_metric_parse(metric.text, &again) == DG_OK && memcmp(&metric, &again, sizeof metric) == 0);
        must(strlen(dg_metric_unit(&metric)) <= 2);
        evaluate(&metric);
    } else {
        must(status == DG_ERR_USAGE && strstr(dg_error_last()->text, "column") != NULL);
    }
    free(text);
    return 0;
}
