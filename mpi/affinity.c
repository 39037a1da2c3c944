/* affinity.c - which cores a rank computes on. Ranks of one host that the launcher left on the same cores share them
 * out; ranks it bound apart stay where they are; a rank with a GPU takes those near it. SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"
#include "mpi_impl.h"

#include <hwloc.h>
#include <stdio.h>

enum { MASK_WORDS = 64 }; /* 4096 processing units */

typedef struct mask {
    unsigned long word[MASK_WORDS];
} mask;

/* What this rank may use: where the launcher bound it, within what the system allows. */
static dg_status allowed_set(hwloc_topology_t topology, hwloc_cpuset_t set)
{
    if (hwloc_get_cpubind(topology, set, HWLOC_CPUBIND_PROCESS) != 0)
        hwloc_bitmap_copy(set, hwloc_topology_get_allowed_cpuset(topology));
    hwloc_bitmap_and(set, set, hwloc_topology_get_allowed_cpuset(topology));
    if (hwloc_bitmap_iszero(set)) return DG_FAIL(DG_ERR_UNSUPPORTED, "hwloc found no processor this rank may use");
    return DG_OK;
}

/* How many ranks of this host have exactly my set, and which of them I am. */
static dg_status peers_of_set(dg_comm *comm, hwloc_const_cpuset_t set, int *peers, int *mine)
{
    *peers = 1;
    *mine = 0;
    MPI_Comm handle = dg_mpi_handle(comm);
    if (handle == MPI_COMM_NULL) return DG_OK;
    mask own = {0}, *all = NULL;
    for (unsigned i = 0; i < MASK_WORDS; i++) own.word[i] = hwloc_bitmap_to_ith_ulong(set, i);
    DG_TRY(dg_comm_agree(comm, DG_NEW(&all, comm->local_size, "processor sets of this host")));
    const mpi_operation operation = {.call = "MPI_Iallgather", .what = "processor sets", .peer = -1};
    MPI_Request request;
    int code = MPI_Iallgather(&own, (int)sizeof own, MPI_BYTE, all, (int)sizeof own, MPI_BYTE, ((mpi_comm *)comm)->node,
                              &request);
    dg_status status = dg_mpi_check(comm, code, "MPI_Iallgather");
    if (status == DG_OK) status = dg_mpi_wait(comm, &operation, &request, 1, NULL);
    *peers = 0;
    for (int i = 0; status == DG_OK && i < comm->local_size; i++) {
        if (i == comm->local_rank) *mine = *peers;
        if (memcmp(&all[i], &own, sizeof own) == 0) ++*peers;
    }
    dg_free(&all);
    return status;
}

/* Leaves in `share` the part of `set` that belongs to peer `mine` of `peers`: whole cores, next to each other. With
 * fewer cores than peers all stay on the whole set and the system shares it out. Returns its number of cores. */
static int share_out(hwloc_topology_t topology, hwloc_const_cpuset_t set, int peers, int mine, hwloc_cpuset_t share)
{
    int cores = 0, taken = 0, total = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE);
    for (int i = 0; i < total; i++)
        cores += hwloc_bitmap_intersects(hwloc_get_obj_by_type(topology, HWLOC_OBJ_CORE, (unsigned)i)->cpuset, set);
    hwloc_bitmap_copy(share, set);
    if (cores == 0) cores = hwloc_bitmap_weight(set); /* a machine that does not tell its cores */
    if (peers == 1 || cores < peers || total <= 0) return cores / peers > 0 ? cores / peers : 1;
    int first = (int)((int64_t)cores * mine / peers), end = (int)((int64_t)cores * (mine + 1) / peers);
    hwloc_bitmap_zero(share);
    for (int i = 0; i < total; i++) {
        hwloc_const_cpuset_t core = hwloc_get_obj_by_type(topology, HWLOC_OBJ_CORE, (unsigned)i)->cpuset;
        if (!hwloc_bitmap_intersects(core, set)) continue;
        if (taken >= first && taken < end) hwloc_bitmap_or(share, share, core);
        taken++;
    }
    hwloc_bitmap_and(share, share, set);
    return end - first;
}

