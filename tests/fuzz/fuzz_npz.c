/* ctest: sources=src/base/*.c,src/formats/npy.c,src/formats/npz.c pkg=libzip,jansson,yaml-0.1,libcrypto seconds=20 */
/* fuzz_npz.c - any bytes are an archive of arrays or are refused by name; an array that is read has as many elements as its
 * header says, and little memory was asked for. SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"
#include "dg_npz.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LIMIT = 1 << 22 };

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void must(bool condition)
{
    if (!condition) abort();
}

static void read_all(dg_npz *npz)
{
    static const char *const key[] = {"ct", "masks", "dose", "constraints", "metadata"};
    for (size_t k = 0; k < sizeof key / sizeof key[0]; k++) {
        dg_npy_header header;
        char *bytes;
        float *values;
        int64_t length;
        if (dg_npz_header(npz, key[k], &header) != DG_OK) continue;
        must(header.count >= 1 && header.axes <= DG_NPY_AXES && header.offset >= 10);
        if (dg_npz_read(npz, key[k], LIMIT, &bytes, &length) == DG_OK) {
            must(length <= LIMIT);
            dg_free(&bytes);
        }
        if (header.count > LIMIT || dg_npz_read_f32(npz, key[k], 0, NULL, &values) != DG_OK) continue;
        volatile float last = values[header.count - 1];
        (void)last;
        dg_free(&values);
    }
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    char path[64];
    dg_npz *npz;
    const int file = memfd_create("npz", 0);
    must(file >= 0 && write(file, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    if (dg_npz_open(path, "NPZ", &npz) == DG_OK) {
        read_all(npz);
        dg_npz_close(&npz);
    }
    close(file);
    return 0;
}
