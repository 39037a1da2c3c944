/* ref_norm.c - group norm with activation, FiLM and residual; layer norm. SPDX-License-Identifier: Apache-2.0 */
#include "ref.h"

#include <math.h>

/* The steps of one element between the normalised value and the output, kept for backward. */
typedef struct element {
    double hat;    /* (x - mean) * rstd */
    double affine; /* hat * gamma + beta */
    double act;    /* act(affine) */
} element;

static element evaluate(const dg_norm_desc *desc, double x, double mean, double rstd, const float *gamma,
                        const float *beta, int64_t c)
{
    element e;
    e.hat = (x - mean) * rstd;
    e.affine = gamma != NULL ? e.hat * gamma[c] + beta[c] : e.hat;
    e.act = ref_act(desc->act, desc->negative_slope, e.affine);
    return e;
}

/* Mean and 1/sqrt(biased variance + eps) of channels [first, first + width) over all voxels of one sample. */
static void moments(const double *x, int64_t voxels, int64_t channels, int64_t first, int64_t width, double eps,
                    double *mean, double *rstd)
{
    double sum = 0, squares = 0;
    const double count = (double)(voxels * width);
    for (int64_t v = 0; v < voxels; v++)
        for (int64_t c = first; c < first + width; c++) sum += x[v * channels + c];
    *mean = sum / count;
    for (int64_t v = 0; v < voxels; v++) {
        for (int64_t c = first; c < first + width; c++) {
            double d = x[v * channels + c] - *mean;
            squares += d * d;
        }
    }
    *rstd = 1.0 / sqrt(squares / count + eps);
}

dg_status ref_norm_forward(dg_backend *backend, const dg_norm_desc *desc, const dg_tensor *x, const float *gamma,
                           const float *beta, const float *film, const dg_tensor *residual, float *stats, dg_tensor *y)
{
    dg_status status;
    double *in = NULL, *extra = NULL;
    DG_TRY(dg_arguments_norm(desc, x, gamma, beta, residual, stats, y));
    const int64_t voxels = dg_tensor_voxels(x), channels = x->c;
    const int64_t groups = desc->groups > 0 ? desc->groups : 1, width = channels / groups;
    DG_TRY_GOTO(status, ref_load(x, &in), done);
    if (residual != NULL) DG_TRY_GOTO(status, ref_load(residual, &extra), done);
#pragma omp parallel for num_threads(backend->options.threads) schedule(static)
    for (int64_t task = 0; task < x->n * groups; task++) {
        const int64_t n = task / groups, first = task % groups * width;
        double *sample = in + n * voxels * channels, mean = 0, rstd = 1;
        if (desc->groups > 0) {
            moments(sample, voxels, channels, first, width, desc->eps, &mean, &rstd);
            stats[2 * task] = (float)mean;
            stats[2 * task + 1] = (float)rstd;
        }
        for (int64_t v = 0; v < voxels; v++) {
            for (int64_t c = first; c < first + width; c++) {
                double *value = &sample[v * channels + c];
                double out = evaluate(desc, *value, mean, rstd, gamma, beta, c).act;
                if (film != NULL) out = out * (1.0 + film[n * 2 * channels + c]) + film[(n * 2 + 1) * channels + c];
                if (extra != NULL) out += extra[(n * voxels + v) * channels + c];
                *value = out;
            }
        }
    }
    ref_store(in, y, false);
done:
    dg_free(&in);
    dg_free(&extra);
    return status;
}

/* Sums of one channel of one sample. */
typedef struct channel_sums {
    double gamma, beta;  /* of du * hat and du */
    double scale, shift; /* of dy * act and dy */
} channel_sums;

/* Turns dy (in `d`) of one channel into the gradient of its affine value, and sums what parameters need. */
static channel_sums channel_backward(const dg_norm_desc *desc, const double *x, double *d, int64_t voxels,
                                     int64_t channels, int64_t c, double mean, double rstd, const float *gamma,
                                     const float *beta, double factor)
{
    channel_sums s = {0};
    for (int64_t v = 0; v < voxels; v++) {
        double *dy = &d[v * channels + c];
        element e = evaluate(desc, x[v * channels + c], mean, rstd, gamma, beta, c);
        s.scale += *dy * e.act;
        s.shift += *dy;
        *dy *= factor * ref_act_derivative(desc->act, desc->negative_slope, e.affine);
        s.gamma += *dy * e.hat;
        s.beta += *dy;
    }
    return s;
}

/* From the gradient of the affine values of a group to that of its inputs, in place. */
static void group_backward(const double *x, double *d, int64_t voxels, int64_t channels, int64_t first, int64_t width,
                           double mean, double rstd, const float *gamma, const channel_sums *sums)
{
    const double count = (double)(voxels * width);
    double mean_d = 0, mean_dhat = 0;
    for (int64_t c = first; c < first + width; c++) {
        double g = gamma != NULL ? gamma[c] : 1.0;
        mean_d += g * sums[c].beta / count;
        mean_dhat += g * sums[c].gamma / count;
    }
    for (int64_t v = 0; v < voxels; v++) {
        for (int64_t c = first; c < first + width; c++) {
            int64_t at = v * channels + c;
            double g = gamma != NULL ? gamma[c] : 1.0;
            d[at] = rstd * (g * d[at] - mean_d - (x[at] - mean) * rstd * mean_dhat);
        }
    }
}

