/* diffusion_pass.c - see diffusion_pass.h. SPDX-License-Identifier: Apache-2.0 */
#include "diffusion_pass.h"

#include "dg_mem.h"
#include "dg_rng.h"
#include "diffusion_setup.h"

#include <math.h>
#include <string.h>

enum { BUFFERS = 5 };

struct dg_diffusion_pass {
    dg_diffusion_pass_config config;
    dg_backend *backend;
    dg_plan *plan;
    dg_sample_size size;
    int64_t samples, times; /* of a pass; sinusoids of a time */
    int64_t outputs;
    dg_tensor condition; /* backend memory as all below: the channels of the case */
    /* [samples, outputs]: dose, its noisy form, the network's words or the dose as the loss sees them, what that is compared
     * with, and the slope of the loss */
    float *clean, *noisy, *seen, *goal, *slope;
    float *table;            /* [steps, times] sinusoids of every time */
    dg_diffusion_draw *draw; /* host, [samples]: of the present pass; t -1: no sample */
};

dg_diffusion_draw dg_diffusion_draw_of(const dg_diffusion_pass_config *config, int64_t step, int64_t slot)
{
    dg_rng rng = dg_rng_stream(config->seed, DG_RNG_DIFFUSION, (uint64_t)step, (uint32_t)slot);
    dg_diffusion_draw draw = {.t = dg_rng_below(&rng, config->diffusion->config.steps)};
    draw.blind = dg_rng_uniform(&rng) < config->drop_condition;
    return draw;
}

dg_noise dg_diffusion_noise_of(const dg_diffusion_pass_config *config, int64_t step, int64_t slot)
{
    const dg_rng rng = dg_rng_stream(config->seed, DG_RNG_DIFFUSION_NOISE, (uint64_t)step, (uint32_t)slot);
    dg_noise noise = {.used = 4, .deviation = 1};
    memcpy(noise.key, rng.key, sizeof noise.key);
    memcpy(noise.counter, rng.counter, sizeof noise.counter);
    return noise;
}

int64_t dg_diffusion_pass_bytes(int64_t samples, int64_t voxels, int64_t channels, dg_dtype dtype)
{
    return samples * voxels * (channels * (int64_t)dg_dtype_size(dtype) + BUFFERS * (int64_t)sizeof(float));
}

/* ---- memory ------------------------------------------------------------------------------------------------------------ */

static dg_status take(dg_diffusion_pass *p, int64_t bytes, void *out)
{
    void *data = NULL;
    DG_TRY(p->backend->ops->alloc(p->backend, bytes, "noisy samples", &data));
    memcpy(out, &data, sizeof data);
    return DG_OK;
}

static dg_status make_table(dg_diffusion_pass *p)
{
    const int64_t steps = p->config.diffusion->config.steps;
    const int64_t bytes = steps * p->times * (int64_t)sizeof(float);
    float *host = NULL;
    DG_TRY(take(p, bytes, &p->table));
    DG_TRY(DG_NEW(&host, steps * p->times, "sinusoids of the times"));
    for (int64_t t = 0; t < steps; t++) dg_diffusion_sinusoids(t, p->times, host + t * p->times);
    const dg_status status = p->backend->ops->upload(p->backend, p->table, host, bytes);
    dg_free(&host);
    return status;
}

static dg_status take_memory(dg_diffusion_pass *p)
{
    const dg_tensor input = dg_plan_input(p->plan);
    float **const buffer[BUFFERS] = {&p->clean, &p->noisy, &p->seen, &p->goal, &p->slope};
    p->samples = input.n;
    p->outputs = p->size.outputs;
    p->times = dg_plan_constraints(p->plan).c - p->size.constraints;
    p->condition = input;
    p->condition.c = p->condition.pitch = p->size.channels;
    DG_TRY(DG_NEW(&p->draw, p->samples, "times of samples"));
    DG_TRY(take(p, p->samples * p->size.voxels * p->size.channels * (int64_t)dg_dtype_size(input.dtype),
                &p->condition.data));
    for (int k = 0; k < BUFFERS; k++) DG_TRY(take(p, p->samples * p->outputs * (int64_t)sizeof(float), buffer[k]));
    return make_table(p);
}

