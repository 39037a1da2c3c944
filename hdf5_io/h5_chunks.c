/* h5_chunks.c - where the chunks of a dataset lie, in time linear in their number. H5Dget_chunk_info of HDF5 1.10 walks
 * from the first chunk on every call: minutes for the distance maps of one large CT. Looking one chunk up by its place is
 * fast there, but only as part of reading it: so the file is opened with the sec2 driver whose read of raw data can be
 * turned into a note of what it was asked for.
 * SPDX-License-Identifier: Apache-2.0 */
#include "h5_impl.h"

#if H5_VERSION_GE(1, 14, 0)

/* From this version on the library lists chunks itself. */
typedef struct listing {
    int rank;
    const hsize_t *chunk, *grid;
    dg_h5_chunk_put *put;
    void *user;
    hsize_t missing;
} listing;

static int take_listed(const hsize_t *offset, unsigned skipped, haddr_t address, hsize_t bytes, void *user)
{
    listing *l = user;
    int64_t index = 0;
    l->missing--;
    for (int i = 0; i < l->rank; i++) index = index * (int64_t)l->grid[i] + (int64_t)(offset[i] / l->chunk[i]);
    return skipped == 0 && l->put(l->user, index, address, bytes) ? H5_ITER_CONT : H5_ITER_ERROR;
}

bool dg_h5_chunks(hid_t dataset, int rank, const hsize_t *chunk, const hsize_t *grid, dg_h5_chunk_put *put, void *user)
{
    listing l = {.rank = rank, .chunk = chunk, .grid = grid, .put = put, .user = user, .missing = 1};
    for (int i = 0; i < rank; i++) l.missing *= grid[i];
    return H5Dchunk_iter(dataset, H5P_DEFAULT, take_listed, &l) >= 0 && l.missing == 0;
}

void dg_h5_set_driver(hid_t access_list) { H5Pset_fapl_sec2(access_list); }

#else

/* HDF5's drivers are process-wide, and so is this; all of it is used with the lock held. */
static H5FD_class_t noting;          /* sec2 with another read */
static const H5FD_class_t *original; /* sec2 */
static hid_t driver = H5I_INVALID_HID;
static bool looking; /* raw data is noted instead of read */
static haddr_t seen_address;
static hsize_t seen_bytes;

static herr_t read_or_note(H5FD_t *file, H5FD_mem_t type, hid_t transfer, haddr_t address, size_t size, void *buffer)
{
    if (!looking || type != H5FD_MEM_DRAW) return original->read(file, type, transfer, address, size, buffer);
    seen_address = address;
    seen_bytes = size;
    return 0;
}

/* The class of sec2 is reached through any open file. */
static void make_driver(void)
{
    hid_t list = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fapl_sec2(list);
    H5FD_t *any = H5FDopen("/dev/null", H5F_ACC_RDONLY, list, HADDR_UNDEF);
    if (any != NULL) {
        original = any->cls;
        noting = *original;
        noting.name = "sec2 that tells where chunks lie";
        noting.terminate = NULL;
        noting.read = read_or_note;
        driver = H5FDregister(&noting);
        H5FDclose(any);
    }
    dg_h5_close(list);
}

void dg_h5_set_driver(hid_t access_list)
{
    if (driver < 0) make_driver();
    H5Pset_driver(access_list, driver, NULL);
}

static bool find_chunk(hid_t dataset, const hsize_t *offset, haddr_t *address, hsize_t *bytes)
{
    uint32_t skipped = 0;
    char nothing[1]; /* nothing is read */
    seen_address = HADDR_UNDEF;
    looking = true;
    herr_t found = H5Dread_chunk(dataset, H5P_DEFAULT, offset, &skipped, nothing);
    looking = false;
    *address = seen_address;
    *bytes = seen_bytes;
    return found >= 0 && skipped == 0 && seen_address != HADDR_UNDEF;
}

bool dg_h5_chunks(hid_t dataset, int rank, const hsize_t *chunk, const hsize_t *grid, dg_h5_chunk_put *put, void *user)
{
    hsize_t place[DG_H5_RANK_MAX] = {0}, offset[DG_H5_RANK_MAX], bytes;
    haddr_t address;
    for (int64_t index = 0;; index++) {
        for (int i = 0; i < rank; i++) offset[i] = place[i] * chunk[i];
        if (!find_chunk(dataset, offset, &address, &bytes) || !put(user, index, address, bytes)) return false;
        int axis = rank - 1;
        while (axis >= 0 && ++place[axis] == grid[axis]) place[axis--] = 0;
        if (axis < 0) return true;
    }
}

#endif
