/* recipe_json.c - a recipe in a checkpoint: stored as JSON text, adopted or compared on load.
 * SPDX-License-Identifier: Apache-2.0 */
#include "recipe.h"

#include "dg_mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RECIPE_TEXT_MAX = 1 << 16, VALUE_TEXT_MAX = 320 };

static json_t *channels_to_json(const dg_recipe *recipe)
{
    json_t *list = json_array();
    for (int c = 0; c < recipe->count; c++) {
        const dg_channel *channel = &recipe->channel[c];
        json_array_append_new(list,
                              json_pack("{s:i, s:s, s:b, s:i}", "kind", (int)channel->kind, "structure",
                                        channel->structure, "required", channel->required, "mirror", channel->mirror));
    }
    return list;
}

static json_t *reals(const double *value) { return json_pack("[f, f, f]", value[0], value[1], value[2]); }

static json_t *wholes(const int64_t *value)
{
    return json_pack("[I, I, I]", (json_int_t)value[0], (json_int_t)value[1], (json_int_t)value[2]);
}

/* The class of every value, by its digit. */
static json_t *labels_to_json(const dg_recipe *recipe)
{
    char text[257] = "";
    for (int value = 0; value < 256; value++) text[value] = (char)('0' + recipe->label_class[value]);
    return json_string(text);
}

static bool read_labels(const json_t *json, dg_recipe *out)
{
    const char *text = json_string_value(json);
    if (json == NULL) return true;
    if (text == NULL || strlen(text) != 256) return false;
    out->labels = true;
    for (int value = 0; value < 256; value++) {
        if (text[value] < '0' || text[value] > '0' + DG_LABEL_IGNORE) return false;
        out->label_class[value] = (uint8_t)(text[value] - '0');
    }
    return true;
}

json_t *dg_recipe_to_json(const dg_recipe *recipe)
{
    json_t *names = json_array(), *mirror = json_array();
    bool paired = false;
    for (int k = 0; k < recipe->constraint_count; k++) {
        json_array_append_new(names, json_string(recipe->constraint_name[k]));
        json_array_append_new(mirror, json_integer(recipe->constraint_mirror[k]));
        paired = paired || recipe->constraint_mirror[k] != k;
    }
    json_t *root = json_pack(
        "{s:o, s:[f, f], s:f, s:o, s:o, s:o, s:i, s:o, s:o, s:o}", "channels", channels_to_json(recipe), "ct_range_hu",
        recipe->ct_low_hu, recipe->ct_high_hu, "scale_gy", recipe->scale_gy, "spacing_mm", reals(recipe->spacing_mm),
        "coarsen", wholes(recipe->coarsen), "patch", wholes(recipe->patch), "loss_mask", recipe->loss_mask,
        "constraints", names, "seen_low_mm", reals(recipe->seen_low_mm), "seen_high_mm", reals(recipe->seen_high_mm));
    if (paired)
        json_object_set(root, "constraint_mirror", mirror); /* as before there were pairs, where there is none */
    json_decref(mirror);
    if (recipe->framed) json_object_set_new(root, "framed", json_true());
    if (recipe->labels) json_object_set_new(root, "labels", labels_to_json(recipe));
    if (recipe->domain.count > 0) json_object_set_new(root, "domain", dg_domain_to_json(&recipe->domain));
    return root;
}

static json_t *channel_name(const dg_channel *channel)
{
    static const char *const kinds[] = {"ct", "sdf", "mask", "rx", "possible_dose", "body"};
    const char *kind = kinds[channel->kind];
    return channel->structure[0] != '\0' ? json_sprintf("%s.%s", kind, channel->structure) : json_string(kind);
}

json_t *dg_recipe_describe(const dg_recipe *recipe)
{
    static const char *const masks[] = {"none", "body", "possible_dose"};
    json_t *root = dg_recipe_to_json(recipe), *list = json_array();
    for (int c = 0; c < recipe->count; c++) {
        const dg_channel *channel = &recipe->channel[c];
        json_t *item = json_pack("{s:o, s:b}", "channel", channel_name(channel), "required", channel->required);
        if (channel->mirror != c) json_object_set_new(item, "mirror", channel_name(&recipe->channel[channel->mirror]));
        json_array_append_new(list, item);
    }
    if (root == NULL) json_decref(list);
    if (root == NULL) return NULL;
    json_object_set_new(root, "channels", list);
    json_object_set_new(root, "loss_mask", json_string(masks[recipe->loss_mask]));
    return root;
}

