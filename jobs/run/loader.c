/* loader.c - a ring of steps filled by reader threads. SPDX-License-Identifier: Apache-2.0 */
#include "loader.h"

#include "dg_mem.h"
#include "dg_trace.h"

#include <pthread.h>
#include <string.h>

enum { READERS_MAX = 64 };

/* One step of the ring. */
typedef struct stage {
    dg_sample *sample; /* [mine] */
    void *block;       /* their arrays */
    int64_t step;
    int64_t pinned; /* cases pinned for it: the first `pinned` of its samples */
    int64_t taken;  /* samples a reader has begun */
    int64_t done;
    dg_error error; /* of the first sample that failed; status DG_OK otherwise */
} stage;

struct dg_loader {
    dg_sampler sampler;
    dg_source *source;
    dg_backend *device; /* NULL: ordinary memory */
    dg_sample_size size;
    int64_t first, mine, next_step;
    stage ring[DG_LOADER_DEPTH];
    int used; /* stages handed to the readers, oldest at `head` */
    int head;
    bool holding; /* the stage before head is still the caller's */
    bool stop;
    double waited_s;
    pthread_mutex_t lock;
    pthread_cond_t work, ready;
    pthread_t thread[READERS_MAX];
    int threads;
};

/* The oldest sample nobody has begun, or NULL. Caller holds the lock. */
static stage *take(dg_loader *loader, int64_t *slot)
{
    for (int i = 0; i < loader->used; i++) {
        stage *s = &loader->ring[(loader->head + i) % DG_LOADER_DEPTH];
        if (s->taken < s->pinned) {
            *slot = s->taken++;
            return s;
        }
    }
    return NULL;
}

static dg_status make(dg_loader *loader, stage *s, int64_t slot, dg_sample_work *work)
{
    dg_sample_draw draw;
    DG_TRY(dg_sampler_draw(&loader->sampler, loader->source, s->step, loader->first + slot, &draw));
    return dg_sample_make(loader->source, &loader->size, &draw, work, &s->sample[slot]);
}

static void *reader(void *argument)
{
    dg_loader *loader = argument;
    dg_sample_work work;
    dg_status ready = dg_sample_work_create(&loader->size, &work);
    pthread_mutex_lock(&loader->lock);
    while (!loader->stop) {
        int64_t slot = 0;
        stage *s = take(loader, &slot);
        if (s == NULL) {
            pthread_cond_wait(&loader->work, &loader->lock);
            continue;
        }
        pthread_mutex_unlock(&loader->lock);
        dg_status status = ready == DG_OK ? make(loader, s, slot, &work) : ready;
        pthread_mutex_lock(&loader->lock);
        if (status != DG_OK && s->error.status == DG_OK) s->error = *dg_error_last();
        s->done++;
        pthread_cond_broadcast(&loader->ready);
    }
    pthread_mutex_unlock(&loader->lock);
    dg_sample_work_release(&work);
    return NULL;
}

static dg_status allocate_stage(const dg_loader *loader, stage *s)
{
    const int64_t bytes = dg_sample_layout_of(&loader->size).bytes;
    DG_TRY(DG_NEW(&s->sample, loader->mine, "samples of a step"));
    if (loader->device != NULL)
        DG_TRY(loader->device->ops->device->pin(loader->device, loader->mine * bytes, "samples of a step", &s->block));
    else
        DG_TRY(dg_alloc(&s->block, (size_t)(loader->mine * bytes), 1, "samples of a step"));
    for (int64_t i = 0; i < loader->mine; i++)
        dg_sample_place(&loader->size, (char *)s->block + i * bytes, &s->sample[i]);
    return DG_OK;
}

static void release_stage(const dg_loader *loader, stage *s)
{
    if (loader->device != NULL)
        loader->device->ops->device->unpin(loader->device, s->block);
    else
        dg_free(&s->block);
    dg_free(&s->sample);
}

static void unpin(dg_loader *loader, stage *s)
{
    for (int64_t i = 0; i < s->pinned; i++) {
        dg_source_unpin(loader->source, dg_sampler_case(&loader->sampler, s->step, loader->first + i));
    }
    s->pinned = 0;
}

