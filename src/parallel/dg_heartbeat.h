/* dg_heartbeat.h - what every rank does right now, kept where the ranks of its host, `dosegrid status` and `dosegrid
 * supervise` can see it; and the deadline of what could wait for ever.
 *
 * The main thread of a rank leaves marks (phase, step, case) in its row of a table in memory that the ranks of a host
 * share; a thread of its own writes the table to a file per host and looks after the rank: it ends it when its launcher
 * or a neighbour is gone, when reading or writing takes longer than the deadline, or when another rank gave up. That
 * thread never calls MPI. A rank that waits for others asks the table who is behind. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_HEARTBEAT_H
#define DG_HEARTBEAT_H

#include "dg_comm.h"

typedef struct dg_heartbeat dg_heartbeat;

/* What a rank is at. From DG_PHASE_READ on it waits for files or for the end of MPI: these have a deadline of their own,
 * so whoever begins one marks what comes after it. */
typedef enum dg_phase {
    DG_PHASE_START,
    DG_PHASE_FORWARD,
    DG_PHASE_BACKWARD,
    DG_PHASE_REDUCE,
    DG_PHASE_UPDATE,
    DG_PHASE_VALIDATE,
    DG_PHASE_PREDICT,
    DG_PHASE_EVALUATE,
    DG_PHASE_IMPORT,
    DG_PHASE_COOLING, /* a pause between training steps */
    DG_PHASE_READ, /* a case, for predict, evaluate, import */
    DG_PHASE_DATA, /* the samples of a training step */
    DG_PHASE_WRITE,
    DG_PHASE_SAVE, /* a checkpoint */
    DG_PHASE_END,
    DG_PHASES
} dg_phase;

/* "forward"; a literal. "unknown" outside the list. */
const char *dg_phase_name(dg_phase phase);

/* ---- marks: cheap (tens of nanoseconds), never fail; a NULL heartbeat takes none ------------------------------------ */

/* The rank begins a phase; returns the one it was in, to go back to. By the main thread. */
dg_phase dg_heartbeat_phase(dg_heartbeat *heartbeat, dg_phase phase);
/* The step of a training. By the main thread. */
void dg_heartbeat_step(dg_heartbeat *heartbeat, int64_t step);
/* The case (or other task) that is worked on; NULL or "": none. By the main thread. */
void dg_heartbeat_task(dg_heartbeat *heartbeat, const char *task);
/* The work goes on within a phase: a window, a structure. By any thread. */
void dg_heartbeat_tick(dg_heartbeat *heartbeat);

/* A collective operation begins: whoever began fewer is behind. Called by dg_comm. */
void dg_heartbeat_operation(dg_heartbeat *heartbeat);

/* ---- waits with a deadline ----------------------------------------------------------------------------------------- */

/* A wait of the main thread, from begin to end; fields are private. */
typedef struct dg_wait {
    dg_comm *comm;
    const char *what;
    int peer, polls;
    double begun_s, polled_s, look_s;
    bool nested;
} dg_wait;

/* Begins to wait for a rank (or -1: all) in the operation `what`, a literal such as "all-reduce". Between begin and end
 * a caller either polls, or blocks in a call that cannot be polled: the heartbeat's thread then keeps the deadline. */
void dg_wait_begin(dg_comm *comm, const char *what, int peer, dg_wait *wait);
/* After a poll that found the operation incomplete: yields the processor, longer the longer it takes. DG_ERR_COMM when
 * comm->timeout_s passed in which the ranks that are behind made no mark; the message names them, where and since when.
 * Time in which this process itself was suspended does not count. */
DG_MUST_USE dg_status dg_wait_poll(dg_wait *wait);
void dg_wait_end(dg_wait *wait); /* on success and on failure */

/* ---- what can be seen ------------------------------------------------------------------------------------------------ */

enum { DG_PULSE_TASK = 48, DG_PULSE_WAIT = 32 };

/* The row of one rank, as another sees it. */
typedef struct dg_pulse {
    int rank, pid;
    char host[64];
    dg_phase phase;
    int64_t step;                                  /* -1: none yet */
    int64_t tasks; /* begun so far */
    int64_t marks, operations;                     /* marks left and collective operations begun so far */
    double phase_age_s;                            /* how long it is in its phase */
    double mark_age_s;                             /* since its last mark */
    double beat_age_s;                             /* since its thread last ran; well under a second while it lives */
    double wait_age_s;                             /* how long it waits for others; negative: it does not */
    char task[DG_PULSE_TASK], wait[DG_PULSE_WAIT]; /* "" where there is none */
} dg_pulse;

/* The heartbeat files FOLDER/heartbeat-* of all hosts; *pulses (the caller's, dg_free) in order of rank. Without any file
 * *count is 0. Ages grow with the age of the file. A file of another format is left out. */
DG_MUST_USE dg_status dg_heartbeat_read(const char *folder, dg_pulse **pulses, int *count);

/* Where the job of these files has its own (log/ of its run folder), as it names it; "" where they do not tell. */
void dg_heartbeat_home(const char *folder, char *home, size_t capacity);

/* Says who keeps this rank waiting: host, phase, since when, and on its own host the process's state, the call it sleeps
 * in, memory. `peer` is the rank that is waited for, or -1. A NULL heartbeat knows nobody. */
void dg_heartbeat_blame(dg_heartbeat *heartbeat, int peer, char *text, size_t capacity);

/* Where this rank is: "step 5, phase reduce"; without a step "phase start". A NULL heartbeat: "phase unknown". */
enum { DG_WHERE_TEXT = 64 };
void dg_heartbeat_where(dg_heartbeat *heartbeat, char *text, size_t capacity);

/* ---- life ------------------------------------------------------------------------------------------------------------ */

/* What the program lends; all may be called by the heartbeat's thread. */
typedef struct dg_heartbeat_options {
    /* Shows the long report of a fault: once per host, many lines. */
    void (*tell)(void *context, const char *report);
    /* Ends the process with a failure, at once, and says why; must not return. */
    void (*leave)(void *context, const char *why);
    void *context;
    bool launched;     /* a launcher started this process: it is watched, and its end is the rank's */
    const char *extra; /* a folder that gets the file of this host too (what `supervise` looks at), or NULL */
} dg_heartbeat_options;

/* Bytes of the table of a host with that many ranks. */
int64_t dg_heartbeat_table_bytes(int local_size);
/* Begins the rank's heartbeat and makes it comm->heartbeat; dg_heartbeat_open (dg_mpi.h) is what programs call. `table`
 * is zeroed memory of dg_heartbeat_table_bytes that the ranks of the host share (borrowed until destroy), or NULL: one of
 * its own, in which neighbours cannot be seen. `id` names this start of the program, the same on all ranks. Not
 * collective. */
DG_MUST_USE dg_status dg_heartbeat_create(dg_comm *comm, const dg_heartbeat_options *options, void *table,
                                          const char *id, dg_heartbeat **out);
/* From now on the files lie in FOLDER, which exists; every rank calls it. NULL: no files any more. Not collective. */
void dg_heartbeat_folder(dg_heartbeat *heartbeat, const char *folder);
/* The end of the thread and of the files; NULL is fine. After dg_comm_destroy, and after the end of MPI, so
 * that this is watched too. Not collective. */
void dg_heartbeat_destroy(dg_heartbeat **heartbeat);

#endif
