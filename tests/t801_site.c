/* Ranks, hosts and GPUs against what Slurm was asked for, told by its variables and by a scontrol of our own.
 * ctest: libs=dg_cluster,dg_mpi label=mpi ranks=0,2 timeout=60
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_cluster.h"
#include "dg_mpi.h"

#include <sys/stat.h>
#include <unistd.h>

static void set(const char *tasks, const char *nodes, const char *node, const char *gpus, const char *visible)
{
    const char *names[] = {"SLURM_NTASKS", "SLURM_JOB_NODELIST", "SLURMD_NODENAME", "SLURM_GPUS_ON_NODE",
                           "CUDA_VISIBLE_DEVICES"};
    const char *values[] = {tasks, nodes, node, gpus, visible};
    for (int i = 0; i < 5; i++) {
        if (values[i] != NULL)
            setenv(names[i], values[i], 1);
        else
            unsetenv(names[i]);
    }
}

static bool noted(const dg_comm *comm, const dg_site_notes *notes, const char *words)
{
    if (comm->rank != 0) return notes->count == 0;
    for (int i = 0; i < notes->count; i++)
        if (strstr(notes->text[i], words) != NULL) return true;
    return false;
}

static void test_alone(dg_comm *comm)
{
    dg_site_notes notes;
    set(NULL, NULL, NULL, NULL, NULL);
    DG_CHECK_OK(dg_site_check(comm, &notes));
    DG_CHECK(notes.count == 0);
    set("2", NULL, NULL, NULL, NULL);
    DG_CHECK_FAILS(dg_site_check(comm, &notes), DG_ERR_MISMATCH, "2 tasks (SLURM_NTASKS), but this is one process");
    DG_CHECK(strstr(dg_error_last()->text, "srun --mpi=pmix") != NULL);
    set("1", "here", "here", "1", "0");
    DG_CHECK_OK(dg_site_check(comm, &notes));
    DG_CHECK(notes.count == 0);
}

static void test_two(dg_comm *comm)
{
    dg_site_notes notes;
    set("2", "here", "here", "2", "0,1");
    DG_CHECK_OK(dg_site_check(comm, &notes));
    DG_CHECK(notes.count == 0);
    set("4", "here", "here", "4", "0,1,2,3");
    DG_CHECK_OK(dg_site_check(comm, &notes));
    DG_CHECK(noted(comm, &notes, "2 ranks in a job of 4 tasks: the rest"));
    DG_CHECK(noted(comm, &notes, "here: 2 of 4 GPUs have no rank"));
    set("1", "here", "here", "1", "0");
    DG_CHECK_OK(dg_site_check(comm, &notes));
    DG_CHECK(noted(comm, &notes, "2 ranks in a job of 1 tasks: they share"));
    DG_CHECK(noted(comm, &notes, "here: 2 ranks share 1 GPU: ask"));
    set("2", "here,there", comm->rank == 0 ? "here" : "there", "1", "");
    DG_CHECK_OK(dg_site_check(comm, &notes));
    DG_CHECK(noted(comm, &notes, "rank 0 sees none of the 1 GPUs of here"));
    set("2", "here,there", "here", "2", NULL);
    DG_CHECK_OK(dg_site_check(comm, &notes));
    DG_CHECK(noted(comm, &notes, "ranks run on 1 of the job's 2 nodes"));
    set("2", "here,there", comm->rank == 0 ? "here" : "elsewhere", NULL, NULL);
    DG_CHECK_FAILS(dg_site_check(comm, &notes), DG_ERR_MISMATCH, "rank 1 runs on ");
    DG_CHECK(strstr(dg_error_last()->text, "not a node of this job (here,there)") != NULL);
    set("2", "bad[", "here", NULL, NULL);
    DG_CHECK_OK(dg_site_check(comm, &notes));
    DG_CHECK(noted(comm, &notes, "hosts were not compared"));
}

int main(int argc, char **argv)
{
    char folder[] = "/tmp/dg_t801.XXXXXX", path[4096], command[256];
    dg_comm *comm;
    DG_CHECK(mkdtemp(folder) != NULL);
    snprintf(command, sizeof command, "%s/scontrol", folder);
    FILE *file = fopen(command, "w");
    DG_CHECK(file != NULL);
    fputs("#!/bin/sh\ncase $3 in bad*) echo invalid; exit 1;; esac\necho \"$3\" | tr , '\\n'\n", file);
    DG_CHECK(fclose(file) == 0 && chmod(command, 0755) == 0);
    snprintf(path, sizeof path, "%s:%s", folder, getenv("PATH"));
    DG_CHECK_OK(dg_comm_open(&argc, &argv, &comm));
    setenv("PATH", path, 1);
    if (comm->size == 1)
        test_alone(comm);
    else
        test_two(comm);
    dg_comm_destroy(&comm);
    dg_mpi_stop();
    unlink(command);
    return rmdir(folder);
}
