/* plan_cache.h - which cuDNN engine each convolution takes: found once by heuristics, then the same for ever and on every rank.
 * A cache belongs to one GPU model and one version of cuDNN, whose engines its numbers mean. Its text is a file of lines:
 *   dosegrid-cudnn-plans 1
 *   gpu NVIDIA H100 80GB HBM3
 *   cudnn 91900
 *   forward f32 n2 16x16x16x48 16x16x16x48 pitch 48 48 kernel 3 stride 1 pad 1 bias: 23 2=5 14=3
 *   sha256 <of all bytes above this line>
 * a line for each pass: its geometry, then the engine and its knobs (type=value); "none" where no engine can do it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_CUDA_PLAN_CACHE_H
#define DG_CUDA_PLAN_CACHE_H

#include "conv_plan.h"

typedef struct plan_cache plan_cache;

DG_MUST_USE dg_status plan_cache_create(const char *gpu, size_t cudnn, plan_cache **out);
void plan_cache_destroy(plan_cache **cache);
/* The choice for a geometry, borrowed until the next change; NULL: none is known. */
const conv_choice *plan_cache_find(const plan_cache *cache, const conv_geometry *geometry);
/* Adds or replaces a choice. */
DG_MUST_USE dg_status plan_cache_put(plan_cache *cache, const conv_geometry *geometry, const conv_choice *choice);
/* Grows with every choice that changed after it was first put: prepared plans may then be of an older choice. */
int64_t plan_cache_generation(const plan_cache *cache);
/* Grows with every choice that is new or changed: what a file lacks. */
int64_t plan_cache_changes(const plan_cache *cache);

/* The text of all choices, in the order in which they came; the caller frees it with dg_free. */
DG_MUST_USE dg_status plan_cache_text(const plan_cache *cache, char **text, int64_t *length);
/* Takes the choices of a text: all of them with `replace`, else those for geometries that are not known yet. Nothing is
 * taken from a text that is damaged or of another version (DG_ERR_FORMAT, with line and reason) or of another GPU or cuDNN
 * (DG_ERR_MISMATCH, naming both). */
DG_MUST_USE dg_status plan_cache_take(plan_cache *cache, const char *text, int64_t length, bool replace);
/* The file's name: "cudnn-91900-nvidia-h100-80gb-hbm3.plans". */
void plan_cache_name(const plan_cache *cache, char *name, size_t capacity);

#endif
