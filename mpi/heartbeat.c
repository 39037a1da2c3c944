/* heartbeat.c - the table that the ranks of a host share. Its memory is reserved before it is touched: a full /dev/shm is
 * then an answer, not a SIGBUS; and its name is gone before anybody works, so that nothing is left of a killed run.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_heartbeat.h"
#include "dg_mem.h"
#include "mpi_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { NAME_TEXT = 64, ID_TEXT = 48 };

/* What the first rank of a host tells the others. */
typedef struct offer {
    char name[NAME_TEXT];
    int failed; /* errno, 0: the memory is there */
} offer;

static int map(int descriptor, int64_t bytes, void **table)
{
    void *memory = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (memory == MAP_FAILED) return errno;
    *table = memory;
    return 0;
}

static int make(const char *name, int64_t bytes, void **table)
{
    int descriptor = shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (descriptor < 0) return errno;
    int failed = posix_fallocate(descriptor, 0, bytes);
    if (failed == 0) failed = map(descriptor, bytes, table);
    close(descriptor);
    if (failed != 0) shm_unlink(name);
    return failed;
}

static int attach(const char *name, int64_t bytes, void **table)
{
    int descriptor = shm_open(name, O_RDWR | O_CLOEXEC, 0);
    if (descriptor < 0) return errno;
    int failed = map(descriptor, bytes, table);
    close(descriptor);
    return failed;
}

/* *table stays NULL on every rank of the host, and *failed says why, where one of them cannot have it. */
static dg_status share(dg_comm *comm, void **table, int *failed)
{
    MPI_Comm node = ((mpi_comm *)comm)->node;
    int64_t bytes = dg_heartbeat_table_bytes(comm->local_size);
    offer o = {.failed = 0};
    if (comm->local_rank == 0) {
        snprintf(o.name, sizeof o.name, "/dosegrid-%d-%lld", (int)getpid(), (long long)time(NULL));
        o.failed = make(o.name, bytes, table);
    }
    DG_MPI(comm, MPI_Bcast(&o, (int)sizeof o, MPI_BYTE, 0, node));
    *failed = o.failed;
    if (o.failed == 0 && comm->local_rank != 0) *failed = attach(o.name, bytes, table);
    int worst = *failed;
    int code = MPI_Allreduce(failed, &worst, 1, MPI_INT, MPI_MAX, node);
    if (o.failed == 0 && comm->local_rank == 0) shm_unlink(o.name);
    DG_TRY(dg_mpi_check(comm, code, "MPI_Allreduce"));
    *failed = worst;
    if (worst != 0 && *table != NULL) {
        munmap(*table, (size_t)bytes);
        *table = NULL;
    }
    return DG_OK;
}

/* The end of the launcher is the end of the rank: it may sleep in a call that nobody will ever answer. The heartbeat's
 * thread sees to it where the system does not. */
static void follow_launcher(void) { (void)prctl(PR_SET_PDEATHSIG, SIGKILL); }

dg_status dg_heartbeat_open(dg_comm *comm, const dg_heartbeat_options *options, char *warning, size_t warning_capacity,
                            dg_heartbeat **out)
{
    char id[ID_TEXT] = "", reason[128];
    struct timespec now;
    void *table = NULL;
    int failed = 0;
    *out = NULL;
    if (warning_capacity > 0) warning[0] = '\0';
    clock_gettime(CLOCK_REALTIME, &now);
    if (comm->rank == 0)
        snprintf(id, sizeof id, "%lld%03d-%d", (long long)now.tv_sec, (int)(now.tv_nsec / 1000000), (int)getpid());
    DG_TRY(dg_comm_broadcast(comm, id, sizeof id, 0));
    if (options->launched) follow_launcher();
    if (comm->local_size > 1 && dg_mpi_handle(comm) != MPI_COMM_NULL) DG_TRY(share(comm, &table, &failed));
    if (failed != 0)
        snprintf(warning, warning_capacity,
                 "%s: no shared memory for the heartbeat (%s): ranks of this host cannot see each other, and hangs are "
                 "told with less detail; make /dev/shm larger (mount -o remount,size=1G /dev/shm; containers: "
                 "--shm-size=1g)",
                 comm->host, strerror_r(failed, reason, sizeof reason));
    dg_status status = dg_heartbeat_create(comm, options, table, id, out);
    if (status != DG_OK && table != NULL) munmap(table, (size_t)dg_heartbeat_table_bytes(comm->local_size));
    return dg_comm_agree(comm, status);
}
