/* nccl.cc - NCCL of the stand-in: an operation is work of a stream that posts a non-blocking MPI call when its turn
 * comes and is done when MPI says so, so that whoever polls the stream makes progress and never blocks. Device memory is
 * copied through host buffers: MPI touches its buffers at times when device memory is closed.
 * SPDX-License-Identifier: Apache-2.0 */
#define OMPI_SKIP_MPICXX 1
#include "nccl.h"
#include "dg_bf16.h"
#include "standin_impl.h"

#include <atomic>
#include <mpi.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <thread>
#include <unistd.h>

using namespace standin;

namespace
{

/* What ranks compare before they trust each other. */
struct identity {
    char id[32], uuid[16], host[64];
};

/* One operation between its call and its end. */
struct transfer {
    std::vector<char> from, to; /* host copies that MPI sees */
    MPI_Request request = MPI_REQUEST_NULL;
    bool posted = false, hangs = false;
};

/* A call that the stream has not got yet. */
struct call {
    const char *what;
    cudaStream_t stream;
    work run;
};

enum class phase { joining, comparing, ready };

/* Requests of aborted communicators: MPI still knows their buffers. */
std::vector<std::shared_ptr<transfer>> *abandoned = new std::vector<std::shared_ptr<transfer>>;

/* Ids given out: with the process's number no two are the same. */
std::atomic<unsigned> ids{0};
} // namespace

struct ncclComm {
    int size, rank;
    MPI_Comm mpi = MPI_COMM_NULL;
    MPI_Request setup = MPI_REQUEST_NULL;
    phase now = phase::joining;
    identity mine = {};
    std::vector<identity> all;
    std::deque<call> calls;
    int asked = 0; /* times the caller asked since the call that waits */
    std::atomic<bool> aborted{false}, stuck{false};
    ncclResult_t error = ncclSuccess;
    char words[256] = "";
    std::thread::id owner = std::this_thread::get_id();
};

