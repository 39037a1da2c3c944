/* recipe.c - channels and scaling of a run, resolved and checked. SPDX-License-Identifier: Apache-2.0 */
#include "recipe.h"

#include "dg_mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double SPACING_SLACK = 0.1;

static const struct {
    const char *name;
    dg_channel_kind kind;
    bool has_structure;
} KINDS[] = {{"ct", DG_CHANNEL_CT, false},     {"sdf", DG_CHANNEL_SDF, true},
             {"mask", DG_CHANNEL_MASK, true},  {"rx", DG_CHANNEL_RX, false},
             {"body", DG_CHANNEL_BODY, false}, {"possible_dose", DG_CHANNEL_POSSIBLE_DOSE, false}};
enum { KIND_COUNT = sizeof KINDS / sizeof KINDS[0] };

void dg_channel_name(const dg_channel *channel, char *text, size_t capacity)
{
    for (int k = 0; k < KIND_COUNT; k++) {
        if (KINDS[k].kind != channel->kind) continue;
        snprintf(text, capacity, "%s%s%s", KINDS[k].name, KINDS[k].has_structure ? "." : "", channel->structure);
    }
}

static dg_status parse_channel(const char *text, dg_channel *out)
{
    memset(out, 0, sizeof *out);
    const char *dot = strchr(text, '.');
    size_t head = dot != NULL ? (size_t)(dot - text) : strlen(text);
    for (int k = 0; k < KIND_COUNT; k++) {
        if (strlen(KINDS[k].name) != head || strncmp(KINDS[k].name, text, head) != 0) continue;
        if (KINDS[k].has_structure != (dot != NULL && dot[1] != '\0')) break;
        out->kind = KINDS[k].kind;
        if (dot != NULL && strlen(dot + 1) >= sizeof out->structure) break;
        if (dot != NULL) strcpy(out->structure, dot + 1);
        return DG_OK;
    }
    return DG_FAIL(DG_ERR_USAGE,
                   "data.channels: '%s' is no channel; use ct, sdf.NAME, mask.NAME, rx, possible_dose or "
                   "body",
                   text);
}

/* Whether a case can fill a channel from its own contours. */
static bool case_has(const dg_channel *channel, const dg_case_info *info)
{
    if (channel->kind == DG_CHANNEL_CT) return true;
    if (channel->structure[0] != '\0') return dg_case_info_structure(info, channel->structure) >= 0;
    dg_role role = channel->kind == DG_CHANNEL_RX     ? DG_ROLE_TARGET
                   : channel->kind == DG_CHANNEL_BODY ? DG_ROLE_BODY
                                                      : DG_ROLE_POSSIBLE_DOSE;
    for (int s = 0; s < info->structure_count; s++) {
        if (info->structure[s].role == role) return true;
    }
    return false;
}

/* Targets before organs, then by name: the same list whatever the order of cases. */
static int by_role_and_name(const void *a, const void *b)
{
    const dg_structure *p = a, *q = b;
    return p->role != q->role ? (int)p->role - (int)q->role : strcmp(p->name, q->name);
}

static dg_status auto_channels(const dg_cohort *cohort, const int64_t *cases, int64_t count, dg_recipe *out)
{
    dg_structure found[DG_CHANNELS_MAX];
    int n = 0;
    for (int64_t i = 0; i < count; i++) {
        const dg_case_info *info = dg_cohort_case(cohort, cases[i]);
        for (int s = 0; s < info->structure_count; s++) {
            const dg_structure *structure = &info->structure[s];
            if (structure->role != DG_ROLE_TARGET && structure->role != DG_ROLE_OAR) continue;
            int k = 0;
            while (k < n && strcmp(found[k].name, structure->name) != 0) k++;
            if (k < n) continue;
            if (n + 1 >= DG_CHANNELS_MAX) {
                return DG_FAIL(DG_ERR_USAGE, "data.channels: auto finds more than %d structures; list the channels",
                               DG_CHANNELS_MAX - 1);
            }
            found[n++] = *structure;
        }
    }
    qsort(found, (size_t)n, sizeof found[0], by_role_and_name);
    out->channel[0] = (dg_channel){.kind = DG_CHANNEL_CT};
    for (int k = 0; k < n; k++) {
        out->channel[k + 1] = (dg_channel){.kind = DG_CHANNEL_SDF};
        memcpy(out->channel[k + 1].structure, found[k].name, sizeof found[k].name);
    }
    out->count = n + 1;
    return DG_OK;
}

