/* dg_check.h - always-on checks of the test programs: a failed one prints where and what, and ends the program with 1.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_CHECK_H
#define DG_CHECK_H

#include "dg_status.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DG_TEST_SKIPPED = 77 };

#define DG_CHECK(condition)                                                                                            \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition);                                    \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

/* The call succeeds; otherwise its recorded message is shown. */
#define DG_CHECK_OK(call)                                                                                              \
    do {                                                                                                               \
        dg_status dg_check_ = (call);                                                                                  \
        if (dg_check_ != DG_OK) {                                                                                      \
            fprintf(stderr, "%s:%d: %s: %s: %s\n", __FILE__, __LINE__, #call, dg_status_name(dg_check_),               \
                    dg_error_last()->text);                                                                            \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

/* The call fails with this status and a message that holds `words`. */
#define DG_CHECK_FAILS(call, expected, words)                                                                          \
    do {                                                                                                               \
        dg_status dg_check_ = (call);                                                                                  \
        if (dg_check_ != (expected) || strstr(dg_error_last()->text, (words)) == NULL) {                               \
            fprintf(stderr, "%s:%d: %s: got '%s' (%s), wanted '%s' with '%s'\n", __FILE__, __LINE__, #call,            \
                    dg_status_name(dg_check_), dg_error_last()->text, dg_status_name(expected), (words));              \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

#define DG_CHECK_NEAR(a, b, tolerance)                                                                                 \
    do {                                                                                                               \
        double dg_a_ = (a), dg_b_ = (b);                                                                               \
        if (!(fabs(dg_a_ - dg_b_) <= (tolerance))) {                                                                   \
            fprintf(stderr, "%s:%d: %s = %.9g, wanted %.9g within %g\n", __FILE__, __LINE__, #a, dg_a_, dg_b_,         \
                    (double)(tolerance));                                                                              \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

#endif
