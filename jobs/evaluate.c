/* evaluate.c - `dosegrid evaluate`: predictions against the doses or labels of a cohort. Settings, the answer and its file.
 * SPDX-License-Identifier: Apache-2.0 */
#include "evaluate_impl.h"

#include "compute.h"
#include "dg_mem.h"
#include "dg_mpi.h"
#include "trained.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const word_predicted[] = {"predicted", NULL};
static const char *const word_none[] = {"none", NULL};
static const char *const word_auto[] = {"auto", NULL};
static const char *const unit_names[] = {"auto", "gy", "prescription", NULL};
static const char *const word_run[] = {"run", NULL};
static const char *const touch_names[] = {"face", "corner", NULL};
static const char *const skeleton_names[] = {"surface", "curve", NULL};
static const char *const instance_names[] = {"components", "watershed", NULL};

#define AT(field) .offset = offsetof(evaluate_settings, field)
/* clang-format off */
static const dg_option own_rows[] = {
    {.key = "evaluate.cohort", .flag = "cohort", .type = DG_OPT_STRING, AT(cohort), .fallback = "", .unit = "",
     .help = "cohort that holds the reference doses or labels"},
    {.key = "evaluate.predictions", .flag = "predictions", .letter = 'p', .type = DG_OPT_STRING, AT(predictions),
     .fallback = "", .unit = "", .help = "folder of predictions, as predict writes it, or files of other programs named by case: ID.nii(.gz), ID.npz (key dose), ID.csv (OpenKBP), ID.dcm or ID/RTDOSE.dcm"},
    {.key = "evaluate.prediction_unit", .flag = "prediction-unit", .type = DG_OPT_ENUM, AT(prediction_unit),
     .names = unit_names, .fallback = "auto", .unit = "",
     .help = "what numbers in files of other programs are: gy, or shares of the prescription; auto is prescription in NPZ files and gy elsewhere, and refuses what looks like the other"},
    {.key = "evaluate.output", .flag = "output", .letter = 'o', .type = DG_OPT_STRING, AT(output), .fallback = "",
     .unit = "", .help = "results file (JSON); its ledger and partial results lie in OUTPUT.ledger"},
    {.key = "evaluate.cases", .flag = "cases", .type = DG_OPT_STRING_LIST, AT(cases), .list_min = 1,
     .list_max = DG_OPT_STRINGS_MAX, .names = word_predicted, .fallback = "predicted", .unit = "",
     .from_file = true, .help = "ids of the cases [a, b], parts of --run's split (train, val, test), or predicted: all that the ledger of the predictions names"},
    {.key = "evaluate.run", .flag = "run", .type = DG_OPT_STRING, AT(run), .fallback = "", .unit = "",
     .help = "run folder: gives name, seed, evaluate settings and split; the look-up baselines learn from its training cases"},
    {.key = "evaluate.condition", .flag = "condition", .type = DG_OPT_STRING, AT(condition), .fallback = "", .unit = "",
     .help = "condition of an experiment that the predictions belong to, for compare"},
    {.key = "evaluate.run_seed", .flag = "run-seed", .type = DG_OPT_INT_LIST, AT(run_seed), .min = 0,
     .max = 9007199254740992, .list_min = 1, .list_max = 1, .names = word_run, .fallback = "run", .unit = "",
     .help = "seed of the run that made the predictions, for compare"},
    {.key = "evaluate.train_cases", .flag = "train-cases", .type = DG_OPT_STRING_LIST, AT(train_cases), .list_min = 1,
     .list_max = DG_OPT_STRINGS_MAX, .names = word_none, .fallback = "none", .unit = "", .from_file = true,
     .help = "ids of cases that the look-up baselines learn from, in place of --run's"},
    {.key = "evaluate.perturb", .flag = "perturb", .type = DG_OPT_STRING_LIST, AT(perturb), .list_min = 1, .list_max = 16,
     .names = word_none, .fallback = "none", .unit = "",
     .help = "predicts the cases again from perturbed scans and tells what changes: hu=HU adds to CT numbers, noise=HU adds normal noise of that deviation, spacing=FACTOR makes voxels so much larger; each is judged by itself"},
    {.key = "evaluate.checkpoint", .flag = "checkpoint", .letter = 'c', .type = DG_OPT_STRING_LIST, AT(checkpoint),
     .list_min = 1, .list_max = DG_TRAINED_MAX, .names = word_run, .fallback = "run", .unit = "",
     .help = "network of --perturb, the one that made the predictions (several: their mean); run: checkpoints/best.h5 of --run"},
    {.key = "evaluate.resume", .flag = "resume", .type = DG_OPT_BOOL, AT(resume), .fallback = "false", .unit = "",
     .help = "keeps what an earlier call with the same settings and data finished"},
    {.key = "evaluate.keep_going", .flag = "keep-going", .type = DG_OPT_BOOL, AT(keep_going), .fallback = "true",
     .unit = "", .help = "does the other cases when one fails (exit code 3); --no-keep-going stops at the first"},
    {.key = "evaluate.max_failures", .flag = "max-failures", .type = DG_OPT_INT_LIST, AT(max_failures), .min = 0,
     .max = 1e9, .list_min = 1, .list_max = 1, .names = word_none, .fallback = "none", .unit = "cases",
     .help = "stops when more cases have failed"},
    {.key = "evaluate.mem", .flag = "mem", .type = DG_OPT_INT_LIST, AT(mem_mb), .min = 1, .max = 1e8, .list_min = 1,
     .list_max = 1, .names = word_auto, .fallback = "auto", .unit = "MB",
     .help = "memory for the arrays of a rank: larger cases are cut into slabs; auto is the rank's share of half the free memory"},
    {.key = "evaluate.threads", .flag = "threads", .type = DG_OPT_INT_LIST, AT(threads), .min = 1, .max = 4096,
     .list_min = 1, .list_max = 1, .names = word_auto, .fallback = "auto", .unit = "threads",
     .help = "compute threads per rank; auto is its share of the allowed cores"},
    LABEL_OPTION_ROWS(evaluate_settings, labels, word_none),
    {.key = "evaluate.threshold", .flag = "threshold", .type = DG_OPT_DOUBLE, AT(threshold), .min = 0, .max = 1,
     .fallback = "0.5", .unit = "", .help = "segmentations: a probability of this and more is foreground; masks of segment have theirs"},
    {.key = "evaluate.surface_tolerance", .flag = "surface-tolerance", .type = DG_OPT_DOUBLE_LIST, AT(surface_tolerance),
     .min = 0, .max = 1e6, .list_min = 1, .list_max = 1, .names = word_auto, .fallback = "auto", .unit = "mm",
     .help = "segmentations: surfaces so near agree; auto is twice the finest side of a case's voxels"},
    {.key = "evaluate.touch", .flag = "touch", .type = DG_OPT_ENUM, AT(touch), .names = touch_names, .fallback = "corner",
     .unit = "", .help = "segmentations: which foreground voxels touch, for Betti numbers: over faces (6) or corners too (26)"},
    {.key = "evaluate.skeleton", .flag = "skeleton", .type = DG_OPT_ENUM, AT(skeleton), .names = skeleton_names, .fallback = "surface",
     .unit = "", .help = "segmentations: what clDice compares: medial surfaces, of sheets, or curves (centre lines), of vessels"},
    {.key = "evaluate.challenge", .flag = "challenge", .type = DG_OPT_BOOL, AT(challenge), .fallback = "true", .unit = "",
     .help = "segmentations: the score of the Vesuvius challenge, whose Betti matching takes most of the time; --no-challenge leaves it out"},
    {.key = "evaluate.instances", .flag = "instances", .type = DG_OPT_ENUM, AT(instances), .names = instance_names,
     .fallback = "components", .unit = "", .help = "segmentations: what the challenge's variation of information compares: 26-connected components, or instances of a watershed on the distance to the background, which parts sheets that touch"},
    {.key = "evaluate.fraction_band", .flag = "fraction-band", .type = DG_OPT_DOUBLE_LIST, AT(fraction_band), .min = 0, .max = 1,
     .list_min = 2, .list_max = 2, .names = word_none, .fallback = "none", .unit = "",
     .help = "segmentations: [low, high], counts cases whose predicted fraction of foreground is outside"},
    DG_JOB_COMM_TIMEOUT("evaluate", evaluate_settings),
    {.key = "evaluate.backend", .flag = "backend", .type = DG_OPT_STRING, AT(backend), .fallback = "auto", .unit = "",
     .help = "where gamma is searched for: auto, cuda, cpu; the numbers are the same"},
    {.key = "evaluate.json", .flag = "json", .type = DG_OPT_BOOL, AT(json), .fallback = "false", .unit = "",
     .help = "prints the results as JSON"},
};
/* clang-format on */

