/* ctest: libs=golden_io,dg_analysis,dg_grid,jansson label=unit timeout=120 args= ; openkbp_scores.h5 */
/* golden_dvh.c - dose and DVH statistics against the reference's (golden README section 7). The file is either of the
 * layout of dvh_metrics.h5, with its JSON beside it, or of openkbp_scores.h5 (official OpenKBP scores). Numbers of the JSON
 * that belong to the clinical evaluation (gamma, constraints, warnings) are counted as not covered here.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_dose_metrics.h"
#include "dg_dvh.h"
#include "dg_mem.h"
#include "dg_openkbp_score.h"
#include "golden_io.h"

#include <jansson.h>

/* ---- openkbp_scores.h5 -------------------------------------------------------------------------------------------- */

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

/* ---- dvh_metrics.h5 ----------------------------------------------------------------------------------------------- */

/* The prescription of a target is in its name ("PTV50.4"); other structures have none. */
static double prescription_of(const char *structure)
{
    double gy = 0;
    return sscanf(structure, "PTV%lf", &gy) == 1 ? gy : 0;
}

typedef struct volumes {
    float *target, *pred;
    uint64_t *masks;
    dg_box all;
    int64_t voxels;
    double voxel_mm3;
} volumes;

/* The largest deviation of the numbers of one kind, relative to tolerance 1. */
typedef struct worst {
    double ratio;
    int64_t numbers, uncovered;
    char key[128];
} worst;

static void note(worst *w, const char *where, const char *key, double got, double want, double absolute)
{
    double allowed = 1e-5 * fabs(want) + absolute, ratio = got == want ? 0 : fabs(got - want) / (allowed + 1e-12);
    w->numbers++;
    if (ratio <= w->ratio) return;
    w->ratio = ratio;
    snprintf(w->key, sizeof w->key, "%.60s.%.40s", where, key);
}

/* Gy as the reference makes them: float32 product, negative and NaN become 0. */
static float *read_gy(golden *file, const char *id, const char *name, double rx, int64_t *voxels, int64_t shape[3])
{
    golden_array a = golden_read_f32(file, "%s/%s", id, name);
    float *out;
    if (a.rank != 3 || a.count == 0) golden_reject(file, name, "is not a volume");
    DG_CHECK_OK(DG_NEW(&out, a.count, "golden"));
    for (int64_t i = 0; i < a.count; i++) {
        float gy = a.f32[i] * (float)rx;
        out[i] = gy > 0 ? gy : 0;
    }
    *voxels = a.count;
    for (int k = 0; k < 3; k++) shape[k] = a.shape[k];
    golden_array_free(&a);
    return out;
}

static volumes read_case(golden *file, const char *id, double rx)
{
    volumes v = {0};
    double spacing[3];
    v.target = read_gy(file, id, "target", rx, &v.voxels, v.all.shape);
    const int64_t voxels = v.voxels;
    v.pred = read_gy(file, id, "pred", rx, &v.voxels, v.all.shape);
    if (v.voxels != voxels) golden_reject(file, id, "has pred and target of different shapes");
    if (golden_attr_list(file, id, "spacing_mm", spacing, 3) != 3) golden_reject(file, id, "has no spacing_mm");
    v.voxel_mm3 = spacing[0] * spacing[1] * spacing[2];
    golden_array masks = golden_read_i64(file, "%s/masks", id);
    if (masks.rank != 4 || masks.shape[0] > 64) golden_reject(file, id, "masks are not up to 64 volumes");
    golden_want_count(file, "masks", &masks, masks.shape[0] * v.voxels);
    DG_CHECK_OK(DG_NEW(&v.masks, v.voxels, "golden"));
    for (int64_t i = 0; i < masks.count; i++)
        if (masks.i64[i] != 0) v.masks[i % v.voxels] |= (uint64_t)1 << (i / v.voxels);
    golden_array_free(&masks);
    return v;
}

