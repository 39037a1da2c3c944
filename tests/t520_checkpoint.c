/* ctest: libs=dg_h5,PkgConfig::HDF5,dg_nn label=unit timeout=120 */
/* t520: a checkpoint brings every state back, bit by bit; truncated, foreign and newer ones are refused by name; the newest
 * valid one is found. SPDX-License-Identifier: Apache-2.0 */
#include "dg_checkpoint.h"
#include "dg_params.h"
#include "h5_impl.h"
#include "t5_cases.h"

/* A state with a bit of everything. */
typedef struct everything {
    float values[2][3];
    int64_t counter;
    double loss;
    uint16_t halves[4];
    char note[32];
} everything;

static dg_status save_everything(const void *object, const dg_state_sink *sink)
{
    const everything *e = object;
    const int64_t shape[2] = {2, 3}, four = 4, none = 0;
    DG_TRY(sink->put(sink->context, "values", DG_F32, 2, shape, e->values));
    DG_TRY(sink->put(sink->context, "halves", DG_BF16, 1, &four, e->halves));
    DG_TRY(sink->put(sink->context, "empty", DG_F64, 1, &none, e->values));
    DG_TRY(dg_state_put_int(sink, "counter", e->counter));
    DG_TRY(dg_state_put_double(sink, "loss", e->loss));
    return sink->put_text(sink->context, "note", e->note);
}

static dg_status load_everything(void *object, const dg_state_source *source, int version)
{
    everything *e = object;
    const int64_t shape[2] = {2, 3}, four = 4;
    if (version != 2) return DG_FAIL(DG_ERR_INTERNAL, "version %d", version);
    DG_CHECK(source->has(source->context, "values") && !source->has(source->context, "value"));
    DG_TRY(source->get(source->context, "values", DG_F32, 2, shape, e->values));
    DG_TRY(source->get(source->context, "halves", DG_BF16, 1, &four, e->halves));
    DG_TRY(dg_state_get_int(source, "counter", &e->counter));
    DG_TRY(dg_state_get_double(source, "loss", &e->loss));
    return source->get_text(source->context, "note", e->note, sizeof e->note);
}

static dg_status load_wrong_shape(void *object, const dg_state_source *source, int version)
{
    const int64_t shape[2] = {3, 2};
    return source->get(source->context, "values", DG_F32, 2, shape, object);
}

static dg_status load_missing(void *object, const dg_state_source *source, int version)
{
    const int64_t one = 1;
    return source->get(source->context, "absent", DG_F32, 1, &one, object);
}

typedef struct weights {
    dg_param_table table;
    float *flat;
} weights;

static dg_status save_weights(const void *object, const dg_state_sink *sink)
{
    const weights *w = object;
    return dg_params_save(&w->table, w->flat, sink);
}

static dg_status load_weights(void *object, const dg_state_source *source, int version)
{
    weights *w = object;
    return dg_params_load(&w->table, w->flat, source);
}

static void make_weights(weights *w)
{
    const int64_t conv[5] = {3, 2, 3, 3, 3}, vector = 3;
    int index;
    memset(w, 0, sizeof *w);
    DG_CHECK_OK(dg_param_table_add(&w->table, "enc1.conv.weight", DG_PARAM_CONV, 5, conv, 54, &index));
    DG_CHECK_OK(dg_param_table_add(&w->table, "enc1.conv.bias", DG_PARAM_VECTOR, 1, &vector, 54, &index));
    DG_CHECK_OK(dg_param_table_add(&w->table, "enc1.norm.weight", DG_PARAM_VECTOR, 1, &vector, 0, &index));
    DG_CHECK_OK(DG_NEW(&w->flat, w->table.total, "weights"));
    dg_params_init(&w->table, 42, w->flat);
}

static void register_all(dg_state_registry *r, weights *w, everything *e)
{
    memset(r, 0, sizeof *r);
    DG_CHECK_OK(dg_state_register(
        r, (dg_state){.name = "params", .version = 1, .object = w, .save = save_weights, .load = load_weights}));
    DG_CHECK_OK(dg_state_register(
        r, (dg_state){.name = "sampler", .version = 2, .object = e, .save = save_everything, .load = load_everything}));
}

static const everything original = {
    {{1, -2, 3.5f}, {0, 1e-30f, 4}}, 1234567890123, 0.1, {1, 2, 65535, 7}, "after epoch 3, \"quoted\""};

