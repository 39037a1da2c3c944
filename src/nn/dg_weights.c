/* dg_weights.c - see dg_weights.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_weights.h"

#include "dg_mem.h"

static int64_t bytes_of(const dg_weights *w) { return w->table->total * (int64_t)sizeof(float); }

static dg_status upload(const dg_weights *w, const float *host)
{
    return w->backend->ops->upload(w->backend, w->values, host, bytes_of(w));
}

static dg_status download(const dg_weights *w, float *host)
{
    return w->backend->ops->download(w->backend, host, w->values, bytes_of(w));
}

dg_status dg_weights_create(dg_backend *backend, const dg_param_table *table, uint64_t seed, dg_weights *out)
{
    void *memory = NULL;
    float *host = NULL;
    *out = (dg_weights){.backend = backend, .table = table};
    DG_TRY(backend->ops->alloc(backend, bytes_of(out), "weights", &memory));
    out->values = memory;
    DG_TRY(DG_NEW(&host, table->total, "weights"));
    dg_params_init(table, seed, host);
    dg_status status = upload(out, host);
    dg_free(&host);
    return status;
}

void dg_weights_release(dg_weights *weights)
{
    if (weights->values != NULL) weights->backend->ops->free(weights->backend, weights->values);
    *weights = (dg_weights){.backend = NULL};
}

dg_status dg_weights_sha256(const dg_weights *weights, char hex[DG_HASH_HEX])
{
    float *host = NULL;
    DG_TRY(DG_NEW(&host, weights->table->total, "weights"));
    dg_status status = download(weights, host);
    if (status == DG_OK) status = dg_params_sha256(weights->table, host, hex);
    dg_free(&host);
    return status;
}

/* ---- state ------------------------------------------------------------------------------------------------------------ */

static void free_copy(void **copy) { dg_free(copy); }

static dg_status take(const void *object, void **copy)
{
    const dg_weights *w = object;
    if (*copy == NULL) DG_TRY(dg_alloc(copy, (size_t)w->table->total, sizeof(float), "copy of the weights"));
    return download(w, *copy);
}

static dg_status save_copy(const void *object, const void *copy, const dg_state_sink *sink)
{
    const dg_weights *w = object;
    return dg_params_save(w->table, copy, sink);
}

static dg_status load(void *object, const dg_state_source *source, int version)
{
    dg_weights *w = object;
    float *host = NULL;
    (void)version; /* 1 is the only one so far; the caller has checked the range */
    DG_TRY(DG_NEW(&host, w->table->total, "weights"));
    dg_status status = dg_params_load(w->table, host, source);
    if (status == DG_OK) status = upload(w, host);
    dg_free(&host);
    return status == DG_OK && w->plan != NULL ? dg_plan_set_weights(w->plan, w->values) : status;
}

dg_state dg_weights_state(dg_weights *weights, const char *name)
{
    return (dg_state){.name = name,
                      .version = 1,
                      .object = weights,
                      .load = load,
                      .take = take,
                      .save_copy = save_copy,
                      .free_copy = free_copy};
}
