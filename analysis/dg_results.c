/* dg_results.c - see dg_results.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_results.h"
#include "dg_file.h"
#include "dg_mem.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BYTES_MAX = 1 << 30, LATEST_VERSION = 2 };

struct dg_results {
    char *name;
    json_t *root;
    const json_t *settings, *failed; /* borrowed from root */
    dg_results_source source;
    int version;
    dg_results_run run;
    dg_results_case *cases;
    int64_t case_count;
    char **metric; /* sorted; one block of text behind */
    int64_t metric_count;
};

/* ---- text of a stranger ------------------------------------------------------------------------------------------- */

/* Python's json writes NaN, Infinity and -Infinity, which JSON does not have. Outside strings they become null. */
static int64_t python_number(const char *at, const char *end)
{
    static const char *const word[] = {"NaN", "Infinity", "-Infinity"};
    for (int i = 0; i < 3; i++) {
        size_t length = strlen(word[i]);
        if ((size_t)(end - at) >= length && memcmp(at, word[i], length) == 0) return (int64_t)length;
    }
    return 0;
}

/* Copies text to out (NULL: only counts) with those words replaced; returns the length. */
static int64_t replace_numbers(const char *text, int64_t length, char *out)
{
    bool in_string = false;
    int64_t used = 0, skipped;
    for (int64_t i = 0; i < length;) {
        if (!in_string && (skipped = python_number(text + i, text + length)) > 0) {
            if (out != NULL) memcpy(out + used, "null", 4);
            used += 4;
            i += skipped;
            continue;
        }
        int64_t take = in_string && text[i] == '\\' && i + 1 < length ? 2 : 1;
        if (take == 1 && text[i] == '"') in_string = !in_string;
        if (out != NULL) memcpy(out + used, text + i, (size_t)take);
        used += take;
        i += take;
    }
    return used;
}

/* jansson quotes the file in its message: control characters must not reach a terminal. */
static dg_status fail_json(const char *name, json_error_t *error)
{
    for (char *c = error->text; *c != '\0'; c++)
        if (iscntrl((unsigned char)*c)) *c = '?';
    return DG_FAIL(DG_ERR_FORMAT, "%s, line %d: %s; it is no JSON of an evaluation", name, error->line, error->text);
}

static dg_status parse(const char *text, int64_t length, const char *name, json_t **root)
{
    json_error_t error;
    char *copy;
    int64_t size = replace_numbers(text, length, NULL);
    DG_TRY(DG_NEW(&copy, size + 1, "results"));
    replace_numbers(text, length, copy);
    *root = json_loadb(copy, (size_t)size, JSON_REJECT_DUPLICATES, &error);
    dg_free(&copy);
    return *root == NULL ? fail_json(name, &error) : DG_OK;
}

static dg_status fail_key(const dg_results *r, const char *where, const char *key, const char *what)
{
    return DG_FAIL(DG_ERR_FORMAT, "%s: %s%s%s %s; see doc/results.md", r->name, where, where[0] == '\0' ? "" : ".", key,
                   what);
}

/* A text of 1 .. DG_RESULTS_TEXT - 1 bytes without control characters; absent or null leaves out[0] = 0. */
static dg_status read_text(const dg_results *r, const json_t *object, const char *where, const char *key, char *out)
{
    const json_t *value = json_object_get(object, key);
    out[0] = '\0';
    if (value == NULL || json_is_null(value)) return DG_OK;
    if (!json_is_string(value)) return fail_key(r, where, key, "is no text");
    const char *text = json_string_value(value);
    size_t length = strlen(text);
    if (length == 0 || length >= DG_RESULTS_TEXT)
        return DG_FAIL(DG_ERR_FORMAT, "%s: %s%s%s has %zu bytes; 1 to %d are allowed", r->name, where,
                       where[0] == '\0' ? "" : ".", key, length, DG_RESULTS_TEXT - 1);
    for (size_t i = 0; i < length; i++)
        if (iscntrl((unsigned char)text[i])) return fail_key(r, where, key, "holds a control character");
    memcpy(out, text, length + 1);
    return DG_OK;
}

