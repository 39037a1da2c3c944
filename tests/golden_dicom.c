/* ctest: libs=golden_io,dg_h5,dg_formats,dg_grid label=unit timeout=120 */
/* golden_dicom.c - DICOM-RT cases against the reference's results, as read and as stored in a cohort.
 *
 *     golden_dicom [CASE_FOLDER [EXPECTED.h5] | DATA_FOLDER]        default: ../shared/data/dicom beside the sources
 *
 * A case folder NAME has its results in ../expected/expected_NAME.h5; of a data folder all cases with results are compared, and
 * those without have to be refused, each with words of its own. SPDX-License-Identifier: Apache-2.0 */
#include "dg_bits.h"
#include "dg_check.h"
#include "dg_cohort.h"
#include "dg_distance.h"
#include "dg_file.h"
#include "dg_mem.h"
#include "dg_rt_case.h"
#include "golden_io.h"

#include <dirent.h>
#include <jansson.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHANNELS_MAX = 16, CASES_MAX = 256, THREADS = 2, BEAMS_MAX = 32 };

static char label_text[600];

static const char *label(const char *format, const char *a, const char *b)
{
    snprintf(label_text, sizeof label_text, format, a, b);
    return label_text;
}

/* One case under comparison. */
typedef struct trial {
    char name[128], folder[DG_PATH_MAX];
    golden *file;
    golden_tally *tally;
    double clip_mm;
    dg_rt_case rt;
} trial;

static void check(trial *t, const char *group, const char *what, const char *measure, double value, double tolerance)
{
    char text[400];
    snprintf(text, sizeof text, "%s/%.60s/%.200s", t->name, group, what);
    golden_check(t->tally, text, measure, value, tolerance);
}

/* ---- reading ---- */

static dg_status read_candidate(const char *folder, const dg_mapping *mapping, bool upstream, dg_rt_case *rt)
{
    static dg_dicom_context context;
    const dg_rt_settings settings = {
        .mapping = mapping, .require_dose = true, .upstream = upstream, .threads = THREADS};
    dg_dicom_tree tree = {0};
    memset(&context, 0, sizeof context);
    context.case_id = "X";
    context.salt = "golden";
    DG_TRY(dg_dicom_scan(&context, folder, &tree));
    int64_t best = -1;
    for (int64_t i = 0; i < tree.case_count; i++)
        if (best < 0 || (tree.cases[best].structures.count == 0 && tree.cases[i].structures.count > 0)) best = i;
    dg_status status = best < 0 ? DG_FAIL(DG_ERR_DATA, "case X: nothing to import")
                                : dg_rt_case_read(&context, &tree.cases[best], &settings, rt);
    dg_dicom_tree_release(&tree);
    return status;
}

/* A preset with the crop of the file; a case that upstream took without PTV56 is taken without it. */
static dg_mapping *preset(golden *file, const char *name)
{
    char text[GOLDEN_TEXT];
    dg_mapping *m;
    DG_CHECK_OK(dg_mapping_load_preset(name, &m));
    for (int r = 1; r < m->count; r++) m->row[r].required = false;
    if (!golden_attr_string(file, "", "settings", text)) return m;
    json_t *root = json_loads(text, 0, NULL);
    DG_CHECK(root != NULL);
    m->crop.inplane = (int64_t)json_number_value(json_object_get(root, "inplane"));
    m->crop.margin_mm = json_number_value(json_object_get(root, "zmargin"));
    json_decref(root);
    return m;
}

/* ---- volumes; the reference's axes are [y][x][z] ---- */

static int64_t place(const dg_grid *g, int64_t i)
{
    const int64_t z = i % g->shape[0], x = i / g->shape[0] % g->shape[2], y = i / g->shape[0] / g->shape[2];
    return dg_grid_index(g, z, y, x);
}

static bool same_shape(trial *t, const char *group, const golden_array *a)
{
    const int64_t *s = t->rt.grid.shape, *w = a->shape + a->rank - 3;
    const bool same = a->rank >= 3 && w[0] == s[1] && w[1] == s[2] && w[2] == s[0];
    check(t, group, "shape", "different", same ? 0 : 1, 0);
    return same;
}

