/* dg_dose_file.h - one dose, or one map beside it, as a dataset of an HDF5 file.
 *
 * A dose has 1 to 3 axes, slowest first, and attributes spacing_mm_zyx and origin_mm_zyx (a number for each axis) and, of
 * three axes, optionally direction (3x3, rows patient x y z, columns index x y z); they may stand on the dataset or on the
 * nearest group above it, as in cases and predictions. A dataset with grid_box is known in that box alone.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_DOSE_FILE_H
#define DG_DOSE_FILE_H

#include "dg_status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct dg_dose_file {
    int axes;
    int64_t shape[3];
    double spacing_mm[3], origin_mm[3]; /* slowest axis first */
    double direction[9];                /* identity unless stated */
    float *dose_gy;                     /* owned */
} dg_dose_file;

/* Reads dataset `name` ("/dose") of numbers, converted to float; a box of known dose is cut out. `role` names the file in
 * messages. DG_ERR_IO, DG_ERR_FORMAT; DG_ERR_DATA: no grid, spacing that is not above 0, direction that is no rotation. */
DG_MUST_USE dg_status dg_dose_file_read(const char *path, const char *name, const char *role, dg_dose_file *out);
void dg_dose_file_release(dg_dose_file *file);

/* An attribute of a map: a text, or a number where it is NULL. */
typedef struct dg_dose_attribute {
    const char *name, *text;
    double number;
} dg_dose_attribute;

/* Writes a map on the grid of a dose as dataset `name` of a new file, durably; `format` is its @format, version 1. */
DG_MUST_USE dg_status dg_dose_file_write_map(const char *path, const char *format, const char *name,
                                             const dg_dose_file *grid, const float *values,
                                             const dg_dose_attribute *attributes, int count);

#endif
