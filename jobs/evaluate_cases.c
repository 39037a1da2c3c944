/* evaluate_cases.c - which cases `dosegrid evaluate` judges, by which constraints, and whose predictions they are.
 * SPDX-License-Identifier: Apache-2.0 */
#include "evaluate_impl.h"

#include "dg_mem.h"
#include "label_options.h"
#include "split.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONFIG_BYTES_MAX = 1 << 24 };

/* ---- cases -------------------------------------------------------------------------------------------------------- */

static void choose(evaluate_work *w, const char *id)
{
    evaluate_choice *c = &w->chosen[w->count++];
    snprintf(c->id, sizeof c->id, "%s", id);
    c->index = dg_cohort_find(w->cohort, id);
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const evaluate_choice *)a)->id, ((const evaluate_choice *)b)->id);
}

/* Cases are reported by id, in whatever order they were named. */
static dg_status sort_choices(evaluate_work *w)
{
    if (w->count > 0) qsort(w->chosen, (size_t)w->count, sizeof *w->chosen, by_id);
    for (int64_t i = 1; i < w->count; i++)
        if (strcmp(w->chosen[i].id, w->chosen[i - 1].id) == 0)
            return DG_FAIL(DG_ERR_USAGE, "case '%s' is named twice", w->chosen[i].id);
    return DG_OK;
}

static dg_status add_named(evaluate_work *w, int64_t *room, const char *id)
{
    if (w->count == *room) {
        DG_TRY(dg_grow(&w->chosen, (size_t)*room, (size_t)(2 * *room + 64), sizeof *w->chosen, "list of cases"));
        *room = 2 * *room + 64;
    }
    if (strlen(id) >= DG_CASE_ID || dg_cohort_find(w->cohort, id) < 0)
        return DG_FAIL(DG_ERR_USAGE, "case '%.80s' is not in the cohort", id);
    choose(w, id);
    return DG_OK;
}

static dg_status add_part(evaluate_work *w, int64_t *room, dg_part part)
{
    char(*ids)[DG_CASE_ID] = NULL, path[DG_PATH_MAX];
    int64_t listed = 0;
    if (w->s->run[0] == '\0')
        return DG_FAIL(DG_ERR_USAGE, "--cases %s names a part of a run's split: name the run (--run)",
                       dg_part_name(part));
    DG_TRY(dg_path_join(path, w->s->run, "test_cases.json"));
    dg_status status = dg_split_read_part(path, part, &ids, &listed);
    for (int64_t i = 0; i < listed && status == DG_OK; i++) status = add_named(w, room, ids[i]);
    dg_free(&ids);
    return status == DG_OK ? DG_OK : dg_error_context(status, "--cases %s", dg_part_name(part));
}

static dg_status choose_named(evaluate_work *w)
{
    dg_words words = {0};
    int64_t room = 0;
    dg_status status = dg_words_read(&w->s->cases, "--cases", &words);
    for (int64_t i = 0; i < words.count && status == DG_OK; i++) {
        int part = 0;
        while (part < DG_PARTS && strcmp(words.value[i], dg_part_name((dg_part)part)) != 0) part++;
        if (part < DG_PARTS && dg_cohort_find(w->cohort, words.value[i]) < 0)
            status = add_part(w, &room, (dg_part)part);
        else
            status = add_named(w, &room, words.value[i]);
    }
    dg_words_release(&words);
    return status;
}

/* Without a ledger, as other tools write none: the cohort's cases that have a file. */
static dg_status choose_files(evaluate_work *w)
{
    DG_TRY(DG_NEW(&w->chosen, dg_cohort_count(w->cohort), "list of cases"));
    for (int64_t i = 0; i < dg_cohort_count(w->cohort); i++) {
        const char *id = dg_cohort_case(w->cohort, i)->id;
        if (dg_prediction_exists(w->s->predictions, id)) choose(w, id);
    }
    return DG_OK;
}

/* The ledger also names what predict failed at: those are missing then, not forgotten. */
static dg_status choose_predicted(evaluate_work *w)
{
    dg_ledger_entry *entry = NULL;
    int64_t entries = 0;
    dg_status status;
    DG_TRY_GOTO(status, dg_ledger_read(w->s->predictions, &entry, &entries), cleanup);
    if (entries > 0) {
        DG_TRY_GOTO(status, DG_NEW(&w->chosen, entries, "list of cases"), cleanup);
        for (int64_t i = 0; i < entries; i++) {
            choose(w, entry[i].id);
            if (!entry[i].done) snprintf(w->chosen[i].reason, sizeof w->chosen[i].reason, "%s", entry[i].reason);
        }
    } else {
        DG_TRY_GOTO(status, choose_files(w), cleanup);
    }
    if (w->count == 0)
        status = DG_FAIL(DG_ERR_USAGE, "%s holds no prediction of a case of this cohort", w->s->predictions);
cleanup:
    dg_free(&entry);
    return status;
}

dg_status evaluate_choose_cases(evaluate_work *w)
{
    DG_TRY(w->s->cases.count > 0 ? choose_named(w) : choose_predicted(w));
    return sort_choices(w);
}

static dg_status add_train(evaluate_work *w, const char *id)
{
    int64_t index = dg_cohort_find(w->cohort, id);
    if (index < 0)
        return DG_FAIL(DG_ERR_DATA, "training case '%s' is not in this cohort; evaluate against the cohort of the run",
                       id);
    w->train[w->config.train_cases++] = index;
    return DG_OK;
}

