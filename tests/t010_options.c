/* ctest: libs=dg_base label=unit timeout=30
 * Option tables: defaults, precedence and origins, command line, environment, formatting, help, bad tables.
 * SPDX-License-Identifier: Apache-2.0 */
#include "options_table.h"

static void check_origin(const dg_options *o, const char *key, const char *wanted)
{
    char text[200];
    dg_options_origin_text(o, key, text, sizeof text);
    if (strcmp(text, wanted) != 0) fprintf(stderr, "%s: %s, wanted %s\n", key, text, wanted);
    DG_CHECK(strcmp(text, wanted) == 0);
}

static void check_defaults(void)
{
    settings s;
    dg_options o;
    options_start(&o, &s);
    DG_CHECK(s.steps == 1000 && s.seed == 42 && s.lr == 1e-4 && s.mse == 1 && !s.flips && s.dtype == 0);
    DG_CHECK(s.patch.count == 3 && s.patch.value[2] == 64 && s.spacing.count == 1 && s.spacing.value[0] == 2.5);
    DG_CHECK(s.channels.count == 0 && s.name[0] == '\0');
    check_origin(&o, "train.steps", "default");
    DG_CHECK(dg_options_find(&o, "loss.mse") == &table[3] && dg_options_find(&o, "loss.nope") == NULL);
    dg_options_release(&o);
}

/* Rising order whatever was read first: default < file < environment < command line. */
static void check_precedence(void)
{
    static char *const environment[] = {"PATH=/bin",      "DG_TRAIN__STEPS=20",  "DG_LOSS__MSE=0.5",
                                        "DG_RUN__SEED=5", "DG_OTHER=left alone", NULL};
    static char *const argv[] = {"--steps", "30", "--set", "run.seed=6", "run.yaml"};
    static const char yaml[] = "train: {steps: 10}\noptim:\n  lr: 0.5\nloss:\n  mse: 2\nrun: {seed: 4}\n";
    for (int order = 0; order < 2; order++) {
        settings s;
        dg_options o;
        const char *file;
        int count;
        options_start(&o, &s);
        if (order == 0) DG_CHECK_OK(dg_options_read_arguments(&o, 5, argv, &file, 1, &count));
        if (order == 0) DG_CHECK_OK(dg_options_read_environment(&o, environment));
        DG_CHECK_OK(dg_options_read_yaml_text(&o, yaml, strlen(yaml), "run.yaml"));
        if (order == 1) DG_CHECK_OK(dg_options_read_environment(&o, environment));
        if (order == 1) DG_CHECK_OK(dg_options_read_arguments(&o, 5, argv, &file, 1, &count));
        DG_CHECK(count == 1 && strcmp(file, "run.yaml") == 0);
        DG_CHECK(s.steps == 30 && s.lr == 0.5 && s.mse == 0.5 && s.seed == 6);
        check_origin(&o, "train.steps", "--steps");
        check_origin(&o, "run.seed", "--set");
        check_origin(&o, "loss.mse", "DG_LOSS__MSE");
        check_origin(&o, "optim.lr", "run.yaml:3");
        check_origin(&o, "run.name", "default");
        dg_options_release(&o);
    }
}

static dg_status parse(dg_options *o, const char *line, int *count)
{
    static char buffer[4096];
    static char *argv[32];
    static const char *positional[2];
    int argc = 0;
    char *rest = buffer, *word;
    snprintf(buffer, sizeof buffer, "%s", line);
    while ((word = strsep(&rest, " ")) != NULL) argv[argc++] = word;
    return dg_options_read_arguments(o, line[0] == '\0' ? 0 : argc, argv, positional, 2, count);
}

