/* domain.h - what the training cases were like, in a few numbers a case: to tell a case that is unlike them.
 *
 * Numbers of a case: CT quantiles (HU) and dose quantiles (in units of the dose scale) over the voxels where dose is possible
 * (else the body, else all), the prescription, how deep its structures are (least signed distance, mm) or how large (cc),
 * constraints. They come from at most DG_DOMAIN_SLICES slices spread over the volume. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_DOMAIN_H
#define DG_DOMAIN_H

#include "dg_cohort.h"
#include "dg_comm.h"

#include <jansson.h>

enum { DG_DOMAIN_MAX = 144, DG_DOMAIN_NAME = 96, DG_DOMAIN_SLICES = 24, DG_DOMAIN_CASES = 32 };

struct dg_recipe;
struct dg_source;

/* The numbers of one case, by the recipe's channels; `has` false: the case lacks what they tell of. */
typedef struct dg_domain_case {
    int count;
    char name[DG_DOMAIN_MAX][DG_DOMAIN_NAME];
    double value[DG_DOMAIN_MAX];
    bool has[DG_DOMAIN_MAX];
} dg_domain_case;

/* The spread of one number over cases: lowest, 5 %, median, 95 % and highest value. */
typedef struct dg_domain_row {
    char name[DG_DOMAIN_NAME];
    int64_t cases;
    double spread[5];
} dg_domain_row;

typedef struct dg_domain {
    int count;
    dg_domain_row row[DG_DOMAIN_MAX];
} dg_domain;

/* Measures a pinned case. `dose_gy` [z,y,x]: whose dose is measured; NULL: the case's own, if it has one. */
DG_MUST_USE dg_status dg_domain_measure(const struct dg_recipe *recipe, dg_case *c, const float *dose_gy,
                                        dg_domain_case *out);
/* The spread over at most DG_DOMAIN_CASES of cases[count], evenly taken, each measured by one rank: the same on any number of
 * ranks. @collective yes. */
DG_MUST_USE dg_status dg_domain_survey(dg_comm *comm, struct dg_source *source, const int64_t *cases, int64_t count,
                                       dg_domain *out);
/* Whether a number is one of the dose. */
bool dg_domain_is_dose(const char *name);
/* Whether number k of a case is outside what the training cases had, by more than a tenth of their range (half of it where they
 * were fewer than 20) and by more than 20 HU, 0.05 of the scale, 2 mm or 1 %; *row: theirs. Numbers that fewer than two cases had judge nothing. */
bool dg_domain_outside(const dg_domain *domain, const dg_domain_case *found, int k, const dg_domain_row **row);

/* An object of [cases, lowest, 5 %, median, 95 %, highest] by name; the caller's. */
json_t *dg_domain_to_json(const dg_domain *domain);
/* False: damaged. NULL is a domain without numbers, as older checkpoints have it. */
bool dg_domain_from_json(const json_t *json, dg_domain *out);

#endif
