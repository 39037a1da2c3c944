/* phantom_anatomy.c - where a phantom's organs and targets lie, and what its CT shows.
 * SPDX-License-Identifier: Apache-2.0 */
#include "phantom_impl.h"

#include <math.h>

/* The mean patient; each case shifts and stretches every shape. */
static const ph_shape mean_shape[PH_BODY] = {
    [PH_BRAINSTEM] = {PH_ELLIPSOID, {0.0, 0.35, 0.62}, {0.17, 0.19, 0.22}},
    [PH_CORD] = {PH_COLUMN, {0.0, 0.45, -0.25}, {0.12, 0.12, 0.68}},
    [PH_RIGHT_PAROTID] = {PH_ELLIPSOID, {-0.62, 0.15, 0.38}, {0.17, 0.24, 0.28}},
    [PH_LEFT_PAROTID] = {PH_ELLIPSOID, {0.62, 0.15, 0.38}, {0.17, 0.24, 0.28}},
    [PH_ESOPHAGUS] = {PH_COLUMN, {0.0, 0.18, -0.68}, {0.10, 0.10, 0.25}},
    [PH_LARYNX] = {PH_ELLIPSOID, {0.0, -0.30, -0.38}, {0.18, 0.18, 0.20}},
    [PH_MANDIBLE] = {PH_ARCH, {0.0, -0.05, 0.25}, {0.62, 0.68, 0.14}},
    [PH_PTV56] = {PH_ELLIPSOID, {-0.42, 0.12, -0.15}, {0.17, 0.20, 0.42}},
    [PH_PTV63] = {PH_ELLIPSOID, {0.20, -0.12, 0.08}, {0.38, 0.36, 0.38}},
    [PH_PTV70] = {PH_ELLIPSOID, {0.20, -0.12, 0.08}, {0.25, 0.24, 0.27}},
};

enum { HU_AIR = -1000, HU_FAT = -90, HU_TISSUE = 40, HU_GLAND = 10, HU_NODE = 60, HU_BONE = 900, HU_SPINE = 450 };

static double between(dg_rng *rng, double low, double high) { return low + (high - low) * dg_rng_uniform(rng); }

static void vary(ph_shape *shape, dg_rng *rng)
{
    for (int i = 0; i < 3; i++) {
        shape->centre[i] += between(rng, -0.04, 0.04);
        shape->semi[i] *= between(rng, 0.88, 1.15);
    }
}

void ph_anatomy_draw(const dg_phantom_config *config, int64_t index, ph_anatomy *anatomy)
{
    dg_rng rng = dg_rng_stream(config->seed, DG_RNG_PHANTOM, (uint64_t)index, PH_STREAM_ANATOMY);
    anatomy->grid = dg_grid_make(config->shape, config->spacing_mm);
    for (int i = 0; i < 3; i++) {
        double extent_mm = (double)config->shape[2 - i] * config->spacing_mm[2 - i];
        anatomy->semi_mm[i] = extent_mm * between(&rng, 0.42, 0.47);
    }
    for (int s = 0; s < PH_BODY; s++) {
        anatomy->shape[s] = mean_shape[s];
        vary(&anatomy->shape[s], &rng);
    }
    /* The boost lies within the second level, on either side. */
    double side = dg_rng_uniform(&rng) < 0.5 ? -1.0 : 1.0;
    ph_shape *boost = &anatomy->shape[PH_PTV70], *around = &anatomy->shape[PH_PTV63];
    boost->centre[0] *= side;
    for (int i = 0; i < 3; i++) {
        around->centre[i] = boost->centre[i];
        around->semi[i] = boost->semi[i] * between(&rng, 1.35, 1.55);
    }
    anatomy->second_node = anatomy->shape[PH_PTV56];
    anatomy->second_node.centre[0] *= -1.0;
    vary(&anatomy->second_node, &rng);
    anatomy->possible[0] = anatomy->shape[PH_PTV56].centre[2] - anatomy->shape[PH_PTV56].semi[2] - 0.18;
    anatomy->possible[1] = boost->centre[2] + around->semi[2] + 0.22;
    const double gantry_rad = between(&rng, 0.0, 0.35);
    /* No channel tells it. Where the spread of the dose is to be known, it must not be part of what nobody can see. */
    anatomy->gantry_rad = config->ambiguity == DG_AMBIGUITY_NONE ? gantry_rad : 0.175;
}

