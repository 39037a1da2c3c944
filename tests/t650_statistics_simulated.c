/* ctest: libs=dg_analysis,dg_base label=slow timeout=300 */
/* t650_statistics_simulated.c - the statistics against the truth: 10^4 simulated studies of 7, 20 and 44 patients with three
 * seeds each, where it is known which conditions differ.
 *
 * A study: a reference and four conditions. The error of a patient under a condition and seed is (patient) + (patient x
 * condition) + noise of (patient x condition x seed); what the seeds shift for all patients alike is not in it, as no test over
 * patients can see it: the rule of seed deviations is for that (doc/statistics.md). Under the null hypothesis no condition
 * differs from the reference. Accepted: at most 5 % of the 10^4 studies have a false positive, without allowance for chance (the
 * random numbers are fixed; one standard error is 0.22 points); coverage of the interval that is printed as the
 * primary one lies in 93 to 97 %. With 7 patients four exact tests cannot reach 0.05 / 4 (0.0156 is the smallest p), so two are
 * made, and the share stays below 5 % by more: exact tests of few patients are conservative.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_effect.h"
#include "dg_holm.h"
#include "dg_rng.h"
#include "dg_wilcoxon.h"

enum { STUDIES = 10000, SEEDS = 3, PATIENTS_MAX = 44, CONDITIONS_MAX = 4 };

/* Shapes of the patient x condition effect, symmetric about 0. */
typedef enum shape { NORMAL, HEAVY, SHAPES } shape;
static const char *const shape_name[] = {"normal", "Laplace"};

static double draw(dg_rng *rng, shape s)
{
    const double u = 1 - dg_rng_uniform(rng);
    if (s == NORMAL) return dg_rng_normal(rng);
    return dg_rng_below(rng, 2) == 0 ? log(u) : -log(u);
}

/* Differences condition - reference of each patient, averaged over seeds, as a comparison makes them. The reference's part is common
 * to all conditions: their tests depend on each other. */
static void study(uint64_t number, int patients, int conditions, shape s, const double *shift,
                  double difference[CONDITIONS_MAX][PATIENTS_MAX])
{
    dg_rng rng = dg_rng_stream(2026, DG_RNG_TEST, number, (uint32_t)(patients * SHAPES + (int)s));
    for (int p = 0; p < patients; p++) {
        double reference = 0;
        for (int k = 0; k < SEEDS; k++) reference += 0.3 * dg_rng_normal(&rng) / SEEDS;
        for (int c = 0; c < conditions; c++) {
            double mean = shift[c] + draw(&rng, s);
            for (int k = 0; k < SEEDS; k++) mean += 0.3 * dg_rng_normal(&rng) / SEEDS;
            difference[c][p] = mean - reference;
        }
    }
}

typedef void (*correction)(const double *p, int count, bool *significant);

static void holm(const double *p, int count, bool *significant)
{
    double adjusted[CONDITIONS_MAX];
    DG_CHECK_OK(dg_holm(p, count, 0.05, false, adjusted, significant));
}

/* Two wrong ones, to see that the check can fail: nothing corrected, and the factors in the wrong order. */
static void uncorrected(const double *p, int count, bool *significant)
{
    for (int i = 0; i < count; i++) significant[i] = p[i] <= 0.05;
}

static void reversed(const double *p, int count, bool *significant)
{
    for (int i = 0; i < count; i++) {
        int larger = 0;
        for (int k = 0; k < count; k++) larger += p[k] > p[i];
        significant[i] = p[i] <= 0.05 / (larger == 0 ? count : count - larger);
    }
}

