/* npz_beams.c - see npz_beams.h. SPDX-License-Identifier: Apache-2.0 */
#include "npz_beams.h"

#include "dg_mem.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { KEY = 40 };
static const double NUMBER_LARGEST = 1e7, LEAF_LARGEST_MM = 1e4; /* as of an RTPLAN */

/* The scripts' keys of a beam; the last two and isocenter_mm are ours: their final_mu is a weight. */
static const struct {
    const char *key;
    size_t offset;
} NUMBERS[] = {
    {"collimator_angle", offsetof(dg_dicom_beam, collimator_deg)}, {"couch_angle", offsetof(dg_dicom_beam, couch_deg)},
    {"nominal_energy", offsetof(dg_dicom_beam, energy)},           {"final_mu", offsetof(dg_dicom_beam, final_weight)},
    {"meterset_mu", offsetof(dg_dicom_beam, meterset_mu)},         {"dose_gy", offsetof(dg_dicom_beam, dose_gy)}};

static const struct {
    const char *key;
    size_t offset;
} WORDS[] = {{"beam_type", offsetof(dg_dicom_beam, type)},
             {"radiation_type", offsetof(dg_dicom_beam, radiation)},
             {"gantry_rotation_direction", offsetof(dg_dicom_beam, rotation)},
             {"mlc_type", offsetof(dg_dicom_beam, mlc_type)}};

/* Of control_point_data: a number for each control point. */
static const struct {
    const char *key;
    size_t offset;
} TRACKS[] = {{"gantry_angles", offsetof(dg_dicom_beam, gantry_deg)},
              {"cumulative_meterset_weight", offsetof(dg_dicom_beam, weight)},
              {"dose_rates", offsetof(dg_dicom_beam, dose_rate)},
              {"jaw_x1", offsetof(dg_dicom_beam, jaw_x1)},
              {"jaw_x2", offsetof(dg_dicom_beam, jaw_x2)},
              {"jaw_y1", offsetof(dg_dicom_beam, jaw_y1)},
              {"jaw_y2", offsetof(dg_dicom_beam, jaw_y2)}};
#define ROWS(table) (sizeof(table) / sizeof *(table))

static void *member(const dg_dicom_beam *beam, size_t offset) { return (char *)beam + offset; }

static double *track_of(const dg_dicom_beam *beam, size_t k)
{
    double *track;
    memcpy(&track, member(beam, TRACKS[k].offset), sizeof track);
    return track;
}

static void leaf_key(char key[KEY], int64_t beam, char bank)
{
    snprintf(key, KEY, "beam%lld_mlc_%c", (long long)beam, bank);
}

/* ---- writing ---- */

static json_t *number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

static json_t *numbers(const double *values, int64_t count)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < count; i++) json_array_append_new(list, number(values[i]));
    return list;
}

static const char *direction_of(const dg_dicom_beam *beam)
{
    if (strcmp(beam->rotation, "CW") == 0) return "clockwise";
    return strcmp(beam->rotation, "CC") == 0 ? "counter_clockwise" : "none";
}

static json_t *describe_beam(const dg_dicom_beam *beam, int64_t index)
{
    const int64_t points = beam->control_points;
    json_t *one = json_object(), *tracks = json_object();
    json_object_set_new(one, "beam_number", json_integer((json_int_t)index + 1));
    for (size_t k = 0; k < ROWS(WORDS); k++)
        json_object_set_new(one, WORDS[k].key, json_string(member(beam, WORDS[k].offset)));
    json_object_set_new(one, "num_control_points", json_integer((json_int_t)points));
    json_object_set_new(one, "arc_start_angle", number(points > 0 ? beam->gantry_deg[0] : NAN));
    json_object_set_new(one, "arc_stop_angle", number(points > 0 ? beam->gantry_deg[points - 1] : NAN));
    json_object_set_new(one, "arc_direction", json_string(direction_of(beam)));
    for (size_t k = 0; k < ROWS(NUMBERS); k++) {
        double value;
        memcpy(&value, member(beam, NUMBERS[k].offset), sizeof value);
        json_object_set_new(one, NUMBERS[k].key, number(value));
    }
    json_object_set_new(one, "isocenter_mm", numbers(beam->isocenter_mm, 3));
    json_object_set_new(one, "num_leaves", json_integer((json_int_t)(2 * beam->leaf_pairs)));
    json_object_set_new(one, "leaf_pair_count", json_integer((json_int_t)beam->leaf_pairs));
    if (beam->leaf_boundaries != NULL)
        json_object_set_new(one, "leaf_boundaries", numbers(beam->leaf_boundaries, beam->leaf_pairs + 1));
    json_object_set_new(tracks, "n_control_points", json_integer((json_int_t)points));
    for (size_t k = 0; k < ROWS(TRACKS); k++)
        json_object_set_new(tracks, TRACKS[k].key, numbers(track_of(beam, k), points));
    json_object_set_new(one, "control_point_data", tracks);
    return one;
}

