/* run_config.h - every setting of a run as one plain struct, and the option rows that fill it (doc/options.md is printed
 * from them). A setting that does nothing is not here. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_RUN_CONFIG_H
#define DG_RUN_CONFIG_H

#include "dg_adversary.h"
#include "dg_model.h"
#include "dg_optim.h"
#include "dg_options.h"
#include "dg_patch.h"
#include "dg_perceptual.h"
#include "dg_reducer.h"

/* The voxels a loss counts. Voxels outside the volume or outside the box of known dose never count. */
typedef enum dg_loss_mask { DG_MASK_NONE, DG_MASK_BODY, DG_MASK_POSSIBLE_DOSE } dg_loss_mask;
/* Corrected forms of the losses, or the reference tool's own with its faults. */
typedef enum dg_loss_compat { DG_LOSS_CORRECTED, DG_LOSS_UPSTREAM } dg_loss_compat;
/* Weights of the terms as set, or learned with the network. */
typedef enum dg_loss_weighting { DG_LOSS_FIXED, DG_LOSS_LEARNED } dg_loss_weighting;
/* What to do with a step whose loss or gradient is not finite. */
typedef enum dg_nan_policy { DG_NAN_SKIP, DG_NAN_ABORT, DG_NAN_ROLLBACK } dg_nan_policy;
/* What to do when the mean loss climbs far above its lowest. */
typedef enum dg_degradation_policy {
    DG_DEGRADATION_IGNORE,
    DG_DEGRADATION_ABORT,
    DG_DEGRADATION_ROLLBACK
} dg_degradation_policy;
/* What the network learns to predict. */
typedef enum dg_data_target { DG_TARGET_DOSE, DG_TARGET_LABELS } dg_data_target;
/* What picks best.h5. */
typedef enum dg_monitor {
    DG_MONITOR_AUTO,
    DG_MONITOR_DOSE_SCORE,
    DG_MONITOR_MAE,
    DG_MONITOR_MAE_PTV,
    DG_MONITOR_DICE_ERROR,
    DG_MONITOR_FRACTION,
    DG_MONITOR_DENOISE
} dg_monitor;
/* Activation type as the options spell it; see dg_run_dtype. */
typedef enum dg_run_type { DG_TYPE_BF16, DG_TYPE_F32 } dg_run_type;

typedef struct dg_split_config {
    double train, val, test; /* fractions; normalised by their sum */
    int64_t seed;
    char file[DG_OPT_TEXT]; /* JSON or YAML with arrays train, val, test of case ids; "" draws the split */
    bool labels;            /* no setting: labels are learned, not doses */
} dg_split_config;

/* What patches and windows lie in. */
typedef enum dg_data_frame { DG_FRAME_VOLUME, DG_FRAME_REGION } dg_data_frame;

typedef struct dg_data_config {
    char cohort[DG_OPT_TEXT];
    dg_split_config split;
    int target; /* dg_data_target */
    struct {
        dg_int_list foreground, background, ignore; /* values of the labels; any other is an error */
    } labels;
    dg_string_list channels;    /* count 0: auto */
    dg_double_list scale_gy;    /* count 0: each case's prescription */
    dg_double_list ct_range_hu; /* [low, high] -> [-1, 1], clipped */
    dg_double_list spacing_mm;  /* count 0: native, else z,y,x */
    dg_int_list coarsen;        /* one factor or z,y,x: inputs are block averages of the native grid */
    bool constraints;
    dg_int_list patch; /* count 0: auto, the whole volume; else z,y,x */
    int frame;         /* dg_data_frame */
    double high_dose_fraction;
    struct {
        bool flip;
        double shift_voxels, rotate_deg, contrast, brightness_hu, noise_hu;
        int64_t rotate_fold;
    } augment;
    int64_t cache_mb;
    int64_t readers;
} dg_data_config;

typedef enum dg_cuda_graph { DG_CUDA_GRAPH_AUTO, DG_CUDA_GRAPH_OFF } dg_cuda_graph;
/* What becomes of two ranks with one GPU. */
typedef enum dg_shared_gpu { DG_SHARED_GPU_REFUSE, DG_SHARED_GPU_MPI } dg_shared_gpu;

/* Where gradients of terms are compared. */
typedef enum dg_detect_space { DG_DETECT_OUTPUT, DG_DETECT_PARAMETERS } dg_detect_space;

/* Rules that act while a run goes on; what they watch is train.monitor. doc/training.md, "Rules". */
typedef struct dg_rules_config {
    struct {
        char start[DG_OPT_TEXT]; /* none, an epoch, or a share of the run */
        double every, std, decay;
        dg_string_list layers; /* patterns of parameters; count 0: all */
    } weight_noise;
    struct {
        int64_t patience; /* validations without gain; 0: off */
        double lr_factor, lr_cap, noise;
        int64_t max;
    } plateau;
    struct {
        double rise;      /* share of the best; 0: off */
        int64_t patience; /* validations in a row that are worse than the best; 0: off */
        int64_t max;
    } rollback;
} dg_rules_config;

