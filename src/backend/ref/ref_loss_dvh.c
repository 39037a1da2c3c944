/* ref_loss_dvh.c - dose-volume goals: each metric with its derivative by every dose of the region.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ref_loss.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The doses of a region. */
typedef struct doses {
    double *x; /* [count] */
    int64_t count;
} doses;

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* How many of the sorted values are below x, or not above it. */
static int64_t count_below(const double *sorted, int64_t count, double x, bool or_equal)
{
    int64_t low = 0, high = count;
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (sorted[middle] < x || (or_equal && sorted[middle] == x))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Length of the part of [a, b] in [first, last]. */
static double overlap(double a, double b, double first, double last) { return fmax(0, fmin(b, last) - fmax(a, first)); }

/* Mean of the doses with ranks in a window around the wanted one; equal doses share their ranks. */
static dg_status window_dose(const dg_loss_term *term, double level, doses in, double *metric, double *slope)
{
    double *sorted = NULL, share = 1 - level, n = (double)in.count;
    DG_TRY(DG_NEW(&sorted, in.count, "sorted doses"));
    memcpy(sorted, in.x, (size_t)in.count * sizeof *sorted);
    qsort(sorted, (size_t)in.count, sizeof *sorted, ascending);
    const double half = fmax(0.5, fmin(term->window, fmin(share, level)) * n);
    const double centre = fmin(fmax(share * n, half), n - half), first = centre - half, last = centre + half;
    *metric = 0;
    for (int64_t r = 0; r < in.count; r++)
        *metric += sorted[r] * overlap((double)r, (double)r + 1, first, last) / (last - first);
    for (int64_t i = 0; i < in.count; i++) {
        const int64_t below = count_below(sorted, in.count, in.x[i], false);
        const int64_t equal = count_below(sorted, in.count, in.x[i], true) - below;
        slope[i] = overlap((double)below, (double)(below + equal), first, last) / (last - first) / (double)equal;
    }
    dg_free(&sorted);
    return DG_OK;
}

/* The tool makes its bins in f32, by torch.linspace, which counts from both ends. */
static double edge(int k, int bins)
{
    const float step = 1.5f / (float)bins;
    return k < (bins + 1) / 2 ? step * (float)k : 1.5f - step * (float)(bins - k);
}
static double centre_of(int bin, int bins) { return (float)(edge(bin, bins) + edge(bin + 1, bins)) / 2; }
static double sigma_of(int bins) { return edge(1, bins) / 2; }

static double bell(const dg_loss_term *term, double x, int bin)
{
    const double u = (x - centre_of(bin, term->bins)) / sigma_of(term->bins);
    return exp(-u * u / 2);
}

/* The reference tool's D95: every bin weighted by how near the share of the volume above it is to the level. */
static dg_status histogram_dose(const dg_loss_term *term, double level, doses in, double *metric, double *slope)
{
    const int bins = term->bins;
    const double sigma = sigma_of(bins), n = (double)in.count, temperature = term->d95_temperature;
    double *mass = NULL, *by_mass = NULL, weights = 1e-8, moment = 0, above = 0;
    DG_TRY(DG_NEW(&mass, 2 * (int64_t)bins, "soft histogram"));
    by_mass = mass + bins;
    for (int64_t i = 0; i < in.count; i++) {
        double sum = 1e-8;
        for (int k = 0; k < bins; k++) sum += bell(term, in.x[i], k);
        for (int k = 0; k < bins; k++) mass[k] += bell(term, in.x[i], k) / sum;
    }
    for (int pass = 0; pass < 2; pass++) {
        above = 0;
        for (int k = bins - 1; k >= 0; k--) {
            above += mass[k] / n;
            const double centre = centre_of(k, bins), off = (above - level) / temperature, u = exp(-off * off / 2);
            if (pass == 0) {
                weights += u;
                moment += u * centre;
            } else {
                by_mass[k] = -off / temperature * u * (centre - *metric) / weights / n;
            }
        }
        *metric = moment / weights;
    }
    for (int k = 1; k < bins; k++) by_mass[k] += by_mass[k - 1];
    for (int64_t i = 0; i < in.count; i++) {
        double sum = 1e-8, sum_slope = 0, by = 0, by_slope = 0;
        for (int k = 0; k < bins; k++) {
            const double w = bell(term, in.x[i], k), dw = -(in.x[i] - centre_of(k, bins)) / (sigma * sigma) * w;
            sum += w;
            sum_slope += dw;
            by += by_mass[k] * w;
            by_slope += by_mass[k] * dw;
        }
        slope[i] = by_slope / sum - by * sum_slope / (sum * sum);
    }
    dg_free(&mass);
    return DG_OK;
}

static dg_status measure(const dg_loss_term *term, const dg_loss_goal *goal, double scale_gy, doses in, double *metric,
                         double *slope)
{
    const double n = (double)in.count, threshold = goal->level / scale_gy, width = term->vx_temperature;
    if (goal->kind == DG_GOAL_DOSE)
        return (term->upstream ? histogram_dose : window_dose)(term, goal->level, in, metric, slope);
    *metric = 0;
    for (int64_t i = 0; i < in.count; i++) {
        const double s = 1 / (1 + exp(-(in.x[i] - threshold) / width));
        *metric += (goal->kind == DG_GOAL_MEAN ? in.x[i] : s) / n;
        slope[i] = (goal->kind == DG_GOAL_MEAN ? 1 : s * (1 - s) / width) / n;
    }
    return DG_OK;
}

/* Loss of a goal, and its derivative by the metric. */
static double judge(const dg_loss_goal *goal, double predicted, double plan, double *by_metric)
{
    const double excess = predicted - plan, over = predicted - goal->limit;
    switch (goal->kind) {
    case DG_GOAL_DOSE: *by_metric = excess < 0 ? -1 : 0; return fmax(0, -excess);
    case DG_GOAL_MEAN: *by_metric = excess > 0; return fmax(0, excess);
    default: *by_metric = (over > 0) + 0.5 * (excess > 0); return fmax(0, over) + 0.5 * fmax(0, excess);
    }
}

/* The region's doses in p and t, and slopes of the goal's metric; all of them in one block at *memory. */
static dg_status one_goal(const dg_loss_term *term, const dg_loss_goal *goal, const ref_sample *s, double *memory,
                          double value[DG_GOAL_VALUES], double *d)
{
    const int64_t voxels = s->grid.z * s->grid.y * s->grid.x;
    doses p = {memory, 0}, t = {memory + voxels, 0};
    double *slope = memory + 2 * voxels, *unused = memory + 3 * voxels, by_metric;
    for (int64_t i = 0; i < voxels; i++) {
        if (!ref_counts(s, i) || (s->regions[i] & goal->region) == 0) continue;
        p.x[p.count++] = s->p[i];
        t.x[t.count++] = s->t[i];
    }
    memset(value, 0, DG_GOAL_VALUES * sizeof *value);
    if (p.count == 0 || p.count < term->min_voxels) return DG_OK;
    DG_TRY(measure(term, goal, s->scale_gy, p, &value[1], slope));
    DG_TRY(measure(term, goal, s->scale_gy, t, &value[2], unused));
    value[0] = judge(goal, value[1], value[2], &by_metric);
    int64_t at = 0;
    for (int64_t i = 0; i < voxels; i++)
        if (ref_counts(s, i) && (s->regions[i] & goal->region) != 0) d[i] += goal->weight * by_metric * slope[at++];
    return DG_OK;
}

dg_status ref_loss_dvh(const dg_loss_term *term, const ref_sample *s, double *value, double *d)
{
    double *memory = NULL;
    dg_status status = DG_NEW(&memory, 4 * s->grid.z * s->grid.y * s->grid.x, "doses of a region");
    value[0] = 0;
    for (int g = 0; g < term->goals && status == DG_OK; g++) {
        double *of_goal = value + 1 + DG_GOAL_VALUES * g;
        status = one_goal(term, &term->goal[g], s, memory, of_goal, d);
        value[0] += term->goal[g].weight * of_goal[0];
    }
    dg_free(&memory);
    return status;
}
