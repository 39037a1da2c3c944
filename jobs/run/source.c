/* source.c - open cases, and resampled copies of them in bounded memory. SPDX-License-Identifier: Apache-2.0 */
#include "source_read.h"

#include "dg_mem.h"
#include "dg_rng.h"
#include "region.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

enum { OPEN_CASES = 48, TARGET_VOXELS = 512 };

/* A whole case on the network's grid. */
typedef struct prepared {
    int64_t shape[3], output_shape[3];
    dg_source_buffers data; /* owned */
    int64_t bytes;
} prepared;

typedef struct entry {
    dg_case *open;
    int pins;
    int64_t used;         /* time of last use, for closing the oldest */
    prepared *ready;      /* owned; never replaced once set */
    int64_t *target;      /* owned */
    int64_t target_count; /* -1: not looked up yet */
    dg_box frame;         /* shape 0: not looked up yet */
} entry;

struct dg_source {
    const dg_cohort *cohort;
    const dg_recipe *recipe;
    const dg_perturbation *perturbation; /* NULL: none */
    entry *item;                         /* [cases of the cohort] */
    int64_t count, clock, open_count;
    int64_t cache_limit, cache_bytes;
    pthread_mutex_t lock; /* guards ready, target, frame and cache_bytes */
};

dg_status dg_source_create(const dg_cohort *cohort, const dg_recipe *recipe, int64_t cache_bytes, dg_source **out)
{
    dg_source *source = NULL;
    DG_TRY(DG_NEW(&source, 1, "data source"));
    source->cohort = cohort;
    source->recipe = recipe;
    source->count = dg_cohort_count(cohort);
    source->cache_limit = cache_bytes;
    pthread_mutex_init(&source->lock, NULL);
    dg_status status = DG_NEW(&source->item, source->count > 0 ? source->count : 1, "data source");
    if (status != DG_OK) {
        dg_source_destroy(&source);
        return status;
    }
    for (int64_t i = 0; i < source->count; i++) source->item[i].target_count = -1;
    *out = source;
    return DG_OK;
}

static void prepared_destroy(prepared **p)
{
    if (*p == NULL) return;
    dg_free(&(*p)->data.channels);
    dg_free(&(*p)->data.dose);
    dg_free(&(*p)->data.counted);
    dg_free(&(*p)->data.regions);
    dg_free(p);
}

void dg_source_destroy(dg_source **source)
{
    if (*source == NULL) return;
    for (int64_t i = 0; (*source)->item != NULL && i < (*source)->count; i++) {
        entry *item = &(*source)->item[i];
        dg_case_close(&item->open);
        prepared_destroy(&item->ready);
        dg_free(&item->target);
    }
    pthread_mutex_destroy(&(*source)->lock);
    dg_free(&(*source)->item);
    dg_free(source);
}

void dg_source_perturb(dg_source *source, const dg_perturbation *perturbation) { source->perturbation = perturbation; }

bool dg_source_reads_whole(const dg_source *source)
{
    const dg_perturbation *p = source->perturbation;
    return dg_recipe_resamples(source->recipe) || (p != NULL && p->kind == DG_PERTURB_SPACING);
}

const dg_recipe *dg_source_recipe(const dg_source *source) { return source->recipe; }
const dg_cohort *dg_source_cohort(const dg_source *source) { return source->cohort; }
dg_case *dg_source_case(dg_source *source, int64_t index) { return source->item[index].open; }
int64_t dg_source_cached_bytes(const dg_source *source) { return source->cache_bytes; }

/* Closes the case that was not used for longest, if any is free. */
static void close_oldest(dg_source *source)
{
    int64_t oldest = -1;
    for (int64_t i = 0; i < source->count; i++) {
        const entry *item = &source->item[i];
        if (item->open == NULL || item->pins > 0) continue;
        if (oldest < 0 || item->used < source->item[oldest].used) oldest = i;
    }
    if (oldest < 0) return;
    dg_case_close(&source->item[oldest].open);
    source->open_count--;
}

