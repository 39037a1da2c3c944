/* Phantoms: reproducible, with the structures of a patient, and a dose whose stated mean and spread are those of many
 * draws of the hidden choices.
 * ctest: libs=dg_run label=unit timeout=120
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_mem.h"
#include "phantom.h"

enum { DRAWS = 240 };

static dg_phantom_config small(dg_ambiguity ambiguity)
{
    return (dg_phantom_config){
        .shape = {16, 20, 18}, .spacing_mm = {14, 18, 20}, .seed = 3, .ambiguity = ambiguity, .level = 0.004};
}

static dg_phantom *make(const dg_phantom_config *config, int64_t index, uint32_t draw)
{
    dg_phantom *phantom;
    DG_CHECK_OK(dg_phantom_create(config, index, draw, &phantom));
    return phantom;
}

static bool in(const dg_phantom *phantom, const char *name, int64_t voxel)
{
    int row = dg_case_info_structure(&phantom->data.info, name);
    return row >= 0 && (phantom->masks[voxel] >> row & 1) != 0;
}

static bool in_target(const dg_phantom *phantom, int64_t voxel)
{
    return in(phantom, "PTV56", voxel) || in(phantom, "PTV63", voxel) || in(phantom, "PTV70", voxel);
}

static void test_anatomy(void)
{
    dg_phantom_config config = {.shape = {24, 32, 32}, .spacing_mm = {10, 12, 12}, .seed = 1};
    static const char *const names[] = {"Brainstem", "SpinalCord", "RightParotid", "LeftParotid", "Esophagus", "Larynx",
                                        "Mandible",  "PTV56",      "PTV63",        "PTV70",       "Body"};
    for (int64_t index = 0; index < 6; index++) {
        dg_phantom *p = make(&config, index, 0);
        int64_t voxels = dg_grid_voxels(&p->data.info.grid), count[11] = {0};
        double left_x = 0.0, right_x = 0.0, dose70 = 0.0, dose56 = 0.0;
        for (int64_t i = 0; i < voxels; i++) {
            for (int s = 0; s < 11; s++) count[s] += in(p, names[s], i);
            left_x += in(p, "LeftParotid", i) ? (double)(i % 32) : 0.0;
            right_x += in(p, "RightParotid", i) ? (double)(i % 32) : 0.0;
            dose70 += in(p, "PTV70", i) ? p->dose_gy[i] : 0.0f;
            dose56 += in(p, "PTV56", i) ? p->dose_gy[i] : 0.0f;
            DG_CHECK(in(p, "PTV56", i) + in(p, "PTV63", i) + in(p, "PTV70", i) <= 1);
            DG_CHECK(in(p, "Body", i) || (p->masks[i] == 0 && p->ct_hu[i] == -1000));
            if (!in(p, "possible_dose_mask", i)) DG_CHECK(p->dose_gy[i] == 0.0f && !in_target(p, i));
            if (in(p, "possible_dose_mask", i)) DG_CHECK(p->dose_gy[i] > 0.0f && p->dose_gy[i] < 80.0f);
        }
        for (int s = 0; s < 11; s++) DG_CHECK(count[s] > 0);
        DG_CHECK(left_x / (double)count[3] > right_x / (double)count[2]); /* x grows to the patient's left */
        DG_CHECK_NEAR(dose70 / (double)count[9], 70.0, 2.0);
        DG_CHECK(dose56 / (double)count[7] > 55.0 && dose56 / (double)count[7] < 64.0);
        dg_phantom_destroy(&p);
    }
}

/* The same numbers give the same bytes; another case, seed or draw others. A draw changes nothing but the dose. */
static void test_reproducible(void)
{
    dg_phantom_config config = small(DG_AMBIGUITY_ONE), other = config;
    other.seed++;
    dg_phantom *a = make(&config, 2, 0), *b = make(&config, 2, 0), *c = make(&config, 3, 0), *d = make(&other, 2, 0),
               *e = make(&config, 2, 1);
    size_t n = (size_t)dg_grid_voxels(&a->data.info.grid);
    DG_CHECK(strcmp(a->data.info.id, "phantom-0003") == 0 && strcmp(a->data.info.group, c->data.info.group) != 0);
    DG_CHECK(memcmp(a->dose_gy, b->dose_gy, n * 4) == 0 && memcmp(a->ct_hu, b->ct_hu, n * 2) == 0 &&
             memcmp(a->masks, b->masks, n * 8) == 0);
    DG_CHECK(memcmp(a->masks, c->masks, n * 8) != 0 && memcmp(a->masks, d->masks, n * 8) != 0);
    DG_CHECK(memcmp(a->masks, e->masks, n * 8) == 0 && memcmp(a->ct_hu, e->ct_hu, n * 2) == 0);
    DG_CHECK(memcmp(a->mean_gy, e->mean_gy, n * 4) == 0 && memcmp(a->std_gy, e->std_gy, n * 4) == 0);
    DG_CHECK(memcmp(a->dose_gy, e->dose_gy, n * 4) != 0);
    dg_phantom *all[] = {a, b, c, d, e};
    for (int k = 0; k < 5; k++) dg_phantom_destroy(&all[k]);
    DG_CHECK(all[0] == NULL);
}

