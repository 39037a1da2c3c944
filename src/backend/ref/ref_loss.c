/* ref_loss.c - loss terms of single voxels, and the way to the others. SPDX-License-Identifier: Apache-2.0 */
#include "ref_loss.h"

#include <math.h>

static double sign(double x) { return x > 0 ? 1 : (x < 0 ? -1 : 0); }

/* A term at one voxel: its value, and its slope by p. */
typedef struct point {
    double value, slope;
} point;

static point weighted_square(double d, double weight) { return (point){weight * d * d, 2 * weight * d}; }

static point huber(double d, double delta)
{
    if (fabs(d) <= delta) return (point){d * d / 2, d};
    return (point){delta * (fabs(d) - delta / 2), delta * sign(d)};
}

/* y - t - t log(y/t), continued below eps by its tangent. */
static point poisson(double y, double t, double eps)
{
    if (!(t > 0)) return (point){y, 1};
    const double rate = y > eps ? y : eps, slope = 1 - t / rate;
    return (point){rate - t - t * log(rate / t) + slope * (y - rate), slope};
}

static point evaluate(const dg_loss_term *term, double y, double t, uint32_t regions)
{
    const double d = y - t;
    switch (term->kind) {
    case DG_LOSS_MSE: return weighted_square(d, 1);
    case DG_LOSS_MAE: return (point){fabs(d), sign(d)};
    case DG_LOSS_HUBER: return huber(d, term->delta);
    case DG_LOSS_POISSON: return poisson(y, t, term->eps);
    case DG_LOSS_NEGATIVE: return y < 0 ? (point){-y, -1} : (point){0, 0};
    case DG_LOSS_ASYMMETRIC: return weighted_square(d, d < 0 ? term->ratio : 1);
    default:
        if ((regions & term->inside) != 0) return weighted_square(d, term->weight_inside);
        return weighted_square(d, (regions & term->near) != 0 ? term->weight_near : term->weight_else);
    }
}

static double sample_points(const dg_loss_term *term, const ref_sample *s, int64_t voxels, double *d)
{
    double count = 0, sum = 0;
    for (int64_t i = 0; i < voxels; i++) {
        const uint32_t here = s->regions != NULL ? s->regions[i] : 0;
        if (!ref_counts(s, i) || (term->kind == DG_LOSS_ASYMMETRIC && (here & term->inside) == 0)) continue;
        const point at = evaluate(term, s->p[i], s->t[i], here);
        count += 1;
        sum += at.value;
        d[i] = at.slope;
    }
    if (term->kind == DG_LOSS_ASYMMETRIC && s->coupled_count >= 0) count = s->coupled_count;
    for (int64_t i = 0; i < voxels && count > 0; i++) d[i] /= count;
    return count > 0 ? sum / count : 0;
}

static dg_status sample_term(const dg_loss_term *term, const ref_sample *sample, int64_t voxels, double *value,
                             double *d)
{
    switch (term->kind) {
    case DG_LOSS_GRADIENT: return ref_loss_gradient(sample, value, d);
    case DG_LOSS_DVH: return ref_loss_dvh(term, sample, value, d);
    case DG_LOSS_SSIM: return ref_loss_ssim(sample, value, d);
    case DG_LOSS_CONNECTIVITY: return ref_loss_connectivity(term, sample, voxels, value, d);
    case DG_LOSS_CLDICE: return ref_loss_cldice(term, sample, voxels, value, d);
    default:
        *value = dg_loss_is_of_labels(term->kind) ? ref_loss_label(term, sample, voxels, d)
                                                  : sample_points(term, sample, voxels, d);
        return DG_OK;
    }
}

int64_t ref_loss_workspace(const dg_loss_term *term, const dg_loss_batch *shape) { return 0; }

static ref_sample sample_of(const dg_loss_batch *batch, int64_t n, const double *p, const double *t)
{
    const int64_t first = n * dg_tensor_voxels(&batch->y);
    return (ref_sample){.p = p + first,
                        .t = t + first,
                        .mask = batch->mask != NULL ? batch->mask + first : NULL,
                        .regions = batch->regions != NULL ? batch->regions + first : NULL,
                        .distance = batch->distance != NULL ? batch->distance + first : NULL,
                        .scale_gy = batch->scale_gy != NULL ? batch->scale_gy[n] : 1,
                        .coupled_count = batch->coupled_count != NULL ? *batch->coupled_count : -1,
                        .grid = dg_loss_grid_of(batch)};
}

dg_status ref_loss(dg_backend *backend, const dg_loss_term *term, const dg_loss_batch *batch, const float *weight,
                   void *workspace, double *value, int64_t stride, dg_tensor *dy, bool accumulate)
{
    dg_status status;
    double *p = NULL, *t = NULL, *d = NULL, variance = 0, entropy = 0;
    ref_sample *samples = NULL;
    DG_TRY(dg_arguments_loss(term, batch, weight, value, dy));
    const int64_t voxels = dg_tensor_voxels(&batch->y);
    DG_TRY_GOTO(status, ref_load(&batch->y, &p), done);
    DG_TRY_GOTO(status, ref_load(&batch->target, &t), done);
    DG_TRY_GOTO(status, ref_zeros(&batch->y, &d), done);
    DG_TRY_GOTO(status, DG_NEW(&samples, batch->y.n, "samples of the loss"), done);
    for (int64_t n = 0; n < batch->y.n; n++) samples[n] = sample_of(batch, n, p, t);
    if (dg_loss_joins_samples(term)) ref_loss_join(samples, batch->y.n, voxels, &variance, &entropy);
    for (int64_t n = 0; n < batch->y.n; n++) {
        samples[n].joint_variance = variance;
        samples[n].joint_entropy = entropy;
        DG_TRY_GOTO(status, sample_term(term, &samples[n], voxels, value + n * stride, d + n * voxels), done);
    }
    if (dy != NULL) {
        for (int64_t i = 0; i < batch->y.n * voxels; i++) d[i] *= (double)*weight;
        ref_store(d, dy, accumulate);
    }
done:
    dg_free(&p);
    dg_free(&t);
    dg_free(&d);
    dg_free(&samples);
    return status;
}
