/* test_dicom_scan.h - what the tests of the DICOM reader share: a scratch folder, its only case, and that nothing planted
 * comes out. SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_DICOM_SCAN_H
#define TEST_DICOM_SCAN_H

#include "dg_check.h"
#include "dg_dicom.h"
#include "test_dicom.h"

#include <dirent.h>
#include <unistd.h>

static char scratch[64];
static dg_dicom_context context;
static dg_dicom_tree tree;

static inline void make_scratch(void)
{
    snprintf(scratch, sizeof scratch, "/tmp/dicom-XXXXXX");
    DG_CHECK(mkdtemp(scratch) != NULL);
}

static inline void empty_scratch(void)
{
    DIR *folder = opendir(scratch);
    DG_CHECK(folder != NULL);
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;)
        if (entry->d_name[0] != '.') DG_CHECK(unlinkat(dirfd(folder), entry->d_name, 0) == 0);
    closedir(folder);
}

static inline void remove_scratch(void)
{
    empty_scratch();
    DG_CHECK(rmdir(scratch) == 0);
}

/* Neither the last error nor a note holds a planted identifier or a path. */
static inline void check_clean(void)
{
    const char *const planted[] = {"Doe", "Planted", "PLANTED", "4711", DICOM_SECRET_DATE, "1.2.826", scratch, "ARC1"};
    for (size_t k = 0; k < sizeof planted / sizeof planted[0]; k++) {
        DG_CHECK(strstr(dg_error_last()->text, planted[k]) == NULL);
        for (int64_t n = 0; n < context.note_count && n < DG_DICOM_NOTES; n++)
            DG_CHECK(strstr(context.note[n].text, planted[k]) == NULL);
    }
}

static inline bool noted(const char *rule)
{
    for (int64_t n = 0; n < context.note_count && n < DG_DICOM_NOTES; n++)
        if (strcmp(context.note[n].rule, rule) == 0) return true;
    return false;
}

static inline void fresh_context(void) { context = (dg_dicom_context){.case_id = "case-7", .salt = "salt"}; }

/* Writes the case into the empty scratch folder, and scans that; there is one candidate. */
static inline const dg_dicom_case *scan_case(const dicom_case *c)
{
    empty_scratch();
    dicom_case_write(c);
    fresh_context();
    DG_CHECK_OK(dg_dicom_scan(&context, scratch, &tree));
    DG_CHECK(tree.case_count == 1);
    return &tree.cases[0];
}

/* The call fails with this status and rule, names the case and nothing planted. */
#define CHECK_RULE(call, status, name)                                                                               \
    do {                                                                                                             \
        DG_CHECK_FAILS(call, status, "case-7");                                                                      \
        if (context.rule == NULL || strcmp(context.rule, name) != 0) fprintf(stderr, "%s\n", dg_error_last()->text); \
        DG_CHECK(context.rule != NULL && strcmp(context.rule, name) == 0);                                           \
        DG_CHECK(strstr(dg_error_last()->text, name) != NULL);                                                       \
        check_clean();                                                                                               \
    } while (0)

#endif
