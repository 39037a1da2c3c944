/* ctest: libs=dg_base,dg_math label=unit timeout=60
 * Philox against the known answers of Random123, streams that do not meet, and the distributions drawn from them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"

#include "dg_philox.h"
#include "dg_rng.h"

/* kat_vectors of Random123 1.14: philox4x32, 10 rounds. */
static void check_known_answers(void)
{
    static const uint32_t kat[3][10] = {{0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
                                        {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff,
                                         0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
                                        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0,
                                         0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}};
    for (int i = 0; i < 3; i++) {
        uint32_t out[4];
        dg_philox4x32(kat[i], kat[i] + 4, out);
        for (int j = 0; j < 4; j++) DG_CHECK(out[j] == kat[i][6 + j]);
    }
}

static void check_streams(void)
{
    dg_rng first = dg_rng_stream(42, DG_RNG_SAMPLE, 7, 3), again = dg_rng_stream(42, DG_RNG_SAMPLE, 7, 3), copy;
    for (int i = 0; i < 7; i++) DG_CHECK(dg_rng_u32(&first) == dg_rng_u32(&again));
    copy = first;
    for (int i = 0; i < 7; i++) DG_CHECK(dg_rng_u32(&first) == dg_rng_u32(&copy));
    dg_rng near[] = {dg_rng_stream(42, DG_RNG_SAMPLE, 7, 3),
                     dg_rng_stream(43, DG_RNG_SAMPLE, 7, 3),
                     dg_rng_stream((uint64_t)42 << 32, DG_RNG_SAMPLE, 7, 3),
                     dg_rng_stream(42, DG_RNG_AUGMENT, 7, 3),
                     dg_rng_stream(42, DG_RNG_SAMPLE, 8, 3),
                     dg_rng_stream(42, DG_RNG_SAMPLE, 7 + ((uint64_t)1 << 32), 3),
                     dg_rng_stream(42, DG_RNG_SAMPLE, 7, 4),
                     dg_rng_stream(42, DG_RNG_SAMPLE, 7, 3 + (1u << 24))};
    enum { STREAMS = sizeof near / sizeof near[0] };
    uint64_t head[STREAMS];
    for (int i = 0; i < STREAMS; i++) {
        head[i] = (uint64_t)dg_rng_u32(&near[i]) << 32;
        head[i] |= dg_rng_u32(&near[i]);
        for (int j = 0; j < i; j++) DG_CHECK(head[i] != head[j]);
    }
}

static void check_distributions(void)
{
    enum { DRAWS = 200000, BINS = 7 };
    dg_rng rng = dg_rng_stream(1, DG_RNG_TEST, 0, 0);
    double sum = 0, squares = 0, fourth = 0, mean = 0;
    int bin[BINS] = {0};
    for (int i = 0; i < DRAWS; i++) {
        double u = dg_rng_uniform(&rng), z = dg_rng_normal(&rng);
        int64_t k = dg_rng_below(&rng, BINS);
        DG_CHECK(u >= 0 && u < 1 && isfinite(z) && k >= 0 && k < BINS);
        mean += u / DRAWS;
        sum += z / DRAWS;
        squares += z * z / DRAWS;
        fourth += z * z * z * z / DRAWS;
        bin[k]++;
    }
    DG_CHECK_NEAR(mean, 0.5, 5 * sqrt(1.0 / 12 / DRAWS));
    DG_CHECK_NEAR(sum, 0, 5 / sqrt(DRAWS));
    DG_CHECK_NEAR(squares, 1, 5 * sqrt(2.0 / DRAWS));
    DG_CHECK_NEAR(fourth, 3, 5 * sqrt(96.0 / DRAWS));
    for (int k = 0; k < BINS; k++) DG_CHECK_NEAR(bin[k], (double)DRAWS / BINS, 5 * sqrt((double)DRAWS / BINS));
}

/* Three quarters of the 64-bit range: without rejection the lower half would come twice as often as it should. */
static void check_large_bound(void)
{
    int64_t bound = (int64_t)3 << 61, low = 0;
    dg_rng rng = dg_rng_stream(2, DG_RNG_TEST, 0, 0);
    for (int i = 0; i < 30000; i++) {
        int64_t k = dg_rng_below(&rng, bound);
        DG_CHECK(k >= 0 && k < bound);
        low += k < bound / 2;
    }
    DG_CHECK_NEAR((double)low, 15000, 5 * sqrt(7500.0));
    for (int i = 0; i < 10; i++) DG_CHECK(dg_rng_below(&rng, 1) == 0);
}

int main(void)
{
    check_known_answers();
    check_streams();
    check_distributions();
    check_large_bound();
    return 0;
}
