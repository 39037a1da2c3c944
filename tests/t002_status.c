/* ctest: libs=dg_base label=unit timeout=30
 * The error record: text, context, frames, one a thread. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"

#include <pthread.h>

static dg_status fails(int value) { return DG_FAIL(DG_ERR_DATA, "case pt_%d: dose is NaN", value); }

static dg_status passes_on(int value)
{
    DG_TRY(fails(value));
    return DG_OK;
}

static void *other_thread(void *unused)
{
    DG_CHECK(dg_error_last()->status == DG_OK);
    DG_CHECK(fails(2) == DG_ERR_DATA);
    return unused;
}

static void check_record(void)
{
    DG_CHECK_FAILS(passes_on(1), DG_ERR_DATA, "case pt_1: dose is NaN");
    DG_CHECK(dg_error_last()->frame_count == 2);
    DG_CHECK(strcmp(dg_error_last()->frame[0].function, "fails") == 0);
    DG_CHECK(strcmp(dg_error_last()->frame[1].function, "passes_on") == 0);
    DG_CHECK(dg_error_context(DG_ERR_DATA, "file %d", 7) == DG_ERR_DATA);
    DG_CHECK(strcmp(dg_error_last()->text, "file 7: case pt_1: dose is NaN") == 0);
    DG_CHECK(DG_FAIL(DG_ERR_IO, "again: %s", dg_error_last()->text) == DG_ERR_IO);
    DG_CHECK(strcmp(dg_error_last()->text, "again: file 7: case pt_1: dose is NaN") == 0);
}

static void check_long_text(void)
{
    char longest[3000];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    DG_CHECK(DG_FAIL(DG_ERR_IO, "%s", longest) == DG_ERR_IO);
    DG_CHECK(strlen(dg_error_last()->text) == DG_ERROR_TEXT_MAX - 1);
    for (int length = DG_ERROR_TEXT_MAX - 5; length < DG_ERROR_TEXT_MAX + 5; length++) {
        DG_CHECK(dg_error_context(DG_ERR_IO, "%.*s", length, longest) == DG_ERR_IO);
        DG_CHECK(strlen(dg_error_last()->text) == DG_ERROR_TEXT_MAX - 1);
        DG_CHECK(strspn(dg_error_last()->text, "x: ") == DG_ERROR_TEXT_MAX - 1);
    }
    for (int i = 0; i < 40; i++) (void)dg_error_trace(DG_ERR_IO, "f.c", i, "f");
    DG_CHECK(dg_error_last()->frame_count == DG_ERROR_FRAMES_MAX);
}

int main(void)
{
    pthread_t thread;
    check_record();
    check_long_text();
    dg_error_clear();
    DG_CHECK(dg_error_last()->status == DG_OK && dg_error_last()->text[0] == '\0');
    DG_CHECK(fails(1) == DG_ERR_DATA);
    DG_CHECK(pthread_create(&thread, NULL, other_thread, NULL) == 0);
    DG_CHECK(pthread_join(thread, NULL) == 0);
    DG_CHECK(strcmp(dg_error_last()->text, "case pt_1: dose is NaN") == 0);
    for (int status = DG_OK; status <= DG_ERR_INTERNAL; status++)
        DG_CHECK(strcmp(dg_status_name((dg_status)status), "unknown status") != 0);
    DG_CHECK(strcmp(dg_status_name((dg_status)99), "unknown status") == 0);
    return 0;
}
