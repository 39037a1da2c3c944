/* import_names.h - what a region probably is, told by its name: proposals for people, never for an import.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_IMPORT_NAMES_H
#define DG_IMPORT_NAMES_H

#include "dg_structure.h"

#include <stdbool.h>

/* Fills name, role, tg263, mirror and, of "PTV_7000", the level. `type` is DICOM's RTROIInterpretedType or "". False: nothing
 * is proposed; clinical targets (CTV, GTV) are among those. */
bool import_names_propose(const char *name, const char *type, dg_structure *out);

#endif
