/* import_format.h - what an import can read: each format says which paths are patients of it, and reads one.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_IMPORT_FORMAT_H
#define DG_IMPORT_FORMAT_H

#include "dg_cohort.h"
#include "dg_file.h"
#include "dg_mapping.h"

#include <jansson.h>

enum { IMPORT_BELOW = 1024 };

/* What the user said about all cases. */
typedef struct import_settings {
    bool require_dose, keep_ct; /* require_dose: of a TIFF, labels */
    double spacing_mm[3];       /* [z,y,x] of files that do not say; 0: not given */
    double prescription_gy;     /* likewise */
    int64_t fractions;          /* likewise */
    const char *salt;           /* of hashed ids and groups */
    const dg_mapping *mapping;  /* of DICOM; NULL: none given */
    bool upstream;              /* structures are filled as the reference does */
    int threads;
    const struct import_id_table *ids; /* NULL: hashed; known to rank 0, which looks for cases */
} import_settings;

/* One case that was found. */
typedef struct import_item {
    char id[DG_CASE_ID];
    char group[DG_CASE_ID];   /* of the patient; "": the case is the patient */
    int source;               /* which source */
    char below[IMPORT_BELOW]; /* where in the folder SOURCE; "": the source itself */
    char part[DG_HASH_HEX];   /* which of the cases there; "": there is one */
    int format;               /* import_format_at */
    double bytes;             /* of its files: the cost of the task */
} import_item;

/* Cases as they are found: owned by whoever collects. */
typedef struct import_found {
    import_item *item; /* [count] */
    int64_t count, capacity;
} import_found;
DG_MUST_USE dg_status import_found_add(import_found *found, const import_item *item);

/* One patient read, as the cohort's writer takes it; arrays of `data` belong to it. import_case_release frees it all. */
typedef struct import_case {
    dg_case_data data; /* info without id, group and content_sha256; threads are set by who writes it */
    void *owned[8];
    int owned_count;
    char note[160]; /* for the log, or "" */
    json_t *report; /* validation report, owned; NULL: the format has none */
    void *whole;    /* what else keeps the arrays, with how it goes away; NULL: nothing */
    void (*destroy)(void *whole);
} import_case;

typedef struct import_format {
    const char *name;
    const char *suffix; /* a patient is a file of this ending, which is not part of its id; NULL: a folder */
    /* Size of the patient at `path` in bytes, for scheduling; negative when there is none. */
    double (*patient_bytes)(const char *path);
    /* Instead of patient_bytes: adds all cases of a tree, with `below`, `part`, `group` and `id`. */
    dg_status (*find)(const char *source, const import_settings *settings, import_found *found);
    /* Reads a case at `path`. Messages name its id and the file's role. DG_ERR_DATA, DG_ERR_FORMAT, DG_ERR_IO and
     * DG_ERR_UNSUPPORTED are the case's. */
    dg_status (*read)(const char *path, const import_item *item, const import_settings *settings, import_case *out);
} import_format;

enum { IMPORT_FORMATS = 4 };
extern const import_format import_openkbp, import_npz, import_dicom, import_tiff;
const import_format *import_format_at(int index); /* 0 .. IMPORT_FORMATS - 1 */

/* Keeps `memory` (from dg_alloc) until release. */
void import_case_own(import_case *c, void *memory);
/* dg_case_data.written of a case whose arrays are kept so: `owner` is the import_case. */
void import_case_give_back(void *owner, const void *array);
void import_case_release(import_case *c);

#endif
