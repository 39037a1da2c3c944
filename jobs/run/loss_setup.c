/* loss_setup.c - see loss_setup.h. SPDX-License-Identifier: Apache-2.0 */
#include "loss_setup.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the functions below share. */
typedef struct maker {
    const dg_run_config *config;
    const dg_cohort *cohort;
    const int64_t *cases;
    int64_t count;
    dg_recipe *recipe;
    dg_loss_setup *out;
    dg_loss_phases phases;
} maker;

static bool upstream(const maker *m) { return m->config->loss.compat == DG_LOSS_UPSTREAM; }

static bool any_case_has(const maker *m, const char *structure)
{
    for (int64_t i = 0; i < m->count; i++)
        if (dg_case_info_structure(dg_cohort_case(m->cohort, m->cases[i]), structure) >= 0) return true;
    return false;
}

static bool same_region(const dg_loss_region *a, const dg_loss_region *b)
{
    return a->role == b->role && a->near_mm == b->near_mm && strcmp(a->structure, b->structure) == 0;
}

/* The bit of a region, made where there is none yet. */
static dg_status add_region(maker *m, const dg_loss_region *region, uint32_t *bits)
{
    dg_recipe *recipe = m->recipe;
    int r = 0;
    while (r < recipe->regions && !same_region(&recipe->region[r], region)) r++;
    if (r == DG_LOSS_REGIONS_MAX)
        return DG_FAIL(DG_ERR_USAGE, "the loss looks at more than %d structures; list fewer goals in loss.dvh.goals",
                       DG_LOSS_REGIONS_MAX);
    if (r == recipe->regions) recipe->region[recipe->regions++] = *region;
    recipe->region[r].mirror = r;
    *bits |= UINT32_C(1) << r;
    return DG_OK;
}

/* Inside (near_mm 0) or near each listed structure; an empty list is every structure of the role. */
static dg_status add_structures(maker *m, const char *key, const dg_string_list *list, dg_role role, double near_mm,
                                uint32_t *bits)
{
    dg_loss_region region = {.role = role, .near_mm = near_mm, .everywhere_if_absent = near_mm > 0 && upstream(m)};
    if (list->count == 0) return add_region(m, &region, bits);
    for (int i = 0; i < list->count; i++) {
        if (strlen(list->value[i]) >= sizeof region.structure || !any_case_has(m, list->value[i]))
            return DG_FAIL(DG_ERR_USAGE,
                           "%s: no training case has a structure '%s'; check the name with `dosegrid inspect`", key,
                           list->value[i]);
        strcpy(region.structure, list->value[i]);
        DG_TRY(add_region(m, &region, bits));
    }
    return DG_OK;
}

/* ---- goals ----------------------------------------------------------------------------------------------------------- */

static dg_status bad_goal(const char *text)
{
    return DG_FAIL(
        DG_ERR_USAGE,
        "loss.dvh.goals: '%s' is no goal; write STRUCTURE:METRIC[:WEIGHT[:LIMIT]] with metric D95 (dose to 95 %% "
        "of the volume), V70 (share of the volume with 70 Gy) or mean, as in PTV70:D95:10 or Rectum:V70:2:0.15",
        text);
}

/* A number behind *text, up to a colon or the end. */
static bool read_number(const char **text, double *value)
{
    char *end;
    *value = strtod(*text, &end);
    const bool good = end != *text && (*end == ':' || *end == '\0') && isfinite(*value);
    *text = *end == ':' ? end + 1 : end;
    return good;
}

static bool read_metric(const char **text, dg_loss_goal *goal)
{
    const char kind = **text;
    if (strncmp(*text, "mean", 4) == 0 && ((*text)[4] == ':' || (*text)[4] == '\0')) {
        goal->kind = DG_GOAL_MEAN;
        *text += (*text)[4] == ':' ? 5 : 4;
        return true;
    }
    if (kind != 'D' && kind != 'V') return false;
    (*text)++;
    goal->kind = kind == 'D' ? DG_GOAL_DOSE : DG_GOAL_VOLUME;
    if (!read_number(text, &goal->level)) return false;
    if (kind == 'D') goal->level /= 100;
    return kind == 'D' ? goal->level > 0 && goal->level < 1 : goal->level > 0;
}

