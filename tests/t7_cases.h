/* t7_cases.h - tiny cohorts in memory for the tests of run: values that say where they come from.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_T7_CASES_H
#define DG_T7_CASES_H

#include "dg_check.h"
#include "dg_cohort.h"
#include "dg_mem.h"
#include "run_config.h"

enum { T7_CASES = 12, T7_STRUCTURES = 6 };

/* Arrays of a cohort of boxes; z differs from y differs from x. */
typedef struct t7_cohort {
    dg_case_data data[T7_CASES];
    int count;
    int16_t *ct[T7_CASES];
    float *dose[T7_CASES];
    uint64_t *masks[T7_CASES];
    dg_cohort *cohort;
} t7_cohort;

static inline void t7_structure(dg_case_info *info, const char *name, const char *mirror, dg_role role, double rx_gy)
{
    dg_structure *s = &info->structure[info->structure_count++];
    memset(s, 0, sizeof *s);
    snprintf(s->name, sizeof s->name, "%s", name);
    snprintf(s->mirror, sizeof s->mirror, "%s", mirror);
    s->role = role;
    s->prescription_gy = rx_gy;
}

/* Bits: PTV70 a box in the middle, Left at high x, Right at low x, possible_dose all but the first plane of every axis,
 * Body everything. CT is 10 z + y - x - 100 c, dose rises with x and z. */
static inline void t7_fill(t7_cohort *t, int c, const int64_t shape[3])
{
    dg_case_info *info = &t->data[c].info;
    const double spacing[3] = {3, 2.5, 2};
    int64_t voxels = shape[0] * shape[1] * shape[2];
    memset(info, 0, sizeof *info);
    snprintf(info->id, sizeof info->id, "case-%02d", c);
    snprintf(info->group, sizeof info->group, "patient-%02d", c / 2); /* two cases a patient */
    snprintf(info->site, sizeof info->site, c % 4 < 2 ? "head" : "neck");
    info->grid = dg_grid_make(shape, spacing);
    info->prescription_gy = 70;
    info->has_dose = true;
    memcpy(info->dose_box.shape, shape, sizeof info->dose_box.shape);
    t7_structure(info, "PTV70", "", DG_ROLE_TARGET, 70);
    t7_structure(info, "Left", "Right", DG_ROLE_OAR, 0);
    t7_structure(info, "Right", "Left", DG_ROLE_OAR, 0);
    t7_structure(info, "possible", "", DG_ROLE_POSSIBLE_DOSE, 0);
    t7_structure(info, "Body", "", DG_ROLE_BODY, 0);
    if (c % 3 == 0) t7_structure(info, "PTV56", "", DG_ROLE_TARGET, 56);
    DG_CHECK_OK(DG_NEW(&t->ct[c], voxels, "ct"));
    DG_CHECK_OK(DG_NEW(&t->dose[c], voxels, "dose"));
    DG_CHECK_OK(DG_NEW(&t->masks[c], voxels, "masks"));
    for (int64_t z = 0, i = 0; z < shape[0]; z++) {
        for (int64_t y = 0; y < shape[1]; y++) {
            for (int64_t x = 0; x < shape[2]; x++, i++) {
                bool middle = z >= shape[0] / 3 && z < 2 * shape[0] / 3 && y >= shape[1] / 3 && y < 2 * shape[1] / 3 &&
                              x >= shape[2] / 3 && x < 2 * shape[2] / 3;
                uint64_t bits = 16; /* Body */
                if (middle) bits |= 1;
                if (x >= shape[2] - 2 && y < shape[1] / 2) bits |= 2;
                if (x < 3 && y < shape[1] / 2) bits |= 4;
                if (z > 0 && y > 0 && x > 0) bits |= 8;
                if (c % 3 == 0 && !middle && y == shape[1] / 2) bits |= 32;
                t->masks[c][i] = bits;
                t->ct[c][i] = (int16_t)(10 * z + y - x - 100 * c);
                t->dose[c][i] = (float)(x + 2 * z + 1);
            }
        }
    }
    t->data[c].ct_hu = t->ct[c];
    t->data[c].dose_gy = t->dose[c];
    t->data[c].masks = t->masks[c];
}

static inline void t7_create(t7_cohort *t, int count, const int64_t shape[3])
{
    memset(t, 0, sizeof *t);
    t->count = count;
    for (int c = 0; c < count; c++) t7_fill(t, c, shape);
    DG_CHECK_OK(dg_cohort_memory_create(t->data, count, &t->cohort));
}

static inline void t7_release(t7_cohort *t)
{
    dg_cohort_close(&t->cohort);
    for (int c = 0; c < t->count; c++) {
        dg_free(&t->ct[c]);
        dg_free(&t->dose[c]);
        dg_free(&t->masks[c]);
    }
}

/* Settings from YAML text over the defaults. */
static inline void t7_config(const char *yaml, dg_run_config *config)
{
    dg_options options;
    int count;
    const dg_option *rows = dg_run_config_rows(&count);
    DG_CHECK_OK(dg_options_init(&options, rows, count, config));
    DG_CHECK_OK(dg_options_read_yaml_text(&options, yaml, strlen(yaml), "test"));
    dg_options_release(&options);
}

#endif