static dg_status count_channels(const dg_cohort *cohort, const int64_t *cases, int64_t count, dg_recipe *out)
{
    for (int c = 0; c < out->count; c++) {
        int64_t have = 0;
        for (int64_t i = 0; i < count; i++) have += case_has(&out->channel[c], dg_cohort_case(cohort, cases[i]));
        char name[DG_OPT_WORD];
        dg_channel_name(&out->channel[c], name, sizeof name);
        if (have == 0) {
            return DG_FAIL(DG_ERR_USAGE,
                           "data.channels: no training case has what channel '%s' shows; check the name "
                           "with `dosegrid inspect`",
                           name);
        }
        out->channel[c].required = have == count;
        for (int k = 0; k < c; k++) {
            char other[DG_OPT_WORD];
            dg_channel_name(&out->channel[k], other, sizeof other);
            if (strcmp(name, other) == 0) return DG_FAIL(DG_ERR_USAGE, "data.channels: '%s' is listed twice", name);
        }
    }
    return DG_OK;
}

/* The left/right partner of a structure, by the first training case that knows one; "" if none. */
static const char *partner_of(const dg_cohort *cohort, const int64_t *cases, int64_t count, const char *name)
{
    for (int64_t i = 0; i < count; i++) {
        const dg_case_info *info = dg_cohort_case(cohort, cases[i]);
        int s = dg_case_info_structure(info, name);
        if (s >= 0 && info->structure[s].mirror[0] != '\0') return info->structure[s].mirror;
    }
    return "";
}

static dg_status pair_channels(const dg_run_config *config, const dg_cohort *cohort, const int64_t *cases,
                               int64_t count, dg_recipe *out)
{
    for (int c = 0; c < out->count; c++) {
        dg_channel *channel = &out->channel[c];
        channel->mirror = c;
        if (channel->structure[0] == '\0') continue;
        const char *partner = partner_of(cohort, cases, count, channel->structure);
        if (partner[0] == '\0') continue;
        int k = 0;
        while (k < out->count &&
               (out->channel[k].kind != channel->kind || strcmp(out->channel[k].structure, partner) != 0))
            k++;
        if (k < out->count) {
            channel->mirror = k;
        } else if (config->data.augment.flip || config->predict.flips) {
            return DG_FAIL(DG_ERR_USAGE,
                           "mirrored samples need both sides: '%s' is a channel and its partner '%s' is "
                           "not; add it to data.channels, or switch off data.augment.flip and "
                           "predict.flips",
                           channel->structure, partner);
        }
    }
    return DG_OK;
}

/* A constraint is named after its structure: "LeftParotid mean". Its partner has the partner's name in that place. */
static bool partner_constraint(const dg_case_info *info, const char *name, char partner[2 * DG_STRUCTURE_NAME])
{
    for (int s = 0; s < info->structure_count; s++) {
        const dg_structure *structure = &info->structure[s];
        size_t length = strlen(structure->name);
        bool named = strncmp(name, structure->name, length) == 0 && (name[length] == ' ' || name[length] == '\0');
        if (!named || structure->mirror[0] == '\0') continue;
        snprintf(partner, 2 * DG_STRUCTURE_NAME, "%s%s", structure->mirror, name + length);
        return true;
    }
    return false;
}

static dg_status pair_constraints(const dg_run_config *config, const dg_cohort *cohort, const int64_t *cases,
                                  int64_t count, dg_recipe *out)
{
    for (int k = 0; k < out->constraint_count; k++) {
        char partner[2 * DG_STRUCTURE_NAME];
        bool paired = false;
        out->constraint_mirror[k] = k;
        for (int64_t i = 0; i < count && !paired; i++)
            paired = partner_constraint(dg_cohort_case(cohort, cases[i]), out->constraint_name[k], partner);
        if (!paired) continue;
        int other = 0;
        while (other < out->constraint_count && strcmp(out->constraint_name[other], partner) != 0) other++;
        if (other < out->constraint_count) {
            out->constraint_mirror[k] = other;
        } else if (config->data.augment.flip || config->predict.flips) {
            return DG_FAIL(DG_ERR_USAGE,
                           "mirrored samples need both sides: constraint '%s' is in the vectors of the cases and '%s' "
                           "is not; switch off data.augment.flip and predict.flips",
                           out->constraint_name[k], partner);
        }
    }
    return DG_OK;
}

