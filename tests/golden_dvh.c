/* ctest: libs=golden_io,dg_analysis,dg_grid,jansson label=unit timeout=120 args= ; openkbp_scores.h5 */
/* golden_dvh.c - the reference's evaluation of a case, key by key: dose, gamma, DVH, constraints, warnings and the
 * cohort's means (golden README section 7). The file is either of the layout of dvh_metrics.h5, with its JSON beside
 * it, or of openkbp_scores.h5 (official OpenKBP scores). SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_mem.h"
#include "dg_openkbp_score.h"
#include "dg_upstream_evaluation.h"
#include "golden_io.h"

#include <jansson.h>

/* ---- openkbp_scores.h5 ------------------------------------------------------------------------------------------- */

static void want_indices(golden *file, const char *path, const golden_array *at, int64_t voxels)
{
    for (int64_t i = 0; i < at->count; i++)
        if (at->i64[i] < 0 || at->i64[i] >= voxels) golden_reject(file, path, "has an index outside the grid");
}

static float *scatter(golden *file, const char *patient, const char *value, const char *index, int64_t voxels)
{
    golden_array v = golden_read_f32(file, "%s/in/%s", patient, value);
    golden_array at = golden_read_i64(file, "%s/in/%s", patient, index);
    float *out;
    golden_want_count(file, index, &at, v.count);
    want_indices(file, index, &at, voxels);
    DG_CHECK_OK(DG_NEW(&out, voxels, "golden"));
    for (int64_t i = 0; i < v.count; i++) out[at.i64[i]] = v.f32[i];
    golden_array_free(&v);
    golden_array_free(&at);
    return out;
}

static uint64_t add_mask(golden *file, const char *path, uint64_t bit, uint64_t *masks, int64_t voxels)
{
    if (!golden_has(file, path)) return 0;
    golden_array at = golden_read_i64(file, "%s", path);
    want_indices(file, path, &at, voxels);
    for (int64_t i = 0; i < at.count; i++) masks[at.i64[i]] |= bit;
    golden_array_free(&at);
    return bit;
}

static void check_metrics(golden *file, golden_tally *tally, const char *patient, const char *name, const double *got)
{
    char label[128];
    golden_array want = golden_read_f64(file, "%s/out/%s", patient, name);
    golden_want_count(file, name, &want, DG_OPENKBP_METRICS);
    golden_error e = golden_compare_f64(got, want.f64, want.count);
    snprintf(label, sizeof label, "%s/out/%s", patient, name);
    golden_check(tally, label, "max Gy", e.max, 1e-5 * e.absmax);
    golden_array_free(&want);
}

static void check_patient(golden *file, golden_tally *tally, const char *patient, int64_t voxels,
                          dg_openkbp_score *score)
{
    char path[256];
    golden_array mm = golden_read_f64(file, "%s/in/voxel_mm", patient);
    golden_want_count(file, "voxel_mm", &mm, 3);
    float *reference = scatter(file, patient, "dose", "dose_index", voxels);
    float *prediction = scatter(file, patient, "pred", "pred_index", voxels);
    uint64_t *masks;
    DG_CHECK_OK(DG_NEW(&masks, voxels, "golden"));
    dg_openkbp_case c = {.reference_gy = reference,
                         .prediction_gy = prediction,
                         .masks = masks,
                         .voxels = voxels,
                         .voxel_mm3 = mm.f64[0] * mm.f64[1] * mm.f64[2]};
    for (int roi = 0; roi < DG_OPENKBP_ROIS; roi++) {
        snprintf(path, sizeof path, "%s/in/masks/%s", patient, dg_openkbp_roi_name(roi));
        c.roi_bits[roi] = add_mask(file, path, (uint64_t)1 << roi, masks, voxels);
    }
    snprintf(path, sizeof path, "%s/in/possible_dose_index", patient);
    c.possible_bits = add_mask(file, path, (uint64_t)1 << DG_OPENKBP_ROIS, masks, voxels);
    dg_openkbp_result result;
    DG_CHECK_OK(dg_openkbp_evaluate(&c, &result));
    dg_openkbp_score_add(score, &result);
    check_metrics(file, tally, patient, "dvh_reference", result.reference_gy);
    check_metrics(file, tally, patient, "dvh_prediction", result.prediction_gy);
    snprintf(path, sizeof path, "%s/out", patient);
    double want = golden_attr_or(file, path, "dose_error", NAN);
    snprintf(path, sizeof path, "%s/out@dose_error", patient);
    golden_check(tally, path, "Gy", fabs(result.dose_error_gy - want), 1e-5 * want);
    dg_free(&reference);
    dg_free(&prediction);
    dg_free(&masks);
    golden_array_free(&mm);
}

