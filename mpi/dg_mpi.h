/* dg_mpi.h - dg_comm over MPI, start-up, placement. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_MPI_H
#define DG_MPI_H

#include "dg_comm.h"
#include "dg_heartbeat.h"

#include <mpi.h>

/* True when a launcher's variables are set (Open MPI, MPICH/Hydra, PMI, PMIx, a Slurm step of several tasks, torchrun),
 * also for one rank: MPI is then started. */
bool dg_mpi_launched(void);
/* MPI_Init_thread(FUNNELED) and a communicator over a dup of the world. A launcher that started more ranks than MPI sees,
 * such as torchrun, or srun with a process manager this MPI does not speak: DG_ERR_MISMATCH naming both counts and `--mpi=pmix`. */
DG_MUST_USE dg_status dg_mpi_start(int *argc, char ***argv, dg_comm **out);
/* Before MPI starts: where /dev/shm has no room for what Open MPI puts there, which would end MPI_Init with words that do
 * not name it, sends it to TMPDIR or /tmp and leaves a warning (else ""). */
bool dg_mpi_spare_shared_memory(char *warning, size_t capacity);
/* Watches the start of MPI, which cannot be polled: `leave` is called, by a thread, with the reason when dg_start_watch_end
 * has not come within `seconds`, or when the launcher is gone; it must not return. Without a launcher *out is NULL: nothing
 * is waited for. Not collective. */
typedef struct dg_start_watch dg_start_watch;
DG_MUST_USE dg_status dg_start_watch_begin(double seconds, void (*leave)(void *context, const char *why), void *context,
                                           dg_start_watch **out);
void dg_start_watch_end(dg_start_watch **watch); /* NULL is fine */
/* dg_comm_self without MPI when there is no launcher, else dg_mpi_start. */
DG_MUST_USE dg_status dg_comm_open(int *argc, char ***argv, dg_comm **out);
/* MPI_Finalize when MPI was started. */
void dg_mpi_stop(void);
/* Ends all ranks at once; never returns. Only `jobs/` calls it. */
_Noreturn void dg_mpi_abort(int exit_code);
/* The MPI communicator for parallel HDF5 (a plain dup), or MPI_COMM_NULL for comm_self. */
MPI_Comm dg_mpi_handle(const dg_comm *comm);

/* Begins the heartbeat of this rank in a table that the ranks of its host share, and makes it comm->heartbeat. Where shared
 * memory has no room each rank has a table of its own, and `warning` ("" else) says so. With options->launched the rank
 * also dies with its launcher. Ends with dg_heartbeat_destroy. @collective */
DG_MUST_USE dg_status dg_heartbeat_open(dg_comm *comm, const dg_heartbeat_options *options, char *warning,
                                        size_t warning_capacity, dg_heartbeat **out);

/* Binds this rank to its share of the allowed cores (hwloc: allowed cores / local ranks) and tells how many threads it
 * should use; `wanted` 0 means all of its share. A warning text is left in `warning` ("" if none) when the launcher left
 * fewer cores than threads. */
DG_MUST_USE dg_status dg_affinity_set(dg_comm *comm, int wanted, int *threads, char *warning, size_t warning_capacity);
/* The same for a rank with a device at that PCI address, such as "0000:1b:00.0" ("": none): of the allowed cores those of
 * the NUMA node or package that the device hangs on, shared by the ranks whose devices hang there too. Where hwloc does
 * not see it, or the rank may use none of them, all allowed cores as above, and `warning` says so. */
DG_MUST_USE dg_status dg_affinity_set_near(dg_comm *comm, const char *pci, int wanted, int *threads, char *warning,
                                           size_t warning_capacity);

#endif
