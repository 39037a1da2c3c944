/* detectors.c - see detectors.h. SPDX-License-Identifier: Apache-2.0 */
#include "detectors.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A mean over about ten looks says something after five. */
enum { MEMORY = 10, LOOKS_MIN = 5, WORSE_MIN = 3 };
static const double CONFLICT_COSINE = -0.25, /* 104 degrees */
    UNIFORM_SPREAD = 0.02, OVERFIT_RISE = 0.05;

static void mix(double *mean, double value, int64_t seen)
{
    const double parts = seen < MEMORY ? (double)seen : MEMORY;
    *mean += (value - *mean) / parts;
}

/* Notes what a look found; true where the one before did not. */
static bool note(dg_finding *f, bool found, int64_t step, double value)
{
    const bool is_new = found && !f->now;
    f->now = found;
    if (!found) return false;
    if (f->times++ == 0) f->first_step = step;
    f->last_step = step;
    f->value = value;
    return is_new;
}

static bool look_for_conflict(dg_detectors *d, const dg_detector_look *look)
{
    double least = CONFLICT_COSINE;
    dg_finding *f = &d->finding[DG_FINDING_CONFLICT];
    bool found = false;
    for (int a = 0; a < d->terms; a++) {
        for (int b = a + 1; b < d->terms; b++) {
            if (!look->active[a] || !look->active[b] || isnan(look->cosine[a][b])) continue;
            mix(&d->cosine[a][b], look->cosine[a][b], ++d->pair_looks[a][b]);
            if (d->pair_looks[a][b] < LOOKS_MIN || d->cosine[a][b] >= least) continue;
            least = d->cosine[a][b];
            f->a = a;
            f->b = b;
            found = true;
        }
    }
    return note(f, found, look->step, least);
}

unsigned dg_detectors_look(dg_detectors *d, const dg_detector_look *look)
{
    unsigned found = (unsigned)look_for_conflict(d, look) << DG_FINDING_CONFLICT;
    mix(&d->spread, look->spread, ++d->looks);
    if (isnan(look->predicted)) return found;
    mix(&d->predicted, look->predicted, d->looks);
    mix(&d->labelled, look->labelled, d->looks);
    const bool ripe = d->looks >= LOOKS_MIN, some = d->labelled > 0;
    const bool much = d->predicted > 2 * d->labelled + 0.02, little = d->predicted < d->labelled / 2 - 0.005;
    found |= (unsigned)note(&d->finding[DG_FINDING_UNIFORM], ripe && some && d->spread < UNIFORM_SPREAD, look->step,
                            d->spread)
             << DG_FINDING_UNIFORM;
    found |= (unsigned)note(&d->finding[DG_FINDING_FOREGROUND], ripe && (much || little), look->step,
                            d->predicted - d->labelled)
             << DG_FINDING_FOREGROUND;
    return found;
}

void dg_detectors_step(dg_detectors *d, const double *mean)
{
    for (int k = 0; k < d->terms; k++) d->sum[k] += mean[k];
    d->steps++;
}

/* Every term, unweighted, is below what it was before the best validation: totals under different weights are not compared. */
static bool terms_fell(const dg_detectors *d)
{
    bool fell = d->steps > 0;
    for (int k = 0; k < d->terms; k++) fell = fell && d->sum[k] / (double)d->steps <= d->at_best[k];
    return fell;
}

unsigned dg_detectors_validated(dg_detectors *d, int64_t step, double value, double best)
{
    const bool looks_so = value > best * (1 + OVERFIT_RISE) && terms_fell(d);
    d->worse = looks_so ? d->worse + 1 : 0;
    for (int k = 0; k < d->terms; k++) {
        if (value < best && d->steps > 0) d->at_best[k] = d->sum[k] / (double)d->steps;
        d->sum[k] = 0;
    }
    d->steps = 0;
    return (unsigned)note(&d->finding[DG_FINDING_OVERFITTING], d->worse >= WORSE_MIN, step, value / best - 1)
           << DG_FINDING_OVERFITTING;
}

const char *dg_finding_name(dg_finding_kind kind)
{
    static const char *const names[] = {"conflict", "uniform", "foreground", "overfitting"};
    return names[kind];
}

void dg_finding_describe(const dg_detectors *d, dg_finding_kind kind, const char *(*name)(const void *, int),
                         const void *context, char *text, size_t capacity)
{
    const dg_finding *f = &d->finding[kind];
    const double degrees = acos(fmax(-1, fmin(1, f->value))) * 57.29577951308232;
    switch (kind) {
    case DG_FINDING_CONFLICT:
        (void)snprintf(
            text, capacity,
            "%s and %s pull apart: their gradients stand at %.0f degrees on average; lower the weight of the "
            "less wanted one, or let it begin in a later phase (loss.phases)",
            name(context, (int)f->a), name(context, (int)f->b), degrees);
        break;
    case DG_FINDING_UNIFORM:
        (void)snprintf(text, capacity,
                       "the output is nearly the same everywhere (standard deviation %.2g): the network tells no voxel "
                       "from another; raise optim.lr, lower the weight of variance and entropy, check data.ct_range",
                       f->value);
        break;
    case DG_FINDING_FOREGROUND:
        (void)snprintf(text, capacity,
                       "%s foreground: predicted minus labelled fraction %+.3f; check data.labels, %s "
                       "loss.focal.foreground and data.high_dose_fraction",
                       f->value > 0 ? "too much" : "too little", f->value, f->value > 0 ? "lower" : "raise");
        break;
    default:
        (void)snprintf(text, capacity,
                       "validation is %.0f %% worse than at its best while every term of the loss fell: over-fitting; "
                       "set train.early_stopping.patience, more data.augment, optim.weight_decay or optim.ema",
                       100 * f->value);
    }
}
