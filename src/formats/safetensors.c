/* safetensors.c - see dg_safetensors.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_safetensors.h"

#include "dg_file.h"
#include "dg_mem.h"
#include "half_impl.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROLE_MAX = 160, LENGTH_BYTES = 8, HEADER_MAX = 100000000, ALIGNMENT = 8 };
#define FILE_MAX ((int64_t)1 << 36)

typedef enum element { E_F64, E_F32, E_F16, E_BF16, E_OTHER } element;

typedef struct tensor {
    const char *name; /* of the header's JSON */
    element type;
    int rank;
    int64_t shape[DG_SAFETENSORS_RANK], count, begin, end; /* bytes from the start of the values */
} tensor;

struct dg_safetensors {
    char role[ROLE_MAX];
    char *bytes; /* the whole file */
    const char *values;
    int64_t value_bytes;
    json_t *header;
    tensor *tensor; /* [count], in the order of the header */
    int count;
};

static const struct {
    const char *name;
    element type;
    int size;
} type_row[] = {{"F64", E_F64, 8},   {"F32", E_F32, 4},   {"F16", E_F16, 2},   {"BF16", E_BF16, 2}, {"I64", E_OTHER, 8},
                {"I32", E_OTHER, 4}, {"I16", E_OTHER, 2}, {"I8", E_OTHER, 1},  {"U64", E_OTHER, 8}, {"U32", E_OTHER, 4},
                {"U16", E_OTHER, 2}, {"U8", E_OTHER, 1},  {"BOOL", E_OTHER, 1}};

static bool read_type(const char *name, element *type, int *size)
{
    for (size_t i = 0; name != NULL && i < sizeof type_row / sizeof type_row[0]; i++) {
        if (strcmp(name, type_row[i].name) != 0) continue;
        *type = type_row[i].type;
        *size = type_row[i].size;
        return true;
    }
    return false;
}

static bool read_shape(const json_t *shape, tensor *t)
{
    size_t i;
    json_t *length;
    t->count = 1;
    if (!json_is_array(shape) || json_array_size(shape) > DG_SAFETENSORS_RANK) return false;
    json_array_foreach(shape, i, length)
    {
        if (!json_is_integer(length) || json_integer_value(length) < 0) return false;
        t->shape[t->rank++] = json_integer_value(length);
        if (!dg_mul_int64(t->count, json_integer_value(length), &t->count)) return false;
    }
    return true;
}

static dg_status read_tensor(const dg_safetensors *f, const char *name, const json_t *entry, tensor *t)
{
    int size = 0;
    int64_t bytes;
    const json_t *place = json_object_get(entry, "data_offsets");
    t->name = name;
    if (!read_type(json_string_value(json_object_get(entry, "dtype")), &t->type, &size))
        return DG_FAIL(DG_ERR_FORMAT, "%s: the tensor %.80s has an unknown dtype", f->role, name);
    if (!read_shape(json_object_get(entry, "shape"), t))
        return DG_FAIL(DG_ERR_FORMAT, "%s: the tensor %.80s has an impossible shape", f->role, name);
    if (json_array_size(place) != 2 || !json_is_integer(json_array_get(place, 0)) ||
        !json_is_integer(json_array_get(place, 1)))
        return DG_FAIL(DG_ERR_FORMAT, "%s: the tensor %.80s has no place in the file", f->role, name);
    t->begin = json_integer_value(json_array_get(place, 0));
    t->end = json_integer_value(json_array_get(place, 1));
    if (t->begin < 0 || t->end < t->begin || t->end > f->value_bytes)
        return DG_FAIL(DG_ERR_FORMAT,
                       "%s: the tensor %.80s lies at bytes %lld to %lld of %lld: the file is cut short or damaged",
                       f->role, name, (long long)t->begin, (long long)t->end, (long long)f->value_bytes);
    if (!dg_mul_int64(t->count, size, &bytes) || bytes != t->end - t->begin)
        return DG_FAIL(DG_ERR_FORMAT, "%s: the tensor %.80s has %lld bytes, which do not fit its shape", f->role, name,
                       (long long)(t->end - t->begin));
    return DG_OK;
}

static int by_begin(const void *a, const void *b)
{
    const tensor *left = *(const tensor *const *)a, *right = *(const tensor *const *)b;
    return left->begin != right->begin ? (left->begin > right->begin) - (left->begin < right->begin)
                                       : (left->end > right->end) - (left->end < right->end);
}