static void check_round_trip(const char *path, weights *w)
{
    everything e = original, back = {0};
    dg_state_registry r;
    dg_checkpoint_meta meta = {.step = 30, .model = "unet"}, read;
    char sha256[DG_HASH_HEX];
    json_t *config = json_pack("{s:{s:i,s:s}}", "train.steps", "value", 30, "origin", "a.yaml:3"), *stored;
    register_all(&r, w, &e);
    DG_CHECK_OK(dg_checkpoint_save(path, &r, config, &meta));
    DG_CHECK_OK(dg_params_sha256(&w->table, w->flat, sha256));
    DG_CHECK(strcmp(sha256, meta.weights_sha256) == 0);
    DG_CHECK_OK(dg_checkpoint_read_meta(path, &read, &stored));
    DG_CHECK(read.step == 30 && strcmp(read.model, "unet") == 0 && json_equal(config, stored));
    DG_CHECK(strcmp(read.weights_sha256, sha256) == 0 && strcmp(read.content_sha256, meta.content_sha256) == 0);
    weights other;
    make_weights(&other);
    memset(other.flat, 0, (size_t)other.table.total * sizeof(float));
    register_all(&r, &other, &back);
    DG_CHECK_OK(dg_checkpoint_load(path, &r));
    DG_CHECK(memcmp(other.flat, w->flat, (size_t)w->table.total * sizeof(float)) == 0);
    DG_CHECK(memcmp(back.values, e.values, sizeof e.values) == 0 && memcmp(back.halves, e.halves, 8) == 0);
    DG_CHECK(back.counter == e.counter && back.loss == e.loss && strcmp(back.note, e.note) == 0);
    memset(other.flat, 0, (size_t)other.table.total * sizeof(float));
    DG_CHECK_OK(dg_checkpoint_load_one(path, dg_state_find(&r, "params")));
    DG_CHECK(memcmp(other.flat, w->flat, (size_t)w->table.total * sizeof(float)) == 0);
    json_decref(config);
    json_decref(stored);
    dg_param_table_release(&other.table);
    dg_free(&other.flat);
}

static void check_refusals(const char *path, weights *w)
{
    everything e = original;
    dg_state_registry r;
    register_all(&r, w, &e);
    r.count = 1;
    DG_CHECK_FAILS(dg_checkpoint_load(path, &r), DG_ERR_MISMATCH, "'sampler' that this run does not know");
    r.count = 2;
    DG_CHECK_OK(dg_state_register(
        &r, (dg_state){.name = "ema", .version = 1, .object = w, .save = save_weights, .load = load_weights}));
    DG_CHECK_FAILS(dg_checkpoint_load(path, &r), DG_ERR_MISMATCH, "no state 'ema'");
    dg_state older = {.name = "sampler", .version = 1, .object = &e, .save = save_everything, .load = load_everything};
    DG_CHECK_FAILS(dg_checkpoint_load_one(path, &older), DG_ERR_MISMATCH, "has version 2, this program reads 1 to 1");
    dg_state wrong = {
        .name = "sampler", .version = 2, .object = e.values, .save = save_everything, .load = load_wrong_shape};
    DG_CHECK_FAILS(dg_checkpoint_load_one(path, &wrong), DG_ERR_MISMATCH, "dataset values has another shape");
    dg_state absent = {
        .name = "sampler", .version = 2, .object = e.values, .save = save_everything, .load = load_missing};
    DG_CHECK_FAILS(dg_checkpoint_load_one(path, &absent), DG_ERR_FORMAT, "dataset absent is missing");
    DG_CHECK_FAILS(dg_checkpoint_verify("/tmp/no-such-checkpoint.h5"), DG_ERR_IO, "no-such-checkpoint.h5");
}

static void check_newest(const char *folder, weights *w)
{
    everything e = original;
    dg_state_registry r;
    dg_checkpoint_meta meta = {.step = 9, .model = "unet"};
    json_t *config = json_object();
    char path[DG_PATH_MAX], skipped[512], *bytes;
    int64_t length;
    DG_CHECK_FAILS(dg_checkpoint_find_newest(t5_path(folder, "none"), path, sizeof path, NULL, 0), DG_ERR_IO,
                   "no valid checkpoint");
    register_all(&r, w, &e);
    DG_CHECK_OK(dg_checkpoint_save(t5_path(folder, "step-9.h5"), &r, config, &meta));
    DG_CHECK_OK(dg_checkpoint_find_newest(folder, path, sizeof path, skipped, sizeof skipped));
    DG_CHECK(strstr(path, "/step-30.h5") != NULL && skipped[0] == '\0');
    t5_read_file(t5_path(folder, "step-30.h5"), &bytes, &length);
    t5_write_file(t5_path(folder, "step-30.h5"), bytes, length / 2);
    t5_write_file(t5_path(folder, "step-200.h5.tmp"), bytes, length); /* not yet a checkpoint */
    t5_write_file(t5_path(folder, "step-100.h5"), bytes, 0);
    DG_CHECK_OK(dg_checkpoint_find_newest(folder, path, sizeof path, skipped, sizeof skipped));
    DG_CHECK(strstr(path, "/step-9.h5") != NULL);
    DG_CHECK(strstr(skipped, "step-30.h5") != NULL && strstr(skipped, "step-100.h5") != NULL);
    dg_free(&bytes);
    json_decref(config);
}

int main(void)
{
    char folder[64];
    weights w;
    t5_temporary(folder);
    make_weights(&w);
    check_round_trip(t5_path(folder, "step-30.h5"), &w);
    check_refusals(t5_path(folder, "step-30.h5"), &w);
    check_newest(folder, &w);
    dg_param_table_release(&w.table);
    dg_free(&w.flat);
    t5_remove_tree(folder);
    return 0;
}
