/* loader.h - samples of coming steps, made by threads while the step computes. The threads never call HDF5 or MPI: cases
 * are opened by the thread that calls `next`. Memory is bounded by the depth. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_LOADER_H
#define DG_LOADER_H

#include "sample.h"

typedef struct dg_loader dg_loader;

enum { DG_LOADER_DEPTH = 3 }; /* steps under way: one in use, one ready, one being made */

/* Samples of slots [first, first + mine) of every step from `step` on. Sampler and source are borrowed and must not be
 * used by others meanwhile, but for reads of pinned cases. Where `device` is given, samples lie in memory that it has pinned;
 * it outlives the loader. @collective no. */
DG_MUST_USE dg_status dg_loader_create(const dg_sampler *sampler, dg_source *source, const dg_sample_size *size,
                                       int64_t first, int64_t mine, int64_t step, int threads, dg_backend *device,
                                       dg_loader **out);
/* Waits for the threads. */
void dg_loader_destroy(dg_loader **loader);
/* The samples of the next step, [mine], one block behind the other from samples[0].input on (dg_sample_layout_of); borrowed
 * until the next call. A reader's failure is returned here; the step is
 * then left out and the next call goes on behind it. */
DG_MUST_USE dg_status dg_loader_next(dg_loader *loader, const dg_sample **samples);
/* Seconds `next` had to wait so far. */
double dg_loader_waited_s(const dg_loader *loader);

#endif
