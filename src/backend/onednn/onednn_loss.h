/* onednn_loss.h - the loss terms of the oneDNN backend by file. Each computes one sample after the other: values at
 * value[i * stride], slopes times *weight into dy where it is given. SPDX-License-Identifier: Apache-2.0 */
#ifndef ONEDNN_LOSS_H
#define ONEDNN_LOSS_H

#include "onednn_impl.h"

#include "dg_bf16.h"

/* A call of dg_backend_ops.loss. */
typedef struct loss_call {
    onednn_backend *backend;
    const dg_loss_term *term;
    const dg_loss_batch *batch;
    const float *weight;
    void *workspace;
    double *value;
    int64_t stride;
    dg_tensor *dy;
    bool accumulate;
} loss_call;

static inline float onednn_dose_at(const dg_tensor *t, int64_t row)
{
    const int64_t at = row * t->pitch;
    return t->dtype == DG_F32 ? ((const float *)t->data)[at] : dg_bf16_to_f32(((const dg_bf16 *)t->data)[at]);
}
static inline void onednn_put_slope(const loss_call *call, int64_t row, float slope)
{
    const dg_tensor *dy = call->dy;
    if (call->accumulate) slope += onednn_dose_at(dy, row);
    if (dy->dtype == DG_F32)
        ((float *)dy->data)[row * dy->pitch] = slope;
    else
        ((dg_bf16 *)dy->data)[row * dy->pitch] = dg_bf16_from_f32(slope);
}
/* The same of `count` rows from `row` on. */
static inline void onednn_take_rows(const dg_tensor *t, int64_t row, int64_t count, float *out)
{
    const int64_t pitch = t->pitch;
    if (t->dtype == DG_F32) {
        const float *from = (const float *)t->data + row * pitch;
        for (int64_t i = 0; i < count; i++) out[i] = from[i * pitch];
    } else {
        const dg_bf16 *from = (const dg_bf16 *)t->data + row * pitch;
        for (int64_t i = 0; i < count; i++) out[i] = dg_bf16_to_f32(from[i * pitch]);
    }
}
static inline void onednn_put_slopes(const loss_call *call, int64_t row, int64_t count, const float *slope)
{
    const dg_tensor *dy = call->dy;
    const int64_t pitch = dy->pitch;
    if (dy->dtype == DG_F32) {
        float *to = (float *)dy->data + row * pitch;
        for (int64_t i = 0; i < count; i++) to[i * pitch] = call->accumulate ? to[i * pitch] + slope[i] : slope[i];
    } else {
        for (int64_t i = 0; i < count; i++) onednn_put_slope(call, row + i, slope[i]);
    }
}
static inline bool onednn_counts(const dg_loss_batch *batch, int64_t row)
{
    return batch->mask == NULL || batch->mask[row] != 0;
}
static inline uint32_t onednn_regions_at(const dg_loss_batch *batch, int64_t row)
{
    return batch->regions != NULL ? batch->regions[row] : 0;
}

/* Workspaces in bytes. */
int64_t onednn_loss_gradient_workspace(const dg_loss_batch *shape);
int64_t onednn_loss_dvh_workspace(const dg_loss_term *term, const dg_loss_batch *shape);
int64_t onednn_loss_ssim_workspace(const dg_loss_batch *shape);
dg_status onednn_loss_ssim(const loss_call *call);
int64_t onednn_loss_label_workspace(const dg_loss_batch *shape);
int64_t onednn_loss_connectivity_workspace(const dg_loss_batch *shape);
int64_t onednn_loss_cldice_workspace(const dg_loss_term *term, const dg_loss_batch *shape);
dg_status onednn_loss_gradient(const loss_call *call);
dg_status onednn_loss_dvh(const loss_call *call);
dg_status onednn_loss_label(const loss_call *call);
dg_status onednn_loss_connectivity(const loss_call *call);
dg_status onednn_loss_cldice(const loss_call *call);

#endif
