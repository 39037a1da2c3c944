/* sweep_stages.c - the commands of a run, and what they leave behind. SPDX-License-Identifier: Apache-2.0 */
#include "sweep_impl.h"

#include "dg_mem.h"
#include "dg_results.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

dg_status sweep_words_add(sweep_words *words, const char *const *list)
{
    for (; *list != NULL; list++) {
        if (words->count == SWEEP_WORDS_MAX)
            return DG_FAIL(DG_ERR_USAGE, "a command of more than %d words: fewer --set", SWEEP_WORDS_MAX);
        DG_TRY(dg_string_copy(*list, &words->word[words->count]));
        words->count++;
    }
    return DG_OK;
}

void sweep_words_release(sweep_words *words)
{
    for (int i = 0; i < words->count; i++) dg_free(&words->word[i]);
    words->count = 0;
}

static dg_status add_labels(const sweep_work *w, sweep_words *words)
{
    static const char *const FLAG[] = {"--foreground", "--background", "--ignore"};
    for (int k = 0; k < 3; k++) {
        char text[512] = "none";
        size_t length = 0;
        for (int i = 0; i < w->judging[k].count; i++)
            length += (size_t)snprintf(text + length, sizeof text - length, "%s%lld", i == 0 ? "" : ",",
                                       (long long)w->judging[k].value[i]);
        DG_TRY(sweep_words_add(words, (const char *const[]){FLAG[k], text, NULL}));
    }
    return DG_OK;
}

static dg_status add_percentiles(const dg_double_list *percentiles, sweep_words *words)
{
    char text[32 * DG_OPT_LIST_MAX] = "none";
    size_t length = 0;
    for (int i = 0; i < percentiles->count; i++)
        length +=
            (size_t)snprintf(text + length, sizeof text - length, "%s%.17g", i == 0 ? "" : ",", percentiles->value[i]);
    return sweep_words_add(words, (const char *const[]){"--percentiles", text, NULL});
}

/* How doses are drawn, where the checkpoint says otherwise. Samples stay where members are judged. */
static dg_status add_drawing(const sweep_job *job, bool own_weights, sweep_words *words)
{
    static const char *const sampler[] = {"ddim", "ddpm", "dpm_solver"}, *const fault[] = {"none", "penalty", "start",
                                                                                           "noise", "eta"};
    const dg_diffusion_settings *d = &job->diffusion;
    char steps[32], ensemble[32], seed[32], eta[32], guidance[32];
    if (job->members > 1) DG_TRY(sweep_words_add(words, (const char *const[]){"--keep-samples", NULL}));
    if (own_weights) return DG_OK;
    DG_TRY(add_percentiles(&d->percentiles, words));
    snprintf(steps, sizeof steps, "%lld", (long long)d->sample_steps);
    snprintf(ensemble, sizeof ensemble, "%lld", (long long)d->ensemble);
    snprintf(seed, sizeof seed, "%lld", (long long)d->seed);
    snprintf(eta, sizeof eta, "%.17g", d->eta);
    snprintf(guidance, sizeof guidance, "%.17g", d->guidance);
    return sweep_words_add(words,
                           (const char *const[]){"--sampler", sampler[d->sampler], "--fault", fault[d->fault],
                                                 "--sample-steps", steps, "--ensemble", ensemble, "--sample-seed", seed,
                                                 "--eta", eta, "--guidance", guidance, NULL});
}

/* The run that trained gives name, seed, split and settings; members and condition are this run's. */
static dg_status add_judging(const sweep_work *w, const sweep_job *job, sweep_words *words)
{
    char members[32];
    if (w->labels) DG_TRY(add_labels(w, words));
    snprintf(members, sizeof members, "%lld", (long long)job->members);
    return sweep_words_add(words, (const char *const[]){"--condition", w->plan.condition[job->run.condition].name,
                                                        "--members", members, NULL});
}

dg_status sweep_stage_words(const sweep_work *w, const sweep_job *job, submit_stage stage, sweep_words *words)
{
    char checkpoint[DG_PATH_MAX], predictions[DG_PATH_MAX];
    const sweep_job *trained = &w->job[job->trained];
    memset(words, 0, sizeof *words);
    DG_TRY(dg_path_join(checkpoint, trained->folder, "checkpoints/best.h5"));
    DG_TRY(dg_path_join(predictions, w->job[job->drawn].folder, "predictions"));
    const char *const train[] = {"train", "--sweep", w->plan.path, "--experiment", job->run.name, "--resume", NULL};
    const char *const predict[] = {"predict",   "--checkpoint", checkpoint, "--cohort", job->cohort, "--output",
                                   predictions, "--cases",      "test",     "--resume", NULL};
    const char *const evaluate[] = {"evaluate",      "--cohort", job->cohort,  "--predictions", predictions, "--run",
                                    trained->folder, "--output", job->results, "--resume",      NULL};
    const char *const *const all[] = {train, predict, evaluate};
    DG_TRY(sweep_words_add(words, all[stage]));
    if (stage == STAGE_PREDICT) return add_drawing(job, trained == job, words);
    if (stage == STAGE_EVALUATE && (w->labels || job->members > 0 || trained != job)) return add_judging(w, job, words);
    return stage == STAGE_TRAIN ? sweep_words_add(words, w->set) : DG_OK; /* w->set ends with NULL */
}

