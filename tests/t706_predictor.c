/* Predictions of a small random network: limits and region, mirror symmetry with flips, windows that agree with the
 * whole where they must, a case that lacks a channel.
 * ctest: libs=dg_run label=unit timeout=120 args=--backend ref; --backend onednn
 * SPDX-License-Identifier: Apache-2.0 */
#include "predictor.h"
#include "t7_cases.h"

#include "dg_mem.h"

#include <math.h>
#include <string.h>

static const int64_t shape[3] = {7, 9, 10};
enum { VOXELS = 630 };
static const int64_t cases[2] = {0, 1};

typedef struct bench {
    dg_recipe recipe;
    dg_model *model;
    dg_backend *backend;
    dg_source *source;
    float *weights; /* backend memory */
    float *host;    /* the same on the host */
} bench;

static const char *backend_name = "ref";

static void put_weights(bench *b)
{
    DG_CHECK_OK(b->backend->ops->upload(b->backend, b->weights, b->host, b->model->params.total * 4));
}

static void open_bench(const t7_cohort *t, const char *yaml, float output_bias, bench *b)
{
    dg_run_config config;
    t7_config(yaml, &config);
    DG_CHECK_OK(dg_recipe_resolve(&config, t->cohort, cases, 2, &b->recipe));
    dg_model_config model = dg_run_config_model(&config, b->recipe.count, b->recipe.constraint_count);
    DG_CHECK_OK(dg_model_create(&model, &b->model));
    dg_backend_options options = {.threads = 1, .deterministic = true};
    DG_CHECK_OK(dg_backend_create(backend_name, &options, &b->backend));
    DG_CHECK_OK(dg_source_create(t->cohort, &b->recipe, 0, &b->source));
    void *memory;
    DG_CHECK_OK(b->backend->ops->alloc(b->backend, b->model->params.total * 4, "weights", &memory));
    b->weights = memory;
    DG_CHECK_OK(DG_NEW(&b->host, b->model->params.total, "weights"));
    dg_params_init(&b->model->params, 3, b->host);
    int bias = dg_param_find(&b->model->params, "out_conv.bias");
    DG_CHECK(bias >= 0);
    const dg_param *param = &b->model->params.item[bias];
    for (int64_t i = 0; i < param->count; i++) b->host[param->offset + i] += output_bias;
    put_weights(b);
}

static void close_bench(bench *b)
{
    b->backend->ops->free(b->backend, b->weights);
    dg_free(&b->host);
    dg_source_destroy(&b->source);
    dg_backend_destroy(&b->backend);
    dg_model_destroy(&b->model);
}

static dg_predictor_note predict(bench *b, bool flips, double overlap, int64_t index, float *dose_gy)
{
    dg_predictor_config config = {.dtype = DG_F32, .overlap = overlap, .flips = flips};
    dg_predictor *predictor;
    dg_predictor_note note;
    DG_CHECK_OK(dg_predictor_create(b->model, b->backend, b->source, &config, NULL, &predictor));
    DG_CHECK_OK(dg_predictor_set_weights(predictor, b->weights));
    DG_CHECK_OK(dg_source_pin(b->source, index));
    DG_CHECK_OK(dg_predictor_run(predictor, index, -1, dose_gy, &note));
    dg_source_unpin(b->source, index);
    dg_predictor_destroy(&predictor);
    return note;
}

static const char whole[] =
    "{data: {channels: [ct, mask.Left, mask.Right], patch: auto, ct_range: [-300, 300]}, model: "
    "{base: 4, levels: 2}}";

/* The output's lower limit and its upper one (1.5 x 70 Gy) where dose is possible, right to the edge of that region; 0 elsewhere. */
static void test_limits(const t7_cohort *t, const char *yaml)
{
    bench b;
    float dose[VOXELS];
    for (int sign = -1; sign <= 1; sign += 2) {
        open_bench(t, yaml, (float)(100 * sign), &b);
        DG_CHECK(predict(&b, false, 0.5, 0, dose).region == DG_REGION_POSSIBLE_DOSE);
        for (int i = 0; i < VOXELS; i++) {
            bool possible = (t->masks[0][i] & 8) != 0;
            DG_CHECK(fabsf(dose[i] - (sign > 0 && possible ? 105.0f : 0.0f)) <= (possible ? 1e-4f : 0));
        }
        close_bench(&b);
    }
}

