/* detectors.h - signs that a run does not learn what it should: terms of the loss that pull apart, an output that is the same
 * everywhere, too much or too little foreground, and scores that worsen while the loss falls. Pure functions on what was measured;
 * they change nothing of a run. doc/training.md, "Detectors". SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_DETECTORS_H
#define DG_DETECTORS_H

#include "dg_loss.h"

typedef enum dg_finding_kind {
    DG_FINDING_CONFLICT,
    DG_FINDING_UNIFORM,
    DG_FINDING_FOREGROUND,
    DG_FINDING_OVERFITTING,
    DG_FINDINGS
} dg_finding_kind;

/* What one sample showed. */
typedef struct dg_detector_look {
    int64_t step;
    bool active[DG_LOSS_TERMS_MAX];                      /* the term has a weight in this step */
    double cosine[DG_LOSS_TERMS_MAX][DG_LOSS_TERMS_MAX]; /* of the angle between the gradients of two; NaN: one is 0 */
    double spread;              /* standard deviation of the output over the voxels that count */
    double predicted, labelled; /* fractions of foreground; NaN for doses */
} dg_detector_look;

typedef struct dg_finding {
    int64_t times, first_step, last_step; /* looks or validations that found it; 0: never */
    double value;                         /* at the last: cosine, spread, predicted minus labelled, share of the best */
    int64_t a, b;                         /* conflict: the terms */
    bool now;                             /* the last look found it */
} dg_finding;

typedef struct dg_detectors {
    int64_t terms, looks;
    double cosine[DG_LOSS_TERMS_MAX][DG_LOSS_TERMS_MAX]; /* means over about the last ten looks */
    int64_t pair_looks[DG_LOSS_TERMS_MAX][DG_LOSS_TERMS_MAX];
    double spread, predicted, labelled;
    double sum[DG_LOSS_TERMS_MAX]; /* of unweighted terms since the last validation */
    int64_t steps;
    double at_best[DG_LOSS_TERMS_MAX]; /* their means before the best validation */
    int64_t worse;                     /* validations in a row that look like over-fitting */
    dg_finding finding[DG_FINDINGS];
} dg_detectors;

/* Each returns a bit (1 << kind) for what it found now and not the time before. */
unsigned dg_detectors_look(dg_detectors *d, const dg_detector_look *look);
void dg_detectors_step(dg_detectors *d, const double *mean);
/* `value` of the monitor, lower is better; `best`: the lowest before. */
unsigned dg_detectors_validated(dg_detectors *d, int64_t step, double value, double best);

/* "conflict", "uniform", "foreground", "overfitting". */
const char *dg_finding_name(dg_finding_kind kind);
/* What was found and what to do about it, in a sentence or two; `name` of terms. */
void dg_finding_describe(const dg_detectors *d, dg_finding_kind kind, const char *(*name)(const void *, int),
                         const void *context, char *text, size_t capacity);

#endif
