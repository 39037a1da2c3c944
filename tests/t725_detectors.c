/* ctest: libs=dg_run label=unit timeout=60 */
/* t725_detectors.c - what is found in looks and validations that were made up: when, which terms, with which advice, and what is not
 * found. SPDX-License-Identifier: Apache-2.0 */
#include "detectors.h"
#include "dg_check.h"

#include <math.h>
#include <string.h>

static const char *name_of(const void *names, int k) { return ((const char *const *)names)[k]; }

static const char *const NAMES[] = {"dice", "focal", "variance"};

static dg_detector_look look_of(int64_t step, double ab, double ac, double bc, double spread, double predicted)
{
    dg_detector_look look = {
        .step = step, .active = {true, true, true}, .spread = spread, .predicted = predicted, .labelled = 0.05};
    look.cosine[0][1] = ab;
    look.cosine[0][2] = ac;
    look.cosine[1][2] = bc;
    return look;
}

static bool tells(const dg_detectors *d, dg_finding_kind kind, const char *words)
{
    char text[400];
    dg_finding_describe(d, kind, name_of, NAMES, text, sizeof text);
    if (strstr(text, words) == NULL) printf("%s\n", text);
    return strstr(text, words) != NULL;
}

static unsigned bit(dg_finding_kind kind) { return 1u << kind; }

static void check_conflict(void)
{
    dg_detectors d = {.terms = 3};
    for (int i = 0; i < 9; i++) {
        const dg_detector_look look = look_of(50 * i, 0.5, -0.3, -0.6, 0.3, 0.05);
        DG_CHECK(dg_detectors_look(&d, &look) == (i == 4 ? bit(DG_FINDING_CONFLICT) : 0)); /* told once */
    }
    const dg_finding *f = &d.finding[DG_FINDING_CONFLICT];
    DG_CHECK(f->times == 5 && f->first_step == 200 && f->last_step == 400 && f->a == 1 && f->b == 2 && f->now);
    DG_CHECK_NEAR(f->value, -0.6, 1e-12);
    DG_CHECK(tells(&d, DG_FINDING_CONFLICT, "focal and variance pull apart: their gradients stand at 127 degrees"));
    for (int i = 0; i < 60; i++) { /* they agree again: it is over, and told anew when it comes back */
        const dg_detector_look look = look_of(1000 + i, 0.5, 0.5, 0.5, 0.3, 0.05);
        DG_CHECK(dg_detectors_look(&d, &look) == 0);
    }
    DG_CHECK(!f->now);
    unsigned found = 0;
    for (int i = 0; i < 60; i++) {
        const dg_detector_look look = look_of(2000 + i, 0.5, 0.5, -0.9, 0.3, 0.05);
        found |= dg_detectors_look(&d, &look);
    }
    DG_CHECK(found == bit(DG_FINDING_CONFLICT));
    d = (dg_detectors){.terms = 3}; /* terms without a weight, or without a gradient, do not pull */
    for (int i = 0; i < 9; i++) {
        dg_detector_look look = look_of(i, NAN, -1, -1, 0.3, 0.05);
        look.active[2] = false;
        DG_CHECK(dg_detectors_look(&d, &look) == 0);
    }
}

static void check_output(void)
{
    static const struct {
        double spread, predicted;
        unsigned found;
        const char *words;
    } CASE[] = {
        {0.3, 0.05, 0, ""},
        {0.3, 0.11, 0, ""},
        {0.3, 0.9988, 1u << DG_FINDING_FOREGROUND, "too much foreground: predicted minus labelled fraction +0.949"},
        {0.3, 0.01, 1u << DG_FINDING_FOREGROUND, "too little foreground: predicted minus labelled fraction -0.040"},
        {0.01, 0.05, 1u << DG_FINDING_UNIFORM, "nearly the same everywhere (standard deviation 0.01)"}};
    for (size_t c = 0; c < sizeof CASE / sizeof *CASE; c++) {
        dg_detectors d = {.terms = 3};
        unsigned found = 0;
        for (int i = 0; i < 12; i++) {
            const dg_detector_look look = look_of(i, 0, 0, 0, CASE[c].spread, CASE[c].predicted);
            found |= dg_detectors_look(&d, &look);
            DG_CHECK(i >= 4 || found == 0);
        }
        DG_CHECK(found == CASE[c].found);
        for (int k = 0; k < DG_FINDINGS; k++)
            if (found >> k & 1) DG_CHECK(tells(&d, (dg_finding_kind)k, CASE[c].words));
    }
    dg_detectors dose = {.terms = 3}; /* doses have no foreground and may be the same everywhere */
    for (int i = 0; i < 12; i++) {
        const dg_detector_look look = look_of(i, 0, 0, 0, 0, NAN);
        DG_CHECK(dg_detectors_look(&dose, &look) == 0);
    }
}

/* Validations with the means of two terms before each. */
static void check_overfitting(void)
{
    static const struct {
        double value, a, b;
        unsigned found;
    } GOOD[] = {{0.9, 1, 1, 0}, {0.5, 0.5, 0.5, 0}, {0.6, 0.4, 0.6, 0}, {0.6, 0.4, 0.6, 0}, {0.6, 0.4, 0.6, 0}},
      BAD[] = {{0.9, 1, 1, 0},
               {0.5, 0.5, 0.5, 0},
               {0.6, 0.4, 0.4, 0},
               {0.6, 0.3, 0.3, 0},
               {0.6, 0.3, 0.3, 1u << DG_FINDING_OVERFITTING}};
    for (int bad = 0; bad < 2; bad++) {
        dg_detectors d = {.terms = 2};
        double best = INFINITY;
        for (int i = 0; i < 5; i++) {
            const double mean[] = {bad ? BAD[i].a : GOOD[i].a, bad ? BAD[i].b : GOOD[i].b};
            const double value = bad ? BAD[i].value : GOOD[i].value;
            for (int s = 0; s < 7; s++) dg_detectors_step(&d, mean);
            DG_CHECK(dg_detectors_validated(&d, 7 * i, value, best) == (bad ? BAD[i].found : GOOD[i].found));
            best = fmin(best, value);
        }
        if (bad) DG_CHECK(tells(&d, DG_FINDING_OVERFITTING, "validation is 20 % worse than at its best"));
    }
}

int main(void)
{
    check_conflict();
    check_output();
    check_overfitting();
    DG_CHECK(strcmp(dg_finding_name(DG_FINDING_OVERFITTING), "overfitting") == 0);
    return 0;
}
