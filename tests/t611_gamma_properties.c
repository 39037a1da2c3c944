/* ctest: libs=dg_analysis,dg_backend,dg_grid label=unit timeout=200 */
/* t611_gamma_properties.c - what any gamma map must obey, in both methods: identical doses, turned axes, criteria, parts,
 * threads, and a search by brute force. SPDX-License-Identifier: Apache-2.0 */
#include "gamma_case.h"

static gamma_dose reference, evaluated, part, part_evaluated;
static float found[GAMMA_VOXELS], other[GAMMA_VOXELS];

static void make_pair(double noise_gy)
{
    const int64_t shape[3] = {9, 10, 11}, eval_shape[3] = {10, 9, 13};
    const double spacing[3] = {3, 2.5, 2}, eval_spacing[3] = {2.7, 2.9, 1.8}, zero[3] = {0, 0, 0};
    gamma_dose_init(&reference, 3, shape, spacing, zero);
    gamma_dose_init(&evaluated, 3, eval_shape, eval_spacing, zero);
    gamma_fill_waves(&reference, 0.0, noise_gy, 1);
    gamma_fill_waves(&evaluated, 0.05, noise_gy, 2);
}

static void map(const dg_gamma_params *p, int threads, float *out)
{
    DG_CHECK_OK(dg_gamma_map(p, &reference.dose, &evaluated.dose, NULL, threads, out));
}

static bool same_bits(const float *a, const float *b, int64_t count)
{
    return memcmp(a, b, (size_t)count * sizeof *a) == 0;
}

static void test_identical(dg_gamma_method method)
{
    dg_gamma_params p = gamma_params(3, 3);
    p.method = method;
    make_pair(10);
    DG_CHECK_OK(dg_gamma_map(&p, &reference.dose, &reference.dose, NULL, 1, found));
    for (int64_t i = 0; i < reference.voxels; i++)
        DG_CHECK((double)reference.gy[i] >= 5.0 ? found[i] == 0.0f : isnan(found[i]));
}

/* Turns one axis of a dose over, values and positions. */
static void turn(gamma_dose *d, int axis, bool negate)
{
    static float copy[GAMMA_VOXELS];
    const int64_t n = d->dose.shape[axis];
    int64_t inner = 1;
    double places[GAMMA_SIDE];
    for (int a = axis + 1; a < 3; a++) inner *= d->dose.shape[a];
    memcpy(copy, d->gy, sizeof copy);
    memcpy(places, d->axis[axis], sizeof places);
    for (int64_t i = 0; i < d->voxels; i++) {
        const int64_t k = i / inner % n;
        d->gy[i] = copy[i + (n - 1 - 2 * k) * inner];
    }
    for (int64_t k = 0; k < n; k++) d->axis[axis][k] = negate ? -places[n - 1 - k] : places[n - 1 - k];
}

/* Falling axes give the map turned over; mirrored positions give the mirrored map. */
static void test_turned(dg_gamma_method method)
{
    dg_gamma_params p = gamma_params(3, 3);
    p.method = method;
    for (int axis = 0; axis < 3; axis++) {
        make_pair(6);
        map(&p, 1, found);
        turn(&evaluated, axis, false);
        map(&p, 1, other);
        DG_CHECK(same_bits(found, other, reference.voxels));
        if (method == DG_GAMMA_PYMEDPHYS) continue; /* its sample points are not symmetric */
        turn(&evaluated, axis, false);
        turn(&evaluated, axis, true);
        turn(&reference, axis, true);
        map(&p, 1, other);
        int64_t inner = 1;
        for (int a = axis + 1; a < 3; a++) inner *= reference.dose.shape[a];
        for (int64_t i = 0; i < reference.voxels; i++) {
            const int64_t n = reference.dose.shape[axis], k = i / inner % n;
            const float mirrored = other[i + (n - 1 - 2 * k) * inner];
            DG_CHECK(isnan(found[i]) == isnan(mirrored));
            if (!isnan(found[i])) DG_CHECK_NEAR(mirrored, found[i], 3e-7);
        }
    }
}

