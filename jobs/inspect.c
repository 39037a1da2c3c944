/* inspect.c - `dosegrid inspect`: what a checkpoint, cohort or folder of predictions holds, and whether it is intact.
 * Rank 0 works. SPDX-License-Identifier: Apache-2.0 */
#include "job.h"

#include "dg_checkpoint.h"
#include "dg_cohort.h"
#include "dg_file.h"
#include "dg_mem.h"
#include "dg_predictions.h"
#include "dg_results.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

enum { FILES_MAX = 256, BAD_TEXT = 1 << 16 };

typedef struct settings {
    bool json, quick;
} settings;

#define ROW(name_, help_)                                                                                             \
    {                                                                                                                 \
        .key = #name_, .flag = #name_, .type = DG_OPT_BOOL, .offset = offsetof(settings, name_), .fallback = "false", \
        .unit = "", .help = help_                                                                                     \
    }
static const dg_option rows[] = {ROW(json, "answer as JSON"),
                                 ROW(quick, "reads the index of a cohort only, no checksums of its cases")};

/* What one file turned out to be. `bad` names damaged cases; the whole file is bad when it could not be read at all. */
typedef struct finding {
    json_t *object;
    json_t *bad; /* borrowed from object */
} finding;

static dg_status start_finding(const char *path, const char *kind, finding *f)
{
    f->bad = json_array();
    f->object = json_pack("{s:s, s:s, s:o}", "file", path, "kind", kind, "bad", f->bad);
    if (f->object == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for what is in %s", path);
    return DG_OK;
}

static void add_bad(finding *f, const char *id, const char *reason)
{
    json_array_append_new(f->bad, json_pack("{s:s, s:s}", "case", id, "reason", reason));
}

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static bool holds(const char *folder, const char *name)
{
    char path[DG_PATH_MAX];
    return dg_path_join(path, folder, name) == DG_OK && dg_file_exists(path);
}

static dg_status inspect_checkpoint(const char *path, finding *f)
{
    dg_checkpoint_meta meta;
    DG_TRY(dg_checkpoint_read_meta(path, &meta, NULL));
    DG_TRY(dg_checkpoint_verify(path));
    DG_TRY(start_finding(path, "checkpoint", f));
    json_object_set_new(f->object, "step", json_integer(meta.step));
    json_object_set_new(f->object, "model", json_string(meta.model));
    json_object_set_new(f->object, "weights_sha256", json_string(meta.weights_sha256));
    json_object_set_new(f->object, "content_sha256", json_string(meta.content_sha256));
    return DG_OK;
}

static void count_name(json_t *counts, const char *name)
{
    json_int_t before = json_integer_value(json_object_get(counts, name));
    json_object_set_new(counts, name, json_integer(before + 1));
}

/* In how many cases each structure, and each element of a constraint vector, is. */
static void count_names(const dg_cohort *cohort, json_t *structures, json_t *constraints)
{
    for (int64_t i = 0; i < dg_cohort_count(cohort); i++) {
        const dg_case_info *info = dg_cohort_case(cohort, i);
        for (int k = 0; k < info->structure_count; k++) count_name(structures, info->structure[k].name);
        for (int k = 0; k < info->constraint_count; k++) count_name(constraints, info->constraint_name[k]);
    }
}

static dg_status describe_cohort(const dg_cohort *cohort, const char *path, bool quick, dg_log *log, finding *f)
{
    char hex[DG_HASH_HEX];
    int64_t count = dg_cohort_count(cohort), with_dose = 0, assumed = 0;
    char said[DG_ASSUMED_TEXT];
    DG_TRY(dg_cohort_content_hash(cohort, hex));
    DG_TRY(start_finding(path, "cohort", f));
    json_t *structures = json_object(), *constraints = json_object();
    count_names(cohort, structures, constraints);
    for (int64_t i = 0; i < count; i++) {
        const dg_case_info *info = dg_cohort_case(cohort, i);
        with_dose += info->has_dose;
        assumed += dg_case_info_assumed(info);
        if (!quick && dg_case_verify(cohort, i) != DG_OK) add_bad(f, info->id, dg_error_last()->text);
        if (!quick) dg_log_progress(log, "checked case", i + 1, count, NULL);
    }
    json_object_set_new(f->object, "cases", json_integer(count));
    json_object_set_new(f->object, "cases_with_dose", json_integer(with_dose));
    dg_assumed_text(assumed, count, said);
    if (said[0] != '\0') json_object_set_new(f->object, "prescription_assumed", json_string(said));
    json_object_set_new(f->object, "content_sha256", json_string(hex));
    json_object_set_new(f->object, "structures", structures);
    json_object_set_new(f->object, "constraints", constraints);
    json_object_set_new(f->object, "checksums", json_boolean(!quick));
    return DG_OK;
}

static dg_status inspect_cohort(const char *path, bool quick, dg_log *log, finding *f)
{
    dg_cohort *cohort;
    DG_TRY(dg_cohort_open(path, &cohort));
    dg_status status = describe_cohort(cohort, path, quick, log, f);
    dg_cohort_close(&cohort);
    return status;
}

/* Damaged predictions come back as one text, a line "ID: reason" each. */
static void add_bad_lines(finding *f, char *text)
{
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n")) != NULL)
        if (line[0] != '\0') {
            char *colon = strstr(line, ": ");
            if (colon != NULL) *colon = '\0';
            add_bad(f, line, colon == NULL ? "damaged" : colon + 2);
        }
}

static dg_status inspect_predictions(const char *path, finding *f)
{
    char hex[DG_HASH_HEX], *bad;
    int64_t count = 0;
    DG_TRY(dg_alloc(&bad, BAD_TEXT, 1, "list of damaged predictions"));
    dg_status status;
    DG_TRY_GOTO(status, dg_predictions_content_hash(path, hex, &count, bad, BAD_TEXT), cleanup);
    if (count == 0 && bad[0] == '\0' && !holds(path, "ledger-0.csv")) {
        status = DG_FAIL(DG_ERR_FORMAT, "%s holds neither a cohort nor predictions", path);
        goto cleanup;
    }
    DG_TRY_GOTO(status, start_finding(path, "predictions", f), cleanup);
    json_object_set_new(f->object, "cases", json_integer(count));
    json_object_set_new(f->object, "content_sha256", json_string(hex));
    add_bad_lines(f, bad);
cleanup:
    dg_free(&bad);
    return status;
}

/* One case's file inside a folder of predictions. */
static dg_status inspect_prediction(const char *path, finding *f)
{
    char folder[DG_PATH_MAX], hex[DG_HASH_HEX], *name;
    dg_grid grid;
    float *dose_gy;
    DG_TRY(dg_path_join(folder, path[0] == '/' ? "" : ".", path));
    name = strrchr(folder, '/');
    *name++ = '\0';
    size_t length = strlen(name);
    if (length > 3 && strcmp(name + length - 3, ".h5") == 0) name[length - 3] = '\0';
    DG_TRY(dg_prediction_read(folder, name, &grid, &dose_gy));
    dg_status status;
    size_t bytes = (size_t)(grid.shape[0] * grid.shape[1] * grid.shape[2]) * sizeof(float);
    DG_TRY_GOTO(status, dg_hash_bytes(dose_gy, bytes, hex), cleanup);
    DG_TRY_GOTO(status, start_finding(path, "prediction", f), cleanup);
    json_object_set_new(f->object, "cases", json_integer(1));
    json_object_set_new(f->object, "dose_sha256", json_string(hex));
cleanup:
    dg_free(&dose_gy);
    return status;
}

static bool is_case_file(const char *path)
{
    char folder[DG_PATH_MAX];
    if (dg_path_join(folder, path[0] == '/' ? "" : "./", path) != DG_OK) return false;
    *strrchr(folder, '/') = '\0';
    return strcmp(strrchr(folder, '/') == NULL ? folder : strrchr(folder, '/') + 1, "cases") == 0;
}

static dg_status describe_case(const dg_cohort *cohort, int64_t index, const char *path, finding *f)
{
    const dg_case_info *info = dg_cohort_case(cohort, index);
    const int64_t *shape = info->grid.shape;
    const double *spacing = info->grid.spacing_mm;
    DG_TRY(start_finding(path, "case", f));
    if (dg_case_verify(cohort, index) != DG_OK) add_bad(f, info->id, dg_error_last()->text);
    json_t *names = json_array();
    for (int k = 0; k < info->structure_count; k++) json_array_append_new(names, json_string(info->structure[k].name));
    json_object_set_new(f->object, "cases", json_integer(1));
    json_object_set_new(f->object, "shape_zyx", json_pack("[I, I, I]", shape[0], shape[1], shape[2]));
    json_object_set_new(f->object, "spacing_mm_zyx", json_pack("[f, f, f]", spacing[0], spacing[1], spacing[2]));
    json_object_set_new(f->object, "prescription_gy", json_real(info->prescription_gy));
    json_object_set_new(f->object, "prescription_source", json_string(info->prescription_source));
    json_object_set_new(f->object, "has_dose", json_boolean(info->has_dose));
    json_t *constraints = json_object();
    for (int k = 0; k < info->constraint_count; k++)
        json_object_set_new(constraints, info->constraint_name[k], json_real((double)info->constraint[k]));
    json_object_set_new(f->object, "structures", names);
    json_object_set_new(f->object, "constraints", constraints);
    json_object_set_new(f->object, "content_sha256", json_string(info->content_sha256));
    return DG_OK;
}

/* COHORT/cases/ID.h5, looked at as the cohort sees it. */
static dg_status inspect_case(const char *path, finding *f)
{
    char folder[DG_PATH_MAX], id[DG_CASE_ID] = "", *name;
    dg_cohort *cohort;
    DG_TRY(dg_path_join(folder, path[0] == '/' ? "" : "./", path));
    name = strrchr(folder, '/');
    size_t length = strlen(name + 1);
    if (length > 3 && length - 3 < sizeof id) snprintf(id, sizeof id, "%.*s", (int)(length - 3), name + 1);
    snprintf(name, sizeof folder - (size_t)(name - folder), "/..");
    DG_TRY(dg_cohort_open(folder, &cohort));
    int64_t index = dg_cohort_find(cohort, id);
    dg_status status = index < 0 ? DG_FAIL(DG_ERR_FORMAT, "%s is no case of the cohort it lies in", path)
                                 : describe_case(cohort, index, path, f);
    dg_cohort_close(&cohort);
    return status;
}

/* A file may be a checkpoint, a cohort or one prediction: the first that reads it wins, else all three reasons count. */
static dg_status inspect_file(const char *path, bool quick, dg_log *log, finding *f)
{
    char reasons[3][300];
    if (!dg_file_exists(path))
        return DG_FAIL(DG_ERR_IO, "%s does not exist; name a checkpoint, a cohort or a folder of predictions", path);
    if (is_case_file(path)) return inspect_case(path, f);
    for (int kind = 0; kind < 3; kind++) {
        dg_status status = kind == 0   ? inspect_checkpoint(path, f)
                           : kind == 1 ? inspect_cohort(path, quick, log, f)
                                       : inspect_prediction(path, f);
        if (status == DG_OK) return DG_OK;
        snprintf(reasons[kind], sizeof reasons[kind], "%.299s", dg_error_last()->text);
    }
    return DG_FAIL(DG_ERR_FORMAT, "%s cannot be read. As a checkpoint: %s. As a cohort: %s. As a prediction: %s", path,
                   reasons[0], reasons[1], reasons[2]);
}

static dg_status inspect_path(const char *path, bool quick, dg_log *log, finding *f)
{
    if (!is_folder(path)) return inspect_file(path, quick, log, f);
    if (holds(path, "cohort.h5") || holds(path, "cases")) return inspect_cohort(path, quick, log, f);
    if (holds(path, "training_config.json"))
        return DG_FAIL(DG_ERR_USAGE, "%s is a run: dosegrid status tells how far it is; inspect one of its checkpoints",
                       path);
    return inspect_predictions(path, f);
}

static void print_finding(const json_t *object)
{
    const char *key;
    json_t *value;
    size_t index;
    printf("%s: %s\n", json_string_value(json_object_get(object, "file")),
           json_string_value(json_object_get(object, "kind")));
    json_object_foreach((json_t *)object, key, value)
    {
        if (strcmp(key, "file") == 0 || strcmp(key, "kind") == 0 || strcmp(key, "bad") == 0) continue;
        char *text = json_dumps(value, JSON_ENCODE_ANY);
        printf("  %-16s %s\n", key, json_is_string(value) ? json_string_value(value) : text == NULL ? "?" : text);
        free(text);
    }
    json_array_foreach(json_object_get(object, "bad"), index, value)
        printf("  BAD %s: %s\n", json_string_value(json_object_get(value, "case")),
               json_string_value(json_object_get(value, "reason")));
}

/* Every file is looked at, whatever the others are like. With --json one file gives an object, several an array. */
static dg_status inspect_all(const dg_job_env *env, const settings *s, const char *const *path, int count,
                             int *exit_code)
{
    json_t *all = json_array();
    dg_status worst = DG_OK;
    dg_error error = {0};
    for (int i = 0; i < count; i++) {
        finding f = {0};
        dg_status status = inspect_path(path[i], s->quick, env->log, &f);
        if (status != DG_OK) {
            error = *dg_error_last();
            if (worst == DG_OK)
                worst = status;
            else
                dg_log_error(env->log);
            json_array_append_new(all, json_pack("{s:s, s:s, s:[{s:s, s:s}]}", "file", path[i], "kind", "unreadable",
                                                 "bad", "case", "", "reason", error.text));
            continue;
        }
        if (json_array_size(f.bad) > 0) *exit_code = DG_EXIT_FAILED; /* the question was whether all is intact */
        if (!s->json) print_finding(f.object);
        json_array_append_new(all, f.object);
    }
    if (s->json) {
        json_t *root = count == 1 ? json_incref(json_array_get(all, 0)) : json_incref(all);
        dg_status status = dg_job_print_json(env, root);
        if (worst == DG_OK) worst = status;
    }
    json_decref(all);
    if (worst != DG_OK && error.status != DG_OK) return DG_FAIL(worst, "%s", error.text);
    return worst;
}

static dg_status run(const dg_job_env *env, int argc, char *const *argv, int *exit_code)
{
    settings s;
    dg_options options;
    const char *path[FILES_MAX];
    bool helped;
    int count;
    dg_job_arguments arguments = {.usage = "FILE|FOLDER... [--json] [--quick]",
                                  .rows = rows,
                                  .row_count = sizeof rows / sizeof rows[0],
                                  .target = &s,
                                  .positional = path,
                                  .positional_min = 1,
                                  .positional_max = FILES_MAX};
    DG_TRY(dg_job_read_arguments(env, &dg_job_inspect, &arguments, argc, argv, &options, &count, &helped));
    if (helped) return DG_OK;
    dg_options_release(&options);
    return env->comm->rank == 0 ? inspect_all(env, &s, path, count, exit_code) : DG_OK;
}

const dg_job dg_job_inspect = {.name = "inspect",
                               .summary =
                                   "tell what a checkpoint, cohort, case or prediction holds, and whether it is intact",
                               .run = run};
