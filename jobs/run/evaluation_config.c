/* evaluation_config.c - the settings of an evaluation, resolved and written down. SPDX-License-Identifier: Apache-2.0 */
#include "evaluation_impl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const compat_name[] = {"corrected", "upstream"};
static const char *const norm_name[] = {"max", "prescription", "gy"};
static const char *const rule_name[] = {"icru", "lower", "linear"};

/* "3/2", "3%/2mm": percent and mm. */
static dg_status read_criterion(const char *text, dg_criterion *out)
{
    char *end;
    out->dose_percent = strtod(text, &end);
    bool good = end != text;
    if (*end == '%') end++;
    good = good && *end == '/';
    const char *distance = end + 1;
    if (good) {
        out->distance_mm = strtod(distance, &end);
        good = end != distance && (*end == '\0' || strcmp(end, "mm") == 0);
    }
    good = good && out->dose_percent > 0 && out->dose_percent <= 100 && out->distance_mm > 0 && out->distance_mm <= 100;
    if (good) return DG_OK;
    return DG_FAIL(DG_ERR_USAGE, "gamma criterion '%s': percent/mm is wanted, such as 3/2, both above 0 and up to 100",
                   text);
}

static dg_status read_criteria(const dg_string_list *list, dg_evaluation_config *out)
{
    out->criteria = list->count;
    for (int i = 0; i < list->count; i++) {
        DG_TRY(read_criterion(list->value[i], &out->criterion[i]));
        for (int k = 0; k < i; k++)
            if (out->criterion[k].dose_percent == out->criterion[i].dose_percent &&
                out->criterion[k].distance_mm == out->criterion[i].distance_mm)
                return DG_FAIL(DG_ERR_USAGE, "gamma criterion %s stands there twice", list->value[i]);
    }
    return DG_OK;
}

static dg_status read_norm(const char *text, dg_evaluation_config *out)
{
    char *end;
    out->norm = DG_NORM_GY;
    for (int k = 0; k < DG_NORM_GY; k++)
        if (strcmp(text, norm_name[k]) == 0) out->norm = (dg_norm)k;
    if (out->norm != DG_NORM_GY) return DG_OK;
    out->norm_gy = strtod(text, &end);
    if (end == text || *end != '\0' || !(out->norm_gy > 0) || out->norm_gy > 1e4)
        return DG_FAIL(DG_ERR_USAGE, "norm '%s': max, prescription or a dose above 0 in Gy is wanted", text);
    return DG_OK;
}

static dg_status check_regions(const dg_string_list *list)
{
    static const char *const known[] = {"global",    "ptv_region",   "low_dose", "mid_dose",
                                        "high_dose", "no_mans_land", "oar"};
    for (int i = 0; i < list->count; i++) {
        const char *name = list->value[i];
        bool good = strncmp(name, "oar_", 4) == 0 && name[4] != '\0';
        for (size_t k = 0; k < sizeof known / sizeof *known; k++) good = good || strcmp(name, known[k]) == 0;
        if (!good)
            return DG_FAIL(DG_ERR_USAGE,
                           "there is no region '%s'; known are global, ptv_region, low_dose, mid_dose, high_dose, "
                           "no_mans_land, oar and oar_NAME",
                           name);
    }
    return DG_OK;
}

/* The reference tool has one way to measure: a setting that says otherwise would do nothing, and is refused. */
static dg_status check_upstream(const dg_evaluate_config *s)
{
    const bool usual_gamma = s->gamma.count == 3 && strcmp(s->gamma.value[0], "3/3") == 0;
    const struct {
        bool differs;
        const char *key;
    } fixed[] = {{!usual_gamma, "gamma"},
                 {s->cutoff_percent != 10, "cutoff_percent"},
                 {s->max_gamma != 2, "max_gamma"},
                 {strcmp(s->norm, "max") != 0, "norm"},
                 {s->local, "local"},
                 {s->interp_fraction != 10, "interp_fraction"},
                 {s->regions.count > 0, "regions"},
                 {s->margin_mm != 5, "margin_mm"},
                 {strcmp(s->constraint_table, "auto") != 0, "constraint_table"},
                 {s->supersample != 1, "supersample"},
                 {s->dvh_rule != DG_DVH_ICRU, "dvh_rule"},
                 {s->members > 0, "members"}};
    for (size_t k = 0; k < sizeof fixed / sizeof fixed[0]; k++)
        if (fixed[k].differs)
            return DG_FAIL(
                DG_ERR_USAGE,
                "compat upstream measures as the reference tool does (3 %%/3 mm, its regions, statistics and "
                "limits): leave evaluate.%s out, or choose compat corrected",
                fixed[k].key);
    return DG_OK;
}

