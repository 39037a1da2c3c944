/* c400_comm_nccl.c - the NCCL communicator on the stand-in's GPUs, one per rank. Modes: values (every operation, device
 * and host memory), reducer (both reductions against the tree's definition and MPI on host memory), waits (left-out
 * waits between streams are seen), place (a GPU per rank), slurm (by its variables), refuse (ranks that share one), absent (no GPU), steps TIMEOUT
 * (steps of a training run, which faults of the environment end). SPDX-License-Identifier: Apache-2.0 */
#include "comm_nccl.h"
#include "cuda_impl.h"
#include "dg_check.h"
#include "dg_mpi.h"
#include "dg_reducer.h"
#include "dg_rng.h"
#include "host_backend.h"
#include "placement.h"
#include "standin.h"

#include <nccl.h>
#include <unistd.h>

enum { COUNT = 1003, BATCH = 8, BUCKET_BYTES = 4 * 97 };

/* A rank with its GPU. */
static struct rank {
    dg_comm *mpi, *comm;
    dg_backend *backend;
    dg_heartbeat *heartbeat; /* of a run with steps */
    bool shares;             /* ranks may have one GPU */
} self;

/* Ends all ranks as the program does: a rank that only exited would leave the others waiting. */
static void must(dg_status status)
{
    if (status == DG_OK) return;
    fprintf(stderr, "%s: %s\n", dg_status_name(status), dg_error_last()->text);
    fflush(stderr);
    dg_mpi_abort(1);
}

static void open_rank(double timeout_s)
{
    dg_backend_options options = {.threads = 1, .deterministic = true};
    must(dg_cuda_place(self.mpi, -1, self.shares, &options.device));
    must(dg_backend_create("cuda", &options, &self.backend));
    dg_comm_set_timeout(self.mpi, timeout_s);
    must(self.backend->ops->device->comm_create(self.mpi, self.backend, self.shares, &self.comm));
}

static void close_rank(void)
{
    dg_comm_destroy(&self.comm);
    DG_CHECK(self.backend->bytes_allocated > 0); /* its own sums only are left */
    dg_backend_destroy(&self.backend);
}

static void *device_memory(int64_t bytes, const void *host)
{
    void *data;
    must(self.backend->ops->alloc(self.backend, bytes, "test", &data));
    if (host != NULL) must(self.backend->ops->upload(self.backend, data, host, bytes));
    return data;
}

