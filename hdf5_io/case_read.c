/* case_read.c - patches of a case file: chunk tables are taken from HDF5 when the case is opened (the long one of distance
 * maps when it is first needed); afterwards chunks are read by pread, checked and unpacked here, so that any number of
 * threads read without waiting for HDF5's lock.
 * SPDX-License-Identifier: Apache-2.0 */
#include "case_impl.h"

#include "dg_dicom.h"
#include "dg_mem.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CT, DOSE, MASKS, SDF, LABELS, TABLES, CHUNK_BYTES_MAX = 1 << 27 };
static const char *const table_name[TABLES] = {"ct", "dose", "masks", "sdf", "labels"};

/* One chunked dataset. Axis 0 is the structure; it has length 1 where the dataset has three axes. */
typedef struct chunk_table {
    atomic_bool there; /* set last: what it covers is complete */
    dg_dtype type;
    int64_t shape[4], chunk[4], grid[4];
    int64_t count;       /* of chunks */
    uint64_t *address;   /* [count] in the file */
    uint32_t *bytes;     /* [count] as stored */
    uint32_t most;       /* the largest of them */
    double scale, shift; /* value = stored * scale + shift */
} chunk_table;

typedef struct file_case {
    int descriptor;
    const dg_cohort *cohort;
    int64_t index;         /* of the case in it */
    dg_chunk_cache *cache; /* of the cohort */
    pthread_mutex_t guard; /* of the table that is taken late */
    chunk_table table[TABLES];
    char role[DG_ROLE_TEXT];
} file_case;

static int64_t chunk_voxels(const chunk_table *t) { return t->chunk[1] * t->chunk[2] * t->chunk[3]; }

/* ---- taking the tables ---- */

static bool filters_are_ours(hid_t list)
{
    static const H5Z_filter_t wanted[3] = {H5Z_FILTER_SHUFFLE, DG_H5_FILTER_LZ4, H5Z_FILTER_FLETCHER32};
    if (H5Pget_nfilters(list) != 3) return false;
    for (unsigned i = 0; i < 3; i++) {
        unsigned flags, config;
        size_t none = 0;
        if (H5Pget_filter2(list, i, &flags, &none, NULL, 0, NULL, &config) != wanted[i]) return false;
    }
    return true;
}

static dg_status take_layout(hid_t dataset, const dg_h5_shape *shape, chunk_table *t, const char *name,
                             const char *role)
{
    hsize_t chunk[4];
    hid_t list = H5Dget_create_plist(dataset);
    bool good =
        filters_are_ours(list) && H5Pget_layout(list) == H5D_CHUNKED && H5Pget_chunk(list, 4, chunk) == shape->rank;
    dg_h5_close(list);
    H5Eclear2(H5E_DEFAULT);
    if (!good)
        return DG_FAIL(DG_ERR_FORMAT, "%s: dataset %s is not stored as chunks with shuffle, LZ4 and fletcher32", role,
                       name);
    int skip = 4 - shape->rank;
    t->shape[0] = t->chunk[0] = 1;
    for (int i = 0; i < shape->rank; i++) {
        t->shape[i + skip] = shape->shape[i];
        t->chunk[i + skip] = (int64_t)chunk[i];
    }
    t->count = 1;
    for (int i = 0; i < 4; i++) {
        t->grid[i] = (t->shape[i] + t->chunk[i] - 1) / t->chunk[i];
        t->count *= t->grid[i];
    }
    t->type = shape->type;
    if (t->chunk[0] != 1 || chunk_voxels(t) * (int64_t)dg_dtype_size(t->type) > CHUNK_BYTES_MAX)
        return DG_FAIL(DG_ERR_FORMAT, "%s: dataset %s has chunks that no version writes", role, name);
    return DG_OK;
}

typedef struct taking {
    chunk_table *t;
    uint64_t file_bytes;
} taking;

