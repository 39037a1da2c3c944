/* config_diff.c - see config_diff.h. SPDX-License-Identifier: Apache-2.0 */
#include "config_diff.h"

#include "dg_utf8.h"
#include "run_config.h"
#include "run_force.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const section_names[DG_DIFF_SECTIONS] = {"settings", "code",  "libraries",
                                                            "data",     "split", "machine"};

const char *dg_diff_section_name(dg_diff_section section) { return section_names[section]; }

void dg_diff_side_release(dg_diff_side *side)
{
    json_decref(side->config);
    json_decref(side->facts);
    json_decref(side->split);
    *side = (dg_diff_side){.kind = NULL};
}

typedef struct making {
    const dg_diff_side *side;
    int count;
    json_t *differences, *unused, *not_recorded;
} making;

/* ---- settings ---------------------------------------------------------------------------------------------------- */

static const char *origin_of(const json_t *item)
{
    const char *text = json_string_value(json_object_get(item, "origin"));
    return text == NULL ? "" : text;
}

/* Set by a condition of a sweep, as the origin says. */
static bool is_conditional(const json_t *item) { return strncmp(origin_of(item), "condition ", 10) == 0; }

static bool equal(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b)) return json_number_value(a) == json_number_value(b);
    return json_equal((json_t *)a, (json_t *)b) != 0;
}

/* What conditions of other inputs set and this one does not have: the line stands in the file and says nothing here. */
static json_t *set_elsewhere(const making *m, const char *key, const json_t *own)
{
    json_t *list = json_array();
    for (int i = 0; i < m->count; i++) {
        const json_t *item = json_object_get(m->side[i].config, key), *value = json_object_get(item, "value");
        if (!is_conditional(item) || strcmp(origin_of(item), origin_of(own)) == 0) continue;
        if (equal(value, json_object_get(own, "value"))) continue;
        bool known = false;
        for (size_t k = 0; k < json_array_size(list); k++)
            known = known || strcmp(origin_of(json_array_get(list, k)), origin_of(item)) == 0;
        if (!known)
            json_array_append_new(list, json_pack("{s:O, s:s, s:o}", "value", value, "origin", origin_of(item), "why",
                                                  json_sprintf("%s does not hold here", m->side[i].name)));
    }
    return list;
}

static json_t *value_entry(const making *m, int index, const char *key)
{
    char why[256];
    const json_t *item = json_object_get(m->side[index].config, key);
    const bool in_force = dg_run_in_force(m->side[index].config, key, why, sizeof why);
    return json_pack("{s:O?, s:s, s:b, s:o, s:o}", "value", json_object_get(item, "value"), "origin", origin_of(item),
                     "in_force", in_force, "why", in_force ? json_null() : json_string(why), "set_elsewhere",
                     set_elsewhere(m, key, item));
}

static void add_difference(making *m, dg_diff_section section, const char *key, json_t *values)
{
    bool in_force = false;
    for (size_t i = 0; i < json_array_size(values); i++) {
        const json_t *flag = json_object_get(json_array_get(values, i), "in_force");
        in_force = in_force || flag == NULL || json_is_true(flag);
    }
    json_array_append_new(m->differences, json_pack("{s:s, s:s, s:b, s:o}", "key", key, "section",
                                                    section_names[section], "in_force", in_force, "values", values));
}

/* A value that somebody set and that has no effect. */
static void note_unused(making *m, int index, const char *key, const json_t *item)
{
    char why[256];
    if (strcmp(origin_of(item), "default") == 0 || dg_run_in_force(m->side[index].config, key, why, sizeof why)) return;
    json_array_append_new(m->unused,
                          json_pack("{s:s, s:s, s:O, s:s, s:s}", "key", key, "input", m->side[index].name, "value",
                                    json_object_get(item, "value"), "origin", origin_of(item), "why", why));
}

static void compare_setting(making *m, const char *key)
{
    bool differs = false, everywhere = true;
    const json_t *first = NULL;
    for (int i = 0; i < m->count; i++) {
        const json_t *item = json_object_get(m->side[i].config, key), *value = json_object_get(item, "value");
        if (value == NULL) {
            everywhere = false;
            continue;
        }
        note_unused(m, i, key, item);
        if (first == NULL) first = value;
        differs = differs || !equal(value, first);
    }
    if (everywhere && !differs) return;
    json_t *values = json_array();
    for (int i = 0; i < m->count; i++) json_array_append_new(values, value_entry(m, i, key));
    if (differs) {
        add_difference(m, DG_DIFF_SETTINGS, key, values);
        return;
    }
    json_array_append_new(m->not_recorded, json_pack("{s:s, s:o}", "key", key, "values", values));
}

