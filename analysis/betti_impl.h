/* betti_impl.h - what files on Betti matching share. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_BETTI_IMPL_H
#define DG_BETTI_IMPL_H

#include "dg_status.h"

#include <stdint.h>

typedef struct betti_pair {
    const uint8_t *mask[2]; /* prediction, label; 0 or not */
    uint8_t *mask_union;
    int64_t n[3], stride[3], voxels;
} betti_pair;

/* betti_tunnels.c */
DG_MUST_USE dg_status betti_match_tunnels(const betti_pair *pair, int64_t *matched);

#endif
