/* split.c - drawing, reading and describing the split of a cohort. SPDX-License-Identifier: Apache-2.0 */
#include "split.h"

#include "dg_mem.h"
#include "dg_rng.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

/* A group of cases that stay together, and what it is sorted by. */
typedef struct group {
    const dg_case_info *info; /* of its first case */
    char structures[256];     /* one letter per structure name it has: equal sets, equal text */
    uint32_t draw;
    dg_part part;
} group;

const char *dg_part_name(dg_part part)
{
    static const char *const names[DG_PARTS] = {"train", "val", "test"};
    return names[part];
}

void dg_split_release(dg_split *split)
{
    for (int part = 0; part < DG_PARTS; part++) dg_free(&split->index[part]);
    memset(split, 0, sizeof *split);
}

static int by_id(const void *a, const void *b)
{
    const dg_case_info *p = *(const dg_case_info *const *)a, *q = *(const dg_case_info *const *)b;
    int order = strcmp(p->group, q->group);
    return order != 0 ? order : strcmp(p->id, q->id);
}

static int by_stratum(const void *a, const void *b)
{
    const group *p = a, *q = b;
    int order = strcmp(p->info->site, q->info->site);
    if (order == 0)
        order = (p->info->prescription_gy > q->info->prescription_gy) -
                (p->info->prescription_gy < q->info->prescription_gy);
    if (order == 0) order = strcmp(p->structures, q->structures);
    if (order == 0) order = (p->draw > q->draw) - (p->draw < q->draw);
    return order != 0 ? order : strcmp(p->info->group, q->info->group);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* The sorted names of a case's structures, shortened: cases with other sets sort apart. */
static void describe_structures(const dg_case_info *info, char *text, size_t capacity)
{
    const char *name[DG_STRUCTURES_MAX];
    for (int s = 0; s < info->structure_count; s++) name[s] = info->structure[s].name;
    qsort(name, (size_t)info->structure_count, sizeof name[0], by_name);
    size_t length = 0;
    text[0] = '\0';
    for (int s = 0; s < info->structure_count && length + 8 < capacity; s++) {
        length += (size_t)snprintf(text + length, capacity - length, "%.6s;", name[s]);
    }
}

/* How many of n groups each part gets: largest remainders, and one at least for a part with a share. */
static void share_out(const double fraction[DG_PARTS], int64_t n, int64_t quota[DG_PARTS])
{
    double sum = fraction[0] + fraction[1] + fraction[2], rest[DG_PARTS];
    int64_t left = n;
    for (int p = 0; p < DG_PARTS; p++) {
        double exact = fraction[p] / sum * (double)n;
        quota[p] = (int64_t)floor(exact);
        rest[p] = exact - (double)quota[p];
        left -= quota[p];
    }
    for (; left > 0; left--) {
        int best = 0;
        for (int p = 1; p < DG_PARTS; p++) best = rest[p] > rest[best] ? p : best;
        quota[best]++;
        rest[best] = -1;
    }
    for (int p = 0; p < DG_PARTS; p++) {
        int largest = quota[0] >= quota[1] && quota[0] >= quota[2] ? 0 : quota[1] >= quota[2] ? 1 : 2;
        if (fraction[p] > 0 && quota[p] == 0 && quota[largest] > 1) {
            quota[largest]--;
            quota[p]++;
        }
    }
}

/* Deals sorted groups out: the part that lags most behind its share gets the next one. */
static void deal(group *groups, int64_t n, const int64_t quota[DG_PARTS])
{
    int64_t given[DG_PARTS] = {0};
    for (int64_t i = 0; i < n; i++) {
        int best = -1;
        double best_lag = 0;
        for (int p = 0; p < DG_PARTS; p++) {
            if (given[p] >= quota[p]) continue;
            double lag = (double)quota[p] * (double)(i + 1) / (double)n - (double)given[p];
            if (best < 0 || lag > best_lag) {
                best = p;
                best_lag = lag;
            }
        }
        groups[i].part = (dg_part)best;
        given[best]++;
    }
}

static int64_t make_groups(const dg_case_info **cases, int64_t count, int64_t seed, group *groups)
{
    int64_t n = 0;
    for (int64_t i = 0; i < count; i++) {
        if (i > 0 && strcmp(cases[i]->group, cases[i - 1]->group) == 0) continue;
        dg_rng rng = dg_rng_stream((uint64_t)seed, DG_RNG_SPLIT, (uint64_t)n, 0);
        groups[n] = (group){.info = cases[i], .draw = dg_rng_u32(&rng)};
        describe_structures(cases[i], groups[n].structures, sizeof groups[n].structures);
        n++;
    }
    return n;
}

static int by_group_name(const void *a, const void *b)
{
    return strcmp(((const group *)a)->info->group, ((const group *)b)->info->group);
}

static dg_status allocate(dg_split *out, int64_t cases)
{
    for (int part = 0; part < DG_PARTS; part++) {
        out->count[part] = 0;
        DG_TRY(DG_NEW(&out->index[part], cases > 0 ? cases : 1, "split"));
    }
    return DG_OK;
}

/* Which part each group in sorted order belongs to; `folds` 0: by the three shares. */
static dg_status part_groups(const dg_split_config *config, group *groups, int64_t n, int folds, int fold)
{
    int64_t quota[DG_PARTS], rest = 0;
    group *others = NULL;
    if (folds == 0) {
        share_out((const double[]){config->train, config->val, config->test}, n, quota);
        deal(groups, n, quota);
        return DG_OK;
    }
    if (n < folds)
        return DG_FAIL(DG_ERR_USAGE, "%d folds of %lld patients: each fold needs one at least", folds, (long long)n);
    DG_TRY(DG_NEW(&others, n, "split"));
    for (int64_t i = 0; i < n; i++)
        if (i % folds != fold) others[rest++] = groups[i];
    share_out((const double[]){config->train, config->val, 0}, rest, quota);
    deal(others, rest, quota);
    for (int64_t i = 0, k = 0; i < n; i++) groups[i].part = i % folds == fold ? DG_PART_TEST : others[k++].part;
    dg_free(&others);
    return DG_OK;
}

/* Does a case hold what is learned? One that cannot be opened stays: who reads it tells what is damaged. */
static bool can_teach(const dg_split_config *config, const dg_cohort *cohort, int64_t index)
{
    dg_case *c;
    if (!config->labels) return dg_cohort_case(cohort, index)->has_dose;
    if (dg_case_open(cohort, index, &c) != DG_OK) {
        dg_error_clear();
        return true;
    }
    const bool has = dg_case_has(c, DG_FIELD_LABEL);
    dg_case_close(&c);
    return has;
}

static const char *learned(const dg_split_config *config) { return config->labels ? "labels" : "a dose"; }

static dg_status draw_split(const dg_split_config *config, const dg_cohort *cohort, int folds, int fold, dg_split *out)
{
    int64_t all = dg_cohort_count(cohort), count = 0;
    const dg_case_info **cases = NULL;
    group *groups = NULL;
    dg_status status;
    DG_TRY_GOTO(status, DG_NEW(&cases, all > 0 ? all : 1, "split"), done);
    DG_TRY_GOTO(status, DG_NEW(&groups, all > 0 ? all : 1, "split"), done);
    for (int64_t i = 0; i < all; i++) {
        if (can_teach(config, cohort, i)) cases[count++] = dg_cohort_case(cohort, i);
    }
    qsort(cases, (size_t)count, sizeof *cases, by_id);
    int64_t n = make_groups(cases, count, config->seed, groups);
    qsort(groups, (size_t)n, sizeof *groups, by_stratum);
    DG_TRY_GOTO(status, part_groups(config, groups, n, folds, fold), done);
    qsort(groups, (size_t)n, sizeof *groups, by_group_name);
    for (int64_t i = 0, g = 0; i < count; i++) {
        while (strcmp(groups[g].info->group, cases[i]->group) != 0) g++;
        dg_part part = groups[g].part;
        out->index[part][out->count[part]++] = dg_cohort_find(cohort, cases[i]->id);
    }
done:
    dg_free(&cases);
    dg_free(&groups);
    return status;
}

/* What a split file holds, as it is read event by event. */
typedef struct split_file {
    char (*id[DG_PARTS])[DG_CASE_ID];
    int64_t count[DG_PARTS];
    int depth, list; /* nesting below the top map; part of the open list, or -1 */
    bool expect_key;
    int pending; /* part whose key was read, or -1 */
} split_file;

static dg_status keep_id(split_file *file, const char *text, size_t line)
{
    int part = file->list;
    if (strlen(text) >= DG_CASE_ID || text[0] == '\0') {
        return DG_FAIL(DG_ERR_FORMAT, "split file, line %zu: '%.80s' is no case id", line, text);
    }
    int64_t n = file->count[part];
    if ((n & (n - 1)) == 0) {
        DG_TRY(dg_grow(&file->id[part], (size_t)n, n == 0 ? 1 : (size_t)(2 * n), DG_CASE_ID, "case ids"));
    }
    strcpy(file->id[part][n], text);
    file->count[part]++;
    return DG_OK;
}

/* Top level: keys train, val, test with lists of ids; anything else is skipped with what it holds. */
static dg_status take_event(split_file *file, const yaml_event_t *event)
{
    size_t line = event->start_mark.line + 1;
    switch (event->type) {
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        if (file->depth == 0 && event->type != YAML_MAPPING_START_EVENT)
            return DG_FAIL(DG_ERR_FORMAT, "split file, line %zu: a map with lists train, val and test is wanted", line);
        if (file->depth == 1 && file->pending >= 0) {
            if (event->type != YAML_SEQUENCE_START_EVENT)
                return DG_FAIL(DG_ERR_FORMAT, "split file, line %zu: '%s' must be a list of case ids", line,
                               dg_part_name((dg_part)file->pending));
            file->list = file->pending;
        } else if (file->list >= 0) {
            return DG_FAIL(DG_ERR_FORMAT, "split file, line %zu: a case id is wanted", line);
        }
        file->expect_key = file->depth == 0;
        file->depth++;
        return DG_OK;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        file->depth--;
        if (file->depth == 1) {
            file->list = file->pending = -1;
            file->expect_key = true;
        }
        return DG_OK;
    case YAML_SCALAR_EVENT: {
        const char *text = (const char *)event->data.scalar.value;
        if (file->list >= 0) return keep_id(file, text, line);
        if (file->depth != 1) return DG_OK;
        if (file->expect_key) {
            for (int p = 0; p < DG_PARTS; p++)
                file->pending = strcmp(text, dg_part_name((dg_part)p)) == 0 ? p : file->pending;
        } else if (file->pending >= 0) {
            return DG_FAIL(DG_ERR_FORMAT, "split file, line %zu: '%s' must be a list of case ids", line,
                           dg_part_name((dg_part)file->pending));
        }
        file->expect_key = !file->expect_key;
        return DG_OK;
    }
    case YAML_ALIAS_EVENT: return DG_FAIL(DG_ERR_FORMAT, "split file, line %zu: aliases are not read", line);
    default: return DG_OK;
    }
}

static void split_file_release(split_file *file)
{
    for (int p = 0; p < DG_PARTS; p++) dg_free(&file->id[p]);
}

static dg_status read_split_file(const char *path, split_file *out)
{
    memset(out, 0, sizeof *out);
    out->list = out->pending = -1;
    FILE *stream = fopen(path, "rb");
    if (stream == NULL) {
        char reason[128];
        return DG_FAIL(DG_ERR_IO, "split file '%s' cannot be opened: %s; check data.split.file%s", path,
                       strerror_r(errno, reason, sizeof reason),
                       path[0] == '/' ? "" : ", which is relative to the working folder");
    }
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        fclose(stream);
        return DG_FAIL(DG_ERR_MEMORY, "no memory for reading the split file");
    }
    yaml_parser_set_input_file(&parser, stream);
    dg_status status = DG_OK;
    for (bool more = true; more && status == DG_OK;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            status = DG_FAIL(DG_ERR_FORMAT, "split file '%s', line %zu: %s", path, parser.problem_mark.line + 1,
                             parser.problem != NULL ? parser.problem : "not YAML or JSON");
            break;
        }
        more = event.type != YAML_STREAM_END_EVENT;
        status = take_event(out, &event);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    fclose(stream);
    if (status != DG_OK) split_file_release(out);
    return status;
}

