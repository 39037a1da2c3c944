/* feed.h - samples on their way to where a step computes. A backend in host memory gets them, varied, when a pass needs them; a
 * device gets those of the next step as they were read while it computes the present one, and varies them itself.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_FEED_H
#define DG_FEED_H

#include "loader.h"

typedef struct dg_feed dg_feed;

/* Backend memory of a pass that samples go to, each array with room for `count` of them. */
typedef struct dg_feed_places {
    int64_t count;
    dg_tensor input;
    float *target; /* [count, outputs] as the next two */
    uint8_t *counted;
    uint32_t *regions;    /* NULL where the loss looks at none */
    float *distance;      /* likewise; never on a device */
    float *scale_gy;      /* [count] */
    dg_tensor constraint; /* data NULL: the network takes none */
} dg_feed_places;

/* Samples of slots [first, first + mine) of every step from `step` on, read by `threads` (loader.h). All else is borrowed and
 * outlives the feed; memory, on a device two inboxes of a step's samples, is taken here. */
DG_MUST_USE dg_status dg_feed_create(const dg_sampler *sampler, dg_source *source, const dg_sample_size *size,
                                     int64_t first, int64_t mine, int64_t step, int threads, dg_backend *backend,
                                     dg_feed **out);
void dg_feed_destroy(dg_feed **feed);

/* The samples of the next step in *samples [mine], for what is known of them: their arrays may be gone. Lives until the
 * call after the next. What went wrong with one of them is returned here, also where it was met ahead; the step is then left
 * out and the next call goes on behind it. */
DG_MUST_USE dg_status dg_feed_next(dg_feed *feed, const dg_sample **samples);
/* The samples that dg_feed_next gave last. */
const dg_sample *dg_feed_present(const dg_feed *feed);
/* Queues that samples [first, first + count) of the step go to their places; what there is room for beyond them counts no
 * voxel. */
DG_MUST_USE dg_status dg_feed_pass(dg_feed *feed, int64_t first, int64_t count, const dg_feed_places *to);
/* Call when the last pass of a step is queued: a device begins to take in the samples of the next. */
DG_MUST_USE dg_status dg_feed_ahead(dg_feed *feed);
/* Seconds that it had to wait for readers so far. */
double dg_feed_waited_s(const dg_feed *feed);

#endif
