/* nifti.c - see dg_nifti.h. Struct layouts, byte swapping and quaternions are the NIfTI library's; sizes are checked here
 * before anything is allocated. SPDX-License-Identifier: Apache-2.0 */
#include "dg_nifti.h"

#include "dg_file.h"
#include "dg_mem.h"
#include "gzip_impl.h"

#include <math.h>
#include <nifti2_io.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

enum { HEADER_1 = 348, HEADER_2 = 540, INFLATION_MAX = 1032 };
enum { OFFSET_1 = 352, OFFSET_2 = 544, HEADER_ROOM = 544 }; /* where the values of a written file begin */
#define FILE_MAX ((int64_t)1 << 34)
#define FLOAT_PLACE_MM 1e-3

/* What of both versions is used. */
typedef struct header {
    bool swapped;
    int64_t dim[8], offset;
    int type, size;
    double slope, intercept, unit_mm;
    nifti_dmat44 affine; /* RAS */
    bool placed;
} header;

/* ---- bytes ---- */

typedef struct file {
    const char *role;
    char *raw; /* as on disk */
    int64_t raw_bytes;
    char *text; /* unpacked; the same as raw where the file is plain */
    int64_t bytes;
    bool packed;
} file;

static void release(file *f)
{
    if (f->text != f->raw) dg_free(&f->text);
    dg_free(&f->raw);
}

/* Unpacks exactly `bytes`, fewer where the stream ends before; *have tells. */
static dg_status unpack(const file *f, char *out, int64_t bytes, int64_t *have)
{
    z_stream z = {.next_in = (Bytef *)f->raw};
    int64_t left = f->raw_bytes;
    int code = inflateInit2(&z, GZIP_BITS);
    *have = 0;
    if (code != Z_OK) return DG_FAIL(DG_ERR_MEMORY, "%s: no memory to unpack it", f->role);
    while (code == Z_OK && *have < bytes) {
        const uInt in = left > (1 << 30) ? 1 << 30 : (uInt)left;
        const uInt room = bytes - *have > (1 << 30) ? 1 << 30 : (uInt)(bytes - *have);
        z.avail_in = in;
        z.next_out = (Bytef *)out + *have;
        z.avail_out = room;
        code = inflate(&z, Z_NO_FLUSH);
        left -= in - z.avail_in;
        *have += room - z.avail_out;
        if (in == z.avail_in && room == z.avail_out) break; /* no way on: cut short */
    }
    inflateEnd(&z);
    if (code == Z_OK || code == Z_STREAM_END || code == Z_BUF_ERROR) return DG_OK;
    return DG_FAIL(DG_ERR_FORMAT, "%s: its gzip stream is damaged", f->role);
}

static dg_status open_file(const char *path, const char *role, file *f)
{
    *f = (file){.role = role};
    DG_TRY(dg_file_read(path, role, FILE_MAX, &f->raw, &f->raw_bytes));
    f->packed = f->raw_bytes > 2 && (unsigned char)f->raw[0] == 0x1f && (unsigned char)f->raw[1] == 0x8b;
    f->text = f->raw;
    f->bytes = f->raw_bytes;
    if (!f->packed) return DG_OK;
    f->text = NULL;
    dg_status status = dg_alloc(&f->text, HEADER_2, 1, role);
    if (status == DG_OK) status = unpack(f, f->text, HEADER_2, &f->bytes);
    if (status != DG_OK) release(f);
    return status;
}

/* All of it, once the header has told how much that must be. */
static dg_status unpack_all(file *f, int64_t bytes)
{
    char *all = NULL;
    int64_t have;
    if (!f->packed) return DG_OK;
    if (bytes / INFLATION_MAX > f->raw_bytes)
        return DG_FAIL(DG_ERR_FORMAT, "%s: the header asks for %lld bytes, which %lld packed ones cannot hold", f->role,
                       (long long)bytes, (long long)f->raw_bytes);
    DG_TRY(dg_alloc(&all, (size_t)bytes, 1, f->role));
    const dg_status status = unpack(f, all, bytes, &have);
    if (status != DG_OK) {
        dg_free(&all);
        return status;
    }
    dg_free(&f->text);
    f->text = all;
    f->bytes = have;
    return DG_OK;
}