enum { OWN_ROWS = sizeof own_rows / sizeof own_rows[0] };

/* The flag of a key of the run's settings: evaluate.cutoff_percent is --cutoff-percent. */
static const char *flag_of(const char *key)
{
    static const char *const flags[][2] = {{"compat", "compat"},
                                           {"gamma", "gamma"},
                                           {"cutoff_percent", "cutoff-percent"},
                                           {"max_gamma", "max-gamma"},
                                           {"norm", "norm"},
                                           {"gamma_method", "gamma-method"},
                                           {"local", "local"},
                                           {"interp_fraction", "interp-fraction"},
                                           {"subsample", "subsample"},
                                           {"regions", "regions"},
                                           {"margin_mm", "margin-mm"},
                                           {"constraint_table", "constraint-table"},
                                           {"supersample", "supersample"},
                                           {"dvh_rule", "dvh-rule"},
                                           {"vx_gy", "vx"},
                                           {"members", "members"},
                                           {"resamples", "resamples"},
                                           {"seed", "seed"}};
    for (size_t k = 0; k < sizeof flags / sizeof flags[0]; k++)
        if (strcmp(flags[k][0], key) == 0) return flags[k][1];
    return NULL;
}

/* The job's own rows, and those of a run's `evaluate` group as flags. */
static dg_status make_table(dg_option **table, int *count)
{
    int run_count;
    const dg_option *run_rows = dg_run_config_rows(&run_count);
    DG_TRY(DG_NEW(table, OWN_ROWS + run_count, "option table"));
    memcpy(*table, own_rows, sizeof own_rows);
    *count = OWN_ROWS;
    for (int i = 0; i < run_count; i++) {
        if (strncmp(run_rows[i].key, "evaluate.", 9) != 0) continue;
        dg_option *row = &(*table)[(*count)++];
        *row = run_rows[i];
        row->flag = flag_of(row->key + 9);
        row->offset = row->offset - offsetof(dg_run_config, evaluate) + offsetof(evaluate_settings, measure);
    }
    return DG_OK;
}

