/* constraint_table.c - reads constraint tables. Every complaint names file, line, row, value and remedy.
 * SPDX-License-Identifier: Apache-2.0 */
#include "constraint_impl.h"
#include "dg_file.h"
#include "dg_mem.h"
#include "dg_yaml_field.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const COMPARISON[COMPARISONS] = {"<", "<=", ">", ">="};

const char *constraint_comparison_text(constraint_comparison comparison) { return COMPARISON[comparison]; }

/* Complaints about a row say which it is; `structure` is "" while unknown. */
static void enter_row(dg_yaml_place *at, int row, const char *structure)
{
    const bool named = structure[0] != '\0';
    snprintf(at->within, sizeof at->within, "row %d%s%s%s: ", row, named ? " (" : "", structure, named ? ")" : "");
}

static dg_status read_names(const dg_yaml_place *at, const dg_yaml_node *map, constraint_row *row)
{
    const dg_yaml_node *aliases = dg_yaml_get(map, "aliases");
    row->names = 1;
    if (aliases == NULL) return DG_OK;
    if (aliases->kind != DG_YAML_LIST)
        return dg_yaml_field_fail(at, aliases->line, "aliases takes a list of names: [Name_A, Name_B]");
    for (const dg_yaml_node *n = aliases->child; n != NULL; n = n->next) {
        if (n->kind != DG_YAML_SCALAR || n->text[0] == '\0')
            return dg_yaml_field_fail(at, n->line, "an alias is a name, not empty, not a list or map");
        if (row->names == CONSTRAINT_ALIASES_MAX)
            return dg_yaml_field_fail(at, n->line, "more than %d aliases", CONSTRAINT_ALIASES_MAX - 1);
        if (strlen(n->text) >= CONSTRAINT_NAME)
            return dg_yaml_field_fail(at, n->line, "alias '%.40s..' is longer than %d bytes", n->text,
                                      CONSTRAINT_NAME - 1);
        memcpy(row->name[row->names++], n->text, strlen(n->text) + 1);
    }
    return DG_OK;
}

static dg_status read_metric(const dg_yaml_place *at, const dg_yaml_node *map, constraint_row *row)
{
    const dg_yaml_node *n = dg_yaml_get(map, "metric"), *unit = dg_yaml_get(map, "unit");
    if (n == NULL || n->kind != DG_YAML_SCALAR)
        return dg_yaml_field_fail(at, n == NULL ? map->line : n->line,
                                  "metric is missing: add 'metric: V50Gy%%' or another");
    if (dg_metric_parse(n->text, &row->metric) != DG_OK) {
        char why[400];
        snprintf(why, sizeof why, "%.399s", dg_error_last()->text);
        return dg_yaml_field_fail(at, n->line, "%s", why);
    }
    const char *wanted = dg_metric_unit(&row->metric);
    if (unit == NULL || unit->kind != DG_YAML_SCALAR || strcmp(unit->text, wanted) != 0)
        return dg_yaml_field_fail(at, unit == NULL ? n->line : unit->line,
                                  "the limit of %s is in %s: write 'unit: \"%s\"'%s%.20s%s", row->metric.text,
                                  wanted[0] == '\0' ? "no unit" : wanted, wanted,
                                  unit != NULL && unit->kind == DG_YAML_SCALAR ? ", not '" : "",
                                  unit != NULL && unit->kind == DG_YAML_SCALAR ? unit->text : "",
                                  unit != NULL && unit->kind == DG_YAML_SCALAR ? "'" : "");
    return DG_OK;
}

static dg_status read_limit(const dg_yaml_place *at, const dg_yaml_node *map, constraint_row *row)
{
    const dg_yaml_node *limit = dg_yaml_get(map, "limit"), *comparison = dg_yaml_get(map, "comparison");
    if (limit == NULL) return dg_yaml_field_fail(at, map->line, "limit is missing: add 'limit: NUMBER'");
    DG_TRY(dg_yaml_field_number(at, limit, "limit", 0, 1e6, &row->limit));
    if (comparison == NULL || comparison->kind != DG_YAML_SCALAR)
        return dg_yaml_field_fail(at, map->line, "comparison is missing: add 'comparison: \"<\"' (or <=, >, >=)");
    for (int c = 0; c < COMPARISONS; c++)
        if (strcmp(comparison->text, COMPARISON[c]) == 0) {
            row->comparison = (constraint_comparison)c;
            return DG_OK;
        }
    return dg_yaml_field_fail(at, comparison->line, "comparison '%.20s' is none of <, <=, >, >=", comparison->text);
}

