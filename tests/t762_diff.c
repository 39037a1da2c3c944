/* Differences of settings: of 30 random changes every one is listed once, with the origin it was made by; nothing
 * else is; a value without effect says why; what a condition sets is not in force where the condition does not hold.
 * ctest: libs=dg_run label=unit timeout=60
 * SPDX-License-Identifier: Apache-2.0 */
#include "config_diff.h"
#include "dg_check.h"
#include "dg_mem.h"
#include "dg_rng.h"
#include "run_config.h"
#include "run_force.h"

enum { CHANGES = 30, TEXT = 8192 };

typedef struct change {
    const dg_option *row;
    char value[256], origin[160];
} change;

static bool same_number(const dg_option *row, double value) { return strtod(row->fallback, NULL) == value; }

/* Another value than the default, which the row allows. */
static void another_value(const dg_option *row, int number, char text[256])
{
    double low = row->min == row->max ? 0 : row->min, high = row->min == row->max ? 1e6 : row->max;
    double value = row->type == DG_OPT_INT || row->type == DG_OPT_INT_LIST ? ceil(low) : low + (high - low) / 4;
    if (row->type == DG_OPT_INT && same_number(row, value)) value += 1;
    if (row->type == DG_OPT_DOUBLE && same_number(row, value)) value = low + (high - low) / 3;
    switch (row->type) {
    case DG_OPT_BOOL: snprintf(text, 256, "%s", strcmp(row->fallback, "true") == 0 ? "false" : "true"); return;
    case DG_OPT_INT:
    case DG_OPT_DOUBLE: snprintf(text, 256, "%.17g", value); return;
    case DG_OPT_ENUM: snprintf(text, 256, "%s", row->names[strcmp(row->fallback, row->names[0]) == 0]); return;
    case DG_OPT_STRING: snprintf(text, 256, "text %d", number); return;
    case DG_OPT_STRING_LIST: snprintf(text, 256, "[word%d]", number); return;
    case DG_OPT_INT_LIST:
    case DG_OPT_DOUBLE_LIST: break;
    }
    int count = row->list_min > 0 ? row->list_min : 1;
    snprintf(text, 256, "[");
    for (int i = 0; i < count; i++)
        snprintf(text + strlen(text), 256 - strlen(text), "%s%.17g", i > 0 ? ", " : "",
                 row->type == DG_OPT_INT_LIST ? value + 2 : value + 1);
    snprintf(text + strlen(text), 256 - strlen(text), "]");
}

/* DG_TRAIN__STEPS=10 */
static void variable(const change *c, char text[512])
{
    size_t used = (size_t)snprintf(text, 512, "DG_");
    for (const char *k = c->row->key; *k != '\0'; k++) {
        if (*k == '.') text[used++] = '_';
        text[used++] = (char)(*k == '.' ? '_' : *k >= 'a' && *k <= 'z' ? *k - 'a' + 'A' : *k);
    }
    snprintf(text + used, 512 - used, "=%s", c->value);
}

static void set_one(dg_options *options, change *c, dg_origin_kind kind, int line)
{
    dg_origin origin = {.kind = kind, .line = line};
    char text[512], *environment[] = {text, NULL};
    switch (kind) {
    case DG_FROM_ENVIRONMENT:
        variable(c, text);
        DG_CHECK_OK(dg_options_read_environment(options, environment));
        snprintf(c->origin, sizeof c->origin, "%.*s", (int)strcspn(text, "="), text);
        return;
    case DG_FROM_COMMAND_LINE: {
        char setting[512];
        snprintf(setting, sizeof setting, "%s=%s", c->row->key, c->value);
        char *const arguments[] = {(char[]){"--set"}, setting};
        int rest;
        DG_CHECK_OK(dg_options_read_arguments(options, 2, arguments, NULL, 0, &rest));
        snprintf(c->origin, sizeof c->origin, "--set");
        return;
    }
    default: break;
    }
    snprintf(origin.where, sizeof origin.where, "condition odd of s.yaml");
    DG_CHECK_OK(dg_options_set(options, c->row->key, c->value, &origin));
    snprintf(c->origin, sizeof c->origin, "condition odd of s.yaml:%d", line);
}

