/* phantom_impl.h - shared by the files of the phantom. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_PHANTOM_IMPL_H
#define DG_PHANTOM_IMPL_H

#include "dg_rng.h"
#include "phantom.h"

/* Structures in the order of their mask bits. */
enum {
    PH_BRAINSTEM,
    PH_CORD,
    PH_RIGHT_PAROTID,
    PH_LEFT_PAROTID,
    PH_ESOPHAGUS,
    PH_LARYNX,
    PH_MANDIBLE,
    PH_PTV56,
    PH_PTV63,
    PH_PTV70,
    PH_BODY,
    PH_POSSIBLE,
    PH_STRUCTURES
};

/* Streams of one case (the last argument of dg_rng_stream). */
enum { PH_STREAM_ANATOMY = 0, PH_STREAM_CT = 1, PH_STREAM_PLAN = 16 };

typedef enum ph_kind { PH_ELLIPSOID, PH_COLUMN, PH_ARCH } ph_kind;

/* A shape in body coordinates: x to the left, y to the back, z to the head; the body ends at about 1. */
typedef struct ph_shape {
    ph_kind kind;
    double centre[3], semi[3]; /* xyz; COLUMN: semi[2] is half its height; ARCH: an open ring of thickness 0.2 */
} ph_shape;

typedef struct ph_anatomy {
    dg_grid grid;
    double semi_mm[3]; /* xyz of the body */
    ph_shape shape[PH_BODY];
    ph_shape second_node; /* PTV56 is on both sides: the other half */
    double possible[2];   /* z range of the irradiated part */
    double gantry_rad;    /* of the first of nine beams */
} ph_anatomy;

/* Body coordinates (xyz) of a voxel. */
void ph_body_coordinates(const ph_anatomy *anatomy, int64_t z, int64_t y, int64_t x, double u[3]);
void ph_anatomy_draw(const dg_phantom_config *config, int64_t index, ph_anatomy *anatomy);
/* Fills masks [z,y,x] and CT in HU. */
void ph_anatomy_paint(const ph_anatomy *anatomy, const dg_phantom_config *config, int64_t index, uint64_t *masks,
                      int16_t *ct_hu);
/* Fills dose, mean and standard deviation in Gy. */
DG_MUST_USE dg_status ph_dose(const ph_anatomy *anatomy, const dg_phantom_config *config, int64_t index, uint32_t draw,
                              dg_phantom *phantom);
double ph_prescription(int structure); /* of a target, else 0 */

#endif
