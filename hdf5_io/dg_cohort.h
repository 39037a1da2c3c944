/* dg_cohort.h - cases on disk: index, structures, and reads of just the patch that is wanted.
 *
 * A cohort is a folder (cohort.h5 with links into cases/) or one packed file; readers do not know which. The format is
 * design.md section 4 and doc/formats.md. `cohort_memory.c` is the same interface over arrays (tests, phantoms).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_COHORT_H
#define DG_COHORT_H

#include "dg_comm.h"
#include "dg_dtype.h"
#include "dg_grid.h"
#include "dg_hash.h"
#include "dg_status.h"
#include "dg_structure.h"

enum { DG_CASE_ID = 64, DG_CONSTRAINTS_MAX = 64 };

/* What the index says of one case. */
typedef struct dg_case_info {
    char id[DG_CASE_ID];
    char group[DG_CASE_ID]; /* salted hash of the patient: splits never part it */
    char site[DG_STRUCTURE_NAME];
    char source_format[32];       /* "openkbp", "phantom", ... */
    char prescription_source[32]; /* "plan", "structures", "unknown", or "assumed": dg_case_info_assumed */
    dg_grid grid;
    double prescription_gy; /* highest target level; 0 unknown */
    int64_t fractions;      /* 0 unknown */
    dg_box dose_box;        /* where the dose is known */
    bool has_dose;
    dg_structure structure[DG_STRUCTURES_MAX];
    int structure_count;
    char constraint_name[DG_CONSTRAINTS_MAX][DG_STRUCTURE_NAME];
    float constraint[DG_CONSTRAINTS_MAX];
    int constraint_count;
    char content_sha256[DG_HASH_HEX]; /* dg_content_hash of the case's data */
} dg_case_info;

struct dg_dicom_plan; /* dg_dicom.h */

/* One complete case in memory, for writers. Arrays are [z,y,x], borrowed; NULL where absent. */
typedef struct dg_case_data {
    dg_case_info info;      /* content_sha256 is worked out by the writer */
    const int16_t *ct_hu;   /* Hounsfield units where they fit int16 (slope 1, intercept 0) */
    const float *ct_hu_f32; /* otherwise; exactly one of the two */
    const float *dose_gy;
    const uint64_t *masks;           /* bit k: structure k; or, where words would be the largest array of all, */
    const uint8_t *const *mask_bits; /* [structure_count] masks of dg_bits.h; exactly one of the two */
    const uint8_t *labels;
    const struct dg_dicom_plan *plan; /* beams and control points; no names */
    int threads;                      /* to write with; 0: one. The file does not depend on them */
    /* NULL, or told of the CT and of the dose, of each once it is in the file (its pointer is NULL from then on): owners of
     * large cases give the memory back before the distance maps need theirs. */
    void (*written)(void *owner, const void *array);
    void *owner;
} dg_case_data;

typedef struct dg_cohort dg_cohort;
typedef struct dg_case dg_case; /* an open case: chunk tables in memory, descriptor for pread */

/* Channels a case can be read as; structure picks the mask or the distance map. */
typedef enum dg_field { DG_FIELD_CT_HU, DG_FIELD_DOSE_GY, DG_FIELD_MASK, DG_FIELD_SDF_MM, DG_FIELD_LABEL } dg_field;

/* Opens a cohort read-only and reads its index; a lost or stale index of a folder is rebuilt in memory from the cases.
 * A case that the index lists and whose file is gone keeps its place: opening it is DG_ERR_IO "file is missing".
 * @collective no (every rank opens for itself). DG_ERR_IO, DG_ERR_FORMAT (what is damaged, and how to mend it). */
DG_MUST_USE dg_status dg_cohort_open(const char *path, dg_cohort **out);
void dg_cohort_close(dg_cohort **cohort);
int64_t dg_cohort_count(const dg_cohort *cohort);
const dg_case_info *dg_cohort_case(const dg_cohort *cohort, int64_t index); /* borrowed, lives with the cohort */
/* Index of a case id, or -1. */
int64_t dg_cohort_find(const dg_cohort *cohort, const char *id);
/* Row of a structure by name in a case, or -1. */
int dg_case_info_structure(const dg_case_info *info, const char *name);
/* Was the prescription said by a preset, a user or a format's default instead of the case's plan? Every report says so
 * (dg_assumed_text). */
bool dg_case_info_assumed(const dg_case_info *info);

/* Opens one case for reading; the cohort must outlive it. Not thread-safe; reads of an open case are. */
DG_MUST_USE dg_status dg_case_open(const dg_cohort *cohort, int64_t index, dg_case **out);
void dg_case_close(dg_case **c);
/* Reads a box as f32 [z,y,x]; outside the grid: CT -1000 HU, dose 0, mask 0, SDF its largest value, label 0. A voxel of
 * a missing chunk is DG_ERR_FORMAT, never 0. `structure` is ignored by CT, dose and label. Thread-safe: uses pread and
 * decompresses outside HDF5. Checksum errors are DG_ERR_FORMAT naming case and dataset. */
DG_MUST_USE dg_status dg_case_read(dg_case *c, dg_field field, int structure, const dg_box *box, float *out);
/* All structures' mask bits of a box in one go. */
DG_MUST_USE dg_status dg_case_read_mask_bits(dg_case *c, const dg_box *box, uint64_t *out);
/* Does the case hold it? CT always; masks and distances where it has structures. */
bool dg_case_has(const dg_case *c, dg_field field);
const dg_case_info *dg_case_get_info(const dg_case *c);
/* Beams and control points of the case's plan, beam_count 0 where it keeps none; dg_dicom_plan_release frees them. Beams are
 * numbered from 1, names and prescription are not there. DG_ERR_FORMAT: damaged, or more than dg_dicom.h allows. */
DG_MUST_USE dg_status dg_case_read_plan(dg_case *c, struct dg_dicom_plan *out);

/* Writes COHORT/cases/<id>.h5 (H5FD_CORE image, *.tmp, fsync, rename), chunks 32^3, shuffle + LZ4 + fletcher32, and
 * fills info.content_sha256. @collective no. */
DG_MUST_USE dg_status dg_case_write(const char *cohort_folder, dg_case_data *data);
/* Rebuilds COHORT/cohort.h5 from cases/ (sorted by id). Damaged cases are left out and named in `bad` (may be NULL),
 * as are those of the index before whose files are gone. */
DG_MUST_USE dg_status dg_cohort_write_index(const char *cohort_folder, char *bad, size_t bad_capacity);
/* One packed file from a folder, written collectively; every rank's data read back and compared before the rename.
 * @collective yes. All ranks return the same status. */
DG_MUST_USE dg_status dg_cohort_pack(dg_comm *comm, const char *cohort_folder, const char *packed_path);
/* Content hash of the whole cohort: sha256 over (id, content_sha256) sorted by id. */
DG_MUST_USE dg_status dg_cohort_content_hash(const dg_cohort *cohort, char hex[DG_HASH_HEX]);
/* Reads every chunk of a case and compares its content hash; DG_ERR_FORMAT names dataset and reason. */
DG_MUST_USE dg_status dg_case_verify(const dg_cohort *cohort, int64_t index);

/* True when COHORT/cases/<id>.h5 is there, complete and intact (for --resume). Not collective. */
bool dg_case_valid(const char *cohort_folder, const char *id);

/* The fake: a cohort over arrays the caller keeps alive; cases are sorted by id. */
DG_MUST_USE dg_status dg_cohort_memory_create(const dg_case_data *cases, int64_t count, dg_cohort **out);

#endif
