/* predictor.c - a case from its planes to the dose on the patient's grid. SPDX-License-Identifier: Apache-2.0 */
#include "predictor_impl.h"

#include "dg_mem.h"
#include "dg_resample.h"
#include "dg_trace.h"

#include <math.h>
#include <string.h>

dg_status dg_predictor_create(const dg_model *model, dg_backend *backend, dg_source *source,
                              const dg_predictor_config *config, dg_trace *trace, dg_predictor **out)
{
    dg_predictor *p = NULL;
    DG_TRY(DG_NEW(&p, 1, "predictor"));
    *p = (dg_predictor){
        .model = model, .backend = backend, .source = source, .config = *config, .trace = trace, .ahead = -1};
    const dg_status status = dg_slab_reader_create(source, &p->reader);
    if (status != DG_OK) dg_free(&p);
    *out = p;
    return status;
}

void dg_predictor_destroy(dg_predictor **predictor)
{
    if (*predictor == NULL) return;
    dg_slab_reader_destroy(&(*predictor)->reader);
    predictor_drop(*predictor);
    dg_free(predictor);
}

dg_status dg_predictor_set_weights(dg_predictor *predictor, const float *weights)
{
    predictor->weights = weights;
    predictor->packed = false;
    return DG_OK;
}

void dg_predictor_watch(dg_predictor *p, dg_heartbeat *heartbeat) { p->heartbeat = heartbeat; }

void dg_predictor_set_sampling(dg_predictor *p, const dg_sampling *sampling)
{
    const bool guided = sampling->guidance != 1, was = p->sampling.guidance != 1;
    if (p->sampling.diffusion == NULL || guided != was) predictor_drop(p); /* memory of another kind */
    p->sampling = *sampling;
}

void dg_predictor_set_batch(dg_predictor *p, int64_t batch) { p->config.batch = batch; }

void dg_patch_of(const dg_recipe *recipe, const int64_t net_shape[3], int64_t multiple, int64_t patch_zyx[3])
{
    for (int axis = 0; axis < 3; axis++) {
        int64_t wanted = recipe->patch[axis] > 0 ? recipe->patch[axis] : net_shape[axis];
        patch_zyx[axis] = (wanted + multiple - 1) / multiple * multiple;
    }
}

/* Seconds of a pass of `batch` windows; infinite where memory does not hold it. */
static dg_status time_pass(dg_predictor *p, int64_t batch, double *seconds)
{
    const int64_t *patch = dg_source_recipe(p->source)->patch;
    dg_plan *plan = NULL;
    const dg_plan_config config = {.n = batch, .z = patch[0], .y = patch[1], .x = patch[2], .dtype = p->config.dtype};
    *seconds = INFINITY;
    dg_status status = dg_plan_create(p->model, p->backend, &config, &plan);
    if (status == DG_ERR_MEMORY) {
        dg_error_clear();
        return DG_OK;
    }
    if (status == DG_OK) status = dg_plan_set_weights(plan, p->weights);
    for (int turn = 0; turn < 3 && status == DG_OK; turn++) { /* the first one finds its way */
        const double start = dg_time_s();
        status = dg_plan_forward(plan, NULL);
        if (status == DG_OK) status = p->backend->ops->sync(p->backend);
        if (turn > 0) *seconds = fmin(*seconds, dg_time_s() - start);
    }
    dg_plan_destroy(&plan);
    return status;
}

dg_status dg_predictor_probe(dg_predictor *p, int64_t *batch)
{
    const int64_t *patch = dg_source_recipe(p->source)->patch;
    double best = INFINITY, seconds;
    *batch = 1;
    if (p->backend->ops->device == NULL || patch[0] == 0 || patch[1] == 0 || patch[2] == 0) return DG_OK;
    for (int64_t n = 1; n <= DG_WINDOW_BATCH; n *= 2) {
        DG_TRY(time_pass(p, n, &seconds));
        if (!(seconds / (double)n < 0.95 * best)) return DG_OK;
        best = seconds / (double)n;
        *batch = n;
    }
    return DG_OK;
}

/* From the output's grid (values in units of the scale) to native Gy. */
static dg_status to_native(const dg_recipe *recipe, const dg_case_info *info, const dg_grid *net,
                           const int64_t output_shape[3], const float *values, double scale_gy, float *dose_gy)
{
    const int64_t *shape = info->grid.shape;
    if (dg_recipe_resamples(recipe)) {
        DG_TRY(dg_resample_linear(values, net, &info->grid, 0, 1, dose_gy));
    } else {
        for (int64_t z = 0; z < shape[0]; z++) {
            for (int64_t y = 0; y < shape[1]; y++) {
                memcpy(dose_gy + (z * shape[1] + y) * shape[2], values + (z * output_shape[1] + y) * output_shape[2],
                       (size_t)shape[2] * sizeof *dose_gy);
            }
        }
    }
    int64_t voxels = dg_grid_voxels(&info->grid);
    for (int64_t i = 0; i < voxels; i++) dose_gy[i] *= (float)scale_gy;
    /* the mean of overlapping windows may round up */
    for (int64_t i = 0; recipe->labels && i < voxels; i++) dose_gy[i] = fminf(dose_gy[i], 1);
    return DG_OK;
}