static void check_ct(trial *t, const char *group)
{
    if (!golden_has(t->file, label("%s/%s", group, "ct"))) return;
    golden_array want = golden_read_f32(t->file, "%s/ct", group);
    double worst = 0;
    const bool fits = same_shape(t, group, &want);
    for (int64_t i = 0; fits && i < want.count; i++) {
        const int64_t p = place(&t->rt.grid, i);
        const float hu = t->rt.ct_hu != NULL ? (float)t->rt.ct_hu[p] : t->rt.ct_hu_f32[p];
        const float ct = fminf(fmaxf(hu, -1000), 3000) / 4000.0F + 0.5F;
        worst = fmax(worst, fabs((double)ct - want.f32[i]));
    }
    check(t, group, "ct", "max", worst, 0);
    golden_array_free(&want);
}

static void check_dose(trial *t, const char *group)
{
    if (!golden_has(t->file, label("%s/%s", group, "dose"))) return;
    golden_array want = golden_read_f32(t->file, "%s/dose", group);
    double worst = 0;
    const bool fits = same_shape(t, group, &want);
    for (int64_t i = 0; fits && i < want.count; i++)
        worst = fmax(worst, fabs(t->rt.dose_gy[place(&t->rt.grid, i)] / t->rt.prescription_gy - (double)want.f32[i]));
    check(t, group, "dose", "max", worst, 1e-5);
    golden_array_free(&want);
}

static int structure_of(const dg_rt_case *rt, const char *name)
{
    for (int k = 0; k < rt->structure_count; k++)
        if (strcmp(rt->structure[k].name, name) == 0) return k;
    return -1;
}

/* Voxels of one channel that differ; `want` is [y][x][z]. */
static int64_t mask_difference(const dg_rt_case *rt, int k, const int64_t *want)
{
    int64_t different = 0;
    for (int64_t i = 0; i < dg_grid_voxels(&rt->grid); i++)
        different += (k >= 0 && dg_bits_get(rt->mask[k], place(&rt->grid, i))) != (want[i] != 0);
    return different;
}

/* "PTV70,PTV56,..": the names of a group's channels; of a list of numbers, those of version 2.4. */
static int channel_names(trial *t, const char *group, char name[CHANNELS_MAX][DG_STRUCTURE_NAME])
{
    static const char *const V24[] = {"PTV70",   "PTV56",   "Prostate", "Rectum", "Bladder",
                                      "Femur_L", "Femur_R", "Bowel",    "PTV50.4"};
    char text[GOLDEN_TEXT];
    double number[CHANNELS_MAX];
    int count = golden_attr_list(t->file, group, "channels", number, CHANNELS_MAX);
    for (int i = 0; i < count; i++) {
        if (number[i] < 0 || number[i] > 8) golden_reject(t->file, group, "names a channel that version 2.4 has not");
        snprintf(name[i], DG_STRUCTURE_NAME, "%s", V24[(int)number[i]]);
    }
    if (count > 0 || !golden_attr_string(t->file, group, "channels", text)) return count;
    for (char *word = strtok(text, ","); word != NULL && count < CHANNELS_MAX; word = strtok(NULL, ","))
        snprintf(name[count++], DG_STRUCTURE_NAME, "%s", word);
    return count;
}

static void check_masks(trial *t, const char *group)
{
    char name[CHANNELS_MAX][DG_STRUCTURE_NAME];
    if (!golden_has(t->file, label("%s/%s", group, "masks"))) return;
    const int channels = channel_names(t, group, name);
    golden_array want = golden_read_i64(t->file, "%s/masks", group);
    if (want.rank != 4 || want.shape[0] != channels)
        golden_reject(t->file, group, "has not a mask for each of its channels");
    const bool fits = same_shape(t, group, &want);
    for (int c = 0; fits && c < channels; c++)
        check(t, group, label("mask %s%s", name[c], ""), "different",
              (double)mask_difference(&t->rt, structure_of(&t->rt, name[c]), want.i64 + c * (want.count / channels)),
              0);
    golden_array_free(&want);
}