static ncclResult_t complain(ncclComm_t comm, ncclResult_t error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static ncclResult_t complain(ncclComm_t comm, ncclResult_t error, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(comm->words, sizeof comm->words, format, list);
    va_end(list);
    return comm->error = error;
}

static bool check_mpi(ncclComm_t comm, int code, const char *what)
{
    if (code == MPI_SUCCESS) return true;
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    MPI_Error_string(code, text, &length);
    complain(comm, ncclSystemError, "%s: %.180s", what, text);
    return false;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

ncclResult_t ncclGetVersion(int *version)
{
    *version = 22809;
    return ncclSuccess;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    memset(id, 0, sizeof *id);
    snprintf(id->internal, 32, "%ld-%u", (long)getpid(), ids++);
    return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *out, int ranks, ncclUniqueId id, int rank, ncclConfig_t *config)
{
    int started = 0, size = 0, own = 0, device = 0;
    *out = nullptr;
    MPI_Initialized(&started);
    if (!started || config->magic != 0xcafebeefu || config->size != sizeof *config) return ncclInvalidUsage;
    if (config->blocking != 0) return ncclInvalidArgument; /* only the kind that can be aborted */
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Comm_rank(MPI_COMM_WORLD, &own);
    if (size != ranks || own != rank) return ncclInvalidArgument;
    ncclComm_t comm = new ncclComm;
    cudaDeviceProp p;
    comm->size = ranks;
    comm->rank = rank;
    if (cudaGetDevice(&device) != cudaSuccess || cudaGetDeviceProperties(&p, device) != cudaSuccess) {
        delete comm;
        return ncclUnhandledCudaError;
    }
    memcpy(comm->mine.id, id.internal, sizeof comm->mine.id);
    memcpy(comm->mine.uuid, p.uuid.bytes, sizeof comm->mine.uuid);
    gethostname(comm->mine.host, sizeof comm->mine.host - 1);
    *out = comm;
    return check_mpi(comm, MPI_Comm_idup(MPI_COMM_WORLD, &comm->mpi, &comm->setup), "ncclCommInitRankConfig")
               ? ncclInProgress
               : comm->error;
}

static void compare(ncclComm_t comm)
{
    for (int a = 0; a < comm->size; a++) {
        if (memcmp(comm->all[(size_t)a].id, comm->mine.id, sizeof comm->mine.id) != 0)
            complain(comm, ncclInvalidArgument, "rank %d and rank %d have different ids", comm->rank, a);
        for (int b = 0; b < a; b++)
            if (memcmp(comm->all[(size_t)a].uuid, comm->all[(size_t)b].uuid, 16) == 0 &&
                strcmp(comm->all[(size_t)a].host, comm->all[(size_t)b].host) == 0)
                complain(comm, ncclInvalidUsage, "Duplicate GPU detected : rank %d and rank %d", b, a);
    }
}

/* The next of the two exchanges that a communicator begins with, when the last one is done. */
static void join(ncclComm_t comm)
{
    int done = 0;
    if (!check_mpi(comm, MPI_Test(&comm->setup, &done, MPI_STATUS_IGNORE), "MPI_Test") || !done) return;
    if (comm->now == phase::comparing) {
        compare(comm);
        comm->now = phase::ready;
        return;
    }
    comm->now = phase::comparing;
    comm->all.resize((size_t)comm->size);
    MPI_Comm_set_errhandler(comm->mpi, MPI_ERRORS_RETURN);
    const int bytes = (int)sizeof(identity);
    check_mpi(comm,
              MPI_Iallgather(&comm->mine, bytes, MPI_BYTE, comm->all.data(), bytes, MPI_BYTE, comm->mpi, &comm->setup),
              "MPI_Iallgather");
}

static void hand_over(ncclComm_t comm)
{
    for (call &c : comm->calls)
        if (enqueue(c.stream, c.what, std::move(c.run)) != cudaSuccess)
            complain(comm, ncclUnhandledCudaError, "%s: the stream takes no work", c.what);
    comm->calls.clear();
    comm->asked = 0;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *error)
{
    *error = comm->error;
    if (comm->aborted || comm->error != ncclSuccess) return ncclSuccess;
    if (std::this_thread::get_id() != comm->owner) return ncclInvalidUsage;
    *error = ncclInProgress;
    if (comm->now != phase::ready)
        join(comm);
    else if (!comm->calls.empty() && comm->asked++ > 0)
        hand_over(comm);
    if (comm->error != ncclSuccess || (comm->now == phase::ready && comm->calls.empty())) *error = comm->error;
    return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t comm)
{
    return comm->calls.empty() && comm->now == phase::ready ? comm->error : ncclInvalidUsage;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm)
{
    MPI_Comm_free(&comm->mpi);
    delete comm;
    return ncclSuccess;
}

/* From any thread: work in streams sees the flag. The handle is kept for that work. */
ncclResult_t ncclCommAbort(ncclComm_t comm)
{
    while (comm->stuck) pause();
    comm->aborted = true;
    return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t result)
{
    static const char *const words[] = {"no error",
                                        "unhandled cuda error",
                                        "unhandled system error",
                                        "internal error",
                                        "invalid argument",
                                        "invalid usage",
                                        "remote process exited or there was a network error",
                                        "NCCL operation in progress"};
    return words[result];
}
const char *ncclGetLastError(ncclComm_t comm) { return comm->words; }

/* ---- operations -------------------------------------------------------------------------------------------------- */

static size_t size_of(ncclDataType_t type)
{
    return type == ncclInt8 ? 1 : type == ncclBfloat16 ? 2 : type == ncclInt64 || type == ncclFloat64 ? 8 : 4;
}

static MPI_Datatype type_of(ncclDataType_t type)
{
    return type == ncclInt8       ? MPI_BYTE
           : type == ncclInt32    ? MPI_INT32_T
           : type == ncclInt64    ? MPI_INT64_T
           : type == ncclBfloat16 ? MPI_UINT16_T
           : type == ncclFloat32  ? MPI_FLOAT
                                  : MPI_DOUBLE;
}

/* As NCCL does: every partial sum that is passed on is rounded. */
static void add_bf16(void *more, void *sum, int *count, MPI_Datatype *)
{
    const dg_bf16 *x = (const dg_bf16 *)more;
    dg_bf16 *y = (dg_bf16 *)sum;
    for (int i = 0; i < *count; i++) y[i] = dg_bf16_from_f32(dg_bf16_to_f32(x[i]) + dg_bf16_to_f32(y[i]));
}

static MPI_Op bf16_sum()
{
    static MPI_Op op = MPI_OP_NULL;
    if (op == MPI_OP_NULL) MPI_Op_create(add_bf16, 1, &op);
    return op;
}

using post = std::function<int(transfer &)>;

/* One try of an operation; true when the stream may go on. */
static bool attempt(ncclComm_t comm, const std::shared_ptr<transfer> &t, const void *from, size_t from_bytes, void *to,
                    size_t to_bytes, const char *what, const post &start)
{
    if (comm->aborted) {
        if (t->posted) abandoned->push_back(t);
        return true;
    }
    if (t->hangs || comm->error != ncclSuccess || std::this_thread::get_id() != comm->owner) return false;
    if (!t->posted) {
        t->from.resize(from_bytes);
        t->to.resize(to_bytes);
        if (from_bytes > 0) memcpy(t->from.data(), from, from_bytes);
        t->posted = true;
        if (!check_mpi(comm, start(*t), what)) return false;
    }
    int done = 0;
    if (!check_mpi(comm, MPI_Test(&t->request, &done, MPI_STATUS_IGNORE), what) || !done) return false;
    if (to_bytes > 0) memcpy(to, t->to.data(), to_bytes);
    return true;
}

/* Checks a call, lets faults strike, and leaves its work for ncclCommGetAsyncError. */
static ncclResult_t submit(ncclComm_t comm, const char *what, cudaStream_t stream, const void *from, void *to,
                           size_t count, ncclDataType_t type, bool reads, bool writes, post start)
{
    const size_t bytes = count * size_of(type);
    if (comm->error != ncclSuccess) return comm->error;
    if (comm->now != phase::ready || !comm->calls.empty())
        return complain(comm, ncclInvalidUsage, "%s while an earlier call is in progress", what);
    if ((reads && !is_device(from, bytes)) || (writes && !is_device(to, bytes)) || bytes > INT_MAX)
        return complain(comm, ncclInvalidArgument, "%s of %zu bytes that are not device memory", what, bytes);
    auto t = std::make_shared<transfer>();
    if (fault("stuck")) comm->stuck = true;
    t->hangs = fault("hang") || comm->stuck;
    if (fault("nccl")) {
        comm->calls.push_back({what, stream, [=] {
                                   if (comm->error == ncclSuccess)
                                       complain(comm, ncclRemoteError, "injected: %s lost its connection", what);
                                   return comm->aborted.load();
                               }});
        return ncclInProgress;
    }
    comm->calls.push_back(
        {what, stream, [=] { return attempt(comm, t, from, reads ? bytes : 0, to, writes ? bytes : 0, what, start); }});
    return ncclInProgress;
}

ncclResult_t ncclAllReduce(const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                           ncclComm_t comm, cudaStream_t stream)
{
    if (type == ncclBfloat16 && op != ncclSum) return complain(comm, ncclInvalidArgument, "bf16 is summed only");
    const MPI_Op mpi_op = type == ncclBfloat16 ? bf16_sum()
                          : op == ncclSum      ? MPI_SUM
                          : op == ncclMax      ? MPI_MAX
                          : op == ncclMin      ? MPI_MIN
                                               : MPI_PROD;
    return submit(comm, "ncclAllReduce", stream, from, to, count, type, true, true, [=](transfer &t) {
        return MPI_Iallreduce(t.from.data(), t.to.data(), (int)count, type_of(type), mpi_op, comm->mpi, &t.request);
    });
}

ncclResult_t ncclBroadcast(const void *from, void *to, size_t count, ncclDataType_t type, int root, ncclComm_t comm,
                           cudaStream_t stream)
{
    const bool sends = root == comm->rank;
    return submit(comm, "ncclBroadcast", stream, from, to, count, type, sends, true, [=](transfer &t) {
        if (sends) t.to = t.from;
        return MPI_Ibcast(t.to.data(), (int)count, type_of(type), root, comm->mpi, &t.request);
    });
}

/* NCCL has no tags: the messages between two ranks are matched in their order. */
ncclResult_t ncclSend(const void *from, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream)
{
    return submit(comm, "ncclSend", stream, from, nullptr, count, type, true, false, [=](transfer &t) {
        return MPI_Issend(t.from.data(), (int)count, type_of(type), peer, 0, comm->mpi, &t.request);
    });
}

ncclResult_t ncclRecv(void *to, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream)
{
    return submit(comm, "ncclRecv", stream, nullptr, to, count, type, false, true, [=](transfer &t) {
        return MPI_Irecv(t.to.data(), (int)count, type_of(type), peer, 0, comm->mpi, &t.request);
    });
}
