/* trainer_impl.h - private to trainer*.c and validate.c. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_TRAINER_IMPL_H
#define DG_TRAINER_IMPL_H

#include "compute.h"
#include "controls.h"
#include "detectors.h"
#include "dg_checkpoint.h"
#include "dg_sampler.h"
#include "dg_gpu_sensor.h"
#include "dg_heartbeat.h"
#include "dg_plan.h"
#include "dg_reducer.h"
#include "dg_weights.h"
#include "diffusion_pass.h"
#include "feed.h"
#include "loss_setup.h"
#include "predictor.h"
#include "run_folder.h"
#include "saver.h"
#include "split.h"
#include "stop.h"
#include "trainer.h"

/* What a run knows beyond weights and moments: state "run". */
typedef struct trainer_progress {
    int64_t step; /* steps begun and ended; the next sample's step */
    int64_t seed;
    double elapsed_s; /* training time before this process */
    double cooling_s; /* of it in pauses, this process included */
    int64_t skipped;  /* steps without update, because of values that were not finite */
    int64_t rollbacks;
    int64_t threads; /* per rank: part of the numerics */
    double best;     /* of the monitor; INFINITY before the first validation */
    int64_t best_step;
    int64_t stale;                  /* validations since */
    char cases_sha256[DG_HASH_HEX]; /* of ids and contents of the training and validation cases */
} trainer_progress;

/* The running mean of the loss, for train.on_degradation. */
enum { TRAINER_GUARD_STEPS = 50 };
typedef struct trainer_guard {
    double mean, best; /* best: the lowest mean; INFINITY before the first */
    int64_t seen;      /* steps in the mean, since the start */
} trainer_guard;

/* The opponent of an adversarial term (trainer_adversary.c). */
typedef struct trainer_adversary {
    dg_adversary *judge; /* NULL: there is no such term */
    dg_reducer *sums;
    int term;                   /* of the loss */
    bool idle;                  /* before loss.adversarial.start */
    const float *gradients;     /* of a step, over all ranks */
    double *value, *pass_value; /* [batch] and [micro] times DG_ADVERSARY_VALUES, as those of the loss */
    dg_adversary_scores scores; /* of the last step that it learned in */
} trainer_adversary;

struct dg_trainer {
    dg_comm *comm;
    dg_log *log;     /* owned: the run's own */
    dg_trace *trace; /* owned, or NULL */
    char trace_path[DG_OPT_TEXT];
    const dg_options *options;
    dg_run_config config;
    dg_run_folder folder;
    dg_cohort *cohort;
    dg_split split;
    dg_recipe recipe;
    dg_source *source;
    dg_backend *backend;
    dg_gpu_sensor *sensor; /* of this rank's GPU; NULL: none */
    bool sensor_blind;     /* it told no temperature when last asked */
    dg_comm *memory_comm;  /* for data in the backend's memory: `comm` itself, or owned */
    dg_model *model;
    dg_plan *plan;
    dg_optim *optim;
    dg_optim_config schedule; /* of the optimiser; total steps as the learning rate sees them */
    dg_reducer *reducer;
    dg_sampler sampler;
    dg_sample_size size;
    dg_feed *feed;
    dg_predictor *predictor;
    dg_metrics *metrics; /* rank 0 */
    dg_weights weights;
    float *target;       /* backend memory, [micro, outputs] */
    uint8_t *counted;    /* the same */
    dg_loss_setup setup; /* of the loss; its learned weights are of the run */
    dg_loss *loss;
    dg_diffusion *diffusion;  /* with the next two: NULL where the network gives the dose itself */
    dg_diffusion_pass *noise; /* into the samples of a pass */
    dg_sampler_step *sampling;
    int64_t sampling_steps;
    trainer_adversary adversary;
    uint32_t *regions;          /* backend memory, [micro, outputs]; NULL where the loss looks at none */
    float *distance;            /* the same, to the labels' surface */
    float *scale_gy, *coupled;  /* backend memory, [micro] and [1] */
    double *value;              /* of the loss, [batch, terms] and a flag: a step's, over all ranks at its end */
    double *pass_value;         /* [micro, terms] */
    int64_t first, mine, micro; /* slots of this rank; samples of a pass */
    int64_t batch_now, live;    /* samples of the present step; of them this rank's */
    int64_t total_steps;
    trainer_progress progress;
    dg_controls controls; /* rules in steps */
    dg_control_state rules;
    bool finishing; /* no step comes any more: rules rest */
    dg_detectors detectors;
    dg_state_frozen *best; /* weights and optimiser of the best validation, for train.rollback; NULL: none yet */
    trainer_guard guard;
    dg_state_registry registry;
    double started_s; /* when this process began to train */
    int bad_in_a_row;
    dg_state_registry learned; /* weights and optimiser: what a rollback brings back */
    dg_state_frozen *kept;     /* of them, at the last good checkpoint; NULL where nothing rolls back */
    int rolled;                /* rollbacks to it */
    bool *val_lost;            /* [validation cases] could not be read: left out from then on */
    int64_t val_lost_count;
    dg_monitor monitor; /* resolved at the first validation */
    dg_scores scores;   /* of the last one */
    int64_t validated_step, saved_step;
    dg_saver *saver;           /* rank 0 */
    double saved_s;            /* when the last checkpoint was begun */
    double step_s, validate_s; /* the last step with what belonged to it; the last validation */
    dg_stop_watch watch;
    bool best_pending; /* the present state belongs into best.h5 */
};