/* ---- distances ---- */

/* Of one structure, in the reference's unit; an absent one is +1 in version 2.3 and 0 in 2.4. */
static void distances(const trial *t, const char *name, bool v23, float *out)
{
    const int64_t voxels = dg_grid_voxels(&t->rt.grid);
    const int k = structure_of(&t->rt, name);
    uint8_t *mask;
    for (int64_t i = 0; k < 0 && i < voxels; i++) out[i] = v23 ? 1 : 0;
    if (k < 0) return;
    DG_CHECK_OK(DG_NEW(&mask, voxels, "golden"));
    for (int64_t i = 0; i < voxels; i++) mask[i] = dg_bits_get(t->rt.mask[k], i);
    DG_CHECK_OK(dg_signed_distance(mask, &t->rt.grid, t->clip_mm, THREADS, out));
    for (int64_t i = 0; i < voxels; i++) out[i] = (float)(out[i] / t->clip_mm);
    dg_free(&mask);
}

/* Which channels have distances: all, or those of an attribute. */
static int sdf_channels(trial *t, const char *group, int masks, int index[CHANNELS_MAX])
{
    double number[CHANNELS_MAX];
    int count = golden_attr_list(t->file, group, "masks_sdf_channels", number, CHANNELS_MAX);
    for (int i = 0; i < (count > 0 ? count : masks); i++) index[i] = count > 0 ? (int)number[i] : i;
    return count > 0 ? count : masks;
}

static void check_sdf(trial *t, const char *group, bool v23)
{
    char name[CHANNELS_MAX][DG_STRUCTURE_NAME];
    int index[CHANNELS_MAX];
    if (!golden_has(t->file, label("%s/%s", group, "masks_sdf"))) return;
    const int masks = channel_names(t, group, name), channels = sdf_channels(t, group, masks, index);
    golden_array want = golden_read_f32(t->file, "%s/masks_sdf", group);
    if (want.rank != 4 || want.shape[0] != channels)
        golden_reject(t->file, group, "has not distances for each channel");
    float *got;
    DG_CHECK_OK(DG_NEW(&got, want.count / channels, "golden"));
    const bool fits = same_shape(t, group, &want);
    for (int c = 0; fits && c < channels; c++) {
        double worst = 0;
        if (index[c] < 0 || index[c] >= masks) golden_reject(t->file, group, "has distances of a channel it has not");
        distances(t, name[index[c]], v23, got);
        for (int64_t i = 0; i < want.count / channels; i++)
            worst = fmax(worst, fabs((double)got[place(&t->rt.grid, i)] - want.f32[c * (want.count / channels) + i]));
        check(t, group, label("sdf %s%s", name[index[c]], ""), "max", worst, 1e-6);
    }
    dg_free(&got);
    golden_array_free(&want);
}

/* ---- numbers ---- */

static void check_attribute(trial *t, const char *group, const char *name, double got, double tolerance)
{
    double want;
    if (!golden_attr(t->file, label("%s/%s", group, "metadata"), name, &want)) return;
    check(t, group, name, "error", fabs(got - want), tolerance);
}

