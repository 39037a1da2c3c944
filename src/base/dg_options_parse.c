/* dg_options_parse.c - values of option rows from text, and back. SPDX-License-Identifier: Apache-2.0 */
#include "dg_options_impl.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool dg_option_is_list(const dg_option *row)
{
    return row->type == DG_OPT_INT_LIST || row->type == DG_OPT_DOUBLE_LIST || row->type == DG_OPT_STRING_LIST;
}

/* A table's way to say "no upper bound": doubles above this are no exact whole numbers. */
static const double UNBOUNDED = 9e15;

static bool is_bounded(const dg_option *row) { return row->min < row->max; }

void dg_option_double_text(double value, char *text, size_t capacity)
{
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, capacity, "%.*g", digits, value);
        if (strtod(text, NULL) == value) return;
    }
}

static void join_names(const dg_option *row, char *text, size_t capacity)
{
    text[0] = '\0';
    for (int i = 0; row->names != NULL && row->names[i] != NULL; i++) {
        size_t used = strlen(text);
        snprintf(text + used, capacity - used, "%s%s", i == 0 ? "" : ", ", row->names[i]);
    }
}

static int list_limit(const dg_option *row)
{
    int most = row->type == DG_OPT_STRING_LIST ? DG_OPT_STRINGS_MAX : DG_OPT_LIST_MAX;
    return row->list_max > 0 && row->list_max < most ? row->list_max : most;
}

/* A bound for people: 1000000, not 1e+06. */
static void bound_text(double value, char *text, size_t capacity)
{
    if (value == floor(value) && fabs(value) < UNBOUNDED)
        snprintf(text, capacity, "%.0f", value);
    else
        dg_option_double_text(value, text, capacity);
}

static void describe_range(const dg_option *row, char *text, size_t capacity)
{
    char low[32], high[32];
    text[0] = '\0';
    if (!is_bounded(row)) return;
    bound_text(row->min, low, sizeof low);
    bound_text(row->max, high, sizeof high);
    if (row->max >= UNBOUNDED)
        snprintf(text, capacity, ", at least %s", low);
    else
        snprintf(text, capacity, ", %s to %s", low, high);
}

static void describe_list(const dg_option *row, const char *range, char *text, size_t capacity)
{
    const char *what = row->type == DG_OPT_STRING_LIST ? "word"
                       : row->type == DG_OPT_INT_LIST  ? "whole number"
                                                       : "number";
    char count[48], words[128];
    int least = row->list_min, most = list_limit(row);
    if (least == most)
        snprintf(count, sizeof count, "%d", least);
    else
        snprintf(count, sizeof count, "%d to %d", least, most);
    join_names(row, words, sizeof words);
    snprintf(text, capacity, "a list of %s %s%s%s%s%s%s", count, what, most == 1 ? "" : "s", range,
             row->from_file ? ", or @FILE with one a line" : "", words[0] == '\0' ? "" : ", or ", words);
}

void dg_option_describe(const dg_option *row, char *text, size_t capacity)
{
    char range[96], words[256];
    describe_range(row, range, sizeof range);
    switch (row->type) {
    case DG_OPT_BOOL: snprintf(text, capacity, "true or false"); break;
    case DG_OPT_INT: snprintf(text, capacity, "a whole number%s", range); break;
    case DG_OPT_DOUBLE: snprintf(text, capacity, "a number%s", range); break;
    case DG_OPT_ENUM:
        join_names(row, words, sizeof words);
        snprintf(text, capacity, "one of %s", words);
        break;
    case DG_OPT_STRING: snprintf(text, capacity, "text of at most %d bytes", DG_OPT_TEXT - 1); break;
    case DG_OPT_INT_LIST:
    case DG_OPT_DOUBLE_LIST:
    case DG_OPT_STRING_LIST: describe_list(row, range, text, capacity); break;
    }
}

static bool parse_bool(const char *text, bool *value)
{
    static const char *const yes[] = {"true", "yes", "on", "1"}, *const no[] = {"false", "no", "off", "0"};
    for (int i = 0; i < 4; i++) {
        if (strcasecmp(text, yes[i]) == 0) return *value = true;
        if (strcasecmp(text, no[i]) == 0) {
            *value = false;
            return true;
        }
    }
    return false;
}

/* Decimal only: no blanks, hexadecimal, inf or nan, nothing behind. */
static bool parse_double(const dg_option *row, const char *text, double *value)
{
    if (text[0] == '\0' || strspn(text, "+-.0123456789eE") != strlen(text)) return false;
    char *end;
    errno = 0;
    double parsed = strtod(text, &end);
    if (*end != '\0' || errno != 0 || !isfinite(parsed)) return false;
    if (is_bounded(row) && !(parsed >= row->min && parsed <= row->max)) return false;
    *value = parsed;
    return true;
}

