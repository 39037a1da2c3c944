/* label_evaluation.c - see label_evaluation.h: a case against its labels. SPDX-License-Identifier: Apache-2.0 */
#include "label_evaluation.h"

#include "dg_betti_matching.h"
#include "dg_cldice.h"
#include "dg_heartbeat.h"
#include "dg_mem.h"
#include "dg_overlap.h"
#include "dg_partition.h"
#include "dg_surface.h"
#include "dg_trace.h"
#include "dg_watershed.h"
#include "evaluation_impl.h"
#include "labels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { HAUSDORFF_PERCENT = 95 };
static const double CHALLENGE_TOLERANCE = 2, CHALLENGE_ALPHA = 0.3; /* voxels; weight of the information */
static const double CHALLENGE_WEIGHT[3] = {0.30, 0.35, 0.35};       /* topology, surface Dice, information */

static json_t *number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

/* Both masks with what is ignored as background in each, as the challenge does: their surfaces then have the same rim. */
typedef struct masks {
    const dg_grid *grid;
    int64_t voxels;
    uint8_t *predicted, *label, *counted;
} masks;

static void release(masks *m)
{
    dg_free(&m->predicted);
    dg_free(&m->label);
    dg_free(&m->counted);
}

static dg_status load_prediction(const char *folder, const dg_case_info *info, double threshold,
                                 dg_prediction_info *found, masks *m)
{
    float *probability = NULL;
    DG_TRY(dg_prediction_load(folder, info->id, found, NULL)); /* is it intact? */
    DG_TRY(dg_evaluation_check_grid(info, &found->grid));
    DG_TRY(DG_NEW(&probability, m->voxels, "probabilities of a case"));
    dg_status status = dg_prediction_read_probability(folder, info->id, 0, info->grid.shape[0], found, probability);
    if (status == DG_OK) status = DG_NEW(&m->predicted, m->voxels, "mask of a case");
    if (found->kind == DG_PREDICTION_LABEL) threshold = 0.5;
    for (int64_t i = 0; i < m->voxels && status == DG_OK; i++) m->predicted[i] = (double)probability[i] >= threshold;
    dg_free(&probability);
    return status;
}

static dg_status load_labels(const dg_cohort *cohort, int64_t index, const dg_label_config *config, masks *m)
{
    const int64_t *n = m->grid->shape;
    const dg_box whole = {.shape = {n[0], n[1], n[2]}};
    dg_case *c = NULL;
    DG_TRY(DG_NEW(&m->label, m->voxels, "labels of a case"));
    DG_TRY(DG_NEW(&m->counted, m->voxels, "labels of a case"));
    DG_TRY(dg_case_open(cohort, index, &c));
    const dg_status status = dg_labels_read(c, config->class_of, &whole, m->label, m->counted);
    dg_case_close(&c);
    return status;
}

/* ---- numbers --------------------------------------------------------------------------------------------------------- */

static void put_overlap(json_t *object, const dg_overlap *o)
{
    const double predicted = dg_overlap_predicted_fraction(o), labelled = dg_overlap_labelled_fraction(o);
    json_object_set_new(object, "dice", number(dg_overlap_dice(o)));
    json_object_set_new(object, "dice_error", number(1 - dg_overlap_dice(o))); /* as validation calls it */
    json_object_set_new(object, "iou", number(dg_overlap_iou(o)));
    json_object_set_new(object, "precision", number(dg_overlap_precision(o)));
    json_object_set_new(object, "recall", number(dg_overlap_recall(o)));
    json_object_set_new(object, "accuracy", number(dg_overlap_accuracy(o)));
    json_object_set_new(object, "predicted_fraction", number(predicted));
    json_object_set_new(object, "labelled_fraction", number(labelled));
    json_object_set_new(object, "fraction_error", number(predicted - labelled));
    json_object_set_new(object, "n_voxels", json_integer(o->counted));
}

