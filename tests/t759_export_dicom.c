/* ctest: libs=dg_h5,dg_formats,dg_grid,dg_base label=slow timeout=180 */
/* t759_export_dicom.c - `dosegrid export --to dicom`, the whole program: cases cut from four references go out and lie where they
 * came from, with their plan and structures; what belongs to another CT is refused and nothing of it is written; dciodvfy and
 * drtdump find nothing wrong where they are installed. SPDX-License-Identifier: Apache-2.0 */
#include "dg_cohort.h"
#include "dg_dicom.h"
#include "dg_predictions.h"
#include "test_program.h"

#include <math.h>

static const char *const position[4] = {"hfs", "hfp", "ffs", "ffp"};
static const char weights[] = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
static char references[DG_PATH_MAX];

/* Its words lie in `said`. */
static int program(const char *arguments)
{
    return shell("'%s/dosegrid' export %s >said 2>&1", getenv("DG_TEST_BIN"), arguments);
}

static void said(const char *words)
{
    char *text;
    int64_t length;
    DG_CHECK_OK(dg_file_read("said", "output", 1 << 20, &text, &length));
    if (strstr(text, words) == NULL) {
        fprintf(stderr, "it did not say: %s\n%s\n", words, text);
        exit(1);
    }
    DG_CHECK(strstr(text, program_folder) == NULL && strstr(text, "Phantom") == NULL); /* no path, no patient */
    dg_free(&text);
}

/* A case of the inner part of the reference's CT, its dose rising along every axis, as cohort and prediction. */
static void make_case(const char *id, const char *reference, const char *cohort, const char *predictions, bool spoilt)
{
    char folder[DG_PATH_MAX];
    dg_dicom_context context = {.case_id = id};
    dg_dicom_tree tree;
    dg_dicom_ct ct;
    dg_case_data data = {.info = {.prescription_gy = 70, .fractions = 28, .structure_count = 2}};
    dg_ledger_entry entry = {.done = true};
    DG_CHECK_OK(dg_path_join(folder, references, reference));
    DG_CHECK_OK(dg_dicom_scan(&context, folder, &tree));
    DG_CHECK_OK(dg_dicom_read_ct(&context, &tree.cases[0].ct, &ct));
    const dg_box box = {.start = {1, 2, 3}, .shape = {6, 12, 15}};
    dg_case_info *info = &data.info;
    snprintf(info->id, sizeof info->id, "%s", id);
    snprintf(info->group, sizeof info->group, "%s", id);
    snprintf(info->structure[0].name, DG_STRUCTURE_NAME, "PTV70");
    snprintf(info->structure[1].name, DG_STRUCTURE_NAME, "Rectum");
    info->structure[1].role = DG_ROLE_OAR;
    info->grid = dg_grid_boxed(&ct.grid, &box);
    memcpy(info->dose_box.shape, box.shape, sizeof box.shape);
    const int64_t voxels = dg_box_voxels(&box);
    float *hu, *gy;
    uint64_t *masks;
    DG_CHECK_OK(DG_NEW(&hu, voxels, "CT"));
    DG_CHECK_OK(DG_NEW(&gy, voxels, "dose"));
    DG_CHECK_OK(DG_NEW(&masks, voxels, "masks"));
    for (int64_t i = 0; i < voxels; i++) {
        const int64_t x = i % 15, y = i / 15 % 12, z = i / 180;
        hu[i] = ct.hu[dg_grid_index(&ct.grid, z + 1, y + 2, x + 3)];
        gy[i] = (float)(z * 9 + y + 0.1 * (double)x);
        masks[i] = (x > 4 && y > 3 && (x != 7 || y != 7) ? 1U : 0U) | (y < 3 ? 2U : 0U);
    }
    if (spoilt) hu[77] += 3;
    data.ct_hu_f32 = hu;
    data.masks = masks;
    DG_CHECK_OK(dg_case_write(cohort, &data));
    DG_CHECK_OK(dg_prediction_write(predictions, id, &info->grid, weights, gy, &entry));
    dg_free(&hu);
    dg_free(&gy);
    dg_free(&masks);
    dg_dicom_ct_release(&ct);
    dg_dicom_tree_release(&tree);
}

