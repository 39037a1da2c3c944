/* recipe.h - how a case becomes network input: channels, scaling, voxel size. Resolved once from the settings and the
 * training cases, stored in every checkpoint (state "data"), and read back from there by predict.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_RECIPE_H
#define DG_RECIPE_H

#include "dg_cohort.h"
#include "dg_loss_term.h"
#include "dg_state.h"
#include "domain.h"
#include "run_config.h"

#include <jansson.h>

typedef enum dg_channel_kind {
    DG_CHANNEL_CT,            /* clipped and mapped to [-1, 1] */
    DG_CHANNEL_SDF,           /* signed distance / DG_SDF_CLIP_MM, clipped to [-1, 1]; 1 where the case lacks it */
    DG_CHANNEL_MASK,          /* 0..1; 0 where the case lacks it */
    DG_CHANNEL_RX,            /* highest prescription of the targets that hold the voxel, over the dose scale */
    DG_CHANNEL_POSSIBLE_DOSE, /* mask of that role */
    DG_CHANNEL_BODY           /* mask of that role */
} dg_channel_kind;

enum { DG_CHANNELS_MAX = DG_OPT_STRINGS_MAX, DG_SDF_CLIP_MM = 50 };

typedef struct dg_channel {
    dg_channel_kind kind;
    char structure[DG_STRUCTURE_NAME]; /* of sdf and mask */
    bool required;                     /* every case of the run had it: a case without it cannot be predicted */
    int mirror;                        /* channel that takes its place in a mirrored sample */
} dg_channel;

/* A set of voxels the loss looks at. Of the run's loss, not stored. */
typedef struct dg_loss_region {
    char structure[DG_STRUCTURE_NAME]; /* "": all structures of the role */
    dg_role role;
    double near_mm;            /* 0: inside; else within this distance of the boundary, on both sides */
    bool everywhere_if_absent; /* the reference tool's fault: a structure that is not there is near everywhere */
    int mirror;                /* region that takes its place in a mirrored sample */
} dg_loss_region;

/* What a value of a label means. */
typedef enum dg_label_class {
    DG_LABEL_UNKNOWN,
    DG_LABEL_BACKGROUND,
    DG_LABEL_FOREGROUND,
    DG_LABEL_IGNORE
} dg_label_class;

typedef struct dg_recipe {
    dg_channel channel[DG_CHANNELS_MAX];
    int count;
    double ct_low_hu, ct_high_hu;
    double scale_gy;          /* 0: each case's prescription */
    double spacing_mm[3];     /* zyx; 0: native */
    int64_t coarsen[3];       /* zyx */
    int64_t patch[3];         /* zyx on the network's grid; 0: the whole volume */
    bool framed;              /* patches and windows lie in the box of dg_region_bound */
    int loss_mask;            /* dg_loss_mask */
    bool labels;              /* learns labels, not doses; the scale is then 1 */
    uint8_t label_class[256]; /* dg_label_class of every value */
    char constraint_name[DG_CONSTRAINTS_MAX][DG_STRUCTURE_NAME];
    int constraint_mirror[DG_CONSTRAINTS_MAX]; /* element that takes its place in a mirrored sample */
    int constraint_count;
    double seen_low_mm[3], seen_high_mm[3];     /* native spacing of the training cases */
    bool distance, upstream_distance;           /* the loss asks for distances to the labels' surface; not stored */
    dg_loss_region region[DG_LOSS_REGIONS_MAX]; /* bits of the voxels' regions; dg_loss_setup_make */
    int regions;
    dg_domain domain; /* of the training cases; count 0: not surveyed (yet, or by an older version) */
} dg_recipe;

/* Resolves the channels for training cases `cases[count]` of the cohort. DG_ERR_USAGE names a channel that no training
 * case can fill, or, when samples are mirrored, one whose left/right partner is not a channel; DG_ERR_DATA a case
 * without dose, prescription or the constraints of the others. */
DG_MUST_USE dg_status dg_recipe_resolve(const dg_run_config *config, const dg_cohort *cohort, const int64_t *cases,
                                        int64_t count, dg_recipe *out);
/* What one of these cases (validation, test) lacks is not required either: absence is normal in this cohort, even where all
 * training cases happen to have the structure. */
void dg_recipe_relax(dg_recipe *recipe, const dg_cohort *cohort, const int64_t *cases, int64_t count);
/* "ct", "sdf.PTV70", ...: the text of the config. */
void dg_channel_name(const dg_channel *channel, char *text, size_t capacity);

/* What a case needs to be predicted: DG_ERR_DATA names case and missing structure. */
DG_MUST_USE dg_status dg_recipe_check_case(const dg_recipe *recipe, const dg_case_info *info);
/* True when the case's spacing is more than 10 % outside what training saw. */
bool dg_recipe_outside(const dg_recipe *recipe, const dg_case_info *info);
/* Dose that the network calls 1; DG_ERR_DATA where the case has no prescription and data.scale names none. */
DG_MUST_USE dg_status dg_recipe_scale(const dg_recipe *recipe, const dg_case_info *info, double *scale_gy);
/* The network's grid of a case, and how many voxels of the output grid one of its voxels holds per axis: outputs live on
 * net->shape * sub, which is the native grid (padded at its end) unless data.spacing_mm resamples. */
void dg_recipe_geometry(const dg_recipe *recipe, const dg_grid *native, dg_grid *net, int64_t sub_zyx[3]);
bool dg_recipe_resamples(const dg_recipe *recipe);
/* The constraint vector of a case [constraint_count], of the mirrored case where asked for. */
void dg_recipe_constraints(const dg_recipe *recipe, const dg_case_info *info, bool mirrored, float *out);
/* Value of a channel outside the volume. */
float dg_channel_outside(const dg_recipe *recipe, int channel);

/* Everything above as JSON; the caller's. NULL: no memory. */
json_t *dg_recipe_to_json(const dg_recipe *recipe);
/* The same for people: kinds of channels and the loss mask as the words of the settings, mirror partners as channels. */
json_t *dg_recipe_describe(const dg_recipe *recipe);
/* State "data". An empty recipe (count 0) adopts what is stored; another one must equal it: DG_ERR_MISMATCH names the
 * first key that differs, with both values; it adopts the domain. */
dg_state dg_recipe_state(dg_recipe *recipe);

#endif
