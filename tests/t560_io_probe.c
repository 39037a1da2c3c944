/* The probe of parallel HDF5: right files pass on any number of ranks; one changed byte is found in every layout, by the
 * count of values where nothing else checks them and by the checksum where one does.
 * ctest: libs=dg_h5 label=mpi ranks=0,1,3 timeout=60
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_io_probe.h"
#include "dg_mpi.h"

#include <stdint.h>
#include <unistd.h>

static void change_byte(const char *path, long from_end)
{
    FILE *file = fopen(path, "r+b");
    DG_CHECK(file != NULL && fseek(file, -from_end, SEEK_END) == 0);
    int byte = fgetc(file);
    DG_CHECK(fseek(file, -from_end, SEEK_END) == 0 && fputc(byte ^ 1, file) != EOF && fclose(file) == 0);
}

static void test_layout(dg_comm *comm, const char *path, dg_io_layout layout)
{
    char words[64];
    DG_CHECK_OK(dg_io_probe_write(comm, path, layout));
    DG_CHECK_OK(dg_io_probe_read(comm, path, layout));
    DG_CHECK_OK(dg_comm_barrier(comm));
    if (comm->rank == 0) change_byte(path, dg_io_probe_bytes() / 4);
    DG_CHECK_OK(dg_comm_barrier(comm));
    bool checked = layout == DG_IO_FILTERED;
    snprintf(words, sizeof words, checked ? "cannot be read with" : " of the %s volume, read with",
             dg_io_layout_name(layout));
    DG_CHECK_FAILS(dg_io_probe_read(comm, path, layout), checked ? DG_ERR_IO : DG_ERR_DATA, words);
    if (!checked) DG_CHECK(strstr(dg_error_last()->text, "1 of ") != NULL);
    if (checked) DG_CHECK_FAILS(dg_io_probe_read(comm, path, layout), DG_ERR_IO, "Fletcher32");
}

int main(int argc, char **argv)
{
    char path[] = "/tmp/dg_t560.XXXXXX";
    dg_comm *comm;
    DG_CHECK_OK(dg_comm_open(&argc, &argv, &comm));
    int made = comm->rank == 0 ? mkstemp(path) : 0;
    DG_CHECK(made >= 0);
    DG_CHECK_OK(dg_comm_broadcast(comm, path, sizeof path, 0));
    for (int layout = 0; layout < DG_IO_LAYOUTS; layout++) test_layout(comm, path, (dg_io_layout)layout);
    DG_CHECK(dg_io_probe_write(comm, "/nowhere/file", DG_IO_CHUNKED) == DG_ERR_IO);
    DG_CHECK(dg_io_probe_read(comm, "/nowhere/file", DG_IO_CHUNKED) == DG_ERR_IO);
    DG_CHECK_OK(dg_comm_barrier(comm));
    if (comm->rank == 0) unlink(path);
    dg_comm_destroy(&comm);
    dg_mpi_stop();
    return 0;
}
