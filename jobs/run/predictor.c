/* predictor.c - windows through a plan, and from the network's grid back to the patient's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "predictor.h"

#include "dg_mem.h"
#include "dg_resample.h"
#include "dg_window.h"

#include <math.h>
#include <string.h>

enum { SLAB = 32 };                     /* slices read at once: the height of a stored chunk */
static const double HIGHEST_DOSE = 1.5; /* in units of the dose scale */

struct dg_predictor {
    const dg_model *model;
    dg_backend *backend;
    dg_source *source;
    dg_predictor_config config;
    dg_trace *trace;
    dg_heartbeat *heartbeat;
    const float *weights;
    bool packed;   /* the plan holds these weights */
    dg_plan *plan; /* of `size`, or NULL */
    dg_sample_size size;
    float *channels;         /* [c,z,y,x] of a window */
    void *input;             /* [z,y,x,c] */
    float *output, *ordered; /* [z,y,x,s] as it comes, [z,y,x] on the output's grid */
    float *importance[3];
};

dg_status dg_predictor_create(const dg_model *model, dg_backend *backend, dg_source *source,
                              const dg_predictor_config *config, dg_trace *trace, dg_predictor **out)
{
    DG_TRY(DG_NEW(out, 1, "predictor"));
    **out = (dg_predictor){.model = model, .backend = backend, .source = source, .config = *config, .trace = trace};
    return DG_OK;
}

static void drop_plan(dg_predictor *p)
{
    dg_plan_destroy(&p->plan);
    dg_free(&p->channels);
    dg_free(&p->input);
    dg_free(&p->output);
    dg_free(&p->ordered);
    for (int axis = 0; axis < 3; axis++) dg_free(&p->importance[axis]);
}

void dg_predictor_destroy(dg_predictor **predictor)
{
    if (*predictor == NULL) return;
    drop_plan(*predictor);
    dg_free(predictor);
}

dg_status dg_predictor_set_weights(dg_predictor *predictor, const float *weights)
{
    predictor->weights = weights;
    predictor->packed = false;
    return DG_OK;
}

void dg_patch_of(const dg_recipe *recipe, const int64_t net_shape[3], int64_t multiple, int64_t patch_zyx[3])
{
    for (int axis = 0; axis < 3; axis++) {
        int64_t wanted = recipe->patch[axis] > 0 ? recipe->patch[axis] : net_shape[axis];
        patch_zyx[axis] = (wanted + multiple - 1) / multiple * multiple;
    }
}

static dg_status make_plan(dg_predictor *p, const int64_t patch[3])
{
    const dg_sample_size *size = &p->size;
    drop_plan(p);
    p->packed = false;
    p->size = dg_sample_size_of(dg_source_recipe(p->source), patch, p->config.dtype);
    dg_plan_config config = {.n = 1, .z = patch[0], .y = patch[1], .x = patch[2], .dtype = p->config.dtype};
    DG_TRY(DG_NEW(&p->channels, size->voxels * size->channels, "channels of a window"));
    DG_TRY(dg_alloc(&p->input, (size_t)dg_sample_input_bytes(size), 1, "input of a window"));
    DG_TRY(DG_NEW(&p->output, size->outputs, "output of a window"));
    DG_TRY(DG_NEW(&p->ordered, 2 * size->outputs, "output of a window"));
    for (int axis = 0; axis < 3; axis++) {
        int64_t n = patch[axis] * size->sub[axis];
        DG_TRY(DG_NEW(&p->importance[axis], n, "window weights"));
        dg_window_importance(n, p->importance[axis]);
    }
    return dg_plan_create(p->model, p->backend, &config, &p->plan);
}

static dg_status ensure_plan(dg_predictor *p, const int64_t patch[3])
{
    if (p->plan == NULL || memcmp(p->size.patch, patch, sizeof p->size.patch) != 0) {
        dg_status status = make_plan(p, patch);
        if (status != DG_OK) {
            drop_plan(p);
            return status;
        }
    }
    if (!p->packed) DG_TRY(dg_plan_set_weights(p->plan, p->weights));
    p->packed = true;
    return DG_OK;
}

