/* comm_nccl.c - dg_comm over NCCL: a stream of high priority beside the backend's, events between them, and a host that
 * never waits without a deadline. SPDX-License-Identifier: Apache-2.0 */
#include "comm_nccl.h"

#include "cuda_impl.h"
#include "dg_heartbeat.h"
#include "dg_mem.h"
#include "placement.h"

#include <nccl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* How long the abort of a communicator may take before it is left to itself. */
static const double ABORT_SECONDS = 3.0;
enum { SPINS = 64, PAUSE_NANOSECONDS = 20000 }; /* polls without a pause, then the pause between polls */

/* An operation on device memory, or the parent's request for host memory. */
struct dg_comm_request {
    dg_comm_request *next, *older; /* in the lists of idle ones and of all */
    dg_comm_request *host;
    cudaEvent_t done;
    const char *what;
    int64_t bytes, number;
    int peer; /* the other rank of a message; -1: all */
};

struct dg_comm_counter {
    dg_comm *parent;
    dg_comm_counter *inner;
};

typedef struct nccl_comm {
    dg_comm base;
    dg_comm *parent;
    cuda_backend *backend;        /* borrowed */
    cudaStream_t compute, stream; /* the backend's, and NCCL's own */
    cudaEvent_t ready;            /* of the compute stream, when an operation is called */
    ncclComm_t handle;            /* NULL: one rank, or aborted */
    int64_t operations;
    dg_comm_request *idle, *all;
    struct abort_job *abort; /* made at the start: a fault may be one of memory */
    bool failed;
} nccl_comm;

static nccl_comm *of(dg_comm *comm) { return (nccl_comm *)comm; }

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void pause_poll(int polls)
{
    if (polls >= SPINS) nanosleep(&(struct timespec){.tv_nsec = PAUSE_NANOSECONDS}, NULL);
}

/* ---- faults ------------------------------------------------------------------------------------------------------ */

/* Shared by the waiting rank and the thread that aborts; the later of the two to leave frees it. */
typedef struct abort_job {
    ncclComm_t handle;
    atomic_int left, finished;
} abort_job;

static void leave_job(abort_job *job)
{
    if (atomic_fetch_sub(&job->left, 1) == 1) dg_free(&job);
}

static void *run_abort(void *context)
{
    abort_job *job = context;
    (void)ncclCommAbort(job->handle);
    atomic_store(&job->finished, 1);
    leave_job(job);
    return NULL;
}

/* Ends NCCL's kernels of this rank, so that the device can be used again. Best effort: a fault is told already. */
static void abort_handle(nccl_comm *c)
{
    abort_job *job = c->abort;
    pthread_t thread;
    c->failed = true;
    if (c->handle == NULL) return;
    job->handle = c->handle;
    c->handle = NULL;
    atomic_init(&job->left, 2);
    if (pthread_create(&thread, NULL, run_abort, job) != 0) {
        c->backend->lost = true;
        return;
    }
    c->abort = NULL;
    (void)pthread_detach(thread);
    const double deadline = seconds_now() + ABORT_SECONDS;
    for (int polls = 0; !atomic_load(&job->finished) && seconds_now() < deadline; polls++) pause_poll(polls);
    if (!atomic_load(&job->finished)) c->backend->lost = true; /* freeing memory would wait for NCCL's kernels */
    leave_job(job);
}

/* Time is over: NCCL may wait for other ranks, or for this rank's own work that came before. */
static dg_status fail_late(nccl_comm *c, dg_status late)
{
    if (cudaEventQuery(c->ready) == cudaErrorNotReady) {
        c->backend->lost = true;
        late =
            dg_error_context(late, "the GPU of rank %d on %s has not come to the end of its own work: a kernel hangs",
                             c->base.rank, c->base.host);
    }
    abort_handle(c);
    return late;
}

/* What an operation is, in words. */
static void describe(const dg_comm_request *r, char *text, size_t room)
{
    char peer[32] = "", size[64] = "";
    if (r->peer >= 0) snprintf(peer, sizeof peer, " rank %d", r->peer);
    if (r->number > 0)
        snprintf(size, sizeof size, ", %lld bytes, operation %lld", (long long)r->bytes, (long long)r->number);
    snprintf(text, room, "%s%s%s", r->what, peer, size);
}