static double mae_gy(const volumes *v, uint64_t bits, dg_dose_region region, double threshold_gy)
{
    dg_dose_errors errors = {{0}, {0}};
    dg_dose_pair pair = {.reference_gy = v->target,
                         .prediction_gy = v->pred,
                         .masks = v->masks,
                         .known = v->all,
                         .shape = {v->all.shape[0], v->all.shape[1], v->all.shape[2]},
                         .body_bits = bits,
                         .threshold_gy = threshold_gy};
    DG_CHECK_OK(dg_dose_errors_add(&errors, &pair));
    return dg_dose_errors_mae_gy(&errors, region);
}

static void check_dose_metrics(const json_t *want, const volumes *v, const char *id, worst *w)
{
    const char *key;
    json_t *value;
    double top = 0, percent;
    for (int64_t i = 0; i < v->voxels; i++) top = fmax(top, v->target[i]);
    json_object_foreach((json_t *)want, key, value)
    {
        if (strcmp(key, "mae_gy") == 0)
            note(w, id, key, mae_gy(v, 0, DG_DOSE_ALL, 1), json_number_value(value), 1e-6);
        else if (sscanf(key, "mae_gy_above_%lfpct", &percent) == 1)
            note(w, id, key, mae_gy(v, 0, DG_DOSE_GT10, (float)(top * percent / 100)), json_number_value(value), 1e-6);
        else
            w->uncovered += json_is_number(value);
    }
}

/* One statistic of a dose by the reference's name ("D95", "V45_cc", "mean_gy"); false when the name is another. */
static bool statistic(const dg_dvh *dvh, const char *name, double prescription_gy, double *value)
{
    double x;
    int used = 0;
    if (strcmp(name, "mean_gy") == 0) {
        *value = dg_dvh_mean(dvh);
    } else if (strcmp(name, "max_gy") == 0) {
        *value = dg_dvh_max(dvh);
    } else if (strcmp(name, "min_gy") == 0) {
        *value = dg_dvh_min(dvh);
    } else if (sscanf(name, "D%lf%n", &x, &used) == 1 && name[used] == '\0') {
        *value = dg_dvh_dose_at_percent(dvh, x, DG_DVH_LOWER);
    } else if (sscanf(name, "V%lf%n", &x, &used) == 1 && (name[used] == '\0' || strcmp(name + used, "_cc") == 0)) {
        double gy = x > 90 ? x / 100 * prescription_gy : x; /* V95 and V100 are of the target's own prescription */
        *value = name[used] == '\0' ? dg_dvh_volume_percent(dvh, gy) : dg_dvh_volume_cc(dvh, gy);
    } else {
        return false;
    }
    return true;
}

static void check_number(const json_t *value, const char *key, const char *where, const dg_dvh dvh[2],
                         double prescription_gy, worst *w)
{
    char name[64];
    double got[2], want = json_number_value(value);
    int used = 0;
    if (strncmp(key, "pred_", 5) == 0 && statistic(&dvh[0], key + 5, prescription_gy, &got[0])) {
        note(w, where, key, got[0], want, 1e-6);
    } else if (strncmp(key, "target_", 7) == 0 && statistic(&dvh[1], key + 7, prescription_gy, &got[1])) {
        note(w, where, key, got[1], want, 1e-6);
    } else if (sscanf(key, "%63[^_]_error%n", name, &used) == 1 && used > 0 &&
               statistic(&dvh[0], name, prescription_gy, &got[0]) &&
               statistic(&dvh[1], name, prescription_gy, &got[1])) {
        note(w, where, key, got[0] - got[1], want, 0.5e-4 + 1e-5 * fabs(got[0]));
    } else if (strcmp(key, "n_voxels") == 0) {
        note(w, where, key, (double)dvh[0].count, want, 0);
    } else if (strcmp(key, "volume_cc") == 0) {
        note(w, where, key, dg_dvh_total_cc(&dvh[0]), want, 1e-9);
    } else {
        w->uncovered++;
    }
}

