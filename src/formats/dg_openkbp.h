/* dg_openkbp.h - patients of the OpenKBP challenge as published: a folder of CSV files on a 128^3 array.
 *
 * Files: ct.csv, dose.csv, possible_dose_mask.csv, voxel_dimensions.csv and one mask per structure. A table starts with
 * the line ",data"; then "index,value" per listed voxel, "index," in masks. index = (i*128 + j)*128 + k with i to the
 * patient's posterior, j to the left, k to inferior, so that our [z,y,x] (LPS, z to the head) is z = 127 - k, y = i, x = j.
 * voxel_dimensions.csv holds the spacings of i, j, k in mm, one a line. Voxels not listed are 0. CT numbers are shifted:
 * HU = value - 1000, air and outside 0. The dose is in Gy and 0 outside possible_dose_mask, so it is known everywhere.
 * Source: A. Babier et al., Medical Physics 48, 5549-5561, 2021; format facts as in the data's README.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_OPENKBP_H
#define DG_OPENKBP_H

#include "dg_grid.h"

enum {
    DG_OPENKBP_SIDE = 128,
    DG_OPENKBP_VOXELS = DG_OPENKBP_SIDE * DG_OPENKBP_SIDE * DG_OPENKBP_SIDE,
    DG_OPENKBP_STRUCTURES = 11,
    DG_OPENKBP_FRACTIONS = 35
};

typedef enum dg_openkbp_role { DG_OPENKBP_OAR, DG_OPENKBP_TARGET, DG_OPENKBP_POSSIBLE_DOSE } dg_openkbp_role;

/* What is known of a structure. */
typedef struct dg_openkbp_structure {
    const char *name;   /* "PTV70"; its file is NAME.csv */
    const char *tg263;  /* AAPM TG-263 name, "" if none */
    const char *mirror; /* left/right partner, "" if none */
    double prescription_gy; /* of a target, else 0 */
    dg_openkbp_role role;
    bool required;
} dg_openkbp_structure;

/* Row 0 .. DG_OPENKBP_STRUCTURES - 1 in open-kbp's channel order (seven organs, PTV56, PTV63, PTV70), then
 * possible_dose_mask. */
const dg_openkbp_structure *dg_openkbp_structure_at(int row);

/* A patient in memory; arrays are [z,y,x] of 128^3, owned (dg_openkbp_release). */
typedef struct dg_openkbp_patient {
    dg_grid grid; /* origin 0, identity direction */
    int16_t *ct_hu;
    float *dose_gy;   /* NULL when there is no dose.csv and none was required */
    uint64_t *masks;  /* bit b: structure row[b] */
    int row[DG_OPENKBP_STRUCTURES]; /* rows of the structures that are present, ascending */
    int structure_count;
    double prescription_gy;         /* highest target level present */
    int64_t ct_clipped;             /* voxels above 4095 or below 0 in the file, clipped */
    int64_t ct_rounded;             /* voxels that were no whole number */
    int64_t dose_outside_possible;  /* voxels with dose outside possible_dose_mask; kept as they are */
} dg_openkbp_patient;

typedef struct dg_openkbp_options {
    bool require_dose; /* false: a case to predict only */
    bool keep_ct;      /* false: CT values are clipped to 0..4095 as the data description recommends; true: to int16 */
} dg_openkbp_options;

/* Reads one patient's folder. Messages name `case_id` and the file, not the path. Not collective.
 * DG_ERR_DATA: a required file is absent, a structure without voxels, NaN, infinite or impossible values.
 * DG_ERR_FORMAT: a line that is no "index,value", an index outside 0..128^3-1, not ascending or twice, a file that ends
 * within a line, one that is too large. DG_ERR_IO: the operating system refused. */
DG_MUST_USE dg_status dg_openkbp_read(const char *folder, const char *case_id, const dg_openkbp_options *options,
                                      dg_openkbp_patient *out);
void dg_openkbp_release(dg_openkbp_patient *patient);

/* Reads one table (a dose, or a prediction of another tool) into dose_gy[z,y,x] of 128^3; voxels not listed become 0. */
DG_MUST_USE dg_status dg_openkbp_read_dose(const char *path, const char *case_id, float *dose_gy);
/* Writes a dose [z,y,x] of 128^3 as such a table, durably: voxels other than 0, exact in f32. */
DG_MUST_USE dg_status dg_openkbp_write_dose(const char *path, const char *case_id, const float *dose_gy);

/* Where CSV index `index` lies in our [z,y,x] array. */
static inline int64_t dg_openkbp_voxel(int64_t index)
{
    int64_t k = index % DG_OPENKBP_SIDE, ij = index / DG_OPENKBP_SIDE;
    return (DG_OPENKBP_SIDE - 1 - k) * DG_OPENKBP_SIDE * DG_OPENKBP_SIDE + ij;
}

#endif
