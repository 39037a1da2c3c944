/* sweep_plan.c - see sweep_plan.h. SPDX-License-Identifier: Apache-2.0 */
#include "sweep_plan.h"

#include "dg_mem.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static dg_status fail_at(const dg_sweep *sweep, const dg_yaml_node *node, const char *problem)
{
    return DG_FAIL(DG_ERR_USAGE, "%s:%d: %s%s%s", sweep->path, node->line, node->key == NULL ? "" : node->key,
                   node->key == NULL ? "" : ": ", problem);
}

/* A name of folders and files. */
static bool is_plain(const char *text)
{
    if (text[0] == '\0' || text[0] == '.' || text[0] == '-' || strlen(text) >= DG_SWEEP_NAME) return false;
    for (; *text != '\0'; text++)
        if (!((unsigned char)*text < 128 && isalnum((unsigned char)*text)) && strchr("-_.", *text) == NULL)
            return false;
    return true;
}

static dg_status read_text(const dg_sweep *sweep, const dg_yaml_node *node, char *text, size_t capacity)
{
    if (node == NULL || node->is_null) return DG_OK;
    if (node->kind != DG_YAML_SCALAR || strlen(node->text) >= capacity)
        return fail_at(sweep, node, "a text is wanted, not longer than 1023 bytes");
    strcpy(text, node->text);
    return DG_OK;
}

static dg_status read_name(const dg_sweep *sweep, const dg_yaml_node *node, char text[DG_SWEEP_NAME])
{
    if (node == NULL) return DG_OK;
    if (node->kind != DG_YAML_SCALAR || !is_plain(node->text))
        return fail_at(sweep, node, "a plain name is wanted: letters, digits, - _ and dots, at most 63");
    strcpy(text, node->text);
    return DG_OK;
}

static bool read_whole(const char *text, int64_t *value)
{
    char *end;
    errno = 0;
    *value = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == '\0';
}

static dg_status check_keys(const dg_sweep *sweep, const dg_yaml_node *map, const char *const *known)
{
    if (map->kind != DG_YAML_MAP) return fail_at(sweep, map, "a map of keys and values is wanted");
    for (const dg_yaml_node *item = map->child; item != NULL; item = item->next) {
        int k = 0;
        while (known[k] != NULL && strcmp(known[k], item->key) != 0) k++;
        if (known[k] != NULL) continue;
        char list[256] = "";
        for (k = 0; known[k] != NULL; k++)
            snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", k > 0 ? ", " : "", known[k]);
        return DG_FAIL(DG_ERR_USAGE, "%s:%d: unknown key %.80s; possible are %s", sweep->path, item->line, item->key,
                       list);
    }
    return DG_OK;
}

/* ---- seeds and split --------------------------------------------------------------------------------------------- */

static dg_status read_seeds(dg_sweep *sweep, const dg_yaml_node *node)
{
    if (node == NULL || node->kind != DG_YAML_LIST || node->child == NULL)
        return DG_FAIL(DG_ERR_USAGE, "%s: seeds: a list such as [42, 123, 456] is wanted", sweep->path);
    sweep->seeds_line = node->line;
    for (const dg_yaml_node *item = node->child; item != NULL; item = item->next) {
        int64_t seed;
        if (item->kind != DG_YAML_SCALAR || !read_whole(item->text, &seed) || seed < 0)
            return fail_at(sweep, item, "a seed is a whole number from 0");
        for (int i = 0; i < sweep->seeds; i++)
            if (sweep->seed[i] == seed) return fail_at(sweep, item, "this seed stands in the list already");
        if (sweep->seeds == DG_SWEEP_SEEDS_MAX) return fail_at(sweep, item, "more than 64 seeds");
        sweep->seed[sweep->seeds++] = seed;
    }
    return DG_OK;
}

