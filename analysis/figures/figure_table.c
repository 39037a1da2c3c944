/* figure_table.c - a CSV file of numbers, such as metrics.csv. SPDX-License-Identifier: Apache-2.0 */
#include "figure_impl.h"

#include "dg_file.h"
#include "dg_mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TABLE_LIMIT = 1 << 30 };

static dg_status read_names(char *line, const char *role, dg_figure_table *table)
{
    char *rest = line;
    for (char *name = strsep(&rest, ","); name != NULL; name = strsep(&rest, ",")) {
        if (table->columns == DG_TABLE_COLUMNS)
            return DG_FAIL(DG_ERR_FORMAT, "%s, line 1: more than %d columns", role, DG_TABLE_COLUMNS);
        if (name[0] == '\0' || strlen(name) >= DG_TABLE_NAME)
            return DG_FAIL(DG_ERR_FORMAT,
                           "%s, line 1: column %d has no name, or one longer than %d characters: '%.80s'", role,
                           table->columns + 1, DG_TABLE_NAME - 1, name);
        snprintf(table->name[table->columns++], DG_TABLE_NAME, "%s", name);
    }
    return DG_OK;
}

static dg_status read_row(char *line, int64_t number, const char *role, int columns, double *value)
{
    int column = 0;
    char *rest = line;
    for (char *field = strsep(&rest, ","); field != NULL; field = strsep(&rest, ","), column++) {
        char *end;
        if (column >= columns) continue; /* too many: counted, told below */
        value[column] = strtod(field, &end);
        if (field[0] == '\0')
            value[column] = NAN;
        else if (*end != '\0')
            return DG_FAIL(DG_ERR_FORMAT, "%s, line %lld: '%.40s' is not a number", role, (long long)number, field);
    }
    if (column != columns)
        return DG_FAIL(DG_ERR_FORMAT, "%s, line %lld: the line has not the %d fields of the first", role,
                       (long long)number, columns);
    return DG_OK;
}

/* Cuts the next whole line; NULL when only a part of one is left (a run that was killed while it wrote). */
static char *next_line(char **at)
{
    char *line = *at, *end = strchr(line, '\n');
    if (end == NULL) return NULL;
    *end = '\0';
    if (end > line && end[-1] == '\r') end[-1] = '\0';
    *at = end + 1;
    return line;
}

static int64_t count_lines(const char *text)
{
    int64_t lines = 0;
    for (const char *c = strchr(text, '\n'); c != NULL; c = strchr(c + 1, '\n')) lines++;
    return lines;
}

static dg_status parse(char *text, const char *role, dg_figure_table *table)
{
    int64_t lines = count_lines(text), number = 1;
    char *at = text, *line = next_line(&at);
    if (line == NULL) return DG_FAIL(DG_ERR_FORMAT, "%s: there is no line of column names", role);
    DG_TRY(read_names(line, role, table));
    DG_TRY(DG_NEW(&table->value, lines * table->columns, "table of metrics"));
    while ((line = next_line(&at)) != NULL) {
        number++;
        if (line[0] == '\0') continue;
        DG_TRY(read_row(line, number, role, table->columns, table->value + table->rows * table->columns));
        table->rows++;
    }
    return DG_OK;
}

dg_status dg_figure_table_read(const char *path, const char *role, dg_figure_table *out)
{
    char *text = NULL;
    int64_t length = 0;
    *out = (dg_figure_table){0};
    DG_TRY(dg_file_read(path, role, TABLE_LIMIT, &text, &length));
    dg_status status = (int64_t)strlen(text) == length ? parse(text, role, out)
                                                       : DG_FAIL(DG_ERR_FORMAT, "%s: it holds zero bytes", role);
    dg_free(&text);
    if (status != DG_OK) dg_figure_table_release(out);
    return status;
}

void dg_figure_table_release(dg_figure_table *table)
{
    dg_free(&table->value);
    *table = (dg_figure_table){0};
}

int dg_figure_table_find(const dg_figure_table *table, const char *name)
{
    for (int k = 0; k < table->columns; k++) {
        if (strcmp(table->name[k], name) == 0) return k;
    }
    return -1;
}
