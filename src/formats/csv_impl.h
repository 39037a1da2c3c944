/* csv_impl.h - scanning of OpenKBP's two-column tables in memory. Private to src/formats.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_CSV_IMPL_H
#define DG_CSV_IMPL_H

#include "dg_status.h"

#include <stdbool.h>
#include <stdint.h>

/* A decimal number at `text` (terminated by NUL at the latest). Returns the first character after it, or NULL when
 * there is none. "nan", "inf" and numbers beyond double are accepted and give non-finite values: callers name them. */
const char *csv_number(const char *text, double *value);

/* Walks over a table's rows. */
typedef struct csv_table {
    const char *case_id, *name; /* for messages: "case pt_1: ct.csv line 12: ..." */
    const char *at, *end;
    int64_t line;
    int64_t index_limit; /* indices are 0 .. index_limit - 1 */
    int64_t last_index;
    bool mask;           /* rows have no value (or 1) */
} csv_table;

/* Starts at the header line. text[length] is NUL. DG_ERR_FORMAT for another header or a last line without its end. */
DG_MUST_USE dg_status csv_table_start(csv_table *table, const char *case_id, const char *name, const char *text,
                                      int64_t length, int64_t index_limit, bool mask);
/* The next row; *more is false at the end. Values are finite (1 in masks). */
DG_MUST_USE dg_status csv_table_next(csv_table *table, int64_t *index, double *value, bool *more);

#endif