void dg_recipe_constraints(const dg_recipe *recipe, const dg_case_info *info, bool mirrored, float *out)
{
    for (int k = 0; k < recipe->constraint_count; k++)
        out[k] = info->constraint[mirrored ? recipe->constraint_mirror[k] : k];
}

static dg_status take_constraints(const dg_cohort *cohort, const int64_t *cases, int64_t count, dg_recipe *out)
{
    const dg_case_info *first = dg_cohort_case(cohort, cases[0]);
    if (first->constraint_count == 0) {
        return DG_FAIL(DG_ERR_DATA, "case %s has no constraint vector; set data.constraints to false", first->id);
    }
    out->constraint_count = first->constraint_count;
    memcpy(out->constraint_name, first->constraint_name, sizeof out->constraint_name);
    for (int64_t i = 1; i < count; i++) DG_TRY(dg_recipe_check_case(out, dg_cohort_case(cohort, cases[i])));
    return DG_OK;
}

static dg_status survey_cases(const dg_cohort *cohort, const int64_t *cases, int64_t count, dg_recipe *out)
{
    for (int axis = 0; axis < 3; axis++) {
        out->seen_low_mm[axis] = INFINITY;
        out->seen_high_mm[axis] = 0;
    }
    for (int64_t i = 0; i < count; i++) {
        const dg_case_info *info = dg_cohort_case(cohort, cases[i]);
        double scale;
        DG_TRY(dg_recipe_scale(out, info, &scale));
        for (int axis = 0; axis < 3; axis++) {
            out->seen_low_mm[axis] = fmin(out->seen_low_mm[axis], info->grid.spacing_mm[axis]);
            out->seen_high_mm[axis] = fmax(out->seen_high_mm[axis], info->grid.spacing_mm[axis]);
        }
        dg_channel role = {.kind = out->loss_mask == DG_MASK_BODY ? DG_CHANNEL_BODY : DG_CHANNEL_POSSIBLE_DOSE};
        if (out->loss_mask != DG_MASK_NONE && !case_has(&role, info)) {
            return DG_FAIL(DG_ERR_DATA, "case %s has no %s structure, which loss.mask asks for; set loss.mask to none",
                           info->id, out->loss_mask == DG_MASK_BODY ? "body" : "possible_dose");
        }
    }
    return DG_OK;
}

static void take_labels(const dg_data_config *data, dg_recipe *out)
{
    const dg_int_list *const list[] = {&data->labels.background, &data->labels.foreground, &data->labels.ignore};
    out->labels = data->target == DG_TARGET_LABELS;
    for (int k = 0; out->labels && k < 3; k++)
        for (int i = 0; i < list[k]->count; i++)
            out->label_class[list[k]->value[i]] = (uint8_t)(DG_LABEL_BACKGROUND + k);
}

dg_status dg_recipe_resolve(const dg_run_config *config, const dg_cohort *cohort, const int64_t *cases, int64_t count,
                            dg_recipe *out)
{
    memset(out, 0, sizeof *out);
    const dg_data_config *data = &config->data;
    if (count < 1) return DG_FAIL(DG_ERR_USAGE, "no case to train on: check data.split and the cohort");
    out->ct_low_hu = data->ct_range_hu.value[0];
    out->ct_high_hu = data->ct_range_hu.value[1];
    out->scale_gy = data->scale_gy.count > 0 ? data->scale_gy.value[0] : 0;
    out->loss_mask = config->loss.mask;
    out->framed = data->frame == DG_FRAME_REGION;
    take_labels(data, out);
    dg_run_config_coarsen(config, out->coarsen);
    for (int axis = 0; axis < 3; axis++) {
        if (data->spacing_mm.count > 0) out->spacing_mm[axis] = data->spacing_mm.value[axis];
        if (data->patch.count > 0) out->patch[axis] = data->patch.value[axis];
    }
    if (data->channels.count == 0) {
        DG_TRY(auto_channels(cohort, cases, count, out));
    } else {
        for (int c = 0; c < data->channels.count; c++) DG_TRY(parse_channel(data->channels.value[c], &out->channel[c]));
        out->count = data->channels.count;
    }
    DG_TRY(count_channels(cohort, cases, count, out));
    DG_TRY(pair_channels(config, cohort, cases, count, out));
    if (data->constraints) {
        DG_TRY(take_constraints(cohort, cases, count, out));
        DG_TRY(pair_constraints(config, cohort, cases, count, out));
    }
    return survey_cases(cohort, cases, count, out);
}

