/* dg_npy.h - arrays as numpy.save writes them: format versions 1 to 3, numbers of any width, either byte order, C or
 * Fortran order. Source: numpy.lib.format. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_NPY_H
#define DG_NPY_H

#include "dg_status.h"

#include <stdbool.h>
#include <stdint.h>

enum { DG_NPY_AXES = 4, DG_NPY_HEADER_MAX = 65536 };

/* What a header says. Elements begin `offset` bytes into the file. */
typedef struct dg_npy_header {
    char kind; /* 'f' float, 'i' signed, 'u' unsigned, 'b' bool, 'O' pickled objects */
    int size;  /* bytes of an element: f 2, 4, 8; i, u 1 to 8; b 1; O 0 */
    bool swapped, fortran;
    int axes; /* 0: one value */
    int64_t shape[DG_NPY_AXES], count;
    int64_t offset;
} dg_npy_header;

/* Takes the first bytes of a file apart (all of it, or at least the header); nothing is allocated. DG_ERR_FORMAT: not such
 * a file, cut short, an impossible shape; DG_ERR_UNSUPPORTED: another element type, more than 4 axes, an empty array. */
DG_MUST_USE dg_status dg_npy_parse(const void *bytes, int64_t length, const char *role, dg_npy_header *out);
/* DG_ERR_UNSUPPORTED for an array of objects. */
DG_MUST_USE dg_status dg_npy_check_numbers(const dg_npy_header *header, const char *role);
/* The elements of a parsed file as f32 in C order: out[count]; integers and bool by value. `length` is the whole file's.
 * DG_ERR_FORMAT: the file holds fewer or more elements than its shape asks for; DG_ERR_UNSUPPORTED: objects. */
DG_MUST_USE dg_status dg_npy_to_f32(const dg_npy_header *header, const void *bytes, int64_t length, const char *role,
                                    float *out);
/* Reads a file of 1 to 3 axes. *values is the caller's (dg_free). `role` names the file in messages. DG_ERR_IO and those of
 * the two above. */
DG_MUST_USE dg_status dg_npy_read(const char *path, const char *role, int *axes, int64_t shape[3], float **values);

/* Header of a little-endian C-order array: descr "<f4", "|u1"; axes up to 4. Returns its bytes, at most `capacity`
 * (256 always do); a multiple of 64, as numpy writes. */
int64_t dg_npy_write_header(const char *descr, int axes, const int64_t *shape, char *out, int64_t capacity);

#endif
