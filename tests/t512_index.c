/* ctest: libs=dg_h5 label=unit timeout=60 */
/* t512: the index is derived: lost or stale it is rebuilt from the cases; damaged and missing cases are named, and left
 * out of a written index; a case written after the index was read is noticed. SPDX-License-Identifier: Apache-2.0 */
#include "t5_cases.h"

static void write_case(const char *folder, const char *id, int64_t nz)
{
    t5_case c;
    t5_make(&c, id, nz, 6, 7);
    DG_CHECK_OK(dg_case_write(folder, &c.data));
    t5_release(&c);
}

static void check_count(const char *folder, int64_t count)
{
    dg_cohort *cohort;
    DG_CHECK_OK(dg_cohort_open(folder, &cohort));
    DG_CHECK(dg_cohort_count(cohort) == count);
    for (int64_t i = 0; i < count; i++) DG_CHECK_OK(dg_case_verify(cohort, i));
    dg_cohort_close(&cohort);
}

static void check_lost_and_stale(const char *folder)
{
    char path[DG_PATH_MAX], bad[256];
    snprintf(path, sizeof path, "%s/cohort.h5", folder);
    DG_CHECK_OK(dg_cohort_write_index(folder, bad, sizeof bad));
    check_count(folder, 2);
    write_case(folder, "c", 4); /* stale: a case more */
    check_count(folder, 3);
    DG_CHECK(unlink(path) == 0); /* lost */
    check_count(folder, 3);
}

static void check_damaged_case(const char *folder)
{
    char *bytes, bad[512];
    int64_t length;
    dg_cohort *cohort;
    char path[DG_PATH_MAX];
    snprintf(path, sizeof path, "%s/cases/b.h5", folder);
    t5_read_file(path, &bytes, &length);
    t5_write_file(path, bytes, length / 2);
    DG_CHECK_FAILS(dg_cohort_open(folder, &cohort), DG_ERR_FORMAT, "case b: file header is damaged");
    DG_CHECK_OK(dg_cohort_write_index(folder, bad, sizeof bad));
    DG_CHECK(strstr(bad, "case b") != NULL && strstr(bad, "case a") == NULL);
    check_count(folder, 2); /* the index knows of b and leaves it out */
    DG_CHECK(!dg_case_valid(folder, "b") && dg_case_valid(folder, "a") && !dg_case_valid(folder, "nobody"));
    t5_write_file(path, bytes, length);
    DG_CHECK(dg_case_valid(folder, "b"));
    check_count(folder, 3); /* mended: its size tells that the index is stale */
    snprintf(path, sizeof path, "%s/cases/z.h5", folder);
    t5_write_file(path, bytes, length);
    DG_CHECK_FAILS(dg_cohort_open(folder, &cohort), DG_ERR_FORMAT, "the file holds case b");
    DG_CHECK(unlink(path) == 0);
    dg_free(&bytes);
}

/* No case leaves a cohort in silence: the index knows of one that has no file any more. */
static void check_missing_case(const char *folder)
{
    dg_cohort *cohort;
    dg_case *c;
    char path[DG_PATH_MAX], index[DG_PATH_MAX], *bytes, bad[512];
    int64_t length;
    snprintf(path, sizeof path, "%s/cases/b.h5", folder);
    snprintf(index, sizeof index, "%s/cohort.h5", folder);
    DG_CHECK_OK(dg_cohort_write_index(folder, bad, sizeof bad));
    t5_read_file(path, &bytes, &length);
    DG_CHECK(unlink(path) == 0);
    write_case(folder, "d", 4); /* one that the index does not know */
    DG_CHECK_OK(dg_cohort_open(folder, &cohort));
    DG_CHECK(dg_cohort_count(cohort) == 4 && dg_cohort_find(cohort, "b") == 1 && dg_cohort_find(cohort, "d") == 3);
    DG_CHECK(dg_cohort_case(cohort, 1)->grid.shape[0] == 3);
    DG_CHECK_FAILS(dg_case_open(cohort, 1, &c), DG_ERR_IO, "case b: file is missing");
    DG_CHECK_FAILS(dg_case_verify(cohort, 1), DG_ERR_IO, "case b: file is missing");
    DG_CHECK_OK(dg_case_verify(cohort, 2));
    dg_cohort_close(&cohort);
    DG_CHECK_OK(dg_cohort_write_index(folder, bad, sizeof bad)); /* an import: the new index is of what is there */
    DG_CHECK(strcmp(bad, "case b: file is missing") == 0);
    check_count(folder, 3);
    t5_write_file(path, bytes, length);
    DG_CHECK_OK(dg_cohort_write_index(folder, bad, sizeof bad));
    DG_CHECK(bad[0] == '\0');
    DG_CHECK(unlink(path) == 0 && unlink(index) == 0); /* left out by will */
    check_count(folder, 3);
    t5_write_file(path, bytes, length);
    snprintf(path, sizeof path, "%s/cases/d.h5", folder);
    DG_CHECK(unlink(path) == 0);
    dg_free(&bytes);
}

static void check_changed_case(const char *folder)
{
    dg_cohort *cohort;
    dg_case *c;
    t5_case changed;
    DG_CHECK_OK(dg_cohort_open(folder, &cohort));
    t5_make(&changed, "a", 5, 6, 7);
    changed.ct[0]++;
    DG_CHECK_OK(dg_case_write(folder, &changed.data));
    t5_release(&changed);
    DG_CHECK_FAILS(dg_case_open(cohort, 0, &c), DG_ERR_MISMATCH, "case a: the case was written again");
    dg_cohort_close(&cohort);
}

static void check_not_a_cohort(const char *folder)
{
    dg_cohort *cohort;
    const char *file = t5_path(folder, "other.h5");
    DG_CHECK_FAILS(dg_cohort_open(t5_path(folder, "nowhere"), &cohort), DG_ERR_IO, "cannot be opened");
    DG_CHECK_FAILS(dg_cohort_open(t5_path(folder, "cases"), &cohort), DG_ERR_IO, "no folder of cases");
    t5_write_file(file, "not HDF5", 8);
    DG_CHECK_FAILS(dg_cohort_open(file, &cohort), DG_ERR_FORMAT, "cohort index");
    DG_CHECK_FAILS(dg_cohort_open(t5_path(folder, "cases/a.h5"), &cohort), DG_ERR_FORMAT, "is a dosegrid-case");
}

int main(void)
{
    char folder[64];
    t5_temporary(folder);
    write_case(folder, "a", 5);
    write_case(folder, "b", 3);
    check_lost_and_stale(folder);
    check_damaged_case(folder);
    check_missing_case(folder);
    check_changed_case(folder);
    check_not_a_cohort(folder);
    t5_remove_tree(folder);
    return 0;
}
