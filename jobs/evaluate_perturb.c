/* evaluate_perturb.c - `dosegrid evaluate --perturb`: the same cases predicted again from perturbed scans, judged as the predictions
 * at hand are, and told as changes of these. SPDX-License-Identifier: Apache-2.0 */
#include "evaluate_impl.h"
#include "predict.h"

#include "dg_mem.h"
#include "dg_results.h"
#include "dg_robustness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PERTURBATIONS_MAX = 16 };

typedef struct robustness {
    const dg_job_env *env;
    const evaluate_settings *s;
    dg_perturbation perturbation[PERTURBATIONS_MAX];
    int count;
    dg_string_list checkpoint;
    evaluate_settings perturbed; /* those of the perturbation at work */
    char (*ids)[DG_CASE_ID];     /* cases that are predicted again */
    int64_t id_count, failed;    /* cases that could not be predicted, over all perturbations */
} robustness;

dg_status evaluate_check_perturb(const evaluate_settings *s)
{
    if (s->perturb.count == 0) {
        if (s->checkpoint.count == 0) return DG_OK;
        return DG_FAIL(DG_ERR_USAGE, "--checkpoint is the network of --perturb, which is missing");
    }
    if (s->checkpoint.count == 0 && s->run[0] == '\0')
        return DG_FAIL(DG_ERR_USAGE,
                       "--perturb predicts anew: name the network (--checkpoint), or the run (--run) whose "
                       "checkpoints/best.h5 it is");
    if (s->measure.compat == DG_COMPAT_UPSTREAM)
        return DG_FAIL(DG_ERR_USAGE, "--perturb: compat upstream knows no perturbations");
    return DG_OK;
}

static dg_status read_perturbations(robustness *r)
{
    for (int k = 0; k < r->s->perturb.count; k++) {
        DG_TRY(dg_perturbation_parse(r->s->perturb.value[k], (uint64_t)r->s->measure.seed, &r->perturbation[k]));
        for (int i = 0; i < k; i++)
            if (strcmp(r->perturbation[i].name, r->perturbation[k].name) == 0)
                return DG_FAIL(DG_ERR_USAGE, "--perturb %s is named twice", r->perturbation[k].name);
        r->count++;
    }
    return DG_OK;
}

static dg_status choose_network(robustness *r)
{
    char path[DG_PATH_MAX];
    r->checkpoint = r->s->checkpoint;
    if (r->checkpoint.count > 0) return DG_OK;
    DG_TRY(dg_path_join(path, r->s->run, "checkpoints/best.h5"));
    if (strlen(path) >= DG_OPT_WORD) return DG_FAIL(DG_ERR_USAGE, "--run: the path is too long");
    memcpy(r->checkpoint.value[0], path, strlen(path) + 1);
    r->checkpoint.count = 1;
    return DG_OK;
}

/* Those that will be judged and have a prediction. */
static dg_status choose_cases(robustness *r)
{
    evaluate_work *w = NULL;
    DG_TRY(DG_NEW(&w, 1, "evaluation"));
    *w = (evaluate_work){.env = r->env, .s = r->s};
    dg_status status = dg_cohort_open(r->s->cohort, &w->cohort);
    if (status == DG_OK) status = evaluate_choose_cases(w);
    if (status == DG_OK) status = evaluate_choose_target(w); /* refuses segmentations before anything is predicted */
    if (status == DG_OK) status = DG_NEW(&r->ids, w->count, "cases to predict");
    for (int64_t i = 0; status == DG_OK && i < w->count; i++)
        if (w->chosen[i].index >= 0 && w->chosen[i].reason[0] == '\0')
            snprintf(r->ids[r->id_count++], DG_CASE_ID, "%s", w->chosen[i].id);
    dg_cohort_close(&w->cohort);
    dg_free(&w->chosen);
    dg_free(&w);
    if (status == DG_OK && r->id_count == 0)
        status = DG_FAIL(DG_ERR_DATA, "no case has a prediction to compare with: none is predicted again");
    return status;
}

static dg_status set_up(robustness *r)
{
    DG_TRY(read_perturbations(r));
    DG_TRY(choose_network(r));
    return choose_cases(r);
}

/* Settings of the evaluation of perturbation k: predictions and results lie beside those of the whole. */
static dg_status aim_at(robustness *r, int k)
{
    evaluate_settings *p = &r->perturbed;
    char folder[DG_PATH_MAX], path[DG_PATH_MAX], results[DG_PATH_MAX];
    const char *name = r->perturbation[k].name;
    *p = *r->s;
    snprintf(folder, sizeof folder, "%s.ledger/perturbed/%s", r->s->output, name);
    DG_TRY(dg_path_join(path, folder, "predictions"));
    DG_TRY(dg_path_join(results, folder, "evaluation_results.json"));
    if (strlen(results) >= sizeof p->output) return DG_FAIL(DG_ERR_USAGE, "-o: the path is too long");
    memcpy(p->predictions, path, strlen(path) + 1);
    memcpy(p->output, results, strlen(results) + 1);
    snprintf(p->condition, sizeof p->condition, "%s", name);
    p->silent = true;
    return r->env->comm->rank == 0 ? dg_make_folder(folder) : DG_OK;
}