static bool take_chunk(void *user, int64_t index, uint64_t address, uint64_t bytes)
{
    const taking *taken = user;
    chunk_table *t = taken->t;
    if (index >= t->count || bytes < 16 || bytes > UINT32_MAX || address > taken->file_bytes ||
        bytes > taken->file_bytes - address)
        return false;
    t->address[index] = address;
    t->bytes[index] = (uint32_t)bytes;
    if (t->bytes[index] > t->most) t->most = t->bytes[index];
    return true;
}

static dg_status take_chunks(hid_t dataset, int rank, uint64_t file_bytes, chunk_table *t, const char *name,
                             const char *role)
{
    taking taken = {.t = t, .file_bytes = file_bytes};
    hsize_t chunk[4], grid[4];
    DG_TRY(DG_NEW(&t->address, t->count, "chunk addresses"));
    DG_TRY(DG_NEW(&t->bytes, t->count, "chunk sizes"));
    for (int i = 0; i < rank; i++) {
        chunk[i] = (hsize_t)t->chunk[4 - rank + i];
        grid[i] = (hsize_t)t->grid[4 - rank + i];
    }
    if (!dg_h5_chunks(dataset, rank, chunk, grid, take_chunk, &taken))
        return DG_H5_FAIL(DG_ERR_FORMAT, "%s: dataset %s: its chunk table is damaged; import the case again", role,
                          name);
    return DG_OK;
}

static bool type_fits(int which, dg_dtype type)
{
    switch (which) {
    case CT: return type == DG_I16 || type == DG_F32;
    case DOSE: return type == DG_F32;
    case MASKS: return type == DG_U64;
    case SDF: return type == DG_I16;
    default: return type == DG_U8;
    }
}

static dg_status take_scale(hid_t dataset, int which, chunk_table *t, const char *role)
{
    t->scale = 1;
    if (which == SDF) return dg_h5_get_attr(dataset, "scale_mm", DG_F64, 1, &t->scale, role);
    if (which != CT || t->type != DG_I16) return DG_OK;
    DG_TRY(dg_h5_get_attr(dataset, "slope", DG_F64, 1, &t->scale, role));
    return dg_h5_get_attr(dataset, "intercept", DG_F64, 1, &t->shift, role);
}

static dg_status take_table(hid_t group, int which, const dg_case_info *info, uint64_t file_bytes, chunk_table *t,
                            const char *role)
{
    const char *name = table_name[which];
    dg_h5_shape shape;
    hid_t dataset;
    DG_TRY(dg_h5_open_dataset(group, name, role, &shape, &dataset));
    dg_status status;
    int rank = which == SDF ? 4 : 3;
    const int64_t *grid_shape = info->grid.shape;
    bool fits = !shape.raw && shape.rank == rank && type_fits(which, shape.type) &&
                memcmp(shape.shape + rank - 3, grid_shape, 3 * sizeof *grid_shape) == 0 &&
                (rank == 3 || shape.shape[0] == info->structure_count);
    if (!fits) {
        status = DG_FAIL(DG_ERR_FORMAT, "%s: dataset %s does not have the type or shape of this case; import it again",
                         role, name);
        goto cleanup;
    }
    DG_TRY_GOTO(status, take_layout(dataset, &shape, t, name, role), cleanup);
    DG_TRY_GOTO(status, take_scale(dataset, which, t, role), cleanup);
    DG_TRY_GOTO(status, take_chunks(dataset, rank, file_bytes, t, name, role), cleanup);
    atomic_store(&t->there, true);
cleanup:
    if (status != DG_OK) {
        dg_free(&t->address);
        dg_free(&t->bytes);
    }
    dg_h5_close(dataset);
    return status;
}

static dg_status take_tables(hid_t group, const dg_case_info *info, file_case *f)
{
    struct stat about;
    if (fstat(f->descriptor, &about) != 0) return DG_FAIL(DG_ERR_IO, "%s: file cannot be examined", f->role);
    const bool wanted[TABLES] = {true, info->has_dose, info->structure_count > 0, false, dg_h5_has(group, "labels")};
    for (int i = 0; i < TABLES; i++)
        if (wanted[i]) DG_TRY(take_table(group, i, info, (uint64_t)about.st_size, &f->table[i], f->role));
    return DG_OK;
}

