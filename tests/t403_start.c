/* Start-up: which variables mean a launcher, and that N lone processes are refused instead of doing everything N times.
 * ctest: libs=dg_mpi label=mpi ranks=0,2 timeout=60
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "mpi_impl.h"

static const char *const variables[] = {
    "OMPI_COMM_WORLD_SIZE", "PMIX_RANK",  "PMI_RANK", "PMI_SIZE",  "MPI_LOCALNRANKS",
    "SLURM_STEP_NUM_TASKS", "WORLD_SIZE", "RANK",     "LOCAL_RANK"};

static void clear_variables(void)
{
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) unsetenv(variables[i]);
}

static void test_detection(void)
{
    const char *launcher;
    clear_variables();
    DG_CHECK(!dg_mpi_launched());
    DG_CHECK(dg_mpi_expected_ranks(&launcher) == 0);
    setenv("SLURM_NTASKS", "8", 1); /* a batch script without srun */
    setenv("SLURM_PROCID", "0", 1);
    DG_CHECK(!dg_mpi_launched());
    setenv("SLURM_STEP_NUM_TASKS", "1", 1);
    DG_CHECK(!dg_mpi_launched());
    setenv("SLURM_STEP_NUM_TASKS", "4", 1);
    DG_CHECK(dg_mpi_launched());
    DG_CHECK(dg_mpi_expected_ranks(&launcher) == 4 && strstr(launcher, "srun") != NULL);
    setenv("OMPI_COMM_WORLD_SIZE", "6", 1); /* mpirun under Slurm: the step counts nodes, mpirun counts ranks */
    DG_CHECK(dg_mpi_expected_ranks(&launcher) == 6 && strstr(launcher, "mpirun") != NULL);
    setenv("OMPI_COMM_WORLD_SIZE", "six", 1);
    setenv("SLURM_STEP_NUM_TASKS", "-3", 1);
    DG_CHECK(dg_mpi_expected_ranks(&launcher) == 0);
    clear_variables();
    setenv("WORLD_SIZE", "2", 1); /* by itself it is anybody's */
    setenv("RANK", "0", 1);
    DG_CHECK(!dg_mpi_launched());
    setenv("LOCAL_RANK", "0", 1);
    DG_CHECK(dg_mpi_launched());
    DG_CHECK(dg_mpi_expected_ranks(&launcher) == 2 && strstr(launcher, "torchrun") != NULL);
    clear_variables();
    for (size_t i = 0; i < 3; i++) {
        setenv(variables[i], "1", 1);
        DG_CHECK(dg_mpi_launched());
        unsetenv(variables[i]);
    }
}

/* srun --mpi=none -n 4: refused before MPI_Init could end the process. */
static void test_lone_under_srun(int argc, char **argv)
{
    dg_comm *comm;
    setenv("SLURM_STEP_NUM_TASKS", "4", 1);
    DG_CHECK_FAILS(dg_comm_open(&argc, &argv, &comm), DG_ERR_MISMATCH, "started 4 ranks, but MPI sees 1");
    DG_CHECK(strstr(dg_error_last()->text, "srun --mpi=pmix") != NULL);
    DG_CHECK(comm == NULL);
    clear_variables();
    setenv("WORLD_SIZE", "3", 1); /* torchrun: no MPI among its processes */
    setenv("RANK", "1", 1);
    setenv("LOCAL_RANK", "1", 1);
    DG_CHECK_FAILS(dg_comm_open(&argc, &argv, &comm), DG_ERR_MISMATCH,
                   "torchrun (WORLD_SIZE) started 3 ranks, but MPI");
    int started = 1;
    DG_CHECK(MPI_Initialized(&started) == MPI_SUCCESS && !started);
    dg_mpi_stop();
}

int main(int argc, char **argv)
{
    if (!dg_mpi_launched()) {
        test_detection();
        test_lone_under_srun(argc, argv);
        clear_variables();
        dg_comm *alone;
        DG_CHECK_OK(dg_comm_open(&argc, &argv, &alone));
        DG_CHECK(strcmp(alone->ops->name, "self") == 0);
        dg_comm_destroy(&alone);
        return 0;
    }
    /* Under a real launcher whose count MPI does not confirm: all ranks refuse, and MPI still ends properly. */
    setenv("OMPI_COMM_WORLD_SIZE", "7", 1);
    dg_comm *comm;
    DG_CHECK_FAILS(dg_comm_open(&argc, &argv, &comm), DG_ERR_MISMATCH, "started 7 ranks, but MPI sees 2");
    DG_CHECK(comm == NULL);
    dg_mpi_stop();
    dg_mpi_stop();
    return 0;
}
