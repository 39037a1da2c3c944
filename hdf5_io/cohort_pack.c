/* cohort_pack.c - a folder of cases as one file, written by all ranks together.
 *
 * Rank 0 makes the file with all its groups, attributes and small tables, and reserves the disk space; then all ranks
 * open it with MPI-IO and write the volumes, each its slab of every dataset (filtered chunks can only be written
 * collectively). After the close each rank reads its share of the cases back and compares content hashes; only then
 * does the file get its name. One process does the same with the sec2 driver. SPDX-License-Identifier: Apache-2.0 */
#include "case_impl.h"

#include "dg_fault.h"
#include "dg_heartbeat.h"
#include "dg_mem.h"
#include "dg_mpi.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const char role_text[] = "packed cohort";
static const char *const volume_name[] = {"ct", "dose", "masks", "sdf", "labels"};
enum { VOLUMES = sizeof volume_name / sizeof *volume_name };

typedef struct packing {
    dg_comm *comm;
    dg_cohort *source;
    char path[DG_PATH_MAX], temporary[DG_PATH_MAX];
    hid_t file; /* the packed one */
} packing;

/* ---- the skeleton (rank 0) ---- */

static bool is_volume(const char *name)
{
    for (int i = 0; i < VOLUMES; i++)
        if (strcmp(name, volume_name[i]) == 0) return true;
    return false;
}

