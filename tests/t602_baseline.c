/* ctest: libs=dg_analysis,dg_grid label=unit timeout=60 */
/* t602_baseline.c - the distance table gives back a dose that depends on distances alone. SPDX-License-Identifier: Apache-2.0 */
#include "dg_baseline.h"
#include "dg_check.h"
#include "dg_mem.h"

enum { N = 3000 };
static float distance[N], far[N], dose[N], out[N];
static uint8_t use[N];

int main(void)
{
    dg_baseline *table, *other;
    DG_CHECK_OK(dg_baseline_create(&table));
    DG_CHECK_OK(dg_baseline_create(&other));
    double sum = 0;
    int64_t used = 0;
    for (int i = 0; i < N; i++) {
        distance[i] = (float)(i % 100) - 20;
        far[i] = 500;
        use[i] = i % 3 != 0;
        dose[i] = distance[i] < 1 ? 70 : distance[i] < 15 ? 40 : 5; /* steps at edges of bins */
        if (use[i]) sum += dose[i];
        used += use[i];
        if (!use[i]) dose[i] = 1000; /* must not be learned */
    }
    dg_baseline_case c = {.voxels = N, .use = use, .sdf_mm = {distance, NULL, far}, .dose_gy = dose};
    DG_CHECK_FAILS(dg_baseline_predict_table(table, &c, out), DG_ERR_DATA, "no training voxel");
    DG_CHECK(isnan(dg_baseline_constant_gy(table)));
    for (int k = 0; k < 40; k++) DG_CHECK_OK(dg_baseline_add(table, &c));
    DG_CHECK_NEAR(dg_baseline_constant_gy(table), sum / (double)used, 1e-5);
    DG_CHECK_OK(dg_baseline_predict_constant(table, &c, out));
    for (int i = 0; i < N; i++) DG_CHECK_NEAR(out[i], use[i] ? sum / (double)used : 0, 1e-5);
    DG_CHECK_OK(dg_baseline_predict_table(table, &c, out));
    for (int i = 0; i < N; i++) DG_CHECK_NEAR(out[i], use[i] ? dose[i] : 0, 0.7); /* the prior's pull */
    /* a case without that second target never seen together: the nearest-target table speaks */
    dg_baseline_case rare = {.voxels = N, .use = use, .sdf_mm = {distance, far, NULL}};
    DG_CHECK_OK(dg_baseline_predict_table(table, &rare, out));
    for (int i = 0; i < N; i++) DG_CHECK_NEAR(out[i], use[i] ? dose[i] : 0, 0.7);
    /* sums over ranks: integers, in any order */
    int64_t count, same;
    for (int k = 0; k < 40; k++) DG_CHECK_OK(dg_baseline_add(other, &c));
    int64_t *a = dg_baseline_data(table, &count), *b = dg_baseline_data(other, &same);
    DG_CHECK(count == same && memcmp(a, b, (size_t)count * sizeof *a) == 0);
    dose[1] = NAN;
    DG_CHECK_FAILS(dg_baseline_add(table, &c), DG_ERR_NUMERIC, "voxel 1 is nan");
    dg_baseline_destroy(&table);
    dg_baseline_destroy(&other);
    return 0;
}
