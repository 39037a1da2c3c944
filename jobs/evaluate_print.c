/* evaluate_print.c - what `dosegrid evaluate` says on a terminal. SPDX-License-Identifier: Apache-2.0 */
#include "evaluate_impl.h"

#include "dg_mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A number of the tables; what does not exist is a dash. */
static void print_number(double value, int width, int digits)
{
    if (isnan(value))
        printf(" %*s", width, "-");
    else
        printf(" %*.*f", width, digits, value);
}

static void print_table(const evaluate_work *w)
{
    static const int shown[] = {DG_STAT_D99, DG_STAT_D98, DG_STAT_D95,   DG_STAT_D50,
                                DG_STAT_D2,  DG_STAT_D1,  DG_STAT_D01CC, DG_STAT_MEAN};
    char(*seen)[DG_STRUCTURE_NAME] = NULL;
    int64_t names = 0, cases;
    if (DG_NEW(&seen, DG_STRUCTURES_MAX, "names of structures") != DG_OK) return;
    printf("\nDVH, mean |prediction - reference| in Gy over cases\n%-20s %5s", "structure", "cases");
    for (size_t k = 0; k < sizeof shown / sizeof *shown; k++) printf(" %7s", dg_dose_statistic_name(shown[k]));
    printf("\n");
    for (int64_t i = 0; i < w->count; i++)
        for (int64_t s = 0; s < w->result[i]->structure_count; s++) {
            const char *name = dg_case_structures(w->result[i])[s].name;
            int64_t known = 0;
            while (known < names && strcmp(seen[known], name) != 0) known++;
            if (known < names || names == DG_STRUCTURES_MAX) continue;
            snprintf(seen[names++], DG_STRUCTURE_NAME, "%s", name);
            (void)dg_evaluation_mean_error(w->result, w->count, name, DG_STAT_MEAN, &cases);
            printf("%-20s %5lld", name, (long long)cases);
            for (size_t k = 0; k < sizeof shown / sizeof *shown; k++)
                print_number(dg_evaluation_mean_error(w->result, w->count, name, shown[k], &cases), 7, 2);
            printf("\n");
        }
    dg_free(&seen);
}

/* 95 % is what this project aims at; the limits of TG-218 are for measured plans at 3 %/2 mm. */
static void print_gamma(const evaluate_work *w)
{
    const char *names[4 * DG_REGIONS_MAX];
    const int64_t regions = dg_evaluation_region_names(w->result, w->count, names, sizeof names / sizeof *names);
    if (w->config.criteria == 0 || regions == 0) return;
    printf("\nGamma pass rate in %%, mean and standard deviation over cases (project target: 95 %%)\n%-24s %5s",
           "region", "cases");
    for (int c = 0; c < w->config.criteria; c++) {
        char text[48];
        snprintf(text, sizeof text, "%g%%/%gmm", w->config.criterion[c].dose_percent,
                 w->config.criterion[c].distance_mm);
        printf(" %15s", text);
    }
    printf("\n");
    for (int64_t k = 0; k < regions; k++) {
        printf("%-24s %5lld", names[k], (long long)dg_evaluation_pass_rate(w->result, w->count, names[k], 0).cases);
        for (int c = 0; c < w->config.criteria; c++) {
            const dg_spread spread = dg_evaluation_pass_rate(w->result, w->count, names[k], c);
            print_number(spread.mean, 8, 2);
            print_number(spread.std, 6, 2);
        }
        printf("\n");
    }
}