static void check_structure(const json_t *want, const volumes *v, int k, const char *name, const char *id, worst *w)
{
    char where[96];
    const char *key;
    json_t *value;
    dg_dvh dvh[2];
    const uint64_t bit = (uint64_t)1 << k;
    snprintf(where, sizeof where, "%.40s.%.50s", id, name);
    DG_CHECK_OK(dg_dvh_create(v->pred, v->masks, bit, v->voxels, v->voxel_mm3, &dvh[0]));
    DG_CHECK_OK(dg_dvh_create(v->target, v->masks, bit, v->voxels, v->voxel_mm3, &dvh[1]));
    note(w, where, "exists", dvh[0].count > 0, json_is_true(json_object_get(want, "exists")), 0);
    json_object_foreach((json_t *)want, key, value)
    {
        if (!json_is_number(value)) continue;
        if (strcmp(key, "mae_gy") == 0)
            note(w, where, key, mae_gy(v, bit, DG_DOSE_BODY, 1), json_number_value(value), 1e-6);
        else
            check_number(value, key, where, dvh, prescription_of(name), w);
    }
    dg_dvh_release(&dvh[0]);
    dg_dvh_release(&dvh[1]);
}

static void finish_worst(golden_tally *tally, const char *label, const worst *w)
{
    char text[512];
    snprintf(text, sizeof text, "%s (%lld numbers%s%s)", label, (long long)w->numbers, w->ratio > 0 ? ", worst " : "",
             w->ratio > 0 ? w->key : "");
    golden_check(tally, text, "error/tolerance", w->numbers > 0 ? w->ratio : INFINITY, 1);
}

/* Channel k of the masks is structure[k]. */
static void check_case(golden *file, golden_tally *tally, const json_t *expected, char *const *structure, int count,
                       int64_t *uncovered)
{
    const char *id = json_string_value(json_object_get(expected, "case_id"));
    char label[160];
    worst dose = {0}, dvh = {0};
    if (id == NULL) golden_reject(file, "", "has a case without case_id in its JSON");
    if (!golden_has(file, id)) return;
    volumes v = read_case(file, id, golden_attr_or(file, "", "rx_dose_gy", 70));
    check_dose_metrics(json_object_get(expected, "dose_metrics"), &v, id, &dose);
    for (int k = 0; k < count; k++) {
        const json_t *one = json_object_get(json_object_get(expected, "dvh_metrics"), structure[k]);
        if (one != NULL) check_structure(one, &v, k, structure[k], id, &dvh);
    }
    snprintf(label, sizeof label, "%s dose_metrics", id);
    finish_worst(tally, label, &dose);
    snprintf(label, sizeof label, "%s dvh_metrics", id);
    finish_worst(tally, label, &dvh);
    *uncovered += dose.uncovered + dvh.uncovered;
    dg_free(&v.target);
    dg_free(&v.pred);
    dg_free(&v.masks);
}

static void check_dvh(golden *file, golden_tally *tally, const char *path)
{
    char name[GOLDEN_TEXT], json_path[4096 + GOLDEN_TEXT];
    json_error_t error;
    int64_t uncovered = 0;
    char **structure = NULL;
    if (!golden_attr_string(file, "", "expected", name))
        golden_reject(file, "", "has neither dose_score nor expected: of neither layout this program reads");
    const int count = golden_attr_strings(file, "", "structures", &structure);
    if (count < 1 || count > 64) golden_reject(file, "", "attribute structures does not name up to 64 structures");
    const char *slash = strrchr(path, '/');
    int folder = slash == NULL ? 0 : (int)(slash - path) + 1;
    snprintf(json_path, sizeof json_path, "%.*s%s", folder, path, name);
    json_t *root = json_load_file(json_path, 0, &error);
    if (root == NULL) {
        fprintf(stderr, "%s: line %d: %s; it belongs beside the HDF5 file\n", name, error.line, error.text);
        exit(1);
    }
    const json_t *cases = json_object_get(root, "per_case_results");
    for (size_t i = 0; i < json_array_size(cases); i++)
        check_case(file, tally, json_array_get(cases, i), structure, count, &uncovered);
    golden_names_free(&structure, count);
    printf("not covered by this program: %lld numbers of dose_metrics and dvh_metrics; gamma, constraints, aggregate\n",
           (long long)uncovered);
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
