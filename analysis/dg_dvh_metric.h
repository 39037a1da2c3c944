/* dg_dvh_metric.h - the typed grammar of dose-volume metrics.
 *
 *     D95%  D0.03cc         dose in Gy to a share or a volume        Dmean  Dmax  Dmin  Dmedian
 *     V20Gy% V45Gycc V95%Rx% V100%Rxcc   volume at a dose, in % of the structure or cc; the dose in Gy or in % of the prescription
 *     CV20Gycc              volume that receives LESS than the dose (critical volume)
 *     HI                    (D2% - D98%) / D50% (ICRU 83)
 *     CIpaddick CIrtog R50  conformity of a target to its own prescription; they need the body
 *
 * Units are never guessed: `D2`, `V20` and `V20%` are errors that name the two possible readings (needs.md row 7).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_DVH_METRIC_H
#define DG_DVH_METRIC_H

#include "dg_dvh.h"
#include "dg_status.h"

#include <stdbool.h>

enum { DG_METRIC_TEXT = 32 };

typedef enum dg_metric_kind {
    DG_METRIC_DOSE_AT_PERCENT,
    DG_METRIC_DOSE_AT_CC,
    DG_METRIC_MEAN,
    DG_METRIC_MAX,
    DG_METRIC_MIN,
    DG_METRIC_MEDIAN,
    DG_METRIC_VOLUME_PERCENT,
    DG_METRIC_VOLUME_CC,
    DG_METRIC_COLD_VOLUME_CC,
    DG_METRIC_HI,
    DG_METRIC_CI_PADDICK,
    DG_METRIC_CI_RTOG,
    DG_METRIC_R50
} dg_metric_kind;

typedef struct dg_metric {
    dg_metric_kind kind;
    double value;              /* percent, cc or dose, as the kind says */
    bool dose_is_percent_rx;   /* of a V: the dose is in % of the structure's prescription */
    char text[DG_METRIC_TEXT]; /* canonical spelling */
} dg_metric;

/* DG_ERR_USAGE names the text, the column and what was expected. Not case-sensitive. */
DG_MUST_USE dg_status dg_metric_parse(const char *text, dg_metric *out);
/* "Gy", "%", "cc" or "" (ratios). */
const char *dg_metric_unit(const dg_metric *metric);
/* Whether it takes the body's doses (CI, R50), and whether it takes the structure's prescription (those and V..%Rx). */
bool dg_metric_needs_body(const dg_metric *metric);
bool dg_metric_needs_prescription(const dg_metric *metric);

/* What a metric is worked out from. `body` (the whole body's doses) is needed by CI and R50 only, else NULL. */
typedef struct dg_metric_input {
    const dg_dvh *dvh, *body;
    double prescription_gy; /* of this structure; 0: none */
    dg_dvh_rule rule;
} dg_metric_input;

/* NaN with `reason` filled ("structure smaller than 0.1 cc", "no prescription", "no body", ..) where the metric does
 * not exist for this structure. */
double dg_metric_evaluate(const dg_metric *metric, const dg_metric_input *input, char reason[96]);

#endif
