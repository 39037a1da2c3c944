/* heartbeat_impl.h - the inside of the heartbeat: the table of a host, and what the thread keeps.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_HEARTBEAT_IMPL_H
#define DG_HEARTBEAT_IMPL_H

#include "dg_file.h"
#include "dg_heartbeat.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/types.h>

enum { STACK_TEXT = 3072, FAULT_TEXT = 512, ID_TEXT = 48 };

/* Text that one thread writes and others read without a lock: odd versions are being written. */
typedef struct shared_text {
    atomic_uint version;
    char text[DG_PULSE_TASK];
} shared_text;

/* A request for the stack of a rank's main thread. */
typedef enum stack_state { STACK_NONE, STACK_WANTED, STACK_READY } stack_state;

/* Times are dg_time_s (CLOCK_MONOTONIC, one clock for a host). Shared between processes: plain values, no pointers. */
typedef struct pulse_row {
    _Alignas(64) atomic_int pid; /* 0: no rank yet */
    atomic_int rank, phase, peer, stack;
    atomic_llong step, tasks, marks, operations;
    _Atomic double phase_s, mark_s, beat_s, wait_s; /* wait_s 0: does not wait */
    shared_text task, wait;
    char stack_text[STACK_TEXT]; /* complete when `stack` is STACK_READY */
} pulse_row;

typedef struct pulse_table {
    atomic_int fault; /* 1 + rank of the first that gave up; 0: none */
    _Atomic double fault_s;
    atomic_bool reported; /* the report on it is out, or there is none */
    shared_text fault_host;
    pulse_row row[];
} pulse_table;

struct dg_heartbeat {
    char host[64];
    int rank, size;
    _Atomic double timeout_s;
    dg_heartbeat_options options;
    pulse_table *table;
    pulse_row *row; /* of this rank */
    int rows;       /* 1 in a table of its own */
    bool owns_table;
    char id[ID_TEXT];
    char extra[DG_PATH_MAX];
    pthread_mutex_t lock; /* of folder */
    char folder[DG_PATH_MAX];
    pthread_t main_thread, thread;
    atomic_bool stop;
    pid_t launcher;           /* parent at the start */
    _Atomic double resumed_s; /* when this process last came back from a suspension, or began */
    double file_s, folder_s;  /* when the thread last wrote the file, looked into the folder */
    double gone_s;            /* since when the neighbour is gone; 0: it is there */
};

/* heartbeat.c */
void dg_pulse_text_put(shared_text *to, const char *text);
void dg_pulse_text_get(shared_text *from, char *text, size_t capacity);
/* The row as another sees it now. */
void dg_pulse_take(const dg_heartbeat *heartbeat, pulse_row *row, dg_pulse *out);

/* heartbeat_thread.c: what the thread does. */
void *dg_heartbeat_run(void *heartbeat);

/* heartbeat_file.c: writes this host's file to FOLDER, renamed into place. Best effort: a full disk ends no run. */
void dg_heartbeat_write(dg_heartbeat *heartbeat, const char *folder);
/* Removes the file of this host: one that is left after a run says where it died. The extra folder's gets its last state. */
void dg_heartbeat_remove(dg_heartbeat *heartbeat);
/* Removes from FOLDER the files that ranks of an earlier start left when they died. */
void dg_heartbeat_forget_others(dg_heartbeat *heartbeat, const char *folder);
/* Copies the folder in use, "" where there is none. */
void dg_heartbeat_get_folder(dg_heartbeat *heartbeat, char folder[DG_PATH_MAX]);
/* Every rank that can be seen: this host's from the table, others' from their files. */
DG_MUST_USE dg_status dg_heartbeat_see(dg_heartbeat *heartbeat, dg_pulse **pulses, int *count);

/* heartbeat_report.c */
/* Whether no such process runs any more: it has ended, or is a zombie. */
bool dg_process_is_gone(int pid);
/* One line on a process of this host: its state, where it sleeps in the kernel, memory. */
void dg_process_describe(int pid, char *text, size_t capacity);
/* What a pulse says, in words: "rank 1 on h2 (process 7), phase forward of step 3 since 12:01:07 (5.1 s)". */
void dg_pulse_describe(const dg_pulse *pulse, char *text, size_t capacity);
/* Notes that this rank gives up, for `why`: the others of the run will see it. The first of a host tells all it knows. */
void dg_heartbeat_fault(dg_heartbeat *heartbeat, const char *why);
/* Waits, for a few seconds at most, until the rank of this host that gave up first has made its report: a rank that ends
 * before takes the others along. By the main thread. */
void dg_heartbeat_await_report(dg_heartbeat *heartbeat);
/* Whether that is so; also after those few seconds. */
bool dg_heartbeat_reported(dg_heartbeat *heartbeat);
/* Whether a rank that is behind has left no mark for the timeout, or no rank is seen that is behind. */
bool dg_heartbeat_is_late(dg_heartbeat *heartbeat);

/* heartbeat_gpu.c: a line on each GPU of this host, none where there is no NVML; within a second or so. */
void dg_gpus_print(FILE *stream);

/* heartbeat_stack.c: the stack of the main thread, taken in a signal handler. */
void dg_stack_install(void);
/* Called by the thread: makes the main thread describe its stack; false when it does not within a second. */
bool dg_stack_take(pthread_t main_thread, char *text, size_t capacity);

#endif