/* ---- header ---- */

/* The sform, else the qform. `place` holds srow_x, srow_y, srow_z; quatern_b, c, d; qoffset_x, y, z; pixdim 0 to 3. */
static void take_place(int sform, int qform, const double place[22], header *out)
{
    const double *q = place + 12, *pixdim = place + 18;
    out->placed = sform > 0 || qform > 0;
    if (sform > 0) {
        memcpy(out->affine.m, place, 12 * sizeof *place);
        out->affine.m[3][3] = 1;
    } else if (qform > 0) {
        out->affine = nifti_quatern_to_dmat44(q[0], q[1], q[2], q[3], q[4], q[5], pixdim[1], pixdim[2], pixdim[3],
                                              pixdim[0] < 0 ? -1 : 1);
    }
}

static double unit_mm(int xyzt_units)
{
    const int length = xyzt_units & 7;
    return length == NIFTI_UNITS_METER ? 1000 : length == NIFTI_UNITS_MICRON ? 1e-3 : 1;
}

/* The fields of both versions have the same names and differ in width alone. */
#define TAKE(h, out)                                                                                            \
    do {                                                                                                        \
        double place[22] = {0};                                                                                 \
        for (int c_ = 0; c_ < 4; c_++) {                                                                        \
            place[c_] = (h)->srow_x[c_];                                                                        \
            place[4 + c_] = (h)->srow_y[c_];                                                                    \
            place[8 + c_] = (h)->srow_z[c_];                                                                    \
            place[18 + c_] = (h)->pixdim[c_];                                                                   \
        }                                                                                                       \
        place[12] = (h)->quatern_b;                                                                             \
        place[13] = (h)->quatern_c;                                                                             \
        place[14] = (h)->quatern_d;                                                                             \
        place[15] = (h)->qoffset_x;                                                                             \
        place[16] = (h)->qoffset_y;                                                                             \
        place[17] = (h)->qoffset_z;                                                                             \
        for (int i_ = 0; i_ < 8; i_++) (out)->dim[i_] = (h)->dim[i_];                                           \
        (out)->type = (h)->datatype;                                                                            \
        (out)->offset = (h)->vox_offset >= 0 && (double)(h)->vox_offset < 1e15 ? (int64_t)(h)->vox_offset : -1; \
        (out)->slope = (h)->scl_slope;                                                                          \
        (out)->intercept = (h)->scl_inter;                                                                      \
        (out)->unit_mm = unit_mm((h)->xyzt_units);                                                              \
        take_place((h)->sform_code, (h)->qform_code, place, out);                                               \
    } while (0)

static dg_status check_header(const file *f, const char *magic, header *out)
{
    if (magic[1] == 'i')
        return DG_FAIL(DG_ERR_UNSUPPORTED, "%s: the header belongs to a separate .img file; save it as one .nii",
                       f->role);
    for (int i = 4; i <= out->dim[0] && i < 8; i++)
        if (out->dim[i] > 1)
            return DG_FAIL(DG_ERR_UNSUPPORTED, "%s: the file holds several volumes (axis %d has %lld); save one",
                           f->role, i, (long long)out->dim[i]);
    if (out->dim[0] < 1 || out->dim[0] > 7)
        return DG_FAIL(DG_ERR_FORMAT, "%s: the header says %lld axes", f->role, (long long)out->dim[0]);
    switch (out->type) {
    case NIFTI_TYPE_UINT8:
    case NIFTI_TYPE_INT8: out->size = 1; break;
    case NIFTI_TYPE_INT16:
    case NIFTI_TYPE_UINT16: out->size = 2; break;
    case NIFTI_TYPE_INT32:
    case NIFTI_TYPE_UINT32:
    case NIFTI_TYPE_FLOAT32: out->size = 4; break;
    case NIFTI_TYPE_INT64:
    case NIFTI_TYPE_UINT64:
    case NIFTI_TYPE_FLOAT64: out->size = 8; break;
    default:
        return DG_FAIL(DG_ERR_UNSUPPORTED, "%s: values of NIfTI type %d; save them as float32 or int16", f->role,
                       out->type);
    }
    return DG_OK;
}

