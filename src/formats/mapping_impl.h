/* mapping_impl.h - what the files of the mappings share; not for other folders. SPDX-License-Identifier: Apache-2.0 */
#ifndef MAPPING_IMPL_H
#define MAPPING_IMPL_H

#include "dg_mapping.h"

#include <stddef.h>

/* The presets of src/formats/presets by their file names, built in. */
typedef struct mapping_preset {
    const char *name;
    const unsigned char *bytes;
    size_t length;
} mapping_preset;
extern const mapping_preset mapping_presets[];
extern const int mapping_preset_count;

/* Row of a structure by name, case does not matter; -1. */
int dg_mapping_row_find(const dg_mapping *m, const char *name);

#endif