/* locked, per_seed, or {kfold: N}. */
static dg_status read_split(dg_sweep *sweep, const dg_yaml_node *node)
{
    static const char *const keys[] = {"kfold", NULL};
    int64_t folds = 0;
    sweep->folds = 1;
    if (node == NULL) return DG_OK;
    sweep->split_line = node->line;
    if (node->kind == DG_YAML_SCALAR) {
        if (strcmp(node->text, "per_seed") == 0)
            sweep->split = DG_SWEEP_PER_SEED;
        else if (strcmp(node->text, "locked") != 0)
            return fail_at(sweep, node, "locked, per_seed or {kfold: 4}");
        return DG_OK;
    }
    DG_TRY(check_keys(sweep, node, keys));
    const dg_yaml_node *count = dg_yaml_get(node, "kfold");
    if (count == NULL || count->kind != DG_YAML_SCALAR || !read_whole(count->text, &folds) || folds < 2 ||
        folds > DG_SWEEP_FOLDS_MAX)
        return fail_at(sweep, node, "kfold is a whole number from 2 to 64");
    sweep->split = DG_SWEEP_KFOLD;
    sweep->folds = (int)folds;
    return DG_OK;
}

/* ---- conditions -------------------------------------------------------------------------------------------------- */

/* {metric: M, at_most: X} or {metric: M, at_least: X} */
static dg_status read_target(const dg_sweep *sweep, const dg_yaml_node *node, dg_sweep_target *out)
{
    static const char *const keys[] = {"metric", "at_most", "at_least", NULL};
    char *end;
    DG_TRY(check_keys(sweep, node, keys));
    const dg_yaml_node *most = dg_yaml_get(node, "at_most"), *least = dg_yaml_get(node, "at_least");
    const dg_yaml_node *limit = most != NULL ? most : least;
    DG_TRY(read_text(sweep, dg_yaml_get(node, "metric"), out->metric, sizeof out->metric));
    if (out->metric[0] == '\0' || (most == NULL) == (least == NULL) || limit->kind != DG_YAML_SCALAR)
        return fail_at(sweep, node, "a target is {metric: dose_metrics.mae_gy, at_most: 3} or at_least");
    out->at_most = most != NULL;
    out->limit = strtod(limit->text, &end);
    if (end == limit->text || *end != '\0') return fail_at(sweep, limit, "a number is wanted");
    return DG_OK;
}

/* What can change after training: how doses are drawn, and how many of them are judged. */
static dg_status check_later(const dg_sweep *sweep, const dg_yaml_node *node, const char *prefix, bool *draws)
{
    static const char *const later[] = {"diffusion.sampler",  "diffusion.sample_steps", "diffusion.eta",
                                        "diffusion.guidance", "diffusion.ensemble",     "diffusion.percentiles",
                                        "diffusion.seed",     "diffusion.fault",        "evaluate.members"};
    for (const dg_yaml_node *item = node == NULL ? NULL : node->child; item != NULL; item = item->next) {
        char key[256];
        bool known = false;
        snprintf(key, sizeof key, "%s%s%.100s", prefix, prefix[0] == '\0' ? "" : ".", item->key);
        if (item->kind == DG_YAML_MAP) {
            DG_TRY(check_later(sweep, item, key, draws));
            continue;
        }
        for (size_t k = 0; k < sizeof later / sizeof later[0]; k++) known = known || strcmp(key, later[k]) == 0;
        if (!known)
            return fail_at(sweep, item,
                           "is settled by training; with weights_of go diffusion.sampler, sample_steps, eta, "
                           "guidance, ensemble, percentiles, seed, fault and evaluate.members");
        *draws = *draws || strncmp(key, "diffusion.", 10) == 0;
    }
    return DG_OK;
}

/* An earlier condition, so that the sources of a condition are settled before it. */
static dg_status read_source(const dg_sweep *sweep, const dg_yaml_node *node, dg_sweep_condition *condition)
{
    if (node == NULL) return DG_OK;
    for (int i = 0; i + 1 < sweep->conditions && node->kind == DG_YAML_SCALAR; i++)
        if (strcmp(sweep->condition[i].name, node->text) == 0) condition->weights_of = i;
    if (condition->weights_of < 0) return fail_at(sweep, node, "no condition above has this name");
    if (condition->seed_offset != 0)
        return fail_at(sweep, node, "seed_offset is of a training; it goes with the condition whose weights these are");
    condition->draws = false;
    if (condition->set != NULL && condition->set->kind != DG_YAML_MAP) return DG_OK; /* refused where it is applied */
    return check_later(sweep, condition->set, "", &condition->draws);
}

