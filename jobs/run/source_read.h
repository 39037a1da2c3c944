/* source_read.h - private to source*.c: one box of one case, read and brought to the network's grid.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_SOURCE_READ_H
#define DG_SOURCE_READ_H

#include "perturbation.h"
#include "source.h"

/* Native or block-averaged cases: any box. `perturbation` may be NULL; one of the voxel size wants the whole volume. */
DG_MUST_USE dg_status source_read_box(const dg_recipe *recipe, dg_case *c, const dg_perturbation *perturbation,
                                      const dg_box *box, const dg_source_buffers *out);
/* Resampled cases (data.spacing_mm): the whole volume. */
DG_MUST_USE dg_status source_read_resampled(const dg_recipe *recipe, dg_case *c, const dg_perturbation *perturbation,
                                            const dg_source_buffers *out);
/* Cuts a box out of a whole volume [z,y,x], `outside` beyond it. */
void source_cut(const float *whole, const int64_t shape_zyx[3], const dg_box *box, float outside, float *out);
void source_cut_words(const uint32_t *whole, const int64_t shape_zyx[3], const dg_box *box, uint32_t *out);
void source_cut_bytes(const uint8_t *whole, const int64_t shape_zyx[3], const dg_box *box, uint8_t *out);
/* A box of the network's grid on the output's. */
dg_box source_output_box(const dg_box *box, const int64_t sub_zyx[3]);

#endif