/* The format wants the tensors to cover the values without a gap: what is left over could hide anything. */
static dg_status check_cover(const dg_safetensors *f)
{
    const tensor **order = NULL;
    int64_t at = 0;
    DG_TRY(DG_NEW(&order, f->count + 1, "order of tensors"));
    for (int i = 0; i < f->count; i++) order[i] = &f->tensor[i];
    qsort(order, (size_t)f->count, sizeof *order, by_begin);
    bool covered = true;
    for (int i = 0; i < f->count; i++) {
        covered = covered && order[i]->begin == at;
        at = order[i]->end;
    }
    dg_free(&order);
    if (covered && at == f->value_bytes) return DG_OK;
    return DG_FAIL(DG_ERR_FORMAT, "%s: its tensors overlap or leave bytes between them", f->role);
}

static dg_status read_header(dg_safetensors *f, int64_t length)
{
    const unsigned char *b = (const unsigned char *)f->bytes;
    uint64_t size = 0;
    json_error_t error;
    const char *name;
    json_t *entry;
    for (int i = LENGTH_BYTES - 1; length >= LENGTH_BYTES && i >= 0; i--) size = size << 8 | b[i];
    if (length < LENGTH_BYTES || size > HEADER_MAX || (int64_t)size > length - LENGTH_BYTES)
        return DG_FAIL(DG_ERR_FORMAT, "%s: this is no safetensors file, or it is cut short", f->role);
    f->values = f->bytes + LENGTH_BYTES + size;
    f->value_bytes = length - LENGTH_BYTES - (int64_t)size;
    f->header = json_loadb(f->bytes + LENGTH_BYTES, size, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(f->header))
        return DG_FAIL(DG_ERR_FORMAT, "%s: its header is no JSON object: %s", f->role,
                       f->header == NULL ? error.text : "");
    DG_TRY(DG_NEW(&f->tensor, json_object_size(f->header) + 1, "tensors"));
    json_object_foreach(f->header, name, entry)
    {
        if (strcmp(name, "__metadata__") == 0) continue;
        DG_TRY(read_tensor(f, name, entry, &f->tensor[f->count]));
        f->count++;
    }
    return check_cover(f);
}

dg_status dg_safetensors_open(const char *path, const char *role, dg_safetensors **out)
{
    int64_t length;
    *out = NULL;
    DG_TRY(DG_NEW(out, 1, "safetensors reader"));
    snprintf((*out)->role, sizeof(*out)->role, "%s", role);
    dg_status status = dg_file_read(path, role, FILE_MAX, &(*out)->bytes, &length);
    if (status == DG_OK) status = read_header(*out, length);
    if (status != DG_OK) dg_safetensors_close(out);
    return status;
}

void dg_safetensors_close(dg_safetensors **file)
{
    if (*file == NULL) return;
    json_decref((*file)->header);
    dg_free(&(*file)->tensor);
    dg_free(&(*file)->bytes);
    dg_free(file);
}

int dg_safetensors_count(const dg_safetensors *file) { return file->count; }
const char *dg_safetensors_name(const dg_safetensors *file, int index) { return file->tensor[index].name; }

static const tensor *find(const dg_safetensors *file, const char *name)
{
    for (int i = 0; i < file->count; i++)
        if (strcmp(file->tensor[i].name, name) == 0) return &file->tensor[i];
    return NULL;
}

bool dg_safetensors_has(const dg_safetensors *file, const char *name) { return find(file, name) != NULL; }

static void print_shape(int rank, const int64_t *shape, char *text, size_t capacity)
{
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < rank && used < capacity; i++)
        used += (size_t)snprintf(text + used, capacity - used, "%s%lld", i > 0 ? "," : "", (long long)shape[i]);
}

static float value_at(const tensor *t, const char *values, int64_t i)
{
    double wide;
    float single;
    uint16_t narrow;
    uint32_t bits;
    switch (t->type) {
    case E_F64: memcpy(&wide, values + 8 * i, sizeof wide); return (float)wide;
    case E_F32: memcpy(&single, values + 4 * i, sizeof single); return single;
    case E_F16: memcpy(&narrow, values + 2 * i, sizeof narrow); return half_to_f32(narrow);
    default:
        memcpy(&narrow, values + 2 * i, sizeof narrow);
        bits = (uint32_t)narrow << 16;
        memcpy(&single, &bits, sizeof single);
        return single;
    }
}

dg_status dg_safetensors_read(const dg_safetensors *file, const char *name, int rank, const int64_t *shape,
                              float *values)
{
    char have[200], want[200];
    const tensor *t = find(file, name);
    if (t == NULL) return DG_FAIL(DG_ERR_MISMATCH, "%s: the tensor %s is missing", file->role, name);
    bool same = t->rank == rank;
    for (int i = 0; same && i < rank; i++) same = t->shape[i] == shape[i];
    if (!same) {
        print_shape(t->rank, t->shape, have, sizeof have);
        print_shape(rank, shape, want, sizeof want);
        return DG_FAIL(DG_ERR_MISMATCH, "%s: the tensor %s has the shape (%s), the network needs (%s)", file->role,
                       name, have, want);
    }
    if (t->type == E_OTHER)
        return DG_FAIL(DG_ERR_UNSUPPORTED, "%s: the tensor %s holds no floating-point numbers", file->role, name);
    for (int64_t i = 0; i < t->count; i++) values[i] = value_at(t, file->values + t->begin, i);
    return DG_OK;
}

