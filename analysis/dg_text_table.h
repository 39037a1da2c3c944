/* dg_text_table.h - a table of text for a terminal, Markdown or LaTeX, and text of strangers made safe for each of them and for CSV.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_TEXT_TABLE_H
#define DG_TEXT_TABLE_H

#include "dg_compare.h"

#include <stdint.h>
#include <stdio.h>

typedef struct dg_text_table dg_text_table;

/* Columns are fixed; the first column is left-aligned, the others right-aligned. Texts are copied. */
DG_MUST_USE dg_status dg_text_table_create(int64_t columns, dg_text_table **out);
void dg_text_table_destroy(dg_text_table **table);
/* The next cell, row by row; the first row is the head. A format's result is cut at 255 bytes. */
DG_MUST_USE dg_status dg_text_table_add(dg_text_table *table, const char *format, ...) DG_PRINTF(2, 3);
/* `title` stands above (LaTeX: in \caption). Every text is escaped for its style. LaTeX is a table with booktabs rules. */
void dg_text_table_print(const dg_text_table *table, const char *title, dg_table_style style, FILE *stream);

/* Text with whatever a style would interpret made harmless. Control characters become '?'. */
void dg_text_print_escaped(const char *text, dg_table_style style, FILE *stream);
/* One CSV field (RFC 4180). A text that a spreadsheet would take for a formula (=, +, -, @ first) gets a ' before it. */
void dg_text_print_csv(const char *text, FILE *stream);
/* The shortest of 15 to 17 digits that reads back to the same number; nothing for NaN and infinities. */
void dg_text_print_number(double value, FILE *stream);

#endif