/* Moments over draws against what the case states. Mean: five standard errors. Variance: every mode is bounded with a
 * kurtosis below 3, so the sample variance of 240 draws lies within 5 * sqrt(2 / 240) = 46 % of the true one. */
static void test_moments(dg_ambiguity ambiguity, double level)
{
    dg_phantom_config config = small(ambiguity);
    config.level = level;
    dg_phantom *truth = make(&config, 0, 0);
    int64_t voxels = dg_grid_voxels(&truth->data.info.grid), spread = 0, tested = 0, middle = 0, seen = 0;
    double *sum, *squares;
    DG_CHECK_OK(DG_NEW(&sum, voxels, "sums"));
    DG_CHECK_OK(DG_NEW(&squares, voxels, "sums"));
    for (uint32_t draw = 0; draw < DRAWS; draw++) {
        dg_phantom *p = make(&config, 0, draw);
        for (int64_t i = 0; i < voxels; i++) {
            double off = (double)p->dose_gy[i] - truth->mean_gy[i];
            sum[i] += off;
            squares[i] += off * off;
            if (in(truth, "LeftParotid", i) && truth->std_gy[i] > 1.0f) {
                seen++;
                middle += fabs(off) < 0.35 * truth->std_gy[i];
            }
            DG_CHECK(p->dose_gy[i] >= 0.0f);
        }
        dg_phantom_destroy(&p);
    }
    for (int64_t i = 0; i < voxels; i++) {
        double std = truth->std_gy[i], mean = truth->mean_gy[i];
        DG_CHECK_NEAR(sum[i] / DRAWS, 0.0, 5.0 * std / sqrt(DRAWS) + 1e-4);
        DG_CHECK_NEAR(squares[i] / DRAWS, std * std, 0.46 * std * std + 1e-6);
        if (in_target(truth, i) && ambiguity != DG_AMBIGUITY_NONE) /* the level, uniform in [-level, level], alone */
            DG_CHECK_NEAR(std, level / sqrt(3.0) * mean, 1e-4 * mean);
        tested += std > 0.0;
        spread += std > 0.15 * mean && mean > 10.0; /* large between targets and organs */
    }
    if (ambiguity == DG_AMBIGUITY_NONE) DG_CHECK(tested == 0);
    if (ambiguity != DG_AMBIGUITY_NONE) DG_CHECK(spread > 20 && tested > 500 && seen > DRAWS);
    /* Uniform numbers lie within 0.35 sigma in 20 % of the draws, two modes at +-1 sigma hardly ever. */
    double share = seen > 0 ? (double)middle / (double)seen : 0.0;
    if (ambiguity == DG_AMBIGUITY_ONE) DG_CHECK(share > 0.15);
    if (ambiguity == DG_AMBIGUITY_TWO) DG_CHECK(share < 0.05);
    dg_free(&sum);
    dg_free(&squares);
    dg_phantom_destroy(&truth);
}

int main(void)
{
    test_anatomy();
    test_reproducible();
    test_moments(DG_AMBIGUITY_NONE, 0.05);
    test_moments(DG_AMBIGUITY_ONE, 0.004); /* about none in the targets */
    test_moments(DG_AMBIGUITY_TWO, 0.004);
    test_moments(DG_AMBIGUITY_ONE, 0.05);
    test_moments(DG_AMBIGUITY_TWO, 0.0);
    dg_phantom *p;
    dg_phantom_config bad = small(DG_AMBIGUITY_NONE);
    bad.shape[1] = 4;
    DG_CHECK_FAILS(dg_phantom_create(&bad, 0, 0, &p), DG_ERR_USAGE, "4 voxels along y");
    bad = small(DG_AMBIGUITY_NONE);
    bad.spacing_mm[2] = NAN;
    DG_CHECK_FAILS(dg_phantom_create(&bad, 0, 0, &p), DG_ERR_USAGE, "along x");
    bad = small(DG_AMBIGUITY_ONE);
    bad.level = 0.2;
    DG_CHECK_FAILS(dg_phantom_create(&bad, 0, 0, &p), DG_ERR_USAGE, "a level of 0.2");
    DG_CHECK(p == NULL);
    return 0;
}
