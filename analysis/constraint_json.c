/* constraint_json.c - results of constraint tables as JSON, of a case and of a cohort.
 * SPDX-License-Identifier: Apache-2.0 */
#include "constraint_impl.h"

#include <math.h>
#include <stdio.h>

static const char *const VERDICT[] = {"PASS", "FAIL", "NOT_EVALUATED"};
static const char *const OVERALL[] = {"PASS", "FAIL", "INCOMPLETE"};

static json_t *number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

/* How many rows pass and fail, and what that means: PASS needs every row evaluated and passed. */
typedef struct tally {
    int64_t passed, failed, total;
} tally;

static int overall(const tally *t)
{
    return t->failed > 0 ? DG_VERDICT_FAIL : t->passed == t->total ? DG_VERDICT_PASS : DG_VERDICT_NOT_EVALUATED;
}

static tally count_rows(const dg_constraint_table *table, const dg_constraint_result *results, int dose)
{
    tally t = {.total = table->rows};
    for (int r = 0; r < table->rows; r++) {
        t.passed += results[r].verdict[dose] == DG_VERDICT_PASS;
        t.failed += results[r].verdict[dose] == DG_VERDICT_FAIL;
    }
    return t;
}

/* Which doses were judged: "physical", or "EQD2 (alpha/beta 3 Gy)". */
static json_t *dose_text(const constraint_row *row, const dg_constraint_result *r)
{
    char text[64] = "physical";
    if (r->eqd_gy > 0) snprintf(text, sizeof text, "EQD%g (alpha/beta %g Gy)", r->eqd_gy, row->alpha_beta_gy);
    return json_string(text);
}

static json_t *row_json(const constraint_row *row, const dg_constraint_result *r)
{
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:f, s:s, s:o, s:o, s:o, s:s, s:s, s:s, s:s}", "structure",
                          row->name[0], "judged_on", r->judged_on, "metric", row->metric.text, "comparison",
                          constraint_comparison_text(row->comparison), "limit", row->limit, "unit",
                          dg_metric_unit(&row->metric), "dose", dose_text(row, r), "target_value", number(r->value[0]),
                          "pred_value", number(r->value[1]), "target", VERDICT[r->verdict[0]], "pred",
                          VERDICT[r->verdict[1]], "reason", r->reason, "source", row->source);
    if (o == NULL || row->metric.kind != DG_METRIC_MAX) return o;
    if (json_object_set_new(o, "target_max_gy", number(r->beside[0])) == 0 &&
        json_object_set_new(o, "pred_max_gy", number(r->beside[1])) == 0)
        return o;
    json_decref(o);
    return NULL;
}

json_t *dg_constraints_to_json(const dg_constraint_table *table, const dg_constraint_result *results)
{
    const tally target = count_rows(table, results, 0), pred = count_rows(table, results, 1);
    json_t *rows = json_array();
    for (int r = 0; r < table->rows; r++)
        if (json_array_append_new(rows, row_json(&table->row[r], &results[r])) != 0) {
            json_decref(rows);
            return NULL;
        }
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:s, s:I, s:I, s:o}", "table", table->name, "verdict",
                     OVERALL[overall(&pred)], "passed", (json_int_t)pred.passed, "evaluated",
                     (json_int_t)(pred.passed + pred.failed), "total", (json_int_t)pred.total, "target_verdict",
                     OVERALL[overall(&target)], "target_passed", (json_int_t)target.passed, "target_evaluated",
                     (json_int_t)(target.passed + target.failed), "rows", rows);
}

/* Prediction against plan: [plan][prediction], verdicts PASS and FAIL. */
typedef struct agreement {
    int64_t count[2][2];
} agreement;

static void add_pair(agreement *a, const dg_constraint_result *r)
{
    if (r->verdict[0] != DG_VERDICT_NOT_EVALUATED && r->verdict[1] != DG_VERDICT_NOT_EVALUATED)
        a->count[r->verdict[0]][r->verdict[1]]++;
}

static json_t *agreement_json(const agreement *a)
{
    const int64_t hit = a->count[DG_VERDICT_FAIL][DG_VERDICT_FAIL], missed = a->count[DG_VERDICT_FAIL][DG_VERDICT_PASS];
    return json_pack("{s:I, s:I, s:I, s:I, s:o}", "both_pass", (json_int_t)a->count[DG_VERDICT_PASS][DG_VERDICT_PASS],
                     "both_fail", (json_int_t)hit, "missed", (json_int_t)missed, "false_alarm",
                     (json_int_t)a->count[DG_VERDICT_PASS][DG_VERDICT_FAIL], "sensitivity",
                     number((double)hit / (double)(hit + missed)));
}

static json_t *counts_json(const int64_t count[3])
{
    return json_pack("{s:I, s:I, s:I}", "passed", (json_int_t)count[DG_VERDICT_PASS], "failed",
                     (json_int_t)count[DG_VERDICT_FAIL], "not_evaluated", (json_int_t)count[DG_VERDICT_NOT_EVALUATED]);
}

static json_t *cohort_row(const dg_constraint_table *table, int row, const dg_constraint_result *const *results,
                          int64_t cases, agreement *all)
{
    const constraint_row *c = &table->row[row];
    int64_t count[2][3] = {{0}};
    agreement own = {{{0}}};
    for (int64_t i = 0; i < cases; i++) {
        const dg_constraint_result *r = &results[i][row];
        for (int d = 0; d < 2; d++) count[d][r->verdict[d]]++;
        add_pair(&own, r);
        add_pair(all, r);
    }
    return json_pack("{s:s, s:s, s:s, s:f, s:s, s:o, s:o, s:o, s:s}", "structure", c->name[0], "metric", c->metric.text,
                     "comparison", constraint_comparison_text(c->comparison), "limit", c->limit, "unit",
                     dg_metric_unit(&c->metric), "pred", counts_json(count[1]), "target", counts_json(count[0]),
                     "agreement", agreement_json(&own), "source", c->source);
}

static json_t *verdicts_json(const dg_constraint_table *table, const dg_constraint_result *const *results,
                             int64_t cases, int dose)
{
    int64_t count[3] = {0};
    for (int64_t i = 0; i < cases; i++) {
        const tally t = count_rows(table, results[i], dose);
        count[overall(&t)]++;
    }
    return json_pack("{s:I, s:I, s:I}", OVERALL[0], (json_int_t)count[0], OVERALL[1], (json_int_t)count[1], OVERALL[2],
                     (json_int_t)count[2]);
}

json_t *dg_constraints_cohort_json(const dg_constraint_table *table, const dg_constraint_result *const *results,
                                   int64_t cases)
{
    agreement all = {{{0}}};
    json_t *rows = json_array();
    for (int r = 0; r < table->rows; r++)
        if (json_array_append_new(rows, cohort_row(table, r, results, cases, &all)) != 0) {
            json_decref(rows);
            return NULL;
        }
    return json_pack("{s:s, s:I, s:{s:o, s:o}, s:o, s:o}", "table", table->name, "cases", (json_int_t)cases, "verdicts",
                     "pred", verdicts_json(table, results, cases, 1), "target", verdicts_json(table, results, cases, 0),
                     "agreement", agreement_json(&all), "rows", rows);
}