static dg_status check_depth(const dg_results *r, const json_t *value, int depth)
{
    const char *key;
    json_t *item;
    size_t i;
    if (depth > DG_RESULTS_DEPTH_MAX)
        return DG_FAIL(DG_ERR_FORMAT, "%s: more than %d objects inside each other", r->name, DG_RESULTS_DEPTH_MAX);
    if (json_is_object(value)) {
        json_object_foreach((json_t *)value, key, item) DG_TRY(check_depth(r, item, depth + 1));
    } else if (json_is_array(value)) {
        json_array_foreach(value, i, item) DG_TRY(check_depth(r, item, depth + 1));
    }
    return DG_OK;
}

/* ---- head --------------------------------------------------------------------------------------------------------- */

static dg_status read_run(dg_results *r)
{
    const json_t *run = json_object_get(r->root, "run"), *seed;
    if (r->source == DG_RESULTS_REFERENCE) return read_text(r, r->root, "", "model_type", r->run.condition);
    if (run == NULL || json_is_null(run)) return DG_OK;
    if (!json_is_object(run)) return fail_key(r, "", "run", "is no object");
    DG_TRY(read_text(r, run, "run", "name", r->run.name));
    DG_TRY(read_text(r, run, "run", "condition", r->run.condition));
    seed = json_object_get(run, "seed");
    if (seed == NULL || json_is_null(seed)) return DG_OK;
    if (!json_is_integer(seed)) return fail_key(r, "run", "seed", "is no integer");
    r->run.has_seed = true;
    r->run.seed = json_integer_value(seed);
    return DG_OK;
}

static dg_status read_format(dg_results *r)
{
    const json_t *format = json_object_get(r->root, "format"), *version = json_object_get(r->root, "version");
    if (!json_is_object(r->root)) return DG_FAIL(DG_ERR_FORMAT, "%s: it is no JSON object", r->name);
    if (format == NULL) {
        /* the reference tool names no format: its aggregate and its version stand for it */
        if (!json_is_object(json_object_get(r->root, "aggregate_metrics")) &&
            json_object_get(r->root, "framework_version") == NULL)
            return fail_key(r, "", "format", "is missing: neither our results nor the reference tool's");
        r->source = DG_RESULTS_REFERENCE;
        return DG_OK;
    }
    if (!json_is_string(format) || strcmp(json_string_value(format), "dosegrid-evaluation") != 0)
        return fail_key(r, "", "format", "is not \"dosegrid-evaluation\"");
    if (!json_is_integer(version) || json_integer_value(version) < 1)
        return fail_key(r, "", "version", "is no positive integer");
    if (json_integer_value(version) > LATEST_VERSION)
        return DG_FAIL(DG_ERR_UNSUPPORTED, "%s: version %lld of the layout; this program reads up to %d", r->name,
                       (long long)json_integer_value(version), LATEST_VERSION);
    r->version = (int)json_integer_value(version);
    r->settings = json_object_get(r->root, "settings");
    if (r->version >= 2 && !json_is_object(r->settings)) return fail_key(r, "", "settings", "is no object");
    if (r->version < 2) r->settings = NULL;
    return DG_OK;
}

static dg_status read_failed(dg_results *r)
{
    char where[40], text[DG_RESULTS_TEXT];
    const json_t *failed = json_object_get(r->root, "failed"), *item;
    size_t i;
    if (failed == NULL) return DG_OK;
    if (!json_is_array(failed)) return fail_key(r, "", "failed", "is no array");
    json_array_foreach(failed, i, item)
    {
        snprintf(where, sizeof where, "failed[%zu]", i);
        DG_TRY(read_text(r, item, where, "case_id", text));
        if (text[0] == '\0') return fail_key(r, where, "case_id", "is missing");
    }
    r->failed = failed;
    return DG_OK;
}

