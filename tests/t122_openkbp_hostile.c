/* ctest: libs=dg_formats,dg_grid label=fuzz timeout=120 */
/* t122_openkbp_hostile.c - a table with random damage is read or refused with a message, never worse (run it with the
 * sanitizers). SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_file.h"
#include "dg_mem.h"
#include "dg_openkbp.h"
#include "dg_rng.h"

#include <unistd.h>

enum { ROUNDS = 300 };

int main(void)
{
    static const char spice[] = "0123456789.,-+eExXnaif\n\r\t \0\xff";
    char path[] = "/tmp/dosegrid-t122-XXXXXX", text[512];
    float *dose;
    int refused = 0, descriptor = mkstemp(path);
    DG_CHECK(descriptor >= 0);
    close(descriptor);
    DG_CHECK_OK(DG_NEW(&dose, DG_OPENKBP_VOXELS, "test"));
    for (uint64_t round = 0; round < ROUNDS; round++) {
        dg_rng rng = dg_rng_stream(21, DG_RNG_TEST, round, 0);
        int length = snprintf(text, sizeof text, ",data\n");
        for (int i = 0; i < 12; i++)
            length += snprintf(text + length, sizeof text - (size_t)length, "%d,%.*f\n", i * 1000 + 3, i, 6.25 * i);
        int64_t changes = dg_rng_below(&rng, 4);
        for (int64_t k = 0; k < changes; k++)
            text[dg_rng_below(&rng, length)] = spice[dg_rng_below(&rng, (int64_t)sizeof spice - 1)];
        if (dg_rng_below(&rng, 3) == 0) length = (int)dg_rng_below(&rng, length + 1);
        FILE *f = fopen(path, "wb");
        DG_CHECK(f != NULL && fwrite(text, 1, (size_t)length, f) == (size_t)length && fclose(f) == 0);
        dg_status status = dg_openkbp_read_dose(path, "pt_x", dose);
        DG_CHECK(status == DG_OK || status == DG_ERR_FORMAT || status == DG_ERR_DATA);
        DG_CHECK(status == DG_OK || strstr(dg_error_last()->text, "case pt_x: dose table") != NULL);
        refused += status != DG_OK;
    }
    DG_CHECK(refused > ROUNDS / 4 && refused < ROUNDS);
    dg_free(&dose);
    unlink(path);
    return 0;
}