static void check_scores(golden *file, golden_tally *tally)
{
    double grid[3];
    char **names;
    dg_openkbp_score score = {0};
    if (golden_attr_list(file, "", "grid", grid, 3) != 3 || !(fmin(grid[0], fmin(grid[1], grid[2])) >= 1) ||
        grid[0] * grid[1] * grid[2] > 1e9)
        golden_reject(file, "", "attribute grid is not three lengths of a volume");
    int count = golden_children(file, "", &names);
    for (int i = 0; i < count; i++)
        check_patient(file, tally, names[i], (int64_t)(grid[0] * grid[1] * grid[2]), &score);
    golden_names_free(&names, count);
    double dose = golden_attr_or(file, "", "dose_score", NAN), dvh = golden_attr_or(file, "", "dvh_score", NAN);
    const double got[2] = {dg_openkbp_dose_score(&score), dg_openkbp_dvh_score(&score)};
    /* NaN against NaN is no error: patients without any structure have no DVH score */
    golden_check(tally, "dose_score", "Gy", golden_compare_f64(&got[0], &dose, 1).max, isnan(dose) ? 0 : 1e-5 * dose);
    golden_check(tally, "dvh_score", "Gy", golden_compare_f64(&got[1], &dvh, 1).max, isnan(dvh) ? 0 : 1e-5 * dvh);
}

/* ---- dvh_metrics.h5 ---------------------------------------------------------------------------------------------- */

/* The largest deviation of one part of the JSON, relative to its tolerance; texts, truth values, counts and lists
 * that differ, and keys that the results lack, are INFINITY. So are keys that only the results have, where the JSON
 * is the reference's own and not a part of it. */
typedef struct worst {
    double ratio;
    bool complete;
    int64_t values, extra;
    char key[160];
} worst;

static void note(worst *w, const char *path, double ratio)
{
    w->values++;
    if (!(ratio > w->ratio)) return;
    w->ratio = ratio;
    snprintf(w->key, sizeof w->key, "%.150s", path);
}

static double number_error(const json_t *got, const json_t *want)
{
    const double g = json_number_value(got), e = json_number_value(want);
    if (json_is_integer(want)) return g == e ? 0 : INFINITY;
    return g == e ? 0 : fabs(g - e) / (1e-5 * fabs(e) + 1e-9);
}

/* What the script that ran the reference adds to its evaluation. */
static bool is_of_the_run(const char *key)
{
    return strcmp(key, "timestamp") == 0 || strcmp(key, "model_type") == 0 || strcmp(key, "architecture") == 0;
}

static void compare_json(worst *w, const char *path, const json_t *got, const json_t *want);

static void compare_objects(worst *w, const char *path, const json_t *got, const json_t *want)
{
    char below[GOLDEN_TEXT];
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)want, key, value)
    {
        if (is_of_the_run(key)) continue;
        snprintf(below, sizeof below, "%s%s%s", path, path[0] == '\0' ? "" : ".", key);
        compare_json(w, below, json_object_get(got, key), value);
    }
    json_object_foreach((json_t *)got, key, value)
    {
        if (json_object_get(want, key) != NULL) continue;
        w->extra++;
        snprintf(below, sizeof below, "%s.%s (not in the reference)", path, key);
        if (w->complete) note(w, below, INFINITY);
    }
}

