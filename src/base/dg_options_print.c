/* dg_options_print.c - the table as --help and as Markdown. SPDX-License-Identifier: Apache-2.0 */
#include "dg_options_impl.h"

#include <string.h>

enum { HELP_COLUMN = 30, HELP_WIDTH = 100 };

/* What stands for the value of a row. */
static void placeholder(const dg_option *row, char *text, size_t capacity)
{
    size_t used = 0;
    text[0] = '\0';
    switch (row->type) {
    case DG_OPT_BOOL: break;
    case DG_OPT_INT: snprintf(text, capacity, "N"); break;
    case DG_OPT_DOUBLE: snprintf(text, capacity, "X"); break;
    case DG_OPT_ENUM:
        for (int i = 0; row->names[i] != NULL && used + 1 < capacity; i++)
            used += (size_t)snprintf(text + used, capacity - used, "%s%s", i == 0 ? "" : "|", row->names[i]);
        break;
    case DG_OPT_STRING: snprintf(text, capacity, "TEXT"); break;
    case DG_OPT_INT_LIST: snprintf(text, capacity, "N,..."); break;
    case DG_OPT_DOUBLE_LIST: snprintf(text, capacity, "X,..."); break;
    case DG_OPT_STRING_LIST: snprintf(text, capacity, "TEXT..."); break;
    }
}

/* Words from column `at` on, broken before HELP_WIDTH. */
static void print_wrapped(FILE *stream, const char *text, int at)
{
    int column = at;
    while (*text != '\0') {
        int length = (int)strcspn(text, " ");
        if (column > at && column + 1 + length > HELP_WIDTH) {
            fprintf(stream, "\n%*s", HELP_COLUMN, "");
            column = at;
        } else if (column > at) {
            fputc(' ', stream);
            column++;
        }
        fprintf(stream, "%.*s", length, text);
        column += length;
        text += length;
        while (*text == ' ') text++;
    }
    fputc('\n', stream);
}

static void print_row(FILE *stream, const dg_option *row)
{
    char left[256], right[1024], value[160], wanted[256];
    int used = 0;
    placeholder(row, value, sizeof value);
    if (row->flag == NULL) {
        used = snprintf(left, sizeof left, "  --set %s=%s", row->key, row->type == DG_OPT_BOOL ? "true|false" : value);
    } else {
        char letter[8] = "    ";
        if (row->letter != 0) snprintf(letter, sizeof letter, "-%c, ", row->letter);
        used = snprintf(left, sizeof left, "  %s--%s%s%s", letter, row->flag, value[0] == '\0' ? "" : " ", value);
    }
    dg_option_describe(row, wanted, sizeof wanted);
    bool is_switch = row->type == DG_OPT_BOOL && strcmp(row->fallback, "false") == 0;
    bool says_more = !is_switch && row->type != DG_OPT_STRING;
    bool is_set = row->fallback[0] != '\0' && !is_switch;
    int end = snprintf(right, sizeof right, "%s%s%s%s%s", row->help, row->unit[0] == '\0' ? "" : " [", row->unit,
                       row->unit[0] == '\0' ? "" : "]", says_more || is_set ? " (" : "");
    if (says_more || is_set)
        snprintf(right + end, sizeof right - (size_t)end, "%s%s%s%s)", says_more ? wanted : "",
                 says_more && is_set ? "; " : "", is_set ? "default " : "", is_set ? row->fallback : "");
    if (used >= HELP_COLUMN - 1)
        fprintf(stream, "%s\n%*s", left, HELP_COLUMN, "");
    else
        fprintf(stream, "%-*s", HELP_COLUMN, left);
    print_wrapped(stream, right, HELP_COLUMN);
}

void dg_options_print_help(const dg_options *options, FILE *stream, bool only_flags)
{
    for (int i = 0; i < options->count; i++)
        if (!only_flags || options->row[i].flag != NULL) print_row(stream, &options->row[i]);
}

/* A cell: the bar would end it. */
static void print_cell(FILE *stream, const char *text)
{
    fputs("| ", stream);
    for (; *text != '\0'; text++) {
        if (*text == '|') fputc('\\', stream);
        fputc(*text, stream);
    }
    fputc(' ', stream);
}

static size_t group_length(const char *key)
{
    const char *dot = strchr(key, '.');
    return dot == NULL ? 0 : (size_t)(dot - key);
}

static void print_markdown_row(FILE *stream, const dg_option *row)
{
    char text[512];
    snprintf(text, sizeof text, "`%s`%s%s%s", row->key, row->flag == NULL ? "" : " `--",
             row->flag == NULL ? "" : row->flag, row->flag == NULL ? "" : "`");
    print_cell(stream, text);
    dg_option_describe(row, text, sizeof text);
    print_cell(stream, text);
    print_cell(stream, row->unit);
    snprintf(text, sizeof text, "%s%s%s", row->fallback[0] == '\0' ? "" : "`", row->fallback,
             row->fallback[0] == '\0' ? "" : "`");
    print_cell(stream, text);
    print_cell(stream, row->help);
    fputs("|\n", stream);
}

void dg_options_print_markdown(const dg_options *options, FILE *stream)
{
    for (int i = 0; i < options->count; i++) {
        const char *key = options->row[i].key;
        size_t length = group_length(key);
        bool starts = i == 0 || group_length(options->row[i - 1].key) != length ||
                      strncmp(options->row[i - 1].key, key, length) != 0;
        if (starts)
            fprintf(stream, "%s## %.*s\n\n| key | takes | unit | default | meaning |\n|---|---|---|---|---|\n",
                    i == 0 ? "" : "\n", length == 0 ? 7 : (int)length, length == 0 ? "options" : key);
        print_markdown_row(stream, &options->row[i]);
    }
}
