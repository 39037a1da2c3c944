/* dg_openkbp.c - see dg_openkbp.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_openkbp.h"
#include "csv_impl.h"
#include "dg_file.h"
#include "dg_mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { FILE_LIMIT = 128 << 20, ROW_BYTES = 32, NAME_MAX_BYTES = 64 };
static const double dose_limit_gy = 1000, spacing_limit_mm = 100, ct_shift = 1000, ct_limit = 4095;

static const dg_openkbp_structure structure_row[DG_OPENKBP_STRUCTURES] = {
    {"Brainstem", "Brainstem", "", 0, DG_OPENKBP_OAR, false},
    {"SpinalCord", "SpinalCord", "", 0, DG_OPENKBP_OAR, false},
    {"RightParotid", "Parotid_R", "LeftParotid", 0, DG_OPENKBP_OAR, false},
    {"LeftParotid", "Parotid_L", "RightParotid", 0, DG_OPENKBP_OAR, false},
    {"Esophagus", "Esophagus", "", 0, DG_OPENKBP_OAR, false},
    {"Larynx", "Larynx", "", 0, DG_OPENKBP_OAR, false},
    {"Mandible", "Bone_Mandible", "", 0, DG_OPENKBP_OAR, false},
    {"PTV56", "PTV_5600", "", 56, DG_OPENKBP_TARGET, false},
    {"PTV63", "PTV_6300", "", 63, DG_OPENKBP_TARGET, false},
    {"PTV70", "PTV_7000", "", 70, DG_OPENKBP_TARGET, true},
    {"possible_dose_mask", "", "", 0, DG_OPENKBP_POSSIBLE_DOSE, true},
};

const dg_openkbp_structure *dg_openkbp_structure_at(int row)
{
    return row >= 0 && row < DG_OPENKBP_STRUCTURES ? &structure_row[row] : NULL;
}

/* A patient being read. */
typedef struct reader {
    const char *folder, *case_id;
    const dg_openkbp_options *options;
    dg_openkbp_patient *patient;
    char *text;
    int64_t length;
} reader;

static dg_status file_of(const reader *r, const char *name, char path[DG_PATH_MAX], bool *present)
{
    DG_TRY(dg_path_join(path, r->folder, name));
    *present = dg_file_exists(path);
    return DG_OK;
}

static dg_status read_text(reader *r, const char *path, const char *name)
{
    char role[NAME_MAX_BYTES * 2];
    dg_free(&r->text);
    snprintf(role, sizeof role, "%s of case %s", name, r->case_id);
    DG_TRY(dg_file_read(path, role, FILE_LIMIT, &r->text, &r->length));
    return DG_OK;
}

/* Loads NAME into r->text when it is there; an absent required file is an error. */
static dg_status load(reader *r, const char *name, bool required, bool *present)
{
    char path[DG_PATH_MAX];
    DG_TRY(file_of(r, name, path, present));
    if (!*present && required)
        return DG_FAIL(DG_ERR_DATA, "case %s: %s is missing; copy the patient's folder again or leave the case out",
                       r->case_id, name);
    if (*present) DG_TRY(read_text(r, path, name));
    return DG_OK;
}

static dg_status read_spacing(reader *r)
{
    static const char name[] = "voxel_dimensions.csv";
    bool present = false;
    double mm[3];
    DG_TRY(load(r, name, true, &present));
    const char *at = r->text;
    for (int i = 0; i < 3; i++) {
        const char *after = csv_number(at, &mm[i]);
        if (after != NULL && *after == '\r') after++;
        if (after == NULL || *after != '\n')
            return DG_FAIL(DG_ERR_FORMAT, "case %s: %s line %d is not a number on its own line", r->case_id, name,
                           i + 1);
        if (!(mm[i] > 0 && mm[i] <= spacing_limit_mm))
            return DG_FAIL(DG_ERR_DATA, "case %s: %s line %d: a spacing of %g mm; it must be above 0 and at most %g",
                           r->case_id, name, i + 1, mm[i], spacing_limit_mm);
        at = after + 1;
    }
    if (at != r->text + r->length)
        return DG_FAIL(DG_ERR_FORMAT, "case %s: %s goes on after three spacings", r->case_id, name);
    const int64_t shape[3] = {DG_OPENKBP_SIDE, DG_OPENKBP_SIDE, DG_OPENKBP_SIDE};
    r->patient->grid = dg_grid_make(shape, (double[3]){mm[2], mm[0], mm[1]});
    return DG_OK;
}

