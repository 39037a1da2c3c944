/* npz.c - see dg_npz.h; the zip itself is libzip's. SPDX-License-Identifier: Apache-2.0 */
#include "dg_file.h"
#include "dg_mem.h"
#include "dg_npz.h"

#include <stdio.h>
#include <string.h>
#include <zip.h>

enum { ENTRIES_MAX = 4096, KEY_MAX = 200, ROLE_MAX = 160, FIRST_BYTES = 4096 };
/* Deflate cannot make more of a byte than 1032; the rest is the smallest entry. */
enum { INFLATION_MAX = 1032, INFLATION_FREE = 4096 };
#define READ_MAX ((zip_uint64_t)1 << 30) /* at once: libzip's decoder counts in 32 bits */

struct dg_npz {
    zip_t *zip;
    char role[ROLE_MAX];
};

dg_status dg_npz_open(const char *path, const char *role, dg_npz **out)
{
    int code = 0;
    *out = NULL;
    DG_TRY(DG_NEW(out, 1, "NPZ reader"));
    snprintf((*out)->role, sizeof(*out)->role, "%s", role);
    (*out)->zip = zip_open(path, ZIP_RDONLY | ZIP_CHECKCONS, &code);
    if ((*out)->zip != NULL && zip_get_num_entries((*out)->zip, 0) <= ENTRIES_MAX) return DG_OK;
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    const bool refused = code == ZIP_ER_NOENT || code == ZIP_ER_OPEN || code == ZIP_ER_READ;
    dg_status status = refused ? DG_FAIL(DG_ERR_IO, "%s: %s", role, zip_error_strerror(&error))
                       : (*out)->zip != NULL
                           ? DG_FAIL(DG_ERR_FORMAT, "%s: the archive has more than %d entries", role, ENTRIES_MAX)
                           : DG_FAIL(DG_ERR_FORMAT, "%s: this is no intact zip archive (%s); write it again", role,
                                     zip_error_strerror(&error));
    zip_error_fini(&error);
    dg_npz_close(out);
    return status;
}

void dg_npz_close(dg_npz **npz)
{
    if (*npz == NULL) return;
    if ((*npz)->zip != NULL) zip_discard((*npz)->zip);
    dg_free(npz);
}

static zip_int64_t locate(dg_npz *npz, const char *key)
{
    char name[KEY_MAX + 8];
    snprintf(name, sizeof name, "%.*s.npy", KEY_MAX, key);
    return zip_name_locate(npz->zip, name, 0);
}

bool dg_npz_has(dg_npz *npz, const char *key) { return locate(npz, key) >= 0; }

/* Reads up to `want` bytes of an entry; all of it (and so its CRC) when `whole`. */
static dg_status read_entry(dg_npz *npz, const char *key, zip_uint64_t index, char *bytes, int64_t want, bool whole,
                            int64_t *have)
{
    char beyond;
    *have = 0;
    zip_file_t *file = zip_fopen_index(npz->zip, index, 0);
    if (file == NULL)
        return DG_FAIL(DG_ERR_FORMAT, "%s: %s cannot be read: %s", npz->role, key,
                       zip_error_strerror(zip_get_error(npz->zip)));
    zip_int64_t got = 0;
    while (*have < want) {
        const zip_uint64_t rest = (zip_uint64_t)(want - *have);
        got = zip_fread(file, bytes + *have, rest < READ_MAX ? rest : READ_MAX);
        if (got <= 0) break;
        *have += got;
    }
    /* The CRC is compared where the end is seen. */
    if (got >= 0 && whole) got = zip_fread(file, &beyond, 1);
    dg_status status = DG_OK;
    if (got < 0 || (whole && (got != 0 || *have != want)))
        status =
            DG_FAIL(DG_ERR_FORMAT, "%s: %s is damaged: %s", npz->role, key,
                    got < 0 ? zip_error_strerror(zip_file_get_error(file)) : "another size than the directory says");
    zip_fclose(file);
    return status;
}

