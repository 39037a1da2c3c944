/* dg_backend.c - the registry of backends, and the table of oneDNN's where this build lacks it. SPDX-License-Identifier: Apache-2.0 */
#include "dg_backend.h"

#include <stdlib.h>
#include <string.h>

/* One row per backend, in order of preference. */
static const dg_backend_ops *const BACKENDS[] = {&dg_backend_cuda, &dg_backend_onednn, &dg_backend_ref};
enum { BACKEND_COUNT = sizeof BACKENDS / sizeof BACKENDS[0] };

#ifndef DG_WITH_ONEDNN
#define DG_WITH_ONEDNN 0
#endif

#if !DG_WITH_ONEDNN
static const char *onednn_unavailable(void)
{
    return "this build has no oneDNN backend: run ./setup.sh build, or configure with -DDG_WITH_ONEDNN=ON";
}
const dg_backend_ops dg_backend_onednn = {.name = "onednn", .unavailable = onednn_unavailable};
#endif

int dg_backend_count(void) { return BACKEND_COUNT; }

const dg_backend_ops *dg_backend_at(int index) { return index >= 0 && index < BACKEND_COUNT ? BACKENDS[index] : NULL; }

dg_status dg_backend_find(const char *name, const dg_backend_ops **out)
{
    bool automatic = strcmp(name, "auto") == 0;
    for (int i = 0; i < BACKEND_COUNT; i++) {
        if (automatic ? BACKENDS[i]->unavailable() == NULL : strcmp(name, BACKENDS[i]->name) == 0) {
            *out = BACKENDS[i];
            return DG_OK;
        }
    }
    char known[128] = "auto";
    for (int i = 0; i < BACKEND_COUNT; i++) {
        strncat(known, ", ", sizeof known - strlen(known) - 1);
        strncat(known, BACKENDS[i]->name, sizeof known - strlen(known) - 1);
    }
    return DG_FAIL(DG_ERR_USAGE, "backend '%s' is not known: choose one of %s", name, known);
}

/* The name of the first NULL operation of a table, or NULL when it is complete. */
static const char *missing_operation(const dg_backend_ops *ops)
{
#define NEED(operation) \
    if (ops->operation == NULL) return #operation
    NEED(create);
    NEED(destroy);
    NEED(alloc);
    NEED(free);
    NEED(upload);
    NEED(download);
    NEED(sync);
    NEED(upload_ahead);
    NEED(conv_create);
    NEED(conv_destroy);
    NEED(conv_pack);
    NEED(conv_forward);
    NEED(conv_backward_data);
    NEED(conv_backward_weights);
    NEED(norm_forward);
    NEED(norm_backward);
    NEED(layer_norm_forward);
    NEED(layer_norm_backward);
    NEED(act_forward);
    NEED(act_backward);
    NEED(copy);
    NEED(gate_forward);
    NEED(gate_backward);
    NEED(pool_forward);
    NEED(pool_backward);
    NEED(resize_forward);
    NEED(resize_backward);
    NEED(linear_forward);
    NEED(linear_backward);
    NEED(attention_forward);
    NEED(attention_backward);
    NEED(loss_workspace);
    NEED(loss);
    NEED(window_gather);
    NEED(window_blend);
    NEED(window_finish);
    NEED(find_nonfinite);
    NEED(diffuse);
    NEED(denoise);
    NEED(fill);
    NEED(axpy);
    NEED(sum_squares);
    NEED(adamw);
    NEED(sgd);
    NEED(ema);
#undef NEED
    return NULL;
}

dg_status dg_backend_create(const char *name, const dg_backend_options *options, dg_backend **out)
{
    *out = NULL;
    const dg_backend_ops *ops;
    DG_TRY(dg_backend_find(name, &ops));
    const char *reason = ops->unavailable();
    if (reason != NULL) return DG_FAIL(DG_ERR_UNSUPPORTED, "backend '%s' cannot run here: %s", ops->name, reason);
    const char *missing = missing_operation(ops);
    if (missing != NULL) return DG_FAIL(DG_ERR_INTERNAL, "backend '%s' lacks operation '%s'", ops->name, missing);
    if (options->threads < 1)
        return DG_FAIL(DG_ERR_USAGE, "backend '%s' needs at least 1 thread, got %d", ops->name, options->threads);
    return ops->create(options, out);
}

void dg_backend_destroy(dg_backend **backend)
{
    if (*backend == NULL) return;
    (*backend)->ops->destroy(*backend);
    *backend = NULL;
}
