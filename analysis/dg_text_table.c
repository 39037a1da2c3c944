/* dg_text_table.c - see dg_text_table.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_text_table.h"
#include "dg_mem.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { CELL_TEXT = 256 };

struct dg_text_table {
    char (*cell)[CELL_TEXT];
    int64_t columns, used, room;
};

dg_status dg_text_table_create(int64_t columns, dg_text_table **out)
{
    DG_TRY(DG_NEW(out, 1, "table"));
    (*out)->columns = columns;
    return DG_OK;
}

void dg_text_table_destroy(dg_text_table **table)
{
    if (*table == NULL) return;
    dg_free(&(*table)->cell);
    dg_free(table);
}

/* Cuts a text at a whole UTF-8 character. */
static void cut_whole(char text[CELL_TEXT], int length)
{
    if (length < CELL_TEXT) return;
    size_t end = CELL_TEXT - 1;
    while (end > 0 && ((unsigned char)text[end - 1] & 0xc0) == 0x80) end--;
    if (end > 0 && ((unsigned char)text[end - 1] & 0x80) != 0) end--;
    text[end] = '\0';
}

dg_status dg_text_table_add(dg_text_table *table, const char *format, ...)
{
    va_list arguments;
    if (table->used == table->room) {
        const int64_t room = 2 * table->room + table->columns;
        DG_TRY(dg_grow(&table->cell, (size_t)table->used, (size_t)room, CELL_TEXT, "cells of a table"));
        table->room = room;
    }
    char *cell = table->cell[table->used++];
    va_start(arguments, format);
    cut_whole(cell, vsnprintf(cell, CELL_TEXT, format, arguments));
    va_end(arguments);
    return DG_OK;
}

/* ---- escapes ------------------------------------------------------------------------------------------------------ */

static const char *latex_of(char c)
{
    switch (c) {
    case '\\': return "\\textbackslash{}";
    case '~': return "\\textasciitilde{}";
    case '^': return "\\textasciicircum{}";
    case '<': return "\\textless{}";
    case '>': return "\\textgreater{}";
    case '|': return "\\textbar{}";
    case '"': return "\\char34{}"; /* active in some languages of babel */
    case '[': return "{[}";        /* else an argument of the \\ before it */
    case ']': return "{]}";
    default: return NULL;
    }
}

static void escape_latex(char c, FILE *stream)
{
    const char *word = latex_of(c);
    if (word != NULL)
        fputs(word, stream);
    else if (strchr("&%$#_{}", c) != NULL)
        fprintf(stream, "\\%c", c);
    else
        fputc(c, stream);
}

/* What Markdown dialects take for a link without any bracket: "http://", "www.", an address of mail. */
static bool makes_link(const char *text, const char *c)
{
    if (*c == ':') return c[1] == '/';
    if (*c == '.') return c - text >= 3 && strncasecmp(c - 3, "www", 3) == 0;
    return *c == '@';
}

/* A backslash before punctuation is the character itself; <, > and & are written as entities, so that no HTML is left. */
static void escape_markdown(const char *text, const char *c, FILE *stream)
{
    if (*c == '<')
        fputs("&lt;", stream);
    else if (*c == '>')
        fputs("&gt;", stream);
    else if (*c == '&')
        fputs("&amp;", stream);
    else if (strchr("\\`*_{}[]#!|~$", *c) != NULL || makes_link(text, c))
        fprintf(stream, "\\%c", *c);
    else
        fputc(*c, stream);
}

void dg_text_print_escaped(const char *text, dg_table_style style, FILE *stream)
{
    for (const char *c = text; *c != '\0'; c++) {
        if (iscntrl((unsigned char)*c))
            fputc('?', stream);
        else if (style == DG_TABLE_LATEX && strncmp(c, "±", 2) == 0)
            fputs("$\\pm$", stream), c++;
        else if (style == DG_TABLE_LATEX)
            escape_latex(*c, stream);
        else if (style == DG_TABLE_MARKDOWN)
            escape_markdown(text, c, stream);
        else
            fputc(*c, stream);
    }
}

