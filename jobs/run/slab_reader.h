/* slab_reader.h - planes of a case read by a thread while the planes before compute. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_SLAB_READER_H
#define DG_SLAB_READER_H

#include "source.h"

typedef struct dg_slab_reader dg_slab_reader;

/* Planes of the network's grid: channel k of plane z begins at values + (k * held + z - origin) * y * x of the grid. */
typedef struct dg_slab {
    int64_t index, first, end; /* case; planes that were asked for */
    const float *values;       /* the reader's, until its next begin */
    int64_t held, origin;
    double seconds; /* that reading took */
} dg_slab;

/* The source is borrowed. */
DG_MUST_USE dg_status dg_slab_reader_create(dg_source *source, dg_slab_reader **out);
/* Waits for what is being read. */
void dg_slab_reader_destroy(dg_slab_reader **reader);
/* Begins to read planes first .. end - 1 of a case, which stays pinned until wait. What was begun before is waited for. */
void dg_slab_reader_begin(dg_slab_reader *reader, int64_t index, int64_t first, int64_t end);
/* Waits for what is being read, and forgets about it: its case may then be unpinned. */
void dg_slab_reader_settle(dg_slab_reader *reader);
/* What was begun last, when it is there; its failure is returned here. */
DG_MUST_USE dg_status dg_slab_reader_wait(dg_slab_reader *reader, dg_slab *out);

#endif
