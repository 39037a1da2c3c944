/* ctest: sources=src/base/*.c,src/formats/tiff.c pkg=libtiff-4,jansson,yaml-0.1,libcrypto seconds=20 */
/* fuzz_tiff.c - any bytes are a volume or are refused by name; what is read has as many values as its shape says.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_tiff.h"

#include <stdbool.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void must(bool condition)
{
    if (!condition) abort();
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    dg_tiff tiff;
    if (dg_tiff_read_memory(data, (int64_t)size, "scan", &tiff) == DG_OK) {
        must(tiff.shape[0] > 0 && tiff.shape[1] > 0 && tiff.shape[2] > 0 && (tiff.bits == 8 || tiff.bits == 16));
        volatile uint16_t last = tiff.value[tiff.shape[0] * tiff.shape[1] * tiff.shape[2] - 1];
        (void)last;
        dg_tiff_release(&tiff);
    } else {
        must(tiff.value == NULL && dg_error_last()->text[0] != '\0');
    }
    return 0;
}
