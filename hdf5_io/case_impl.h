/* case_impl.h - what cohort, case reader, case writer and the memory fake share. Private to hdf5_io.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_CASE_IMPL_H
#define DG_CASE_IMPL_H

#include "chunk_cache.h"
#include "dg_cohort.h"
#include "dg_file.h"
#include "h5_impl.h"

#include <stdio.h>

enum { DG_CASE_VERSION = 1, DG_COHORT_VERSION = 1, DG_ROLE_TEXT = 96 };

/* Distances are kept in steps of clip / 32767 of this clip. */
#define DG_SDF_CLIP_MM 100.0
#define DG_SDF_SCALE_MM (DG_SDF_CLIP_MM / 32767.0)

/* How a kind of cohort serves its cases. */
typedef struct dg_case_ops {
    dg_status (*open)(const dg_cohort *cohort, int64_t index, dg_case *c);
    void (*close)(dg_case *c);
    /* `box` lies inside the grid; out[z,y,x] has strides `stride` (elements) and is written only inside the box. */
    dg_status (*read)(dg_case *c, dg_field field, int structure, const dg_box *box, const int64_t stride[3],
                      float *out);
    dg_status (*read_mask_bits)(dg_case *c, const dg_box *box, const int64_t stride[3], uint64_t *out);
    bool (*has)(const dg_case *c, dg_field field);
    dg_status (*read_plan)(dg_case *c, struct dg_dicom_plan *out); /* *out is zeroed */
    dg_status (*verify)(const dg_cohort *cohort, int64_t index);
} dg_case_ops;

struct dg_cohort {
    const dg_case_ops *ops;
    dg_case_info *info; /* [count], sorted by id */
    int64_t count;
    char path[DG_PATH_MAX]; /* the folder, or the packed file */
    bool packed;
    dg_chunk_cache *cache;    /* of the chunks of its cases; NULL in memory cohorts */
    const dg_case_data *data; /* memory cohorts: borrowed, [count] */
};

struct dg_case {
    const dg_case_ops *ops;
    const dg_case_info *info; /* borrowed from the cohort */
    void *source;             /* of the ops */
};

/* The kinds. */
extern const dg_case_ops dg_case_file_ops;

/* "case ID" for messages. */
void dg_case_role(char role[DG_ROLE_TEXT], const char *id);
/* Where a case of a cohort lies: file and group inside it. */
DG_MUST_USE dg_status dg_case_place(const dg_cohort *cohort, int64_t index, char path[DG_PATH_MAX],
                                    char group[DG_CASE_ID + 16]);

/* Checks what a writer was given or a file says: id, grid, structures, box. */
DG_MUST_USE dg_status dg_case_info_check(const dg_case_info *info);
/* The attributes, `structures` and `constraints` of a case group. With the lock held. */
DG_MUST_USE dg_status dg_case_info_write(hid_t group, const dg_case_info *info, const char *role);
DG_MUST_USE dg_status dg_case_info_read(hid_t group, dg_case_info *info, const char *role);
/* Opens file and group of a case read-only; the caller closes both. */
DG_MUST_USE dg_status dg_case_open_group(const char *path, const char *group_name, const char *role, hid_t *file,
                                         hid_t *group);

/* Structures as a compound table [count]. */
DG_MUST_USE dg_status dg_structures_write(hid_t group, const dg_structure *structure, int64_t count, const char *role);
DG_MUST_USE dg_status dg_structures_read(hid_t group, dg_structure *structure, int64_t count, const char *role);

/* What the index knows of a case beyond its info. */
typedef struct dg_index_row {
    dg_case_info info;
    char status[16]; /* "ok" or "damaged" */
    int64_t has_dose, structure_count, constraint_count;
    int64_t file_bytes; /* of a folder's case file: another size means that the index is stale */
} dg_index_row;
DG_MUST_USE dg_status dg_index_write(hid_t file, const dg_index_row *row, int64_t count, const char *role);
/* *row is the caller's (dg_free). */
DG_MUST_USE dg_status dg_index_read(hid_t file, dg_index_row **row, int64_t *count, const char *role);
/* The cases of a folder by their own files, sorted by id; damaged ones have status "damaged" and are named in `bad`. */
DG_MUST_USE dg_status dg_index_scan(const char *folder, dg_index_row **row, int64_t *count, char *bad,
                                    size_t bad_capacity);
/* Adds "reason; " to a text that may be full or NULL. */
void dg_index_note_bad(char *bad, size_t capacity, const char *reason);
/* Ids and sizes alone, sorted: what tells whether an index is stale. */
DG_MUST_USE dg_status dg_index_list(const char *folder, dg_index_row **row, int64_t *count);

/* Group `plan`: numbers of beams and control points (doc/formats.md). */
DG_MUST_USE dg_status dg_case_plan_write(hid_t group, const struct dg_dicom_plan *plan, const char *role);
/* Likewise, into a zeroed plan, which may be half filled after a failure. With the lock held. */
DG_MUST_USE dg_status dg_case_plan_read(hid_t group, const char *role, struct dg_dicom_plan *out);

/* Masks of a case in either form: the words (bit k: structure k) of voxels index .. index + count - 1; one structure as 0 and 1. */
void dg_case_mask_words(const dg_case_data *data, int64_t index, int64_t count, uint64_t *out);
void dg_case_mask_bytes(const dg_case_data *data, int structure, int threads, uint8_t *out);
static inline bool dg_case_has_masks(const dg_case_data *data)
{
    return data->masks != NULL || data->mask_bits != NULL;
}

/* One structure's quantised signed distances [z,y,x]; `mask` is workspace, a byte a voxel. The file and the memory fake give the
 * same values, which do not depend on the threads. */
DG_MUST_USE dg_status dg_sdf_encode(const dg_case_data *data, int structure, int threads, uint8_t *mask, int16_t *out);

#endif
