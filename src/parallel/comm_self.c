/* comm_self.c - the communicator of one process: no MPI behind it, every call succeeds at once. It is also the fake for
 * tests of code that talks to ranks. SPDX-License-Identifier: Apache-2.0 */
#include "dg_comm.h"
#include "dg_mem.h"

#include <string.h>
#include <unistd.h>

struct dg_comm_counter {
    int64_t value;
};

static void self_destroy(dg_comm *comm) { dg_free(&comm); }

static dg_status self_barrier(dg_comm *comm) { return DG_OK; }

static dg_status self_broadcast(dg_comm *comm, void *data, int64_t bytes, int root) { return DG_OK; }

static dg_status self_all_reduce(dg_comm *comm, void *data, int64_t count, dg_dtype type, dg_reduce op)
{
    return DG_OK;
}

/* A request of NULL is one that is done. */
static dg_status self_all_reduce_start(dg_comm *comm, void *data, int64_t count, dg_dtype type, dg_comm_request **out)
{
    *out = NULL;
    return DG_OK;
}

static dg_status self_test(dg_comm *comm, dg_comm_request **request, bool *done)
{
    *done = true;
    return DG_OK;
}

static dg_status self_wait(dg_comm *comm, dg_comm_request **request) { return DG_OK; }

/* Unreachable through the wrappers: the only rank would be its own peer, which they refuse. */
static dg_status self_send(dg_comm *comm, const void *data, int64_t bytes, int to, dg_comm_tag tag)
{
    return DG_FAIL(DG_ERR_INTERNAL, "one process has nobody to send to");
}

static dg_status self_receive(dg_comm *comm, void *data, int64_t bytes, int from, dg_comm_tag tag)
{
    return DG_FAIL(DG_ERR_INTERNAL, "one process has nobody to receive from");
}

static dg_status self_gather(dg_comm *comm, const void *data, int64_t bytes, int root, void *all, int64_t *sizes)
{
    sizes[0] = bytes;
    if (all != NULL && bytes > 0) memcpy(all, data, (size_t)bytes);
    return DG_OK;
}

static dg_status self_counter_create(dg_comm *comm, dg_comm_counter **out) { return DG_NEW(out, 1, "task counter"); }

static dg_status self_counter_next(dg_comm_counter *counter, int64_t step, int64_t *before)
{
    *before = counter->value;
    counter->value += step;
    return DG_OK;
}

static void self_counter_destroy(dg_comm_counter **counter) { dg_free(counter); }

static const dg_comm_ops self_ops = {
    .name = "self",
    .destroy = self_destroy,
    .barrier = self_barrier,
    .broadcast = self_broadcast,
    .all_reduce = self_all_reduce,
    .all_reduce_start = self_all_reduce_start,
    .test = self_test,
    .wait = self_wait,
    .send = self_send,
    .receive = self_receive,
    .gather = self_gather,
    .counter_create = self_counter_create,
    .counter_next = self_counter_next,
    .counter_destroy = self_counter_destroy,
};

dg_status dg_comm_self_create(dg_comm **out)
{
    *out = NULL;
    dg_comm *comm;
    DG_TRY(DG_NEW(&comm, 1, "communicator"));
    comm->ops = &self_ops;
    comm->size = comm->local_size = 1;
    comm->timeout_s = DG_COMM_TIMEOUT_S;
    if (gethostname(comm->host, sizeof comm->host - 1) != 0) memcpy(comm->host, "localhost", sizeof "localhost");
    *out = comm;
    return DG_OK;
}