/* ---- cases -------------------------------------------------------------------------------------------------------- */

static int by_id(const void *a, const void *b)
{
    return strcmp(((const dg_results_case *)a)->id, ((const dg_results_case *)b)->id);
}

static dg_status read_case(dg_results *r, const json_t *object, size_t index, dg_results_case *c)
{
    char where[48];
    snprintf(where, sizeof where, "per_case_results[%zu]", index);
    if (!json_is_object(object)) return fail_key(r, "", where, "is no object");
    DG_TRY(read_text(r, object, where, "case_id", c->id));
    if (c->id[0] == '\0') return fail_key(r, where, "case_id", "is missing");
    DG_TRY(read_text(r, object, where, "group", c->group));
    DG_TRY(read_text(r, object, where, "case_sha256", c->sha256));
    const json_t *prescription = json_object_get(object, "prescription_gy");
    c->prescription_gy = json_is_number(prescription) ? json_number_value(prescription) : NAN;
    c->object = object;
    return DG_OK;
}

static dg_status read_cases(dg_results *r)
{
    const json_t *list = json_object_get(r->root, "per_case_results"), *object;
    size_t i, count = json_array_size(list);
    if (!json_is_array(list)) return fail_key(r, "", "per_case_results", "is no array");
    if (count > DG_RESULTS_CASES_MAX)
        return DG_FAIL(DG_ERR_DATA, "%s: %zu cases; up to %d are read", r->name, count, DG_RESULTS_CASES_MAX);
    DG_TRY(DG_NEW(&r->cases, count, "cases of results"));
    json_array_foreach(list, i, object) DG_TRY(read_case(r, object, i, &r->cases[i]));
    r->case_count = (int64_t)count;
    qsort(r->cases, count, sizeof *r->cases, by_id);
    for (i = 1; i < count; i++)
        if (strcmp(r->cases[i - 1].id, r->cases[i].id) == 0)
            return DG_FAIL(DG_ERR_DATA, "%s: case %s stands there twice; per_case_results needs one entry a case",
                           r->name, r->cases[i].id);
    return DG_OK;
}

/* ---- list of metrics ---------------------------------------------------------------------------------------------- */

static bool is_number(const json_t *value) { return json_is_number(value) && isfinite(json_number_value(value)); }

/* Adds the numbers below `object` to the set; name[used..] is free. Names beyond DG_RESULTS_METRIC are refused. */
static dg_status add_numbers(const dg_results *r, json_t *set, const json_t *object, char *name, size_t used)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        size_t length = strlen(key);
        bool top = used == 0;
        if (!json_is_object(value) && (top || !is_number(value))) continue;
        for (size_t i = 0; i < length; i++)
            if (iscntrl((unsigned char)key[i]))
                return fail_key(r, "per_case_results[]", name, "has a name with a control character");
        if (length == 0 || used + length + 2 > DG_RESULTS_METRIC)
            return DG_FAIL(DG_ERR_FORMAT, "%s: a metric below '%.100s' has a name of %zu bytes; 1 to %d are allowed",
                           r->name, name, used + length, DG_RESULTS_METRIC - 1);
        memcpy(name + used, key, length + 1);
        if (json_is_object(value)) {
            memcpy(name + used + length, ".", 2);
            DG_TRY(add_numbers(r, set, value, name, used + length + 1));
        } else if (json_object_get(set, name) == NULL) {
            if (json_object_size(set) >= DG_RESULTS_METRICS_MAX)
                return DG_FAIL(DG_ERR_DATA, "%s: more than %d metrics", r->name, DG_RESULTS_METRICS_MAX);
            if (json_object_set_new(set, name, json_null()) != 0)
                return DG_FAIL(DG_ERR_MEMORY, "%s: no memory for the list of metrics", r->name);
        }
        name[used] = '\0';
    }
    return DG_OK;
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static dg_status keep_metrics(dg_results *r, json_t *set)
{
    const char *key;
    json_t *value;
    size_t bytes = 0, count = json_object_size(set);
    char *text;
    json_object_foreach(set, key, value) bytes += strlen(key) + 1;
    DG_TRY(DG_NEW(&r->metric, count + 1, "list of metrics"));
    DG_TRY(DG_NEW(&text, bytes, "names of metrics"));
    r->metric[count] = text; /* the block's owner, behind the list */
    json_object_foreach(set, key, value)
    {
        size_t length = strlen(key) + 1;
        r->metric[r->metric_count++] = memcpy(text, key, length);
        text += length;
    }
    qsort(r->metric, count, sizeof *r->metric, by_text);
    return DG_OK;
}

