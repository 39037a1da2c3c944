/* segment.c - `dosegrid segment`: probabilities become masks. A threshold, fixed or chosen on labelled cases, then opening,
 * closing, small objects and holes, all of it in slabs of planes that the ranks share. SPDX-License-Identifier: Apache-2.0 */
#include "label_options.h"

#include "dg_cohort.h"
#include "dg_components.h"
#include "dg_file.h"
#include "dg_heartbeat.h"
#include "dg_mem.h"
#include "dg_predictions.h"
#include "dg_threshold.h"
#include "labels.h"
#include "lease.h"
#include "split.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct settings {
    char predictions[DG_OPT_TEXT], output[DG_OPT_TEXT], cohort[DG_OPT_TEXT], run[DG_OPT_TEXT];
    dg_string_list cases, choose_on; /* count 0: all predicted; none */
    label_options labels;
    double threshold;
    dg_double_list target; /* count 0: none */
    int choose, touch;
    int64_t open, close, least, holes;
    bool json;
    double comm_timeout_s;
} settings;

enum { CHOOSE_NOTHING, CHOOSE_DICE, CHOOSE_PRECISION, CHOOSE_FRACTION };
static const char *const choose_names[] = {"no", "dice", "precision", "fraction", NULL};
static const char *const touch_names[] = {"face", "corner", NULL};
static const char *const word_all[] = {"all", NULL};
static const char *const word_none[] = {"none", NULL};

#define AT(field) .offset = offsetof(settings, field)
/* clang-format off */
static const dg_option rows[] = {
    {.key = "segment.predictions", .flag = "predictions", .letter = 'p', .type = DG_OPT_STRING, AT(predictions), .fallback = "",
     .unit = "", .help = "folder of probabilities, as predict writes it for a network of labels"},
    {.key = "segment.output", .flag = "output", .letter = 'o', .type = DG_OPT_STRING, AT(output), .fallback = "",
     .unit = "", .help = "folder of the masks; evaluate and export take it like predictions"},
    {.key = "segment.cases", .flag = "cases", .type = DG_OPT_STRING_LIST, AT(cases), .list_min = 1,
     .list_max = DG_OPT_STRINGS_MAX, .names = word_all, .fallback = "all", .unit = "", .from_file = true,
     .help = "ids of the cases [a, b], or all that are predicted"},
    {.key = "segment.threshold", .flag = "threshold", .type = DG_OPT_DOUBLE, AT(threshold), .min = 0, .max = 1,
     .fallback = "0.5", .unit = "", .help = "a probability of this and more is foreground"},
    {.key = "segment.choose", .flag = "choose", .type = DG_OPT_ENUM, AT(choose), .names = choose_names, .fallback = "no",
     .unit = "", .help = "chooses the threshold on --choose-on: by the largest dice, as the lowest with a precision of --target, or for a predicted fraction of --target (without it: the labelled one)"},
    {.key = "segment.target", .flag = "target", .type = DG_OPT_DOUBLE_LIST, AT(target), .min = 0, .max = 1, .list_min = 1,
     .list_max = 1, .names = word_none, .fallback = "none", .unit = "", .help = "precision or fraction that --choose aims at"},
    {.key = "segment.choose_on", .flag = "choose-on", .type = DG_OPT_STRING_LIST, AT(choose_on), .list_min = 1,
     .list_max = DG_OPT_STRINGS_MAX, .names = word_none, .fallback = "none", .unit = "", .from_file = true,
     .help = "ids of the labelled cases that --choose looks at, or a part of the split of --run: val; never the test cases"},
    {.key = "segment.cohort", .flag = "cohort", .type = DG_OPT_STRING, AT(cohort), .fallback = "", .unit = "",
     .help = "cohort with the labels that --choose looks at"},
    {.key = "segment.run", .flag = "run", .type = DG_OPT_STRING, AT(run), .fallback = "", .unit = "",
     .help = "run folder of the network: says the values of labels and the split"},
    LABEL_OPTION_ROWS(settings, labels, word_none),
    {.key = "segment.open", .flag = "open", .type = DG_OPT_INT, AT(open), .min = 0, .max = 64, .fallback = "0",
     .unit = "voxels", .help = "opening: erosions, then as many dilations"},
    {.key = "segment.close", .flag = "close", .type = DG_OPT_INT, AT(close), .min = 0, .max = 64, .fallback = "0",
     .unit = "voxels", .help = "closing, after opening: dilations, then as many erosions"},
    {.key = "segment.min_object", .flag = "min-object", .type = DG_OPT_INT, AT(least), .min = 0, .max = 9e15,
     .fallback = "0", .unit = "voxels", .help = "after that, removes components of fewer voxels"},
    {.key = "segment.max_hole", .flag = "max-hole", .type = DG_OPT_INT, AT(holes), .min = 0, .max = 9e15,
     .fallback = "0", .unit = "voxels", .help = "at last, fills enclosed holes of so many voxels and fewer"},
    {.key = "segment.touch", .flag = "touch", .type = DG_OPT_ENUM, AT(touch), .names = touch_names, .fallback = "corner",
     .unit = "", .help = "which foreground voxels touch, for components and in opening and closing: over faces (6) or corners too (26)"},
    DG_JOB_COMM_TIMEOUT("segment", settings),
    {.key = "segment.json", .flag = "json", .type = DG_OPT_BOOL, AT(json), .fallback = "false", .unit = "",
     .help = "prints the result as JSON"},
};
/* clang-format on */