static dg_status parse_goal(maker *m, const char *text, dg_loss_goal *out)
{
    dg_string_list one = {.count = 1};
    const char *colon = strchr(text, ':'), *rest = colon != NULL ? colon + 1 : "";
    double weight = 1;
    *out = (dg_loss_goal){.weight = 1};
    if (colon == NULL || colon == text || colon - text >= DG_STRUCTURE_NAME) return bad_goal(text);
    memcpy(one.value[0], text, (size_t)(colon - text));
    if (!read_metric(&rest, out)) return bad_goal(text);
    if (*rest != '\0' && (!read_number(&rest, &weight) || weight < 0)) return bad_goal(text);
    if (*rest != '\0' && (out->kind != DG_GOAL_VOLUME || !read_number(&rest, &out->limit))) return bad_goal(text);
    if (*rest != '\0' || out->limit < 0 || out->limit > 1) return bad_goal(text);
    out->weight = (float)weight;
    return add_structures(m, "loss.dvh.goals", &one, DG_ROLE_TARGET, 0, &out->region);
}

/* The reference study's, for the structures that training cases have. */
static dg_status study_goals(maker *m, dg_loss_term *term)
{
    static const char *const GOALS[] = {"PTV70:D95:10",       "PTV56:D95:5",   "PTV50.4:D95:3",  "Rectum:V70:2:0.15",
                                        "Bladder:V70:2:0.25", "Rectum:mean:1", "Bladder:mean:1", "Bowel:mean:1"};
    for (size_t i = 0; i < sizeof GOALS / sizeof *GOALS; i++) {
        char name[DG_STRUCTURE_NAME] = "";
        memcpy(name, GOALS[i], (size_t)(strchr(GOALS[i], ':') - GOALS[i]));
        if (any_case_has(m, name)) DG_TRY(parse_goal(m, GOALS[i], &term->goal[term->goals++]));
    }
    if (term->goals > 0) return DG_OK;
    return DG_FAIL(DG_ERR_USAGE,
                   "loss.dvh: no training case has a structure of the reference study; list loss.dvh.goals");
}

static int by_name(const void *a, const void *b) { return strcmp(a, b); }

/* D95 of every target and the mean dose of every organ of the training cases, in order of name. */
static dg_status default_goals(maker *m, dg_loss_term *term)
{
    static const struct {
        dg_role role;
        const char *metric;
    } WANTED[] = {{DG_ROLE_TARGET, "D95:10"}, {DG_ROLE_OAR, "mean:1"}};
    for (size_t w = 0; w < sizeof WANTED / sizeof *WANTED; w++) {
        char name[DG_STRUCTURES_MAX][DG_STRUCTURE_NAME];
        int names = 0;
        for (int64_t i = 0; i < m->count; i++) {
            const dg_case_info *info = dg_cohort_case(m->cohort, m->cases[i]);
            for (int s = 0; s < info->structure_count && names < DG_STRUCTURES_MAX; s++) {
                int k = 0;
                while (k < names && strcmp(name[k], info->structure[s].name) != 0) k++;
                if (info->structure[s].role == WANTED[w].role && k == names)
                    memcpy(name[names++], info->structure[s].name, sizeof name[0]);
            }
        }
        qsort(name, (size_t)names, sizeof name[0], by_name);
        for (int k = 0; k < names; k++) {
            char text[DG_STRUCTURE_NAME + 16];
            snprintf(text, sizeof text, "%.63s:%s", name[k], WANTED[w].metric);
            if (term->goals == DG_LOSS_GOALS_MAX)
                return DG_FAIL(DG_ERR_USAGE, "loss.dvh.goals: auto finds more than %d structures; list the goals",
                               DG_LOSS_GOALS_MAX);
            DG_TRY(parse_goal(m, text, &term->goal[term->goals++]));
        }
    }
    return DG_OK;
}