/* The file holds every fourth change, a line each. */
static void read_file(dg_options *options, change *list)
{
    char text[TEXT] = "";
    int line = 0;
    for (int i = 0; i < CHANGES; i += 4) {
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s: %s\n", list[i].row->key, list[i].value);
        snprintf(list[i].origin, sizeof list[i].origin, "b.yaml:%d", ++line);
    }
    DG_CHECK_OK(dg_options_read_yaml_text(options, text, strlen(text), "b.yaml"));
}

static void make_side(const char *name, change *list, dg_diff_side *side)
{
    dg_options options;
    dg_run_config *config;
    int rows;
    const dg_option *row = dg_run_config_rows(&rows);
    DG_CHECK_OK(DG_NEW(&config, 1, "settings"));
    DG_CHECK_OK(dg_options_init(&options, row, rows, config));
    if (list != NULL) {
        static const dg_origin_kind kinds[] = {DG_FROM_FILE, DG_FROM_ENVIRONMENT, DG_FROM_COMMAND_LINE,
                                               DG_FROM_CONDITION};
        read_file(&options, list);
        for (int i = 0; i < CHANGES; i++)
            if (i % 4 != 0) set_one(&options, &list[i], kinds[i % 4], 100 + i);
    }
    *side = (dg_diff_side){.kind = "configuration", .config = dg_run_config_to_json(&options)};
    snprintf(side->name, sizeof side->name, "%s", name);
    dg_options_release(&options);
    dg_free(&config);
}

static void choose(uint64_t seed, change *list)
{
    int rows;
    const dg_option *row = dg_run_config_rows(&rows);
    dg_rng rng = dg_rng_stream(seed, DG_RNG_TEST, 0, 0);
    for (int i = 0; i < CHANGES; i++) {
        bool taken = true;
        while (taken) {
            list[i].row = &row[dg_rng_below(&rng, rows)];
            taken = false;
            for (int k = 0; k < i; k++) taken = taken || list[k].row == list[i].row;
        }
        another_value(list[i].row, i, list[i].value);
    }
}

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static void check_changes(uint64_t seed)
{
    change list[CHANGES];
    dg_diff_side side[2];
    json_t *diff;
    choose(seed, list);
    make_side("a", NULL, &side[0]);
    make_side("b", list, &side[1]);
    DG_CHECK_OK(dg_diff_make(side, 2, &diff));
    const json_t *found = json_object_get(diff, "differences");
    DG_CHECK(json_array_size(found) == CHANGES && json_array_size(json_object_get(diff, "not_recorded")) == 0);
    for (int i = 0; i < CHANGES; i++) {
        int times = 0;
        for (size_t k = 0; k < json_array_size(found); k++) {
            const json_t *d = json_array_get(found, k), *values = json_object_get(d, "values");
            if (strcmp(text_of(d, "key"), list[i].row->key) != 0) continue;
            times++;
            const json_t *a = json_array_get(values, 0), *b = json_array_get(values, 1);
            DG_CHECK(strcmp(text_of(a, "origin"), "default") == 0);
            if (strcmp(text_of(b, "origin"), list[i].origin) != 0)
                fprintf(stderr, "%s: origin %s, wanted %s\n", list[i].row->key, text_of(b, "origin"), list[i].origin);
            DG_CHECK(strcmp(text_of(b, "origin"), list[i].origin) == 0);
            DG_CHECK(strcmp(text_of(d, "section"), "settings") == 0);
            /* A condition's line says nothing where the condition does not hold. */
            DG_CHECK(json_array_size(json_object_get(a, "set_elsewhere")) == (i % 4 == 3 ? 1 : 0));
        }
        if (times != 1) fprintf(stderr, "%s is listed %d times\n", list[i].row->key, times);
        DG_CHECK(times == 1);
    }
    json_decref(diff);
    for (int i = 0; i < 2; i++) dg_diff_side_release(&side[i]);
}

