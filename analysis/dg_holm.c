/* dg_holm.c - see dg_holm.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_holm.h"
#include "dg_mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct entry {
    double p;
    int64_t index;
} entry;

static int by_p(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->p != y->p) return x->p < y->p ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

double dg_round_decimals(double value, int decimals)
{
    char text[400]; /* the largest double has 309 digits before the point */
    snprintf(text, sizeof text, "%.*f", decimals, value);
    return strtod(text, NULL);
}

static void textbook(const entry *sorted, int64_t m, double alpha, double *adjusted, bool *significant)
{
    double running = 0;
    bool open = true;
    for (int64_t i = 0; i < m; i++) {
        const double left = (double)(m - i);
        running = fmax(running, fmin(1, sorted[i].p * left));
        open = open && sorted[i].p <= alpha / left;
        adjusted[sorted[i].index] = running;
        significant[sorted[i].index] = open;
    }
}

static void without_stop(const entry *sorted, int64_t m, double alpha, double *adjusted, bool *significant)
{
    for (int64_t i = 0; i < m; i++) {
        const double left = (double)(m - i);
        adjusted[sorted[i].index] = dg_round_decimals(fmin(1, sorted[i].p * left), 6);
        significant[sorted[i].index] = sorted[i].p <= alpha / left;
    }
}

dg_status dg_holm(const double *p, int64_t count, double alpha, bool upstream, double *adjusted, bool *significant)
{
    entry *sorted;
    int64_t m = 0;
    if (!(alpha > 0 && alpha < 1)) return DG_FAIL(DG_ERR_USAGE, "alpha is %g; 0 < alpha < 1 is needed", alpha);
    for (int64_t i = 0; i < count; i++)
        if (p[i] < 0 || p[i] > 1)
            return DG_FAIL(DG_ERR_DATA, "p value %lld is %g; it must lie between 0 and 1", (long long)i + 1, p[i]);
    DG_TRY(DG_NEW(&sorted, count, "sorted p values"));
    for (int64_t i = 0; i < count; i++) {
        adjusted[i] = NAN;
        significant[i] = false;
        if (!isnan(p[i])) sorted[m++] = (entry){p[i], i};
    }
    qsort(sorted, (size_t)m, sizeof *sorted, by_p);
    if (upstream)
        without_stop(sorted, m, alpha, adjusted, significant);
    else
        textbook(sorted, m, alpha, adjusted, significant);
    dg_free(&sorted);
    return DG_OK;
}