typedef struct work {
    const dg_job_env *env;
    const settings *s;
    char (*id)[DG_CASE_ID];
    int64_t count;
    double threshold;
    json_t *about; /* how masks come from probabilities, as every file and segmentation.json say it */
    int64_t done, failed, removed, filled;
    dg_lease *lease; /* rank 0 */
} work;

static dg_status check_settings(const settings *s)
{
    if (s->predictions[0] == '\0') return DG_FAIL(DG_ERR_USAGE, "--predictions is missing: name the folder of predict");
    if (s->output[0] == '\0') return DG_FAIL(DG_ERR_USAGE, "-o is missing: name a folder for the masks");
    if (strcmp(s->predictions, s->output) == 0)
        return DG_FAIL(DG_ERR_USAGE, "the masks would replace the probabilities: name another folder with -o");
    if (s->choose == CHOOSE_NOTHING && (s->target.count > 0 || s->choose_on.count > 0))
        return DG_FAIL(DG_ERR_USAGE, "--target and --choose-on belong to --choose dice, precision or fraction");
    if (s->choose == CHOOSE_NOTHING) return DG_OK;
    if (s->choose == CHOOSE_PRECISION && s->target.count == 0)
        return DG_FAIL(DG_ERR_USAGE, "--choose precision needs the precision: --target 0.9");
    if (s->cohort[0] == '\0' || s->choose_on.count == 0)
        return DG_FAIL(DG_ERR_USAGE,
                       "--choose looks at labels: name their cohort (--cohort) and cases (--choose-on val)");
    return DG_OK;
}

/* ---- cases --------------------------------------------------------------------------------------------------------- */

static int by_text(const void *a, const void *b) { return strcmp(a, b); }

static dg_status list_predicted(work *w)
{
    dg_ledger_entry *entry = NULL;
    int64_t entries = 0;
    DG_TRY(dg_ledger_read(w->s->predictions, &entry, &entries));
    dg_status status = DG_NEW(&w->id, entries > 0 ? entries : 1, "list of cases");
    for (int64_t i = 0; i < entries && status == DG_OK; i++)
        if (entry[i].done) snprintf(w->id[w->count++], DG_CASE_ID, "%s", entry[i].id);
    dg_free(&entry);
    return status;
}

static dg_status list_named(const dg_string_list *list, const char *option, char (**id)[DG_CASE_ID], int64_t *count)
{
    dg_words words = {0};
    DG_TRY(dg_words_read(list, option, &words));
    dg_status status = DG_NEW(id, words.count > 0 ? words.count : 1, "list of cases");
    for (int64_t i = 0; i < words.count && status == DG_OK; i++)
        snprintf((*id)[(*count)++], DG_CASE_ID, "%.*s", DG_CASE_ID - 1, words.value[i]);
    dg_words_release(&words);
    return status;
}