static dg_status put_surface(json_t *object, const masks *m, const dg_label_config *config, int threads)
{
    const double *s = m->grid->spacing_mm, finest = fmin(s[0], fmin(s[1], s[2]));
    const double tolerance = config->tolerance_mm > 0 ? config->tolerance_mm : 2 * finest;
    dg_surface_agreement found;
    DG_TRY(dg_surface_compare(m->predicted, m->label, m->grid, tolerance, HAUSDORFF_PERCENT, threads, &found));
    json_object_set_new(object, "surface_dice", number(found.dice));
    json_object_set_new(object, "surface_tolerance_mm", json_real(tolerance));
    json_object_set_new(object, "hausdorff95_mm", number(found.hausdorff_mm));
    json_object_set_new(object, "mean_surface_distance_mm", number(found.mean_mm));
    return DG_OK;
}

static dg_status put_cldice(json_t *object, const masks *m, dg_skeleton_kind kind)
{
    dg_cldice found;
    DG_TRY(dg_cldice_count(m->predicted, m->label, m->grid->shape, kind, &found));
    json_object_set_new(object, "cldice", number(dg_cldice_value(&found)));
    json_object_set_new(object, "topology_precision", number(dg_cldice_precision(&found)));
    json_object_set_new(object, "topology_sensitivity", number(dg_cldice_sensitivity(&found)));
    return DG_OK;
}

static json_t *betti_json(const dg_betti *b)
{
    return json_pack("{s:I, s:I, s:I, s:I}", "components", (json_int_t)b->number[0], "tunnels",
                     (json_int_t)b->number[1], "cavities", (json_int_t)b->number[2], "euler", (json_int_t)b->euler);
}

static dg_status put_betti(json_t *entry, json_t *object, const masks *m, dg_touch touch)
{
    static const char *const names[] = {"betti0_error", "betti1_error", "betti2_error"};
    dg_betti predicted, labelled;
    int64_t sum = 0;
    DG_TRY(dg_betti_count(m->predicted, m->grid->shape, touch, &predicted));
    DG_TRY(dg_betti_count(m->label, m->grid->shape, touch, &labelled));
    for (int k = 0; k < DG_BETTI_NUMBERS; k++) {
        const int64_t error = llabs(predicted.number[k] - labelled.number[k]);
        json_object_set_new(object, names[k], json_integer(error));
        sum += error;
    }
    json_object_set_new(object, "betti_error", json_integer(sum));
    json_object_set_new(
        entry, "topology",
        json_pack("{s:o, s:o}", "predicted", betti_json(&predicted), "labelled", betti_json(&labelled)));
    return DG_OK;
}

static dg_status number_components(const masks *m, const uint8_t *mask, dg_touch touch, uint32_t **labels)
{
    const dg_slab all = dg_slab_of(m->grid->shape, 0, 1);
    dg_comm *alone = NULL;
    int64_t count;
    DG_TRY(DG_NEW(labels, m->voxels, "labels of components"));
    DG_TRY(dg_comm_self_create(&alone));
    const dg_status status = dg_components_label(alone, &all, mask, touch, *labels, &count);
    dg_comm_destroy(&alone);
    return status;
}

static dg_status find_instances(const masks *m, const uint8_t *mask, bool watershed, int threads, uint32_t **labels)
{
    int64_t count;
    if (!watershed) return number_components(m, mask, DG_TOUCH_CORNER, labels);
    DG_TRY(DG_NEW(labels, m->voxels, "instances"));
    return dg_watershed(mask, m->grid->shape, threads, *labels, &count);
}

/* The challenge's instances are the components over corners, whatever Betti numbers are counted by. */
static dg_status compare_instances(const masks *m, bool watershed, int threads, dg_information *out)
{
    uint32_t *predicted = NULL, *label = NULL;
    dg_status status = find_instances(m, m->predicted, watershed, threads, &predicted);
    if (status == DG_OK) status = find_instances(m, m->label, watershed, threads, &label);
    if (status == DG_OK) status = dg_partition_compare(predicted, label, m->voxels, out);
    dg_free(&predicted);
    dg_free(&label);
    return status;
}

