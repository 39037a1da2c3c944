/* bench_impl.h - what the parts of `dosegrid bench` share. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_BENCH_IMPL_H
#define DG_BENCH_IMPL_H

#include "gamma_pair.h"
#include "job.h"

#include "dg_loss.h"
#include "dg_model.h"
#include "dg_plan.h"

enum { BENCH_STEPS_MAX = 10000 };

typedef struct bench_settings {
    bool json, layers;
    int dtype, mode, reduction, loss;
    int64_t channels, base, levels, patch, size, batch, steps, threads, megabytes;
    double overlap;
    char backend[DG_OPT_TEXT], device[DG_OPT_TEXT];
    gamma_settings gamma;
    const char *path, *second_path; /* of `bench io` and `bench gamma`, or NULL */
} bench_settings;

enum { BENCH_F32, BENCH_BF16 };
enum { BENCH_INFER, BENCH_TRAIN };
enum { BENCH_LOSS_PLAIN, BENCH_LOSS_FIVE, BENCH_LOSS_FIVE_UPSTREAM, BENCH_LOSS_LABELS };

/* Each fills *answer (caller owns) with its figures on rank 0. The reference to a figure's meaning is its key. */
DG_MUST_USE dg_status bench_conv(const dg_job_env *env, const bench_settings *s, json_t **answer);
DG_MUST_USE dg_status bench_model(const dg_job_env *env, const bench_settings *s, json_t **answer);
/* Training steps of all ranks with the reduction between them. @collective */
DG_MUST_USE dg_status bench_train(const dg_job_env *env, const bench_settings *s, json_t **answer);
/* A cubic volume of `size` voxels through overlapping windows, weighted and blended as predict does. */
DG_MUST_USE dg_status bench_sliding(const dg_job_env *env, const bench_settings *s, json_t **answer);
DG_MUST_USE dg_status bench_io(const dg_job_env *env, const bench_settings *s, json_t **answer);
DG_MUST_USE dg_status bench_gamma(const dg_job_env *env, const bench_settings *s, json_t **answer);
DG_MUST_USE dg_status bench_allreduce(const dg_job_env *env, const bench_settings *s, json_t **answer);

/* The steps of a pass of `plan` by themselves: adds conv_s, roofline_s and, where asked for, layers[] to the answer. Peaks are
 * those of --device in the device table, else what the driver tells; shares of them are left out where neither is known. */
DG_MUST_USE dg_status bench_layers(const bench_settings *s, dg_plan *plan, dg_backend *backend, float *gradients,
                                   json_t *answer);
/* Prints layers[] as a table. */
void bench_print_layers(const json_t *layers);

/* Losses of `--loss` over made-up targets: five parts over structures, or all terms of labels. */
DG_MUST_USE dg_loss_config bench_loss_config(const bench_settings *s);
/* Backend memory for what the loss reads beside the output, a made-up target among it; y gives the shape. Freed by
 * bench_free_targets, also where it fails. */
DG_MUST_USE dg_status bench_create_targets(const bench_settings *s, dg_backend *backend, const dg_tensor *y,
                                           dg_loss_batch *out);
void bench_free_targets(dg_backend *backend, dg_loss_batch *batch);
/* Adds terms{} to the answer: median seconds of each term of `--loss labels` by itself. */
DG_MUST_USE dg_status bench_terms(const bench_settings *s, dg_backend *backend, const dg_loss_batch *batch,
                                  dg_tensor *dy, json_t *answer);
/* Values of made-up inputs: a wave, so that losses are finite and no value is special. */
DG_MUST_USE dg_status bench_fill_tensor(dg_backend *backend, const dg_tensor *t);

/* The network of the settings: the baseline, or with losses of labels the topology U-Net. */
DG_MUST_USE dg_status bench_create_model(const bench_settings *s, dg_model **out);
/* This rank's threads (its share of the cores for 0) and a backend on them. */
DG_MUST_USE dg_status bench_create_backend(const dg_job_env *env, const bench_settings *s, dg_backend **out);
/* Sorts `seconds`. */
double bench_median(double *seconds, int64_t count);

#endif
