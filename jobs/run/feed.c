/* feed.c - from the loader's memory to the places of a pass. On a device two inboxes take turns: one that the present step
 * takes its passes from, one that the samples of the next arrive in. SPDX-License-Identifier: Apache-2.0 */
#include "feed.h"

#include "dg_fault.h"
#include "dg_mem.h"

#include <string.h>

struct dg_feed {
    dg_loader *loader;
    dg_source *source;
    dg_backend *backend;
    const dg_device_ops *device; /* NULL: computes in host memory */
    dg_sample_size size;
    dg_sample_layout layout;
    int64_t mine;
    dg_sample *sample[2]; /* [mine] of the present step and the other */
    dg_inbox *inbox[2];   /* with their arrays, on a device */
    uint8_t *nothing;     /* [outputs] host memory: counts no voxel; NULL on a device */
    int present;
    bool drawn_ahead;
    dg_error error; /* of what was drawn ahead */
};

static dg_status take_memory(dg_feed *feed)
{
    for (int k = 0; k < 2; k++) DG_TRY(DG_NEW(&feed->sample[k], feed->mine, "samples of a step"));
    if (feed->device == NULL) return DG_NEW(&feed->nothing, feed->size.outputs, "counted voxels");
    for (int k = 0; k < 2; k++)
        DG_TRY(feed->device->inbox_create(feed->backend, feed->mine * feed->layout.bytes, "samples of a step",
                                          &feed->inbox[k]));
    return DG_OK;
}

dg_status dg_feed_create(const dg_sampler *sampler, dg_source *source, const dg_sample_size *size, int64_t first,
                         int64_t mine, int64_t step, int threads, dg_backend *backend, dg_feed **out)
{
    dg_feed *feed = NULL;
    *out = NULL;
    DG_TRY(DG_NEW(&feed, 1, "feed of samples"));
    feed->source = source;
    feed->backend = backend;
    feed->device = backend->ops->device;
    feed->size = *size;
    feed->size.raw = feed->device != NULL;
    feed->layout = dg_sample_layout_of(&feed->size);
    feed->mine = mine;
    dg_status status = take_memory(feed);
    if (status == DG_OK)
        status = dg_loader_create(sampler, source, &feed->size, first, mine, step, threads,
                                  feed->device != NULL ? backend : NULL, &feed->loader);
    if (status == DG_OK)
        *out = feed;
    else
        dg_feed_destroy(&feed);
    return status;
}

void dg_feed_destroy(dg_feed **feed)
{
    dg_feed *f = *feed;
    if (f == NULL) return;
    for (int k = 0; k < 2; k++) {
        if (f->device != NULL) f->device->inbox_destroy(f->backend, &f->inbox[k]);
        dg_free(&f->sample[k]);
    }
    dg_loader_destroy(&f->loader);
    dg_free(&f->nothing);
    dg_free(feed);
}

/* The samples of the next step become the other ones. The loader takes the memory of those before back: they must have
 * arrived. */
static dg_status draw(dg_feed *feed)
{
    const dg_sample *sample;
    const int other = 1 - feed->present;
    if (feed->device != NULL) DG_TRY(feed->device->inbox_wait(feed->backend, feed->inbox[feed->present]));
    DG_TRY(dg_loader_next(feed->loader, &sample));
    DG_TRY(dg_fault_reach(DG_FAULT_DATA, sample[0].input, dg_sample_input_bytes(&feed->size)));
    memcpy(feed->sample[other], sample, (size_t)feed->mine * sizeof *sample);
    if (feed->device == NULL) return DG_OK;
    return feed->device->inbox_fill(feed->backend, feed->inbox[other], sample[0].input,
                                    feed->mine * feed->layout.bytes);
}

dg_status dg_feed_next(dg_feed *feed, const dg_sample **samples)
{
    dg_status status = DG_OK;
    if (!feed->drawn_ahead)
        status = draw(feed);
    else if (feed->error.status != DG_OK)
        status = dg_error_set(feed->error.status, feed->error.frame[0].file, feed->error.frame[0].line,
                              feed->error.frame[0].function, "%s", feed->error.text);
    feed->drawn_ahead = false;
    if (status == DG_OK) feed->present = 1 - feed->present;
    *samples = feed->sample[feed->present];
    return status;
}

dg_status dg_feed_ahead(dg_feed *feed)
{
    if (feed->device == NULL) return DG_OK;
    const dg_status status = draw(feed);
    if (status == DG_ERR_BACKEND) return status; /* the device's fault, not a sample's */
    feed->error.status = DG_OK;
    if (status != DG_OK) feed->error = *dg_error_last();
    dg_error_clear();
    feed->drawn_ahead = true;
    return DG_OK;
}

/* ---- into the places of a pass ---------------------------------------------------------------------------------------- */

static void *slot_of(const dg_tensor *t, int64_t slot)
{
    return (char *)t->data + slot * dg_tensor_voxels(t) * t->pitch * (int64_t)dg_dtype_size(t->dtype);
}