dg_status evaluate_choose_train(evaluate_work *w)
{
    dg_words words = {0};
    char(*ids)[DG_CASE_ID] = NULL, path[DG_PATH_MAX];
    int64_t listed = 0;
    dg_status status;
    if (w->s->run[0] != '\0') {
        DG_TRY(dg_path_join(path, w->s->run, "test_cases.json"));
        DG_TRY(dg_split_read_part(path, DG_PART_TRAIN, &ids, &listed));
    }
    DG_TRY_GOTO(status, dg_words_read(&w->s->train_cases, "--train-cases", &words), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&w->train, listed + words.count, "training cases"), cleanup);
    for (int64_t i = 0; i < listed; i++) DG_TRY_GOTO(status, add_train(w, ids[i]), cleanup);
    for (int64_t i = 0; i < words.count; i++) DG_TRY_GOTO(status, add_train(w, words.value[i]), cleanup);
cleanup:
    dg_words_release(&words);
    dg_free(&ids);
    return status;
}

/* ---- constraints -------------------------------------------------------------------------------------------------- */

static bool has_structure(const dg_case_info *info, const char *name)
{
    for (int k = 0; k < info->structure_count; k++)
        if (strcasecmp(info->structure[k].name, name) == 0 || strcasecmp(info->structure[k].tg263, name) == 0)
            return true;
    return false;
}

/* By the source of the cases, or by what is delineated: head and neck cases of OpenKBP (and phantoms made like them), and
 * prostates by name with the two organs that limit the dose. All cases must agree: results hold one table. */
static const char *table_of(const dg_case_info *info)
{
    if (strcmp(info->source_format, "openkbp") == 0 || strcmp(info->source_format, "phantom") == 0) return "openkbp_hn";
    if (has_structure(info, "Prostate") && has_structure(info, "Rectum") && has_structure(info, "Bladder"))
        return "quantec_prostate";
    return "none";
}

dg_status evaluate_choose_table(evaluate_work *w, char *note, size_t capacity)
{
    const char *name = w->s->measure.constraint_table;
    note[0] = '\0';
    if (w->config.compat == DG_COMPAT_UPSTREAM) return DG_OK; /* it has limits of its own */
    if (strcmp(name, "auto") == 0) {
        const char *common = NULL;
        for (int64_t i = 0; i < w->count; i++) {
            if (w->chosen[i].index < 0) continue;
            const char *own = table_of(dg_cohort_case(w->cohort, w->chosen[i].index));
            if (common != NULL && strcmp(common, own) != 0) own = "none";
            common = own;
            if (strcmp(own, "none") == 0) break;
        }
        name = common == NULL ? "none" : common;
        snprintf(note, capacity, "constraint table: %s, chosen by what the cases are (--constraint-table)", name);
    }
    if (strcmp(name, "none") == 0) return DG_OK;
    DG_TRY(dg_constraint_table_load(name, &w->table));
    w->config.table = w->table;
    return DG_OK;
}

/* ---- the run that made the predictions ----------------------------------------------------------------------------- */

static dg_status read_training_config(const char *run, json_t **out)
{
    char path[DG_PATH_MAX], role[DG_PATH_MAX], *text = NULL;
    int64_t length;
    json_error_t error;
    DG_TRY(dg_path_join(path, run, "training_config.json"));
    snprintf(role, sizeof role, "training_config.json of --run %.1000s", run);
    DG_TRY(dg_file_read(path, role, CONFIG_BYTES_MAX, &text, &length));
    *out = json_loadb(text, (size_t)length, JSON_REJECT_DUPLICATES, &error);
    dg_free(&text);
    if (json_is_object(*out)) return DG_OK;
    json_decref(*out);
    return DG_FAIL(DG_ERR_FORMAT, "training_config.json of --run, line %d: it is no JSON object of settings",
                   error.line);
}

static const json_t *config_value(const json_t *config, const char *key)
{
    return json_object_get(json_object_get(config, key), "value");
}

static void copy_name(const json_t *value, char text[DG_EVALUATION_TEXT])
{
    if (json_is_string(value)) snprintf(text, DG_EVALUATION_TEXT, "%.127s", json_string_value(value));
}

dg_status evaluate_name_run(evaluate_work *w)
{
    json_t *config = NULL;
    if (w->s->run[0] != '\0') {
        DG_TRY(read_training_config(w->s->run, &config));
        const json_t *seed = config_value(config, "run.seed");
        copy_name(config_value(config, "run.name"), w->config.run.name);
        copy_name(config_value(config, "run.condition"), w->config.run.condition);
        if (json_is_integer(seed)) w->config.run.seed = json_integer_value(seed);
        json_decref(config);
    }
    if (w->s->condition[0] != '\0') snprintf(w->config.run.condition, DG_EVALUATION_TEXT, "%.127s", w->s->condition);
    if (w->s->run_seed.count > 0) w->config.run.seed = w->s->run_seed.value[0];
    return DG_OK;
}

/* Of a run's settings those below `prefix`. */
static dg_status read_settings(const char *run, const char *prefix, dg_options *options)
{
    json_t *config = NULL, *value;
    const char *key;
    DG_TRY(read_training_config(run, &config));
    json_t *own = json_object();
    json_object_foreach(config, key, value)
    {
        if (strncmp(key, prefix, strlen(prefix)) == 0) json_object_set(own, key, value);
    }
    dg_status status = dg_options_from_json(options, own, "training_config.json");
    json_decref(own);
    json_decref(config);
    return status;
}

dg_status evaluate_read_run_settings(const char *run, dg_options *options)
{
    DG_TRY(read_settings(run, "evaluate.", options));
    return label_options_read_run(run, options);
}

dg_status label_options_read_run(const char *run, dg_options *options)
{
    return read_settings(run, "data.labels.", options);
}