/* Keys of the table in its order, then those that only another version knew. */
static void compare_settings(making *m)
{
    int rows;
    const dg_option *row = dg_run_config_rows(&rows);
    for (int i = 0; i < rows; i++)
        for (int k = 0; k < m->count; k++)
            if (json_object_get(m->side[k].config, row[i].key) != NULL) {
                compare_setting(m, row[i].key);
                break;
            }
    for (int k = 0; k < m->count; k++) {
        const char *key;
        json_t *item;
        json_object_foreach(m->side[k].config, key, item)
        {
            bool known = false;
            for (int i = 0; i < rows && !known; i++) known = strcmp(row[i].key, key) == 0;
            for (int i = 0; i < k && !known; i++) known = json_object_get(m->side[i].config, key) != NULL;
            if (!known) compare_setting(m, key);
        }
    }
}

/* ---- what a run records about itself ----------------------------------------------------------------------------- */

static dg_diff_section section_of(const char *key)
{
    static const struct {
        const char *begin;
        dg_diff_section section;
    } places[] = {{"version", DG_DIFF_CODE},  {"commit", DG_DIFF_CODE},         {"build_type", DG_DIFF_CODE},
                  {"compiler", DG_DIFF_CODE}, {"command", DG_DIFF_CODE},        {"libraries.", DG_DIFF_LIBRARIES},
                  {"mpi", DG_DIFF_LIBRARIES}, {"backends.", DG_DIFF_LIBRARIES}, {"input.", DG_DIFF_DATA},
                  {"data.", DG_DIFF_DATA}};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        if (strncmp(key, places[i].begin, strlen(places[i].begin)) == 0) return places[i].section;
    return DG_DIFF_MACHINE;
}

/* Objects become dotted keys; lists and plain values stay whole. */
static void flatten(const json_t *object, const char *prefix, json_t *out)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        char full[256];
        snprintf(full, sizeof full, "%s%s%s", prefix, prefix[0] == '\0' ? "" : ".", key);
        if (json_is_object(value))
            flatten(value, full, out);
        else
            json_object_set(out, full, value);
    }
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void compare_facts_of(making *m, json_t *const *facts, const char *const *key, size_t keys,
                             dg_diff_section section)
{
    for (size_t k = 0; k < keys; k++) {
        bool differs = false;
        const json_t *first = NULL;
        if (section_of(key[k]) != section) continue;
        for (int i = 0; i < m->count; i++) {
            const json_t *value = json_object_get(facts[i], key[k]);
            if (facts[i] == NULL) continue;
            if (first == NULL) first = value == NULL ? json_null() : value;
            differs = differs || !equal(value == NULL ? json_null() : value, first);
        }
        if (!differs) continue;
        json_t *values = json_array();
        for (int i = 0; i < m->count; i++)
            json_array_append_new(values, json_pack("{s:O?, s:s}", "value", json_object_get(facts[i], key[k]), "origin",
                                                    facts[i] == NULL ? "not a run" : "environment.json"));
        add_difference(m, section, key[k], values);
    }
}

static void compare_facts(making *m, json_t *const *facts)
{
    json_t *all = json_object(), *value;
    const char *key;
    for (int i = 0; i < m->count; i++) json_object_update(all, facts[i]);
    size_t keys = 0;
    const char **names = malloc((json_object_size(all) + 1) * sizeof *names);
    if (names != NULL) {
        json_object_foreach(all, key, value) names[keys++] = key;
        qsort(names, keys, sizeof *names, by_text);
        for (int section = DG_DIFF_CODE; section < DG_DIFF_SECTIONS; section++)
            if (section != DG_DIFF_SPLIT) compare_facts_of(m, facts, names, keys, (dg_diff_section)section);
    }
    free(names);
    json_decref(all);
}

/* ---- split ------------------------------------------------------------------------------------------------------- */

static bool holds_id(const json_t *list, const json_t *id)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (json_equal(json_array_get(list, i), (json_t *)id)) return true;
    return false;
}

static bool same_cases(const json_t *a, const json_t *b)
{
    if (json_array_size(a) != json_array_size(b)) return false;
    for (size_t i = 0; i < json_array_size(a); i++)
        if (!holds_id(b, json_array_get(a, i))) return false;
    return true;
}

/* Cases of a part that not all inputs have there; else ids would be told that all share. */
static json_t *cases_of_its_own(const making *m, int index, const char *part)
{
    const json_t *own = json_object_get(m->side[index].split, part);
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(own); i++) {
        bool shared = true;
        for (int k = 0; k < m->count; k++)
            if (m->side[k].split != NULL)
                shared = shared && holds_id(json_object_get(m->side[k].split, part), json_array_get(own, i));
        if (!shared) json_array_append(list, json_array_get(own, i));
    }
    return list;
}

