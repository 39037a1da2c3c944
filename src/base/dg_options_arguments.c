/* dg_options_arguments.c - the command line of a job. SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"
#include "dg_options_impl.h"

#include <string.h>

typedef struct arguments {
    dg_options *options;
    int argc, next;
    char *const *argv;
    bool *seen; /* [count] string lists given on this command line: a second flag appends */
} arguments;

static int index_of_flag(const dg_options *options, const char *name, size_t length)
{
    for (int i = 0; i < options->count; i++) {
        const char *flag = options->row[i].flag;
        if (flag != NULL && strlen(flag) == length && strncmp(flag, name, length) == 0) return i;
    }
    return -1;
}

static dg_status fail_flag(const dg_options *options, const char *name, size_t length)
{
    char typed[96];
    const char *best = "set";
    snprintf(typed, sizeof typed, "%.*s", (int)(length < 90 ? length : 90), name);
    int best_edits = dg_edit_distance(typed, best);
    for (int i = 0; i < options->count; i++) {
        const char *flag = options->row[i].flag;
        int edits = flag == NULL ? 1 << 20 : dg_edit_distance(typed, flag);
        if (edits < best_edits) {
            best_edits = edits;
            best = flag;
        }
    }
    if (dg_options_find(options, typed) != NULL)
        return DG_FAIL(DG_ERR_USAGE, "unknown option --%s; give it as --set %s=VALUE", typed, typed);
    return DG_FAIL(DG_ERR_USAGE, "unknown option --%s; did you mean --%s?", typed, best);
}

static dg_status append_word(const dg_option *row, dg_string_list *word, const char *text)
{
    if (word->count == DG_OPT_STRINGS_MAX || strlen(text) >= DG_OPT_WORD)
        return DG_FAIL(DG_ERR_USAGE, "--%s takes at most %d values of at most %d bytes each", row->flag,
                       DG_OPT_STRINGS_MAX, DG_OPT_WORD - 1);
    memcpy(word->value[word->count++], text, strlen(text) + 1);
    return DG_OK;
}

/* `value` and, when it stood apart from its flag, the arguments up to the next option. */
static dg_status set_strings(arguments *a, int index, const char *value, bool apart, const dg_origin *origin)
{
    const dg_option *row = &a->options->row[index];
    dg_string_list word = {0}, part;
    char problem[DG_OPTION_PROBLEM];
    if (a->seen[index]) word = *(const dg_string_list *)dg_options_field(a->options, index);
    a->seen[index] = true;
    for (;;) {
        if (!dg_option_split(value, &part, problem))
            return DG_FAIL(DG_ERR_USAGE, "--%s %.120s: %s", row->flag, value, problem);
        for (int i = 0; i < part.count; i++) DG_TRY(append_word(row, &word, part.value[i]));
        if (!apart || a->next == a->argc || a->argv[a->next][0] == '-') break;
        value = a->argv[a->next++];
    }
    return dg_options_apply_list(a->options, index, &word, origin);
}

/* Sets a row from a flag that stands at argv[next - 1]; `value` is what came with it or NULL. */
static dg_status set_row(arguments *a, int index, const char *shown, const char *value)
{
    const dg_option *row = &a->options->row[index];
    dg_origin origin = dg_origin_make(DG_FROM_COMMAND_LINE, 0, shown);
    bool apart = value == NULL;
    if (apart && row->type == DG_OPT_BOOL) value = "true";
    if (value == NULL) {
        if (a->next == a->argc) return DG_FAIL(DG_ERR_USAGE, "%s wants a value", shown);
        value = a->argv[a->next++];
    }
    if (row->type == DG_OPT_STRING_LIST) return set_strings(a, index, value, apart, &origin);
    return dg_options_apply_text(a->options, index, value, &origin);
}

static dg_status set_assignment(arguments *a, const char *value)
{
    char key[160];
    if (value == NULL) {
        if (a->next == a->argc) return DG_FAIL(DG_ERR_USAGE, "--set wants key=value");
        value = a->argv[a->next++];
    }
    const char *equals = strchr(value, '=');
    if (equals == NULL || equals == value || (size_t)(equals - value) >= sizeof key)
        return DG_FAIL(DG_ERR_USAGE, "--set %.120s: key=value is wanted", value);
    memcpy(key, value, (size_t)(equals - value));
    key[equals - value] = '\0';
    dg_origin origin = dg_origin_make(DG_FROM_COMMAND_LINE, 0, "--set");
    return dg_options_set(a->options, key, equals + 1, &origin);
}

static dg_status read_long(arguments *a, const char *name)
{
    char shown[128];
    size_t length = strcspn(name, "=");
    const char *value = name[length] == '=' ? name + length + 1 : NULL;
    if (length == 3 && strncmp(name, "set", 3) == 0) return set_assignment(a, value);
    snprintf(shown, sizeof shown, "--%.*s", (int)(length < 100 ? length : 100), name);
    int index = index_of_flag(a->options, name, length);
    if (index >= 0) return set_row(a, index, shown, value);
    if (length > 3 && strncmp(name, "no-", 3) == 0) {
        index = index_of_flag(a->options, name + 3, length - 3);
        if (index >= 0 && a->options->row[index].type == DG_OPT_BOOL) {
            if (value != NULL) return DG_FAIL(DG_ERR_USAGE, "%s takes no value", shown);
            return set_row(a, index, shown, "false");
        }
    }
    return fail_flag(a->options, name, length);
}

static dg_status read_short(arguments *a, const char *argument)
{
    char shown[3] = {'-', argument[1], '\0'};
    for (int i = 0; i < a->options->count; i++) {
        const dg_option *row = &a->options->row[i];
        if (row->letter == 0 || row->letter != argument[1]) continue;
        const char *value = argument[2] == '\0' ? NULL : argument + 2;
        return set_row(a, i, shown, value);
    }
    return DG_FAIL(DG_ERR_USAGE, "unknown option -%c; --help lists them", argument[1]);
}

static dg_status read_all(arguments *a, const char **positional, int positional_max, int *positional_count)
{
    bool only_positional = false;
    while (a->next < a->argc) {
        const char *argument = a->argv[a->next++];
        bool is_option = !only_positional && argument[0] == '-' && argument[1] != '\0';
        if (is_option && strcmp(argument, "--") == 0)
            only_positional = true;
        else if (is_option && argument[1] == '-')
            DG_TRY(read_long(a, argument + 2));
        else if (is_option)
            DG_TRY(read_short(a, argument));
        else if (*positional_count == positional_max)
            return DG_FAIL(DG_ERR_USAGE, "unexpected argument %.200s: at most %d %s possible", argument, positional_max,
                           positional_max == 1 ? "is" : "are");
        else
            positional[(*positional_count)++] = argument;
    }
    return DG_OK;
}

dg_status dg_options_read_arguments(dg_options *options, int argc, char *const *argv, const char **positional,
                                    int positional_max, int *positional_count)
{
    arguments a = {.options = options, .argc = argc, .argv = argv};
    *positional_count = 0;
    DG_TRY(dg_alloc(&a.seen, (size_t)options->count, sizeof(bool), "flags seen"));
    dg_status status = read_all(&a, positional, positional_max, positional_count);
    dg_free(&a.seen);
    return status;
}