/* The one way an NCCL communicator fails: says who waits for what, and gives the device free. */
static dg_status fail(nccl_comm *c, const dg_comm_request *r, const char *reason)
{
    char what[160], where[DG_WHERE_TEXT];
    describe(r, what, sizeof what);
    dg_heartbeat_where(c->base.heartbeat, where, sizeof where);
    const dg_status status = DG_FAIL(DG_ERR_COMM, "rank %d of %d on %s, %s: %s: %s", c->base.rank, c->base.size,
                                     c->base.host, where, what, reason);
    abort_handle(c);
    return status;
}

static dg_status fail_cuda(nccl_comm *c, const dg_comm_request *r, cudaError_t error)
{
    char reason[256];
    (void)cudaGetLastError();
    snprintf(reason, sizeof reason, "CUDA: %s (%s)", cudaGetErrorString(error), cudaGetErrorName(error));
    return fail(c, r, reason);
}

static dg_status fail_nccl(nccl_comm *c, const dg_comm_request *r, ncclResult_t error)
{
    char reason[512];
    const char *last = c->handle != NULL ? ncclGetLastError(c->handle) : "";
    snprintf(reason, sizeof reason, "%s%s%.300s", ncclGetErrorString(error), last[0] != '\0' ? ": " : "", last);
    return fail(c, r, reason);
}

static dg_status check_alive(const nccl_comm *c)
{
    if (!c->failed) return DG_OK;
    return DG_FAIL(DG_ERR_COMM, "rank %d of %d on %s: the communicator has failed before", c->base.rank, c->base.size,
                   c->base.host);
}

/* ---- operations on device memory --------------------------------------------------------------------------------- */

/* A non-blocking communicator takes a call in the background: nothing may be recorded or called before it has. */
static dg_status settle(nccl_comm *c, const dg_comm_request *r, ncclResult_t result)
{
    dg_status status = DG_OK;
    dg_wait wait;
    dg_wait_begin(&c->base, r->what, r->peer, &wait);
    while (result == ncclInProgress && status == DG_OK) {
        status = dg_wait_poll(&wait);
        const ncclResult_t asked = ncclCommGetAsyncError(c->handle, &result);
        if (asked != ncclSuccess) result = asked;
    }
    dg_wait_end(&wait);
    if (status != DG_OK) return fail_late(c, status);
    return result == ncclSuccess ? DG_OK : fail_nccl(c, r, result);
}

static dg_status take_request(nccl_comm *c, const char *what, int64_t bytes, int peer, dg_comm_request **out)
{
    dg_comm_request *r = c->idle;
    *out = NULL;
    if (r != NULL) {
        c->idle = r->next;
    } else {
        DG_TRY(DG_NEW(&r, 1, "request of NCCL"));
        dg_status status = dg_cuda_check(cudaEventCreateWithFlags(&r->done, cudaEventDisableTiming), "cudaEventCreate");
        if (status != DG_OK) dg_free(&r);
        DG_TRY(status);
        r->older = c->all;
        c->all = r;
    }
    r->host = NULL;
    r->what = what;
    r->bytes = bytes;
    r->peer = peer;
    r->number = ++c->operations;
    *out = r;
    return DG_OK;
}

static void retire(nccl_comm *c, dg_comm_request **request)
{
    (*request)->next = c->idle;
    c->idle = *request;
    *request = NULL;
}

/* Lets NCCL's stream wait for what the backend has queued. */
static dg_status follow_compute(nccl_comm *c, const dg_comm_request *r)
{
    cudaError_t error = cudaEventRecord(c->ready, c->compute);
    if (error == cudaSuccess) error = cudaStreamWaitEvent(c->stream, c->ready, 0);
    return error == cudaSuccess ? DG_OK : fail_cuda(c, r, error);
}

/* The call is made: marks its end. On failure the request is retired. */
static dg_status launched(nccl_comm *c, dg_comm_request **request, ncclResult_t result)
{
    dg_status status = settle(c, *request, result);
    if (status == DG_OK) {
        const cudaError_t error = cudaEventRecord((*request)->done, c->stream);
        if (error != cudaSuccess) status = fail_cuda(c, *request, error);
    }
    if (status != DG_OK) retire(c, request);
    return status;
}

