/* source.h - cases as the network sees them: any box of a case's channels, dose and counted voxels, read straight from
 * the cohort or cut from a resampled copy in memory.
 *
 * Two grids: the network's (channels) and the output's, which has sub[axis] voxels per network voxel (dg_recipe_geometry).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_SOURCE_H
#define DG_SOURCE_H

#include "perturbation.h"
#include "recipe.h"

typedef struct dg_source dg_source;

/* What a read fills; NULL pointers are left out. Box and channels on the network's grid, the rest on the output's. */
typedef struct dg_source_buffers {
    float *channels;   /* [c,z,y,x] */
    float *dose;       /* [z,y,x], in units of the dose scale */
    uint8_t *counted;  /* [z,y,x], 1 where the loss counts */
    uint32_t *regions; /* [z,y,x], bit r: the voxel is in the recipe's region r */
} dg_source_buffers;

/* `cohort` and `recipe` are borrowed. Whole cases are kept resampled in at most cache_bytes of memory where reading one
 * costs more than cutting it (data.coarsen, data.spacing_mm); nothing is evicted: every case comes once an epoch. */
DG_MUST_USE dg_status dg_source_create(const dg_cohort *cohort, const dg_recipe *recipe, int64_t cache_bytes,
                                       dg_source **out);
void dg_source_destroy(dg_source **source);
/* From now on scans are read as this makes them (borrowed; before the first read); doses and the masks of losses and regions
 * stay as they are. */
void dg_source_perturb(dg_source *source, const dg_perturbation *perturbation);
/* Whether any box costs a pass over the whole case: readers of planes then take all at once. */
bool dg_source_reads_whole(const dg_source *source);
const dg_recipe *dg_source_recipe(const dg_source *source);
const dg_cohort *dg_source_cohort(const dg_source *source);

/* Opens a case for reads until the matching unpin; a few dozen stay open behind it. Main thread only. */
DG_MUST_USE dg_status dg_source_pin(dg_source *source, int64_t index);
void dg_source_unpin(dg_source *source, int64_t index);

/* Reads a box of a pinned case; what lies outside the volume gets the outside values and is not counted. Thread-safe. */
DG_MUST_USE dg_status dg_source_read(dg_source *source, int64_t index, const dg_box *box, const dg_source_buffers *out);
/* The highest-dose aim of sampling: a few hundred voxels spread over the targets, as indices of the network's grid.
 * *count 0: the case has no target. Borrowed, lives with the source. Thread-safe; the case must be pinned. */
DG_MUST_USE dg_status dg_source_targets(dg_source *source, int64_t index, const int64_t **voxels, int64_t *count);
/* The box that samples and windows of a case lie in, on the network's grid: of dg_region_bound where the recipe is framed and
 * the case has such voxels, else the whole. Thread-safe; the case must be pinned. */
DG_MUST_USE dg_status dg_source_frame(dg_source *source, int64_t index, dg_box *frame);
/* Native dose and mask bits of a whole pinned case, for scores. */
dg_case *dg_source_case(dg_source *source, int64_t index);

/* Memory that resampled cases take now. */
int64_t dg_source_cached_bytes(const dg_source *source);

#endif
