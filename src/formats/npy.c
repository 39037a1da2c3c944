/* npy.c - see dg_npy.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_file.h"
#include "dg_mem.h"
#include "dg_npy.h"
#include "half_impl.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAGIC_BYTES = 6, VALUE_BYTES = 8 };
#define ELEMENTS_MAX ((int64_t)1 << 31)

/* The text after 'key': in the header, or NULL. */
static const char *value_of(const char *header, const char *key)
{
    const char *at = strstr(header, key);
    if (at == NULL) return NULL;
    at += strlen(key);
    while (*at == ' ' || *at == ':') at++;
    return at;
}

/* (), (5,) or (2, 3, 4): up to 4 lengths above 0. */
static bool read_shape(const char *at, dg_npy_header *out)
{
    if (at == NULL || *at++ != '(') return false;
    for (;;) {
        char *end;
        while (*at == ' ') at++;
        if (*at == ')') return true;
        if (out->axes == DG_NPY_AXES || !isdigit((unsigned char)*at)) return false;
        const long long length = strtoll(at, &end, 10);
        if (length < 1 || length > ELEMENTS_MAX) return false;
        out->shape[out->axes++] = length;
        at = end;
        while (*at == ' ') at++;
        if (*at == ',') at++;
    }
}

/* '<f4', '>i2', '|u1', '|b1', '|O'. */
static bool read_type(const char *at, dg_npy_header *out)
{
    if (at == NULL || *at++ != '\'' || *at == '\0' || strchr("<>|=", *at) == NULL) return false;
    out->swapped = *at++ == '>';
    out->kind = *at++;
    out->size = out->kind == 'O' ? 0 : *at++ - '0';
    if (*at != '\'') return out->kind == 'O' && *at == '8';
    switch (out->kind) {
    case 'f': return out->size == 2 || out->size == 4 || out->size == 8;
    case 'i':
    case 'u': return out->size == 1 || out->size == 2 || out->size == 4 || out->size == 8;
    case 'b': return out->size == 1;
    default: return out->kind == 'O';
    }
}

/* Where the header's text lies. */
static dg_status find_text(const unsigned char *b, int64_t length, const char *role, int64_t *prefix, int64_t *text)
{
    *prefix = length > MAGIC_BYTES && b[MAGIC_BYTES] > 1 ? 12 : 10;
    if (length < *prefix || memcmp(b, "\x93NUMPY", MAGIC_BYTES) != 0 || b[6] < 1 || b[6] > 3)
        return DG_FAIL(DG_ERR_FORMAT, "%s: this is not a file that numpy.save wrote", role);
    *text = *prefix == 10 ? b[8] | b[9] << 8 : b[8] | b[9] << 8 | b[10] << 16 | (int64_t)b[11] << 24;
    if (*text > DG_NPY_HEADER_MAX || *prefix + *text > length || *text < 2)
        return DG_FAIL(DG_ERR_FORMAT, "%s: the .npy header is cut short", role);
    return DG_OK;
}

static dg_status parse_text(const char *text, const char *role, dg_npy_header *out)
{
    const char *type = value_of(text, "'descr'"), *fortran = value_of(text, "'fortran_order'");
    const bool is_fortran = fortran != NULL && strncmp(fortran, "True", 4) == 0;
    if (type == NULL || fortran == NULL || (!is_fortran && strncmp(fortran, "False", 5) != 0))
        return DG_FAIL(DG_ERR_FORMAT, "%s: the .npy header is damaged", role);
    out->fortran = is_fortran;
    if (!read_type(type, out))
        return DG_FAIL(DG_ERR_UNSUPPORTED, "%s: elements are %.12s; save them as numpy float32 or float64", role, type);
    if (!read_shape(value_of(text, "'shape'"), out))
        return DG_FAIL(DG_ERR_UNSUPPORTED, "%s: the array does not have up to %d axes with elements", role,
                       DG_NPY_AXES);
    for (int a = 0; a < out->axes; a++)
        if (!dg_mul_int64(out->count, out->shape[a], &out->count) || out->count > ELEMENTS_MAX)
            return DG_FAIL(DG_ERR_FORMAT, "%s: the array has an impossible shape", role);
    return DG_OK;
}

dg_status dg_npy_parse(const void *bytes, int64_t length, const char *role, dg_npy_header *out)
{
    int64_t prefix = 0, size = 0;
    char *text = NULL;
    *out = (dg_npy_header){.count = 1};
    DG_TRY(find_text(bytes, length, role, &prefix, &size));
    DG_TRY(DG_NEW(&text, size + 1, role));
    memcpy(text, (const char *)bytes + prefix, (size_t)size);
    const dg_status status = parse_text(text, role, out);
    dg_free(&text);
    out->offset = prefix + size;
    return status;
}