static dg_status read_condition(dg_sweep *sweep, const dg_yaml_node *node)
{
    static const char *const keys[] = {"hypothesis", "notes", "targets", "set", "seed_offset", "weights_of", NULL};
    if (sweep->conditions == DG_SWEEP_CONDITIONS_MAX) return fail_at(sweep, node, "more than 64 conditions");
    dg_sweep_condition *condition = &sweep->condition[sweep->conditions];
    if (!is_plain(node->key))
        return DG_FAIL(DG_ERR_USAGE, "%s:%d: '%.80s' is no plain name: letters, digits, - _ and dots, at most 63",
                       sweep->path, node->line, node->key);
    strcpy(condition->name, node->key);
    sweep->conditions++;
    condition->weights_of = -1;
    condition->draws = true;
    if (node->kind == DG_YAML_SCALAR && node->is_null) return DG_OK;
    DG_TRY(check_keys(sweep, node, keys));
    DG_TRY(read_text(sweep, dg_yaml_get(node, "hypothesis"), condition->hypothesis, sizeof condition->hypothesis));
    DG_TRY(read_text(sweep, dg_yaml_get(node, "notes"), condition->notes, sizeof condition->notes));
    condition->set = dg_yaml_get(node, "set");
    const dg_yaml_node *offset = dg_yaml_get(node, "seed_offset");
    if (offset != NULL && (offset->kind != DG_YAML_SCALAR || !read_whole(offset->text, &condition->seed_offset) ||
                           condition->seed_offset < 0))
        return fail_at(sweep, offset, "a whole number from 0 is wanted");
    DG_TRY(read_source(sweep, dg_yaml_get(node, "weights_of"), condition));
    const dg_yaml_node *targets = dg_yaml_get(node, "targets");
    if (targets == NULL || targets->is_null) return DG_OK;
    if (targets->kind != DG_YAML_LIST) return fail_at(sweep, targets, "a list of targets is wanted");
    for (const dg_yaml_node *item = targets->child; item != NULL; item = item->next) {
        if (condition->targets == DG_SWEEP_TARGETS_MAX) return fail_at(sweep, item, "more than 8 targets");
        DG_TRY(read_target(sweep, item, &condition->target[condition->targets++]));
    }
    return DG_OK;
}

static dg_status read_conditions(dg_sweep *sweep, const dg_yaml_node *node, const dg_yaml_node *reference)
{
    if (node == NULL || node->kind != DG_YAML_MAP || node->child == NULL)
        return DG_FAIL(DG_ERR_USAGE, "%s: conditions: a map of names, each with what it sets, is wanted", sweep->path);
    for (const dg_yaml_node *item = node->child; item != NULL; item = item->next) DG_TRY(read_condition(sweep, item));
    if (reference == NULL) return DG_OK;
    while (sweep->reference < sweep->conditions &&
           (reference->kind != DG_YAML_SCALAR || strcmp(sweep->condition[sweep->reference].name, reference->text) != 0))
        sweep->reference++;
    return sweep->reference < sweep->conditions ? DG_OK : fail_at(sweep, reference, "no condition has this name");
}

static dg_status read_root(dg_sweep *sweep)
{
    static const char *const keys[] = {"name",      "base",    "set",        "seeds", "split",
                                       "reference", "primary", "conditions", NULL};
    const dg_yaml_node *root = sweep->root;
    DG_TRY(check_keys(sweep, root, keys));
    strcpy(sweep->name, "sweep");
    DG_TRY(read_name(sweep, dg_yaml_get(root, "name"), sweep->name));
    DG_TRY(read_name(sweep, dg_yaml_get(root, "base"), sweep->base));
    DG_TRY(read_text(sweep, dg_yaml_get(root, "primary"), sweep->primary, sizeof sweep->primary));
    sweep->set = dg_yaml_get(root, "set");
    DG_TRY(read_seeds(sweep, dg_yaml_get(root, "seeds")));
    DG_TRY(read_split(sweep, dg_yaml_get(root, "split")));
    DG_TRY(read_conditions(sweep, dg_yaml_get(root, "conditions"), dg_yaml_get(root, "reference")));
    if (dg_sweep_runs(sweep) > DG_SWEEP_RUNS_MAX)
        return DG_FAIL(DG_ERR_USAGE, "%s: %d conditions, %d seeds and %d folds are more than %d runs", sweep->path,
                       sweep->conditions, sweep->seeds, sweep->folds, DG_SWEEP_RUNS_MAX);
    return DG_OK;
}