json_t *npz_beams_describe(const dg_dicom_plan *plan)
{
    double total = 0;
    bool leaves = false;
    json_t *beams = json_array();
    if (plan->beam_count == 0) {
        json_decref(beams);
        return json_null();
    }
    for (int64_t b = 0; b < plan->beam_count; b++) {
        json_array_append_new(beams, describe_beam(&plan->beams[b], b));
        total += plan->beams[b].final_weight; /* as the scripts */
        leaves = leaves || (plan->beams[b].leaf_pairs > 0 && plan->beams[b].control_points > 0);
    }
    return json_pack("{s:I, s:o, s:b, s:o}", "num_beams", (json_int_t)plan->beam_count, "total_mu", number(total),
                     "mlc_extracted", (int)leaves, "beams", beams);
}

dg_status npz_beams_add(dg_npz_writer *npz, const dg_dicom_plan *plan, float **block)
{
    int64_t values = 0;
    *block = NULL;
    for (int64_t b = 0; b < plan->beam_count; b++)
        values += 2 * plan->beams[b].control_points * plan->beams[b].leaf_pairs;
    if (values == 0) return DG_OK;
    DG_TRY(DG_NEW(block, values, "leaves"));
    float *to = *block;
    for (int64_t b = 0; b < plan->beam_count; b++) {
        const dg_dicom_beam *beam = &plan->beams[b];
        const int64_t shape[2] = {beam->control_points, beam->leaf_pairs}, count = shape[0] * shape[1];
        for (int bank = 0; bank < 2 && count > 0; bank++, to += count) {
            char key[KEY];
            const double *from = bank == 0 ? beam->mlc_a : beam->mlc_b;
            leaf_key(key, b, bank == 0 ? 'a' : 'b');
            for (int64_t i = 0; i < count; i++) to[i] = (float)from[i];
            DG_TRY(dg_npz_add(npz, key, "<f4", 2, shape, to, count * (int64_t)sizeof *to));
        }
    }
    return DG_OK;
}

/* ---- reading ---- */

typedef struct reading {
    dg_npz *npz;
    const char *id;
    int64_t index; /* of the beam at hand */
} reading;

static dg_status refuse(const reading *r, const char *key, const char *why)
{
    return DG_FAIL(DG_ERR_DATA, "case %s: beam %lld: %s %s", r->id, (long long)r->index, key, why);
}

/* What is absent or null is not known: NaN. */
static dg_status take_number(const reading *r, const json_t *value, const char *key, double *out)
{
    *out = NAN;
    if (value == NULL || json_is_null(value)) return DG_OK;
    if (!json_is_number(value) || !(fabs(json_number_value(value)) <= NUMBER_LARGEST))
        return refuse(r, key, "is no number that a plan has");
    *out = json_number_value(value);
    return DG_OK;
}

static dg_status take_numbers(const reading *r, const json_t *list, const char *key, int64_t count, double *out)
{
    if (list == NULL) return DG_OK;
    if ((int64_t)json_array_size(list) != count) return refuse(r, key, "does not have a number for each");
    for (int64_t i = 0; i < count; i++) DG_TRY(take_number(r, json_array_get(list, (size_t)i), key, &out[i]));
    return DG_OK;
}

/* Control points and leaf pairs as the arrays have them; `points` stays where there are none. */
static dg_status find_leaves(const reading *r, int64_t *points, int64_t *pairs)
{
    *pairs = 0;
    for (int bank = 0; bank < 2; bank++) {
        char key[KEY];
        dg_npy_header header;
        leaf_key(key, r->index, bank == 0 ? 'a' : 'b');
        if (!dg_npz_has(r->npz, key)) {
            if (bank == 0) return DG_OK;
            return refuse(r, key, "is missing: one bank of leaves is there without the other");
        }
        DG_TRY(dg_npz_header(r->npz, key, &header));
        if (header.axes != 2 || header.shape[0] > DG_DICOM_POINTS_MAX || header.shape[1] > DG_DICOM_LEAVES_MAX)
            return refuse(r, key, "is not [control point, leaf pair] of a plan");
        if (*points >= 0 && header.shape[0] != *points) return refuse(r, key, "has another number of control points");
        if (bank == 1 && header.shape[1] != *pairs) return refuse(r, key, "has another number of leaves");
        *points = header.shape[0];
        *pairs = header.shape[1];
    }
    return DG_OK;
}

