/* ref_loss_label.c - loss terms of labels that sum over a sample. SPDX-License-Identifier: Apache-2.0 */
#include "ref_loss.h"

#include <math.h>

/* The bounds are those of f32 numbers, which the probabilities are. */
static double inside(double p)
{
    const double low = 1e-7f, high = 1.0f - 1e-7f;
    return p < low ? low : p > high ? high : p;
}

static double dice(const dg_loss_term *term, const ref_sample *s, int64_t voxels, double *d)
{
    double both = 0, sum = 0;
    for (int64_t i = 0; i < voxels; i++) {
        if (!ref_counts(s, i)) continue;
        both += s->t[i] > 0.5 ? s->p[i] : 0;
        sum += s->p[i] + (s->t[i] > 0.5);
    }
    const double smooth = term->smooth, above = 2 * both + smooth, below = sum + smooth;
    for (int64_t i = 0; i < voxels; i++)
        if (ref_counts(s, i)) d[i] = above / (below * below) - (s->t[i] > 0.5 ? 2 / below : 0);
    return 1 - above / below;
}

static double focal(const dg_loss_term *term, const ref_sample *s, int64_t voxels, double *d)
{
    const double gamma = term->gamma;
    double sum = 0, count = 0;
    for (int64_t i = 0; i < voxels; i++) {
        if (!ref_counts(s, i)) continue;
        const int label = s->t[i] > 0.5;
        const double p = inside(s->p[i]), q = label ? p : 1 - p;
        const double a = label ? term->alpha * (double)term->foreground : (1 - term->alpha) * (double)term->background;
        sum += -a * pow(1 - q, gamma) * log(q);
        count += 1;
        if (p == s->p[i]) /* the clamp has no slope */
            d[i] = (label ? 1 : -1) * a * (gamma * pow(1 - q, gamma - 1) * log(q) - pow(1 - q, gamma) / q);
    }
    for (int64_t i = 0; i < voxels && count > 0; i++) d[i] /= count;
    return count > 0 ? sum / count : 0;
}

static double boundary(const dg_loss_term *term, const ref_sample *s, int64_t voxels, double *d)
{
    double sum = 0, weights = 0;
    for (int64_t i = 0; i < voxels; i++) {
        if (!ref_counts(s, i)) continue;
        const double far = fabs(s->distance[i]), ramp = (term->theta - far) / (term->theta - (double)term->theta0);
        const double w = far <= term->theta0 ? 1 : (far >= term->theta ? 0 : ramp), label = s->t[i] > 0.5;
        sum += w * -fmax(log(label > 0 ? s->p[i] : 1 - s->p[i]), -100);
        weights += w;
        d[i] = w * (s->p[i] - label) / fmax(s->p[i] * (1 - s->p[i]), 1e-12);
    }
    for (int64_t i = 0; i < voxels; i++) d[i] /= weights + 1e-5;
    return sum / (weights + 1e-5);
}

/* Of one sample. */
typedef struct moments {
    double count, mean, variance, entropy;
} moments;

static moments moments_of(const ref_sample *s, int64_t voxels)
{
    moments m = {0, 0, 0, 0};
    for (int64_t i = 0; i < voxels; i++) m.count += ref_counts(s, i);
    for (int64_t i = 0; i < voxels; i++)
        if (ref_counts(s, i)) m.mean += s->p[i] / m.count;
    for (int64_t i = 0; i < voxels; i++) {
        if (!ref_counts(s, i)) continue;
        const double p = inside(s->p[i]);
        m.variance += m.count > 1 ? pow(s->p[i] - m.mean, 2) / (m.count - 1) : 0;
        m.entropy += -(p * log(p) + (1 - p) * log(1 - p)) / m.count;
    }
    return m;
}

/* variance and entropy; `all` holds the means of what counts for the value. */
static double spread(const dg_loss_term *term, const ref_sample *s, int64_t voxels, const moments *own,
                     const moments *all, double *d)
{
    const bool flat = all->entropy < term->least_entropy, variance = term->kind == DG_LOSS_VARIANCE;
    if (own->count < 2) return 0;
    for (int64_t i = 0; i < voxels; i++) {
        if (!ref_counts(s, i)) continue;
        if (variance) d[i] = -2 * (1 - all->variance) * 2 * (s->p[i] - own->mean) / (own->count - 1);
        if (flat && inside(s->p[i]) == s->p[i]) d[i] -= log((1 - s->p[i]) / s->p[i]) / own->count;
    }
    return (variance ? pow(1 - all->variance, 2) : 0) + (flat ? term->least_entropy - all->entropy : 0);
}

void ref_loss_join(const ref_sample *samples, int64_t count, int64_t voxels, double *variance, double *entropy)
{
    *variance = *entropy = 0;
    for (int64_t n = 0; n < count; n++) {
        const moments m = moments_of(&samples[n], voxels);
        *variance += m.variance / (double)count;
        *entropy += m.entropy / (double)count;
    }
}

double ref_loss_label(const dg_loss_term *term, const ref_sample *s, int64_t voxels, double *d)
{
    if (term->kind == DG_LOSS_DICE) return dice(term, s, voxels, d);
    if (term->kind == DG_LOSS_FOCAL) return focal(term, s, voxels, d);
    if (term->kind == DG_LOSS_BOUNDARY) return boundary(term, s, voxels, d);
    const moments own = moments_of(s, voxels);
    moments all = own;
    if (term->upstream) {
        all.variance = s->joint_variance;
        all.entropy = s->joint_entropy;
    }
    return spread(term, s, voxels, &own, &all, d);
}
