/* options_table.h - the option table that the option tests share: one row of each type.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef OPTIONS_TABLE_H
#define OPTIONS_TABLE_H

#include "dg_check.h"
#include "dg_options.h"

typedef struct settings {
    int64_t steps, seed;
    double lr, mse, alpha;
    bool flips;
    int dtype;
    char name[DG_OPT_TEXT];
    dg_int_list patch;
    dg_double_list spacing;
    dg_string_list channels;
} settings;

#define AT(field) .offset = offsetof(settings, field), .unit = ""
static const char *const dtype_words[] = {"bf16", "f32", NULL};
static const char *const auto_words[] = {"auto", NULL};
static const char *const spacing_words[] = {"native", "none", NULL};

/* clang-format off */
static const dg_option table[] = {
    {.key = "train.steps", .flag = "steps", .letter = 's', .type = DG_OPT_INT, AT(steps), .min = 1, .max = 1000000,
     .fallback = "1000", .help = "optimiser steps"},
    {.key = "run.seed", .type = DG_OPT_INT, AT(seed), .fallback = "42", .help = "seed"},
    {.key = "optim.lr", .flag = "lr", .type = DG_OPT_DOUBLE, .offset = offsetof(settings, lr), .unit = "Gy", .min = 0,
     .max = 1, .fallback = "1e-4", .help = "learning rate"},
    {.key = "loss.mse.weight", .type = DG_OPT_DOUBLE, AT(mse), .min = 0, .max = 1e6, .fallback = "1", .help = "weight"},
    {.key = "loss.mse.alpha", .type = DG_OPT_DOUBLE, AT(alpha), .fallback = "0", .help = "form"},
    {.key = "predict.flips", .flag = "flips", .type = DG_OPT_BOOL, AT(flips), .fallback = "false", .help = "flips"},
    {.key = "train.dtype", .flag = "dtype", .type = DG_OPT_ENUM, AT(dtype), .names = dtype_words, .fallback = "bf16",
     .help = "type of activations"},
    {.key = "run.name", .flag = "name", .letter = 'n', .type = DG_OPT_STRING, AT(name), .fallback = "", .help = "name"},
    {.key = "data.patch", .flag = "patch", .type = DG_OPT_INT_LIST, AT(patch), .min = 1, .max = 512, .list_min = 3,
     .list_max = 3, .names = auto_words, .fallback = "[64, 64, 64]", .help = "patch"},
    {.key = "data.spacing", .type = DG_OPT_DOUBLE_LIST, AT(spacing), .min = 0.1, .max = 10, .list_min = 1,
     .list_max = 3, .names = spacing_words, .fallback = "2.5", .help = "spacing"},
    {.key = "data.channels", .flag = "channels", .type = DG_OPT_STRING_LIST, AT(channels), .names = auto_words,
     .fallback = "auto", .help = "channels"},
};
/* clang-format on */
enum { ROWS = sizeof table / sizeof table[0] };

static inline void options_start(dg_options *options, settings *s)
{
    memset(s, 0, sizeof *s);
    DG_CHECK_OK(dg_options_init(options, table, ROWS, s));
}

#endif
