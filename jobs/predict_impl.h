/* predict_impl.h - private to predict*.c: what a rank holds while it predicts. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_PREDICT_IMPL_H
#define DG_PREDICT_IMPL_H

#include "dg_predictions.h"
#include "dg_tasks.h"
#include "ensemble.h"
#include "job.h"
#include "lease.h"
#include "predict.h"
#include "predictor.h"
#include "stop.h"
#include "trained.h"

#include <pthread.h>

typedef struct settings {
    dg_string_list checkpoint;
    char cohort[DG_OPT_TEXT], output[DG_OPT_TEXT], split[DG_OPT_TEXT], backend[DG_OPT_TEXT];
    dg_string_list cases; /* count 0: all; the name of a part: those of the split */
    bool resume, json, strict;
    dg_double_list overlap; /* count 0: as trained; the next three likewise */
    int flips, dtype, average, compat;
    dg_int_list threads, window_batch; /* count 0: auto */
    int sampler, fault;                /* of a diffusion, as the next ones: 0 as trained */
    dg_int_list sample_steps, ensemble, seed;
    dg_double_list eta, guidance;
    dg_double_list percentiles; /* count 0: as trained, or none, by its word */
    bool keep_samples;
    double comm_timeout_s;
    const dg_predict_request *perturbed; /* for another job, which asks for these cases; NULL: as the rows say */
} settings;

/* A prediction on its way to its file, written by a thread while the next case computes. */
typedef struct writer {
    pthread_t thread;
    bool busy;
    const dg_case_info *info;
    char folder[DG_PATH_MAX], made_by[DG_HASH_HEX];
    float *dose_gy, *std_gy; /* owned; std_gy NULL: of one network */
    dg_ledger_entry entry;
    dg_error error; /* status DG_OK: none */
} writer;

/* A case, or one of its samples. */
typedef struct unit {
    int64_t index, sample;
} unit;

/* What a rank holds while it predicts. */
typedef struct work {
    const dg_job_env *env;
    const settings *s;
    dg_trained network[DG_TRAINED_MAX]; /* the first one's settings hold */
    int networks;
    dg_predictor_config config;
    char made_by[DG_HASH_HEX]; /* of weights and settings: what --resume compares */
    dg_cohort *cohort;
    dg_source *source;
    dg_backend *backend;
    float *weights[DG_TRAINED_MAX]; /* backend memory */
    dg_predictor *predictor;
    dg_diffusion *diffusion; /* NULL: the network gives the dose; else with the next three */
    dg_sampling sampling;
    dg_sampler_step *step;
    dg_ensemble ensemble;   /* of samples; samples 1: none */
    int64_t *chosen, count; /* cases of the cohort */
    unit *units;            /* [unit_count] of the present round */
    int64_t unit_count, begun;
    bool together; /* fewer cases than ranks: all work at each case, rank 0 keeps it */
    writer writer;
    dg_lease *lease; /* rank 0 */
    int64_t done, failed, kept, outside;
    int64_t region[3]; /* cases per dg_region */
    dg_stop_watch watch;
    int64_t stopped; /* reason, or 0 */
    double seconds;
} work;

/* predict_folder.c: rank 0 makes the folder and takes its lease, when made_by is named. DG_ERR_USAGE: it is a cohort, or, without
 * --resume, holds one of the cases by other weights. */
DG_MUST_USE dg_status predict_folder_open(work *w);

/* predict_samples.c: how the doses of a diffusion are drawn, from the checkpoint and the flags; nothing for other networks.
 * DG_ERR_USAGE: flags of a diffusion for another network, or that do not fit the one there is. */
DG_MUST_USE dg_status predict_samples_open(work *w);
/* Puts what tells apart how doses are drawn behind the text that made_by is the hash of. */
int predict_samples_describe(const work *w, char *text, size_t capacity);
void predict_samples_release(work *w);
/* The folder and the maker of a unit: those of the prediction, or of a sample of an ensemble. */
DG_MUST_USE dg_status predict_samples_place(const work *w, const unit *u, char folder[DG_PATH_MAX],
                                            char made_by[DG_HASH_HEX]);
/* Cases of a round: few enough that their samples are soon merged and removed, enough for all ranks. */
int64_t predict_samples_round(const work *w);
/* The samples of cases [first, end) of the list become predictions, cases shared out over ranks. */
DG_MUST_USE dg_status predict_samples_combine(work *w, int64_t first, int64_t end);
/* Rank 0, at the end: folders of samples that are not kept go, unless their ledgers tell of failures. */
void predict_samples_clean(const work *w);

/* predict_report.c: on rank 0, what became of the cases; with --json on standard output, too. DG_ERR_DATA: all of them failed, and
 * no other job asked, which has an answer of its own. */
DG_MUST_USE dg_status predict_report(const work *w);

#endif