static void check_objects(const char *id)
{
    char path[128], *paths[1] = {path};
    const dg_dicom_files files = {.path = paths, .count = 1};
    dg_dicom_context context = {.case_id = id};
    dg_dicom_dose dose;
    dg_grid grid;
    float *gy;
    snprintf(path, sizeof path, "out/%s/RTDOSE.dcm", id);
    DG_CHECK_OK(dg_dicom_read_dose(&context, &files, NULL, NULL, &dose));
    DG_CHECK_OK(dg_prediction_read("p", id, &grid, &gy));
    for (int a = 0; a < 3; a++) {
        DG_CHECK(grid.shape[a] == dose.grid.shape[a]);
        DG_CHECK_NEAR(grid.origin_mm[a], dose.grid.origin_mm[a], 1e-6);
    }
    for (int64_t i = 0; i < dg_grid_voxels(&grid); i++) DG_CHECK_NEAR(dose.gy[i], gy[i], 1e-5);
    dg_free(&gy);
    dg_dicom_dose_release(&dose);
    static const char *const object[] = {"RTDOSE", "RTPLAN", "RTSTRUCT"};
    for (int k = 0; k < 3; k++) DG_CHECK(shell("test -s out/%s/%s.dcm", id, object[k]) == 0);
    if (shell("command -v drtdump >said") == 0)
        for (int k = 0; k < 3; k++) DG_CHECK(shell("drtdump out/%s/%s.dcm >said 2>&1", id, object[k]) == 0);
    if (shell("command -v dciodvfy >said") == 0) { /* it asserts on any 32-bit dose */
        for (int k = 1; k < 3; k++)
            DG_CHECK(shell("dciodvfy out/%s/%s.dcm 2>said; ! grep -E 'Error|Warning' said", id, object[k]) == 0);
        DG_CHECK(shell("dciodvfy sixteen/%s/RTDOSE.dcm 2>said; ! grep -E 'Error|Warning' said", id) == 0);
    } else {
        printf("not here: dciodvfy (dicom3tools), whose opinion is left out\n");
    }
}

static void test_out(void)
{
    char command[2 * DG_PATH_MAX];
    for (int p = 0; p < 4; p++) make_case(position[p], position[p], "cohort", "p", false);
    DG_CHECK_OK(dg_cohort_write_index("cohort", NULL, 0));
    snprintf(command, sizeof command,
             "cohort --to dicom --what '[pred, masks]' --predictions p --reference '%s' -o out", references);
    DG_CHECK(program(command) == 0);
    said("12 files of 4 cases written");
    snprintf(command, sizeof command, "cohort --to dicom --bits 16 --predictions p --reference '%s' -o sixteen",
             references);
    DG_CHECK(program(command) == 0);
    for (int p = 0; p < 4; p++) check_objects(position[p]);
    /* The folder of one case alone; the clinical plan in place of a new one. */
    snprintf(command, sizeof command,
             "cohort --to dicom --link-plan --cases '[ffp]' --predictions p --reference '%s/ffp' -o linked",
             references);
    DG_CHECK(program(command) == 0);
    said("1 files of 1 cases written");
    DG_CHECK(shell("test -s linked/ffp/RTDOSE.dcm && ! test -e linked/ffp/RTPLAN.dcm") == 0);
}

static void test_refused(void)
{
    char command[2 * DG_PATH_MAX];
    make_case("hfs", "hfs", "spoilt", "p", true);
    DG_CHECK_OK(dg_cohort_write_index("spoilt", NULL, 0));
    snprintf(command, sizeof command, "spoilt --to dicom --predictions p --reference '%s/hfs' -o other", references);
    DG_CHECK(program(command) == 1);
    said("case hfs: the CT below --reference is not the case's, 1 of 1080 voxels differ");
    DG_CHECK(shell("test -e other/hfs/RTDOSE.dcm -o -e other/hfs/RTPLAN.dcm") != 0);
    snprintf(command, sizeof command, "cohort --to dicom --cases '[hfs]' --predictions p --reference '%s' -o many",
             references);
    DG_CHECK(program(command) == 0); /* it has a folder of that name */
    /* One case alone may be any of the CTs there; several must be told by hash, patient or folder. */
    DG_CHECK(shell("mkdir all && cp -r '%s/hfs' all/one && cp -r '%s/ffs' all/two", references, references) == 0);
    DG_CHECK(program("spoilt --to dicom --predictions p --reference all -o many-2") == 1);
    said("case hfs: the CT below --reference is not the case's");
    DG_CHECK(program("cohort --to dicom --predictions p --reference all -o many-3") == 1);
    said("--reference holds no CT of its patient; give the --salt of the import");
    DG_CHECK(program("cohort --to dicom --predictions p -o many-4") == 2);
    said("with --reference: the cohort does not hold who the patients are");
    DG_CHECK(shell("mkdir none && cp said none/") == 0);
    DG_CHECK(program("cohort --to dicom --cases '[hfs]' --predictions p --reference none -o many-5") == 1);
    said("--reference holds no CT of its patient");
    DG_CHECK(program("cohort --to dicom --what '[ct]' --reference none -o many-6") == 2);
    said("--to dicom knows pred, masks");
    DG_CHECK(shell("rm -rf all && mkdir all && cp '%s'/hfs/CT_* all", references) == 0);
    DG_CHECK(program("cohort --to dicom --link-plan --cases '[hfs]' --predictions p --reference all -o many-7") == 1);
    said("--reference holds 0 plans for its CT, one is wanted");
}

int main(void)
{
    const char *source = getenv("DG_TEST_SOURCE");
    DG_CHECK(source != NULL);
    DG_CHECK_OK(dg_path_join(references, source, "tests/data/dicom_positions"));
    program_begin();
    test_out();
    test_refused();
    program_end();
    return 0;
}
