/* dg_yaml_field.c - see dg_yaml_field.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_yaml_field.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

dg_status dg_yaml_field_fail(const dg_yaml_place *at, int line, const char *format, ...)
{
    char text[600];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return DG_FAIL(DG_ERR_USAGE, "%s:%d: %s%s", at->file, line, at->within, text);
}

dg_status dg_yaml_field_keys(const dg_yaml_place *at, const dg_yaml_node *map, const char *const *known)
{
    char list[400] = "";
    for (size_t k = 0, used = 0; known[k] != NULL && used < sizeof list; k++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", k == 0 ? "" : ", ", known[k]);
    for (const dg_yaml_node *n = map->child; n != NULL; n = n->next) {
        size_t k = 0;
        while (known[k] != NULL && strcmp(known[k], n->key) != 0) k++;
        if (known[k] == NULL) return dg_yaml_field_fail(at, n->line, "unknown key '%.60s'; known are %s", n->key, list);
    }
    return DG_OK;
}

dg_status dg_yaml_field_word(const dg_yaml_place *at, const dg_yaml_node *n, const char *what, size_t capacity,
                             char *out)
{
    if (n->kind != DG_YAML_SCALAR) return dg_yaml_field_fail(at, n->line, "%s takes a text, not a list or map", what);
    if (n->text[0] == '\0') return dg_yaml_field_fail(at, n->line, "%s is empty: write one", what);
    if (strlen(n->text) >= capacity)
        return dg_yaml_field_fail(at, n->line, "%s '%.40s..' is longer than %zu bytes: shorten it", what, n->text,
                                  capacity - 1);
    for (const char *c = n->text; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            return dg_yaml_field_fail(at, n->line, "%s has a control character (code %d): take it out", what,
                                      (unsigned char)*c);
    memcpy(out, n->text, strlen(n->text) + 1);
    return DG_OK;
}

dg_status dg_yaml_field_text(const dg_yaml_place *at, const dg_yaml_node *map, const char *key, bool required,
                             size_t capacity, char *out)
{
    const dg_yaml_node *n = dg_yaml_get(map, key);
    const bool absent = n == NULL || (n->kind == DG_YAML_SCALAR && n->is_null);
    if (absent && required)
        return dg_yaml_field_fail(at, n == NULL ? map->line : n->line, "%s is missing: add '%s: ..'", key, key);
    if (absent) return DG_OK;
    if (!required && n->kind == DG_YAML_SCALAR && n->text[0] == '\0') {
        out[0] = '\0';
        return DG_OK;
    }
    return dg_yaml_field_word(at, n, key, capacity, out);
}

/* strtod would take "inf", "nan" and hexadecimal numbers as well. */
dg_status dg_yaml_field_number(const dg_yaml_place *at, const dg_yaml_node *n, const char *what, double low,
                               double high, double *out)
{
    char *end;
    if (n->kind != DG_YAML_SCALAR) return dg_yaml_field_fail(at, n->line, "%s takes a number, not a list or map", what);
    const size_t length = strlen(n->text);
    if (length == 0 || length > 24 || strspn(n->text, "0123456789.-+eE") != length)
        return dg_yaml_field_fail(at, n->line, "%s '%.40s' is not a number", what, n->text);
    *out = strtod(n->text, &end);
    if (*end != '\0') return dg_yaml_field_fail(at, n->line, "%s '%.40s' is not a number", what, n->text);
    if (!(*out >= low && *out <= high))
        return dg_yaml_field_fail(at, n->line, "%s %s is out of range: %g to %g", what, n->text, low, high);
    return DG_OK;
}

dg_status dg_yaml_field_optional(const dg_yaml_place *at, const dg_yaml_node *map, const char *key, double low,
                                 double high, double *out)
{
    const dg_yaml_node *n = dg_yaml_get(map, key);
    return n == NULL ? DG_OK : dg_yaml_field_number(at, n, key, low, high, out);
}

dg_status dg_yaml_field_bool(const dg_yaml_place *at, const dg_yaml_node *map, const char *key, bool *out)
{
    const dg_yaml_node *n = dg_yaml_get(map, key);
    if (n == NULL) return DG_OK;
    const bool yes = n->kind == DG_YAML_SCALAR && strcmp(n->text, "true") == 0;
    if (!yes && (n->kind != DG_YAML_SCALAR || strcmp(n->text, "false") != 0))
        return dg_yaml_field_fail(at, n->line, "%s takes true or false", key);
    *out = yes;
    return DG_OK;
}
