/* mpi_impl.h - the inside of dg_comm over MPI, for this folder and its own tests.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_MPI_IMPL_H
#define DG_MPI_IMPL_H

#include "dg_mpi.h"

/* MPI counts are int: a message is cut into pieces of this many bytes. */
enum { DG_MPI_PIECE_BYTES = 1 << 30 };

typedef struct mpi_comm {
    dg_comm base;
    MPI_Comm handle; /* a dup of the world, errors are returned */
    MPI_Comm node;   /* the ranks of this host */
    int64_t piece_bytes;
    dg_comm_request *idle; /* finished sums, whose memory the next ones use */
    uint64_t sums;         /* started so far: the same on every rank */
    bool failed;           /* an MPI call failed: the library's state is unknown, nothing more is asked of it */
} mpi_comm;

/* A communicator over a dup of `world`. @collective */
DG_MUST_USE dg_status dg_mpi_comm_create(MPI_Comm world, dg_comm **out);
/* Turns an MPI return code into DG_ERR_COMM with rank, host and the library's words. */
DG_MUST_USE dg_status dg_mpi_check(const dg_comm *comm, int code, const char *call);
/* What is waited for: the MPI function, the operation in words, the other rank or -1. */
typedef struct mpi_operation {
    const char *call, *what;
    int peer;
} mpi_operation;
/* Polls requests until all are complete or the deadline of the communicator has passed. `status` is of a single one and may
 * be NULL. */
DG_MUST_USE dg_status dg_mpi_wait(dg_comm *comm, const mpi_operation *operation, MPI_Request *requests, int count,
                                  MPI_Status *status);
/* The pending sum of the method table, and the end of its reserve. */
DG_MUST_USE dg_status dg_mpi_sum_start(dg_comm *comm, void *data, int64_t count, dg_dtype type, dg_comm_request **out);
DG_MUST_USE dg_status dg_mpi_sum_test(dg_comm *comm, dg_comm_request **request, bool *done);
DG_MUST_USE dg_status dg_mpi_sum_wait(dg_comm *comm, dg_comm_request **request);
void dg_mpi_sum_release(mpi_comm *c);
/* Number of ranks the launcher's variables promise; 0 when they promise none. *launcher names it. */
int dg_mpi_expected_ranks(const char **launcher);

#define DG_MPI(comm, call) DG_TRY(dg_mpi_check((comm), (call), #call))

#endif
