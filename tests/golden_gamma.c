/* ctest: libs=golden_io,dg_analysis,dg_backend,dg_grid label=unit timeout=200 */
/* golden_gamma.c - gamma maps against pymedphys, and the reference's region summaries (golden README section 6).
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_backend.h"
#include "dg_check.h"
#include "dg_gamma.h"
#include "dg_mem.h"
#include "dg_regions.h"
#include "golden_io.h"

#include <string.h>
#include <unistd.h>

enum { THREADS = 2 };

/* --backend cuda searches on a GPU; every other backend, on the host's threads. */
static dg_backend *device;

/* A dose of a file with its axes. */
typedef struct dose {
    golden_array values, axis[3];
    dg_gamma_dose gamma;
} dose;

/* Cases that say "inputs as NAME" share those of NAME. */
static void input_group(golden *file, const char *name, const char *what, char group[GOLDEN_TEXT])
{
    char path[GOLDEN_TEXT], note[GOLDEN_TEXT];
    snprintf(path, sizeof path, "%s/in/%s", name, what);
    snprintf(group, GOLDEN_TEXT, "%s", name);
    if (golden_has(file, path)) return;
    if (!golden_attr_string(file, name, "note", note) || sscanf(note, "inputs as %500s", group) != 1)
        golden_reject(file, path, "is missing, and no note says which case has it");
}

static dose read_dose(golden *file, const char *name, const char *what)
{
    char group[GOLDEN_TEXT], path[2 * GOLDEN_TEXT];
    dose d = {.gamma = {0}};
    input_group(file, name, what, group);
    d.values = golden_read_f32(file, "%s/in/%s", group, what);
    if (d.values.rank < 1 || d.values.rank > 3) golden_reject(file, group, "dose does not have 1 to 3 axes");
    d.gamma.axes = d.values.rank;
    d.gamma.dose_gy = d.values.f32;
    for (int a = 0; a < d.values.rank; a++) {
        snprintf(path, sizeof path, "%s/in/axis_%s%d", name, what, a);
        d.axis[a] = golden_read_f64(file, "%s", path);
        golden_want_count(file, path, &d.axis[a], d.values.shape[a]);
        d.gamma.shape[a] = d.values.shape[a];
        d.gamma.axis_mm[a] = d.axis[a].f64;
    }
    return d;
}

static void free_dose(dose *d)
{
    golden_array_free(&d->values);
    for (int a = 0; a < d->gamma.axes; a++) golden_array_free(&d->axis[a]);
}

static double largest(const float *values, int64_t count)
{
    float most = -INFINITY;
    for (int64_t i = 0; i < count; i++) most = fmaxf(most, values[i]);
    return (double)most;
}

static dg_gamma_params read_params(golden *file, const char *name, const dose *reference)
{
    dg_gamma_params p = {.method = DG_GAMMA_PYMEDPHYS, .backend = device};
    p.dose_percent = golden_attr_or(file, name, "dose_percent_threshold", NAN);
    p.distance_mm = golden_attr_or(file, name, "distance_mm_threshold", NAN);
    p.cutoff_percent = golden_attr_or(file, name, "lower_percent_dose_cutoff", 20);
    p.interp_fraction = golden_attr_or(file, name, "interp_fraction", 10);
    p.max_gamma = golden_attr_or(file, name, "max_gamma", INFINITY); /* "none" is not a number */
    p.local = golden_attr_or(file, name, "local_gamma", 0) != 0;
    p.norm_gy =
        golden_attr_or(file, name, "global_normalisation", largest(reference->values.f32, reference->values.count));
    return p;
}

static void check_map(golden_tally *tally, const char *name, const float *got, const golden_array *want)
{
    char label[GOLDEN_TEXT];
    snprintf(label, sizeof label, "%s/out/gamma", name);
    golden_check(tally, label, "max", golden_compare(got, want->f32, want->count).max, 1e-5);
}

static void check_counts(golden *file, golden_tally *tally, const char *name, const float *got, int64_t voxels)
{
    char label[GOLDEN_TEXT];
    double evaluated, passed;
    dg_gamma_summary sum = dg_gamma_summary_init();
    dg_gamma_summary_add(&sum, got, NULL, 0, voxels);
    snprintf(label, sizeof label, "%s@n_evaluated", name);
    if (golden_attr(file, name, "n_evaluated", &evaluated))
        golden_check(tally, label, "voxels", fabs((double)sum.evaluated - evaluated), 0);
    snprintf(label, sizeof label, "%s@n_pass_le1", name);
    if (golden_attr(file, name, "n_pass_le1", &passed))
        golden_check(tally, label, "voxels", fabs((double)sum.passed - passed),
                     golden_attr_or(file, name, "n_borderline_1e5", 0));
}

