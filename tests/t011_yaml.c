/* ctest: libs=dg_base label=unit timeout=60
 * Configuration files, good and hostile: every refusal names file and line, and nothing crashes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "options_table.h"

#include "dg_file.h"
#include "dg_mem.h"

#include <unistd.h>

static dg_status read_text(dg_options *o, const char *text)
{
    return dg_options_read_yaml_text(o, text, strlen(text), "c.yaml");
}

static void check_good(void)
{
    settings s;
    dg_options o;
    options_start(&o, &s);
    DG_CHECK_OK(read_text(&o, "# comment\n---\ntrain:\n  steps: 5\n  dtype: f32\ndata:\n  patch: [8, 9, 10]\n"
                              "  channels:\n    - ct\n    - \"a, b\"\n  spacing: 3\nrun: {name: 'x y', seed: -3}\n"
                              "loss:\n  mse: {weight: 2, alpha: 1e-3}\npredict: {flips: yes}\n"));
    DG_CHECK(s.steps == 5 && s.dtype == 1 && s.patch.value[2] == 10 && s.channels.count == 2 && s.seed == -3);
    DG_CHECK(strcmp(s.channels.value[1], "a, b") == 0 && strcmp(s.name, "x y") == 0 && s.mse == 2 && s.alpha == 1e-3);
    DG_CHECK(s.flips && s.spacing.count == 1 && s.spacing.value[0] == 3);
    DG_CHECK_OK(read_text(&o, ""));
    DG_CHECK_OK(read_text(&o, "# nothing\n"));
    DG_CHECK_OK(read_text(
        &o, "train:\nrun: {name: null}\ndata: {patch: auto, channels: [auto]}\ntrain.steps: 6\nloss.mse: 4\n"));
    DG_CHECK(s.name[0] == '\0' && s.patch.count == 0 && s.channels.count == 0 && s.steps == 6 && s.mse == 4);
    dg_options_release(&o);
}

static void check_bad(void)
{
    static const char *const bad[][2] = {
        {"train:\n  stpes: 5\n", "c.yaml:2: unknown key train.stpes; did you mean train.steps?"},
        {"trian:\n  steps: 5\n", "c.yaml:1: unknown key trian; did you mean train."},
        {"steps: 5\n", "c.yaml:1: unknown key steps; did you mean train.steps?"},
        {"train:\n  steps: 5\n  steps: 5\n", "c.yaml:3: train.steps is given twice, first at line 2"},
        {"train: {steps: 5}\nrun: {seed: 1}\ntrain: {dtype: f32}\n", "c.yaml:3: train is given twice, first at line 1"},
        {"loss:\n  mse: 1\nloss.mse.weight: 2\n", "c.yaml:3: loss.mse.weight is given twice, first at line 2"},
        {"train: 5\n", "c.yaml:1: train is a group"},
        {"train:\n  - steps\n", "train is a group"},
        {"train: {steps: {a: 1}}\n", "c.yaml:1: train.steps takes a value, not a map"},
        {"train: {steps: [1, 2]}\n", "c.yaml:1: train.steps = [1, 2]: a whole number"},
        {"train:\n  steps: many\n", "c.yaml:2: train.steps = many: a whole number"},
        {"train:\n  steps:\n", "c.yaml:2: train.steps = (empty)"},
        {"data: {patch: [8, [9], 10]}\n", "c.yaml:1: an element of a list must be a plain value"},
        {"data: {patch: [8, {a: b}, 10]}\n", "an element of a list must be a plain value"},
        {"data: {patch: [8, 9, 10]\nrun: 1\n", "not valid YAML"},
        {"train:\n\tsteps: 5\n", "c.yaml:2: not valid YAML"},
        {"train: &a {steps: 5}\nrun: *a\n", "c.yaml:1: anchors"},
        {"run: *a\n", "c.yaml:1: aliases"},
        {"run: !!map {seed: 1}\n", "c.yaml:1: tags"},
        {"run: {seed: !foo 1}\n", "tags"},
        {"? [a, b]\n: c\n", "c.yaml:1: a key must be a plain word"},
        {"<<: {a: b}\n", "unknown key <<"},
        {"- a\n- b\n", "c.yaml:1: a configuration is a map"},
        {"just text\n", "c.yaml:1: a configuration is a map"},
        {"run: {seed: 1}\n---\nrun: {seed: 2}\n", "c.yaml:2: a second document"},
        {"run:\n  name: \"a\\0b\"\n", "c.yaml:2: a NUL character"},
        {"run: {\"se\\0ed\": 1}\n", "a NUL character"},
        {"run:\n  name: \"a\\nb\"\n", "c.yaml:2: run.name"},
        {"run:\n  seed: 1\n\x01\n", "c.yaml:3: not valid YAML: control characters"},
        {"run: {name: \xff\xfe}\n", "not valid YAML"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        settings s;
        dg_options o;
        options_start(&o, &s);
        DG_CHECK_FAILS(read_text(&o, bad[i][0]), DG_ERR_USAGE, bad[i][1]);
        DG_CHECK(strncmp(dg_error_last()->text, "c.yaml:", 7) == 0);
        dg_options_release(&o);
    }
}

/* `count` copies of `piece` between two texts; the answer must come at once and name the file. */
static void check_repeated(const char *before, const char *piece, int count, const char *words)
{
    settings s;
    dg_options o;
    char *text;
    size_t head = strlen(before), length = strlen(piece), total = head + length * (size_t)count;
    DG_CHECK_OK(dg_alloc(&text, total + 1, 1, "hostile text"));
    memcpy(text, before, head);
    for (int i = 0; i < count; i++) memcpy(text + head + (size_t)i * length, piece, length);
    options_start(&o, &s);
    DG_CHECK_FAILS(dg_options_read_yaml_text(&o, text, total, "c.yaml"), DG_ERR_USAGE, words);
    DG_CHECK(strncmp(dg_error_last()->text, "c.yaml", 6) == 0);
    dg_options_release(&o);
    dg_free(&text);
}