/* A small region, whose edges lie between voxels of a coarser grid: they are interpolated from voxels outside. */
static void test_resampled_frame(void)
{
    static const char *const yaml[] = {
        "{data: {channels: [ct], patch: auto, spacing_mm: [6, 5, 4]}, model: {base: 4, levels: 2}}",
        "{data: {channels: [ct], patch: [4, 4, 2], frame: region, spacing_mm: [6, 5, 4]}, model: {base: 4, levels: 2}}",
        "{data: {channels: [ct], patch: [4, 4, 4], frame: region, spacing_mm: [2, 2, 0.7]}, model: {base: 4, levels: "
        "2}}"};
    t7_cohort m;
    t7_create(&m, 2, shape);
    for (int i = 0; i < VOXELS; i++) {
        const int x = i % 10, y = i / 10 % 9;
        if (x < 4 || x > 5 || y < 3 || y > 5) m.masks[0][i] &= ~UINT64_C(8);
    }
    for (int k = 0; k < 3; k++) test_limits(&m, yaml[k]);
    t7_release(&m);
}

/* Case 1 made the mirror image of case 0, sides swapped: with flips the predictions are mirror images, bit for bit;
 * without they are not. */
static void test_mirror(const char *yaml, bool told)
{
    t7_cohort m;
    bench b;
    float dose[2][VOXELS];
    t7_create(&m, 2, shape);
    m.data[0].info.structure_count = m.data[1].info.structure_count = 5;
    for (int64_t i = 0; i < VOXELS; i++) {
        int64_t j = i - i % 10 + 9 - i % 10;
        uint64_t bits = m.masks[0][i] & 1;
        if (m.masks[0][i] & 2) bits |= 4;
        if (m.masks[0][i] & 4) bits |= 2;
        m.masks[0][i] |= 8;
        m.masks[1][j] = bits | 8;
        m.ct[1][j] = m.ct[0][i];
    }
    for (int c = 0; told && c < 2; c++) {
        static const char *const names[3] = {"Left dose", "level", "Right dose"};
        dg_case_info *info = &m.data[c].info;
        info->constraint_count = 3;
        for (int k = 0; k < 3; k++) snprintf(info->constraint_name[k], DG_STRUCTURE_NAME, "%s", names[k]);
        info->constraint[c == 0 ? 0 : 2] = 2;
        info->constraint[1] = 0.5f;
        info->constraint[c == 0 ? 2 : 0] = -3;
    }
    dg_cohort_close(&m.cohort);
    DG_CHECK_OK(dg_cohort_memory_create(m.data, 2, &m.cohort));
    open_bench(&m, yaml, 0.5f, &b);
    double apart = 0;
    for (int flips = 0; flips < 2; flips++) {
        predict(&b, flips == 1, 0.5, 0, dose[0]);
        predict(&b, flips == 1, 0.5, 1, dose[1]);
        apart = 0;
        for (int64_t i = 0; i < VOXELS; i++) apart = fmax(apart, fabs(dose[0][i] - dose[1][i - i % 10 + 9 - i % 10]));
        DG_CHECK(flips == 1 ? apart <= 1e-4 : apart > 0.01);
    }
    close_bench(&b);
    t7_release(&m);
}

/* Norms see their whole window, so windows cannot agree with the whole case to rounding; they must cover every voxel, and
 * one window as large as the padded case must be the whole case. */
static void test_windows(const t7_cohort *t)
{
    bench b;
    float one[VOXELS], many[VOXELS];
    open_bench(t, whole, 0.5f, &b);
    predict(&b, false, 0.5, 0, one);
    close_bench(&b);
    open_bench(
        t,
        "{data: {channels: [ct, mask.Left, mask.Right], patch: [8, 10, 10], ct_range: [-300, 300]}, model: {base: "
        "4, levels: 2}}",
        0.5f, &b);
    DG_CHECK(predict(&b, false, 0.5, 0, many).windows == 1);
    for (int i = 0; i < VOXELS; i++) DG_CHECK(one[i] == many[i]);
    close_bench(&b);
    open_bench(
        t,
        "{data: {channels: [ct, mask.Left, mask.Right], patch: [4, 4, 6], ct_range: [-300, 300]}, model: {base: 4, "
        "levels: 2}}",
        3, &b);
    DG_CHECK(predict(&b, false, 0.5, 0, many).windows == 3 * 4 * 3);
    for (int i = 0; i < VOXELS; i++) DG_CHECK((many[i] > 0) == ((t->masks[0][i] & 8) != 0));
    close_bench(&b);
}

