/* ctest: sources=src/base/*.c,src/formats/safetensors.c pkg=jansson,yaml-0.1,libcrypto seconds=20 */
/* fuzz_safetensors.c - any bytes are tensors or are refused by name; every tensor that is listed can be read where it holds
 * floating-point numbers. SPDX-License-Identifier: Apache-2.0 */
#include "dg_safetensors.h"

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
    float value;
    const int64_t one[1] = {1};
    dg_safetensors *weights;
    const int file = memfd_create("weights", 0);
    must(file >= 0 && write(file, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    if (dg_safetensors_open(path, "weights", &weights) == DG_OK) {
        for (int i = 0; i < dg_safetensors_count(weights); i++) {
            const char *name = dg_safetensors_name(weights, i);
            must(dg_safetensors_has(weights, name));
            const dg_status status = dg_safetensors_read(weights, name, 1, one, &value);
            must(status == DG_OK || status == DG_ERR_MISMATCH || status == DG_ERR_UNSUPPORTED);
        }
        dg_safetensors_close(&weights);
    }
    close(file);
    return 0;
}