static dg_status list_metrics(dg_results *r)
{
    char name[DG_RESULTS_METRIC] = "";
    json_t *set = json_object();
    dg_status status = set == NULL ? DG_FAIL(DG_ERR_MEMORY, "%s: no memory for the list of metrics", r->name) : DG_OK;
    for (int64_t i = 0; status == DG_OK && i < r->case_count; i++)
        status = add_numbers(r, set, r->cases[i].object, name, 0);
    if (status == DG_OK) status = keep_metrics(r, set);
    json_decref(set);
    return status;
}

/* ---- reading ------------------------------------------------------------------------------------------------------ */

dg_status dg_results_read_text(const char *text, int64_t length, const char *name, dg_results **out)
{
    dg_results *r;
    dg_status status;
    *out = NULL;
    DG_TRY(DG_NEW(&r, 1, "results"));
    DG_TRY_GOTO(status, dg_string_copy(name, &r->name), fail);
    DG_TRY_GOTO(status, parse(text, length, name, &r->root), fail);
    DG_TRY_GOTO(status, check_depth(r, r->root, 0), fail);
    DG_TRY_GOTO(status, read_format(r), fail);
    DG_TRY_GOTO(status, read_run(r), fail);
    DG_TRY_GOTO(status, read_cases(r), fail);
    DG_TRY_GOTO(status, read_failed(r), fail);
    DG_TRY_GOTO(status, list_metrics(r), fail);
    *out = r;
    return DG_OK;
fail:
    dg_results_destroy(&r);
    return status;
}

dg_status dg_results_read(const char *path, const char *name, dg_results **out)
{
    char *text;
    int64_t length;
    *out = NULL;
    DG_TRY(dg_file_read(path, name, BYTES_MAX, &text, &length));
    dg_status status = dg_results_read_text(text, length, name, out);
    dg_free(&text);
    return status;
}

void dg_results_destroy(dg_results **results)
{
    dg_results *r = *results;
    if (r == NULL) return;
    if (r->metric != NULL) dg_free(&r->metric[r->metric_count]);
    dg_free(&r->metric);
    dg_free(&r->cases);
    dg_free(&r->name);
    json_decref(r->root);
    dg_free(results);
}

/* ---- answers ------------------------------------------------------------------------------------------------------ */

const char *dg_results_name(const dg_results *results) { return results->name; }
dg_results_source dg_results_get_source(const dg_results *results) { return results->source; }
int dg_results_version(const dg_results *results) { return results->version; }
const dg_results_run *dg_results_get_run(const dg_results *results) { return &results->run; }
const json_t *dg_results_settings(const dg_results *results) { return results->settings; }
const json_t *dg_results_root(const dg_results *results) { return results->root; }
int64_t dg_results_case_count(const dg_results *results) { return results->case_count; }
const dg_results_case *dg_results_get_case(const dg_results *results, int64_t index) { return &results->cases[index]; }
int64_t dg_results_metric_count(const dg_results *results) { return results->metric_count; }
const char *dg_results_metric(const dg_results *results, int64_t index) { return results->metric[index]; }
int64_t dg_results_failed_count(const dg_results *results) { return (int64_t)json_array_size(results->failed); }

