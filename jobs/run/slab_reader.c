/* slab_reader.c - see slab_reader.h. A case of which any box costs the whole is read at once and its planes are handed out.
 * SPDX-License-Identifier: Apache-2.0 */
#include "slab_reader.h"

#include "dg_mem.h"
#include "dg_trace.h"

#include <pthread.h>

struct dg_slab_reader {
    dg_source *source;
    dg_slab slab; /* being read, or read */
    float *values;
    int64_t room;  /* floats */
    int64_t whole; /* the case of which all planes are held, or -1 */
    bool busy, stop;
    dg_error error; /* status DG_OK: none */
    pthread_mutex_t lock;
    pthread_cond_t begun, done;
    pthread_t thread;
};

static dg_status read_planes(dg_slab_reader *r)
{
    const dg_recipe *recipe = dg_source_recipe(r->source);
    const dg_case_info *info = dg_cohort_case(dg_source_cohort(r->source), r->slab.index);
    const bool all = dg_source_reads_whole(r->source);
    dg_grid net;
    int64_t sub[3];
    dg_recipe_geometry(recipe, &info->grid, &net, sub);
    const int64_t first = all ? 0 : r->slab.first, held = (all ? net.shape[0] : r->slab.end) - first;
    const int64_t wanted = recipe->count * held * net.shape[1] * net.shape[2];
    if (!all || r->whole != r->slab.index) {
        r->whole = -1;
        if (wanted > r->room) {
            dg_free(&r->values);
            r->room = 0;
            DG_TRY(DG_NEW(&r->values, wanted, "planes of a case"));
            r->room = wanted;
        }
        const dg_box box = {.start = {first, 0, 0}, .shape = {held, net.shape[1], net.shape[2]}};
        DG_TRY(dg_source_read(r->source, r->slab.index, &box, &(dg_source_buffers){.channels = r->values}));
        if (all) r->whole = r->slab.index;
    }
    r->slab.values = r->values;
    r->slab.origin = first;
    r->slab.held = held;
    return DG_OK;
}

static void *run(void *argument)
{
    dg_slab_reader *r = argument;
    pthread_mutex_lock(&r->lock);
    while (!r->stop) {
        if (!r->busy) {
            pthread_cond_wait(&r->begun, &r->lock);
            continue;
        }
        pthread_mutex_unlock(&r->lock);
        const double start = dg_time_s();
        const dg_status status = read_planes(r);
        r->slab.seconds = dg_time_s() - start;
        pthread_mutex_lock(&r->lock);
        r->error.status = DG_OK;
        if (status != DG_OK) r->error = *dg_error_last();
        r->busy = false;
        pthread_cond_broadcast(&r->done);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

dg_status dg_slab_reader_create(dg_source *source, dg_slab_reader **out)
{
    dg_slab_reader *r = NULL;
    DG_TRY(DG_NEW(&r, 1, "reader of planes"));
    *r = (dg_slab_reader){.source = source, .whole = -1, .slab = {.index = -1}};
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->begun, NULL);
    pthread_cond_init(&r->done, NULL);
    if (pthread_create(&r->thread, NULL, run, r) != 0) {
        pthread_cond_destroy(&r->begun);
        pthread_cond_destroy(&r->done);
        pthread_mutex_destroy(&r->lock);
        dg_free(&r);
        return DG_FAIL(DG_ERR_MEMORY, "the system gives no thread for reading planes");
    }
    *out = r;
    return DG_OK;
}

/* Caller holds the lock. */
static void wait_idle(dg_slab_reader *r)
{
    while (r->busy) pthread_cond_wait(&r->done, &r->lock);
}

void dg_slab_reader_destroy(dg_slab_reader **reader)
{
    dg_slab_reader *r = *reader;
    if (r == NULL) return;
    pthread_mutex_lock(&r->lock);
    wait_idle(r);
    r->stop = true;
    pthread_cond_broadcast(&r->begun);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    pthread_cond_destroy(&r->begun);
    pthread_cond_destroy(&r->done);
    pthread_mutex_destroy(&r->lock);
    dg_free(&r->values);
    dg_free(reader);
}

void dg_slab_reader_begin(dg_slab_reader *r, int64_t index, int64_t first, int64_t end)
{
    pthread_mutex_lock(&r->lock);
    wait_idle(r);
    r->slab = (dg_slab){.index = index, .first = first, .end = end};
    r->busy = true;
    pthread_cond_broadcast(&r->begun);
    pthread_mutex_unlock(&r->lock);
}

void dg_slab_reader_settle(dg_slab_reader *r)
{
    pthread_mutex_lock(&r->lock);
    wait_idle(r);
    pthread_mutex_unlock(&r->lock);
}

dg_status dg_slab_reader_wait(dg_slab_reader *r, dg_slab *out)
{
    pthread_mutex_lock(&r->lock);
    wait_idle(r);
    *out = r->slab;
    const dg_error error = r->error;
    pthread_mutex_unlock(&r->lock);
    if (error.status == DG_OK) return DG_OK;
    return dg_error_set(error.status, error.frame[0].file, error.frame[0].line, error.frame[0].function, "%s",
                        error.text);
}
