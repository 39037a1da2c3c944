/* sum_mpi.c - the non-blocking all-reduce: every rank adds up one part of the array for all, then hands it out. A rank
 * sends 2 (size-1)/size of the array, as in a ring, but in two rounds; parts are added in rank order, so that the same
 * number of ranks gives the same bits. Written here because MPI_Iallreduce of Open MPI 4.1 allocates, and so faults in, a
 * copy of the array for every call, which costs several times the sum itself. SPDX-License-Identifier: Apache-2.0 */
#include "dg_bf16.h"
#include "dg_mem.h"
#include "mpi_impl.h"

#include <string.h>

/* Several sums can be under way; a tag of its own keeps the messages of each apart, whatever order they progress in. */
enum { FIRST_TAG = 1024, SUMS_IN_FLIGHT = 8192 };

struct dg_comm_request {
    struct dg_comm_request *next; /* in the communicator's list of idle ones */
    char *data;
    int64_t count;
    dg_dtype type;
    int tag;
    bool handing_out; /* the second round is under way */
    char *staging;    /* the others' share of my part, in rank order without mine */
    int64_t staging_bytes;
    MPI_Request *message;
    int messages, capacity;
};

static mpi_comm *of(dg_comm *comm) { return (mpi_comm *)comm; }

static int64_t part_start(const dg_comm *comm, int64_t count, int rank) { return count * rank / comm->size; }

static int64_t part_count(const dg_comm *comm, int64_t count, int rank)
{
    return part_start(comm, count, rank + 1) - part_start(comm, count, rank);
}

static int64_t pieces_of(const mpi_comm *c, int64_t bytes) { return (bytes + c->piece_bytes - 1) / c->piece_bytes; }

/* Makes room for the messages of a round and the staging; a reused request seldom needs more. */
static dg_status make_room(dg_comm *comm, dg_comm_request *r)
{
    int64_t size = (int64_t)dg_dtype_size(r->type), longest = (r->count / comm->size + 1) * size;
    int64_t messages = 2 * (comm->size - 1) * pieces_of(of(comm), longest);
    int64_t staging = (comm->size - 1) * part_count(comm, r->count, comm->rank) * size;
    if (messages > r->capacity) {
        dg_free(&r->message);
        r->capacity = 0;
        DG_TRY(DG_NEW(&r->message, messages, "messages of a sum"));
        r->capacity = (int)messages;
    }
    if (staging > r->staging_bytes) {
        dg_free(&r->staging);
        r->staging_bytes = 0;
        DG_TRY(dg_alloc(&r->staging, (size_t)staging, 1, "parts of a sum"));
        r->staging_bytes = staging;
    }
    return DG_OK;
}

/* Posts the pieces of one part to or from a rank. */
static dg_status post(dg_comm *comm, dg_comm_request *r, bool sends, char *part, int64_t bytes, int rank)
{
    mpi_comm *c = of(comm);
    for (int64_t done = 0; done < bytes;) {
        int piece = (int)(bytes - done < c->piece_bytes ? bytes - done : c->piece_bytes);
        MPI_Request *message = &r->message[r->messages];
        int tag = r->tag + r->handing_out;
        if (sends)
            DG_MPI(comm, MPI_Isend(part + done, piece, MPI_BYTE, rank, tag, c->handle, message));
        else
            DG_MPI(comm, MPI_Irecv(part + done, piece, MPI_BYTE, rank, tag, c->handle, message));
        r->messages++;
        done += piece;
    }
    return DG_OK;
}

/* First round: my part from everyone, everyone's part to its rank. Ranks begin with different partners. */
static dg_status collect(dg_comm *comm, dg_comm_request *r)
{
    int64_t size = (int64_t)dg_dtype_size(r->type), mine = part_count(comm, r->count, comm->rank) * size;
    for (int k = 1; k < comm->size; k++) {
        int from = (comm->rank + k) % comm->size;
        DG_TRY(post(comm, r, false, r->staging + (from - (from > comm->rank)) * mine, mine, from));
    }
    for (int k = 1; k < comm->size; k++) {
        int to = (comm->rank + comm->size - k) % comm->size;
        char *part = r->data + part_start(comm, r->count, to) * size;
        DG_TRY(post(comm, r, true, part, part_count(comm, r->count, to) * size, to));
    }
    return DG_OK;
}

#define ADD(type_)                                               \
    do {                                                         \
        type_ *x_ = (type_ *)sum;                                \
        const type_ *y_ = (const type_ *)more;                   \
        for (int64_t i_ = 0; i_ < count; i_++) x_[i_] += y_[i_]; \
    } while (0)

static void add(dg_dtype type, int64_t count, void *sum, const void *more)
{
    switch (type) {
    case DG_F32: ADD(float); break;
    case DG_F64: ADD(double); break;
    case DG_I32: ADD(uint32_t); break; /* as MPI: modulo 2^32, without the undefined overflow of signed types */
    default: ADD(uint64_t); break;     /* the wrapper lets no type but i64 come here */
    }
}