/* The same open file that HDF5 read the tables from, even if another one gets its name meanwhile. */
static dg_status keep_descriptor(hid_t file, file_case *f)
{
    void *handle = NULL;
    if (H5Fget_vfd_handle(file, H5P_DEFAULT, &handle) < 0)
        return DG_H5_FAIL(DG_ERR_INTERNAL, "%s: HDF5 gives no descriptor", f->role);
    f->descriptor = fcntl(*(int *)handle, F_DUPFD_CLOEXEC, 0);
    if (f->descriptor < 0) {
        char reason[128];
        return DG_FAIL(DG_ERR_IO, "%s: no further file can be opened: %s; raise `ulimit -n`", f->role,
                       strerror_r(errno, reason, sizeof reason));
    }
    return DG_OK;
}

static dg_status check_unchanged(const dg_case_info *mine, hid_t group, const char *role)
{
    char sha256[DG_HASH_HEX];
    DG_TRY(dg_h5_get_attr_text(group, "content_sha256", sha256, sizeof sha256, role));
    if (strcmp(sha256, mine->content_sha256) != 0)
        return DG_FAIL(DG_ERR_MISMATCH,
                       "%s: the case was written again after the index; delete cohort.h5, it is rebuilt from the cases",
                       role);
    return DG_OK;
}

static dg_status open_locked(const dg_cohort *cohort, int64_t index, file_case *f)
{
    char path[DG_PATH_MAX], name[DG_CASE_ID + 16];
    hid_t file, group;
    dg_status status;
    const dg_case_info *info = &cohort->info[index];
    DG_TRY(dg_case_place(cohort, index, path, name));
    DG_TRY(dg_case_open_group(path, name, f->role, &file, &group));
    int64_t version;
    DG_TRY_GOTO(status, dg_h5_check_format(group, "dosegrid-case", DG_CASE_VERSION, f->role, &version), cleanup);
    DG_TRY_GOTO(status, check_unchanged(info, group, f->role), cleanup);
    DG_TRY_GOTO(status, keep_descriptor(file, f), cleanup);
    DG_TRY_GOTO(status, take_tables(group, info, f), cleanup);
cleanup:
    dg_h5_close(group);
    dg_h5_close(file);
    return status;
}

static void file_close(dg_case *c)
{
    file_case *f = c->source;
    if (f == NULL) return;
    dg_chunk_cache_forget(f->cache, f);
    if (f->descriptor >= 0) close(f->descriptor);
    pthread_mutex_destroy(&f->guard);
    for (int i = 0; i < TABLES; i++) {
        dg_free(&f->table[i].address);
        dg_free(&f->table[i].bytes);
    }
    dg_free(&f);
    c->source = NULL;
}

static dg_status file_open(const dg_cohort *cohort, int64_t index, dg_case *c)
{
    file_case *f;
    DG_TRY(DG_NEW(&f, 1, "open case"));
    c->source = f;
    f->descriptor = -1;
    f->cache = cohort->cache;
    f->cohort = cohort;
    f->index = index;
    pthread_mutex_init(&f->guard, NULL);
    dg_case_role(f->role, c->info->id);
    dg_h5_lock();
    dg_status status = open_locked(cohort, index, f);
    dg_h5_unlock();
    if (status != DG_OK) file_close(c);
    return status;
}

/* ---- the late table ---- */

static dg_status check_same_file(hid_t file, const file_case *f)
{
    void *handle = NULL;
    struct stat mine, theirs;
    if (H5Fget_vfd_handle(file, H5P_DEFAULT, &handle) < 0 || fstat(*(int *)handle, &theirs) != 0 ||
        fstat(f->descriptor, &mine) != 0)
        return DG_H5_FAIL(DG_ERR_IO, "%s: file cannot be examined", f->role);
    if (mine.st_dev != theirs.st_dev || mine.st_ino != theirs.st_ino)
        return DG_FAIL(DG_ERR_MISMATCH, "%s: the case was written again while it was open; run again", f->role);
    return DG_OK;
}