static dg_status list_cases(work *w)
{
    DG_TRY(w->s->cases.count > 0 ? list_named(&w->s->cases, "--cases", &w->id, &w->count) : list_predicted(w));
    if (w->count == 0) return DG_FAIL(DG_ERR_USAGE, "%s holds no prediction", w->s->predictions);
    qsort(w->id, (size_t)w->count, DG_CASE_ID, by_text);
    return DG_OK;
}

static dg_status list_choose_on(const settings *s, char (**id)[DG_CASE_ID], int64_t *count)
{
    char path[DG_PATH_MAX];
    for (int part = 0; part < DG_PARTS && s->choose_on.count == 1; part++) {
        if (strcmp(s->choose_on.value[0], dg_part_name((dg_part)part)) != 0) continue;
        if (part == DG_PART_TEST)
            return DG_FAIL(DG_ERR_USAGE, "--choose-on test: test cases would then say nothing any more; choose on val");
        if (s->run[0] == '\0')
            return DG_FAIL(DG_ERR_USAGE, "--choose-on %s names a part of a split: name the run (--run)",
                           s->choose_on.value[0]);
        DG_TRY(dg_path_join(path, s->run, "test_cases.json"));
        return dg_split_read_part(path, (dg_part)part, id, count);
    }
    return list_named(&s->choose_on, "--choose-on", id, count);
}

/* ---- the threshold ------------------------------------------------------------------------------------------------- */

/* This rank's planes of a case. */
static dg_status read_slab(const work *w, const char *id, dg_slab *slab, dg_prediction_info *info, float **probability)
{
    const dg_comm *comm = w->env->comm;
    *probability = NULL;
    DG_TRY(dg_prediction_peek(w->s->predictions, id, info));
    *slab = dg_slab_of(info->grid.shape, comm->rank, comm->size);
    const int64_t voxels = slab->count * slab->shape[1] * slab->shape[2];
    DG_TRY(DG_NEW(probability, voxels > 0 ? voxels : 1, "probabilities of a slab"));
    if (slab->count == 0) return DG_OK;
    return dg_prediction_read_probability(w->s->predictions, id, slab->first, slab->count, info, *probability);
}

static dg_status count_case(const work *w, const dg_cohort *cohort, const uint8_t class_of[256], const char *id,
                            dg_threshold_counts *counts)
{
    dg_prediction_info info;
    dg_slab slab;
    dg_case *c = NULL;
    float *probability = NULL;
    uint8_t *label = NULL, *counted = NULL;
    const int64_t index = dg_cohort_find(cohort, id);
    if (index < 0) return DG_FAIL(DG_ERR_USAGE, "--choose-on: case '%s' is not in the cohort", id);
    const dg_grid *grid = &dg_cohort_case(cohort, index)->grid;
    dg_status status = read_slab(w, id, &slab, &info, &probability);
    if (status == DG_OK && memcmp(grid->shape, info.grid.shape, sizeof grid->shape) != 0)
        status = DG_FAIL(DG_ERR_DATA, "case %s: prediction and labels have not the same grid", id);
    const dg_box box = {.start = {slab.first, 0, 0}, .shape = {slab.count, slab.shape[1], slab.shape[2]}};
    if (status == DG_OK && slab.count > 0) {
        const int64_t voxels = dg_box_voxels(&box);
        status = DG_NEW(&label, voxels, "labels of a slab");
        if (status == DG_OK) status = DG_NEW(&counted, voxels, "labels of a slab");
        if (status == DG_OK) status = dg_case_open(cohort, index, &c);
        if (status == DG_OK) status = dg_labels_read(c, class_of, &box, label, counted);
        if (status == DG_OK) dg_threshold_add(counts, probability, label, counted, voxels);
        dg_case_close(&c);
    }
    dg_free(&probability);
    dg_free(&label);
    dg_free(&counted);
    return status;
}

static json_t *number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

