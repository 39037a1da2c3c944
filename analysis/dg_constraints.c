/* dg_constraints.c - judges the rows of a table on a case. A structure's doses are gathered and sorted once for all
 * rows on it that follow each other. SPDX-License-Identifier: Apache-2.0 */
#include "constraint_impl.h"
#include "dg_margin.h"
#include "dg_mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const double TARGET_MARGIN_MM = 5;     /* between a target and one of a higher prescription */
static const double OUTSIDE_SHARE = 0.01;     /* of a structure, at most, may lie where the dose is not known */
static const double FRACTION_SLACK_GY = 0.01; /* prescriptions divided by fractions are rarely round */

/* A structure as it is judged: what is known of its doses. */
typedef struct judged {
    int structure; /* -1: none yet */
    bool whole;    /* targets of higher prescriptions were not cut out of it */
    dg_dvh dvh[2];
    double voxel_max[2];
    double outside_share; /* of its voxels, where the dose is not known */
    bool at_border;
    char name[DG_CONSTRAINT_JUDGED_ON];
} judged;

typedef struct evaluation {
    const dg_constraints_input *in;
    dg_box box[64];                /* around each structure */
    dg_box filled;                 /* member is 0 outside of it */
    uint8_t *member, *near_higher; /* [z,y,x] */
    judged current, body;
} evaluation;

static bool in_box(const dg_box *box, int64_t z, int64_t y, int64_t x)
{
    return z >= box->start[0] && z < box->start[0] + box->shape[0] && y >= box->start[1] &&
           y < box->start[1] + box->shape[1] && x >= box->start[2] && x < box->start[2] + box->shape[2];
}

/* The part of the known box that lies inside the grid. */
static dg_box known_box(const dg_constraints_input *in)
{
    dg_box box;
    for (int a = 0; a < 3; a++) {
        int64_t end = in->known.start[a] + in->known.shape[a];
        box.start[a] = in->known.start[a] < 0 ? 0 : in->known.start[a];
        if (end > in->grid->shape[a]) end = in->grid->shape[a];
        box.shape[a] = end > box.start[a] ? end - box.start[a] : 0;
    }
    return box;
}

static bool on_border(const dg_box *box, int64_t z, int64_t y, int64_t x)
{
    const int64_t at[3] = {z, y, x};
    for (int a = 0; a < 3; a++)
        if (at[a] <= box->start[a] || at[a] >= box->start[a] + box->shape[a] - 1) return true;
    return false;
}

/* Fills member[] with the structure's voxels where the dose is known, less those near higher targets. */
static void gather(evaluation *e, int structure, bool less_higher, judged *out)
{
    const dg_grid *g = e->in->grid;
    const dg_box known = known_box(e->in), *box = &e->box[structure], *old = &e->filled;
    int64_t total = 0, outside = 0;
    out->at_border = false;
    for (int64_t z = old->start[0]; z < old->start[0] + old->shape[0]; z++)
        for (int64_t y = old->start[1]; y < old->start[1] + old->shape[1]; y++)
            memset(e->member + dg_grid_index(g, z, y, old->start[2]), 0, (size_t)old->shape[2]);
    for (int64_t z = box->start[0]; z < box->start[0] + box->shape[0]; z++)
        for (int64_t y = box->start[1]; y < box->start[1] + box->shape[1]; y++)
            for (int64_t x = box->start[2]; x < box->start[2] + box->shape[2]; x++) {
                const int64_t i = dg_grid_index(g, z, y, x);
                if ((e->in->masks[i] >> structure & 1) == 0) continue;
                total++;
                out->at_border |= on_border(&known, z, y, x);
                if (!in_box(&known, z, y, x))
                    outside++;
                else
                    e->member[i] = !less_higher || e->near_higher[i] == 0;
            }
    e->filled = *box;
    out->outside_share = total == 0 ? 0 : (double)outside / (double)total;
}

/* The largest dose of member[]; -INFINITY for none. */
static double largest(const evaluation *e, const float *dose_gy)
{
    double most = -INFINITY;
    const dg_box *box = &e->filled;
    for (int64_t z = box->start[0]; z < box->start[0] + box->shape[0]; z++)
        for (int64_t y = box->start[1]; y < box->start[1] + box->shape[1]; y++)
            for (int64_t x = box->start[2]; x < box->start[2] + box->shape[2]; x++) {
                const int64_t i = dg_grid_index(e->in->grid, z, y, x);
                if (e->member[i] != 0) most = fmax(most, dose_gy[i]);
            }
    return most;
}

static void release_judged(judged *j)
{
    for (int d = 0; d < 2; d++) dg_dvh_release(&j->dvh[d]);
    j->structure = -1;
}

