/* ctest: libs=dg_base label=unit timeout=30
 * Resolved configurations survive JSON bit for bit, with origins; wrong JSON is refused by name.
 * SPDX-License-Identifier: Apache-2.0 */
#include "options_table.h"

static dg_status from_text(dg_options *o, const char *text)
{
    json_t *root = json_loads(text, JSON_ALLOW_NUL, NULL);
    DG_CHECK(root != NULL);
    dg_status status = dg_options_from_json(o, root, "last.h5");
    json_decref(root);
    return status;
}

static void check_round_trip(void)
{
    static const char yaml[] = "train: {steps: 77, dtype: f32}\noptim: {lr: 0.1234567890123456789}\n"
                               "data: {patch: auto, spacing: [0.1, 1.0000000000000002], channels: [ct, 'a,b', '\"']}\n"
                               "run: {name: 'x: \"y\" \xc3\xa4', seed: -9223372036854775807}\npredict: {flips: true}\n";
    settings s, back;
    dg_options o, p;
    char where[64];
    options_start(&o, &s);
    options_start(&p, &back);
    DG_CHECK_OK(dg_options_read_yaml_text(&o, yaml, strlen(yaml), "c.yaml"));
    json_t *first = dg_options_to_json(&o);
    DG_CHECK(first != NULL && json_object_size(first) == ROWS);
    const json_t *item = json_object_get(first, "train.steps");
    DG_CHECK(json_integer_value(json_object_get(item, "value")) == 77);
    DG_CHECK(strcmp(json_string_value(json_object_get(item, "origin")), "c.yaml:1") == 0);
    char *text = json_dumps(first, JSON_INDENT(1) | JSON_SORT_KEYS);
    json_decref(first);
    DG_CHECK_OK(from_text(&p, text));
    free(text);
    DG_CHECK(memcmp(&s, &back, sizeof s) == 0);
    DG_CHECK_OK(from_text(&p, "{\"data.spacing\": {\"value\": \"none\"}}"));
    DG_CHECK(back.spacing.count == 0 && back.spacing.word == 1);
    json_t *named = dg_options_to_json(&p);
    DG_CHECK(strcmp(json_string_value(json_object_get(json_object_get(named, "data.spacing"), "value")), "none") == 0);
    json_decref(named);
    dg_options_origin_text(&p, "train.steps", where, sizeof where);
    DG_CHECK(strcmp(where, "last.h5") == 0);
    dg_options_release(&o);
    dg_options_release(&p);
}

static void check_bad(void)
{
    settings s;
    dg_options o;
    options_start(&o, &s);
    DG_CHECK_OK(from_text(&o, "{\"train.steps\": 5, \"data.patch\": [1, 2, 3], \"optim.lr\": 1}"));
    DG_CHECK(s.steps == 5 && s.patch.value[2] == 3 && s.lr == 1);
    settings before = s;
    DG_CHECK_FAILS(from_text(&o, "[1]"), DG_ERR_USAGE, "last.h5: no JSON object");
    DG_CHECK_FAILS(from_text(&o, "{\"train.stpes\": 5}"), DG_ERR_USAGE,
                   "last.h5: unknown key train.stpes; did you mean");
    DG_CHECK_FAILS(from_text(&o, "{\"train.steps\": {\"v\": 5}}"), DG_ERR_USAGE, "has no \"value\"");
    DG_CHECK_FAILS(from_text(&o, "{\"train.steps\": {\"value\": {}}}"), DG_ERR_USAGE, "a value or a list");
    DG_CHECK_FAILS(from_text(&o, "{\"train.steps\": 5.5}"), DG_ERR_USAGE, "train.steps = 5.5");
    DG_CHECK_FAILS(from_text(&o, "{\"train.steps\": null}"), DG_ERR_USAGE, "(empty)");
    DG_CHECK_FAILS(from_text(&o, "{\"data.patch\": [1, [2], 3]}"), DG_ERR_USAGE, "no short plain value");
    DG_CHECK_FAILS(from_text(&o, "{\"run.name\": \"a\\u0000b\"}"), DG_ERR_USAGE, "run.name");
    char many[1024] = "{\"data.channels\": [0";
    for (int i = 0; i < 64; i++) strcat(many, ",1");
    strcat(many, "]}");
    DG_CHECK_FAILS(from_text(&o, many), DG_ERR_USAGE, "too many elements");
    DG_CHECK(memcmp(&before, &s, sizeof s) == 0);
    dg_options_release(&o);
}

int main(void)
{
    check_round_trip();
    check_bad();
    return 0;
}
