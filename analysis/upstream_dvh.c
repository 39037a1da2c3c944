/* upstream_dvh.c - dose-volume metrics and constraints as the reference tool reports them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "constraint_impl.h"
#include "dg_dvh.h"
#include "dg_holm.h"
#include "upstream_impl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { PRED, TARGET, RELIABLE_VOXELS = 100 };

/* pred_NAME, target_NAME and the rounded NAME_error. */
static void put_pair(json_t *out, const char *name, const double value[2], bool *failed)
{
    char key[48];
    snprintf(key, sizeof key, "pred_%s", name);
    upstream_put_number(out, key, value[PRED], failed);
    snprintf(key, sizeof key, "target_%s", name);
    upstream_put_number(out, key, value[TARGET], failed);
    snprintf(key, sizeof key, "%s_error", name);
    upstream_put_number(out, key, dg_round_decimals(value[PRED] - value[TARGET], 4), failed);
}

static void put_volume(json_t *out, const char *name, const dg_dvh dvh[2], double gy, bool *failed)
{
    double value[2];
    for (int d = 0; d < 2; d++)
        value[d] = (double)dg_dvh_voxels_at(&dvh[d], upstream_threshold(gy)) / (double)dvh[d].count * 100;
    put_pair(out, name, value, failed);
}

static void put_statistics(json_t *out, const dg_dvh dvh[2], bool *failed)
{
    static const char *const DOSE[2] = {"pred", "target"};
    char key[32];
    for (int d = 0; d < 2; d++) {
        snprintf(key, sizeof key, "%s_mean_gy", DOSE[d]);
        upstream_put_number(out, key, dg_dvh_mean(&dvh[d]), failed);
        snprintf(key, sizeof key, "%s_max_gy", DOSE[d]);
        upstream_put_number(out, key, dg_dvh_max(&dvh[d]), failed);
        snprintf(key, sizeof key, "%s_min_gy", DOSE[d]);
        upstream_put_number(out, key, dg_dvh_min(&dvh[d]), failed);
    }
}

static void put_structure(const upstream_volumes *v, int k, const dg_dvh dvh[2], json_t *out, bool *failed)
{
    static const double DX[] = {98, 95, 50, 5, 2}, VX[] = {70, 60, 50, 45, 40};
    const double voxel_cc = v->spacing_mm[0] * v->spacing_mm[1] * v->spacing_mm[2] / 1000;
    const double rx_gy = upstream_prescription_gy(v->structure[k]);
    const int64_t count = dvh[PRED].count;
    char key[32];
    double sum = 0;
    upstream_put(out, "n_voxels", json_integer(count), failed);
    upstream_put(out, "dvh_reliable", json_boolean(count >= RELIABLE_VOXELS), failed);
    upstream_put_number(out, "volume_cc", (double)count * voxel_cc, failed);
    put_statistics(out, dvh, failed);
    for (size_t x = 0; x < sizeof DX / sizeof *DX; x++) {
        const double value[2] = {dg_dvh_dose_at_percent(&dvh[PRED], DX[x], DG_DVH_LOWER),
                                 dg_dvh_dose_at_percent(&dvh[TARGET], DX[x], DG_DVH_LOWER)};
        snprintf(key, sizeof key, "D%g", DX[x]);
        put_pair(out, key, value, failed);
    }
    for (int64_t i = 0; i < v->voxels; i++)
        if ((v->masks[i] >> k & 1) != 0) sum += fabsf(v->pred_gy[i] - v->target_gy[i]);
    upstream_put_number(out, "mae_gy", sum / (double)count, failed);
    for (size_t x = 0; x < sizeof VX / sizeof *VX; x++) {
        snprintf(key, sizeof key, "V%g", VX[x]);
        put_volume(out, key, dvh, VX[x], failed);
    }
    if (strcmp(v->structure[k], "Bowel") == 0) {
        const double value[2] = {(double)dg_dvh_voxels_at(&dvh[PRED], 45) * voxel_cc,
                                 (double)dg_dvh_voxels_at(&dvh[TARGET], 45) * voxel_cc};
        put_pair(out, "V45_cc", value, failed);
    }
    if (rx_gy > 0) {
        put_volume(out, "V100", dvh, rx_gy, failed);
        put_volume(out, "V95", dvh, 0.95 * rx_gy, failed);
    }
}

dg_status upstream_dvh(const upstream_volumes *v, json_t *out, bool *failed)
{
    const float *const dose[2] = {v->pred_gy, v->target_gy};
    dg_status status = DG_OK;
    for (int k = 0; k < v->structure_count && status == DG_OK; k++) {
        json_t *one = json_object();
        dg_dvh dvh[2] = {{.dose_gy = NULL}};
        upstream_put(out, v->structure[k], one, failed);
        for (int d = 0; d < 2 && status == DG_OK; d++)
            status = dg_dvh_create(dose[d], v->masks, (uint64_t)1 << k, v->voxels, 1, &dvh[d]);
        if (status == DG_OK && !*failed) {
            upstream_put(one, "exists", json_boolean(dvh[PRED].count > 0), failed);
            if (dvh[PRED].count > 0) put_structure(v, k, dvh, one, failed);
        }
        dg_dvh_release(&dvh[PRED]);
        dg_dvh_release(&dvh[TARGET]);
    }
    return status;
}