dg_status dg_source_pin(dg_source *source, int64_t index)
{
    entry *item = &source->item[index];
    if (item->open == NULL) {
        if (source->open_count >= OPEN_CASES) close_oldest(source);
        DG_TRY(dg_case_open(source->cohort, index, &item->open));
        source->open_count++;
    }
    item->pins++;
    item->used = ++source->clock;
    return DG_OK;
}

void dg_source_unpin(dg_source *source, int64_t index) { source->item[index].pins--; }

static dg_status prepare(const dg_source *source, int64_t index, prepared **out)
{
    const dg_recipe *recipe = source->recipe;
    const dg_case_info *info = dg_cohort_case(source->cohort, index);
    prepared *p = NULL;
    dg_status status;
    dg_grid net;
    int64_t sub[3];
    dg_recipe_geometry(recipe, &info->grid, &net, sub);
    dg_box whole = {.shape = {net.shape[0], net.shape[1], net.shape[2]}};
    dg_box fine = source_output_box(&whole, sub);
    int64_t voxels = dg_box_voxels(&whole), outputs = dg_box_voxels(&fine);
    DG_TRY_GOTO(status, DG_NEW(&p, 1, "resampled case"), fail);
    memcpy(p->shape, whole.shape, sizeof p->shape);
    memcpy(p->output_shape, fine.shape, sizeof p->output_shape);
    DG_TRY_GOTO(status, DG_NEW(&p->data.channels, voxels * recipe->count, "channels of a resampled case"), fail);
    p->bytes = voxels * recipe->count * (int64_t)sizeof(float);
    if (info->has_dose) {
        DG_TRY_GOTO(status, DG_NEW(&p->data.dose, outputs, "dose of a resampled case"), fail);
        DG_TRY_GOTO(status, DG_NEW(&p->data.counted, outputs, "counted voxels of a resampled case"), fail);
        p->bytes += outputs * (int64_t)(sizeof(float) + 1);
    }
    if (recipe->regions > 0) {
        DG_TRY_GOTO(status, DG_NEW(&p->data.regions, outputs, "regions of a resampled case"), fail);
        p->bytes += outputs * (int64_t)sizeof(uint32_t);
    }
    dg_case *c = source->item[index].open;
    if (dg_recipe_resamples(recipe)) {
        DG_TRY_GOTO(status, source_read_resampled(recipe, c, source->perturbation, &p->data), fail);
    } else {
        DG_TRY_GOTO(status, source_read_box(recipe, c, source->perturbation, &whole, &p->data), fail);
    }
    *out = p;
    return DG_OK;
fail:
    prepared_destroy(&p);
    return status;
}

/* The prepared copy of a case: *found is borrowed from the cache, or else *made is the caller's. */
static dg_status look_up(dg_source *source, int64_t index, const prepared **found, prepared **made)
{
    entry *item = &source->item[index];
    *made = NULL;
    pthread_mutex_lock(&source->lock);
    *found = item->ready;
    pthread_mutex_unlock(&source->lock);
    if (*found != NULL) return DG_OK;
    DG_TRY(prepare(source, index, made));
    *found = *made;
    pthread_mutex_lock(&source->lock);
    if (item->ready == NULL && source->cache_bytes + (*made)->bytes <= source->cache_limit) {
        item->ready = *made;
        source->cache_bytes += (*made)->bytes;
        *made = NULL;
    }
    pthread_mutex_unlock(&source->lock);
    return DG_OK;
}

static dg_status check_dose(const dg_source *source, int64_t index, const dg_source_buffers *out)
{
    const dg_case_info *info = dg_cohort_case(source->cohort, index);
    if (source->recipe->labels || info->has_dose || (out->dose == NULL && out->counted == NULL)) return DG_OK;
    return DG_FAIL(DG_ERR_DATA, "case %s has no dose", info->id);
}