static dg_status read_header(const file *f, header *out)
{
    nifti_1_header one;
    nifti_2_header two;
    int32_t size = 0;
    *out = (header){.unit_mm = 1};
    if (f->bytes >= HEADER_1) memcpy(&size, f->text, sizeof size);
    const int32_t turned = (int32_t)__builtin_bswap32((uint32_t)size);
    out->swapped = turned == HEADER_1 || turned == HEADER_2;
    const int32_t length = out->swapped ? turned : size;
    if ((length != HEADER_1 && length != HEADER_2) || f->bytes < length)
        return DG_FAIL(DG_ERR_FORMAT, "%s: this is no NIfTI file, or it is cut short", f->role);
    if (length == HEADER_1) {
        memcpy(&one, f->text, sizeof one);
        if (one.magic[0] != 'n' || one.magic[2] != '1')
            return DG_FAIL(DG_ERR_FORMAT, "%s: this is an ANALYZE file, which does not say where it lies", f->role);
        if (out->swapped) nifti_swap_as_nifti1(&one);
        TAKE(&one, out);
        return check_header(f, one.magic, out);
    }
    memcpy(&two, f->text, sizeof two);
    if (memcmp(two.magic, "n+2", 4) != 0 && memcmp(two.magic, "ni2", 4) != 0)
        return DG_FAIL(DG_ERR_FORMAT, "%s: the NIfTI-2 header is damaged", f->role);
    if (out->swapped) nifti_swap_as_nifti2(&two);
    TAKE(&two, out);
    return check_header(f, two.magic, out);
}

/* ---- place ---- */

static dg_status make_grid(const file *f, const header *h, dg_grid *grid)
{
    if (!h->placed)
        return DG_FAIL(DG_ERR_DATA, "%s: the file does not say how it lies in the patient (sform and qform are 0)",
                       f->role);
    *grid = (dg_grid){.shape = {1, 1, 1}};
    for (int i = 1; i <= 3 && i <= h->dim[0]; i++) grid->shape[3 - i] = h->dim[i];
    for (int c = 0; c < 3; c++) {
        double square = 0;
        for (int r = 0; r < 3; r++) square += h->affine.m[r][c] * h->affine.m[r][c];
        const double length = sqrt(square);
        grid->spacing_mm[2 - c] = length * h->unit_mm;
        for (int r = 0; r < 3; r++) grid->direction[3 * r + c] = (r < 2 ? -1 : 1) * h->affine.m[r][c] / length;
    }
    for (int r = 0; r < 3; r++) grid->origin_mm[2 - r] = (r < 2 ? -1 : 1) * h->affine.m[r][3] * h->unit_mm;
    const dg_status status = dg_grid_check(grid);
    if (status != DG_OK) return dg_error_context(status, "%s", f->role);
    for (int a = 0; a < 3; a++) {
        for (int b = 0; b < a; b++) {
            double dot = 0;
            for (int r = 0; r < 3; r++) dot += grid->direction[3 * r + a] * grid->direction[3 * r + b];
            if (fabs(dot) > 1e-3)
                return DG_FAIL(DG_ERR_DATA, "%s: the axes of the grid are not at right angles; resample it", f->role);
        }
    }
    return DG_OK;
}

/* ---- values ---- */

