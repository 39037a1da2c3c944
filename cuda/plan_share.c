/* plan_share.c - see plan_share.h. SPDX-License-Identifier: Apache-2.0 */
#include "plan_share.h"

#include "plan_cache.h"

#include "dg_file.h"
#include "dg_mem.h"

#include <stdio.h>
#include <unistd.h>

static const int64_t file_limit = (int64_t)16 << 20;

/* Adds what the file holds. No file is no fault. */
static dg_status read_file(plan_cache *plans, const char *path)
{
    char *text = NULL;
    int64_t length = 0;
    if (!dg_file_exists(path)) return DG_OK;
    DG_TRY(dg_file_read(path, "remembered cuDNN plans", file_limit, &text, &length));
    dg_status status = plan_cache_take(plans, text, length, false);
    dg_free(&text);
    return status;
}

/* Under a name of its own first: two runs that end at the same time must not mix. */
static dg_status write_file(const plan_cache *plans, const char *folder, const char *path)
{
    char own[DG_PATH_MAX], *text = NULL;
    int64_t length = 0;
    DG_TRY(dg_make_folder(folder));
    if (snprintf(own, sizeof own, "%s.%ld", path, (long)getpid()) >= (int)sizeof own)
        return DG_FAIL(DG_ERR_USAGE, "the path of the remembered cuDNN plans is too long");
    DG_TRY(plan_cache_text(plans, &text, &length));
    dg_status status = dg_file_write(own, text, length);
    if (status == DG_OK) status = dg_file_commit(own, path);
    dg_free(&text);
    return status;
}

/* Rank 0's side of the folder. Choices that another run left meanwhile stay; a file that cannot be read is replaced. */
static void keep(cuda_backend *backend, const char *folder, const char *path, char *warning, size_t capacity)
{
    const int64_t before = plan_cache_changes(backend->plans);
    if (backend->plans_read && before == backend->plans_kept) return;
    const dg_status status = read_file(backend->plans, path);
    if (status != DG_OK) snprintf(warning, capacity, "%s; choices are made anew", dg_error_last()->text);
    /* The first look at a good file leaves nothing to write. */
    if (status == DG_OK && !backend->plans_read && before == 0)
        backend->plans_kept = plan_cache_changes(backend->plans);
    else if (write_file(backend->plans, folder, path) == DG_OK)
        backend->plans_kept = plan_cache_changes(backend->plans);
    else
        snprintf(warning, capacity, "choices of cuDNN engines are not kept: %s", dg_error_last()->text);
    backend->plans_read = true;
}

/* Rank 0's text reaches all; *text is the caller's. */
static dg_status broadcast(dg_comm *comm, const plan_cache *plans, char **text, int64_t *length)
{
    *text = NULL;
    *length = 0;
    DG_TRY(dg_comm_agree(comm, comm->rank == 0 ? plan_cache_text(plans, text, length) : DG_OK));
    DG_TRY(dg_comm_broadcast(comm, length, sizeof *length, 0));
    dg_status status = DG_OK;
    if (comm->rank != 0) status = dg_alloc(text, (size_t)*length, 1, "cuDNN plans of rank 0");
    DG_TRY(dg_comm_agree(comm, status));
    return dg_comm_broadcast(comm, *text, *length, 0);
}

dg_status dg_cuda_share_plans(dg_comm *comm, dg_backend *head, const char *folder, char *warning, size_t capacity)
{
    cuda_backend *backend = cuda_of(head);
    char name[256], path[DG_PATH_MAX], *text;
    int64_t length;
    if (capacity > 0) warning[0] = '\0';
    plan_cache_name(backend->plans, name, sizeof name);
    dg_status status = dg_path_join(path, folder, name);
    DG_TRY(dg_comm_agree(comm, status));
    if (comm->rank == 0 && folder[0] != '\0') keep(backend, folder, path, warning, capacity);
    status = broadcast(comm, backend->plans, &text, &length);
    if (status == DG_OK && comm->rank != 0) {
        const dg_status taken = plan_cache_take(backend->plans, text, length, true);
        if (taken == DG_ERR_MISMATCH)
            snprintf(warning, capacity, "rank %d on %s keeps its own choices of cuDNN engines: %s", comm->rank,
                     comm->host, dg_error_last()->text);
        else
            status = taken;
    }
    dg_free(&text);
    return dg_comm_agree(comm, status);
}