dg_status dg_split_read_part(const char *path, dg_part part, char (**ids)[DG_CASE_ID], int64_t *count)
{
    split_file file;
    DG_TRY(read_split_file(path, &file));
    *ids = file.id[part];
    *count = file.count[part];
    file.id[part] = NULL;
    split_file_release(&file);
    return DG_OK;
}

static dg_status place_case(const dg_split_config *config, const dg_cohort *cohort, const char *id, dg_part part,
                            int *part_of, dg_split *out)
{
    int64_t index = dg_cohort_find(cohort, id);
    if (index < 0) {
        return DG_FAIL(DG_ERR_DATA,
                       "split file '%s': %s case '%s' is not in the cohort; --set data.split.file=... names the file "
                       "of this cohort (empty: a split is drawn)",
                       config->file, dg_part_name(part), id);
    }
    if (part_of[index] >= 0) {
        return DG_FAIL(DG_ERR_DATA, "split file '%s': case '%s' is listed in %s and again in %s", config->file, id,
                       dg_part_name((dg_part)part_of[index]), dg_part_name(part));
    }
    if (part != DG_PART_TEST && !can_teach(config, cohort, index)) {
        return DG_FAIL(DG_ERR_DATA, "split file '%s': %s case '%s' has not %s to learn from", config->file,
                       dg_part_name(part), id, learned(config));
    }
    part_of[index] = part;
    out->index[part][out->count[part]++] = index;
    return DG_OK;
}

