/* import_format.c - see import_format.h. SPDX-License-Identifier: Apache-2.0 */
#include "import_format.h"

#include "dg_mem.h"

const import_format *import_format_at(int index)
{
    static const import_format *const formats[IMPORT_FORMATS] = {&import_openkbp, &import_npz};
    return formats[index];
}

void import_case_own(import_case *c, void *memory) { c->owned[c->owned_count++] = memory; }

void import_case_release(import_case *c)
{
    while (c->owned_count > 0) dg_free(&c->owned[--c->owned_count]);
}