static json_t *matches_json(const dg_betti_matches *m)
{
    static const char *const names[] = {"components", "tunnels", "cavities"};
    json_t *object = json_object();
    for (int k = 0; k < DG_BETTI_NUMBERS; k++)
        json_object_set_new(object, names[k],
                            json_pack("{s:I, s:I, s:I}", "matched", (json_int_t)m->matched[k], "predicted",
                                      (json_int_t)m->predicted[k], "labelled", (json_int_t)m->labelled[k]));
    return object;
}

/* In voxels, as the challenge has no other unit. */
static dg_status put_challenge(json_t *entry, const masks *m, bool watershed, int threads)
{
    static const double unit[3] = {1, 1, 1};
    const dg_grid grid = dg_grid_make(m->grid->shape, unit);
    dg_surface_agreement surface;
    dg_information information;
    dg_betti_matches matches = {{0}, {0}, {0}};
    DG_TRY(
        dg_surface_compare(m->predicted, m->label, &grid, CHALLENGE_TOLERANCE, HAUSDORFF_PERCENT, threads, &surface));
    DG_TRY(compare_instances(m, watershed, threads, &information));
    DG_TRY(dg_betti_match_octants(m->predicted, m->label, m->grid->shape, &matches));
    const double voi = information.split + information.merge;
    const double part[3] = {dg_betti_score(&matches), surface.dice, 1 / (1 + CHALLENGE_ALPHA * voi)};
    double score = 0;
    for (int k = 0; k < 3; k++) score += CHALLENGE_WEIGHT[k] * part[k];
    json_object_set_new(entry, "challenge",
                        json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:o}", "score", score, "topology_score", part[0],
                                  "surface_dice", part[1], "voi_score", part[2], "voi_bits", voi, "voi_split_bits",
                                  information.split, "voi_merge_bits", information.merge, "matched_features",
                                  matches_json(&matches)));
    return DG_OK;
}

static dg_status measure(masks *m, const dg_evaluation_config *config, json_t *entry)
{
    const dg_label_config *labels = config->labels;
    json_t *object = json_object();
    dg_overlap overlap = {.counted = 0};
    if (json_object_set_new(entry, "segmentation_metrics", object) != 0)
        return DG_FAIL(DG_ERR_MEMORY, "no memory for the result of a case");
    dg_overlap_add(&overlap, m->predicted, m->label, m->counted, m->voxels);
    if (overlap.counted == 0)
        return DG_FAIL(DG_ERR_DATA, "every voxel's label is to be ignored: there is nothing to judge by");
    put_overlap(object, &overlap);
    for (int64_t i = 0; i < m->voxels; i++)
        if (m->counted[i] == 0) m->predicted[i] = m->label[i] = 0;
    DG_TRY(put_surface(object, m, labels, config->threads));
    DG_TRY(put_cldice(object, m, labels->skeleton));
    DG_TRY(put_betti(entry, object, m, labels->touch));
    return labels->challenge ? put_challenge(entry, m, labels->watershed, config->threads) : DG_OK;
}

dg_status dg_label_evaluate(const dg_cohort *cohort, int64_t index, const dg_evaluation_config *config,
                            dg_prediction_info *info, double *read_s, char **text)
{
    const dg_case_info *about = dg_cohort_case(cohort, index);
    masks m = {.grid = &about->grid, .voxels = dg_grid_voxels(&about->grid)};
    json_t *entry = json_object();
    const double start = dg_time_s();
    *text = NULL;
    (void)dg_heartbeat_phase(config->heartbeat, DG_PHASE_READ);
    dg_status status = load_prediction(config->predictions, about, config->labels->threshold, info, &m);
    if (status == DG_OK) status = load_labels(cohort, index, config->labels, &m);
    *read_s = dg_time_s() - start;
    (void)dg_heartbeat_phase(config->heartbeat, DG_PHASE_EVALUATE);
    if (status == DG_OK) status = measure(&m, config, entry);
    if (status == DG_OK) {
        *text = json_dumps(entry, JSON_COMPACT | JSON_REAL_PRECISION(17));
        if (*text == NULL) status = DG_FAIL(DG_ERR_MEMORY, "no memory for the result of a case");
    }
    release(&m);
    json_decref(entry);
    return status;
}
