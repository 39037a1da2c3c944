/* ctest: libs=test_dicom,dg_h5,dg_formats,dg_grid,dg_base label=slow timeout=180 */
/* t775_npz_beams.c - beams and control points from DICOM into a cohort, out as an archive of the vmat-diffusion scripts and back:
 * the same numbers everywhere, nothing that names anybody, and archives whose beams do not fit are refused by name.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_cohort.h"
#include "dg_dicom.h"
#include "dg_npz.h"
#include "dg_pickle.h"
#include "test_dicom.h"
#include "test_program.h"

#include <jansson.h>
#include <math.h>

static const char mapping[] = "format: dosegrid-mapping\nversion: 1\nname: beams\nstructures:\n"
                              "  - {name: PTV70, role: target, required: true}\n  - {name: Rectum, role: oar}\n";

static dg_dicom_plan plan_of(const char *path)
{
    dg_cohort *cohort;
    dg_case *c;
    dg_dicom_plan plan;
    DG_CHECK_OK(dg_cohort_open(path, &cohort));
    DG_CHECK_OK(dg_case_open(cohort, 0, &c));
    DG_CHECK_OK(dg_case_read_plan(c, &plan));
    dg_case_close(&c);
    dg_cohort_close(&cohort);
    return plan;
}

/* Two unknown numbers are the same. */
static void check_same(const double *a, const double *b, int64_t count)
{
    for (int64_t i = 0; i < count; i++) DG_CHECK(a[i] == b[i] || (isnan(a[i]) && isnan(b[i])));
}

static void check_beam(const dg_dicom_beam *a, const dg_dicom_beam *b)
{
    const int64_t points = a->control_points, leaves = points * a->leaf_pairs;
    const double one[] = {a->meterset_mu, a->dose_gy,         a->final_weight,    a->collimator_deg, a->couch_deg,
                          a->energy,      a->isocenter_mm[0], a->isocenter_mm[1], a->isocenter_mm[2]};
    const double two[] = {b->meterset_mu, b->dose_gy,         b->final_weight,    b->collimator_deg, b->couch_deg,
                          b->energy,      b->isocenter_mm[0], b->isocenter_mm[1], b->isocenter_mm[2]};
    DG_CHECK(b->control_points == points && b->leaf_pairs == a->leaf_pairs && b->name[0] == '\0');
    check_same(one, two, sizeof one / sizeof *one);
    DG_CHECK(strcmp(a->type, b->type) == 0 && strcmp(a->radiation, b->radiation) == 0);
    DG_CHECK(strcmp(a->rotation, b->rotation) == 0 && strcmp(a->mlc_type, b->mlc_type) == 0);
    check_same(a->gantry_deg, b->gantry_deg, points);
    check_same(a->weight, b->weight, points);
    check_same(a->dose_rate, b->dose_rate, points);
    check_same(a->jaw_x1, b->jaw_x1, points);
    check_same(a->jaw_x2, b->jaw_x2, points);
    check_same(a->jaw_y1, b->jaw_y1, points);
    check_same(a->jaw_y2, b->jaw_y2, points);
    check_same(a->mlc_a, b->mlc_a, leaves);
    check_same(a->mlc_b, b->mlc_b, leaves);
    DG_CHECK((a->leaf_boundaries == NULL) == (b->leaf_boundaries == NULL));
    if (a->leaf_boundaries != NULL) check_same(a->leaf_boundaries, b->leaf_boundaries, a->leaf_pairs + 1);
}

static void check_plan(const dg_dicom_plan *a, const dg_dicom_plan *b)
{
    DG_CHECK(a->beam_count == b->beam_count);
    for (int64_t k = 0; k < a->beam_count; k++) check_beam(&a->beams[k], &b->beams[k]);
    check_same(&a->total_mu, &b->total_mu, 1);
}

/* The plan as the file has it, without the program. */
static dg_dicom_plan written_plan(void)
{
    dg_dicom_context context = {.case_id = "a"};
    dg_dicom_tree tree;
    dg_dicom_plan plan;
    DG_CHECK_OK(dg_dicom_scan(&context, "tree", &tree));
    DG_CHECK(tree.case_count == 1);
    DG_CHECK_OK(dg_dicom_read_plan(&context, &tree.cases[0].plans, &plan));
    dg_dicom_tree_release(&tree);
    return plan;
}

static json_t *metadata_of(dg_npz *npz)
{
    char *bytes;
    int64_t length;
    json_t *json;
    dg_npy_header header;
    DG_CHECK_OK(dg_npz_header(npz, "metadata", &header));
    DG_CHECK_OK(dg_npz_read(npz, "metadata", 1 << 20, &bytes, &length));
    DG_CHECK_OK(dg_pickle_read(bytes + header.offset, length - header.offset, "metadata", &json));
    dg_free(&bytes);
    return json;
}