static void test_monotone(void)
{
    dg_gamma_params p = gamma_params(2, 2);
    make_pair(6);
    p.max_gamma = INFINITY;
    map(&p, 1, found);
    p.dose_percent = 3;
    map(&p, 1, other);
    for (int64_t i = 0; i < reference.voxels; i++) DG_CHECK(isnan(found[i]) || other[i] <= found[i] + 1e-6f);
    p.dose_percent = 2;
    p.distance_mm = 3;
    map(&p, 1, other);
    for (int64_t i = 0; i < reference.voxels; i++) DG_CHECK(isnan(found[i]) || other[i] <= found[i] + 1e-6f);
    p.distance_mm = 2;
    p.max_gamma = 0.7; /* a limit caps and changes nothing below it */
    map(&p, 1, other);
    for (int64_t i = 0; i < reference.voxels; i++)
        DG_CHECK(isnan(found[i]) || fabsf(other[i] - fminf(found[i], 0.7f)) <= 1e-6f);
}

static void test_below_sampled(bool local)
{
    dg_gamma_params p = gamma_params(2, 3);
    int64_t lower = 0;
    p.local = local;
    make_pair(8);
    map(&p, 2, found);
    p.method = DG_GAMMA_PYMEDPHYS;
    map(&p, 2, other);
    for (int64_t i = 0; i < reference.voxels; i++) {
        if (isnan(other[i])) continue;
        DG_CHECK(found[i] <= other[i] + 1e-6f);
        lower += found[i] < other[i] - 1e-4f;
    }
    DG_CHECK(lower > 50); /* samples do miss the minimum */
}

/* A part of the reference with the evaluated dose around it gives the same bits as the whole. */
static void test_parts(dg_gamma_method method, double noise_gy)
{
    dg_gamma_params p = gamma_params(3, 2);
    p.method = method;
    make_pair(noise_gy);
    map(&p, 1, found);
    for (int threads = 2; threads <= 3; threads++) {
        map(&p, threads, other);
        DG_CHECK(same_bits(found, other, reference.voxels));
    }
    const int64_t plane = reference.dose.shape[1] * reference.dose.shape[2],
                  eval_plane = evaluated.dose.shape[1] * evaluated.dose.shape[2];
    for (int64_t from = 0; from < reference.dose.shape[0]; from += 2) {
        const int64_t count = reference.dose.shape[0] - from < 2 ? reference.dose.shape[0] - from : 2;
        const double halo = p.max_gamma * p.distance_mm, low = reference.axis[0][from] - halo,
                     high = reference.axis[0][from + count - 1] + halo;
        int64_t first = 0, last = evaluated.dose.shape[0] - 1;
        while (first + 1 <= last && evaluated.axis[0][first + 1] <= low) first++;
        while (last - 1 >= first && evaluated.axis[0][last - 1] >= high) last--;
        part = reference;
        part.dose.shape[0] = count;
        part.dose.axis_mm[0] = reference.axis[0] + from;
        part.dose.dose_gy = reference.gy + from * plane;
        part_evaluated.dose = evaluated.dose;
        part_evaluated.dose.shape[0] = last - first + 1;
        part_evaluated.dose.axis_mm[0] = evaluated.axis[0] + first;
        part_evaluated.dose.dose_gy = evaluated.gy + first * eval_plane;
        DG_CHECK_OK(dg_gamma_map(&p, &part.dose, &part_evaluated.dose, NULL, 2, other));
        DG_CHECK(same_bits(other, found + from * plane, count * plane));
    }
}

