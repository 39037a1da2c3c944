/* comm_pinned.c - see comm_pinned.h: copies on a stream of their own, the parent's sum in host memory, copies back on the
 * backend's stream. SPDX-License-Identifier: Apache-2.0 */
#include "comm_pinned.h"

#include "cuda_impl.h"
#include "dg_mem.h"

/* A sum under way; of host memory where `data` is NULL: the parent's alone. */
struct dg_comm_request {
    dg_comm_request *next, *older; /* among those that leave, or the idle ones; all */
    void *data, *host;             /* on the device; pinned */
    int64_t count, room;           /* elements; bytes of `host` */
    dg_dtype type;
    cudaEvent_t left; /* the device's part is in `host` */
    bool summing;
    dg_comm_request *sum; /* the parent's; NULL: done */
};

struct dg_comm_counter {
    dg_comm *parent;
    dg_comm_counter *inner;
};

typedef struct pinned_comm {
    dg_comm base;
    dg_comm *parent;
    cuda_backend *backend;
    cudaStream_t stream; /* of copies that leave */
    cudaEvent_t ready;   /* of the backend's stream, when a sum is started */
    void *staging;       /* pinned, CUDA_STAGING_BYTES, of blocking calls */
    dg_comm_request *leaving, *last, *idle, *all;
} pinned_comm;

static pinned_comm *of(dg_comm *comm) { return (pinned_comm *)comm; }

static dg_status look(const void *data, int64_t amount, bool *device)
{
    struct cudaPointerAttributes attributes;
    *device = false;
    if (amount == 0) return DG_OK;
    DG_CUDA(cudaPointerGetAttributes(&attributes, data));
    *device = attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged;
    return DG_OK;
}

/* ---- sums under way ----------------------------------------------------------------------------------------------- */

static dg_status take_request(pinned_comm *c, int64_t bytes, dg_comm_request **out)
{
    dg_comm_request *r = c->idle;
    *out = NULL;
    if (r != NULL) {
        c->idle = r->next;
    } else {
        DG_TRY(DG_NEW(&r, 1, "request of a sum"));
        r->older = c->all;
        c->all = r;
        DG_CUDA(cudaEventCreateWithFlags(&r->left, cudaEventDisableTiming));
    }
    *out = r;
    if (bytes <= r->room) return DG_OK;
    (void)cudaFreeHost(r->host); /* waits for copies back that still read it */
    r->host = NULL;
    r->room = 0;
    DG_CUDA(cudaMallocHost(&r->host, (size_t)bytes));
    r->room = bytes;
    return DG_OK;
}

static void retire(pinned_comm *c, dg_comm_request **request)
{
    (*request)->next = c->idle;
    c->idle = *request;
    *request = NULL;
}

/* Queues the way to the host behind what the backend has queued. */
static dg_status leave(pinned_comm *c, dg_comm_request *r)
{
    DG_CUDA(cudaEventRecord(c->ready, c->backend->stream));
    DG_CUDA(cudaStreamWaitEvent(c->stream, c->ready, 0));
    DG_CUDA(cudaMemcpyAsync(r->host, r->data, (size_t)r->count * dg_dtype_size(r->type), cudaMemcpyDeviceToHost,
                            c->stream));
    DG_CUDA(cudaEventRecord(r->left, c->stream));
    r->next = NULL;
    *(c->leaving == NULL ? &c->leaving : &c->last->next) = r;
    c->last = r;
    return DG_OK;
}

/* Lets the parent sum what has come to the host, in the order of the starts: the same on every rank. */
static dg_status advance(pinned_comm *c)
{
    while (c->leaving != NULL) {
        dg_comm_request *r = c->leaving;
        const cudaError_t error = cudaEventQuery(r->left);
        if (error == cudaErrorNotReady) {
            (void)cudaGetLastError(); /* it is no error of the next kernel */
            return DG_OK;
        }
        DG_TRY(dg_cuda_check(error, "copy of a sum to the host"));
        c->leaving = r->next;
        r->summing = true;
        DG_TRY(dg_comm_all_reduce_start(c->parent, r->host, r->count, r->type, &r->sum));
    }
    return DG_OK;
}

static dg_status pinned_start(dg_comm *comm, void *data, int64_t count, dg_dtype type, dg_comm_request **out)
{
    pinned_comm *c = of(comm);
    bool device;
    DG_TRY(look(data, count, &device));
    DG_TRY(take_request(c, device ? count * (int64_t)dg_dtype_size(type) : 0, out));
    dg_comm_request *r = *out;
    r->data = device ? data : NULL;
    r->count = count;
    r->type = type;
    r->summing = !device;
    r->sum = NULL;
    dg_status status = device ? leave(c, r) : dg_comm_all_reduce_start(c->parent, data, count, type, &r->sum);
    if (status == DG_OK && device) status = advance(c);
    return status;
}

