/* case_plan.c - beams and control points of a plan as numbers: what a plan calls itself, its beams and machines stays out.
 * SPDX-License-Identifier: Apache-2.0 */
#include "case_impl.h"

#include "dg_dicom.h"
#include "dg_mem.h"

#include <stddef.h>
#include <string.h>

enum { CODE = 16 };

/* One number of each beam. */
static const struct {
    const char *name;
    size_t offset;
    bool whole; /* int64_t, else double */
} NUMBERS[] = {
    {"plan/control_points", offsetof(dg_dicom_beam, control_points), true},
    {"plan/leaf_pairs", offsetof(dg_dicom_beam, leaf_pairs), true},
    {"plan/meterset_mu", offsetof(dg_dicom_beam, meterset_mu), false},
    {"plan/dose_gy", offsetof(dg_dicom_beam, dose_gy), false},
    {"plan/final_weight", offsetof(dg_dicom_beam, final_weight), false},
    {"plan/collimator_deg", offsetof(dg_dicom_beam, collimator_deg), false},
    {"plan/couch_deg", offsetof(dg_dicom_beam, couch_deg), false},
    {"plan/energy", offsetof(dg_dicom_beam, energy), false},
};

/* One number of each control point. */
static const struct {
    const char *name;
    size_t offset;
} TRACKS[] = {
    {"gantry_deg", offsetof(dg_dicom_beam, gantry_deg)}, {"weight", offsetof(dg_dicom_beam, weight)},
    {"dose_rate", offsetof(dg_dicom_beam, dose_rate)},   {"jaw_x1", offsetof(dg_dicom_beam, jaw_x1)},
    {"jaw_x2", offsetof(dg_dicom_beam, jaw_x2)},         {"jaw_y1", offsetof(dg_dicom_beam, jaw_y1)},
    {"jaw_y2", offsetof(dg_dicom_beam, jaw_y2)},
};

/* Words of the standard alone: another text could say anything. */
static void known_code(const char *text, char out[CODE])
{
    static const char *const KNOWN[] = {"STATIC", "DYNAMIC", "PHOTON", "ELECTRON", "NEUTRON", "PROTON",
                                        "ION",    "CW",      "CC",     "NONE",     "MLCX",    "MLCY"};
    memset(out, 0, CODE);
    for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++)
        if (strncmp(text, KNOWN[i], CODE) == 0) memcpy(out, KNOWN[i], strlen(KNOWN[i]));
}

/* One word of each beam. */
static const struct {
    const char *name;
    size_t offset;
} CODES[] = {{"plan/type", offsetof(dg_dicom_beam, type)},
             {"plan/radiation", offsetof(dg_dicom_beam, radiation)},
             {"plan/rotation", offsetof(dg_dicom_beam, rotation)},
             {"plan/mlc_type", offsetof(dg_dicom_beam, mlc_type)}};

static dg_status write_codes(hid_t group, const dg_dicom_plan *plan, const char *role)
{
    char *text = NULL;
    DG_TRY(dg_alloc(&text, (size_t)plan->beam_count, CODE, "codes of beams"));
    dg_status status = DG_OK;
    for (size_t k = 0; status == DG_OK && k < sizeof CODES / sizeof *CODES; k++) {
        for (int64_t b = 0; b < plan->beam_count; b++)
            known_code((const char *)&plan->beams[b] + CODES[k].offset, text + b * CODE);
        status = dg_h5_put_strings(group, CODES[k].name, plan->beam_count, CODE, text, role);
    }
    dg_free(&text);
    return status;
}

static dg_status write_numbers(hid_t group, const dg_dicom_plan *plan, const char *role)
{
    const int64_t beams = plan->beam_count, centres[2] = {beams, 3};
    double *values = NULL;
    dg_status status;
    DG_TRY(dg_alloc(&values, (size_t)beams * 3, sizeof *values, "numbers of beams"));
    for (size_t k = 0; k < sizeof NUMBERS / sizeof *NUMBERS; k++) {
        for (int64_t b = 0; b < beams; b++) /* both types have the same size */
            memcpy(values + b, (const char *)&plan->beams[b] + NUMBERS[k].offset, sizeof *values);
        DG_TRY_GOTO(
            status,
            dg_h5_put(group, NUMBERS[k].name, NUMBERS[k].whole ? DG_I64 : DG_F64, 1, &beams, &beams, values, role),
            cleanup);
    }
    for (int64_t b = 0; b < beams; b++) memcpy(values + 3 * b, plan->beams[b].isocenter_mm, 3 * sizeof *values);
    status = dg_h5_put(group, "plan/isocenter_mm_xyz", DG_F64, 2, centres, centres, values, role);
cleanup:
    dg_free(&values);
    return status;
}

