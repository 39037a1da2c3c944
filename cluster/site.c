/* site.c - what the launcher started against what the scheduler was asked for. SPDX-License-Identifier: Apache-2.0 */
#include "cluster_impl.h"

#include "dg_mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NODES_TEXT = 1 << 18 };
static const double EXPAND_S = 5;

/* What a rank tells of the place it was put. */
typedef struct place {
    char node[64];   /* Slurm's name of the node, where a Slurm daemon started the rank */
    char host[64];   /* up to the first dot */
    int32_t granted; /* GPUs of the job on this node; 0: none or unknown */
    int32_t visible; /* GPUs in CUDA_VISIBLE_DEVICES; -1: not set */
} place;

static int32_t count_of(const char *variable)
{
    const char *text = getenv(variable);
    long value = text == NULL ? 0 : strtol(text, NULL, 10);
    return value > 0 && value < 1 << 20 ? (int32_t)value : 0;
}

static place find_place(const dg_comm *comm)
{
    place p = {.granted = count_of("SLURM_GPUS_ON_NODE"), .visible = -1};
    const char *node = getenv("SLURMD_NODENAME"), *visible = getenv("CUDA_VISIBLE_DEVICES");
    snprintf(p.node, sizeof p.node, "%s", node == NULL ? "" : node);
    snprintf(p.host, sizeof p.host, "%s", comm->host);
    p.host[strcspn(p.host, ".")] = '\0';
    if (visible != NULL) {
        p.visible = visible[0] != '\0' && strcmp(visible, "NoDevFiles") != 0;
        for (const char *c = visible; p.visible > 0 && *c != '\0'; c++) p.visible += *c == ',';
    }
    return p;
}

static void note(dg_site_notes *notes, const char *format, ...) DG_PRINTF(2, 3);
static void note(dg_site_notes *notes, const char *format, ...)
{
    va_list args;
    if (notes->count == DG_SITE_NOTES_MAX) return;
    va_start(args, format);
    vsnprintf(notes->text[notes->count++], DG_SITE_NOTE_TEXT, format, args);
    va_end(args);
}

/* Is `name` a line of `list`? */
static bool listed(const char *list, const char *name)
{
    size_t length = strlen(name);
    for (const char *at = list; length > 0 && (at = strstr(at, name)) != NULL; at += length) {
        if ((at == list || at[-1] == '\n') && (at[length] == '\n' || at[length] == '\0')) return true;
    }
    return false;
}

static const char *name_of(const place *p, const char *nodes) { return listed(nodes, p->node) ? p->node : p->host; }

/* Ranks on the same node as `all[i]`; 0 when an earlier rank of that node was counted. */
static int ranks_beside(const place *all, int size, int i)
{
    int ranks = 0;
    for (int j = 0; j < size; j++) {
        bool same = strcmp(all[j].host, all[i].host) == 0 && strcmp(all[j].node, all[i].node) == 0;
        if (same && j < i) return 0;
        ranks += same;
    }
    return ranks;
}

static dg_status check_hosts(const place *all, int size, const char *nodes, dg_site_notes *notes)
{
    int used = 0, given = 0;
    for (const char *at = nodes; *at != '\0'; at += strcspn(at, "\n"), at += *at == '\n') given++;
    for (int i = 0; i < size; i++) {
        if (!listed(nodes, all[i].node) && !listed(nodes, all[i].host))
            return DG_FAIL(DG_ERR_MISMATCH,
                           "rank %d runs on %.60s, which is not a node of this job (%.200s): it would not end with the "
                           "job. Start with `srun --mpi=pmix`, or with mpirun without a host file",
                           i, all[i].host, getenv("SLURM_JOB_NODELIST"));
        used += ranks_beside(all, size, i) > 0;
    }
    if (used < given) note(notes, "ranks run on %d of the job's %d nodes: the others stay idle", used, given);
    return DG_OK;
}

