/* pickle.c - see dg_pickle.h. A stack machine over the input: strings stay slices of it, lists and dicts are JSON from the
 * start, and what is put into one is copied, so that no cycle can arise. SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"
#include "dg_pickle.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { STACK_MAX = 4096, DEPTH_MAX = 32, NODES_MAX = 2000000, SCALAR_BYTES = 8 };

typedef enum kind {
    K_MARK,
    K_NONE,
    K_BOOL,
    K_INT,
    K_FLOAT,
    K_STRING,
    K_BYTES,
    K_TUPLE,
    K_CONTAINER,
    K_GLOBAL,
    K_DTYPE,
    K_ARRAY
} kind;

/* Names that may be called; what each call means stands in `reduce`. */
typedef enum global { G_RECONSTRUCT, G_SCALAR, G_NDARRAY, G_DTYPE } global;
static const struct {
    const char *module, *name;
    global which;
} global_row[] = {
    {"numpy._core.multiarray", "_reconstruct", G_RECONSTRUCT},
    {"numpy.core.multiarray", "_reconstruct", G_RECONSTRUCT},
    {"numpy._core.multiarray", "scalar", G_SCALAR},
    {"numpy.core.multiarray", "scalar", G_SCALAR},
    {"numpy", "ndarray", G_NDARRAY},
    {"numpy", "dtype", G_DTYPE},
};

typedef struct value {
    kind kind;
    int64_t number; /* K_BOOL, K_INT, K_GLOBAL; bytes of K_STRING and K_BYTES; items of K_TUPLE */
    double real;
    const uint8_t *text; /* K_STRING, K_BYTES */
    int64_t object;      /* K_TUPLE: first cell; K_DTYPE, K_ARRAY: which object */
    json_t *json;        /* K_CONTAINER: counted in reader.owned */
} value;

/* A dtype or array: changed by BUILD after it was remembered, hence by reference. */
typedef struct object {
    char type; /* of a dtype: 'O', 'b', 'i', 'u', 'f' */
    int size;
    bool swapped;
    json_t *content; /* of an array, once built; owned */
} object;

typedef struct reader {
    const uint8_t *at, *end;
    const char *role;
    value *stack, *memo, *cell;
    object *objects;
    json_t **owned;
    int64_t depth, memos, cells, object_count, owned_count, nodes;
    int64_t memo_room, cell_room, object_room, owned_room;
} reader;

static dg_status damaged(const reader *r, const char *what)
{
    return DG_FAIL(DG_ERR_FORMAT, "%s: the pickled values are damaged: %s", r->role, what);
}

static dg_status take(reader *r, int64_t bytes, const uint8_t **out)
{
    *out = r->at;
    if (bytes < 0 || r->end - r->at < bytes) return damaged(r, "cut short");
    r->at += bytes;
    return DG_OK;
}

static uint64_t little(const uint8_t *b, int64_t bytes)
{
    uint64_t v = 0;
    for (int64_t i = bytes - 1; i >= 0; i--) v = v << 8 | b[i];
    return v;
}

static dg_status push(reader *r, value v)
{
    if (r->depth >= STACK_MAX) return damaged(r, "nested too deep");
    r->stack[r->depth++] = v;
    return DG_OK;
}

/* Room for one more element of a growing array. */
static dg_status room(void *array, int64_t used, int64_t *have, size_t size)
{
    if (used < *have) return DG_OK;
    const int64_t more = *have == 0 ? 64 : 2 * *have;
    DG_TRY(dg_grow(array, (size_t)*have, (size_t)more, size, "pickled values"));
    *have = more;
    return DG_OK;
}

static dg_status new_container(reader *r, json_t *json)
{
    if (json == NULL) return DG_FAIL(DG_ERR_MEMORY, "%s: no memory for pickled values", r->role);
    const dg_status status = room(&r->owned, r->owned_count, &r->owned_room, sizeof *r->owned);
    if (status != DG_OK) {
        json_decref(json);
        return status;
    }
    r->owned[r->owned_count++] = json;
    return push(r, (value){.kind = K_CONTAINER, .json = json});
}

static dg_status new_object(reader *r, kind which, object o)
{
    DG_TRY(room(&r->objects, r->object_count, &r->object_room, sizeof *r->objects));
    r->objects[r->object_count] = o;
    return push(r, (value){.kind = which, .object = r->object_count++});
}