/* The same of bf16, in f32 and rounded once: partial sums that were rounded would lose small addends among many ranks. */
static void sum_rounded(const dg_comm *comm, dg_bf16 *own, const dg_bf16 *staging, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        float sum = 0.0f;
        for (int rank = 0; rank < comm->size; rank++)
            sum += dg_bf16_to_f32(rank == comm->rank ? own[i] : staging[(rank - (rank > comm->rank)) * count + i]);
        own[i] = dg_bf16_from_f32(sum);
    }
}

/* Sums my part in rank order. */
static void sum_part(const dg_comm *comm, dg_comm_request *r)
{
    int64_t size = (int64_t)dg_dtype_size(r->type), count = part_count(comm, r->count, comm->rank);
    char *own = r->data + part_start(comm, r->count, comm->rank) * size, *sum = comm->rank == 0 ? own : r->staging;
    if (r->type == DG_BF16) {
        sum_rounded(comm, (dg_bf16 *)own, (const dg_bf16 *)r->staging, count);
        return;
    }
    for (int rank = 1; rank < comm->size; rank++)
        add(r->type, count, sum, rank == comm->rank ? own : r->staging + (rank - (rank > comm->rank)) * count * size);
    if (sum != own && count > 0) memcpy(own, sum, (size_t)(count * size));
}

/* Second round: my finished part to everyone, theirs to me. */
static dg_status hand_out(dg_comm *comm, dg_comm_request *r)
{
    int64_t size = (int64_t)dg_dtype_size(r->type);
    r->handing_out = true;
    r->messages = 0;
    for (int k = 1; k < comm->size; k++) {
        int from = (comm->rank + k) % comm->size;
        char *part = r->data + part_start(comm, r->count, from) * size;
        DG_TRY(post(comm, r, false, part, part_count(comm, r->count, from) * size, from));
    }
    char *own = r->data + part_start(comm, r->count, comm->rank) * size;
    for (int k = 1; k < comm->size; k++) {
        int to = (comm->rank + comm->size - k) % comm->size;
        DG_TRY(post(comm, r, true, own, part_count(comm, r->count, comm->rank) * size, to));
    }
    return DG_OK;
}

dg_status dg_mpi_sum_start(dg_comm *comm, void *data, int64_t count, dg_dtype type, dg_comm_request **out)
{
    mpi_comm *c = of(comm);
    if (comm->size == 1 || count == 0) return DG_OK; /* *out NULL: done */
    dg_comm_request *r = c->idle;
    if (r != NULL)
        c->idle = r->next;
    else
        DG_TRY(DG_NEW(&r, 1, "sum over ranks"));
    r->data = data;
    r->count = count;
    r->type = type;
    r->tag = FIRST_TAG + 2 * (int)(c->sums++ % SUMS_IN_FLIGHT);
    r->handing_out = false;
    r->messages = 0;
    *out = r;
    dg_status status = make_room(comm, r);
    if (status == DG_OK) status = collect(comm, r);
    if (status == DG_OK) return DG_OK;
    c->failed = true; /* the others wait for what was not sent */
    r->next = c->idle;
    c->idle = r;
    *out = NULL;
    return status == DG_ERR_COMM ? status : dg_error_context(DG_ERR_COMM, "rank %d of %d", comm->rank, comm->size);
}

static void retire(mpi_comm *c, dg_comm_request **request)
{
    (*request)->next = c->idle;
    c->idle = *request;
    *request = NULL;
}

dg_status dg_mpi_sum_test(dg_comm *comm, dg_comm_request **request, bool *done)
{
    dg_comm_request *r = *request;
    int flag = 0;
    *done = false;
    DG_MPI(comm, MPI_Testall(r->messages, r->message, &flag, MPI_STATUSES_IGNORE));
    if (!flag) return DG_OK;
    *done = r->handing_out;
    if (*done) {
        retire(of(comm), request);
        return DG_OK;
    }
    sum_part(comm, r);
    return hand_out(comm, r);
}

dg_status dg_mpi_sum_wait(dg_comm *comm, dg_comm_request **request)
{
    static const mpi_operation collecting = {.call = "MPI_Testall", .what = "sum over ranks", .peer = -1};
    dg_comm_request *r = *request;
    DG_TRY(dg_mpi_wait(comm, &collecting, r->message, r->messages, NULL));
    if (!r->handing_out) {
        sum_part(comm, r);
        DG_TRY(hand_out(comm, r));
        DG_TRY(dg_mpi_wait(comm, &collecting, r->message, r->messages, NULL));
    }
    retire(of(comm), request);
    return DG_OK;
}

void dg_mpi_sum_release(mpi_comm *c)
{
    for (dg_comm_request *r = c->idle, *next; r != NULL; r = next) {
        next = r->next;
        dg_free(&r->message);
        dg_free(&r->staging);
        dg_free(&r);
    }
    c->idle = NULL;
}
