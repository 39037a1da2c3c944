/* config_diff_markdown.c - the differences as tables. Text is data: what Markdown or HTML would take for markup is
 * escaped. SPDX-License-Identifier: Apache-2.0 */
#include "config_diff.h"

#include "dg_mem.h"
#include "dg_text_table.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Above so many inputs a table with a column pair for each is no longer read: only the tables against the first stay.
 * */
enum { WIDE_MAX = 4, VALUE_TEXT = 512 };

static void put(FILE *to, const char *text) { dg_text_print_escaped(text, DG_TABLE_MARKDOWN, to); }

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text == NULL ? "" : text;
}

/* The value; struck out with the reason where it has no effect, and what other conditions would set. */
static void put_value(FILE *to, const json_t *entry)
{
    char text[VALUE_TEXT];
    const bool off = json_is_false(json_object_get(entry, "in_force"));
    dg_diff_value_text(json_object_get(entry, "value"), text, sizeof text);
    if (off) fputs("~~", to);
    put(to, text);
    if (off) {
        fputs("~~ (not in force: ", to);
        put(to, text_of(entry, "why"));
        fputc(')', to);
    }
    const json_t *elsewhere = json_object_get(entry, "set_elsewhere");
    for (size_t i = 0; i < json_array_size(elsewhere); i++) {
        const json_t *other = json_array_get(elsewhere, i);
        dg_diff_value_text(json_object_get(other, "value"), text, sizeof text);
        fputs("; ~~", to);
        put(to, text);
        fputs("~~ (not in force: ", to);
        put(to, text_of(other, "origin"));
        fputc(')', to);
    }
}

static const char *name_of(const json_t *diff, size_t index)
{
    return text_of(json_array_get(json_object_get(diff, "inputs"), index), "name");
}

static bool of_section(const json_t *difference, int section)
{
    return strcmp(text_of(difference, "section"), dg_diff_section_name((dg_diff_section)section)) == 0;
}

static void put_wide(FILE *to, const json_t *diff, int section, size_t inputs)
{
    const json_t *list = json_object_get(diff, "differences");
    bool begun = false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *d = json_array_get(list, i), *values = json_object_get(d, "values");
        if (!of_section(d, section)) continue;
        if (!begun) {
            fprintf(to, "\n## %s\n\n| key |", dg_diff_section_name((dg_diff_section)section));
            for (size_t k = 0; k < inputs; k++) {
                fputc(' ', to);
                put(to, name_of(diff, k));
                fputs(" | origin |", to);
            }
            fputs("\n|---|", to);
            for (size_t k = 0; k < inputs; k++) fputs("---|---|", to);
            fputc('\n', to);
        }
        begun = true;
        fputs("| ", to);
        put(to, text_of(d, "key"));
        fputs(" |", to);
        for (size_t k = 0; k < inputs; k++) {
            fputc(' ', to);
            put_value(to, json_array_get(values, k));
            fputs(" | ", to);
            put(to, text_of(json_array_get(values, k), "origin"));
            fputs(" |", to);
        }
        fputc('\n', to);
    }
}

/* One input against the first: a scenario. */
static void put_scenario(FILE *to, const json_t *diff, size_t index)
{
    const json_t *list = json_object_get(diff, "differences");
    bool begun = false;
    fputs("\n## ", to);
    put(to, name_of(diff, index));
    fputs(" against ", to);
    put(to, name_of(diff, 0));
    fputs("\n\n", to);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *d = json_array_get(list, i), *values = json_object_get(d, "values");
        const json_t *first = json_array_get(values, 0), *own = json_array_get(values, index);
        if (json_equal(json_object_get(first, "value"), json_object_get(own, "value"))) continue;
        if (!begun) fputs("| section | key | from | to | origin |\n|---|---|---|---|---|\n", to);
        begun = true;
        fprintf(to, "| %s | ", text_of(d, "section"));
        put(to, text_of(d, "key"));
        fputs(" | ", to);
        put_value(to, first);
        fputs(" | ", to);
        put_value(to, own);
        fputs(" | ", to);
        put(to, text_of(own, "origin"));
        fputs(" |\n", to);
    }
    if (!begun) fputs("No difference.\n", to);
}

static void put_unused(FILE *to, const json_t *diff)
{
    const json_t *list = json_object_get(diff, "not_in_force");
    if (json_array_size(list) == 0) return;
    fputs("\n## Set, but not in force\n\n| key | input | value | origin | why |\n|---|---|---|---|---|\n", to);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *row = json_array_get(list, i);
        char text[VALUE_TEXT];
        dg_diff_value_text(json_object_get(row, "value"), text, sizeof text);
        const char *const cells[] = {text_of(row, "key"), text_of(row, "input"), text, text_of(row, "origin"),
                                     text_of(row, "why")};
        fputc('|', to);
        for (int k = 0; k < 5; k++) {
            fputc(' ', to);
            put(to, cells[k]);
            fputs(" |", to);
        }
        fputc('\n', to);
    }
}

static void put_not_recorded(FILE *to, const json_t *diff)
{
    const json_t *list = json_object_get(diff, "not_recorded");
    if (json_array_size(list) == 0) return;
    fputs("\nNot recorded by all inputs (another version wrote them), and equal where they are: ", to);
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (i > 0) fputs(", ", to);
        put(to, text_of(json_array_get(list, i), "key"));
    }
    fputs(".\n", to);
}

dg_status dg_diff_markdown(const json_t *diff, char **text)
{
    char *buffer = NULL;
    size_t length;
    const size_t inputs = json_array_size(json_object_get(diff, "inputs"));
    *text = NULL;
    FILE *to = open_memstream(&buffer, &length);
    if (to == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for the tables");
    fputs("# Differences\n\n", to);
    fprintf(to, "%zu differences.\n", json_array_size(json_object_get(diff, "differences")));
    for (int section = 0; section < DG_DIFF_SECTIONS && inputs <= WIDE_MAX; section++)
        put_wide(to, diff, section, inputs);
    for (size_t i = 1; i < inputs && inputs > 2; i++) put_scenario(to, diff, i);
    put_unused(to, diff);
    put_not_recorded(to, diff);
    const bool good = fclose(to) == 0 && buffer != NULL;
    dg_status status = good ? dg_string_copy(buffer, text) : DG_FAIL(DG_ERR_MEMORY, "no memory for the tables");
    free(buffer);
    return status;
}