/* The true minimum is nowhere above the sampled one. */
static void check_continuous(golden_tally *tally, const char *name, dg_gamma_params p, const dose *reference,
                             const dose *evaluated, const float *sampled, float *gamma)
{
    char label[GOLDEN_TEXT];
    double above = 0;
    p.method = DG_GAMMA_CONTINUOUS;
    DG_CHECK_OK(dg_gamma_map(&p, &reference->gamma, &evaluated->gamma, NULL, THREADS, gamma));
    for (int64_t i = 0; i < reference->values.count; i++)
        if (!isnan(sampled[i])) above = fmax(above, isnan(gamma[i]) ? INFINITY : (double)gamma[i] - (double)sampled[i]);
    snprintf(label, sizeof label, "%s continuous - pymedphys", name);
    golden_check(tally, label, "max", above, 1e-6);
}

static void check_case(golden *file, golden_tally *tally, const char *name)
{
    float *got, *continuous;
    dose reference = read_dose(file, name, "ref"), evaluated = read_dose(file, name, "eval");
    golden_array want = golden_read_f32(file, "%s/out/gamma", name);
    golden_want_count(file, "out/gamma", &want, reference.values.count);
    const dg_gamma_params params = read_params(file, name, &reference);
    DG_CHECK_OK(DG_NEW(&got, want.count, "golden"));
    DG_CHECK_OK(DG_NEW(&continuous, want.count, "golden"));
    DG_CHECK_OK(dg_gamma_map(&params, &reference.gamma, &evaluated.gamma, NULL, THREADS, got));
    check_map(tally, name, got, &want);
    check_counts(file, tally, name, got, want.count);
    check_continuous(tally, name, params, &reference, &evaluated, got, continuous);
    dg_free(&got);
    dg_free(&continuous);
    golden_array_free(&want);
    free_dose(&reference);
    free_dose(&evaluated);
}

/* ---- the reference tool's regions --------------------------------------------------------------------------------- */

/* Rows of masks in these files. */
static const char *const structures[] = {"PTV70",   "PTV56",   "Prostate", "Rectum", "Bladder",
                                         "Femur_L", "Femur_R", "Bowel",    "PTV50.4"};
enum { STRUCTURES = sizeof structures / sizeof structures[0], RECTUM = 3 };

typedef struct upstream {
    golden_array target, pred, masks;
    dg_grid grid;
    uint64_t *bits; /* [voxels] of `masks` */
} upstream;

static upstream read_upstream(golden *file)
{
    upstream u = {.target = golden_read_f32(file, "upstream/in/target_gy"),
                  .pred = golden_read_f32(file, "upstream/in/pred_gy"),
                  .masks = golden_read_i64(file, "upstream/in/masks")};
    double spacing[3];
    if (golden_attr_list(file, "upstream/in", "spacing", spacing, 3) != 3 || u.target.rank != 3)
        golden_reject(file, "upstream/in", "has no volume with spacing");
    golden_want_count(file, "pred_gy", &u.pred, u.target.count);
    golden_want_count(file, "masks", &u.masks, STRUCTURES * u.target.count);
    u.grid = dg_grid_make(u.target.shape, spacing);
    DG_CHECK_OK(DG_NEW(&u.bits, u.target.count, "golden"));
    for (int64_t i = 0; i < u.masks.count; i++)
        if (u.masks.i64[i] != 0) u.bits[i % u.target.count] |= (uint64_t)1 << (i / u.target.count);
    return u;
}

static void free_upstream(upstream *u)
{
    golden_array_free(&u->target);
    golden_array_free(&u->pred);
    golden_array_free(&u->masks);
    dg_free(&u->bits);
}

/* Bit 0: within the box margin of a target. The caller's (dg_free). */
static uint64_t *make_ptv_region(const upstream *u, double margin_mm)
{
    dg_structure list[STRUCTURES] = {{.name = ""}};
    dg_regions regions;
    uint64_t *bits;
    for (int i = 0; i < STRUCTURES; i++) {
        snprintf(list[i].name, sizeof list[i].name, "%s", structures[i]);
        list[i].role = strncmp(structures[i], "PTV", 3) == 0 ? DG_ROLE_TARGET : DG_ROLE_OAR;
    }
    const dg_regions_input input = {.grid = &u->grid,
                                    .reference_gy = u->target.f32,
                                    .masks = u->bits,
                                    .structure = list,
                                    .structure_count = STRUCTURES,
                                    .known = {{0, 0, 0}, {u->grid.shape[0], u->grid.shape[1], u->grid.shape[2]}},
                                    .margin_mm = margin_mm,
                                    .box_margin = true,
                                    .threads = THREADS};
    DG_CHECK_OK(dg_regions_make(&input, &regions));
    const int ptv = dg_regions_find(&regions, "ptv_region");
    DG_CHECK(ptv >= 0);
    DG_CHECK_OK(DG_NEW(&bits, u->target.count, "golden"));
    for (int64_t i = 0; i < u->target.count; i++) bits[i] = regions.bits[i] >> ptv & 1;
    dg_regions_release(&regions);
    return bits;
}