static dg_status check_settings(const evaluate_settings *s)
{
    const struct {
        const char *value, *flag, *meaning;
    } needed[] = {{s->cohort, "--cohort", "the cohort with the reference doses"},
                  {s->predictions, "--predictions", "the folder of predictions"},
                  {s->output, "-o", "the results file"}};
    for (int i = 0; i < 3; i++) {
        if (needed[i].value[0] == '\0')
            return DG_FAIL(DG_ERR_USAGE, "%s is missing: name %s", needed[i].flag, needed[i].meaning);
    }
    if (s->run[0] != '\0' && s->train_cases.count > 0)
        return DG_FAIL(DG_ERR_USAGE, "--run and --train-cases both name the baselines' training cases; leave one out");
    if (!dg_file_exists(s->predictions))
        return DG_FAIL(DG_ERR_IO, "there is no folder %s; name the folder that predict wrote", s->predictions);
    return evaluate_check_perturb(s);
}

static dg_status open_folder(evaluate_work *w)
{
    char name[DG_PATH_MAX];
    snprintf(name, sizeof name, "%s.ledger", w->s->output);
    snprintf(w->folder, sizeof w->folder, "%s", name);
    if (w->env->comm->rank != 0) return DG_OK;
    DG_TRY(dg_file_check_writable(w->s->output));
    DG_TRY(dg_make_folder(w->folder));
    return dg_lease_take(w->folder, "the results file", &w->lease);
}

/* Phantoms know what could have been (doc/formats.md). */
static dg_status find_truth(evaluate_work *w)
{
    char mean[DG_PATH_MAX], std[DG_PATH_MAX];
    DG_TRY(dg_path_join(mean, w->s->cohort, "truth_mean"));
    DG_TRY(dg_path_join(std, w->s->cohort, "truth_std"));
    if (dg_file_exists(mean) && dg_file_exists(std)) w->config.truth = w->s->cohort;
    return DG_OK;
}

