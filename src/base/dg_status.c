/* dg_status.c - the thread's error record. SPDX-License-Identifier: Apache-2.0 */
#include "dg_status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* One record a thread: the only state of this library that outlives a call. */
static _Thread_local dg_error last_error;

const dg_error *dg_error_last(void) { return &last_error; }

void dg_error_clear(void)
{
    last_error.status = DG_OK;
    last_error.text[0] = '\0';
    last_error.frame_count = 0;
}

const char *dg_status_name(dg_status status)
{
    switch (status) {
    case DG_OK: return "ok";
    case DG_ERR_USAGE: return "wrong usage";
    case DG_ERR_IO: return "input/output error";
    case DG_ERR_FORMAT: return "bad file";
    case DG_ERR_DATA: return "bad data";
    case DG_ERR_MEMORY: return "out of memory";
    case DG_ERR_UNSUPPORTED: return "not supported";
    case DG_ERR_BACKEND: return "backend error";
    case DG_ERR_COMM: return "communication error";
    case DG_ERR_NUMERIC: return "not a finite number";
    case DG_ERR_MISMATCH: return "mismatch";
    case DG_ERR_BUSY: return "busy";
    case DG_ERR_PREEMPTED: return "preempted";
    case DG_ERR_INTERNAL: return "internal error";
    }
    return "unknown status";
}

dg_status dg_error_trace(dg_status status, const char *file, int line, const char *function)
{
    if (last_error.frame_count < DG_ERROR_FRAMES_MAX)
        last_error.frame[last_error.frame_count++] = (dg_error_frame){.file = file, .function = function, .line = line};
    return status;
}

dg_status dg_error_set(dg_status status, const char *file, int line, const char *function, const char *format, ...)
{
    char text[DG_ERROR_TEXT_MAX]; /* the arguments may point into the old record */
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    memcpy(last_error.text, text, sizeof text);
    last_error.status = status;
    last_error.frame_count = 0;
    return dg_error_trace(status, file, line, function);
}

dg_status dg_error_context(dg_status status, const char *format, ...)
{
    char text[DG_ERROR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    int used = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (used >= 0 && (size_t)used < sizeof text) {
        char *end = text + used; /* what does not fit is cut */
        size_t room = sizeof text - (size_t)used - 1, length = strlen(last_error.text);
        size_t colon = room < 2 ? room : 2;
        memcpy(end, ": ", colon);
        room -= colon;
        if (length > room) length = room;
        memcpy(end + colon, last_error.text, length);
        end[colon + length] = '\0';
    }
    memcpy(last_error.text, text, sizeof text);
    return status;
}