static dg_status read_leaves(const reading *r, dg_dicom_beam *beam)
{
    const int64_t shape[2] = {beam->control_points, beam->leaf_pairs}, count = shape[0] * shape[1];
    for (int bank = 0; bank < 2 && count > 0; bank++) {
        char key[KEY];
        float *file;
        double *to = bank == 0 ? beam->mlc_a : beam->mlc_b;
        bool sound = true;
        leaf_key(key, r->index, bank == 0 ? 'a' : 'b');
        DG_TRY(dg_npz_read_f32(r->npz, key, 2, shape, &file));
        for (int64_t i = 0; i < count; i++) {
            to[i] = (double)file[i];
            sound = sound && (isnan(to[i]) || fabs(to[i]) <= LEAF_LARGEST_MM);
        }
        dg_free(&file);
        if (!sound) return refuse(r, key, "holds a position that no leaf has");
    }
    return DG_OK;
}

static dg_status take_words(const reading *r, const json_t *one, dg_dicom_beam *beam)
{
    for (size_t k = 0; k < ROWS(NUMBERS); k++) {
        double value;
        DG_TRY(take_number(r, json_object_get(one, NUMBERS[k].key), NUMBERS[k].key, &value));
        memcpy(member(beam, NUMBERS[k].offset), &value, sizeof value);
    }
    for (size_t k = 0; k < ROWS(WORDS); k++) {
        const char *word = json_string_value(json_object_get(one, WORDS[k].key));
        if (word != NULL) snprintf(member(beam, WORDS[k].offset), DG_DICOM_CODE, "%.16s", word);
    }
    for (int a = 0; a < 3; a++) beam->isocenter_mm[a] = NAN;
    return take_numbers(r, json_object_get(one, "isocenter_mm"), "isocenter_mm", 3, beam->isocenter_mm);
}

/* `one`: the beam in the metadata, or NULL. */
static dg_status read_beam(const reading *r, const json_t *one, int64_t *values, dg_dicom_beam *beam)
{
    const json_t *data = json_object_get(one, "control_point_data"), *edges = json_object_get(one, "leaf_boundaries");
    const json_t *said = json_object_get(one, "num_control_points");
    int64_t points = -1, pairs;
    if (json_is_integer(said)) points = json_integer_value(said);
    if (points > DG_DICOM_POINTS_MAX || (points < 0 && said != NULL))
        return refuse(r, "num_control_points", "is no number that a plan has");
    DG_TRY(find_leaves(r, &points, &pairs));
    if (points < 0) points = 0;
    *values += dg_dicom_beam_values(points, pairs);
    if (*values > DG_DICOM_PLAN_VALUES_MAX)
        return refuse(r, "control_point_data", "makes more numbers than a plan has");
    beam->number = (int32_t)r->index + 1;
    DG_TRY(dg_dicom_beam_make(beam, points, pairs));
    DG_TRY(take_words(r, one, beam));
    for (size_t k = 0; k < ROWS(TRACKS); k++)
        DG_TRY(take_numbers(r, json_object_get(data, TRACKS[k].key), TRACKS[k].key, points, track_of(beam, k)));
    if (pairs > 0 && edges != NULL)
        DG_TRY(take_numbers(r, edges, "leaf_boundaries", pairs + 1, beam->leaf_boundaries));
    else
        beam->leaf_boundaries = NULL;
    return read_leaves(r, beam);
}

/* As many as the metadata list; without them, as arrays follow each other. */
static int64_t count_beams(dg_npz *npz, const json_t *list)
{
    char key[KEY];
    int64_t count = (int64_t)json_array_size(list);
    if (count > 0) return count;
    for (leaf_key(key, 0, 'a'); dg_npz_has(npz, key); leaf_key(key, count, 'a')) count++;
    return count;
}

dg_status npz_beams_read(dg_npz *npz, const json_t *metadata, const char *id, dg_dicom_plan *out)
{
    const json_t *list = json_object_get(json_object_get(metadata, "beam_geometry"), "beams");
    const int64_t count = count_beams(npz, list);
    int64_t values = 0;
    *out = (dg_dicom_plan){.beam_count = 0};
    if (count == 0) return DG_OK;
    if (count > DG_DICOM_BEAMS_MAX)
        return DG_FAIL(DG_ERR_DATA, "case %s: %lld beams are more than %d", id, (long long)count, DG_DICOM_BEAMS_MAX);
    DG_TRY(DG_NEW(&out->beams, count, "beams"));
    for (; out->beam_count < count;) {
        const reading r = {.npz = npz, .id = id, .index = out->beam_count};
        DG_TRY(read_beam(&r, json_array_get(list, (size_t)r.index), &values, &out->beams[out->beam_count++]));
    }
    out->total_mu = dg_dicom_plan_total_mu(out);
    return DG_OK;
}