static dg_status put_track(hid_t group, int64_t beam, const char *track, int rank, const int64_t *shape,
                           const double *values, const char *role)
{
    char name[96];
    if (values == NULL || shape[0] == 0) return DG_OK;
    snprintf(name, sizeof name, "plan/beam_%lld/%s", (long long)beam, track);
    return dg_h5_put(group, name, DG_F64, rank, shape, shape, values, role);
}

static dg_status write_beam(hid_t group, const dg_dicom_beam *beam, int64_t number, const char *role)
{
    const int64_t points = beam->control_points, leaves[2] = {points, beam->leaf_pairs}, edges = beam->leaf_pairs + 1;
    for (size_t k = 0; k < sizeof TRACKS / sizeof *TRACKS; k++) {
        double *values;
        memcpy(&values, (const char *)beam + TRACKS[k].offset, sizeof values);
        DG_TRY(put_track(group, number, TRACKS[k].name, 1, &points, values, role));
    }
    if (beam->leaf_pairs == 0) return DG_OK;
    DG_TRY(put_track(group, number, "mlc_a", 2, leaves, beam->mlc_a, role));
    DG_TRY(put_track(group, number, "mlc_b", 2, leaves, beam->mlc_b, role));
    return put_track(group, number, "leaf_boundaries", 1, &edges, beam->leaf_boundaries, role);
}

dg_status dg_case_plan_write(hid_t group, const struct dg_dicom_plan *plan, const char *role)
{
    if (plan->beam_count == 0) return DG_OK;
    DG_TRY(write_codes(group, plan, role));
    DG_TRY(write_numbers(group, plan, role));
    for (int64_t b = 0; b < plan->beam_count; b++) DG_TRY(write_beam(group, &plan->beams[b], b, role));
    return DG_OK;
}

/* ---- reading ---- */

static dg_status count_beams(hid_t group, const char *role, int64_t *beams)
{
    dg_h5_shape shape;
    hid_t dataset;
    *beams = 0;
    if (!dg_h5_has(group, "plan")) return DG_OK;
    DG_TRY(dg_h5_open_dataset(group, NUMBERS[0].name, role, &shape, &dataset));
    dg_h5_close(dataset);
    if (shape.rank != 1 || shape.shape[0] < 1 || shape.shape[0] > DG_DICOM_BEAMS_MAX)
        return DG_FAIL(DG_ERR_FORMAT, "%s: its plan does not have 1 to %d beams; import the case again", role,
                       DG_DICOM_BEAMS_MAX);
    *beams = shape.shape[0];
    return DG_OK;
}

static dg_status read_codes(hid_t group, const char *role, dg_dicom_plan *out)
{
    char *text = NULL;
    DG_TRY(dg_alloc(&text, (size_t)out->beam_count, CODE, "codes of beams"));
    dg_status status = DG_OK;
    for (size_t k = 0; status == DG_OK && k < sizeof CODES / sizeof *CODES; k++) {
        status = dg_h5_get_strings(group, CODES[k].name, out->beam_count, CODE, text, role);
        for (int64_t b = 0; status == DG_OK && b < out->beam_count; b++)
            known_code(text + b * CODE, (char *)&out->beams[b] + CODES[k].offset);
    }
    dg_free(&text);
    return status;
}

