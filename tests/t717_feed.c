/* What a feed brings to the places of passes is what dg_sample_make gives, bit for bit, in any backend: varied on the host, or
 * on a device from what was read, with the next step's samples arriving while passes of the present one are still queued.
 * ctest: libs=dg_run label=unit timeout=60 args=--backend ref; --backend onednn
 * SPDX-License-Identifier: Apache-2.0 */
#include "feed.h"
#include "phantom_surface.h"
#include "t7_cases.h"

#include <stdlib.h>

enum { CASES = 5, BATCH = 5, FIRST = 1, MINE = 3, MICRO = 2, PASSES = 2, STEPS = 6 };
static const int64_t shape[3] = {8, 10, 12};
static const int64_t cases[CASES] = {0, 1, 2, 3, 4};
static const char *backend_name = "ref";

typedef struct bench {
    dg_recipe recipe;
    dg_sampler sampler;
    dg_sample_size size;
    dg_source *source;
    dg_backend *backend;
    dg_feed_places places[STEPS][PASSES]; /* all apart: nothing has to be waited for between steps */
    void *memory[STEPS * PASSES * 7];
    int taken;
} bench;

/* Left and right change places in a mirrored sample; the target is its own partner. */
static void name_regions(dg_recipe *recipe)
{
    static const char *const names[3] = {"Left", "Right", "PTV70"};
    static const int mirror[3] = {1, 0, 2};
    recipe->regions = 3;
    for (int r = 0; r < 3; r++) {
        recipe->region[r] = (dg_loss_region){.role = r < 2 ? DG_ROLE_OAR : DG_ROLE_TARGET, .mirror = mirror[r]};
        snprintf(recipe->region[r].structure, DG_STRUCTURE_NAME, "%s", names[r]);
    }
}

/* Backend memory that holds `byte` everywhere. */
static void *take(bench *b, int64_t bytes, int byte)
{
    void *data, *host = malloc((size_t)bytes);
    DG_CHECK(host != NULL);
    memset(host, byte, (size_t)bytes);
    DG_CHECK_OK(b->backend->ops->alloc(b->backend, bytes, "test", &data));
    DG_CHECK_OK(b->backend->ops->upload(b->backend, data, host, bytes));
    free(host);
    return b->memory[b->taken++] = data;
}

static void open_bench(dg_cohort *cohort, const char *yaml, dg_dtype dtype, const dg_augment_config *augment, bench *b)
{
    const dg_backend_options options = {.threads = 1, .deterministic = true};
    dg_run_config config;
    memset(b, 0, sizeof *b);
    t7_config(yaml, &config);
    DG_CHECK_OK(dg_recipe_resolve(&config, cohort, cases, CASES, &b->recipe));
    if (!b->recipe.labels) name_regions(&b->recipe);
    b->recipe.distance = b->recipe.labels;
    b->sampler = (dg_sampler){.seed = 7,
                              .batch = BATCH,
                              .cases = cases,
                              .case_count = CASES,
                              .patch = {4, 5, 6},
                              .high_dose_fraction = 0.5,
                              .augment = *augment};
    b->size = dg_sample_size_of(&b->recipe, b->sampler.patch, dtype);
    b->size.coupled = b->size.regions;
    DG_CHECK_OK(dg_source_create(cohort, &b->recipe, 1 << 20, &b->source));
    DG_CHECK_OK(dg_backend_create(backend_name, &options, &b->backend));
    const int64_t outputs = MICRO * b->size.outputs, c = b->size.channels;
    for (int k = 0; k < STEPS * PASSES; k++) {
        dg_feed_places *p = &b->places[k / PASSES][k % PASSES];
        const int64_t *n = b->size.patch;
        const int64_t bytes = MICRO * b->size.voxels * c * (int64_t)dg_dtype_size(dtype);
        p->count = MICRO;
        p->input = (dg_tensor){take(b, bytes, 0x33), dtype, MICRO, n[0], n[1], n[2], c, c};
        p->target = take(b, outputs * 4, 0x33);
        p->counted = take(b, outputs, 0x33);
        if (b->size.regions) p->regions = take(b, outputs * 4, 0x33);
        if (b->size.distance) p->distance = take(b, outputs * 4, 0x33);
        p->scale_gy = take(b, MICRO * 4, 0x33);
        p->constraint = (dg_tensor){.dtype = DG_F32, .n = MICRO, .z = 1, .y = 1, .x = 1};
        p->constraint.c = p->constraint.pitch = b->size.constraints;
        if (b->size.constraints > 0) p->constraint.data = take(b, MICRO * b->size.constraints * 4, 0x33);
    }
}

