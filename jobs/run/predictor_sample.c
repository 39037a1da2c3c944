/* predictor_sample.c - a dose drawn from noise, step by step over a whole case; and how well one step sees through a given
 * amount of noise. SPDX-License-Identifier: Apache-2.0 */
#include "predictor_impl.h"

#include "dg_hash.h"
#include "dg_mem.h"
#include "dg_rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const float HIGHEST_DOSE = 1.5f; /* in units of the dose scale */

static int64_t voxels_of(const predictor_case *c)
{
    return c->tiling->output[0] * c->tiling->output[1] * c->tiling->output[2];
}

/* A case has noise of its own, and keeps it in any cohort. */
static dg_status seed_of(const predictor_case *c, uint64_t *seed)
{
    char hex[DG_HASH_HEX];
    DG_TRY(dg_hash_bytes(c->info->id, strlen(c->info->id), hex));
    hex[16] = '\0';
    *seed = c->p->sampling.seed ^ strtoull(hex, NULL, 16);
    return DG_OK;
}

static dg_noise stream_of(uint64_t seed, dg_rng_purpose purpose, int64_t a, int64_t b)
{
    const dg_rng rng = dg_rng_stream(seed, purpose, (uint64_t)a, (uint32_t)b);
    dg_noise noise = {.used = 4, .deviation = 1};
    memcpy(noise.key, rng.key, sizeof noise.key);
    memcpy(noise.counter, rng.counter, sizeof noise.counter);
    return noise;
}

/* What rank 0 has blended, on every rank. */
static dg_status share(predictor_case *c, float *said)
{
    dg_comm *comm = c->p->config.comm;
    dg_backend *backend = c->p->backend;
    const int64_t bytes = voxels_of(c) * (int64_t)sizeof(float);
    dg_status status = comm->rank == 0 ? backend->ops->download(backend, c->values, said, bytes) : DG_OK;
    DG_TRY(dg_comm_agree(comm, status));
    DG_TRY(dg_comm_broadcast(comm, c->values, bytes, 0));
    status = comm->rank == 0 ? DG_OK : backend->ops->upload(backend, said, c->values, bytes);
    return predictor_agree(c, status);
}

/* The network on all windows at a time of the process: memory.said[blind]. */
static dg_status ask(predictor_case *c, int64_t t, bool blind)
{
    c->blind = blind;
    c->strips = 0;
    dg_status status = predictor_tell(c->p, c->info, t, blind);
    if (status == DG_OK) status = predictor_sweep(c);
    DG_TRY(predictor_agree(c, predictor_settle(c, status)));
    return predictor_is_shared(c) ? share(c, c->p->memory.said[blind]) : DG_OK;
}

/* Classifier-free guidance (Ho & Salimans 2022): blind + guidance (told - blind). */
static dg_status ask_guided(predictor_case *c, int64_t t, const float **said)
{
    predictor_memory *m = &c->p->memory;
    const double guidance = c->p->sampling.guidance;
    dg_backend *backend = c->p->backend;
    const int64_t voxels = voxels_of(c);
    *said = m->said[0];
    DG_TRY(ask(c, t, false));
    if (guidance == 1) return DG_OK;
    DG_TRY(ask(c, t, true));
    *said = m->said[2];
    dg_status status = backend->ops->fill(backend, m->said[2], voxels, 0);
    if (status == DG_OK) status = backend->ops->axpy(backend, voxels, guidance, m->said[0], m->said[2]);
    if (status == DG_OK) status = backend->ops->axpy(backend, voxels, 1 - guidance, m->said[1], m->said[2]);
    return predictor_agree(c, status);
}

/* x = noise. A case that failed may have left what is not finite. */
static dg_status begin_noise(predictor_case *c, uint64_t seed)
{
    predictor_memory *m = &c->p->memory;
    dg_backend *backend = c->p->backend;
    const dg_denoise draw = {.fresh = 1};
    const dg_noise noise = stream_of(seed, DG_RNG_SAMPLER, c->p->sampling.sample, 0);
    float *const all[] = {m->noisy.data, m->before, m->said[0]};
    for (int k = 0; k < 3; k++) DG_TRY(backend->ops->fill(backend, all[k], voxels_of(c), 0));
    return backend->ops->denoise(backend, &draw, &noise, voxels_of(c), m->said[0], m->noisy.data, m->before);
}