/* Narrows `set` to the cores of the package or NUMA node that the PCI device hangs on; false, and `set` as it was, where
 * hwloc does not see the device or this rank may use none of them. */
static bool narrow_to(hwloc_topology_t topology, const char *pci, hwloc_cpuset_t set)
{
    hwloc_obj_t device = hwloc_get_pcidev_by_busidstring(topology, pci);
    hwloc_obj_t near = device != NULL ? hwloc_get_non_io_ancestor_obj(topology, device) : NULL;
    if (near == NULL || near->cpuset == NULL || !hwloc_bitmap_intersects(near->cpuset, set)) return false;
    hwloc_bitmap_and(set, set, near->cpuset);
    return true;
}

static dg_status place(dg_comm *comm, hwloc_topology_t topology, const char *pci, hwloc_cpuset_t set,
                       hwloc_cpuset_t share, int *cores, bool *found, bool *crowded)
{
    int peers = 1, mine = 0;
    DG_TRY(dg_comm_agree(comm, allowed_set(topology, set)));
    const bool narrowed = pci[0] != '\0' && narrow_to(topology, pci, set);
    *found = pci[0] == '\0' || narrowed;
    DG_TRY(peers_of_set(comm, set, &peers, &mine));
    *crowded = hwloc_bitmap_weight(set) < peers;
    *cores = share_out(topology, set, peers, mine, share);
    /* A system that refuses binding still computes, only with less steady speed: no error. */
    if (narrowed || !hwloc_bitmap_isequal(set, share)) (void)hwloc_set_cpubind(topology, share, HWLOC_CPUBIND_PROCESS);
    return DG_OK;
}

static dg_status topology_load(const char *pci, hwloc_topology_t *topology)
{
    *topology = NULL;
    if (hwloc_topology_init(topology) != 0) return DG_FAIL(DG_ERR_MEMORY, "hwloc_topology_init failed");
    if (pci[0] != '\0') {
        (void)hwloc_topology_set_io_types_filter(*topology, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
        /* Linux tells the same in /sys; the plugin may be missing, and leaks its tables. */
        (void)hwloc_topology_set_components(*topology, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, "pci");
    }
    if (hwloc_topology_load(*topology) != 0) return DG_FAIL(DG_ERR_UNSUPPORTED, "hwloc could not read the topology");
    return DG_OK;
}

dg_status dg_affinity_set(dg_comm *comm, int wanted, int *threads, char *warning, size_t warning_capacity)
{
    return dg_affinity_set_near(comm, "", wanted, threads, warning, warning_capacity);
}

dg_status dg_affinity_set_near(dg_comm *comm, const char *pci, int wanted, int *threads, char *warning,
                               size_t warning_capacity)
{
    if (warning_capacity > 0) warning[0] = '\0';
    *threads = wanted;
    hwloc_topology_t topology = NULL;
    hwloc_cpuset_t set = hwloc_bitmap_alloc(), share = hwloc_bitmap_alloc();
    int cores = 1;
    bool found = true, crowded = false;
    dg_status status = set == NULL || share == NULL ? DG_FAIL(DG_ERR_MEMORY, "no memory for processor sets")
                                                    : topology_load(pci, &topology);
    DG_TRY_GOTO(status, dg_comm_agree(comm, status), cleanup);
    DG_TRY_GOTO(status, place(comm, topology, pci, set, share, &cores, &found, &crowded), cleanup);
    if (wanted <= 0) *threads = cores;
    if (*threads > cores || crowded)
        snprintf(warning, warning_capacity,
                 "rank %d on %s has %d core%s for %d thread%s (%d ranks on this host): ask the launcher for more cores "
                 "or set train.threads",
                 comm->rank, comm->host, cores, cores == 1 ? "" : "s", *threads, *threads == 1 ? "" : "s",
                 comm->local_size);
    else if (!found)
        snprintf(warning, warning_capacity,
                 "rank %d on %s: hwloc sees no cores near GPU %s that the rank may use: it has its "
                 "share of all",
                 comm->rank, comm->host, pci);
cleanup:
    if (topology != NULL) hwloc_topology_destroy(topology);
    hwloc_bitmap_free(set);
    hwloc_bitmap_free(share);
    return status;
}