static void test_nothing_differs(void)
{
    dg_diff_side side[3];
    json_t *diff;
    for (int i = 0; i < 3; i++) make_side("same", NULL, &side[i]);
    DG_CHECK_OK(dg_diff_make(side, 3, &diff));
    DG_CHECK(json_array_size(json_object_get(diff, "differences")) == 0);
    json_decref(diff);
    DG_CHECK_FAILS(dg_diff_make(side, 1, &diff), DG_ERR_USAGE, "1 inputs");
    for (int i = 0; i < 3; i++) dg_diff_side_release(&side[i]);
}

static void set(dg_diff_side *side, const char *key, json_t *value, const char *origin)
{
    json_object_set_new(side->config, key, json_pack("{s:o, s:s}", "value", value, "origin", origin));
}

/* Learned weights: two weights that differ and are not 0 say nothing; a 0 does. */
static void test_not_in_force(void)
{
    dg_diff_side side[2];
    json_t *diff;
    for (int i = 0; i < 2; i++) {
        make_side(i == 0 ? "a" : "b", NULL, &side[i]);
        set(&side[i], "loss.weighting", json_string("learned"), "a.yaml:1");
        set(&side[i], "loss.gradient.weight", json_real(i == 0 ? 1 : 0.1), "a.yaml:2");
        set(&side[i], "loss.dvh.weight", json_real(i), "a.yaml:3");
        set(&side[i], "loss.dvh.window", json_real(i == 0 ? 0.02 : 0.1), "a.yaml:4");
    }
    DG_CHECK_OK(dg_diff_make(side, 2, &diff));
    json_t *d = json_object_get(diff, "differences"), *changes = dg_diff_changes(diff, 1);
    DG_CHECK(json_array_size(d) == 3 && json_array_size(changes) == 2);
    const json_t *gradient = json_array_get(d, 0);
    DG_CHECK(strcmp(text_of(gradient, "key"), "loss.gradient.weight") == 0 &&
             json_is_false(json_object_get(gradient, "in_force")));
    const json_t *value = json_array_get(json_object_get(gradient, "values"), 1);
    DG_CHECK(strstr(text_of(value, "why"), "loss.weighting is \"learned\"") != NULL);
    /* In a the window counts for nothing, as there is no term; in b it does. */
    const json_t *window = json_array_get(d, 2), *values = json_object_get(window, "values");
    DG_CHECK(json_is_true(json_object_get(window, "in_force")));
    DG_CHECK(json_is_false(json_object_get(json_array_get(values, 0), "in_force")));
    DG_CHECK(json_is_true(json_object_get(json_array_get(values, 1), "in_force")));
    DG_CHECK(strcmp(json_string_value(json_array_get(changes, 0)), "loss.dvh.weight: 0.0 -> 1.0 (a.yaml:3)") == 0);
    json_decref(changes);
    json_decref(diff);
    for (int i = 0; i < 2; i++) dg_diff_side_release(&side[i]);
}

/* A value that is cut is told too, wherever in a character the cut falls. */
static void test_long_values(void)
{
    for (int shift = 0; shift < 2; shift++) {
        dg_diff_side side[2];
        json_t *diff;
        char text[402] = "x";
        for (int i = 0; i < 400; i++) text[shift + i] = "\xc3\xb6"[i % 2];
        text[shift + 400] = '\0';
        for (int i = 0; i < 2; i++) make_side(i == 0 ? "a" : "b", NULL, &side[i]);
        set(&side[1], "data.cohort", json_string(text), "b.yaml:1");
        DG_CHECK_OK(dg_diff_make(side, 2, &diff));
        json_t *changes = dg_diff_changes(diff, 1);
        DG_CHECK(json_array_size(changes) == 1);
        json_decref(changes);
        json_decref(diff);
        for (int i = 0; i < 2; i++) dg_diff_side_release(&side[i]);
    }
}

