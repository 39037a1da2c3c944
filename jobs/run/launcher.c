/* launcher.c - see launcher.h. SPDX-License-Identifier: Apache-2.0 */
#include "launcher.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const variables[] = {"OMPI_COMM_WORLD_SIZE",
                                        "OMPI_COMM_WORLD_LOCAL_SIZE",
                                        "OMPI_MCA_pml",
                                        "OMPI_MCA_btl",
                                        "OMPI_MCA_io",
                                        "OMPI_MCA_pmix",
                                        "OMPI_MCA_hwloc_base_binding_policy",
                                        "OMPI_MCA_mpi_yield_when_idle",
                                        "PMIX_VERSION",
                                        "PMIX_NAMESPACE",
                                        "PMIX_GDS_MODULE",
                                        "PMI_SIZE",
                                        "MPI_LOCALNRANKS",
                                        "HYDI_CONTROL_FD",
                                        "UCX_TLS",
                                        "UCX_NET_DEVICES",
                                        "SLURM_JOB_ID",
                                        "SLURM_JOB_NUM_NODES",
                                        "SLURM_NTASKS",
                                        "SLURM_STEP_ID",
                                        "SLURM_STEP_NUM_TASKS",
                                        "SLURM_MPI_TYPE",
                                        "SLURM_CPUS_PER_TASK",
                                        "SLURM_CPU_BIND",
                                        "OMP_NUM_THREADS",
                                        "OMP_PROC_BIND",
                                        "OMP_WAIT_POLICY"};

static const char *started_by(void)
{
    if (getenv("OMPI_COMM_WORLD_SIZE") != NULL) return "mpirun (Open MPI)";
    if (getenv("HYDI_CONTROL_FD") != NULL || getenv("MPI_LOCALNRANKS") != NULL) return "mpirun (Hydra)";
    if (getenv("SLURM_STEP_ID") != NULL) return "srun";
    return getenv("PMIX_RANK") != NULL || getenv("PMI_RANK") != NULL ? "a launcher of another kind" : "nothing";
}

static json_t *process_manager(void)
{
    const char *version = getenv("PMIX_VERSION");
    if (version != NULL) return json_sprintf("PMIx %.32s", version);
    if (getenv("PMIX_RANK") != NULL) return json_string("PMIx");
    return json_string(getenv("PMI_RANK") != NULL || getenv("PMI_FD") != NULL ? "PMI" : "none");
}

json_t *dg_launcher_json(void)
{
    json_t *set = json_object();
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
        const char *value = getenv(variables[i]);
        if (value != NULL) json_object_set_new(set, variables[i], json_sprintf("%.120s", value));
    }
    return json_pack("{s:s, s:o, s:o}", "started_by", started_by(), "process_manager", process_manager(), "variables",
                     set);
}
