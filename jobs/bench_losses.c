/* bench_losses.c - the losses of `dosegrid bench model|train`, and what they read: made-up structures or labels.
 * SPDX-License-Identifier: Apache-2.0 */
#include "bench_impl.h"

#include "dg_distance.h"
#include "dg_mem.h"
#include "dg_trace.h"

#include <string.h>

/* bf16 by cutting: the value does not matter. */
static uint16_t upper_half(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)(bits >> 16);
}

dg_status bench_fill_tensor(dg_backend *backend, const dg_tensor *t)
{
    const int64_t count = t->n * dg_tensor_voxels(t) * t->pitch;
    const int64_t bytes = count * (int64_t)dg_dtype_size(t->dtype);
    char *host;
    DG_TRY(dg_alloc(&host, (size_t)bytes, 1, "made-up input"));
    for (int64_t i = 0; i < count; i++) {
        const float value = (float)(i * 7919 % 2003) / 1001.5f - 1.0f;
        if (t->dtype == DG_BF16)
            ((uint16_t *)host)[i] = upper_half(value);
        else
            ((float *)host)[i] = value;
    }
    dg_status status = backend->ops->upload(backend, t->data, host, bytes);
    dg_free(&host);
    return status;
}

/* ---- which losses ------------------------------------------------------------------------------------------------------ */

/* Five parts over made-up structures, each a box of its own: three targets, and seven organs with their boundaries. */
enum { TARGETS = 3, ORGANS = 7, NEAR_BIT = 16 };

static void add_five(bool upstream, dg_loss_config *config)
{
    const uint32_t targets = (1u << TARGETS) - 1, organs = ((1u << ORGANS) - 1) << TARGETS;
    dg_loss_term dvh = {.kind = DG_LOSS_DVH,
                        .upstream = upstream,
                        .window = 0.0125,
                        .bins = 100,
                        .d95_temperature = 0.1,
                        .vx_temperature = upstream ? 1.0f : 0.0005f,
                        .min_voxels = 1};
    for (int g = 0; g < TARGETS + ORGANS; g++)
        dvh.goal[dvh.goals++] = (dg_loss_goal){.kind = g < TARGETS  ? DG_GOAL_DOSE
                                                       : g % 2 == 0 ? DG_GOAL_MEAN
                                                                    : DG_GOAL_VOLUME,
                                               .region = 1u << g,
                                               .weight = 1,
                                               .level = g < TARGETS ? 0.95 : 0.3};
    config->term[2] = (dg_loss_term){.kind = DG_LOSS_GRADIENT};
    config->term[3] = dvh;
    config->term[4] = (dg_loss_term){.kind = DG_LOSS_STRUCTURE,
                                     .upstream = upstream,
                                     .inside = targets,
                                     .near = organs << (NEAR_BIT - TARGETS),
                                     .weight_inside = 2,
                                     .weight_near = 1.5f,
                                     .weight_else = 0.5f};
    config->term[5] = (dg_loss_term){.kind = DG_LOSS_ASYMMETRIC, .upstream = upstream, .inside = targets, .ratio = 3};
    config->count = 6;
    for (int k = 2; k < config->count; k++) config->weight[k] = 1;
}

dg_loss_config bench_loss_config(const bench_settings *s)
{
    dg_loss_config config = {
        .count = 2, .term = {{.kind = DG_LOSS_MSE}, {.kind = DG_LOSS_NEGATIVE}}, .weight = {1.0, 0.1}};
    const bool upstream = s->loss == BENCH_LOSS_FIVE_UPSTREAM, five = s->loss == BENCH_LOSS_FIVE || upstream;
    if (five) add_five(upstream, &config);
    if (s->loss != BENCH_LOSS_LABELS) return config;
    config.count = 0; /* every term of labels, with the defaults of a run */
    for (int kind = DG_LOSS_DICE; kind <= DG_LOSS_ENTROPY; kind++) {
        config.weight[config.count] = 1;
        config.term[config.count++] = (dg_loss_term){.kind = (dg_loss_kind)kind,
                                                     .smooth = 1e-5f,
                                                     .alpha = 0.25f,
                                                     .gamma = 2,
                                                     .foreground = 1,
                                                     .background = 1,
                                                     .theta0 = 3,
                                                     .theta = 5,
                                                     .iterations = 3,
                                                     .kernel = 3,
                                                     .least_entropy = 0.5f};
    }
    return config;
}

/* ---- what they read ---------------------------------------------------------------------------------------------------- */

static dg_status give(dg_backend *backend, const void *host, int64_t bytes, const char *what, void **out)
{
    DG_TRY(backend->ops->alloc(backend, bytes, what, out));
    return backend->ops->upload(backend, *out, host, bytes);
}