static void check_numbers(trial *t, const char *group)
{
    static const char *const BOX[3][2] = {{"crop_box/z_start", "crop_box/z_end"},
                                          {"crop_box/y_start", "crop_box/y_end"},
                                          {"crop_box/x_start", "crop_box/x_end"}};
    static const int AXIS[3] = {1, 2, 0};
    const dg_rt_case *rt = &t->rt;
    double spacing[3];
    if (golden_has(t->file, label("%s/%s", group, "constraints"))) {
        golden_array want = golden_read_f32(t->file, "%s/constraints", group);
        golden_want_count(t->file, group, &want, DG_CONDITIONING_PROSTATE);
        const golden_error e = golden_compare(rt->constraint, want.f32, want.count);
        check(t, group, "constraints", "max", rt->constraint_count == 0 ? INFINITY : e.max, 1e-6);
        golden_array_free(&want);
    }
    if (!golden_has(t->file, label("%s/%s", group, "metadata"))) return;
    for (int a = 0; a < 3; a++) {
        check_attribute(t, group, BOX[a][0], (double)rt->crop.start[a], 0);
        check_attribute(t, group, BOX[a][1], (double)(rt->crop.start[a] + rt->crop.shape[a]), 0);
    }
    check_attribute(t, group, "normalization_dose_gy", rt->prescription_gy, 0);
    check_attribute(t, group, "beam_geometry/num_beams", (double)rt->plan.beam_count, 0);
    if (golden_attr_list(t->file, label("%s/%s", group, "metadata"), "voxel_spacing_mm", spacing, 3) == 3)
        for (int a = 0; a < 3; a++)
            check(t, group, "spacing", "error", fabs(rt->grid.spacing_mm[AXIS[a]] - spacing[a]), 1e-6);
}

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double percentile(const float *sorted, int64_t count, double percent)
{
    const double at = percent / 100 * (double)(count - 1);
    const int64_t low = (int64_t)at, high = low + 1 < count ? low + 1 : low;
    return sorted[low] + (at - (double)low) * ((double)sorted[high] - sorted[low]);
}

/* What an attribute of a DVH group is of these doses: D95, V50Gy_pct, mean, .. */
static double dvh_value(const float *sorted, int64_t count, const char *name, double voxel_cc)
{
    double number, sum = 0;
    int64_t above = 0;
    if (strcmp(name, "voxels") == 0) return (double)count;
    if (strcmp(name, "volume_cc") == 0) return (double)count * voxel_cc;
    if (strcmp(name, "min") == 0) return sorted[0];
    if (strcmp(name, "max") == 0) return sorted[count - 1];
    for (int64_t i = 0; i < count; i++) sum += sorted[i];
    if (strcmp(name, "mean") == 0) return sum / (double)count;
    if (sscanf(name, "V%lfGy_pct", &number) == 1) {
        for (int64_t i = 0; i < count; i++) above += sorted[i] >= number;
        return 100 * (double)above / (double)count;
    }
    return sscanf(name, "D%lf", &number) == 1 ? percentile(sorted, count, 100 - number) : NAN;
}

static void check_dvh(trial *t)
{
    static const char *const NAMES[] = {"D2",        "D50", "D95",  "D98", "V50Gy_pct", "V60Gy_pct",
                                        "V65Gy_pct", "max", "mean", "min", "volume_cc", "voxels"};
    char **structure;
    if (!golden_has(t->file, "dvh")) return;
    const int count = golden_children(t->file, "dvh", &structure);
    const int64_t voxels = dg_grid_voxels(&t->rt.grid);
    float *gy;
    DG_CHECK_OK(DG_NEW(&gy, voxels, "golden"));
    for (int s = 0; s < count; s++) {
        const int k = structure_of(&t->rt, structure[s]);
        int64_t n = 0;
        for (int64_t i = 0; k >= 0 && i < voxels; i++)
            if (dg_bits_get(t->rt.mask[k], i)) gy[n++] = t->rt.dose_gy[i];
        check(t, "dvh", structure[s], "absent", n == 0, 0);
        if (n == 0) continue;
        qsort(gy, (size_t)n, sizeof *gy, ascending);
        const double cc = t->rt.grid.spacing_mm[0] * t->rt.grid.spacing_mm[1] * t->rt.grid.spacing_mm[2] / 1000;
        for (size_t v = 0; v < sizeof NAMES / sizeof *NAMES; v++) {
            double want;
            if (!golden_attr(t->file, label("%s/%s", "dvh", structure[s]), NAMES[v], &want)) continue;
            const double got = dvh_value(gy, n, NAMES[v], cc), share = NAMES[v][0] == 'V' ? 1 : t->rt.prescription_gy;
            /* a voxel on the threshold may fall to the other side: its share */
            const double grain = NAMES[v][0] == 'V' ? 100.0 / (double)n : 1e-5 * share;
            check(t, "dvh", label("%s %s", structure[s], NAMES[v]), "error", fabs(got - want), grain);
        }
    }
    dg_free(&gy);
    golden_names_free(&structure, count);
}

