/* dg_npy.h - arrays as numpy.save writes them. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_NPY_H
#define DG_NPY_H

#include "dg_status.h"

#include <stdint.h>

/* Reads an array of 1 to 3 axes in C order, little-endian f4 or f8 (converted to float). *values is the caller's (dg_free).
 * `role` names the file in messages. DG_ERR_IO; DG_ERR_FORMAT: not such a file, cut short; DG_ERR_UNSUPPORTED: another
 * element type, order or number of axes. */
DG_MUST_USE dg_status dg_npy_read(const char *path, const char *role, int *axes, int64_t shape[3], float **values);

#endif