/* Nodes below and with `json`, against the budget: a pickle may repeat what it remembers. */
static bool affordable(reader *r, const json_t *json, int depth)
{
    size_t i;
    const char *key;
    json_t *item;
    if (++r->nodes > NODES_MAX || depth > DEPTH_MAX) return false;
    json_array_foreach(json, i, item) if (!affordable(r, item, depth + 1)) return false;
    json_object_foreach((json_t *)json, key, item) if (!affordable(r, item, depth + 1)) return false;
    return true;
}

static dg_status to_json(reader *r, const value *v, int depth, json_t **out);

static dg_status tuple_to_json(reader *r, const value *v, int depth, json_t **out)
{
    *out = json_array();
    for (int64_t i = 0; i < v->number; i++) {
        json_t *item = NULL;
        const dg_status status = to_json(r, &r->cell[v->object + i], depth + 1, &item);
        if (status != DG_OK || json_array_append_new(*out, item) != 0) {
            json_decref(*out);
            *out = NULL;
            return status != DG_OK ? status : damaged(r, "a tuple that cannot be kept");
        }
    }
    return DG_OK;
}

static dg_status copy(reader *r, const json_t *json, int depth, json_t **out)
{
    if (json == NULL) return damaged(r, "an array without content");
    if (!affordable(r, json, depth)) return damaged(r, "too many values");
    *out = json_deep_copy(json);
    return *out == NULL ? damaged(r, "a value that cannot be kept") : DG_OK;
}

/* A new reference to the value as JSON. */
static dg_status to_json(reader *r, const value *v, int depth, json_t **out)
{
    if (++r->nodes > NODES_MAX || depth > DEPTH_MAX) return damaged(r, "too many values");
    switch (v->kind) {
    case K_NONE: *out = json_null(); break;
    case K_BOOL: *out = json_boolean(v->number); break;
    case K_INT: *out = json_integer(v->number); break;
    case K_FLOAT: *out = isfinite(v->real) ? json_real(v->real) : json_null(); break;
    case K_STRING: *out = json_stringn((const char *)v->text, (size_t)v->number); break;
    case K_TUPLE: return tuple_to_json(r, v, depth, out);
    case K_CONTAINER: return copy(r, v->json, depth, out);
    case K_ARRAY: return copy(r, r->objects[v->object].content, depth, out);
    default:
        return DG_FAIL(DG_ERR_UNSUPPORTED, "%s: the pickle holds a value that is no plain number or text", r->role);
    }
    return *out == NULL ? damaged(r, "a text that is no UTF-8") : DG_OK;
}

/* ---- the stack ---- */

static dg_status find_mark(const reader *r, int64_t *at)
{
    for (*at = r->depth - 1; *at >= 0; --*at)
        if (r->stack[*at].kind == K_MARK) return DG_OK;
    return damaged(r, "a mark is missing");
}

static dg_status need(const reader *r, int64_t count)
{
    if (r->depth < count) return damaged(r, "the stack is empty");
    for (int64_t i = r->depth - count; i < r->depth; i++)
        if (r->stack[i].kind == K_MARK) return damaged(r, "a mark where a value belongs");
    return DG_OK;
}

static dg_status make_tuple(reader *r, int64_t count)
{
    DG_TRY(need(r, count));
    const int64_t first = r->cells;
    for (int64_t i = r->depth - count; i < r->depth; i++) {
        DG_TRY(room(&r->cell, r->cells, &r->cell_room, sizeof *r->cell));
        r->cell[r->cells++] = r->stack[i];
    }
    r->depth -= count;
    return push(r, (value){.kind = K_TUPLE, .number = count, .object = first});
}

static dg_status tuple_from_mark(reader *r)
{
    int64_t mark;
    DG_TRY(find_mark(r, &mark));
    const int64_t count = r->depth - mark - 1;
    DG_TRY(make_tuple(r, count));
    r->stack[mark] = r->stack[r->depth - 1];
    r->depth--;
    return DG_OK;
}

static dg_status container_at(reader *r, int64_t at, bool dict, json_t **out)
{
    *out = NULL;
    if (at < 0 || r->stack[at].kind != K_CONTAINER || json_is_object(r->stack[at].json) != dict)
        return damaged(r, dict ? "items without their dict" : "items without their list");
    *out = r->stack[at].json;
    return DG_OK;
}