/* ---- beams ---- */

/* The reference has 0 where nothing was said. With `carried` > 0 the file leaves positions out that its results hold: a row
 * of so many values is then right also where it repeats the one before, as PS3.3 C.8.8.14.5 has it. */
static double track_error(const double *got, const golden_array *want, int64_t carried)
{
    double worst = 0;
    for (int64_t i = 0; i < want->count; i++) {
        const double w = want->f32[i], g = got == NULL ? NAN : got[i];
        const int64_t row = carried > 0 ? i / carried * carried : 0;
        if (row > 0 && memcmp(got + row, got + row - carried, (size_t)carried * sizeof *got) == 0) continue;
        if (isnan(g) && (isnan(w) || w == 0)) continue;
        const double e = fabs((double)(float)g - w);
        worst = isnan(e) ? INFINITY : fmax(worst, e);
    }
    return worst;
}

static void check_track(trial *t, const char *group, const char *path, const char *what, const double *got,
                        int64_t count, int64_t carried)
{
    if (!golden_has(t->file, path)) return;
    golden_array want = golden_read_f32(t->file, "%s", path);
    check(t, group, what, "error", want.count != count ? INFINITY : track_error(got, &want, got == NULL ? 0 : carried),
          0);
    golden_array_free(&want);
}

static void check_beams(trial *t, const char *group)
{
    char reference[GOLDEN_TEXT] = "";
    const bool sparse =
        golden_attr_string(t->file, "", "reference", reference) && strstr(reference, "MLC positions left out") != NULL;
    for (int64_t b = 0; b < t->rt.plan.beam_count && b < BEAMS_MAX; b++) {
        const dg_dicom_beam *beam = &t->rt.plan.beams[b];
        const struct {
            const char *name;
            const double *values;
        } tracks[] = {{"gantry_angles", beam->gantry_deg},
                      {"cumulative_meterset_weight", beam->weight},
                      {"dose_rates", beam->dose_rate},
                      {"jaw_x1", beam->jaw_x1},
                      {"jaw_x2", beam->jaw_x2},
                      {"jaw_y1", beam->jaw_y1},
                      {"jaw_y2", beam->jaw_y2}};
        char path[200], what[80], base[120];
        const int64_t leaves = beam->control_points * beam->leaf_pairs;
        for (int bank = 0; bank < 2; bank++) {
            snprintf(path, sizeof path, "%s/beam%lld_mlc_%c", group, (long long)b, 'a' + bank);
            snprintf(what, sizeof what, "beam%lld_mlc_%c", (long long)b, 'a' + bank);
            check_track(t, group, path, what, bank == 0 ? beam->mlc_a : beam->mlc_b, leaves,
                        sparse ? beam->leaf_pairs : 0);
        }
        snprintf(base, sizeof base, "%s/metadata/beam%lld", group, (long long)b);
        for (size_t k = 0; k < sizeof tracks / sizeof *tracks; k++) {
            snprintf(path, sizeof path, "%s/%s", base, tracks[k].name);
            snprintf(what, sizeof what, "beam%lld %s", (long long)b, tracks[k].name);
            check_track(t, group, path, what, tracks[k].values, beam->control_points, 0);
        }
        snprintf(path, sizeof path, "%s/leaf_boundaries", base);
        check_track(t, group, path, "leaf boundaries", beam->leaf_boundaries, beam->leaf_pairs + 1, 0);
    }
}

/* ---- as stored ---- */