static void check_device(const void *device, const void *want, int64_t bytes)
{
    char *got = malloc((size_t)bytes);
    DG_CHECK(got != NULL);
    must(self.backend->ops->download(self.backend, got, device, bytes));
    DG_CHECK(memcmp(got, want, (size_t)bytes) == 0);
    free(got);
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

/* Small whole numbers: sums are exact in any order. */
static double element(int rank, int i) { return (double)((i * 7 + rank * 3) % 11 - 5); }

static double reduced(int i, dg_reduce op)
{
    double value = element(0, i);
    for (int rank = 1; rank < self.comm->size; rank++) {
        const double next = element(rank, i);
        value = op == DG_SUM ? value + next : (op == DG_MIN) == (next < value) ? next : value;
    }
    return value;
}

#define TEST_TYPE(type_, dtype_)                                                                           \
    do {                                                                                                   \
        type_ mine_[COUNT], want_[COUNT];                                                                  \
        for (int op_ = DG_SUM; op_ <= DG_MAX; op_++) {                                                     \
            for (int i_ = 0; i_ < COUNT; i_++) mine_[i_] = (type_)element(self.comm->rank, i_);            \
            for (int i_ = 0; i_ < COUNT; i_++) want_[i_] = (type_)reduced(i_, (dg_reduce)op_);             \
            void *data_ = device_memory(sizeof mine_, mine_);                                              \
            must(dg_comm_all_reduce(self.comm, data_, COUNT, (dtype_), (dg_reduce)op_));                   \
            check_device(data_, want_, sizeof want_);                                                      \
            self.backend->ops->free(self.backend, data_);                                                  \
            must(dg_comm_all_reduce(self.comm, mine_, COUNT, (dtype_), (dg_reduce)op_)); /* host memory */ \
            DG_CHECK(memcmp(mine_, want_, sizeof want_) == 0);                                             \
        }                                                                                                  \
    } while (0)

static void test_reductions(void)
{
    TEST_TYPE(float, DG_F32);
    TEST_TYPE(double, DG_F64);
    TEST_TYPE(int32_t, DG_I32);
    TEST_TYPE(int64_t, DG_I64);
}

static void test_broadcast(void)
{
    float mine[COUNT], want[COUNT];
    for (int root = 0; root < self.comm->size; root++) {
        for (int i = 0; i < COUNT; i++) mine[i] = (float)(1000 * self.comm->rank + i);
        for (int i = 0; i < COUNT; i++) want[i] = (float)(1000 * root + i);
        void *data = device_memory(sizeof mine, mine);
        must(dg_comm_broadcast(self.comm, data, sizeof mine, root));
        check_device(data, want, sizeof want);
        self.backend->ops->free(self.backend, data);
        must(dg_comm_broadcast(self.comm, mine, sizeof mine, root));
        DG_CHECK(memcmp(mine, want, sizeof want) == 0);
    }
}

/* A chain: every rank adds one to what it received and passes it on. Then two messages that must not swap. */
static void test_messages(void)
{
    const int rank = self.comm->rank, last = self.comm->size - 1;
    float want[COUNT], ones[COUNT];
    for (int i = 0; i < COUNT; i++) ones[i] = 1.0f;
    float *data = device_memory(sizeof ones, NULL), *one = device_memory(sizeof ones, ones);
    if (rank > 0) must(dg_comm_receive(self.comm, data, sizeof ones, rank - 1, DG_TAG_TEST));
    must(self.backend->ops->axpy(self.backend, COUNT, 1.0, one, data)); /* no sync: send comes after it */
    if (rank < last) must(dg_comm_send(self.comm, data, sizeof ones, rank + 1, DG_TAG_TEST));
    for (int i = 0; i < COUNT; i++) want[i] = (float)(rank + 1);
    check_device(data, want, sizeof want);
    for (int message = 1; message <= 2 && last > 0; message++) {
        if (rank == last) must(self.backend->ops->fill(self.backend, data, COUNT, (float)message));
        if (rank == last) must(dg_comm_send(self.comm, data, sizeof ones, 0, DG_TAG_TEST));
        if (rank == 0) must(dg_comm_receive(self.comm, data, sizeof ones, last, DG_TAG_TEST));
        for (int i = 0; i < COUNT; i++) want[i] = (float)message;
        if (rank == 0) check_device(data, want, sizeof want);
    }
    self.backend->ops->free(self.backend, one);
    self.backend->ops->free(self.backend, data);
}

/* Several sums under way while the backend goes on, with no sync between a kernel and the sum of its result. */
static void test_overlap(void)
{
    enum { SUMS = 5 };
    dg_comm_request *request[SUMS];
    float *data[SUMS], want[COUNT];
    bool done = false;
    for (int k = 0; k < SUMS; k++) {
        data[k] = device_memory(sizeof want, NULL);
        must(self.backend->ops->fill(self.backend, data[k], COUNT, (float)(k + self.comm->rank)));
        must(dg_comm_all_reduce_start(self.comm, data[k], COUNT, DG_F32, &request[k]));
        DG_CHECK((request[k] == NULL) == (self.comm->size == 1));
    }
    while (!done) must(dg_comm_test(self.comm, &request[0], &done));
    for (int k = SUMS; k-- > 0;) {
        must(dg_comm_wait(self.comm, &request[k]));
        DG_CHECK(request[k] == NULL);
    }
    for (int k = 0; k < SUMS; k++) {
        const int size = self.comm->size;
        must(self.backend->ops->axpy(self.backend, COUNT, 1.0, data[k], data[(k + 1) % SUMS]));
        must(self.backend->ops->axpy(self.backend, COUNT, -1.0, data[k], data[(k + 1) % SUMS]));
        for (int i = 0; i < COUNT; i++) want[i] = (float)(k * size + size * (size - 1) / 2);
        check_device(data[k], want, sizeof want);
    }
    for (int k = 0; k < SUMS; k++) self.backend->ops->free(self.backend, data[k]);
}

/* What the parent does: agreement, gather, the counter. */
static void test_host_calls(void)
{
    const int size = self.comm->size, rank = self.comm->rank;
    int64_t all[8] = {0}, sizes[8], mine = 10 + rank, largest, before, sum = 0;
    dg_comm_counter *counter;
    dg_comm_request *request;
    must(dg_comm_gather(self.comm, &mine, sizeof mine, 0, rank == 0 ? all : NULL, sizes));
    for (int k = 0; k < size; k++) DG_CHECK(sizes[k] == sizeof mine && (rank != 0 || all[k] == 10 + k));
    must(dg_comm_any(self.comm, rank, &largest));
    DG_CHECK(largest == size - 1);
    must(dg_comm_all_reduce_start(self.comm, &mine, 1, DG_I64, &request));
    must(dg_comm_wait(self.comm, &request));
    for (int k = 0; k < size; k++) sum += 10 + k;
    DG_CHECK(mine == sum);
    must(dg_comm_counter_create(self.comm, &counter));
    must(dg_comm_counter_next(self.comm, counter, 1, &before));
    DG_CHECK(before >= 0 && before < size);
    dg_comm_counter_destroy(self.comm, &counter);
    must(dg_comm_barrier(self.comm));
    dg_status status = rank == size - 1 ? DG_FAIL(DG_ERR_DATA, "NaN in case A") : DG_OK;
    DG_CHECK_FAILS(dg_comm_agree(self.comm, status), DG_ERR_DATA, "NaN in case A");
    void *data = device_memory(8, NULL);
    DG_CHECK_FAILS(dg_comm_gather(self.comm, data, 8, 0, all, sizes), DG_ERR_INTERNAL, "copy it to the host");
    self.backend->ops->free(self.backend, data);
}

static void test_values(void)
{
    static const char *const orders[] = {"lazy", "others", "random:1", "random:2"};
    for (size_t k = 0; k < sizeof orders / sizeof orders[0]; k++) {
        standin_reset(orders[k], "");
        open_rank(20);
        DG_CHECK(strcmp(self.comm->ops->name, self.shares ? "mpi through pinned memory" : "nccl") == 0);
        DG_CHECK(self.comm->rank == self.mpi->rank);
        test_reductions();
        test_broadcast();
        test_messages();
        test_overlap();
        test_host_calls();
        close_rank();
        DG_CHECK(standin_complaint()[0] == '\0');
    }
    dg_backend host = {.ops = &host_ops};
    DG_CHECK_FAILS(dg_comm_nccl_create(self.mpi, &host, &self.comm), DG_ERR_INTERNAL, "backend host");
}

/* ---- reducer ----------------------------------------------------------------------------------------------------- */

/* `ordered`: magnitudes over six decades, so that every other order of additions gives other bits. `fast` promises no
 * order: small whole numbers, whose sum is the same in all of them. */
static void gradient(dg_reduction kind, int64_t slot, float *g)
{
    dg_rng rng = dg_rng_stream(5, DG_RNG_TEST, (uint64_t)slot, 0);
    for (int i = 0; i < COUNT; i++) {
        const double wide = dg_rng_normal(&rng) * pow(10.0, 6.0 * dg_rng_uniform(&rng) - 3.0);
        g[i] = kind == DG_REDUCE_ORDERED ? (float)wide : (float)element((int)slot, i);
    }
}

/* The sum by its definition: left half and right half, down to one sample. */
static void tree_sum(dg_reduction kind, int64_t first, int64_t samples, float *out)
{
    float right[COUNT];
    int64_t left = 1;
    if (samples == 1) {
        gradient(kind, first, out);
        return;
    }
    while (2 * left < samples) left *= 2;
    tree_sum(kind, first, left, out);
    tree_sum(kind, first + left, samples - left, right);
    for (int i = 0; i < COUNT; i++) out[i] += right[i];
}

/* One step of a training run: gradients of this rank's samples come from kernels, stretch by stretch in the last. */
static dg_status reduce_step(dg_reducer *reducer, dg_reduction kind, dg_backend *backend, const float *const *slots,
                             const float **sum)
{
    int64_t first, mine;
    dg_slots_of_rank(BATCH, self.mpi->rank, self.mpi->size, &first, &mine);
    DG_TRY(dg_reducer_begin(reducer));
    for (int64_t s = 0; s < mine; s++) {
        float *into = dg_reducer_buffer(reducer);
        for (int64_t end = COUNT; end > 0; end -= end < 200 ? end : 200) {
            const int64_t from = end < 200 ? 0 : end - 200;
            DG_TRY(backend->ops->axpy(backend, end - from, 1.0, slots[s] + from, into + from));
            if (s == mine - 1) DG_TRY(dg_reducer_ready(reducer, from));
        }
        DG_TRY(dg_reducer_pass_done(reducer, 1));
    }
    return dg_reducer_finish(reducer, NULL, sum);
}

/* A sync would hold up the backward pass that the sums are to overlap with. */
static dg_status refuse_sync(dg_backend *backend) { return DG_FAIL(DG_ERR_INTERNAL, "the reducer waits for the GPU"); }

static void test_reducer(dg_reduction kind)
{
    const dg_backend_ops *const plain = self.backend->ops;
    dg_backend_ops no_sync = *plain;
    no_sync.sync = refuse_sync;
    dg_backend host = {.ops = &host_ops};
    dg_reducer *on_host, *on_device;
    int64_t first, mine;
    float host_slots[BATCH][COUNT], want[COUNT];
    const float *slots[BATCH], *device_slots[BATCH], *sum;
    dg_slots_of_rank(BATCH, self.mpi->rank, self.mpi->size, &first, &mine);
    for (int64_t s = 0; s < mine; s++) {
        gradient(kind, first + s, host_slots[s]);
        slots[s] = host_slots[s];
        device_slots[s] = device_memory(sizeof host_slots[s], host_slots[s]);
    }
    tree_sum(kind, 0, BATCH, want);
    const dg_reducer_config config = {.kind = kind, .count = COUNT, .batch = BATCH, .bucket_bytes = BUCKET_BYTES};
    must(dg_reducer_create(self.mpi, &host, &config, &on_host));
    must(dg_reducer_create(self.comm, self.backend, &config, &on_device));
    for (int repeat = 0; repeat < 3; repeat++) {
        must(reduce_step(on_host, kind, &host, slots, &sum));
        DG_CHECK(memcmp(sum, want, sizeof want) == 0);
        self.backend->ops = &no_sync;
        must(reduce_step(on_device, kind, self.backend, device_slots, &sum));
        self.backend->ops = plain;
        check_device(sum, want, sizeof want);
    }
    dg_reducer_destroy(&on_device);
    dg_reducer_destroy(&on_host);
    for (int64_t s = 0; s < mine; s++) self.backend->ops->free(self.backend, (void *)(uintptr_t)device_slots[s]);
}

/* What each rank sends, added up exactly, and the sum of its magnitudes. */
static void sum_of_ranks(double *exact, double *magnitude)
{
    for (int rank = 0; rank < self.mpi->size; rank++) {
        int64_t first, mine;
        float part[COUNT] = {0}, g[COUNT];
        dg_slots_of_rank(BATCH, rank, self.mpi->size, &first, &mine);
        for (int64_t s = 0; s < mine; s++) {
            gradient(DG_REDUCE_ORDERED, first + s, g);
            for (int i = 0; i < COUNT; i++) part[i] += g[i];
        }
        for (int i = 0; i < COUNT; i++) {
            exact[i] = (rank > 0 ? exact[i] : 0) + part[i];
            magnitude[i] = (rank > 0 ? magnitude[i] : 0) + fabs((double)part[i]);
        }
    }
}

/* bf16 on the wire: each of the ranks' parts is rounded, and each of their partial sums, to 2^-8 of it at most; the same bits
 * on every rank, and none lost where there is one. */
static void test_rounded(void)
{
    const dg_reducer_config config = {.wire = DG_BF16, .count = COUNT, .batch = BATCH, .bucket_bytes = BUCKET_BYTES};
    const int size = self.mpi->size;
    dg_reducer *reducer;
    int64_t first, mine;
    float g[COUNT], sum_here[COUNT], sum_there[COUNT];
    double exact[COUNT], magnitude[COUNT];
    const float *slots[BATCH], *sum;
    int rounded = 0;
    dg_slots_of_rank(BATCH, self.mpi->rank, size, &first, &mine);
    for (int64_t s = 0; s < mine; s++) {
        gradient(DG_REDUCE_ORDERED, first + s, g);
        slots[s] = device_memory(sizeof g, g);
    }
    sum_of_ranks(exact, magnitude);
    must(dg_reducer_create(self.comm, self.backend, &config, &reducer));
    DG_CHECK(dg_reducer_wire_bytes(reducer) == 2 * ((int64_t)COUNT * 2 * (size - 1) / size));
    for (int repeat = 0; repeat < 2; repeat++) {
        must(reduce_step(reducer, DG_REDUCE_FAST, self.backend, slots, &sum));
        must(self.backend->ops->download(self.backend, sum_here, sum, sizeof sum_here));
        for (int i = 0; i < COUNT; i++) {
            const double error = fabs(sum_here[i] - exact[i]);
            DG_CHECK(error <= (size > 1 ? 1.01 * size / 256.0 : 0) * magnitude[i]);
            rounded += error > 1e-5 * magnitude[i];
        }
        memcpy(sum_there, sum_here, sizeof sum_there);
        must(dg_comm_broadcast(self.mpi, sum_there, sizeof sum_there, 0));
        DG_CHECK(memcmp(sum_here, sum_there, sizeof sum_here) == 0);
    }
    DG_CHECK((rounded > COUNT / 2) == (size > 1));
    dg_reducer_destroy(&reducer);
    for (int64_t s = 0; s < mine; s++) self.backend->ops->free(self.backend, (void *)(uintptr_t)slots[s]);
}

static void test_reducers(void)
{
    static const char *const orders[] = {"lazy", "others", "random:3"};
    for (size_t k = 0; k < sizeof orders / sizeof orders[0]; k++) {
        standin_reset(orders[k], "");
        open_rank(20);
        test_reducer(DG_REDUCE_ORDERED);
        test_reducer(DG_REDUCE_FAST);
        test_rounded();
        close_rank();
    }
}

/* ---- the test of the test ---------------------------------------------------------------------------------------- */

static void settle(ncclComm_t handle, ncclResult_t result)
{
    while (result == ncclInProgress) DG_CHECK(ncclCommGetAsyncError(handle, &result) == ncclSuccess);
    DG_CHECK(result == ncclSuccess);
}

typedef struct steps_kept {
    bool event_wait, acceptance;
} steps_kept;

/* The communicator's own sequence, written out, with steps that may be left out. True when the sum is right. */
static bool sum_is_right(ncclComm_t handle, cudaStream_t stream, steps_kept keep)
{
    const int size = self.mpi->size;
    cudaStream_t compute = cuda_of(self.backend)->stream;
    cudaEvent_t ready, done;
    float got[COUNT], *data = device_memory(sizeof got, NULL);
    must(self.backend->ops->sync(self.backend));
    DG_CHECK(cudaEventCreateWithFlags(&ready, cudaEventDisableTiming) == cudaSuccess);
    DG_CHECK(cudaEventCreateWithFlags(&done, cudaEventDisableTiming) == cudaSuccess);
    must(self.backend->ops->fill(self.backend, data, COUNT, (float)(1 + self.mpi->rank)));
    DG_CHECK(cudaEventRecord(ready, compute) == cudaSuccess);
    if (keep.event_wait) DG_CHECK(cudaStreamWaitEvent(stream, ready, 0) == cudaSuccess);
    const ncclResult_t result = ncclAllReduce(data, data, COUNT, ncclFloat32, ncclSum, handle, stream);
    if (keep.acceptance) settle(handle, result);
    DG_CHECK(cudaEventRecord(done, stream) == cudaSuccess);
    while (cudaEventQuery(done) == cudaErrorNotReady) continue;
    must(self.backend->ops->download(self.backend, got, data, sizeof got));
    bool right = true;
    for (int i = 0; i < COUNT; i++) right = right && got[i] == (float)(size * (size + 1) / 2);
    settle(handle, ncclInProgress); /* what was left out, so that the next call is legal */
    DG_CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
    DG_CHECK(cudaEventDestroy(ready) == cudaSuccess && cudaEventDestroy(done) == cudaSuccess);
    self.backend->ops->free(self.backend, data);
    return right;
}

static void test_waits(void)
{
    ncclUniqueId id;
    ncclComm_t handle;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    cudaStream_t stream;
    open_rank(20);
    config.blocking = 0;
    DG_CHECK(ncclGetUniqueId(&id) == ncclSuccess);
    must(dg_comm_broadcast(self.mpi, &id, sizeof id, 0));
    settle(NULL, ncclSuccess);
    const ncclResult_t begun = ncclCommInitRankConfig(&handle, self.mpi->size, id, self.mpi->rank, &config);
    settle(handle, begun);
    DG_CHECK(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, -5) == cudaSuccess);
    DG_CHECK(sum_is_right(handle, stream, (steps_kept){.event_wait = true, .acceptance = true}));
    DG_CHECK(!sum_is_right(handle, stream, (steps_kept){.event_wait = false, .acceptance = true}));
    DG_CHECK(!sum_is_right(handle, stream, (steps_kept){.event_wait = true, .acceptance = false}));
    DG_CHECK(sum_is_right(handle, stream, (steps_kept){.event_wait = true, .acceptance = true}));
    settle(handle, ncclCommFinalize(handle));
    DG_CHECK(ncclCommDestroy(handle) == ncclSuccess && cudaStreamDestroy(stream) == cudaSuccess);
    close_rank();
}

