/* import_format.c - see import_format.h. SPDX-License-Identifier: Apache-2.0 */
#include "import_format.h"

#include "dg_mem.h"

const import_format *import_format_at(int index)
{
    static const import_format *const formats[IMPORT_FORMATS] = {&import_openkbp, &import_npz, &import_dicom,
                                                                 &import_tiff};
    return formats[index];
}

void import_case_own(import_case *c, void *memory) { c->owned[c->owned_count++] = memory; }

void import_case_give_back(void *owner, const void *array)
{
    import_case *c = owner;
    for (int i = 0; i < c->owned_count; i++)
        if (c->owned[i] == array) dg_free(&c->owned[i]);
}

void import_case_release(import_case *c)
{
    while (c->owned_count > 0) dg_free(&c->owned[--c->owned_count]);
    if (c->whole != NULL) c->destroy(c->whole);
    dg_free(&c->whole);
    json_decref(c->report);
    c->report = NULL;
}

dg_status import_found_add(import_found *found, const import_item *item)
{
    if (found->count == found->capacity) {
        const int64_t capacity = found->capacity * 2 + 64;
        DG_TRY(dg_grow(&found->item, (size_t)found->capacity, (size_t)capacity, sizeof *found->item, "patients"));
        found->capacity = capacity;
    }
    found->item[found->count++] = *item;
    return DG_OK;
}
