/* host_backend.h - the smallest backend a reducer needs: flat buffers in plain host memory. SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_BACKEND_H
#define HOST_BACKEND_H

#include "dg_backend.h"
#include "dg_bf16.h"
#include "dg_mem.h"

#include <string.h>

static dg_status host_alloc(dg_backend *backend, int64_t bytes, const char *what, void **out)
{
    backend->bytes_allocated += bytes;
    return dg_alloc(out, 1, (size_t)bytes, what);
}

static void host_free(dg_backend *backend, void *data) { dg_free(&data); }

static dg_status host_sync(dg_backend *backend) { return DG_OK; }

static dg_status host_fill(dg_backend *backend, float *x, int64_t count, float value)
{
    for (int64_t i = 0; i < count; i++) x[i] = value;
    return DG_OK;
}

static dg_status host_axpy(dg_backend *backend, int64_t count, double a, const float *x, float *y)
{
    for (int64_t i = 0; i < count; i++) y[i] += (float)a * x[i];
    return DG_OK;
}

/* Rows between f32 and bf16, as the reducer sends them. */
static dg_status host_copy(dg_backend *backend, const dg_tensor *x, dg_tensor *y, bool accumulate)
{
    for (int64_t i = 0; i < x->x; i++) {
        if (x->dtype == DG_F32)
            ((dg_bf16 *)y->data)[i] = dg_bf16_from_f32(((const float *)x->data)[i]);
        else
            ((float *)y->data)[i] = dg_bf16_to_f32(((const dg_bf16 *)x->data)[i]);
    }
    return DG_OK;
}

static const dg_backend_ops host_ops = {.name = "host",
                                        .alloc = host_alloc,
                                        .free = host_free,
                                        .sync = host_sync,
                                        .copy = host_copy,
                                        .fill = host_fill,
                                        .axpy = host_axpy};

#endif
