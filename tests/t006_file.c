/* ctest: libs=dg_base label=unit timeout=30
 * Durable files: whole or absent when the disk is full, the size limited, the folder missing or read-only.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"

#include "dg_file.h"
#include "dg_mem.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static void in_folder(const char *name, char path[DG_PATH_MAX]) { DG_CHECK_OK(dg_path_join(path, folder, name)); }

static void check_holds(const char *path, const char *wanted)
{
    char *text;
    int64_t length;
    DG_CHECK_OK(dg_file_read(path, "test file", 1000, &text, &length));
    DG_CHECK(length == (int64_t)strlen(wanted) && strcmp(text, wanted) == 0);
    dg_free(&text);
}

static void check_write(void)
{
    char path[DG_PATH_MAX], temporary[DG_PATH_MAX];
    in_folder("a.txt", path);
    in_folder("a.txt.tmp", temporary);
    DG_CHECK_OK(dg_file_write(path, "old", 3));
    check_holds(path, "old");
    DG_CHECK_OK(dg_file_write(path, "new text", 8));
    check_holds(path, "new text");
    DG_CHECK(!dg_file_exists(temporary));
    DG_CHECK_OK(dg_file_write(temporary, "committed", 9));
    DG_CHECK_OK(dg_file_commit(temporary, path));
    check_holds(path, "committed");
    DG_CHECK_FAILS(dg_file_commit(temporary, path), DG_ERR_IO, "a.txt.tmp failed: No such file");
    in_folder("missing/a.txt", path);
    DG_CHECK_FAILS(dg_file_write(path, "x", 1), DG_ERR_IO, "missing/a.txt failed: No such file");
    /* -o /dev/null by the owner of the machine must not put a file in the device's place. */
    in_folder("pipe", path);
    DG_CHECK(mkfifo(path, 0600) == 0);
    DG_CHECK_FAILS(dg_file_write(path, "x", 1), DG_ERR_IO, "it is a device or a pipe");
    DG_CHECK_FAILS(dg_file_check_writable(path), DG_ERR_IO, "it is a device or a pipe");
    in_folder("pipe.tmp", temporary);
    DG_CHECK(!dg_file_exists(temporary));
    DG_CHECK_OK(dg_file_write(temporary, "x", 1));
    DG_CHECK_FAILS(dg_file_commit(temporary, path), DG_ERR_IO, "name a file");
    DG_CHECK(unlink(path) == 0 && unlink(temporary) == 0);
}

/* A full disk and a size limit: the reason is named, the old file stays, nothing half-written is left. */
static void check_full(void)
{
    char path[DG_PATH_MAX], temporary[DG_PATH_MAX];
    static char block[10000];
    in_folder("full.txt", path);
    in_folder("full.txt.tmp", temporary);
    DG_CHECK_OK(dg_file_write(path, "kept", 4));
    DG_CHECK(symlink("/dev/full", temporary) == 0);
    DG_CHECK_FAILS(dg_file_write(path, "lost", 4), DG_ERR_IO, "No space left on device; free some space");
    check_holds(path, "kept");
    DG_CHECK(!dg_file_exists(temporary));

    struct rlimit old, small;
    DG_CHECK(getrlimit(RLIMIT_FSIZE, &old) == 0);
    small = old;
    small.rlim_cur = 4096;
    signal(SIGXFSZ, SIG_IGN);
    DG_CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
    dg_status status = dg_file_write(path, block, sizeof block);
    DG_CHECK(setrlimit(RLIMIT_FSIZE, &old) == 0);
    DG_CHECK_FAILS(status, DG_ERR_IO, "File too large; raise the file size limit");
    check_holds(path, "kept");
    DG_CHECK(!dg_file_exists(temporary));
}

static void check_read(void)
{
    char path[DG_PATH_MAX], *text;
    int64_t length;
    in_folder("b.txt", path);
    DG_CHECK_OK(dg_file_write(path, "0123456789", 10));
    DG_CHECK_OK(dg_file_read(path, "list", 10, &text, &length));
    DG_CHECK(length == 10);
    dg_free(&text);
    DG_CHECK_FAILS(dg_file_read(path, "list", 9, &text, &length), DG_ERR_FORMAT, "list has 10 bytes, at most 9");
    DG_CHECK(text == NULL);
    DG_CHECK_FAILS(dg_file_read("/nowhere/b", "list", 9, &text, &length), DG_ERR_IO, "opening list failed");
    DG_CHECK(strstr(dg_error_last()->text, "nowhere") == NULL);
    DG_CHECK_FAILS(dg_file_read(folder, "list", 9, &text, &length), DG_ERR_IO, "list is a folder");
    DG_CHECK_FAILS(dg_file_read("/dev/zero", "list", 100000, &text, &length), DG_ERR_FORMAT, "more than 100000 bytes");
    DG_CHECK_OK(dg_file_write(path, "", 0));
    DG_CHECK_OK(dg_file_read(path, "list", 9, &text, &length));
    DG_CHECK(length == 0 && text[0] == '\0');
    dg_free(&text);
}

static void check_folders(void)
{
    char path[DG_PATH_MAX], file[DG_PATH_MAX], *longest;
    int64_t bytes = 0;
    in_folder("x/y/z", path);
    DG_CHECK_OK(dg_make_folder(path));
    DG_CHECK_OK(dg_make_folder(path));
    DG_CHECK(dg_file_exists(path));
    in_folder("b.txt", file);
    DG_CHECK_FAILS(dg_make_folder(file), DG_ERR_IO, "Not a directory");
    in_folder("b.txt/c", file);
    DG_CHECK_FAILS(dg_make_folder(file), DG_ERR_IO, "Not a directory");
    DG_CHECK_FAILS(dg_make_folder(""), DG_ERR_USAGE, "empty");
    DG_CHECK_OK(dg_alloc(&longest, DG_PATH_MAX, 1, "long name"));
    memset(longest, 'a', DG_PATH_MAX - 1);
    DG_CHECK_FAILS(dg_path_join(path, "folder", longest), DG_ERR_USAGE, "at most 4095");
    dg_free(&longest);
    DG_CHECK_OK(dg_path_join(path, "a/", "b"));
    DG_CHECK(strcmp(path, "a/b") == 0);
    in_folder("not/yet/there", path);
    DG_CHECK_OK(dg_free_bytes(path, &bytes));
    DG_CHECK(bytes > 0);
    DG_CHECK_FAILS(dg_free_bytes("/dev/null/x", &bytes), DG_ERR_IO, "/dev/null/x");
}

int main(void)
{
    char command[128];
    snprintf(folder, sizeof folder, "t006_XXXXXX");
    DG_CHECK(mkdtemp(folder) != NULL);
    check_write();
    check_full();
    check_read();
    check_folders();
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command) == 0 ? 0 : 1;
}
