/* compute.c - backend, device and communicator of a rank. SPDX-License-Identifier: Apache-2.0 */
#include "compute.h"

#include "dg_device.h"

#include <string.h>
#include "dg_file.h"

#include <stdio.h>
#include <stdlib.h>

/* "auto" is a choice of all ranks: a rank without a GPU among others would compute other bits, and for ever longer. */
static dg_status agree_backend(dg_comm *comm, const char *wanted, const dg_backend_ops **out)
{
    const dg_backend_ops *mine = NULL;
    DG_TRY(dg_comm_agree(comm, dg_backend_find(wanted, &mine)));
    int64_t row = 0;
    while (dg_backend_at((int)row) != mine) row++;
    DG_TRY(dg_comm_any(comm, row, &row));
    *out = dg_backend_at((int)row);
    return DG_OK;
}

dg_status dg_compute_open(dg_comm *comm, const char *name, int threads, bool may_share, dg_backend **out)
{
    const dg_backend_ops *ops = NULL;
    dg_backend_options options = {.threads = threads, .deterministic = true, .timeout_s = comm->timeout_s};
    *out = NULL;
    DG_TRY(agree_backend(comm, name, &ops));
    if (ops->device != NULL) DG_TRY(ops->device->place(comm, may_share, &options.device));
    return dg_comm_agree(comm, dg_backend_create(ops->name, &options, out));
}

dg_status dg_compute_address(dg_comm *comm, const char *name, bool may_share, char address[DG_COMPUTE_ADDRESS])
{
    const dg_backend_ops *ops = NULL;
    int device = 0;
    address[0] = '\0';
    DG_TRY(agree_backend(comm, name, &ops));
    if (ops->device == NULL) return DG_OK;
    DG_TRY(ops->device->place(comm, may_share, &device));
    ops->device->pci_address(device, address, DG_COMPUTE_ADDRESS);
    return DG_OK;
}

dg_status dg_compute_gamma(dg_comm *comm, const char *name, dg_log *log, dg_backend **out)
{
    *out = NULL;
    if (strcmp(name, "cpu") == 0) return DG_OK;
    if (strcmp(name, "cuda") == 0) return dg_compute_open(comm, name, 1, false, out);
    if (strcmp(name, "auto") != 0)
        return DG_FAIL(DG_ERR_USAGE, "gamma on '%s' is not known: choose auto, cuda or cpu", name);
    int64_t missing = 0;
    DG_TRY(dg_comm_any(comm, dg_backend_cuda.unavailable() != NULL, &missing));
    if (missing != 0) return DG_OK;
    const dg_status status = dg_compute_open(comm, "cuda", 1, false, out);
    if (status == DG_OK || status == DG_ERR_COMM) return status;
    dg_log_write(log, DG_LOG_INFO, "gamma is searched for on the host: %s", dg_error_last()->text);
    dg_error_clear();
    return DG_OK;
}

dg_status dg_compute_comm(dg_comm *comm, dg_backend *backend, bool may_share, dg_comm **out)
{
    *out = comm;
    if (backend->ops->device == NULL) return DG_OK;
    *out = NULL;
    return backend->ops->device->comm_create(comm, backend, may_share, out);
}

void dg_compute_comm_close(dg_comm *comm, dg_comm **memory_comm)
{
    if (*memory_comm != comm) dg_comm_destroy(memory_comm);
    *memory_comm = NULL;
}

/* The user's folder for what can be made again; "" where there is none. */
static void cache_folder(char folder[DG_PATH_MAX])
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    folder[0] = '\0';
    if (cache != NULL && cache[0] == '/')
        snprintf(folder, DG_PATH_MAX, "%s/dosegrid", cache);
    else if (home != NULL && home[0] == '/')
        snprintf(folder, DG_PATH_MAX, "%s/.cache/dosegrid", home);
}

dg_status dg_compute_share(dg_comm *comm, dg_backend *backend, dg_log *log)
{
    char folder[DG_PATH_MAX], warning[512];
    if (backend->ops->device == NULL) return DG_OK;
    cache_folder(folder);
    DG_TRY(backend->ops->device->share_choices(comm, backend, folder, warning, sizeof warning));
    if (warning[0] != '\0') dg_log_write(log, DG_LOG_WARNING, "%s", warning);
    return DG_OK;
}
