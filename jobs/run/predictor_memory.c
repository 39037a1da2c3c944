/* predictor_memory.c - plan and backend memory of a predictor, made anew when a case has another shape.
 * SPDX-License-Identifier: Apache-2.0 */
#include "predictor_impl.h"

#include "dg_mem.h"

#include <string.h>

static dg_status take(dg_predictor *p, int64_t bytes, const char *what, void *out)
{
    predictor_memory *m = &p->memory;
    void *data = NULL;
    DG_TRY(p->backend->ops->alloc(p->backend, bytes, what, &data));
    m->block[m->blocks++] = data;
    memcpy(out, &data, sizeof data);
    return DG_OK;
}

void predictor_drop(dg_predictor *p)
{
    predictor_memory *m = &p->memory;
    dg_plan_destroy(&p->plan);
    while (m->blocks > 0) p->backend->ops->free(p->backend, m->block[--m->blocks]);
    memset(m, 0, sizeof *m);
    p->packed = false;
}

static dg_status make_ring(dg_predictor *p, int64_t channels, const int64_t shape[3], int64_t height, const char *what,
                           dg_ring *out)
{
    *out = (dg_ring){.c = channels, .z = shape[0], .y = shape[1], .x = shape[2], .height = height};
    return take(p, channels * height * shape[1] * shape[2] * (int64_t)sizeof(float), what, &out->data);
}

static dg_status make_weights(dg_predictor *p, const dg_tiling *t)
{
    for (int a = 0; a < 3; a++) {
        const int64_t window = t->patch[a] * t->sub[a] * (int64_t)sizeof(float);
        const int64_t all = t->output[a] * (int64_t)sizeof(float);
        DG_TRY(take(p, window, "weights of a window", &p->memory.weight[a]));
        DG_TRY(take(p, all, "weights of a case", &p->memory.weight_sum[a]));
        DG_TRY(p->backend->ops->upload(p->backend, p->memory.weight[a], t->weight[a], window));
    }
    return DG_OK;
}

/* Length of a conditioning vector. */
static int64_t vector_of(const dg_model *model)
{
    return model->graph.constraints < 0 ? 0 : model->graph.tensor[model->graph.constraints].c;
}

static dg_status make_diffusion(dg_predictor *p, const dg_tiling *t)
{
    predictor_memory *m = &p->memory;
    const int64_t bytes = t->output[0] * t->output[1] * t->output[2] * (int64_t)sizeof(float);
    DG_TRY(make_ring(p, 1, t->output, t->output[0], "noisy dose", &m->noisy));
    DG_TRY(take(p, bytes, "dose of a step", &m->before));
    for (int k = 0; k < (p->sampling.guidance != 1 ? 3 : 1); k++) {
        DG_TRY(take(p, bytes, "what the network said", &m->said[k]));
        DG_TRY(p->backend->ops->fill(p->backend, m->said[k], bytes / (int64_t)sizeof(float), 0)); /* planes no window reaches */
    }
    return DG_OK;
}

/* The ring of inputs holds the planes of a layer and those that the next one needs besides. */
static dg_status make_memory(dg_predictor *p, const dg_tiling *t, int64_t batch)
{
    predictor_memory *m = &p->memory;
    const dg_recipe *recipe = dg_source_recipe(p->source);
    const int64_t held = t->patch[0] + t->tallest_step, fine = t->patch[0] * t->sub[0];
    const int64_t voxels = t->patch[0] * t->patch[1] * t->patch[2] * t->sub[0] * t->sub[1] * t->sub[2];
    const int64_t height = fine < t->output[0] ? fine : t->output[0], plane = t->output[1] * t->output[2];
    const int64_t strip[3] = {fine, t->patch[1] * t->sub[1], t->output[2]};
    const int64_t vectors = batch * vector_of(p->model) * (int64_t)sizeof(float);
    const bool all = p->sampling.diffusion != NULL || p->config.study; /* planes, at every step or in another order */
    const bool stays = all || held > t->net.shape[0];
    memcpy(m->net, t->net.shape, sizeof m->net);
    memcpy(m->patch, t->patch, sizeof m->patch);
    m->batch = batch;
    m->windows = t->strips * t->across;
    m->tallest_step = t->tallest_step;
    DG_TRY(make_ring(p, recipe->count, t->net.shape, stays ? t->net.shape[0] : held, "planes of a case", &m->volume));
    DG_TRY(make_ring(p, 1, t->output, height, "sums of windows", &m->sum));
    DG_TRY(make_ring(p, 1, strip, fine, "sums of a strip of windows", &m->strip));
    DG_TRY(take(p, height * plane * (int64_t)sizeof(float), "finished planes", &m->out));
    if (p->config.flips) DG_TRY(take(p, batch * voxels * (int64_t)sizeof(float), "outputs of windows", &m->plain));
    for (int k = 0; k < 2 && vectors > 0; k++) DG_TRY(take(p, vectors, "constraints", &m->constraint[k]));
    DG_TRY(take(p, 2 * t->strips * t->across * (int64_t)sizeof(int32_t), "marks of windows", &m->bad));
    if (p->sampling.diffusion != NULL) DG_TRY(make_diffusion(p, t));
    return make_weights(p, t);
}