/* What gamma calls cpu has two libraries here; auto is the faster one that was built. */
static const char *network_backend(const char *gamma_backend)
{
    return strcmp(gamma_backend, "cuda") == 0 ? "cuda" : strcmp(gamma_backend, "cpu") == 0 ? "onednn" : "auto";
}

static dg_status predict_one(robustness *r, int k)
{
    int64_t failed = 0;
    DG_TRY(dg_comm_agree(r->env->comm, aim_at(r, k)));
    const evaluate_settings *p = &r->perturbed;
    const dg_predict_request request = {.checkpoint = &r->checkpoint,
                                        .cohort = p->cohort,
                                        .output = p->predictions,
                                        .backend = network_backend(p->backend),
                                        .ids = (const char(*)[DG_CASE_ID])r->ids,
                                        .count = r->id_count,
                                        .perturbation = &r->perturbation[k],
                                        .unperturbed = r->s->predictions,
                                        .members = p->measure.members,
                                        .threads = p->threads.count > 0 ? p->threads.value[0] : 0,
                                        .resume = p->resume,
                                        .comm_timeout_s = p->comm_timeout_s};
    dg_log_write(r->env->log, DG_LOG_INFO, "perturbed by %s: %d of %d", r->perturbation[k].name, k + 1, r->count);
    dg_status status = dg_predict_perturbed(r->env, &request, &failed);
    r->failed += failed;
    return status;
}

static json_t *entry_json(const dg_perturbation *p, json_t *metrics)
{
    static const char *const kind[] = {"hu", "noise", "spacing"}, *const unit[] = {"HU", "HU", "times"};
    json_t *seed = p->kind == DG_PERTURB_NOISE ? json_integer((json_int_t)p->seed) : json_null();
    return json_pack("{s:s, s:s, s:f, s:s, s:o, s:o}", "perturbation", p->name, "kind", kind[p->kind], "amount",
                     p->amount, "unit", unit[p->kind], "seed", seed, "metrics", metrics);
}

/* Rank 0: the change under each perturbation. */
static dg_status compare_all(robustness *r, const dg_results *unperturbed, json_t *entries)
{
    const dg_robustness_params params = {.resamples = r->s->measure.resamples, .seed = (uint64_t)r->s->measure.seed};
    for (int k = 0; k < r->count; k++) {
        dg_results *perturbed = NULL;
        json_t *metrics = NULL;
        DG_TRY(aim_at(r, k));
        DG_TRY(dg_results_read(r->perturbed.output, r->perturbed.output, &perturbed));
        const dg_status status = dg_robustness_json(unperturbed, perturbed, &params, &metrics);
        dg_results_destroy(&perturbed);
        if (status != DG_OK) return status;
        json_array_append_new(entries, entry_json(&r->perturbation[k], metrics));
    }
    return DG_OK;
}

static dg_status tell(const robustness *r, json_t *root)
{
    char *text;
    if (r->s->json) return dg_job_print_json(r->env, json_incref(root));
    DG_TRY(dg_robustness_table(json_object_get(root, "perturbations"), &text));
    printf("\n%s", text);
    dg_free(&text);
    return DG_OK;
}

static dg_status report(robustness *r)
{
    dg_results *unperturbed = NULL;
    json_t *entries = json_array(), *root = NULL;
    DG_TRY(dg_results_read(r->s->output, r->s->output, &unperturbed));
    dg_status status = compare_all(r, unperturbed, entries);
    if (status == DG_OK) root = json_copy((json_t *)dg_results_root(unperturbed));
    if (root != NULL) {
        json_object_set(root, "perturbations", entries);
        status = evaluate_write_results(r->s, root);
        if (status == DG_OK) status = tell(r, root);
    }
    json_decref(root);
    json_decref(entries);
    dg_results_destroy(&unperturbed);
    return status;
}

/* What can be refused, predictions with it, comes before anything is judged. */
static dg_status work_through(robustness *r, int *exit_code)
{
    evaluate_settings *s = NULL;
    DG_TRY(dg_comm_agree(r->env->comm, set_up(r)));
    for (int k = 0; k < r->count; k++) DG_TRY(predict_one(r, k));
    DG_TRY(DG_NEW(&s, 1, "settings"));
    *s = *r->s;
    s->silent = s->json;
    dg_status status = evaluate_once(r->env, s, exit_code);
    dg_free(&s);
    for (int k = 0; k < r->count && status == DG_OK; k++) {
        status = dg_comm_agree(r->env->comm, aim_at(r, k));
        if (status == DG_OK) status = evaluate_once(r->env, &r->perturbed, exit_code);
    }
    if (status == DG_OK) status = dg_comm_agree(r->env->comm, r->env->comm->rank == 0 ? report(r) : DG_OK);
    if (status == DG_OK && r->failed > 0) *exit_code = DG_EXIT_SOME_CASES;
    return status;
}

dg_status evaluate_perturbed(const dg_job_env *env, const evaluate_settings *s, int *exit_code)
{
    robustness *r = NULL;
    DG_TRY(DG_NEW(&r, 1, "robustness"));
    r->env = env;
    r->s = s;
    const dg_status status = work_through(r, exit_code);
    dg_free(&r->ids);
    dg_free(&r);
    return status;
}
