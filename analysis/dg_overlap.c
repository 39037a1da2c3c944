/* dg_overlap.c - see dg_overlap.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_overlap.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

static void add_voxel(dg_overlap *overlap, bool predicted, bool labelled)
{
    overlap->counted++;
    overlap->predicted += predicted;
    overlap->labelled += labelled;
    overlap->both += predicted && labelled;
}

void dg_overlap_add(dg_overlap *overlap, const uint8_t *predicted, const uint8_t *label, const uint8_t *counted,
                    int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (counted == NULL || counted[i] != 0) add_voxel(overlap, predicted[i] != 0, label[i] != 0);
}

void dg_overlap_add_probability(dg_overlap *overlap, const float *probability, double threshold, const uint8_t *label,
                                const uint8_t *counted, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (counted == NULL || counted[i] != 0) add_voxel(overlap, (double)probability[i] >= threshold, label[i] != 0);
}

void dg_overlap_merge(dg_overlap *overlap, const dg_overlap *other)
{
    overlap->counted += other->counted;
    overlap->predicted += other->predicted;
    overlap->labelled += other->labelled;
    overlap->both += other->both;
}

static double ratio(int64_t a, int64_t b, double without) { return b > 0 ? (double)a / (double)b : without; }

double dg_overlap_dice(const dg_overlap *o) { return ratio(2 * o->both, o->predicted + o->labelled, 1); }
double dg_overlap_iou(const dg_overlap *o) { return ratio(o->both, o->predicted + o->labelled - o->both, 1); }
double dg_overlap_precision(const dg_overlap *o) { return ratio(o->both, o->predicted, NAN); }
double dg_overlap_recall(const dg_overlap *o) { return ratio(o->both, o->labelled, NAN); }
double dg_overlap_accuracy(const dg_overlap *o)
{
    return ratio(o->counted - o->predicted - o->labelled + 2 * o->both, o->counted, NAN);
}
double dg_overlap_predicted_fraction(const dg_overlap *o) { return ratio(o->predicted, o->counted, NAN); }
double dg_overlap_labelled_fraction(const dg_overlap *o) { return ratio(o->labelled, o->counted, NAN); }