static json_t *choice_json(const settings *s, const dg_overlap *o, char (*id)[DG_CASE_ID], int64_t count)
{
    json_t *cases = json_array();
    for (int64_t i = 0; i < count; i++) json_array_append_new(cases, json_string(id[i]));
    return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "by", choose_names[s->choose], "target",
                     s->target.count > 0 ? json_real(s->target.value[0]) : json_null(), "cases", cases, "dice",
                     number(dg_overlap_dice(o)), "precision", number(dg_overlap_precision(o)), "recall",
                     number(dg_overlap_recall(o)), "predicted_fraction", number(dg_overlap_predicted_fraction(o)),
                     "labelled_fraction", number(dg_overlap_labelled_fraction(o)));
}

static dg_status count_cases(work *w, char (**id)[DG_CASE_ID], int64_t *count, dg_threshold_counts *counts)
{
    const settings *s = w->s;
    uint8_t class_of[256];
    dg_cohort *cohort = NULL;
    dg_status status = dg_label_classes_make(&s->labels.foreground, &s->labels.background, &s->labels.ignore, class_of);
    if (status == DG_OK) status = list_choose_on(s, id, count);
    if (status == DG_OK) status = dg_cohort_open(s->cohort, &cohort);
    for (int64_t i = 0; i < *count && status == DG_OK; i++) status = count_case(w, cohort, class_of, (*id)[i], counts);
    dg_cohort_close(&cohort);
    return dg_comm_agree(w->env->comm, status);
}

/* Every rank counts its planes; the sums, and with them the choice, are the same on any number of ranks. @collective */
static dg_status choose_threshold(work *w)
{
    const settings *s = w->s;
    static const dg_threshold_aim aims[] = {DG_AIM_DICE, DG_AIM_DICE, DG_AIM_PRECISION, DG_AIM_FRACTION};
    char(*id)[DG_CASE_ID] = NULL;
    int64_t count = 0;
    dg_overlap overlap = {.counted = 0};
    dg_threshold_counts *counts = NULL;
    w->threshold = s->threshold;
    if (s->choose == CHOOSE_NOTHING) return DG_OK;
    dg_status status = dg_comm_agree(w->env->comm, DG_NEW(&counts, 1, "counts of thresholds"));
    if (status == DG_OK) status = count_cases(w, &id, &count, counts);
    if (status == DG_OK)
        status = dg_comm_all_reduce(w->env->comm, counts->voxels, 2 * (DG_THRESHOLDS + 1), DG_I64, DG_SUM);
    if (status == DG_OK)
        status = dg_threshold_choose(counts, aims[s->choose], s->target.count > 0 ? s->target.value[0] : NAN,
                                     &w->threshold, &overlap);
    if (status == DG_OK) {
        json_object_set_new(w->about, "chosen", choice_json(s, &overlap, id, count));
        dg_log_write(
            w->env->log, DG_LOG_INFO,
            "threshold %.4f, chosen by %s on %lld cases: precision %.3f, recall %.3f, predicted fraction %.4f of "
            "a labelled %.4f",
            w->threshold, choose_names[s->choose], (long long)count, dg_overlap_precision(&overlap),
            dg_overlap_recall(&overlap), dg_overlap_predicted_fraction(&overlap),
            dg_overlap_labelled_fraction(&overlap));
    }
    dg_free(&counts);
    dg_free(&id);
    return status;
}

/* ---- one case ------------------------------------------------------------------------------------------------------ */

/* @collective */
static dg_status clean(work *w, const dg_slab *slab, uint8_t *mask)
{
    const settings *s = w->s;
    dg_comm *comm = w->env->comm;
    const dg_touch touch = s->touch == 0 ? DG_TOUCH_FACE : DG_TOUCH_CORNER;
    int64_t count = 0;
    if (s->open > 0) DG_TRY(dg_morphology_apply(comm, slab, DG_OPEN, touch, (int)s->open, mask));
    if (s->close > 0) DG_TRY(dg_morphology_apply(comm, slab, DG_CLOSE, touch, (int)s->close, mask));
    if (s->least > 1) DG_TRY(dg_components_drop_small(comm, slab, mask, touch, s->least, &count));
    w->removed += count;
    count = 0;
    if (s->holes > 0) DG_TRY(dg_components_fill_holes(comm, slab, mask, s->holes, &count));
    w->filled += count;
    return DG_OK;
}

