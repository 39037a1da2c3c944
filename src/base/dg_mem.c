/* dg_mem.c - see dg_mem.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static bool byte_count(size_t count, size_t size, size_t *bytes)
{
    if (size != 0 && count > (SIZE_MAX - DG_MEM_ALIGNMENT) / size) return false;
    *bytes = (count * size + DG_MEM_ALIGNMENT - 1) / DG_MEM_ALIGNMENT * DG_MEM_ALIGNMENT;
    if (*bytes == 0) *bytes = DG_MEM_ALIGNMENT;
    return true;
}

static void *pointer_at(void *slot)
{
    void *pointer;
    memcpy(&pointer, slot, sizeof pointer);
    return pointer;
}

static void set_pointer_at(void *slot, void *pointer) { memcpy(slot, &pointer, sizeof pointer); }

dg_status dg_alloc(void *out, size_t count, size_t size, const char *what)
{
    size_t bytes;
    set_pointer_at(out, NULL);
    if (!byte_count(count, size, &bytes))
        return DG_FAIL(DG_ERR_MEMORY, "%s: %zu elements of %zu bytes overflow the address space", what, count, size);
    void *block = aligned_alloc(DG_MEM_ALIGNMENT, bytes);
    if (block == NULL)
        return DG_FAIL(DG_ERR_MEMORY, "%s: no memory for %.1f MiB; use fewer ranks per node or a smaller patch", what,
                       (double)bytes / 1048576.0);
    memset(block, 0, bytes);
    set_pointer_at(out, block);
    return DG_OK;
}

dg_status dg_grow(void *inout, size_t old_count, size_t new_count, size_t size, const char *what)
{
    void *bigger;
    DG_TRY(dg_alloc(&bigger, new_count, size, what));
    void *old = pointer_at(inout);
    if (old != NULL) memcpy(bigger, old, (old_count < new_count ? old_count : new_count) * size);
    free(old);
    set_pointer_at(inout, bigger);
    return DG_OK;
}

void dg_free(void *inout)
{
    free(pointer_at(inout));
    set_pointer_at(inout, NULL);
}

dg_status dg_string_copy(const char *text, char **out)
{
    size_t bytes = strlen(text) + 1;
    DG_TRY(dg_alloc(out, bytes, 1, "string"));
    memcpy(*out, text, bytes);
    return DG_OK;
}

bool dg_mul_int64(int64_t a, int64_t b, int64_t *out)
{
    if (a < 0 || b < 0) return false;
    return !__builtin_mul_overflow(a, b, out);
}

int64_t dg_peak_rss_bytes(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
    return (int64_t)usage.ru_maxrss * 1024;
}
