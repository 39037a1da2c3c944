/* import_report.c - see import_report.h. SPDX-License-Identifier: Apache-2.0 */
#include "import_report.h"

#include "dg_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

static json_t *whole_numbers(const int64_t *values)
{
    return json_pack("[I, I, I]", (json_int_t)values[0], (json_int_t)values[1], (json_int_t)values[2]);
}

static json_t *structures(const dg_rt_case *rt)
{
    static const char *const ROLES[] = {"target", "oar", "body", "support", "possible_dose"};
    json_t *list = json_array();
    for (int k = 0; k < rt->structure_count; k++) {
        const dg_rt_structure *a = &rt->about[k];
        json_t *s =
            json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "name", rt->structure[k].name,
                      "role", ROLES[rt->structure[k].role], "regions", a->joined, "contours", (json_int_t)a->contours,
                      "left_out", (json_int_t)a->raster.left_out, "sub_voxel", (json_int_t)a->raster.sub_voxel,
                      "gap_slices", (json_int_t)a->raster.gap_slices, "voxels", (json_int_t)a->voxels, "cropped_away",
                      (json_int_t)a->cropped_away, "without_dose", (json_int_t)a->without_dose, "mean_gy",
                      number(a->mean_gy), "max_gy", number(a->max_gy));
        if (rt->structure[k].role == DG_ROLE_TARGET) {
            json_object_set_new(s, "level_gy", json_real(rt->structure[k].prescription_gy));
            json_object_set_new(s, "d95_gy", number(a->d95_gy));
        }
        json_array_append_new(list, s);
    }
    return list;
}

static json_t *findings(const dg_rt_case *rt)
{
    json_t *list = json_array();
    for (int i = 0; i < rt->finding_count; i++)
        json_array_append_new(list, json_pack("{s:s, s:s}", "rule", rt->finding[i].rule, "text", rt->finding[i].text));
    return list;
}

json_t *import_report_make(const char *id, const dg_rt_case *rt, const dg_mapping *mapping)
{
    json_t *report = json_pack(
        "{s:s, s:s, s:s, s:f, s:I, s:s, s:s, s:b, s:I}", "case", id, "outcome", "imported", "mapping", mapping->name,
        "prescription_gy", rt->prescription_gy, "fractions", (json_int_t)rt->fractions, "prescription_source",
        !(rt->prescription_gy > 0) ? "unknown"
        : rt->prescription_assumed ? "PRESCRIPTION ASSUMED"
                                   : "plan",
        "position", rt->position, "dose", rt->dose_gy != NULL, "beams", (json_int_t)rt->plan.beam_count);
    if (report == NULL) return NULL;
    json_object_set_new(report, "ct_shape_zyx", whole_numbers(rt->ct_shape));
    json_object_set_new(report, "crop_start_zyx", whole_numbers(rt->crop.start));
    json_object_set_new(report, "shape_zyx", whole_numbers(rt->grid.shape));
    if (rt->dose_gy != NULL) {
        json_object_set_new(report, "dose_known_start_zyx", whole_numbers(rt->dose_box.start));
        json_object_set_new(report, "dose_known_shape_zyx", whole_numbers(rt->dose_box.shape));
    }
    json_object_set_new(report, "structures", structures(rt));
    json_object_set_new(report, "findings", findings(rt));
    return report;
}

/* "rule NAME: case ID: text" as the ledger has it. */
json_t *import_report_refused(const char *id, const char *reason)
{
    char rule[64] = "";
    if (strncmp(reason, "rule ", 5) == 0)
        snprintf(rule, sizeof rule, "%.*s", (int)strcspn(reason + 5, ":"), reason + 5);
    return json_pack("{s:s, s:s, s:s, s:s}", "case", id, "outcome", "refused", "rule", rule, "reason", reason);
}

dg_status import_report_write(const char *cohort_folder, const char *id, const json_t *report)
{
    char folder[DG_PATH_MAX], path[DG_PATH_MAX], name[80];
    DG_TRY(dg_path_join(folder, cohort_folder, "validation"));
    DG_TRY(dg_make_folder(folder));
    snprintf(name, sizeof name, "%.63s.json", id);
    DG_TRY(dg_path_join(path, folder, name));
    char *text = json_dumps(report, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    if (text == NULL) return DG_FAIL(DG_ERR_MEMORY, "case %s: no memory for its report", id);
    const dg_status status = dg_file_write(path, text, (int64_t)strlen(text));
    free(text);
    return status;
}
