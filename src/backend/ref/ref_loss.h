/* ref_loss.h - the loss terms of the reference backend by file. Each works on one sample: p and t are its doses in the order
 * of rows, d[voxels] (zeroed) gets the slopes of its value. SPDX-License-Identifier: Apache-2.0 */
#ifndef REF_LOSS_H
#define REF_LOSS_H

#include "ref.h"

/* What is known of the sample besides its doses. */
typedef struct ref_sample {
    const double *p, *t;
    const uint8_t *mask;                  /* or NULL */
    const uint32_t *regions;              /* or NULL */
    const float *distance;                /* or NULL */
    double joint_variance, joint_entropy; /* ref_loss_join, for terms that join samples */
    double scale_gy, coupled_count;       /* coupled_count -1: none */
    dg_loss_grid grid;
} ref_sample;

static inline bool ref_counts(const ref_sample *s, int64_t i) { return s->mask == NULL || s->mask[i] != 0; }

/* Row of a voxel in space, or -1 beyond the edge. */
int64_t ref_row_of(const dg_loss_grid *grid, int64_t z, int64_t y, int64_t x);
/* Terms of labels. */
double ref_loss_label(const dg_loss_term *term, const ref_sample *sample, int64_t voxels, double *d);
/* Means of the samples' variances and entropies. */
void ref_loss_join(const ref_sample *samples, int64_t count, int64_t voxels, double *variance, double *entropy);
dg_status ref_loss_connectivity(const dg_loss_term *term, const ref_sample *sample, int64_t voxels, double *value,
                                double *d);
dg_status ref_loss_cldice(const dg_loss_term *term, const ref_sample *sample, int64_t voxels, double *value, double *d);

dg_status ref_loss_gradient(const ref_sample *sample, double *value, double *d);
dg_status ref_loss_ssim(const ref_sample *sample, double *value, double *d);
/* value[dg_loss_term_values]. */
dg_status ref_loss_dvh(const dg_loss_term *term, const ref_sample *sample, double *value, double *d);

#endif
