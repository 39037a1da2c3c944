/* ctest: libs=dg_h5,dg_analysis,PkgConfig::ZLIB label=unit timeout=60 */
/* t770: pages of a report. Volumes come back out of a page within their steps, no failing gamma reads as passing, the part
 * that is kept holds what matters, sizes are bounded, and hostile text stays text.
 * `t770_report_page --make FOLDER` writes a cohort, two folders of predictions and what is true of them for the tests of
 * the program. SPDX-License-Identifier: Apache-2.0 */
#include "dg_report.h"
#include "dg_cohort.h"
#include "dg_file.h"
#include "dg_mem.h"
#include "dg_predictions.h"
#include "dg_check.h"

#include <unistd.h>
#include <zlib.h>

enum { NZ = 18, NY = 22, NX = 26, VOXELS = NZ * NY * NX };
static const int64_t worst[3] = {5, 8, 9}, hottest[3] = {9, 11, 14};
static const char hostile[] = "A</script><script>alert(1)</script>&amp;\"'`$(id)";

static int64_t at(int64_t z, int64_t y, int64_t x) { return (z * NY + y) * NX + x; }

typedef struct fixture {
    dg_case_data data;
    int16_t ct[VOXELS];
    float ct_f32[VOXELS], dose[VOXELS], prediction[2][VOXELS];
    uint64_t masks[VOXELS];
} fixture;

static void add_structure(dg_case_info *info, const char *name, dg_role role, const char *mirror)
{
    dg_structure *s = &info->structure[info->structure_count++];
    snprintf(s->name, sizeof s->name, "%s", name);
    snprintf(s->mirror, sizeof s->mirror, "%s", mirror);
    s->role = role;
    if (role == DG_ROLE_TARGET) s->prescription_gy = 60;
}

/* A Gaussian dose about the middle with one hottest voxel; prediction 0 adds a block that no search of 3 mm leaves, with
 * its peak in voxel `worst`; prediction 1 is 1 Gy too high everywhere. */
static void fill(fixture *f, const char *id, const double direction[9], const char *third)
{
    const int64_t shape[3] = {NZ, NY, NX};
    const double spacing[3] = {4, 3, 2.5};
    dg_case_info *info = &f->data.info;
    memset(f, 0, sizeof *f);
    snprintf(info->id, sizeof info->id, "%s", id);
    snprintf(info->group, sizeof info->group, "group-%s", id);
    snprintf(info->site, sizeof info->site, "test");
    snprintf(info->source_format, sizeof info->source_format, "phantom");
    snprintf(info->prescription_source, sizeof info->prescription_source, "preset");
    info->grid = dg_grid_make(shape, spacing);
    info->grid.origin_mm[0] = -20;
    memcpy(info->grid.direction, direction, sizeof info->grid.direction);
    info->prescription_gy = 60;
    info->fractions = 30;
    info->has_dose = true;
    for (int a = 0; a < 3; a++) info->dose_box.shape[a] = shape[a];
    add_structure(info, "Body", DG_ROLE_BODY, "");
    add_structure(info, "PTV60", DG_ROLE_TARGET, "");
    add_structure(info, third, DG_ROLE_OAR, "");
    for (int64_t z = 0; z < NZ; z++)
        for (int64_t y = 0; y < NY; y++)
            for (int64_t x = 0; x < NX; x++) {
                int64_t i = at(z, y, x);
                double mm2 = 16.0 * (double)((z - 9) * (z - 9)) + 9.0 * (double)((y - 11) * (y - 11)) +
                             6.25 * (double)((x - 13) * (x - 13));
                bool body = y >= 3 && y < NY - 3 && x >= 3 && x < NX - 3;
                bool block = llabs(z - worst[0]) <= 2 && llabs(y - worst[1]) <= 2 && llabs(x - worst[2]) <= 2;
                f->dose[i] = (float)(60 * exp(-mm2 / 288) + (body ? 4 : 0));
                f->ct[i] = (int16_t)(body ? 7 * ((z + 2 * y + 3 * x) % 20) : -1000);
                f->ct_f32[i] = f->ct[i];
                f->masks[i] = (body ? 1u : 0u) | (mm2 < 150 ? 2u : 0u) | (body && x > 18 ? 4u : 0u);
                f->prediction[0][i] =
                    f->dose[i] + (block ? 30 : 0) + (direction[0] == 0 && body ? 0.25f : 0); /* cases differ */
                f->prediction[1][i] = f->dose[i] + 1;
            }
    int64_t peak = at(worst[0], worst[1], worst[2]), hot = at(hottest[0], hottest[1], hottest[2]);
    f->prediction[0][peak] += 10;
    f->dose[hot] = f->prediction[0][hot] = 120;
    f->data.ct_hu = f->ct;
    f->data.dose_gy = f->dose;
    f->data.masks = f->masks;
}
static const double lps[9] = {1, 0, 0, 0, 1, 0, 0, 0, 1};
/* Index x runs to the back, index y to the patient's right, index z to the head. */
static const double turned[9] = {0, -1, 0, 1, 0, 0, 0, 0, 1};