static dg_status begin(nccl_comm *c, const char *what, int64_t bytes, int peer, dg_comm_request **out)
{
    DG_TRY(check_alive(c));
    DG_TRY(take_request(c, what, bytes, peer, out));
    const dg_status status = follow_compute(c, *out);
    if (status != DG_OK) retire(c, out);
    return status;
}

static dg_status look(nccl_comm *c, const dg_comm_request *r, bool *done)
{
    const cudaError_t error = cudaEventQuery(r->done);
    *done = error == cudaSuccess;
    if (*done) return DG_OK;
    if (error != cudaErrorNotReady) return fail_cuda(c, r, error);
    (void)cudaGetLastError(); /* "not ready" is no error of the next kernel */
    ncclResult_t state = ncclSuccess;
    const ncclResult_t asked = ncclCommGetAsyncError(c->handle, &state);
    if (asked != ncclSuccess) state = asked;
    return state == ncclSuccess || state == ncclInProgress ? DG_OK : fail_nccl(c, r, state);
}

static dg_status complete(nccl_comm *c, dg_comm_request **request)
{
    dg_status status = check_alive(c);
    dg_wait wait;
    dg_wait_begin(&c->base, (*request)->what, (*request)->peer, &wait);
    for (bool done = false; status == DG_OK;) {
        status = look(c, *request, &done);
        if (status != DG_OK || done) break;
        status = dg_wait_poll(&wait);
        if (status != DG_OK) status = fail_late(c, status);
    }
    dg_wait_end(&wait);
    retire(c, request);
    return status;
}

static const dg_comm_request LOOK = {.what = "NCCL look at where the data lies", .peer = -1};

/* Whether NCCL carries it. Memory of no bytes is nobody's: the parent takes it, on both sides of a message. */
static dg_status is_device(nccl_comm *c, const void *data, int64_t bytes, bool *device)
{
    struct cudaPointerAttributes attributes;
    *device = false;
    DG_TRY(check_alive(c));
    if (bytes == 0) return DG_OK;
    const cudaError_t error = cudaPointerGetAttributes(&attributes, data);
    if (error != cudaSuccess) return fail_cuda(c, &LOOK, error); /* an earlier kernel of this rank failed */
    *device = attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged;
    return DG_OK;
}

static ncclDataType_t type_of(dg_dtype type)
{
    switch (type) {
    case DG_F32: return ncclFloat32;
    case DG_BF16: return ncclBfloat16;
    case DG_F64: return ncclFloat64;
    case DG_I32: return ncclInt32;
    default: return ncclInt64; /* the wrapper lets no other type pass */
    }
}

static ncclRedOp_t op_of(dg_reduce op) { return op == DG_SUM ? ncclSum : op == DG_MIN ? ncclMin : ncclMax; }

