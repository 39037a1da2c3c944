/* ctest: libs=test_dicom,dg_formats,dg_base label=unit timeout=60 */
/* t141_dicom_objects.c - structure sets, plans and doses: values of every form, and every refusal by its rule.
 * SPDX-License-Identifier: Apache-2.0 */
#include "test_dicom_scan.h"

static void check_dose(const dicom_case *c)
{
    dg_dicom_dose dose;
    dg_dicom_plan plan;
    const dg_dicom_case *one = scan_case(c);
    DG_CHECK_OK(dg_dicom_read_plan(&context, &one->plans, &plan));
    DG_CHECK_OK(dg_dicom_read_dose(&context, &one->doses, &plan, one->frame_key, &dose));
    DG_CHECK(dose.summed == (c->beam_doses > 0 ? c->beam_doses : 1) && dose.negative_voxels == 0);
    for (int a = 0; a < 3; a++) {
        DG_CHECK(dose.grid.shape[a] == c->dose_shape[a]);
        DG_CHECK_NEAR(dose.grid.spacing_mm[a], c->dose_spacing[a], 1e-12);
        DG_CHECK_NEAR(dose.grid.origin_mm[a], c->dose_origin[a], 1e-12);
    }
    double most = 0;
    for (int64_t z = 0; z < c->dose_shape[0]; z++)
        for (int64_t y = 0; y < c->dose_shape[1]; y++)
            for (int64_t x = 0; x < c->dose_shape[2]; x++) {
                const double index[3] = {(double)z, (double)y, (double)x};
                double at[3];
                dg_grid_point(&dose.grid, index, at);
                DG_CHECK_NEAR(dose.gy[dg_grid_index(&dose.grid, z, y, x)], dicom_gy_at(at[0], at[1], at[2]),
                              c->dose_scaling * (c->beam_doses > 0 ? c->beam_doses : 1));
                most = fmax(most, dicom_gy_at(at[0], at[1], at[2]));
            }
    DG_CHECK_NEAR(dose.max_gy, most, 2 * c->dose_scaling);
    dg_dicom_dose_release(&dose);
    dg_dicom_plan_release(&plan);
    dg_dicom_tree_release(&tree);
}

static void check_doses(void)
{
    for (int form = 0; form < 4 * 5 * 2 * 2; form++) {
        dicom_case c = dicom_case_make(scratch);
        c.turn = form % 4;
        c.syntax = (dicom_syntax)(form / 4 % 5);
        c.dose_descending = form / 20 % 2 == 1;
        c.dose_absolute = form / 40 == 1 && c.turn < 2;
        check_dose(&c);
        c.dose_bits = 16;
        c.dose_scaling = 1.0 / 512;
        check_dose(&c);
        c.dose_signed = true;
        c.beam_doses = 2;
        check_dose(&c);
    }
    dicom_case c = dicom_case_make(scratch);
    c.dose_scaling = 32.125 / 4294967295.0; /* raw values beyond 2^31 */
    check_dose(&c);
    c = dicom_case_make(scratch);
    c.dose_scaling = 1e-6;
    check_dose(&c);
    c.syntax = DICOM_BIG;
    check_dose(&c);
    c.dose_by_words = true;
    check_dose(&c);
    DG_CHECK(noted("rtdose-word-order"));
}

/* A PLAN dose goes before those of beams; a FRACTION dose is that of the plan's only fraction group. */
static void check_summation(int doses, const char *summation, int64_t left_out)
{
    dg_dicom_dose dose;
    dg_dicom_plan plan;
    dicom_case c = dicom_case_make(scratch);
    c.beam_doses = doses;
    dicom_case_change(&c, DICOM_RTDOSE, 0, 0x3004000a, summation);
    const dg_dicom_case *one = scan_case(&c);
    DG_CHECK(one->doses.count == doses);
    DG_CHECK_OK(dg_dicom_read_plan(&context, &one->plans, &plan));
    DG_CHECK_OK(dg_dicom_read_dose(&context, &one->doses, &plan, one->frame_key, &dose));
    DG_CHECK(dose.summed == 1 && dose.left_out == left_out && noted("rtdose-left-out") == (left_out > 0));
    DG_CHECK(strcmp(dose.summation, summation) == 0);
    DG_CHECK_NEAR(dose.gy[0] * (double)doses, dicom_gy_at(6, 9, -19), 1e-4);
    dg_dicom_dose_release(&dose);
    dg_dicom_plan_release(&plan);
    dg_dicom_tree_release(&tree);
}

