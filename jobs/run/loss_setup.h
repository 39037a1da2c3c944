/* loss_setup.h - the loss of a run: its terms from the settings, the regions they look at, and how their weights change over
 * epochs. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_LOSS_SETUP_H
#define DG_LOSS_SETUP_H

#include "dg_loss_weights.h"
#include "recipe.h"

enum { DG_LOSS_POINTS_MAX = 16 };

/* Factors of a term's weight at epochs, linear in between and level beyond; no points: 1. */
typedef struct dg_loss_course {
    int points;
    double epoch[DG_LOSS_POINTS_MAX], factor[DG_LOSS_POINTS_MAX];
} dg_loss_course;

typedef struct dg_loss_setup {
    dg_loss_config config;
    dg_loss_weights weights; /* those of the start; learned where the settings say so */
    dg_loss_course course[DG_LOSS_TERMS_MAX];
    bool coupled; /* a term wants dg_loss_batch.coupled_count */
    dg_perceptual_net perceptual; /* config.perceptual; owned, until dg_loss_setup_release */
} dg_loss_setup;

/* Terms whose weight is not 0, for training cases cases[count]; their regions are added to `recipe`. DG_ERR_USAGE names a
 * setting that cannot be, a structure no training case has, or a mirror partner that is no region; DG_ERR_IO or
 * DG_ERR_FORMAT: the file of loss.calibration. */
DG_MUST_USE dg_status dg_loss_setup_make(const dg_run_config *config, const dg_cohort *cohort, const int64_t *cases,
                                         int64_t count, dg_recipe *recipe, dg_loss_setup *out);
void dg_loss_setup_release(dg_loss_setup *setup);
/* loss_perceptual.c: reads the network of a perceptual term. DG_ERR_USAGE: there is no file, or a layer that it has not. */
DG_MUST_USE dg_status dg_loss_setup_perceptual(const dg_run_config *config, dg_loss_setup *out);
double dg_loss_course_factor(const dg_loss_course *course, double epoch);

/* loss_phases.c: weights of terms by phases of a run. */
enum { DG_LOSS_PHASES_MAX = 8 };
typedef struct dg_loss_phases {
    int count;
    double begin[DG_LOSS_PHASES_MAX], end[DG_LOSS_PHASES_MAX]; /* epochs, end excluded */
    double weight[DG_LOSS_PHASES_MAX][DG_LOSS_ALL_KINDS];
    bool named[DG_LOSS_ALL_KINDS]; /* the phases set this term's weight */
    double blend;              /* epochs */
} dg_loss_phases;
/* loss.phases and loss.blend for a run of `epochs` (0: not known). DG_ERR_USAGE: a text that is no phase, gaps, overlaps,
 * a phase without weights, an end before the run's. No phases: count 0. */
DG_MUST_USE dg_status dg_loss_phases_read(const dg_string_list *text, double blend, double epochs, dg_loss_phases *out);
/* A term's weight over epochs, as the factors of a course. */
dg_loss_course dg_loss_phases_course(const dg_loss_phases *phases, dg_loss_kind kind);

/* The calibration's file, in the layout of the reference study (loss_normalization_calib.json): mean values of the terms
 * for predictions that are the plan with noise, and the log sigmas that make them equal. "base" is mse. */
typedef struct dg_loss_calibration {
    int count;
    char name[DG_LOSS_TERMS_MAX][32];
    double mean[DG_LOSS_TERMS_MAX], log_sigma[DG_LOSS_TERMS_MAX];
    int64_t samples;
    double noise_gy, scale_gy; /* scale_gy: of the last sample */
} dg_loss_calibration;
/* Measures the terms of a run's loss on `samples` training samples. */
DG_MUST_USE dg_status dg_loss_calibrate(const dg_run_config *config, int64_t samples, double noise_gy,
                                        dg_loss_calibration *out);
DG_MUST_USE dg_status dg_loss_calibration_read(const char *path, dg_loss_calibration *out);
DG_MUST_USE dg_status dg_loss_calibration_write(const char *path, const dg_loss_calibration *calibration);

#endif
