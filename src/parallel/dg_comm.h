/* dg_comm.h - what ranks say to each other. An interface: `comm_self.c` serves one process, `mpi/` serves MPI, `cuda/`
 * adds NCCL for device buffers (they implement the same table).
 *
 * All calls are collective over the communicator unless marked otherwise, and are made by one thread per rank.
 * A communicator that failed (DG_ERR_COMM) allows no further call but destroy. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_COMM_H
#define DG_COMM_H

#include "dg_dtype.h"
#include "dg_status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct dg_comm dg_comm;
typedef struct dg_comm_request dg_comm_request; /* a pending non-blocking all-reduce */
typedef struct dg_comm_counter dg_comm_counter; /* a shared integer for fetch-and-add */
struct dg_heartbeat;                            /* dg_heartbeat.h */

typedef enum dg_reduce { DG_SUM, DG_MIN, DG_MAX } dg_reduce;

/* Message tags; one list for the whole program. */
typedef enum dg_comm_tag { DG_TAG_TREE = 100, DG_TAG_GATHER, DG_TAG_TASK, DG_TAG_TEST, DG_TAG_STRIP, DG_TAG_SEAM } dg_comm_tag;

/* The method table; wrappers below carry the contracts. */
typedef struct dg_comm_ops {
    const char *name; /* "self", "mpi", "nccl" */
    /* Operations on backend memory come after what that backend has queued: callers need not sync it first. */
    bool follows_backend;
    void (*destroy)(dg_comm *comm);
    dg_status (*barrier)(dg_comm *comm);
    dg_status (*broadcast)(dg_comm *comm, void *data, int64_t bytes, int root);
    dg_status (*all_reduce)(dg_comm *comm, void *data, int64_t count, dg_dtype type, dg_reduce op);
    dg_status (*all_reduce_start)(dg_comm *comm, void *data, int64_t count, dg_dtype type, dg_comm_request **out);
    dg_status (*test)(dg_comm *comm, dg_comm_request **request, bool *done);
    dg_status (*wait)(dg_comm *comm, dg_comm_request **request);
    dg_status (*send)(dg_comm *comm, const void *data, int64_t bytes, int to, dg_comm_tag tag);
    dg_status (*receive)(dg_comm *comm, void *data, int64_t bytes, int from, dg_comm_tag tag);
    dg_status (*gather)(dg_comm *comm, const void *data, int64_t bytes, int root, void *all, int64_t *sizes);
    dg_status (*counter_create)(dg_comm *comm, dg_comm_counter **out);
    dg_status (*counter_next)(dg_comm_counter *counter, int64_t step, int64_t *before);
    void (*counter_destroy)(dg_comm_counter **counter);
} dg_comm_ops;

/* Public head of every implementation's struct. */
struct dg_comm {
    const dg_comm_ops *ops;
    int rank, size;             /* of the whole communicator */
    int local_rank, local_size; /* among the ranks of this host */
    char host[64];
    struct dg_heartbeat *heartbeat; /* where marks go; NULL: nowhere. Borrowed */
    double timeout_s;               /* of a wait for other ranks, see dg_wait_poll; DG_COMM_TIMEOUT_S at first */
};

/* Default of train.comm_timeout_s and --comm-timeout. */
enum { DG_COMM_TIMEOUT_S = 300 };
/* Deadline of every later wait for ranks, and of reading and writing files, in seconds > 0. Not collective. */
void dg_comm_set_timeout(dg_comm *comm, double seconds);

/* One process: every call succeeds at once. */
DG_MUST_USE dg_status dg_comm_self_create(dg_comm **out);

/* Destroys and nulls; NULL is fine. Collective. */
void dg_comm_destroy(dg_comm **comm);

DG_MUST_USE dg_status dg_comm_barrier(dg_comm *comm);
/* Copies `bytes` of root's data to all. Any size (split into messages below 2 GiB). */
DG_MUST_USE dg_status dg_comm_broadcast(dg_comm *comm, void *data, int64_t bytes, int root);
/* In-place reduction over ranks: DG_F32, DG_F64, DG_I64, DG_I32. The order of float sums is the library's; use the
 * ordered reducer where bits matter. */
DG_MUST_USE dg_status dg_comm_all_reduce(dg_comm *comm, void *data, int64_t count, dg_dtype type, dg_reduce op);
/* Starts an in-place sum, also of DG_BF16 (added in f32; each communicator says where it rounds); `data` must stay untouched until test says done or wait returns (both null the request). */
DG_MUST_USE dg_status dg_comm_all_reduce_start(dg_comm *comm, void *data, int64_t count, dg_dtype type,
                                               dg_comm_request **out);
DG_MUST_USE dg_status dg_comm_test(dg_comm *comm, dg_comm_request **request, bool *done); /* not collective */
DG_MUST_USE dg_status dg_comm_wait(dg_comm *comm, dg_comm_request **request);
/* Point to point, blocking; a message of any size. Not collective. */
DG_MUST_USE dg_status dg_comm_send(dg_comm *comm, const void *data, int64_t bytes, int to, dg_comm_tag tag);
DG_MUST_USE dg_status dg_comm_receive(dg_comm *comm, void *data, int64_t bytes, int from, dg_comm_tag tag);
/* Variable-length gather. sizes[size] is filled on every rank; root's `all` (NULL on a sizing call and elsewhere) gets
 * the pieces in rank order. */
DG_MUST_USE dg_status dg_comm_gather(dg_comm *comm, const void *data, int64_t bytes, int root, void *all,
                                     int64_t *sizes);

/* Agreement on failure: every rank passes its status; all return DG_OK, or all return the first failing rank's status
 * with its message in the error record ("rank 3 on host: ..."). Call before the next collective whenever a rank may
 * have failed alone. */
DG_MUST_USE dg_status dg_comm_agree(dg_comm *comm, dg_status mine);
/* Largest of a small flag over ranks (stop requests and the like). */
DG_MUST_USE dg_status dg_comm_any(dg_comm *comm, int64_t mine, int64_t *largest);

/* A shared counter that starts at 0. create and destroy are collective, next is not: it returns the value before the
 * addition, and is served without help from the other ranks' code. */
DG_MUST_USE dg_status dg_comm_counter_create(dg_comm *comm, dg_comm_counter **out);
DG_MUST_USE dg_status dg_comm_counter_next(dg_comm *comm, dg_comm_counter *counter, int64_t step, int64_t *before);
void dg_comm_counter_destroy(dg_comm *comm, dg_comm_counter **counter);

#endif