/* What a case needs of the host besides its tiling. */
static dg_status make_case(predictor_case *c, const dg_tiling *t)
{
    const int64_t windows = t->strips * t->across, *n = t->output, fine = t->patch[0] * t->sub[0];
    const dg_comm *comm = c->p->config.comm;
    DG_TRY(DG_NEW(&c->bad, 2 * windows, "marks of windows"));
    DG_TRY(DG_NEW(&c->ran, windows, "windows of a layer"));
    if (comm == NULL || comm->rank == 0 || c->p->sampling.diffusion != NULL)
        DG_TRY(DG_NEW(&c->values, n[0] * n[1] * n[2], "blended volume"));
    if (comm != NULL && comm->size > 1)
        DG_TRY(DG_NEW(&c->message, fine * t->patch[1] * t->sub[1] * n[2], "a strip between ranks"));
    return predictor_prepare(c->p, c->info, t);
}

dg_status predictor_begin(predictor_case *c, dg_tiling *t, double *scale_gy)
{
    const dg_predictor *p = c->p;
    const dg_recipe *recipe = dg_source_recipe(p->source);
    dg_grid net;
    dg_box frame;
    int64_t sub[3], patch[3];
    DG_TRY(dg_recipe_check_case(recipe, c->info));
    DG_TRY(dg_recipe_scale(recipe, c->info, scale_gy));
    dg_recipe_geometry(recipe, &c->info->grid, &net, sub);
    dg_patch_of(recipe, net.shape, dg_model_multiple(p->model), patch);
    DG_TRY(dg_source_frame(p->source, c->index, &frame));
    DG_TRY(dg_tiling_make(recipe, &c->info->grid, &frame, patch, p->config.overlap, t));
    c->tiling = t;
    return make_case(c, t);
}

void predictor_end(predictor_case *c, dg_tiling *tiling)
{
    dg_predictor *p = c->p;
    if (p->ahead < 0 || p->ahead != c->next)
        dg_slab_reader_settle(p->reader); /* nothing of this case is read any more */
    dg_free(&c->values);
    dg_free(&c->message);
    dg_free(&c->bad);
    dg_free(&c->ran);
    dg_tiling_release(tiling);
}

/* All ranks or none go on; those that share a case end it together. */
bool predictor_is_shared(const predictor_case *c) { return c->p->config.comm != NULL && c->p->config.comm->size > 1; }

dg_status predictor_agree(const predictor_case *c, dg_status status)
{
    return predictor_is_shared(c) && status != DG_ERR_COMM ? dg_comm_agree(c->p->config.comm, status) : status;
}

static dg_status compute_case(predictor_case *c, dg_tiling *t, double *scale_gy)
{
    DG_TRY(predictor_agree(c, predictor_begin(c, t, scale_gy)));
    if (c->p->config.study) return predictor_study(c);
    const bool samples = c->p->sampling.diffusion != NULL;
    return predictor_agree(c, samples ? predictor_sample(c) : predictor_settle(c, predictor_layers(c)));
}

dg_status dg_predictor_run(dg_predictor *p, int64_t index, int64_t next, float *dose_gy, dg_predictor_note *note)
{
    const dg_case_info *info = dg_cohort_case(dg_source_cohort(p->source), index);
    predictor_case c = {.p = p, .info = info, .index = index, .next = next};
    dg_tiling tiling = {.layers = 0};
    double scale_gy = 0;
    const double start = dg_time_s();
    memset(note, 0, sizeof *note);
    note->region = dg_source_recipe(p->source)->labels ? DG_REGION_ALL : dg_region_of(info).kind;
    dg_status status = compute_case(&c, &tiling, &scale_gy);
    const bool keeps = p->config.comm == NULL || p->config.comm->rank == 0;
    if (status == DG_OK && keeps)
        status = to_native(dg_source_recipe(p->source), info, &tiling.net, tiling.output, c.values, scale_gy, dose_gy);
    if (status == DG_OK && keeps && !dg_source_recipe(p->source)->labels)
        status = dg_region_restrict(dg_source_case(p->source, index), dose_gy);
    note->windows = c.windows;
    note->batch = p->memory.batch;
    note->read_s = c.read_s;
    note->compute_s = dg_time_s() - start - c.waited_s;
    predictor_end(&c, &tiling);
    return status;
}
