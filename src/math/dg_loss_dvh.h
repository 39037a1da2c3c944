/* dg_loss_dvh.h - dose-volume metrics that can be differentiated, as the backends' loops and kernels share them: what is
 * gathered over the voxels of a region in a fixed order, and how the gathered numbers become a metric and its slope by the
 * dose of each voxel. Formulas: doc/losses.md. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_LOSS_DVH_H
#define DG_LOSS_DVH_H

#include "dg_hd.h"
#include "dg_loss_term.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

/* ---- order statistics: a dose as a key that sorts like it ---------------------------------------------------------- */

DG_HD static inline uint32_t dg_dose_key(float dose)
{
    uint32_t bits;
    memcpy(&bits, &dose, sizeof bits);
    return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}
DG_HD static inline float dg_dose_of_key(uint32_t key)
{
    const uint32_t bits = (key & 0x80000000u) != 0 ? key & 0x7fffffffu : ~key;
    float dose;
    memcpy(&dose, &bits, sizeof dose);
    return dose;
}

/* The window of ranks [first, last] (real numbers in [0, count], voxel of rank r takes (r, r+1]) whose mean dose is D_level:
 * centred at the share 1 - level from below, at least one voxel wide, inside the region. */
typedef struct dg_rank_window {
    double first, last;
} dg_rank_window;
DG_HD static inline dg_rank_window dg_rank_window_of(double level, double half, double count)
{
    const double share = 1.0 - level, room = share < level ? share : level;
    double width = (half < room ? half : room) * count, centre = share * count;
    if (width < 0.5) width = 0.5;
    if (centre < width) centre = width;
    if (centre > count - width) centre = count - width;
    const dg_rank_window window = {centre - width, centre + width};
    return window;
}
/* Rank (0-based) of the voxel that holds the window's start, and of the one that holds its end. */
DG_HD static inline int64_t dg_rank_first(dg_rank_window w) { return (int64_t)floor(w.first); }
DG_HD static inline int64_t dg_rank_last(dg_rank_window w) { return (int64_t)ceil(w.last) - 1; }

/* One end of the window: a dose, how many are below it and how many equal it. */
typedef struct dg_rank_end {
    float dose;
    int64_t below, equal;
} dg_rank_end;

/* Doses of a window: what each voxel's rank adds to the mean. Equal doses share what their ranks overlap. */
typedef struct dg_window_shares {
    float low, high;                 /* the doses at its ends */
    double at_low, at_high, between; /* share of one voxel of that dose in the mean */
} dg_window_shares;
DG_HD static inline dg_window_shares dg_window_shares_of(dg_rank_window w, const dg_rank_end *low,
                                                         const dg_rank_end *high)
{
    dg_window_shares s = {low->dose, high->dose, 0.0, 0.0, 1.0 / (w.last - w.first)};
    const double low_end = (double)(low->below + low->equal), high_start = (double)high->below;
    if (low->dose == high->dose) {
        s.at_low = s.at_high = 1.0 / (double)low->equal;
        return s;
    }
    s.at_low = (low_end - w.first) * s.between / (double)low->equal;
    s.at_high = (w.last - high_start) * s.between / (double)high->equal;
    return s;
}
DG_HD static inline double dg_window_share(const dg_window_shares *s, float dose)
{
    if (dose == s->low) return s->at_low;
    if (dose == s->high) return s->at_high;
    return dose > s->low && dose < s->high ? s->between : 0.0;
}
/* Mean of the window from the sum of the doses strictly between its ends. */
DG_HD static inline double dg_window_mean(const dg_window_shares *s, const dg_rank_end *low, const dg_rank_end *high,
                                          double sum_between)
{
    const double ends = (double)low->equal * s->at_low * low->dose;
    if (low->dose == high->dose) return ends;
    return ends + (double)high->equal * s->at_high * high->dose + sum_between * s->between;
}

/* ---- the reference tool's soft histogram --------------------------------------------------------------------------- */

static const float DG_HISTOGRAM_TOP = 1.5f, DG_HISTOGRAM_EPS = 1e-8f;
enum { DG_HISTOGRAM_REACH = 7 }; /* bins to each side of a dose that get any of it: 14 widths of the bell */

/* Shares go into bins as whole numbers of this size: sums do not depend on their order. */
static const double DG_HISTOGRAM_UNIT = 1.0 / 1099511627776.0; /* 2^-40 */

