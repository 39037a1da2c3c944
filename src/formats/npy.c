/* npy.c - see dg_npy.h. Layout: numpy.lib.format, versions 1 to 3. SPDX-License-Identifier: Apache-2.0 */
#include "dg_file.h"
#include "dg_mem.h"
#include "dg_npy.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { MAGIC_BYTES = 6, HEADER_MAX = 65536 };
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

/* (2, 3, 4) or (5,): 1 to 3 lengths above 0. */
static bool read_shape(const char *at, int *axes, int64_t shape[3])
{
    if (at == NULL || *at++ != '(') return false;
    for (*axes = 0; *axes < 3; at++) {
        char *end;
        while (*at == ' ') at++;
        if (*at == ')') return *axes > 0;
        if (!isdigit((unsigned char)*at)) return false;
        const long long length = strtoll(at, &end, 10);
        if (length < 1 || length > ELEMENTS_MAX) return false;
        shape[(*axes)++] = length;
        at = end;
        while (*at == ' ') at++;
        if (*at == ')') return true;
        if (*at != ',') return false;
    }
    while (*at == ' ') at++;
    return *at == ')';
}

/* Takes the header apart; *data is where the elements begin, *size their bytes. */
static dg_status read_header(char *bytes, int64_t length, const char *role, int *axes, int64_t shape[3],
                             const char **data, int64_t *size)
{
    const unsigned char *b = (const unsigned char *)bytes;
    const int64_t prefix = length > MAGIC_BYTES && b[MAGIC_BYTES] > 1 ? 12 : 10;
    if (length < prefix || memcmp(bytes, "\x93NUMPY", MAGIC_BYTES) != 0 || b[6] < 1 || b[6] > 3)
        return DG_FAIL(DG_ERR_FORMAT, "%s: this is not a file that numpy.save wrote", role);
    const int64_t header = prefix == 10 ? b[8] | b[9] << 8 : b[8] | b[9] << 8 | b[10] << 16 | (int64_t)b[11] << 24;
    if (header > HEADER_MAX || prefix + header > length || header < 2)
        return DG_FAIL(DG_ERR_FORMAT, "%s: the .npy header is cut short", role);
    char *text = bytes + prefix;
    text[header - 1] = '\0'; /* a line feed */
    const char *type = value_of(text, "'descr'"), *fortran = value_of(text, "'fortran_order'");
    if (type == NULL || fortran == NULL) return DG_FAIL(DG_ERR_FORMAT, "%s: the .npy header is damaged", role);
    *size = strncmp(type, "'<f4'", 5) == 0 ? 4 : strncmp(type, "'<f8'", 5) == 0 ? 8 : 0;
    if (*size == 0)
        return DG_FAIL(DG_ERR_UNSUPPORTED, "%s: elements are %.12s; save them as numpy float32 or float64", role, type);
    if (strncmp(fortran, "False", 5) != 0)
        return DG_FAIL(DG_ERR_UNSUPPORTED, "%s: the array is in Fortran order; save numpy.ascontiguousarray of it",
                       role);
    if (!read_shape(value_of(text, "'shape'"), axes, shape))
        return DG_FAIL(DG_ERR_UNSUPPORTED, "%s: the array does not have 1 to 3 axes with voxels", role);
    *data = bytes + prefix + header;
    return DG_OK;
}

static dg_status take_elements(const char *data, int64_t bytes, int64_t size, const char *role, int axes,
                               const int64_t shape[3], float **values)
{
    int64_t count = 1;
    for (int a = 0; a < axes; a++)
        if (!dg_mul_int64(count, shape[a], &count) || count > ELEMENTS_MAX)
            return DG_FAIL(DG_ERR_FORMAT, "%s: the array has an impossible shape", role);
    if (bytes != count * size)
        return DG_FAIL(DG_ERR_FORMAT, "%s: the file has %lld bytes of elements, its shape asks for %lld", role,
                       (long long)bytes, (long long)(count * size));
    DG_TRY(DG_NEW(values, count, role));
    if (size == 4) {
        memcpy(*values, data, (size_t)bytes);
        return DG_OK;
    }
    for (int64_t i = 0; i < count; i++) {
        double value;
        memcpy(&value, data + 8 * i, sizeof value);
        (*values)[i] = (float)value;
    }
    return DG_OK;
}

dg_status dg_npy_read(const char *path, const char *role, int *axes, int64_t shape[3], float **values)
{
    char *bytes;
    int64_t length, size = 0;
    const char *data = NULL;
    *values = NULL;
    DG_TRY(dg_file_read(path, role, 8 * ELEMENTS_MAX + HEADER_MAX, &bytes, &length));
    dg_status status = read_header(bytes, length, role, axes, shape, &data, &size);
    if (status == DG_OK) status = take_elements(data, length - (data - bytes), size, role, *axes, shape, values);
    dg_free(&bytes);
    return status;
}