/* Sorted doses of member[], of both doses. */
static dg_status make_dvhs(evaluation *e, judged *out)
{
    static const char *const ROLE[2] = {"reference dose", "prediction"};
    for (int d = 0; d < 2; d++) {
        const dg_dvh_structure structure = {.dose_gy = e->in->dose_gy[d],
                                            .member = e->member,
                                            .grid = e->in->grid,
                                            .box = known_box(e->in),
                                            .supersample = e->in->supersample,
                                            .threads = e->in->threads};
        dg_status status = dg_dvh_create_structure(&structure, &out->dvh[d]);
        if (status != DG_OK) return dg_error_context(status, "%s", ROLE[d]);
        out->voxel_max[d] = largest(e, e->in->dose_gy[d]);
    }
    return DG_OK;
}

/* Targets of a higher prescription than this one, by bits; their name when it is one, else "higher targets". */
static uint64_t higher_targets(const dg_constraints_input *in, int structure, const char **name)
{
    uint64_t bits = 0;
    if (in->structure[structure].role != DG_ROLE_TARGET || !(in->structure[structure].prescription_gy > 0)) return 0;
    for (int k = 0; k < in->structure_count; k++) {
        if (in->structure[k].role != DG_ROLE_TARGET ||
            !(in->structure[k].prescription_gy > in->structure[structure].prescription_gy))
            continue;
        *name = bits == 0 ? in->structure[k].name : "higher targets";
        bits |= (uint64_t)1 << k;
    }
    return bits;
}

static dg_status judge_structure(evaluation *e, int structure, bool whole, judged *out)
{
    const char *higher = "";
    bool less = false;
    const uint64_t bits = whole ? 0 : higher_targets(e->in, structure, &higher);
    if (out->structure == structure && out->whole == whole) return DG_OK;
    release_judged(out);
    if (bits != 0)
        DG_TRY(dg_margin_mask(e->in->masks, bits, e->in->grid, TARGET_MARGIN_MM, false, e->in->threads, e->near_higher,
                              &less));
    snprintf(out->name, sizeof out->name, less ? "%.40s minus (%.40s + %g mm)" : "%.64s",
             e->in->structure[structure].name, higher, TARGET_MARGIN_MM);
    gather(e, structure, less, out);
    DG_TRY(make_dvhs(e, out));
    out->structure = structure;
    out->whole = whole;
    return DG_OK;
}

static int find_structure(const dg_constraints_input *in, const constraint_row *row)
{
    for (int n = 0; n < row->names; n++)
        for (int k = 0; k < in->structure_count; k++)
            if (strcasecmp(in->structure[k].name, row->name[n]) == 0 ||
                (in->structure[k].tg263[0] != '\0' && strcasecmp(in->structure[k].tg263, row->name[n]) == 0))
                return k;
    return -1;
}

static int find_body(const dg_constraints_input *in)
{
    for (int k = 0; k < in->structure_count; k++)
        if (in->structure[k].role == DG_ROLE_BODY) return k;
    return -1;
}

/* How the plan's fractionation fits the row's: 0 physical doses, else the dose per fraction to convert to; NaN with
 * a reason when it cannot be told. */
static double equivalent_fraction(const constraint_row *row, const dg_constraints_input *in, char reason[128])
{
    if (row->fraction_gy[0] == 0) return 0;
    if (!(in->prescription_gy > 0) || in->fractions <= 0) {
        snprintf(reason, 128, "the plan's %s unknown",
                 in->fractions <= 0 ? "number of fractions is" : "prescription is");
        return NAN;
    }
    const double plan_gy = in->prescription_gy / (double)in->fractions;
    if (plan_gy >= row->fraction_gy[0] - FRACTION_SLACK_GY && plan_gy <= row->fraction_gy[1] + FRACTION_SLACK_GY)
        return 0;
    if (row->alpha_beta_gy == 0) {
        snprintf(reason, 128, "the limit is for %g Gy per fraction, the plan has %.4g, and alpha/beta is unknown",
                 row->fraction_gy[1], plan_gy);
        return NAN;
    }
    return row->fraction_gy[1];
}

/* The same structure with every dose D replaced by D (D/n + ab) / (d + ab): equivalent in fractions of d
 * (linear-quadratic model; EQD2 for d = 2). The order of doses stays. */
static dg_status equivalent_dvh(const dg_dvh *dvh, double fraction_gy, double alpha_beta_gy, int64_t fractions,
                                dg_dvh *out)
{
    *out = *dvh;
    DG_TRY(DG_NEW(&out->dose_gy, dvh->count, "equivalent doses"));
    for (int64_t i = 0; i < dvh->count; i++) {
        const double gy = fmax(dvh->dose_gy[i], 0);
        out->dose_gy[i] = (float)(gy * (gy / (double)fractions + alpha_beta_gy) / (fraction_gy + alpha_beta_gy));
    }
    return DG_OK;
}

static bool fulfils(const constraint_row *row, double value)
{
    switch (row->comparison) {
    case BELOW: return value < row->limit;
    case AT_MOST: return value <= row->limit;
    case ABOVE: return value > row->limit;
    default: return value >= row->limit;
    }
}