typedef struct dg_bin_range {
    int first, last;
} dg_bin_range;
DG_HD static inline dg_bin_range dg_bins_near(float dose, int bins)
{
    const float at = dose * ((float)bins / DG_HISTOGRAM_TOP);
    dg_bin_range range = {0, -1};
    if (!(at > (float)-DG_HISTOGRAM_REACH) || !(at < (float)(bins + DG_HISTOGRAM_REACH))) return range;
    const int bin = (int)floorf(at);
    range.first = bin - DG_HISTOGRAM_REACH > 0 ? bin - DG_HISTOGRAM_REACH : 0;
    range.last = bin + DG_HISTOGRAM_REACH < bins - 1 ? bin + DG_HISTOGRAM_REACH : bins - 1;
    return range;
}
/* Edges are rounded to f32 as torch.linspace rounds them: from both ends. */
DG_HD static inline float dg_bin_edge(int edge, int bins)
{
    const float step = DG_HISTOGRAM_TOP / (float)bins;
    return edge < (bins + 1) / 2 ? step * (float)edge : DG_HISTOGRAM_TOP - step * (float)(bins - edge);
}
DG_HD static inline float dg_bin_centre(int bin, int bins)
{
    return 0.5f * (dg_bin_edge(bin, bins) + dg_bin_edge(bin + 1, bins));
}
/* The bell of a dose at a bin: exp(-((x - c) / sigma)^2 / 2), sigma half a bin. */
DG_HD static inline float dg_bin_bell(float dose, int bin, int bins)
{
    const float u = (dose - dg_bin_centre(bin, bins)) * (2.0f * (float)bins / DG_HISTOGRAM_TOP);
    return expf(-0.5f * u * u);
}
DG_HD static inline float dg_bell_sum(float dose, dg_bin_range range, int bins)
{
    float sum = DG_HISTOGRAM_EPS;
    for (int k = range.first; k <= range.last; k++) sum += dg_bin_bell(dose, k, bins);
    return sum;
}
DG_HD static inline unsigned long long dg_bin_share(float share)
{
    return (unsigned long long)((double)share / DG_HISTOGRAM_UNIT + 0.5);
}
/* Soft D95 from the histogram in units; slope[bins] (may be NULL) = its derivative by each bin's mass. */
DG_HD static inline double dg_histogram_dose(const unsigned long long *mass, int bins, double count, double level,
                                             double temperature, float *slope)
{
    double weights = 1e-8, doses = 0.0, above = 0.0;
    for (int k = bins - 1; k >= 0; k--) {
        above += (double)mass[k] * DG_HISTOGRAM_UNIT / count;
        const double off = (above - level) / temperature, u = exp(-0.5 * off * off);
        weights += u;
        doses += u * (double)dg_bin_centre(k, bins);
    }
    const double dose = doses / weights;
    if (slope == NULL) return dose;
    above = 0.0;
    for (int k = bins - 1; k >= 0; k--) { /* by the share above bin k ... */
        above += (double)mass[k] * DG_HISTOGRAM_UNIT / count;
        const double off = (above - level) / temperature, u = exp(-0.5 * off * off);
        slope[k] = (float)(-off / temperature * u * ((double)dg_bin_centre(k, bins) - dose) / weights / count);
    }
    double sum = 0.0;
    for (int k = 0; k < bins; k++) { /* ... and a bin's mass is in the shares above it and all lower ones */
        sum += (double)slope[k];
        slope[k] = (float)sum;
    }
    return dose;
}
/* d metric / d dose of one voxel. */
DG_HD static inline float dg_histogram_slope(const float *slope, float dose, int bins)
{
    const dg_bin_range range = dg_bins_near(dose, bins);
    const float norm = dg_bell_sum(dose, range, bins),
                k2 = 4.0f * (float)bins * (float)bins / (DG_HISTOGRAM_TOP * DG_HISTOGRAM_TOP);
    float by = 0.0f, by_slope = 0.0f, bell_slope = 0.0f;
    for (int k = range.first; k <= range.last; k++) {
        const float w = dg_bin_bell(dose, k, bins), dw = -(dose - dg_bin_centre(k, bins)) * k2 * w;
        by += slope[k] * w;
        by_slope += slope[k] * dw;
        bell_slope += dw;
    }
    return (by_slope - by * bell_slope / norm) / norm;
}

/* ---- goals --------------------------------------------------------------------------------------------------------- */

DG_HD static inline float dg_volume_share(float dose, float threshold, float temperature)
{
    return 1.0f / (1.0f + expf(-(dose - threshold) / temperature));
}
DG_HD static inline float dg_volume_slope(float dose, float threshold, float temperature)
{
    const float s = dg_volume_share(dose, threshold, temperature);
    return s * (1.0f - s) / temperature;
}

/* A goal in one sample. */
typedef struct dg_goal_state {
    int64_t count; /* voxels of the region that count */
    double predicted, plan, loss;
    float coefficient;       /* weight * d loss / d metric; 0 where the goal is met */
    float threshold;         /* of volume goals */
    dg_window_shares shares; /* of the prediction; corrected dose goals */
} dg_goal_state;

DG_HD static inline double dg_above_zero(double x) { return x > 0.0 ? x : 0.0; }

/* Fills loss and coefficient from count, predicted and plan. */
DG_HD static inline void dg_goal_judge(const dg_loss_term *term, const dg_loss_goal *goal, dg_goal_state *state)
{
    const double excess = state->predicted - state->plan;
    state->loss = 0.0;
    state->coefficient = 0.0f;
    if (state->count < (int64_t)term->min_voxels || state->count == 0) {
        state->predicted = state->plan = 0.0;
        return;
    }
    if (goal->kind == DG_GOAL_DOSE) {
        state->loss = dg_above_zero(-excess);
        state->coefficient = excess < 0.0 ? -goal->weight : 0.0f;
    } else if (goal->kind == DG_GOAL_MEAN) {
        state->loss = dg_above_zero(excess);
        state->coefficient = excess > 0.0 ? goal->weight : 0.0f;
    } else {
        const double over = state->predicted - goal->limit;
        state->loss = dg_above_zero(over) + 0.5 * dg_above_zero(excess);
        state->coefficient = goal->weight * ((over > 0.0 ? 1.0f : 0.0f) + (excess > 0.0 ? 0.5f : 0.0f));
    }
}

/* Slope of weight * loss by the dose of a voxel in the region; slope[bins] belongs to the sample and goal. */
DG_HD static inline float dg_goal_slope(const dg_loss_term *term, const dg_loss_goal *goal, const dg_goal_state *state,
                                        const float *slope, float dose)
{
    if (state->coefficient == 0.0f) return 0.0f;
    if (goal->kind == DG_GOAL_MEAN) return state->coefficient / (float)state->count;
    if (goal->kind == DG_GOAL_VOLUME)
        return state->coefficient * dg_volume_slope(dose, state->threshold, term->vx_temperature) / (float)state->count;
    if (term->upstream) return state->coefficient * dg_histogram_slope(slope, dose, term->bins);
    return state->coefficient * (float)dg_window_share(&state->shares, dose);
}

#endif