void dg_recipe_relax(dg_recipe *recipe, const dg_cohort *cohort, const int64_t *cases, int64_t count)
{
    for (int c = 0; c < recipe->count; c++) {
        dg_channel *channel = &recipe->channel[c];
        for (int64_t i = 0; i < count && channel->required && channel->structure[0] != '\0'; i++)
            channel->required = case_has(channel, dg_cohort_case(cohort, cases[i]));
    }
}

dg_status dg_recipe_check_case(const dg_recipe *recipe, const dg_case_info *info)
{
    for (int c = 0; c < recipe->count; c++) {
        const dg_channel *channel = &recipe->channel[c];
        if (!channel->required || case_has(channel, info)) continue;
        char name[DG_OPT_WORD];
        dg_channel_name(channel, name, sizeof name);
        return DG_FAIL(DG_ERR_DATA,
                       "case %s lacks what channel '%s' shows, and every case of the training run had it: contour it, "
                       "or map its name at import",
                       info->id, name);
    }
    for (int k = 0; k < recipe->constraint_count; k++) {
        if (k < info->constraint_count && strcmp(recipe->constraint_name[k], info->constraint_name[k]) == 0) continue;
        return DG_FAIL(DG_ERR_DATA, "case %s: constraint %d is '%s', the network wants '%s'", info->id, k,
                       k < info->constraint_count ? info->constraint_name[k] : "absent", recipe->constraint_name[k]);
    }
    return DG_OK;
}

bool dg_recipe_outside(const dg_recipe *recipe, const dg_case_info *info)
{
    for (int axis = 0; axis < 3; axis++) {
        double spacing = info->grid.spacing_mm[axis];
        if (spacing < recipe->seen_low_mm[axis] * (1 - SPACING_SLACK)) return true;
        if (spacing > recipe->seen_high_mm[axis] * (1 + SPACING_SLACK)) return true;
    }
    return false;
}

dg_status dg_recipe_scale(const dg_recipe *recipe, const dg_case_info *info, double *scale_gy)
{
    *scale_gy = recipe->labels ? 1 : recipe->scale_gy > 0 ? recipe->scale_gy : info->prescription_gy;
    if (*scale_gy > 0) return DG_OK;
    return DG_FAIL(DG_ERR_DATA,
                   "case %s has no prescription: import it with --prescription, or set data.scale to a "
                   "dose in Gy",
                   info->id);
}

bool dg_recipe_resamples(const dg_recipe *recipe) { return recipe->spacing_mm[0] > 0; }

void dg_recipe_geometry(const dg_recipe *recipe, const dg_grid *native, dg_grid *net, int64_t sub_zyx[3])
{
    for (int axis = 0; axis < 3; axis++) sub_zyx[axis] = recipe->coarsen[axis];
    if (dg_recipe_resamples(recipe)) {
        *net = dg_grid_respaced(native, recipe->spacing_mm);
        return;
    }
    *net = *native;
    for (int axis = 0; axis < 3; axis++) {
        int64_t factor = recipe->coarsen[axis];
        net->shape[axis] = (native->shape[axis] + factor - 1) / factor;
        net->spacing_mm[axis] = native->spacing_mm[axis] * (double)factor;
        for (int row = 0; row < 3; row++) {
            /* direction is in x,y,z order, everything else in z,y,x */
            net->origin_mm[row] +=
                native->direction[(2 - row) * 3 + (2 - axis)] * native->spacing_mm[axis] * 0.5 * (double)(factor - 1);
        }
    }
}

float dg_channel_outside(const dg_recipe *recipe, int channel)
{
    switch (recipe->channel[channel].kind) {
    case DG_CHANNEL_CT: {
        double air = 2 * (-1000 - recipe->ct_low_hu) / (recipe->ct_high_hu - recipe->ct_low_hu) - 1;
        return (float)fmin(1, fmax(-1, air));
    }
    case DG_CHANNEL_SDF: return 1;
    case DG_CHANNEL_MASK:
    case DG_CHANNEL_RX:
    case DG_CHANNEL_POSSIBLE_DOSE:
    case DG_CHANNEL_BODY: return 0;
    }
    return 0;
}