void ph_body_coordinates(const ph_anatomy *anatomy, int64_t z, int64_t y, int64_t x, double u[3])
{
    const dg_grid *grid = &anatomy->grid;
    int64_t index[3] = {x, y, z};
    for (int i = 0; i < 3; i++) {
        double middle = 0.5 * (double)(grid->shape[2 - i] - 1);
        u[i] = ((double)index[i] - middle) * grid->spacing_mm[2 - i] / anatomy->semi_mm[i];
    }
}

static double square(double a) { return a * a; }

static bool inside(const ph_shape *shape, const double u[3])
{
    double p[3];
    for (int i = 0; i < 3; i++) p[i] = (u[i] - shape->centre[i]) / shape->semi[i];
    double flat = square(p[0]) + square(p[1]);
    switch (shape->kind) {
    case PH_ELLIPSOID: return flat + square(p[2]) <= 1.0;
    case PH_COLUMN: return flat <= 1.0 && fabs(p[2]) <= 1.0;
    case PH_ARCH: return fabs(p[2]) <= 1.0 && p[1] < 0.1 && flat <= 1.0 && flat >= 0.62;
    }
    return false;
}

static bool in_body(const double u[3]) { return square(u[0]) + square(u[1]) + pow(fabs(u[2]), 6.0) <= 1.0; }

static uint64_t structures_at(const ph_anatomy *anatomy, const double u[3])
{
    if (!in_body(u)) return 0;
    uint64_t bits = (uint64_t)1 << PH_BODY;
    if (u[2] >= anatomy->possible[0] && u[2] <= anatomy->possible[1]) bits |= (uint64_t)1 << PH_POSSIBLE;
    for (int s = 0; s < PH_PTV56; s++)
        if (inside(&anatomy->shape[s], u)) bits |= (uint64_t)1 << s;
    bool skin = square(u[0]) + square(u[1]) > 0.88;
    if (skin) return bits; /* targets keep off the skin, and off each other: the higher level wins */
    if (inside(&anatomy->shape[PH_PTV70], u)) return bits | (uint64_t)1 << PH_PTV70;
    if (inside(&anatomy->shape[PH_PTV63], u)) return bits | (uint64_t)1 << PH_PTV63;
    if (inside(&anatomy->shape[PH_PTV56], u) || inside(&anatomy->second_node, u)) bits |= (uint64_t)1 << PH_PTV56;
    return bits;
}

static bool has(uint64_t bits, int structure) { return (bits >> structure & 1) != 0; }

static double hounsfield(const ph_anatomy *anatomy, uint64_t bits, const double u[3])
{
    if (!has(bits, PH_BODY)) return HU_AIR;
    if (has(bits, PH_MANDIBLE)) return HU_BONE;
    const ph_shape *cord = &anatomy->shape[PH_CORD];
    double from_cord =
        square((u[0] - cord->centre[0]) / cord->semi[0]) + square((u[1] - cord->centre[1]) / cord->semi[1]);
    if (!has(bits, PH_CORD) && !has(bits, PH_BRAINSTEM) && from_cord < 4.0 && u[2] < cord->centre[2] + cord->semi[2])
        return HU_SPINE;
    if (square(u[0]) + square(u[1]) > 0.9) return HU_FAT;
    bool airway = square(u[0] / 0.1) + square((u[1] + 0.02) / 0.1) < 1.0 && u[2] < 0.2;
    if (airway && !has(bits, PH_PTV70)) return HU_AIR + 50;
    if (has(bits, PH_LEFT_PAROTID) || has(bits, PH_RIGHT_PAROTID)) return HU_GLAND;
    return has(bits, PH_PTV70) ? HU_NODE : HU_TISSUE;
}

void ph_anatomy_paint(const ph_anatomy *anatomy, const dg_phantom_config *config, int64_t index, uint64_t *masks,
                      int16_t *ct_hu)
{
    enum { NOISE_HU = 12 };
    const dg_grid *grid = &anatomy->grid;
    dg_rng rng = dg_rng_stream(config->seed, DG_RNG_PHANTOM, (uint64_t)index, PH_STREAM_CT);
    int64_t at = 0;
    for (int64_t z = 0; z < grid->shape[0]; z++)
        for (int64_t y = 0; y < grid->shape[1]; y++)
            for (int64_t x = 0; x < grid->shape[2]; x++, at++) {
                double u[3];
                ph_body_coordinates(anatomy, z, y, x, u);
                masks[at] = structures_at(anatomy, u);
                double hu = hounsfield(anatomy, masks[at], u);
                if (hu > HU_AIR) hu += NOISE_HU * dg_rng_normal(&rng);
                ct_hu[at] = (int16_t)lrint(fmax(hu, HU_AIR));
            }
}