static dg_status set_up(evaluate_work *w, char *note, size_t capacity)
{
    DG_TRY(dg_evaluation_configure(&w->s->measure, &w->config));
    w->config.predictions = w->s->predictions;
    DG_TRY(evaluate_name_run(w));
    DG_TRY(dg_cohort_open(w->s->cohort, &w->cohort));
    DG_TRY(evaluate_choose_cases(w));
    DG_TRY(evaluate_choose_train(w));
    DG_TRY(find_truth(w));
    DG_TRY(evaluate_choose_target(w));
    if (w->config.labels != NULL) return open_folder(w);
    DG_TRY(evaluate_choose_table(w, note, capacity));
    DG_TRY(open_folder(w));
    if (w->config.train_cases == 0 || w->config.compat == DG_COMPAT_UPSTREAM) return DG_OK;
    dg_target_levels(w->cohort, w->train, w->config.train_cases, w->config.level_gy);
    return dg_baseline_create(&w->baseline);
}

static dg_status set_threads(evaluate_work *w)
{
    char warning[256] = "";
    int threads = 1;
    dg_status status = dg_affinity_set(w->env->comm, w->s->threads.count > 0 ? (int)w->s->threads.value[0] : 0,
                                       &threads, warning, sizeof warning);
    DG_TRY(dg_comm_agree(w->env->comm, status));
    if (warning[0] != '\0') dg_log_write(w->env->log, DG_LOG_WARNING, "%s", warning);
    w->config.threads = threads;
    return DG_OK;
}

static void warn_seen(const evaluate_work *w)
{
    int64_t seen = 0;
    for (int64_t i = 0; i < w->count; i++)
        for (int64_t k = 0; k < w->config.train_cases; k++) seen += w->chosen[i].index == w->train[k];
    if (seen > 0)
        dg_log_write(w->env->log, DG_LOG_WARNING,
                     "%lld of the %lld cases are training cases: their scores say nothing about new patients",
                     (long long)seen, (long long)w->count);
}

/* ---- telling ------------------------------------------------------------------------------------------------------ */

dg_status evaluate_write_results(const evaluate_settings *s, const json_t *root)
{
    char *text = root == NULL ? NULL : json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(15));
    if (text == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for the results");
    dg_status status = dg_file_write(s->output, text, (int64_t)strlen(text));
    free(text);
    return status;
}

/* Folds may lie in one folder; a run that went elsewhere and an older one that stayed may, too. */
static void warn_makers(const evaluate_work *w)
{
    int64_t makers = 0;
    for (int64_t i = 0; i < w->count; i++) {
        bool seen = w->result[i]->failed;
        for (int64_t k = 0; k < i && !seen; k++)
            seen = !w->result[k]->failed &&
                   dg_prediction_same_network(w->result[k]->model_sha256, w->result[i]->model_sha256);
        makers += !seen;
    }
    if (makers > 1)
        dg_log_write(w->env->log, DG_LOG_WARNING,
                     "the predictions are by %lld networks: the scores are of all of them together", (long long)makers);
}

/* Rank 0: scores, file, table. Returns how many cases failed. */
static dg_status report(evaluate_work *w, int64_t *failed)
{
    char assumed[DG_ASSUMED_TEXT];
    dg_status status;
    for (int who = 0; who < DG_CONTENDERS && w->config.labels == NULL; who++)
        DG_TRY(dg_scoreboard_make(w->result, w->count, who, &w->config, &w->board[who]));
    for (int64_t i = 0; i < w->count; i++) {
        if (!w->result[i]->failed) continue;
        ++*failed;
        dg_log_write(w->env->log, DG_LOG_WARNING, "case %s: %s", w->result[i]->id, w->result[i]->reason);
    }
    if (w->kept > 0)
        dg_log_write(w->env->log, DG_LOG_INFO, "%lld of %lld cases are kept from an earlier call", (long long)w->kept,
                     (long long)w->count);
    warn_makers(w);
    dg_evaluation_assumed(w->result, w->count, assumed);
    if (assumed[0] != '\0') dg_log_write(w->env->log, DG_LOG_WARNING, "%s", assumed);
    json_t *root = dg_evaluation_to_json(w->result, w->count, &w->config, w->board);
    status = evaluate_write_results(w->s, root);
    if (status == DG_OK && !w->s->silent) {
        if (w->s->json)
            status = dg_job_print_json(w->env, json_incref(root));
        else if (w->config.labels != NULL)
            evaluate_print_labels(json_object_get(root, "aggregate"));
        else
            evaluate_print_summary(w, *failed);
    }
    json_decref(root);
    if (status == DG_OK && *failed == w->count)
        status = DG_FAIL(DG_ERR_DATA, "none of the %lld cases could be evaluated; the first, %s: %.300s",
                         (long long)w->count, w->result[0]->id, w->result[0]->reason);
    return status;
}