/* All slabs on rank 0, written there. @collective */
static dg_status write_mask(work *w, const char *id, const dg_prediction_info *info, const dg_slab *slab,
                            const uint8_t *mask)
{
    dg_comm *comm = w->env->comm;
    const int64_t voxels = dg_grid_voxels(&info->grid), mine = slab->count * slab->shape[1] * slab->shape[2];
    dg_ledger_entry entry = {.done = true};
    char *text = NULL;
    uint8_t *whole = NULL;
    int64_t *sizes = NULL;
    dg_status status = DG_NEW(&sizes, comm->size, "slabs of a mask");
    if (status == DG_OK && comm->rank == 0) status = DG_NEW(&whole, voxels, "mask of a case");
    DG_TRY_GOTO(status, dg_comm_agree(comm, status), done);
    DG_TRY_GOTO(status, dg_comm_gather(comm, mask, mine, 0, whole, sizes), done);
    if (comm->rank == 0) {
        json_object_set_new(w->about, "probabilities_sha256", json_string(info->content_sha256));
        text = json_dumps(w->about, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(15));
        json_object_del(w->about, "probabilities_sha256"); /* of this case alone */
        status = text == NULL ? DG_FAIL(DG_ERR_MEMORY, "no memory for the words of a mask") : DG_OK;
        snprintf(entry.id, sizeof entry.id, "%.63s", id);
        if (status == DG_OK)
            status = dg_prediction_write_label(w->s->output, id, &info->grid, info->model_sha256, whole, text, &entry);
        if (status == DG_OK) status = dg_ledger_append(w->s->output, 0, &entry);
    }
    status = dg_comm_agree(comm, status);
done:
    free(text);
    dg_free(&whole);
    dg_free(&sizes);
    return status;
}

/* @collective */
static dg_status segment_case(work *w, const char *id)
{
    dg_prediction_info info;
    dg_slab slab;
    float *probability = NULL;
    uint8_t *mask = NULL;
    dg_status status = read_slab(w, id, &slab, &info, &probability);
    const int64_t voxels = status == DG_OK ? slab.count * slab.shape[1] * slab.shape[2] : 0;
    if (status == DG_OK) status = DG_NEW(&mask, voxels > 0 ? voxels : 1, "mask of a slab");
    DG_TRY_GOTO(status, dg_comm_agree(w->env->comm, status), done);
    for (int64_t i = 0; i < voxels; i++) mask[i] = (double)probability[i] >= w->threshold;
    dg_free(&probability);
    DG_TRY_GOTO(status, clean(w, &slab, mask), done);
    status = write_mask(w, id, &info, &slab, mask);
done:
    dg_free(&probability);
    dg_free(&mask);
    return status;
}

static bool is_fatal(dg_status status) { return status == DG_ERR_MEMORY || status == DG_ERR_COMM; }

/* A case that cannot be read stands in the ledger, and the others go on; all ranks have the same status. @collective */
static dg_status segment_all(work *w)
{
    for (int64_t i = 0; i < w->count; i++) {
        dg_heartbeat_task(w->env->comm->heartbeat, w->id[i]);
        const dg_status status = segment_case(w, w->id[i]);
        if (is_fatal(status)) return status;
        w->done += status == DG_OK;
        w->failed += status != DG_OK;
        if (status != DG_OK) {
            dg_ledger_entry entry = {.done = false};
            snprintf(entry.id, sizeof entry.id, "%.63s", w->id[i]);
            snprintf(entry.reason, sizeof entry.reason, "%.255s", dg_error_last()->text);
            dg_error_clear();
            dg_log_write(w->env->log, DG_LOG_WARNING, "case %s failed: %s", w->id[i], entry.reason);
            DG_TRY(dg_comm_agree(w->env->comm,
                                 w->env->comm->rank == 0 ? dg_ledger_append(w->s->output, 0, &entry) : DG_OK));
        }
        dg_log_progress(w->env->log, "segmentation, cases", i + 1, w->count, NULL);
    }
    dg_heartbeat_task(w->env->comm->heartbeat, NULL);
    return DG_OK;
}

/* ---- the job --------------------------------------------------------------------------------------------------------- */