/* ---- the data of a written page ------------------------------------------------------------------------------------ */

static char *read_page(const char *path, int64_t *length)
{
    char *text;
    DG_CHECK_OK(dg_file_read(path, "page", 1 << 28, &text, length));
    return text;
}

/* The element with this id, up to its end. */
static char *element(const char *page, const char *id)
{
    char mark[64], *copy;
    snprintf(mark, sizeof mark, "id=\"%s\">", id);
    const char *start = strstr(page, mark);
    DG_CHECK(start != NULL);
    start += strlen(mark);
    const char *end = strstr(start, "</script>");
    DG_CHECK(end != NULL);
    DG_CHECK_OK(DG_NEW(&copy, end - start + 1, "element"));
    memcpy(copy, start, (size_t)(end - start));
    return copy;
}

static json_t *page_data(const char *page)
{
    char *text = element(page, "data");
    json_t *data = json_loads(text, JSON_DECODE_ANY, NULL);
    DG_CHECK(data != NULL);
    dg_free(&text);
    return data;
}

static int digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *found = strchr(digits, c);
    DG_CHECK(found != NULL && c != '\0');
    return (int)(found - digits);
}

/* Bytes of an attachment: base64, then zlib. */
static unsigned char *unpack(const char *page, const json_t *entry, size_t wanted)
{
    char *text = element(page, json_string_value(json_object_get(entry, "id")));
    size_t length = strlen(text), count = 0;
    unsigned char *packed, *bytes;
    uLongf got = wanted;
    DG_CHECK(length % 4 == 0);
    DG_CHECK_OK(DG_NEW(&packed, length, "packed"));
    DG_CHECK_OK(DG_NEW(&bytes, wanted, "bytes"));
    for (size_t i = 0; i < length; i += 4) {
        int pad = (text[i + 3] == '=') + (text[i + 2] == '=');
        int word = digit(text[i]) << 18 | digit(text[i + 1]) << 12 | (pad < 2 ? digit(text[i + 2]) << 6 : 0) |
                   (pad < 1 ? digit(text[i + 3]) : 0);
        packed[count++] = (unsigned char)(word >> 16);
        if (pad < 2) packed[count++] = (unsigned char)(word >> 8);
        if (pad < 1) packed[count++] = (unsigned char)word;
    }
    DG_CHECK(uncompress(bytes, &got, packed, count) == Z_OK && got == wanted);
    dg_free(&packed);
    dg_free(&text);
    return bytes;
}

static double field(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    DG_CHECK(json_is_number(value));
    return json_number_value(value);
}