static dg_status start_sum(nccl_comm *c, void *data, int64_t count, dg_dtype type, dg_reduce op, dg_comm_request **out)
{
    DG_TRY(begin(c, "NCCL all-reduce", count * (int64_t)dg_dtype_size(type), -1, out));
    return launched(c, out, ncclAllReduce(data, data, (size_t)count, type_of(type), op_of(op), c->handle, c->stream));
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

static dg_status nccl_barrier(dg_comm *comm)
{
    DG_TRY(check_alive(of(comm)));
    return dg_comm_barrier(of(comm)->parent);
}

static dg_status nccl_broadcast(dg_comm *comm, void *data, int64_t bytes, int root)
{
    nccl_comm *c = of(comm);
    dg_comm_request *r;
    bool device;
    DG_TRY(is_device(c, data, bytes, &device));
    if (!device) return dg_comm_broadcast(c->parent, data, bytes, root);
    if (comm->size == 1) return DG_OK;
    DG_TRY(begin(c, "NCCL broadcast from", bytes, root, &r));
    DG_TRY(launched(c, &r, ncclBroadcast(data, data, (size_t)bytes, ncclInt8, root, c->handle, c->stream)));
    return complete(c, &r);
}

static dg_status nccl_all_reduce(dg_comm *comm, void *data, int64_t count, dg_dtype type, dg_reduce op)
{
    nccl_comm *c = of(comm);
    dg_comm_request *r;
    bool device;
    DG_TRY(is_device(c, data, count, &device));
    if (!device) return dg_comm_all_reduce(c->parent, data, count, type, op);
    if (comm->size == 1) return DG_OK;
    DG_TRY(start_sum(c, data, count, type, op, &r));
    return complete(c, &r);
}

/* A sum of host memory is the parent's, in a request that says so. */
static dg_status start_on_host(nccl_comm *c, void *data, int64_t count, dg_dtype type, dg_comm_request **out)
{
    dg_comm_request *host;
    DG_TRY(take_request(c, "NCCL all-reduce", count * (int64_t)dg_dtype_size(type), -1, out));
    const dg_status status = dg_comm_all_reduce_start(c->parent, data, count, type, &host);
    if (status != DG_OK || host == NULL)
        retire(c, out);
    else
        (*out)->host = host;
    return status;
}

static dg_status nccl_all_reduce_start(dg_comm *comm, void *data, int64_t count, dg_dtype type, dg_comm_request **out)
{
    nccl_comm *c = of(comm);
    bool device;
    if (comm->size == 1) return DG_OK; /* *out NULL: done */
    DG_TRY(is_device(c, data, count, &device));
    return device ? start_sum(c, data, count, type, DG_SUM, out) : start_on_host(c, data, count, type, out);
}

/* The deadline runs in wait only: between two tests the caller may compute for as long as it likes. */
static dg_status nccl_test(dg_comm *comm, dg_comm_request **request, bool *done)
{
    nccl_comm *c = of(comm);
    dg_comm_request *r = *request;
    *done = false;
    dg_status status = check_alive(c);
    if (status == DG_OK) status = r->host != NULL ? dg_comm_test(c->parent, &r->host, done) : look(c, r, done);
    if (*done || status != DG_OK) retire(c, request);
    return status;
}

static dg_status nccl_wait(dg_comm *comm, dg_comm_request **request)
{
    nccl_comm *c = of(comm);
    if ((*request)->host == NULL) return complete(c, request);
    dg_status status = check_alive(c);
    if (status == DG_OK) status = dg_comm_wait(c->parent, &(*request)->host);
    retire(c, request);
    return status;
}

static dg_status nccl_send(dg_comm *comm, const void *data, int64_t bytes, int to, dg_comm_tag tag)
{
    nccl_comm *c = of(comm);
    dg_comm_request *r;
    bool device;
    DG_TRY(is_device(c, data, bytes, &device));
    if (!device) return dg_comm_send(c->parent, data, bytes, to, tag);
    DG_TRY(begin(c, "NCCL send to", bytes, to, &r));
    DG_TRY(launched(c, &r, ncclSend(data, (size_t)bytes, ncclInt8, to, c->handle, c->stream)));
    return complete(c, &r);
}

static dg_status nccl_receive(dg_comm *comm, void *data, int64_t bytes, int from, dg_comm_tag tag)
{
    nccl_comm *c = of(comm);
    dg_comm_request *r;
    bool device;
    DG_TRY(is_device(c, data, bytes, &device));
    if (!device) return dg_comm_receive(c->parent, data, bytes, from, tag);
    DG_TRY(begin(c, "NCCL receive from", bytes, from, &r));
    DG_TRY(launched(c, &r, ncclRecv(data, (size_t)bytes, ncclInt8, from, c->handle, c->stream)));
    return complete(c, &r);
}

static dg_status nccl_gather(dg_comm *comm, const void *data, int64_t bytes, int root, void *all, int64_t *sizes)
{
    bool device;
    DG_TRY(is_device(of(comm), data, bytes, &device));
    if (device) return DG_FAIL(DG_ERR_INTERNAL, "gather of device memory: copy it to the host first");
    return dg_comm_gather(of(comm)->parent, data, bytes, root, all, sizes);
}

static dg_status nccl_counter_create(dg_comm *comm, dg_comm_counter **out)
{
    dg_comm *parent = of(comm)->parent;
    dg_comm_counter *counter = NULL;
    DG_TRY(check_alive(of(comm)));
    DG_TRY(dg_comm_agree(parent, DG_NEW(&counter, 1, "task counter")));
    counter->parent = parent;
    const dg_status status = dg_comm_counter_create(parent, &counter->inner);
    if (status != DG_OK) dg_free(&counter);
    *out = counter;
    return status;
}

static dg_status nccl_counter_next(dg_comm_counter *counter, int64_t step, int64_t *before)
{
    return dg_comm_counter_next(counter->parent, counter->inner, step, before);
}

static void nccl_counter_destroy(dg_comm_counter **counter)
{
    dg_comm_counter_destroy((*counter)->parent, &(*counter)->inner);
    dg_free(counter);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static const dg_comm_request START = {.what = "NCCL start among all ranks", .peer = -1};
static const dg_comm_request END = {.what = "NCCL end among all ranks", .peer = -1};

static void nccl_destroy(dg_comm *comm)
{
    nccl_comm *c = of(comm);
    if (c->handle != NULL && settle(c, &END, ncclCommFinalize(c->handle)) == DG_OK) (void)ncclCommDestroy(c->handle);
    for (dg_comm_request *r = c->all, *older; r != NULL; r = older) {
        older = r->older;
        (void)cudaEventDestroy(r->done);
        dg_free(&r);
    }
    if (c->ready != NULL) (void)cudaEventDestroy(c->ready);
    if (c->stream != NULL && !c->backend->lost) (void)cudaStreamDestroy(c->stream); /* else it ends with the process */
    dg_free(&c->abort);
    dg_free(&c);
}

static const dg_comm_ops nccl_ops = {
    .name = "nccl",
    .follows_backend = true,
    .destroy = nccl_destroy,
    .barrier = nccl_barrier,
    .broadcast = nccl_broadcast,
    .all_reduce = nccl_all_reduce,
    .all_reduce_start = nccl_all_reduce_start,
    .test = nccl_test,
    .wait = nccl_wait,
    .send = nccl_send,
    .receive = nccl_receive,
    .gather = nccl_gather,
    .counter_create = nccl_counter_create,
    .counter_next = nccl_counter_next,
    .counter_destroy = nccl_counter_destroy,
};

/* What a rank needs by itself before it meets the others. */
static dg_status open_streams(nccl_comm *c, const cuda_backend *backend, ncclUniqueId *id)
{
    int least, greatest;
    DG_TRY(DG_NEW(&c->abort, 1, "abort of NCCL"));
    DG_CUDA(cudaSetDevice(backend->device));
    DG_CUDA(cudaDeviceGetStreamPriorityRange(&least, &greatest));
    DG_CUDA(cudaStreamCreateWithPriority(&c->stream, cudaStreamNonBlocking, greatest));
    DG_CUDA(cudaEventCreateWithFlags(&c->ready, cudaEventDisableTiming));
    if (c->base.rank != 0) return DG_OK;
    const ncclResult_t result = ncclGetUniqueId(id);
    return result == ncclSuccess ? DG_OK : fail_nccl(c, &START, result);
}

static dg_status join(nccl_comm *c, const cuda_backend *backend)
{
    ncclUniqueId id;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0; /* only such a communicator can be polled and aborted */
    bool shared;
    memset(&id, 0, sizeof id);
    DG_TRY(dg_cuda_find_shared(c->parent, backend->device, false, &shared));
    DG_TRY(dg_comm_agree(c->parent, open_streams(c, backend, &id)));
    DG_TRY(dg_comm_broadcast(c->parent, &id, (int64_t)sizeof id, 0));
    return settle(c, &START, ncclCommInitRankConfig(&c->handle, c->base.size, id, c->base.rank, &config));
}

static dg_status allocate(dg_backend *backend, nccl_comm **c)
{
    if (backend->ops != &dg_backend_cuda)
        return DG_FAIL(DG_ERR_INTERNAL, "NCCL for memory of backend %s: only cuda has device memory",
                       backend->ops->name);
    return DG_NEW(c, 1, "communicator");
}

dg_status dg_comm_nccl_create(dg_comm *parent, dg_backend *backend, dg_comm **out)
{
    nccl_comm *c = NULL;
    *out = NULL;
    dg_status status = dg_comm_agree(parent, allocate(backend, &c));
    if (status != DG_OK) {
        dg_free(&c);
        return status;
    }
    c->base = *parent; /* its rank, size, host, heartbeat and timeout */
    c->base.ops = &nccl_ops;
    c->parent = parent;
    c->backend = cuda_of(backend);
    c->compute = c->backend->stream;
    *out = &c->base;
    if (parent->size > 1) status = join(c, cuda_of(backend));
    if (status != DG_OK) dg_comm_destroy(out);
    return status;
}
