/* dg_diffusion.h - the forward process of a diffusion model: noise schedules, what the network is trained to say, and the
 * time it is told. x_t = signal x_0 + noise e, e standard normal; times 0 .. steps-1, of which the last is all but pure noise. Ho et al. 2020 (DDPM), Nichol & Dhariwal 2021 (cosine schedule), Salimans & Ho 2022 (v),
 * Liu et al. 2023 (rectified flow).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_DIFFUSION_H
#define DG_DIFFUSION_H

#include "dg_status.h"

#include <stdbool.h>
#include <stdint.h>

/* Cosine and linear keep the variance, signal^2 + noise^2 = 1; the flow is a straight line, signal + noise = 1. */
typedef enum dg_noise_schedule { DG_NOISE_COSINE, DG_NOISE_LINEAR, DG_NOISE_FLOW } dg_noise_schedule;

/* What the network's output is: the noise e, the dose x_0, or v = signal e - noise x_0 (for the flow its velocity,
 * e - x_0). The flow, whose last time holds no signal, has no noise prediction. */
typedef enum dg_prediction { DG_PREDICT_NOISE, DG_PREDICT_CLEAN, DG_PREDICT_V } dg_prediction;

typedef struct dg_diffusion_config {
    dg_noise_schedule schedule;
    int64_t steps; /* 1000 */
    double offset; /* s of the cosine schedule, 0.008 */
    /* Limits of the cosine schedule, 1e-4 and 0.9999; ends of the linear one, 1e-4 and 0.02. */
    double beta_min, beta_max;
    dg_prediction prediction;
    bool single; /* in single precision, as the reference tool has it: where 1 - signal^2 cancels it is 1e-3 off */
} dg_diffusion_config;

typedef struct dg_diffusion {
    dg_diffusion_config config;
    double *beta;   /* [steps] variance that step t adds; NULL for the flow */
    double *signal; /* [steps] */
    double *noise;  /* [steps] */
} dg_diffusion;

/* DG_ERR_USAGE for a value out of range. Ends with dg_diffusion_destroy. */
DG_MUST_USE dg_status dg_diffusion_create(const dg_diffusion_config *config, dg_diffusion **out);
void dg_diffusion_destroy(dg_diffusion **diffusion);

/* What an output at time t speaks of: dose = clean_x x + clean_out out, noise = noise_x x + noise_out out. */
typedef struct dg_reading {
    double clean_x, clean_out, noise_x, noise_out;
} dg_reading;
dg_reading dg_diffusion_read(const dg_diffusion *diffusion, int64_t t);
/* What a loss of the dose is multiplied by: signal, which bounds its gradient; `raw`: all but 1, as the reference tool. */
double dg_diffusion_dose_scale(const dg_diffusion *diffusion, int64_t t, bool raw);
/* Weight of a time in min-SNR weighting (Hang et al. 2023): the error of the dose counts min(signal^2 / noise^2, limit). */
double dg_diffusion_min_snr(const dg_diffusion *diffusion, int64_t t, double limit);

/* The posterior of x_{t-1} given x_t and x_0: mean = *clean x_0 + *x x_t, and its variance (0 at t = 0). Ho et al. eq. 7; not
 * for the flow. */
void dg_diffusion_posterior(const dg_diffusion *diffusion, int64_t t, double *clean, double *x, double *variance);

/* x_t of one sample: [count] values each. */
void dg_diffusion_add_noise(const dg_diffusion *diffusion, int64_t t, const float *clean, const float *noise,
                            int64_t count, float *x);
/* Sinusoids of a time: sin(t w_j) for j < count/2, then cos(t w_j); w_j = exp(-j ln(10000) / (count/2 - 1)). count even,
 * at least 4. Vaswani et al. 2017. */
void dg_diffusion_sinusoids(int64_t t, int64_t count, float *out);

/* What the network is to say of a voxel. */
double dg_diffusion_wanted(const dg_diffusion *diffusion, int64_t t, double clean, double noise);
/* The loss of one sample's output [count]: mean squared error against what the network is to say, plus `penalty` times the
 * mean of relu(-x_0) of the dose it speaks of. `raw`: that dose itself, whose gradient grows as 1/signal at late times
 * (the reference tool's); else signal x_0, which is bounded. `gradient` (NULL: not wanted) is set. */
typedef struct dg_diffusion_loss {
    double penalty;
    bool raw;
} dg_diffusion_loss;
double dg_diffusion_evaluate(const dg_diffusion *diffusion, const dg_diffusion_loss *loss, int64_t t,
                             const float *clean, const float *noise, const float *out, int64_t count, float *gradient);

#endif