int64_t predictor_batch_of(const dg_predictor *p, const dg_tiling *t)
{
    const int64_t windows = t->strips * t->across;
    int64_t most = p->config.batch < DG_WINDOW_BATCH ? p->config.batch : DG_WINDOW_BATCH;
    if (most < 1) most = 1;
    const int64_t passes = (windows + most - 1) / most; /* equal passes waste least of the last */
    return (windows + passes - 1) / passes;
}

static dg_status make_all(dg_predictor *p, const dg_tiling *t, int64_t batch)
{
    const dg_plan_config plan = {
        .n = batch, .z = t->patch[0], .y = t->patch[1], .x = t->patch[2], .dtype = p->config.dtype};
    DG_TRY(make_memory(p, t, batch));
    return dg_plan_create(p->model, p->backend, &plan, &p->plan);
}

dg_status predictor_tell(dg_predictor *p, const dg_case_info *info, int64_t time, bool blind)
{
    const dg_recipe *recipe = dg_source_recipe(p->source);
    const int64_t each = vector_of(p->model), times = each - recipe->constraint_count, batch = p->memory.batch;
    float *host;
    dg_status status = DG_OK;
    if (each == 0) return DG_OK;
    DG_TRY(DG_NEW(&host, batch * each, "constraints"));
    for (int mirrored = 0; mirrored < 2 && status == DG_OK; mirrored++) {
        for (int64_t i = 0; i < batch; i++) {
            if (times > 0) dg_diffusion_sinusoids(time, times, host + i * each);
            if (recipe->constraint_count > 0 && !blind)
                dg_recipe_constraints(recipe, info, mirrored == 1, host + i * each + times);
        }
        status = p->backend->ops->upload(p->backend, p->memory.constraint[mirrored], host,
                                         batch * each * (int64_t)sizeof(float));
    }
    dg_free(&host);
    return status;
}

static bool fits(const predictor_memory *m, const dg_tiling *t, int64_t batch)
{
    return memcmp(m->net, t->net.shape, sizeof m->net) == 0 && memcmp(m->patch, t->patch, sizeof m->patch) == 0 &&
           m->batch == batch && m->windows == t->strips * t->across && m->tallest_step == t->tallest_step;
}

dg_status predictor_prepare(dg_predictor *p, const dg_case_info *info, const dg_tiling *t)
{
    const int64_t batch = predictor_batch_of(p, t);
    predictor_memory *m = &p->memory;
    if (p->plan == NULL || !fits(m, t, batch)) {
        predictor_drop(p);
        const dg_status status = make_all(p, t, batch);
        if (status != DG_OK) {
            predictor_drop(p);
            return status;
        }
    } else { /* an earlier case may have ended in its middle */
        const dg_ring *r = &m->sum, *s = &m->strip;
        DG_TRY(p->backend->ops->fill(p->backend, r->data, r->height * r->y * r->x, 0));
        DG_TRY(p->backend->ops->fill(p->backend, s->data, s->height * s->y * s->x, 0));
    }
    for (int a = 0; a < 3; a++) /* they follow the case's frame */
        DG_TRY(p->backend->ops->upload(p->backend, m->weight_sum[a], t->sum[a], t->output[a] * (int64_t)sizeof(float)));
    if (!p->packed) DG_TRY(dg_plan_set_weights(p->plan, p->weights));
    p->packed = true;
    DG_TRY(predictor_tell(p, info, 0, false));
    return p->backend->ops->sync(p->backend); /* planes come ahead of what is queued */
}