static dg_status find_entry(dg_npz *npz, const char *key, zip_uint64_t *index, int64_t *length)
{
    const zip_int64_t at = locate(npz, key);
    zip_stat_t stat;
    if (at < 0) return DG_FAIL(DG_ERR_DATA, "%s: the array '%s' is missing", npz->role, key);
    zip_stat_init(&stat);
    if (zip_stat_index(npz->zip, (zip_uint64_t)at, 0, &stat) != 0 || (stat.valid & ZIP_STAT_SIZE) == 0 ||
        (stat.valid & ZIP_STAT_COMP_SIZE) == 0 || stat.size > INT64_MAX)
        return DG_FAIL(DG_ERR_FORMAT, "%s: the size of %s is not known", npz->role, key);
    if (stat.size > INFLATION_FREE && stat.size / INFLATION_MAX > stat.comp_size)
        return DG_FAIL(DG_ERR_FORMAT, "%s: %s says that %llu bytes become %llu, which deflate cannot do: refused",
                       npz->role, key, (unsigned long long)stat.comp_size, (unsigned long long)stat.size);
    *index = (zip_uint64_t)at;
    *length = (int64_t)stat.size;
    return DG_OK;
}

dg_status dg_npz_header(dg_npz *npz, const char *key, dg_npy_header *out)
{
    char first[FIRST_BYTES], role[ROLE_MAX + KEY_MAX];
    zip_uint64_t index;
    int64_t length, have;
    DG_TRY(find_entry(npz, key, &index, &length));
    DG_TRY(read_entry(npz, key, index, first, length < FIRST_BYTES ? length : FIRST_BYTES, false, &have));
    snprintf(role, sizeof role, "%s: %.*s", npz->role, KEY_MAX - 8, key);
    return dg_npy_parse(first, have, role, out);
}

dg_status dg_npz_read(dg_npz *npz, const char *key, int64_t limit, char **bytes, int64_t *length)
{
    zip_uint64_t index;
    int64_t have;
    *bytes = NULL;
    DG_TRY(find_entry(npz, key, &index, length));
    if (*length > limit)
        return DG_FAIL(DG_ERR_FORMAT, "%s: %s has %lld bytes, at most %lld are read", npz->role, key,
                       (long long)*length, (long long)limit);
    DG_TRY(dg_alloc(bytes, (size_t)*length + 1, 1, npz->role));
    const dg_status status = read_entry(npz, key, index, *bytes, *length, true, &have);
    if (status != DG_OK) dg_free(bytes);
    return status;
}

static bool same_shape(const dg_npy_header *header, int axes, const int64_t *shape)
{
    if (shape == NULL) return true;
    if (header->axes != axes) return false;
    for (int a = 0; a < axes; a++)
        if (header->shape[a] != shape[a]) return false;
    return true;
}

dg_status dg_npz_read_f32(dg_npz *npz, const char *key, int axes, const int64_t *shape, float **values)
{
    dg_npy_header header;
    char *bytes = NULL, role[ROLE_MAX + KEY_MAX];
    int64_t length;
    dg_status status;
    *values = NULL;
    snprintf(role, sizeof role, "%s: %.*s", npz->role, KEY_MAX - 8, key);
    DG_TRY(dg_npz_header(npz, key, &header));
    DG_TRY(dg_npy_check_numbers(&header, role));
    if (!same_shape(&header, axes, shape))
        return DG_FAIL(DG_ERR_DATA, "%s has another shape than the other arrays", role);
    DG_TRY(dg_npz_read(npz, key, header.offset + header.count * header.size, &bytes, &length));
    DG_TRY_GOTO(status, DG_NEW(values, header.count, role), cleanup);
    DG_TRY_GOTO(status, dg_npy_to_f32(&header, bytes, length, role, *values), cleanup);
cleanup:
    dg_free(&bytes);
    if (status != DG_OK) dg_free(values);
    return status;
}

/* ---- writing ---- */

typedef struct entry {
    char header[256];
    zip_buffer_fragment_t part[2];
} entry;

