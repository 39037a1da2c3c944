/* ctest: libs=dg_analysis,dg_backend,dg_math,dg_grid label=unit timeout=60 */
/* t613_gamma_isa.c - the inner loops built for every instruction set give the same bits, and the side-by-side search the
 * bits of the search of single voxels, which devices run. SPDX-License-Identifier: Apache-2.0 */
#include "gamma_case.h"

#include "gamma_lanes.h"
#include "gamma_lattice.h"

static gamma_dose reference, evaluated;
static float base[GAMMA_VOXELS], other[GAMMA_VOXELS];

/* Waves with strong noise: minima inside cells, on faces and edges, and beyond the limit. */
static void make_pair(double noise_gy)
{
    const int64_t shape[3] = {8, 9, 11};
    const double spacing[3] = {2.5, 3, 2}, zero[3] = {0, 0, 0}, moved[3] = {0.7, -0.4, 0};
    gamma_dose_init(&reference, 3, shape, spacing, zero);
    gamma_dose_init(&evaluated, 3, shape, spacing, moved);
    gamma_fill_waves(&reference, 0.0, noise_gy, 3);
    gamma_fill_waves(&evaluated, 0.08, noise_gy, 4);
}

static void check_lanes(double noise_gy)
{
    static dg_gamma_lanes *const lanes[DG_GAMMA_ISAS] = {dg_gamma_lanes_base, dg_gamma_lanes_avx2,
                                                         dg_gamma_lanes_avx512};
    const dg_gamma_params p = gamma_params(3, 3);
    static dg_gamma_box stack[DG_GAMMA_DEPTH];
    dg_gamma_setup s;
    bool any;
    make_pair(noise_gy);
    DG_CHECK_OK(dg_gamma_setup_create(&p, &reference.dose, &evaluated.dose, NULL, 1, &s));
    DG_CHECK_OK(dg_gamma_setup_ranges(&s, &any));
    DG_CHECK(any);
    lanes[DG_GAMMA_BASE](&s, 0, s.problem.shape[0] * s.problem.shape[1], base);
    for (int isa = DG_GAMMA_BASE + 1; isa <= (int)dg_gamma_isa(); isa++) {
        lanes[isa](&s, 0, s.problem.shape[0] * s.problem.shape[1], other);
        DG_CHECK(memcmp(base, other, (size_t)reference.voxels * sizeof *base) == 0);
    }
    for (int64_t i = 0; i < reference.voxels; i++) {
        const int64_t index[3] = {i / (s.problem.shape[1] * s.problem.shape[2]),
                                  i / s.problem.shape[2] % s.problem.shape[1], i % s.problem.shape[2]};
        if (isnan(base[i])) continue;
        const dg_gamma_point point = dg_gamma_point_of(&s.problem, index);
        DG_CHECK(base[i] == dg_gamma_to_float(dg_gamma_continuous(&s.problem.field, &point, p.max_gamma, stack)));
    }
    dg_gamma_setup_release(&s);
}

/* Three groups of samples in two cells; the cell with the nearer dose may not be left out. */
static void check_lattice(void)
{
    static dg_gamma_lattice_least *const least[DG_GAMMA_ISAS] = {dg_gamma_lattice_base, dg_gamma_lattice_avx2,
                                                                 dg_gamma_lattice_avx512};
    enum { SAMPLES = 3 * DG_GAMMA_GROUP };
    static double share[3 * SAMPLES] __attribute__((aligned(64)));
    static const float dose[12] = {10, 11, 13, 12, 9, 10.5F, 11, 12.25F, 13, 14, 10, 9.5F}; /* [2, 2, 3] */
    static const float range[4] = {9, 14, 9, 14};
    dg_gamma_group group[3] = {{0, 0, 0, DG_GAMMA_GROUP, 0},
                               {1, 1, DG_GAMMA_GROUP, DG_GAMMA_GROUP, 1},
                               {0, 0, 2 * DG_GAMMA_GROUP, DG_GAMMA_GROUP, 0}};
    const dg_gamma_lattice lattice = {
        .group = group, .share = {share, share + SAMPLES, share + 2 * SAMPLES}, .shells = 1, .slots = 2};
    const dg_gamma_beside voxel = {
        .voxel = 7, .dose_gy = dose, .range_gy = range, .step = {6, 3, 1}, .reference_gy = 10.4};
    double want = INFINITY, found[DG_GAMMA_ISAS];
    dg_rng rng = dg_rng_stream(8, DG_RNG_TEST, 613, 0);
    for (int i = 0; i < 3 * SAMPLES; i++) share[i] = dg_rng_uniform(&rng);
    for (int g = 0; g < 3; g++)
        for (int64_t i = group[g].first; i < group[g].first + group[g].count; i++) {
            double sum = 0;
            for (int k = 0; k < 8; k++)
                sum += (k & 4 ? share[i] : 1 - share[i]) * (k & 2 ? share[SAMPLES + i] : 1 - share[SAMPLES + i]) *
                       (k & 1 ? share[2 * SAMPLES + i] : 1 - share[2 * SAMPLES + i]) *
                       (double)dose[group[g].dose_offset + (k >> 2) * 6 + (k >> 1 & 1) * 3 + (k & 1)];
            want = fmin(want, fabs(sum - voxel.reference_gy));
        }
    for (int isa = 0; isa <= (int)dg_gamma_isa(); isa++) {
        int64_t known[2] = {-1, -1};
        double terms[2][8];
        dg_gamma_cell_cache cache = {.voxel = known, .terms = terms};
        found[isa] = least[isa](&lattice, 0, 3, &voxel, INFINITY, &cache);
        DG_CHECK_NEAR(found[isa], want, 1e-12);
        DG_CHECK(found[isa] == found[0]);
        DG_CHECK(known[0] == 7 && known[1] == 7);
    }
}

int main(void)
{
    check_lanes(3);
    check_lanes(25);
    check_lattice();
    return 0;
}
