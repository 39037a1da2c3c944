/* dg_mpi.c - start and end of MPI. It is started only where a launcher's variables say so: a lone process never calls
 * MPI_Init, so that it needs no working fabric. SPDX-License-Identifier: Apache-2.0 */
#include "dg_file.h"
#include "mpi_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEGMENT_BYTES = 4 << 20 }; /* of Open MPI per rank */

/* A positive number in an environment variable, else 0. */
static int number_of(const char *variable)
{
    const char *text = getenv(variable);
    if (text == NULL) return 0;
    char *end;
    long value = strtol(text, &end, 10);
    return end != text && *end == '\0' && value > 0 && value < 1 << 30 ? (int)value : 0;
}

int dg_mpi_expected_ranks(const char **launcher)
{
    /* mpirun inside a Slurm job reaches its nodes through a step of one task per node: its own size goes first. */
    static const char *const size_of[][2] = {{"OMPI_COMM_WORLD_SIZE", "mpirun (OMPI_COMM_WORLD_SIZE)"},
                                             {"PMI_SIZE", "the launcher (PMI_SIZE)"},
                                             {"MPI_LOCALNRANKS", "the launcher (MPI_LOCALNRANKS)"},
                                             {"SLURM_STEP_NUM_TASKS", "srun (SLURM_STEP_NUM_TASKS)"},
                                             {"WORLD_SIZE", "torchrun (WORLD_SIZE)"}};
    const bool torch = getenv("RANK") != NULL && getenv("LOCAL_RANK") != NULL; /* WORLD_SIZE alone may mean anything */
    for (size_t i = 0; i < sizeof size_of / sizeof size_of[0]; i++) {
        int ranks = strcmp(size_of[i][0], "WORLD_SIZE") != 0 || torch ? number_of(size_of[i][0]) : 0;
        *launcher = size_of[i][1];
        if (ranks > 0) return ranks;
    }
    *launcher = "nothing";
    return 0;
}

/* Whether a process manager that MPI could talk to started this process. */
static bool managed(void)
{
    return getenv("OMPI_COMM_WORLD_SIZE") != NULL || getenv("PMIX_RANK") != NULL || getenv("PMI_RANK") != NULL ||
           getenv("MPI_LOCALNRANKS") != NULL;
}

bool dg_mpi_launched(void)
{
    const char *launcher;
    /* srun of one task without a process manager (--mpi=none) is a lone process. */
    return managed() || dg_mpi_expected_ranks(&launcher) > 1;
}

/* Whether Open MPI was built with one of Slurm's own PMI libraries: its components register themselves with the tool
 * interface, which may be asked before MPI_Init. */
static bool has_pmi_component(void)
{
    static const char *const names[] = {"opal_pmix_s1", "opal_pmix_s2", "opal_pmix_cray"};
    int provided, count = 0;
    bool found = false;
    if (MPI_T_init_thread(MPI_THREAD_SINGLE, &provided) != MPI_SUCCESS) return true; /* let MPI_Init decide */
    if (MPI_T_category_get_num(&count) != MPI_SUCCESS) count = 0;
    for (int i = 0; i < count && !found; i++) {
        char name[64] = "", description[8];
        int length = sizeof name, long_length = sizeof description, variables, values, categories;
        MPI_T_category_get_info(i, name, &length, description, &long_length, &variables, &values, &categories);
        for (size_t j = 0; j < sizeof names / sizeof names[0]; j++) found = found || strcmp(name, names[j]) == 0;
    }
    MPI_T_finalize();
    return found;
}

/* `srun --mpi=pmi2` with an Open MPI that speaks PMIx only: version 4 ends the process inside MPI_Init with words that
 * name no remedy, version 5 starts N lone processes. */
static bool deaf_to_pmi(void)
{
    char library[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0;
    bool pmi_only = getenv("PMI_RANK") != NULL && getenv("PMIX_RANK") == NULL &&
                    getenv("OMPI_COMM_WORLD_SIZE") == NULL && getenv("SLURM_STEP_ID") != NULL;
    if (!pmi_only || MPI_Get_library_version(library, &length) != MPI_SUCCESS) return false;
    return strncmp(library, "Open MPI", strlen("Open MPI")) == 0 && !has_pmi_component();
}

static dg_status refuse(int expected, const char *launcher, int seen)
{
    return DG_FAIL(DG_ERR_MISMATCH,
                   "%s started %d ranks, but MPI sees %d: each process would do the whole work alone. Start with "
                   "`srun --mpi=pmix` or with the mpirun of the MPI this program was built with",
                   launcher, expected, seen);
}

bool dg_mpi_spare_shared_memory(char *warning, size_t capacity)
{
    static const char variable[] = "OMPI_MCA_btl_vader_backing_directory";
    int local = number_of("OMPI_COMM_WORLD_LOCAL_SIZE");
    int64_t free_bytes, needed = (int64_t)(local + 1) * SEGMENT_BYTES;
    warning[0] = '\0';
    if (local < 2 || getenv(variable) != NULL) return false;
    if (dg_free_bytes("/dev/shm", &free_bytes) != DG_OK || free_bytes >= needed) {
        dg_error_clear();
        return false;
    }
    const char *folder = getenv("TMPDIR");
    if (setenv(variable, folder == NULL ? "/tmp" : folder, 1) != 0) return false;
    snprintf(
        warning, capacity,
        "/dev/shm has %lld bytes free, MPI wants %lld: its messages between ranks of a host go through files in %s, "
        "which is slower; make /dev/shm larger (mount -o remount,size=1G /dev/shm; containers: --shm-size=1g)",
        (long long)free_bytes, (long long)needed, folder == NULL ? "/tmp" : folder);
    return true;
}

dg_status dg_mpi_start(int *argc, char ***argv, dg_comm **out)
{
    *out = NULL;
    const char *launcher;
    int expected = dg_mpi_expected_ranks(&launcher), provided = 0;
    /* MPI_Init would end the process itself, with words that name no remedy. */
    if (expected > 1 && (!managed() || deaf_to_pmi())) return refuse(expected, launcher, 1);
    /* Debian's Open MPI leaves out the one-sided component that works over any network, so that between hosts without
     * RDMA no window can be made. The task counter is the only user of windows, and small. */
    setenv("OMPI_MCA_osc", "^ucx", 0);
    int code = MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided);
    if (code != MPI_SUCCESS) return DG_FAIL(DG_ERR_COMM, "MPI_Init_thread failed with code %d", code);
    if (provided < MPI_THREAD_FUNNELED)
        return DG_FAIL(DG_ERR_UNSUPPORTED, "this MPI offers thread level %d, MPI_THREAD_FUNNELED (%d) is needed",
                       provided, MPI_THREAD_FUNNELED);
    DG_TRY(dg_mpi_comm_create(MPI_COMM_WORLD, out));
    if (expected <= (*out)->size) return DG_OK;
    dg_status status = refuse(expected, launcher, (*out)->size);
    dg_comm_destroy(out);
    return status;
}

dg_status dg_comm_open(int *argc, char ***argv, dg_comm **out)
{
    return dg_mpi_launched() ? dg_mpi_start(argc, argv, out) : dg_comm_self_create(out);
}

static bool running(void)
{
    int started = 0, ended = 0;
    return MPI_Initialized(&started) == MPI_SUCCESS && started && MPI_Finalized(&ended) == MPI_SUCCESS && !ended;
}

void dg_mpi_stop(void)
{
    if (running()) (void)MPI_Finalize();
}

void dg_mpi_abort(int exit_code)
{
    if (running()) (void)MPI_Abort(MPI_COMM_WORLD, exit_code);
    _Exit(exit_code);
}