/* The sum lies in host memory: back to where it came from. */
static dg_status come_back(pinned_comm *c, dg_comm_request **request)
{
    dg_comm_request *r = *request;
    dg_status status = DG_OK;
    if (r->data != NULL)
        status = dg_cuda_check(cudaMemcpyAsync(r->data, r->host, (size_t)r->count * dg_dtype_size(r->type),
                                               cudaMemcpyHostToDevice, c->backend->stream),
                               "copy of a sum to the device");
    retire(c, request);
    return status;
}

static dg_status pinned_test(dg_comm *comm, dg_comm_request **request, bool *done)
{
    pinned_comm *c = of(comm);
    *done = false;
    DG_TRY(advance(c));
    if (!(*request)->summing) return DG_OK;
    DG_TRY(dg_comm_test(c->parent, &(*request)->sum, done));
    return *done ? come_back(c, request) : DG_OK;
}

static dg_status pinned_wait(dg_comm *comm, dg_comm_request **request)
{
    pinned_comm *c = of(comm);
    if (!(*request)->summing) DG_TRY(cuda_wait(c->backend, c->stream, "the copies of sums to the host"));
    DG_TRY(advance(c));
    DG_TRY(dg_comm_wait(c->parent, &(*request)->sum));
    return come_back(c, request);
}

/* ---- blocking operations, a piece of staging at a time --------------------------------------------------------------- */

static dg_status copy(pinned_comm *c, void *to, const void *from, int64_t bytes, enum cudaMemcpyKind kind)
{
    DG_CUDA(cudaMemcpyAsync(to, from, (size_t)bytes, kind, c->backend->stream));
    return cuda_wait(c->backend, c->backend->stream, "a copy through pinned memory");
}

static dg_status fetch(pinned_comm *c, const void *data, int64_t bytes)
{
    return copy(c, c->staging, data, bytes, cudaMemcpyDeviceToHost);
}

static dg_status put(pinned_comm *c, void *data, int64_t bytes)
{
    return copy(c, data, c->staging, bytes, cudaMemcpyHostToDevice);
}

static int64_t piece_of(int64_t bytes, int64_t at)
{
    return bytes - at < CUDA_STAGING_BYTES ? bytes - at : CUDA_STAGING_BYTES;
}

static dg_status pinned_barrier(dg_comm *comm) { return dg_comm_barrier(of(comm)->parent); }

static dg_status pinned_broadcast(dg_comm *comm, void *data, int64_t bytes, int root)
{
    pinned_comm *c = of(comm);
    bool device;
    DG_TRY(look(data, bytes, &device));
    if (!device) return dg_comm_broadcast(c->parent, data, bytes, root);
    for (int64_t at = 0; at < bytes; at += CUDA_STAGING_BYTES) {
        if (comm->rank == root) DG_TRY(fetch(c, (char *)data + at, piece_of(bytes, at)));
        DG_TRY(dg_comm_broadcast(c->parent, c->staging, piece_of(bytes, at), root));
        if (comm->rank != root) DG_TRY(put(c, (char *)data + at, piece_of(bytes, at)));
    }
    return DG_OK;
}

static dg_status pinned_all_reduce(dg_comm *comm, void *data, int64_t count, dg_dtype type, dg_reduce op)
{
    pinned_comm *c = of(comm);
    const int64_t one = (int64_t)dg_dtype_size(type), bytes = count * one;
    bool device;
    DG_TRY(look(data, bytes, &device));
    if (!device) return dg_comm_all_reduce(c->parent, data, count, type, op);
    for (int64_t at = 0; at < bytes; at += CUDA_STAGING_BYTES) {
        const int64_t piece = piece_of(bytes, at);
        DG_TRY(fetch(c, (char *)data + at, piece));
        DG_TRY(dg_comm_all_reduce(c->parent, c->staging, piece / one, type, op));
        DG_TRY(put(c, (char *)data + at, piece));
    }
    return DG_OK;
}

static dg_status pinned_send(dg_comm *comm, const void *data, int64_t bytes, int to, dg_comm_tag tag)
{
    pinned_comm *c = of(comm);
    bool device;
    DG_TRY(look(data, bytes, &device));
    if (!device) return dg_comm_send(c->parent, data, bytes, to, tag);
    for (int64_t at = 0; at < bytes; at += CUDA_STAGING_BYTES) {
        DG_TRY(fetch(c, (const char *)data + at, piece_of(bytes, at)));
        DG_TRY(dg_comm_send(c->parent, c->staging, piece_of(bytes, at), to, tag));
    }
    return DG_OK;
}