static void compare_json(worst *w, const char *path, const json_t *got, const json_t *want)
{
    char below[GOLDEN_TEXT];
    if (json_is_number(want) && json_is_number(got)) {
        note(w, path, number_error(got, want));
    } else if (json_typeof(want) != json_typeof(got)) { /* also where there is none: NULL has no type */
        note(w, path, INFINITY);
    } else if (json_is_object(want)) {
        compare_objects(w, path, got, want);
    } else if (json_is_array(want)) {
        note(w, path, json_array_size(got) == json_array_size(want) ? 0 : INFINITY);
        for (size_t i = 0; i < json_array_size(want) && i < json_array_size(got); i++) {
            snprintf(below, sizeof below, "%s[%d]", path, (int)i);
            compare_json(w, below, json_array_get(got, i), json_array_get(want, i));
        }
    } else {
        note(w, path, json_equal(got, want) ? 0 : INFINITY);
    }
}

static void check_worst(golden_tally *tally, const char *label, const worst *w)
{
    char text[500], extra[64] = "";
    if (w->extra > 0) snprintf(extra, sizeof extra, ", %lld more not in the JSON", (long long)w->extra);
    snprintf(text, sizeof text, "%.160s (%lld values%s%s%s)", label, (long long)w->values, extra,
             w->ratio > 0 ? ", worst " : "", w->ratio > 0 ? w->key : "");
    golden_check(tally, text, "error/tolerance", w->ratio, 1);
}

typedef struct volumes {
    golden_array target, pred;
    uint64_t *masks;
    int structures;
    double spacing_mm[3];
} volumes;

static volumes read_case(golden *file, const char *id, int names)
{
    volumes v = {.target = golden_read_f32(file, "%s/target", id), .pred = golden_read_f32(file, "%s/pred", id)};
    if (v.target.rank != 3 || v.target.count == 0) golden_reject(file, id, "target is not a volume");
    if (v.pred.rank != 3 || memcmp(v.pred.shape, v.target.shape, 3 * sizeof *v.pred.shape) != 0)
        golden_reject(file, id, "has pred and target of different shapes");
    if (golden_attr_list(file, id, "spacing_mm", v.spacing_mm, 3) != 3) golden_reject(file, id, "has no spacing_mm");
    golden_array masks = golden_read_i64(file, "%s/masks", id);
    if (masks.rank != 4 || masks.shape[0] > names) golden_reject(file, id, "masks are not volumes of the structures");
    golden_want_count(file, "masks", &masks, masks.shape[0] * v.target.count);
    DG_CHECK_OK(DG_NEW(&v.masks, v.target.count, "golden"));
    for (int64_t i = 0; i < masks.count; i++)
        if (masks.i64[i] > 0) v.masks[i % v.target.count] |= (uint64_t)1 << (i / v.target.count);
    v.structures = (int)masks.shape[0];
    golden_array_free(&masks);
    return v;
}

/* Channel k of the masks is structure[k]. A file without gamma in its JSON was made without it. */
static json_t *evaluate_case(golden *file, const char *id, const json_t *want, char *const *structure, int count)
{
    volumes v = read_case(file, id, count);
    json_t *got;
    dg_upstream_case in = {.case_id = id,
                           .target = v.target.f32,
                           .prediction = v.pred.f32,
                           .scale_gy = golden_attr_or(file, "", "rx_dose_gy", 70),
                           .masks = v.masks,
                           .structure = (const char *const *)structure,
                           .structure_count = v.structures,
                           .threads = 2};
    if (json_object_size(json_object_get(want, "gamma")) > 0)
        in.gamma_subsample = (int)golden_attr_or(file, "", "gamma_subsample", 1);
    for (int a = 0; a < 3; a++) {
        in.shape[a] = v.target.shape[a];
        in.spacing_mm[a] = v.spacing_mm[a];
    }
    DG_CHECK_OK(dg_upstream_evaluate(&in, &got));
    golden_array_free(&v.target);
    golden_array_free(&v.pred);
    dg_free(&v.masks);
    return got;
}

