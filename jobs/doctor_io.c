/* doctor_io.c - `doctor --io`: parallel HDF5 with known contents, written and read back. MPI takes its I/O driver when it
 * starts, so that each driver is tried by a run of its own of this program under the launcher.
 * SPDX-License-Identifier: Apache-2.0 */
#include "doctor_impl.h"

#include "dg_command.h"
#include "dg_file.h"
#include "dg_io_probe.h"
#include "dg_mpi.h"
#include "dg_trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DRIVERS_MAX = 16, DRIVER_RANKS = 4, COMMAND_WORDS = 12, ANSWER_MAX = 1 << 14 };
static const double RUN_S = 90;

/* A driver by the variables that choose it; names from MPI itself. */
typedef struct driver {
    char name[64], io[96], fcoll[96];
    bool failed;
    char text[DOCTOR_TEXT / 2];
} driver;

/* ---- with the ranks of a launcher ---- */

static dg_status probe_all(dg_comm *comm, const char *path)
{
    for (int layout = 0; layout < DG_IO_LAYOUTS; layout++) {
        DG_TRY(dg_io_probe_write(comm, path, (dg_io_layout)layout));
        DG_TRY(dg_io_probe_read(comm, path, (dg_io_layout)layout));
    }
    return DG_OK;
}

static dg_status probe_here(dg_comm *comm, const char *folder, doctor_findings *f)
{
    char path[DG_PATH_MAX], name[64];
    int64_t id = getpid(), room = 0;
    DG_TRY(dg_comm_broadcast(comm, &id, sizeof id, 0));
    snprintf(name, sizeof name, "dosegrid-doctor-%lld.h5", (long long)id);
    DG_TRY(dg_path_join(path, folder, name));
    /* A full disk is no fault of a driver, and parallel HDF5 may crash on one. */
    dg_status status = comm->rank == 0 ? dg_free_bytes(folder, &room) : DG_OK;
    if (status == DG_OK && comm->rank == 0 && room < 8 * dg_io_probe_bytes())
        status = DG_FAIL(DG_ERR_IO, "%s: %.0f MB are free, %.0f MB are needed", folder, (double)room / 1e6,
                         8e-6 * (double)dg_io_probe_bytes());
    DG_TRY(dg_comm_agree(comm, status));
    double begin = dg_time_s();
    status = probe_all(comm, path);
    double rate = 2e-6 * DG_IO_LAYOUTS * (double)dg_io_probe_bytes() / (dg_time_s() - begin);
    if (comm->rank == 0) unlink(path);
    if (status == DG_ERR_COMM) return status;
    if (status == DG_OK)
        doctor_add(f, "parallel HDF5", FINE, "%d rank%s, contiguous, chunked and filtered: all values right, %.0f MB/s",
                   comm->size, comm->size == 1 ? "" : "s", rate);
    else
        doctor_add(f, "parallel HDF5", BROKEN, "%d ranks: %s", comm->size, dg_error_last()->text);
    return DG_OK;
}

/* ---- every driver ---- */

/* The components of Open MPI's frameworks io and fcoll register themselves with the tool interface. */
static int list_drivers(driver *list)
{
    static const char io[] = "ompi_io_", fcoll[] = "ompi_fcoll_";
    int provided, categories = 0, count = 1;
    memset(list, 0, DRIVERS_MAX * sizeof *list);
    snprintf(list[0].name, sizeof list[0].name, "default");
    if (MPI_T_init_thread(MPI_THREAD_SINGLE, &provided) != MPI_SUCCESS) return count;
    if (MPI_T_category_get_num(&categories) != MPI_SUCCESS) categories = 0;
    for (int i = 0; i < categories && count < DRIVERS_MAX; i++) {
        char name[64] = "", description[8];
        int length = sizeof name, long_length = sizeof description, variables, values, below;
        driver *d = &list[count];
        MPI_T_category_get_info(i, name, &length, description, &long_length, &variables, &values, &below);
        bool romio = strncmp(name, io, strlen(io)) == 0 && strstr(name, "romio") != NULL;
        bool aggregates = strncmp(name, fcoll, strlen(fcoll)) == 0 && strcmp(name, "ompi_fcoll_base") != 0;
        if (!romio && !aggregates) continue;
        const char *component = name + (romio ? strlen(io) : strlen(fcoll));
        snprintf(d->name, sizeof d->name, "%s%.50s", romio ? "" : "ompio ", component);
        snprintf(d->io, sizeof d->io, "OMPI_MCA_io=%.60s", romio ? component : "ompio");
        if (aggregates) snprintf(d->fcoll, sizeof d->fcoll, "OMPI_MCA_fcoll=%.60s", component);
        count++;
    }
    MPI_T_finalize();
    return count;
}