static void folder_of(const char *path, char folder[DG_PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        strcpy(folder, ".");
    else
        snprintf(folder, DG_PATH_MAX, "%.*s", slash == path ? 1 : (int)(slash - path), path);
}

static dg_status read_tree(const char *path, dg_yaml_node **root)
{
    char *text;
    int64_t length;
    dg_status status = dg_file_read(path, path, DG_YAML_LIMIT, &text, &length);
    if (status == DG_ERR_MEMORY) return status;
    if (status != DG_OK) return DG_FAIL(DG_ERR_USAGE, "sweep: %s", dg_error_last()->text);
    status = dg_yaml_read_text(text, (size_t)length, path, root);
    dg_free(&text);
    return status;
}

dg_status dg_sweep_read(const char *path, dg_sweep *out)
{
    memset(out, 0, sizeof *out);
    if (strlen(path) >= sizeof out->path) return DG_FAIL(DG_ERR_USAGE, "the path of the sweep file is too long");
    strcpy(out->path, path);
    folder_of(path, out->folder);
    dg_status status = read_tree(path, &out->root);
    if (status == DG_OK) status = read_root(out);
    if (status != DG_OK) dg_sweep_release(out);
    return status;
}

void dg_sweep_release(dg_sweep *sweep) { dg_yaml_destroy(&sweep->root); }

bool dg_sweep_is(const char *path)
{
    dg_yaml_node *root = NULL;
    bool is = read_tree(path, &root) == DG_OK && root->kind == DG_YAML_MAP && dg_yaml_get(root, "conditions") != NULL;
    if (!is) dg_error_clear();
    dg_yaml_destroy(&root);
    return is;
}

/* ---- settings ---------------------------------------------------------------------------------------------------- */

static const char *file_name(const dg_sweep *sweep)
{
    const char *slash = strrchr(sweep->path, '/');
    return slash == NULL ? sweep->path : slash + 1;
}

/* Those of the condition whose weights it takes come first. */
static dg_status apply_condition(const dg_sweep *sweep, int condition, dg_options *options)
{
    char where[3 * DG_SWEEP_NAME];
    const dg_sweep_condition *c = &sweep->condition[condition];
    if (c->weights_of >= 0) DG_TRY(apply_condition(sweep, c->weights_of, options));
    snprintf(where, sizeof where, "condition %s of %.100s", c->name, file_name(sweep));
    return dg_options_read_tree(options, c->set, DG_FROM_CONDITION, where);
}

dg_status dg_sweep_apply(const dg_sweep *sweep, int condition, dg_options *options)
{
    char path[DG_PATH_MAX];
    if (sweep->base[0] != '\0') {
        DG_TRY(dg_path_join(path, sweep->folder, sweep->base));
        DG_TRY(dg_options_read_yaml(options, path));
    }
    DG_TRY(dg_options_read_tree(options, sweep->set, DG_FROM_FILE, sweep->path));
    return apply_condition(sweep, condition, options);
}

int dg_sweep_trained(const dg_sweep *sweep, int index)
{
    const int each = sweep->seeds * sweep->folds;
    while (sweep->condition[index / each].weights_of >= 0)
        index = sweep->condition[index / each].weights_of * each + index % each;
    return index;
}

int dg_sweep_drawn(const dg_sweep *sweep, int index)
{
    const int each = sweep->seeds * sweep->folds;
    while (!sweep->condition[index / each].draws)
        index = sweep->condition[index / each].weights_of * each + index % each;
    return index;
}

int dg_sweep_runs(const dg_sweep *sweep) { return sweep->conditions * sweep->seeds * sweep->folds; }

dg_sweep_run dg_sweep_run_at(const dg_sweep *sweep, int index)
{
    dg_sweep_run run = {.fold = index % sweep->folds,
                        .seed = index / sweep->folds % sweep->seeds,
                        .condition = index / sweep->folds / sweep->seeds};
    int used = snprintf(run.name, sizeof run.name, "%s-s%lld", sweep->condition[run.condition].name,
                        (long long)sweep->seed[run.seed]);
    if (sweep->split == DG_SWEEP_KFOLD) snprintf(run.name + used, sizeof run.name - (size_t)used, "-f%d", run.fold);
    return run;
}

dg_status dg_sweep_find_run(const dg_sweep *sweep, const char *name, dg_sweep_run *out)
{
    for (int i = 0; i < dg_sweep_runs(sweep); i++) {
        *out = dg_sweep_run_at(sweep, i);
        if (strcmp(out->name, name) == 0) return DG_OK;
    }
    *out = dg_sweep_run_at(sweep, 0);
    return DG_FAIL(DG_ERR_USAGE, "%s has no experiment '%.100s'; the first one is called %s", sweep->path, name,
                   out->name);
}

static dg_status set_own(dg_options *options, const char *key, const char *value, int line, const char *where)
{
    dg_origin origin = {.kind = DG_FROM_CONDITION, .line = line};
    snprintf(origin.where, sizeof origin.where, "%s", where);
    return dg_options_set(options, key, value, &origin);
}

/* What a user gives for this run must not be lost without a word; the shared configuration may have it for runs of its own. */
static dg_status refuse_own(const dg_sweep *sweep, const dg_sweep_run *run, const dg_options *options)
{
    static const char *const own[] = {"run.dir", "run.name", "run.seed", "run.condition"};
    char where[176], folder[DG_PATH_MAX];
    for (size_t k = 0; k < sizeof own / sizeof *own; k++) {
        const dg_origin_kind kind = options->origin[dg_options_find(options, own[k]) - options->row].kind;
        if (kind != DG_FROM_ENVIRONMENT && kind != DG_FROM_COMMAND_LINE) continue;
        dg_options_origin_text(options, own[k], where, sizeof where);
        DG_TRY(dg_sweep_run_folder(sweep, run, folder));
        return DG_FAIL(DG_ERR_USAGE,
                       "%s (%s): folder, name and seed of a run are the sweep's to say; leave it out, this run goes to "
                       "%s",
                       own[k], where, folder);
    }
    return DG_OK;
}

dg_status dg_sweep_apply_run(const dg_sweep *sweep, const dg_sweep_run *run, dg_options *options)
{
    char path[DG_PATH_MAX], where[160], number[32], own[32];
    DG_TRY(refuse_own(sweep, run, options));
    DG_TRY(dg_sweep_apply(sweep, run->condition, options));
    snprintf(where, sizeof where, "sweep %s", sweep->name);
    snprintf(number, sizeof number, "%lld", (long long)sweep->seed[run->seed]);
    snprintf(own, sizeof own, "%lld",
             (long long)(sweep->seed[run->seed] + sweep->condition[run->condition].seed_offset));
    DG_TRY(dg_sweep_condition_folder(sweep, run->condition, path));
    if (strlen(path) >= DG_OPT_TEXT) return DG_FAIL(DG_ERR_USAGE, "the path of the sweep's folder is too long");
    DG_TRY(set_own(options, "run.dir", path, 0, where));
    DG_TRY(set_own(options, "run.name", run->name, 0, where));
    DG_TRY(set_own(options, "run.condition", sweep->condition[run->condition].name, 0, where));
    snprintf(where, sizeof where, "seeds of %.120s", file_name(sweep));
    DG_TRY(set_own(options, "run.seed", own, sweep->seeds_line, where));
    snprintf(where, sizeof where, "split of %.120s", file_name(sweep));
    if (sweep->split == DG_SWEEP_LOCKED) return DG_OK;
    if (sweep->split == DG_SWEEP_PER_SEED) {
        DG_TRY(set_own(options, "data.split.file", "null", sweep->split_line, where));
        return set_own(options, "data.split.seed", number, sweep->split_line, where);
    }
    DG_TRY(dg_sweep_fold_file(sweep, run->fold, path));
    return set_own(options, "data.split.file", path, sweep->split_line, where);
}

/* ---- folders ----------------------------------------------------------------------------------------------------- */

dg_status dg_sweep_condition_folder(const dg_sweep *sweep, int condition, char path[DG_PATH_MAX])
{
    char name[DG_SWEEP_NAME + 16];
    snprintf(name, sizeof name, "experiments/%s", sweep->condition[condition].name);
    return dg_path_join(path, sweep->folder, name);
}

dg_status dg_sweep_run_folder(const dg_sweep *sweep, const dg_sweep_run *run, char path[DG_PATH_MAX])
{
    char folder[DG_PATH_MAX];
    DG_TRY(dg_sweep_condition_folder(sweep, run->condition, folder));
    return dg_path_join(path, folder, run->name);
}

dg_status dg_sweep_fold_file(const dg_sweep *sweep, int fold, char path[DG_PATH_MAX])
{
    char name[48];
    snprintf(name, sizeof name, "splits/fold-%d.json", fold);
    return dg_path_join(path, sweep->folder, name);
}
