/* ctest: libs=dg_base label=unit timeout=30
 * Checked memory: zeroed, aligned, grown, and refused where sizes overflow. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"

#include "dg_mem.h"

static void check_alloc(void)
{
    int64_t *p;
    DG_CHECK_OK(DG_NEW(&p, 1001, "test"));
    DG_CHECK((uintptr_t)p % DG_MEM_ALIGNMENT == 0);
    for (int i = 0; i < 1001; i++) DG_CHECK(p[i] == 0);
    for (int i = 0; i < 1001; i++) p[i] = i;
    DG_CHECK_OK(dg_grow(&p, 1001, 5000, sizeof *p, "test"));
    for (int i = 0; i < 5000; i++) DG_CHECK(p[i] == (i < 1001 ? i : 0));
    DG_CHECK_OK(dg_grow(&p, 5000, 3, sizeof *p, "test"));
    DG_CHECK(p[2] == 2);
    int64_t *kept = p;
    DG_CHECK_FAILS(dg_grow(&p, 3, SIZE_MAX / 4, sizeof *p, "huge"), DG_ERR_MEMORY, "huge");
    DG_CHECK(p == kept && p[2] == 2);
    dg_free(&p);
    DG_CHECK(p == NULL);
    dg_free(&p);
    DG_CHECK_OK(dg_alloc(&p, 0, 8, "nothing"));
    DG_CHECK(p != NULL);
    dg_free(&p);
}

static void check_overflow(void)
{
    char *p = (char *)&p;
    int64_t product;
    DG_CHECK_FAILS(dg_alloc(&p, SIZE_MAX, 2, "voxels"), DG_ERR_MEMORY, "voxels");
    DG_CHECK(p == NULL);
    DG_CHECK_FAILS(dg_alloc(&p, SIZE_MAX, 1, "voxels"), DG_ERR_MEMORY, "overflow");
    DG_CHECK(dg_mul_int64(1 << 20, 1 << 20, &product) && product == (int64_t)1 << 40);
    DG_CHECK(!dg_mul_int64(INT64_MAX, 2, &product));
    DG_CHECK(!dg_mul_int64(-1, 2, &product) && !dg_mul_int64(2, -1, &product));
    DG_CHECK(dg_mul_int64(INT64_MAX, 1, &product) && product == INT64_MAX);
}

int main(void)
{
    char *copy;
    check_alloc();
    check_overflow();
    DG_CHECK_OK(dg_string_copy("Brainstem", &copy));
    DG_CHECK(strcmp(copy, "Brainstem") == 0);
    dg_free(&copy);
    DG_CHECK(dg_peak_rss_bytes() > 100000);
    return 0;
}
