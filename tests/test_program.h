/* test_program.h - what tests in C of the whole program share: a folder of their own, and runs of `dosegrid` with their exit code
 * and words. SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_PROGRAM_H
#define TEST_PROGRAM_H

#include "dg_check.h"
#include "dg_file.h"
#include "dg_mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char program_folder[64];

static inline void program_begin(void)
{
    snprintf(program_folder, sizeof program_folder, "/tmp/dosegrid-test.XXXXXX");
    DG_CHECK(getenv("DG_TEST_BIN") != NULL);
    DG_CHECK(mkdtemp(program_folder) != NULL && chdir(program_folder) == 0);
}

/* Exit code of a shell command. */
__attribute__((format(printf, 1, 2))) static inline int shell(const char *format, ...)
{
    char command[4 * DG_PATH_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    const int code = system(command);
    DG_CHECK(code != -1 && WIFEXITED(code));
    return WEXITSTATUS(code);
}

static inline void program_end(void) { DG_CHECK(shell("rm -rf %s", program_folder) == 0); }

/* `dosegrid ARGUMENTS` ends with this exit code and says the words, if any. */
static inline void program_runs(int code, const char *arguments, const char *words)
{
    char *text;
    int64_t length;
    const int got = shell("'%s/dosegrid' %s >said 2>&1", getenv("DG_TEST_BIN"), arguments);
    DG_CHECK_OK(dg_file_read("said", "output", 1 << 20, &text, &length));
    if (got != code || (words != NULL && strstr(text, words) == NULL)) {
        fprintf(stderr, "dosegrid %s: exit code %d, not %d, or it did not say '%s':\n%s\n", arguments, got, code,
                words == NULL ? "" : words, text);
        exit(1);
    }
    dg_free(&text);
}

#endif
