/* csv.c - see csv_impl.h. The common case, a number of at most 15 digits, is one pass of integer arithmetic and one
 * exact scaling by a power of ten (Clinger 1990, fast path); anything longer goes through strtod.
 * SPDX-License-Identifier: Apache-2.0 */
#include "csv_impl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double power_of_ten[23] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                        1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

static inline bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* strtod also takes hexadecimal numbers and spaces, which no table holds. */
static const char *slow_number(const char *text, double *value)
{
    const char *first = text + (*text == '-' || *text == '+');
    bool hexadecimal = *first == '0' && (first[1] == 'x' || first[1] == 'X');
    if (*first == ' ' || *first == '\t' || *first == '\n' || *first == '\0' || hexadecimal) return NULL;
    char *end;
    *value = strtod(text, &end);
    return end == text ? NULL : end;
}

const char *csv_number(const char *text, double *value)
{
    const char *p = text;
    bool negative = *p == '-';
    uint64_t digits = 0;
    int count = 0, exponent = 0;
    if (negative) p++;
    if (!is_digit(*p)) return slow_number(text, value);
    for (; is_digit(*p); p++, count++) digits = digits * 10 + (uint64_t)(*p - '0');
    if (*p == '.')
        for (p++; is_digit(*p); p++, count++, exponent--) digits = digits * 10 + (uint64_t)(*p - '0');
    if (count > 15 || *p == 'e' || *p == 'E' || *p == 'x' || *p == 'X') return slow_number(text, value);
    double magnitude = (double)digits / power_of_ten[-exponent];
    *value = negative ? -magnitude : magnitude;
    return p;
}

static dg_status fail_line(const csv_table *t, dg_status status, const char *text, const char *wanted)
{
    char shown[48];
    size_t n = 0;
    for (; n < sizeof shown - 1 && text + n < t->end && text[n] != '\n' && text[n] != '\r'; n++)
        shown[n] = text[n] >= ' ' && text[n] <= '~' ? text[n] : '?';
    shown[n] = '\0';
    return DG_FAIL(status, "case %s: %s line %lld is \"%s\"; %s; copy it again or leave the case out", t->case_id,
                   t->name, (long long)t->line, shown, wanted);
}

dg_status csv_table_start(csv_table *table, const char *case_id, const char *name, const char *text, int64_t length,
                          int64_t index_limit, bool mask)
{
    static const char header[] = ",data";
    *table = (csv_table){.case_id = case_id,
                         .name = name,
                         .at = text,
                         .end = text + length,
                         .line = 1,
                         .index_limit = index_limit,
                         .last_index = -1,
                         .mask = mask};
    if (length == 0) return DG_FAIL(DG_ERR_FORMAT, "case %s: %s is empty; copy it again", case_id, name);
    if (text[length - 1] != '\n')
        return DG_FAIL(DG_ERR_FORMAT, "case %s: %s ends within a line: it is truncated; copy it again", case_id, name);
    size_t width = sizeof header - 1;
    if (strncmp(text, header, width) != 0 || (text[width] != '\n' && text[width] != '\r'))
        return fail_line(table, DG_ERR_FORMAT, text, "the first line of a table is \",data\"");
    table->at = (const char *)memchr(text, '\n', (size_t)length) + 1;
    return DG_OK;
}

static dg_status row_value(const csv_table *t, const char *row, const char **at, double *value)
{
    const char *p = *at;
    bool empty = *p == '\n' || *p == '\r';
    *value = 1;
    if (t->mask && empty) return DG_OK;
    if (empty) return fail_line(t, DG_ERR_DATA, row, "the value is missing");
    p = csv_number(p, value);
    if (p == NULL) return fail_line(t, DG_ERR_FORMAT, row, "wanted is \"index,value\"");
    if (!isfinite(*value)) return fail_line(t, DG_ERR_DATA, row, "the value is not a finite number");
    if (t->mask && *value != 1) return fail_line(t, DG_ERR_FORMAT, row, "a mask lists indices without values");
    *at = p;
    return DG_OK;
}

dg_status csv_table_next(csv_table *t, int64_t *index, double *value, bool *more)
{
    const char *row = t->at, *p = row;
    int64_t i = 0;
    *more = row < t->end;
    if (!*more) return DG_OK;
    t->line++;
    for (; is_digit(*p) && i <= t->index_limit; p++) i = i * 10 + (*p - '0');
    if (p == row || (*p != ',' && !is_digit(*p))) return fail_line(t, DG_ERR_FORMAT, row, "wanted is \"index,value\"");
    if (i >= t->index_limit) {
        char wanted[96];
        snprintf(wanted, sizeof wanted, "indices are 0 to %lld", (long long)(t->index_limit - 1));
        return fail_line(t, DG_ERR_FORMAT, row, wanted);
    }
    if (i <= t->last_index)
        return fail_line(t, DG_ERR_FORMAT, row,
                         i == t->last_index ? "the same index stands in the line before"
                                            : "indices must ascend; the file is damaged or was edited");
    p++;
    DG_TRY(row_value(t, row, &p, value));
    if (*p == '\r') p++;
    if (*p != '\n') return fail_line(t, DG_ERR_FORMAT, row, "wanted is \"index,value\"");
    t->last_index = *index = i;
    t->at = p + 1;
    return DG_OK;
}