/* From [voxel, s] to [z,y,x] of the output's grid, x reversed for a mirrored window. */
static void order_outputs(const dg_sample_size *size, bool mirrored, const float *in, float *out)
{
    const int64_t *s = size->sub;
    int64_t ny = size->patch[1] * s[1], nx = size->patch[2] * s[2], i = 0;
    for (int64_t z = 0; z < size->patch[0]; z++) {
        for (int64_t y = 0; y < size->patch[1]; y++) {
            for (int64_t x = 0; x < size->patch[2]; x++) {
                for (int64_t dz = 0; dz < s[0]; dz++) {
                    for (int64_t dy = 0; dy < s[1]; dy++) {
                        float *row = out + ((z * s[0] + dz) * ny + y * s[1] + dy) * nx;
                        for (int64_t dx = 0; dx < s[2]; dx++, i++) {
                            int64_t at = x * s[2] + dx;
                            row[mirrored ? nx - 1 - at : at] = in[i];
                        }
                    }
                }
            }
        }
    }
}

static dg_status run_network(dg_predictor *p, const dg_case_info *info, bool mirrored, float *out)
{
    dg_backend *backend = p->backend;
    dg_tensor input = dg_plan_input(p->plan), constraints = dg_plan_constraints(p->plan);
    dg_sample_interleave(dg_source_recipe(p->source), &p->size, mirrored, p->channels, p->input);
    DG_TRY(backend->ops->upload(backend, input.data, p->input, dg_sample_input_bytes(&p->size)));
    if (constraints.data != NULL) {
        float vector[DG_CONSTRAINTS_MAX];
        dg_recipe_constraints(dg_source_recipe(p->source), info, mirrored, vector);
        DG_TRY(backend->ops->upload(backend, constraints.data, vector, p->size.constraints * (int64_t)sizeof(float)));
    }
    DG_TRY(dg_plan_forward(p->plan, p->trace));
    DG_TRY(backend->ops->download(backend, p->output, dg_plan_output(p->plan).data,
                                  p->size.outputs * (int64_t)sizeof(float)));
    order_outputs(&p->size, mirrored, p->output, out);
    return DG_OK;
}

static dg_status check_window(const dg_case_info *info, const dg_box *box, const float *values, int64_t count,
                              const char *what, const char *remedy)
{
    if (dg_all_finite(values, count)) return DG_OK;
    return DG_FAIL(DG_ERR_NUMERIC, "case %s: %s that is not finite in the window at voxel (%lld, %lld, %lld); %s",
                   info->id, what, (long long)box->start[0], (long long)box->start[1], (long long)box->start[2],
                   remedy);
}

void dg_predictor_watch(dg_predictor *p, dg_heartbeat *heartbeat) { p->heartbeat = heartbeat; }

static dg_status run_window(dg_predictor *p, int64_t index, const dg_box *box, dg_blend *blend, dg_predictor_note *note)
{
    dg_heartbeat_tick(p->heartbeat);
    const dg_case_info *info = dg_cohort_case(dg_source_cohort(p->source), index);
    double start = dg_time_s();
    dg_source_buffers buffers = {.channels = p->channels};
    DG_TRY(dg_source_read(p->source, index, box, &buffers));
    DG_TRY(check_window(info, box, p->channels, p->size.voxels * p->size.channels, "its CT or distances hold a value",
                        "import the case again or leave it out"));
    double read = dg_time_s();
    DG_TRY(run_network(p, info, false, p->ordered));
    if (p->config.flips) {
        float *mirrored = p->ordered + p->size.outputs;
        DG_TRY(run_network(p, info, true, mirrored));
        for (int64_t i = 0; i < p->size.outputs; i++) p->ordered[i] = 0.5f * (p->ordered[i] + mirrored[i]);
    }
    DG_TRY(check_window(info, box, p->ordered, p->size.outputs, "the network gave a dose",
                        "check its CT, or train again with a lower learning rate"));
    dg_box fine;
    for (int axis = 0; axis < 3; axis++) {
        fine.start[axis] = box->start[axis] * p->size.sub[axis];
        fine.shape[axis] = box->shape[axis] * p->size.sub[axis];
    }
    dg_blend_add(blend, &fine, p->ordered, (const float *const *)p->importance);
    note->read_s += read - start;
    note->compute_s += dg_time_s() - read;
    note->windows++;
    return DG_OK;
}

