/* dg_options_impl.h - what the files of the option table share; not for other folders.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_OPTIONS_IMPL_H
#define DG_OPTIONS_IMPL_H

#include "dg_options.h"

enum { DG_OPTION_PROBLEM = 384, DG_ORIGIN_TEXT = 176, DG_OPTION_FORMATTED = 8192 };

/* Parses text, or the elements of a list, as the row's type and stores it in *field. False leaves *field alone and says
 * in `problem` what is wanted. */
bool dg_option_parse_text(const dg_option *row, const char *text, void *field, char problem[DG_OPTION_PROBLEM]);
bool dg_option_parse_list(const dg_option *row, const dg_string_list *word, void *field,
                          char problem[DG_OPTION_PROBLEM]);
/* "[a, b]" or "a, b" or "a" into words; elements may stand in quotes. */
bool dg_option_split(const char *text, dg_string_list *word, char problem[DG_OPTION_PROBLEM]);
/* No control characters, and UTF-8, so that the text can be stored and shown. */
bool dg_option_is_text(const char *text);
/* What a row takes, in words: "a whole number, 1 to 10". */
void dg_option_describe(const dg_option *row, char *text, size_t capacity);
bool dg_option_is_list(const dg_option *row);
/* The word that an empty list in *field stands for; NULL: the row has none. */
const char *dg_option_list_name(const dg_option *row, const void *field);
/* Shortest decimal that reads back as the same double. */
void dg_option_double_text(double value, char *text, size_t capacity);
/* The value in *field as it would be typed. */
bool dg_option_format_field(const dg_option *row, const void *field, char *text, size_t capacity);

/* Row of a key or of its `.weight`; -1 when unknown. */
int dg_options_index(const dg_options *options, const char *key);
/* First row of the group `key`, or -1. */
int dg_options_group(const dg_options *options, const char *key);
void *dg_options_field(const dg_options *options, int index);
/* Fails with the unknown key, its origin and the nearest known one. */
dg_status dg_options_fail_unknown(const dg_options *options, const char *key, const dg_origin *origin);
/* Sets row `index` from text, or from the elements of a list, unless a stronger origin has set it. */
dg_status dg_options_apply_text(dg_options *options, int index, const char *text, const dg_origin *origin);
dg_status dg_options_apply_list(dg_options *options, int index, const dg_string_list *word, const dg_origin *origin);
/* An origin; a long `where` keeps its end. */
dg_origin dg_origin_make(dg_origin_kind kind, int line, const char *where);
void dg_origin_print(const dg_origin *origin, char *text, size_t capacity);
/* Edits (insert, delete, replace, swap of neighbours) from a to b, ignoring case. */
int dg_edit_distance(const char *a, const char *b);

#endif
