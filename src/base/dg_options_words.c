/* dg_options_words.c - lists of words that stand in files. SPDX-License-Identifier: Apache-2.0 */
#include "dg_file.h"
#include "dg_mem.h"
#include "dg_options_impl.h"

#include <string.h>

enum { FILE_LIMIT = 16 << 20 };

static dg_status add(dg_words *words, int64_t *room, const char *text, size_t length)
{
    if (words->count == *room) {
        int64_t more = *room * 2 + 16;
        DG_TRY(dg_grow(&words->value, (size_t)*room, (size_t)more, sizeof *words->value, "words of a list"));
        *room = more;
    }
    memcpy(words->value[words->count], text, length);
    words->value[words->count++][length] = '\0';
    return DG_OK;
}

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

/* One line of a file, without its end. */
static dg_status take_line(dg_words *words, int64_t *room, const char *line, size_t length, const char *role,
                           int64_t number)
{
    while (length > 0 && is_blank(*line)) {
        line++;
        length--;
    }
    while (length > 0 && is_blank(line[length - 1])) length--;
    if (length == 0 || *line == '#') return DG_OK;
    if (length < DG_OPT_WORD) {
        DG_TRY(add(words, room, line, length));
        const char *word = words->value[words->count - 1];
        if (strlen(word) == length && dg_option_is_text(word)) return DG_OK;
    }
    return DG_FAIL(DG_ERR_USAGE, "%s:%lld: a word of at most %d bytes of text is wanted, one a line", role,
                   (long long)number, DG_OPT_WORD - 1);
}

static dg_status take_file(dg_words *words, int64_t *room, const char *path, const char *option)
{
    char role[DG_OPT_WORD + 64], *text;
    int64_t length, number = 0, before = words->count;
    snprintf(role, sizeof role, "%.48s @%s", option, path);
    dg_status status = dg_file_read(path, path, FILE_LIMIT, &text, &length);
    if (status != DG_OK) return status == DG_ERR_MEMORY ? status : dg_error_context(DG_ERR_USAGE, "%s", role);
    for (int64_t at = 0; status == DG_OK && at < length; at++) {
        const char *end = memchr(text + at, '\n', (size_t)(length - at));
        size_t bytes = end == NULL ? (size_t)(length - at) : (size_t)(end - (text + at));
        status = take_line(words, room, text + at, bytes, role, ++number);
        at += (int64_t)bytes;
    }
    dg_free(&text);
    if (status == DG_OK && words->count == before)
        status = DG_FAIL(DG_ERR_USAGE, "%s: the file has no word; one a line is wanted", role);
    return status;
}

dg_status dg_words_read(const dg_string_list *list, const char *option, dg_words *out)
{
    int64_t room = 0;
    dg_status status = DG_OK;
    *out = (dg_words){0};
    for (int i = 0; status == DG_OK && i < list->count; i++) {
        const char *word = list->value[i];
        status = word[0] == '@' ? take_file(out, &room, word + 1, option) : add(out, &room, word, strlen(word));
    }
    if (status != DG_OK) dg_words_release(out);
    return status;
}

void dg_words_release(dg_words *words)
{
    dg_free(&words->value);
    words->count = 0;
}