static void check_arguments(void)
{
    settings s;
    dg_options o;
    int count;
    options_start(&o, &s);
    DG_CHECK_OK(parse(&o, "--flips --name=a=b -s7 one --patch 8,16,32 --dtype f32 -- --two", &count));
    DG_CHECK(count == 2 && s.flips && strcmp(s.name, "a=b") == 0 && s.steps == 7 && s.patch.value[1] == 16);
    DG_CHECK(s.dtype == 1);
    DG_CHECK_OK(parse(&o, "--no-flips --patch auto -n x", &count));
    DG_CHECK(!s.flips && s.patch.count == 0 && strcmp(s.name, "x") == 0);
    DG_CHECK_OK(parse(&o, "--channels ct sdf.PTV70 --name y --channels a,b", &count));
    DG_CHECK(s.channels.count == 4 && strcmp(s.channels.value[1], "sdf.PTV70") == 0);
    DG_CHECK(strcmp(s.channels.value[3], "b") == 0 && count == 0);
    DG_CHECK_OK(parse(&o, "--channels=ct one", &count));
    DG_CHECK(s.channels.count == 1 && count == 1);
    DG_CHECK_OK(parse(&o, "", &count));
    DG_CHECK_FAILS(parse(&o, "a b c", &count), DG_ERR_USAGE, "unexpected argument c: at most 2 are possible");
    DG_CHECK_FAILS(parse(&o, "--stpes 3", &count), DG_ERR_USAGE, "unknown option --stpes; did you mean --steps?");
    DG_CHECK_FAILS(parse(&o, "--run.seed 3", &count), DG_ERR_USAGE, "give it as --set run.seed=VALUE");
    DG_CHECK_FAILS(parse(&o, "-x", &count), DG_ERR_USAGE, "unknown option -x");
    DG_CHECK_FAILS(parse(&o, "--steps", &count), DG_ERR_USAGE, "--steps wants a value");
    DG_CHECK_FAILS(parse(&o, "--set", &count), DG_ERR_USAGE, "--set wants key=value");
    DG_CHECK_FAILS(parse(&o, "--set steps", &count), DG_ERR_USAGE, "key=value is wanted");
    DG_CHECK_FAILS(parse(&o, "--set =3", &count), DG_ERR_USAGE, "key=value is wanted");
    DG_CHECK_FAILS(parse(&o, "--set steps=3", &count), DG_ERR_USAGE,
                   "--set: unknown key steps; did you mean train.steps?");
    DG_CHECK_FAILS(parse(&o, "--set train=3", &count), DG_ERR_USAGE, "train is a group, give keys inside it");
    DG_CHECK_FAILS(parse(&o, "--no-flips=1", &count), DG_ERR_USAGE, "--no-flips takes no value");
    DG_CHECK_FAILS(parse(&o, "--no-steps", &count), DG_ERR_USAGE, "unknown option --no-steps");
    DG_CHECK_FAILS(parse(&o, "--steps 0", &count), DG_ERR_USAGE,
                   "--steps: train.steps = 0: a whole number, 1 to 1000000 is wanted");
    DG_CHECK_FAILS(parse(&o, "--lr 2", &count), DG_ERR_USAGE, "optim.lr = 2: a number, 0 to 1 is wanted (Gy)");
    DG_CHECK_FAILS(parse(&o, "--dtype f64", &count), DG_ERR_USAGE, "one of bf16, f32 is wanted");
    dg_options_release(&o);
}

static void check_environment(void)
{
    static char *const unknown[] = {"DG_TRAIN__STPES=3", NULL}, *const wrong[] = {"DG_TRAIN__STEPS=many", NULL},
                       *const other[] = {"DG_EVALUATE__SEED=3", NULL};
    settings s;
    dg_options o;
    options_start(&o, &s);
    DG_CHECK_FAILS(dg_options_read_environment(&o, unknown), DG_ERR_USAGE,
                   "unknown variable DG_TRAIN__STPES; did you mean DG_TRAIN__STEPS?");
    DG_CHECK_FAILS(dg_options_read_environment(&o, other), DG_ERR_USAGE, "unknown variable DG_EVALUATE__SEED");
    DG_CHECK_FAILS(dg_options_read_environment(&o, wrong), DG_ERR_USAGE, "DG_TRAIN__STEPS: train.steps = many");
    DG_CHECK_OK(dg_options_read_environment(&o, NULL));
    dg_options_release(&o);
}

/* What does not read as the row's type leaves the old value and says why. */
static void check_values(void)
{
    static const struct {
        const char *key, *value, *words;
    } bad[] = {
        {"train.steps", "", "= (empty): a whole number"},
        {"train.steps", "1.0", "whole number"},
        {"train.steps", "12x", "whole number"},
        {"train.steps", " 12", "whole number"},
        {"train.steps", "0x10", "whole number"},
        {"run.seed", "9223372036854775808", "whole number"},
        {"optim.lr", "nan", "a number"},
        {"optim.lr", "inf", "a number"},
        {"optim.lr", "1e999", "a number"},
        {"optim.lr", "0.5s", "a number"},
        {"optim.lr", "0x1p-3", "a number"},
        {"optim.lr", "1e-999", "a number"},
        {"optim.lr", "-0.1", "0 to 1"},
        {"optim.lr", "--1", "a number"},
        {"predict.flips", "maybe", "true or false"},
        {"data.patch", "64", "a list of 3 whole numbers, 1 to 512, or auto is wanted"},
        {"data.patch", "[64, 64, 513]", "1 to 512"},
        {"data.patch", "[64, 64, x]", "whole numbers"},
        {"data.patch", "[1,2,3", "not closed"},
        {"data.patch", "[1,,3]", "empty"},
        {"data.patch", "[1,2,]", "empty"},
        {"data.patch", "[[1],2,3]", "inside a list"},
        {"data.patch", "[1,2,3] 4", "text behind"},
        {"data.patch", "native", "or auto"},
        {"data.spacing", "[]", "a list of 1 to 3 numbers"},
        {"data.channels", "[\"ct", "quote"},
        {"run.name", "a\nb", "text of at most"},
        {"run.name", "\xff", "text of"},
    };
    settings s;
    dg_options o;
    dg_origin origin = {.kind = DG_FROM_COMMAND_LINE, .where = "--set"};
    options_start(&o, &s);
    settings before = s;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        DG_CHECK_FAILS(dg_options_set(&o, bad[i].key, bad[i].value, &origin), DG_ERR_USAGE, bad[i].words);
    DG_CHECK(memcmp(&before, &s, sizeof s) == 0);
    char longest[600];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    DG_CHECK_FAILS(dg_options_set(&o, "run.name", longest, &origin), DG_ERR_USAGE, "at most 511 bytes");
    DG_CHECK_FAILS(dg_options_set(&o, "data.channels", longest, &origin), DG_ERR_USAGE, "longer than 255 bytes");
    DG_CHECK_FAILS(dg_options_set(&o, longest, "1", &origin), DG_ERR_USAGE, "unknown key aaa");
    DG_CHECK_OK(dg_options_set(&o, "run.name", "null", &origin));
    DG_CHECK(s.name[0] == '\0');
    DG_CHECK_OK(dg_options_set(&o, "predict.flips", "Yes", &origin));
    DG_CHECK(s.flips);
    dg_options_release(&o);
}

