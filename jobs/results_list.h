/* results_list.h - result files as they are named on the command line: FILE, NAME=FILE or NAME@SEED=FILE.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_RESULTS_LIST_H
#define DG_RESULTS_LIST_H

#include "dg_compare.h"

enum { DG_RESULTS_FILES_MAX = 512 };

typedef struct dg_results_list {
    dg_results *results[DG_RESULTS_FILES_MAX];
    dg_compare_file file[DG_RESULTS_FILES_MAX];
    int64_t count;
} dg_results_list;

/* Reads all files; condition and seed come from the argument, else from the file's `run`. A file whose own name holds '=' is a
 * file. DG_ERR_USAGE names the argument. dg_results_list_release also after a failure. */
DG_MUST_USE dg_status dg_results_list_read(const char *const *argument, int64_t count, dg_results_list *out);
void dg_results_list_release(dg_results_list *list);

#endif