static void dose_refused(dicom_case c, uint32_t tag, int index, const char *value, dg_status status, const char *rule)
{
    dg_dicom_dose dose;
    dg_dicom_plan plan;
    if (tag != 0) dicom_case_change(&c, DICOM_RTDOSE, index, tag, value);
    const dg_dicom_case *one = scan_case(&c);
    DG_CHECK_OK(dg_dicom_read_plan(&context, &one->plans, &plan));
    CHECK_RULE(dg_dicom_read_dose(&context, &one->doses, &plan, one->frame_key, &dose), status, rule);
    DG_CHECK(dose.gy == NULL);
    dg_dicom_plan_release(&plan);
    dg_dicom_tree_release(&tree);
}

static void check_dose_refusals(void)
{
    const dicom_case usual = dicom_case_make(scratch);
    dose_refused(usual, 0x30040002, 0, "RELATIVE", DG_ERR_DATA, "rtdose-units");
    dose_refused(usual, 0x30040004, 0, "ERROR", DG_ERR_DATA, "rtdose-type");
    dose_refused(usual, 0x3004000a, 0, "MULTI_PLAN", DG_ERR_DATA, "rtdose-summation");
    dose_refused(usual, 0x3004000a, 0, DICOM_SECRET_NAME, DG_ERR_DATA, "rtdose-summation");
    dose_refused(usual, 0x3004000a, 0, "BEAM", DG_ERR_DATA, "rtdose-beams");
    dose_refused(usual, 0x3004000e, 0, "not-a-number", DG_ERR_DATA, "rtdose-number");
    dose_refused(usual, 0x3004000e, 0, NULL, DG_ERR_DATA, "rtdose-scaling");
    dose_refused(usual, 0x3004000e, 0, "0", DG_ERR_DATA, "rtdose-scaling");
    dose_refused(usual, 0x3004000e, 0, "-1e-6", DG_ERR_DATA, "rtdose-scaling");
    dose_refused(usual, 0x3004000e, 0, "nan", DG_ERR_DATA, "rtdose-number");
    dose_refused(usual, 0x3004000e, 0, "1e300", DG_ERR_DATA, "rtdose-scaling");
    dose_refused(usual, 0x3004000e, 0, "1e-300", DG_ERR_DATA, "rtdose-zero");
    dose_refused(usual, 0x3004000e, 0, "4e-320", DG_ERR_DATA, "rtdose-zero");   /* subnormal */
    dose_refused(usual, 0x30040002, 0, "PLANTED", DG_ERR_DATA, "rtdose-units"); /* a word, but none of the standard */
    DG_CHECK(strstr(dg_error_last()->text, "DoseUnits is '?'") != NULL);
    dose_refused(usual, 0x3004000c, 0, "0\\1e308\\-1e308\\1e308", DG_ERR_UNSUPPORTED, "rtdose-frames-uneven");
    dose_refused(usual, 0x00280008, 0, "-4", DG_ERR_DATA, "rtdose-pixel-format");
    dose_refused(usual, 0x00280008, 0, "1e300", DG_ERR_DATA, "rtdose-pixel-format");
    dose_refused(usual, 0x3004000c, 0, NULL, DG_ERR_DATA, "rtdose-frames");
    dose_refused(usual, 0x3004000c, 0, "0\\4\\8", DG_ERR_DATA, "rtdose-frames");
    dose_refused(usual, 0x3004000c, 0, "1\\5\\9\\13", DG_ERR_DATA, "rtdose-frames");
    dose_refused(usual, 0x3004000c, 0, "0\\4\\8\\x", DG_ERR_DATA, "rtdose-number");
    dose_refused(usual, 0x3004000c, 0, "0\\4\\8\\13", DG_ERR_UNSUPPORTED, "rtdose-frames-uneven");
    dose_refused(usual, 0x3004000c, 0, "0\\0\\0\\0", DG_ERR_UNSUPPORTED, "rtdose-frames-uneven");
    dose_refused(usual, 0x00280008, 0, "1", DG_ERR_UNSUPPORTED, "rtdose-single-frame");
    dose_refused(usual, 0x00280008, 0, "16000", DG_ERR_DATA, "rtdose-frames");
    dose_refused(usual, 0x00280008, 0, "100000", DG_ERR_DATA, "rtdose-pixel-format");
    dose_refused(usual, 0x00200037, 0, "0\\1\\0\\-1\\0\\0", DG_ERR_UNSUPPORTED, "rtdose-orientation");
    dose_refused(usual, 0x00200037, 0, NULL, DG_ERR_DATA, "rtdose-position");
    dose_refused(usual, 0x00200032, 0, "1\\2", DG_ERR_DATA, "rtdose-position");
    dose_refused(usual, 0x00280030, 0, "0\\0", DG_ERR_DATA, "rtdose-spacing");
    dose_refused(usual, 0x00280100, 0, "64", DG_ERR_UNSUPPORTED, "rtdose-pixel-format");
    dose_refused(usual, 0x7fe00010, 0, "7", DG_ERR_FORMAT, "rtdose-truncated");
    dose_refused(usual, 0x00200052, 0, "1.2.3", DG_ERR_DATA, "rtdose-frame");
    dose_refused(usual, 0x00200052, 0, NULL, DG_ERR_DATA, "rtdose-frame");
    dicom_case c = usual;
    c.turn = 2; /* the absolute form is undefined where the normal points to the feet */
    c.dose_absolute = true;
    dose_refused(c, 0, 0, NULL, DG_ERR_DATA, "rtdose-frames");
    c = usual;
    c.beam_doses = 2;
    c.beams = 3;
    dose_refused(c, 0, 0, NULL, DG_ERR_DATA, "rtdose-beams");
    c.beams = 2;
    dose_refused(c, 0x300c0006, 1, "1", DG_ERR_DATA, "rtdose-beams");
    dose_refused(c, 0x00200032, 1, "-18\\9\\6", DG_ERR_UNSUPPORTED, "rtdose-grids-differ");
    dose_refused(c, 0x3004000a, -1, "PLAN", DG_ERR_DATA, "rtdose-several");
    c = usual; /* compressed pixels that would become a thousand times the file, before room is made for them */
    c.syntax = DICOM_RLE;
    dicom_case_change(&c, DICOM_RTDOSE, 0, 0x00280010, "8192");
    dose_refused(c, 0x00280011, 0, "8192", DG_ERR_FORMAT, "rtdose-truncated");
    c = usual;
    c.omit = 1 << DICOM_RTDOSE;
    c.beam_doses = 0;
    dose_refused(c, 0, 0, NULL, DG_ERR_DATA, "rtdose-missing");
}

