/* ctest: libs=dg_h5,PkgConfig::HDF5 label=mpi ranks=1,2,3,4 timeout=120 */
/* t540: the packed file holds what the folder holds, whatever the number of ranks (more ranks than chunks and cases too);
 * a damaged case or a target that cannot be made is an error on every rank, and leaves no file. One rank without MPI gives
 * the same as MPI. SPDX-License-Identifier: Apache-2.0 */
#include "dg_mpi.h"
#include "t5_cases.h"

static void check_same(const char *folder, const char *packed)
{
    char a[DG_HASH_HEX], b[DG_HASH_HEX];
    dg_cohort *one, *two;
    DG_CHECK_OK(dg_cohort_open(folder, &one));
    DG_CHECK_OK(dg_cohort_open(packed, &two));
    DG_CHECK(dg_cohort_count(one) == 2 && dg_cohort_count(two) == 2);
    DG_CHECK_OK(dg_cohort_content_hash(one, a));
    DG_CHECK_OK(dg_cohort_content_hash(two, b));
    DG_CHECK(strcmp(a, b) == 0);
    for (int64_t i = 0; i < 2; i++) {
        const dg_grid *g = &dg_cohort_case(one, i)->grid;
        dg_box all = {{-1, 0, 0}, {g->shape[0] + 2, g->shape[1], g->shape[2]}};
        int64_t n = dg_box_voxels(&all);
        dg_case *x, *y;
        float *u, *v;
        DG_CHECK_OK(DG_NEW(&u, n, "u"));
        DG_CHECK_OK(DG_NEW(&v, n, "v"));
        DG_CHECK_OK(dg_case_verify(two, i));
        DG_CHECK_OK(dg_case_open(one, i, &x));
        DG_CHECK_OK(dg_case_open(two, i, &y));
        for (dg_field f = 0; f <= DG_FIELD_LABEL; f++) {
            for (int k = 0; k < 3; k++) {
                DG_CHECK_OK(dg_case_read(x, f, k, &all, u));
                DG_CHECK_OK(dg_case_read(y, f, k, &all, v));
                DG_CHECK(memcmp(u, v, (size_t)n * sizeof *u) == 0);
            }
        }
        DG_CHECK(memcmp(dg_case_get_info(x), dg_case_get_info(y), sizeof(dg_case_info)) == 0);
        dg_case_close(&x);
        dg_case_close(&y);
        dg_free(&u);
        dg_free(&v);
    }
    dg_cohort_close(&one);
    dg_cohort_close(&two);
}

static void check_failures(dg_comm *comm, const char *folder)
{
    char *bytes = NULL, path[DG_PATH_MAX], target[DG_PATH_MAX];
    int64_t length;
    snprintf(target, sizeof target, "%s/no/such/folder.h5", folder);
    DG_CHECK(dg_cohort_pack(comm, folder, target) == DG_ERR_IO);
    snprintf(path, sizeof path, "%s/cases/b.h5", folder);
    snprintf(target, sizeof target, "%s/bad.h5", folder);
    if (comm->rank == 0) {
        t5_read_file(path, &bytes, &length);
        bytes[length / 2] ^= 1; /* inside a chunk of the volumes */
        t5_write_file(path, bytes, length);
    }
    DG_CHECK_OK(dg_comm_barrier(comm));
    DG_CHECK_FAILS(dg_cohort_pack(comm, folder, target), DG_ERR_FORMAT, "case b: dataset ");
    DG_CHECK(!dg_file_exists(target) && !dg_file_exists(t5_path(folder, "bad.h5.tmp")));
    DG_CHECK_OK(dg_comm_barrier(comm));
    dg_free(&bytes);
}

int main(int argc, char **argv)
{
    char folder[64] = "", bad[64], packed[DG_PATH_MAX], alone[DG_PATH_MAX];
    dg_comm *comm, *self;
    DG_CHECK_OK(dg_mpi_start(&argc, &argv, &comm));
    if (comm->rank == 0) {
        t5_case c;
        t5_temporary(folder);
        t5_make(&c, "a", 70, 9, 40);
        DG_CHECK_OK(dg_case_write(folder, &c.data));
        t5_release(&c);
        t5_make(&c, "b", 20, 33, 35);
        DG_CHECK_OK(dg_case_write(folder, &c.data));
        t5_release(&c);
        DG_CHECK_OK(dg_cohort_write_index(folder, bad, sizeof bad));
    }
    DG_CHECK_OK(dg_comm_broadcast(comm, folder, sizeof folder, 0));
    snprintf(packed, sizeof packed, "%s/packed.h5", folder);
    snprintf(alone, sizeof alone, "%s/alone.h5", folder);
    DG_CHECK_OK(dg_cohort_pack(comm, folder, packed));
    check_same(folder, packed);
    if (comm->rank == 0) {
        DG_CHECK_OK(dg_comm_self_create(&self));
        DG_CHECK_OK(dg_cohort_pack(self, folder, alone));
        check_same(folder, alone);
        dg_comm_destroy(&self);
    }
    DG_CHECK_OK(dg_comm_barrier(comm));
    DG_CHECK_FAILS(dg_cohort_pack(comm, packed, alone), DG_ERR_USAGE, "one packed file already");
    check_failures(comm, folder);
    if (comm->rank == 0) t5_remove_tree(folder);
    dg_comm_destroy(&comm);
    dg_mpi_stop();
    return 0;
}
