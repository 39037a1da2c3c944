/* predictor_layers.c - the windows of a case, layer by layer: cut out, passed through the network in batches, blended strip
 * by strip; ranks that share the case take strips in turn, and rank 0 adds them in order. SPDX-License-Identifier: Apache-2.0 */
#include "predictor_impl.h"

#include "dg_trace.h"

#include <float.h>
#include <string.h>

static const float HIGHEST_DOSE = 1.5f; /* in units of the dose scale */
static const float *const no_weights[3] = {NULL, NULL, NULL};

/* Windows of one pass. */
typedef struct pass {
    dg_windows windows;
    int64_t strip[DG_WINDOW_BATCH]; /* of each, counted over all layers */
    bool last[DG_WINDOW_BATCH];     /* of its strip */
    int64_t count;
} pass;

static int ranks(const predictor_case *c) { return c->p->config.comm != NULL ? c->p->config.comm->size : 1; }
static int rank(const predictor_case *c) { return c->p->config.comm != NULL ? c->p->config.comm->rank : 0; }
static int owner_of(const predictor_case *c, int64_t strip) { return (int)(strip % ranks(c)); }

/* ---- planes ------------------------------------------------------------------------------------------------------------ */

static void begin_next_case(predictor_case *c)
{
    dg_predictor *p = c->p;
    const dg_recipe *recipe = dg_source_recipe(p->source);
    dg_grid net;
    int64_t sub[3], patch[3];
    if (c->next < 0 || recipe->framed) return; /* where the first window of a framed case lies is not known yet */
    dg_recipe_geometry(recipe, &dg_cohort_case(dg_source_cohort(p->source), c->next)->grid, &net, sub);
    dg_patch_of(recipe, net.shape, dg_model_multiple(p->model), patch);
    dg_slab_reader_begin(p->reader, c->next, 0, patch[0] < net.shape[0] ? patch[0] : net.shape[0]);
    p->ahead = c->next;
}

/* Brings the planes that are there to the ring, run by run. */
static dg_status upload_planes(const predictor_case *c, const dg_slab *slab)
{
    const dg_ring *ring = &c->p->memory.volume;
    dg_backend *backend = c->p->backend;
    const int64_t plane = ring->y * ring->x;
    for (int64_t k = 0; k < ring->c; k++)
        for (int64_t z = slab->first, run; z < slab->end; z += run) {
            const int64_t at = z % ring->height;
            run = slab->end - z < ring->height - at ? slab->end - z : ring->height - at;
            DG_TRY(backend->ops->upload_ahead(backend, ring->data + (k * ring->height + at) * plane,
                                              slab->values + (k * slab->held + z - slab->origin) * plane,
                                              run * plane * (int64_t)sizeof(float)));
        }
    return DG_OK;
}

/* The new planes of a layer, which were begun before; then those of the next layer or case begin. */
static dg_status load_layer(predictor_case *c, int64_t layer)
{
    dg_slab slab;
    int64_t first, end;
    const double start = dg_time_s();
    DG_TRY(dg_slab_reader_wait(c->p->reader, &slab));
    c->waited_s += dg_time_s() - start;
    c->read_s += slab.seconds;
    DG_TRY(upload_planes(c, &slab));
    c->known = slab.end;
    if (layer + 1 < c->tiling->layers) {
        dg_tiling_planes(c->tiling, layer + 1, &first, &end);
        dg_slab_reader_begin(c->p->reader, c->index, first > c->known ? first : c->known, end);
    } else {
        begin_next_case(c);
    }
    return DG_OK;
}

/* ---- strips ------------------------------------------------------------------------------------------------------------ */

static int64_t strip_floats(const predictor_case *c)
{
    const dg_ring *s = &c->p->memory.strip;
    return s->height * s->y * s->x;
}

/* Adds the strip that lies in memory to the sums, and clears it. */
static dg_status fold_strip(predictor_case *c)
{
    predictor_memory *m = &c->p->memory;
    dg_backend *backend = c->p->backend;
    const dg_tiling *t = c->tiling;
    const int64_t strip = c->strips++, layer = strip / t->strips, row = strip % t->strips, one[3] = {1, 1, 1};
    const dg_ring *s = &m->strip;
    const dg_tensor all = {s->data, DG_F32, 1, s->height, s->y, s->x, 1, 1};
    const dg_windows place = {.start = {{t->start[0][layer] * t->sub[0], t->start[1][row] * t->sub[1], 0}}};
    DG_TRY(backend->ops->window_blend(backend, &all, one, &place, no_weights, 1, &m->sum));
    return backend->ops->fill(backend, s->data, strip_floats(c), 0);
}

