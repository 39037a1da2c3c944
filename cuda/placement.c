/* placement.c - rank to GPU, and GPUs that two ranks share: NCCL would refuse them later and with fewer words.
 * SPDX-License-Identifier: Apache-2.0 */
#include "placement.h"

#include "cuda_impl.h"
#include "dg_mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEVICES_MAX = 1024 };

/* What ranks tell each other of their GPU. */
typedef struct gpu_of_rank {
    char host[64], name[80];
    unsigned char uuid[16];
    int rank, device, visible, local_size;
} gpu_of_rank;

static int by_gpu(const void *a, const void *b)
{
    const gpu_of_rank *x = a, *y = b;
    int order = memcmp(x->host, y->host, sizeof x->host);
    if (order == 0) order = memcmp(x->uuid, y->uuid, sizeof x->uuid);
    return order != 0 ? order : (x->rank > y->rank) - (x->rank < y->rank);
}

/* The first two ranks with one GPU lie side by side at the returned index and after it; 0: there are none. */
static int find_shared(gpu_of_rank *all, int size)
{
    qsort(all, (size_t)size, sizeof *all, by_gpu);
    for (int i = 1; i < size; i++) {
        const gpu_of_rank *a = &all[i - 1], *b = &all[i];
        if (memcmp(a->host, b->host, sizeof a->host) == 0 && memcmp(a->uuid, b->uuid, sizeof a->uuid) == 0) return i;
    }
    return 0;
}

/* As nvidia-smi -L writes it. */
static void write_uuid(const unsigned char *u, char text[48])
{
    snprintf(text, 48, "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1], u[2],
             u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
}

static dg_status refuse(const gpu_of_rank *a, const gpu_of_rank *b)
{
    char uuid[48];
    write_uuid(a->uuid, uuid);
    return DG_FAIL(
        DG_ERR_USAGE,
        "ranks %d and %d have the same GPU on %s: %s, %s (devices %d and %d of what they see; %d rank%s there, "
        "rank %d sees %d device%s). Start at most one rank per GPU (mpirun --map-by ppr:%d:node, srun "
        "--ntasks-per-node), give each its own by CUDA_VISIBLE_DEVICES, or let training share it: "
        "train.shared_gpu mpi",
        a->rank, b->rank, a->host, a->name, uuid, a->device, b->device, b->local_size, b->local_size == 1 ? "" : "s",
        b->rank, b->visible, b->visible == 1 ? "" : "s", b->visible);
}

static dg_status describe(const dg_comm *comm, int device, gpu_of_rank *mine)
{
    struct cudaDeviceProp properties;
    memset(mine, 0, sizeof *mine); /* it is compared byte for byte */
    DG_CUDA(cudaGetDeviceProperties(&properties, device));
    DG_CUDA(cudaGetDeviceCount(&mine->visible));
    memcpy(mine->host, comm->host, strnlen(comm->host, sizeof mine->host - 1));
    memcpy(mine->name, properties.name, strnlen(properties.name, sizeof mine->name - 1));
    memcpy(mine->uuid, &properties.uuid, sizeof mine->uuid);
    mine->rank = comm->rank;
    mine->device = device;
    mine->local_size = comm->local_size;
    return DG_OK;
}

dg_status dg_cuda_find_shared(dg_comm *comm, int device, bool may_share, bool *shared)
{
    gpu_of_rank mine, *all = NULL;
    int64_t *sizes = NULL;
    *shared = false;
    dg_status status = describe(comm, device, &mine);
    if (status == DG_OK) status = DG_NEW(&all, comm->size, "GPUs of the ranks");
    if (status == DG_OK) status = DG_NEW(&sizes, comm->size, "GPUs of the ranks");
    status = dg_comm_agree(comm, status);
    if (status == DG_OK)
        status = dg_comm_gather(comm, &mine, (int64_t)sizeof mine, 0, comm->rank == 0 ? all : NULL, sizes);
    if (status == DG_OK) status = dg_comm_broadcast(comm, all, comm->size * (int64_t)sizeof *all, 0);
    const int second = status == DG_OK ? find_shared(all, comm->size) : 0;
    *shared = second > 0;
    if (*shared && !may_share) status = refuse(&all[second - 1], &all[second]);
    dg_free(&sizes);
    dg_free(&all);
    return status;
}

/* A number that is 0 or more in an environment variable, else -1. */
static int number_of(const char *variable)
{
    const char *text = getenv(variable);
    char *end;
    const long value = text == NULL ? -1 : strtol(text, &end, 10);
    return value >= 0 && value < DEVICES_MAX && end != text && *end == '\0' ? (int)value : -1;
}

/* The devices that Slurm names, such as "2,3" or "0-2,7"; 0: it names none, or in words of its own. */
static int granted_devices(int device[DEVICES_MAX])
{
    const char *at = getenv("SLURM_STEP_GPUS");
    int count = 0;
    if (at == NULL) at = getenv("SLURM_JOB_GPUS");
    while (at != NULL && *at != '\0') {
        char *end;
        const long first = strtol(at, &end, 10);
        long last = first;
        if (end == at) return 0;
        if (*end == '-') last = strtol(end + 1, &end, 10);
        if (first < 0 || last < first || last >= DEVICES_MAX || (*end != ',' && *end != '\0')) return 0;
        for (long i = first; i <= last && count < DEVICES_MAX; i++) device[count++] = (int)i;
        at = *end == ',' ? end + 1 : end;
    }
    return count;
}

int dg_cuda_choose(int local_rank, int visible)
{
    int granted[DEVICES_MAX];
    const int count = granted_devices(granted), slurm = number_of("SLURM_LOCALID");
    const int local = slurm > local_rank ? slurm : local_rank;
    bool fits = getenv("CUDA_VISIBLE_DEVICES") == NULL && count > 0 && count < visible;
    for (int i = 0; i < count && fits; i++) fits = granted[i] < visible;
    return fits ? granted[local % count] : local % visible;
}

static dg_status choose(const dg_comm *comm, int wanted, int *device)
{
    const char *reason = dg_backend_cuda.unavailable();
    int visible = 0;
    if (reason != NULL) return DG_FAIL(DG_ERR_UNSUPPORTED, "%s", reason);
    DG_CUDA(cudaGetDeviceCount(&visible));
    *device = wanted >= 0 ? wanted : dg_cuda_choose(comm->local_rank, visible);
    if (*device < visible) return DG_OK;
    return DG_FAIL(DG_ERR_USAGE, "there is no GPU %d: %d %s visible (CUDA_VISIBLE_DEVICES?), counted from 0", *device,
                   visible, visible == 1 ? "is" : "are");
}

dg_status dg_cuda_place(dg_comm *comm, int wanted, bool may_share, int *device)
{
    bool shared;
    *device = 0;
    DG_TRY(dg_comm_agree(comm, choose(comm, wanted, device)));
    return dg_cuda_find_shared(comm, *device, may_share, &shared);
}
