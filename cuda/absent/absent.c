/* absent.c - what cuda/ answers in a program that was linked without it: a linker takes this file from its archive only
 * where the real ones are missing. SPDX-License-Identifier: Apache-2.0 */
#include "comm_nccl.h"
#include "cuda_site.h"
#include "placement.h"

static dg_status refuse(void) { return DG_FAIL(DG_ERR_UNSUPPORTED, "%s", dg_backend_cuda.unavailable()); }

dg_status dg_comm_nccl_create(dg_comm *parent, dg_backend *backend, double timeout_s, dg_comm **out)
{
    *out = NULL;
    return refuse();
}

void dg_comm_nccl_note(dg_comm *comm, int64_t step, const char *phase) {}

dg_status dg_cuda_place(dg_comm *comm, int wanted, int *device)
{
    *device = 0;
    return refuse();
}

dg_status dg_cuda_refuse_shared(dg_comm *comm, int device) { return refuse(); }

void dg_cuda_site_ask(dg_cuda_site *site) { *site = (dg_cuda_site){.built = false}; }

void dg_cuda_site_device(int device, char *text, size_t capacity)
{
    if (capacity > 0) text[0] = '\0';
}