static void check_plan(void)
{
    dg_dicom_plan plan;
    const dicom_case c = dicom_case_make(scratch);
    const dg_dicom_case *one = scan_case(&c);
    DG_CHECK_OK(dg_dicom_read_plan(&context, &one->plans, &plan));
    DG_CHECK(plan.prescription_source == DG_DICOM_RX_DOSE_REFERENCE && plan.prescription_gy == 70);
    DG_CHECK(plan.fractions == 35 && plan.fraction_groups == 1 && plan.total_mu == 300);
    DG_CHECK(plan.target_count == 2 && plan.targets[0].roi_number == 1 && plan.targets[0].prescription_gy == 56);
    DG_CHECK(plan.beam_count == 2);
    const dg_dicom_beam *b = &plan.beams[1];
    DG_CHECK(b->number == 2 && b->meterset_mu == 200 && b->dose_gy == 1.5 && b->final_weight == 1);
    DG_CHECK(strcmp(b->type, "DYNAMIC") == 0 && strcmp(b->rotation, "CW") == 0 && strcmp(b->mlc_type, "MLCX") == 0);
    DG_CHECK(b->control_points == 3 && b->leaf_pairs == 2 && isnan(b->couch_deg));
    const double gantry[] = {180, 180, 182}, x1[] = {-50, -50, -52}, a0[] = {-10, -11, -11}, b1[] = {10, 11, 11};
    for (int k = 0; k < 3; k++) {
        DG_CHECK(b->gantry_deg[k] == gantry[k] && b->weight[k] == 0.5 * k && b->dose_rate[k] == 600);
        DG_CHECK(b->jaw_x1[k] == x1[k] && b->jaw_x2[k] == -x1[k] && isnan(b->jaw_y1[k]) && isnan(b->jaw_y2[k]));
        DG_CHECK(b->mlc_a[2 * k] == a0[k] && b->mlc_a[2 * k + 1] == -2);
        DG_CHECK(b->mlc_b[2 * k] == 3 && b->mlc_b[2 * k + 1] == b1[k]);
    }
    DG_CHECK(b->leaf_boundaries[0] == -10 && b->leaf_boundaries[2] == 10);
    dg_dicom_plan_release(&plan);
    dg_dicom_tree_release(&tree);
}

