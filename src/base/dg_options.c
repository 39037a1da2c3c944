/* dg_options.c - tables, keys and origins. SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"
#include "dg_options_impl.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

dg_origin dg_origin_make(dg_origin_kind kind, int line, const char *where)
{
    dg_origin origin = {.kind = kind, .line = line};
    size_t length = strlen(where), room = sizeof origin.where - 1;
    const char *dots = "";
    if (length > room) { /* the end of a path tells more than its beginning */
        where += length - (room - 3);
        dots = "...";
    }
    snprintf(origin.where, sizeof origin.where, "%s%s", dots, where);
    return origin;
}

void dg_origin_print(const dg_origin *origin, char *text, size_t capacity)
{
    if (origin->line > 0)
        snprintf(text, capacity, "%s:%d", origin->where, origin->line);
    else
        snprintf(text, capacity, "%s", origin->where);
}

int dg_edit_distance(const char *a, const char *b)
{
    enum { MOST = 64 };
    int row[3][MOST + 1]; /* two steps back are needed to swap neighbours */
    int na = (int)strnlen(a, MOST), nb = (int)strnlen(b, MOST);
    for (int j = 0; j <= nb; j++) row[0][j] = j;
    for (int i = 1; i <= na; i++) {
        int *now = row[i % 3], *last = row[(i + 2) % 3], *before = row[(i + 1) % 3];
        now[0] = i;
        for (int j = 1; j <= nb; j++) {
            int ca = tolower((unsigned char)a[i - 1]), cb = tolower((unsigned char)b[j - 1]);
            int best = last[j - 1] + (ca != cb);
            if (last[j] + 1 < best) best = last[j] + 1;
            if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
            bool swapped =
                i > 1 && j > 1 && ca == tolower((unsigned char)b[j - 2]) && cb == tolower((unsigned char)a[i - 2]);
            if (swapped && before[j - 2] + 1 < best) best = before[j - 2] + 1;
            now[j] = best;
        }
    }
    return row[na % 3][nb];
}

int dg_options_index(const dg_options *options, const char *key)
{
    size_t length = strlen(key);
    for (int i = 0; i < options->count; i++)
        if (strcmp(options->row[i].key, key) == 0) return i;
    for (int i = 0; i < options->count; i++) {
        const char *known = options->row[i].key;
        if (strncmp(known, key, length) == 0 && strcmp(known + length, ".weight") == 0) return i;
    }
    return -1;
}

int dg_options_group(const dg_options *options, const char *key)
{
    size_t length = strlen(key);
    for (int i = 0; i < options->count; i++)
        if (strncmp(options->row[i].key, key, length) == 0 && options->row[i].key[length] == '.') return i;
    return -1;
}

void *dg_options_field(const dg_options *options, int index)
{
    return (char *)options->target + options->row[index].offset;
}

/* A name's distance to a key; `loss.mse` stands for `loss.mse.weight`. */
static int key_distance(const char *key, const char *known)
{
    static const char ending[] = ".weight";
    char stem[128];
    const int whole = dg_edit_distance(key, known);
    const size_t length = strlen(known), tail = sizeof ending - 1;
    if (length <= tail || length - tail >= sizeof stem || strcmp(known + length - tail, ending) != 0) return whole;
    snprintf(stem, sizeof stem, "%.*s", (int)(length - tail), known);
    const int short_of = dg_edit_distance(key, stem);
    return short_of < whole ? short_of : whole;
}

/* The known key with the fewest edits; a right name in the wrong group counts as one edit, that of the nearest group first. */
static const char *nearest_key(const dg_options *options, const char *key)
{
    const char *best = "", *dot = strrchr(key, '.'), *last = dot == NULL ? key : dot + 1;
    int best_edits = 1 << 20, best_distance = 1 << 20;
    for (int i = 0; i < options->count; i++) {
        const char *known = options->row[i].key, *known_dot = strrchr(known, '.');
        const int distance = key_distance(key, known);
        const bool named = known_dot != NULL && strcmp(known_dot + 1, last) == 0;
        const int edits = named && distance > 1 ? 1 : distance;
        if (edits < best_edits || (edits == best_edits && distance < best_distance)) {
            best_edits = edits;
            best_distance = distance;
            best = known;
        }
    }
    return best;
}

dg_status dg_options_fail_unknown(const dg_options *options, const char *key, const dg_origin *origin)
{
    char where[DG_ORIGIN_TEXT];
    dg_origin_print(origin, where, sizeof where);
    int group = dg_options_group(options, key);
    if (group >= 0)
        return DG_FAIL(DG_ERR_USAGE, "%s: %s is a group, give keys inside it such as %s", where, key,
                       options->row[group].key);
    return DG_FAIL(DG_ERR_USAGE, "%s: unknown key %.120s; did you mean %s?", where, key, nearest_key(options, key));
}