/* Rank 0 takes the strips before this one from the ranks that have them. */
static dg_status fold_until(predictor_case *c, int64_t strip)
{
    dg_backend *backend = c->p->backend;
    const int64_t bytes = strip_floats(c) * (int64_t)sizeof(float);
    while (c->strips < strip) {
        DG_TRY(dg_comm_receive(c->p->config.comm, c->message, bytes, owner_of(c, c->strips), DG_TAG_STRIP));
        const dg_status status = backend->ops->upload(backend, c->p->memory.strip.data, c->message, bytes);
        if (status != DG_OK) c->strips++; /* it has come, and is not to be waited for again */
        DG_TRY(status);
        DG_TRY(fold_strip(c));
    }
    return DG_OK;
}

static dg_status send_strip(predictor_case *c)
{
    dg_backend *backend = c->p->backend;
    float *strip = c->p->memory.strip.data;
    const int64_t bytes = strip_floats(c) * (int64_t)sizeof(float);
    DG_TRY(backend->ops->download(backend, c->message, strip, bytes));
    DG_TRY(backend->ops->fill(backend, strip, strip_floats(c), 0));
    DG_TRY(dg_comm_send(c->p->config.comm, c->message, bytes, 0, DG_TAG_STRIP));
    c->strips++;
    return DG_OK;
}

static dg_status exchange_rest(predictor_case *c)
{
    const int64_t all = c->tiling->layers * c->tiling->strips, bytes = strip_floats(c) * (int64_t)sizeof(float);
    if (rank(c) == 0) {
        for (; c->strips < all; c->strips++)
            if (owner_of(c, c->strips) != 0)
                DG_TRY(dg_comm_receive(c->p->config.comm, c->message, bytes, owner_of(c, c->strips), DG_TAG_STRIP));
        return DG_OK;
    }
    int64_t mine = 0;
    for (int64_t s = 0; s < all; s++) mine += owner_of(c, s) == rank(c);
    for (; c->strips < mine; c->strips++) DG_TRY(dg_comm_send(c->p->config.comm, c->message, bytes, 0, DG_TAG_STRIP));
    return DG_OK;
}

dg_status predictor_settle(predictor_case *c, dg_status status)
{
    if (!predictor_is_shared(c) || status == DG_OK || status == DG_ERR_COMM) return status;
    const dg_error error = *dg_error_last();
    DG_TRY(exchange_rest(c));
    return dg_error_set(error.status, error.frame[0].file, error.frame[0].line, error.frame[0].function, "%s",
                        error.text);
}

/* ---- passes ------------------------------------------------------------------------------------------------------------ */

static dg_window_channels channels_of(const dg_recipe *recipe, bool mirrored)
{
    dg_window_channels channels = {.from = {0}};
    for (int k = 0; k < recipe->count; k++) {
        channels.from[k] = mirrored ? recipe->channel[k].mirror : k;
        channels.outside[k] = dg_channel_outside(recipe, channels.from[k]);
    }
    return channels;
}

/* The windows of a pass as the network's input; of a diffusion the noisy dose is the first channel. Beyond the volume it is 0,
 * and so is the case where the network is not told it: windows that lie beyond the volume as a whole. */
static dg_status cut_out(predictor_case *c, pass *w, const dg_tensor *input)
{
    dg_predictor *p = c->p;
    const dg_backend_ops *ops = p->backend->ops;
    dg_window_channels channels = channels_of(dg_source_recipe(p->source), w->windows.mirrored);
    dg_tensor known = *input, noisy = *input;
    if (p->sampling.diffusion == NULL)
        return ops->window_gather(p->backend, &p->memory.volume, &channels, &w->windows, &known);
    const dg_window_channels alone = {.from = {0}};
    noisy.c = 1;
    DG_TRY(ops->window_gather(p->backend, &p->memory.noisy, &alone, &w->windows, &noisy));
    dg_windows at = w->windows;
    known.c--;
    known.data = (char *)known.data + dg_dtype_size(known.dtype);
    for (int64_t i = 0; c->blind && i < w->count; i++) at.start[i][0] = p->memory.volume.z;
    for (int64_t k = 0; c->blind && k < known.c; k++) channels.outside[k] = 0;
    return ops->window_gather(p->backend, &p->memory.volume, &channels, &at, &known);
}