void dg_text_print_csv(const char *text, FILE *stream)
{
    const bool formula = text[0] != '\0' && strchr("=+-@\t\r", text[0]) != NULL;
    const bool quoted = strpbrk(text, ",\"\r\n") != NULL;
    if (quoted) fputc('"', stream);
    if (formula) fputc('\'', stream);
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '"') fputc('"', stream);
        fputc(*c, stream);
    }
    if (quoted) fputc('"', stream);
}

void dg_text_print_number(double value, FILE *stream)
{
    char text[40];
    if (!isfinite(value)) return;
    int digits = 15;
    do snprintf(text, sizeof text, "%.*g", digits, value);
    while (strtod(text, NULL) != value && ++digits <= 17);
    fputs(text, stream);
}

/* ---- styles ------------------------------------------------------------------------------------------------------- */

static const char *cell_of(const dg_text_table *table, int64_t row, int64_t column)
{
    return table->cell[row * table->columns + column];
}

/* Characters, not bytes. */
static int width_of(const char *text)
{
    int width = 0;
    for (; *text != '\0'; text++) width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

static void print_plain(const dg_text_table *table, int64_t rows, FILE *stream)
{
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < table->columns; c++) {
            int widest = 0;
            for (int64_t k = 0; k < rows; k++)
                widest = widest > width_of(cell_of(table, k, c)) ? widest : width_of(cell_of(table, k, c));
            const int space = widest - width_of(cell_of(table, r, c));
            if (c > 0) fprintf(stream, "  %*s", space, "");
            dg_text_print_escaped(cell_of(table, r, c), DG_TABLE_PLAIN, stream);
            if (c == 0 && table->columns > 1) fprintf(stream, "%*s", space, "");
        }
        fputc('\n', stream);
    }
}

static void print_markdown(const dg_text_table *table, int64_t rows, FILE *stream)
{
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < table->columns; c++) {
            fputs(c == 0 ? "| " : " | ", stream);
            dg_text_print_escaped(cell_of(table, r, c), DG_TABLE_MARKDOWN, stream);
        }
        fputs(" |\n", stream);
        for (int64_t c = 0; r == 0 && c < table->columns; c++) fputs(c == 0 ? "| ---" : " | ---:", stream);
        if (r == 0) fputs(" |\n", stream);
    }
}

static void print_latex(const dg_text_table *table, const char *title, int64_t rows, FILE *stream)
{
    fputs("\\begin{table}\n\\centering\n\\caption{", stream);
    dg_text_print_escaped(title, DG_TABLE_LATEX, stream);
    fputs("}\n\\begin{tabular}{l", stream);
    for (int64_t c = 1; c < table->columns; c++) fputc('r', stream);
    fputs("}\n\\toprule\n", stream);
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < table->columns; c++) {
            if (c > 0) fputs(" & ", stream);
            dg_text_print_escaped(cell_of(table, r, c), DG_TABLE_LATEX, stream);
        }
        fputs(r == 0 ? " \\\\\n\\midrule\n" : " \\\\\n", stream);
    }
    fputs("\\bottomrule\n\\end{tabular}\n\\end{table}\n", stream);
}

void dg_text_table_print(const dg_text_table *table, const char *title, dg_table_style style, FILE *stream)
{
    const int64_t rows = table->used / table->columns;
    if (style == DG_TABLE_LATEX) {
        print_latex(table, title, rows, stream);
        return;
    }
    if (style == DG_TABLE_MARKDOWN) fputs("**", stream);
    dg_text_print_escaped(title, style, stream);
    fputs(style == DG_TABLE_MARKDOWN ? "**\n\n" : "\n", stream);
    if (style == DG_TABLE_MARKDOWN)
        print_markdown(table, rows, stream);
    else
        print_plain(table, rows, stream);
}
