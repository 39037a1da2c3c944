/* ctest: libs=dg_formats,dg_grid label=unit timeout=120 */
/* t120_openkbp.c - a made patient comes in right, and every kind of damage is named. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_file.h"
#include "dg_mem.h"
#include "dg_openkbp.h"

#include <unistd.h>

static char folder[] = "/tmp/dosegrid-t120-XXXXXX";
static const dg_openkbp_options with_dose = {.require_dose = true}, to_predict = {.require_dose = false};

static const char *path_of(const char *name)
{
    static char path[DG_PATH_MAX];
    DG_CHECK_OK(dg_path_join(path, folder, name));
    return path;
}

static void put(const char *name, const char *text)
{
    FILE *f = fopen(path_of(name), "wb");
    DG_CHECK(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
}

/* Index 16513 = (1*128 + 1)*128 + 1; 16514 lies one step towards the feet. */
static void make_patient(void)
{
    put("voxel_dimensions.csv", "3.906000000000000139e+00\n3.5\n2.500000000000000000e+00\n");
    put("ct.csv", ",data\n16513,1035.0\n16514,5000\n16641,1.0\n2097151,12.4\n");
    put("dose.csv", ",data\n16513,70.125\n16514,1e-3\n");
    put("possible_dose_mask.csv", ",data\n16513,\n16514,\n");
    put("PTV70.csv", ",data\n16513,\n");
    put("LeftParotid.csv", ",data\r\n16514,\r\n");
}

static int64_t at(int64_t i, int64_t j, int64_t k) { return ((127 - k) * 128 + i) * 128 + j; }

static void test_good(void)
{
    dg_openkbp_patient p;
    make_patient();
    DG_CHECK_OK(dg_openkbp_read(folder, "pt_x", &with_dose, &p));
    DG_CHECK_NEAR(p.grid.spacing_mm[0], 2.5, 0);
    DG_CHECK_NEAR(p.grid.spacing_mm[1], 3.906, 1e-12);
    DG_CHECK_NEAR(p.grid.spacing_mm[2], 3.5, 0);
    DG_CHECK(p.ct_hu[at(1, 1, 1)] == 35 && p.ct_hu[at(1, 1, 2)] == 3095 && p.ct_hu[at(1, 2, 1)] == -999);
    DG_CHECK(p.ct_hu[at(127, 127, 127)] == -988 && p.ct_hu[at(0, 0, 0)] == -1000);
    DG_CHECK(p.ct_clipped == 1 && p.ct_rounded == 1 && p.dose_outside_possible == 0);
    DG_CHECK(p.dose_gy[at(1, 1, 1)] == 70.125F && p.dose_gy[at(1, 1, 2)] == 0.001F && p.dose_gy[0] == 0);
    DG_CHECK(p.structure_count == 3 && p.prescription_gy == 70);
    DG_CHECK(strcmp(dg_openkbp_structure_at(p.row[0])->name, "LeftParotid") == 0);
    DG_CHECK(strcmp(dg_openkbp_structure_at(p.row[0])->mirror, "RightParotid") == 0);
    DG_CHECK(strcmp(dg_openkbp_structure_at(p.row[1])->name, "PTV70") == 0);
    DG_CHECK(dg_openkbp_structure_at(p.row[2])->role == DG_OPENKBP_POSSIBLE_DOSE);
    DG_CHECK(p.masks[at(1, 1, 1)] == 6 && p.masks[at(1, 1, 2)] == 5 && p.masks[0] == 0);
    char copy[DG_PATH_MAX];
    snprintf(copy, sizeof copy, "%s", path_of("copy.csv"));
    DG_CHECK_OK(dg_openkbp_write_dose(copy, "pt_x", p.dose_gy));
    float *again;
    DG_CHECK_OK(DG_NEW(&again, DG_OPENKBP_VOXELS, "test"));
    DG_CHECK_OK(dg_openkbp_read_dose(copy, "pt_x", again));
    DG_CHECK(memcmp(again, p.dose_gy, DG_OPENKBP_VOXELS * sizeof *again) == 0);
    again[5] = INFINITY;
    DG_CHECK_FAILS(dg_openkbp_write_dose(copy, "pt_x", again), DG_ERR_NUMERIC, "case pt_x: the dose to write is inf");
    dg_free(&again);
    dg_openkbp_release(&p);
    DG_CHECK(p.ct_hu == NULL);

    const dg_openkbp_options keep = {.keep_ct = true};
    DG_CHECK_OK(dg_openkbp_read(folder, "pt_x", &keep, &p));
    DG_CHECK(p.ct_hu[at(1, 1, 2)] == 4000 && p.ct_clipped == 0);
    dg_openkbp_release(&p);
    put("dose.csv", ",data\n5,3.5\n16514,1\n");
    DG_CHECK_OK(dg_openkbp_read(folder, "pt_x", &to_predict, &p));
    DG_CHECK(p.dose_outside_possible == 1);
    dg_openkbp_release(&p);
    DG_CHECK(unlink(path_of("dose.csv")) == 0);
    DG_CHECK_OK(dg_openkbp_read(folder, "pt_x", &to_predict, &p));
    DG_CHECK(p.dose_gy == NULL);
    dg_openkbp_release(&p);
}

