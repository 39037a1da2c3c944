/* import_format.h - what an import can read: each format says which paths are patients of it, and reads one.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_IMPORT_FORMAT_H
#define DG_IMPORT_FORMAT_H

#include "dg_cohort.h"

/* What the user said about all cases. */
typedef struct import_settings {
    bool require_dose, keep_ct;
    double spacing_mm[3];   /* [z,y,x] of files that do not say; 0: not given */
    double prescription_gy; /* likewise */
} import_settings;

/* One patient read, as the cohort's writer takes it; arrays of `data` belong to it. import_case_release frees it all. */
typedef struct import_case {
    dg_case_data data; /* info without id, group and content_sha256 */
    void *owned[8];
    int owned_count;
    char note[160]; /* for the log, or "" */
} import_case;

typedef struct import_format {
    const char *name;
    const char *suffix; /* a patient is a file of this ending, which is not part of its id; NULL: a folder */
    /* Size of the patient at `path` in bytes, for scheduling; negative when there is none. */
    double (*patient_bytes)(const char *path);
    /* Messages name `id` and the file's role. DG_ERR_DATA, DG_ERR_FORMAT, DG_ERR_IO and DG_ERR_UNSUPPORTED are the case's. */
    dg_status (*read)(const char *path, const char *id, const import_settings *settings, import_case *out);
} import_format;

enum { IMPORT_FORMATS = 2 };
extern const import_format import_openkbp, import_npz;
const import_format *import_format_at(int index); /* 0 .. IMPORT_FORMATS - 1 */

/* Keeps `memory` (from dg_alloc) until release. */
void import_case_own(import_case *c, void *memory);
void import_case_release(import_case *c);

#endif