static dg_status write_about(const work *w)
{
    char path[DG_PATH_MAX];
    DG_TRY(dg_path_join(path, w->s->output, "segmentation.json"));
    char *text = json_dumps(w->about, JSON_INDENT(1) | JSON_REAL_PRECISION(15));
    if (text == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for segmentation.json");
    const dg_status status = dg_file_write(path, text, (int64_t)strlen(text));
    free(text);
    return status;
}

static dg_status set_up(work *w)
{
    const settings *s = w->s;
    DG_TRY(check_settings(s));
    DG_TRY(list_cases(w));
    w->about = json_object();
    if (w->about == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for the settings");
    if (w->env->comm->rank != 0) return DG_OK;
    DG_TRY(dg_make_folder(s->output));
    return dg_lease_take(s->output, "the folder of masks", &w->lease);
}

static dg_status work_through(work *w)
{
    const settings *s = w->s;
    dg_comm *comm = w->env->comm;
    DG_TRY(dg_comm_agree(comm, set_up(w)));
    dg_job_watch(w->env, s->comm_timeout_s, s->output);
    DG_TRY(choose_threshold(w));
    json_object_set_new(w->about, "threshold", json_real(w->threshold));
    json_object_set_new(w->about, "open_voxels", json_integer(s->open));
    json_object_set_new(w->about, "close_voxels", json_integer(s->close));
    json_object_set_new(w->about, "min_object_voxels", json_integer(s->least));
    json_object_set_new(w->about, "max_hole_voxels", json_integer(s->holes));
    json_object_set_new(w->about, "touch", json_string(touch_names[s->touch]));
    DG_TRY(dg_comm_agree(comm, comm->rank == 0 ? write_about(w) : DG_OK));
    DG_TRY(segment_all(w));
    dg_log_write(w->env->log, DG_LOG_INFO,
                 "%lld cases segmented at %.4f, %lld failed; %lld objects removed, %lld holes filled",
                 (long long)w->done, w->threshold, (long long)w->failed, (long long)w->removed, (long long)w->filled);
    if (s->json)
        DG_TRY(dg_job_print_json(w->env, json_pack("{s:I, s:I, s:I, s:I, s:O}", "done", (json_int_t)w->done, "failed",
                                                   (json_int_t)w->failed, "objects_removed", (json_int_t)w->removed,
                                                   "holes_filled", (json_int_t)w->filled, "segmentation", w->about)));
    if (w->failed < w->count) return DG_OK;
    return DG_FAIL(DG_ERR_DATA, "none of the %lld cases could be segmented; the ledger in %s has each one's reason",
                   (long long)w->count, s->output);
}

static dg_status segment(const dg_job_env *env, const settings *s, int *exit_code)
{
    work w = {.env = env, .s = s};
    const dg_status status = work_through(&w);
    if (status == DG_OK && w.failed > 0) *exit_code = DG_EXIT_SOME_CASES;
    dg_free(&w.id);
    json_decref(w.about);
    dg_lease_release(&w.lease);
    return status;
}

static dg_status run(const dg_job_env *env, int argc, char *const *argv, int *exit_code)
{
    settings *s = NULL;
    dg_options options;
    bool helped = false;
    int count;
    DG_TRY(DG_NEW(&s, 1, "settings"));
    dg_job_arguments arguments = {
        .usage = "--predictions P/ -o MASKS/ [--threshold T | --choose BY --cohort D --choose-on val --run RUN]",
        .rows = rows,
        .row_count = sizeof rows / sizeof rows[0],
        .target = s};
    dg_status status = dg_job_read_arguments(env, &dg_job_segment, &arguments, argc, argv, &options, &count, &helped);
    if (status == DG_OK && !helped) {
        if (s->run[0] != '\0') status = label_options_read_run(s->run, &options);
        dg_options_release(&options);
        status = dg_comm_agree(env->comm, status);
        if (status == DG_OK) status = segment(env, s, exit_code);
    }
    dg_free(&s);
    return status;
}

const dg_job dg_job_segment = {.name = "segment",
                               .summary = "make masks of predicted probabilities: threshold, morphology, components",
                               .spreads = true,
                               .run = run};