static dg_status pinned_receive(dg_comm *comm, void *data, int64_t bytes, int from, dg_comm_tag tag)
{
    pinned_comm *c = of(comm);
    bool device;
    DG_TRY(look(data, bytes, &device));
    if (!device) return dg_comm_receive(c->parent, data, bytes, from, tag);
    for (int64_t at = 0; at < bytes; at += CUDA_STAGING_BYTES) {
        DG_TRY(dg_comm_receive(c->parent, c->staging, piece_of(bytes, at), from, tag));
        DG_TRY(put(c, (char *)data + at, piece_of(bytes, at)));
    }
    return DG_OK;
}

static dg_status pinned_gather(dg_comm *comm, const void *data, int64_t bytes, int root, void *all, int64_t *sizes)
{
    bool device;
    DG_TRY(look(data, bytes, &device));
    if (device) return DG_FAIL(DG_ERR_INTERNAL, "gather of device memory: copy it to the host first");
    return dg_comm_gather(of(comm)->parent, data, bytes, root, all, sizes);
}

static dg_status pinned_counter_create(dg_comm *comm, dg_comm_counter **out)
{
    dg_comm *parent = of(comm)->parent;
    dg_comm_counter *counter = NULL;
    DG_TRY(dg_comm_agree(parent, DG_NEW(&counter, 1, "task counter")));
    counter->parent = parent;
    const dg_status status = dg_comm_counter_create(parent, &counter->inner);
    if (status != DG_OK) dg_free(&counter);
    *out = counter;
    return status;
}

static dg_status pinned_counter_next(dg_comm_counter *counter, int64_t step, int64_t *before)
{
    return dg_comm_counter_next(counter->parent, counter->inner, step, before);
}

static void pinned_counter_destroy(dg_comm_counter **counter)
{
    dg_comm_counter_destroy((*counter)->parent, &(*counter)->inner);
    dg_free(counter);
}

/* ---- life ------------------------------------------------------------------------------------------------------------ */

static void pinned_destroy(dg_comm *comm)
{
    pinned_comm *c = of(comm);
    const bool usable = !c->backend->lost; /* else it ends with the process */
    for (dg_comm_request *r = c->all, *older; r != NULL; r = older) {
        older = r->older;
        if (r->left != NULL) (void)cudaEventDestroy(r->left);
        if (usable) (void)cudaFreeHost(r->host);
        dg_free(&r);
    }
    if (c->ready != NULL) (void)cudaEventDestroy(c->ready);
    if (c->staging != NULL && usable) (void)cudaFreeHost(c->staging);
    if (c->stream != NULL && usable) (void)cudaStreamDestroy(c->stream);
    dg_free(&c);
}

static const dg_comm_ops pinned_ops = {
    .name = "mpi through pinned memory",
    .follows_backend = true,
    .destroy = pinned_destroy,
    .barrier = pinned_barrier,
    .broadcast = pinned_broadcast,
    .all_reduce = pinned_all_reduce,
    .all_reduce_start = pinned_start,
    .test = pinned_test,
    .wait = pinned_wait,
    .send = pinned_send,
    .receive = pinned_receive,
    .gather = pinned_gather,
    .counter_create = pinned_counter_create,
    .counter_next = pinned_counter_next,
    .counter_destroy = pinned_counter_destroy,
};

static dg_status open_copies(pinned_comm *c)
{
    DG_CUDA(cudaSetDevice(c->backend->device));
    DG_CUDA(cudaStreamCreateWithPriority(&c->stream, cudaStreamNonBlocking, 0));
    DG_CUDA(cudaEventCreateWithFlags(&c->ready, cudaEventDisableTiming));
    DG_CUDA(cudaMallocHost(&c->staging, CUDA_STAGING_BYTES));
    return DG_OK;
}

dg_status dg_comm_pinned_create(dg_comm *parent, dg_backend *backend, dg_comm **out)
{
    pinned_comm *c = NULL;
    *out = NULL;
    dg_status status = DG_NEW(&c, 1, "communicator");
    if (status == DG_OK) {
        c->base = *parent; /* its rank, size, host, heartbeat and timeout */
        c->base.ops = &pinned_ops;
        c->parent = parent;
        c->backend = cuda_of(backend);
        *out = &c->base;
        status = open_copies(c);
    }
    status = dg_comm_agree(parent, status);
    if (status != DG_OK) dg_comm_destroy(out);
    return status;
}