static dg_status take_late_locked(file_case *f, int which)
{
    char path[DG_PATH_MAX], name[DG_CASE_ID + 16];
    hid_t file, group;
    dg_status status;
    struct stat about;
    DG_TRY(dg_case_place(f->cohort, f->index, path, name));
    DG_TRY(dg_case_open_group(path, name, f->role, &file, &group));
    DG_TRY_GOTO(status, check_same_file(file, f), cleanup);
    if (fstat(f->descriptor, &about) != 0) about.st_size = 0;
    const dg_case_info *info = &f->cohort->info[f->index];
    DG_TRY_GOTO(status, take_table(group, which, info, (uint64_t)about.st_size, &f->table[which], f->role), cleanup);
cleanup:
    dg_h5_close(group);
    dg_h5_close(file);
    return status;
}

/* There are as many distance maps as structures: a run that does not use them shall not wait for their table. */
static dg_status need_table(file_case *f, int which)
{
    dg_status status = DG_OK;
    if (atomic_load(&f->table[which].there)) return DG_OK;
    if (which != SDF || f->cohort->info[f->index].structure_count == 0)
        return DG_FAIL(DG_ERR_DATA, "%s has no dataset %s", f->role, table_name[which]);
    pthread_mutex_lock(&f->guard);
    if (!atomic_load(&f->table[which].there)) {
        dg_h5_lock();
        status = take_late_locked(f, which);
        dg_h5_unlock();
    }
    pthread_mutex_unlock(&f->guard);
    return status;
}

/* ---- reading ---- */