/* A phase begins: marked for the heartbeat, and a range of the trace until dg_range_end. */
int64_t trainer_begin(dg_trainer *t, dg_phase phase);
/* Seconds of training so far, all processes of the run together. */
double trainer_elapsed_s(const dg_trainer *t);

/* What a step did. */
typedef struct trainer_step {
    double loss, part[DG_METRICS_PARTS_MAX]; /* over the global batch: terms, then learned widths */
    double lr, grad_norm;
    bool updated;
} trainer_step;

/* trainer_setup.c: adds to a message of DG_ERR_MEMORY what the run takes by `dosegrid plan` and what would take less. */
dg_status trainer_explain_memory(const dg_trainer *t, dg_status status);

/* trainer_cooling.c: opens the sensor of this rank's GPU, where it has one; DG_ERR_USAGE or DG_ERR_UNSUPPORTED where
 * train.cooling.above_c needs one that is not there. @collective yes. */
DG_MUST_USE dg_status trainer_open_sensor(dg_trainer *t);
/* Degrees C of this rank's GPU, -INFINITY where they are not known; the log says so where a limit is set. */
double trainer_heat_c(dg_trainer *t);
/* Seconds that the step which comes is to be put off; the same on every rank. */
double trainer_pause_s(const dg_trainer *t);
bool trainer_is_hot(const dg_trainer *t, double hottest_c);

/* trainer_controls.c: settings of the rules as steps, into `controls` and `schedule`. */
DG_MUST_USE dg_status trainer_controls_make(dg_trainer *t);
/* How many samples the step that comes has, and noise on the weights where that is due. */
DG_MUST_USE dg_status trainer_controls_begin(dg_trainer *t);
/* Noise into the reducer's buffer, before its first pass. */
DG_MUST_USE dg_status trainer_controls_gradient(dg_trainer *t);
double trainer_controls_lr(const dg_trainer *t, double scheduled);
/* After a validation with this value of the monitor; `best`: the lowest before it. @collective yes. */
DG_MUST_USE dg_status trainer_controls_judge(dg_trainer *t, double value, double best, bool gains);
/* Columns of metrics.csv, how many; their values; and what rules did, for training_summary.json. */
int trainer_controls_columns(const dg_trainer *t, char (*name)[DG_METRICS_NAME]);
int trainer_controls_parts(const dg_trainer *t, double *part);
void trainer_controls_describe(const dg_trainer *t, json_t *summary);
/* Their states: that of the best weights is loaded before the weights, which it passes through. */
DG_MUST_USE dg_status trainer_controls_register_first(dg_trainer *t);
DG_MUST_USE dg_status trainer_controls_register(dg_trainer *t);

/* trainer_detect.c: looks whether the terms of the loss pull apart and what the output is like, at steps of train.detect.every, with
 * rank 0's first sample; before the step's weights of the loss are set. Nothing that is learned depends on it. */
DG_MUST_USE dg_status trainer_detect_make(dg_trainer *t);
DG_MUST_USE dg_status trainer_detect_look(dg_trainer *t);
/* After a step and after a validation. */
void trainer_detect_step(dg_trainer *t, const double *mean);
void trainer_detect_validated(dg_trainer *t, double value, double best);
int trainer_detect_columns(const dg_trainer *t, char (*name)[DG_METRICS_NAME]);
void trainer_detect_parts(const dg_trainer *t, double *part);
json_t *trainer_detect_findings(const dg_trainer *t);
DG_MUST_USE dg_status trainer_detect_register(dg_trainer *t);