/* ---- placement --------------------------------------------------------------------------------------------------- */

static void test_place(void)
{
    int device = -1;
    must(dg_cuda_place(self.mpi, -1, false, &device));
    DG_CHECK(device == (getenv("CUDA_VISIBLE_DEVICES") != NULL ? 0 : self.mpi->local_rank));
    DG_CHECK_FAILS(dg_cuda_place(self.mpi, 64, false, &device), DG_ERR_USAGE, "there is no GPU 64");
    if (self.mpi->size > 1)
        DG_CHECK_FAILS(dg_cuda_place(self.mpi, self.mpi->rank == 1 ? 64 : -1, false, &device), DG_ERR_USAGE,
                       "rank 1 on");
}

/* What launchers and Slurm leave in the environment, and the device that it means. */
static void test_slurm(void)
{
    static const struct {
        const char *visible_list, *local_id, *step_gpus, *job_gpus;
        int local_rank, visible, device;
    } table[] = {
        {NULL, NULL, NULL, NULL, 0, 4, 0}, /* mpirun on a workstation */
        {NULL, NULL, NULL, NULL, 3, 4, 3},
        {"0,1,2,3", NULL, NULL, NULL, 2, 4, 2},     /* mpirun with a list: numbers count in it */
        {"3", NULL, NULL, NULL, 0, 1, 0},           /* one alone */
        {"0,1,2,3", "2", "0,1,2,3", NULL, 2, 4, 2}, /* srun --gpus-per-node=4 --ntasks-per-node=4 */
        {"4,5,6,7", "3", "4,5,6,7", NULL, 3, 4, 3}, /* the same, on the other half of a node */
        {"0", "2", "6", NULL, 2, 1, 0},             /* --gpus-per-task=1, cgroups: each sees its own as 0 */
        {"2", "2", "0,1,2,3", NULL, 2, 1, 0},       /* the same without cgroups: the list picks it */
        {"0,1", "1", "2,3", NULL, 1, 2, 1},         /* --gpus-per-task=2: one rank takes one of its two */
        {NULL, "2", "2", NULL, 2, 1, 0},            /* cgroups alone */
        {NULL, "0", "2,3", NULL, 0, 4, 2},          /* neither list nor cgroups: the others are another job's */
        {NULL, "1", "2,3", NULL, 1, 4, 3},
        {NULL, "1", NULL, "5-6", 1, 8, 6},      /* of the job, where the step says nothing */
        {NULL, "1", "0-3", NULL, 1, 4, 1},      /* all of the node */
        {NULL, "1", "9,10", NULL, 1, 4, 1},     /* numbers of something else */
        {NULL, "1", "gpu:a100", NULL, 1, 4, 1}, /* words */
        {"0,1,2,3", "3", NULL, NULL, 0, 4, 3},  /* containers of their own: MPI sees no neighbours */
        {"0,1,2,3", "0", NULL, NULL, 2, 4, 2},  /* mpirun inside a job: its daemon's number */
        {"0,1", "x", NULL, NULL, 3, 2, 1},      /* more ranks than devices are counted round, and refused later */
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const char *const names[] = {"CUDA_VISIBLE_DEVICES", "SLURM_LOCALID", "SLURM_STEP_GPUS", "SLURM_JOB_GPUS"};
        const char *const values[] = {table[i].visible_list, table[i].local_id, table[i].step_gpus, table[i].job_gpus};
        for (int k = 0; k < 4; k++) {
            unsetenv(names[k]);
            if (values[k] != NULL) setenv(names[k], values[k], 1);
        }
        const int device = dg_cuda_choose(table[i].local_rank, table[i].visible);
        if (device != table[i].device) printf("row %zu: device %d\n", i, device);
        DG_CHECK(device == table[i].device);
    }
}