static dg_status fail_value(const dg_option *row, const char *value, const char *problem, const dg_origin *origin)
{
    char where[DG_ORIGIN_TEXT];
    dg_origin_print(origin, where, sizeof where);
    return DG_FAIL(DG_ERR_USAGE, "%s: %s = %.120s%s: %s%s%s%s", where, row->key, value[0] == '\0' ? "(empty)" : value,
                   strlen(value) > 120 ? "..." : "", problem, row->unit[0] == '\0' ? "" : " (", row->unit,
                   row->unit[0] == '\0' ? "" : ")");
}

/* A value is checked even when a stronger origin wins, so that a wrong file never passes unseen. */
static size_t field_bytes(const dg_option *row)
{
    switch (row->type) {
    case DG_OPT_BOOL: return sizeof(bool);
    case DG_OPT_INT: return sizeof(int64_t);
    case DG_OPT_DOUBLE: return sizeof(double);
    case DG_OPT_ENUM: return sizeof(int);
    case DG_OPT_STRING: return DG_OPT_TEXT;
    case DG_OPT_INT_LIST: return sizeof(dg_int_list);
    case DG_OPT_DOUBLE_LIST: return sizeof(dg_double_list);
    case DG_OPT_STRING_LIST: return sizeof(dg_string_list);
    }
    return 0;
}

typedef union any_value {
    bool flag;
    int64_t whole;
    double number;
    int choice;
    char text[DG_OPT_TEXT];
    dg_int_list ints;
    dg_double_list doubles;
    dg_string_list strings;
} any_value;

static void store(dg_options *options, int index, const any_value *value, const dg_origin *origin)
{
    if (options->origin[index].kind > origin->kind) return;
    memcpy(dg_options_field(options, index), value, field_bytes(&options->row[index]));
    options->origin[index] = *origin;
}

dg_status dg_options_apply_text(dg_options *options, int index, const char *text, const dg_origin *origin)
{
    any_value value;
    char problem[DG_OPTION_PROBLEM];
    const dg_option *row = &options->row[index];
    if (!dg_option_parse_text(row, text, &value, problem)) return fail_value(row, text, problem, origin);
    store(options, index, &value, origin);
    return DG_OK;
}

dg_status dg_options_apply_list(dg_options *options, int index, const dg_string_list *word, const dg_origin *origin)
{
    any_value value;
    char problem[DG_OPTION_PROBLEM], shown[160] = "[";
    const dg_option *row = &options->row[index];
    if (!dg_option_parse_list(row, word, &value, problem)) {
        for (int i = 0; i < word->count && strlen(shown) < 100; i++) {
            size_t used = strlen(shown);
            snprintf(shown + used, sizeof shown - used, "%s%.40s", i == 0 ? "" : ", ", word->value[i]);
        }
        size_t used = strlen(shown);
        snprintf(shown + used, sizeof shown - used, "]");
        return fail_value(row, shown, problem, origin);
    }
    store(options, index, &value, origin);
    return DG_OK;
}

static dg_status check_row(const dg_options *options, int index)
{
    const dg_option *row = &options->row[index];
    if (row->key == NULL || row->key[0] == '\0' || row->fallback == NULL || row->unit == NULL || row->help == NULL)
        return DG_FAIL(DG_ERR_INTERNAL, "option row %d has no key, fallback, unit or help", index);
    if (row->type == DG_OPT_ENUM && (row->names == NULL || row->names[0] == NULL))
        return DG_FAIL(DG_ERR_INTERNAL, "option %s has no words", row->key);
    if (row->flag != NULL && strcmp(row->flag, "set") == 0)
        return DG_FAIL(DG_ERR_INTERNAL, "option %s: the flag --set belongs to the parser", row->key);
    for (int i = 0; i < index; i++) {
        const dg_option *other = &options->row[i];
        bool same_flag = row->flag != NULL && other->flag != NULL && strcmp(row->flag, other->flag) == 0;
        bool same_letter = row->letter != 0 && row->letter == other->letter;
        if (strcmp(row->key, other->key) == 0 || same_flag || same_letter)
            return DG_FAIL(DG_ERR_INTERNAL, "options %s and %s share a key, flag or letter", row->key, other->key);
    }
    return DG_OK;
}

dg_status dg_options_init(dg_options *options, const dg_option *row, int count, void *target)
{
    dg_status status;
    dg_origin origin = dg_origin_make(DG_FROM_DEFAULT, 0, "default");
    *options = (dg_options){.row = row, .count = count, .target = target};
    DG_TRY(dg_alloc(&options->origin, (size_t)count, sizeof(dg_origin), "origins of options"));
    for (int i = 0; i < count; i++) {
        DG_TRY_GOTO(status, check_row(options, i), fail);
        if (dg_options_apply_text(options, i, row[i].fallback, &origin) != DG_OK) {
            status = DG_FAIL(DG_ERR_INTERNAL, "%s", dg_error_last()->text);
            goto fail;
        }
    }
    return DG_OK;
fail:
    dg_options_release(options);
    return status;
}

