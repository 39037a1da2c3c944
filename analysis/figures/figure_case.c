/* figure_case.c - which case is pictured, what it is called, and the colours of its structures.
 * SPDX-License-Identifier: Apache-2.0 */
#include "figure_impl.h"

#include "dg_mem.h"

#include <math.h>
#include <string.h>

const char *dg_figure_pick_name(dg_figure_pick pick)
{
    static const char *const name[DG_PICKS] = {"median", "worst", "best"};
    return name[pick];
}

/* True where case a goes before case b: smaller measure, then smaller id. */
static bool goes_before(double a, const char *id_a, double b, const char *id_b)
{
    return a < b || (a == b && strcmp(id_a, id_b) < 0);
}

/* The k-th smallest finite value, counted from 0; quadratic, for the some hundred cases of a cohort at most once a report. */
static double kth(const double *value, int64_t count, int64_t k)
{
    for (int64_t i = 0; i < count; i++) {
        int64_t below = 0, equal = 0;
        for (int64_t j = 0; isfinite(value[i]) && j < count; j++) {
            below += value[j] < value[i]; /* false for NaN */
            equal += value[j] == value[i];
        }
        if (isfinite(value[i]) && below <= k && k < below + equal) return value[i];
    }
    return NAN;
}

static int64_t smallest(const char *const *case_id, const double *value, int64_t count, double sign, double centre)
{
    int64_t found = -1;
    double least = INFINITY;
    for (int64_t i = 0; i < count; i++) {
        if (!isfinite(value[i])) continue;
        double measure = isnan(centre) ? sign * value[i] : fabs(value[i] - centre);
        if (found < 0 || goes_before(measure, case_id[i], least, case_id[found])) {
            found = i;
            least = measure;
        }
    }
    return found;
}

void dg_figure_pick_cases(const char *const *case_id, const double *value, int64_t count, bool larger_is_better,
                          int64_t index[DG_PICKS])
{
    int64_t finite = 0;
    double sign = larger_is_better ? -1 : 1;
    for (int64_t i = 0; i < count; i++) finite += isfinite(value[i]);
    index[DG_PICK_MEDIAN] = index[DG_PICK_WORST] = index[DG_PICK_BEST] = -1;
    if (finite == 0) return;
    double median = 0.5 * (kth(value, count, (finite - 1) / 2) + kth(value, count, finite / 2));
    index[DG_PICK_MEDIAN] = smallest(case_id, value, count, 1, median);
    int64_t worst = smallest(case_id, value, count, -sign, NAN), best = smallest(case_id, value, count, sign, NAN);
    if (worst != index[DG_PICK_MEDIAN]) index[DG_PICK_WORST] = worst;
    if (best != index[DG_PICK_MEDIAN] && best != worst) index[DG_PICK_BEST] = best;
}

void dg_case_figure_name(char *name, const char *base, dg_figure_pick pick)
{
    snprintf(name, DG_FIGURE_NAME, "%s%s%s", base, pick == DG_PICK_MEDIAN ? "" : "_",
             pick == DG_PICK_MEDIAN ? "" : dg_figure_pick_name(pick));
}

void dg_case_words(const dg_figure_case *data, char *text, size_t size)
{
    const char *unit = data->monitor_unit != NULL ? data->monitor_unit : "";
    if (data->monitor_name == NULL || !isfinite(data->monitor_value))
        snprintf(text, size, "Case %.60s", data->case_id);
    else
        snprintf(text, size, "Case %.60s (%s by %.60s: %.2f%s%.8s)", data->case_id, dg_figure_pick_name(data->pick),
                 data->monitor_name, data->monitor_value, unit[0] != '\0' ? " " : "", unit);
}

/* Okabe-Ito, then Paul Tol's "muted" scheme. Targets have colours of their own. */
static const char *const TARGET_COLOUR[] = {COLOUR_VERMILLION, COLOUR_ORANGE, "#7F3B08", "#B8860B"};
static const char *const ORGAN_COLOUR[] = {COLOUR_BLUE, COLOUR_GREEN, COLOUR_PURPLE, COLOUR_SKY, "#332288",
                                           "#882255",   "#999933",    "#44AA99",     "#661100",  "#888888"};
enum { TARGET_COLOURS = 4, ORGAN_COLOURS = 10 };

/* The place in the palette a structure wants whatever else the case holds: common organs as listed, so that they differ;
 * others by their name; targets by their level, in shares of the highest of the case. */
static int wanted_colour(const dg_structure *structure, int count, int index)
{
    static const char *const usual[ORGAN_COLOURS][3] = {
        {"Brainstem", "Bladder", "Heart"},       {"SpinalCord", "Rectum", "Lung_L"},
        {"RightParotid", "Femur_R", "Lung_R"},   {"LeftParotid", "Femur_L", "Breast_L"},
        {"Mandible", "Bowel", "Liver"},          {"Larynx", "PenileBulb", "Kidney_L"},
        {"Esophagus", "SeminalVes", "Kidney_R"}, {"Parotid_R", "FemoralHead_R", ""},
        {"Parotid_L", "FemoralHead_L", ""},      {"OralCavity", "Bowel_Bag", ""}};
    if (structure[index].role == DG_ROLE_TARGET) {
        double highest = 0, level = structure[index].prescription_gy;
        for (int k = 0; k < count; k++) highest = fmax(highest, structure[k].prescription_gy);
        return level >= 0.95 * highest ? 0 : level >= 0.85 * highest ? 1 : level >= 0.7 * highest ? 2 : 3;
    }
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (int c = 0; c < ORGAN_COLOURS; c++) {
        for (int k = 0; k < 3; k++) {
            if (strcmp(structure[index].name, usual[c][k]) == 0) return c;
        }
    }
    for (const char *c = structure[index].name; *c != '\0'; c++) hash = (hash ^ (unsigned char)*c) * 16777619u;
    return (int)(hash % ORGAN_COLOURS);
}

const char *dg_structure_colour(const dg_structure *structure, int count, int index)
{
    bool target = structure[index].role == DG_ROLE_TARGET;
    int colours = target ? TARGET_COLOURS : ORGAN_COLOURS, held = 0, place = 0;
    uint32_t taken = 0;
    for (int k = 0; k <= index; k++) { /* who comes later takes the next free colour */
        if ((structure[k].role == DG_ROLE_TARGET) != target || (!target && structure[k].role != DG_ROLE_OAR)) continue;
        if (held++ % colours == 0) taken = 0;
        place = wanted_colour(structure, count, k);
        while (taken >> place & 1) place = (place + 1) % colours;
        taken |= 1u << place;
    }
    return target ? TARGET_COLOUR[place] : ORGAN_COLOUR[place];
}

dg_status dg_case_check(const dg_figure_case *data)
{
    if (data->case_id == NULL || data->grid == NULL || data->reference_gy == NULL || data->prediction_gy == NULL)
        return DG_FAIL(DG_ERR_DATA, "case %.60s: a figure needs a grid, a reference dose and a prediction",
                       data->case_id != NULL ? data->case_id : "without id");
    return dg_case_check_structures(data);
}

dg_status dg_case_check_structures(const dg_figure_case *data)
{
    if (data->structure_count < 0 || data->structure_count > DG_STRUCTURES_MAX ||
        (data->structure_count > 0 && data->masks == NULL))
        return DG_FAIL(DG_ERR_DATA, "case %.60s: %d structures, at most %d with masks are possible", data->case_id,
                       data->structure_count, DG_STRUCTURES_MAX);
    dg_status status = dg_grid_check(data->grid);
    return status == DG_OK ? status : dg_error_context(status, "case %.60s", data->case_id);
}