/* Case 0 with dose possible in z 3..6, y 2..4, x 4..8 alone. */
static void take_corner(t7_cohort *t)
{
    t7_create(t, 2, shape);
    for (int i = 0; i < VOXELS; i++) {
        const int z = i / 90, y = i / 10 % 9, x = i % 10;
        t->masks[0][i] &= ~UINT64_C(8);
        if (z >= 3 && y >= 2 && y <= 4 && x >= 4 && x <= 8) t->masks[0][i] |= 8;
    }
    dg_cohort_close(&t->cohort);
    DG_CHECK_OK(dg_cohort_memory_create(t->data, 2, &t->cohort));
}

/* Windows over the region alone: several along z, one along y, which lies in its middle, two along x. They say what they say in a
 * volume of the same windows, and nothing is said elsewhere; a batch, mirror images and strips change none of it. */
static void test_frame(void)
{
    static const char framed[] =
        "{data: {channels: [ct, mask.Left, mask.Right], patch: [2, 4, 4], frame: region, ct_range: "
        "[-300, 300]}, model: {base: 4, levels: 2}}";
    t7_cohort t;
    bench b;
    dg_box frame;
    float dose[VOXELS], constant[VOXELS];
    take_corner(&t);
    open_bench(&t, framed, 0.5f, &b);
    DG_CHECK_OK(dg_source_pin(b.source, 0));
    DG_CHECK_OK(dg_source_frame(b.source, 0, &frame));
    dg_source_unpin(b.source, 0);
    const dg_box known = {.start = {3, 2, 4}, .shape = {4, 3, 5}};
    DG_CHECK(memcmp(&frame, &known, sizeof frame) == 0);
    DG_CHECK(predict(&b, true, 0.5, 0, dose).windows == 3 * 1 * 2);
    for (int i = 0; i < VOXELS; i++) DG_CHECK((dose[i] > 0) == ((t.masks[0][i] & 8) != 0));
    DG_CHECK(predict(&b, false, 0.5, 1, dose).windows == 5 * 3 * 4); /* the other case keeps nearly everything */
    for (int64_t i = 0; i < b.model->params.total; i++) b.host[i] = 0;
    b.host[b.model->params.item[dg_param_find(&b.model->params, "out_conv.bias")].offset] = 0.5f;
    put_weights(&b);
    for (int c = 0; c < 2; c++) {
        predict(&b, c == 0, 0.25, c, constant);
        for (int i = 0; i < VOXELS; i++)
            DG_CHECK_NEAR(constant[i], (t.masks[c][i] & 8) != 0 ? 35.0 : 0.0, 1e-4); /* 0.5 x 70 Gy */
    }
    close_bench(&b);
    t7_release(&t);
}

/* One window that covers the region, cut out of the case by hand. */
static void test_frame_window(void)
{
    t7_cohort t, part;
    bench b;
    float framed[VOXELS], alone[VOXELS];
    const int64_t small[3] = {4, 4, 6}, begin[3] = {3, 2, 4}; /* (4 - 3) / 2 and (6 - 5) / 2 are 0 */
    static const char yaml[] =
        "{data: {channels: [ct, mask.Left, mask.Right], patch: %s, frame: region, ct_range: [-300, 300]}, "
        "model: {base: 4, levels: 2}}";
    char text[200];
    take_corner(&t);
    snprintf(text, sizeof text, yaml, "[4, 4, 6]");
    open_bench(&t, text, 0.5f, &b);
    DG_CHECK(predict(&b, false, 0.5, 0, framed).windows == 1);
    close_bench(&b);
    t7_create(&part, 2, small);
    for (int i = 0; i < 96; i++) {
        const int64_t z = i / 24 + begin[0], y = i / 6 % 4 + begin[1], x = i % 6 + begin[2];
        const int64_t from = (z * 9 + y) * 10 + x;
        part.ct[0][i] = t.ct[0][from];
        part.masks[0][i] = t.masks[0][from];
    }
    dg_cohort_close(&part.cohort);
    DG_CHECK_OK(dg_cohort_memory_create(part.data, 2, &part.cohort));
    open_bench(&part, text, 0.5f, &b);
    DG_CHECK(predict(&b, false, 0.5, 0, alone).windows == 1);
    close_bench(&b);
    int seen = 0;
    for (int i = 0; i < 96; i++) {
        const int64_t z = i / 24 + begin[0], y = i / 6 % 4 + begin[1], x = i % 6 + begin[2];
        if ((part.masks[0][i] & 8) == 0) continue;
        DG_CHECK(alone[i] == framed[(z * 9 + y) * 10 + x]);
        seen++;
    }
    DG_CHECK(seen == 4 * 3 * 5);
    t7_release(&part);
    t7_release(&t);
}

