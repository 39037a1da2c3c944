/* ctest: libs=dg_analysis,dg_backend,dg_grid label=gpu timeout=120 args=--backend cuda */
/* t614_gamma_device.c - a device finds the gamma of the host's threads, by samples and the true minimum, with the same bits.
 * SPDX-License-Identifier: Apache-2.0 */
#include "gamma_case.h"

static gamma_dose reference, evaluated;
static float host[GAMMA_VOXELS], device[GAMMA_VOXELS];
static uint8_t where[GAMMA_VOXELS];

/* `alike`: every voxel lies alike in its cell, so that samples are taken by groups. */
static void make_pair(int axes, bool alike, double noise_gy)
{
    static const int64_t sides[4][3] = {{0}, {60}, {14, 15}, {6, 7, 9}};
    const double spacing[3] = {3, 2.5, 2}, other[3] = {2.7, 2.9, 1.8}, zero[3] = {0, 0, 0}, moved[3] = {0.4, -0.3, 0.7};
    gamma_dose_init(&reference, axes, sides[axes], spacing, zero);
    gamma_dose_init(&evaluated, axes, sides[axes], alike ? spacing : other, moved);
    gamma_fill_waves(&reference, 0.0, noise_gy, 1);
    gamma_fill_waves(&evaluated, 0.08, noise_gy, 2);
    for (int64_t i = 0; i < reference.voxels; i++) where[i] = i % 7 != 3;
}

static void map(dg_gamma_params p, bool on_device, float *out)
{
    p.backend = on_device ? gamma_device : NULL;
    DG_CHECK_OK(dg_gamma_map(&p, &reference.dose, &evaluated.dose, where, 2, out));
}

/* Returns how many voxels were evaluated. */
static int64_t compare(const dg_gamma_params *p)
{
    int64_t evaluated_voxels = 0;
    map(*p, false, host);
    map(*p, true, device);
    for (int64_t i = 0; i < reference.voxels; i++) {
        DG_CHECK(isnan(host[i]) == isnan(device[i]));
        if (isnan(host[i])) continue;
        evaluated_voxels++;
        DG_CHECK(host[i] == device[i]);
    }
    return evaluated_voxels;
}

int main(int argc, char **argv)
{
    int64_t voxels = 0;
    gamma_open(argc, argv);
    for (int method = 0; method < DG_GAMMA_METHODS; method++)
        for (int axes = 1; axes <= 3; axes++)
            for (int variant = 0; variant < 8; variant++) {
                dg_gamma_params p = gamma_params(3, 3);
                p.method = (dg_gamma_method)method;
                p.local = (variant & 1) != 0;
                p.max_gamma = (variant & 2) != 0 ? INFINITY : 1.5;
                p.interp_fraction = 5;
                make_pair(axes, (variant & 4) != 0, method == DG_GAMMA_CONTINUOUS ? 10 : 3);
                voxels += compare(&p);
            }
    printf("%lld voxels compared\n", (long long)voxels);
    DG_CHECK(voxels > 8000);
    dg_gamma_params nothing = gamma_params(3, 3);
    nothing.cutoff_percent = 1e6;
    DG_CHECK(compare(&nothing) == 0);
    dg_backend_destroy(&gamma_device);
    return 0;
}
