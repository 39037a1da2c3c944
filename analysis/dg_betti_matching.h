/* dg_betti_matching.h - which components, tunnels and cavities of a predicted mask are also those of the label, in place and
 * not in number alone.
 *
 * Betti matching (Stucki, Buergin, Paetzold, Bauer, "Efficient Betti Matching Enables Topology-Aware 3D Segmentation via Persistent
 * Homology", arXiv 2407.04683) for masks: voxels are the vertices of a cubical complex (so foreground touches over faces),
 * which a cell joins when all its voxels are foreground. What dies at the same cell of the union's filtration, seen from the
 * prediction and from the label, is matched. Cells come in the order of the published program (first voxel z, y, x, then
 * orientation), since the matching depends on it. Of a mask's components one is never counted: it never dies.
 * - Components: Kruskal over the edges in that order; a merge matches where both sides hold voxels of both masks.
 * - Cavities: the last cell of the union's background within a cavity of either mask is where it dies.
 * - Tunnels: the boundary matrix of squares, reduced once for each mask in the union's order of columns, rows in the mask's own.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_BETTI_MATCHING_H
#define DG_BETTI_MATCHING_H

#include "dg_topology.h"

/* Of each dimension: matched, in the prediction, in the label. */
typedef struct dg_betti_matches {
    int64_t matched[DG_BETTI_NUMBERS], predicted[DG_BETTI_NUMBERS], labelled[DG_BETTI_NUMBERS];
} dg_betti_matches;

/* Adds the counts of a volume. Memory: about 60 bytes a voxel, more where masks are noise; blocks (below) bound it.
 * DG_ERR_DATA: more than 2^29 voxels. Not collective. */
DG_MUST_USE dg_status dg_betti_match(const uint8_t *predicted, const uint8_t *label, const int64_t shape_zyx[3],
                                     dg_betti_matches *out);
/* The counts of the blocks that halve every axis (the first half is the longer one), as the Vesuvius challenge takes them. */
DG_MUST_USE dg_status dg_betti_match_octants(const uint8_t *predicted, const uint8_t *label, const int64_t shape_zyx[3],
                                             dg_betti_matches *out);
/* The challenge's topology score: 2 matched / (predicted + labelled) of a dimension (0.5 / (predicted + 0.5) where the label
 * has none), weighed 0.34, 0.33, 0.33 over those that have anything; 1 where none has. */
double dg_betti_score(const dg_betti_matches *matches);

#endif