/* Two cases of one group in different parts would leak a patient. */
static dg_status check_groups(const dg_split_config *config, const dg_cohort *cohort, const int *part_of)
{
    int64_t all = dg_cohort_count(cohort), count = 0;
    const dg_case_info **cases = NULL;
    DG_TRY(DG_NEW(&cases, all > 0 ? all : 1, "split"));
    for (int64_t i = 0; i < all; i++) {
        if (part_of[i] >= 0) cases[count++] = dg_cohort_case(cohort, i);
    }
    qsort(cases, (size_t)count, sizeof *cases, by_id);
    dg_status status = DG_OK;
    for (int64_t i = 1; i < count && status == DG_OK; i++) {
        if (strcmp(cases[i]->group, cases[i - 1]->group) != 0) continue;
        int a = part_of[dg_cohort_find(cohort, cases[i - 1]->id)], b = part_of[dg_cohort_find(cohort, cases[i]->id)];
        if (a != b)
            status =
                DG_FAIL(DG_ERR_DATA, "split file '%s': cases '%s' (%s) and '%s' (%s) are of one patient", config->file,
                        cases[i - 1]->id, dg_part_name((dg_part)a), cases[i]->id, dg_part_name((dg_part)b));
    }
    dg_free(&cases);
    return status;
}