static void write_stored(trial *t, const char *folder, dg_cohort **cohort)
{
    dg_case_data data = {.ct_hu = t->rt.ct_hu,
                         .ct_hu_f32 = t->rt.ct_hu_f32,
                         .dose_gy = t->rt.dose_gy,
                         .mask_bits = t->rt.structure_count > 0 ? (const uint8_t *const *)t->rt.mask : NULL,
                         .plan = t->rt.has_plan ? &t->rt.plan : NULL};
    snprintf(data.info.id, sizeof data.info.id, "x");
    data.info.grid = t->rt.grid;
    data.info.has_dose = true;
    data.info.dose_box = t->rt.dose_box;
    data.info.prescription_gy = t->rt.prescription_gy;
    data.info.structure_count = t->rt.structure_count;
    memcpy(data.info.structure, t->rt.structure, sizeof data.info.structure);
    DG_CHECK_OK(dg_case_write(folder, &data));
    DG_CHECK_OK(dg_cohort_write_index(folder, NULL, 0));
    DG_CHECK_OK(dg_cohort_open(folder, cohort));
}

/* Distances are kept in steps of 100 mm / 32767, clipped there: half a step from what was computed. */
static void check_stored(trial *t)
{
    char folder[] = "/tmp/golden_dicom.XXXXXX", command[80];
    const int64_t voxels = dg_grid_voxels(&t->rt.grid);
    dg_box all = {{0, 0, 0}, {t->rt.grid.shape[0], t->rt.grid.shape[1], t->rt.grid.shape[2]}};
    dg_cohort *cohort;
    dg_case *c;
    float *stored, *fresh;
    DG_CHECK(mkdtemp(folder) != NULL);
    write_stored(t, folder, &cohort);
    DG_CHECK_OK(dg_case_open(cohort, 0, &c));
    DG_CHECK_OK(DG_NEW(&stored, voxels, "golden"));
    DG_CHECK_OK(DG_NEW(&fresh, voxels, "golden"));
    double worst = 0;
    DG_CHECK_OK(dg_case_read(c, DG_FIELD_DOSE_GY, 0, &all, stored));
    check(t, "stored", "dose", "different", memcmp(stored, t->rt.dose_gy, (size_t)voxels * sizeof *stored) != 0, 0);
    DG_CHECK_OK(dg_case_read(c, DG_FIELD_CT_HU, 0, &all, stored));
    for (int64_t i = 0; i < voxels; i++)
        worst =
            fmax(worst, fabs((double)stored[i] - (t->rt.ct_hu != NULL ? (float)t->rt.ct_hu[i] : t->rt.ct_hu_f32[i])));
    check(t, "stored", "ct", "max", worst, 0);
    worst = 0;
    for (int k = 0; k < t->rt.structure_count; k++) {
        DG_CHECK_OK(dg_case_read(c, DG_FIELD_SDF_MM, k, &all, stored));
        distances(t, t->rt.structure[k].name, false, fresh);
        for (int64_t i = 0; i < voxels; i++)
            worst = fmax(worst, fabs(fmax(fmin(stored[i], t->clip_mm), -t->clip_mm) - fresh[i] * t->clip_mm));
    }
    check(t, "stored", "sdf_mm", "max", worst, 0.5 * 100 / 32767 + 1e-5);
    dg_free(&stored);
    dg_free(&fresh);
    dg_case_close(&c);
    dg_cohort_close(&cohort);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    DG_CHECK(system(command) == 0);
}

/* ---- one case ---- */

static bool start(trial *t, const char *group, const dg_mapping *mapping, bool upstream)
{
    const dg_status status = read_candidate(t->folder, mapping, upstream, &t->rt);
    if (status != DG_OK) printf("%s: %s\n", t->name, dg_error_last()->text);
    check(t, group, "imported", "refused", status != DG_OK, 0);
    return status == DG_OK;
}

static void check_version(trial *t, const char *group, const char *name)
{
    if (!golden_has(t->file, group)) return;
    dg_mapping *mapping = preset(t->file, name);
    if (start(t, group, mapping, false)) {
        t->clip_mm = golden_attr_or(t->file, label("%s/%s", group, "metadata"), "sdf_clip_mm", 50);
        check_ct(t, group);
        check_dose(t, group);
        check_masks(t, group);
        check_sdf(t, group, strcmp(name, "v2.3") == 0);
        check_numbers(t, group);
        check_beams(t, group);
        if (strcmp(name, "v2.4") == 0) {
            check_dvh(t);
            check_stored(t);
        }
    }
    dg_rt_case_release(&t->rt);
    dg_free(&mapping);
}