static void check_gpus(const place *all, int size, const char *nodes, dg_site_notes *notes)
{
    for (int i = 0; i < size; i++) {
        int ranks = ranks_beside(all, size, i), gpus = all[i].granted;
        if (gpus > 0 && all[i].visible == 0)
            note(notes, "rank %d sees none of the %d GPUs of %s (CUDA_VISIBLE_DEVICES is empty)", i, gpus,
                 name_of(&all[i], nodes));
        if (ranks == 0 || gpus == 0 || ranks == gpus) continue;
        if (ranks > gpus)
            note(notes, "%s: %d ranks share %d GPU%s: ask for one GPU per task (--gpus-per-node)",
                 name_of(&all[i], nodes), ranks, gpus, gpus == 1 ? "" : "s");
        else
            note(notes, "%s: %d of %d GPUs have no rank: ask for one task per GPU (--ntasks-per-node)",
                 name_of(&all[i], nodes), gpus - ranks, gpus);
    }
}

/* Names of the job's nodes, one a line. */
static dg_status expand_nodes(const char *list, char *nodes)
{
    const char *argv[] = {"scontrol", "show", "hostnames", list, NULL};
    int code;
    DG_TRY(dg_command_run(argv, EXPAND_S, nodes, NODES_TEXT, &code));
    if (code == 0 && nodes[0] != '\0') return DG_OK;
    return DG_FAIL(DG_ERR_IO, "scontrol show hostnames ended with %d: %.200s", code, nodes);
}

static dg_status compare_places(const place *all, int size, dg_site_notes *notes)
{
    const char *list = getenv("SLURM_JOB_NODELIST");
    char *nodes = NULL;
    if (list == NULL) return DG_OK;
    DG_TRY(dg_alloc(&nodes, NODES_TEXT, 1, "names of nodes"));
    dg_status status = expand_nodes(list, nodes);
    if (status == DG_OK) {
        status = check_hosts(all, size, nodes, notes);
        check_gpus(all, size, nodes, notes);
    } else { /* Slurm's commands are missing on this node, as in some containers */
        note(notes, "hosts were not compared with the job's: %.300s", dg_error_last()->text);
        status = DG_OK;
    }
    dg_free(&nodes);
    return status;
}

static dg_status compare_counts(int ranks, int tasks, dg_site_notes *notes)
{
    if (tasks > 1 && ranks == 1)
        return DG_FAIL(DG_ERR_MISMATCH,
                       "Slurm was asked for %d tasks (SLURM_NTASKS), but this is one process alone: each such process "
                       "would do the whole work. Start with `srun --mpi=pmix` or mpirun; one process on purpose: "
                       "`srun --ntasks=1`",
                       tasks);
    if (ranks < tasks) note(notes, "%d ranks in a job of %d tasks: the rest of the job stays idle", ranks, tasks);
    if (tasks > 0 && ranks > tasks) note(notes, "%d ranks in a job of %d tasks: they share its cores", ranks, tasks);
    return DG_OK;
}

dg_status dg_site_check(dg_comm *comm, dg_site_notes *notes)
{
    place mine = find_place(comm), *all = NULL;
    int64_t *sizes = NULL;
    notes->count = 0;
    dg_status status = compare_counts(comm->size, count_of("SLURM_NTASKS"), notes);
    if (comm->rank != 0) notes->count = 0;
    if (status == DG_OK) status = dg_alloc(&sizes, (size_t)comm->size, sizeof *sizes, "sizes of places");
    if (status == DG_OK) status = dg_alloc(&all, (size_t)comm->size, sizeof *all, "places of ranks");
    DG_TRY_GOTO(status, dg_comm_agree(comm, status), cleanup);
    DG_TRY_GOTO(status, dg_comm_gather(comm, &mine, sizeof mine, 0, comm->rank == 0 ? all : NULL, sizes), cleanup);
    if (comm->rank == 0 && all != NULL) status = compare_places(all, comm->size, notes);
    status = dg_comm_agree(comm, status);
cleanup:
    dg_free(&all);
    dg_free(&sizes);
    return status;
}
