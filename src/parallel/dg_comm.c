/* dg_comm.c - the wrappers of the communicator's method table: what every implementation shares (argument checks,
 * agreement). SPDX-License-Identifier: Apache-2.0 */
#include "dg_comm.h"
#include "dg_heartbeat.h"

#include <limits.h>
#include <string.h>

/* What a failed rank tells the others; the text is its error record. */
typedef struct verdict {
    int32_t status;
    char host[64];
    char text[DG_ERROR_TEXT_MAX];
} verdict;

void dg_comm_destroy(dg_comm **comm)
{
    if (comm == NULL || *comm == NULL) return;
    (*comm)->ops->destroy(*comm);
    *comm = NULL;
}

dg_status dg_comm_barrier(dg_comm *comm)
{
    dg_heartbeat_operation(comm->heartbeat);
    return comm->ops->barrier(comm);
}

static dg_status check_size(const char *call, const void *data, int64_t amount)
{
    if (amount < 0) return DG_FAIL(DG_ERR_INTERNAL, "%s: negative size %lld", call, (long long)amount);
    if (data == NULL && amount > 0)
        return DG_FAIL(DG_ERR_INTERNAL, "%s: no data for %lld elements", call, (long long)amount);
    return DG_OK;
}

static dg_status check_rank(const char *call, const dg_comm *comm, int rank)
{
    if (rank < 0 || rank >= comm->size)
        return DG_FAIL(DG_ERR_INTERNAL, "%s: there is no rank %d among %d", call, rank, comm->size);
    return DG_OK;
}

dg_status dg_comm_broadcast(dg_comm *comm, void *data, int64_t bytes, int root)
{
    DG_TRY(check_size("broadcast", data, bytes));
    DG_TRY(check_rank("broadcast", comm, root));
    dg_heartbeat_operation(comm->heartbeat);
    return comm->ops->broadcast(comm, data, bytes, root);
}

static dg_status check_reduction(const void *data, int64_t count, dg_dtype type, dg_reduce op, bool starts)
{
    DG_TRY(check_size("all-reduce", data, count));
    if (!(starts && type == DG_BF16) && type != DG_F32 && type != DG_F64 && type != DG_I64 && type != DG_I32)
        return DG_FAIL(DG_ERR_INTERNAL, "all-reduce: element type %d is not f32, f64, i64 or i32", (int)type);
    if (op != DG_SUM && op != DG_MIN && op != DG_MAX)
        return DG_FAIL(DG_ERR_INTERNAL, "all-reduce: unknown operation %d", (int)op);
    return DG_OK;
}

dg_status dg_comm_all_reduce(dg_comm *comm, void *data, int64_t count, dg_dtype type, dg_reduce op)
{
    DG_TRY(check_reduction(data, count, type, op, false));
    dg_heartbeat_operation(comm->heartbeat);
    return comm->ops->all_reduce(comm, data, count, type, op);
}

dg_status dg_comm_all_reduce_start(dg_comm *comm, void *data, int64_t count, dg_dtype type, dg_comm_request **out)
{
    *out = NULL;
    DG_TRY(check_reduction(data, count, type, DG_SUM, true));
    dg_heartbeat_operation(comm->heartbeat);
    return comm->ops->all_reduce_start(comm, data, count, type, out);
}

dg_status dg_comm_test(dg_comm *comm, dg_comm_request **request, bool *done)
{
    *done = true;
    return *request == NULL ? DG_OK : comm->ops->test(comm, request, done);
}

dg_status dg_comm_wait(dg_comm *comm, dg_comm_request **request)
{
    return *request == NULL ? DG_OK : comm->ops->wait(comm, request);
}

static dg_status check_peer(const char *call, const dg_comm *comm, int rank)
{
    DG_TRY(check_rank(call, comm, rank));
    if (rank == comm->rank) return DG_FAIL(DG_ERR_INTERNAL, "%s: rank %d names itself", call, rank);
    return DG_OK;
}

dg_status dg_comm_send(dg_comm *comm, const void *data, int64_t bytes, int to, dg_comm_tag tag)
{
    DG_TRY(check_size("send", data, bytes));
    DG_TRY(check_peer("send", comm, to));
    return comm->ops->send(comm, data, bytes, to, tag);
}

dg_status dg_comm_receive(dg_comm *comm, void *data, int64_t bytes, int from, dg_comm_tag tag)
{
    DG_TRY(check_size("receive", data, bytes));
    DG_TRY(check_peer("receive", comm, from));
    return comm->ops->receive(comm, data, bytes, from, tag);
}

dg_status dg_comm_gather(dg_comm *comm, const void *data, int64_t bytes, int root, void *all, int64_t *sizes)
{
    DG_TRY(check_size("gather", data, bytes));
    DG_TRY(check_rank("gather", comm, root));
    dg_heartbeat_operation(comm->heartbeat);
    return comm->ops->gather(comm, data, bytes, root, all, sizes);
}

dg_status dg_comm_agree(dg_comm *comm, dg_status mine)
{
    /* A failed communicator can carry no verdict; one rank has nobody to tell. */
    if (comm->size == 1 || mine == DG_ERR_COMM) return mine;
    int64_t first = mine == DG_OK ? INT64_MAX : comm->rank;
    DG_TRY(dg_comm_all_reduce(comm, &first, 1, DG_I64, DG_MIN));
    if (first == INT64_MAX) return DG_OK;
    verdict v = {0};
    if (first == comm->rank) {
        v.status = (int32_t)mine;
        memcpy(v.host, comm->host, sizeof v.host);
        memcpy(v.text, dg_error_last()->text, sizeof v.text);
    }
    DG_TRY(dg_comm_broadcast(comm, &v, (int64_t)sizeof v, (int)first));
    v.host[sizeof v.host - 1] = '\0';
    v.text[sizeof v.text - 1] = '\0';
    return DG_FAIL((dg_status)v.status, "rank %d on %s: %s", (int)first, v.host, v.text);
}

dg_status dg_comm_any(dg_comm *comm, int64_t mine, int64_t *largest)
{
    *largest = mine;
    return dg_comm_all_reduce(comm, largest, 1, DG_I64, DG_MAX);
}

dg_status dg_comm_counter_create(dg_comm *comm, dg_comm_counter **out)
{
    *out = NULL;
    return comm->ops->counter_create(comm, out);
}

dg_status dg_comm_counter_next(dg_comm *comm, dg_comm_counter *counter, int64_t step, int64_t *before)
{
    return comm->ops->counter_next(counter, step, before);
}

void dg_comm_counter_destroy(dg_comm *comm, dg_comm_counter **counter)
{
    if (counter == NULL || *counter == NULL) return;
    comm->ops->counter_destroy(counter);
    *counter = NULL;
}