/* As a script would read the archive: the leaves of each control point and the angles beside them. */
static void check_archive(const char *path, const dg_dicom_plan *plan)
{
    dg_npz *npz;
    DG_CHECK_OK(dg_npz_open(path, "archive", &npz));
    json_t *metadata = metadata_of(npz);
    const json_t *geometry = json_object_get(metadata, "beam_geometry"), *beams = json_object_get(geometry, "beams");
    DG_CHECK(json_integer_value(json_object_get(geometry, "num_beams")) == 2);
    DG_CHECK(json_is_true(json_object_get(geometry, "mlc_extracted")));
    DG_CHECK(json_number_value(json_object_get(geometry, "total_mu")) == 2); /* of weights, as the scripts */
    for (int64_t b = 0; b < plan->beam_count; b++) {
        const dg_dicom_beam *beam = &plan->beams[b];
        const int64_t shape[2] = {beam->control_points, beam->leaf_pairs};
        char key[32];
        float *leaves;
        for (int bank = 0; bank < 2; bank++) {
            snprintf(key, sizeof key, "beam%d_mlc_%c", (int)b, 'a' + bank);
            DG_CHECK_OK(dg_npz_read_f32(npz, key, 2, shape, &leaves));
            const double *wanted = bank == 0 ? beam->mlc_a : beam->mlc_b;
            for (int64_t i = 0; i < shape[0] * shape[1]; i++) DG_CHECK(leaves[i] == (float)wanted[i]);
            dg_free(&leaves);
        }
        const json_t *one = json_array_get(beams, (size_t)b), *data = json_object_get(one, "control_point_data");
        const json_t *angles = json_object_get(data, "gantry_angles"), *jaws = json_object_get(data, "jaw_x1");
        DG_CHECK((int64_t)json_array_size(angles) == beam->control_points);
        for (int64_t p = 0; p < beam->control_points; p++) {
            DG_CHECK(json_number_value(json_array_get(angles, (size_t)p)) == beam->gantry_deg[p]);
            DG_CHECK(json_number_value(json_array_get(jaws, (size_t)p)) == beam->jaw_x1[p]);
        }
        DG_CHECK(json_integer_value(json_object_get(one, "num_leaves")) == 2 * beam->leaf_pairs);
        DG_CHECK(strcmp(json_string_value(json_object_get(one, "beam_type")), "DYNAMIC") == 0);
    }
    char *text = json_dumps(metadata, 0);
    DG_CHECK(strstr(text, "ARC") == NULL && strstr(text, "4711") == NULL); /* names of beams and of the patient */
    free(text);
    json_decref(metadata);
    dg_npz_close(&npz);
}

static void test_there_and_back(void)
{
    DG_CHECK(shell("mkdir tree") == 0);
    dicom_case c = dicom_case_make("tree");
    dicom_case_write(&c);
    DG_CHECK_OK(dg_file_write("m.yaml", mapping, (int64_t)strlen(mapping)));
    DG_CHECK_OK(dg_file_write("ids.csv", "PLANTED-4711,one\n", 17));
    program_runs(0, "import tree -o first --mapping m.yaml --case-id table ids.csv", "1 cases imported");
    dg_dicom_plan file = written_plan(), first = plan_of("first");
    DG_CHECK(file.beam_count == 2 && file.beams[0].control_points == 3 && file.beams[0].leaf_pairs == 2);
    for (int64_t b = 0; b < file.beam_count; b++) file.beams[b].name[0] = '\0';
    check_plan(&file, &first);
    program_runs(0, "export first --to npz --npz 2.3 -o npz", NULL);
    check_archive("npz/one.npz", &file);
    program_runs(0, "import npz -o second --format npz", "1 cases imported");
    dg_dicom_plan second = plan_of("second");
    check_plan(&file, &second);
    program_runs(0, "export second --to npz --npz 2.3 -o npz-again", NULL);
    program_runs(0, "import npz-again -o third --format npz", NULL);
    dg_dicom_plan third = plan_of("third");
    check_plan(&file, &third);
    program_runs(0, "pack second -o packed.h5", NULL);
    dg_dicom_plan packed = plan_of("packed.h5");
    check_plan(&file, &packed);
    dg_dicom_plan_release(&packed);
    dg_dicom_plan_release(&third);
    dg_dicom_plan_release(&second);
    dg_dicom_plan_release(&first);
    dg_dicom_plan_release(&file);
}

/* ---- beams that do not fit ---- */