dg_status dg_source_read(dg_source *source, int64_t index, const dg_box *box, const dg_source_buffers *out)
{
    const dg_recipe *recipe = source->recipe;
    DG_TRY(check_dose(source, index, out));
    bool averages = recipe->coarsen[0] * recipe->coarsen[1] * recipe->coarsen[2] > 1;
    bool cached = dg_source_reads_whole(source) || (averages && source->cache_limit > 0);
    if (!cached) return source_read_box(recipe, source->item[index].open, source->perturbation, box, out);
    const prepared *whole;
    prepared *mine;
    DG_TRY(look_up(source, index, &whole, &mine));
    int64_t from = whole->shape[0] * whole->shape[1] * whole->shape[2], to = dg_box_voxels(box);
    for (int c = 0; out->channels != NULL && c < recipe->count; c++) {
        source_cut(whole->data.channels + c * from, whole->shape, box, dg_channel_outside(recipe, c),
                   out->channels + c * to);
    }
    dg_box fine = source_output_box(box, recipe->coarsen);
    if (out->dose != NULL) source_cut(whole->data.dose, whole->output_shape, &fine, 0, out->dose);
    if (out->counted != NULL) source_cut_bytes(whole->data.counted, whole->output_shape, &fine, out->counted);
    if (out->regions != NULL && whole->data.regions != NULL)
        source_cut_words(whole->data.regions, whole->output_shape, &fine, out->regions);
    prepared_destroy(&mine);
    return DG_OK;
}

/* The foreground as bit 0. */
static dg_status mark_foreground(const dg_recipe *recipe, dg_case *c, const dg_box *whole, uint64_t *bits)
{
    float *label;
    DG_TRY(DG_NEW(&label, dg_box_voxels(whole), "labels of a case"));
    dg_status status = dg_case_read(c, DG_FIELD_LABEL, 0, whole, label);
    for (int64_t i = 0; status == DG_OK && i < dg_box_voxels(whole); i++)
        bits[i] = recipe->label_class[(int)label[i]] == DG_LABEL_FOREGROUND;
    dg_free(&label);
    return status;
}

/* Collects up to TARGET_VOXELS target voxels, evenly spread over all of them in z,y,x order. */
static int64_t pick_targets(const dg_case_info *info, const dg_grid *net, const uint64_t *bits, int64_t *out)
{
    uint64_t wanted = 0;
    for (int s = 0; s < info->structure_count; s++) {
        if (info->structure[s].role == DG_ROLE_TARGET) wanted |= UINT64_C(1) << s;
    }
    if (info->structure_count == 0) wanted = 1; /* of labels */
    int64_t voxels = dg_grid_voxels(&info->grid), total = 0, seen = 0, kept = 0;
    for (int64_t i = 0; i < voxels; i++) total += (bits[i] & wanted) != 0;
    int64_t keep = total < TARGET_VOXELS ? total : TARGET_VOXELS;
    for (int64_t i = 0; i < voxels && kept < keep; i++) {
        if ((bits[i] & wanted) == 0) continue;
        if (seen++ * keep / total < kept) continue;
        int64_t at[3] = {i / (info->grid.shape[1] * info->grid.shape[2]), i / info->grid.shape[2] % info->grid.shape[1],
                         i % info->grid.shape[2]};
        for (int axis = 0; axis < 3; axis++) {
            at[axis] = at[axis] * net->shape[axis] / info->grid.shape[axis];
        }
        out[kept++] = dg_grid_index(net, at[0], at[1], at[2]);
    }
    return kept;
}