static dg_status fill_regions(dg_backend *backend, const dg_tensor *y, dg_loss_batch *out)
{
    const int64_t voxels = dg_tensor_voxels(y), count = y->n * voxels;
    uint32_t *host = NULL;
    void *regions = NULL;
    DG_TRY(DG_NEW(&host, count, "regions"));
    for (int64_t i = 0; i < count; i++) {
        const int64_t z = i % voxels / (y->y * y->x), row = i / y->x % y->y, x = i % y->x;
        for (int g = 0; g < TARGETS + ORGANS; g++) {
            const int64_t from = (g * y->z) / 16, size = y->z / 3;
            const int64_t dz = z - from, dy = row - from, dx = x - from;
            const bool inside = dz >= 0 && dy >= 0 && dx >= 0 && dz < size && dy < size && dx < size;
            const bool rim = inside && (dz < 2 || dy < 2 || dx < 2 || dz > size - 3 || dy > size - 3 || dx > size - 3);
            if (inside) host[i] |= 1u << g;
            if (rim && g >= TARGETS) host[i] |= 1u << (NEAR_BIT + g - TARGETS);
        }
    }
    dg_status status = give(backend, host, count * (int64_t)sizeof *host, "regions", &regions);
    out->regions = regions;
    dg_free(&host);
    return status;
}

/* Sheets four voxels thick, 24 apart, and a zone of unknown class. */
static void draw_labels(const dg_tensor *y, uint8_t *label, uint8_t *mask, float *target)
{
    const int64_t voxels = dg_tensor_voxels(y);
    for (int64_t i = 0; i < y->n * voxels; i++) {
        const int64_t z = i % voxels / (y->y * y->x), row = i / y->x % y->y, x = i % y->x;
        label[i] = (row + z / 3 + x / 5) % 24 < 4;
        mask[i] = !(z < y->z / 8 && row < y->y / 2);
        target[i] = label[i];
    }
}

static dg_status fill_labels(dg_backend *backend, const dg_tensor *y, dg_loss_batch *out)
{
    const int64_t voxels = dg_tensor_voxels(y), count = y->n * voxels, shape[3] = {y->z, y->y, y->x};
    const int64_t bytes = count * (int64_t)sizeof(float);
    uint8_t *label = NULL;
    float *target = NULL;
    void *mask = NULL, *distance = NULL;
    dg_status status = DG_NEW(&label, 2 * count, "labels");
    if (status == DG_OK) status = DG_NEW(&target, 2 * count, "labels");
    if (status != DG_OK) goto done;
    draw_labels(y, label, label + count, target);
    for (int64_t n = 0; n < y->n && status == DG_OK; n++)
        status = dg_label_distance(label + n * voxels, label + count + n * voxels, shape, false, 1,
                                   target + count + n * voxels);
    if (status == DG_OK) status = backend->ops->upload(backend, out->target.data, target, bytes);
    if (status == DG_OK) status = give(backend, label + count, count, "mask", &mask);
    if (status == DG_OK) status = give(backend, target + count, bytes, "distances", &distance);
    out->mask = mask;
    out->distance = distance;
done:
    dg_free(&label);
    dg_free(&target);
    return status;
}

dg_status bench_create_targets(const bench_settings *s, dg_backend *backend, const dg_tensor *y, dg_loss_batch *out)
{
    void *target;
    *out = (dg_loss_batch){.y = *y, .target = *y};
    out->target.data = NULL;
    out->target.dtype = DG_F32;
    DG_TRY(backend->ops->alloc(backend, y->n * dg_tensor_voxels(y) * (int64_t)sizeof(float) * y->pitch, "target",
                               &target));
    out->target.data = target;
    if (s->loss == BENCH_LOSS_LABELS) return fill_labels(backend, y, out);
    DG_TRY(bench_fill_tensor(backend, &out->target));
    return s->loss == BENCH_LOSS_PLAIN ? DG_OK : fill_regions(backend, y, out);
}

void bench_free_targets(dg_backend *backend, dg_loss_batch *batch)
{
    backend->ops->free(backend, batch->target.data);
    backend->ops->free(backend, (void *)(uintptr_t)batch->mask);
    backend->ops->free(backend, (void *)(uintptr_t)batch->distance);
    backend->ops->free(backend, (void *)(uintptr_t)batch->regions);
}

/* ---- each term --------------------------------------------------------------------------------------------------------- */

static dg_status time_term(const bench_settings *s, dg_backend *backend, const dg_loss_config *all, int k,
                           const dg_loss_batch *batch, dg_tensor *dy, double *seconds)
{
    const dg_loss_config one = {.count = 1, .term = {all->term[k]}, .weight = {1}};
    dg_loss *loss = NULL;
    dg_status status = dg_loss_create(&one, backend, batch, &loss);
    for (int64_t i = -1; i < s->steps && status == DG_OK; i++) {
        const double start = dg_time_s();
        status = dg_loss_evaluate(loss, batch, dy);
        if (status == DG_OK) status = backend->ops->sync(backend);
        if (i >= 0) seconds[i] = dg_time_s() - start;
    }
    dg_loss_destroy(&loss);
    return status;
}

dg_status bench_terms(const bench_settings *s, dg_backend *backend, const dg_loss_batch *batch, dg_tensor *dy,
                      json_t *answer)
{
    const dg_loss_config all = bench_loss_config(s);
    double *seconds = NULL;
    json_t *terms = json_object();
    if (json_object_set_new(answer, "terms", terms) != 0) return DG_FAIL(DG_ERR_MEMORY, "no memory for the answer");
    dg_status status = DG_NEW(&seconds, s->steps, "times");
    for (int k = 0; k < all.count && status == DG_OK; k++) {
        status = time_term(s, backend, &all, k, batch, dy, seconds);
        if (status == DG_OK)
            json_object_set_new(terms, dg_loss_kind_name(all.term[k].kind), json_real(bench_median(seconds, s->steps)));
    }
    dg_free(&seconds);
    return status;
}