static void close_bench(bench *b)
{
    for (int k = 0; k < b->taken; k++) b->backend->ops->free(b->backend, b->memory[k]);
    dg_backend_destroy(&b->backend);
    dg_source_destroy(&b->source);
}

/* All steps are queued before anything is looked at. */
static void run_steps(bench *b, int64_t coupled[STEPS][MINE])
{
    dg_feed *feed;
    const dg_sample *sample;
    DG_CHECK_OK(dg_feed_create(&b->sampler, b->source, &b->size, FIRST, MINE, 0, 2, b->backend, &feed));
    for (int step = 0; step < STEPS; step++) {
        DG_CHECK_OK(dg_feed_next(feed, &sample));
        for (int i = 0; i < MINE; i++) coupled[step][i] = sample[i].coupled;
        DG_CHECK_OK(dg_feed_pass(feed, 0, 2, &b->places[step][0]));
        DG_CHECK_OK(dg_feed_pass(feed, 2, 1, &b->places[step][1]));
        if (step != 2) DG_CHECK_OK(dg_feed_ahead(feed)); /* once without: as after a step that was left out */
    }
    DG_CHECK_OK(b->backend->ops->sync(b->backend));
    dg_feed_destroy(&feed);
}

static void check_bytes(bench *b, const void *backend_memory, int64_t at, const void *want, int64_t bytes)
{
    char *got = malloc((size_t)bytes);
    DG_CHECK(got != NULL);
    DG_CHECK_OK(b->backend->ops->download(b->backend, got, (const char *)backend_memory + at, bytes));
    DG_CHECK(memcmp(got, want, (size_t)bytes) == 0);
    free(got);
}

static void check_slot(bench *b, const dg_feed_places *p, int64_t slot, const dg_sample *want)
{
    const int64_t outputs = b->size.outputs, input = dg_sample_input_bytes(&b->size);
    check_bytes(b, p->input.data, slot * input, want->input, input);
    check_bytes(b, p->target, slot * outputs * 4, want->target, outputs * 4);
    check_bytes(b, p->counted, slot * outputs, want->counted, outputs);
    if (p->regions != NULL) check_bytes(b, p->regions, slot * outputs * 4, want->regions, outputs * 4);
    if (p->distance != NULL) check_bytes(b, p->distance, slot * outputs * 4, want->distance, outputs * 4);
    check_bytes(b, p->scale_gy, slot * 4, want->scale_gy, 4);
    if (p->constraint.data != NULL)
        check_bytes(b, p->constraint.data, slot * b->size.constraints * 4, want->constraint, b->size.constraints * 4);
}

static int64_t count_coupled(const bench *b, const dg_sample *s)
{
    int64_t count = 0;
    for (int64_t i = 0; i < b->size.outputs; i++)
        count += b->size.coupled != 0 && s->counted[i] != 0 && (s->regions[i] & b->size.coupled) != 0;
    return count;
}

static void check_feed(dg_cohort *cohort, const char *yaml, dg_dtype dtype, const dg_augment_config *augment)
{
    static bench b;
    static int64_t coupled[STEPS][MINE];
    dg_sample_work work;
    dg_sample want = {.coupled = 0};
    int mirrored = 0;
    open_bench(cohort, yaml, dtype, augment, &b);
    run_steps(&b, coupled);
    void *block = malloc((size_t)dg_sample_layout_of(&b.size).bytes);
    DG_CHECK(block != NULL);
    dg_sample_place(&b.size, block, &want);
    DG_CHECK_OK(dg_sample_work_create(&b.size, &work));
    for (int k = 0; k < STEPS * MINE; k++) {
        const int step = k / MINE, i = k % MINE;
        const int64_t index = dg_sampler_case(&b.sampler, step, FIRST + i);
        dg_sample_draw draw;
        DG_CHECK_OK(dg_source_pin(b.source, index));
        DG_CHECK_OK(dg_sampler_draw(&b.sampler, b.source, step, FIRST + i, &draw));
        DG_CHECK_OK(dg_sample_make(b.source, &b.size, &draw, &work, &want));
        dg_source_unpin(b.source, index);
        check_slot(&b, &b.places[step][i / MICRO], i % MICRO, &want);
        DG_CHECK(want.coupled == count_coupled(&b, &want) && coupled[step][i] == want.coupled);
        mirrored += draw.augment.flip;
    }
    DG_CHECK(!augment->flip || (mirrored > 0 && mirrored < STEPS * MINE));
    memset(block, 0, (size_t)b.size.outputs); /* the empty slot of each last pass counts no voxel */
    for (int step = 0; step < STEPS; step++)
        check_bytes(&b, b.places[step][1].counted, b.size.outputs, block, b.size.outputs);
    free(block);
    dg_sample_work_release(&work);
    close_bench(&b);
}