/* Fewer GPUs than ranks: refused with the same words everywhere, before NCCL could say less about it. */
static void test_refuse(void)
{
    dg_backend_options options = {.threads = 1, .deterministic = true};
    ncclUniqueId id;
    ncclComm_t handle;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    ncclResult_t result = ncclInProgress;
    int device;
    DG_CHECK_FAILS(dg_cuda_place(self.mpi, -1, false, &device), DG_ERR_USAGE, "ranks 0 and 1 have the same GPU on ");
    DG_CHECK(strstr(dg_error_last()->text, ": stand-in GPU, GPU-") != NULL);
    DG_CHECK(strstr(dg_error_last()->text, "or let training share it: train.shared_gpu mpi") != NULL);
    must(dg_cuda_place(self.mpi, -1, true, &device));
    DG_CHECK(strstr(dg_error_last()->text, "sees 1 device)") != NULL);
    DG_CHECK(strstr(dg_error_last()->text, "CUDA_VISIBLE_DEVICES") != NULL);
    must(dg_backend_create("cuda", &options, &self.backend));
    DG_CHECK_FAILS(dg_comm_nccl_create(self.mpi, self.backend, &self.comm), DG_ERR_USAGE, "ranks 0 and 1 have");
    DG_CHECK(self.comm == NULL);
    config.blocking = 0;
    DG_CHECK(ncclGetUniqueId(&id) == ncclSuccess);
    must(dg_comm_broadcast(self.mpi, &id, sizeof id, 0));
    DG_CHECK(ncclCommInitRankConfig(&handle, self.mpi->size, id, self.mpi->rank, &config) == ncclInProgress);
    while (result == ncclInProgress) DG_CHECK(ncclCommGetAsyncError(handle, &result) == ncclSuccess);
    DG_CHECK(result == ncclInvalidUsage && strstr(ncclGetLastError(handle), "Duplicate GPU") != NULL);
    DG_CHECK(ncclCommDestroy(handle) == ncclSuccess);
    dg_backend_destroy(&self.backend);
}