static dg_status read_numbers(hid_t group, const char *role, dg_dicom_plan *out)
{
    const int64_t beams = out->beam_count, centres[2] = {beams, 3};
    double *values = NULL;
    dg_status status;
    DG_TRY(dg_alloc(&values, (size_t)beams * 3, sizeof *values, "numbers of beams"));
    for (size_t k = 0; k < sizeof NUMBERS / sizeof *NUMBERS; k++) {
        DG_TRY_GOTO(status,
                    dg_h5_get(group, NUMBERS[k].name, NUMBERS[k].whole ? DG_I64 : DG_F64, 1, &beams, values, role),
                    cleanup);
        for (int64_t b = 0; b < beams; b++) /* both types have the same size */
            memcpy((char *)&out->beams[b] + NUMBERS[k].offset, values + b, sizeof *values);
    }
    DG_TRY_GOTO(status, dg_h5_get(group, "plan/isocenter_mm_xyz", DG_F64, 2, centres, values, role), cleanup);
    for (int64_t b = 0; b < beams; b++) memcpy(out->beams[b].isocenter_mm, values + 3 * b, 3 * sizeof *values);
cleanup:
    dg_free(&values);
    return status;
}

static dg_status get_track(hid_t group, int64_t beam, const char *track, int rank, const int64_t *shape, double *values,
                           const char *role)
{
    char name[96];
    if (shape[0] == 0) return DG_OK;
    snprintf(name, sizeof name, "plan/beam_%lld/%s", (long long)beam, track);
    return dg_h5_get(group, name, DG_F64, rank, shape, values, role);
}

static dg_status read_beam(hid_t group, int64_t number, const char *role, dg_dicom_beam *beam)
{
    const int64_t points = beam->control_points, leaves[2] = {points, beam->leaf_pairs}, edges = beam->leaf_pairs + 1;
    char name[96];
    DG_TRY(dg_dicom_beam_make(beam, points, beam->leaf_pairs));
    for (size_t k = 0; k < sizeof TRACKS / sizeof *TRACKS; k++) {
        double *values;
        memcpy(&values, (const char *)beam + TRACKS[k].offset, sizeof values);
        DG_TRY(get_track(group, number, TRACKS[k].name, 1, &points, values, role));
    }
    if (beam->leaf_pairs == 0) return DG_OK;
    DG_TRY(get_track(group, number, "mlc_a", 2, leaves, beam->mlc_a, role));
    DG_TRY(get_track(group, number, "mlc_b", 2, leaves, beam->mlc_b, role));
    snprintf(name, sizeof name, "plan/beam_%lld/leaf_boundaries", (long long)number);
    if (dg_h5_has(group, name))
        return get_track(group, number, "leaf_boundaries", 1, &edges, beam->leaf_boundaries, role);
    beam->leaf_boundaries = NULL;
    return DG_OK;
}

dg_status dg_case_plan_read(hid_t group, const char *role, struct dg_dicom_plan *out)
{
    int64_t beams, values = 0;
    DG_TRY(count_beams(group, role, &beams));
    if (beams == 0) return DG_OK;
    DG_TRY(DG_NEW(&out->beams, beams, "beams"));
    out->beam_count = beams;
    DG_TRY(read_codes(group, role, out));
    DG_TRY(read_numbers(group, role, out));
    for (int64_t b = 0; b < beams; b++) {
        const dg_dicom_beam *beam = &out->beams[b];
        if (beam->control_points < 0 || beam->control_points > DG_DICOM_POINTS_MAX || beam->leaf_pairs < 0 ||
            beam->leaf_pairs > DG_DICOM_LEAVES_MAX)
            return DG_FAIL(DG_ERR_FORMAT,
                           "%s: beam %lld of its plan has %lld control points of %lld leaf pairs; import the "
                           "case again",
                           role, (long long)b, (long long)beam->control_points, (long long)beam->leaf_pairs);
        values += dg_dicom_beam_values(beam->control_points, beam->leaf_pairs);
    }
    if (values > DG_DICOM_PLAN_VALUES_MAX)
        return DG_FAIL(DG_ERR_FORMAT, "%s: its plan has %lld numbers, which no plan has; import the case again", role,
                       (long long)values);
    for (int64_t b = 0; b < beams; b++) {
        out->beams[b].number = (int32_t)b + 1;
        DG_TRY(read_beam(group, b, role, &out->beams[b]));
    }
    out->total_mu = dg_dicom_plan_total_mu(out);
    return DG_OK;
}