/* Opens the cases of the next step and gives the stage to the readers. */
static void hand_out(dg_loader *loader)
{
    stage *s = &loader->ring[(loader->head + loader->used) % DG_LOADER_DEPTH];
    s->step = loader->next_step++;
    s->taken = s->done = s->pinned = 0;
    s->error.status = DG_OK;
    int64_t pinned = 0;
    for (; pinned < loader->mine; pinned++) {
        int64_t index = dg_sampler_case(&loader->sampler, s->step, loader->first + pinned);
        if (dg_source_pin(loader->source, index) != DG_OK) {
            s->error = *dg_error_last();
            break;
        }
    }
    pthread_mutex_lock(&loader->lock);
    s->pinned = pinned;
    loader->used++;
    pthread_cond_broadcast(&loader->work);
    pthread_mutex_unlock(&loader->lock);
}

dg_status dg_loader_create(const dg_sampler *sampler, dg_source *source, const dg_sample_size *size, int64_t first,
                           int64_t mine, int64_t step, int threads, dg_backend *device, dg_loader **out)
{
    dg_loader *loader = NULL;
    DG_TRY(DG_NEW(&loader, 1, "sample loader"));
    loader->sampler = *sampler;
    loader->source = source;
    loader->device = device;
    loader->size = *size;
    loader->first = first;
    loader->mine = mine;
    loader->next_step = step;
    pthread_mutex_init(&loader->lock, NULL);
    pthread_cond_init(&loader->work, NULL);
    pthread_cond_init(&loader->ready, NULL);
    dg_status status = DG_OK;
    for (int i = 0; i < DG_LOADER_DEPTH && status == DG_OK; i++) status = allocate_stage(loader, &loader->ring[i]);
    for (int i = 0; i < threads && i < READERS_MAX && status == DG_OK; i++) {
        if (pthread_create(&loader->thread[i], NULL, reader, loader) != 0) {
            status = DG_FAIL(DG_ERR_MEMORY, "the system gives no thread for reading samples; lower data.readers");
        } else {
            loader->threads++;
        }
    }
    if (status != DG_OK) {
        dg_loader_destroy(&loader);
        return status;
    }
    for (int i = 0; i < DG_LOADER_DEPTH - 1; i++) hand_out(loader);
    *out = loader;
    return DG_OK;
}

void dg_loader_destroy(dg_loader **loader_)
{
    dg_loader *loader = *loader_;
    if (loader == NULL) return;
    pthread_mutex_lock(&loader->lock);
    loader->stop = true;
    pthread_cond_broadcast(&loader->work);
    pthread_mutex_unlock(&loader->lock);
    for (int i = 0; i < loader->threads; i++) pthread_join(loader->thread[i], NULL);
    for (int i = 0; i < DG_LOADER_DEPTH; i++) {
        unpin(loader, &loader->ring[i]);
        release_stage(loader, &loader->ring[i]);
    }
    pthread_cond_destroy(&loader->work);
    pthread_cond_destroy(&loader->ready);
    pthread_mutex_destroy(&loader->lock);
    dg_free(loader_);
}

dg_status dg_loader_next(dg_loader *loader, const dg_sample **samples)
{
    stage *before = &loader->ring[(loader->head + DG_LOADER_DEPTH - 1) % DG_LOADER_DEPTH];
    if (loader->holding) unpin(loader, before);
    hand_out(loader);
    double start = dg_time_s();
    stage *s = &loader->ring[loader->head];
    pthread_mutex_lock(&loader->lock);
    while (s->done < s->pinned) pthread_cond_wait(&loader->ready, &loader->lock);
    loader->head = (loader->head + 1) % DG_LOADER_DEPTH;
    loader->used--;
    pthread_mutex_unlock(&loader->lock);
    loader->waited_s += dg_time_s() - start;
    loader->holding = true;
    *samples = s->sample;
    if (s->error.status == DG_OK) return DG_OK;
    return dg_error_set(s->error.status, s->error.frame[0].file, s->error.frame[0].line, s->error.frame[0].function,
                        "%s", s->error.text);
}

double dg_loader_waited_s(const dg_loader *loader) { return loader->waited_s; }
