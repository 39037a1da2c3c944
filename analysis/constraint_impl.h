/* constraint_impl.h - what the files of the constraint tables share; not for other folders.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef CONSTRAINT_IMPL_H
#define CONSTRAINT_IMPL_H

#include "dg_constraints.h"

enum { CONSTRAINT_ALIASES_MAX = 16, CONSTRAINT_TEXT = 400, CONSTRAINT_NAME = 64 };

typedef enum constraint_comparison { BELOW, AT_MOST, ABOVE, AT_LEAST, COMPARISONS } constraint_comparison;

typedef struct constraint_row {
    char name[CONSTRAINT_ALIASES_MAX][CONSTRAINT_NAME]; /* [0] is the structure, the others are aliases */
    int names;
    dg_metric metric;
    constraint_comparison comparison;
    double limit;
    char source[CONSTRAINT_TEXT], definition[CONSTRAINT_TEXT], notes[CONSTRAINT_TEXT];
    double fraction_gy[2]; /* doses per fraction the limit holds for, lowest and highest; 0: any */
    double alpha_beta_gy;  /* 0: unknown */
    bool low_dose;         /* decided by the low doses of the structure */
} constraint_row;

struct dg_constraint_table {
    char name[CONSTRAINT_NAME], description[CONSTRAINT_TEXT], sha256[DG_HASH_HEX];
    int rows;
    constraint_row row[DG_CONSTRAINT_ROWS_MAX];
};

const char *constraint_comparison_text(constraint_comparison comparison);

/* The tables of analysis/tables by their file names, built in. */
typedef struct constraint_builtin {
    const char *name;
    const unsigned char *bytes;
    size_t length;
} constraint_builtin;
extern const constraint_builtin constraint_builtins[];
extern const int constraint_builtin_count;

#endif
