/* Text of any bytes: characters by RFC 3629, with their bytes; what is cleaned is valid, of one line, and as short.
 * ctest: libs=dg_base label=unit timeout=60
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_rng.h"
#include "dg_utf8.h"

#include <jansson.h>
#include <string.h>

static void check_decode(void)
{
    static const struct {
        const char *text;
        uint32_t code;
        int used;
    } table[] = {{"a", 'a', 1},
                 {"", 0, 1},
                 {"\xc3\xb6", 0xF6, 2},
                 {"\xe2\x82\xac", 0x20AC, 3},
                 {"\xf0\x9f\x98\x80", 0x1F600, 4},
                 {"\xef\xbf\xbd", 0xFFFD, 3},
                 {"\xc0\xaf", 0xFFFD, 1}, /* longer than it need be */
                 {"\xe0\x80\xaf", 0xFFFD, 1},
                 {"\xed\xa0\x80", 0xFFFD, 1},     /* half of a pair */
                 {"\xf4\x90\x80\x80", 0xFFFD, 1}, /* beyond U+10FFFF */
                 {"\x80", 0xFFFD, 1},
                 {"\xff", 0xFFFD, 1},
                 {"\xe2\x82", 0xFFFD, 1}};
    int used;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        DG_CHECK(dg_utf8_decode(table[i].text, &used) == table[i].code);
        DG_CHECK(used == table[i].used);
    }
}

static void check_clean(void)
{
    static const char *const table[][2] = {{"", ""},
                                           {"plain \xc3\xb6\xe2\x82\xac", "plain \xc3\xb6\xe2\x82\xac"},
                                           {"cut \xc3", "cut "},
                                           {"cut \xe2\x82", "cut "},
                                           {"cut \xf0\x9f\x98", "cut "},
                                           {"\xc3(", "?("},
                                           {"a\xff\xfe", "a??"},
                                           {"\x1b[31m\n\tx\x7f", " [31m  x "},
                                           {"a\xe2\x80\xae"
                                            "b",
                                            "a b"},
                                           {"\xef\xbf\xbd", "\xef\xbf\xbd"}};
    char text[64];
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        strcpy(text, table[i][0]);
        dg_utf8_clean(text);
        DG_CHECK(strcmp(text, table[i][1]) == 0);
    }
}

/* Jansson, which has a check of its own, takes whatever was cleaned; once more changes nothing. */
static void check_any_bytes(void)
{
    dg_rng rng = dg_rng_stream(1, DG_RNG_TEST, 0, 0);
    for (int i = 0; i < 20000; i++) {
        char text[24], again[24];
        const int length = (int)dg_rng_below(&rng, sizeof text);
        for (int k = 0; k < length; k++) text[k] = (char)(1 + dg_rng_below(&rng, 255));
        text[length] = '\0';
        dg_utf8_clean(text);
        json_t *string = json_string(text);
        DG_CHECK(string != NULL && (int)strlen(text) <= length);
        json_decref(string);
        strcpy(again, text);
        dg_utf8_clean(again);
        DG_CHECK(strcmp(text, again) == 0);
    }
}

int main(void)
{
    check_decode();
    check_clean();
    check_any_bytes();
    return 0;
}