static void plan_changed(uint32_t tag, const char *value, const char *rule, dg_dicom_rx_source source, double gy)
{
    dg_dicom_plan plan;
    dicom_case c = dicom_case_make(scratch);
    dicom_case_change(&c, DICOM_RTPLAN, 0, tag, value);
    if (source == DG_DICOM_RX_NONE && rule == NULL) dicom_case_change(&c, DICOM_RTPLAN, 0, 0x300a0010, NULL);
    const dg_dicom_case *one = scan_case(&c);
    if (rule != NULL) {
        CHECK_RULE(dg_dicom_read_plan(&context, &one->plans, &plan), DG_ERR_DATA, rule);
    } else {
        DG_CHECK_OK(dg_dicom_read_plan(&context, &one->plans, &plan));
        DG_CHECK(plan.prescription_source == source && plan.prescription_gy == gy);
        DG_CHECK(noted("rtplan-no-prescription") == (source == DG_DICOM_RX_NONE));
        check_clean();
        dg_dicom_plan_release(&plan);
    }
    dg_dicom_tree_release(&tree);
}

/* A target's dose on an organ's reference is no prescription, however high. */
static void check_organ_reference(void)
{
    dg_dicom_plan plan;
    dicom_case c = dicom_case_make(scratch);
    dicom_case_change(&c, DICOM_RTPLAN, 0, 0x300a0020, "ORGAN_AT_RISK");
    dicom_case_change(&c, DICOM_RTPLAN, 0, 0x300a0026, "80");
    const dg_dicom_case *one = scan_case(&c);
    DG_CHECK_OK(dg_dicom_read_plan(&context, &one->plans, &plan));
    DG_CHECK(plan.prescription_gy == 70 && plan.target_count == 1 && plan.targets[0].roi_number == 2);
    dg_dicom_plan_release(&plan);
    dg_dicom_tree_release(&tree);
}

static void check_plans(void)
{
    check_organ_reference();
    plan_changed(0x300a0010, NULL, NULL, DG_DICOM_RX_FRACTION_GROUP, 105);
    plan_changed(0x300a0078, "0", NULL, DG_DICOM_RX_NONE, 0);
    plan_changed(0x300a0026, "7000", "rtplan-number", 0, 0);
    plan_changed(0x300a0026, DICOM_SECRET_NAME, "rtplan-number", 0, 0);
    plan_changed(0x300a0078, "2.5", "rtplan-number", 0, 0);
    plan_changed(0x300a0110, "4", "rtplan-control-points", 0, 0);
    plan_changed(0x300a00bc, "3", "rtplan-leaves", 0, 0);
    plan_changed(0x300a00bc, "5000", "rtplan-leaves", 0, 0);
    plan_changed(0x300a00be, "1\\2", "rtplan-leaves", 0, 0);
    plan_changed(0x300a011c, "1\\2\\3", "rtplan-leaves", 0, 0);
    plan_changed(0x300a0086, "1e400", "rtplan-number", 0, 0);
    dg_dicom_plan plan;
    const dg_dicom_files none = {NULL, 0};
    CHECK_RULE(dg_dicom_read_plan(&context, &none, &plan), DG_ERR_DATA, "rtplan-missing");
}

