/* ctest: libs=dg_base label=unit timeout=60
 * A leak of our own is still found in sanitizer builds although tests/lsan.supp hushes the MPI libraries.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"

#include "dg_file.h"
#include "dg_mem.h"

#include <sys/wait.h>
#include <unistd.h>

/* Only the launcher's libraries may be hushed; one of our own functions would hide our leaks. */
static void check_suppressions(void)
{
    static const char *const allowed[] = {"leak:libmpi", "leak:libopen-", "leak:libpmix", "leak:libhwloc",
                                          "leak:mca_",   "leak:libpsm",   "leak:libucs",  "leak:libevent"};
    char path[DG_PATH_MAX], *text, *rest, *line;
    int64_t length;
    const char *source = getenv("DG_TEST_SOURCE");
    int rules = 0;
    if (source == NULL) return;
    snprintf(path, sizeof path, "%s/tests/lsan.supp", source);
    DG_CHECK_OK(dg_file_read(path, "suppressions", 1 << 16, &text, &length));
    rest = text;
    while ((line = strsep(&rest, "\n")) != NULL) {
        bool known = line[0] == '\0' || line[0] == '#';
        for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++)
            known = known || strncmp(line, allowed[i], strlen(allowed[i])) == 0;
        if (!known) fprintf(stderr, "suppression not allowed: %s\n", line);
        DG_CHECK(known);
        rules += line[0] == 'l';
    }
    DG_CHECK(rules > 0);
    dg_free(&text);
}

static int leak(void)
{
    char *volatile lost;
    char *block;
    DG_CHECK_OK(dg_alloc(&block, 1000, 1, "lost block"));
    lost = block;
    lost = NULL;
    block = NULL;
    (void)lost;
    return 0;
}

int main(int argc, char **argv)
{
    check_suppressions();
#ifndef __SANITIZE_ADDRESS__
    (void)leak;
    printf("not a sanitizer build: skipped\n");
    return DG_TEST_SKIPPED;
#else
    if (argc == 2) return leak();
    char command[DG_PATH_MAX], found[1 << 14];
    snprintf(command, sizeof command, "'%s' child 2>&1", argv[0]);
    FILE *child = popen(command, "r");
    DG_CHECK(child != NULL);
    size_t length = fread(found, 1, sizeof found - 1, child);
    found[length] = '\0';
    int code = pclose(child);
    DG_CHECK(WIFEXITED(code) && WEXITSTATUS(code) != 0);
    DG_CHECK(strstr(found, "LeakSanitizer") != NULL && strstr(found, "dg_alloc") != NULL);
    return 0;
#endif
}