/* Rules of several settings: each side says what puts `key` in force or out of it. */
static void test_one_of_several(void)
{
    static const struct {
        const char *key, *governor, *value, *why; /* why NULL: in force */
    } cases[] = {
        /* A term has its weight from the phases, and its own is 0. */
        {"loss.huber.delta", NULL, NULL, "loss.huber.weight is 0.0"},
        {"loss.huber.delta", "loss.phases", "[0%-50% mse=1, 50%-100% mse=1 huber=0.5]", NULL},
        {"loss.poisson.eps", "loss.phases", "[0-9 poisson=1]", NULL},
        {"loss.poisson.eps", "loss.phases", "[0-9 huber=1]", "loss.poisson.weight is 0.0"},
        {"loss.dice.smooth", "loss.phases", "[0-9 cldice=1]", "loss.dice.weight is 0.0"},
        {"loss.cldice.smooth", "loss.phases", "[0-9 cldice=1]", NULL},
        /* A diffusion embeds its time, a network without one nothing but constraints. */
        {"model.cond_channels", NULL, NULL, "data.constraints is false"},
        {"model.cond_channels", "data.constraints", "true", NULL},
        {"model.cond_channels", "model.kind", "diffusion_unet", NULL},
        /* Whole families. */
        {"diffusion.steps", NULL, NULL, "model.kind is \"unet\""},
        {"diffusion.steps", "model.kind", "diffusion_unet", NULL},
        {"diffusion.snr_limit", "model.kind", "diffusion_unet", "diffusion.weighting is \"uniform\""},
        {"data.labels.ignore", NULL, NULL, "data.target is \"dose\""},
        {"data.labels.ignore", "data.target", "labels", NULL},
        {"evaluate.margin_mm", "data.target", "labels", "data.target is \"labels\""},
        {"loss.focal.weight", NULL, NULL, NULL}, /* the governor of a family is none of it */
        {"loss.focal.alpha", NULL, NULL, "loss.focal.weight is 0.0"},
        {"loss.focal.alpha", "loss.focal.weight", "0.5", NULL},
        {"train.rollback.max", NULL, NULL, "train.rollback.rise is 0.0"},
        {"train.rollback.max", "train.rollback.patience", "2", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char why[256];
        dg_diff_side side;
        dg_options options;
        dg_run_config *config;
        int rows;
        const dg_option *row = dg_run_config_rows(&rows);
        const dg_origin origin = {.kind = DG_FROM_FILE, .where = "a.yaml"};
        DG_CHECK_OK(DG_NEW(&config, 1, "settings"));
        DG_CHECK_OK(dg_options_init(&options, row, rows, config));
        if (cases[i].governor != NULL)
            DG_CHECK_OK(dg_options_set(&options, cases[i].governor, cases[i].value, &origin));
        side = (dg_diff_side){.config = dg_run_config_to_json(&options)};
        const bool in_force = dg_run_in_force(side.config, cases[i].key, why, sizeof why);
        if (in_force != (cases[i].why == NULL) || (!in_force && strcmp(why, cases[i].why) != 0))
            fprintf(stderr, "%s, %s %s: %d, %s\n", cases[i].key, cases[i].governor == NULL ? "" : cases[i].governor,
                    cases[i].value == NULL ? "" : cases[i].value, in_force, why);
        DG_CHECK(in_force == (cases[i].why == NULL) && strcmp(why, in_force ? "" : cases[i].why) == 0);
        dg_diff_side_release(&side);
        dg_options_release(&options);
        dg_free(&config);
    }
}

/* Two runs by phases: the parameter of a term, and the width of a diffusion's embedding, are among what changed. */
static void test_changes_in_force(void)
{
    dg_diff_side side[2];
    json_t *diff;
    for (int i = 0; i < 2; i++) {
        make_side(i == 0 ? "a" : "b", NULL, &side[i]);
        set(&side[i], "loss.phases", json_pack("[s]", "0-9 mse=1 huber=0.5"), "a.yaml:1");
        set(&side[i], "loss.huber.delta", json_real(i == 0 ? 0.05 : 0.1), "a.yaml:2");
        set(&side[i], "model.kind", json_string("diffusion_unet"), "a.yaml:3");
        set(&side[i], "model.cond_channels", json_integer(i == 0 ? 256 : 64), "a.yaml:4");
    }
    DG_CHECK_OK(dg_diff_make(side, 2, &diff));
    json_t *changes = dg_diff_changes(diff, 1);
    DG_CHECK(json_array_size(changes) == 2);
    DG_CHECK(strstr(json_string_value(json_array_get(changes, 0)), "model.cond_channels: 256 -> 64") != NULL);
    DG_CHECK(strstr(json_string_value(json_array_get(changes, 1)), "loss.huber.delta: 0.05 -> 0.1") != NULL);
    json_decref(changes);
    json_decref(diff);
    for (int i = 0; i < 2; i++) dg_diff_side_release(&side[i]);
}

static void test_rules_name_keys(void)
{
    int rows;
    const dg_option *row = dg_run_config_rows(&rows);
    const char *key, *governor;
    for (int i = 0; (key = dg_run_force_key(i, &governor)) != NULL; i++) {
        bool known = false, governs = false;
        for (int k = 0; k < rows; k++) {
            const size_t length = strlen(key); /* a family's key is the begin of others */
            known = known || strncmp(row[k].key, key, length + (key[length - 1] != '.')) == 0;
            governs = governs || strcmp(row[k].key, governor) == 0;
        }
        if (!known || !governs) fprintf(stderr, "rule %d: %s, %s\n", i, key, governor);
        DG_CHECK(known && governs);
    }
}

/* What runs record about themselves, and text that is markup elsewhere. */
static void test_facts(void)
{
    dg_diff_side side[3];
    json_t *diff;
    char *text;
    for (int i = 0; i < 3; i++) {
        make_side(i == 0 ? "a" : i == 1 ? "b<img>|" : "c", NULL, &side[i]);
        if (i == 2) continue; /* a configuration records nothing */
        side[i].kind = "run";
        side[i].facts = json_pack("{s:s, s:{s:s, s:s}, s:i, s:{s:s}}", "commit", i == 0 ? "abc" : "def-dirty",
                                  "libraries", "hdf5", i == 0 ? "1.10" : "1.14", "lz4", "1", "cores", 2, "data",
                                  "train_val_sha256", i == 0 ? "11" : "22");
        side[i].split = json_pack("{s:[s,s], s:[s], s:[s]}", "train", "p1", i == 0 ? "p2" : "p3", "val", "p4", "test",
                                  i == 0 ? "p5" : "p2");
    }
    DG_CHECK_OK(dg_diff_make(side, 3, &diff));
    const json_t *d = json_object_get(diff, "differences");
    static const char *const wanted[][2] = {{"commit", "code"},
                                            {"libraries.hdf5", "libraries"},
                                            {"data.train_val_sha256", "data"},
                                            {"split.train", "split"},
                                            {"split.test", "split"}};
    DG_CHECK(json_array_size(d) == 5);
    for (size_t i = 0; i < 5; i++) {
        DG_CHECK(strcmp(text_of(json_array_get(d, i), "key"), wanted[i][0]) == 0);
        DG_CHECK(strcmp(text_of(json_array_get(d, i), "section"), wanted[i][1]) == 0);
    }
    const json_t *train = json_object_get(json_array_get(json_object_get(json_array_get(d, 3), "values"), 1), "value");
    DG_CHECK(json_integer_value(json_object_get(train, "cases")) == 2);
    const json_t *own = json_object_get(train, "not_in_all");
    DG_CHECK(json_array_size(own) == 1 && strcmp(json_string_value(json_array_get(own, 0)), "p3") == 0);
    DG_CHECK_OK(dg_diff_markdown(diff, &text));
    DG_CHECK(strstr(text, "b&lt;img&gt;\\|") != NULL && strstr(text, "<img>") == NULL);
    DG_CHECK(strstr(text, "def-dirty") != NULL && strstr(text, "## c against a") != NULL);
    dg_free(&text);
    json_decref(diff);
    for (int i = 0; i < 3; i++) dg_diff_side_release(&side[i]);
}

int main(void)
{
    for (uint64_t seed = 1; seed <= 20; seed++) check_changes(seed);
    test_nothing_differs();
    test_not_in_force();
    test_long_values();
    test_one_of_several();
    test_changes_in_force();
    test_rules_name_keys();
    test_facts();
    return 0;
}