/* gamma^2 at a point of a cell, in shares. */
static double square_at(const int64_t cell[3], const double share[3], const double at[3], double dose,
                        const dg_gamma_params *p)
{
    double sum = 0, gy = 0;
    for (int a = 0; a < 3; a++) {
        const double lo = evaluated.axis[a][cell[a]], hi = evaluated.axis[a][cell[a] + 1];
        const double t = (lo + share[a] * (hi - lo) - at[a]) / p->distance_mm;
        sum += t * t;
    }
    for (int k = 0; k < 8; k++) {
        const int64_t z = cell[0] + (k >> 2), y = cell[1] + (k >> 1 & 1), x = cell[2] + (k & 1);
        gy += (k & 4 ? share[0] : 1 - share[0]) * (k & 2 ? share[1] : 1 - share[1]) *
              (k & 1 ? share[2] : 1 - share[2]) *
              (double)evaluated.gy[(z * evaluated.dose.shape[1] + y) * evaluated.dose.shape[2] + x];
    }
    const double u = (gy - dose) / (p->dose_percent / 100 * p->norm_gy);
    return sum + u * u;
}

/* From a grid of starts in a cell downhill on all 26 sides with halved steps. */
static double least_in_cell(const int64_t cell[3], const double at[3], double dose, const dg_gamma_params *p)
{
    double least = INFINITY;
    for (int start = 0; start < 27; start++) {
        double share[3] = {0.5 * (start / 9), 0.5 * (start / 3 % 3), 0.5 * (start % 3)};
        double here = square_at(cell, share, at, dose, p);
        for (double step = 0.25; step > 1e-7;) {
            double best[3], lowest = here;
            for (int side = 0; side < 27; side++) {
                const int move[3] = {side / 9 - 1, side / 3 % 3 - 1, side % 3 - 1};
                double next[3];
                for (int a = 0; a < 3; a++) next[a] = fmin(fmax(share[a] + step * move[a], 0), 1);
                const double there = square_at(cell, next, at, dose, p);
                if (there >= lowest) continue;
                lowest = there;
                memcpy(best, next, sizeof best);
            }
            if (lowest < here) {
                memcpy(share, best, sizeof share);
                here = lowest;
            } else {
                step /= 2;
            }
        }
        least = fmin(least, here);
    }
    return sqrt(least);
}

static void test_brute_force(double noise_gy)
{
    const int64_t shape[3] = {3, 4, 3};
    const double spacing[3] = {3, 2.5, 2}, zero[3] = {0, 0, 0}, moved[3] = {0.4, -0.3, 0.7};
    dg_gamma_params p = gamma_params(3, 3);
    p.cutoff_percent = 0;
    p.max_gamma = INFINITY;
    gamma_dose_init(&reference, 3, shape, spacing, zero);
    gamma_dose_init(&evaluated, 3, shape, spacing, moved);
    gamma_fill_waves(&reference, 0.0, noise_gy, 5);
    gamma_fill_waves(&evaluated, 0.1, noise_gy, 6);
    map(&p, 1, found);
    for (int64_t i = 0; i < reference.voxels; i++) {
        double at[3], least = INFINITY;
        int64_t cell[3];
        gamma_place(&reference, i, at);
        for (cell[0] = 0; cell[0] < 2; cell[0]++)
            for (cell[1] = 0; cell[1] < 3; cell[1]++)
                for (cell[2] = 0; cell[2] < 2; cell[2]++)
                    least = fmin(least, least_in_cell(cell, at, (double)reference.gy[i], &p));
        DG_CHECK(found[i] <= (float)(least + 1e-6));
        DG_CHECK(found[i] >= (float)(least - 2e-6));
    }
}

int main(int argc, char **argv)
{
    gamma_open(argc, argv);
    for (int method = 0; method < DG_GAMMA_METHODS; method++) {
        test_identical((dg_gamma_method)method);
        test_turned((dg_gamma_method)method);
        test_parts((dg_gamma_method)method, 4);
    }
    test_parts(DG_GAMMA_CONTINUOUS, 30);
    test_monotone();
    test_below_sampled(false);
    test_below_sampled(true);
    test_brute_force(2);
    test_brute_force(20);
    dg_backend_destroy(&gamma_device);
    return 0;
}