static void test_missing(void)
{
    static const char *const required[] = {"ct.csv", "dose.csv", "PTV70.csv", "possible_dose_mask.csv",
                                           "voxel_dimensions.csv"};
    dg_openkbp_patient p;
    for (size_t i = 0; i < sizeof required / sizeof *required; i++) {
        char words[96];
        make_patient();
        DG_CHECK(unlink(path_of(required[i])) == 0);
        snprintf(words, sizeof words, "case pt_x: %s is missing", required[i]);
        DG_CHECK_FAILS(dg_openkbp_read(folder, "pt_x", &with_dose, &p), DG_ERR_DATA, words);
        DG_CHECK(strstr(dg_error_last()->text, "/tmp") == NULL); /* no path in messages about patients */
    }
    make_patient();
    DG_CHECK_FAILS(dg_openkbp_read("/nowhere/pt_9", "pt_x", &with_dose, &p), DG_ERR_IO, "no such folder");
}

static void test_damaged(void)
{
    static const struct {
        const char *file, *text;
        dg_status status;
        const char *words;
    } bad[] = {
        {"ct.csv", "", DG_ERR_FORMAT, "case pt_x: ct.csv is empty"},
        {"ct.csv", ",data\n", DG_ERR_DATA, "ct.csv lists no voxel"},
        {"ct.csv", ",data\n16513,10", DG_ERR_FORMAT, "ct.csv ends within a line"},
        {"ct.csv", "index,data\n1,2\n", DG_ERR_FORMAT, "line 1 is \"index,data\""},
        {"ct.csv", ",data\n1,2\nrubbish \x01\xff\n", DG_ERR_FORMAT, "ct.csv line 3 is \"rubbish ??\""},
        {"ct.csv", ",data\n1,2,3\n", DG_ERR_FORMAT, "line 2 is \"1,2,3\""},
        {"ct.csv", ",data\n1,2 \n", DG_ERR_FORMAT, "line 2"},
        {"ct.csv", ",data\n1, 2\n", DG_ERR_FORMAT, "line 2"},
        {"ct.csv", ",data\n1,0x10\n", DG_ERR_FORMAT, "line 2"},
        {"ct.csv", ",data\n1\n", DG_ERR_FORMAT, "line 2 is \"1\""},
        {"ct.csv", ",data\n-1,5\n", DG_ERR_FORMAT, "line 2 is \"-1,5\""},
        {"ct.csv", ",data\n1.5,5\n", DG_ERR_FORMAT, "line 2"},
        {"ct.csv", ",data\n\n1,5\n", DG_ERR_FORMAT, "line 2 is \"\""},
        {"ct.csv", ",data\n1,\n", DG_ERR_DATA, "the value is missing"},
        {"ct.csv", ",data\n2097152,5\n", DG_ERR_FORMAT, "indices are 0 to 2097151"},
        {"ct.csv", ",data\n99999999999999999999999,5\n", DG_ERR_FORMAT, "indices are 0 to 2097151"},
        {"ct.csv", ",data\n7,5\n7,5\n", DG_ERR_FORMAT, "line 3 is \"7,5\"; the same index"},
        {"ct.csv", ",data\n7,5\n6,5\n", DG_ERR_FORMAT, "indices must ascend"},
        {"dose.csv", ",data\n7,nan\n", DG_ERR_DATA, "dose.csv line 2 is \"7,nan\"; the value is not a finite number; copy it again"},
        {"dose.csv", ",data\n7,-inf\n", DG_ERR_DATA, "not a finite"},
        {"dose.csv", ",data\n7,1e999\n", DG_ERR_DATA, "not a finite"},
        {"dose.csv", ",data\n7,-0.5\n", DG_ERR_DATA, "a dose of -0.5 Gy"},
        {"dose.csv", ",data\n7,7000\n", DG_ERR_DATA, "a dose of 7000 Gy"},
        {"PTV70.csv", ",data\n", DG_ERR_DATA, "PTV70.csv lists no voxel"},
        {"PTV70.csv", ",data\n7,3\n", DG_ERR_FORMAT, "a mask lists indices without values"},
        {"voxel_dimensions.csv", "3\n-3\n2\n", DG_ERR_DATA, "line 2: a spacing of -3 mm"},
        {"voxel_dimensions.csv", "3\n3\nnan\n", DG_ERR_DATA, "line 3: a spacing of nan mm"},
        {"voxel_dimensions.csv", "3\n3\n2", DG_ERR_FORMAT, "line 3 is not a number"},
        {"voxel_dimensions.csv", "3\n3\n", DG_ERR_FORMAT, "line 3 is not a number"},
        {"voxel_dimensions.csv", "3\n3\n2\n1\n", DG_ERR_FORMAT, "goes on after three"},
        {"voxel_dimensions.csv", "3\n400\n2\n", DG_ERR_DATA, "a spacing of 400 mm"},
    };
    dg_openkbp_patient p;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        make_patient();
        put(bad[i].file, bad[i].text);
        DG_CHECK_FAILS(dg_openkbp_read(folder, "pt_x", &with_dose, &p), bad[i].status, bad[i].words);
        DG_CHECK(p.ct_hu == NULL && p.dose_gy == NULL && p.masks == NULL);
    }
}

