/* dg_predictions.h - predicted volumes: a folder like a cohort, <id>.h5 with dataset `dose` (Gy), `probability` (of the foreground)
 * or `label` (0 and 1), and a ledger.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_PREDICTIONS_H
#define DG_PREDICTIONS_H

#include "dg_grid.h"
#include "dg_hash.h"
#include "dg_status.h"

#include <stdbool.h>

/* One line of a ledger; every rank appends to its own file `ledger-<rank>.csv`, derived views merge them. */
typedef struct dg_ledger_entry {
    char id[64];
    bool done;
    char reason[256]; /* of a failure; "" when done */
    double read_s, compute_s, write_s;
    char content_sha256[DG_HASH_HEX]; /* of the written data */
} dg_ledger_entry;

/* What a file holds; a file holds one of them. */
typedef enum dg_prediction_kind {
    DG_PREDICTION_DOSE,        /* f32, Gy */
    DG_PREDICTION_PROBABILITY, /* f32, 0 to 1 */
    DG_PREDICTION_LABEL        /* uint8, 1: foreground */
} dg_prediction_kind;
const char *dg_prediction_kind_name(dg_prediction_kind kind); /* "dose", "probability", "label" */

/* Writes FOLDER/<id>.h5 durably with the case's grid; `model_sha256` says which weights. Fills entry->content_sha256.
 * Not collective. */
DG_MUST_USE dg_status dg_prediction_write(const char *folder, const char *id, const dg_grid *grid,
                                          const char *model_sha256, const float *dose_gy, dg_ledger_entry *entry);
/* The same for the mean of several networks with its standard deviation over them, as dataset `std`. */
DG_MUST_USE dg_status dg_prediction_write_spread(const char *folder, const char *id, const dg_grid *grid,
                                                 const char *model_sha256, const float *dose_gy, const float *std_gy,
                                                 dg_ledger_entry *entry);
/* The same for any kind: values[z,y,x], of probabilities with their standard deviation over networks or NULL. DG_ERR_NUMERIC: a
 * value is not finite; DG_ERR_DATA: a probability or a label outside of 0 to 1. */
DG_MUST_USE dg_status dg_prediction_write_kind(const char *folder, const char *id, const dg_grid *grid,
                                               dg_prediction_kind kind, const char *model_sha256, const float *values,
                                               const float *std, dg_ledger_entry *entry);
/* Labels [z,y,x], 0 or not, with `made_by`: JSON that says how they came from what. */
DG_MUST_USE dg_status dg_prediction_write_label(const char *folder, const char *id, const dg_grid *grid,
                                                const char *model_sha256, const uint8_t *label, const char *made_by,
                                                dg_ledger_entry *entry);
/* The same for samples of a diffusion. File: `dose` (their mean), `std` (of the samples, divided by their number) and, where there
 * are percentiles, `percentile` [percentiles,z,y,x] with @percent, and attribute `samples`. */
typedef struct dg_prediction_ensemble {
    int64_t samples;
    const float *mean_gy, *std_gy;
    const double *percent; /* [percentiles] */
    int percentiles;
    const float *percentile_gy; /* [percentiles, z, y, x] */
} dg_prediction_ensemble;
DG_MUST_USE dg_status dg_prediction_write_ensemble(const char *folder, const char *id, const dg_grid *grid,
                                                   const char *model_sha256, const dg_prediction_ensemble *ensemble,
                                                   dg_ledger_entry *entry);
/* Who makes predictions, as model_sha256 has it: the first half is of text[0, weights), which tells the weights, the second half of
 * text[0, length), which tells how they are applied, too. */
DG_MUST_USE dg_status dg_prediction_name_maker(const char *text, int weights, int length, char hex[DG_HASH_HEX]);
/* The same weights, however they were applied. */
bool dg_prediction_same_network(const char *model_sha256, const char *other);
/* Removes FOLDER/<id>.h5; nothing where there is none. */
void dg_prediction_remove(const char *folder, const char *id);
/* Reads and verifies; *dose_gy is the caller's (dg_free), *grid filled. DG_ERR_IO absent, DG_ERR_FORMAT damaged,
 * DG_ERR_MISMATCH: no dose. */
DG_MUST_USE dg_status dg_prediction_read(const char *folder, const char *id, dg_grid *grid, float **dose_gy);
/* What a file says of itself. */
typedef struct dg_prediction_info {
    dg_grid grid;
    char model_sha256[DG_HASH_HEX];   /* who made it: weights, and how they were applied */
    char content_sha256[DG_HASH_HEX]; /* of the file's content */
    dg_prediction_kind kind;
} dg_prediction_info;
/* dg_prediction_read with what the file says of itself. dose_gy NULL: verifies without keeping the dose. */
DG_MUST_USE dg_status dg_prediction_load(const char *folder, const char *id, dg_prediction_info *info, float **dose_gy);
/* Planes start .. start + count - 1 (z) of the dose into dose_gy[count, y, x]. The checksums of the chunks read are checked,
 * the content hash, which needs the whole file, is not: it is what the file claims. */
DG_MUST_USE dg_status dg_prediction_read_planes(const char *folder, const char *id, int64_t start, int64_t count,
                                                dg_prediction_info *info, float *dose_gy);
/* Planes of probabilities, or of labels as 0 and 1, like dg_prediction_read_planes; DG_ERR_MISMATCH: the
 * file holds a dose; DG_ERR_FORMAT also for a value outside of 0 to 1. */
DG_MUST_USE dg_status dg_prediction_read_probability(const char *folder, const char *id, int64_t start, int64_t count,
                                                     dg_prediction_info *info, float *probability);
/* The file's words about itself without reading its dose; nothing is verified but the grid. */
DG_MUST_USE dg_status dg_prediction_peek(const char *folder, const char *id, dg_prediction_info *info);
/* True when FOLDER/<id>.h5 is there, whatever it holds. */
bool dg_prediction_exists(const char *folder, const char *id);
/* True when FOLDER/<id>.h5 is there, intact, and made by these weights. */
bool dg_prediction_valid(const char *folder, const char *id, const char *model_sha256);
/* sha256 over (id, content_sha256) of all predictions, sorted by id; *count gets how many. Each damaged one
 * gives a line "ID: reason" in `bad` (may be NULL). */
DG_MUST_USE dg_status dg_predictions_content_hash(const char *folder, char hex[DG_HASH_HEX], int64_t *count, char *bad,
                                                  size_t bad_capacity);
DG_MUST_USE dg_status dg_ledger_append(const char *folder, int rank, const dg_ledger_entry *entry);
/* All ledger lines, the newest per id, sorted by id; caller frees with dg_free. */
DG_MUST_USE dg_status dg_ledger_read(const char *folder, dg_ledger_entry **entries, int64_t *count);

#endif
