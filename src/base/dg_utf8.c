/* dg_utf8.c - see dg_utf8.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_utf8.h"

#include <string.h>

/* Bytes of a character by its first one; 1 where it begins none. */
static int length_of(unsigned char first)
{
    return first < 0xC2 || first > 0xF4 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

uint32_t dg_utf8_decode(const char *text, int *used)
{
    static const uint32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *at = (const unsigned char *)text;
    const int length = length_of(at[0]);
    *used = 1;
    if (length == 1) return at[0] < 0x80 ? at[0] : 0xFFFD;
    uint32_t code = at[0] & (0x7Fu >> length);
    for (int k = 1; k < length; k++) {
        if ((at[k] & 0xC0) != 0x80) return 0xFFFD;
        code = code << 6 | (at[k] & 0x3Fu);
    }
    if (code < smallest[length] || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return 0xFFFD;
    *used = length;
    return code;
}

bool dg_utf8_is_control(uint32_t code)
{
    return code < 0x20 || (code >= 0x7F && code < 0xA0) || code == 0x061C || code == 0x200E || code == 0x200F ||
           (code >= 0x2028 && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069) || code == 0xFEFF ||
           (code & 0xFFFE) == 0xFFFE;
}

/* A first byte and fewer others than it wants, up to the end. */
static bool is_cut(const char *text)
{
    int k = 1;
    const int length = length_of((unsigned char)text[0]);
    while (k < length && ((unsigned char)text[k] & 0xC0) == 0x80) k++;
    return k < length && text[k] == '\0';
}

void dg_utf8_clean(char *text)
{
    char *to = text;
    for (int used; *text != '\0'; text += used) {
        const uint32_t code = dg_utf8_decode(text, &used);
        const bool broken = code == 0xFFFD && used == 1;
        if (broken && is_cut(text)) break;
        if (broken || dg_utf8_is_control(code)) {
            *to++ = broken ? '?' : ' ';
            continue;
        }
        memmove(to, text, (size_t)used);
        to += used;
    }
    *to = '\0';
}