static void check_hostile(void)
{
    check_repeated("", "[", 1000000, "a configuration is a map");
    check_repeated("", "{", 1000000, "c.yaml:1");
    check_repeated("run: ", "[", 1000000, "run is a group");
    check_repeated("data: {patch: ", "[", 1000000, "an element of a list");
    check_repeated("", "? ", 500000, "c.yaml:1");
    check_repeated("", "- ", 500000, "a configuration is a map");
    check_repeated("", "a: ", 300000, "c.yaml:1");
    check_repeated("run: {name: \"", "a", 900000, "c.yaml:1");
    check_repeated("run: {name: \"", "a\\", 900000, "c.yaml: 1800013 bytes");
    check_repeated("data: {channels: [x", ", y", 300000, "at most 64 elements");
    check_repeated("", "k", 1000000, "c.yaml:");
    check_repeated("", "\n", 1048577, "1048577 bytes, a configuration has at most 1048576");
    settings s;
    dg_options o;
    options_start(&o, &s);
    DG_CHECK_FAILS(dg_options_read_yaml_text(&o, "run: {seed: 1}\0\0", 16, "c.yaml"), DG_ERR_USAGE,
                   "c.yaml:1: not valid");
    dg_options_release(&o);
}

static void check_files(void)
{
    settings s;
    dg_options o;
    char name[64], text[200];
    snprintf(name, sizeof name, "t011_%d.yaml", (int)getpid());
    options_start(&o, &s);
    DG_CHECK_OK(dg_file_write(name, "run:\n  seed: 8\n", 15));
    DG_CHECK_OK(dg_options_read_yaml(&o, name));
    DG_CHECK(s.seed == 8 && unlink(name) == 0);
    dg_options_origin_text(&o, "run.seed", text, sizeof text);
    DG_CHECK(strncmp(text, name, strlen(name)) == 0 && strcmp(text + strlen(name), ":2") == 0);
    DG_CHECK_FAILS(dg_options_read_yaml(&o, name), DG_ERR_USAGE, "No such file");
    DG_CHECK_FAILS(dg_options_read_yaml(&o, "/"), DG_ERR_USAGE, "is a folder");
    DG_CHECK_FAILS(dg_options_read_yaml(&o, "/dev/zero"), DG_ERR_USAGE, "more than 1048576 bytes");
    dg_options_release(&o);
}

int main(void)
{
    check_good();
    check_bad();
    check_hostile();
    check_files();
    return 0;
}
