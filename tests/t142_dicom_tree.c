/* ctest: libs=test_dicom,dg_formats,dg_base label=unit timeout=60 */
/* t142_dicom_tree.c - discovery: who refers to whom, several plans, copies, strays, links, and files made to harm.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"
#include "test_dicom_scan.h"

enum { PATH_TEXT = 128 };

static void scan(void)
{
    fresh_context();
    DG_CHECK_OK(dg_dicom_scan(&context, scratch, &tree));
}

static void forget(void)
{
    dg_dicom_tree_release(&tree);
    empty_scratch();
}

static void check_flaw(const dicom_case *c, dg_dicom_flaw flaw, const char *rule)
{
    const dg_dicom_case *one = scan_case(c);
    DG_CHECK(one->flaw == flaw);
    if (rule == NULL)
        DG_CHECK_OK(dg_dicom_case_check(&context, one));
    else
        CHECK_RULE(dg_dicom_case_check(&context, one), DG_ERR_DATA, rule);
    forget();
}

static void check_flaws(void)
{
    dicom_case c = dicom_case_make(scratch);
    check_flaw(&c, DG_DICOM_FLAW_NONE, NULL);
    for (int kind = DICOM_CT; kind <= DICOM_RTDOSE; kind++) {
        c.omit = 1 << kind;
        check_flaw(&c,
                   kind == DICOM_CT         ? DG_DICOM_NO_CT
                   : kind == DICOM_RTSTRUCT ? DG_DICOM_NO_STRUCTURES
                                            : 0,
                   kind == DICOM_CT         ? "ct-missing"
                   : kind == DICOM_RTSTRUCT ? "rtstruct-missing"
                                            : NULL);
    }
    c.omit = 1 << DICOM_RTDOSE | 1 << DICOM_RTPLAN; /* to predict from */
    check_flaw(&c, DG_DICOM_FLAW_NONE, NULL);
    c.omit |= 1 << DICOM_RTSTRUCT;
    check_flaw(&c, DG_DICOM_NO_STRUCTURES, "rtstruct-missing");
    c.omit = 0;
    dicom_case_change(&c, DICOM_RTSTRUCT, 0, 0x30060010, NULL); /* the frame of reference leads to the CT */
    check_flaw(&c, DG_DICOM_FLAW_NONE, NULL);
    dicom_case_change(&c, DICOM_RTSTRUCT, 0, 0x00200052, "1.2.3");
    check_flaw(&c, DG_DICOM_OTHER_FRAME, "rtstruct-frame");
    c = dicom_case_make(scratch);
    dicom_case_change(&c, DICOM_RTDOSE, 0, 0x00200052, "1.2.3");
    check_flaw(&c, DG_DICOM_OTHER_FRAME, "rtdose-frame");
    c = dicom_case_make(scratch); /* a plan that refers to itself, and one that refers to what is not here */
    dicom_case_change(&c, DICOM_RTPLAN, 0, 0x300c0060, DICOM_SECRET_UID);
    check_flaw(&c, DG_DICOM_FLAW_NONE, NULL);
    c = dicom_case_make(scratch);
    dicom_case_change(&c, DICOM_RTDOSE, 0, 0x300c0002, NULL);
    check_flaw(&c, DG_DICOM_FLAW_NONE, NULL);
}

/* Two plans of a patient are two cases of one group; a copy of a file counts once; a stray CT is nobody's. */
static void check_many(void)
{
    dicom_case c = dicom_case_make(scratch);
    char key[2][DG_HASH_HEX];
    dicom_case_write(&c);
    c.plan = 2;
    dicom_case_write(&c);
    dicom_bytes slice = dicom_ct_slice(&c, 3);
    dicom_save(&slice, scratch, "copy");
    free(slice.data);
    c.patient = "-other";
    slice = dicom_ct_slice(&c, 3);
    dicom_save(&slice, scratch, "stray.dcm");
    dicom_save(&(dicom_bytes){.data = (unsigned char *)"not DICOM", .length = 9}, scratch, "notes.txt");
    free(slice.data);
    char path[PATH_TEXT];
    snprintf(path, sizeof path, "%s/loop", scratch);
    DG_CHECK(symlink(scratch, path) == 0);
    scan();
    DG_CHECK(tree.case_count == 2 && tree.counts.duplicates == 1 && tree.counts.unused == 1);
    DG_CHECK(tree.counts.links == 1 && tree.counts.not_dicom == 1 && tree.counts.files == 6 + 1 + 4 + 1 + 1 + 1);
    for (int k = 0; k < 2; k++) {
        const dg_dicom_case *one = &tree.cases[k];
        DG_CHECK(one->ct.count == 6 && one->structures.count == 1 && one->doses.count == 1 && one->plans.count == 1);
        DG_CHECK(one->plans_of_patient == 2 && strcmp(one->patient_key, tree.cases[0].patient_key) == 0);
        DG_CHECK(strcmp(one->patient_id, DICOM_SECRET_ID) == 0 && strcmp(one->folder, "") == 0 && !one->guessed);
        strcpy(key[k], one->key);
    }
    DG_CHECK(strcmp(key[0], key[1]) != 0 && strcmp(tree.cases[0].plan_key, tree.cases[1].plan_key) != 0);
    dg_dicom_tree_release(&tree);
    scan(); /* the same keys again, others with another salt */
    DG_CHECK(strcmp(tree.cases[0].key, key[0]) == 0);
    dg_dicom_tree_release(&tree);
    fresh_context();
    context.salt = "pepper";
    DG_CHECK_OK(dg_dicom_scan(&context, scratch, &tree));
    DG_CHECK(strcmp(tree.cases[0].key, key[0]) != 0 && strcmp(tree.cases[0].key, key[1]) != 0);
    forget();
}

