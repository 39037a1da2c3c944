/* ctest: libs=test_dicom,dg_formats,dg_base label=unit timeout=120 */
/* t143_dicom_shared.c - the made cases of ../shared/data/dicom, each read or refused by the rule that is its own, and samples
 * that planning systems wrote (../shared/data/dicom_real) against known numbers. Skipped where the data are not.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_file.h"
#include "dg_mem.h"
#include "test_dicom_scan.h"

static char shared[DG_PATH_MAX / 2];

/* What a case folder is refused by; the others are read. */
static const char *rule_of(const char *folder)
{
    static const char *const known[][2] = {{"bad_dose_relative", "rtdose-units"},
                                           {"bad_ds_garbage", "rtdose-number"},
                                           {"bad_dup_slice", "ct-duplicate-slice"},
                                           {"bad_for_mismatch", "rtstruct-frame"},
                                           {"bad_gantry_tilt", "ct-tilt"},
                                           {"bad_gfov_length", "rtdose-frames"},
                                           {"bad_missing_rtdose", "rtdose-missing"},
                                           {"bad_missing_rtstruct", "rtstruct-missing"},
                                           {"bad_missing_slice", "ct-gap"},
                                           {"bad_pixel_short", "ct-truncated"},
                                           {"bad_rows_differ", "ct-shape-differs"},
                                           {"bad_rtstruct_garbage", "rtstruct-damaged"},
                                           {"bad_spacing_differ", "ct-spacing-differs"},
                                           {"bad_truncated_ct", "ct-truncated"}};
    for (size_t k = 0; k < sizeof known / sizeof known[0]; k++)
        if (strcmp(folder, known[k][0]) == 0) return known[k][1];
    return NULL;
}

/* Everything of a candidate, up to the first refusal. */
static dg_status read_all(const dg_dicom_case *one, dg_dicom_ct *ct, dg_dicom_structures *set, dg_dicom_plan *plan,
                          dg_dicom_dose *dose)
{
    DG_TRY(dg_dicom_case_check(&context, one));
    DG_TRY(dg_dicom_read_ct(&context, &one->ct, ct));
    DG_TRY(dg_dicom_read_structures(&context, &one->structures, ct->frame_key, set));
    if (one->plans.count > 0) DG_TRY(dg_dicom_read_plan(&context, &one->plans, plan));
    return dg_dicom_read_dose(&context, &one->doses, one->plans.count > 0 ? plan : NULL, ct->frame_key, dose);
}

static void check_case(const dg_dicom_case *one)
{
    dg_dicom_ct ct = {0};
    dg_dicom_structures set = {0};
    dg_dicom_plan plan = {0};
    dg_dicom_dose dose = {0};
    const char *rule = rule_of(one->folder);
    fresh_context();
    const dg_status status = read_all(one, &ct, &set, &plan, &dose);
    if (rule != NULL) {
        CHECK_RULE(status, status, rule);
        DG_CHECK(status != DG_OK && strstr(dg_error_last()->text, one->folder) == NULL);
    } else {
        if (status != DG_OK) fprintf(stderr, "%s: %s\n", one->folder, dg_error_last()->text);
        DG_CHECK(status == DG_OK && dose.max_gy > 60 && dose.max_gy < 75);
        DG_CHECK(plan.beam_count == (strcmp(one->folder, "var_no_rtplan") == 0 ? 0 : 2));
        DG_CHECK(dose.summed == (strcmp(one->folder, "bad_two_rtdose") == 0 ? 2 : 1));
        DG_CHECK(strcmp(one->folder, "var_rx_order") != 0 || plan.prescription_gy == 70);
        DG_CHECK(noted("contour-empty") == (strcmp(one->folder, "var_zero_contour") == 0));
    }
    dg_dicom_ct_release(&ct);
    dg_dicom_structures_release(&set);
    dg_dicom_plan_release(&plan);
    dg_dicom_dose_release(&dose);
}

static void check_made(void)
{
    char path[DG_PATH_MAX];
    snprintf(path, sizeof path, "%s/dicom", shared);
    fresh_context();
    DG_CHECK_OK(dg_dicom_scan(&context, path, &tree));
    DG_CHECK(tree.case_count == 45 && tree.counts.damaged == 0 && tree.counts.unused == 10);
    for (int64_t k = 0; k < tree.case_count; k++) check_case(&tree.cases[k]);
    dg_dicom_tree_release(&tree);
}

/* A copy in the scratch folder with the text `from` replaced by the equally long `to`. */
static void copy_patched(const char *name, const char *from[2], const char *to[2])
{
    char path[DG_PATH_MAX];
    char *bytes;
    int64_t length;
    snprintf(path, sizeof path, "%s/dicom_real/%s", shared, name);
    DG_CHECK_OK(dg_file_read(path, "sample", 1 << 24, &bytes, &length));
    for (int k = 0; k < 2; k++) {
        char *at = memmem(bytes, (size_t)length, from[k], strlen(from[k]));
        DG_CHECK(at != NULL);
        memcpy(at, to[k], strlen(to[k]));
    }
    dicom_save(&(dicom_bytes){.data = (unsigned char *)bytes, .length = (size_t)length}, scratch, "sample.dcm");
    dg_free(&bytes);
}