static bool read_fully(int descriptor, uint8_t *out, size_t bytes, uint64_t at)
{
    while (bytes > 0) {
        ssize_t got = pread(descriptor, out, bytes, (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        out += got;
        bytes -= (size_t)got;
        at += (uint64_t)got;
    }
    return true;
}

static uint32_t little32(const uint8_t *b)
{
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

/* `stored` has room for the longest chunk of the table; `planes` gets the unpacked bytes, still shuffled: plane after
 * plane of bytes of equal significance. */
static dg_status unpack_chunk(const file_case *f, int which, int64_t index, uint8_t *stored, uint8_t *planes)
{
    const chunk_table *t = &f->table[which];
    size_t data = t->bytes[index] - 4; /* the checksum stands behind the data */
    if (!read_fully(f->descriptor, stored, t->bytes[index], t->address[index]))
        return DG_FAIL(DG_ERR_IO, "%s: dataset %s: chunk %lld cannot be read; is the disk well, the file still there?",
                       f->role, table_name[which], (long long)index);
    if (dg_fletcher32(stored, data) != little32(stored + data))
        return DG_FAIL(DG_ERR_FORMAT, "%s: dataset %s: chunk %lld fails its checksum; import the case again", f->role,
                       table_name[which], (long long)index);
    if (!dg_lz4_decode(stored, data, planes, (size_t)chunk_voxels(t) * dg_dtype_size(t->type)))
        return DG_FAIL(DG_ERR_FORMAT, "%s: dataset %s: chunk %lld cannot be unpacked; import the case again", f->role,
                       table_name[which], (long long)index);
    return DG_OK;
}

/* The chunk, held; from the cache or the file. */
static dg_status load_chunk(const file_case *f, int which, int64_t index, uint8_t **stored, dg_chunk **out)
{
    const chunk_table *t = &f->table[which];
    const dg_chunk_key key = {.owner = f, .table = which, .index = index};
    *out = dg_chunk_cache_find(f->cache, key);
    if (*out != NULL) return DG_OK;
    if (*stored == NULL) DG_TRY(dg_alloc(stored, t->most, 1, "stored chunk"));
    DG_TRY(dg_chunk_cache_room(f->cache, (size_t)chunk_voxels(t) * dg_dtype_size(t->type), out));
    dg_status status = unpack_chunk(f, which, index, *stored, (*out)->bytes);
    if (status == DG_OK) {
        dg_chunk_cache_publish(f->cache, key, *out);
        return DG_OK;
    }
    dg_chunk_cache_release(f->cache, *out);
    *out = NULL;
    return status;
}

static dg_status fail_nan(const file_case *f, int which, int64_t index)
{
    return DG_FAIL(DG_ERR_FORMAT, "%s: dataset %s: chunk %lld holds values that are not numbers; import the case again",
                   f->role, table_name[which], (long long)index);
}

/* In short runs of fixed length, which become a few vector instructions; most rows are 32 voxels or less. */
static inline __attribute__((always_inline)) void row_i16(const uint8_t *low, const uint8_t *high, int64_t n,
                                                          float scale, float shift, float *out)
{
    enum { RUN = 16 };
    int16_t value[RUN];
    for (; n >= RUN; n -= RUN, low += RUN, high += RUN, out += RUN) {
        for (int i = 0; i < RUN; i++) value[i] = (int16_t)(uint16_t)(low[i] | high[i] << 8);
        for (int i = 0; i < RUN; i++) out[i] = (float)value[i] * scale + shift;
    }
    for (int64_t i = 0; i < n; i++) out[i] = (float)(int16_t)(uint16_t)(low[i] | high[i] << 8) * scale + shift;
}

static inline __attribute__((always_inline)) bool row_f32(const uint8_t *planes, int64_t voxels, int64_t n, float *out)
{
    uint32_t worst = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = planes[i] | (uint32_t)planes[voxels + i] << 8 | (uint32_t)planes[2 * voxels + i] << 16 |
                        (uint32_t)planes[3 * voxels + i] << 24;
        uint32_t size = bits & 0x7fffffffu;
        worst = size > worst ? size : worst;
        memcpy(&out[i], &bits, sizeof bits);
    }
    return worst < 0x7f800000u; /* no infinity, no NaN */
}

static inline __attribute__((always_inline)) void row_bit(const uint8_t *plane, int bit, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i++) out[i] = (float)(plane[i] >> bit & 1);
}

static inline __attribute__((always_inline)) void row_u8(const uint8_t *plane, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i++) out[i] = (float)plane[i];
}

static inline __attribute__((always_inline)) void row_u64(const uint8_t *planes, int64_t voxels, int64_t n,
                                                          uint64_t *out)
{
    memset(out, 0, (size_t)n * sizeof *out);
    for (int p = 0; p < 8; p++) {
        const uint8_t *plane = planes + p * voxels;
        for (int64_t i = 0; i < n; i++) out[i] |= (uint64_t)plane[i] << (8 * p);
    }
}

/* Where a chunk's part of a box lies: first voxel in the chunk, in the output, and how many, per axis zyx. */
typedef struct overlap {
    int64_t chunk_at[3], out_at[3], count[3];
} overlap;

static bool overlap_of(const chunk_table *t, const int64_t position[3], const dg_box *box, overlap *o)
{
    for (int i = 0; i < 3; i++) {
        int64_t begin = position[i] * t->chunk[i + 1], end = begin + t->chunk[i + 1];
        int64_t first = begin > box->start[i] ? begin : box->start[i];
        int64_t last = end < box->start[i] + box->shape[i] ? end : box->start[i] + box->shape[i];
        if (first >= last) return false;
        o->chunk_at[i] = first - begin;
        o->out_at[i] = first - box->start[i];
        o->count[i] = last - first;
    }
    return true;
}

/* What one pass over the chunks of a box does. */
typedef struct read_job {
    file_case *f;
    int which, structure;
    const int64_t *stride;
    float *out;
    uint64_t *bits; /* instead of out */
} read_job;