/* The scanner gives the numbers strtod gives, whatever their form. */
static void test_numbers(void)
{
    static const char *const forms[] = {"0",        "7",          "0.001",  "70.125",    "123456789.123456",
                                        "12345.67", "1e-3",       "2.5E+2", "999",       "0.1234567890123456789",
                                        "1000",     "000000.500", "3.",     "69.9999999"};
    float *dose;
    DG_CHECK_OK(DG_NEW(&dose, DG_OPENKBP_VOXELS, "test"));
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        char text[128];
        double want = strtod(forms[i], NULL);
        snprintf(text, sizeof text, ",data\n3,%s\n", forms[i]);
        put("one.csv", text);
        if (want <= 1000) {
            DG_CHECK_OK(dg_openkbp_read_dose(path_of("one.csv"), "pt_x", dose));
            DG_CHECK(dose[at(0, 0, 3)] == (float)want);
        } else {
            DG_CHECK_FAILS(dg_openkbp_read_dose(path_of("one.csv"), "pt_x", dose), DG_ERR_DATA, "a dose of");
        }
    }
    dg_free(&dose);
}

int main(void)
{
    DG_CHECK(mkdtemp(folder) != NULL);
    test_good();
    test_missing();
    test_damaged();
    test_numbers();
    static const char *const files[] = {
        "ct.csv",   "dose.csv", "PTV70.csv", "possible_dose_mask.csv", "LeftParotid.csv", "voxel_dimensions.csv",
        "copy.csv", "one.csv"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) unlink(path_of(files[i]));
    DG_CHECK(rmdir(folder) == 0);
    return 0;
}