/* Group v24_more_aliases: names that upstream's own file does not know, added by a mapping. */
static void check_more_aliases(trial *t)
{
    const char *group = "v24_more_aliases", *key;
    char text[GOLDEN_TEXT], yaml[4096] = "format: dosegrid-mapping\nversion: 1\nname: more\nstructures:\n";
    if (!golden_has(t->file, group) || !golden_attr_string(t->file, group, "aliases", text)) return;
    dg_mapping *mapping = preset(t->file, "v2.4"), *more;
    json_t *root = json_loads(text, 0, NULL), *names, *name;
    size_t i;
    DG_CHECK(root != NULL);
    json_object_foreach(root, key, names)
    {
        const size_t used = strlen(yaml);
        snprintf(yaml + used, sizeof yaml - used, "  - name: %s\n    role: oar\n    aliases:\n",
                 mapping->row[atoi(key) % mapping->count].structure.name);
        json_array_foreach(names, i, name)
        {
            const size_t at = strlen(yaml);
            snprintf(yaml + at, sizeof yaml - at, "      - \"%s\"\n", json_string_value(name));
        }
    }
    json_decref(root);
    DG_CHECK_OK(dg_mapping_read(yaml, strlen(yaml), "more.yaml", false, &more));
    DG_CHECK_OK(dg_mapping_extend(mapping, more));
    if (start(t, group, mapping, false)) {
        check_masks(t, group);
        check_sdf(t, group, false);
    }
    dg_rt_case_release(&t->rt);
    dg_free(&more);
    dg_free(&mapping);
}

/* Where upstream fills holes, our `compat: upstream` does as well. */
static void check_upstream(trial *t)
{
    const char *group = "upstream_raw_v24";
    char reference[GOLDEN_TEXT], **names;
    if (!golden_has(t->file, group) || !golden_attr_string(t->file, "", "reference", reference)) return;
    if (strstr(reference, " hole ") == NULL) return;
    dg_mapping *mapping = preset(t->file, "v2.4");
    const int count = golden_children(t->file, group, &names);
    if (start(t, group, mapping, true))
        for (int i = 0; i < count; i++) {
            if (strncmp(names[i], "mask_", 5) != 0) continue;
            golden_array want = golden_read_i64(t->file, "%s/%s", group, names[i]);
            if (same_shape(t, group, &want))
                check(t, group, names[i], "different",
                      (double)mask_difference(&t->rt, structure_of(&t->rt, names[i] + 5), want.i64), 0);
            golden_array_free(&want);
        }
    dg_rt_case_release(&t->rt);
    golden_names_free(&names, count);
    dg_free(&mapping);
}

static void check_case(const char *folder, const char *name, const char *expected, golden_tally *tally)
{
    trial t = {.tally = tally, .clip_mm = 50};
    snprintf(t.name, sizeof t.name, "%s", name);
    snprintf(t.folder, sizeof t.folder, "%s", folder);
    t.file = golden_open(expected);
    check_version(&t, "v24", "v2.4");
    check_version(&t, "v23", "v2.3");
    check_more_aliases(&t);
    check_upstream(&t);
    golden_close(&t.file);
}

/* ---- folders ---- */

/* Does the list of cases leave it open whether this one is refused ("refuse, or take ..")? */
static bool may_import(const char *folder, const char *name)
{
    char path[DG_PATH_MAX + 32], line[2000];
    snprintf(path, sizeof path, "%s/../manifest.tsv", folder);
    FILE *list = fopen(path, "r");
    bool open = false;
    while (list != NULL && fgets(line, sizeof line, list) != NULL) {
        if (strncmp(line, name, strlen(name)) != 0 || line[strlen(name)] != '\t') continue;
        char *column = line;
        for (int c = 0; c < 3 && column != NULL; c++) column = strchr(column + 1, '\t');
        open = column != NULL && strncmp(column, "\trefuse, or ", 12) == 0;
    }
    if (list != NULL) fclose(list);
    return open;
}

