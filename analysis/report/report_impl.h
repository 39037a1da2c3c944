/* report_impl.h - what the sources of the report share. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_REPORT_IMPL_H
#define DG_REPORT_IMPL_H

#include "dg_report.h"

#include <stdbool.h>
#include <stdint.h>

/* Text that grows. */
typedef struct report_text {
    char *bytes; /* owned; not NUL-terminated */
    size_t used, room;
} report_text;

DG_MUST_USE dg_status report_text_add(report_text *text, const char *bytes, size_t count);
DG_MUST_USE dg_status report_text_add_string(report_text *text, const char *string);
/* For the inside of an element: & < > " ' escaped. */
DG_MUST_USE dg_status report_text_add_html(report_text *text, const char *string);
/* JSON for the inside of a script element: ASCII only, < > & as \u escapes. */
DG_MUST_USE dg_status report_text_add_json(report_text *text, const json_t *json);
DG_MUST_USE dg_status report_text_add_base64(report_text *text, const void *bytes, size_t count);
void report_text_release(report_text *text);

/* Attached bytes, as an element in base64. */
typedef struct report_attachment {
    char id[32];
    report_text base64;
} report_attachment;

struct dg_report_page {
    dg_report_kind kind;
    char *title;
    report_attachment *attachment; /* [count], owned */
    int64_t count, room;
    int64_t named; /* ids given so far */
};

/* Drops attachments until `count` are left. */
void report_page_cut(dg_report_page *page, int64_t count);
/* Packs bytes (zlib) and attaches them. */
DG_MUST_USE dg_status report_page_attach_packed(dg_report_page *page, const void *bytes, size_t count, char id[32]);

/* A regular part of a grid: every stride-th voxel of a box inside it. */
typedef struct report_part {
    dg_box box;
    int64_t stride, shape[3]; /* of what is kept */
} report_part;

int64_t report_part_voxels(const report_part *part);
/* Index in the grid of the kept voxel (z,y,x). */
int64_t report_part_index(const report_part *part, const dg_grid *grid, int64_t z, int64_t y, int64_t x);
/* {id, bits: 16, offset, step} of a float volume; NaN is the code 65535. */
DG_MUST_USE dg_status report_attach_volume(dg_report_page *page, const report_part *part, const dg_grid *grid,
                                           const float *values, double least_step, json_t **entry);
/* {id, bits: 8, offset: 0, step} of gamma, rounded up; NaN is the code 255. */
DG_MUST_USE dg_status report_attach_gamma(dg_report_page *page, const report_part *part, const dg_grid *grid,
                                          const float *gamma, double max_gamma, json_t **entry);
/* {id, bits, offset: 0, step: 1} of the combinations of structures that occur, which are listed in *combinations; both NULL
 * where more than 65534 occur. */
DG_MUST_USE dg_status report_attach_masks(dg_report_page *page, const report_part *part, const dg_report_case *c,
                                          json_t **entry, json_t **combinations);

/* {step_gy, bins, structures: [{name, index, role, volume_cc, curves: [[percent] or null]}]}. */
DG_MUST_USE dg_status report_dvh_json(const dg_report_case *c, json_t **out);

/* One of the files of page/, built in. */
typedef struct report_asset {
    const char *name;
    const unsigned char *bytes;
    size_t count;
} report_asset;
extern const report_asset report_assets[];
extern const int report_asset_count;

#endif
