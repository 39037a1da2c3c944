/* dg_dtype.h - element types of arrays in memory and in files. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_DTYPE_H
#define DG_DTYPE_H

#include <stddef.h>
#include <stdint.h>

typedef enum dg_dtype { DG_F32, DG_BF16, DG_F64, DG_U8, DG_I16, DG_I32, DG_I64, DG_U64 } dg_dtype;

/* Bytes of one element. */
static inline size_t dg_dtype_size(dg_dtype type)
{
    switch (type) {
    case DG_U8: return 1;
    case DG_BF16:
    case DG_I16: return 2;
    case DG_F32:
    case DG_I32: return 4;
    case DG_F64:
    case DG_I64:
    case DG_U64: return 8;
    }
    return 0;
}

#endif
