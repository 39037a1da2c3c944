/* dg_mem.h - checked host memory: zeroed, overflow-safe, aligned for vector loads. Ownership: the caller's.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_MEM_H
#define DG_MEM_H

#include "dg_status.h"

#include <stdbool.h>
#include <stdint.h>

enum { DG_MEM_ALIGNMENT = 64 };

/* Allocates count * size zeroed bytes, aligned to 64, and stores the pointer in *(void **)out; frees with dg_free.
 * @collective no. @return DG_ERR_MEMORY on overflow or exhaustion (the message says how much for what). */
DG_MUST_USE dg_status dg_alloc(void *out, size_t count, size_t size, const char *what);

/* dg_alloc for an array of the pointee type: DG_NEW(&p, n, "case table"). */
#define DG_NEW(out, count, what) dg_alloc((out), (size_t)(count), sizeof **(out), (what))

/* Grows *(void **)inout from old_count to new_count elements; new bytes are zero. On failure the old block stays. */
DG_MUST_USE dg_status dg_grow(void *inout, size_t old_count, size_t new_count, size_t size, const char *what);

/* Frees *(void **)inout and sets it to NULL; NULL is fine. */
void dg_free(void *inout);

/* Copies a string; *out is the caller's (dg_free). */
DG_MUST_USE dg_status dg_string_copy(const char *text, char **out);

/* *out = a * b; false on overflow or a negative factor. */
bool dg_mul_int64(int64_t a, int64_t b, int64_t *out);

/* Largest resident set of this process so far, in bytes (getrusage). */
int64_t dg_peak_rss_bytes(void);

#endif