static dg_status dvh_term(maker *m, dg_loss_term *term)
{
    const dg_string_list *list = &m->config->loss.dvh.goals;
    const dg_double_list *width = &m->config->loss.dvh.vx_temperature;
    *term = (dg_loss_term){.kind = DG_LOSS_DVH,
                           .upstream = upstream(m),
                           .bins = 100,
                           .d95_temperature = 0.1,
                           .window = m->config->loss.dvh.window,
                           .min_voxels = (int)m->config->loss.dvh.min_voxels,
                           .vx_temperature = width->count > 0 ? (float)width->value[0]
                                             : upstream(m)    ? 1.0f
                                                              : 0.0005f};
    if (list->count == 0) return upstream(m) ? study_goals(m, term) : default_goals(m, term);
    if (list->count > DG_LOSS_GOALS_MAX)
        return DG_FAIL(DG_ERR_USAGE, "loss.dvh.goals lists %d goals; %d are possible", list->count, DG_LOSS_GOALS_MAX);
    for (int i = 0; i < list->count; i++) DG_TRY(parse_goal(m, list->value[i], &term->goal[term->goals++]));
    return DG_OK;
}

/* ---- terms ----------------------------------------------------------------------------------------------------------- */

static void add_term(maker *m, double weight, dg_loss_term term)
{
    dg_loss_config *config = &m->out->config;
    if (m->phases.named[term.kind]) {
        m->out->course[config->count] = dg_loss_phases_course(&m->phases, term.kind);
        weight = 1;
    }
    if (weight <= 0) return;
    config->term[config->count] = term;
    config->weight[config->count++] = weight;
}

static dg_status add_region_terms(maker *m)
{
    const dg_run_config *c = m->config;
    if (c->loss.dvh.weight > 0) {
        dg_loss_term term;
        DG_TRY(dvh_term(m, &term));
        add_term(m, c->loss.dvh.weight, term);
    }
    if (c->loss.structure.weight > 0) {
        dg_loss_term term = {.kind = DG_LOSS_STRUCTURE,
                             .upstream = upstream(m),
                             .weight_inside = (float)c->loss.structure.inside,
                             .weight_near = (float)c->loss.structure.near,
                             .weight_else = (float)c->loss.structure.elsewhere};
        DG_TRY(
            add_structures(m, "loss.structure.targets", &c->loss.structure.targets, DG_ROLE_TARGET, 0, &term.inside));
        DG_TRY(add_structures(m, "loss.structure.organs", &c->loss.structure.organs, DG_ROLE_OAR,
                              c->loss.structure.near_mm, &term.near));
        add_term(m, c->loss.structure.weight, term);
    }
    if (c->loss.asymmetric.weight > 0) {
        dg_loss_term term = {
            .kind = DG_LOSS_ASYMMETRIC, .upstream = upstream(m), .ratio = (float)c->loss.asymmetric.ratio};
        DG_TRY(
            add_structures(m, "loss.asymmetric.targets", &c->loss.asymmetric.targets, DG_ROLE_TARGET, 0, &term.inside));
        add_term(m, c->loss.asymmetric.weight, term);
        m->out->coupled = upstream(m);
    }
    return DG_OK;
}

