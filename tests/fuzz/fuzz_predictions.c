/* ctest: sources=src/base/*.c,src/grid/dg_grid.c,hdf5_io/predictions.c,hdf5_io/h5_*.c pkg=hdf5-openmpi,liblz4,jansson,yaml-0.1,libcrypto seconds=20 */
/* fuzz_predictions.c - any bytes are a predicted dose or are refused by name. Where only the hash of the content stands in the
 * way it is made anew, so that what lies behind it is reached as well. SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"
#include "dg_predictions.h"
#include "h5_impl.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LARGEST = 1 << 16 };
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

/* libhdf5 loses memory of its own where it refuses a damaged header: what we lose is looked for by the unit tests. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void) { return 1; }

static void must(bool condition)
{
    if (!condition) abort();
}

/* In memory where there is such a folder; one for each process, and gone with its end. */
static char folder[64];

static void remove_folder(void)
{
    char path[80];
    snprintf(path, sizeof path, "%s/a.h5", folder);
    (void)unlink(path);
    (void)rmdir(folder);
}

static void make_folder(void)
{
    if (folder[0] != '\0') return;
    snprintf(folder, sizeof folder, "%s/dg_fuzz_XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    must(mkdtemp(folder) != NULL);
    atexit(remove_folder);
}

static void put_file(const unsigned char *data, size_t size)
{
    char path[80];
    snprintf(path, sizeof path, "%s/a.h5", folder);
    FILE *file = fopen(path, "wb");
    must(file != NULL && fwrite(data, 1, size, file) == size && fclose(file) == 0);
}

static void seal_file(void)
{
    char path[80], hex[DG_HASH_HEX];
    snprintf(path, sizeof path, "%s/a.h5", folder);
    dg_h5_lock();
    hid_t access_list = dg_h5_access_list(), file = H5Fopen(path, H5F_ACC_RDWR, access_list);
    if (file >= 0 && H5Adelete(file, "content_sha256") >= 0 && dg_h5_seal(file, "prediction", hex) != DG_OK)
        dg_error_clear();
    dg_h5_close(file);
    dg_h5_close(access_list);
    dg_h5_unlock();
}

static bool read_file(void)
{
    dg_prediction_info info;
    float *dose_gy = NULL;
    const dg_status status = dg_prediction_load(folder, "a", &info, &dose_gy);
    if (status != DG_OK) {
        must(dose_gy == NULL && strstr(dg_error_last()->text, "prediction of case a") != NULL);
        return strstr(dg_error_last()->text, "does not match its stored sha256") != NULL;
    }
    const int64_t voxels = dg_grid_voxels(&info.grid);
    must(voxels > 0 && strlen(info.model_sha256) < DG_HASH_HEX && strlen(info.content_sha256) == DG_HASH_HEX - 1);
    float *plane = NULL;
    must(dg_alloc(&plane, (size_t)(info.grid.shape[1] * info.grid.shape[2]), sizeof *plane, "plane") == DG_OK);
    must(dg_prediction_read_planes(folder, "a", info.grid.shape[0] - 1, 1, &info, plane) == DG_OK);
    must(memcmp(plane, dose_gy + voxels - info.grid.shape[1] * info.grid.shape[2],
                (size_t)(info.grid.shape[1] * info.grid.shape[2]) * sizeof *plane) == 0);
    dg_free(&plane);
    dg_free(&dose_gy);
    return false;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    if (size > LARGEST) return 0;
    make_folder();
    put_file(data, size);
    if (read_file()) {
        seal_file();
        (void)read_file();
    }
    return 0;
}
