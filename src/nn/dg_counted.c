/* dg_counted.c - see dg_counted.h. From operations that backends have: the slope of a mean of |1 - 0| is 0 where a voxel does
 * not count, and else, with a huge weight, so large that its sigmoid is 1 and not 1/2. SPDX-License-Identifier: Apache-2.0 */
#include "dg_counted.h"

#include "dg_mem.h"

static const dg_loss_term TERM = {.kind = DG_LOSS_MAE};

struct dg_counted {
    dg_backend *backend;            /* borrowed */
    dg_tensor one, nil, open, mask; /* [n,z,y,x,1], f32 */
    float *huge;                    /* backend memory, as the next two */
    double *unused;                 /* [n] */
    void *workspace;                /* NULL: none is needed */
};

static int64_t elements(const dg_tensor *t) { return t->n * dg_tensor_voxels(t) * t->c; }

static dg_status allocate(dg_counted *c, int64_t bytes, void *out)
{
    return c->backend->ops->alloc(c->backend, bytes, "voxels that count", out);
}

static dg_status take_memory(dg_counted *c, const dg_tensor *shape)
{
    const dg_backend_ops *ops = c->backend->ops;
    const float huge = 1e30f;
    dg_tensor *const all[] = {&c->one, &c->nil, &c->open, &c->mask};
    for (int k = 0; k < 4; k++) {
        *all[k] = *shape;
        all[k]->dtype = DG_F32;
        all[k]->pitch = shape->c;
        all[k]->data = NULL;
        DG_TRY(allocate(c, elements(shape) * (int64_t)sizeof(float), &all[k]->data));
    }
    DG_TRY(allocate(c, shape->n * (int64_t)sizeof(double), &c->unused));
    DG_TRY(allocate(c, (int64_t)sizeof huge, &c->huge));
    DG_TRY(ops->upload(c->backend, c->huge, &huge, (int64_t)sizeof huge));
    const dg_loss_batch batch = {.y = c->one};
    const int64_t bytes = ops->loss_workspace(&TERM, &batch);
    if (bytes > 0) DG_TRY(allocate(c, bytes, &c->workspace));
    return ops->fill(c->backend, c->one.data, elements(&c->one), 1.0f);
}

dg_status dg_counted_create(dg_backend *backend, const dg_tensor *shape, dg_counted **out)
{
    dg_counted *c = NULL;
    *out = NULL;
    DG_TRY(DG_NEW(&c, 1, "voxels that count"));
    c->backend = backend;
    dg_status status = take_memory(c, shape);
    if (status != DG_OK)
        dg_counted_destroy(&c);
    else
        *out = c;
    return status;
}

void dg_counted_destroy(dg_counted **counted)
{
    dg_counted *c = *counted;
    if (c == NULL) return;
    void *const memory[] = {c->one.data, c->nil.data, c->open.data, c->mask.data, c->huge, c->unused, c->workspace};
    for (int i = 0; i < 7; i++)
        if (memory[i] != NULL) c->backend->ops->free(c->backend, memory[i]);
    dg_free(counted);
}

dg_status dg_counted_take(dg_counted *c, const uint8_t *mask, dg_tensor *out)
{
    const dg_backend_ops *ops = c->backend->ops;
    const dg_loss_batch ones = {.y = c->one, .target = c->nil, .mask = mask};
    const int64_t count = elements(&c->mask);
    DG_TRY(ops->loss(c->backend, &TERM, &ones, c->huge, c->workspace, c->unused, 1, &c->mask, false));
    DG_TRY(ops->act_forward(c->backend, DG_ACT_SIGMOID, 0.0, &c->mask, &c->open));
    DG_TRY(ops->fill(c->backend, c->mask.data, count, -1.0f));
    DG_TRY(ops->axpy(c->backend, count, 2.0, c->open.data, c->mask.data));
    *out = c->mask;
    return DG_OK;
}