static void add_label_terms(maker *m)
{
    const dg_loss_settings *l = &m->config->loss;
    const bool joined = upstream(m);
    add_term(m, l->dice.weight, (dg_loss_term){.kind = DG_LOSS_DICE, .smooth = (float)l->dice.smooth});
    add_term(m, l->focal.weight,
             (dg_loss_term){.kind = DG_LOSS_FOCAL,
                            .alpha = (float)l->focal.alpha,
                            .gamma = (float)l->focal.gamma,
                            .foreground = (float)l->focal.foreground,
                            .background = (float)l->focal.background});
    add_term(m, l->boundary.weight,
             (dg_loss_term){
                 .kind = DG_LOSS_BOUNDARY, .theta0 = (float)l->boundary.theta0, .theta = (float)l->boundary.theta});
    add_term(m, l->cldice.weight,
             (dg_loss_term){
                 .kind = DG_LOSS_CLDICE, .iterations = (int)l->cldice.iterations, .smooth = (float)l->cldice.smooth});
    add_term(m, l->connectivity.weight,
             (dg_loss_term){.kind = DG_LOSS_CONNECTIVITY, .kernel = (int)l->connectivity.kernel});
    add_term(m, l->variance.weight,
             (dg_loss_term){
                 .kind = DG_LOSS_VARIANCE, .upstream = joined, .least_entropy = (float)l->variance.least_entropy});
    add_term(
        m, l->entropy.weight,
        (dg_loss_term){.kind = DG_LOSS_ENTROPY, .upstream = joined, .least_entropy = (float)l->entropy.least_entropy});
    for (int k = 0; k < m->out->config.count; k++)
        if (m->out->config.term[k].kind == DG_LOSS_BOUNDARY) m->recipe->distance = true;
    m->recipe->upstream_distance = joined;
}

/* A term has one weight: its own or that of the phases. */
static dg_status check_phases(const maker *m)
{
    const dg_loss_settings *l = &m->config->loss;
    const double own[DG_LOSS_ALL_KINDS] = {[DG_LOSS_MSE] = l->mse,
                                           [DG_LOSS_MAE] = l->mae,
                                           [DG_LOSS_HUBER] = l->huber.weight,
                                           [DG_LOSS_POISSON] = l->poisson.weight,
                                           [DG_LOSS_NEGATIVE] = l->negative,
                                           [DG_LOSS_STRUCTURE] = l->structure.weight,
                                           [DG_LOSS_ASYMMETRIC] = l->asymmetric.weight,
                                           [DG_LOSS_GRADIENT] = l->gradient,
                                           [DG_LOSS_DVH] = l->dvh.weight,
                                           [DG_LOSS_SSIM] = l->ssim,
                                           [DG_LOSS_DICE] = l->dice.weight,
                                           [DG_LOSS_FOCAL] = l->focal.weight,
                                           [DG_LOSS_BOUNDARY] = l->boundary.weight,
                                           [DG_LOSS_CLDICE] = l->cldice.weight,
                                           [DG_LOSS_CONNECTIVITY] = l->connectivity.weight,
                                           [DG_LOSS_VARIANCE] = l->variance.weight,
                                           [DG_LOSS_ENTROPY] = l->entropy.weight};
    for (int kind = 0; kind < DG_LOSS_KINDS; kind++) {
        const char *name = dg_loss_kind_name((dg_loss_kind)kind);
        const bool wanted = own[kind] > 0 || m->phases.named[kind];
        if (own[kind] > 0 && m->phases.named[kind])
            return DG_FAIL(DG_ERR_USAGE,
                           "loss.phases sets the weight of %s, and loss.%s.weight is %g too; set that to 0", name, name,
                           own[kind]);
        if (wanted && dg_loss_is_of_labels((dg_loss_kind)kind) && m->config->data.target != DG_TARGET_LABELS)
            return DG_FAIL(DG_ERR_USAGE, "loss.%s compares labels; it needs data.target: labels", name);
        if (m->phases.named[kind] && (kind == DG_LOSS_DVH || kind == DG_LOSS_STRUCTURE || kind == DG_LOSS_ASYMMETRIC))
            return DG_FAIL(DG_ERR_USAGE, "loss.phases: %s has a schedule of its own, loss.schedule", name);
    }
    return DG_OK;
}

/* The reference tool's parts come in this order, the penalty of negative doses last; terms whose weights are never learned stand
 * behind the others. */
