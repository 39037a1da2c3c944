/* dg_file.c - files that are complete or absent. Every step that the operating system can refuse is named.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_file.h"

#include "dg_fault.h"
#include "dg_mem.h"
#include "dg_trace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* What the user can do about an errno. */
static const char *remedy(int error)
{
    switch (error) {
    case ENOSPC:
    case EDQUOT: return "; free some space or choose another folder, then run again";
    case EFBIG: return "; raise the file size limit (ulimit -f), then run again";
    case EACCES:
    case EPERM: return "; check the permissions of the file and its folder";
    case EROFS: return "; choose a folder that can be written";
    case ENOENT: return "; check the name";
    default: return "";
    }
}

static dg_status fail_errno(int error, const char *doing, const char *path)
{
    char reason[128];
    return DG_FAIL(DG_ERR_IO, "%s %s failed: %s%s", doing, path, strerror_r(error, reason, sizeof reason),
                   remedy(error));
}

dg_status dg_path_join(char *path, const char *folder, const char *name)
{
    size_t length = strlen(folder);
    const char *separator = length == 0 || folder[length - 1] == '/' ? "" : "/";
    int used = snprintf(path, DG_PATH_MAX, "%s%s%s", folder, separator, name);
    if (used < 0 || used >= DG_PATH_MAX)
        return DG_FAIL(DG_ERR_USAGE, "path of %d characters ends in %.60s: at most %d are possible", used, name,
                       DG_PATH_MAX - 1);
    return DG_OK;
}

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* A finished file takes the place of an older one by its name: of a file, never of a folder, a device or a pipe. */
static dg_status check_replaceable(const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0 || S_ISREG(info.st_mode)) return DG_OK;
    if (S_ISDIR(info.st_mode)) return fail_errno(EISDIR, "writing", path);
    return DG_FAIL(DG_ERR_IO, "writing %s failed: it is a device or a pipe, which a file would replace; name a file", path);
}

dg_status dg_make_folder(const char *path)
{
    char part[DG_PATH_MAX];
    DG_TRY(dg_path_join(part, "", path));
    if (part[0] == '\0') return DG_FAIL(DG_ERR_USAGE, "the name of a folder to make is empty");
    for (char *end = part + 1;; end++) {
        if (*end != '/' && *end != '\0') continue;
        char kept = *end;
        *end = '\0';
        if (mkdir(part, 0777) != 0) {
            int error = errno; /* another rank may have made it; a read-only parent of an existing folder is fine too */
            if (!is_folder(part)) return fail_errno(error == EEXIST ? ENOTDIR : error, "making folder", part);
        }
        *end = kept;
        if (kept == '\0') return DG_OK;
    }
}

bool dg_file_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

static dg_status read_descriptor(int descriptor, const char *role, int64_t limit, char **text, int64_t *length)
{
    struct stat info;
    if (fstat(descriptor, &info) != 0) return fail_errno(errno, "looking at", role);
    if (S_ISDIR(info.st_mode)) return DG_FAIL(DG_ERR_IO, "%s is a folder, a file is wanted", role);
    if (info.st_size > limit)
        return DG_FAIL(DG_ERR_FORMAT, "%s has %lld bytes, at most %lld are read; is it the right file?", role,
                       (long long)info.st_size, (long long)limit);
    int64_t capacity = info.st_size > 0 ? info.st_size : (limit < 4096 ? limit : 4096);
    DG_TRY(dg_alloc(text, (size_t)capacity + 2, 1, role));
    *length = 0;
    for (;;) { /* one byte more than announced shows a file that grows, or a pipe */
        ssize_t got = read(descriptor, *text + *length, (size_t)(capacity + 1 - *length));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail_errno(errno, "reading", role);
        if (got == 0) break;
        *length += got;
        if (*length > limit)
            return DG_FAIL(DG_ERR_FORMAT, "%s has more than %lld bytes; is it the right file?", role, (long long)limit);
        if (*length > capacity) {
            DG_TRY(dg_grow(text, (size_t)capacity + 2, (size_t)capacity * 2 + 2, 1, role));
            capacity *= 2;
        }
    }
    (*text)[*length] = '\0';
    return DG_OK;
}

dg_status dg_file_read(const char *path, const char *role, int64_t limit, char **text, int64_t *length)
{
    *text = NULL;
    *length = 0;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return fail_errno(errno, "opening", role);
    dg_status status = read_descriptor(descriptor, role, limit, text, length);
    close(descriptor);
    if (status != DG_OK) dg_free(text);
    return status;
}

/* The folder entry itself must reach the disk, or a crash may lose the rename. */
static dg_status sync_folder_of(const char *path)
{
    char folder[DG_PATH_MAX];
    DG_TRY(dg_path_join(folder, "", path));
    char *slash = strrchr(folder, '/');
    if (slash == NULL)
        snprintf(folder, sizeof folder, ".");
    else
        slash[slash == folder ? 1 : 0] = '\0';
    int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return fail_errno(errno, "opening folder", folder);
    int error = fsync(descriptor) == 0 ? 0 : errno;
    close(descriptor);
    /* Some network file systems cannot sync a folder and say EINVAL; there the rename is as safe as it gets. */
    if (error != 0 && error != EINVAL) return fail_errno(error, "syncing folder", folder);
    return DG_OK;
}