/* Empty control points are eight bytes each, but their leaves are not. */
static void check_swollen_plan(void)
{
    dg_dicom_plan plan;
    dicom_bytes b = {.syntax = DICOM_IMPLICIT};
    char path[96], *paths[1] = {path};
    const dg_dicom_files files = {paths, 1};
    dicom_put_head(&b, DICOM_RTPLAN, DICOM_SECRET_UID, DICOM_IMPLICIT);
    dicom_open_sequence(&b, 0x300a00b0);
    dicom_open_item(&b);
    dicom_open_sequence(&b, 0x300a00b6);
    dicom_open_item(&b);
    dicom_put_text(&b, 0x300a00b8, "CS", "MLCX");
    dicom_put_text(&b, 0x300a00bc, "IS", "1024");
    dicom_close_item(&b);
    dicom_close_sequence(&b);
    dicom_open_sequence(&b, 0x300a0111);
    for (int k = 0; k < 20000; k++) {
        dicom_open_item(&b);
        dicom_close_item(&b);
    }
    dicom_close_sequence(&b);
    dicom_close_item(&b);
    dicom_close_sequence(&b);
    empty_scratch();
    dicom_save(&b, scratch, "RP.dcm");
    DG_CHECK(b.length < 1 << 20);
    free(b.data);
    snprintf(path, sizeof path, "%s/RP.dcm", scratch);
    fresh_context();
    CHECK_RULE(dg_dicom_read_plan(&context, &files, &plan), DG_ERR_DATA, "rtplan-control-points");
    DG_CHECK(strstr(dg_error_last()->text, "numbers, which no plan has") != NULL);
    context.limits.elements = 2000; /* of 20 000 items and more */
    CHECK_RULE(dg_dicom_read_plan(&context, &files, &plan), DG_ERR_DATA, "rtplan-damaged");
}

static void check_structures(void)
{
    dg_dicom_structures set;
    const dicom_case c = dicom_case_make(scratch);
    const dg_dicom_case *one = scan_case(&c);
    DG_CHECK_OK(dg_dicom_read_structures(&context, &one->structures, one->frame_key, &set));
    DG_CHECK(set.roi_count == 3 && set.contour_count == 9 && set.point_count == 33);
    const dg_dicom_roi *ptv = &set.rois[0], *rectum = &set.rois[1], *marker = &set.rois[2];
    DG_CHECK(ptv->number == 1 && strcmp(ptv->name, "PTV70") == 0 && strcmp(ptv->interpreted_type, "PTV") == 0);
    DG_CHECK(ptv->contour_count == 6 && ptv->point_count == 24 && ptv->color[0] == 1 && ptv->color[2] == 255);
    for (int k = 0; k < 6; k++) {
        const dg_dicom_contour *contour = &ptv->contours[k];
        DG_CHECK(contour->type == DG_DICOM_CLOSED_PLANAR && contour->count == 4 && contour->z_mm == 5 + 3 * k);
        DG_CHECK(contour->points_xyz_mm[0] == -15.5 - 2.25 && contour->points_xyz_mm[1] == 14 - 2.25);
    }
    DG_CHECK(rectum->contour_count == 2 && rectum->contours[1].type == DG_DICOM_CLOSED_PLANAR_XOR);
    DG_CHECK(marker->contours[0].type == DG_DICOM_POINT && marker->contours[0].points_xyz_mm[2] == -3.5);
    DG_CHECK(strcmp(set.frame_key, one->frame_key) == 0);
    dg_dicom_structures_release(&set);
    context.limits.points = 32;
    CHECK_RULE(dg_dicom_read_structures(&context, &one->structures, NULL, &set), DG_ERR_DATA, "rtstruct-too-large");
    context.limits = (dg_dicom_limits){.elements = 10};
    CHECK_RULE(dg_dicom_read_structures(&context, &one->structures, NULL, &set), DG_ERR_DATA, "rtstruct-too-large");
    context.limits = (dg_dicom_limits){.contours = 8};
    CHECK_RULE(dg_dicom_read_structures(&context, &one->structures, NULL, &set), DG_ERR_DATA, "rtstruct-too-large");
    dg_dicom_tree_release(&tree);
}