static inline __attribute__((always_inline)) bool put_row(const read_job *job, const uint8_t *planes, int64_t from,
                                                          int64_t n, int64_t to)
{
    const chunk_table *t = &job->f->table[job->which];
    int64_t voxels = chunk_voxels(t);
    const uint8_t *at = planes + from;
    switch (job->which) {
    case CT:
    case SDF:
        if (t->type == DG_F32) return row_f32(at, voxels, n, job->out + to);
        row_i16(at, at + voxels, n, (float)t->scale, (float)t->shift, job->out + to);
        return true;
    case DOSE: return row_f32(at, voxels, n, job->out + to);
    case MASKS:
        if (job->bits != NULL)
            row_u64(at, voxels, n, job->bits + to);
        else
            row_bit(at + job->structure / 8 * voxels, job->structure % 8, n, job->out + to);
        return true;
    default: row_u8(at, n, job->out + to); return true;
    }
}

DG_H5_CLONES static bool put_chunk(const read_job *job, const uint8_t *planes, const overlap *o)
{
    const chunk_table *t = &job->f->table[job->which];
    bool good = true;
    for (int64_t z = 0; z < o->count[0]; z++) {
        for (int64_t y = 0; y < o->count[1]; y++) {
            int64_t from = ((o->chunk_at[0] + z) * t->chunk[2] + o->chunk_at[1] + y) * t->chunk[3] + o->chunk_at[2];
            int64_t to = (o->out_at[0] + z) * job->stride[0] + (o->out_at[1] + y) * job->stride[1] + o->out_at[2];
            good = put_row(job, planes, from, o->count[2], to) && good;
        }
    }
    return good;
}

static dg_status read_chunk(const read_job *job, const int64_t position[3], const dg_box *box, uint8_t **stored)
{
    const chunk_table *t = &job->f->table[job->which];
    int64_t plane = job->which == SDF ? job->structure : 0;
    int64_t index = ((plane * t->grid[1] + position[0]) * t->grid[2] + position[1]) * t->grid[3] + position[2];
    overlap o;
    dg_chunk *chunk;
    if (!overlap_of(t, position, box, &o)) return DG_OK;
    DG_TRY(load_chunk(job->f, job->which, index, stored, &chunk));
    bool good = put_chunk(job, chunk->bytes, &o);
    dg_chunk_cache_release(job->f->cache, chunk);
    return good ? DG_OK : fail_nan(job->f, job->which, index);
}

static dg_status read_chunks(const read_job *job, const dg_box *box)
{
    const chunk_table *t = &job->f->table[job->which];
    int64_t first[3], last[3], p[3];
    uint8_t *stored = NULL;
    dg_status status = DG_OK;
    DG_TRY(need_table(job->f, job->which));
    for (int i = 0; i < 3; i++) {
        first[i] = box->start[i] / t->chunk[i + 1];
        last[i] = (box->start[i] + box->shape[i] - 1) / t->chunk[i + 1];
    }
    for (p[0] = first[0]; status == DG_OK && p[0] <= last[0]; p[0]++)
        for (p[1] = first[1]; status == DG_OK && p[1] <= last[1]; p[1]++)
            for (p[2] = first[2]; status == DG_OK && p[2] <= last[2]; p[2]++) status = read_chunk(job, p, box, &stored);
    dg_free(&stored);
    return status;
}

static const int table_of[] = {[DG_FIELD_CT_HU] = CT,
                               [DG_FIELD_DOSE_GY] = DOSE,
                               [DG_FIELD_MASK] = MASKS,
                               [DG_FIELD_SDF_MM] = SDF,
                               [DG_FIELD_LABEL] = LABELS};

static bool file_has(const dg_case *c, dg_field field)
{
    const file_case *f = c->source;
    return field == DG_FIELD_SDF_MM ? c->info->structure_count > 0 : atomic_load(&f->table[table_of[field]].there);
}