void dg_results_get_failed(const dg_results *results, int64_t index, const char **id, const char **reason)
{
    const json_t *item = json_array_get(results->failed, (size_t)index);
    const char *text = json_string_value(json_object_get(item, "reason"));
    *id = json_string_value(json_object_get(item, "case_id"));
    *reason = text == NULL ? "" : text;
}

int64_t dg_results_find_case(const dg_results *results, const char *id)
{
    int64_t low = 0, high = results->case_count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        int order = strcmp(id, results->cases[middle].id);
        if (order == 0) return middle;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return -1;
}

bool dg_results_case_assumed(const dg_results_case *c)
{
    const char *source = json_string_value(json_object_get(c->object, "prescription_source"));
    return source != NULL && strcmp(source, "assumed") == 0;
}

int64_t dg_results_assumed(const dg_results *results)
{
    int64_t assumed = 0;
    for (int64_t i = 0; i < results->case_count; i++) assumed += dg_results_case_assumed(&results->cases[i]);
    return assumed;
}

void dg_assumed_text(int64_t assumed, int64_t cases, char text[DG_ASSUMED_TEXT])
{
    text[0] = '\0';
    if (assumed > 0)
        snprintf(text, DG_ASSUMED_TEXT,
                 "PRESCRIPTION ASSUMED in %lld of %lld cases: it was said by a preset, on the command line or by a "
                 "default, not by a plan",
                 (long long)assumed, (long long)cases);
}

bool dg_results_has_metric(const dg_results *results, const char *metric)
{
    if (results->metric_count == 0) return false;
    return bsearch(&metric, results->metric, (size_t)results->metric_count, sizeof *results->metric, by_text) != NULL;
}

/* Names in the file may hold dots: every way to cut the rest is tried. No object is visited twice, as each lies at one
 * place of the tree. `parent` is the object that held the last name tried, for its reason. */
static const json_t *find(const json_t *object, const char *dotted, const json_t **parent)
{
    char key[DG_RESULTS_METRIC];
    for (const char *dot = dotted;; dot++) {
        dot += strcspn(dot, ".");
        size_t length = (size_t)(dot - dotted);
        if (length >= sizeof key) return NULL;
        memcpy(key, dotted, length);
        key[length] = '\0';
        const json_t *child = json_object_get(object, key), *found = NULL;
        if (*dot == '\0') {
            if (*parent == NULL || child != NULL) *parent = object;
            return child;
        }
        if (json_is_object(child)) {
            const json_t *inner = NULL;
            found = find(child, dot + 1, &inner);
            if (inner != NULL && (*parent == NULL || found != NULL)) *parent = inner;
        }
        if (found != NULL) return found;
    }
}

const json_t *dg_results_look_up(const json_t *object, const char *dotted)
{
    const json_t *parent = NULL;
    return find(object, dotted, &parent);
}

static const char *reason_of(const json_t *value, const json_t *parent)
{
    static const char *const key[] = {"error", "reason"};
    for (int i = 0; i < 2; i++) {
        const char *text = json_string_value(json_object_get(parent, key[i]));
        if (text != NULL && text[0] != '\0') return text;
    }
    if (json_is_false(json_object_get(parent, "exists"))) return "no such structure";
    if (value == NULL) return "not in the results";
    return json_is_null(value) ? "null" : "not a number";
}

double dg_results_value(const dg_results *results, int64_t index, const char *metric, const char **reason)
{
    const json_t *parent = NULL, *value = find(results->cases[index].object, metric, &parent);
    if (reason != NULL) *reason = NULL;
    if (is_number(value)) return json_number_value(value);
    if (reason != NULL) *reason = reason_of(value, parent);
    return NAN;
}