static void release(evaluate_work *w)
{
    dg_backend_destroy(&w->config.gamma.backend);
    dg_stop_remove();
    dg_baseline_destroy(&w->baseline);
    dg_constraint_table_destroy(&w->table);
    dg_cohort_close(&w->cohort);
    dg_free(&w->chosen);
    dg_free(&w->train);
    dg_free(&w->bytes);
    dg_free(&w->result);
    dg_lease_release(&w->lease);
}

dg_status evaluate_once(const dg_job_env *env, const evaluate_settings *s, int *exit_code)
{
    evaluate_work *w = NULL;
    int64_t failed = 0;
    char note[160] = "";
    dg_status status = DG_NEW(&w, 1, "evaluation");
    if (status != DG_OK) return status;
    *w = (evaluate_work){.env = env, .s = s};
    dg_stop_install();
    status = dg_comm_agree(env->comm, set_up(w, note, sizeof note));
    w->config.heartbeat = env->comm->heartbeat;
    dg_job_watch(env, s->comm_timeout_s, status == DG_OK ? w->folder : "");
    if (status == DG_OK && note[0] != '\0') dg_log_write(env->log, DG_LOG_INFO, "%s", note);
    if (status == DG_OK) warn_seen(w);
    if (status == DG_OK) status = set_threads(w);
    if (status == DG_OK) status = dg_compute_gamma(env->comm, s->backend, env->log, &w->config.gamma.backend);
    if (status == DG_OK) status = evaluate_plan(w);
    if (status == DG_OK) status = evaluate_learn_baselines(w);
    if (status == DG_OK) status = dg_comm_agree(env->comm, evaluate_store_open(w));
    if (status == DG_OK) status = evaluate_all(w);
    if (status == DG_OK) status = dg_comm_agree(env->comm, env->comm->rank == 0 ? report(w, &failed) : DG_OK);
    if (status == DG_OK) status = dg_comm_any(env->comm, failed, &failed);
    if (status == DG_OK && failed > 0) *exit_code = DG_EXIT_SOME_CASES;
    release(w);
    dg_free(&w);
    return status;
}

static dg_status run(const dg_job_env *env, int argc, char *const *argv, int *exit_code)
{
    evaluate_settings *s = NULL;
    dg_option *table = NULL;
    dg_options options = {0};
    bool helped = false;
    int count, rows = 0;
    dg_status status;
    DG_TRY_GOTO(status, DG_NEW(&s, 1, "settings"), cleanup);
    DG_TRY_GOTO(status, make_table(&table, &rows), cleanup);
    dg_job_arguments arguments = {
        .usage = "--cohort D --predictions P/ -o RESULTS.json [--run RUN] [--cases test|@FILE|[ID, ...]] [--resume]",
        .rows = table,
        .row_count = rows,
        .target = s};
    status = dg_job_read_arguments(env, &dg_job_evaluate, &arguments, argc, argv, &options, &count, &helped);
    if (status != DG_OK || helped) goto cleanup;
    if (s->run[0] != '\0') status = evaluate_read_run_settings(s->run, &options);
    dg_options_release(&options);
    if (status == DG_OK) status = check_settings(s);
    status = dg_comm_agree(env->comm, status);
    if (status == DG_OK) status = evaluate_adopt_foreign(env, s);
    if (status == DG_OK)
        status = s->perturb.count > 0 ? evaluate_perturbed(env, s, exit_code) : evaluate_once(env, s, exit_code);
cleanup:
    dg_free(&table);
    dg_free(&s);
    return status;
}

const dg_job dg_job_evaluate = {.name = "evaluate",
                                .summary = "judge predictions: gamma, DVH, constraints, errors by region, OpenKBP "
                                           "scores; overlap, surfaces, topology of masks",
                                .spreads = true,
                                .run = run};
