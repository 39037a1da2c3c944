/* dg_options_json.c - resolved configurations with origins, to JSON and back. SPDX-License-Identifier: Apache-2.0 */
#include "dg_options_impl.h"

#include <string.h>

static json_t *list_to_json(const dg_option *row, const void *field)
{
    const dg_int_list *ints = field;
    const dg_double_list *doubles = field;
    const dg_string_list *strings = field;
    int count = row->type == DG_OPT_INT_LIST      ? ints->count
                : row->type == DG_OPT_DOUBLE_LIST ? doubles->count
                                                  : strings->count;
    const char *name = dg_option_list_name(row, field);
    if (count == 0 && name != NULL) return json_string(name);
    json_t *array = json_array();
    for (int i = 0; i < count; i++) {
        json_t *item = row->type == DG_OPT_INT_LIST      ? json_integer(ints->value[i])
                       : row->type == DG_OPT_DOUBLE_LIST ? json_real(doubles->value[i])
                                                         : json_string(strings->value[i]);
        if (json_array_append_new(array, item) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static json_t *value_to_json(const dg_option *row, const void *field)
{
    switch (row->type) {
    case DG_OPT_BOOL: return json_boolean(*(const bool *)field);
    case DG_OPT_INT: return json_integer(*(const int64_t *)field);
    case DG_OPT_DOUBLE: return json_real(*(const double *)field);
    case DG_OPT_ENUM: return json_string(row->names[*(const int *)field]);
    case DG_OPT_STRING: return json_string(field);
    case DG_OPT_INT_LIST:
    case DG_OPT_DOUBLE_LIST:
    case DG_OPT_STRING_LIST: return list_to_json(row, field);
    }
    return NULL;
}

json_t *dg_options_to_json(const dg_options *options)
{
    char where[DG_ORIGIN_TEXT];
    json_t *object = json_object();
    for (int i = 0; i < options->count; i++) {
        dg_origin_print(&options->origin[i], where, sizeof where);
        json_t *value = value_to_json(&options->row[i], dg_options_field(options, i));
        /* A file name that is no UTF-8 cannot be stored; that must not cost the configuration. */
        json_t *origin = json_string(where);
        if (origin == NULL) origin = json_string("a file whose name is not UTF-8");
        json_t *item = value == NULL || origin == NULL ? NULL : json_object();
        bool good = item != NULL && json_object_set(item, "value", value) == 0 &&
                    json_object_set(item, "origin", origin) == 0 &&
                    json_object_set(object, options->row[i].key, item) == 0;
        json_decref(value);
        json_decref(origin);
        json_decref(item);
        if (!good) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

/* A JSON scalar as it would be typed; false for maps, lists and text with NUL. */
static bool scalar_text(const json_t *value, char *text, size_t capacity)
{
    text[0] = '\0';
    if (json_is_string(value)) {
        size_t length = json_string_length(value);
        if (length >= capacity || strlen(json_string_value(value)) != length) return false;
        memcpy(text, json_string_value(value), length + 1);
    } else if (json_is_integer(value)) {
        snprintf(text, capacity, "%lld", (long long)json_integer_value(value));
    } else if (json_is_real(value)) {
        dg_option_double_text(json_real_value(value), text, capacity);
    } else if (json_is_boolean(value)) {
        snprintf(text, capacity, "%s", json_is_true(value) ? "true" : "false");
    } else {
        return json_is_null(value);
    }
    return true;
}

static dg_status fail_json(const char *name, const char *key, const char *problem)
{
    return DG_FAIL(DG_ERR_USAGE, "%s: %.120s: %s", name, key, problem);
}

static dg_status apply_json(dg_options *options, int index, const json_t *value, const dg_origin *origin,
                            const char *name)
{
    char text[DG_OPT_TEXT + 1];
    const char *key = options->row[index].key;
    if (!json_is_array(value)) {
        if (!scalar_text(value, text, sizeof text)) return fail_json(name, key, "a value or a list is wanted");
        return dg_options_apply_text(options, index, text, origin);
    }
    dg_string_list word = {0};
    if (json_array_size(value) > DG_OPT_STRINGS_MAX) return fail_json(name, key, "too many elements in the list");
    for (size_t i = 0; i < json_array_size(value); i++)
        if (!scalar_text(json_array_get(value, i), word.value[word.count++], DG_OPT_WORD))
            return fail_json(name, key, "an element of the list is no short plain value");
    return dg_options_apply_list(options, index, &word, origin);
}

dg_status dg_options_from_json(dg_options *options, const json_t *object, const char *name)
{
    if (!json_is_object(object)) return DG_FAIL(DG_ERR_USAGE, "%s: no JSON object of keys and values", name);
    dg_origin origin = dg_origin_make(DG_FROM_FILE, 0, name);
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)object, key, item)
    {
        const json_t *value = json_is_object(item) ? json_object_get(item, "value") : item;
        int index = dg_options_index(options, key);
        if (index < 0) return dg_options_fail_unknown(options, key, &origin);
        if (value == NULL) return fail_json(name, key, "has no \"value\"");
        DG_TRY(apply_json(options, index, value, &origin, name));
    }
    return DG_OK;
}
