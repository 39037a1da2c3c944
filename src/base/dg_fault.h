/* dg_fault.h - places where a test can break the program from outside: a rank that dies in the middle of a save, a full
 * disk, a NaN in a gradient. The program that users get is linked with dg_fault.c, in which nothing ever happens; the
 * program `dosegrid_faults`, built for tests only, is linked with tests/faults/inject.c, which reads DG_FAULT (the
 * grammar stands there). SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_FAULT_H
#define DG_FAULT_H

#include "dg_status.h"

#include <stdint.h>

/* Each place has one name in DG_FAULT: the list in tests/faults/inject.c is in this order. */
typedef enum dg_fault_point {
    DG_FAULT_START,       /* start: the ranks know each other, no job has begun */
    DG_FAULT_STEP,        /* step: the beginning of a training step */
    DG_FAULT_DATA,        /* data: its samples are there; values: the input of the first */
    DG_FAULT_FORWARD,     /* forward: before the forward pass */
    DG_FAULT_LOSS,        /* loss: values: the loss terms of the samples */
    DG_FAULT_GRADIENT,    /* gradient: after a backward pass; values: 4 bytes that, changed, become a gradient */
    DG_FAULT_REDUCE,      /* reduce: before the sum over ranks is waited for */
    DG_FAULT_UPDATE,      /* update: before the optimiser's step */
    DG_FAULT_VALIDATE,    /* validate: the beginning of a validation */
    DG_FAULT_SAVE_COPY,   /* save-copy: the state of a checkpoint is taken */
    DG_FAULT_SAVE_WRITE,  /* save-write: any durable file, half written; values: its bytes */
    DG_FAULT_SAVE_FSYNC,  /* save-fsync: written, not yet synced */
    DG_FAULT_SAVE_VERIFY, /* save-verify: a block of a checkpoint was read back; values: the block */
    DG_FAULT_SAVE_RENAME, /* save-rename: synced, without its name */
    DG_FAULT_SAVE_FOLDER, /* save-folder: renamed, the folder not yet synced */
    DG_FAULT_PRUNE,       /* prune: before an old checkpoint is removed */
    DG_FAULT_TASK,        /* task: the beginning of a case of predict, evaluate or import; its number is the step */
    DG_FAULT_LEDGER,      /* ledger: before a line of the ledger is appended */
    DG_FAULT_PACK,        /* pack: before a collective write of the packed file */
    DG_FAULT_POINTS
} dg_fault_point;

/* Reads DG_FAULT for this rank, which is then at `start`. DG_ERR_USAGE names the word that is wrong and what is possible;
 * DG_ERR_COMM when this rank alone is to fail there. */
DG_MUST_USE dg_status dg_fault_begin(int rank);
/* The step (or the number of the task) that the calling thread works on from now on. */
void dg_fault_set_step(int64_t step);
/* The calling thread is at a point; `values` (may be NULL) are `bytes` of host memory that may be damaged there.
 * The status of an injected error, else DG_OK. */
DG_MUST_USE dg_status dg_fault_reach(dg_fault_point point, void *values, int64_t bytes);

#endif