dg_status dg_source_targets(dg_source *source, int64_t index, const int64_t **voxels, int64_t *count)
{
    entry *item = &source->item[index];
    pthread_mutex_lock(&source->lock);
    *voxels = item->target;
    *count = item->target_count;
    pthread_mutex_unlock(&source->lock);
    if (*count >= 0) return DG_OK;
    const dg_case_info *info = dg_cohort_case(source->cohort, index);
    dg_box whole = {.shape = {info->grid.shape[0], info->grid.shape[1], info->grid.shape[2]}};
    uint64_t *bits = NULL;
    int64_t *found = NULL;
    dg_grid net;
    int64_t sub[3];
    dg_status status;
    dg_recipe_geometry(source->recipe, &info->grid, &net, sub);
    DG_TRY_GOTO(status, DG_NEW(&bits, dg_box_voxels(&whole), "mask bits of a case"), done);
    DG_TRY_GOTO(status, DG_NEW(&found, TARGET_VOXELS, "target voxels"), done);
    DG_TRY_GOTO(status,
                source->recipe->labels ? mark_foreground(source->recipe, item->open, &whole, bits)
                                       : dg_case_read_mask_bits(item->open, &whole, bits),
                done);
    int64_t kept = pick_targets(info, &net, bits, found);
    pthread_mutex_lock(&source->lock);
    if (item->target_count < 0) {
        item->target = found;
        item->target_count = kept;
        found = NULL;
    }
    *voxels = item->target;
    *count = item->target_count;
    pthread_mutex_unlock(&source->lock);
done:
    dg_free(&bits);
    dg_free(&found);
    return status;
}

/* The voxels of the network's grid that hold native voxels first .. end - 1 of an axis. */
static void frame_blocks(int64_t first, int64_t end, int64_t sub, int64_t *start, int64_t *length)
{
    *start = first / sub;
    *length = (end + sub - 1) / sub - *start;
}

/* The same where the case is resampled, and the voxels that native ones are interpolated from. Both grids have one centre. */
static void frame_resampled(const dg_grid *native, const dg_grid *net, int axis, int64_t first, int64_t end,
                            int64_t *start, int64_t *length)
{
    const double ratio = native->spacing_mm[axis] / net->spacing_mm[axis], rounding = 1e-6;
    const double beyond = fmax(0, ratio / 2 - 0.5); /* of a native voxel, outside the centres of net voxels it holds */
    const double shift = 0.5 * (double)(net->shape[axis] - 1) - 0.5 * ratio * (double)(native->shape[axis] - 1);
    const double low = ratio * (double)first + shift - beyond, high = ratio * (double)(end - 1) + shift + beyond;
    const int64_t from = (int64_t)floor(low + rounding), to = (int64_t)ceil(high - rounding);
    *start = from > 0 ? from : 0;
    *length = (to < net->shape[axis] ? to + 1 : net->shape[axis]) - *start;
}

static dg_status find_frame(const dg_source *source, int64_t index, dg_box *frame)
{
    const dg_case_info *info = dg_cohort_case(source->cohort, index);
    int64_t sub[3];
    dg_grid net;
    dg_box native;
    dg_recipe_geometry(source->recipe, &info->grid, &net, sub);
    *frame = (dg_box){.shape = {net.shape[0], net.shape[1], net.shape[2]}};
    if (!source->recipe->framed || dg_region_of(info).kind == DG_REGION_ALL) return DG_OK;
    DG_TRY(dg_region_bound(source->item[index].open, &native));
    for (int a = 0; a < 3 && dg_box_voxels(&native) > 0; a++) {
        const int64_t first = native.start[a], end = first + native.shape[a];
        if (dg_recipe_resamples(source->recipe))
            frame_resampled(&info->grid, &net, a, first, end, &frame->start[a], &frame->shape[a]);
        else
            frame_blocks(first, end, sub[a], &frame->start[a], &frame->shape[a]);
    }
    return DG_OK;
}

dg_status dg_source_frame(dg_source *source, int64_t index, dg_box *frame)
{
    entry *item = &source->item[index];
    pthread_mutex_lock(&source->lock);
    *frame = item->frame;
    pthread_mutex_unlock(&source->lock);
    if (frame->shape[0] > 0) return DG_OK;
    DG_TRY(find_frame(source, index, frame));
    pthread_mutex_lock(&source->lock);
    item->frame = *frame;
    pthread_mutex_unlock(&source->lock);
    return DG_OK;
}