/* Windows of the volume, mirrored or not, through the network. */
static dg_status run_network(predictor_case *c, pass *w, bool mirrored)
{
    dg_predictor *p = c->p;
    dg_backend *backend = p->backend;
    dg_tensor input = dg_plan_input(p->plan), constraints = dg_plan_constraints(p->plan);
    input.n = w->count;
    w->windows.mirrored = mirrored;
    DG_TRY(cut_out(c, w, &input));
    if (!mirrored) DG_TRY(backend->ops->find_nonfinite(backend, &input, p->memory.bad + c->in_layer));
    if (constraints.data != NULL) {
        dg_tensor vector = constraints;
        vector.data = p->memory.constraint[mirrored];
        DG_TRY(backend->ops->copy(backend, &vector, &constraints, false));
    }
    return dg_plan_forward(p->plan, p->trace);
}

/* Windows first .. end - 1 of the pass, all of one strip. */
static dg_status blend_group(predictor_case *c, const pass *w, int64_t first, int64_t end, const dg_tensor *y,
                             bool mirrored)
{
    predictor_memory *m = &c->p->memory;
    dg_windows at = {.mirrored = mirrored};
    dg_tensor part = *y;
    part.n = end - first;
    part.data = (float *)y->data + first * dg_tensor_voxels(y) * y->c;
    for (int64_t i = first; i < end; i++) at.start[i - first][2] = w->windows.start[i][2];
    return c->p->backend->ops->window_blend(c->p->backend, &part, c->tiling->sub, &at, (const float *const *)m->weight,
                                            c->p->config.flips ? 0.5f : 1.0f, &m->strip);
}

static dg_status blend_pass(predictor_case *c, const pass *w, const dg_tensor *y, const dg_tensor *mirrored)
{
    for (int64_t first = 0, end; first < w->count; first = end) {
        /* a window comes before its mirror image, whatever the batch: together only where there is none */
        for (end = first + 1; mirrored == NULL && end < w->count && w->strip[end] == w->strip[first];) end++;
        /* the strip of another rank comes before one of ours begins: they share the memory */
        if (rank(c) == 0) DG_TRY(fold_until(c, w->strip[first]));
        DG_TRY(blend_group(c, w, first, end, y, false));
        if (mirrored != NULL) DG_TRY(blend_group(c, w, first, end, mirrored, true));
        if (w->last[end - 1]) DG_TRY(rank(c) == 0 ? fold_strip(c) : send_strip(c));
    }
    return DG_OK;
}

static dg_status run_pass(predictor_case *c, pass *w)
{
    dg_predictor *p = c->p;
    dg_backend *backend = p->backend;
    dg_tensor output = dg_plan_output(p->plan), plain = output;
    int32_t *bad = p->memory.bad + c->tiling->strips * c->tiling->across + c->in_layer;
    output.n = plain.n = w->count;
    plain.data = p->memory.plain;
    DG_TRY(run_network(c, w, false));
    DG_TRY(backend->ops->find_nonfinite(backend, &output, bad));
    if (p->config.flips) {
        DG_TRY(backend->ops->copy(backend, &output, &plain, false));
        DG_TRY(run_network(c, w, true));
        DG_TRY(backend->ops->find_nonfinite(backend, &output, bad));
        DG_TRY(blend_pass(c, w, &plain, &output));
    } else {
        DG_TRY(blend_pass(c, w, &output, NULL));
    }
    memcpy(c->ran[c->in_layer], w->windows.start, (size_t)w->count * sizeof *w->windows.start);
    c->in_layer += w->count;
    c->windows += w->count;
    w->count = 0;
    dg_heartbeat_tick(p->heartbeat);
    return DG_OK;
}

static dg_status run_layer(predictor_case *c, int64_t layer)
{
    const dg_tiling *t = c->tiling;
    pass w = {.count = 0};
    c->in_layer = 0;
    for (int64_t row = 0; row < t->strips; row++) {
        const int64_t strip = layer * t->strips + row;
        if (owner_of(c, strip) != rank(c)) continue;
        for (int64_t i = 0; i < t->across; i++) {
            const int64_t start[3] = {t->start[0][layer], t->start[1][row], t->start[2][i]};
            memcpy(w.windows.start[w.count], start, sizeof start);
            w.strip[w.count] = strip;
            w.last[w.count] = i + 1 == t->across;
            if (++w.count == c->p->memory.batch) DG_TRY(run_pass(c, &w));
        }
    }
    return w.count > 0 ? run_pass(c, &w) : DG_OK;
}