/* Every n-th voxel of each axis, as the reference tool takes them: values [::n], spacing times n. */
typedef struct thinned {
    int64_t shape[3], voxels;
    float *target, *pred;
    uint64_t *region;
    double *axis[3];
} thinned;

static thinned thin_out(const upstream *u, const uint64_t *region, int64_t n)
{
    thinned t = {.voxels = 1};
    int64_t count = 0;
    for (int a = 0; a < 3; a++) {
        t.shape[a] = (u->grid.shape[a] + n - 1) / n;
        t.voxels *= t.shape[a];
        DG_CHECK_OK(DG_NEW(&t.axis[a], t.shape[a], "golden"));
        for (int64_t i = 0; i < t.shape[a]; i++) t.axis[a][i] = (double)i * (u->grid.spacing_mm[a] * (double)n);
    }
    DG_CHECK_OK(DG_NEW(&t.target, t.voxels, "golden"));
    DG_CHECK_OK(DG_NEW(&t.pred, t.voxels, "golden"));
    DG_CHECK_OK(DG_NEW(&t.region, t.voxels, "golden"));
    for (int64_t z = 0; z < u->grid.shape[0]; z += n)
        for (int64_t y = 0; y < u->grid.shape[1]; y += n)
            for (int64_t x = 0; x < u->grid.shape[2]; x += n, count++) {
                const int64_t at = dg_grid_index(&u->grid, z, y, x);
                t.target[count] = u->target.f32[at];
                t.pred[count] = u->pred.f32[at];
                t.region[count] = region == NULL ? 1 : region[at];
            }
    return t;
}

static void free_thinned(thinned *t)
{
    for (int a = 0; a < 3; a++) dg_free(&t->axis[a]);
    dg_free(&t->target);
    dg_free(&t->pred);
    dg_free(&t->region);
}

/* NaN against NaN is no error: nothing was evaluated. */
static void check_number(golden *file, golden_tally *tally, const char *path, const char *name, double got,
                         double tolerance)
{
    char label[2 * GOLDEN_TEXT];
    double want;
    if (!golden_attr(file, path, name, &want)) return;
    snprintf(label, sizeof label, "%s@%s", path, name);
    golden_check(tally, label, "abs", golden_compare_f64(&got, &want, 1).max, tolerance);
}

static void check_result(golden *file, golden_tally *tally, const char *path, const upstream *u, const uint64_t *region,
                         int64_t every, double percent, double mm)
{
    thinned t = thin_out(u, region, every);
    double median;
    float *map;
    dg_gamma_summary sum = dg_gamma_summary_init();
    dg_gamma_dose doses[2];
    const dg_gamma_params p = {.method = DG_GAMMA_PYMEDPHYS,
                               .dose_percent = percent,
                               .distance_mm = mm,
                               .cutoff_percent = 10,
                               .max_gamma = 2,
                               .norm_gy = largest(t.target, t.voxels),
                               .interp_fraction = 10,
                               .backend = device};
    for (int i = 0; i < 2; i++)
        doses[i] = (dg_gamma_dose){.axes = 3,
                                   .shape = {t.shape[0], t.shape[1], t.shape[2]},
                                   .axis_mm = {t.axis[0], t.axis[1], t.axis[2]},
                                   .dose_gy = i == 0 ? t.target : t.pred};
    DG_CHECK_OK(DG_NEW(&map, t.voxels, "golden"));
    DG_CHECK_OK(dg_gamma_map(&p, &doses[0], &doses[1], NULL, THREADS, map));
    dg_gamma_summary_add(&sum, map, t.region, 1, t.voxels);
    DG_CHECK_OK(dg_gamma_median(map, t.region, 1, t.voxels, &median));
    int64_t borderline = 0; /* voxels that may fall on either side, as in n_borderline_1e5 */
    for (int64_t i = 0; i < t.voxels; i++) borderline += t.region[i] != 0 && fabs((double)map[i] - 1) <= 1e-5;
    const double share = sum.evaluated > 0 ? 100.0 * (double)borderline / (double)sum.evaluated : 0;
    check_number(file, tally, path, "voxels_evaluated", (double)sum.evaluated, 0);
    check_number(file, tally, path, "gamma_pass_rate", dg_gamma_summary_pass_percent(&sum), 1e-9 + share);
    check_number(file, tally, path, "gamma_mean", dg_gamma_summary_mean(&sum), 1e-5);
    check_number(file, tally, path, "gamma_median", median, 1e-5);
    check_number(file, tally, path, "gamma_max", (double)sum.max, 1e-5);
    dg_free(&map);
    free_thinned(&t);
}