static double element(const header *h, const char *at)
{
    unsigned char raw[8] = {0};
    for (int i = 0; i < h->size; i++) raw[i] = (unsigned char)at[h->swapped ? h->size - 1 - i : i];
    uint64_t bits;
    float single;
    double wide;
    memcpy(&bits, raw, sizeof bits);
    memcpy(&single, raw, sizeof single);
    memcpy(&wide, raw, sizeof wide);
    switch (h->type) {
    case NIFTI_TYPE_FLOAT32: return single;
    case NIFTI_TYPE_FLOAT64: return wide;
    case NIFTI_TYPE_INT8: return (int8_t)bits;
    case NIFTI_TYPE_INT16: return (int16_t)bits;
    case NIFTI_TYPE_INT32: return (int32_t)bits;
    case NIFTI_TYPE_INT64: return (double)(int64_t)bits;
    default: return (double)bits;
    }
}

static dg_status read_values(file *f, const header *h, const dg_grid *grid, float **values)
{
    const int64_t count = dg_grid_voxels(grid), bytes = count * h->size;
    if (h->offset < HEADER_1 || h->offset > FILE_MAX)
        return DG_FAIL(DG_ERR_FORMAT, "%s: the header says that the values begin at byte %lld", f->role,
                       (long long)h->offset);
    DG_TRY(unpack_all(f, h->offset + bytes));
    if (f->bytes < h->offset + bytes)
        return DG_FAIL(DG_ERR_FORMAT, "%s: the file is cut short: %lld bytes of %lld", f->role, (long long)f->bytes,
                       (long long)(h->offset + bytes));
    DG_TRY(DG_NEW(values, count, f->role));
    const bool scaled = h->slope != 0 && isfinite(h->slope) && isfinite(h->intercept);
    for (int64_t i = 0; i < count; i++) {
        const double value = element(h, f->text + h->offset + i * h->size);
        (*values)[i] = (float)(scaled ? value * h->slope + h->intercept : value);
    }
    return DG_OK;
}

dg_status dg_nifti_read(const char *path, const char *role, dg_grid *grid, float **values)
{
    file f;
    header h;
    dg_status status;
    *values = NULL;
    DG_TRY(open_file(path, role, &f));
    DG_TRY_GOTO(status, read_header(&f, &h), cleanup);
    DG_TRY_GOTO(status, make_grid(&f, &h, grid), cleanup);
    status = read_values(&f, &h, grid, values);
cleanup:
    release(&f);
    return status;
}

/* ---- writing ---- */

static nifti_dmat44 affine_of(const dg_grid *grid)
{
    nifti_dmat44 affine = {{{0}}};
    for (int r = 0; r < 3; r++) {
        const double sign = r < 2 ? -1 : 1;
        for (int k = 0; k < 3; k++) affine.m[r][k] = sign * grid->direction[3 * r + k] * grid->spacing_mm[2 - k];
        affine.m[r][3] = sign * grid->origin_mm[2 - r];
    }
    affine.m[3][3] = 1;
    return affine;
}

