/* report_text.c - text that grows, and the three ways in which foreign text may enter a page.
 * SPDX-License-Identifier: Apache-2.0 */
#include "report_impl.h"

#include "dg_mem.h"

#include <stdlib.h>
#include <string.h>

dg_status report_text_add(report_text *text, const char *bytes, size_t count)
{
    if (text->used + count > text->room) {
        size_t room = text->used + count + text->room / 2 + 256;
        DG_TRY(dg_grow(&text->bytes, text->used, room, 1, "text of a page"));
        text->room = room;
    }
    if (count > 0) memcpy(text->bytes + text->used, bytes, count);
    text->used += count;
    return DG_OK;
}

dg_status report_text_add_string(report_text *text, const char *string)
{
    return report_text_add(text, string, strlen(string));
}

void report_text_release(report_text *text)
{
    dg_free(&text->bytes);
    *text = (report_text){0};
}

/* Adds `bytes`, with the characters of `from` replaced by the texts of `to`. */
static dg_status add_replaced(report_text *text, const char *bytes, const char *from, const char *const *to)
{
    for (;;) {
        size_t plain = strcspn(bytes, from);
        DG_TRY(report_text_add(text, bytes, plain));
        bytes += plain;
        if (*bytes == '\0') return DG_OK;
        DG_TRY(report_text_add_string(text, to[strchr(from, *bytes++) - from]));
    }
}

dg_status report_text_add_html(report_text *text, const char *string)
{
    static const char *const entity[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
    return add_replaced(text, string, "&<>\"'", entity);
}

dg_status report_text_add_json(report_text *text, const json_t *json)
{
    static const char *const escape[] = {"\\u003c", "\\u003e", "\\u0026"}; /* < > & stand inside strings alone */
    char *dump = json_dumps(json, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
    if (dump == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for the data of a page");
    dg_status status = add_replaced(text, dump, "<>&", escape);
    free(dump);
    return status;
}

dg_status report_text_add_base64(report_text *text, const void *bytes, size_t count)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *in = bytes;
    size_t length = (count + 2) / 3 * 4;
    if (text->room - text->used < length) {
        DG_TRY(dg_grow(&text->bytes, text->used, text->used + length, 1, "attachment of a page"));
        text->room = text->used + length;
    }
    char *out = text->bytes + text->used;
    for (size_t i = 0; i < count; i += 3) {
        size_t left = count - i;
        unsigned word = (unsigned)in[i] << 16 | (left > 1 ? (unsigned)in[i + 1] << 8 : 0) | (left > 2 ? in[i + 2] : 0u);
        *out++ = digit[word >> 18];
        *out++ = digit[word >> 12 & 63];
        *out++ = left > 1 ? digit[word >> 6 & 63] : '=';
        *out++ = left > 2 ? digit[word & 63] : '=';
    }
    text->used += length;
    return DG_OK;
}