static void check_limits(void)
{
    const dicom_case c = dicom_case_make(scratch);
    dicom_case_write(&c);
    fresh_context();
    context.limits.files = 3;
    CHECK_RULE(dg_dicom_scan(&context, scratch, &tree), DG_ERR_DATA, "tree-files");
    fresh_context();
    context.limits.file_bytes = 500;
    DG_CHECK_OK(dg_dicom_scan(&context, scratch, &tree));
    DG_CHECK(tree.counts.too_large == 9 && tree.case_count == 0);
    forget();
    fresh_context();
    DG_CHECK_FAILS(dg_dicom_scan(&context, "/nonexistent-dicom", &tree), DG_ERR_IO, "no such folder");
    DG_CHECK(strstr(dg_error_last()->text, "nonexistent") == NULL);
}

/* Sequences within sequences, deep enough to break a parser that recurses; values that claim what is not there. */
static void check_hostile(void)
{
    dg_dicom_structures set;
    for (int syntax = DICOM_IMPLICIT; syntax <= DICOM_BIG; syntax++) {
        dicom_bytes deep = {0};
        dicom_put_head(&deep, DICOM_RTSTRUCT, DICOM_SECRET_UID, (dicom_syntax)syntax);
        dicom_put_text(&deep, 0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.481.3");
        for (int k = 0; k < 100000; k++) {
            dicom_open_sequence(&deep, 0x30060039);
            dicom_open_item(&deep);
        }
        dicom_save(&deep, scratch, "deep.dcm");
        free(deep.data);
        scan();
        char *path[] = {malloc(PATH_TEXT)};
        snprintf(path[0], PATH_TEXT, "%s/deep.dcm", scratch);
        const dg_dicom_files files = {path, 1};
        CHECK_RULE(dg_dicom_read_structures(&context, &files, NULL, &set), DG_ERR_FORMAT, "rtstruct-damaged");
        DG_CHECK(strstr(dg_error_last()->text, "too deep") != NULL);
        free(path[0]);
        forget();
    }
    dicom_bytes b = {0}; /* an identifier of 1 GB in a file of 200 bytes */
    dicom_put_head(&b, DICOM_CT, DICOM_SECRET_UID, DICOM_IMPLICIT);
    dicom_put_text(&b, 0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.2");
    b.data[b.length - 26 - 1] = 0x40;
    dicom_save(&b, scratch, "claims.dcm");
    free(b.data);
    scan();
    DG_CHECK(tree.counts.damaged == 1 && tree.case_count == 0);
    forget();
    for (int at = 132; at < 700; at += 7) { /* a cut anywhere is no crash and no endless loop */
        const dicom_case c = dicom_case_make(scratch);
        dicom_bytes dose = dicom_dose(&c, 0);
        dose.length = (size_t)at;
        dicom_save(&dose, scratch, "cut.dcm");
        dose.length += 300;
        memset(dose.data + at, 0xff, 300); /* lengths of 4 GB */
        dicom_save(&dose, scratch, "lies.dcm");
        free(dose.data);
        scan();
        DG_CHECK(tree.counts.files == 2);
        forget();
    }
    DG_CHECK(dg_peak_rss_bytes() < (int64_t)600 << 20);
}

int main(void)
{
    make_scratch();
    check_flaws();
    check_many();
    check_limits();
    check_hostile();
    remove_scratch();
    return 0;
}