static void check_format(void)
{
    static const char *const typed[][2] = {{"train.steps", "7"},
                                           {"optim.lr", "0.1"},
                                           {"predict.flips", "true"},
                                           {"train.dtype", "f32"},
                                           {"data.patch", "[8, 16, 32]"},
                                           {"data.patch", "auto"},
                                           {"data.spacing", "[0.1, 0.30000000000000004]"},
                                           {"data.spacing", "none"},
                                           {"data.spacing", "native"},
                                           {"run.name", "a, b"},
                                           {"data.channels", "[ct, \"a,b\", \"q\\\"\\\\\"]"}};
    settings s;
    dg_options o;
    dg_origin origin = {.kind = DG_FROM_COMMAND_LINE, .where = "--set"};
    char text[256], tiny[4];
    options_start(&o, &s);
    for (size_t i = 0; i < sizeof typed / sizeof typed[0]; i++) {
        DG_CHECK_OK(dg_options_set(&o, typed[i][0], typed[i][1], &origin));
        DG_CHECK_OK(dg_options_format(&o, typed[i][0], text, sizeof text));
        DG_CHECK(strcmp(text, typed[i][1]) == 0);
    }
    DG_CHECK_FAILS(dg_options_format(&o, "data.channels", tiny, sizeof tiny), DG_ERR_USAGE, "does not fit 4 bytes");
    DG_CHECK_FAILS(dg_options_format(&o, "run.nmae", text, sizeof text), DG_ERR_USAGE, "did you mean run.name?");
    dg_options_release(&o);
}

static void check_print(void)
{
    settings s;
    dg_options o;
    char *text;
    size_t length;
    options_start(&o, &s);
    FILE *stream = open_memstream(&text, &length);
    dg_options_print_help(&o, stream, true);
    fclose(stream);
    DG_CHECK(strstr(text, "  -s, --steps N") != NULL &&
             strstr(text, "whole number, 1 to 1000000; default 1000)") != NULL);
    DG_CHECK(strstr(text, "--dtype bf16|f32") != NULL && strstr(text, "run.seed") == NULL);
    free(text);
    stream = open_memstream(&text, &length);
    dg_options_print_markdown(&o, stream);
    fclose(stream);
    DG_CHECK(strstr(text, "## data\n") != NULL && strstr(text, "| `run.seed` |") != NULL);
    DG_CHECK(strstr(text, "| `optim.lr` `--lr` | a number, 0 to 1 | Gy | `1e-4` | learning rate |") != NULL);
    free(text);
    dg_options_release(&o);
}

static void check_bad_tables(void)
{
    settings s;
    dg_options o;
    dg_option rows[2] = {table[0], table[1]};
    rows[1].key = rows[0].key;
    DG_CHECK_FAILS(dg_options_init(&o, rows, 2, &s), DG_ERR_INTERNAL, "share a key");
    rows[1] = table[1];
    rows[1].flag = "steps";
    DG_CHECK_FAILS(dg_options_init(&o, rows, 2, &s), DG_ERR_INTERNAL, "share a key, flag or letter");
    rows[1] = table[1];
    rows[1].fallback = "x";
    DG_CHECK_FAILS(dg_options_init(&o, rows, 2, &s), DG_ERR_INTERNAL, "run.seed = x");
    rows[1] = table[6];
    rows[1].names = NULL;
    DG_CHECK_FAILS(dg_options_init(&o, rows, 2, &s), DG_ERR_INTERNAL, "has no words");
    rows[1] = table[1];
    rows[1].flag = "set";
    DG_CHECK_FAILS(dg_options_init(&o, rows, 2, &s), DG_ERR_INTERNAL, "belongs to the parser");
    DG_CHECK(o.origin == NULL);
}

int main(void)
{
    check_defaults();
    check_precedence();
    check_arguments();
    check_environment();
    check_values();
    check_format();
    check_print();
    check_bad_tables();
    return 0;
}
