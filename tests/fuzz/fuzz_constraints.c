/* ctest: sources=src/base/*.c,src/grid/*.c,analysis/dg_dvh.c,analysis/dvh_partial.c,analysis/dg_dvh_metric.c,analysis/dg_margin.c,analysis/dg_constraints.c,analysis/constraint_table.c,analysis/constraint_json.c,build:analysis/constraint_tables.c pkg=jansson,yaml-0.1,libcrypto seconds=20 */
/* fuzz_constraints.c - any bytes are a constraint table or are refused with file and line; a table can be judged on
 * a case and written as JSON. SPDX-License-Identifier: Apache-2.0 */
#include "dg_constraints.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 6, VOXELS = SIDE * SIDE * SIDE };
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void must(bool condition)
{
    if (!condition) abort();
}

static void judge(const dg_constraint_table *table, int64_t fractions)
{
    static const dg_structure STRUCTURES[] = {{.name = "PTV70", .role = DG_ROLE_TARGET, .prescription_gy = 70},
                                              {.name = "PTV56", .role = DG_ROLE_TARGET, .prescription_gy = 56},
                                              {.name = "Rectum", .role = DG_ROLE_OAR},
                                              {.name = "Body", .role = DG_ROLE_BODY}};
    static dg_constraint_result results[DG_CONSTRAINT_ROWS_MAX];
    static float dose[2][VOXELS];
    static uint64_t masks[VOXELS];
    const dg_grid grid = dg_grid_make((int64_t[3]){SIDE, SIDE, SIDE}, (double[3]){3, 2, 2});
    for (int i = 0; i < VOXELS; i++) {
        dose[0][i] = (float)(i % 75);
        dose[1][i] = (float)(i * 7 % 75);
        masks[i] =
            8 | (uint64_t)(i % SIDE < 2) | (uint64_t)(i % SIDE > 1 && i % SIDE < 5) << 1 | (uint64_t)(i / 36 == 3) << 2;
    }
    const dg_constraints_input in = {.grid = &grid,
                                     .dose_gy = {dose[0], dose[1]},
                                     .masks = masks,
                                     .structure = STRUCTURES,
                                     .structure_count = 4,
                                     .known = {{0, 0, 0}, {SIDE, SIDE, SIDE - 1}},
                                     .prescription_gy = 70,
                                     .fractions = fractions,
                                     .supersample = fractions == 35 ? 2 : 1,
                                     .threads = 1};
    must(dg_constraints_evaluate(table, &in, results) == DG_OK);
    for (int r = 0; r < dg_constraint_table_rows(table); r++)
        for (int d = 0; d < 2; d++)
            must(isnan(results[r].value[d]) == (results[r].verdict[d] == DG_VERDICT_NOT_EVALUATED));
    const dg_constraint_result *all = results;
    json_t *one = dg_constraints_to_json(table, results), *cohort = dg_constraints_cohort_json(table, &all, 1);
    must(one != NULL && cohort != NULL);
    json_decref(one);
    json_decref(cohort);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    dg_constraint_table *table;
    const dg_status status = dg_constraint_table_read((const char *)data, size, "f.yaml", &table);
    if (status == DG_OK) {
        must(dg_constraint_table_rows(table) > 0);
        judge(table, 35);
        judge(table, 28);
    } else {
        must(status == DG_ERR_USAGE && table == NULL && strncmp(dg_error_last()->text, "f.yaml:", 7) == 0);
    }
    dg_constraint_table_destroy(&table);
    return 0;
}
