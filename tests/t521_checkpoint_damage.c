/* ctest: libs=dg_h5,PkgConfig::HDF5 label=unit timeout=120 leaks=off
 * leaks=off: HDF5 1.10.8 loses buffers of objects it refuses, and reading damaged checkpoints is all this does. */
/* t521: a checkpoint with one bit flipped, anywhere, or cut short, at any length, is refused by name, unless the bit has no
 * meaning. SPDX-License-Identifier: Apache-2.0 */
#include "dg_checkpoint.h"
#include "h5_impl.h"
#include "t5_cases.h"

static const int64_t shape[2] = {4, 6};

static dg_status save_values(const void *object, const dg_state_sink *sink)
{
    return sink->put(sink->context, "weight", DG_F32, 2, shape, object);
}

static dg_status save_note(const void *object, const dg_state_sink *sink)
{
    return sink->put_text(sink->context, "note", object);
}

static dg_status load_values(void *object, const dg_state_source *source, int version)
{
    return source->get(source->context, "weight", DG_F32, 2, shape, object);
}

static dg_status load_note(void *object, const dg_state_source *source, int version)
{
    return source->get_text(source->context, "note", object, 16);
}

static void check_flips(const char *path, char *bytes, int64_t length)
{
    int64_t harmless = 0, tried = 0;
    for (int64_t at = 0; at < length; at += 5, tried++) {
        bytes[at] ^= 4;
        t5_write_file(path, bytes, length);
        dg_status status = dg_checkpoint_verify(path);
        DG_CHECK(status == DG_OK || strstr(dg_error_last()->text, "checkpoint damaged.h5") != NULL);
        harmless += status == DG_OK;
        bytes[at] ^= 4;
    }
    printf("%lld bytes, flips: %lld tried, %lld without meaning\n", (long long)length, (long long)tried,
           (long long)harmless);
    DG_CHECK(harmless * 4 < tried);
}

static void check_lengths(const char *path, const char *bytes, int64_t length)
{
    for (int64_t keep = 0; keep < length; keep += 17) {
        t5_write_file(path, bytes, keep);
        DG_CHECK(dg_checkpoint_verify(path) == DG_ERR_FORMAT);
    }
}

int main(void)
{
    char folder[64], path[DG_PATH_MAX], note[16] = "kept", *bytes;
    int64_t length;
    float values[4 * 6];
    for (int i = 0; i < 4 * 6; i++) values[i] = 0.5f * (float)i - 3;
    dg_state_registry registry = {0};
    dg_checkpoint_meta meta = {.step = 30, .model = "unet"};
    json_t *config = json_pack("{s:i}", "steps", 30);
    t5_temporary(folder);
    DG_CHECK_OK(dg_state_register(
        &registry,
        (dg_state){.name = "params", .version = 1, .object = values, .save = save_values, .load = load_values}));
    DG_CHECK_OK(dg_state_register(
        &registry, (dg_state){.name = "sampler", .version = 1, .object = note, .save = save_note, .load = load_note}));
    DG_CHECK_OK(dg_checkpoint_save(t5_path(folder, "step-30.h5"), &registry, config, &meta));
    t5_read_file(t5_path(folder, "step-30.h5"), &bytes, &length);
    snprintf(path, sizeof path, "%s/damaged.h5", folder);
    check_flips(path, bytes, length);
    check_lengths(path, bytes, length);
    dg_free(&bytes);
    json_decref(config);
    t5_remove_tree(folder);
    return 0;
}