static bool parse_int(const dg_option *row, const char *text, int64_t *value)
{
    if (text[0] == '\0' || strspn(text, "+-0123456789") != strlen(text)) return false;
    char *end;
    errno = 0;
    long long parsed = strtoll(text, &end, 10);
    if (*end != '\0' || errno != 0) return false;
    if (is_bounded(row) && !((double)parsed >= row->min && (double)parsed <= row->max)) return false;
    *value = parsed;
    return true;
}

static int name_index(const dg_option *row, const char *text)
{
    for (int i = 0; row->names != NULL && row->names[i] != NULL; i++)
        if (strcmp(row->names[i], text) == 0) return i;
    return -1;
}

/* Jansson checks UTF-8. */
bool dg_option_is_text(const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++)
        if (*c < 0x20 || *c == 0x7F) return false;
    json_t *probe = json_string(text);
    json_decref(probe);
    return probe != NULL;
}

static bool parse_string(const char *text, char *value)
{
    if (strcmp(text, "null") == 0 || strcmp(text, "~") == 0) text = "";
    size_t length = strlen(text);
    if (length >= DG_OPT_TEXT || !dg_option_is_text(text)) return false;
    memset(value, 0, DG_OPT_TEXT);
    memcpy(value, text, length);
    return true;
}

static bool fail_wanted(const dg_option *row, char problem[DG_OPTION_PROBLEM])
{
    char wanted[256];
    dg_option_describe(row, wanted, sizeof wanted);
    snprintf(problem, DG_OPTION_PROBLEM, "%s is wanted", wanted);
    return false;
}

bool dg_option_parse_text(const dg_option *row, const char *text, void *field, char problem[DG_OPTION_PROBLEM])
{
    dg_string_list word;
    bool good = false;
    int index;
    switch (row->type) {
    case DG_OPT_BOOL: good = parse_bool(text, field); break;
    case DG_OPT_INT: good = parse_int(row, text, field); break;
    case DG_OPT_DOUBLE: good = parse_double(row, text, field); break;
    case DG_OPT_ENUM:
        index = name_index(row, text);
        good = index >= 0;
        if (good) *(int *)field = index;
        break;
    case DG_OPT_STRING: good = parse_string(text, field); break;
    case DG_OPT_INT_LIST:
    case DG_OPT_DOUBLE_LIST:
    case DG_OPT_STRING_LIST:
        if (!dg_option_split(text, &word, problem)) return false;
        return dg_option_parse_list(row, &word, field, problem);
    }
    return good || fail_wanted(row, problem);
}

const char *dg_option_list_name(const dg_option *row, const void *field)
{
    if (row->names == NULL) return NULL;
    const int word = row->type == DG_OPT_INT_LIST      ? ((const dg_int_list *)field)->word
                     : row->type == DG_OPT_DOUBLE_LIST ? ((const dg_double_list *)field)->word
                                                       : 0;
    return row->names[word];
}

bool dg_option_parse_list(const dg_option *row, const dg_string_list *word, void *field,
                          char problem[DG_OPTION_PROBLEM])
{
    dg_int_list ints = {0};
    dg_double_list doubles = {0};
    if (!dg_option_is_list(row)) return fail_wanted(row, problem);
    const int name = word->count == 1 ? name_index(row, word->value[0]) : -1;
    const bool is_word = name >= 0;
    int count = is_word ? 0 : word->count;
    if (!is_word && (count < row->list_min || count > list_limit(row))) return fail_wanted(row, problem);
    for (int i = 0; i < count; i++) {
        const char *text = word->value[i];
        bool good = row->type == DG_OPT_INT_LIST      ? parse_int(row, text, &ints.value[i])
                    : row->type == DG_OPT_DOUBLE_LIST ? parse_double(row, text, &doubles.value[i])
                                                      : dg_option_is_text(text);
        if (!good) return fail_wanted(row, problem);
    }
    ints.count = doubles.count = count;
    ints.word = doubles.word = is_word ? name : 0;
    if (row->type == DG_OPT_INT_LIST) *(dg_int_list *)field = ints;
    if (row->type == DG_OPT_DOUBLE_LIST) *(dg_double_list *)field = doubles;
    if (row->type == DG_OPT_STRING_LIST) {
        dg_string_list *strings = field;
        memset(strings, 0, sizeof *strings); /* the struct has one byte pattern a value */
        strings->count = count;
        for (int i = 0; i < count; i++) memcpy(strings->value[i], word->value[i], strlen(word->value[i]));
    }
    return true;
}