static dg_status add_terms(maker *m)
{
    const dg_run_config *c = m->config;
    add_term(m, c->loss.mse, (dg_loss_term){.kind = DG_LOSS_MSE});
    add_term(m, c->loss.mae, (dg_loss_term){.kind = DG_LOSS_MAE});
    add_term(m, c->loss.huber.weight, (dg_loss_term){.kind = DG_LOSS_HUBER, .delta = (float)c->loss.huber.delta});
    add_term(m, c->loss.poisson.weight, (dg_loss_term){.kind = DG_LOSS_POISSON, .eps = (float)c->loss.poisson.eps});
    add_term(m, c->loss.gradient, (dg_loss_term){.kind = DG_LOSS_GRADIENT});
    add_term(m, c->loss.ssim, (dg_loss_term){.kind = DG_LOSS_SSIM});
    if (c->loss.perceptual.weight > 0) {
        DG_TRY(dg_loss_setup_perceptual(c, m->out));
        add_term(m, c->loss.perceptual.weight,
                 (dg_loss_term){.kind = DG_LOSS_PERCEPTUAL, .layers = m->out->perceptual.layers});
    }
    DG_TRY(add_region_terms(m));
    add_label_terms(m);
    add_term(m, c->loss.adversarial.weight, (dg_loss_term){.kind = DG_LOSS_ADVERSARIAL});
    add_term(m, c->loss.negative, (dg_loss_term){.kind = DG_LOSS_NEGATIVE});
    return DG_OK;
}

/* In a mirrored sample a region gets the voxels of its partner's structure. */
static dg_status pair_regions(maker *m)
{
    dg_recipe *recipe = m->recipe;
    for (int r = 0; r < recipe->regions; r++) {
        dg_loss_region wanted = recipe->region[r];
        const char *partner = "";
        for (int64_t i = 0; i < m->count && wanted.structure[0] != '\0' && partner[0] == '\0'; i++) {
            const dg_case_info *info = dg_cohort_case(m->cohort, m->cases[i]);
            const int s = dg_case_info_structure(info, wanted.structure);
            if (s >= 0) partner = info->structure[s].mirror;
        }
        if (partner[0] == '\0') continue;
        snprintf(wanted.structure, sizeof wanted.structure, "%s", partner);
        int k = 0;
        while (k < recipe->regions && !same_region(&recipe->region[k], &wanted)) k++;
        if (k < recipe->regions)
            recipe->region[r].mirror = k;
        else if (m->config->data.augment.flip)
            return DG_FAIL(
                DG_ERR_USAGE,
                "mirrored samples need both sides: the loss looks at '%s' and not at its partner '%s'; add it, or "
                "switch off data.augment.flip",
                recipe->region[r].structure, partner);
    }
    return DG_OK;
}

/* ---- weights --------------------------------------------------------------------------------------------------------- */

static int find_term(const dg_loss_weights *weights, const char *name)
{
    for (int k = 0; k < weights->count; k++)
        if (strcmp(weights->name[k], name) == 0) return k;
    return -1;
}

static dg_status bad_course(const char *text, const char *why)
{
    return DG_FAIL(DG_ERR_USAGE,
                   "loss.schedule: '%s': %s; write TERM FACTOR@EPOCH FACTOR@EPOCH ..., as in dvh 0@0 1@20", text, why);
}

/* "dvh 0@0 0.5@10 1@20" */
static dg_status parse_course(maker *m, const char *text)
{
    char name[32] = "";
    int length = 0;
    if (sscanf(text, "%31s%n", name, &length) != 1) return bad_course(text, "no term");
    const int k = find_term(&m->out->weights, name);
    if (k < 0) return bad_course(text, "the run has no such term (its weight is 0, or the name is wrong)");
    dg_loss_course *course = &m->out->course[k];
    if (course->points > 0) return bad_course(text, "the term comes twice");
    for (const char *at = text + length; at[strspn(at, " ")] != '\0'; at += length) {
        double factor, epoch;
        if (sscanf(at, " %lf@%lf%n", &factor, &epoch, &length) != 2 || !(factor >= 0) || !isfinite(factor) ||
            !(epoch >= 0) || !isfinite(epoch))
            return bad_course(text, "a point is not FACTOR@EPOCH");
        if (course->points == DG_LOSS_POINTS_MAX) return bad_course(text, "more than 16 points");
        if (course->points > 0 && epoch <= course->epoch[course->points - 1])
            return bad_course(text, "epochs must rise");
        course->epoch[course->points] = epoch;
        course->factor[course->points++] = factor;
    }
    return course->points > 0 ? DG_OK : bad_course(text, "no point");
}