static dg_status append_from(reader *r, int64_t first)
{
    json_t *list, *item = NULL;
    DG_TRY(container_at(r, first - 1, false, &list));
    for (int64_t i = first; i < r->depth; i++) {
        DG_TRY(to_json(r, &r->stack[i], 0, &item));
        if (json_array_append_new(list, item) != 0) return damaged(r, "a list that cannot be kept");
    }
    return DG_OK;
}

static dg_status append_from_mark(reader *r)
{
    int64_t mark;
    DG_TRY(find_mark(r, &mark));
    /* The items follow the mark, the list lies below it. */
    memmove(&r->stack[mark], &r->stack[mark + 1], (size_t)(r->depth - mark - 1) * sizeof *r->stack);
    r->depth--;
    DG_TRY(append_from(r, mark));
    r->depth = mark;
    return DG_OK;
}

/* A key that is a whole number becomes its digits, as in JSON. */
static dg_status set_item(reader *r, json_t *dict, const value *key, const value *content)
{
    char digits[24];
    json_t *item = NULL;
    const char *name = digits;
    int64_t bytes = snprintf(digits, sizeof digits, "%lld", (long long)key->number);
    if (key->kind == K_STRING) {
        name = (const char *)key->text;
        bytes = key->number;
    } else if (key->kind != K_INT) {
        return DG_FAIL(DG_ERR_UNSUPPORTED, "%s: a pickled dict has a key that is no text", r->role);
    }
    DG_TRY(to_json(r, content, 0, &item));
    return json_object_setn_new(dict, name, (size_t)bytes, item) == 0 ? DG_OK : damaged(r, "a key that is no UTF-8");
}

static dg_status set_items(reader *r)
{
    int64_t mark;
    json_t *dict;
    DG_TRY(find_mark(r, &mark));
    DG_TRY(container_at(r, mark - 1, true, &dict));
    if ((r->depth - mark - 1) % 2 != 0) return damaged(r, "a key without its value");
    for (int64_t i = mark + 1; i < r->depth; i += 2) DG_TRY(set_item(r, dict, &r->stack[i], &r->stack[i + 1]));
    r->depth = mark;
    return DG_OK;
}

/* ---- NumPy's few calls ---- */

static bool is_text(const value *v, const char *text)
{
    return v->kind == K_STRING && (size_t)v->number == strlen(text) && memcmp(v->text, text, (size_t)v->number) == 0;
}

static dg_status stack_global(reader *r)
{
    DG_TRY(need(r, 2));
    const value *module = &r->stack[r->depth - 2], *name = &r->stack[r->depth - 1];
    for (size_t i = 0; i < sizeof global_row / sizeof global_row[0]; i++) {
        if (!is_text(module, global_row[i].module) || !is_text(name, global_row[i].name)) continue;
        r->depth -= 2;
        return push(r, (value){.kind = K_GLOBAL, .number = global_row[i].which});
    }
    return DG_FAIL(DG_ERR_UNSUPPORTED,
                   "%s: the pickle wants to call something other than NumPy's plain values: refused, "
                   "nothing was executed",
                   r->role);
}

static dg_status make_dtype(reader *r, const value *argument, int64_t count)
{
    if (count < 1 || argument->kind != K_STRING || argument->number != 2) return damaged(r, "an unknown dtype");
    const char type = (char)argument->text[0];
    const int size = argument->text[1] - '0';
    const bool known = (type == 'O' && size == 8) || (type == 'b' && size == 1) ||
                       ((type == 'f' || type == 'i' || type == 'u') && (size == 4 || size == 8)) ||
                       ((type == 'i' || type == 'u') && (size == 1 || size == 2));
    if (!known) return DG_FAIL(DG_ERR_UNSUPPORTED, "%s: a pickled value has the dtype %c%d", r->role, type, size);
    return new_object(r, K_DTYPE, (object){.type = type, .size = size});
}

