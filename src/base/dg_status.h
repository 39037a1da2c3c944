/* dg_status.h - status codes and the record of the last error.
 *
 * Every fallible function returns a dg_status. The function that notices a fault fills the calling thread's error
 * record with DG_FAIL; callers pass the status on with DG_TRY or DG_TRY_GOTO, which add a frame to the trace.
 * Libraries never print, exit or abort: `jobs/` shows the record.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_STATUS_H
#define DG_STATUS_H

#include <stddef.h>

#if defined(__GNUC__)
#define DG_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define DG_MUST_USE __attribute__((warn_unused_result))
#else
#define DG_PRINTF(fmt, args)
#define DG_MUST_USE
#endif

/* What went wrong, as far as a caller can act on it. The values are stable: they travel between ranks. */
typedef enum dg_status {
    DG_OK = 0,
    DG_ERR_USAGE,       /* wrong command line or configuration: exit code 2 */
    DG_ERR_IO,          /* the operating system refused: open, read, write, sync, space */
    DG_ERR_FORMAT,      /* a file is not what it should be: truncated, wrong type, checksum */
    DG_ERR_DATA,        /* well-formed data with impossible content: NaN dose, missing structure */
    DG_ERR_MEMORY,      /* out of host or device memory, or a size that overflows */
    DG_ERR_UNSUPPORTED, /* a valid request this build, backend or version cannot serve */
    DG_ERR_BACKEND,     /* a kernel library or device failed */
    DG_ERR_COMM,        /* the communicator failed or a rank is gone: no agreement is possible any more */
    DG_ERR_NUMERIC,     /* NaN or Inf where a finite number must be */
    DG_ERR_MISMATCH,    /* a checkpoint, config or rank does not fit the others */
    DG_ERR_BUSY,        /* another run holds the output */
    DG_ERR_PREEMPTED,   /* stopped on request after a complete checkpoint: exit code 75 */
    DG_ERR_INTERNAL     /* a fault of the program itself */
} dg_status;

/* Where one frame of the trace was recorded; strings are static. */
typedef struct dg_error_frame {
    const char *file;
    const char *function;
    int line;
} dg_error_frame;

enum { DG_ERROR_TEXT_MAX = 1024, DG_ERROR_FRAMES_MAX = 16 };

/* The last error of a thread: what, in words for the user, and the way it took up. */
typedef struct dg_error {
    dg_status status;
    char text[DG_ERROR_TEXT_MAX];
    dg_error_frame frame[DG_ERROR_FRAMES_MAX];
    int frame_count;
} dg_error;

/* The calling thread's last error; status DG_OK when there was none. Valid until the next failure in this thread. */
const dg_error *dg_error_last(void);

/* Clears the calling thread's record (after an error was handled). */
void dg_error_clear(void);

/* Short name of a status, such as "bad data"; never NULL. */
const char *dg_status_name(dg_status status);

/* Records an error in the calling thread and returns `status`; use through DG_FAIL. */
dg_status dg_error_set(dg_status status, const char *file, int line, const char *function, const char *format, ...)
    DG_PRINTF(5, 6);

/* Prepends "text: " to the recorded message, to add what the failing function could not know (a case, a file's role). */
dg_status dg_error_context(dg_status status, const char *format, ...) DG_PRINTF(2, 3);

/* Adds a frame to the calling thread's record; use through DG_TRY. */
dg_status dg_error_trace(dg_status status, const char *file, int line, const char *function);

/* Fails with a message that names the file or case, the value and the remedy. Yields the status. */
#define DG_FAIL(status, ...) dg_error_set((status), __FILE__, __LINE__, __func__, __VA_ARGS__)

/* Returns from the calling function when `call` fails. */
#define DG_TRY(call)                                                                                                   \
    do {                                                                                                               \
        dg_status dg_try_ = (call);                                                                                    \
        if (dg_try_ != DG_OK) return dg_error_trace(dg_try_, __FILE__, __LINE__, __func__);                            \
    } while (0)

/* Jumps to the one cleanup label when `call` fails; `status` is the function's result variable. */
#define DG_TRY_GOTO(status, call, label)                                                                               \
    do {                                                                                                               \
        (status) = (call);                                                                                             \
        if ((status) != DG_OK) {                                                                                       \
            (void)dg_error_trace((status), __FILE__, __LINE__, __func__);                                              \
            goto label;                                                                                                \
        }                                                                                                              \
    } while (0)

#endif