/* Windows of a case; an axis that the patch covers is centred, as training samples are. */
static dg_status list_windows(const dg_predictor *p, const dg_grid *net, const int64_t patch[3], dg_box **boxes,
                              int64_t *count)
{
    DG_TRY(dg_window_boxes(net->shape, patch, p->config.overlap, boxes, count));
    for (int64_t i = 0; i < *count; i++) {
        for (int axis = 0; axis < 3; axis++) {
            int64_t over = patch[axis] - net->shape[axis];
            if (over > 0) (*boxes)[i].start[axis] = -(over / 2);
        }
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
    return DG_OK;
}

/* Zeroes what lies outside the region where dose is possible, else outside the body. */
static dg_status restrict_to_region(dg_case *c, float *dose_gy, dg_region *region)
{
    const dg_case_info *info = dg_case_get_info(c);
    uint64_t possible = 0, body = 0;
    for (int s = 0; s < info->structure_count; s++) {
        if (info->structure[s].role == DG_ROLE_POSSIBLE_DOSE) possible |= UINT64_C(1) << s;
        if (info->structure[s].role == DG_ROLE_BODY) body |= UINT64_C(1) << s;
    }
    *region = possible != 0 ? DG_REGION_POSSIBLE_DOSE : body != 0 ? DG_REGION_BODY : DG_REGION_ALL;
    uint64_t wanted = possible != 0 ? possible : body;
    if (wanted == 0) return DG_OK;
    int64_t plane = info->grid.shape[1] * info->grid.shape[2];
    uint64_t *bits = NULL;
    dg_status status = DG_NEW(&bits, SLAB * plane, "mask bits of some slices");
    for (int64_t z = 0; z < info->grid.shape[0] && status == DG_OK; z += SLAB) {
        int64_t slices = info->grid.shape[0] - z < SLAB ? info->grid.shape[0] - z : SLAB;
        dg_box slab = {.start = {z, 0, 0}, .shape = {slices, info->grid.shape[1], info->grid.shape[2]}};
        status = dg_case_read_mask_bits(c, &slab, bits);
        for (int64_t i = 0; i < slices * plane && status == DG_OK; i++) {
            if ((bits[i] & wanted) == 0) dose_gy[z * plane + i] = 0;
        }
    }
    dg_free(&bits);
    return status;
}

dg_status dg_predictor_run(dg_predictor *p, int64_t index, float *dose_gy, dg_predictor_note *note)
{
    const dg_recipe *recipe = dg_source_recipe(p->source);
    const dg_case_info *info = dg_cohort_case(dg_source_cohort(p->source), index);
    dg_grid net;
    dg_blend blend = {.sum = NULL};
    dg_box *boxes = NULL;
    int64_t sub[3], patch[3], output_shape[3], count = 0;
    double scale_gy;
    dg_status status;
    memset(note, 0, sizeof *note);
    DG_TRY(dg_recipe_check_case(recipe, info));
    DG_TRY(dg_recipe_scale(recipe, info, &scale_gy));
    dg_recipe_geometry(recipe, &info->grid, &net, sub);
    for (int axis = 0; axis < 3; axis++) output_shape[axis] = net.shape[axis] * sub[axis];
    dg_patch_of(recipe, net.shape, dg_model_multiple(p->model), patch);
    DG_TRY(ensure_plan(p, patch));
    DG_TRY_GOTO(status, dg_blend_create(output_shape, &blend), done);
    DG_TRY_GOTO(status, list_windows(p, &net, patch, &boxes, &count), done);
    for (int64_t i = 0; i < count; i++) DG_TRY_GOTO(status, run_window(p, index, &boxes[i], &blend, note), done);
    dg_blend_finish(&blend, 0, (float)HIGHEST_DOSE, blend.sum);
    DG_TRY_GOTO(status, to_native(recipe, info, &net, output_shape, blend.sum, scale_gy, dose_gy), done);
    DG_TRY_GOTO(status, restrict_to_region(dg_source_case(p->source, index), dose_gy, &note->region), done);
done:
    dg_free(&boxes);
    dg_blend_release(&blend);
    return status;
}