static dg_status split_from_file(const dg_split_config *config, const dg_cohort *cohort, dg_split *out)
{
    split_file file;
    int *part_of = NULL;
    int64_t all = dg_cohort_count(cohort);
    dg_status status;
    DG_TRY(read_split_file(config->file, &file));
    DG_TRY_GOTO(status, DG_NEW(&part_of, all > 0 ? all : 1, "split"), done);
    for (int64_t i = 0; i < all; i++) part_of[i] = -1;
    for (int p = 0; p < DG_PARTS; p++) {
        for (int64_t i = 0; i < file.count[p]; i++) {
            DG_TRY_GOTO(status, place_case(config, cohort, file.id[p][i], (dg_part)p, part_of, out), done);
        }
    }
    DG_TRY_GOTO(status, check_groups(config, cohort, part_of), done);
done:
    dg_free(&part_of);
    split_file_release(&file);
    return status;
}

static int by_case_id(const void *a, const void *b, void *cohort)
{
    return strcmp(dg_cohort_case(cohort, *(const int64_t *)a)->id, dg_cohort_case(cohort, *(const int64_t *)b)->id);
}

static dg_status make(const dg_split_config *config, const dg_cohort *cohort, int folds, int fold, dg_split *out)
{
    memset(out, 0, sizeof *out);
    dg_status status = allocate(out, dg_cohort_count(cohort));
    if (status == DG_OK) {
        status = folds == 0 && config->file[0] != '\0' ? split_from_file(config, cohort, out)
                                                       : draw_split(config, cohort, folds, fold, out);
    }
    for (int p = 0; status == DG_OK && p < DG_PARTS; p++) {
        qsort_r(out->index[p], (size_t)out->count[p], sizeof(int64_t), by_case_id, (void *)(uintptr_t)cohort);
    }
    if (status == DG_OK && out->count[DG_PART_TRAIN] == 0) {
        status = DG_FAIL(DG_ERR_USAGE, "the split leaves no case with %s to train on (%lld cases in the cohort)",
                         learned(config), (long long)dg_cohort_count(cohort));
    }
    if (status != DG_OK) dg_split_release(out);
    return status;
}