/* An archive of a few voxels; `geometry` (taken) is its beam_geometry, the banks have these shapes ([0] 0: there is none). */
static void write_archive(json_t *geometry, const int64_t a[2], const int64_t b[2], float leaf)
{
    const int64_t shape[3] = {2, 3, 4}, masks_shape[4] = {8, 2, 3, 4};
    float ct[24], dose[24], *leaves;
    uint8_t masks[8 * 24] = {1, 1};
    dg_npz_writer *npz;
    char *pickle;
    int64_t length;
    for (int i = 0; i < 24; i++) {
        ct[i] = 0.5F;
        dose[i] = 1;
    }
    json_t *metadata = json_pack("{s:f, s:[f,f,f], s:o}", "normalization_dose_gy", 70.0, "voxel_spacing_mm", 2.0, 2.0,
                                 3.0, "beam_geometry", geometry);
    DG_CHECK(metadata != NULL);
    DG_CHECK_OK(dg_pickle_write(metadata, "metadata", &pickle, &length));
    json_decref(metadata);
    DG_CHECK_OK(DG_NEW(&leaves, 1 << 12, "leaves"));
    for (int i = 0; i < 1 << 12; i++) leaves[i] = leaf;
    DG_CHECK_OK(dg_npz_create("odd/odd.npz", "archive", &npz));
    DG_CHECK_OK(dg_npz_add(npz, "ct", "<f4", 3, shape, ct, sizeof ct));
    DG_CHECK_OK(dg_npz_add(npz, "masks", "|u1", 4, masks_shape, masks, sizeof masks));
    DG_CHECK_OK(dg_npz_add(npz, "dose", "<f4", 3, shape, dose, sizeof dose));
    DG_CHECK_OK(dg_npz_add(npz, "metadata", "|O", 0, NULL, pickle, length));
    if (a[0] > 0) DG_CHECK_OK(dg_npz_add(npz, "beam0_mlc_a", "<f4", 2, a, leaves, a[0] * a[1] * 4));
    if (b[0] > 0) DG_CHECK_OK(dg_npz_add(npz, "beam0_mlc_b", "<f4", 2, b, leaves, b[0] * b[1] * 4));
    DG_CHECK_OK(dg_npz_finish(&npz, true));
    dg_free(&leaves);
    dg_free(&pickle);
}

static json_t *one_beam(json_t *points, json_t *angles)
{
    return json_pack("{s:[{s:o, s:{s:o}}]}", "beams", "num_control_points", points, "control_point_data",
                     "gantry_angles", angles);
}

static void test_odd(void)
{
    const int64_t none[2] = {0, 0}, two[2] = {2, 3}, three[2] = {3, 3}, wide[2] = {2, 1025};
    DG_CHECK(shell("mkdir odd") == 0);
    write_archive(json_null(), two, two, 5);
    program_runs(0, "import odd -o arrays-alone", NULL);
    dg_dicom_plan plan = plan_of("arrays-alone");
    DG_CHECK(plan.beam_count == 1 && plan.beams[0].control_points == 2 && plan.beams[0].leaf_pairs == 3);
    DG_CHECK(plan.beams[0].mlc_b[5] == 5 && isnan(plan.beams[0].gantry_deg[1]) && isnan(plan.beams[0].energy));
    dg_dicom_plan_release(&plan);
    write_archive(json_null(), none, none, 0);
    program_runs(0, "import odd -o no-beams", NULL);
    plan = plan_of("no-beams");
    DG_CHECK(plan.beam_count == 0);
    dg_dicom_plan_release(&plan);
    const struct {
        const int64_t *a, *b;
        float leaf;
        const char *says;
    } leaves[] = {{two, none, 1, "case odd: beam 0: beam0_mlc_b is missing"},
                  {two, three, 1, "case odd: beam 0: beam0_mlc_b has another number of control points"},
                  {wide, wide, 1, "case odd: beam 0: beam0_mlc_a is not [control point, leaf pair] of a plan"},
                  {two, two, 1e9F, "case odd: beam 0: beam0_mlc_a holds a position that no leaf has"},
                  {two, two, INFINITY, "case odd: beam 0: beam0_mlc_a holds a position that no leaf has"}};
    for (size_t k = 0; k < sizeof leaves / sizeof *leaves; k++) {
        write_archive(json_null(), leaves[k].a, leaves[k].b, leaves[k].leaf);
        DG_CHECK(shell("rm -rf refused") == 0);
        program_runs(1, "import odd -o refused", leaves[k].says);
    }
    const struct {
        json_t *points, *angles;
        const char *says;
    } beams[] = {{json_integer(3), json_array(), "case odd: beam 0: beam0_mlc_a has another number of control points"},
                 {json_integer(2), json_pack("[f]", 1.0), "gantry_angles does not have a number for each"},
                 {json_integer(2), json_pack("[s,s]", "a", "b"), "gantry_angles is no number that a plan has"},
                 {json_integer(2), json_pack("[f,f]", 1.0, 1e300), "gantry_angles is no number that a plan has"},
                 {json_integer(-2), json_array(), "num_control_points is no number that a plan has"},
                 {json_integer(1 << 30), json_array(), "num_control_points is no number that a plan has"},
                 {json_string("two"), json_array(), "num_control_points is no number that a plan has"}};
    for (size_t k = 0; k < sizeof beams / sizeof *beams; k++) {
        write_archive(one_beam(beams[k].points, beams[k].angles), two, two, 1);
        DG_CHECK(shell("rm -rf refused") == 0);
        program_runs(1, "import odd -o refused", beams[k].says);
    }
}

int main(void)
{
    program_begin();
    test_there_and_back();
    test_odd();
    program_end();
    return 0;
}