/* One dose in three encodings, made absolute; a sum that pydicom gives. */
static void check_encodings(void)
{
    static const char *const name[] = {"pydicom/rtdose.dcm", "pydicom/rtdose_expb.dcm", "pydicom/rtdose_rle.dcm"};
    for (int k = 0; k < 3; k++) {
        dg_dicom_dose dose;
        double sum = 0;
        empty_scratch();
        copy_patched(name[k], (const char *[2]){"RELATIVE", "BEAM"}, (const char *[2]){"GY      ", "PLAN"});
        fresh_context();
        DG_CHECK_OK(dg_dicom_scan(&context, scratch, &tree));
        DG_CHECK(tree.case_count == 1 && tree.cases[0].flaw == DG_DICOM_NO_CT);
        DG_CHECK_OK(dg_dicom_read_dose(&context, &tree.cases[0].doses, NULL, NULL, &dose));
        for (int64_t v = 0; v < dg_grid_voxels(&dose.grid); v++) sum += dose.gy[v];
        DG_CHECK_NEAR(sum, 1519.91, 1e-4);
        DG_CHECK_NEAR(dose.max_gy, 1.254, 1e-6);
        dg_dicom_dose_release(&dose);
        dg_dicom_tree_release(&tree);
    }
}

static bool unpack(const char *name)
{
    char command[DG_PATH_MAX * 2];
    snprintf(command, sizeof command, "xz -dc '%s/dicom_real/dicompyler/%s.xz' > %s/%s 2>/dev/null", shared, name,
             scratch, name);
    return system(command) == 0;
}

/* A breast plan of a planning system; numbers of dicompyler-core's tests. */
static void check_clinical(void)
{
    char path[DG_PATH_MAX], *paths[] = {path};
    const dg_dicom_files file = {paths, 1};
    dg_dicom_structures set;
    dg_dicom_plan plan;
    dg_dicom_dose dose;
    double sum = 0;
    if (!unpack("rtdose.dcm") || !unpack("rtss.dcm")) {
        printf("xz is not there: the clinical samples are left out\n");
        return;
    }
    fresh_context();
    snprintf(path, sizeof path, "%s/dicom_real/dicompyler/rtplan.dcm", shared);
    DG_CHECK_OK(dg_dicom_read_plan(&context, &file, &plan));
    DG_CHECK(plan.prescription_gy == 14 && plan.fractions == 7 && plan.beam_count == 4);
    DG_CHECK(plan.beams[0].control_points == 92 && plan.beams[0].leaf_pairs == 60 &&
             plan.beams[0].gantry_deg[91] == 327);
    snprintf(path, sizeof path, "%s/rtdose.dcm", scratch);
    DG_CHECK_OK(dg_dicom_read_dose(&context, &file, &plan, NULL, &dose));
    DG_CHECK(dose.grid.shape[0] == 98 && dose.grid.shape[1] == 129 && dose.grid.shape[2] == 194);
    for (int64_t v = 0; v < dg_grid_voxels(&dose.grid); v++) sum += dose.gy[v];
    DG_CHECK_NEAR(sum, 26634963153.0 * 1.4e-5, 0.01);
    DG_CHECK_NEAR(dose.max_gy, 14.680764, 1e-6);
    snprintf(path, sizeof path, "%s/rtss.dcm", scratch);
    DG_CHECK_OK(dg_dicom_read_structures(&context, &file, NULL, &set));
    DG_CHECK(set.roi_count == 10 && set.rois[4].number == 5 && strcmp(set.rois[4].name, "Heart") == 0);
    DG_CHECK(set.rois[4].color[1] == 128 && strcmp(set.rois[4].interpreted_type, "ORGAN") == 0);
    DG_CHECK(set.rois[4].contour_count == 33 && set.rois[4].point_count == 4732 && set.rois[1].contour_count == 0);
    const dg_dicom_contour *heart = set.rois[4].contours;
    while (heart < set.rois[4].contours + 32 && heart->z_mm != -47.44) heart++;
    DG_CHECK(heart->count == 166 && heart->points_xyz_mm[0] == 2.69 && heart->points_xyz_mm[1] == -313.11);
    dg_dicom_structures_release(&set);
    dg_dicom_dose_release(&dose);
    dg_dicom_plan_release(&plan);
}

int main(void)
{
    const char *source = getenv("DG_TEST_SOURCE");
    char path[DG_PATH_MAX];
    snprintf(shared, sizeof shared, "%s/../shared/data", source == NULL ? "." : source);
    snprintf(path, sizeof path, "%s/dicom/manifest.tsv", shared);
    if (!dg_file_exists(path)) {
        printf("skipped: ../shared/data/dicom is not here\n");
        return DG_TEST_SKIPPED;
    }
    make_scratch();
    check_made();
    check_encodings();
    check_clinical();
    remove_scratch();
    return 0;
}
