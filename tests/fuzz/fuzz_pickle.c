/* ctest: sources=src/base/*.c,src/formats/pickle.c,src/formats/pickle_write.c pkg=jansson,yaml-0.1,libcrypto seconds=20 */
/* fuzz_pickle.c - any bytes are plain values or are refused by name; what is read is written and read again as the same.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"
#include "dg_pickle.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    json_t *first = NULL, *second = NULL;
    char *bytes = NULL;
    int64_t length;
    if (dg_pickle_read(data, (int64_t)size, "metadata", &first) != DG_OK) {
        if (first != NULL || dg_error_last()->text[0] == '\0') abort();
        return 0;
    }
    if (dg_pickle_write(first, "metadata", &bytes, &length) == DG_OK) {
        /* The array around it makes one level more than may be. */
        if (dg_pickle_read(bytes, length, "metadata", &second) == DG_OK && !json_equal(first, second)) abort();
    }
    json_decref(first);
    json_decref(second);
    dg_free(&bytes);
    return 0;
}