dg_status dg_split_make(const dg_split_config *config, const dg_cohort *cohort, dg_split *out)
{
    return make(config, cohort, 0, 0, out);
}

dg_status dg_split_fold(const dg_split_config *config, const dg_cohort *cohort, int folds, int fold, dg_split *out)
{
    return make(config, cohort, folds, fold, out);
}

static int64_t cases_with(const dg_split *split, const dg_cohort *cohort, int part, const char *name)
{
    int64_t n = 0;
    for (int64_t i = 0; i < split->count[part]; i++) {
        n += dg_case_info_structure(dg_cohort_case(cohort, split->index[part][i]), name) >= 0;
    }
    return n;
}

json_t *dg_split_to_json(const dg_split *split, const dg_cohort *cohort)
{
    json_t *root = json_object(), *structures = json_object();
    for (int p = 0; p < DG_PARTS; p++) {
        json_t *list = json_array();
        for (int64_t i = 0; i < split->count[p]; i++) {
            const dg_case_info *info = dg_cohort_case(cohort, split->index[p][i]);
            json_array_append_new(list, json_string(info->id));
            for (int s = 0; s < info->structure_count; s++) {
                const char *name = info->structure[s].name;
                if (json_object_get(structures, name) != NULL) continue;
                json_object_set_new(structures, name,
                                    json_pack("{s:I, s:I, s:I}", "train",
                                              (json_int_t)cases_with(split, cohort, DG_PART_TRAIN, name), "val",
                                              (json_int_t)cases_with(split, cohort, DG_PART_VAL, name), "test",
                                              (json_int_t)cases_with(split, cohort, DG_PART_TEST, name)));
            }
        }
        json_object_set_new(root, dg_part_name((dg_part)p), list);
    }
    json_object_set_new(root, "structures", structures);
    return root;
}

static json_int_t cases_of(const json_t *row, int part)
{
    return json_integer_value(json_object_get(row, dg_part_name((dg_part)part)));
}

void dg_split_describe(const dg_split *split, const dg_cohort *cohort, char *text, size_t capacity)
{
    text[0] = '\0';
    json_t *json = dg_split_to_json(split, cohort), *row;
    const char *name;
    json_object_foreach(json_object_get(json, "structures"), name, row)
    {
        size_t length = strlen(text);
        snprintf(text + length, capacity - length, "%s%s %lld/%lld/%lld", length > 0 ? ", " : "", name,
                 (long long)cases_of(row, DG_PART_TRAIN), (long long)cases_of(row, DG_PART_VAL),
                 (long long)cases_of(row, DG_PART_TEST));
    }
    json_decref(json);
}

void dg_split_warning(const dg_split *split, const dg_cohort *cohort, char *text, size_t capacity)
{
    text[0] = '\0';
    json_t *json = dg_split_to_json(split, cohort);
    const char *name;
    json_t *row;
    json_object_foreach(json_object_get(json, "structures"), name, row)
    {
        for (int p = DG_PART_VAL; p < DG_PARTS; p++) {
            if (split->count[p] == 0 || cases_of(row, p) > 0) continue;
            size_t length = strlen(text);
            snprintf(text + length, capacity - length, "%s%s in no %s case", length > 0 ? ", " : "", name,
                     dg_part_name((dg_part)p));
        }
    }
    json_decref(json);
}