static herr_t copy_attribute(hid_t from, const char *name, const H5A_info_t *info, void *to)
{
    char values[65536]; /* the most an attribute of a compact object header holds */
    hid_t source = H5Aopen(from, name, H5P_DEFAULT), type = H5Aget_type(source), space = H5Aget_space(source);
    hid_t copy = H5I_INVALID_HID;
    herr_t result = -1;
    if (source >= 0 && H5Aget_storage_size(source) <= sizeof values && H5Aread(source, type, values) >= 0) {
        copy = H5Acreate2(*(hid_t *)to, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
        if (copy >= 0) result = H5Awrite(copy, type, values);
    }
    dg_h5_close(copy);
    dg_h5_close(space);
    dg_h5_close(type);
    dg_h5_close(source);
    return result < 0 ? -1 : 0;
}

/* The dataset without its chunks, or with its values where it is a small table. */
static dg_status copy_dataset(hid_t from, hid_t to, const char *name, const char *role)
{
    dg_h5_shape shape;
    hid_t source;
    char *values = NULL;
    DG_TRY(dg_h5_open_dataset(from, name, role, &shape, &source));
    hid_t type = H5Dget_type(source), space = H5Dget_space(source), list = H5Dget_create_plist(source);
    hid_t links = H5Pcreate(H5P_LINK_CREATE); /* with the groups a name passes through */
    H5Pset_create_intermediate_group(links, 1);
    hid_t copy = H5Dcreate2(to, name, type, space, links, list, H5P_DEFAULT);
    dg_status status = DG_OK;
    if (copy < 0 || H5Aiterate2(source, H5_INDEX_NAME, H5_ITER_INC, NULL, copy_attribute, &copy) < 0)
        status = DG_H5_FAIL(DG_ERR_IO, "%s: dataset %s cannot be made in the packed file", role, name);
    if (status == DG_OK && !is_volume(name)) {
        status = dg_alloc(&values, (size_t)shape.elements, dg_dtype_size(shape.type), "table of a case");
        if (status == DG_OK && (H5Dread(source, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0 ||
                                H5Dwrite(copy, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0))
            status = DG_H5_FAIL(DG_ERR_IO, "%s: dataset %s cannot be copied", role, name);
        dg_free(&values);
    }
    if (copy >= 0 && H5Dclose(copy) < 0 && status == DG_OK)
        status = DG_H5_FAIL(DG_ERR_IO, "%s: dataset %s cannot be copied", role, name);
    dg_h5_close(links);
    dg_h5_close(list);
    dg_h5_close(space);
    dg_h5_close(type);
    dg_h5_close(source);
    return status;
}

static dg_status copy_case(const dg_cohort *source, int64_t index, hid_t file)
{
    char path[DG_PATH_MAX], name[DG_CASE_ID + 16], target[DG_CASE_ID + 16], role[DG_ROLE_TEXT];
    hid_t case_file, from, to;
    dg_h5_list list = {0};
    dg_status status;
    dg_case_role(role, source->info[index].id);
    snprintf(target, sizeof target, "cases/%s", source->info[index].id);
    DG_TRY(dg_case_place(source, index, path, name));
    DG_TRY(dg_case_open_group(path, name, role, &case_file, &from));
    DG_TRY_GOTO(status, dg_h5_group(file, target, role, &to), close_case);
    if (H5Aiterate2(from, H5_INDEX_NAME, H5_ITER_INC, NULL, copy_attribute, &to) < 0)
        status = DG_H5_FAIL(DG_ERR_IO, "%s: attributes cannot be copied", role);
    if (status == DG_OK) status = dg_h5_list_datasets(from, role, &list);
    for (int64_t i = 0; status == DG_OK && i < list.count; i++) status = copy_dataset(from, to, list.name[i], role);
    dg_free(&list.name);
    dg_h5_close(to);
close_case:
    dg_h5_close(from);
    dg_h5_close(case_file);
    return status;
}

static dg_status write_packed_index(const dg_cohort *source, hid_t file)
{
    dg_index_row *row;
    DG_TRY(DG_NEW(&row, source->count, "index"));
    for (int64_t i = 0; i < source->count; i++) {
        row[i].info = source->info[i];
        row[i].has_dose = source->info[i].has_dose;
        row[i].structure_count = source->info[i].structure_count;
        row[i].constraint_count = source->info[i].constraint_count;
        snprintf(row[i].status, sizeof row[i].status, "ok");
    }
    dg_status status = dg_index_write(file, row, source->count, role_text);
    dg_free(&row);
    return status;
}

static dg_status make_skeleton(const packing *p)
{
    const int64_t version = DG_COHORT_VERSION;
    dg_h5_image image;
    hid_t cases;
    dg_status status;
    DG_TRY(dg_h5_image_create(role_text, &image));
    DG_TRY_GOTO(status, dg_h5_put_attr_text(image.file, "format", "dosegrid-cohort", role_text), fail);
    DG_TRY_GOTO(status, dg_h5_put_attr(image.file, "version", DG_I64, 0, NULL, &version, role_text), fail);
    DG_TRY_GOTO(status, dg_h5_put_attr_text(image.file, "layout", "packed", role_text), fail);
    DG_TRY_GOTO(status, write_packed_index(p->source, image.file), fail);
    DG_TRY_GOTO(status, dg_h5_group(image.file, "cases", role_text, &cases), fail);
    dg_h5_close(cases);
    for (int64_t i = 0; i < p->source->count; i++) {
        dg_heartbeat_tick(p->comm->heartbeat);
        DG_TRY_GOTO(status, copy_case(p->source, i, image.file), fail);
    }
    return dg_h5_image_finish(&image, role_text, p->temporary);
fail:
    dg_h5_image_discard(&image);
    return status;
}

/* The packed file is about as large as its parts: same chunks, same filters. */
static dg_status bytes_needed(const packing *p, int64_t *bytes)
{
    enum { MARGIN = 1 << 20 };
    dg_index_row *row;
    int64_t count;
    *bytes = MARGIN;
    if (p->source->packed) return DG_FAIL(DG_ERR_USAGE, "the cohort is one packed file already");
    DG_TRY(dg_index_list(p->source->path, &row, &count));
    for (int64_t i = 0; i < count; i++) *bytes += row[i].file_bytes + row[i].file_bytes / 32;
    dg_free(&row);
    return DG_OK;
}

/* A full disk in the middle of a collective write leaves HDF5 and MPI-IO unable to close the file; so the space is taken
 * beforehand, where it can be refused in peace. File systems that cannot reserve are asked for their free space. */
static dg_status reserve(const packing *p)
{
    int64_t bytes, there;
    char reason[128];
    DG_TRY(bytes_needed(p, &bytes));
    int descriptor = open(p->temporary, O_RDWR | O_CLOEXEC);
    if (descriptor < 0) return DG_FAIL(DG_ERR_IO, "%s: its temporary file vanished", role_text);
    struct rlimit limit; /* it counts for writes alone, not for space reserved beyond the end */
    int error = getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < (rlim_t)bytes ? EFBIG : 0;
    if (error == 0 && fallocate(descriptor, FALLOC_FL_KEEP_SIZE, 0, (off_t)bytes) != 0) error = errno;
    close(descriptor);
    if (error == EOPNOTSUPP || error == ENOSYS) {
        DG_TRY(dg_free_bytes(p->temporary, &there));
        error = there < bytes ? ENOSPC : 0;
    }
    if (error == 0) return DG_OK;
    return DG_FAIL(DG_ERR_IO, "%s: %.1f MiB are needed: %s; free some space or choose another folder", role_text,
                   (double)bytes / 1048576.0, strerror_r(error, reason, sizeof reason));
}

/* ---- the volumes (all ranks) ---- */

/* A rank's slab of chunks along z. */
static void slab_of(const packing *p, int64_t length, int64_t chunk, hsize_t *first, hsize_t *count)
{
    int64_t chunks = (length + chunk - 1) / chunk;
    int64_t begin = chunks * p->comm->rank / p->comm->size * chunk;
    int64_t end = chunks * (p->comm->rank + 1) / p->comm->size * chunk;
    if (end > length) end = length;
    *first = (hsize_t)begin;
    *count = end > begin ? (hsize_t)(end - begin) : 0;
}

/* One collective step: one dataset, or one structure's plane of `sdf`. */
typedef struct step {
    hid_t from, to, type; /* from < 0: this rank could not open the case */
    int rank;
    hsize_t start[4], count[4];
} step;

static bool select_slab(hid_t space, const step *s)
{
    if (s->count[s->rank - 3] == 0) return H5Sselect_none(space) >= 0;
    return H5Sselect_hyperslab(space, H5S_SELECT_SET, s->start, NULL, s->count, NULL) >= 0;
}

static dg_status read_slab(const step *s, void **values, const char *name, const char *role)
{
    size_t count = H5Tget_size(s->type);
    for (int i = 0; i < s->rank; i++) count *= (size_t)s->count[i];
    DG_TRY(dg_alloc(values, count, 1, "slab of a volume"));
    if (count == 0) return DG_OK;
    hid_t from = H5Dget_space(s->from), to = H5Screate_simple(s->rank, s->count, NULL);
    dg_status status = DG_OK;
    if (!select_slab(from, s) || H5Dread(s->from, s->type, to, from, H5P_DEFAULT, *values) < 0)
        status = DG_H5_FAIL(DG_ERR_FORMAT, "%s: dataset %s is damaged; import the case again", role, name);
    dg_h5_close(to);
    dg_h5_close(from);
    return status;
}

static dg_status write_slab(const packing *p, const step *s, const void *values, const char *name, const char *role)
{
    hid_t transfer = H5Pcreate(H5P_DATASET_XFER), to = H5Dget_space(s->to);
    hid_t from = H5Screate_simple(s->rank, s->count, NULL);
    dg_status status = DG_OK;
    if (dg_mpi_handle(p->comm) != MPI_COMM_NULL) H5Pset_dxpl_mpio(transfer, H5FD_MPIO_COLLECTIVE);
    if (s->count[s->rank - 3] == 0) H5Sselect_none(from);
    if (!select_slab(to, s) || H5Dwrite(s->to, s->type, from, to, transfer, values) < 0)
        status = DG_H5_FAIL(DG_ERR_IO, "%s: dataset %s cannot be written into the packed file", role, name);
    dg_h5_close(from);
    dg_h5_close(to);
    dg_h5_close(transfer);
    return status;
}

static dg_status pack_step(const packing *p, const step *s, const char *name, const char *role, dg_status before)
{
    void *values = NULL;
    dg_heartbeat_tick(p->comm->heartbeat);
    dg_status status = before == DG_OK ? read_slab(s, &values, name, role) : before;
    status = dg_comm_agree(p->comm, status);
    if (status == DG_OK) {
        status = write_slab(p, s, values, name, role);
        if (status == DG_OK) status = dg_fault_reach(DG_FAULT_PACK, NULL, 0);
        status = dg_comm_agree(p->comm, status);
    }
    dg_free(&values);
    return status;
}

static dg_status pack_planes(const packing *p, step *s, const dg_h5_shape *shape, const char *name, const char *role,
                             dg_status before)
{
    int axes = shape->rank;
    const int64_t *zyx = shape->shape + axes - 3;
    s->rank = axes;
    slab_of(p, zyx[0], zyx[0] < DG_H5_CHUNK ? zyx[0] : DG_H5_CHUNK, &s->start[axes - 3], &s->count[axes - 3]);
    for (int i = 1; i < 3; i++) {
        s->start[axes - 3 + i] = 0;
        s->count[axes - 3 + i] = (hsize_t)zyx[i];
    }
    int64_t planes = axes == 4 ? shape->shape[0] : 1;
    for (int64_t k = 0; k < planes; k++) {
        if (axes == 4) {
            s->start[0] = (hsize_t)k;
            s->count[0] = 1;
        }
        DG_TRY(pack_step(p, s, name, role, before));
    }
    return DG_OK;
}

/* The target's shape is the same on all ranks, so that all take the same number of steps whatever they find in the source. */
static dg_status pack_volume(const packing *p, hid_t from_group, hid_t to_group, const char *name, const char *role)
{
    dg_h5_shape shape, source_shape;
    step s = {.from = H5I_INVALID_HID};
    s.to = H5Dopen2(to_group, name, H5P_DEFAULT);
    hid_t space = H5Dget_space(s.to);
    s.type = H5Dget_type(s.to);
    dg_status status = s.to < 0
                           ? DG_H5_FAIL(DG_ERR_IO, "%s: dataset %s of the packed file cannot be opened", role, name)
                           : dg_h5_describe(s.type, space, name, role, &shape);
    dg_h5_close(space);
    status = dg_comm_agree(p->comm, status);
    if (status == DG_OK) {
        dg_status mine = dg_h5_open_dataset(from_group, name, role, &source_shape, &s.from);
        status = pack_planes(p, &s, &shape, name, role, mine);
    }
    dg_h5_close(s.from);
    dg_h5_close(s.type);
    if (s.to >= 0 && H5Dclose(s.to) < 0 && status == DG_OK)
        status = DG_H5_FAIL(DG_ERR_IO, "%s: dataset %s cannot be completed", role, name);
    return dg_comm_agree(p->comm, status);
}

static dg_status pack_case(const packing *p, int64_t index)
{
    char path[DG_PATH_MAX], name[DG_CASE_ID + 16], target[DG_CASE_ID + 16], role[DG_ROLE_TEXT];
    hid_t file = H5I_INVALID_HID, from = H5I_INVALID_HID;
    dg_case_role(role, p->source->info[index].id);
    snprintf(target, sizeof target, "cases/%s", p->source->info[index].id);
    hid_t to = H5Gopen2(p->file, target, H5P_DEFAULT);
    dg_status status =
        to < 0 ? DG_H5_FAIL(DG_ERR_IO, "%s: its group in the packed file cannot be opened", role) : DG_OK;
    if (status == DG_OK) status = dg_case_place(p->source, index, path, name);
    if (status == DG_OK) status = dg_case_open_group(path, name, role, &file, &from);
    status = dg_comm_agree(p->comm, status);
    for (int i = 0; status == DG_OK && i < VOLUMES; i++)
        if (dg_h5_has(to, volume_name[i])) status = pack_volume(p, from, to, volume_name[i], role);
    dg_h5_close(from);
    dg_h5_close(file);
    dg_h5_close(to);
    return status;
}

static dg_status open_target(packing *p)
{
    hid_t access = dg_h5_access_list();
    MPI_Comm handle = dg_mpi_handle(p->comm);
    if (handle != MPI_COMM_NULL)
        H5Pset_fapl_mpio(access, handle, MPI_INFO_NULL);
    else
        H5Pset_fapl_sec2(access);
    p->file = H5Fopen(p->temporary, H5F_ACC_RDWR, access);
    dg_status status = DG_OK;
    if (p->file < 0) status = DG_H5_FAIL(DG_ERR_IO, "%s: cannot be opened for parallel writing", role_text);
    dg_h5_close(access);
    return dg_comm_agree(p->comm, status);
}

/* When a collective write or the close fails, MPI-IO and HDF5 hold state they cannot give back: there is no going on for
 * this process (DG_ERR_COMM makes the job abort all ranks), but the half file is removed first. */
static dg_status write_volumes(packing *p)
{
    bool parallel = dg_mpi_handle(p->comm) != MPI_COMM_NULL;
    DG_TRY(open_target(p));
    dg_status status = DG_OK;
    for (int64_t i = 0; status == DG_OK && i < p->source->count; i++) status = pack_case(p, i);
    dg_status closed = DG_OK;
    if (status == DG_OK && H5Fflush(p->file, H5F_SCOPE_GLOBAL) < 0)
        closed = DG_H5_FAIL(DG_ERR_IO, "%s: cannot be completed on the disk", role_text);
    if (status == DG_OK) closed = dg_comm_agree(p->comm, closed);
    if (H5Fclose(p->file) < 0 && closed == DG_OK) closed = DG_H5_FAIL(DG_ERR_IO, "%s: cannot be closed", role_text);
    p->file = H5I_INVALID_HID;
    if (status == DG_OK) status = dg_comm_agree(p->comm, closed);
    return status == DG_ERR_IO && parallel ? DG_ERR_COMM : status;
}

/* ---- reading back ---- */

static dg_status verify_share(const packing *p)
{
    dg_cohort *written;
    DG_TRY(dg_cohort_open(p->temporary, &written));
    dg_status status = DG_OK;
    if (written->count != p->source->count)
        status = DG_FAIL(DG_ERR_IO, "%s: %lld of %lld cases are in it", role_text, (long long)written->count,
                         (long long)p->source->count);
    for (int64_t i = p->comm->rank; status == DG_OK && i < written->count; i += p->comm->size) {
        dg_heartbeat_tick(p->comm->heartbeat);
        status = dg_case_verify(written, i);
        if (status == DG_OK && strcmp(written->info[i].content_sha256, p->source->info[i].content_sha256) != 0)
            status = DG_FAIL(DG_ERR_IO, "%s: case %s was changed by writing; is the disk well?", role_text,
                             written->info[i].id);
    }
    dg_cohort_close(&written);
    return status;
}

static dg_status pack_locked(packing *p)
{
    dg_status status = DG_OK;
    if (p->comm->rank == 0) {
        status = make_skeleton(p);
        if (status == DG_OK) status = reserve(p);
    }
    DG_TRY(dg_comm_agree(p->comm, status));
    DG_TRY(write_volumes(p));
    DG_TRY(dg_comm_agree(p->comm, verify_share(p)));
    if (p->comm->rank == 0) status = dg_file_commit(p->temporary, p->path);
    return dg_comm_agree(p->comm, status);
}

dg_status dg_cohort_pack(dg_comm *comm, const char *cohort_folder, const char *packed_path)
{
    packing p = {.comm = comm, .file = H5I_INVALID_HID};
    dg_status status = dg_cohort_open(cohort_folder, &p.source);
    if (status == DG_OK) status = dg_path_join(p.path, "", packed_path);
    if (status == DG_OK && snprintf(p.temporary, sizeof p.temporary, "%s.tmp", p.path) >= (int)sizeof p.temporary)
        status = DG_FAIL(DG_ERR_USAGE, "path too long: %.100s...", packed_path);
    if (status == DG_OK && p.source->count == 0) status = DG_FAIL(DG_ERR_USAGE, "the cohort has no cases to pack");
    status = dg_comm_agree(comm, status);
    if (status == DG_OK) {
        dg_phase phase = dg_heartbeat_phase(comm->heartbeat, DG_PHASE_WRITE);
        dg_h5_lock();
        status = pack_locked(&p);
        dg_h5_unlock();
        (void)dg_heartbeat_phase(comm->heartbeat, phase);
        if (status != DG_OK && comm->rank == 0) unlink(p.temporary);
        /* nobody returns while the half file is still there */
        if (status != DG_OK && status != DG_ERR_COMM && dg_comm_barrier(comm) != DG_OK) status = DG_ERR_COMM;
    }
    dg_cohort_close(&p.source);
    return status;
}