static void check_case(golden_tally *tally, const char *id, const json_t *got, const json_t *want)
{
    char label[200];
    const char *key;
    json_t *value;
    worst rest = {.complete = json_object_get(want, "framework_version") != NULL};
    json_object_foreach((json_t *)want, key, value)
    {
        worst part = {.complete = rest.complete};
        if (is_of_the_run(key)) continue;
        snprintf(label, sizeof label, "%.60s %.60s", id, key);
        compare_json(json_is_object(value) ? &part : &rest, json_is_object(value) ? "" : key, json_object_get(got, key),
                     value);
        if (json_is_object(value)) check_worst(tally, label, &part);
    }
    json_object_foreach((json_t *)got, key, value)
    {
        if (json_object_get(want, key) != NULL) continue;
        rest.extra++;
        if (rest.complete) note(&rest, key, INFINITY);
    }
    snprintf(label, sizeof label, "%.60s case_id, spacing_mm, warnings, ..", id);
    check_worst(tally, label, &rest);
}

static json_t *load_json(golden *file, const char *path)
{
    char name[GOLDEN_TEXT], json_path[4096 + GOLDEN_TEXT];
    json_error_t error;
    if (!golden_attr_string(file, "", "expected", name))
        golden_reject(file, "", "has neither dose_score nor expected: of neither layout this program reads");
    const char *slash = strrchr(path, '/');
    int folder = slash == NULL ? 0 : (int)(slash - path) + 1;
    snprintf(json_path, sizeof json_path, "%.*s%s", folder, path, name);
    json_t *root = json_load_file(json_path, 0, &error);
    if (root == NULL) {
        fprintf(stderr, "%s: line %d: %s; it belongs beside the HDF5 file\n", name, error.line, error.text);
        exit(1);
    }
    return root;
}

static void check_dvh(golden *file, golden_tally *tally, const char *path)
{
    char **structure = NULL;
    bool complete = true;
    json_t *root = load_json(file, path), *all = json_array();
    const int count = golden_attr_strings(file, "", "structures", &structure);
    if (count < 1 || count > 64) golden_reject(file, "", "attribute structures does not name up to 64 structures");
    const json_t *cases = json_object_get(root, "per_case_results");
    if (json_array_size(cases) == 0) golden_reject(file, "", "has no case in its JSON");
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *want = json_array_get(cases, i);
        const char *id = json_string_value(json_object_get(want, "case_id"));
        if (id == NULL) golden_reject(file, "", "has a case without case_id in its JSON");
        if (!golden_has(file, id)) {
            printf("%s is in the JSON, but not in the file: left out\n", id);
            complete = false;
            continue;
        }
        json_t *got = evaluate_case(file, id, want, structure, count);
        check_case(tally, id, got, want);
        DG_CHECK(json_array_append_new(all, got) == 0);
    }
    if (complete && json_object_get(root, "aggregate_metrics") != NULL) {
        json_t *aggregate = dg_upstream_aggregate(all);
        worst w = {.complete = true};
        compare_json(&w, "", aggregate, json_object_get(root, "aggregate_metrics"));
        check_worst(tally, "aggregate_metrics", &w);
        json_decref(aggregate);
    }
    golden_names_free(&structure, count);
    json_decref(all);
    json_decref(root);
}

int main(int argc, char **argv)
{
    golden_args args = golden_parse(argc, argv, "dvh_metrics.h5");
    golden *file = golden_open(args.path);
    golden_tally tally = {0};
    double dose_score;
    if (golden_attr(file, "", "dose_score", &dose_score))
        check_scores(file, &tally);
    else
        check_dvh(file, &tally, args.path);
    golden_close(&file);
    return golden_finish(&tally);
}