/* The fields of both versions have the same names; version 1 keeps them as float, version 2 as double. */
#define FILL(h, real_, index_)                                                                                      \
    do {                                                                                                            \
        const nifti_dmat44 affine_ = affine_of(grid);                                                               \
        double b_, c_, d_, x_, y_, z_, dx_, dy_, dz_, qfac_;                                                        \
        nifti_dmat44_to_quatern(affine_, &b_, &c_, &d_, &x_, &y_, &z_, &dx_, &dy_, &dz_, &qfac_);                   \
        memset((h), 0, sizeof *(h));                                                                                \
        (h)->sizeof_hdr = (int)sizeof *(h);                                                                         \
        for (int i_ = 0; i_ < 8; i_++) (h)->dim[i_] = i_ == 0 ? 3 : i_ <= 3 ? (index_)grid->shape[3 - i_] : 1;      \
        (h)->datatype = type == DG_F32 ? NIFTI_TYPE_FLOAT32 : type == DG_I16 ? NIFTI_TYPE_INT16 : NIFTI_TYPE_UINT8; \
        (h)->bitpix = (int16_t)(8 * dg_dtype_size(type));                                                           \
        (h)->scl_slope = 1;                                                                                         \
        (h)->xyzt_units = NIFTI_UNITS_MM;                                                                           \
        snprintf((h)->descrip, sizeof(h)->descrip, "%s", description);                                              \
        for (int k_ = 0; k_ < 4; k_++) {                                                                            \
            (h)->srow_x[k_] = (real_)affine_.m[0][k_];                                                              \
            (h)->srow_y[k_] = (real_)affine_.m[1][k_];                                                              \
            (h)->srow_z[k_] = (real_)affine_.m[2][k_];                                                              \
        }                                                                                                           \
        (h)->quatern_b = (real_)b_;                                                                                 \
        (h)->quatern_c = (real_)c_;                                                                                 \
        (h)->quatern_d = (real_)d_;                                                                                 \
        (h)->qoffset_x = (real_)x_;                                                                                 \
        (h)->qoffset_y = (real_)y_;                                                                                 \
        (h)->qoffset_z = (real_)z_;                                                                                 \
        (h)->pixdim[0] = (real_)qfac_;                                                                              \
        for (int k_ = 0; k_ < 3; k_++) (h)->pixdim[1 + k_] = (real_)grid->spacing_mm[2 - k_];                       \
        (h)->sform_code = (h)->qform_code = NIFTI_XFORM_SCANNER_ANAT;                                               \
    } while (0)

/* True when float keeps every voxel within a micrometre of its place. */
static bool float_places(const dg_grid *grid)
{
    const nifti_dmat44 affine = affine_of(grid);
    double worst = 0;
    for (int r = 0; r < 3; r++) {
        double off = fabs((float)affine.m[r][3] - affine.m[r][3]);
        for (int k = 0; k < 3; k++)
            off += fabs((float)affine.m[r][k] - affine.m[r][k]) * (double)(grid->shape[2 - k] - 1);
        worst = fmax(worst, off);
    }
    return worst <= FLOAT_PLACE_MM;
}

/* The header and the zeros up to the values; returns their bytes, at most HEADER_ROOM. */
static int64_t write_header(const dg_grid *grid, dg_dtype type, const char *description, dg_nifti_version version,
                            char out[HEADER_ROOM])
{
    memset(out, 0, HEADER_ROOM);
    if (version == DG_NIFTI_1 || (version == DG_NIFTI_AUTO && float_places(grid))) {
        nifti_1_header one;
        FILL(&one, float, int16_t);
        one.vox_offset = OFFSET_1;
        memcpy(one.magic, "n+1", 4);
        memcpy(out, &one, sizeof one);
        return OFFSET_1;
    }
    nifti_2_header two;
    FILL(&two, double, int64_t);
    two.vox_offset = OFFSET_2;
    memcpy(two.magic, "n+2\0\r\n\032\n", 8);
    memcpy(out, &two, sizeof two);
    return OFFSET_2;
}

dg_status dg_nifti_write(const char *path, const char *role, const dg_grid *grid, dg_dtype type, const void *values,
                         const char *description, dg_nifti_version version)
{
    char head[HEADER_ROOM], *text = NULL;
    const size_t length = strlen(path);
    const bool packed = length > 3 && strcmp(path + length - 3, ".gz") == 0;
    DG_TRY(dg_grid_check(grid));
    const int64_t begin = write_header(grid, type, description, version, head);
    const int64_t size = dg_grid_voxels(grid) * (int64_t)dg_dtype_size(type), bytes = begin + size;
    DG_TRY(dg_alloc(&text, (size_t)bytes, 1, role));
    memcpy(text, head, (size_t)begin);
    memcpy(text + begin, values, (size_t)size);
    const dg_status status = packed ? gzip_write(path, role, NULL, 0, text, bytes) : dg_file_write(path, text, bytes);
    dg_free(&text);
    return status;
}
