/* ctest: libs=dg_analysis,dg_backend,dg_grid label=unit timeout=120 */
/* t610_gamma_ramp.c - two parallel ramps have one gamma everywhere: |d| / sqrt(dD^2 + g^2 DTA^2) for slope g and
 * difference d. Slopes, spacings and doses are sums of powers of two, so that the doses are exact in float.
 * SPDX-License-Identifier: Apache-2.0 */
#include "gamma_case.h"

static gamma_dose reference, evaluated;
static float found[GAMMA_VOXELS];
static int64_t total; /* voxels that were compared */

static void fill_ramp(gamma_dose *d, const double slope[3], double at_origin)
{
    for (int64_t i = 0; i < d->voxels; i++) {
        double mm[3] = {0, 0, 0}, gy = at_origin;
        gamma_place(d, i, mm);
        for (int a = 0; a < d->dose.axes; a++) gy += slope[a] * mm[a];
        d->gy[i] = (float)gy;
    }
}

/* The largest deviation where the nearest point lies inside the evaluated dose. */
static double check_ramp(int axes, const double slope[3], double difference, const dg_gamma_params *p)
{
    double square = 0, worst = 0, norm = p->dose_percent / 100 * p->norm_gy;
    for (int a = 0; a < axes; a++) square += slope[a] * slope[a];
    const double scale = difference / (norm * norm / (p->distance_mm * p->distance_mm) + square);
    const double want = fabs(difference) / sqrt(norm * norm + square * p->distance_mm * p->distance_mm);
    DG_CHECK_OK(dg_gamma_map(p, &reference.dose, &evaluated.dose, NULL, 2, found));
    for (int64_t i = 0; i < reference.voxels; i++) {
        double mm[3] = {0, 0, 0};
        bool inside = true;
        gamma_place(&reference, i, mm);
        for (int a = 0; a < axes; a++) {
            const double foot = mm[a] - slope[a] * scale, e0 = evaluated.axis[a][0],
                         e1 = evaluated.axis[a][evaluated.dose.shape[a] - 1];
            inside = inside && foot > fmin(e0, e1) && foot < fmax(e0, e1);
        }
        if (!inside) continue;
        total++;
        worst = fmax(worst, fabs((double)found[i] - fmin(want, p->max_gamma)));
    }
    return worst;
}

static double ramp(int axes, const double slope[3], const double ref_mm[3], const double eval_mm[3], double difference)
{
    static const int64_t sides[4][3] = {{0}, {50}, {16, 15}, {8, 7, 9}};
    const double ref_origin[3] = {1, -2, 0.5}, eval_origin[3] = {0, -3.25, -1};
    dg_gamma_params p = gamma_params(3, 3);
    p.cutoff_percent = 0;
    int64_t side[3];
    for (int a = 0; a < 3; a++) side[a] = a < axes ? (int64_t)((double)sides[axes][a] * ref_mm[a] / eval_mm[a]) + 2 : 0;
    gamma_dose_init(&reference, axes, sides[axes], ref_mm, ref_origin);
    gamma_dose_init(&evaluated, axes, side, eval_mm, eval_origin);
    fill_ramp(&reference, slope, 100);
    fill_ramp(&evaluated, slope, 100 + difference);
    return check_ramp(axes, slope, difference, &p);
}

int main(int argc, char **argv)
{
    static const double slopes[][3] = {{0.5, 0, 0},      {0, -0.75, 0},        {0, 0, 1},     {0.5, 0.25, -0.75},
                                       {-1.5, 0.125, 2}, {0.0625, 0.03125, 0}, {4, -3, 0.25}, {0, 0, 0}};
    static const double same[3] = {2, 2.5, 3}, other[3] = {1.5, 2.75, 2.25}, fine[3] = {1, 1, 1.25};
    static const double differences[] = {0.25, -1, 2.5, 8};
    double worst = 0;
    gamma_open(argc, argv);
    for (int axes = 1; axes <= 3; axes++)
        for (size_t k = 0; k < sizeof slopes / sizeof slopes[0]; k++)
            for (size_t j = 0; j < sizeof differences / sizeof differences[0]; j++) {
                worst = fmax(worst, ramp(axes, slopes[k], same, same, differences[j]));
                worst = fmax(worst, ramp(axes, slopes[k], same, other, differences[j]));
                worst = fmax(worst, ramp(axes, slopes[k], fine, other, differences[j]));
            }
    printf("largest deviation from the analytic gamma of %lld voxels: %.3g\n", (long long)total, worst);
    DG_CHECK(total > 20000);
    DG_CHECK(worst <= 2e-7);
    dg_backend_destroy(&gamma_device);
    return 0;
}