static dg_status recipe_save(const void *object, const dg_state_sink *sink)
{
    json_t *json = dg_recipe_to_json(object);
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(json);
    if (text == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for the description of the network's input");
    dg_status status = strlen(text) < RECIPE_TEXT_MAX
                           ? sink->put_text(sink->context, "recipe", text)
                           : DG_FAIL(DG_ERR_USAGE, "the channel list is too long to be stored");
    free(text);
    return status;
}

static bool read_reals(const json_t *object, const char *key, int count, double *out)
{
    const json_t *list = json_object_get(object, key);
    if (json_array_size(list) != (size_t)count) return false;
    for (int i = 0; i < count; i++) {
        const json_t *item = json_array_get(list, (size_t)i);
        if (!json_is_number(item)) return false;
        out[i] = json_number_value(item);
    }
    return true;
}

static bool read_wholes(const json_t *object, const char *key, int64_t low, int64_t high, int64_t out[3])
{
    double value[3];
    if (!read_reals(object, key, 3, value)) return false;
    for (int i = 0; i < 3; i++) {
        if (!(value[i] >= (double)low && value[i] <= (double)high)) return false;
        out[i] = (int64_t)value[i];
    }
    return true;
}

static bool read_channels(const json_t *list, dg_recipe *out)
{
    size_t count = json_array_size(list);
    if (count < 1 || count > DG_CHANNELS_MAX) return false;
    out->count = (int)count;
    for (size_t c = 0; c < count; c++) {
        dg_channel *channel = &out->channel[c];
        int kind, required, mirror;
        const char *structure;
        if (json_unpack((json_t *)json_array_get(list, c), "{s:i, s:s, s:b, s:i}", "kind", &kind, "structure",
                        &structure, "required", &required, "mirror", &mirror) != 0)
            return false;
        if (kind < 0 || kind > DG_CHANNEL_BODY || mirror < 0 || mirror >= (int)count) return false;
        if (strlen(structure) >= sizeof channel->structure) return false;
        *channel = (dg_channel){.kind = (dg_channel_kind)kind, .required = required != 0, .mirror = mirror};
        strcpy(channel->structure, structure);
    }
    return true;
}

/* Without a list nothing is paired. */
static bool read_pairs(const json_t *list, dg_recipe *out)
{
    for (int k = 0; k < out->constraint_count; k++) {
        const json_t *item = json_array_get(list, (size_t)k);
        int64_t mirror = list == NULL ? k : json_is_integer(item) ? json_integer_value(item) : -1;
        if (mirror < 0 || mirror >= out->constraint_count) return false;
        out->constraint_mirror[k] = (int)mirror;
    }
    return true;
}

static bool read_constraints(const json_t *list, dg_recipe *out)
{
    size_t count = json_array_size(list);
    if (!json_is_array(list) || count > DG_CONSTRAINTS_MAX) return false;
    out->constraint_count = (int)count;
    for (size_t k = 0; k < count; k++) {
        const char *name = json_string_value(json_array_get(list, k));
        if (name == NULL || strlen(name) >= sizeof out->constraint_name[0]) return false;
        strcpy(out->constraint_name[k], name);
    }
    return true;
}

static dg_status adopt(const json_t *json, dg_recipe *out)
{
    double range[2];
    const json_t *mask = json_object_get(json, "loss_mask");
    bool good = read_channels(json_object_get(json, "channels"), out) && read_reals(json, "ct_range_hu", 2, range) &&
                range[0] < range[1] && read_reals(json, "spacing_mm", 3, out->spacing_mm) &&
                read_wholes(json, "coarsen", 1, 16, out->coarsen) && read_wholes(json, "patch", 0, 4096, out->patch) &&
                json_is_integer(mask) && read_constraints(json_object_get(json, "constraints"), out) &&
                read_pairs(json_object_get(json, "constraint_mirror"), out) &&
                read_reals(json, "seen_low_mm", 3, out->seen_low_mm) &&
                read_reals(json, "seen_high_mm", 3, out->seen_high_mm) &&
                read_labels(json_object_get(json, "labels"), out) &&
                dg_domain_from_json(json_object_get(json, "domain"), &out->domain);
    if (!good) return DG_FAIL(DG_ERR_FORMAT, "the checkpoint's description of the network's input is damaged");
    out->ct_low_hu = range[0];
    out->ct_high_hu = range[1];
    out->scale_gy = json_number_value(json_object_get(json, "scale_gy"));
    out->loss_mask = (int)json_integer_value(mask);
    out->framed = json_is_true(json_object_get(json, "framed"));
    return DG_OK;
}

/* Equal on any rank and run means equal text: the numbers are printed with all their digits. */
static dg_status compare(const json_t *stored, const json_t *mine)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)mine, key, value)
    {
        const json_t *other = json_object_get(stored, key);
        if (json_equal(value, other)) continue;
        char *a = other != NULL ? json_dumps(other, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
        char *b = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
        dg_status status =
            DG_FAIL(DG_ERR_MISMATCH,
                    "the checkpoint's network input differs in '%s': it has %.*s, this run %.*s; "
                    "resume with the settings and training cases of the checkpoint",
                    key, VALUE_TEXT_MAX, a != NULL ? a : "nothing", VALUE_TEXT_MAX, b != NULL ? b : "nothing");
        free(a);
        free(b);
        return status;
    }
    return DG_OK;
}

static dg_status recipe_load(void *object, const dg_state_source *source, int version)
{
    (void)version;
    dg_recipe *recipe = object;
    char *text = NULL;
    json_t *stored = NULL, *mine = NULL;
    dg_status status;
    DG_TRY_GOTO(status, dg_alloc(&text, RECIPE_TEXT_MAX, 1, "checkpoint text"), done);
    DG_TRY_GOTO(status, source->get_text(source->context, "recipe", text, RECIPE_TEXT_MAX), done);
    stored = json_loads(text, 0, NULL);
    if (recipe->count == 0) {
        status = adopt(stored, recipe);
    } else {
        mine = dg_recipe_to_json(recipe);
        status = compare(stored, mine);
        if (status == DG_OK && !dg_domain_from_json(json_object_get(stored, "domain"), &recipe->domain))
            status = DG_FAIL(DG_ERR_FORMAT, "the checkpoint's numbers of its training cases are damaged");
    }
done:
    json_decref(stored);
    json_decref(mine);
    dg_free(&text);
    return status;
}

dg_state dg_recipe_state(dg_recipe *recipe)
{
    return (dg_state){.name = "data", .version = 1, .object = recipe, .save = recipe_save, .load = recipe_load};
}