/* srun inside an allocation of Slurm, else mpiexec. */
static void compose(const driver *d, const char *program, const char *folder, const char *ranks, const char **argv)
{
    int n = 0;
    bool slurm = getenv("SLURM_JOB_ID") != NULL && getenv("SLURM_STEP_ID") == NULL;
    argv[n++] = "env";
    argv[n++] = "OMPI_MCA_rmaps_base_oversubscribe=1";
    if (d->io[0] != '\0') argv[n++] = d->io;
    if (d->fcoll[0] != '\0') argv[n++] = d->fcoll;
    argv[n++] = slurm ? "srun" : "mpiexec";
    if (slurm) argv[n++] = "--mpi=pmix";
    argv[n++] = "-n";
    argv[n++] = ranks;
    argv[n++] = program;
    argv[n++] = "doctor";
    argv[n++] = "--io";
    argv[n++] = folder;
    argv[n] = NULL;
}

/* The line of the answer that tells, or its last one. */
static void take_reason(const char *answer, int code, char *text, size_t capacity)
{
    const char *line = strstr(answer, "failed   parallel HDF5");
    if (line != NULL) {
        line += strlen("failed   parallel HDF5");
        line += strspn(line, " ");
        snprintf(text, capacity, "%.*s", (int)strcspn(line, "\n"), line);
        return;
    }
    const char *error = strstr(answer, "error");
    snprintf(text, capacity, "ended with %d: %.200s", code, error != NULL ? error : answer);
    for (char *c = text; *c != '\0'; c++)
        if (*c == '\n') *c = ' ';
}

static void try_driver(driver *d, const char *program, const char *folder)
{
    static const char *const counts[DRIVER_RANKS] = {"1", "2", "3", "4"};
    char answer[ANSWER_MAX], reason[DOCTOR_TEXT / 4];
    const char *argv[COMMAND_WORDS + 1];
    for (int i = 0; i < DRIVER_RANKS; i++) {
        int code = 0;
        compose(d, program, folder, counts[i], argv);
        dg_status status = dg_command_run(argv, RUN_S, answer, sizeof answer, &code);
        if (status == DG_OK && code == 0 && strstr(answer, "all values right") != NULL) continue;
        if (status != DG_OK)
            snprintf(reason, sizeof reason, "%.200s", dg_error_last()->text);
        else
            take_reason(answer, code, reason, sizeof reason);
        size_t used = strlen(d->text);
        snprintf(d->text + used, sizeof d->text - used, "%swith %s: %s", d->failed ? "; " : "", counts[i], reason);
        d->failed = true;
    }
}

/* A launcher that starts no rank at all says nothing about drivers. */
static bool launcher_works(const driver *d, const char *program, const char *folder, doctor_findings *f)
{
    char answer[ANSWER_MAX], reason[DOCTOR_TEXT / 4];
    const char *argv[COMMAND_WORDS + 1];
    int code = 0;
    compose(d, program, folder, "1", argv);
    dg_status status = dg_command_run(argv, RUN_S, answer, sizeof answer, &code);
    if (strstr(answer, "parallel HDF5") != NULL) return true;
    if (status != DG_OK)
        snprintf(reason, sizeof reason, "%.200s", dg_error_last()->text);
    else if (geteuid() == 0 && strstr(answer, "root") != NULL)
        snprintf(
            reason, sizeof reason,
            "it refuses to run as root; in a container set OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1");
    else
        take_reason(answer, code, reason, sizeof reason);
    doctor_add(f, "launcher", BROKEN, "%s starts no ranks, so that MPI-IO was not tried: %s",
               strcmp(argv[2], "srun") == 0 ? "srun" : "mpiexec", reason);
    return false;
}

static dg_status try_drivers(const char *folder, doctor_findings *f)
{
    char program[DG_PATH_MAX];
    driver list[DRIVERS_MAX];
    int count = list_drivers(list);
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length <= 0) return DG_FAIL(DG_ERR_IO, "this program's own path cannot be read");
    program[length] = '\0';
    if (!launcher_works(&list[0], program, folder, f)) return DG_OK;
    for (int i = 0; i < count; i++) {
        double begin = dg_time_s();
        driver *d = &list[i];
        try_driver(d, program, folder);
        double seconds = dg_time_s() - begin;
        if (!d->failed)
            doctor_add(f, "MPI-IO", FINE,
                       "%s: 1 to 4 ranks, contiguous, chunked and filtered: all values right, %.1f s", d->name,
                       seconds);
        else
            doctor_add(f, "MPI-IO", BROKEN, "%s: %s. Choose another: %s", d->name, d->text,
                       strncmp(d->name, "ompio ", 6) == 0 ? "OMPI_MCA_fcoll=^NAME or OMPI_MCA_io=romio321"
                                                          : "OMPI_MCA_io=ompio");
    }
    return DG_OK;
}

dg_status doctor_look_at_io(const dg_job_env *env, const char *folder, doctor_findings *f)
{
    if (dg_mpi_launched()) return probe_here(env->comm, folder, f);
    DG_TRY(probe_here(env->comm, folder, f));
    /* What one process cannot do without MPI is no driver's fault. */
    return f->item[f->count - 1].verdict == FINE ? try_drivers(folder, f) : DG_OK;
}
