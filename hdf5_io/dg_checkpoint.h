/* dg_checkpoint.h - a run's state on disk: one HDF5 file with a group per registered dg_state, the resolved config, and
 * a content hash. Written to NAME.tmp, fsynced, renamed. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_CHECKPOINT_H
#define DG_CHECKPOINT_H

#include "dg_hash.h"
#include "dg_state.h"

#include <jansson.h>

typedef struct dg_checkpoint_meta {
    int64_t step;
    char model[64];                    /* "unet" */
    char weights_sha256[DG_HASH_HEX];  /* over names, shapes and values of the f32 parameters, PyTorch layout */
    char content_sha256[DG_HASH_HEX];  /* over everything */
    int64_t bytes;                     /* of the file that was saved */
    double verify_s;                   /* reading it back took so long */
} dg_checkpoint_meta;

/* Saves all registered objects; `config` is the resolved configuration with origins. The file is read back before it gets
 * its name. Fills meta's hashes and costs. Others may use HDF5 meanwhile: a thread can save beside a training.
 * @collective no: rank 0 calls it. */
DG_MUST_USE dg_status dg_checkpoint_save(const char *path, const dg_state_registry *registry, const json_t *config,
                                         dg_checkpoint_meta *meta);
/* Reads meta and config without the arrays. *config (may be NULL) is the caller's (json_decref). */
DG_MUST_USE dg_status dg_checkpoint_read_meta(const char *path, dg_checkpoint_meta *meta, json_t **config);
/* Checks the content hash, then loads every registered object; a group missing or unknown is DG_ERR_MISMATCH.
 * @collective no: every rank reads for itself. */
DG_MUST_USE dg_status dg_checkpoint_load(const char *path, const dg_state_registry *registry);
/* Loads one object only (predict: the weights). */
DG_MUST_USE dg_status dg_checkpoint_load_one(const char *path, const dg_state *state);
/* Full check of a file: DG_ERR_FORMAT names what is damaged. */
DG_MUST_USE dg_status dg_checkpoint_verify(const char *path);
/* Path of the newest valid step-*.h5 of a folder; DG_ERR_IO when there is none. Damaged ones are skipped, and named in
 * `skipped` (may be NULL). */
DG_MUST_USE dg_status dg_checkpoint_find_newest(const char *folder, char *path, size_t capacity, char *skipped,
                                                size_t skipped_capacity);

#endif
