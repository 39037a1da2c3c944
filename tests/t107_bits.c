/* ctest: libs=dg_grid label=unit timeout=30 */
/* t107_bits.c - masks of one bit a voxel give back what was put in, wherever a run begins and ends.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_bits.h"
#include "dg_check.h"
#include "dg_rng.h"

int main(void)
{
    enum { VOXELS = 61, BYTES = (VOXELS + 7) / 8 };
    uint8_t mask[VOXELS], bits[BYTES + 1] = {0}, out[VOXELS + 1];
    dg_rng rng = dg_rng_stream(5, DG_RNG_TEST, 0, 0);
    DG_CHECK(dg_bits_bytes(VOXELS) == BYTES && dg_bits_bytes(64) == 8 && dg_bits_bytes(65) == 9);
    for (int i = 0; i < VOXELS; i++) {
        mask[i] = (uint8_t)dg_rng_below(&rng, 2);
        if (mask[i] != 0) dg_bits_set(bits, i);
    }
    DG_CHECK(bits[BYTES] == 0);
    for (int i = 0; i < VOXELS; i++) DG_CHECK(dg_bits_get(bits, i) == (mask[i] != 0));
    for (int first = 0; first < VOXELS; first++)
        for (int count = 1; first + count <= VOXELS; count++) {
            memset(out, 0xee, sizeof out);
            dg_bits_to_bytes(bits, first, count, out);
            DG_CHECK(memcmp(out, mask + first, (size_t)count) == 0 && out[count] == 0xee);
        }
    for (int eight = 0; eight < 256; eight++) {
        const uint64_t spread = dg_bits_spread((uint8_t)eight);
        for (int j = 0; j < 8; j++) DG_CHECK((spread >> 8 * j & 255) == (uint64_t)(eight >> j & 1));
        DG_CHECK(dg_bits_gather(spread) == eight);
    }
    return 0;
}
