/* compare_upstream.c - `compat: upstream`: the rows and the table that the reference tool prints, and the test over seed x case pairs
 * that its instructions ask for. Seeds of one patient are no independent observations: those rows are marked.
 * SPDX-License-Identifier: Apache-2.0 */
#include "compare_impl.h"
#include "dg_mem.h"
#include "dg_upstream_statistics.h"

#include <math.h>
#include <string.h>

enum { METRICS_MAX = 64 };

/* The reference's metrics, then the primary one where it is another. */
static int64_t list_metrics(const dg_compare *compare, const char *metric[METRICS_MAX])
{
    int64_t count = 0;
    bool listed = false;
    while (dg_upstream_compare_metric(count) != NULL) {
        metric[count] = dg_upstream_compare_metric(count);
        listed = listed || strcmp(metric[count], compare->primary) == 0;
        count++;
    }
    if (!listed) metric[count++] = compare->primary;
    return count;
}

/* Every seed of every case as a pair of its own: seeds are matched by number. */
static void pool(const dg_condition *a, const dg_condition *b, const char *metric, pairs *p)
{
    p->n = 0;
    for (int64_t s = 0; s < a->table.seeds; s++)
        for (int64_t k = 0; k < b->table.seeds; k++) {
            if (a->seed[s] != b->seed[k]) continue;
            for (int64_t i = 0; i < a->table.cases; i++) {
                const double x = dg_seed_table_value(&a->table, s, i, metric);
                const double y = dg_seed_table_value(&b->table, k, i, metric);
                if (isnan(x) || isnan(y)) continue;
                p->a[p->n] = x;
                p->b[p->n++] = y;
            }
        }
}

static dg_status pooled_rows(const dg_compare *compare, const dg_condition *a, const dg_condition *b,
                             const char *const *metric, int64_t metrics, json_t **out)
{
    pairs p;
    json_t *rows = json_array();
    DG_TRY(pairs_create(a->table.seeds * compare->cases, &p));
    dg_status status = DG_OK;
    for (int64_t k = 0; status == DG_OK && k < metrics; k++) {
        json_t *row = NULL;
        pool(a, b, metric[k], &p);
        status = dg_upstream_compare_pairs(p.a, p.b, p.n, metric[k], compare->alpha, &row);
        if (row == NULL) continue;
        json_object_set_new(row, "pseudo_replicated", json_true());
        json_array_append_new(rows, row);
    }
    pairs_release(&p);
    *out = rows;
    return status;
}

static dg_status table_text(const dg_compare *compare, const char *const *metric, int64_t metrics, json_t **out)
{
    const char **name = NULL;
    json_t **summary = NULL;
    char *text = NULL;
    dg_status status;
    DG_TRY_GOTO(status, DG_NEW(&name, compare->conditions, "names"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&summary, compare->conditions, "summaries"), cleanup);
    for (int64_t c = 0; c < compare->conditions; c++) {
        name[c] = compare->condition[c].name;
        DG_TRY_GOTO(status, dg_compare_summary(compare, c, &summary[c]), cleanup);
    }
    DG_TRY_GOTO(status,
                dg_upstream_table(name, (const json_t *const *)summary, compare->conditions, metric, metrics, &text),
                cleanup);
    *out = json_string(text);
cleanup:
    for (int64_t c = 0; summary != NULL && c < compare->conditions; c++) json_decref(summary[c]);
    dg_free(&name);
    dg_free(&summary);
    dg_free(&text);
    return status;
}

dg_status compare_upstream(const dg_compare *compare, json_t **out)
{
    const char *metric[METRICS_MAX];
    json_t *experiments = json_array(), *table = NULL;
    const int64_t metrics = list_metrics(compare, metric);
    const dg_condition *a = &compare->condition[0];
    *out = json_pack("{s:s, s:o}", "a", a->name, "comparisons", experiments);
    if (*out == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for the reference tool's rows");
    for (int64_t c = 1; c < compare->conditions; c++) {
        const dg_condition *b = &compare->condition[c];
        json_t *rows, *pooled = NULL;
        DG_TRY(dg_upstream_compare(&a->table, &b->table, metric, metrics, compare->alpha, &rows));
        DG_TRY(pooled_rows(compare, a, b, metric, metrics, &pooled));
        json_array_append_new(experiments,
                              json_pack("{s:s, s:o, s:o}", "b", b->name, "compare", rows, "seed_case_pairs", pooled));
    }
    DG_TRY(table_text(compare, metric, metrics, &table));
    json_object_set_new(*out, "table", table);
    return DG_OK;
}