/* How many windows pass at once changes no bit, and a case that was read ahead is the same one. */
static void test_batches(const t7_cohort *t)
{
    const int64_t batches[4] = {1, 2, 5, 32};
    float dose[2][2][VOXELS];
    dg_predictor_note note;
    bench b;
    open_bench(
        t,
        "{data: {channels: [ct, mask.Left, mask.Right], patch: [4, 4, 6], ct_range: [-300, 300]}, model: {base: 4, "
        "levels: 2}}",
        1, &b);
    for (int k = 0; k < 4; k++) {
        dg_predictor *predictor;
        dg_predictor_config config = {.dtype = DG_F32, .overlap = 0.5, .flips = true, .batch = batches[k]};
        DG_CHECK_OK(dg_predictor_create(b.model, b.backend, b.source, &config, NULL, &predictor));
        DG_CHECK_OK(dg_predictor_set_weights(predictor, b.weights));
        for (int64_t c = 0; c < 2; c++) DG_CHECK_OK(dg_source_pin(b.source, c));
        for (int64_t c = 0; c < 2; c++) {
            DG_CHECK_OK(dg_predictor_run(predictor, c, c == 0 && k > 0 ? 1 : -1, dose[k > 0][c], &note));
            DG_CHECK(note.windows == 36 && note.batch == (k == 0 ? 1 : k == 1 ? 2 : k == 2 ? 4 : 12));
            DG_CHECK(memcmp(dose[0][c], dose[k > 0][c], sizeof dose[0][c]) == 0);
        }
        for (int64_t c = 0; c < 2; c++) dg_source_unpin(b.source, c);
        dg_predictor_destroy(&predictor);
    }
    DG_CHECK(memcmp(dose[0][0], dose[0][1], sizeof dose[0][0]) != 0);
    close_bench(&b);
}

/* On a host one window at a time is the answer; on a device whatever the clock says. */
static void test_probe(const t7_cohort *t)
{
    int64_t batch = 0;
    bench b;
    dg_predictor *predictor;
    const dg_predictor_config config = {.dtype = DG_F32};
    open_bench(t, "{data: {channels: [ct, mask.Left, mask.Right], patch: [4, 4, 4]}, model: {base: 4, levels: 2}}", 0,
               &b);
    DG_CHECK_OK(dg_predictor_create(b.model, b.backend, b.source, &config, NULL, &predictor));
    DG_CHECK_OK(dg_predictor_set_weights(predictor, b.weights));
    DG_CHECK_OK(dg_predictor_probe(predictor, &batch));
    DG_CHECK(b.backend->ops->device == NULL ? batch == 1 : batch >= 1 && batch <= DG_WINDOW_BATCH);
    dg_predictor_destroy(&predictor);
    close_bench(&b);
}

