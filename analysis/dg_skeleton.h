/* dg_skeleton.h - the skeleton of a mask by thinning: voxels are taken off its rim, layer by layer, as long as neither its topology nor
 * its shape is lost, until no more can go. Components, tunnels and cavities stay as they are (26-connected foreground, 6-connected
 * background; beyond the volume there is background), the skeleton lies inside, and its own skeleton is itself.
 *
 * Layers go direction by direction (-z, +z, -y, +y, -x, +x): of the voxels without a neighbour there, those that may go are marked and
 * then taken if they still may, as in Lee, Kashyap and Chu (CVGIP: Graphical Models and Image Processing 56, 1994), in eight fields
 * by even and odd z, y and x, whose voxels do not touch (Bertrand and Aktouf, A three-dimensional thinning algorithm using
 * subfields, Vision Geometry III, SPIE 2356, 1994): one after the other, bodies of an even width would be eaten from one end.
 * A voxel may go if it is simple, that is if its 26 neighbours hold one component of the foreground and its 18 neighbours one of
 * the background that reaches its faces (Bertrand and Malandain, Pattern Recognition Letters 15, 1994), and if it is no end. What
 * is an end makes the kind of skeleton (Palagyi, Nemeth and Kardos, Topology preserving parallel 3D thinning algorithms, in
 * Digital Geometry Algorithms, Springer, 2012). Isthmuses, voxels that part foreground or background, are what tells a surface
 * of one voxel from a ledge on a thick body (Nemeth and Palagyi, ACIVS 2012, LNCS 7517). SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_SKELETON_H
#define DG_SKELETON_H

#include "dg_status.h"

#include <stdint.h>

typedef enum dg_skeleton_kind {
    DG_SKELETON_SURFACE, /* medial surface, of sheets: an end has background on both sides along some axis and touches an isthmus, so
                          * that a surface of one voxel stays whole to its rim */
    DG_SKELETON_CURVE /* centre lines, of vessels: an end touches one voxel; a sheet without holes shrinks to lines */
} dg_skeleton_kind;

/* skeleton[z,y,x] = 1 or 0 from mask[z,y,x], 0 or not; they may be the same array. Memory: 1 byte a voxel of the volume and 16
 * of the mask. Not collective. */
DG_MUST_USE dg_status dg_skeleton_make(const uint8_t *mask, const int64_t shape_zyx[3], dg_skeleton_kind kind,
                                       uint8_t *skeleton);

#endif
