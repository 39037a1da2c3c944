/* dg_options.h - the option table: one row is parser, validator, default, --help line and documentation.
 *
 * A table describes the fields of a plain C struct (offsets). Values come from, in rising order: default < config file
 * (YAML) < DG_* environment < command line < condition of a sweep; the origin of every value is kept. An unknown key is
 * an error that names the nearest known one, with file and line. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_OPTIONS_H
#define DG_OPTIONS_H

#include "dg_status.h"
#include "dg_yaml.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef enum dg_option_type {
    DG_OPT_BOOL,       /* bool */
    DG_OPT_INT,        /* int64_t */
    DG_OPT_DOUBLE,     /* double */
    DG_OPT_ENUM,       /* int: index into `names` */
    DG_OPT_STRING,     /* char[DG_OPT_TEXT] */
    DG_OPT_INT_LIST,   /* dg_int_list; [64, 64, 64], or one scalar for a list of one; may be a word of `names`: count 0 */
    DG_OPT_DOUBLE_LIST,/* dg_double_list; same */
    DG_OPT_STRING_LIST /* dg_string_list */
} dg_option_type;

enum { DG_OPT_TEXT = 512, DG_OPT_LIST_MAX = 16, DG_OPT_STRINGS_MAX = 64, DG_OPT_WORD = 256 };

/* `word`: of `names`, which one stands for count 0; 0 where there is one or none. */
typedef struct dg_int_list { int count, word; int64_t value[DG_OPT_LIST_MAX]; } dg_int_list;
typedef struct dg_double_list { int count, word; double value[DG_OPT_LIST_MAX]; } dg_double_list;
typedef struct dg_string_list { int count; char value[DG_OPT_STRINGS_MAX][DG_OPT_WORD]; } dg_string_list;

/* One option. `min`/`max` bound numbers and every element of number lists; for lists `list_min`/`list_max` bound the
 * count. `fallback` is the default as it would be typed. */
typedef struct dg_option {
    const char *key;          /* dotted: "train.steps"; on the command line of a job: --steps-like flags use `flag` */
    const char *flag;         /* long option without dashes ("overlap"), or NULL: only --set key=value */
    char letter;              /* short option or 0 */
    dg_option_type type;
    size_t offset;
    double min, max;
    int list_min, list_max;
    const char *const *names; /* NULL-terminated words of an enum, or words that mean "count 0" for lists */
    const char *fallback;
    const char *unit;         /* "" when it has none */
    const char *help;         /* one sentence, no full stop needed */
    bool from_file;           /* a string list whose words may be @FILE: the job reads it with dg_words_read */
} dg_option;

/* The strongest is what a condition of a sweep sets: whatever a user exports, an experiment stays the one it is named. */
typedef enum dg_origin_kind {
    DG_FROM_DEFAULT,
    DG_FROM_FILE,
    DG_FROM_ENVIRONMENT,
    DG_FROM_COMMAND_LINE,
    DG_FROM_CONDITION
} dg_origin_kind;
typedef struct dg_origin {
    dg_origin_kind kind;
    int line;                 /* of the config file, 1-based; else 0 */
    char where[160];          /* file name, variable name or argument */
} dg_origin;

/* A table bound to a struct, with the origin of each value. */
typedef struct dg_options {
    const dg_option *row;
    int count;
    void *target;             /* borrowed */
    dg_origin *origin;        /* [count], owned */
} dg_options;

/* Binds a table and sets every default. A bad row (default out of range, duplicate key) is DG_ERR_INTERNAL. */
DG_MUST_USE dg_status dg_options_init(dg_options *options, const dg_option *row, int count, void *target);
void dg_options_release(dg_options *options);

/* Sets one key from text; `origin` is copied. DG_ERR_USAGE names key, value, range and origin. Keys accept a shorthand
 * where a group has a `.weight` row: "loss.mse" means "loss.mse.weight". A value of a weaker origin is checked but does
 * not replace one of a stronger, so sources may be read in any order (arguments first: they name the config file).
 * min == max: no bounds. Text "null" or "~" is the empty string. */
DG_MUST_USE dg_status dg_options_set(dg_options *options, const char *key, const char *value, const dg_origin *origin);

/* Reads a YAML file of nested maps, scalars and flow or block lists. DG_ERR_USAGE with file:line for syntax, unknown or
 * duplicate keys, wrong types. Never crashes on hostile text; nesting, size (1 MiB) and aliases are limited. */
DG_MUST_USE dg_status dg_options_read_yaml(dg_options *options, const char *path);
/* The same from memory; `name` stands for the file in messages. */
DG_MUST_USE dg_status dg_options_read_yaml_text(dg_options *options, const char *text, size_t length, const char *name);

/* Sets what a map of a data file holds, nested or with dotted keys; NULL holds nothing. Values get the origin (kind,
 * `where`, their line); messages begin with it. */
DG_MUST_USE dg_status dg_options_read_tree(dg_options *options, const dg_yaml_node *map, dg_origin_kind kind,
                                           const char *where);

/* Applies variables DG_<KEY WITH DOTS AS __, upper case>: DG_TRAIN__STEPS=10. `environ` is NULL-terminated. An unknown
 * variable with __ is an error where the table has its group, or several groups (the settings of a run); other DG_
 * variables are left alone. */
DG_MUST_USE dg_status dg_options_read_environment(dg_options *options, char *const *environ);

/* Parses a job's arguments: --flag VALUE, --flag=VALUE, -o VALUE, booleans without value (--no-flag), --set key=value,
 * `--` ends options. A string list takes all arguments up to the next option (--checkpoint A B --cohort C), and a second
 * flag appends; --flag=A takes just that one. What is left, in order, is stored in positional[*positional_count] (borrowed). */
DG_MUST_USE dg_status dg_options_read_arguments(dg_options *options, int argc, char *const *argv,
                                                const char **positional, int positional_max, int *positional_count);

/* The row of a key, or NULL; and the origin of a key ("train.yaml:12", "default", "DG_RUN__SEED", "--set"). */
const dg_option *dg_options_find(const dg_options *options, const char *key);
void dg_options_origin_text(const dg_options *options, const char *key, char *text, size_t capacity);

/* One value as it would be typed. */
DG_MUST_USE dg_status dg_options_format(const dg_options *options, const char *key, char *text, size_t capacity);

/* --help: a line per row with type, unit, range, default; `only_flags` leaves out rows without a flag. */
void dg_options_print_help(const dg_options *options, FILE *stream, bool only_flags);
/* The rows as Markdown tables by group (doc/options.md). */
void dg_options_print_markdown(const dg_options *options, FILE *stream);
/* The words of a string list without its limit: every "@FILE" is replaced by the file's lines, one word a line; blanks
 * around a word, empty lines and lines that begin with '#' are left out. `option` names the list in messages
 * ("--cases"). DG_ERR_USAGE: a file that cannot be read, has no word, or a line that is no text of at most DG_OPT_WORD - 1
 * bytes (the message has file and line). */
typedef struct dg_words {
    char (*value)[DG_OPT_WORD]; /* [count], owned */
    int64_t count;
} dg_words;
DG_MUST_USE dg_status dg_words_read(const dg_string_list *list, const char *option, dg_words *out);
void dg_words_release(dg_words *words);

/* Resolved values: {"train.steps": {"value": 10, "origin": "a.yaml:3"}, ...}; caller owns (json_decref). NULL: no memory. */
json_t *dg_options_to_json(const dg_options *options);
/* Sets every key from such an object (a checkpoint's stored config); unknown keys are an error. */
DG_MUST_USE dg_status dg_options_from_json(dg_options *options, const json_t *object, const char *name);

#endif