/* One element into `out`; *text is left behind it and the blanks that follow. */
static bool split_element(const char **text, char out[DG_OPT_WORD], char problem[DG_OPTION_PROBLEM])
{
    const char *from = *text;
    size_t length = 0;
    char quote = *from == '"' || *from == '\'' ? *from : '\0';
    if (quote != '\0') from++;
    for (;; from++) {
        if (quote != '\0' ? *from == quote : *from == ',' || *from == ']') break;
        if (*from == '\0' && quote == '\0') break;
        if (quote == '"' && *from == '\\' && from[1] != '\0') from++;
        if (*from == '\0') {
            snprintf(problem, DG_OPTION_PROBLEM, "a quote of the list is not closed");
            return false;
        }
        if (quote == '\0' && *from == '[') {
            snprintf(problem, DG_OPTION_PROBLEM, "a list inside a list is not possible");
            return false;
        }
        if (length + 1 == DG_OPT_WORD) {
            snprintf(problem, DG_OPTION_PROBLEM, "an element of the list is longer than %d bytes", DG_OPT_WORD - 1);
            return false;
        }
        out[length++] = *from;
    }
    if (quote != '\0')
        from++;
    else
        while (length > 0 && out[length - 1] == ' ') length--;
    out[length] = '\0';
    while (*from == ' ') from++;
    *text = from;
    if (length == 0 && quote == '\0') {
        snprintf(problem, DG_OPTION_PROBLEM, "an element of the list is empty");
        return false;
    }
    return true;
}

bool dg_option_split(const char *text, dg_string_list *word, char problem[DG_OPTION_PROBLEM])
{
    word->count = 0;
    while (*text == ' ') text++;
    bool bracket = *text == '[';
    char end = bracket ? ']' : '\0';
    if (bracket) text++;
    while (*text == ' ') text++;
    while (*text != end) {
        if (word->count == DG_OPT_STRINGS_MAX) {
            snprintf(problem, DG_OPTION_PROBLEM, "a list has at most %d elements", DG_OPT_STRINGS_MAX);
            return false;
        }
        if (!split_element(&text, word->value[word->count], problem)) return false;
        word->count++;
        if (*text == end) break;
        if (*text != ',') {
            snprintf(problem, DG_OPTION_PROBLEM, "the list is not closed, or has no comma between two elements");
            return false;
        }
        text++;
        while (*text == ' ') text++;
        if (*text == end) {
            snprintf(problem, DG_OPTION_PROBLEM, "an element of the list is empty");
            return false;
        }
    }
    if (bracket) text++;
    while (*text == ' ') text++;
    if (*text == '\0') return true;
    snprintf(problem, DG_OPTION_PROBLEM, "there is text behind the list");
    return false;
}

/* An element as typed: quoted where it would be read as something else. */
static void print_word(FILE *stream, const char *word)
{
    size_t length = strlen(word);
    bool plain = length > 0 && strpbrk(word, ",[]\"'\\") == NULL && word[0] != ' ' && word[length - 1] != ' ';
    if (plain) {
        fputs(word, stream);
        return;
    }
    fputc('"', stream);
    for (; *word != '\0'; word++) {
        if (*word == '"' || *word == '\\') fputc('\\', stream);
        fputc(*word, stream);
    }
    fputc('"', stream);
}

static void print_list(FILE *stream, const dg_option *row, const void *field)
{
    char number[40];
    const dg_int_list *ints = field;
    const dg_double_list *doubles = field;
    const dg_string_list *strings = field;
    int count = row->type == DG_OPT_INT_LIST      ? ints->count
                : row->type == DG_OPT_DOUBLE_LIST ? doubles->count
                                                  : strings->count;
    if (count == 0) {
        const char *name = dg_option_list_name(row, field);
        fputs(name != NULL ? name : "[]", stream);
        return;
    }
    for (int i = 0; i < count; i++) {
        fputs(i == 0 ? "[" : ", ", stream);
        if (row->type == DG_OPT_INT_LIST) fprintf(stream, "%" PRId64, ints->value[i]);
        if (row->type == DG_OPT_DOUBLE_LIST) {
            dg_option_double_text(doubles->value[i], number, sizeof number);
            fputs(number, stream);
        }
        if (row->type == DG_OPT_STRING_LIST) print_word(stream, strings->value[i]);
    }
    fputc(']', stream);
}

bool dg_option_format_field(const dg_option *row, const void *field, char *text, size_t capacity)
{
    char number[40];
    FILE *stream = fmemopen(text, capacity, "w");
    if (stream == NULL) return false;
    switch (row->type) {
    case DG_OPT_BOOL: fputs(*(const bool *)field ? "true" : "false", stream); break;
    case DG_OPT_INT: fprintf(stream, "%" PRId64, *(const int64_t *)field); break;
    case DG_OPT_DOUBLE:
        dg_option_double_text(*(const double *)field, number, sizeof number);
        fputs(number, stream);
        break;
    case DG_OPT_ENUM: fputs(row->names[*(const int *)field], stream); break;
    case DG_OPT_STRING: fputs(field, stream); break;
    case DG_OPT_INT_LIST:
    case DG_OPT_DOUBLE_LIST:
    case DG_OPT_STRING_LIST: print_list(stream, row, field); break;
    }
    long length = ftell(stream); /* unbuffered count: more than fits shows here */
    bool fits = fflush(stream) == 0 && !ferror(stream) && length >= 0 && (size_t)length < capacity;
    fclose(stream);
    if (fits) text[length] = '\0';
    return fits;
}