/* ---- layers ------------------------------------------------------------------------------------------------------------ */

static dg_status fail_window(const predictor_case *c, const int64_t start[3], const char *what, const char *remedy)
{
    return DG_FAIL(DG_ERR_NUMERIC, "case %s: %s that is not finite in the window at voxel (%lld, %lld, %lld); %s",
                   c->info->id, what, (long long)start[0], (long long)start[1], (long long)start[2], remedy);
}

/* Waits for the layer and looks at the marks of its windows. */
static dg_status check_windows(predictor_case *c)
{
    dg_backend *backend = c->p->backend;
    const int64_t windows = c->tiling->strips * c->tiling->across;
    int32_t *bad = c->p->memory.bad;
    DG_TRY(backend->ops->download(backend, c->bad, bad, 2 * windows * (int64_t)sizeof *bad));
    DG_TRY(backend->ops->fill(backend, (float *)bad, 2 * windows, 0));
    for (int64_t i = 0; i < c->in_layer; i++) {
        if (c->bad[i] != 0)
            return fail_window(c, c->ran[i], "its CT or distances hold a value",
                               "import the case again or leave it out");
        if (c->bad[windows + i] != 0)
            return fail_window(c, c->ran[i], "the network gave a dose",
                               "check its CT, or train again with a lower learning rate");
    }
    return DG_OK;
}

dg_status predictor_pass(predictor_case *c, const int64_t (*start)[3], int64_t count, dg_tensor *output)
{
    dg_predictor *p = c->p;
    pass w = {.count = count};
    memcpy(w.windows.start, start, (size_t)count * sizeof *start);
    memcpy(c->ran, start, (size_t)count * sizeof *start);
    c->in_layer = 0;
    DG_TRY(run_network(c, &w, false));
    *output = dg_plan_output(p->plan);
    output->n = c->in_layer = count;
    DG_TRY(p->backend->ops->find_nonfinite(p->backend, output, p->memory.bad + c->tiling->strips * c->tiling->across));
    c->windows += count;
    dg_heartbeat_tick(p->heartbeat);
    return check_windows(c);
}

/* Planes that no later window reaches come to the host. */
static dg_status finish_layer(predictor_case *c, int64_t layer)
{
    predictor_memory *m = &c->p->memory;
    dg_backend *backend = c->p->backend;
    const int64_t plane = c->tiling->output[1] * c->tiling->output[2];
    int64_t first, end;
    dg_tiling_ready(c->tiling, layer, &first, &end);
    const int64_t count = end - first;
    DG_TRY(fold_until(c, (layer + 1) * c->tiling->strips));
    if (c->p->sampling.diffusion != NULL) /* no dose yet */
        return backend->ops->window_finish(backend, &m->sum, first, count, (const float *const *)m->weight_sum,
                                           -FLT_MAX, FLT_MAX, m->said[c->blind] + first * plane);
    DG_TRY(backend->ops->window_finish(backend, &m->sum, first, count, (const float *const *)m->weight_sum, 0,
                                       HIGHEST_DOSE, m->out));
    return backend->ops->download(backend, c->values + first * plane, m->out, count * plane * (int64_t)sizeof(float));
}

static void begin_planes(predictor_case *c)
{
    int64_t first, end;
    if (c->p->ahead != c->index) {
        dg_tiling_planes(c->tiling, 0, &first, &end);
        dg_slab_reader_begin(c->p->reader, c->index, first, end);
    }
    c->p->ahead = -1;
}

dg_status predictor_load(predictor_case *c)
{
    begin_planes(c);
    for (int64_t k = 0; k < c->tiling->layers; k++) DG_TRY(load_layer(c, k));
    return DG_OK;
}

dg_status predictor_sweep(predictor_case *c)
{
    c->strips = 0;
    for (int64_t k = 0; k < c->tiling->layers; k++) {
        DG_TRY(run_layer(c, k));
        if (rank(c) == 0) DG_TRY(finish_layer(c, k));
        DG_TRY(check_windows(c));
    }
    return DG_OK;
}

dg_status predictor_layers(predictor_case *c)
{
    begin_planes(c);
    DG_TRY(load_layer(c, 0));
    for (int64_t k = 0; k < c->tiling->layers; k++) {
        DG_TRY(run_layer(c, k));
        if (k + 1 < c->tiling->layers) DG_TRY(load_layer(c, k + 1));
        if (rank(c) == 0) DG_TRY(finish_layer(c, k));
        DG_TRY(check_windows(c));
    }
    return DG_OK;
}