static void test_lacking(const t7_cohort *t)
{
    bench b;
    dg_predictor *predictor;
    dg_predictor_note note;
    float dose[VOXELS];
    open_bench(t, "{data: {channels: [ct, sdf.PTV70], patch: auto}, model: {base: 4, levels: 2}}", 0, &b);
    t7_cohort m;
    t7_create(&m, 1, shape);
    snprintf(m.data[0].info.structure[0].name, DG_STRUCTURE_NAME, "GTV");
    dg_cohort_close(&m.cohort);
    DG_CHECK_OK(dg_cohort_memory_create(m.data, 1, &m.cohort));
    dg_source *other;
    DG_CHECK_OK(dg_source_create(m.cohort, &b.recipe, 0, &other));
    dg_predictor_config config = {.dtype = DG_F32};
    DG_CHECK_OK(dg_predictor_create(b.model, b.backend, other, &config, NULL, &predictor));
    DG_CHECK_OK(dg_predictor_set_weights(predictor, b.weights));
    DG_CHECK_OK(dg_source_pin(other, 0));
    DG_CHECK_FAILS(dg_predictor_run(predictor, 0, -1, dose, &note), DG_ERR_DATA,
                   "case case-00 lacks what channel 'sdf.PTV70'");
    b.host[b.model->params.item[0].offset] = NAN;
    put_weights(&b);
    snprintf(m.data[0].info.structure[0].name, DG_STRUCTURE_NAME, "PTV70");
    dg_source_unpin(other, 0);
    dg_predictor_destroy(&predictor);
    dg_source_destroy(&other);
    DG_CHECK_OK(dg_predictor_create(b.model, b.backend, b.source, &config, NULL, &predictor));
    DG_CHECK_OK(dg_predictor_set_weights(predictor, b.weights));
    DG_CHECK_OK(dg_source_pin(b.source, 0));
    DG_CHECK_FAILS(dg_predictor_run(predictor, 0, -1, dose, &note), DG_ERR_NUMERIC,
                   "case case-00: the network gave a dose that is not finite in the window at voxel (0, 0, 0)");
    dg_source_unpin(b.source, 0);
    dg_predictor_destroy(&predictor);
    t7_release(&m);
    close_bench(&b);
}

/* A voxel that is no number, in the last window alone: case and window are named. */
static void test_bad_input(void)
{
    const dg_predictor_config config = {.dtype = DG_F32, .overlap = 0};
    dg_predictor *predictor;
    dg_predictor_note note;
    bench b;
    t7_cohort m;
    float ct[VOXELS], dose[VOXELS];
    t7_create(&m, 2, shape);
    for (int i = 0; i < VOXELS; i++) ct[i] = m.ct[0][i];
    ct[VOXELS - 1] = NAN;
    m.data[0].ct_hu = NULL;
    m.data[0].ct_hu_f32 = ct;
    dg_cohort_close(&m.cohort);
    DG_CHECK_OK(dg_cohort_memory_create(m.data, 2, &m.cohort));
    open_bench(&m, "{data: {channels: [ct, mask.Left, mask.Right], patch: [4, 4, 4]}, model: {base: 4, levels: 2}}", 0,
               &b);
    DG_CHECK_OK(dg_predictor_create(b.model, b.backend, b.source, &config, NULL, &predictor));
    DG_CHECK_OK(dg_predictor_set_weights(predictor, b.weights));
    DG_CHECK_OK(dg_source_pin(b.source, 0));
    DG_CHECK_FAILS(dg_predictor_run(predictor, 0, -1, dose, &note), DG_ERR_NUMERIC,
                   "case case-00: its CT or distances hold a value that is not finite in the window at voxel "
                   "(3, 5, 6); import the case again");
    dg_source_unpin(b.source, 0);
    dg_predictor_destroy(&predictor);
    close_bench(&b);
    m.data[0].ct_hu_f32 = NULL;
    m.data[0].ct_hu = m.ct[0];
    t7_release(&m);
}

int main(int argc, char **argv)
{
    t7_cohort t;
    if (argc > 2) backend_name = argv[2];
    t7_create(&t, 2, shape);
    test_limits(&t, whole);
    test_resampled_frame();
    test_bad_input();
    test_mirror(whole, false);
    test_mirror(
        "{data: {channels: [ct, mask.Left, mask.Right], patch: auto, ct_range: [-300, 300], constraints: true}, "
        "model: {base: 4, levels: 2, cond_channels: 8}}",
        true);
    test_mirror(
        "{data: {channels: [ct, mask.Left, mask.Right], patch: auto, coarsen: [1, 1, 5], ct_range: [-300, 300]}, "
        "model: {base: 4, levels: 2}}",
        false);
    test_windows(&t);
    test_frame();
    test_frame_window();
    test_batches(&t);
    test_probe(&t);
    test_lacking(&t);
    t7_release(&t);
    return 0;
}