static dg_status read_ct(reader *r)
{
    dg_openkbp_patient *p = r->patient;
    const double low = r->options->keep_ct ? INT16_MIN + ct_shift : 0;
    const double high = r->options->keep_ct ? INT16_MAX + ct_shift : ct_limit;
    csv_table table;
    int64_t index = 0;
    double value = 0;
    bool more = false;
    DG_TRY(load(r, "ct.csv", true, &more));
    DG_TRY(DG_NEW(&p->ct_hu, DG_OPENKBP_VOXELS, "CT of an OpenKBP case"));
    for (int64_t i = 0; i < DG_OPENKBP_VOXELS; i++) p->ct_hu[i] = (int16_t)-ct_shift;
    DG_TRY(csv_table_start(&table, r->case_id, "ct.csv", r->text, r->length, DG_OPENKBP_VOXELS, false));
    for (;;) {
        DG_TRY(csv_table_next(&table, &index, &value, &more));
        if (!more) break;
        double whole = floor(value + 0.5);
        p->ct_rounded += whole != value;
        p->ct_clipped += value < low || value > high;
        whole = whole < low ? low : whole > high ? high : whole;
        p->ct_hu[dg_openkbp_voxel(index)] = (int16_t)(whole - ct_shift);
    }
    if (table.last_index < 0) return DG_FAIL(DG_ERR_DATA, "case %s: ct.csv lists no voxel; copy it again", r->case_id);
    return DG_OK;
}

static dg_status parse_dose(const char *case_id, const char *name, const char *text, int64_t length, float *dose_gy)
{
    csv_table table;
    int64_t index = 0;
    double value = 0;
    bool more = false;
    memset(dose_gy, 0, DG_OPENKBP_VOXELS * sizeof *dose_gy);
    DG_TRY(csv_table_start(&table, case_id, name, text, length, DG_OPENKBP_VOXELS, false));
    for (;;) {
        DG_TRY(csv_table_next(&table, &index, &value, &more));
        if (!more) return DG_OK;
        if (value < 0 || value > dose_limit_gy)
            return DG_FAIL(DG_ERR_DATA, "case %s: %s line %lld: a dose of %g Gy; it must be 0 to %g", case_id, name,
                           (long long)table.line, value, dose_limit_gy);
        dose_gy[dg_openkbp_voxel(index)] = (float)value;
    }
}

static dg_status read_dose(reader *r)
{
    bool present = false;
    DG_TRY(load(r, "dose.csv", r->options->require_dose, &present));
    if (!present) return DG_OK;
    DG_TRY(DG_NEW(&r->patient->dose_gy, DG_OPENKBP_VOXELS, "dose of an OpenKBP case"));
    DG_TRY(parse_dose(r->case_id, "dose.csv", r->text, r->length, r->patient->dose_gy));
    return DG_OK;
}

static dg_status read_structure(reader *r, int row)
{
    const dg_openkbp_structure *s = &structure_row[row];
    dg_openkbp_patient *p = r->patient;
    char name[NAME_MAX_BYTES];
    csv_table table;
    int64_t index = 0;
    double value = 0;
    bool present = false, more = false;
    snprintf(name, sizeof name, "%s.csv", s->name);
    DG_TRY(load(r, name, s->required, &present));
    if (!present) return DG_OK;
    const uint64_t bit = (uint64_t)1 << p->structure_count;
    DG_TRY(csv_table_start(&table, r->case_id, name, r->text, r->length, DG_OPENKBP_VOXELS, true));
    for (;;) {
        DG_TRY(csv_table_next(&table, &index, &value, &more));
        if (!more) break;
        p->masks[dg_openkbp_voxel(index)] |= bit;
    }
    if (table.last_index < 0)
        return DG_FAIL(DG_ERR_DATA, "case %s: %s lists no voxel; remove the file if the structure is absent",
                       r->case_id, name);
    p->row[p->structure_count++] = row;
    if (s->prescription_gy > p->prescription_gy) p->prescription_gy = s->prescription_gy;
    return DG_OK;
}

