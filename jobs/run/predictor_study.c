/* predictor_study.c - a case cut into windows and joined as the surface detection study does it (src/grid/dg_study_tiling.h), on the
 * host: its weights are no products over axes, as those of the backend are. SPDX-License-Identifier: Apache-2.0 */
#include "predictor_impl.h"

#include "dg_mem.h"
#include "dg_study_tiling.h"

#include <math.h>
#include <string.h>

/* Arrays of one case: of a window, of the outputs of a pass, of the volume. */
typedef struct joint {
    dg_box *boxes;
    int64_t count;
    float *weight, *outputs, *total;
} joint;

static dg_status make_joint(const predictor_case *c, joint *j)
{
    const dg_tiling *t = c->tiling;
    const int64_t *n = t->net.shape, *patch = t->patch, window = patch[0] * patch[1] * patch[2];
    const dg_status status =
        dg_study_windows(n, patch, llround(c->p->config.overlap * (double)patch[0]), &j->boxes, &j->count);
    if (status != DG_OK) return dg_error_context(status, "case %s, --compat upstream", c->info->id);
    DG_TRY(DG_NEW(&j->weight, window, "weights of a window"));
    DG_TRY(DG_NEW(&j->outputs, window * c->p->memory.batch, "outputs of windows"));
    DG_TRY(DG_NEW(&j->total, n[0] * n[1] * n[2], "weights of a case"));
    dg_study_window_weight(patch, j->weight);
    return DG_OK;
}

/* Windows first .. first + count - 1. */
static dg_status add_windows(predictor_case *c, const joint *j, int64_t first, int64_t count)
{
    const dg_tiling *t = c->tiling;
    const int64_t window = t->patch[0] * t->patch[1] * t->patch[2];
    dg_backend *backend = c->p->backend;
    int64_t start[DG_WINDOW_BATCH][3];
    dg_tensor output;
    for (int64_t i = 0; i < count; i++) memcpy(start[i], j->boxes[first + i].start, sizeof start[i]);
    DG_TRY(predictor_pass(c, (const int64_t(*)[3])start, count, &output));
    DG_TRY(backend->ops->download(backend, j->outputs, output.data, count * window * (int64_t)sizeof(float)));
    for (int64_t i = 0; i < count; i++)
        dg_study_window_add(t->net.shape, &j->boxes[first + i], j->weight, j->outputs + i * window, c->values,
                            j->total);
    return DG_OK;
}

dg_status predictor_study(predictor_case *c)
{
    const int64_t *n = c->tiling->net.shape, batch = c->p->memory.batch;
    joint j = {.count = 0};
    dg_status status = make_joint(c, &j);
    if (status == DG_OK) status = predictor_load(c);
    for (int64_t first = 0; first < j.count && status == DG_OK; first += batch)
        status = add_windows(c, &j, first, j.count - first < batch ? j.count - first : batch);
    if (status == DG_OK) dg_study_window_finish(n[0] * n[1] * n[2], c->values, j.total);
    dg_free(&j.boxes);
    dg_free(&j.weight);
    dg_free(&j.outputs);
    dg_free(&j.total);
    return status;
}
