/* pickle_write.c - the writing half of dg_pickle.h: only opcodes that its reader knows. SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"
#include "dg_pickle.h"

#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX = 255, DEPTH_MAX = 32, KEY_DIGITS = 9 };

typedef struct writer {
    char *bytes;
    int64_t used, room;
    const char *role;
} writer;

static dg_status put(writer *w, const void *bytes, int64_t count)
{
    if (w->used + count > w->room) {
        const int64_t room = 2 * w->room + count + 256;
        DG_TRY(dg_grow(&w->bytes, (size_t)w->room, (size_t)room, 1, "pickled values"));
        w->room = room;
    }
    memcpy(w->bytes + w->used, bytes, (size_t)count);
    w->used += count;
    return DG_OK;
}

static dg_status put_text(writer *w, const char *text, int64_t bytes)
{
    const char head[2] = {'\x8c', (char)bytes};
    if (bytes > TEXT_MAX)
        return DG_FAIL(DG_ERR_UNSUPPORTED, "%s: a text of %lld bytes, at most %d can be kept", w->role,
                       (long long)bytes, TEXT_MAX);
    DG_TRY(put(w, head, sizeof head));
    return put(w, text, bytes);
}

static dg_status put_real(writer *w, double value)
{
    char head[9] = {'G'};
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    for (int i = 0; i < 8; i++) head[1 + i] = (char)(bits >> (56 - 8 * i));
    return put(w, head, sizeof head);
}

static dg_status put_global(writer *w, const char *module, const char *name)
{
    DG_TRY(put_text(w, module, (int64_t)strlen(module)));
    DG_TRY(put_text(w, name, (int64_t)strlen(name)));
    return put(w, "\x93", 1);
}

/* numpy.core.multiarray.scalar(dtype('<i8'), bytes): the list of opcodes has no integer of more than 32 bits. */
static dg_status put_wide_integer(writer *w, int64_t value)
{
    char bytes[10] = {'C', 8};
    for (int i = 0; i < 8; i++) bytes[2 + i] = (char)((uint64_t)value >> 8 * i);
    DG_TRY(put_global(w, "numpy.core.multiarray", "scalar"));
    DG_TRY(put_global(w, "numpy", "dtype"));
    DG_TRY(put_text(w, "i8", 2));
    DG_TRY(put(w, "\x89\x88\x87R(K\x03", 7));
    DG_TRY(put_text(w, "<", 1));
    DG_TRY(put(w, "NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb", 17));
    DG_TRY(put(w, bytes, sizeof bytes));
    return put(w, "\x86R", 2);
}

static dg_status put_integer(writer *w, int64_t value)
{
    if (value < INT_MIN || value > INT_MAX) return put_wide_integer(w, value);
    const char head[5] = {'J', (char)value, (char)(value >> 8), (char)(value >> 16), (char)(value >> 24)};
    return put(w, head, sizeof head);
}

/* Digits alone become the number that the reader made them from. */
static dg_status put_key(writer *w, const char *key)
{
    const size_t length = strlen(key);
    const bool number =
        length > 0 && length <= KEY_DIGITS && strspn(key, "0123456789") == length && (key[0] != '0' || length == 1);
    return number ? put_integer(w, atoi(key)) : put_text(w, key, (int64_t)length);
}

static dg_status put_value(writer *w, const json_t *value, int depth)
{
    size_t i;
    const char *key;
    json_t *item;
    if (depth > DEPTH_MAX) return DG_FAIL(DG_ERR_UNSUPPORTED, "%s: values nested too deep to keep", w->role);
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        DG_TRY(put(w, "}(", 2));
        json_object_foreach((json_t *)value, key, item)
        {
            DG_TRY(put_key(w, key));
            DG_TRY(put_value(w, item, depth + 1));
        }
        return put(w, "u", 1);
    case JSON_ARRAY:
        DG_TRY(put(w, "](", 2));
        json_array_foreach(value, i, item) DG_TRY(put_value(w, item, depth + 1));
        return put(w, "e", 1);
    case JSON_STRING: return put_text(w, json_string_value(value), (int64_t)json_string_length(value));
    case JSON_INTEGER: return put_integer(w, json_integer_value(value));
    case JSON_REAL: return put_real(w, json_real_value(value));
    case JSON_TRUE: return put(w, "\x88", 1);
    case JSON_FALSE: return put(w, "\x89", 1);
    case JSON_NULL: return put(w, "N", 1);
    }
    return DG_FAIL(DG_ERR_INTERNAL, "%s: a value of no type", w->role);
}

/* _reconstruct(ndarray, (0,), b'b'), then the state (1, (), dtype('O8'), False, [value]). The old module name is known to
 * NumPy 1 and 2. */
static dg_status put_array(writer *w, const json_t *value)
{
    DG_TRY(put(w, "\x80\x04", 2));
    DG_TRY(put_global(w, "numpy.core.multiarray", "_reconstruct"));
    DG_TRY(put_global(w, "numpy", "ndarray"));
    DG_TRY(put(w,
               "K\x00\x85"
               "C\x01"
               "b\x87R(K\x01)",
               12));
    DG_TRY(put_global(w, "numpy", "dtype"));
    DG_TRY(put_text(w, "O8", 2));
    DG_TRY(put(w, "\x89\x88\x87R(K\x03", 7));
    DG_TRY(put_text(w, "|", 1));
    DG_TRY(put(w, "NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb\x89](", 20));
    DG_TRY(put_value(w, value, 0));
    return put(w, "etb.", 4);
}

dg_status dg_pickle_write(const json_t *value, const char *role, char **bytes, int64_t *length)
{
    writer w = {.role = role};
    const dg_status status = put_array(&w, value);
    *bytes = NULL;
    *length = w.used;
    if (status == DG_OK)
        *bytes = w.bytes;
    else
        dg_free(&w.bytes);
    return status;
}