/* A case that cannot be read is told when its step comes, and the step after it is whole again. */
static void check_bad_case(t7_cohort *t)
{
    static bench b;
    const dg_augment_config none = {.flip = false};
    const dg_sample *sample;
    dg_feed *feed;
    open_bench(t->cohort, "data: {channels: [ct]}", DG_F32, &none, &b);
    b.sampler.batch = 1;
    memcpy(b.sampler.patch, shape, sizeof shape);
    b.size = dg_sample_size_of(&b.recipe, shape, DG_F32);
    float keep = t->dose[3][100];
    t->dose[3][100] = 1.0f / 0.0f;
    DG_CHECK_OK(dg_feed_create(&b.sampler, b.source, &b.size, 0, 1, 0, 1, b.backend, &feed));
    for (int step = 0; step < CASES; step++) {
        const dg_status status = dg_feed_next(feed, &sample);
        if (dg_sampler_case(&b.sampler, step, 0) == 3) {
            DG_CHECK(status == DG_ERR_DATA && strstr(dg_error_last()->text, "case case-03") != NULL);
            continue; /* the step is left out */
        }
        DG_CHECK_OK(status);
        DG_CHECK(sample[0].draw.index == dg_sampler_case(&b.sampler, step, 0));
        DG_CHECK_OK(dg_feed_ahead(feed));
    }
    dg_feed_destroy(&feed);
    t->dose[3][100] = keep;
    close_bench(&b);
}

/* Labels go by their nearest voxel, and distances are those of the label as it was varied. */
static void check_labels(const dg_augment_config *all, const dg_augment_config *none)
{
    const dg_phantom_config config = {.shape = {shape[0], shape[1], shape[2]}, .spacing_mm = {1, 1, 1}, .seed = 3};
    static const char yaml[] =
        "{data: {target: labels, labels: {foreground: [1], ignore: [2]}, augment: {flip: true}}, "
        "model: {kind: topology_unet}}";
    dg_phantom_surface *scan[CASES];
    dg_case_data data[CASES];
    dg_cohort *cohort = NULL;
    for (int c = 0; c < CASES; c++) {
        DG_CHECK_OK(dg_phantom_surface_create(&config, c, &scan[c]));
        data[c] = scan[c]->data;
    }
    DG_CHECK_OK(dg_cohort_memory_create(data, CASES, &cohort));
    check_feed(cohort, yaml, DG_F32, all);
    check_feed(cohort, yaml, DG_BF16, none);
    dg_cohort_close(&cohort);
    for (int c = 0; c < CASES; c++) dg_phantom_surface_destroy(&scan[c]);
}

int main(int argc, char **argv)
{
    const dg_augment_config all = {.flip = true, .shift_voxels = 2, .rotate_deg = 20, .contrast = 0.2, .brightness_hu = 40, .noise_hu = 30};
    const dg_augment_config shift = {.shift_voxels = 3}, turn = {.rotate_deg = 40, .brightness_hu = 20}, none = {.flip = false};
    t7_cohort t;
    if (argc == 3 && strcmp(argv[1], "--backend") == 0) backend_name = argv[2];
    memset(&t, 0, sizeof t);
    t.count = CASES;
    for (int c = 0; c < CASES; c++) {
        t7_fill(&t, c, shape);
        dg_case_info *info = &t.data[c].info;
        info->constraint_count = 2;
        for (int k = 0; k < 2; k++) {
            snprintf(info->constraint_name[k], DG_STRUCTURE_NAME, "%s", k == 0 ? "Left" : "Right");
            info->constraint[k] = (float)(10 * c + k);
        }
    }
    DG_CHECK_OK(dg_cohort_memory_create(t.data, CASES, &t.cohort));
    static const char fine[] =
        "{data: {channels: [mask.Left, ct, mask.Right, sdf.PTV70], constraints: true, augment: {flip: true}}}";
    static const char blocks[] =
        "{data: {channels: [ct, mask.Right, mask.Left], coarsen: [1, 2, 2], constraints: true, augment: {flip: true}}}";
    check_feed(t.cohort, fine, DG_F32, &all);
    check_feed(t.cohort, fine, DG_BF16, &all);
    check_feed(t.cohort, blocks, DG_F32, &all);
    check_feed(t.cohort, blocks, DG_BF16, &shift);
    check_feed(t.cohort, blocks, DG_F32, &turn);
    check_feed(t.cohort, fine, DG_F32, &none);
    check_bad_case(&t);
    check_labels(&all, &none);
    t7_release(&t);
    return 0;
}
