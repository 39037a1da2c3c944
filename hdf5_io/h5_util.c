/* h5_util.c - the lock, errors and file images. See h5_impl.h. SPDX-License-Identifier: Apache-2.0 */
#include "h5_impl.h"

#include "dg_file.h"
#include "dg_mem.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The one piece of state of this folder: HDF5 itself is process-wide, so its guard must be. */
static pthread_mutex_t guard = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static pthread_once_t started = PTHREAD_ONCE_INIT;

static void start(void)
{
    /* Files are closed where they are used. What a full disk kept from closing must not be tried again at exit: 1.10.8
     * crashes there. */
    H5dont_atexit();
    H5open();
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    dg_lz4_register();
}

void dg_h5_lock(void)
{
    pthread_mutex_lock(&guard);
    pthread_once(&started, start);
}

void dg_h5_unlock(void) { pthread_mutex_unlock(&guard); }

static herr_t take_innermost(unsigned n, const H5E_error2_t *error, void *text)
{
    if (n == 0 && error->desc != NULL) snprintf(text, 300, "%s", error->desc);
    return 0;
}

dg_status dg_h5_fail(dg_status status, const char *file, int line, const char *function, const char *format, ...)
{
    char text[DG_ERROR_TEXT_MAX], why[300] = "";
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_innermost, why);
    H5Eclear2(H5E_DEFAULT);
    if (why[0] != '\0') return dg_error_set(status, file, line, function, "%s (HDF5: %s)", text, why);
    return dg_error_set(status, file, line, function, "%s", text);
}

void dg_h5_close(hid_t id)
{
    if (id < 0) return;
    switch (H5Iget_type(id)) {
    case H5I_FILE: H5Fclose(id); break;
    case H5I_GROUP: H5Gclose(id); break;
    case H5I_DATASET: H5Dclose(id); break;
    case H5I_DATATYPE: H5Tclose(id); break;
    case H5I_DATASPACE: H5Sclose(id); break;
    case H5I_ATTR: H5Aclose(id); break;
    case H5I_GENPROP_LST: H5Pclose(id); break;
    default: break;
    }
    H5Eclear2(H5E_DEFAULT);
}

hid_t dg_h5_file_type(dg_dtype type)
{
    switch (type) {
    case DG_F32: return H5T_IEEE_F32LE;
    case DG_F64: return H5T_IEEE_F64LE;
    case DG_U8: return H5T_STD_U8LE;
    case DG_BF16: return H5T_STD_U16LE;
    case DG_I16: return H5T_STD_I16LE;
    case DG_I32: return H5T_STD_I32LE;
    case DG_I64: return H5T_STD_I64LE;
    case DG_U64: return H5T_STD_U64LE;
    }
    return H5I_INVALID_HID;
}

/* The program runs on little-endian machines only (dg_hash.c asserts it), so values need no conversion. */
hid_t dg_h5_memory_type(dg_dtype type) { return dg_h5_file_type(type); }

hid_t dg_h5_access_list(void)
{
    hid_t list = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_libver_bounds(list, H5F_LIBVER_V110, H5F_LIBVER_V110);
    H5Pset_file_locking(list, 0, 1);
    H5Pset_fclose_degree(list, H5F_CLOSE_STRONG);
    return list;
}

hid_t dg_h5_creation_list(void)
{
    hid_t list = H5Pcreate(H5P_FILE_CREATE);
    H5Pset_obj_track_times(list, 0);
    return list;
}

/* HDF5's core driver asks us for its memory; at the close of the file we keep the block it would free. (H5Fget_file_image
 * of 1.10.8 clears a flag of the superblock without mending its checksum: such a file cannot be opened.) */
static void *image_malloc(size_t size, H5FD_file_image_op_t op, void *image) { return malloc(size); }

static void *image_realloc(void *bytes, size_t size, H5FD_file_image_op_t op, void *image)
{
    return realloc(bytes, size);
}

static herr_t image_free(void *bytes, H5FD_file_image_op_t op, void *image)
{
    if (op == H5FD_FILE_IMAGE_OP_FILE_CLOSE)
        ((dg_h5_image *)image)->bytes = bytes;
    else
        free(bytes);
    return 0;
}

static void *share_pointer(void *image) { return image; }

static herr_t forget_pointer(void *image) { return 0; }