/* Names say what was asked for: compute_gamma_sub2, ptv_region_margin5_sub2, rectum_region_sub1_2pct2mm. Results without a
 * voxel (below_cutoff, empty_region) belong to inputs that the file does not hold. */
static void check_upstream_result(golden *file, golden_tally *tally, const upstream *u, const char *name)
{
    char path[GOLDEN_TEXT];
    int every = 0;
    double margin = 0, percent = 3, mm = 3;
    uint64_t *region = NULL;
    snprintf(path, sizeof path, "upstream/out/%s", name);
    if (golden_attr_or(file, path, "voxels_evaluated", 0) == 0) return;
    if (sscanf(name, "ptv_region_margin%lf_sub%d", &margin, &every) == 2) {
        region = make_ptv_region(u, margin);
    } else if (sscanf(name, "rectum_region_sub%d_%lfpct%lfmm", &every, &percent, &mm) >= 1) {
        DG_CHECK_OK(DG_NEW(&region, u->target.count, "golden"));
        for (int64_t i = 0; i < u->target.count; i++) region[i] = u->bits[i] >> RECTUM & 1;
    } else if (sscanf(name, "compute_gamma_sub%d", &every) != 1) {
        golden_reject(file, path, "is a result this program does not know");
    }
    if (every < 1) golden_reject(file, path, "has no subsample above 0");
    check_result(file, tally, path, u, region, every, percent, mm);
    dg_free(&region);
}

static void check_margin(golden *file, golden_tally *tally, const upstream *u, const char *name, double margin)
{
    char path[GOLDEN_TEXT];
    double differing = 0;
    snprintf(path, sizeof path, "upstream/out/%s", name);
    golden_array want = golden_read_i64(file, "%s", path);
    golden_want_count(file, path, &want, u->target.count);
    uint64_t *got = make_ptv_region(u, margin);
    for (int64_t i = 0; i < want.count; i++) differing += (want.i64[i] != 0) != (got[i] != 0);
    golden_check(tally, path, "voxels", differing, 0);
    golden_array_free(&want);
    dg_free(&got);
}

static void check_upstream(golden *file, golden_tally *tally)
{
    char **names, path[GOLDEN_TEXT];
    double margin;
    upstream u = read_upstream(file);
    int count = golden_children(file, "upstream/out", &names);
    for (int i = 0; i < count; i++) {
        snprintf(path, sizeof path, "upstream/out/%s", names[i]);
        if (!golden_is_dataset(file, path))
            check_upstream_result(file, tally, &u, names[i]);
        else if (sscanf(names[i], "ptv_expanded_margin%lf", &margin) == 1)
            check_margin(file, tally, &u, names[i], margin);
    }
    golden_names_free(&names, count);
    free_upstream(&u);
}

static void check_file(const char *path, const char *only, golden_tally *tally)
{
    char **names;
    golden *file = golden_open(path);
    int count = golden_children(file, "", &names);
    for (int i = 0; i < count; i++) {
        if (only != NULL && strcmp(names[i], only) != 0) continue;
        if (strcmp(names[i], "upstream") == 0)
            check_upstream(file, tally);
        else
            check_case(file, tally, names[i]);
    }
    golden_names_free(&names, count);
    golden_close(&file);
}

/* The real patient's doses are not part of the project: they are read where they lie beside it. */
static void check_real(const char *path, golden_tally *tally)
{
    static const char tail[] = "tests/golden/gamma.h5";
    char beside[4096 + 64];
    const size_t length = strlen(path), part = sizeof tail - 1;
    if (length < part || strcmp(path + length - part, tail) != 0) return;
    snprintf(beside, sizeof beside, "%.*s../shared/golden/gamma.h5", (int)(length - part), path);
    if (access(beside, R_OK) == 0)
        check_file(beside, "e_real", tally);
    else
        printf("e_real is left out: there is no ../shared/golden/gamma.h5\n");
}

int main(int argc, char **argv)
{
    golden_args args = golden_parse(argc, argv, "gamma.h5");
    golden_tally tally = {0, 0};
    const dg_backend_options options = {.threads = THREADS, .deterministic = true};
    if (strcmp(args.backend, "cuda") == 0) DG_CHECK_OK(dg_backend_create(args.backend, &options, &device));
    check_file(args.path, NULL, &tally);
    check_real(args.path, &tally);
    dg_backend_destroy(&device);
    return golden_finish(&tally);
}