/* The volume in a page against the truth, voxel by voxel. */
static void check_volume(const char *page, const json_t *pictured, const json_t *entry, const float *truth,
                         double most_step)
{
    const json_t *shape = json_object_get(pictured, "shape"), *start = json_object_get(pictured, "crop_start");
    int64_t n[3], s[3], stride = (int64_t)field(pictured, "stride");
    for (int a = 0; a < 3; a++) {
        n[a] = json_integer_value(json_array_get(shape, (size_t)a));
        s[a] = json_integer_value(json_array_get(start, (size_t)a));
    }
    size_t count = (size_t)(n[0] * n[1] * n[2]);
    bool wide = field(entry, "bits") == 16;
    double step = field(entry, "step"), offset = field(entry, "offset");
    DG_CHECK(step <= most_step * (1 + 1e-9));
    unsigned char *bytes = unpack(page, entry, wide ? 2 * count : count);
    unsigned code = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t x = (int64_t)i % n[2], y = (int64_t)i / n[2] % n[1], z = (int64_t)i / n[2] / n[1];
        float value = truth[at(s[0] + z * stride, s[1] + y * stride, s[2] + x * stride)];
        code = wide ? (code + bytes[i] + 256u * bytes[count + i]) & 65535u : bytes[i];
        if (isnan(value))
            DG_CHECK(code == (wide ? 65535u : 255u));
        else if (wide)
            DG_CHECK_NEAR(offset + step * code, value, step / 2 + 1e-5);
        else /* gamma: rounded up, and never across 1 */
            DG_CHECK(step * code >= value - 1e-6 && step * code < value + step &&
                     (value <= 1) == (step * code <= 1 + 1e-9));
    }
    dg_free(&bytes);
}

static dg_report_case view_of(const fixture *f, const float *gamma)
{
    return (dg_report_case){.id = f->data.info.id,
                            .why = "chosen",
                            .note = "",
                            .grid = &f->data.info.grid,
                            .ct_hu = f->ct_f32,
                            .dose_gy = {f->dose, f->prediction[0], f->prediction[1]},
                            .gamma = {NULL, gamma, NULL},
                            .max_gamma = 2,
                            .gamma_label = "3 %/3 mm",
                            .masks = f->masks,
                            .structure = f->data.info.structure,
                            .structure_count = f->data.info.structure_count,
                            .prescription_gy = 60};
}

static void check_case(const char *path, fixture *f)
{
    static float gamma[VOXELS];
    dg_report_page *page;
    json_t *pictured;
    int64_t bytes, length;
    for (int i = 0; i < VOXELS; i++) gamma[i] = f->dose[i] < 30 ? NAN : (float)(i % 2001) / 1000;
    f->dose[at(9, 11, 10)] = NAN;
    dg_report_case view = view_of(f, gamma);
    DG_CHECK_OK(dg_report_page_create(DG_REPORT_EXPERIMENT, hostile, &page));
    DG_CHECK_OK(dg_report_page_add_case(page, &view, 1 << 24, false, &pictured));
    DG_CHECK(pictured != NULL && field(pictured, "stride") == 1);
    json_t *data = json_pack("{s:s, s:O}", "text", hostile, "case", pictured);
    DG_CHECK_OK(dg_report_page_write(page, data, path, &bytes));
    char *text = read_page(path, &length);
    DG_CHECK(length == bytes);
    json_t *back = page_data(text);
    DG_CHECK(strcmp(json_string_value(json_object_get(back, "text")), hostile) == 0);
    const json_t *volumes = json_object_get(pictured, "volumes"), *doses = json_object_get(volumes, "dose");
    check_volume(text, pictured, json_object_get(volumes, "ct"), f->ct_f32, 1);
    for (size_t d = 0; d < 3; d++) check_volume(text, pictured, json_array_get(doses, d), view.dose_gy[d], 0.01);
    check_volume(text, pictured, json_array_get(json_object_get(volumes, "gamma"), 1), gamma, 0.01);
    DG_CHECK(strstr(text, "alert(1)</script>") == NULL && strstr(text, "<script>alert") == NULL);
    DG_CHECK(strstr(text, "&lt;script&gt;alert(1)") != NULL); /* the title */
    /* The body and two voxels around it: 3 .. NY - 4 becomes 1 .. NY - 2. */
    DG_CHECK(json_integer_value(json_array_get(json_object_get(pictured, "shape"), 1)) == NY - 2);
    dg_free(&text);
    json_decref(back);
    json_decref(data);
    json_decref(pictured);
    dg_report_page_destroy(&page);
    DG_CHECK(page == NULL);
}