/* People write names of regions: those that name the patient are marked. */
static void check_personal(const char *tag_value, uint32_t tag, bool rectum)
{
    dg_dicom_structures set;
    dicom_case c = dicom_case_make(scratch);
    for (int kind = DICOM_CT; kind <= DICOM_RTDOSE && tag != 0; kind++)
        dicom_case_change(&c, (dicom_kind)kind, -1, tag, tag_value);
    const dg_dicom_case *one = scan_case(&c);
    DG_CHECK_OK(dg_dicom_read_structures(&context, &one->structures, one->frame_key, &set));
    DG_CHECK(!set.rois[0].names_patient && set.rois[1].names_patient == rectum && !set.rois[2].names_patient);
    dg_dicom_structures_release(&set);
    dg_dicom_tree_release(&tree);
}

static void set_changed(uint32_t tag, const char *value, const char *rule, const char *note)
{
    dg_dicom_structures set;
    dicom_case c = dicom_case_make(scratch);
    dicom_case_change(&c, DICOM_RTSTRUCT, 0, tag, value);
    const dg_dicom_case *one = scan_case(&c);
    const dg_status status = dg_dicom_read_structures(&context, &one->structures, one->frame_key, &set);
    if (rule != NULL)
        CHECK_RULE(status, DG_ERR_DATA, rule);
    else
        DG_CHECK_OK(status);
    DG_CHECK(note == NULL || noted(note));
    check_clean();
    dg_dicom_structures_release(&set);
    dg_dicom_tree_release(&tree);
}

static void check_sets(void)
{
    set_changed(0x30060050, "", NULL, "contour-empty");
    set_changed(0x30060050, NULL, NULL, "contour-empty");
    set_changed(0x30060050, "1\\2\\3\\4", "rtstruct-points", NULL);
    set_changed(0x30060050, "1\\2\\" DICOM_SECRET_NAME, "rtstruct-points", NULL);
    set_changed(0x30060050, "1\\2\\3e9", "rtstruct-points", NULL);
    set_changed(0x30060050, " +1.5 \\ 2\\-3E+1 ", NULL, NULL);
    set_changed(0x30060022, "2", "rtstruct-roi", NULL);
    set_changed(0x30060022, "9", "rtstruct-roi", NULL);
    set_changed(0x30060022, "one", "rtstruct-number", NULL);
    set_changed(0x30060024, "1.2.3", NULL, "rtstruct-frame-roi");
    set_changed(0x30060042, "SPIRAL", NULL, NULL);
    set_changed(0x30060026, "A\x1b[31m\x9b\xff", NULL, NULL);
}

int main(void)
{
    make_scratch();
    check_doses();
    check_summation(2, "PLAN", 1);
    check_summation(1, "FRACTION", 0);
    check_dose_refusals();
    check_plan();
    check_plans();
    check_swollen_plan();
    check_structures();
    check_personal(NULL, 0, false);
    check_personal("Doe^RECTUM", 0x00100010, true);
    check_personal("Rect-Smith", 0x00100010, true);
    check_personal("Li^Tu^Re", 0x00100010, false); /* two letters are in any word */
    check_personal("rectum", 0x00100020, true);
    check_sets();
    remove_scratch();
    return 0;
}
