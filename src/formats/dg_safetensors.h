/* dg_safetensors.h - named tensors as the safetensors library keeps them: 8 bytes of header length, a JSON header, raw
 * little-endian values. Nothing in such a file is executed. Source: github.com/huggingface/safetensors, README, Format.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_SAFETENSORS_H
#define DG_SAFETENSORS_H

#include "dg_status.h"

#include <stdbool.h>
#include <stdint.h>

enum { DG_SAFETENSORS_RANK = 8 };

typedef struct dg_safetensors dg_safetensors;               /* open for reading */
typedef struct dg_safetensors_writer dg_safetensors_writer; /* being made */

/* Reads the file. `role` names it in messages and is kept. DG_ERR_IO; DG_ERR_FORMAT: the header is no JSON, is larger than
 * the file or 100 MB, a tensor lies outside the file, its bytes do not fit its shape, two overlap or bytes are left over. */
DG_MUST_USE dg_status dg_safetensors_open(const char *path, const char *role, dg_safetensors **out);
void dg_safetensors_close(dg_safetensors **file);
int dg_safetensors_count(const dg_safetensors *file);
const char *dg_safetensors_name(const dg_safetensors *file, int index); /* in the order of the header */
bool dg_safetensors_has(const dg_safetensors *file, const char *name);
/* A tensor of F64, F32, F16 or BF16 as f32, C order: values[product of shape]. DG_ERR_MISMATCH: no such name, or another
 * shape (both are named); DG_ERR_UNSUPPORTED: another type. */
DG_MUST_USE dg_status dg_safetensors_read(const dg_safetensors *file, const char *name, int rank, const int64_t *shape,
                                          float *values);

DG_MUST_USE dg_status dg_safetensors_create(const char *role, dg_safetensors_writer **out);
/* Adds an F32 tensor (copied). Names come once. */
DG_MUST_USE dg_status dg_safetensors_add(dg_safetensors_writer *writer, const char *name, int rank,
                                         const int64_t *shape, const float *values);
/* A word under __metadata__ ("format": "pt"). */
DG_MUST_USE dg_status dg_safetensors_note(dg_safetensors_writer *writer, const char *key, const char *value);
/* Writes durably (NAME.tmp, fsync, rename). */
DG_MUST_USE dg_status dg_safetensors_write(dg_safetensors_writer *writer, const char *path);
void dg_safetensors_destroy(dg_safetensors_writer **writer);

#endif