double dg_loss_course_factor(const dg_loss_course *c, double epoch)
{
    if (c->points == 0) return 1;
    if (epoch <= c->epoch[0]) return c->factor[0];
    for (int i = 1; i < c->points; i++) {
        if (epoch >= c->epoch[i]) continue; /* two points at one epoch are a step */
        const double share = (epoch - c->epoch[i - 1]) / (c->epoch[i] - c->epoch[i - 1]);
        return c->factor[i - 1] + share * (c->factor[i] - c->factor[i - 1]);
    }
    return c->factor[c->points - 1];
}

/* All terms learn their width, which starts at 1 or where a calibration says, but the penalty of negative doses and what a
 * discriminator finds: that is no error with a likelihood, and its opponent moves it. */
static dg_status learn_weights(maker *m)
{
    dg_loss_weights *weights = &m->out->weights;
    const char *path = m->config->loss.calibration;
    dg_loss_calibration from = {.count = 0};
    if (path[0] != '\0') DG_TRY(dg_loss_calibration_read(path, &from));
    for (int k = 0; k < weights->count; k++) {
        const dg_loss_kind kind = m->out->config.term[k].kind;
        weights->learned[k] = kind != DG_LOSS_NEGATIVE && kind != DG_LOSS_ADVERSARIAL;
        if (!weights->learned[k] || path[0] == '\0') continue;
        int i = 0;
        while (i < from.count && strcmp(from.name[i], weights->name[k]) != 0) i++;
        if (i == from.count)
            return DG_FAIL(DG_ERR_USAGE, "loss.calibration: %s has no start for term %s; calibrate with this loss",
                           path, weights->name[k]);
        weights->log_sigma[k] = from.log_sigma[i];
    }
    return DG_OK;
}

void dg_loss_setup_release(dg_loss_setup *setup) { dg_perceptual_net_release(&setup->perceptual); }

dg_status dg_loss_setup_make(const dg_run_config *config, const dg_cohort *cohort, const int64_t *cases, int64_t count,
                             dg_recipe *recipe, dg_loss_setup *out)
{
    maker m = {config, cohort, cases, count, recipe, out, {.count = 0}};
    const bool learned = config->loss.weighting == DG_LOSS_LEARNED;
    const int64_t steps = dg_run_config_steps(config, count);
    const double epochs = steps == INT64_MAX ? 0 : (double)steps * (double)config->train.batch / (double)count;
    memset(out, 0, sizeof *out);
    if (config->loss.phases.count > 0 && (learned || config->loss.schedule.count > 0))
        return DG_FAIL(DG_ERR_USAGE, "loss.phases sets weights, and loss.%s does too; leave one out",
                       learned ? "weighting: learned" : "schedule");
    DG_TRY(dg_loss_phases_read(&config->loss.phases, config->loss.blend, epochs, &m.phases));
    DG_TRY(check_phases(&m));
    DG_TRY(add_terms(&m));
    DG_TRY(pair_regions(&m));
    out->weights = dg_loss_weights_of(&out->config);
    if (learned && config->loss.schedule.count > 0)
        return DG_FAIL(DG_ERR_USAGE, "loss.weighting is learned and loss.schedule sets weights too; leave one out");
    if (!learned && config->loss.calibration[0] != '\0')
        return DG_FAIL(DG_ERR_USAGE, "loss.calibration is for loss.weighting: learned; set that, or leave it out");
    for (int i = 0; i < config->loss.schedule.count; i++) DG_TRY(parse_course(&m, config->loss.schedule.value[i]));
    return learned ? learn_weights(&m) : DG_OK;
}