static dg_status make_scalar(reader *r, const value *argument, int64_t count)
{
    uint8_t raw[SCALAR_BYTES] = {0};
    if (count != 2 || argument[0].kind != K_DTYPE || argument[1].kind != K_BYTES)
        return damaged(r, "a scalar without value");
    const object *type = &r->objects[argument[0].object];
    if (type->type == 'O' || argument[1].number != type->size)
        return damaged(r, "a scalar of another size than its dtype");
    for (int i = 0; i < type->size; i++) raw[i] = argument[1].text[type->swapped ? type->size - 1 - i : i];
    const uint64_t bits = little(raw, SCALAR_BYTES);
    if (type->type == 'b') return push(r, (value){.kind = K_BOOL, .number = bits != 0});
    if (type->type == 'f') {
        float single;
        double real;
        const uint32_t low = (uint32_t)bits;
        memcpy(&single, &low, sizeof single);
        memcpy(&real, &bits, sizeof real);
        return push(r, (value){.kind = K_FLOAT, .real = type->size == 4 ? (double)single : real});
    }
    const int shift = 64 - 8 * type->size;
    const int64_t whole = type->type == 'i' ? (int64_t)(bits << shift) >> shift : (int64_t)bits;
    return push(r, (value){.kind = K_INT, .number = whole});
}

static dg_status reduce(reader *r)
{
    DG_TRY(need(r, 2));
    const value called = r->stack[r->depth - 2], arguments = r->stack[r->depth - 1];
    if (called.kind != K_GLOBAL || arguments.kind != K_TUPLE) return damaged(r, "a call of what is no function");
    const value *argument = r->cell == NULL ? NULL : &r->cell[arguments.object];
    const int64_t count = arguments.number;
    r->depth -= 2;
    switch ((global)called.number) {
    case G_DTYPE: return count < 1 ? damaged(r, "an unknown dtype") : make_dtype(r, argument, count);
    case G_SCALAR: return make_scalar(r, argument, count);
    case G_RECONSTRUCT:
        if (count == 3 && argument[0].kind == K_GLOBAL && argument[0].number == G_NDARRAY)
            return new_object(r, K_ARRAY, (object){.type = 'O'});
        return damaged(r, "an array of an unknown kind");
    case G_NDARRAY: break;
    }
    return DG_FAIL(DG_ERR_UNSUPPORTED, "%s: the pickle calls numpy.ndarray: refused", r->role);
}

/* State of an array: (version, shape, dtype, fortran, list of the elements). */
static dg_status build_array(reader *r, object *array, const value *state, int64_t count)
{
    if (count != 5 || state[1].kind != K_TUPLE || state[2].kind != K_DTYPE || r->objects[state[2].object].type != 'O')
        return DG_FAIL(DG_ERR_UNSUPPORTED, "%s: the pickle holds an array of numbers; only one dict is read", r->role);
    if (state[1].number != 0 || state[4].kind != K_CONTAINER || json_array_size(state[4].json) != 1)
        return DG_FAIL(DG_ERR_UNSUPPORTED, "%s: the pickle holds an array of objects; only one dict is read", r->role);
    if (array->content != NULL) return damaged(r, "an array that is built twice");
    array->content = json_incref(json_array_get(state[4].json, 0));
    return DG_OK;
}

static dg_status build(reader *r)
{
    DG_TRY(need(r, 2));
    const value target = r->stack[r->depth - 2], state = r->stack[r->depth - 1];
    if (state.kind != K_TUPLE || state.number < 2) return damaged(r, "a state that is no tuple");
    const value *item = &r->cell[state.object];
    r->depth--;
    if (target.kind == K_ARRAY) return build_array(r, &r->objects[target.object], item, state.number);
    if (target.kind != K_DTYPE || item[1].kind != K_STRING || item[1].number != 1)
        return damaged(r, "an unknown state");
    r->objects[target.object].swapped = item[1].text[0] == '>';
    return DG_OK;
}

/* ---- opcodes ---- */

static dg_status remember(reader *r)
{
    DG_TRY(need(r, 1));
    DG_TRY(room(&r->memo, r->memos, &r->memo_room, sizeof *r->memo));
    r->memo[r->memos++] = r->stack[r->depth - 1];
    return DG_OK;
}

static dg_status recall(reader *r, int64_t bytes)
{
    const uint8_t *b;
    DG_TRY(take(r, bytes, &b));
    const int64_t which = (int64_t)little(b, bytes);
    if (which >= r->memos) return damaged(r, "a reference to nothing");
    return push(r, r->memo[which]);
}

