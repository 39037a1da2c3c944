/* dg_options_tree.c - settings that stand in a larger data file: a map of a YAML tree onto the table.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_options_impl.h"

#include <string.h>

enum { KEY_MAX = 160 };

typedef struct reader {
    dg_options *options;
    dg_origin_kind kind;
    const char *where;
} reader;

static dg_status set_list(const reader *r, int index, const dg_yaml_node *list, const dg_origin *origin)
{
    dg_string_list word = {0};
    for (const dg_yaml_node *item = list->child; item != NULL; item = item->next) {
        if (item->kind != DG_YAML_SCALAR || word.count == DG_OPT_STRINGS_MAX || strlen(item->text) >= DG_OPT_WORD)
            return DG_FAIL(DG_ERR_USAGE, "%s:%d: %s: a list has at most %d plain values of at most %d bytes each",
                           r->where, item->line, r->options->row[index].key, DG_OPT_STRINGS_MAX, DG_OPT_WORD - 1);
        strcpy(word.value[word.count++], item->text);
    }
    return dg_options_apply_list(r->options, index, &word, origin);
}

static dg_status read_map(const reader *r, const dg_yaml_node *map, const char *prefix)
{
    char key[KEY_MAX];
    for (const dg_yaml_node *item = map->child; item != NULL; item = item->next) {
        const dg_origin origin = dg_origin_make(r->kind, item->line, r->where);
        const int used = snprintf(key, sizeof key, "%s%s%s", prefix, prefix[0] == '\0' ? "" : ".", item->key);
        if (used < 0 || used >= (int)sizeof key)
            return DG_FAIL(DG_ERR_USAGE, "%s:%d: a key longer than any known one", r->where, item->line);
        const int index = dg_options_index(r->options, key);
        if (item->kind == DG_YAML_MAP && dg_options_group(r->options, key) >= 0)
            DG_TRY(read_map(r, item, key));
        else if (index < 0)
            return dg_options_fail_unknown(r->options, key, &origin);
        else if (item->kind == DG_YAML_LIST)
            DG_TRY(set_list(r, index, item, &origin));
        else if (item->kind == DG_YAML_SCALAR)
            DG_TRY(dg_options_apply_text(r->options, index, item->is_null ? "null" : item->text, &origin));
        else
            return DG_FAIL(DG_ERR_USAGE, "%s:%d: %s takes a value, not a map", r->where, item->line, key);
    }
    return DG_OK;
}

dg_status dg_options_read_tree(dg_options *options, const dg_yaml_node *map, dg_origin_kind kind, const char *where)
{
    const reader r = {.options = options, .kind = kind, .where = where};
    if (map == NULL || (map->kind == DG_YAML_SCALAR && map->is_null)) return DG_OK;
    if (map->kind != DG_YAML_MAP)
        return DG_FAIL(DG_ERR_USAGE, "%s:%d: settings are a map of keys and values (key: value)", where, map->line);
    return read_map(&r, map, "");
}
