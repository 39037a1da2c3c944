/* split.h - which cases train, choose the best checkpoint, and stay untouched. One split for all seeds of an experiment:
 * it depends on data.split alone, and never parts the cases of one patient. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_SPLIT_H
#define DG_SPLIT_H

#include "dg_cohort.h"
#include "run_config.h"

#include <jansson.h>

typedef enum dg_part { DG_PART_TRAIN, DG_PART_VAL, DG_PART_TEST, DG_PARTS } dg_part;

/* Case indices of a cohort per part, each sorted by case id. */
typedef struct dg_split {
    int64_t *index[DG_PARTS]; /* owned */
    int64_t count[DG_PARTS];
} dg_split;

const char *dg_part_name(dg_part part); /* "train", "val", "test" */

/* Draws the split, or reads data.split.file. Cases without what is learned (dose or, config->labels, labels: each
 * case is opened to ask it) take part in neither training nor validation: a drawn split leaves them out. Drawn: groups sorted by (site, prescription, structures, a Philox number of the group), then
 * dealt out so that every stretch of that order keeps the shares; parts with a share get at least one group where there
 * are enough. DG_ERR_USAGE: no training case. DG_ERR_DATA: a file names an unknown case, one case twice, or parts a
 * group. */
DG_MUST_USE dg_status dg_split_make(const dg_split_config *config, const dg_cohort *cohort, dg_split *out);
/* Fold `fold` of `folds` (2 or more): groups in the order of the drawn split are dealt out to the folds in turn; those of this
 * fold are the test part, of the others data.split.train and .val give the shares. data.split.test and .file do not count.
 * DG_ERR_USAGE: fewer groups than folds. */
DG_MUST_USE dg_status dg_split_fold(const dg_split_config *config, const dg_cohort *cohort, int folds, int fold,
                                    dg_split *out);
void dg_split_release(dg_split *split);

/* Ids of one part from a file like test_cases.json; *ids is the caller's (dg_free). DG_ERR_FORMAT gives the line. */
DG_MUST_USE dg_status dg_split_read_part(const char *path, dg_part part, char (**ids)[DG_CASE_ID], int64_t *count);

/* {"train": [ids], "val": .., "test": .., "structures": {"PTV70": {"train": n, ..}}}; the caller's. NULL: no memory. */
json_t *dg_split_to_json(const dg_split *split, const dg_cohort *cohort);
/* "PTV70 20/5/5, Larynx 18/4/5": cases of each part that have a structure. */
void dg_split_describe(const dg_split *split, const dg_cohort *cohort, char *text, size_t capacity);
/* Names structures that have training cases and no test (or validation) case, "" when all is well. */
void dg_split_warning(const dg_split *split, const dg_cohort *cohort, char *text, size_t capacity);

#endif