static bool has_file(const char *folder, const char *name)
{
    char path[DG_PATH_MAX];
    return dg_path_join(path, folder, name) == DG_OK && dg_file_exists(path);
}

/* Predictions carry no mark of their end: predict finds what is done itself. */
submit_stage sweep_stage_reached(const sweep_job *job, int index)
{
    if (dg_file_exists(job->results)) return STAGE_COMPARE;
    if (job->drawn != index) return STAGE_EVALUATE;
    if (job->trained != index) return STAGE_PREDICT;
    return has_file(job->folder, "training_summary.json") && has_file(job->folder, "checkpoints/best.h5")
               ? STAGE_PREDICT
               : STAGE_TRAIN;
}

dg_status sweep_write_json(const char *folder, const char *name, json_t *root)
{
    char path[DG_PATH_MAX];
    char *text = root == NULL ? NULL : json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(15));
    json_decref(root);
    if (text == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for %s", name);
    dg_status status = dg_path_join(path, folder, name);
    if (status == DG_OK) status = dg_file_write(path, text, (int64_t)strlen(text));
    free(text);
    return status;
}

static dg_status read_results(const sweep_job *job, dg_results **out)
{
    char name[256];
    snprintf(name, sizeof name, "evaluation_results.json of %.190s", job->run.name);
    dg_status status = dg_results_read(job->results, name, out);
    return status == DG_OK ? DG_OK : dg_error_context(status, "remove it and resume");
}

dg_status sweep_note_lost_cases(sweep_job *job)
{
    dg_results *results;
    DG_TRY(read_results(job, &results));
    const int64_t lost = dg_results_failed_count(results), judged = dg_results_case_count(results);
    if (lost > 0)
        snprintf(job->reason, sizeof job->reason, "%lld of %lld cases failed", (long long)lost,
                 (long long)(lost + judged));
    dg_results_destroy(&results);
    return DG_OK;
}

/* ---- folds brought together -------------------------------------------------------------------------------------- */

static const sweep_job *job_of(const sweep_work *w, int condition, int seed, int fold)
{
    return &w->job[(condition * w->plan.seeds + seed) * w->plan.folds + fold];
}

static void append_all(json_t *to, const json_t *from)
{
    for (size_t i = 0; i < json_array_size(from); i++) json_array_append(to, json_array_get(from, i));
}

/* Every case is tested in one fold: the cases of all folds are those of one result. Sums over cases (`aggregate`)
 * stay with the folds; compare makes its own. */
static dg_status join_folds(const sweep_work *w, int condition, int seed, json_t **out)
{
    json_t *whole = NULL, *cases = json_array(), *failed = json_array(), *hashes = json_array();
    dg_status status = DG_OK;
    for (int fold = 0; fold < w->plan.folds && status == DG_OK; fold++) {
        const sweep_job *job = job_of(w, condition, seed, fold);
        dg_results *one = NULL;
        status = read_results(job, &one);
        if (status != DG_OK) break;
        const json_t *root = dg_results_root(one);
        append_all(cases, json_object_get(root, "per_case_results"));
        append_all(failed, json_object_get(root, "failed"));
        append_all(hashes, json_object_get(json_object_get(root, "run"), "weights_sha256"));
        if (whole == NULL) {
            whole = json_copy((json_t *)root);
            json_object_set_new(whole, "run", json_deep_copy(json_object_get(root, "run")));
        }
        dg_results_destroy(&one);
    }
    if (status == DG_OK) {
        char name[DG_SWEEP_NAME + 32];
        snprintf(name, sizeof name, "%s-s%lld", w->plan.condition[condition].name, (long long)w->plan.seed[seed]);
        json_object_set_new(json_object_get(whole, "run"), "name", json_string(name));
        json_object_set(json_object_get(whole, "run"), "weights_sha256", hashes);
        json_object_set_new(whole, "n_cases", json_integer((json_int_t)json_array_size(cases)));
        json_object_set_new(whole, "n_failed", json_integer((json_int_t)json_array_size(failed)));
        json_object_set_new(whole, "aggregate", json_object());
        json_object_set(whole, "per_case_results", cases);
        json_object_set(whole, "failed", failed);
        *out = json_incref(whole);
    }
    json_decref(whole);
    json_decref(cases);
    json_decref(failed);
    json_decref(hashes);
    return status;
}

dg_status sweep_results_path(const sweep_work *w, int condition, int seed, char path[DG_PATH_MAX])
{
    char folder[DG_PATH_MAX], name[64];
    json_t *whole = NULL;
    path[0] = '\0';
    for (int fold = 0; fold < w->plan.folds; fold++)
        if (job_of(w, condition, seed, fold)->state != SWEEP_DONE) return DG_OK;
    if (w->plan.folds == 1) {
        strcpy(path, job_of(w, condition, seed, 0)->results);
        return DG_OK;
    }
    DG_TRY(join_folds(w, condition, seed, &whole));
    snprintf(name, sizeof name, "all-folds-s%lld.json", (long long)w->plan.seed[seed]);
    dg_status status = dg_sweep_condition_folder(&w->plan, condition, folder);
    if (status != DG_OK) {
        json_decref(whole);
        return status;
    }
    DG_TRY(sweep_write_json(folder, name, whole));
    return dg_path_join(path, folder, name);
}