/* A case without results has to be refused, in words that no other case got. */
static void check_refused(const char *folder, const char *name, char words[CASES_MAX][400], int *count,
                          golden_tally *tally)
{
    dg_mapping *mapping;
    dg_rt_case rt = {0};
    char what[200];
    DG_CHECK_OK(dg_mapping_load_preset("v2.4", &mapping));
    const dg_status status = read_candidate(folder, mapping, false, &rt);
    int same = 0;
    snprintf(what, sizeof what, "%s/refused", name);
    if (status != DG_OK && *count < CASES_MAX) {
        snprintf(words[*count], 400, "%.399s", dg_error_last()->text);
        printf("%s: %s\n", name, words[*count]);
        for (int i = 0; i < *count; i++) same += strcmp(words[i], words[*count]) == 0;
        ++*count;
    }
    golden_check(tally, what, "imported", status == DG_OK && !may_import(folder, name), 0);
    golden_check(tally, what, "same words", same, 0);
    dg_rt_case_release(&rt);
    dg_free(&mapping);
}

static int by_name(const void *a, const void *b) { return strcmp(a, b); }

static void check_folder(const char *root, golden_tally *tally)
{
    static char name[CASES_MAX][128], words[CASES_MAX][400];
    int count = 0, refused = 0;
    DIR *listing = opendir(root);
    const struct dirent *entry;
    while (listing != NULL && (entry = readdir(listing)) != NULL && count < CASES_MAX)
        if (strncmp(entry->d_name, "case_", 5) == 0 || strncmp(entry->d_name, "var_", 4) == 0 ||
            strncmp(entry->d_name, "bad_", 4) == 0)
            snprintf(name[count++], sizeof name[0], "%.127s", entry->d_name);
    if (listing != NULL) closedir(listing);
    qsort(name, (size_t)count, sizeof name[0], by_name);
    for (int i = 0; i < count; i++) {
        char folder[DG_PATH_MAX], expected[DG_PATH_MAX];
        snprintf(folder, sizeof folder, "%.2000s/%s", root, name[i]);
        snprintf(expected, sizeof expected, "%.2000s/expected/expected_%s.h5", root, name[i]);
        if (access(expected, R_OK) == 0)
            check_case(folder, name[i], expected, tally);
        else
            check_refused(folder, name[i], words, &refused, tally);
    }
}

int main(int argc, char **argv)
{
    char path[DG_PATH_MAX], expected[2 * DG_PATH_MAX], resolved[DG_PATH_MAX];
    const char *root = getenv("DG_TEST_SOURCE");
    golden_tally tally = {0};
    if (argc > 3 || (argc > 1 && argv[1][0] == '-')) {
        fprintf(stderr, "usage: %s [CASE_FOLDER [EXPECTED.h5] | DATA_FOLDER]\n", argv[0]);
        return 2;
    }
    snprintf(path, sizeof path, "%.3000s%s",
             argc > 1       ? argv[1]
             : root != NULL ? root
                            : ".",
             argc > 1 ? "" : "/../shared/data/dicom");
    if (realpath(path, resolved) == NULL) {
        printf("%s: %s is not here\n", argc > 1 ? "failed" : "skipped", path);
        return argc > 1 ? 1 : DG_TEST_SKIPPED;
    }
    const char *name = strrchr(resolved, '/') + 1;
    snprintf(expected, sizeof expected, "%s/expected", resolved);
    if (argc < 3 && access(expected, R_OK) == 0) {
        check_folder(resolved, &tally);
        return golden_finish(&tally);
    }
    snprintf(expected, sizeof expected, "%.*s/expected/expected_%s.h5", (int)(name - 1 - resolved), resolved, name);
    if (argc == 3) snprintf(expected, sizeof expected, "%s", argv[2]);
    if (access(expected, R_OK) == 0) {
        check_case(resolved, name, expected, &tally);
    } else {
        static char words[CASES_MAX][400];
        int refused = 0;
        check_refused(resolved, name, words, &refused, &tally);
    }
    return golden_finish(&tally);
}