static dg_status read_dose_per_fraction(const dg_yaml_place *at, const dg_yaml_node *n, constraint_row *row)
{
    const char *what = "dose_per_fraction_gy";
    if (n->kind == DG_YAML_SCALAR) {
        DG_TRY(dg_yaml_field_number(at, n, what, 0.1, 50, &row->fraction_gy[0]));
        row->fraction_gy[1] = row->fraction_gy[0];
        return DG_OK;
    }
    if (n->kind != DG_YAML_LIST || n->child == NULL || n->child->next == NULL || n->child->next->next != NULL)
        return dg_yaml_field_fail(at, n->line, "%s takes one number or two: [lowest, highest]", what);
    DG_TRY(dg_yaml_field_number(at, n->child, what, 0.1, 50, &row->fraction_gy[0]));
    DG_TRY(dg_yaml_field_number(at, n->child->next, what, 0.1, 50, &row->fraction_gy[1]));
    if (row->fraction_gy[0] > row->fraction_gy[1])
        return dg_yaml_field_fail(at, n->line, "%s: the lowest of two stands first", what);
    return DG_OK;
}

static dg_status read_fractionation(const dg_yaml_place *at, const dg_yaml_node *map, constraint_row *row)
{
    static const char *const KNOWN[] = {"dose_per_fraction_gy", "alpha_beta_gy", NULL};
    const dg_yaml_node *n = dg_yaml_get(map, "fractionation");
    if (n == NULL)
        return dg_yaml_field_fail(
            at, map->line,
            "fractionation is missing: add 'fractionation: {dose_per_fraction_gy: 2, alpha_beta_gy: 3}', or "
            "'fractionation: any' where the limit does not depend on it");
    if (n->kind == DG_YAML_SCALAR && strcmp(n->text, "any") == 0) return DG_OK;
    if (n->kind != DG_YAML_MAP) return dg_yaml_field_fail(at, n->line, "fractionation takes 'any' or a map");
    if (dg_metric_needs_prescription(&row->metric))
        return dg_yaml_field_fail(at, n->line, "%s is relative to the prescription: write 'fractionation: any'",
                                  row->metric.text);
    DG_TRY(dg_yaml_field_keys(at, n, KNOWN));
    const dg_yaml_node *fraction = dg_yaml_get(n, "dose_per_fraction_gy"), *ratio = dg_yaml_get(n, "alpha_beta_gy");
    if (fraction == NULL)
        return dg_yaml_field_fail(at, n->line, "dose_per_fraction_gy is missing: at which was the limit defined?");
    DG_TRY(read_dose_per_fraction(at, fraction, row));
    if (ratio == NULL || (ratio->kind == DG_YAML_SCALAR && strcmp(ratio->text, "unknown") == 0)) return DG_OK;
    return dg_yaml_field_number(at, ratio, "alpha_beta_gy", 0.1, 100, &row->alpha_beta_gy);
}

/* Does the part of a structure that gets little dose decide the metric? */
static bool is_low_dose(const dg_metric *m)
{
    switch (m->kind) {
    case DG_METRIC_MAX:
    case DG_METRIC_DOSE_AT_CC:
    case DG_METRIC_VOLUME_CC: return false;
    case DG_METRIC_DOSE_AT_PERCENT: return m->value > 5;
    default: return true;
    }
}

static dg_status read_low_dose(const dg_yaml_place *at, const dg_yaml_node *map, constraint_row *row)
{
    row->low_dose = is_low_dose(&row->metric);
    return dg_yaml_field_bool(at, map, "low_dose", &row->low_dose);
}

static dg_status read_row(dg_yaml_place *at, int number, const dg_yaml_node *map, constraint_row *row)
{
    static const char *const KNOWN[] = {"structure", "aliases",       "metric",     "comparison", "limit",    "unit",
                                        "source",    "fractionation", "definition", "notes",      "low_dose", NULL};
    enter_row(at, number, "");
    if (map->kind != DG_YAML_MAP)
        return dg_yaml_field_fail(at, map->line, "a row is a map that begins with 'structure: NAME'");
    DG_TRY(dg_yaml_field_text(at, map, "structure", true, sizeof row->name[0], row->name[0]));
    enter_row(at, number, row->name[0]);
    DG_TRY(dg_yaml_field_keys(at, map, KNOWN));
    DG_TRY(read_names(at, map, row));
    DG_TRY(read_metric(at, map, row));
    DG_TRY(read_limit(at, map, row));
    DG_TRY(read_fractionation(at, map, row));
    DG_TRY(read_low_dose(at, map, row));
    DG_TRY(dg_yaml_field_text(at, map, "source", true, sizeof row->source, row->source));
    DG_TRY(dg_yaml_field_text(at, map, "definition", true, sizeof row->definition, row->definition));
    return dg_yaml_field_text(at, map, "notes", false, sizeof row->notes, row->notes);
}