/* A machine with no GPU: every rank hears what to do. */
static void test_absent(void)
{
    int device;
    DG_CHECK_FAILS(dg_cuda_place(self.mpi, -1, false, &device), DG_ERR_UNSUPPORTED, "no CUDA device is visible");
}

/* ---- a run that faults end --------------------------------------------------------------------------------------- */

/* A failed communicator refuses what comes and can be destroyed, in bounded time, with the first error still told. */
static void end_failed(dg_status status)
{
    const dg_error first = *dg_error_last();
    int64_t largest;
    DG_CHECK(status == DG_ERR_COMM);
    DG_CHECK_FAILS(dg_comm_barrier(self.comm), DG_ERR_COMM, "has failed before");
    DG_CHECK_FAILS(dg_comm_any(self.comm, 0, &largest), DG_ERR_COMM, "has failed before");
    dg_comm_destroy(&self.comm);
    must(DG_FAIL(first.status, "%s", first.text));
}

static void tell_report(void *context, const char *report)
{
    (void)context;
    fputs(report, stderr);
}

_Noreturn static void leave(void *context, const char *why)
{
    tell_report(context, why);
    _exit(1);
}

static void run_steps(double timeout_s)
{
    const dg_heartbeat_options options = {.tell = tell_report, .leave = leave};
    char warning[256];
    dg_reducer *reducer[2];
    float *slots[BATCH], g[COUNT];
    const float *sum;
    int64_t first, mine;
    must(dg_heartbeat_open(self.mpi, &options, warning, sizeof warning, &self.heartbeat));
    open_rank(timeout_s);
    dg_slots_of_rank(BATCH, self.mpi->rank, self.mpi->size, &first, &mine);
    for (int64_t s = 0; s < mine; s++) {
        gradient(DG_REDUCE_ORDERED, first + s, g);
        slots[s] = device_memory(sizeof g, g);
    }
    for (int kind = 0; kind < 2; kind++)
        must(dg_reducer_create(
            self.comm, self.backend,
            &(dg_reducer_config){
                .kind = (dg_reduction)kind, .count = COUNT, .batch = BATCH, .bucket_bytes = BUCKET_BYTES},
            &reducer[kind]));
    for (int step = 1; step <= 6; step++) {
        dg_heartbeat_step(self.comm->heartbeat, step);
        (void)dg_heartbeat_phase(self.comm->heartbeat, DG_PHASE_REDUCE);
        const int kind = step % 2;
        dg_status status =
            reduce_step(reducer[kind], (dg_reduction)kind, self.backend, (const float *const *)slots, &sum);
        status = dg_comm_agree(self.comm, status);
        if (status != DG_OK) end_failed(status);
    }
    for (int kind = 0; kind < 2; kind++) dg_reducer_destroy(&reducer[kind]);
    for (int64_t s = 0; s < mine; s++) self.backend->ops->free(self.backend, slots[s]);
    close_rank();
    printf("rank %d: all steps done\n", self.mpi->rank);
}

int main(int argc, char **argv)
{
    must(dg_comm_open(&argc, &argv, &self.mpi));
    const char *mode = argc > 1 ? argv[1] : "";
    self.shares = argc > 2 && strcmp(argv[2], "shared") == 0;
    if (strcmp(mode, "values") == 0)
        test_values();
    else if (strcmp(mode, "reducer") == 0)
        test_reducers();
    else if (strcmp(mode, "waits") == 0)
        test_waits();
    else if (strcmp(mode, "place") == 0)
        test_place();
    else if (strcmp(mode, "slurm") == 0)
        test_slurm();
    else if (strcmp(mode, "refuse") == 0)
        test_refuse();
    else if (strcmp(mode, "absent") == 0)
        test_absent();
    else if (strcmp(mode, "steps") == 0 && argc > 2)
        run_steps(atof(argv[2]));
    else
        DG_CHECK(!"a mode: values, reducer, waits, place, slurm, refuse, absent, steps TIMEOUT");
    dg_comm_destroy(&self.mpi);
    dg_mpi_stop();
    dg_heartbeat_destroy(&self.heartbeat);
    return 0;
}