void dg_options_release(dg_options *options)
{
    dg_free(&options->origin);
    *options = (dg_options){0};
}

dg_status dg_options_set(dg_options *options, const char *key, const char *value, const dg_origin *origin)
{
    int index = dg_options_index(options, key);
    if (index < 0) return dg_options_fail_unknown(options, key, origin);
    return dg_options_apply_text(options, index, value, origin);
}

const dg_option *dg_options_find(const dg_options *options, const char *key)
{
    int index = dg_options_index(options, key);
    return index < 0 ? NULL : &options->row[index];
}

void dg_options_origin_text(const dg_options *options, const char *key, char *text, size_t capacity)
{
    int index = dg_options_index(options, key);
    if (index < 0)
        snprintf(text, capacity, "unknown");
    else
        dg_origin_print(&options->origin[index], text, capacity);
}

dg_status dg_options_format(const dg_options *options, const char *key, char *text, size_t capacity)
{
    int index = dg_options_index(options, key);
    if (index < 0) return DG_FAIL(DG_ERR_USAGE, "unknown key %.120s; did you mean %s?", key, nearest_key(options, key));
    if (!dg_option_format_field(&options->row[index], dg_options_field(options, index), text, capacity))
        return DG_FAIL(DG_ERR_USAGE, "the value of %s does not fit %zu bytes", key, capacity);
    return DG_OK;
}

/* DG_TRAIN__STEPS of train.steps; `length` of the key, to leave out ".weight". */
static void variable_name(const char *key, size_t length, char *text, size_t capacity)
{
    size_t used = (size_t)snprintf(text, capacity, "DG_");
    for (size_t i = 0; i < length && used + 3 < capacity; i++) {
        if (key[i] == '.') text[used++] = '_';
        text[used++] = isalnum((unsigned char)key[i]) ? (char)toupper((unsigned char)key[i]) : '_';
    }
    text[used] = '\0';
}

static int index_of_variable(const dg_options *options, const char *name)
{
    char known[256];
    for (int i = 0; i < options->count; i++) {
        const char *key = options->row[i].key;
        size_t length = strlen(key);
        variable_name(key, length, known, sizeof known);
        if (strcmp(name, known) == 0) return i;
        if (length > 7 && strcmp(key + length - 7, ".weight") == 0) {
            variable_name(key, length - 7, known, sizeof known);
            if (strcmp(name, known) == 0) return i;
        }
    }
    return -1;
}

static dg_status fail_variable(const dg_options *options, const char *name)
{
    char known[256], best[256] = "";
    int best_edits = 1 << 20;
    for (int i = 0; i < options->count; i++) {
        variable_name(options->row[i].key, strlen(options->row[i].key), known, sizeof known);
        int edits = dg_edit_distance(name, known);
        if (edits < best_edits) {
            best_edits = edits;
            memcpy(best, known, sizeof best);
        }
    }
    return DG_FAIL(DG_ERR_USAGE, "environment: unknown variable %.120s; did you mean %s?", name, best);
}

/* Two underscores mark a key of a group, so other programs' DG_ variables are left alone. The table of one job's flags (no
 * group, or its own first and one that it borrows from a run's settings) has no say over other groups: settings exported
 * for train must not stop evaluate. */
static bool names_group_key(const dg_options *options, const char *name)
{
    const char *mark = strstr(name, "__"), *seen[2] = {NULL, NULL};
    char group[256];
    if (mark == NULL) return false;
    bool own = false;
    for (int i = 0; i < options->count; i++) {
        const char *key = options->row[i].key;
        const size_t length = strcspn(key, ".");
        int k = 0;
        if (key[length] == '\0') continue;
        while (k < 2 && seen[k] != NULL && (strncmp(seen[k], key, length) != 0 || seen[k][length] != '.')) k++;
        if (k == 2) return true; /* a run's settings */
        seen[k] = key;
        variable_name(key, length, group, sizeof group);
        if (k == 0 && strlen(group) == (size_t)(mark - name) && strncmp(group, name, strlen(group)) == 0) own = true;
    }
    return own;
}

dg_status dg_options_read_environment(dg_options *options, char *const *environ)
{
    for (; environ != NULL && *environ != NULL; environ++) {
        const char *equals = strchr(*environ, '=');
        char name[256];
        if (strncmp(*environ, "DG_", 3) != 0 || equals == NULL) continue;
        size_t length = (size_t)(equals - *environ);
        if (length >= sizeof name) continue; /* longer than any key */
        memcpy(name, *environ, length);
        name[length] = '\0';
        int index = index_of_variable(options, name);
        if (index < 0 && names_group_key(options, name)) return fail_variable(options, name);
        if (index < 0) continue;
        dg_origin origin = dg_origin_make(DG_FROM_ENVIRONMENT, 0, name);
        DG_TRY(dg_options_apply_text(options, index, equals + 1, &origin));
    }
    return DG_OK;
}