static dg_status text(reader *r, kind which)
{
    const uint8_t *b, *content;
    DG_TRY(take(r, 1, &b));
    const int64_t bytes = b[0];
    DG_TRY(take(r, bytes, &content));
    return push(r, (value){.kind = which, .number = bytes, .text = content});
}

static dg_status integer(reader *r, int64_t bytes)
{
    const uint8_t *b;
    DG_TRY(take(r, bytes, &b));
    const uint64_t bits = little(b, bytes);
    return push(r, (value){.kind = K_INT, .number = bytes == 4 ? (int64_t)(int32_t)bits : (int64_t)bits});
}

static dg_status real(reader *r)
{
    const uint8_t *b;
    uint64_t bits = 0;
    double number;
    DG_TRY(take(r, 8, &b));
    for (int i = 0; i < 8; i++) bits = bits << 8 | b[i]; /* the one big-endian number */
    memcpy(&number, &bits, sizeof number);
    return push(r, (value){.kind = K_FLOAT, .real = number});
}

static dg_status skip(reader *r, int64_t bytes)
{
    const uint8_t *b;
    return take(r, bytes, &b);
}

static dg_status append_one(reader *r)
{
    DG_TRY(need(r, 2));
    DG_TRY(append_from(r, r->depth - 1));
    r->depth--;
    return DG_OK;
}

static dg_status obey(reader *r, uint8_t opcode)
{
    switch (opcode) {
    case 0x80: return skip(r, 1); /* PROTO */
    case 0x95: return skip(r, 8); /* FRAME */
    case '(': return push(r, (value){.kind = K_MARK});
    case '}': return new_container(r, json_object());
    case ']': return new_container(r, json_array());
    case ')': return make_tuple(r, 0);
    case 'a': return append_one(r);
    case 'e': return append_from_mark(r);
    case 'u': return set_items(r);
    case 't': return tuple_from_mark(r);
    case 0x85: return make_tuple(r, 1);
    case 0x86: return make_tuple(r, 2);
    case 0x87: return make_tuple(r, 3);
    case 'N': return push(r, (value){.kind = K_NONE});
    case 0x88: return push(r, (value){.kind = K_BOOL, .number = 1});
    case 0x89: return push(r, (value){.kind = K_BOOL, .number = 0});
    case 'J': return integer(r, 4);
    case 'K': return integer(r, 1);
    case 'M': return integer(r, 2);
    case 'G': return real(r);
    case 0x8c: return text(r, K_STRING);
    case 'C': return text(r, K_BYTES);
    case 0x94: return remember(r);
    case 'h': return recall(r, 1);
    case 'j': return recall(r, 4);
    case 0x93: return stack_global(r);
    case 'R': return reduce(r);
    case 'b': return build(r);
    default:
        return DG_FAIL(DG_ERR_UNSUPPORTED,
                       "%s: the pickle uses opcode 0x%02x, which is not on the closed list of plain "
                       "values: refused, nothing was executed",
                       r->role, opcode);
    }
}

static void release(reader *r)
{
    for (int64_t i = 0; i < r->owned_count; i++) json_decref(r->owned[i]);
    for (int64_t i = 0; i < r->object_count; i++) json_decref(r->objects[i].content);
    dg_free(&r->owned);
    dg_free(&r->objects);
    dg_free(&r->cell);
    dg_free(&r->memo);
    dg_free(&r->stack);
}

dg_status dg_pickle_read(const void *bytes, int64_t length, const char *role, json_t **out)
{
    reader r = {.at = bytes, .end = (const uint8_t *)bytes + length, .role = role};
    *out = NULL;
    dg_status status = DG_NEW(&r.stack, STACK_MAX, "pickled values");
    bool stopped = false;
    while (status == DG_OK && !stopped) {
        const uint8_t *opcode;
        status = take(&r, 1, &opcode);
        if (status != DG_OK) break;
        stopped = *opcode == '.';
        if (!stopped) status = obey(&r, *opcode);
    }
    if (status == DG_OK)
        status = r.depth == 1 ? to_json(&r, &r.stack[0], 0, out) : damaged(&r, "it does not end with one value");
    release(&r);
    return status;
}