dg_status predictor_sample(predictor_case *c)
{
    predictor_memory *m = &c->p->memory;
    const dg_sampling *s = &c->p->sampling;
    dg_backend *backend = c->p->backend;
    const int64_t voxels = voxels_of(c);
    const float *said;
    uint64_t seed = 0;
    dg_status status = seed_of(c, &seed);
    if (status == DG_OK) status = predictor_load(c);
    if (status == DG_OK) status = begin_noise(c, seed);
    DG_TRY(predictor_agree(c, status));
    for (int64_t i = 0; i < s->count; i++) {
        const dg_noise fresh = stream_of(seed, DG_RNG_SAMPLER, s->sample, i + 1);
        DG_TRY(ask_guided(c, s->step[i].t, &said));
        status = backend->ops->denoise(backend, &s->step[i].denoise, s->step[i].denoise.fresh != 0 ? &fresh : NULL,
                                       voxels, said, m->noisy.data, m->before);
        DG_TRY(predictor_agree(c, status));
    }
    DG_TRY(backend->ops->download(backend, c->values, m->noisy.data, voxels * (int64_t)sizeof(float)));
    for (int64_t v = 0; v < voxels; v++)
        c->values[v] = c->values[v] < 0 ? 0 : c->values[v] > HIGHEST_DOSE ? HIGHEST_DOSE : c->values[v];
    return DG_OK;
}

/* ---- one step ---------------------------------------------------------------------------------------------------------- */

/* The dose on the network's grid, and where it counts. */
typedef struct truth {
    float *clean;
    uint8_t *counted;
} truth;

static dg_status read_truth(predictor_case *c, truth *out)
{
    dg_box whole = {.start = {0}};
    memcpy(whole.shape, c->tiling->net.shape, sizeof whole.shape);
    DG_TRY(DG_NEW(&out->clean, voxels_of(c), "dose of a case"));
    DG_TRY(DG_NEW(&out->counted, voxels_of(c), "counted voxels"));
    const dg_source_buffers wanted = {.dose = out->clean, .counted = out->counted};
    return dg_source_read(c->p->source, c->index, &whole, &wanted);
}

static dg_status see_through(predictor_case *c, const truth *known, uint64_t seed, int64_t t, double *error)
{
    predictor_memory *m = &c->p->memory;
    const dg_diffusion *d = c->p->sampling.diffusion;
    dg_backend *backend = c->p->backend;
    const int64_t voxels = voxels_of(c), bytes = voxels * (int64_t)sizeof(float);
    const dg_reading read = dg_diffusion_read(d, t);
    const dg_denoise add = {.to_x = (float)d->signal[t], .fresh = (float)d->noise[t]};
    const dg_denoise look = {
        .clean_x = (float)read.clean_x, .clean_out = (float)read.clean_out, .high = HIGHEST_DOSE, .to_clean = 1};
    const dg_noise noise = stream_of(seed, DG_RNG_DIFFUSION_NOISE, t, 0);
    double sum = 0, count = 0;
    DG_TRY(backend->ops->fill(backend, m->before, voxels, 0));
    DG_TRY(backend->ops->fill(backend, m->said[0], voxels, 0));
    DG_TRY(backend->ops->upload(backend, m->noisy.data, known->clean, bytes));
    DG_TRY(backend->ops->denoise(backend, &add, &noise, voxels, m->said[0], m->noisy.data, m->before));
    DG_TRY(ask(c, t, false));
    DG_TRY(backend->ops->denoise(backend, &look, NULL, voxels, m->said[0], m->noisy.data, m->before));
    DG_TRY(backend->ops->download(backend, c->values, m->noisy.data, bytes));
    for (int64_t v = 0; v < voxels; v++) {
        if (known->counted[v] == 0) continue;
        sum += fabs((double)c->values[v] - (double)known->clean[v]);
        count++;
    }
    *error = count > 0 ? sum / count : 0;
    return DG_OK;
}

dg_status dg_predictor_denoise(dg_predictor *p, int64_t index, const int64_t *t, int count, double *mean_gy)
{
    predictor_case c = {.p = p, .info = dg_cohort_case(dg_source_cohort(p->source), index), .index = index, .next = -1};
    dg_tiling tiling = {.layers = 0};
    truth known = {NULL, NULL};
    double scale_gy = 0, error = 0;
    uint64_t seed = 0;
    *mean_gy = 0;
    dg_status status = predictor_begin(&c, &tiling, &scale_gy);
    if (status == DG_OK) status = seed_of(&c, &seed);
    if (status == DG_OK) status = read_truth(&c, &known);
    if (status == DG_OK) status = predictor_load(&c);
    for (int k = 0; k < count && status == DG_OK; k++) {
        status = see_through(&c, &known, seed, t[k], &error);
        *mean_gy += error * scale_gy / count;
    }
    predictor_end(&c, &tiling);
    dg_free(&known.clean);
    dg_free(&known.counted);
    return status;
}