static float element(const dg_npy_header *header, const unsigned char *at)
{
    unsigned char raw[VALUE_BYTES] = {0};
    const int size = header->size;
    for (int i = 0; i < size; i++) raw[i] = at[header->swapped ? size - 1 - i : i];
    uint64_t bits;
    memcpy(&bits, raw, sizeof bits);
    if (header->kind == 'f') {
        float single;
        double value;
        const uint32_t low = (uint32_t)bits;
        if (size == 2) return half_to_f32((uint16_t)bits);
        memcpy(&single, &low, sizeof single);
        memcpy(&value, &bits, sizeof value);
        return size == 4 ? single : (float)value;
    }
    if (header->kind == 'b') return bits != 0;
    if (header->kind == 'u' || size == 0) return (float)bits;
    const int shift = 64 - 8 * size;
    return (float)((int64_t)(bits << shift) >> shift);
}

/* Element number of the file for index i of the C-order array. */
static int64_t place_in_file(const dg_npy_header *header, int64_t i)
{
    if (!header->fortran) return i;
    int64_t at[DG_NPY_AXES] = {0}, place = 0;
    for (int a = header->axes - 1; a >= 0; a--) {
        at[a] = i % header->shape[a];
        i /= header->shape[a];
    }
    for (int a = header->axes - 1; a >= 0; a--) place = place * header->shape[a] + at[a];
    return place;
}

dg_status dg_npy_check_numbers(const dg_npy_header *header, const char *role)
{
    if (header->kind == 'O')
        return DG_FAIL(DG_ERR_UNSUPPORTED,
                       "%s: the array holds pickled objects, which are never executed; save numbers", role);
    return DG_OK;
}

dg_status dg_npy_to_f32(const dg_npy_header *header, const void *bytes, int64_t length, const char *role, float *out)
{
    DG_TRY(dg_npy_check_numbers(header, role));
    const int64_t have = length - header->offset, want = header->count * header->size;
    if (have != want)
        return DG_FAIL(DG_ERR_FORMAT, "%s: the file has %lld bytes of elements, its shape asks for %lld", role,
                       (long long)have, (long long)want);
    const unsigned char *data = (const unsigned char *)bytes + header->offset;
    if (header->kind == 'f' && header->size == 4 && !header->swapped && !header->fortran) {
        memcpy(out, data, (size_t)want);
        return DG_OK;
    }
    for (int64_t i = 0; i < header->count; i++)
        out[i] = element(header, data + place_in_file(header, i) * header->size);
    return DG_OK;
}

dg_status dg_npy_read(const char *path, const char *role, int *axes, int64_t shape[3], float **values)
{
    char *bytes;
    int64_t length;
    dg_npy_header header;
    *values = NULL;
    DG_TRY(dg_file_read(path, role, VALUE_BYTES * ELEMENTS_MAX + DG_NPY_HEADER_MAX, &bytes, &length));
    dg_status status = dg_npy_parse(bytes, length, role, &header);
    if (status == DG_OK && (header.axes < 1 || header.axes > 3))
        status = DG_FAIL(DG_ERR_UNSUPPORTED, "%s: the array does not have 1 to 3 axes with voxels", role);
    if (status == DG_OK) status = DG_NEW(values, header.count, role);
    if (status == DG_OK) status = dg_npy_to_f32(&header, bytes, length, role, *values);
    dg_free(&bytes);
    if (status != DG_OK) {
        dg_free(values);
        return status;
    }
    *axes = header.axes;
    memcpy(shape, header.shape, 3 * sizeof *shape);
    return DG_OK;
}

int64_t dg_npy_write_header(const char *descr, int axes, const int64_t *shape, char *out, int64_t capacity)
{
    char text[200];
    int used = snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr);
    for (int a = 0; a < axes; a++)
        used += snprintf(text + used, sizeof text - (size_t)used, "%lld%s", (long long)shape[a],
                         a + 1 < axes ? ", "
                         : axes == 1  ? ","
                                      : "");
    used += snprintf(text + used, sizeof text - (size_t)used, "), }");
    const int64_t total = (10 + used + 1 + 63) / 64 * 64, size = total - 10;
    if (total > capacity) return 0;
    memcpy(out, "\x93NUMPY\x01\x00", 8);
    out[8] = (char)(size & 0xff);
    out[9] = (char)(size >> 8);
    memset(out + 10, ' ', (size_t)size);
    memcpy(out + 10, text, (size_t)used);
    out[total - 1] = '\n';
    return total;
}
