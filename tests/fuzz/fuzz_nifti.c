/* ctest: sources=src/base/*.c,src/grid/dg_grid.c,src/formats/nifti.c,src/formats/gzip.c pkg=zlib,jansson,yaml-0.1,libcrypto lib=nifti2 seconds=20 */
/* fuzz_nifti.c - any bytes are a volume or are refused by name; what is read has a grid that holds, and as many values.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"
#include "dg_nifti.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void must(bool condition)
{
    if (!condition) abort();
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    char path[64];
    dg_grid grid;
    float *values;
    const int file = memfd_create("volume", 0);
    must(file >= 0 && write(file, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    if (dg_nifti_read(path, "dose", &grid, &values) == DG_OK) {
        must(dg_grid_check(&grid) == DG_OK && isfinite(grid.direction[0]));
        volatile float last = values[dg_grid_voxels(&grid) - 1];
        (void)last;
        dg_free(&values);
    } else {
        must(values == NULL && dg_error_last()->text[0] != '\0');
    }
    close(file);
    return 0;
}
