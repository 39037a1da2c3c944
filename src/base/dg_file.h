/* dg_file.h - files that are complete or absent: write to NAME.tmp, fsync, rename, fsync the folder.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_FILE_H
#define DG_FILE_H

#include "dg_status.h"

#include <stdbool.h>
#include <stdint.h>

enum { DG_PATH_MAX = 4096 };

/* Joins folder and name into path[DG_PATH_MAX]; DG_ERR_USAGE when too long. */
DG_MUST_USE dg_status dg_path_join(char *path, const char *folder, const char *name);
/* mkdir -p; DG_ERR_IO names the folder and the reason. */
DG_MUST_USE dg_status dg_make_folder(const char *path);
bool dg_file_exists(const char *path);
/* Whole file in memory, NUL added; caller frees with dg_free. At most `limit` bytes, else DG_ERR_FORMAT. `role` names
 * the file in messages ("configuration", "dose of case X"): paths are shown only where the user gave them. */
DG_MUST_USE dg_status dg_file_read(const char *path, const char *role, int64_t limit, char **text, int64_t *length);
/* Durable write of a small file. */
DG_MUST_USE dg_status dg_file_write(const char *path, const void *bytes, int64_t length);
/* The same, read back and compared before it gets its name; *verify_s gets the seconds of that. */
DG_MUST_USE dg_status dg_file_write_verified(const char *path, const void *bytes, int64_t length, double *verify_s);
/* Asks early whether dg_file_write could make `path`, for results that take hours: DG_ERR_IO with reason and remedy. */
DG_MUST_USE dg_status dg_file_check_writable(const char *path);
/* fsync of a finished temporary file, rename to `path`, fsync of the folder. */
DG_MUST_USE dg_status dg_file_commit(const char *temporary, const char *path);
/* Free bytes of the file system that holds `path`; DG_ERR_IO. */
DG_MUST_USE dg_status dg_free_bytes(const char *path, int64_t *bytes);

#endif