static dg_status read_table(const char *file, const dg_yaml_node *root, dg_constraint_table *table)
{
    static const char *const KNOWN[] = {"format", "version", "name", "description", "rows", NULL};
    char format[32], version[8];
    dg_yaml_place at = {.file = file};
    if (root->kind != DG_YAML_MAP)
        return dg_yaml_field_fail(&at, root->line,
                                  "a constraint table is a map with format, version, name, description and rows");
    DG_TRY(dg_yaml_field_keys(&at, root, KNOWN));
    DG_TRY(dg_yaml_field_text(&at, root, "format", true, sizeof format, format));
    DG_TRY(dg_yaml_field_text(&at, root, "version", true, sizeof version, version));
    if (strcmp(format, "dosegrid-constraints") != 0 || strcmp(version, "1") != 0)
        return dg_yaml_field_fail(&at, root->line,
                                  "format '%s', version '%s': this program reads dosegrid-constraints, version 1",
                                  format, version);
    DG_TRY(dg_yaml_field_text(&at, root, "name", true, sizeof table->name, table->name));
    DG_TRY(dg_yaml_field_text(&at, root, "description", true, sizeof table->description, table->description));
    const dg_yaml_node *rows = dg_yaml_get(root, "rows");
    if (rows == NULL || rows->kind != DG_YAML_LIST || rows->child == NULL)
        return dg_yaml_field_fail(&at, rows == NULL ? root->line : rows->line,
                                  "rows is missing: a list of at least one constraint");
    for (const dg_yaml_node *n = rows->child; n != NULL; n = n->next) {
        if (table->rows == DG_CONSTRAINT_ROWS_MAX)
            return dg_yaml_field_fail(&at, n->line, "more than %d rows", DG_CONSTRAINT_ROWS_MAX);
        DG_TRY(read_row(&at, table->rows + 1, n, &table->row[table->rows]));
        table->rows++;
    }
    return DG_OK;
}

dg_status dg_constraint_table_read(const char *text, size_t length, const char *name, dg_constraint_table **out)
{
    dg_yaml_node *root = NULL;
    dg_status status;
    *out = NULL;
    DG_TRY(dg_yaml_read_text(text, length, name, &root));
    DG_TRY_GOTO(status, DG_NEW(out, 1, "constraint table"), cleanup);
    DG_TRY_GOTO(status, read_table(name, root, *out), cleanup);
    DG_TRY_GOTO(status, dg_hash_bytes(text, length, (*out)->sha256), cleanup);
cleanup:
    dg_yaml_destroy(&root);
    if (status != DG_OK) dg_constraint_table_destroy(out);
    return status;
}

dg_status dg_constraint_table_load(const char *name_or_path, dg_constraint_table **out)
{
    char *text, names[200] = "";
    int64_t length;
    *out = NULL;
    for (int i = 0; i < constraint_builtin_count; i++) {
        const constraint_builtin *b = &constraint_builtins[i];
        const size_t word = strcspn(b->name, "."), used = strlen(names);
        if (strlen(name_or_path) == word && strncmp(b->name, name_or_path, word) == 0)
            return dg_constraint_table_read((const char *)b->bytes, b->length, b->name, out);
        snprintf(names + used, sizeof names - used, "%s%.*s", used == 0 ? "" : ", ", (int)word, b->name);
    }
    dg_status status = dg_file_read(name_or_path, name_or_path, DG_YAML_LIMIT, &text, &length);
    if (status == DG_ERR_MEMORY) return status;
    if (status != DG_OK)
        return DG_FAIL(DG_ERR_USAGE, "constraint table '%.200s' is neither one of %s nor a readable file: %.300s",
                       name_or_path, names, dg_error_last()->text);
    status = dg_constraint_table_read(text, (size_t)length, name_or_path, out);
    dg_free(&text);
    return status;
}

void dg_constraint_table_destroy(dg_constraint_table **table) { dg_free(table); }
const char *dg_constraint_table_name(const dg_constraint_table *table) { return table->name; }
const char *dg_constraint_table_sha256(const dg_constraint_table *table) { return table->sha256; }
int dg_constraint_table_rows(const dg_constraint_table *table) { return table->rows; }
