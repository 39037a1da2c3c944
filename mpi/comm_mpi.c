/* comm_mpi.c - dg_comm over standard MPI-3. Every operation is started and then polled, so that a rank that is gone or
 * stuck is an error after the deadline and never a hang. Messages of any size are cut into pieces; the counter is
 * one-sided, so that a rank that computes does not hold up the others. SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"
#include "mpi_impl.h"

#include <string.h>

struct dg_comm_counter {
    dg_comm *comm;
    MPI_Win window;
    int64_t *value; /* memory of the window: one integer on rank 0, none elsewhere */
};

static mpi_comm *of(dg_comm *comm) { return (mpi_comm *)comm; }

/* "MPI_Allreduce(MPI_IN_PLACE, ...)" is what the macro gives; the user reads the function's name only. */
dg_status dg_mpi_check(const dg_comm *comm, int code, const char *call)
{
    if (code == MPI_SUCCESS) return DG_OK;
    ((mpi_comm *)comm)->failed = true;
    char text[MPI_MAX_ERROR_STRING] = "unknown error";
    int length = 0;
    if (MPI_Error_string(code, text, &length) != MPI_SUCCESS) length = 0;
    return DG_FAIL(DG_ERR_COMM, "rank %d of %d on %s: %.*s failed: %s; see whether all ranks are alive", comm->rank,
                   comm->size, comm->host, (int)strcspn(call, "("), call, length > 0 ? text : "unknown error");
}

static int poll_all(MPI_Request *requests, int count, int *done, MPI_Status *status)
{
    /* MPI_Testall would say "look into the statuses" where MPI_Test tells the fault itself. */
    return count == 1 ? MPI_Test(requests, done, status) : MPI_Testall(count, requests, done, MPI_STATUSES_IGNORE);
}

dg_status dg_mpi_wait(dg_comm *comm, const mpi_operation *op, MPI_Request *requests, int count, MPI_Status *status)
{
    dg_wait wait;
    int done = 0;
    if (status == NULL) status = MPI_STATUS_IGNORE;
    DG_TRY(dg_mpi_check(comm, poll_all(requests, count, &done, status), op->call));
    if (done) return DG_OK;
    dg_wait_begin(comm, op->what, op->peer, &wait);
    dg_status result = DG_OK;
    while (!done && result == DG_OK) {
        result = dg_wait_poll(&wait);
        if (result != DG_OK)
            of(comm)->failed = true; /* MPI still holds the buffers: nothing more is asked of it */
        else
            result = dg_mpi_check(comm, poll_all(requests, count, &done, status), op->call);
    }
    dg_wait_end(&wait);
    return result;
}