/* trainer_freeze.c: keeps the optimiser off what train.freeze names; DG_ERR_USAGE: a pattern names nothing, or nothing is left
 * to learn. And tells which parameters those are. */
DG_MUST_USE dg_status trainer_freeze(dg_trainer *t);
void trainer_tell_frozen(const dg_trainer *t);
bool trainer_is_frozen(const dg_trainer *t, const char *parameter);
/* DG_ERR_USAGE with the name of the setting: the pattern names no parameter. */
DG_MUST_USE dg_status trainer_check_pattern(const dg_trainer *t, const char *key, const char *pattern);

/* trainer_diffusion.c, for a diffusion: the process and how validation samples it, the memory of a pass; samples [first,
 * first + count) of this rank go to their places, with noise; and the one-step error of a validation case. */
DG_MUST_USE dg_status trainer_diffusion_make(dg_trainer *t);
void trainer_diffusion_release(dg_trainer *t);
DG_MUST_USE dg_status trainer_diffusion_fill(dg_trainer *t, int64_t first, int64_t count, dg_feed_places *places);
DG_MUST_USE dg_status trainer_diffusion_score(dg_trainer *t, int64_t index, double *error_gy);
/* Does a checkpoint that weights are taken from fit the process? DG_ERR_MISMATCH names what differs. */
DG_MUST_USE dg_status trainer_diffusion_check_init(const dg_trainer *t, const char *path);

/* trainer_loss.c: what the loss knows, and its weights. */
DG_MUST_USE dg_status trainer_loss_make(dg_trainer *t);
void trainer_loss_release(dg_trainer *t);
/* The batch of a pass, and the output's gradient as the loss writes it: one channel, the voxels of a block side by side. */
dg_loss_batch trainer_loss_batch(const dg_trainer *t);
dg_tensor trainer_loss_gradient(const dg_trainer *t);
/* Weights of the terms in the step that comes. */
void trainer_loss_now(dg_trainer *t, double now[DG_LOSS_TERMS_MAX]);
/* Queues the loss of the pass that was computed. */
DG_MUST_USE dg_status trainer_loss_evaluate(dg_trainer *t);
/* Weights of the step that comes, and what couples its samples. @collective where the loss is coupled. */
DG_MUST_USE dg_status trainer_loss_begin(dg_trainer *t, const dg_sample *samples);
/* Loss and columns from the terms' means; the gradients of learned weights. */
void trainer_loss_judge(dg_trainer *t, const double *mean, trainer_step *out);
/* Names of the columns of metrics.csv; returns how many. */
int trainer_loss_columns(const dg_trainer *t, char name[DG_METRICS_PARTS_MAX][DG_METRICS_NAME]);

/* trainer_adversary.c: nothing happens without an adversarial term. make: before the loss is; make_sums: collective. */
DG_MUST_USE dg_status trainer_adversary_make(dg_trainer *t);
DG_MUST_USE dg_status trainer_adversary_make_sums(dg_trainer *t);
void trainer_adversary_release(dg_trainer *t);
DG_MUST_USE dg_status trainer_adversary_register(dg_trainer *t);
/* Of its states in a file. */
int64_t trainer_adversary_bytes(const dg_trainer *t);
DG_MUST_USE dg_status trainer_adversary_warm_up(dg_trainer *t, const dg_loss_batch *batch, dg_tensor *dy);
/* A step: once before it; begin before the first pass; learn, and pass_done, with each; read when a pass is computed; finish behind
 * the network's sums; share, with the terms' means, gives the scores. @collective finish and share. */
