/* figure_planes.h - planes of a case as pictures: which planes, how they lie on the page, colours, outlines.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_FIGURE_PLANES_H
#define DG_FIGURE_PLANES_H

#include "figure_impl.h"

typedef struct plane_rgb {
    unsigned char c[3];
} plane_rgb;

enum { MAP_ANCHORS = 12, PLANE_PIXELS = 512 };
/* A colour map: evenly spaced anchors, linear between. */
typedef struct plane_map {
    int count;
    uint32_t anchor[MAP_ANCHORS];
} plane_map;
extern const plane_map DG_MAP_DOSE, DG_MAP_DIFFERENCE, DG_MAP_GAMMA;
plane_rgb dg_map_colour(const plane_map *map, double share); /* share is clipped to 0..1 */

typedef enum plane_kind { PLANE_REFERENCE, PLANE_PREDICTION, PLANE_DIFFERENCE, PLANE_GAMMA, PLANE_CT } plane_kind;
/* What the colours span, and the map. */
typedef struct plane_scale {
    const plane_map *map;
    double low, high;
} plane_scale;

/* One view of the patient: index axes (of zyx) to the right and up on the page, and the plane. */
typedef struct plane_view {
    const char *name, *left, *right, *top, *bottom; /* names of the sides */
    int right_axis, up_axis, normal;
    double right_sign, up_sign; /* does the index rise that way */
    int64_t plane;
} plane_view;

/* What all views show: a cube of side_mm about a continuous index. */
typedef struct plane_frame {
    double centre[3]; /* zyx */
    double side_mm;
    bool by_targets; /* the centroid is that of the targets */
    double scale_gy; /* prescription, or the reference's maximum where that is unknown */
} plane_frame;

/* Axial, coronal and sagittal view of the planes through a voxel. */
void dg_plane_views(const dg_grid *grid, const int64_t voxel[3], plane_view view[3]);
/* The frame about dose and targets, and the centroid of the targets (of the high dose without). False without a finite dose. */
bool dg_plane_frame(const dg_figure_case *data, plane_frame *frame, int64_t centroid[3]);
/* The frame about the whole patient: structures, dose, dense tissue; the whole grid where ct_window says that CT is no HU. The
 * centroid is that of the targets, else of the high dose, of all structures, of the frame. ct_hu and reference_gy may be NULL. */
void dg_plane_frame_patient(const dg_figure_case *data, plane_frame *frame, int64_t centroid[3]);
/* Pixels [PLANE_PIXELS, PLANE_PIXELS, 3] of a view from the bottom row up. */
void dg_plane_raster(const dg_figure_case *data, const plane_frame *frame, const plane_view *view, plane_kind kind,
                     const plane_scale *scale, unsigned char *pixels);
/* Writes the outline of a structure (level 0.5 of its mask) or of a dose as lines in mm of the frame; returns how many pieces. */
int64_t dg_plane_outline(dg_plot *plot, const dg_figure_case *data, const plane_frame *frame, const plane_view *view,
                         int structure);
int64_t dg_plane_isodose(dg_plot *plot, const dg_figure_case *data, const plane_frame *frame, const plane_view *view,
                         const float *dose_gy, double level_gy);
/* Place of a voxel index on the page of a view, in mm of the frame. */
void dg_plane_place(const dg_grid *grid, const plane_frame *frame, const plane_view *view, double right_index,
                    double up_index, double *x, double *y);

#endif
