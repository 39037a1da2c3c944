/* io_probe.c - see dg_io_probe.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_io_probe.h"
#include "h5_impl.h"

#include "dg_mem.h"
#include "dg_mpi.h"

#include <string.h>

/* 1, 2, 3 and 4 ranks share the planes evenly. */
enum { PLANES = 96, SIDE = 64, PLANE = SIDE * SIDE };
static const char dataset_name[] = "probe", role[] = "test file";
static const char *const layout_names[DG_IO_LAYOUTS] = {"contiguous", "chunked", "filtered"};

const char *dg_io_layout_name(dg_io_layout layout) { return layout_names[layout]; }

int64_t dg_io_probe_bytes(void) { return (int64_t)PLANES * PLANE * (int64_t)sizeof(float); }

/* Never 0, so that what was never written shows. */
static float value_at(int64_t plane, int64_t i)
{
    uint64_t index = (uint64_t)(plane * PLANE + i);
    return (float)(1 + index * 2654435761U % 1000003U);
}

/* The planes rank, rank + size, ... of the volume. */
typedef struct share {
    int first, stride, count;
    float *values; /* [count, SIDE, SIDE] */
} share;

static dg_status make_share(int first, int stride, share *s)
{
    *s = (share){.first = first, .stride = stride, .count = (PLANES - first + stride - 1) / stride};
    return dg_alloc(&s->values, (size_t)s->count * PLANE, sizeof(float), "planes of a test volume");
}

static void fill(share *s)
{
    for (int k = 0; k < s->count; k++)
        for (int64_t i = 0; i < PLANE; i++) s->values[(int64_t)k * PLANE + i] = value_at(s->first + k * s->stride, i);
}

static int64_t count_wrong(const share *s)
{
    int64_t wrong = 0;
    for (int k = 0; k < s->count; k++)
        for (int64_t i = 0; i < PLANE; i++)
            wrong += s->values[(int64_t)k * PLANE + i] != value_at(s->first + k * s->stride, i);
    return wrong;
}

static bool parallel(const dg_comm *comm) { return dg_mpi_handle(comm) != MPI_COMM_NULL; }

static hid_t access_of(const dg_comm *comm, bool with_mpi)
{
    hid_t list = dg_h5_access_list();
    if (with_mpi) H5Pset_fapl_mpio(list, dg_mpi_handle(comm), MPI_INFO_NULL);
    return list;
}

/* Reads or writes a share; collective where the file was opened with MPI-IO. */
static dg_status transfer(hid_t dataset, dg_io_layout layout, const share *s, bool with_mpi, bool write)
{
    hsize_t start[3] = {(hsize_t)s->first, 0, 0}, stride[3] = {(hsize_t)s->stride, 1, 1};
    hsize_t count[3] = {(hsize_t)s->count, SIDE, SIDE};
    hid_t space = H5Dget_space(dataset), memory = H5Screate_simple(3, count, NULL), list = H5Pcreate(H5P_DATASET_XFER);
    H5Sselect_hyperslab(space, H5S_SELECT_SET, start, stride, count, NULL);
    if (with_mpi) H5Pset_dxpl_mpio(list, H5FD_MPIO_COLLECTIVE);
    herr_t code = write ? H5Dwrite(dataset, H5T_NATIVE_FLOAT, memory, space, list, s->values)
                        : H5Dread(dataset, H5T_NATIVE_FLOAT, memory, space, list, s->values);
    dg_status status = DG_OK;
    if (code < 0)
        status = DG_H5_FAIL(DG_ERR_IO, "%s: the %s volume cannot be %s with %s", role, layout_names[layout],
                            write ? "written" : "read", with_mpi ? "MPI-IO" : "sec2");
    dg_h5_close(list);
    dg_h5_close(memory);
    dg_h5_close(space);
    return status;
}

