/* golden_regions.h - what the golden programs share of the reference study: its structures as regions of a loss, marked as the
 * tool marks them, and its terms (compat upstream). Signed distances are in units of 50 mm; an absent structure is 0
 * everywhere, and so near a boundary. SPDX-License-Identifier: Apache-2.0 */
#ifndef GOLDEN_REGIONS_H
#define GOLDEN_REGIONS_H

#include "dg_loss_term.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

/* Channels behind the CT, in the tool's order; bit k is inside structure k, bit 16 + k near its boundary. */
enum {
    GOLDEN_PTV70,
    GOLDEN_PTV56,
    GOLDEN_PROSTATE,
    GOLDEN_RECTUM,
    GOLDEN_BLADDER,
    GOLDEN_FEMUR_L,
    GOLDEN_FEMUR_R,
    GOLDEN_BOWEL,
    GOLDEN_PTV504,
    GOLDEN_STRUCTURES,
    GOLDEN_NEAR = 16,
    GOLDEN_RX_GY = 70,
    GOLDEN_GOALS = 8
};
static const uint32_t GOLDEN_TARGETS = 1u << GOLDEN_PTV70 | 1u << GOLDEN_PTV56 | 1u << GOLDEN_PTV504,
                      GOLDEN_ORGANS = 1u << GOLDEN_RECTUM | 1u << GOLDEN_BLADDER | 1u << GOLDEN_BOWEL |
                                      1u << GOLDEN_FEMUR_L | 1u << GOLDEN_FEMUR_R;

/* bits[n][voxels] from condition [n][channels][voxels]; returns the voxels in any target, mean over samples. */
static inline float golden_mark_regions(const float *condition, int64_t n, int64_t channels, int64_t voxels, float near,
                                        uint32_t *bits)
{
    double inside = 0;
    for (int64_t i = 0; i < n * voxels; i++) {
        bits[i] = 0;
        for (int64_t k = 0; k + 1 < channels && k < GOLDEN_STRUCTURES; k++) {
            const float sdf = condition[(i / voxels * channels + k + 1) * voxels + i % voxels];
            if (sdf < 0) bits[i] |= 1u << k;
            if (fabsf(sdf) < near) bits[i] |= 1u << (k + GOLDEN_NEAR);
        }
        inside += (bits[i] & GOLDEN_TARGETS) != 0;
    }
    return (float)(inside / (double)n);
}

/* Parameters of the DVH loss. */
typedef struct golden_dvh {
    double d95_weight, vx_weight, dmean_weight, vx_temperature, d95_temperature;
    int bins, min_voxels;
} golden_dvh;

static inline dg_loss_term golden_dvh_term(const golden_dvh *p, double rx_gy)
{
    const struct {
        dg_goal_kind kind;
        int structure;
        double weight, level, limit;
    } goal[GOLDEN_GOALS] = {{DG_GOAL_DOSE, GOLDEN_PTV70, p->d95_weight, 0.95, 0},
                            {DG_GOAL_DOSE, GOLDEN_PTV56, 0.5 * p->d95_weight, 0.95, 0},
                            {DG_GOAL_DOSE, GOLDEN_PTV504, 0.3 * p->d95_weight, 0.95, 0},
                            {DG_GOAL_VOLUME, GOLDEN_RECTUM, p->vx_weight, rx_gy, 0.15},
                            {DG_GOAL_VOLUME, GOLDEN_BLADDER, p->vx_weight, rx_gy, 0.25},
                            {DG_GOAL_MEAN, GOLDEN_RECTUM, p->dmean_weight, 0, 0},
                            {DG_GOAL_MEAN, GOLDEN_BLADDER, p->dmean_weight, 0, 0},
                            {DG_GOAL_MEAN, GOLDEN_BOWEL, p->dmean_weight, 0, 0}};
    dg_loss_term term = {.kind = DG_LOSS_DVH,
                         .upstream = true,
                         .bins = p->bins,
                         .min_voxels = p->min_voxels,
                         .vx_temperature = (float)p->vx_temperature,
                         .d95_temperature = p->d95_temperature,
                         .goals = GOLDEN_GOALS};
    for (int g = 0; g < GOLDEN_GOALS; g++)
        term.goal[g] = (dg_loss_goal){.kind = goal[g].kind,
                                      .region = 1u << goal[g].structure,
                                      .weight = (float)goal[g].weight,
                                      .level = goal[g].level,
                                      .limit = goal[g].limit};
    return term;
}

static inline dg_loss_term golden_structure_term(double inside, double near, double elsewhere)
{
    return (dg_loss_term){.kind = DG_LOSS_STRUCTURE,
                          .upstream = true,
                          .inside = GOLDEN_TARGETS,
                          .near = GOLDEN_ORGANS << GOLDEN_NEAR,
                          .weight_inside = (float)inside,
                          .weight_near = (float)near,
                          .weight_else = (float)elsewhere};
}

static inline dg_loss_term golden_asymmetric_term(double ratio)
{
    return (dg_loss_term){
        .kind = DG_LOSS_ASYMMETRIC, .upstream = true, .inside = GOLDEN_TARGETS, .ratio = (float)ratio};
}

/* The tool's name of a term among its learned weights. */
static inline const char *golden_part_name(dg_loss_kind kind)
{
    return kind == DG_LOSS_MSE         ? "base"
           : kind == DG_LOSS_GRADIENT  ? "gradient"
           : kind == DG_LOSS_DVH       ? "dvh"
           : kind == DG_LOSS_STRUCTURE ? "structure"
                                       : "asymmetric";
}

#endif