struct dg_npz_writer {
    zip_t *zip;
    char path[DG_PATH_MAX], temporary[DG_PATH_MAX], role[ROLE_MAX];
    entry *entry[ENTRIES_MAX]; /* libzip reads them when the archive is closed */
    int count;
};

static void release(dg_npz_writer **writer)
{
    for (int i = 0; i < (*writer)->count; i++) dg_free(&(*writer)->entry[i]);
    dg_free(writer);
}

dg_status dg_npz_create(const char *path, const char *role, dg_npz_writer **out)
{
    int code = 0;
    *out = NULL;
    if (strlen(path) + 5 > DG_PATH_MAX) return DG_FAIL(DG_ERR_USAGE, "%s: the path is too long", role);
    DG_TRY(DG_NEW(out, 1, "NPZ writer"));
    dg_npz_writer *w = *out;
    snprintf(w->path, sizeof w->path, "%s", path);
    snprintf(w->temporary, sizeof w->temporary, "%.*s.tmp", DG_PATH_MAX - 5, path);
    snprintf(w->role, sizeof w->role, "%s", role);
    w->zip = zip_open(w->temporary, ZIP_CREATE | ZIP_TRUNCATE, &code);
    if (w->zip != NULL) return DG_OK;
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    const dg_status status = DG_FAIL(DG_ERR_IO, "%s: the archive cannot be made: %s", role, zip_error_strerror(&error));
    zip_error_fini(&error);
    release(out);
    return status;
}

static dg_status zip_failed(dg_npz_writer *w, const char *key)
{
    return DG_FAIL(DG_ERR_IO, "%s: %s cannot be written: %s", w->role, key, zip_error_strerror(zip_get_error(w->zip)));
}

dg_status dg_npz_add(dg_npz_writer *w, const char *key, const char *descr, int axes, const int64_t *shape,
                     const void *data, int64_t bytes)
{
    char name[KEY_MAX + 8];
    if (w->count == ENTRIES_MAX) return DG_FAIL(DG_ERR_UNSUPPORTED, "%s: more than %d arrays", w->role, ENTRIES_MAX);
    DG_TRY(DG_NEW(&w->entry[w->count], 1, "NPZ entry"));
    entry *e = w->entry[w->count++];
    const int64_t header = dg_npy_write_header(descr, axes, shape, e->header, sizeof e->header);
    e->part[0] = (zip_buffer_fragment_t){.data = (zip_uint8_t *)e->header, .length = (zip_uint64_t)header};
    /* libzip takes what it only reads without const. */
    memcpy(&e->part[1].data, &data, sizeof data);
    e->part[1].length = (zip_uint64_t)bytes;
    snprintf(name, sizeof name, "%.*s.npy", KEY_MAX, key);
    zip_source_t *source = zip_source_buffer_fragment(w->zip, e->part, 2, 0);
    if (source == NULL) return zip_failed(w, key);
    const zip_int64_t index = zip_file_add(w->zip, name, source, ZIP_FL_ENC_UTF_8);
    if (index < 0) {
        zip_source_free(source);
        return zip_failed(w, key);
    }
    /* Floats pack hardly better at a higher level, and take five times as long. */
    if (zip_set_file_compression(w->zip, (zip_uint64_t)index, ZIP_CM_DEFLATE, 1) != 0) return zip_failed(w, key);
    if (zip_file_set_dostime(w->zip, (zip_uint64_t)index, 0, 0x21, 0) != 0) return zip_failed(w, key); /* 1980-01-01 */
    return DG_OK;
}

dg_status dg_npz_finish(dg_npz_writer **writer, bool keep)
{
    dg_npz_writer *w = *writer;
    dg_status status = DG_OK;
    if (w == NULL) return DG_OK;
    if (!keep) {
        zip_discard(w->zip);
    } else if (zip_close(w->zip) != 0) {
        status = zip_failed(w, "the archive");
        zip_discard(w->zip);
    } else {
        status = dg_file_commit(w->temporary, w->path);
    }
    release(writer);
    return status;
}
