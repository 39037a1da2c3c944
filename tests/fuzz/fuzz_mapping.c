/* ctest: sources=src/base/*.c,src/grid/*.c,src/formats/mapping.c,src/formats/mapping_resolve.c,build:src/formats/mapping_presets.c pkg=jansson,yaml-0.1,libcrypto seconds=20 */
/* fuzz_mapping.c - any bytes are a mapping or are refused with file and line; what is a mapping finds its own names, extends
 * a preset or says why not, and gives every region one structure at most. SPDX-License-Identifier: Apache-2.0 */
#include "dg_mapping.h"
#include "dg_mem.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void must(bool condition)
{
    if (!condition) abort();
}

static void use(const dg_mapping *m)
{
    static const char *const NAMES[6] = {"PTV70", "CTV_7000", "Lung_L", "ptv boost", "", "Rectum"};
    static const bool FILLED[6] = {true, true, true, false, true, true};
    dg_mapping_result result[6];
    const char *rule;
    must(m->count > 0 && m->count <= DG_STRUCTURES_MAX && m->alias_count >= m->count);
    for (int a = 0; a < m->alias_count; a++) must(dg_mapping_find(m, m->alias[a].name) == a);
    const dg_status status = dg_mapping_resolve(m, NAMES, FILLED, 6, result, &rule);
    must((status == DG_OK && rule == NULL) || (status == DG_ERR_DATA && rule != NULL));
    must(result[3].row == -1 && result[4].row == -1);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    dg_mapping *m, *preset;
    for (int kind = 0; kind < 2; kind++) {
        const dg_status status = dg_mapping_read((const char *)data, size, "f.yaml", kind == 1, &m);
        if (status != DG_OK) {
            must(status == DG_ERR_USAGE && m == NULL && strncmp(dg_error_last()->text, "f.yaml:", 7) == 0);
            continue;
        }
        use(m);
        must(dg_mapping_load_preset("v2.3", &preset) == DG_OK);
        if (dg_mapping_extend(preset, m) == DG_OK) use(preset);
        dg_free(&preset);
        dg_free(&m);
    }
    return 0;
}
