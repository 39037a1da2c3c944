/* dg_rank_correlation.c - see dg_rank_correlation.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_rank_correlation.h"
#include "dg_distributions.h"
#include "dg_mem.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

enum { PAIRS_MIN = 4 };

typedef struct item {
    double value;
    int64_t index;
} item;

static int by_value(const void *a, const void *b)
{
    const item *x = a, *y = b;
    if (x->value != y->value) return x->value < y->value ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

/* Twice the average rank, less n + 1: integers whose sum is 0. */
static void centred_ranks(const double *value, int64_t n, item *sorted, int64_t *rank)
{
    for (int64_t i = 0; i < n; i++) sorted[i] = (item){value[i], i};
    qsort(sorted, (size_t)n, sizeof *sorted, by_value);
    for (int64_t i = 0; i < n;) {
        int64_t end = i + 1;
        while (end < n && sorted[end].value == sorted[i].value) end++;
        for (int64_t k = i; k < end; k++) rank[sorted[k].index] = i + 1 + end - (n + 1);
        i = end;
    }
}

static int64_t product(const int64_t *a, const int64_t *b, int64_t n)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* Share of all orders of b (Heap's algorithm) whose product with a is at least as far from 0. */
static double exact_p(const int64_t *a, int64_t *b, int64_t n, int64_t seen)
{
    int64_t turn[DG_SPEARMAN_EXACT_MAX] = {0}, orders = 1, far = 1; /* the order there is */
    for (int64_t i = 1; i < n;) {
        if (turn[i] >= i) {
            turn[i++] = 0;
            continue;
        }
        const int64_t k = i % 2 == 0 ? 0 : turn[i], kept = b[k];
        b[k] = b[i];
        b[i] = kept;
        turn[i]++;
        i = 1;
        orders++;
        far += llabs(product(a, b, n)) >= llabs(seen);
    }
    return (double)far / (double)orders;
}

static double student_p(double rho, int64_t n)
{
    const double freedom = (double)(n - 2), rest = 1 - rho * rho;
    return fmax(rest > 0 ? dg_student_two_sided(rho * sqrt(freedom / rest), freedom) : 0, DBL_MIN);
}

static void judge(int64_t *a, int64_t *b, int64_t n, dg_spearman *out)
{
    const double squares = sqrt((double)product(a, a, n) * (double)product(b, b, n));
    const int64_t seen = product(a, b, n);
    if (!(squares > 0)) return;
    out->rho = fmin(1, fmax(-1, (double)seen / squares));
    out->exact = n <= DG_SPEARMAN_EXACT_MAX;
    out->p = out->exact ? exact_p(a, b, n, seen) : student_p(out->rho, n);
    out->p_smallest = out->exact ? 2 / tgamma((double)n + 1) : DBL_MIN;
}

dg_status dg_spearman_test(const double *x, const double *y, int64_t count, dg_spearman *out)
{
    double *value = NULL;
    item *sorted = NULL;
    int64_t *rank = NULL, n = 0;
    dg_status status;
    *out = (dg_spearman){.rho = NAN, .p = NAN, .p_smallest = NAN};
    DG_TRY_GOTO(status, DG_NEW(&value, 2 * count, "pairs"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&sorted, count, "sorted values"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&rank, 2 * count, "ranks"), cleanup);
    for (int64_t i = 0; i < count; i++) {
        if (isnan(x[i]) || isnan(y[i])) continue;
        value[n] = x[i];
        value[count + n++] = y[i];
    }
    out->n = n;
    if (n >= PAIRS_MIN) {
        centred_ranks(value, n, sorted, rank);
        centred_ranks(value + count, n, sorted, rank + count);
        judge(rank, rank + count, n, out);
    }
cleanup:
    dg_free(&value);
    dg_free(&sorted);
    dg_free(&rank);
    return status;
}