/* ---- writing ---- */

struct dg_safetensors_writer {
    char role[ROLE_MAX];
    json_t *header, *metadata;
    char *values;
    int64_t used, room;
};

dg_status dg_safetensors_create(const char *role, dg_safetensors_writer **out)
{
    DG_TRY(DG_NEW(out, 1, "safetensors writer"));
    snprintf((*out)->role, sizeof(*out)->role, "%s", role);
    (*out)->header = json_object();
    (*out)->metadata = json_object();
    if ((*out)->header != NULL && (*out)->metadata != NULL) return DG_OK;
    dg_safetensors_destroy(out);
    return DG_FAIL(DG_ERR_MEMORY, "%s: no memory for the header", role);
}

void dg_safetensors_destroy(dg_safetensors_writer **writer)
{
    if (*writer == NULL) return;
    json_decref((*writer)->header);
    json_decref((*writer)->metadata);
    dg_free(&(*writer)->values);
    dg_free(writer);
}

dg_status dg_safetensors_add(dg_safetensors_writer *w, const char *name, int rank, const int64_t *shape,
                             const float *values)
{
    int64_t count = 1;
    json_t *lengths = json_array();
    for (int i = 0; i < rank; i++) {
        count *= shape[i];
        json_array_append_new(lengths, json_integer(shape[i]));
    }
    const int64_t bytes = count * (int64_t)sizeof *values;
    if (json_object_get(w->header, name) != NULL || strcmp(name, "__metadata__") == 0) {
        json_decref(lengths);
        return DG_FAIL(DG_ERR_INTERNAL, "%s: the tensor %s comes twice", w->role, name);
    }
    json_t *entry = json_pack("{s:s, s:o, s:[I,I]}", "dtype", "F32", "shape", lengths, "data_offsets",
                              (json_int_t)w->used, (json_int_t)(w->used + bytes));
    if (json_object_set_new(w->header, name, entry) != 0)
        return DG_FAIL(DG_ERR_MEMORY, "%s: no memory for the header", w->role);
    if (w->used + bytes > w->room) {
        const int64_t room = 2 * w->room + bytes;
        DG_TRY(dg_grow(&w->values, (size_t)w->room, (size_t)room, 1, w->role));
        w->room = room;
    }
    memcpy(w->values + w->used, values, (size_t)bytes);
    w->used += bytes;
    return DG_OK;
}

dg_status dg_safetensors_note(dg_safetensors_writer *w, const char *key, const char *value)
{
    if (json_object_set_new(w->metadata, key, json_string(value)) == 0) return DG_OK;
    return DG_FAIL(DG_ERR_INTERNAL, "%s: the note %s cannot be kept", w->role, key);
}

/* The header is filled up with blanks, so that the values are aligned. */
static dg_status put_together(const dg_safetensors_writer *w, const char *header, char **out, int64_t *length)
{
    const int64_t text = (int64_t)strlen(header), size = (text + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    *length = LENGTH_BYTES + size + w->used;
    DG_TRY(dg_alloc(out, (size_t)*length, 1, w->role));
    for (int i = 0; i < LENGTH_BYTES; i++) (*out)[i] = (char)(size >> (8 * i));
    memset(*out + LENGTH_BYTES, ' ', (size_t)size);
    memcpy(*out + LENGTH_BYTES, header, (size_t)text);
    if (w->used > 0) memcpy(*out + LENGTH_BYTES + size, w->values, (size_t)w->used);
    return DG_OK;
}

dg_status dg_safetensors_write(dg_safetensors_writer *w, const char *path)
{
    char *bytes = NULL;
    int64_t length = 0;
    if (json_object_size(w->metadata) > 0 && json_object_set(w->header, "__metadata__", w->metadata) != 0)
        return DG_FAIL(DG_ERR_MEMORY, "%s: no memory for the header", w->role);
    char *header = json_dumps(w->header, JSON_COMPACT);
    dg_status status = header == NULL ? DG_FAIL(DG_ERR_MEMORY, "%s: no memory for the header", w->role)
                                      : put_together(w, header, &bytes, &length);
    free(header);
    if (status == DG_OK) status = dg_file_write(path, bytes, length);
    dg_free(&bytes);
    return status;
}
