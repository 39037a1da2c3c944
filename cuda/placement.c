/* placement.c - rank to GPU, and the refusal of GPUs that two ranks share: NCCL would refuse them later and with fewer
 * words, MPI would let them fight for memory. SPDX-License-Identifier: Apache-2.0 */
#include "placement.h"

#include "cuda_impl.h"
#include "dg_mem.h"

#include <stdlib.h>
#include <string.h>

/* What ranks tell each other of their GPU. */
typedef struct gpu_of_rank {
    char host[64];
    char uuid[16];
    int rank, device, visible, local_size;
} gpu_of_rank;

static int by_gpu(const void *a, const void *b)
{
    const gpu_of_rank *x = a, *y = b;
    int order = memcmp(x->host, y->host, sizeof x->host);
    if (order == 0) order = memcmp(x->uuid, y->uuid, sizeof x->uuid);
    return order != 0 ? order : (x->rank > y->rank) - (x->rank < y->rank);
}

static dg_status find_shared(gpu_of_rank *all, int size)
{
    qsort(all, (size_t)size, sizeof *all, by_gpu);
    for (int i = 1; i < size; i++) {
        const gpu_of_rank *a = &all[i - 1], *b = &all[i];
        if (memcmp(a->host, b->host, sizeof a->host) != 0 || memcmp(a->uuid, b->uuid, sizeof a->uuid) != 0) continue;
        return DG_FAIL(DG_ERR_USAGE,
                       "ranks %d and %d have the same GPU on %s (devices %d and %d of what they see; %d rank%s there, "
                       "rank %d sees %d device%s): start at most one rank per GPU (mpirun --map-by ppr:%d:node, srun "
                       "--ntasks-per-node), or give each its own by CUDA_VISIBLE_DEVICES",
                       a->rank, b->rank, a->host, a->device, b->device, b->local_size, b->local_size == 1 ? "" : "s",
                       b->rank, b->visible, b->visible == 1 ? "" : "s", b->visible);
    }
    return DG_OK;
}

static dg_status describe(const dg_comm *comm, int device, gpu_of_rank *mine)
{
    struct cudaDeviceProp properties;
    memset(mine, 0, sizeof *mine); /* it is compared byte for byte */
    DG_CUDA(cudaGetDeviceProperties(&properties, device));
    DG_CUDA(cudaGetDeviceCount(&mine->visible));
    memcpy(mine->host, comm->host, strnlen(comm->host, sizeof mine->host - 1));
    memcpy(mine->uuid, &properties.uuid, sizeof mine->uuid);
    mine->rank = comm->rank;
    mine->device = device;
    mine->local_size = comm->local_size;
    return DG_OK;
}

dg_status dg_cuda_refuse_shared(dg_comm *comm, int device)
{
    gpu_of_rank mine, *all = NULL;
    int64_t *sizes = NULL;
    dg_status status = describe(comm, device, &mine);
    if (status == DG_OK) status = DG_NEW(&all, comm->size, "GPUs of the ranks");
    if (status == DG_OK) status = DG_NEW(&sizes, comm->size, "GPUs of the ranks");
    status = dg_comm_agree(comm, status);
    if (status == DG_OK)
        status = dg_comm_gather(comm, &mine, (int64_t)sizeof mine, 0, comm->rank == 0 ? all : NULL, sizes);
    if (status == DG_OK) status = dg_comm_broadcast(comm, all, comm->size * (int64_t)sizeof *all, 0);
    if (status == DG_OK) status = find_shared(all, comm->size);
    dg_free(&sizes);
    dg_free(&all);
    return status;
}

static dg_status choose(const dg_comm *comm, int wanted, int *device)
{
    const char *reason = dg_backend_cuda.unavailable();
    int visible = 0;
    if (reason != NULL) return DG_FAIL(DG_ERR_UNSUPPORTED, "%s", reason);
    DG_CUDA(cudaGetDeviceCount(&visible));
    *device = wanted >= 0 ? wanted : comm->local_rank % visible;
    if (*device < visible) return DG_OK;
    return DG_FAIL(DG_ERR_USAGE, "there is no GPU %d: %d %s visible (CUDA_VISIBLE_DEVICES?), counted from 0", *device,
                   visible, visible == 1 ? "is" : "are");
}

dg_status dg_cuda_place(dg_comm *comm, int wanted, int *device)
{
    *device = 0;
    DG_TRY(dg_comm_agree(comm, choose(comm, wanted, device)));
    return dg_cuda_refuse_shared(comm, *device);
}
