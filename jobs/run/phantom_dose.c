/* phantom_dose.c - the dose of a phantom: targets at their prescription, two-scale fall-off, nine beams, organs spared;
 * and hidden choices that move dose about outside the targets, linear in their variables so that mean and spread are
 * exact. SPDX-License-Identifier: Apache-2.0 */
#include "dg_distance.h"
#include "dg_mem.h"
#include "phantom_impl.h"

#include <math.h>
#include <stdio.h>

enum { BEAMS = 9, MODES = 7 };

/* The hidden variables: how far the plan departs from the mean one. */
enum { Z_LEVEL, Z_LEFT, Z_RIGHT, Z_LARYNX, Z_GANTRY_X, Z_GANTRY_Y, Z_SIDE };

typedef struct plan {
    double z[MODES], variance[MODES], amplitude[MODES];
} plan;

/* Everything is uniform in [-1, 1] but the side, which is -1 or 1. */
static void draw_plan(const dg_phantom_config *config, int64_t index, uint32_t draw, plan *p)
{
    const double one[MODES] = {config->level, 0.5, 0.5, 0.4, 0.25, 0.25, 0.0};
    dg_rng rng = dg_rng_stream(config->seed, DG_RNG_PHANTOM, (uint64_t)index, PH_STREAM_PLAN + draw);
    for (int j = 0; j < MODES; j++) {
        double uniform = 2.0 * dg_rng_uniform(&rng) - 1.0;
        p->z[j] = j == Z_SIDE ? (uniform < 0.0 ? -1.0 : 1.0) : uniform;
        p->variance[j] = j == Z_SIDE ? 1.0 : 1.0 / 3.0;
        p->amplitude[j] = config->ambiguity == DG_AMBIGUITY_NONE ? 0.0 : one[j];
        if (config->ambiguity == DG_AMBIGUITY_TWO && j != Z_LEVEL) p->amplitude[j] = j == Z_SIDE ? 0.5 : 0.3 * one[j];
    }
}

/* What the plan says of organs. The side counts as less on one side and more on the other, so that left and right
 * change places in a mirrored patient. */
static void tell_plan(const plan *p, dg_case_info *info)
{
    static const char *const names[] = {"LeftParotid dose", "RightParotid dose", "Larynx dose"};
    double side = p->z[Z_SIDE] * p->amplitude[Z_SIDE];
    const double value[] = {p->z[Z_LEFT] * p->amplitude[Z_LEFT] + side, p->z[Z_RIGHT] * p->amplitude[Z_RIGHT] - side,
                            p->z[Z_LARYNX] * p->amplitude[Z_LARYNX]};
    info->constraint_count = 3;
    for (int k = 0; k < 3; k++) {
        snprintf(info->constraint_name[k], sizeof info->constraint_name[k], "%s", names[k]);
        info->constraint[k] = (float)value[k];
    }
}

double ph_prescription(int structure)
{
    return structure == PH_PTV70 ? 70.0 : structure == PH_PTV63 ? 63.0 : structure == PH_PTV56 ? 56.0 : 0.0;
}

/* Distance in mm of every voxel to a structure. */
static dg_status distances(const dg_phantom *phantom, const dg_grid *grid, float *distance[PH_BODY])
{
    int64_t count = dg_grid_voxels(grid);
    uint8_t *mask;
    DG_TRY(DG_NEW(&mask, count, "mask of a phantom's structure"));
    dg_status status = DG_OK;
    for (int s = 0; s < PH_BODY && status == DG_OK; s++) {
        for (int64_t i = 0; i < count; i++) mask[i] = (uint8_t)(phantom->masks[i] >> s & 1);
        status = DG_NEW(&distance[s], count, "distances of a phantom");
        if (status == DG_OK) status = dg_distance(mask, grid, 1, distance[s]);
    }
    dg_free(&mask);
    return status;
}

/* Sum of the beams' share of a place (mm from the target): more where a beam enters than where it leaves. */
static double beams_at(const ph_anatomy *anatomy, double dx, double dy)
{
    double sum = 0.0, width = 0.14 * anatomy->semi_mm[0];
    for (int k = 0; k < BEAMS; k++) {
        double angle = anatomy->gantry_rad + 2.0 * M_PI * k / BEAMS;
        double along = dx * cos(angle) + dy * sin(angle), across = -dx * sin(angle) + dy * cos(angle);
        sum += (along > 0.0 ? 1.0 : 0.35) * exp(-0.5 * across * across / (width * width));
    }
    return fmin(sum / 2.0, 1.0);
}

/* What one voxel needs to know. */
typedef struct place {
    double length_mm;            /* half the width of the body: every length is a share of it */
    double off;                  /* 0 in the targets, towards 1 away from them */
    double near_organ[PH_PTV56]; /* 1 in an organ, falling to 0 away from it */
    double dx, dy;               /* mm from the boost */
} place;