dg_status dg_diffusion_pass_create(const dg_diffusion_pass_config *config, dg_backend *backend, dg_plan *plan,
                                   const dg_sample_size *size, dg_diffusion_pass **out)
{
    dg_diffusion_pass *p = NULL;
    *out = NULL;
    DG_TRY(DG_NEW(&p, 1, "diffusion"));
    p->config = *config;
    p->backend = backend;
    p->plan = plan;
    p->size = *size;
    const dg_status status = take_memory(p);
    if (status != DG_OK) dg_diffusion_pass_destroy(&p);
    *out = p;
    return status;
}

void dg_diffusion_pass_destroy(dg_diffusion_pass **pass)
{
    dg_diffusion_pass *p = *pass;
    if (p == NULL) return;
    void *const memory[] = {p->condition.data, p->clean, p->noisy, p->seen, p->goal, p->slope, p->table};
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++)
        if (memory[i] != NULL) p->backend->ops->free(p->backend, memory[i]);
    dg_free(&p->draw);
    dg_free(pass);
}

/* ---- samples ----------------------------------------------------------------------------------------------------------- */

static dg_tensor part_of(dg_tensor t, int64_t first, int64_t channels)
{
    t.data = (char *)t.data + first * (int64_t)dg_dtype_size(t.dtype);
    t.c = channels;
    return t;
}

static dg_tensor sample_of(dg_tensor t, int64_t i)
{
    t.data = (char *)t.data + i * dg_tensor_voxels(&t) * t.pitch * (int64_t)dg_dtype_size(t.dtype);
    t.n = 1;
    return t;
}

void dg_diffusion_pass_places(const dg_diffusion_pass *p, dg_feed_places *places)
{
    const dg_tensor vector = dg_plan_constraints(p->plan);
    places->input = p->condition;
    places->target = p->clean;
    places->constraint =
        p->size.constraints > 0 ? part_of(vector, p->times, p->size.constraints) : (dg_tensor){.data = NULL};
}

/* The voxels of a patch that lie in its volume. A shift of the sample is left out of account: it moves a rim of a voxel or
 * two. */
static void find_inside(const dg_sample *sample, const dg_recipe *recipe, const dg_cohort *cohort, int64_t inside[3][2])
{
    dg_grid net;
    int64_t sub[3];
    dg_recipe_geometry(recipe, &dg_cohort_case(cohort, sample->draw.index)->grid, &net, sub);
    for (int axis = 0; axis < 3; axis++) {
        const int64_t start = sample->draw.box.start[axis], patch = sample->draw.box.shape[axis];
        const int64_t low = start < 0 ? -start : 0, past = net.shape[axis] - start;
        const int64_t high = past < patch ? past : patch;
        const bool mirrored = axis == 2 && sample->draw.augment.flip;
        inside[axis][0] = mirrored ? patch - high : low;
        inside[axis][1] = mirrored ? patch - low : high;
    }
}

static dg_status tell(dg_diffusion_pass *p, int64_t i)
{
    const dg_backend_ops *ops = p->backend->ops;
    dg_tensor vector = sample_of(dg_plan_constraints(p->plan), i), times = part_of(vector, 0, p->times);
    const dg_tensor row = {p->table + p->draw[i].t * p->times, DG_F32, 1, 1, 1, 1, p->times, p->times};
    DG_TRY(ops->copy(p->backend, &row, &times, false));
    if (!p->draw[i].blind || p->size.constraints == 0) return DG_OK;
    return ops->fill(p->backend, (float *)vector.data + p->times, p->size.constraints, 0);
}

dg_status dg_diffusion_pass_add_noise(dg_diffusion_pass *p, int64_t step, int64_t slot, int64_t count,
                                      const dg_sample *samples, const dg_recipe *recipe, const dg_cohort *cohort,
                                      float *target)
{
    const dg_diffusion *d = p->config.diffusion;
    for (int64_t i = 0; i < p->samples; i++) {
        p->draw[i].t = -1; /* what there is room for beyond the samples counts no voxel */
        if (i >= count) continue;
        const dg_diffusion_draw draw = p->draw[i] = dg_diffusion_draw_of(&p->config, step, slot + i);
        dg_diffuse how = {.signal = (float)d->signal[draw.t],
                          .noise = (float)d->noise[draw.t],
                          .want_clean = (float)dg_diffusion_wanted(d, draw.t, 1, 0),
                          .want_noise = (float)dg_diffusion_wanted(d, draw.t, 0, 1),
                          .blind = draw.blind,
                          .stream = dg_diffusion_noise_of(&p->config, step, slot + i)};
        const dg_tensor condition = sample_of(p->condition, i);
        dg_tensor x = sample_of(dg_plan_input(p->plan), i);
        find_inside(&samples[i], recipe, cohort, how.inside);
        DG_TRY(p->backend->ops->diffuse(p->backend, &how, &condition, p->clean + i * p->outputs,
                                        target + i * p->outputs, &x));
        DG_TRY(tell(p, i));
    }
    return DG_OK;
}