static dg_status file_read(dg_case *c, dg_field field, int structure, const dg_box *box, const int64_t stride[3],
                           float *out)
{
    read_job job = {.f = c->source, .which = table_of[field], .structure = structure, .stride = stride, .out = out};
    return read_chunks(&job, box);
}

static dg_status file_read_mask_bits(dg_case *c, const dg_box *box, const int64_t stride[3], uint64_t *out)
{
    read_job job = {.f = c->source, .which = MASKS, .stride = stride, .bits = out};
    return read_chunks(&job, box);
}

static dg_status verify_locked(const dg_cohort *cohort, int64_t index, const char *role)
{
    char path[DG_PATH_MAX], name[DG_CASE_ID + 16], sha256[DG_HASH_HEX];
    hid_t file, group;
    dg_status status;
    DG_TRY(dg_case_place(cohort, index, path, name));
    DG_TRY(dg_case_open_group(path, name, role, &file, &group));
    DG_TRY_GOTO(status, check_unchanged(&cohort->info[index], group, role), cleanup);
    DG_TRY_GOTO(status, dg_h5_check_seal(group, role, sha256), cleanup);
cleanup:
    dg_h5_close(group);
    dg_h5_close(file);
    return status;
}

static dg_status file_verify(const dg_cohort *cohort, int64_t index)
{
    char role[DG_ROLE_TEXT];
    dg_case_role(role, cohort->info[index].id);
    dg_h5_lock();
    dg_status status = verify_locked(cohort, index, role);
    dg_h5_unlock();
    return status;
}

static dg_status read_plan_locked(const file_case *f, dg_dicom_plan *out)
{
    char path[DG_PATH_MAX], name[DG_CASE_ID + 16];
    hid_t file, group;
    dg_status status;
    DG_TRY(dg_case_place(f->cohort, f->index, path, name));
    DG_TRY(dg_case_open_group(path, name, f->role, &file, &group));
    DG_TRY_GOTO(status, check_same_file(file, f), cleanup);
    status = dg_case_plan_read(group, f->role, out);
cleanup:
    dg_h5_close(group);
    dg_h5_close(file);
    return status;
}

static dg_status file_read_plan(dg_case *c, dg_dicom_plan *out)
{
    dg_h5_lock();
    const dg_status status = read_plan_locked(c->source, out);
    dg_h5_unlock();
    return status;
}

static dg_status check_file(const char *path, const char *id, const char *role)
{
    char sha256[DG_HASH_HEX];
    dg_case_info *info = NULL;
    hid_t file, group;
    dg_status status;
    DG_TRY(dg_case_open_group(path, "/", role, &file, &group));
    DG_TRY_GOTO(status, DG_NEW(&info, 1, "case"), cleanup);
    DG_TRY_GOTO(status, dg_case_info_read(group, info, role), cleanup);
    if (strcmp(info->id, id) != 0)
        status = DG_FAIL(DG_ERR_FORMAT, "%s: the file holds case %s", role, info->id);
    else
        status = dg_h5_check_seal(group, role, sha256);
cleanup:
    dg_free(&info);
    dg_h5_close(group);
    dg_h5_close(file);
    return status;
}

bool dg_case_valid(const char *cohort_folder, const char *id)
{
    char path[DG_PATH_MAX], name[DG_CASE_ID + 16], role[DG_ROLE_TEXT];
    dg_status status = dg_h5_check_id(id);
    snprintf(name, sizeof name, "cases/%.63s.h5", id);
    if (status == DG_OK) status = dg_path_join(path, cohort_folder, name);
    if (status == DG_OK) {
        dg_case_role(role, id);
        dg_h5_lock();
        status = check_file(path, id, role);
        dg_h5_unlock();
    }
    if (status != DG_OK) dg_error_clear();
    return status == DG_OK;
}

const dg_case_ops dg_case_file_ops = {.open = file_open,
                                      .close = file_close,
                                      .read = file_read,
                                      .read_mask_bits = file_read_mask_bits,
                                      .has = file_has,
                                      .read_plan = file_read_plan,
                                      .verify = file_verify};
