/* weights_file.h - weights from and for other programs: safetensors files with PyTorch's names and shapes.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_WEIGHTS_FILE_H
#define DG_WEIGHTS_FILE_H

#include "dg_params.h"

/* True for a name that ends in .safetensors. */
bool dg_weights_file_is(const char *path);
/* Gives the file's tensors to state->load. DG_ERR_IO, DG_ERR_FORMAT; DG_ERR_MISMATCH: the file lacks a parameter, has one of
 * another shape, or one that the network has not (as PyTorch's strict loading). @collective no. */
DG_MUST_USE dg_status dg_weights_file_load(const char *path, const dg_param_table *table, const dg_state *state);
/* Writes `flat` (host memory) durably. `sha256` (dg_params_sha256) and `version` go into the file's notes. */
DG_MUST_USE dg_status dg_weights_file_save(const char *path, const dg_param_table *table, const float *flat,
                                           const char *sha256);

#endif