dg_status dg_h5_image_create(const char *role, dg_h5_image *image)
{
    enum { GROW_BY = 4 << 20 };
    H5FD_file_image_callbacks_t callbacks = {.image_malloc = image_malloc,
                                             .image_realloc = image_realloc,
                                             .image_free = image_free,
                                             .udata_copy = share_pointer,
                                             .udata_free = forget_pointer,
                                             .udata = image};
    hid_t access = dg_h5_access_list(), creation = dg_h5_creation_list();
    image->bytes = NULL;
    H5Pset_fapl_core(access, GROW_BY, 0);
    H5Pset_file_image_callbacks(access, &callbacks);
    image->file = H5Fcreate("image", H5F_ACC_TRUNC, creation, access);
    dg_status status = DG_OK;
    if (image->file < 0) status = DG_H5_FAIL(DG_ERR_MEMORY, "%s: cannot start a file in memory", role);
    dg_h5_close(access);
    dg_h5_close(creation);
    return status;
}

void dg_h5_image_discard(dg_h5_image *image)
{
    dg_h5_close(image->file);
    image->file = H5I_INVALID_HID;
    dg_free(&image->bytes);
}

/* End of file as the superblock (version 2 and 3) has it; the block itself is longer. */
static int64_t image_length(const void *bytes)
{
    enum { EOF_AT = 28 };
    int64_t length;
    memcpy(&length, (const char *)bytes + EOF_AT, sizeof length);
    return length;
}

/* verify_s NULL: not read back. */
static dg_status finish_image(dg_h5_image *image, const char *role, const char *path, int64_t *bytes, double *verify_s)
{
    herr_t closed = H5Fclose(image->file);
    dg_status status = DG_OK;
    image->file = H5I_INVALID_HID;
    if (closed < 0 || image->bytes == NULL) {
        status = DG_H5_FAIL(DG_ERR_MEMORY, "%s: cannot complete the file in memory", role);
    } else {
        *bytes = image_length(image->bytes);
        dg_h5_unlock();
        status = verify_s == NULL ? dg_file_write(path, image->bytes, *bytes)
                                  : dg_file_write_verified(path, image->bytes, *bytes, verify_s);
        dg_h5_lock();
        if (status != DG_OK) (void)dg_error_context(status, "%s", role);
    }
    dg_h5_image_discard(image);
    return status;
}

dg_status dg_h5_image_finish(dg_h5_image *image, const char *role, const char *path)
{
    int64_t bytes = 0;
    return finish_image(image, role, path, &bytes, NULL);
}

dg_status dg_h5_image_finish_verified(dg_h5_image *image, const char *role, const char *path, int64_t *bytes,
                                      double *verify_s)
{
    return finish_image(image, role, path, bytes, verify_s);
}

dg_status dg_h5_open(const char *path, const char *role, hid_t *file)
{
    struct stat about;
    *file = H5I_INVALID_HID;
    if (access(path, R_OK) != 0) {
        char reason[128];
        return DG_FAIL(DG_ERR_IO, "%s: file cannot be read: %s", role, strerror_r(errno, reason, sizeof reason));
    }
    if (stat(path, &about) == 0 && S_ISDIR(about.st_mode))
        return DG_FAIL(DG_ERR_USAGE,
                       "%s: this is a folder; name a file (checkpoints of a run are RUN/checkpoints/*.h5)", role);
    hid_t list = dg_h5_access_list();
    dg_h5_set_driver(list);
    *file = H5Fopen(path, H5F_ACC_RDONLY, list);
    dg_status status = DG_OK;
    if (*file < 0)
        status = DG_H5_FAIL(DG_ERR_FORMAT, "%s: file header is damaged or the file is cut short; make it again", role);
    dg_h5_close(list);
    return status;
}

dg_status dg_h5_group(hid_t parent, const char *name, const char *role, hid_t *group)
{
    hid_t creation = H5Pcreate(H5P_GROUP_CREATE), link = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_obj_track_times(creation, 0);
    H5Pset_create_intermediate_group(link, 1);
    *group = H5Gcreate2(parent, name, link, creation, H5P_DEFAULT);
    dg_status status = DG_OK;
    if (*group < 0) status = DG_H5_FAIL(DG_ERR_IO, "%s: cannot make group %s", role, name);
    dg_h5_close(creation);
    dg_h5_close(link);
    return status;
}

bool dg_h5_has(hid_t parent, const char *name) { return H5Lexists(parent, name, H5P_DEFAULT) > 0; }

bool dg_h5_has_attr(hid_t object, const char *name) { return H5Aexists(object, name) > 0; }

dg_status dg_h5_check_id(const char *id)
{
    size_t length = strnlen(id, 64);
    bool good = length > 0 && length < 64 && id[0] != '.';
    for (size_t i = 0; good && i < length; i++) good = isalnum((unsigned char)id[i]) || strchr("._-", id[i]) != NULL;
    if (!good)
        return DG_FAIL(DG_ERR_USAGE,
                       "'%.64s' cannot be a case id: use 1 to 63 letters, digits, '.', '_' or '-', not '.' first", id);
    return DG_OK;
}
