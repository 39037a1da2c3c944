/* dg_tiff.h - volumes as TIFF files of many pages (libtiff): each page is a plane z, of unsigned 8 or 16 bit grey values, in
 * strips or scan lines of any compression libtiff knows. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_TIFF_H
#define DG_TIFF_H

#include "dg_status.h"

#include <stdint.h>

typedef struct dg_tiff {
    int64_t shape[3]; /* zyx */
    int bits;         /* 8 or 16 */
    uint16_t *value;  /* [z,y,x], owned */
} dg_tiff;

/* Reads all pages. `role` ("scan", "labels") names the file in messages. DG_ERR_IO: it cannot be opened; DG_ERR_FORMAT: damaged
 * or cut short, with the page; DG_ERR_UNSUPPORTED: colours, floats, tiles, pages of different sizes. */
DG_MUST_USE dg_status dg_tiff_read(const char *path, const char *role, dg_tiff *out);
/* The same of a file in memory. */
DG_MUST_USE dg_status dg_tiff_read_memory(const void *data, int64_t bytes, const char *role, dg_tiff *out);
void dg_tiff_release(dg_tiff *tiff);
/* Writes values[z,y,x], uint8_t or uint16_t by `bits`, durably: a page for each plane, deflated in strips, BigTIFF where offsets of 32
 * bits may not do. The compressed file is made in memory. DG_ERR_IO. */
DG_MUST_USE dg_status dg_tiff_write(const char *path, const char *role, const int64_t shape_zyx[3], int bits,
                                    const void *values);

#endif