static double mean_dose(const ph_anatomy *anatomy, const float *const distance[PH_BODY], int64_t voxel, const place *at)
{
    double dose = 0.0;
    for (int s = PH_PTV56; s <= PH_PTV70; s++) {
        double d = distance[s][voxel] / at->length_mm;
        double share = d > 0.0 ? 0.6 * exp(-d / 0.12) + 0.38 * exp(-d / 0.7) : 1.01;
        dose = fmax(dose, ph_prescription(s) * share);
    }
    dose *= 1.0 + at->off * (0.45 * beams_at(anatomy, at->dx, at->dy) - 0.3);
    static const int spared[] = {PH_BRAINSTEM, PH_CORD, PH_RIGHT_PAROTID, PH_LEFT_PAROTID, PH_LARYNX};
    for (size_t k = 0; k < sizeof spared / sizeof spared[0]; k++)
        dose *= 1.0 - 0.3 * at->off * at->near_organ[spared[k]];
    return dose;
}

/* Relative change m_j of the dose per unit of z_j. The whole never takes away more than 0.85 of the dose, so that it
 * stays positive without clipping, which would spoil the exact mean. */
static void modes_at(const plan *p, const place *at, double m[MODES])
{
    double r = hypot(at->dx, at->dy), ramp = r > 0.0 ? (1.0 - exp(-r / (0.2 * at->length_mm))) / r : 0.0;
    double left = at->near_organ[PH_LEFT_PAROTID], right = at->near_organ[PH_RIGHT_PAROTID];
    double shape[MODES] = {[Z_LEFT] = left,
                           [Z_RIGHT] = right,
                           [Z_LARYNX] = at->near_organ[PH_LARYNX],
                           [Z_GANTRY_X] = at->dx * ramp,
                           [Z_GANTRY_Y] = at->dy * ramp,
                           [Z_SIDE] = sqrt(left) - sqrt(right)}; /* the root reaches further */
    double total = 0.0;
    for (int j = 0; j < MODES; j++) {
        m[j] = p->amplitude[j] * at->off * shape[j];
        total += fabs(m[j]);
    }
    for (int j = 0; j < MODES && total > 0.85; j++) m[j] *= 0.85 / total;
    m[Z_LEVEL] = p->amplitude[Z_LEVEL];
}

static place place_of(const ph_anatomy *anatomy, const float *const distance[PH_BODY], int64_t voxel, const double u[3])
{
    place at = {.length_mm = anatomy->semi_mm[0]};
    double nearest = INFINITY;
    for (int s = PH_PTV56; s <= PH_PTV70; s++) nearest = fmin(nearest, distance[s][voxel]);
    at.off = 1.0 - exp(-nearest / (0.1 * at.length_mm));
    for (int s = 0; s < PH_PTV56; s++) at.near_organ[s] = exp(-distance[s][voxel] / (0.15 * at.length_mm));
    const ph_shape *boost = &anatomy->shape[PH_PTV70];
    at.dx = (u[0] - boost->centre[0]) * anatomy->semi_mm[0];
    at.dy = (u[1] - boost->centre[1]) * anatomy->semi_mm[1];
    return at;
}

static void fill_voxel(const ph_anatomy *anatomy, const plan *p, const float *const distance[PH_BODY], int64_t voxel,
                       const double u[3], dg_phantom *phantom)
{
    if ((phantom->masks[voxel] >> PH_POSSIBLE & 1) == 0) return; /* zeroed memory: no dose outside */
    place at = place_of(anatomy, distance, voxel, u);
    double mean = mean_dose(anatomy, distance, voxel, &at), change = 0.0, variance = 0.0, m[MODES];
    modes_at(p, &at, m);
    for (int j = 0; j < MODES; j++) {
        change += p->z[j] * m[j];
        variance += p->variance[j] * m[j] * m[j];
    }
    phantom->dose_gy[voxel] = (float)(mean * (1.0 + change));
    phantom->mean_gy[voxel] = (float)mean;
    phantom->std_gy[voxel] = (float)(mean * sqrt(variance));
}

dg_status ph_dose(const ph_anatomy *anatomy, const dg_phantom_config *config, int64_t index, uint32_t draw,
                  dg_phantom *phantom)
{
    float *distance[PH_BODY] = {NULL};
    const dg_grid *grid = &anatomy->grid;
    plan p;
    draw_plan(config, index, draw, &p);
    if (config->constraints) tell_plan(&p, &phantom->data.info);
    dg_status status = distances(phantom, grid, distance);
    int64_t at = 0;
    for (int64_t z = 0; z < grid->shape[0] && status == DG_OK; z++)
        for (int64_t y = 0; y < grid->shape[1]; y++)
            for (int64_t x = 0; x < grid->shape[2]; x++, at++) {
                double u[3];
                ph_body_coordinates(anatomy, z, y, x, u);
                fill_voxel(anatomy, &p, (const float *const *)distance, at, u, phantom);
            }
    for (int s = 0; s < PH_BODY; s++) dg_free(&distance[s]);
    return status;
}