/* Share of studies that call a condition without effect significant. The first `real` conditions do have one. */
static double false_positives(int patients, int conditions, int real, shape s, correction correct)
{
    double difference[CONDITIONS_MAX][PATIENTS_MAX], p[CONDITIONS_MAX];
    const double shift[CONDITIONS_MAX] = {real > 0 ? 0.8 : 0, real > 1 ? 0.8 : 0, real > 2 ? 0.8 : 0, 0};
    bool significant[CONDITIONS_MAX];
    const dg_wilcoxon_params automatic = {.method = DG_WILCOXON_AUTO};
    int64_t found = 0;
    for (int i = 0; i < STUDIES; i++) {
        bool any = false;
        study((uint64_t)i, patients, conditions, s, shift, difference);
        for (int c = 0; c < conditions; c++) {
            dg_wilcoxon w;
            DG_CHECK_OK(dg_wilcoxon_test(difference[c], patients, &automatic, &w));
            p[c] = w.p;
        }
        correct(p, conditions, significant);
        for (int c = real; c < conditions; c++) any = any || significant[c];
        found += any;
    }
    return (double)found / STUDIES;
}

static const double highest_accepted = 0.05;

static void test_family(int patients, int conditions, shape s)
{
    for (int real = 0; real < conditions; real++) {
        const double share = false_positives(patients, conditions, real, s, holm);
        printf("%2d patients, %-7s, %d of %d conditions real: %.2f %% of studies with a false positive\n", patients,
               shape_name[s], real, conditions, 100 * share);
        DG_CHECK(share <= highest_accepted);
    }
}

static void test_wrong_corrections(void)
{
    const double none = false_positives(20, 4, 0, NORMAL, uncorrected),
                 wrong = false_positives(20, 4, 0, NORMAL, reversed);
    printf("uncorrected %.2f %%, factors reversed %.2f %%: both must be caught\n", 100 * none, 100 * wrong);
    DG_CHECK(none > highest_accepted && wrong > highest_accepted);
}

/* How often the Hodges-Lehmann interval holds the true shift (pseudo-median) of the averaged differences. */
static void test_coverage(int patients, shape s, double shift)
{
    double difference[CONDITIONS_MAX][PATIENTS_MAX];
    int64_t covered = 0;
    dg_hodges_lehmann h;
    for (int i = 0; i < STUDIES; i++) {
        study((uint64_t)i + STUDIES, patients, 1, s, &shift, difference);
        DG_CHECK_OK(dg_hodges_lehmann_shift(difference[0], patients, 0.95, &h));
        covered += h.interval.low <= shift && shift <= h.interval.high;
    }
    const double share = (double)covered / STUDIES;
    printf("%2d patients, %-7s: the 95 %% interval holds the shift in %.2f %% (its own statement: %.2f %%)\n", patients,
           shape_name[s], 100 * share, 100 * h.coverage);
    DG_CHECK(share >= 0.93 && (share <= 0.97 || patients < 20));
}

/* The printed bootstrap interval of the mean is a second one: what it attains is stated, and it must not be far off. */
static void test_bootstrap(int patients, shape s)
{
    double difference[CONDITIONS_MAX][PATIENTS_MAX];
    const double zero = 0;
    int64_t covered = 0;
    enum { FEWER = 2000 };
    for (int i = 0; i < FEWER; i++) {
        dg_interval interval;
        study((uint64_t)i + STUDIES, patients, 1, s, &zero, difference);
        DG_CHECK_OK(dg_bootstrap_mean(difference[0], patients, DG_BOOTSTRAP_AUTO, 1000, 42, 0.95, &interval));
        covered += interval.low <= 0 && 0 <= interval.high;
    }
    const double share = (double)covered / FEWER;
    printf("%2d patients, %-7s: the bootstrap interval (%s) holds the mean in %.2f %%\n", patients, shape_name[s],
           dg_bootstrap_method_name(dg_bootstrap_choose(DG_BOOTSTRAP_AUTO, patients)), 100 * share);
    DG_CHECK(share >= (patients < 20 ? 0.85 : 0.90) && share <= 0.97);
}

int main(void)
{
    test_family(7, 2, NORMAL);
    test_family(20, 4, NORMAL);
    test_family(44, 4, NORMAL);
    test_family(20, 4, HEAVY);
    test_wrong_corrections();
    const int patients[] = {7, 20, 44};
    for (int i = 0; i < 3; i++) {
        test_coverage(patients[i], NORMAL, 0.35);
        test_coverage(patients[i], HEAVY, -0.2);
        test_bootstrap(patients[i], NORMAL);
    }
    return 0;
}