static void compare_split(making *m)
{
    static const char *const parts[] = {"train", "val", "test"};
    for (int p = 0; p < 3; p++) {
        const json_t *first = NULL;
        bool differs = false;
        for (int i = 0; i < m->count; i++) {
            const json_t *own = json_object_get(m->side[i].split, parts[p]);
            if (m->side[i].split == NULL) continue;
            if (first == NULL) first = own;
            differs = differs || !same_cases(own, first);
        }
        if (!differs) continue;
        char key[32];
        json_t *values = json_array();
        snprintf(key, sizeof key, "split.%s", parts[p]);
        for (int i = 0; i < m->count; i++) {
            const json_t *split = m->side[i].split;
            json_t *value = split == NULL ? json_null()
                                          : json_pack("{s:I, s:o}", "cases",
                                                      (json_int_t)json_array_size(json_object_get(split, parts[p])),
                                                      "not_in_all", cases_of_its_own(m, i, parts[p]));
            json_array_append_new(values, json_pack("{s:o, s:s}", "value", value, "origin",
                                                    split == NULL ? "not a run" : "test_cases.json"));
        }
        add_difference(m, DG_DIFF_SPLIT, key, values);
    }
}

/* ---- all --------------------------------------------------------------------------------------------------------- */

static int section_rank(const json_t *difference)
{
    const char *name = json_string_value(json_object_get(difference, "section"));
    int rank = 0;
    while (rank < DG_DIFF_SECTIONS && (name == NULL || strcmp(section_names[rank], name) != 0)) rank++;
    return rank;
}

/* Facts come section by section but for the split, which has its place among them. */
static json_t *sorted_by_section(json_t *differences)
{
    json_t *sorted = json_array();
    for (int section = 0; section < DG_DIFF_SECTIONS; section++)
        for (size_t i = 0; i < json_array_size(differences); i++)
            if (section_rank(json_array_get(differences, i)) == section)
                json_array_append(sorted, json_array_get(differences, i));
    json_decref(differences);
    return sorted;
}

dg_status dg_diff_make(const dg_diff_side *side, int count, json_t **out)
{
    making m = {.side = side, .count = count};
    json_t *facts[DG_DIFF_SIDES_MAX] = {NULL};
    *out = NULL;
    if (count < 2 || count > DG_DIFF_SIDES_MAX)
        return DG_FAIL(DG_ERR_USAGE, "%d inputs; 2 to %d can be compared", count, DG_DIFF_SIDES_MAX);
    json_t *inputs = json_array();
    m.differences = json_array();
    m.unused = json_array();
    m.not_recorded = json_array();
    for (int i = 0; i < count; i++) {
        json_array_append_new(inputs, json_pack("{s:s, s:s}", "name", side[i].name, "kind", side[i].kind));
        if (side[i].facts == NULL) continue;
        facts[i] = json_object();
        flatten(side[i].facts, "", facts[i]);
    }
    compare_settings(&m);
    compare_facts(&m, facts);
    compare_split(&m);
    for (int i = 0; i < count; i++) json_decref(facts[i]);
    *out = json_pack("{s:s, s:i, s:o, s:o, s:o, s:o}", "format", "dosegrid-diff", "version", 1, "inputs", inputs,
                     "differences", sorted_by_section(m.differences), "not_in_force", m.unused, "not_recorded",
                     m.not_recorded);
    return *out == NULL ? DG_FAIL(DG_ERR_MEMORY, "no memory for the differences") : DG_OK;
}

void dg_diff_value_text(const json_t *value, char *text, size_t capacity)
{
    if (value == NULL || json_is_null(value)) {
        snprintf(text, capacity, "-");
        return;
    }
    if (json_is_string(value) && json_string_length(value) > 0) {
        snprintf(text, capacity, "%s", json_string_value(value));
        dg_utf8_clean(text);
        return;
    }
    char *dumped = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(12));
    snprintf(text, capacity, "%s", dumped == NULL ? "?" : dumped);
    free(dumped);
    dg_utf8_clean(text); /* it may be cut within a character, which JSON refuses */
}

static bool is_identity(const char *key)
{
    static const char *const keys[] = {"run.name", "run.dir", "run.condition", "run.seed"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (strcmp(keys[i], key) == 0) return true;
    return false;
}

json_t *dg_diff_changes(const json_t *diff, int index)
{
    const json_t *differences = json_object_get(diff, "differences");
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(differences); i++) {
        const json_t *d = json_array_get(differences, i), *values = json_object_get(d, "values");
        const json_t *first = json_array_get(values, 0), *own = json_array_get(values, (size_t)index);
        const char *key = json_string_value(json_object_get(d, "key"));
        const json_t *flag = json_object_get(own, "in_force"), *flag_first = json_object_get(first, "in_force");
        char from[256], to[256];
        if (section_rank(d) != DG_DIFF_SETTINGS || is_identity(key)) continue;
        if (equal(json_object_get(first, "value"), json_object_get(own, "value"))) continue;
        if (json_is_false(flag) && json_is_false(flag_first)) continue;
        dg_diff_value_text(json_object_get(first, "value"), from, sizeof from);
        dg_diff_value_text(json_object_get(own, "value"), to, sizeof to);
        json_array_append_new(list, json_sprintf("%s: %s -> %s (%s)", key, from, to, origin_of(own)));
    }
    return list;
}