/* The possible-dose mask is the last row, so its bit is the last one. */
static void count_dose_outside(dg_openkbp_patient *p)
{
    const uint64_t possible = (uint64_t)1 << (p->structure_count - 1);
    for (int64_t i = 0; p->dose_gy != NULL && i < DG_OPENKBP_VOXELS; i++)
        p->dose_outside_possible += p->dose_gy[i] != 0 && (p->masks[i] & possible) == 0;
}

dg_status dg_openkbp_read(const char *folder, const char *case_id, const dg_openkbp_options *options,
                          dg_openkbp_patient *out)
{
    reader r = {.folder = folder, .case_id = case_id, .options = options, .patient = out};
    dg_status status;
    memset(out, 0, sizeof *out);
    if (!dg_file_exists(folder)) return DG_FAIL(DG_ERR_IO, "case %s: there is no such folder", case_id);
    DG_TRY_GOTO(status, read_spacing(&r), cleanup);
    DG_TRY_GOTO(status, read_ct(&r), cleanup);
    DG_TRY_GOTO(status, read_dose(&r), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&out->masks, DG_OPENKBP_VOXELS, "masks of an OpenKBP case"), cleanup);
    for (int row = 0; row < DG_OPENKBP_STRUCTURES; row++) DG_TRY_GOTO(status, read_structure(&r, row), cleanup);
    count_dose_outside(out);
cleanup:
    dg_free(&r.text);
    if (status != DG_OK) dg_openkbp_release(out);
    return status;
}

void dg_openkbp_release(dg_openkbp_patient *patient)
{
    dg_free(&patient->ct_hu);
    dg_free(&patient->dose_gy);
    dg_free(&patient->masks);
}

dg_status dg_openkbp_read_dose(const char *path, const char *case_id, float *dose_gy)
{
    char role[NAME_MAX_BYTES * 2], *text = NULL;
    int64_t length;
    dg_status status;
    snprintf(role, sizeof role, "dose table of case %s", case_id);
    DG_TRY_GOTO(status, dg_file_read(path, role, FILE_LIMIT, &text, &length), cleanup);
    DG_TRY_GOTO(status, parse_dose(case_id, "dose table", text, length, dose_gy), cleanup);
cleanup:
    dg_free(&text);
    return status;
}

dg_status dg_openkbp_write_dose(const char *path, const char *case_id, const float *dose_gy)
{
    char *text = NULL;
    int64_t used = 0, rows = 0;
    dg_status status = DG_OK;
    for (int64_t i = 0; i < DG_OPENKBP_VOXELS; i++) {
        if (!isfinite(dose_gy[i]))
            return DG_FAIL(DG_ERR_NUMERIC,
                           "case %s: the dose to write is %g in voxel %lld; look at the model that made it", case_id,
                           (double)dose_gy[i], (long long)i);
        rows += dose_gy[i] != 0;
    }
    DG_TRY_GOTO(status, dg_alloc(&text, (size_t)(rows + 1), ROW_BYTES, "dose table"), cleanup);
    used = snprintf(text, ROW_BYTES, ",data\n");
    for (int64_t index = 0; index < DG_OPENKBP_VOXELS; index++) {
        float value = dose_gy[dg_openkbp_voxel(index)];
        if (value != 0) used += snprintf(text + used, ROW_BYTES, "%lld,%.9g\n", (long long)index, (double)value);
    }
    DG_TRY_GOTO(status, dg_file_write(path, text, used), cleanup);
cleanup:
    dg_free(&text);
    return status;
}