typedef struct dg_train_config {
    int64_t steps;          /* 0: from epochs, else unlimited under minutes, else DG_RUN_STEPS */
    double epochs, minutes; /* 0: no such limit */
    int64_t batch;
    int64_t batch_min;       /* steps take batch_min to batch samples; 0: always batch */
    dg_int_list micro_batch; /* count 0: auto */
    dg_int_list threads;     /* count 0: auto */
    char backend[DG_OPT_TEXT];
    int dtype;     /* dg_run_type */
    int reduction; /* dg_reduction */
    int wire;      /* dg_run_type */
    bool recompute;
    dg_string_list freeze;  /* patterns of parameters that do not learn */
    int64_t validate_every; /* steps; 0: only at the end */
    int monitor;            /* dg_monitor */
    struct {
        int64_t patience; /* validations without gain; 0: off */
        double min_delta;
    } early_stopping;
    char checkpoint_every[DG_OPT_TEXT]; /* auto, steps, or a time: dg_run_config_save_rule */
    int64_t max_restarts;               /* by the scheduler at one step; 0: any number */
    double mtbi_h;                      /* mean time between interruptions, for auto */
    int64_t keep;                       /* step-*.h5 files */
    int on_nan;                         /* dg_nan_policy */
    int on_degradation;                 /* dg_degradation_policy */
    double degradation_factor;
    int cuda_graph; /* dg_cuda_graph */
    int shared_gpu; /* dg_shared_gpu */
    struct {
        int64_t every_steps; /* a pause of pause_s after so many; 0: none */
        double pause_s;
        double above_c; /* pauses while a GPU is hotter; 0: never */
    } cooling;
    dg_rules_config rules;
    struct {
        dg_int_list every; /* steps; count 0: auto */
        int space;         /* dg_detect_space */
    } detect;
    double comm_timeout_s; /* of a wait for other ranks, and of reading or writing a file */
} dg_train_config;

/* How an evaluation measures; jobs/run/evaluation.h resolves it. `evaluate` has the same keys as flags. */
typedef struct dg_evaluate_config {
    int compat;           /* dg_evaluation_compat */
    dg_string_list gamma; /* criteria as "percent/mm"; count 0: no gamma */
    double cutoff_percent, max_gamma, interp_fraction;
    char norm[DG_OPT_TEXT]; /* max, prescription, or Gy */
    int gamma_method;       /* dg_gamma_method */
    bool local;
    dg_int_list subsample;  /* of compat upstream; count 0: as the reference tool does */
    dg_string_list regions; /* count 0: all */
    double margin_mm;
    char constraint_table[DG_OPT_TEXT]; /* auto, none, a name or a file */
    int64_t supersample;
    int dvh_rule; /* dg_dvh_rule */
    dg_double_list vx_gy;
    int64_t resamples, seed, members;
} dg_evaluate_config;

/* Weights (0: the term is not there) and parameters of the loss; doc/losses.md. Empty lists: auto. */
typedef struct dg_loss_settings {
    int mask, compat, weighting; /* dg_loss_mask, dg_loss_compat, dg_loss_weighting */
    char calibration[DG_OPT_TEXT];
    dg_string_list schedule, phases;
    double blend;
    struct {
        double weight, smooth;
    } dice;
    struct {
        double weight, alpha, gamma, foreground, background;
    } focal;
    struct {
        double weight, theta0, theta;
    } boundary;
    struct {
        double weight, smooth;
        int64_t iterations;
    } cldice;
    struct {
        double weight;
        int64_t kernel;
    } connectivity;
    struct {
        double weight, least_entropy;
    } variance, entropy;
    double mse, mae, negative, gradient, ssim;
    struct {
        double weight, delta;
    } huber;
    struct {
        double weight, eps;
    } poisson;
    struct {
        double weight;
        char file[DG_OPT_TEXT], architecture[DG_OPT_TEXT];
        dg_string_list layers;
        int64_t every;
    } perceptual;
    struct {
        double weight, lr, beta1, beta2, clip;
        int64_t base, layers, start; /* start: step */
    } adversarial;
    struct {
        double weight, window;
        int64_t min_voxels;
        dg_double_list vx_temperature;
        dg_string_list goals;
    } dvh;
    struct {
        double weight, inside, near, elsewhere, near_mm;
        dg_string_list targets, organs;
    } structure;
    struct {
        double weight, ratio;
        dg_string_list targets;
    } asymmetric;
} dg_loss_settings;

/* A diffusion of doses (model.kind diffusion_unet): how it is learned and how doses are drawn; doc/diffusion.md. */
typedef enum dg_process { DG_PROCESS_DDPM, DG_PROCESS_FLOW } dg_process;
typedef enum dg_said { DG_SAID_AUTO, DG_SAID_NOISE, DG_SAID_CLEAN, DG_SAID_V } dg_said;
typedef enum dg_time_weighting { DG_TIMES_UNIFORM, DG_TIMES_MIN_SNR } dg_time_weighting;
typedef enum dg_diffusion_fault {
    DG_UPSTREAM_NONE,
    DG_UPSTREAM_PENALTY,
    DG_UPSTREAM_START,
    DG_UPSTREAM_NOISE,
    DG_UPSTREAM_ETA
} dg_diffusion_fault;
typedef struct dg_diffusion_settings {
    int process, schedule; /* dg_process; 0 cosine, 1 linear */
    int64_t steps;
    int predict;   /* dg_said */
    int weighting; /* dg_time_weighting */
    double snr_limit, drop_condition;
    int compat;  /* dg_loss_compat */
    int fault;   /* dg_diffusion_fault: one of those of compat upstream */
    int sampler; /* dg_sampler_kind */
    int64_t sample_steps;
    double eta, guidance;
    int64_t ensemble;
    dg_double_list percentiles;
    int64_t seed, validate_steps;
} dg_diffusion_settings;