/* Starts the call, which ends in `&request`, and waits for its end. */
#define DG_MPI_DONE(comm, what_, peer_, call_)                                               \
    do {                                                                                     \
        MPI_Request request;                                                                 \
        const mpi_operation operation_ = {.call = #call_, .what = (what_), .peer = (peer_)}; \
        DG_MPI(comm, call_);                                                                 \
        DG_TRY(dg_mpi_wait((comm), &operation_, &request, 1, NULL));                         \
    } while (0)

static MPI_Datatype type_of(dg_dtype type)
{
    switch (type) {
    case DG_F32: return MPI_FLOAT;
    case DG_F64: return MPI_DOUBLE;
    case DG_I32: return MPI_INT32_T;
    default: return MPI_INT64_T; /* the wrapper lets no other type pass */
    }
}

static MPI_Op op_of(dg_reduce op) { return op == DG_SUM ? MPI_SUM : op == DG_MIN ? MPI_MIN : MPI_MAX; }

/* Elements of `size` bytes in the piece that starts at `done` of `count`. */
static int piece_count(const mpi_comm *c, int64_t count, int64_t done, int64_t size)
{
    int64_t most = c->piece_bytes / size, left = count - done;
    return (int)(left < most ? left : most);
}

static void mpi_destroy(dg_comm *comm)
{
    mpi_comm *c = of(comm);
    int over = 0;
    if (MPI_Finalized(&over) == MPI_SUCCESS && !over && !c->failed) {
        /* Best effort: there is nobody left to tell of a failure here. */
        if (c->node != MPI_COMM_NULL) (void)MPI_Comm_free(&c->node);
        if (c->handle != MPI_COMM_NULL) (void)MPI_Comm_free(&c->handle);
    }
    dg_mpi_sum_release(c);
    dg_free(&c);
}

static dg_status mpi_barrier(dg_comm *comm)
{
    DG_MPI_DONE(comm, "barrier", -1, MPI_Ibarrier(of(comm)->handle, &request));
    return DG_OK;
}

static dg_status mpi_broadcast(dg_comm *comm, void *data, int64_t bytes, int root)
{
    mpi_comm *c = of(comm);
    for (int64_t done = 0; done < bytes;) {
        int piece = piece_count(c, bytes, done, 1);
        DG_MPI_DONE(comm, "broadcast from", root,
                    MPI_Ibcast((char *)data + done, piece, MPI_BYTE, root, c->handle, &request));
        done += piece;
    }
    return DG_OK;
}

static dg_status mpi_all_reduce(dg_comm *comm, void *data, int64_t count, dg_dtype type, dg_reduce op)
{
    mpi_comm *c = of(comm);
    int64_t size = (int64_t)dg_dtype_size(type);
    for (int64_t done = 0; done < count;) {
        int piece = piece_count(c, count, done, size);
        char *at = (char *)data + done * size;
        DG_MPI_DONE(comm, "all-reduce", -1,
                    MPI_Iallreduce(MPI_IN_PLACE, at, piece, type_of(type), op_of(op), c->handle, &request));
        done += piece;
    }
    return DG_OK;
}

static dg_status mpi_send(dg_comm *comm, const void *data, int64_t bytes, int to, dg_comm_tag tag)
{
    mpi_comm *c = of(comm);
    int64_t done = 0;
    do { /* an empty message is a message too */
        int piece = piece_count(c, bytes, done, 1);
        DG_MPI_DONE(comm, "send to", to,
                    MPI_Isend((const char *)data + done, piece, MPI_BYTE, to, (int)tag, c->handle, &request));
        done += piece;
    } while (done < bytes);
    return DG_OK;
}

static dg_status receive_piece(dg_comm *comm, void *data, int piece, int from, dg_comm_tag tag)
{
    const mpi_operation operation = {.call = "MPI_Irecv", .what = "receive from", .peer = from};
    MPI_Request request;
    MPI_Status status;
    int got = 0;
    DG_MPI(comm, MPI_Irecv(data, piece, MPI_BYTE, from, (int)tag, of(comm)->handle, &request));
    DG_TRY(dg_mpi_wait(comm, &operation, &request, 1, &status));
    DG_MPI(comm, MPI_Get_count(&status, MPI_BYTE, &got));
    if (got == piece) return DG_OK;
    return DG_FAIL(DG_ERR_INTERNAL, "rank %d: %d bytes came from rank %d with tag %d where %d were expected",
                   comm->rank, got, from, (int)tag, piece);
}

static dg_status mpi_receive(dg_comm *comm, void *data, int64_t bytes, int from, dg_comm_tag tag)
{
    mpi_comm *c = of(comm);
    int64_t done = 0;
    do {
        int piece = piece_count(c, bytes, done, 1);
        DG_TRY(receive_piece(comm, (char *)data + done, piece, from, tag));
        done += piece;
    } while (done < bytes);
    return DG_OK;
}

/* Root takes the pieces in rank order; the others send. */
static dg_status gather_data(dg_comm *comm, const void *data, int64_t bytes, int root, char *all, const int64_t *sizes)
{
    if (comm->rank != root) return bytes == 0 ? DG_OK : mpi_send(comm, data, bytes, root, DG_TAG_GATHER);
    for (int rank = 0; rank < comm->size; rank++) {
        if (rank == root && bytes > 0)
            memcpy(all, data, (size_t)bytes);
        else if (rank != root && sizes[rank] > 0)
            DG_TRY(mpi_receive(comm, all, sizes[rank], rank, DG_TAG_GATHER));
        all += sizes[rank];
    }
    return DG_OK;
}

static dg_status mpi_gather(dg_comm *comm, const void *data, int64_t bytes, int root, void *all, int64_t *sizes)
{
    mpi_comm *c = of(comm);
    DG_MPI_DONE(comm, "gather", -1, MPI_Iallgather(&bytes, 1, MPI_INT64_T, sizes, 1, MPI_INT64_T, c->handle, &request));
    int wanted = all != NULL; /* only the root knows whether this is a sizing call */
    DG_MPI_DONE(comm, "gather", -1, MPI_Ibcast(&wanted, 1, MPI_INT, root, c->handle, &request));
    return wanted ? gather_data(comm, data, bytes, root, all, sizes) : DG_OK;
}

static dg_status window_create(dg_comm *comm, dg_comm_counter *counter)
{
    mpi_comm *c = of(comm);
    MPI_Aint bytes = comm->rank == 0 ? (MPI_Aint)sizeof(int64_t) : 0;
    DG_MPI(comm,
           MPI_Win_allocate(bytes, (int)sizeof(int64_t), MPI_INFO_NULL, c->handle, &counter->value, &counter->window));
    DG_MPI(comm, MPI_Win_set_errhandler(counter->window, MPI_ERRORS_RETURN));
    DG_MPI(comm, MPI_Win_lock_all(0, counter->window));
    if (comm->rank == 0) {
        *counter->value = 0;
        DG_MPI(comm, MPI_Win_sync(counter->window));
    }
    DG_MPI(comm, MPI_Barrier(c->handle)); /* nobody adds before the zero is there */
    return DG_OK;
}

static dg_status mpi_counter_create(dg_comm *comm, dg_comm_counter **out)
{
    dg_comm_counter *counter = NULL;
    DG_TRY(dg_comm_agree(comm, DG_NEW(&counter, 1, "task counter")));
    counter->comm = comm;
    counter->window = MPI_WIN_NULL;
    dg_wait wait;
    dg_wait_begin(comm, "task counter", -1, &wait);
    dg_status status = window_create(comm, counter);
    dg_wait_end(&wait);
    if (status != DG_OK) dg_free(&counter);
    *out = counter;
    return status;
}

static dg_status mpi_counter_next(dg_comm_counter *counter, int64_t step, int64_t *before)
{
    dg_comm *comm = counter->comm;
    /* These cannot be polled: the heartbeat's thread keeps the deadline. */
    dg_wait wait;
    dg_wait_begin(comm, "next task from", 0, &wait);
    int code = MPI_Fetch_and_op(&step, before, MPI_INT64_T, 0, 0, MPI_SUM, counter->window);
    if (code == MPI_SUCCESS) code = MPI_Win_flush(0, counter->window);
    dg_wait_end(&wait);
    return dg_mpi_check(comm, code, "MPI_Fetch_and_op");
}

static void mpi_counter_destroy(dg_comm_counter **counter)
{
    if (!of((*counter)->comm)->failed) {
        dg_wait wait;
        dg_wait_begin((*counter)->comm, "task counter", -1, &wait);
        (void)MPI_Win_unlock_all((*counter)->window);
        (void)MPI_Win_free(&(*counter)->window);
        dg_wait_end(&wait);
    }
    dg_free(counter);
}

static const dg_comm_ops mpi_ops = {
    .name = "mpi",
    .destroy = mpi_destroy,
    .barrier = mpi_barrier,
    .broadcast = mpi_broadcast,
    .all_reduce = mpi_all_reduce,
    .all_reduce_start = dg_mpi_sum_start,
    .test = dg_mpi_sum_test,
    .wait = dg_mpi_sum_wait,
    .send = mpi_send,
    .receive = mpi_receive,
    .gather = mpi_gather,
    .counter_create = mpi_counter_create,
    .counter_next = mpi_counter_next,
    .counter_destroy = mpi_counter_destroy,
};

static dg_status fill_comm(mpi_comm *c, MPI_Comm world)
{
    dg_comm *comm = &c->base;
    DG_MPI(comm, MPI_Comm_set_errhandler(world, MPI_ERRORS_RETURN));
    DG_MPI(comm, MPI_Comm_dup(world, &c->handle));
    DG_MPI(comm, MPI_Comm_set_errhandler(c->handle, MPI_ERRORS_RETURN));
    DG_MPI(comm, MPI_Comm_rank(c->handle, &comm->rank));
    DG_MPI(comm, MPI_Comm_size(c->handle, &comm->size));
    DG_MPI(comm, MPI_Comm_split_type(c->handle, MPI_COMM_TYPE_SHARED, comm->rank, MPI_INFO_NULL, &c->node));
    DG_MPI(comm, MPI_Comm_set_errhandler(c->node, MPI_ERRORS_RETURN));
    DG_MPI(comm, MPI_Comm_rank(c->node, &comm->local_rank));
    DG_MPI(comm, MPI_Comm_size(c->node, &comm->local_size));
    return DG_OK;
}

dg_status dg_mpi_comm_create(MPI_Comm world, dg_comm **out)
{
    *out = NULL;
    mpi_comm *c;
    DG_TRY(DG_NEW(&c, 1, "communicator"));
    c->base.ops = &mpi_ops;
    c->base.size = c->base.local_size = 1;
    c->base.timeout_s = DG_COMM_TIMEOUT_S;
    c->handle = c->node = MPI_COMM_NULL;
    c->piece_bytes = DG_MPI_PIECE_BYTES;
    char name[MPI_MAX_PROCESSOR_NAME] = "?";
    int length = 0;
    if (MPI_Get_processor_name(name, &length) == MPI_SUCCESS) {
        size_t room = sizeof c->base.host - 1, used = (size_t)length;
        memcpy(c->base.host, name, used < room ? used : room);
    }
    dg_status status = fill_comm(c, world);
    *out = &c->base;
    if (status != DG_OK) dg_comm_destroy(out);
    return status;
}

MPI_Comm dg_mpi_handle(const dg_comm *comm)
{
    return comm->ops == &mpi_ops ? ((const mpi_comm *)comm)->handle : MPI_COMM_NULL;
}