dg_status ref_norm_backward(dg_backend *backend, const dg_norm_desc *desc, const dg_tensor *x, const float *gamma,
                            const float *beta, const float *film, const float *stats, const dg_tensor *dy,
                            dg_tensor *dx, bool accumulate, float *dgamma, float *dbeta, float *dfilm)
{
    dg_status status;
    double *in = NULL, *d = NULL;
    channel_sums *sums = NULL; /* [n][c] */
    DG_TRY(dg_arguments_norm_backward(desc, x, gamma, beta, film, stats, dy, dx, accumulate, dfilm));
    const int64_t voxels = dg_tensor_voxels(x), channels = x->c;
    const int64_t groups = desc->groups > 0 ? desc->groups : 1, width = channels / groups;
    DG_TRY_GOTO(status, ref_load(x, &in), done);
    DG_TRY_GOTO(status, ref_load(dy, &d), done);
    DG_TRY_GOTO(status, DG_NEW(&sums, x->n * channels, "reference norm sums"), done);
#pragma omp parallel for num_threads(backend->options.threads) schedule(static)
    for (int64_t task = 0; task < x->n * groups; task++) {
        const int64_t n = task / groups, first = task % groups * width, sample = n * voxels * channels;
        const double mean = desc->groups > 0 ? stats[2 * task] : 0.0;
        const double rstd = desc->groups > 0 ? stats[2 * task + 1] : 1.0;
        for (int64_t c = first; c < first + width; c++) {
            double factor = film != NULL ? 1.0 + film[n * 2 * channels + c] : 1.0;
            sums[n * channels + c] =
                channel_backward(desc, in + sample, d + sample, voxels, channels, c, mean, rstd, gamma, beta, factor);
        }
        if (desc->groups > 0)
            group_backward(in + sample, d + sample, voxels, channels, first, width, mean, rstd, gamma,
                           sums + n * channels);
    }
    ref_store(d, dx, accumulate);
    for (int64_t c = 0; c < channels; c++) {
        double sum_gamma = 0, sum_beta = 0;
        for (int64_t n = 0; n < x->n; n++) {
            const channel_sums *s = &sums[n * channels + c];
            sum_gamma += s->gamma;
            sum_beta += s->beta;
            if (film != NULL) dfilm[n * 2 * channels + c] = (float)s->scale;
            if (film != NULL) dfilm[(n * 2 + 1) * channels + c] = (float)s->shift;
        }
        if (gamma != NULL && dgamma != NULL) dgamma[c] = (float)(dgamma[c] + sum_gamma);
        if (gamma != NULL && dbeta != NULL) dbeta[c] = (float)(dbeta[c] + sum_beta);
    }
done:
    dg_free(&in);
    dg_free(&d);
    dg_free(&sums);
    return status;
}

dg_status ref_layer_norm_forward(dg_backend *backend, double eps, const dg_tensor *x, const float *gamma,
                                 const float *beta, float *stats, dg_tensor *y)
{
    double *values;
    DG_TRY(dg_arguments_layer_norm(x, gamma, stats, y));
    DG_TRY(ref_load(x, &values));
    for (int64_t v = 0; v < x->n * dg_tensor_voxels(x); v++) {
        double mean, rstd, *row = values + v * x->c;
        moments(row, 1, x->c, 0, x->c, eps, &mean, &rstd);
        stats[2 * v] = (float)mean;
        stats[2 * v + 1] = (float)rstd;
        for (int64_t c = 0; c < x->c; c++) row[c] = (row[c] - mean) * rstd * gamma[c] + beta[c];
    }
    ref_store(values, y, false);
    dg_free(&values);
    return DG_OK;
}

dg_status ref_layer_norm_backward(dg_backend *backend, const dg_tensor *x, const float *gamma, const float *stats,
                                  const dg_tensor *dy, dg_tensor *dx, bool accumulate, float *dgamma, float *dbeta)
{
    dg_status status;
    double *in = NULL, *d = NULL, *sums = NULL; /* sums: [c] of dgamma, [c] of dbeta */
    DG_TRY(dg_arguments_layer_norm(x, gamma, stats, dy));
    DG_TRY(dg_arguments_same("layer norm backward", x, dy, dx));
    const int64_t channels = x->c;
    DG_TRY_GOTO(status, ref_load(x, &in), done);
    DG_TRY_GOTO(status, ref_load(dy, &d), done);
    DG_TRY_GOTO(status, DG_NEW(&sums, 2 * channels, "reference norm sums"), done);
    for (int64_t v = 0; v < x->n * dg_tensor_voxels(x); v++) {
        const double mean = stats[2 * v], rstd = stats[2 * v + 1], *row = in + v * channels;
        double *out = d + v * channels, mean_d = 0, mean_dhat = 0;
        for (int64_t c = 0; c < channels; c++) {
            double hat = (row[c] - mean) * rstd;
            sums[c] += out[c] * hat;
            sums[channels + c] += out[c];
            mean_d += gamma[c] * out[c] / (double)channels;
            mean_dhat += gamma[c] * out[c] * hat / (double)channels;
        }
        for (int64_t c = 0; c < channels; c++)
            out[c] = rstd * (gamma[c] * out[c] - mean_d - (row[c] - mean) * rstd * mean_dhat);
    }
    ref_store(d, dx, accumulate);
    for (int64_t c = 0; c < channels; c++) {
        dgamma[c] = (float)(dgamma[c] + sums[c]);
        dbeta[c] = (float)(dbeta[c] + sums[channels + c]);
    }
done:
    dg_free(&in);
    dg_free(&d);
    dg_free(&sums);
    return status;
}
