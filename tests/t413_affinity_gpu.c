/* A rank with a GPU gets the cores of the package that the GPU hangs on, shared with the ranks whose GPUs hang there too;
 * one whose GPU hwloc does not see gets its share of all, and says so. On a machine read from a file: two packages of three
 * cores with a GPU each.
 * ctest: libs=dg_mpi label=mpi ranks=0,1,2,4 timeout=60
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_mpi.h"

int main(int argc, char **argv)
{
    static const char *const gpus[] = {"0000:01:00.0", "0000:02:00.0"};
    const char *source = getenv("DG_TEST_SOURCE");
    char path[1024], warning[256] = "x";
    int threads = 0;
    dg_comm *comm;
    DG_CHECK_OK(dg_comm_open(&argc, &argv, &comm));
    DG_CHECK(source != NULL);
    snprintf(path, sizeof path, "%s/tests/data/hwloc/two_packages.xml", source);
    DG_CHECK(setenv("HWLOC_XMLFILE", path, 1) == 0); /* MPI has read the real machine by now */

    /* All on one package: three cores for all, one each where there are more ranks. */
    const int size = comm->size, mine = comm->local_rank;
    for (int gpu = 0; gpu < 2; gpu++) {
        DG_CHECK_OK(dg_affinity_set_near(comm, gpus[gpu], 0, &threads, warning, sizeof warning));
        DG_CHECK(threads == (size > 3 ? 1 : 3 * (mine + 1) / size - 3 * mine / size));
        DG_CHECK((warning[0] != '\0') == (size > 3));
    }
    /* In turns: two ranks have three cores each, four share three by two. */
    DG_CHECK_OK(dg_affinity_set_near(comm, gpus[mine % 2], 0, &threads, warning, sizeof warning));
    DG_CHECK(threads == (size < 4 ? 3 : mine < 2 ? 1 : 2) && warning[0] == '\0');

    DG_CHECK_OK(dg_affinity_set_near(comm, "0000:07:00.0", 0, &threads, warning, sizeof warning));
    DG_CHECK(threads == 6 * (mine + 1) / size - 6 * mine / size);
    DG_CHECK(strstr(warning, "hwloc sees no cores near GPU 0000:07:00.0") != NULL);
    DG_CHECK_OK(dg_affinity_set(comm, 0, &threads, warning, sizeof warning));
    DG_CHECK(threads == 6 * (mine + 1) / size - 6 * mine / size && warning[0] == '\0');
    dg_comm_destroy(&comm);
    dg_mpi_stop();
    return 0;
}
