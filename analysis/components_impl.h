/* components_impl.h - what files on slabs share. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_COMPONENTS_IMPL_H
#define DG_COMPONENTS_IMPL_H

#include "dg_components.h"

/* The ranks that hold the planes before and after a slab; -1: none, or the slab has no plane. */
void dg_slab_neighbours(const dg_slab *slab, int rank, int size, int *previous, int *next);

#endif