void trainer_adversary_prepare(dg_trainer *t);
DG_MUST_USE dg_status trainer_adversary_begin(dg_trainer *t);
DG_MUST_USE dg_status trainer_adversary_learn(dg_trainer *t, int64_t count);
DG_MUST_USE dg_status trainer_adversary_pass_done(dg_trainer *t, int64_t count);
DG_MUST_USE dg_status trainer_adversary_read(dg_trainer *t, int64_t first, int64_t count);
DG_MUST_USE dg_status trainer_adversary_finish(dg_trainer *t);
DG_MUST_USE dg_status trainer_adversary_share(dg_trainer *t, const double *term_mean);
/* Words into `fault` where its gradient is not finite: then neither it nor the network is updated. The same on every rank. */
DG_MUST_USE dg_status trainer_adversary_check(dg_trainer *t, char *fault);
/* `lr`: the network's rate, whose course its own follows. */
DG_MUST_USE dg_status trainer_adversary_update(dg_trainer *t, double lr);
/* Its columns of metrics.csv, names and values of the last step (either may be NULL); returns how many. */
int trainer_adversary_columns(const dg_trainer *t, char name[][DG_METRICS_NAME], double *value);

/* trainer_step.c: forward, loss, backward, reduction and update with this rank's samples; `fraction` of the run by rank 0's
 * clock. A step whose numbers are not finite goes to trainer_handle_fault. @collective yes. */
DG_MUST_USE dg_status trainer_take_step(dg_trainer *t, const dg_sample *samples, double fraction, trainer_step *out);
/* Samples [first, first + count) of this rank go to where a pass finds them. */
DG_MUST_USE dg_status trainer_fill_pass(dg_trainer *t, int64_t first, int64_t count);
/* False while the mean loss is on its way up: such weights are none to roll back to. */
bool trainer_healthy(const dg_trainer *t);
/* The status of a rank that failed where the others can't be told, because they wait in a reduction. */
dg_status trainer_alone(const dg_trainer *t, dg_status status);
/* A step that gave no usable gradient: left out, or the end of the run; `mine`: this rank's words or ""; `computed`: the
 * samples were there, and what was made of them is not finite. The same on every rank. @collective yes. */
enum { TRAINER_FAULT_TEXT = 240 };
DG_MUST_USE dg_status trainer_handle_fault(dg_trainer *t, const char *mine, bool computed);

/* trainer_state.c: states of the registry, checkpoints, resume. */
DG_MUST_USE dg_status trainer_register(dg_trainer *t);
/* Loads the newest checkpoint; leaves everything at the start where there is none. @collective yes. */
DG_MUST_USE dg_status trainer_resume(dg_trainer *t);
/* Keeps weights and optimiser in memory, where train.on_nan or on_degradation is rollback. @collective yes. */
DG_MUST_USE dg_status trainer_remember(dg_trainer *t);
/* Brings back what was kept; the step counter, and with it the samples drawn, goes on. @collective: every rank does the
 * same. */
DG_MUST_USE dg_status trainer_roll_back(dg_trainer *t);
/* Weights and optimiser become what was kept. */
DG_MUST_USE dg_status trainer_bring_back(dg_trainer *t, const dg_state_frozen *kept);
/* Takes over the weights of another run's checkpoint. @collective yes. */
DG_MUST_USE dg_status trainer_init_from(dg_trainer *t, const char *path);
/* The weights that validation and predict use: the average where there is one. */
const float *trainer_best_weights(const dg_trainer *t);

/* trainer_save.c: the writer of checkpoints; before it the registry must be complete. @collective yes. */
DG_MUST_USE dg_status trainer_save_create(dg_trainer *t);
/* By rank 0's clock: a checkpoint is due where train.checkpoint_every is a time or auto. False on other ranks. */
bool trainer_save_due(const dg_trainer *t);
/* Seconds that stopping takes from here: the step under way, a validation, a checkpoint. */
double trainer_stop_s(const dg_trainer *t);
/* Begins to write step-*.h5 and last.h5 of this step, unless that was begun before, and best.h5 where that is pending; the
 * files are written beside what follows. A failure of the file before is returned here. @collective yes. */
DG_MUST_USE dg_status trainer_save(dg_trainer *t, bool as_step);
/* Waits until everything begun is on the disk. @collective yes. */
DG_MUST_USE dg_status trainer_save_wait(dg_trainer *t);

/* validate.c: scores over the validation cases, shared out over ranks; updates best and stale, writes best.h5.
 * @collective yes. */
DG_MUST_USE dg_status trainer_validate(dg_trainer *t);
const char *trainer_monitor_name(dg_monitor monitor);
/* Scores of one predicted case against its dose; the case must be pinned in the source. */
DG_MUST_USE dg_status trainer_score_case(dg_source *source, int64_t index, const float *predicted_gy, dg_scores *out);

#endif