dg_status dg_file_commit(const char *temporary, const char *path)
{
    DG_TRY(check_replaceable(path));
    int descriptor = open(temporary, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return fail_errno(errno, "opening", temporary);
    dg_status status = dg_fault_reach(DG_FAULT_SAVE_FSYNC, NULL, 0);
    int error = fsync(descriptor) == 0 ? 0 : errno;
    if (close(descriptor) != 0 && error == 0) error = errno;
    if (error != 0) return fail_errno(error, "syncing", temporary);
    if (status == DG_OK) status = dg_fault_reach(DG_FAULT_SAVE_RENAME, NULL, 0);
    DG_TRY(status);
    if (rename(temporary, path) != 0) return fail_errno(errno, "renaming the finished file to", path);
    DG_TRY(dg_fault_reach(DG_FAULT_SAVE_FOLDER, NULL, 0));
    return sync_folder_of(path);
}

static dg_status write_all(int descriptor, const char *path, const char *bytes, int64_t length)
{
    while (length > 0) {
        ssize_t put = write(descriptor, bytes, (size_t)length);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return fail_errno(errno, "writing", path);
        bytes += put;
        length -= put;
    }
    return DG_OK;
}

static dg_status create_temporary(const char *path, char temporary[DG_PATH_MAX], int *descriptor)
{
    if (snprintf(temporary, DG_PATH_MAX, "%s.tmp", path) >= DG_PATH_MAX)
        return DG_FAIL(DG_ERR_USAGE, "path too long: %.100s...", path);
    DG_TRY(check_replaceable(path));
    *descriptor = open(temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    return *descriptor < 0 ? fail_errno(errno, "creating", path) : DG_OK;
}

dg_status dg_file_check_writable(const char *path)
{
    char temporary[DG_PATH_MAX];
    int descriptor = -1;
    DG_TRY(create_temporary(path, temporary, &descriptor));
    close(descriptor);
    unlink(temporary);
    return DG_OK;
}

/* Reads the file back, past the page cache where the system lets go of it, and compares. */
static dg_status read_back(int descriptor, const char *path, const char *bytes, int64_t length)
{
    enum { BLOCK = 1 << 22 };
    char *block = NULL;
    dg_status status = dg_alloc(&block, BLOCK, 1, "block read back");
    (void)posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
    for (int64_t at = 0; at < length && status == DG_OK;) {
        ssize_t got = pread(descriptor, block, length - at < BLOCK ? (size_t)(length - at) : BLOCK, at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            status = fail_errno(errno, "reading back", path);
        } else {
            status = dg_fault_reach(DG_FAULT_SAVE_VERIFY, block, got);
            if (status == DG_OK && (got == 0 || memcmp(block, bytes + at, (size_t)got) != 0)) {
                status = DG_FAIL(DG_ERR_IO,
                                 "%s reads back otherwise than it was written, in the %lld bytes behind byte %lld: the "
                                 "disk or the way to it is not well; check it, or choose another folder",
                                 path, (long long)got, (long long)at);
            }
            at += got;
        }
    }
    dg_free(&block);
    return status;
}

/* *verify_s: seconds of reading back; NULL: not read back. */
static dg_status write_durably(const char *path, const void *bytes, int64_t length, double *verify_s)
{
    char temporary[DG_PATH_MAX];
    int descriptor = -1;
    DG_TRY(create_temporary(path, temporary, &descriptor));
    dg_status status = write_all(descriptor, path, bytes, length / 2);
    if (status == DG_OK) status = dg_fault_reach(DG_FAULT_SAVE_WRITE, (void *)bytes, length);
    if (status == DG_OK) status = write_all(descriptor, path, (const char *)bytes + length / 2, length - length / 2);
    if (status == DG_OK && verify_s != NULL) {
        if (fsync(descriptor) != 0) status = fail_errno(errno, "syncing", path);
        double start = dg_time_s();
        if (status == DG_OK) status = read_back(descriptor, path, bytes, length);
        *verify_s = dg_time_s() - start;
    }
    if (close(descriptor) != 0 && status == DG_OK) status = fail_errno(errno, "closing", path);
    if (status == DG_OK) status = dg_file_commit(temporary, path);
    if (status != DG_OK) unlink(temporary);
    return status;
}

dg_status dg_file_write(const char *path, const void *bytes, int64_t length)
{
    return write_durably(path, bytes, length, NULL);
}

dg_status dg_file_write_verified(const char *path, const void *bytes, int64_t length, double *verify_s)
{
    return write_durably(path, bytes, length, verify_s);
}

dg_status dg_free_bytes(const char *path, int64_t *bytes)
{
    char part[DG_PATH_MAX];
    struct statvfs info;
    *bytes = 0;
    DG_TRY(dg_path_join(part, "", path));
    while (statvfs(part, &info) != 0) { /* what does not exist yet will be made in its nearest existing parent */
        if (errno != ENOENT) return fail_errno(errno, "asking for the free space of", path);
        char *slash = strrchr(part, '/');
        if (strcmp(part, ".") == 0 || strcmp(part, "/") == 0) return fail_errno(ENOENT, "free space of", path);
        if (slash == NULL)
            snprintf(part, sizeof part, ".");
        else
            slash[slash == part ? 1 : 0] = '\0';
    }
    *bytes = (int64_t)info.f_bavail * (int64_t)info.f_frsize;
    return DG_OK;
}