/* One row on one dose, of a structure that may be judged. */
static dg_status judge_dose(evaluation *e, const constraint_row *row, int d, dg_constraint_result *r)
{
    dg_metric metric = row->metric;
    char reason[96];
    dg_dvh equivalent = {.dose_gy = NULL};
    const judged *j = &e->current;
    double beside = j->voxel_max[d];
    dg_metric_input in = {.dvh = &j->dvh[d],
                          .body = dg_metric_needs_body(&metric) && e->body.structure >= 0 ? &e->body.dvh[d] : NULL,
                          .prescription_gy = e->in->structure[j->structure].prescription_gy,
                          .rule = e->in->rule};
    if (metric.kind == DG_METRIC_MAX) DG_TRY(dg_metric_parse("D0.03cc", &metric));
    if (r->eqd_gy > 0) {
        DG_TRY(equivalent_dvh(&j->dvh[d], r->eqd_gy, row->alpha_beta_gy, e->in->fractions, &equivalent));
        in.dvh = &equivalent;
        beside = fmax(beside, 0) * (fmax(beside, 0) / (double)e->in->fractions + row->alpha_beta_gy) /
                 (r->eqd_gy + row->alpha_beta_gy);
    }
    r->value[d] = dg_metric_evaluate(&metric, &in, reason);
    dg_dvh_release(&equivalent);
    if (row->metric.kind == DG_METRIC_MAX && j->dvh[d].count > 0) r->beside[d] = beside;
    if (isnan(r->value[d]))
        snprintf(r->reason, sizeof r->reason, "%s", reason);
    else
        r->verdict[d] = fulfils(row, r->value[d]) ? DG_VERDICT_PASS : DG_VERDICT_FAIL;
    return DG_OK;
}

/* Why a row cannot be judged on this structure; "" when it can. */
static void find_obstacle(const constraint_row *row, const judged *j, const dg_constraints_input *in, char reason[128])
{
    const bool cc = strcmp(dg_metric_unit(&row->metric), "cc") == 0;
    reason[0] = '\0';
    if (j->dvh[0].count == 0 && j->outside_share == 1)
        snprintf(reason, 128, "all of %.64s lies outside the dose grid", in->structure[j->structure].name);
    else if (j->dvh[0].count == 0 && strstr(j->name, " minus ") != NULL)
        snprintf(reason, 128, "nothing is left of %.100s", j->name);
    else if (j->dvh[0].count == 0)
        snprintf(reason, 128, "%.64s is empty", j->name);
    else if (cc && j->at_border)
        snprintf(reason, 128, "%.64s touches the border of the grid: its volume may be cut", j->name);
    else if (row->low_dose && j->outside_share > OUTSIDE_SHARE)
        snprintf(reason, 128, "%.1f %% of %.64s lie outside the dose grid", 100 * j->outside_share, j->name);
}

static dg_status judge_row(evaluation *e, const constraint_row *row, dg_constraint_result *r)
{
    const int structure = find_structure(e->in, row);
    if (structure < 0) {
        snprintf(r->reason, sizeof r->reason, "no structure %.64s", row->name[0]);
        return DG_OK;
    }
    const bool needs_body = dg_metric_needs_body(&row->metric);
    DG_TRY(judge_structure(e, structure, needs_body, &e->current));
    const int body = find_body(e->in);
    if (needs_body && body >= 0) DG_TRY(judge_structure(e, body, true, &e->body));
    snprintf(r->judged_on, sizeof r->judged_on, "%s", e->current.name);
    find_obstacle(row, &e->current, e->in, r->reason);
    if (r->reason[0] != '\0') return DG_OK;
    const double fraction_gy = equivalent_fraction(row, e->in, r->reason);
    if (isnan(fraction_gy)) return DG_OK;
    r->eqd_gy = fraction_gy;
    for (int d = 0; d < 2; d++) DG_TRY(judge_dose(e, row, d, r));
    return DG_OK;
}

dg_status dg_constraints_evaluate(const dg_constraint_table *table, const dg_constraints_input *input,
                                  dg_constraint_result *results)
{
    evaluation e = {.in = input, .current.structure = -1, .body.structure = -1};
    const int64_t voxels = dg_grid_voxels(input->grid);
    dg_status status;
    dg_mask_boxes(input->masks, input->grid, e.box);
    DG_TRY_GOTO(status, DG_NEW(&e.member, voxels, "voxels of a structure"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&e.near_higher, voxels, "higher targets with margin"), cleanup);
    for (int row = 0; row < table->rows; row++) {
        memset(&results[row], 0, sizeof results[row]);
        results[row].row = row;
        for (int d = 0; d < 2; d++) {
            results[row].verdict[d] = DG_VERDICT_NOT_EVALUATED;
            results[row].value[d] = results[row].beside[d] = NAN;
        }
        DG_TRY_GOTO(status, judge_row(&e, &table->row[row], &results[row]), cleanup);
    }
cleanup:
    release_judged(&e.current);
    release_judged(&e.body);
    dg_free(&e.member);
    dg_free(&e.near_higher);
    return status;
}