/* A page that would become too large keeps fewer voxels, or leaves the case out and is as before. */
static void check_bound(fixture *f)
{
    dg_report_page *page;
    json_t *pictured;
    dg_report_case view = view_of(f, NULL);
    DG_CHECK_OK(dg_report_page_create(DG_REPORT_EXPERIMENT, "bound", &page));
    int64_t empty = dg_report_page_bytes(page);
    DG_CHECK_OK(dg_report_page_add_case(page, &view, 1 << 24, false, &pictured));
    int64_t whole = dg_report_page_bytes(page) - empty;
    json_decref(pictured);
    dg_report_page_destroy(&page);
    DG_CHECK_OK(dg_report_page_create(DG_REPORT_EXPERIMENT, "bound", &page));
    DG_CHECK_OK(dg_report_page_add_case(page, &view, empty + whole / 2, false, &pictured));
    DG_CHECK(pictured == NULL && dg_report_page_bytes(page) == empty);
    DG_CHECK_OK(dg_report_page_add_case(page, &view, empty + whole / 2, true, &pictured));
    DG_CHECK(pictured != NULL && field(pictured, "stride") == 2 && dg_report_page_bytes(page) <= empty + whole / 2);
    DG_CHECK(strstr(json_string_value(json_object_get(pictured, "note")), "only every 2. voxel") != NULL);
    json_decref(pictured);
    f->prediction[0][7 + VOXELS / 2] = INFINITY;
    int64_t before = dg_report_page_bytes(page);
    DG_CHECK_FAILS(dg_report_page_add_case(page, &view, 1 << 24, true, &pictured), DG_ERR_DATA, "infinite");
    DG_CHECK(pictured == NULL && dg_report_page_bytes(page) == before);
    dg_report_page_destroy(&page);
}

/* V at 50 Gy of the target, counted. */
static void check_dvh(fixture *f)
{
    dg_report_page *page;
    json_t *pictured;
    dg_report_case view = view_of(f, NULL);
    int64_t inside = 0, above = 0;
    for (int i = 0; i < VOXELS; i++) {
        if ((f->masks[i] & 2) == 0) continue;
        inside++;
        above += f->prediction[0][i] >= 50;
    }
    DG_CHECK_OK(dg_report_page_create(DG_REPORT_EXPERIMENT, "dvh", &page));
    DG_CHECK_OK(dg_report_page_add_case(page, &view, 1 << 24, false, &pictured));
    const json_t *dvh = json_object_get(pictured, "dvh");
    const json_t *target = json_array_get(json_object_get(dvh, "structures"), 1);
    const json_t *curve = json_array_get(json_object_get(target, "curves"), 1);
    size_t bin = (size_t)lround(50 / field(dvh, "step_gy"));
    DG_CHECK_NEAR((double)bin * field(dvh, "step_gy"), 50, 1e-9);
    DG_CHECK(json_array_size(curve) == (size_t)field(dvh, "bins") && above > 0 && above < inside);
    DG_CHECK_NEAR(json_number_value(json_array_get(curve, bin)), 100.0 * (double)above / (double)inside, 0.0051);
    DG_CHECK_NEAR(json_number_value(json_array_get(curve, 0)), 100, 0);
    DG_CHECK_NEAR(json_number_value(json_array_get(curve, json_array_size(curve) - 1)), 0, 0);
    json_decref(pictured);
    dg_report_page_destroy(&page);
}