static dg_status configure_upstream(const dg_evaluate_config *s, dg_evaluation_config *out)
{
    DG_TRY(check_upstream(s));
    out->gamma.method = DG_GAMMA_PYMEDPHYS;
    out->criteria = 1;
    out->criterion[0] = (dg_criterion){3, 3};
    out->regions.count = 2;
    snprintf(out->regions.value[0], DG_OPT_WORD, "global");
    snprintf(out->regions.value[1], DG_OPT_WORD, "ptv_region");
    out->rule = DG_DVH_LOWER;
    out->subsample = s->subsample.count > 0 ? (int)s->subsample.value[0] : 2;
    return DG_OK;
}

dg_status dg_evaluation_configure(const dg_evaluate_config *s, dg_evaluation_config *out)
{
    memset(out, 0, sizeof *out);
    out->compat = (dg_evaluation_compat)s->compat;
    out->gamma = (dg_gamma_params){.method = (dg_gamma_method)s->gamma_method,
                                   .cutoff_percent = s->cutoff_percent,
                                   .max_gamma = s->max_gamma,
                                   .interp_fraction = s->interp_fraction,
                                   .local = s->local};
    DG_TRY(read_criteria(&s->gamma, out));
    DG_TRY(read_norm(s->norm, out));
    DG_TRY(check_regions(&s->regions));
    out->regions = s->regions;
    out->margin_mm = s->margin_mm;
    out->rule = (dg_dvh_rule)s->dvh_rule;
    out->supersample = (int)s->supersample;
    out->threads = 1;
    out->members = s->members;
    out->vx_count = s->vx_gy.count;
    for (int i = 0; i < s->vx_gy.count; i++) out->vx_gy[i] = s->vx_gy.value[i];
    out->resamples = s->resamples;
    out->seed = (uint64_t)s->seed;
    out->run.seed = -1;
    if (out->compat == DG_COMPAT_UPSTREAM) return configure_upstream(s, out);
    if (s->subsample.count == 0) return DG_OK;
    return DG_FAIL(DG_ERR_USAGE,
                   "subsample leaves voxels out of gamma: it exists under compat upstream only, to repeat "
                   "the reference tool's numbers");
}

void dg_criterion_name(const dg_criterion *criterion, char text[48])
{
    snprintf(text, 48, "%gmm%gpct", criterion->distance_mm, criterion->dose_percent);
}

static json_t *gamma_json(const dg_evaluation_config *config)
{
    const dg_gamma_params *g = &config->gamma;
    json_t *object = json_pack("{s:s, s:s, s:f, s:f, s:b}", "method", dg_gamma_method_name(g->method), "norm",
                               norm_name[config->norm], "cutoff_percent", g->cutoff_percent, "max_gamma", g->max_gamma,
                               "local", (int)g->local);
    if (config->norm == DG_NORM_GY) json_object_set_new(object, "norm_gy", json_real(config->norm_gy));
    if (g->method == DG_GAMMA_PYMEDPHYS) json_object_set_new(object, "interp_fraction", json_real(g->interp_fraction));
    if (config->compat == DG_COMPAT_UPSTREAM) json_object_set_new(object, "subsample", json_integer(config->subsample));
    return object;
}

json_t *dg_evaluation_settings_json(const dg_evaluation_config *config)
{
    if (config->labels != NULL) return dg_label_settings_json(config->labels);
    json_t *criteria = json_array(), *regions = json_array(), *vx = json_array(), *table = json_null();
    for (int c = 0; c < config->criteria; c++)
        json_array_append_new(criteria, json_pack("{s:f, s:f}", "dose_percent", config->criterion[c].dose_percent,
                                                  "distance_mm", config->criterion[c].distance_mm));
    for (int i = 0; i < config->regions.count; i++)
        json_array_append_new(regions, json_string(config->regions.value[i]));
    if (config->regions.count == 0) json_array_append_new(regions, json_string("all"));
    for (int k = 0; k < config->vx_count; k++) json_array_append_new(vx, json_real(config->vx_gy[k]));
    if (config->table != NULL)
        table = json_pack("{s:s, s:s}", "name", dg_constraint_table_name(config->table), "sha256",
                          dg_constraint_table_sha256(config->table));
    return json_pack("{s:s, s:o, s:o, s:o, s:f, s:s, s:i, s:o, s:o}", "compat", compat_name[config->compat], "gamma",
                     gamma_json(config), "criteria", criteria, "regions", regions, "margin_mm", config->margin_mm,
                     "dvh_rule", rule_name[config->rule], "supersample", config->supersample, "constraint_table", table,
                     "vx_gy", vx);
}
