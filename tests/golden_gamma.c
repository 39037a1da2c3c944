/* ctest: libs=golden_io,dg_analysis,dg_grid label=unit timeout=200 args= ; ../shared/golden/gamma.h5 */
/* golden_gamma.c - gamma maps against pymedphys, and the reference's region summaries (golden README section 6).
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_gamma.h"
#include "dg_mem.h"
#include "dg_regions.h"
#include "golden_io.h"

enum { THREADS = 2 };

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
    for (int a = 0; a < d->values.rank; a++) golden_array_free(&d->axis[a]);
}

static double largest(const float *values, int64_t count)
{
    float most = -INFINITY;
    for (int64_t i = 0; i < count; i++) most = fmaxf(most, values[i]);
    return (double)most;
}

static dg_gamma_params read_params(golden *file, const char *name, const dose *reference)
{
    dg_gamma_params p = {.method = DG_GAMMA_PYMEDPHYS};
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

int main(int argc, char **argv)
{
    golden_args args = golden_parse(argc, argv, "gamma.h5");
    golden_tally tally = {0, 0};
    char **names;
    golden *file = golden_open(args.path);
    int count = golden_children(file, "", &names);
    for (int i = 0; i < count; i++)
        if (strcmp(names[i], "upstream") != 0) check_case(file, &tally, names[i]);
    golden_names_free(&names, count);
    golden_close(&file);
    return golden_finish(&tally);
}