static void check_stems(void)
{
    char taken[3][80] = {"demo", "demo-2", "a"}, stem[80];
    static const char *const cases[][2] = {
        {"demo", "demo-3"}, {"DEMO", "DEMO-3"},    {"index", "index-2"},    {"../../etc/passwd", "etc-passwd"},
        {"", "experiment"}, {"---", "experiment"}, {"a b<c>\"\n", "a-b-c"}, {".hidden", "hidden"},
        {"x (2)", "x-2"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dg_report_file_stem(cases[i][0], (const char(*)[80])taken, 3, stem);
        if (strcmp(stem, cases[i][1]) != 0) fprintf(stderr, "'%s' became '%s'\n", cases[i][0], stem);
        DG_CHECK(strcmp(stem, cases[i][1]) == 0);
    }
}

/* ---- the fixture on disk ------------------------------------------------------------------------------------------- */

static const char *inside(const char *folder, const char *name)
{
    static char path[DG_PATH_MAX];
    DG_CHECK_OK(dg_path_join(path, folder, name));
    return path;
}

static void write_case(const char *folder, fixture *f)
{
    static const char *const predictions[] = {"p1", "p2"};
    dg_ledger_entry entry = {.done = true};
    DG_CHECK_OK(dg_case_write(inside(folder, "cohort"), &f->data));
    snprintf(entry.id, sizeof entry.id, "%s", f->data.info.id);
    for (int k = 0; k < 2; k++) {
        DG_CHECK_OK(dg_prediction_write(inside(folder, predictions[k]), f->data.info.id, &f->data.info.grid,
                                        k == 0 ? "model-1" : "model-2", f->prediction[k], &entry));
        DG_CHECK_OK(dg_ledger_append(inside(folder, predictions[k]), 0, &entry));
    }
}

static json_t *triple(const int64_t v[3])
{
    return json_pack("[I, I, I]", (json_int_t)v[0], (json_int_t)v[1], (json_int_t)v[2]);
}

static void make(const char *folder, fixture *f)
{
    static const int64_t probes[][3] = {{9, 11, 13}, {5, 8, 9}, {3, 15, 20}, {12, 6, 7}};
    json_t *list = json_array();
    for (int k = 0; k < 3; k++) DG_CHECK_OK(dg_make_folder(inside(folder, (const char *[]){"cohort", "p1", "p2"}[k])));
    fill(f, "case-turned", turned, hostile);
    write_case(folder, f);
    fill(f, "case-plain", lps, "Organ_L");
    write_case(folder, f);
    DG_CHECK_OK(dg_cohort_write_index(inside(folder, "cohort"), NULL, 0));
    for (size_t k = 0; k < sizeof probes / sizeof *probes; k++) {
        int64_t i = at(probes[k][0], probes[k][1], probes[k][2]);
        json_array_append_new(list, json_pack("{s:o, s:f, s:[f, f, f]}", "voxel", triple(probes[k]), "ct_hu",
                                              (double)f->ct[i], "dose_gy", (double)f->dose[i],
                                              (double)f->prediction[0][i], (double)f->prediction[1][i]));
    }
    json_t *truth = json_pack("{s:o, s:o, s:o, s:s}", "worst", triple(worst), "hottest", triple(hottest), "probes",
                              list, "hostile", hostile);
    DG_CHECK(json_dump_file(truth, inside(folder, "truth.json"), JSON_INDENT(1)) == 0);
    json_decref(truth);
}

int main(int argc, char **argv)
{
    fixture *f;
    char path[] = "/tmp/dosegrid-t770.XXXXXX";
    DG_CHECK_OK(DG_NEW(&f, 1, "fixture"));
    if (argc == 3 && strcmp(argv[1], "--make") == 0) {
        make(argv[2], f);
    } else {
        DG_CHECK(mkstemp(path) >= 0);
        fill(f, "case-plain", lps, hostile);
        check_case(path, f);
        fill(f, "case-turned", turned, hostile);
        check_dvh(f);
        check_bound(f);
        check_stems();
        unlink(path);
    }
    dg_free(&f);
    return 0;
}