/* ---- constraints ------------------------------------------------------------------------------------------------- */

typedef struct verdicts {
    json_t *structures, *violations, *missing;
    int64_t passed, failed, not_evaluated;
} verdicts;

/* What the reference calls a metric of the table, and where its value stands. */
static void metric_names(const dg_metric *m, char name[24], char key[32])
{
    if (m->kind == DG_METRIC_MAX) {
        snprintf(name, 24, "Dmax");
        snprintf(key, 32, "pred_max_gy");
        return;
    }
    snprintf(name, 24, m->kind == DG_METRIC_VOLUME_CC ? "V%g_cc" : "V%g", m->value);
    snprintf(key, 32, "pred_%s", name);
}

static void put_missing(verdicts *r, const constraint_row *row, const char *name, const char *reason, bool *failed)
{
    r->not_evaluated++;
    if (json_array_append_new(
            r->missing, json_pack("{s:s, s:s, s:s}", "structure", row->name[0], "metric", name, "reason", reason)) != 0)
        *failed = true;
}

/* One row whose value is known; the checked row has `passed`, the violation names the structure. */
static bool put_checked(verdicts *r, const constraint_row *row, const char *name, double value, json_t *checked,
                        bool *failed)
{
    const bool least = row->comparison == AT_LEAST, passed = least ? value >= row->limit : value <= row->limit;
    json_t *o = json_pack("{s:s, s:s, s:f, s:s, s:f, s:b, s:s}", "metric", name, "constraint_type",
                          least ? "min" : "max", "limit", row->limit, "unit", dg_metric_unit(&row->metric), "predicted",
                          dg_round_decimals(value, 2), "passed", (int)passed, "description", row->notes);
    if (json_array_append_new(checked, o) != 0) *failed = true;
    *(passed ? &r->passed : &r->failed) += 1;
    if (passed || *failed) return passed;
    json_t *violation = json_copy(o);
    json_object_del(violation, "passed");
    upstream_put(violation, "structure", json_string(row->name[0]), failed);
    if (json_array_append_new(r->violations, violation) != 0) *failed = true;
    return false;
}

/* Rows first .. end - 1 are of one structure. */
static void check_structure(const json_t *dvh_metrics, const dg_constraint_table *t, int first, int end, verdicts *r,
                            bool *failed)
{
    const json_t *metrics = json_object_get(dvh_metrics, t->row[first].name[0]);
    const bool exists = json_is_true(json_object_get(metrics, "exists"));
    json_t *checked = json_array();
    bool passed = true;
    for (int row = first; row < end; row++) {
        char name[24], key[32];
        metric_names(&t->row[row].metric, name, key);
        const json_t *value = json_object_get(metrics, key);
        if (!exists)
            put_missing(r, &t->row[row], name,
                        metrics == NULL ? "structure not in dvh_metrics" : "structure mask is empty", failed);
        else if (value == NULL)
            put_missing(r, &t->row[row], name, "metric key not found in dvh_metrics", failed);
        else
            passed &= put_checked(r, &t->row[row], name, json_number_value(value), checked, failed);
    }
    if (!exists) {
        json_decref(checked);
        return;
    }
    upstream_put(r->structures, t->row[first].name[0],
                 json_pack("{s:s, s:o, s:b}", "description", t->row[first].definition, "constraints_checked", checked,
                           "passed", (int)passed),
                 failed);
}

dg_status upstream_constraints(const json_t *dvh_metrics, json_t *out, bool *failed)
{
    dg_constraint_table *table;
    verdicts r = {.structures = json_object(), .violations = json_array(), .missing = json_array()};
    dg_status status = dg_constraint_table_load("upstream_prostate", &table);
    for (int first = 0, end; status == DG_OK && first < table->rows; first = end) {
        for (end = first + 1; end < table->rows && strcmp(table->row[end].name[0], table->row[first].name[0]) == 0;)
            end++;
        check_structure(dvh_metrics, table, first, end, &r, failed);
    }
    const int64_t total = r.passed + r.failed;
    const double rate = total > 0 ? dg_round_decimals(100.0 * (double)r.passed / (double)total, 1) : 0;
    upstream_put(out, "overall_pass", json_boolean(r.failed == 0), failed);
    upstream_put_number(out, "compliance_rate", rate, failed);
    upstream_put(out, "structures", r.structures, failed);
    upstream_put(out, "violations", r.violations, failed);
    upstream_put(out, "missing", r.missing, failed);
    upstream_put(out, "summary",
                 json_pack("{s:I, s:I, s:I, s:I}", "total_constraints", (json_int_t)total, "passed",
                           (json_int_t)r.passed, "failed", (json_int_t)r.failed, "not_evaluated",
                           (json_int_t)r.not_evaluated),
                 failed);
    if (status == DG_OK) dg_constraint_table_destroy(&table);
    return status;
}