/* How an ensemble of a calibrated network would look: coverage 50 and 90 %, ratio 1. */
static void print_members(const evaluate_work *w)
{
    const char *names[4 * DG_REGIONS_MAX + 1];
    if (w->config.members == 0) return;
    const int64_t regions = dg_members_regions(w->result, w->count, names, sizeof names / sizeof *names);
    printf("\nEnsemble of %lld: over the voxels of all cases; coverage in %% of the middle 50 %% and 90 %%, the rest "
           "in Gy\n"
           "%-24s %9s %8s %6s %6s %8s %8s %7s %10s\n",
           (long long)w->config.members, "region", "voxels", "CRPS", "50 %", "90 %", "spread", "true", "ratio",
           "mean error");
    for (int64_t k = 0; k < regions; k++) {
        const dg_calibration sums = dg_members_pool(w->result, w->count, names[k]);
        const bool one = w->config.members == 1;
        printf("%-24s %9lld", names[k], (long long)sums.voxels);
        print_number(dg_calibration_crps_gy(&sums), 8, 3);
        print_number(one ? NAN : 100 * dg_calibration_coverage(&sums, 50), 6, 1);
        print_number(one ? NAN : 100 * dg_calibration_coverage(&sums, 90), 6, 1);
        print_number(one ? NAN : dg_calibration_spread_gy(&sums), 8, 3);
        print_number(dg_calibration_true_spread_gy(&sums), 8, 3);
        print_number(one ? NAN : dg_calibration_spread_ratio(&sums), 7, 3);
        print_number(dg_calibration_mean_error_gy(&sums), 10, 3);
        printf("\n");
    }
}

static void print_constraints(const evaluate_work *w)
{
    static const char *const word[] = {"PASS", "FAIL", "INCOMPLETE"};
    int64_t verdicts[3] = {0}, passed = 0, evaluated = 0, total = 0;
    if (w->table == NULL) return;
    for (int64_t i = 0; i < w->count; i++) {
        int64_t p = 0, e = 0;
        const int64_t n = w->result[i]->constraint_count;
        if (w->result[i]->failed) continue;
        for (int64_t k = 0; k < n; k++) {
            const dg_verdict verdict = dg_case_constraints(w->result[i])[k].verdict[1];
            p += verdict == DG_VERDICT_PASS;
            e += verdict != DG_VERDICT_NOT_EVALUATED;
        }
        verdicts[p < e ? 1 : e < n ? 2 : 0]++;
        passed += p;
        evaluated += e;
        total += n;
    }
    printf("\nClinical constraints (%s): ", dg_constraint_table_name(w->table));
    for (int k = 0; k < 3; k++) printf("%lld %s, ", (long long)verdicts[k], word[k]);
    printf("%lld passed of %lld evaluated of %lld rows\n", (long long)passed, (long long)evaluated, (long long)total);
}

static void print_score(double score, const dg_interval *interval)
{
    char text[64] = "";
    print_number(score, 10, 3);
    if (!isnan(interval->low)) snprintf(text, sizeof text, "[%.3f, %.3f]", interval->low, interval->high);
    printf(" %-17s", text);
}

static void print_board(const dg_scoreboard *board, const char *who)
{
    printf("%-15s", who);
    for (int region = 0; region < DG_DOSE_REGIONS; region++) print_number(board->mae_gy[region], 15, 3);
    print_score(dg_openkbp_dose_score(&board->openkbp), &board->dose_score);
    print_score(dg_openkbp_dvh_score(&board->openkbp), &board->dvh_score);
    printf("\n");
}

void evaluate_print_summary(const evaluate_work *w, int64_t failed)
{
    char assumed[DG_ASSUMED_TEXT];
    printf("%lld cases evaluated, %lld failed\n", (long long)(w->count - failed), (long long)failed);
    dg_evaluation_assumed(w->result, w->count, assumed);
    if (assumed[0] != '\0') printf("%s\n", assumed);
    if (w->config.compat == DG_COMPAT_UPSTREAM) {
        printf("compat upstream: the reference tool's numbers, under its own keys, stand in %s\n", w->s->output);
        return;
    }
    print_gamma(w);
    print_members(w);
    print_constraints(w);
    print_table(w);
    printf("\nMean absolute error, dose score and DVH score (OpenKBP) in Gy; [95 %% bootstrap interval over patients]\n"
           "%-15s",
           "");
    for (int region = 0; region < DG_DOSE_REGIONS; region++) printf(" %15s", dg_dose_region_name(region));
    printf(" %10s %-17s %10s\n", "dose score", "", "DVH score");
    for (int who = 0; who < DG_CONTENDERS; who++)
        if (who == DG_NETWORK || w->config.baseline != NULL) print_board(&w->board[who], dg_contender_name(who));
    if (w->config.baseline == NULL) printf("no baselines: name the run (--run) or training cases (--train-cases)\n");
}