typedef struct dg_run_config {
    struct {
        char name[DG_OPT_TEXT], dir[DG_OPT_TEXT], condition[DG_OPT_TEXT];
        int64_t seed;
    } run;
    dg_data_config data;
    struct {
        char kind[DG_OPT_TEXT];
        int64_t base, levels, cond_channels;
    } model;
    dg_diffusion_settings diffusion;
    dg_loss_settings loss;
    struct {
        int kind; /* dg_optim_kind */
        double lr, weight_decay, beta1, beta2, eps, momentum;
        bool nesterov;
        double clip, ema;
        struct {
            int kind;             /* dg_schedule_kind */
            int64_t warmup;       /* steps */
            double warmup_epochs; /* in place of it; 0: not used */
            double min_lr;
            double restart_epochs, restart_factor; /* cosine_restarts */
            int64_t patience;                      /* plateau: validations */
            double factor;                         /* plateau */
        } schedule;
        struct {
            char start[DG_OPT_TEXT]; /* none, an epoch, or a share of the run as in 60% */
            double every;            /* epochs */
            double lr;               /* from then on; 0: the schedule's */
        } swa;
        struct {
            double std, decay;
        } grad_noise;
    } optim;
    dg_train_config train;
    struct {
        double overlap;
        bool flips;
        int dtype; /* dg_run_type */
    } predict;
    dg_evaluate_config evaluate;
} dg_run_config;

enum { DG_RUN_STEPS = 10000 }; /* length of a run that names no limit */

/* The rows of all keys; they live as long as the program. A job puts a dg_run_config first in its own struct and adds
 * its flags behind these rows (dg_run_config_table). */
const dg_option *dg_run_config_rows(int *count);
/* *table = the rows followed by extra[extra_count]; the caller's (dg_free). */
DG_MUST_USE dg_status dg_run_config_table(const dg_option *extra, int extra_count, dg_option **table, int *count);

/* DG_* variables of a run's settings, for the jobs that look at what runs will see: those that are flags of such a job itself
 * (DG_SUBMIT__, DG_SWEEP__, DG_DIFF__) are left out. */
DG_MUST_USE dg_status dg_run_config_read_environment(dg_options *options);
/* The variables that it applies now, as they stand: {"DG_TRAIN__STEPS": "10"}; the caller's. DG_ERR_USAGE as it, and where a
 * value is no UTF-8. */
DG_MUST_USE dg_status dg_run_config_environment_json(json_t **out);

/* What one row cannot check alone: list lengths, contradicting keys, no loss at all. DG_ERR_USAGE names the keys. */
DG_MUST_USE dg_status dg_run_config_check(const dg_run_config *config);

/* controls.c, called by the above: rules that contradict each other. */
DG_MUST_USE dg_status dg_run_config_check_rules(const dg_run_config *config);

/* The resolved values with origins, of the run's own keys only (a job's flags are left out); the caller's. */
json_t *dg_run_config_to_json(const dg_options *options);

/* When a run saves itself: every so many steps, every so many seconds, or as Young's rule has it; all 0: at the end. */
typedef struct dg_save_rule {
    bool automatic;
    int64_t steps;
    double seconds;
} dg_save_rule;
/* Of train.checkpoint_every, which dg_run_config_check has found to be right. */
dg_save_rule dg_run_config_save_rule(const dg_run_config *config);

/* Steps of the whole run for `cases` training cases; INT64_MAX when only minutes end it. */
int64_t dg_run_config_steps(const dg_run_config *config, int64_t cases);
/* Coarsening factors z,y,x (1 where native). */
void dg_run_config_coarsen(const dg_run_config *config, int64_t factor_zyx[3]);
/* One output channel per native voxel of a block: a network on block averages still predicts the native grid. */
dg_model_config dg_run_config_model(const dg_run_config *config, int64_t in_channels, int64_t constraints);
dg_optim_config dg_run_config_optim(const dg_run_config *config, int64_t total_steps);
/* data.split, of which labels take the cases without a dose too. */
dg_split_config dg_run_config_split(const dg_run_config *config);
/* The discriminator of an adversarial term for a network of these channels. */
dg_adversary_config dg_run_config_adversary(const dg_run_config *config, int64_t inputs, int64_t outputs);
dg_augment_config dg_run_config_augment(const dg_run_config *config);
dg_reducer_config dg_run_config_sums(const dg_run_config *config, int64_t gradients);
dg_dtype dg_run_dtype(int type);

#endif
