/* dg_command.h - other programs' commands, with a deadline. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_COMMAND_H
#define DG_COMMAND_H

#include "dg_status.h"

#include <stddef.h>

/* Runs a command (looked up in PATH, standard input empty) and keeps the first capacity - 1 bytes of its two outputs.
 * SLURM_TIME_FORMAT=%s is set, so that Slurm prints Unix times. *exit_code: 128 + n where signal n ended it. DG_ERR_IO:
 * it cannot be started, or does not end within the time and is killed. Not collective. */
DG_MUST_USE dg_status dg_command_run(const char *const *argv, double timeout_s, char *output, size_t capacity,
                                     int *exit_code);

#endif
