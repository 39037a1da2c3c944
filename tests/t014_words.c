/* ctest: libs=dg_base label=unit timeout=30
 * Lists of words in files: any number of them, comments and blanks, bad lines with file and line.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_file.h"
#include "dg_options.h"

#include <unistd.h>

static char path[64];

static void put(const char *text, size_t length) { DG_CHECK_OK(dg_file_write(path, text, (int64_t)length)); }

static dg_status read_words(const char *first, const char *second, dg_words *words)
{
    static dg_string_list list;
    list.count = second == NULL ? 1 : 2;
    snprintf(list.value[0], DG_OPT_WORD, "%s", first);
    if (second != NULL) snprintf(list.value[1], DG_OPT_WORD, "%s", second);
    return dg_words_read(&list, "--cases", words);
}

static void check_words(const char *at)
{
    static const char text[] = "# a cohort\n a \nb\r\n\n\t\n  # not c\nd e\nlast";
    static const char *const wanted[] = {"first", "a", "b", "d e", "last"};
    dg_words words;
    put(text, sizeof text - 1);
    DG_CHECK_OK(read_words("first", at, &words));
    DG_CHECK(words.count == 5);
    for (int i = 0; i < 5; i++) DG_CHECK(strcmp(words.value[i], wanted[i]) == 0);
    dg_words_release(&words);
    DG_CHECK(words.value == NULL && words.count == 0);
}

static void check_many(const char *at)
{
    enum { MANY = 3000 };
    static char text[MANY * 8];
    char word[16];
    size_t length = 0;
    dg_words words;
    for (int i = 0; i < MANY; i++) length += (size_t)sprintf(text + length, "pt%04d\n", i);
    put(text, length);
    DG_CHECK_OK(read_words(at, NULL, &words));
    DG_CHECK(words.count == MANY);
    for (int i = 0; i < MANY; i++) {
        snprintf(word, sizeof word, "pt%04d", i);
        DG_CHECK(strcmp(words.value[i], word) == 0);
    }
    dg_words_release(&words);
}

static void check_bad(const char *at)
{
    char text[DG_OPT_WORD + 8], where[160];
    dg_words words;
    DG_CHECK_FAILS(read_words("@/nowhere/ids.txt", NULL, &words), DG_ERR_USAGE, "--cases @/nowhere/ids.txt: ");
    DG_CHECK_FAILS(read_words("@", NULL, &words), DG_ERR_USAGE, "--cases @: ");
    DG_CHECK_FAILS(read_words("@/tmp", NULL, &words), DG_ERR_USAGE, "/tmp is a folder");
    put("# nothing\n\n", 11);
    snprintf(where, sizeof where, "--cases %s: the file has no word", at);
    DG_CHECK_FAILS(read_words(at, NULL, &words), DG_ERR_USAGE, where);
    snprintf(where, sizeof where, "--cases %s:2: a word of at most 255 bytes", at);
    put("a\nb\0c\n", 6);
    DG_CHECK_FAILS(read_words(at, NULL, &words), DG_ERR_USAGE, where);
    put("a\nb\x07\n", 5);
    DG_CHECK_FAILS(read_words(at, NULL, &words), DG_ERR_USAGE, where);
    put("a\n\xff\xfe\n", 5);
    DG_CHECK_FAILS(read_words(at, NULL, &words), DG_ERR_USAGE, where);
    memset(text, 'x', sizeof text);
    text[0] = 'a';
    text[1] = '\n';
    put(text, DG_OPT_WORD + 2);
    DG_CHECK_FAILS(read_words(at, NULL, &words), DG_ERR_USAGE, where);
    put(text, DG_OPT_WORD + 1);
    DG_CHECK_OK(read_words(at, NULL, &words));
    DG_CHECK(words.count == 2 && strlen(words.value[1]) == DG_OPT_WORD - 1);
    dg_words_release(&words);
}

/* The help of a row that takes files says so; one that does not, does not. */
static void check_help(void)
{
    static dg_string_list target[2];
    static const dg_option rows[] = {{.key = "a",
                                      .flag = "a",
                                      .type = DG_OPT_STRING_LIST,
                                      .offset = 0,
                                      .fallback = "[]",
                                      .unit = "",
                                      .help = "x",
                                      .from_file = true},
                                     {.key = "b",
                                      .flag = "b",
                                      .type = DG_OPT_STRING_LIST,
                                      .offset = sizeof(dg_string_list),
                                      .fallback = "[]",
                                      .unit = "",
                                      .help = "y"}};
    char text[2048], many[512] = "[";
    dg_options options;
    DG_CHECK_OK(dg_options_init(&options, rows, 2, target));
    FILE *stream = fmemopen(text, sizeof text, "w");
    dg_options_print_help(&options, stream, true);
    fclose(stream);
    const char *first = strstr(text, "@FILE");
    DG_CHECK(first != NULL && strstr(first + 1, "@FILE") == NULL);
    for (int i = 0; i < 65; i++) strcat(many, i == 0 ? "w" : ", w");
    strcat(many, "]");
    dg_origin origin = {.kind = DG_FROM_COMMAND_LINE, .where = "--a"};
    DG_CHECK_FAILS(dg_options_set(&options, "a", many, &origin), DG_ERR_USAGE, "at most 64 elements");
    DG_CHECK_OK(dg_options_set(&options, "a", "@ids.txt", &origin));
    DG_CHECK(target[0].count == 1 && strcmp(target[0].value[0], "@ids.txt") == 0);
    dg_options_release(&options);
}

int main(void)
{
    char at[72];
    snprintf(path, sizeof path, "/tmp/dg_t014_XXXXXX");
    int descriptor = mkstemp(path);
    DG_CHECK(descriptor >= 0);
    close(descriptor);
    snprintf(at, sizeof at, "@%s", path);
    check_words(at);
    check_many(at);
    check_bad(at);
    check_help();
    unlink(path);
    return 0;
}