/* ---- loss -------------------------------------------------------------------------------------------------------------- */

/* What the loss sees of sample i: of_x noisy + of_words words, compared with of_goal times a goal. */
typedef struct sight {
    double of_x, of_words, of_goal;
} sight;

static sight words_of(const dg_diffusion_pass *p, int64_t i)
{
    const double limit = p->config.snr_limit;
    const double weight = limit > 0 ? sqrt(dg_diffusion_min_snr(p->config.diffusion, p->draw[i].t, limit)) : 1;
    return (sight){0, weight, weight};
}

static sight dose_of(const dg_diffusion_pass *p, int64_t i)
{
    const dg_reading read = dg_diffusion_read(p->config.diffusion, p->draw[i].t);
    const double scale = dg_diffusion_dose_scale(p->config.diffusion, p->draw[i].t, p->config.raw);
    return (sight){scale * read.clean_x, scale * read.clean_out, scale};
}

/* The terms of a loss on what is seen of the words; dy (=|+=) the gradient by them. */
static dg_status look(dg_diffusion_pass *p, dg_loss *loss, uint32_t terms,
                      sight (*see)(const dg_diffusion_pass *, int64_t), const float *goal, const dg_loss_batch *batch,
                      float *dy)
{
    const dg_backend_ops *ops = p->backend->ops;
    const int64_t n = p->outputs, all = n * p->samples;
    dg_loss_batch seen = *batch;
    dg_tensor slope = batch->y;
    seen.y.data = p->seen;
    seen.target.data = p->goal;
    slope.data = p->slope;
    DG_TRY(ops->fill(p->backend, p->seen, all, 0));
    DG_TRY(ops->fill(p->backend, p->goal, all, 0));
    for (int64_t i = 0; i < p->samples; i++) {
        if (p->draw[i].t < 0) continue;
        const sight s = see(p, i);
        if (s.of_x != 0) DG_TRY(ops->axpy(p->backend, n, s.of_x, p->noisy + i * n, p->seen + i * n));
        DG_TRY(ops->axpy(p->backend, n, s.of_words, (const float *)batch->y.data + i * n, p->seen + i * n));
        DG_TRY(ops->axpy(p->backend, n, s.of_goal, goal + i * n, p->goal + i * n));
    }
    DG_TRY(dg_loss_evaluate_some(loss, terms, &seen, &slope));
    for (int64_t i = 0; i < p->samples; i++)
        if (p->draw[i].t >= 0) DG_TRY(ops->axpy(p->backend, n, see(p, i).of_words, p->slope + i * n, dy + i * n));
    return DG_OK;
}

dg_status dg_diffusion_pass_loss(dg_diffusion_pass *p, dg_loss *loss, const dg_loss_batch *batch, dg_tensor *dy)
{
    const dg_loss_config *config = dg_loss_get_config(loss);
    const uint32_t words = dg_diffusion_terms_of_words(config->term, config->count);
    const uint32_t dose = ~words & ((UINT32_C(1) << config->count) - 1);
    const dg_backend_ops *ops = p->backend->ops;
    const dg_tensor input = dg_plan_input(p->plan);
    const dg_tensor x = part_of(input, 0, 1);
    dg_tensor noisy = {p->noisy, DG_F32, input.n, input.z, input.y, input.x, 1, 1};
    DG_TRY(ops->copy(p->backend, &x, &noisy, false));
    DG_TRY(ops->fill(p->backend, dy->data, p->outputs * p->samples, 0));
    DG_TRY(look(p, loss, words, words_of, batch->target.data, batch, dy->data));
    return dose == 0 ? DG_OK : look(p, loss, dose, dose_of, p->clean, batch, dy->data);
}