static dg_status create_dataset(hid_t file, dg_io_layout layout, hid_t *dataset)
{
    const int64_t chunk[3] = {DG_H5_CHUNK, DG_H5_CHUNK, DG_H5_CHUNK};
    const hsize_t sides[3] = {DG_H5_CHUNK, DG_H5_CHUNK, DG_H5_CHUNK}, shape[3] = {PLANES, SIDE, SIDE};
    hid_t space = H5Screate_simple(3, shape, NULL);
    hid_t list = dg_h5_dataset_list(H5T_IEEE_F32LE, 3, layout == DG_IO_FILTERED ? chunk : NULL);
    if (layout == DG_IO_CHUNKED) H5Pset_chunk(list, 3, sides);
    *dataset = H5Dcreate2(file, dataset_name, H5T_IEEE_F32LE, space, H5P_DEFAULT, list, H5P_DEFAULT);
    dg_status status = DG_OK;
    if (*dataset < 0) status = DG_H5_FAIL(DG_ERR_IO, "%s: the %s volume cannot be made", role, layout_names[layout]);
    dg_h5_close(list);
    dg_h5_close(space);
    return status;
}

/* With the lock held. A rank that failed takes part in the closes all the same: they are collective. */
static dg_status write_share(const dg_comm *comm, const char *path, dg_io_layout layout, const share *s)
{
    bool with_mpi = parallel(comm);
    hid_t access = access_of(comm, with_mpi), creation = dg_h5_creation_list(), dataset = H5I_INVALID_HID;
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, creation, access);
    dg_status status = file < 0 ? DG_H5_FAIL(DG_ERR_IO, "%s: cannot be made", role) : DG_OK;
    if (status == DG_OK) status = create_dataset(file, layout, &dataset);
    if (status == DG_OK) status = transfer(dataset, layout, s, with_mpi, true);
    bool closed = (dataset < 0 || H5Dclose(dataset) >= 0) && (file < 0 || H5Fclose(file) >= 0);
    if (status == DG_OK && !closed)
        status = DG_H5_FAIL(DG_ERR_IO, "%s: the %s volume cannot be completed", role, layout_names[layout]);
    dg_h5_close(creation);
    dg_h5_close(access);
    return status;
}

dg_status dg_io_probe_write(dg_comm *comm, const char *path, dg_io_layout layout)
{
    share mine;
    dg_status status = dg_comm_agree(comm, make_share(comm->rank, comm->size, &mine));
    if (status == DG_OK) {
        fill(&mine);
        dg_h5_lock();
        status = write_share(comm, path, layout, &mine);
        dg_h5_unlock();
        status = dg_comm_agree(comm, status);
    }
    dg_free(&mine.values);
    return status;
}

static dg_status read_share(const dg_comm *comm, const char *path, dg_io_layout layout, bool with_mpi, share *s)
{
    hid_t access = access_of(comm, with_mpi), file = H5Fopen(path, H5F_ACC_RDONLY, access);
    hid_t dataset = file < 0 ? H5I_INVALID_HID : H5Dopen2(file, dataset_name, H5P_DEFAULT);
    dg_status status = DG_OK;
    if (dataset < 0)
        status = DG_H5_FAIL(DG_ERR_IO, "%s: the %s volume cannot be opened", role, layout_names[layout]);
    else
        status = transfer(dataset, layout, s, with_mpi, false);
    dg_h5_close(dataset);
    dg_h5_close(file);
    dg_h5_close(access);
    int64_t wrong = status == DG_OK ? count_wrong(s) : 0;
    if (wrong > 0)
        status =
            DG_FAIL(DG_ERR_DATA, "%lld of %lld values of the %s volume, read with %s, are not those written",
                    (long long)wrong, (long long)s->count * PLANE, layout_names[layout], with_mpi ? "MPI-IO" : "sec2");
    return status;
}

static dg_status read_back(const dg_comm *comm, const char *path, dg_io_layout layout, bool with_mpi, int first,
                           int stride)
{
    share s;
    DG_TRY(make_share(first, stride, &s));
    dg_h5_lock();
    dg_status status = read_share(comm, path, layout, with_mpi, &s);
    dg_h5_unlock();
    dg_free(&s.values);
    return status;
}

dg_status dg_io_probe_read(dg_comm *comm, const char *path, dg_io_layout layout)
{
    if (parallel(comm)) {
        dg_status status = read_back(comm, path, layout, true, (comm->rank + 1) % comm->size, comm->size);
        DG_TRY(dg_comm_agree(comm, status));
    }
    return dg_comm_agree(comm, comm->rank == 0 ? read_back(comm, path, layout, false, 0, 1) : DG_OK);
}