static dg_status bring(dg_feed *feed, const dg_sample *s, int64_t slot, const dg_feed_places *to)
{
    const dg_backend_ops *ops = feed->backend->ops;
    const int64_t outputs = feed->size.outputs, from = slot * outputs;
    DG_TRY(ops->upload(feed->backend, slot_of(&to->input, slot), s->input, dg_sample_input_bytes(&feed->size)));
    DG_TRY(ops->upload(feed->backend, to->target + from, s->target, outputs * (int64_t)sizeof(float)));
    DG_TRY(ops->upload(feed->backend, to->counted + from, s->counted, outputs));
    DG_TRY(ops->upload(feed->backend, to->scale_gy + slot, s->scale_gy, sizeof *s->scale_gy));
    if (to->regions != NULL)
        DG_TRY(ops->upload(feed->backend, to->regions + from, s->regions, outputs * (int64_t)sizeof(uint32_t)));
    if (to->distance != NULL)
        DG_TRY(ops->upload(feed->backend, to->distance + from, s->distance, outputs * (int64_t)sizeof(float)));
    if (to->constraint.data == NULL) return DG_OK;
    return ops->upload(feed->backend, slot_of(&to->constraint, slot), s->constraint,
                       feed->size.constraints * (int64_t)sizeof(float));
}

static dg_varied_sample place_of(const dg_feed *feed, int64_t slot, const dg_feed_places *to)
{
    const int64_t from = slot * feed->size.outputs;
    dg_varied_sample place = {.x = to->input,
                              .block = {feed->size.sub[0], feed->size.sub[1], feed->size.sub[2]},
                              .target = to->target + from,
                              .counted = to->counted + from,
                              .regions = to->regions != NULL ? to->regions + from : NULL};
    place.x.data = slot_of(&to->input, slot);
    place.x.n = 1;
    return place;
}

/* Numbers from one place in backend memory to another. */
static dg_status carry(dg_feed *feed, const void *from, void *to, int64_t count)
{
    dg_tensor a = {(void *)(uintptr_t)from, DG_F32, 1, 1, 1, count, 1, 1}, b = a;
    b.data = to;
    return feed->backend->ops->copy(feed->backend, &a, &b, false);
}

/* The same out of the block of a sample in the inbox; NULL: an empty slot. */
static dg_status bring_varied(dg_feed *feed, const dg_sample *s, const char *block, int64_t slot,
                              const dg_feed_places *to)
{
    const dg_recipe *recipe = dg_source_recipe(feed->source);
    const dg_case_info *info = dg_cohort_case(dg_source_cohort(feed->source), s->draw.index);
    const dg_sample_layout *at = &feed->layout;
    const dg_varied_sample place = place_of(feed, slot, to);
    dg_raw_sample raw = {.channels = NULL};
    dg_variation how;
    dg_sample_variation(recipe, info, &feed->size, &s->draw, &how);
    if (block == NULL) return feed->device->vary(feed->backend, &raw, &how, &place);
    raw.channels = (const void *)(block + at->input);
    raw.target = (const void *)(block + at->target);
    raw.counted = (const void *)(block + at->counted);
    raw.regions = feed->size.regions ? (const void *)(block + at->regions) : NULL;
    DG_TRY(feed->device->vary(feed->backend, &raw, &how, &place));
    DG_TRY(carry(feed, block + at->scale_gy, to->scale_gy + slot, 1));
    if (to->distance != NULL)
        DG_TRY(carry(feed, block + at->distance, to->distance + slot * feed->size.outputs, feed->size.outputs));
    if (to->constraint.data == NULL) return DG_OK;
    return carry(feed, block + at->constraint, slot_of(&to->constraint, slot), feed->size.constraints);
}

const dg_sample *dg_feed_present(const dg_feed *feed) { return feed->sample[feed->present]; }

dg_status dg_feed_pass(dg_feed *feed, int64_t first, int64_t count, const dg_feed_places *to)
{
    const dg_sample *sample = feed->sample[feed->present] + first;
    const int64_t outputs = feed->size.outputs;
    const void *data = NULL;
    if (feed->device != NULL) DG_TRY(feed->device->inbox_open(feed->backend, feed->inbox[feed->present], &data));
    for (int64_t slot = 0; slot < to->count; slot++) {
        if (data != NULL) {
            const char *block = (const char *)data + (first + slot) * feed->layout.bytes;
            const int64_t known = slot < count ? slot : 0;
            DG_TRY(bring_varied(feed, &sample[known], slot < count ? block : NULL, slot, to));
        } else if (slot < count) {
            DG_TRY(bring(feed, &sample[slot], slot, to));
        } else {
            DG_TRY(feed->backend->ops->upload(feed->backend, to->counted + slot * outputs, feed->nothing, outputs));
        }
    }
    return data == NULL ? DG_OK : feed->device->inbox_release(feed->backend, feed->inbox[feed->present]);
}

double dg_feed_waited_s(const dg_feed *feed) { return dg_loader_waited_s(feed->loader); }
