/* dg_report.h - self-contained HTML pages on experiments: data as JSON, volumes quantised, packed and attached, and one
 * style and script that come with the program. A page opens from disk, needs no network and runs only its own script
 * (Content-Security-Policy by hash). Text of cases and configurations is data throughout: it never becomes markup.
 * Whoever calls decides what the data say; the layouts stand in analysis/report/page/ beside the code that shows them.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_REPORT_H
#define DG_REPORT_H

#include "dg_grid.h"
#include "dg_structure.h"

#include <jansson.h>

/* One experiment, the table over several, or the contact sheet of a cohort. */
typedef enum dg_report_kind { DG_REPORT_EXPERIMENT, DG_REPORT_INDEX, DG_REPORT_COHORT } dg_report_kind;

typedef struct dg_report_page dg_report_page;

/* An empty page. `title` is the browser's (copied). The caller destroys it. DG_ERR_MEMORY. Not collective, like all here. */
DG_MUST_USE dg_status dg_report_page_create(dg_report_kind kind, const char *title, dg_report_page **out);
void dg_report_page_destroy(dg_report_page **page);
/* Bytes the page will have, its data left out: style, script and what has been attached. */
int64_t dg_report_page_bytes(const dg_report_page *page);

/* Attaches bytes (a PNG) under a new id, in base64; id[32] is filled. DG_ERR_MEMORY. */
DG_MUST_USE dg_status dg_report_page_attach(dg_report_page *page, const void *bytes, size_t count, char id[32]);

enum { DG_REPORT_DOSES = 3 }; /* reference, prediction, prediction of another run */

/* A case to picture. Volumes are [z,y,x] of `grid`, borrowed; NULL where absent. */
typedef struct dg_report_case {
    const char *id;
    const char *why;  /* "worst", "median", "best", "chosen" and of what; any text */
    const char *note; /* shown under the viewer; any text */
    const dg_grid *grid;
    const float *ct_hu;
    const float *dose_gy[DG_REPORT_DOSES]; /* NaN where not known; the first two must be there */
    const float *gamma[DG_REPORT_DOSES]; /* of that dose against the reference; NaN where not evaluated; [0] is NULL */
    double max_gamma;                    /* larger values were given as this; may be INFINITY */
    const char *gamma_label;             /* "3 %/3 mm, global ..." */
    const uint64_t *masks;               /* bit k: structure k */
    const dg_structure *structure;
    int structure_count;
    double prescription_gy; /* 0 unknown */
} dg_report_case;

/* Attaches the volumes of a case, cropped to the body (role BODY; without one to everything delineated or dense) and to
 * where gamma was evaluated, and gives what the viewer needs to know of them: the caller's, with `note` completed by the
 * steps of the quantisation. Steps are 0.01 Gy, 1 HU and 0.01 of gamma, coarser only where the range does not fit; gamma is
 * rounded up, so that no failing voxel reads 1.00. When the page would exceed `max_bytes` every second, third .. eighth
 * voxel is kept instead if `may_thin`, and the note says so; else, and where that is too much still, *pictured is NULL and
 * the page is as before (DG_OK). DG_ERR_DATA: no voxel, an infinite value; DG_ERR_MEMORY. */
DG_MUST_USE dg_status dg_report_page_add_case(dg_report_page *page, const dg_report_case *c, int64_t max_bytes,
                                              bool may_thin, json_t **pictured);

/* Writes the page durably with its data (borrowed). The bytes depend on the arguments alone. DG_ERR_IO, DG_ERR_MEMORY. */
DG_MUST_USE dg_status dg_report_page_write(const dg_report_page *page, const json_t *data, const char *path,
                                           int64_t *bytes);

/* `text` as the name of a file in a folder where names[count] are taken: letters, digits, '.', '_', '-', at most 60, never
 * hidden, never "index"; a number is appended where it is taken. */
void dg_report_file_stem(const char *text, const char (*names)[80], int count, char stem[80]);

#endif
