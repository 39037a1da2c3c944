/* ctest: libs=dg_analysis label=unit timeout=30 */
/* t671_overlap.c - counts of foreground and their ratios: known numbers, what divides by nothing, voxels left out.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_overlap.h"

int main(void)
{
    static const uint8_t predicted[] = {1, 1, 1, 0, 0, 0, 0, 1}, label[] = {1, 1, 0, 1, 0, 0, 0, 0};
    static const uint8_t counted[] = {1, 1, 1, 1, 1, 1, 1, 0};
    static const float probability[] = {0.5f, 0.9f, 0.6f, 0.4999f, NAN, 0, 0, 1};
    dg_overlap all = {.counted = 0}, known = {.counted = 0}, by_probability = {.counted = 0}, parts = {.counted = 0};
    dg_overlap_add(&all, predicted, label, NULL, 8);
    DG_CHECK(all.counted == 8 && all.predicted == 4 && all.labelled == 3 && all.both == 2);
    dg_overlap_add(&known, predicted, label, counted, 8);
    DG_CHECK(known.counted == 7 && known.predicted == 3 && known.labelled == 3 && known.both == 2);
    dg_overlap_add_probability(&by_probability, probability, 0.5, label, counted, 8);
    DG_CHECK(memcmp(&known, &by_probability, sizeof known) == 0);
    dg_overlap_add(&parts, predicted, label, counted, 3);
    dg_overlap other = {.counted = 0};
    dg_overlap_add(&other, predicted + 3, label + 3, counted + 3, 5);
    dg_overlap_merge(&parts, &other);
    DG_CHECK(memcmp(&known, &parts, sizeof known) == 0);
    DG_CHECK_NEAR(dg_overlap_dice(&known), 2.0 / 3, 1e-15);
    DG_CHECK_NEAR(dg_overlap_iou(&known), 0.5, 1e-15);
    DG_CHECK_NEAR(dg_overlap_precision(&all), 0.5, 1e-15);
    DG_CHECK_NEAR(dg_overlap_recall(&all), 2.0 / 3, 1e-15);
    DG_CHECK_NEAR(dg_overlap_accuracy(&all), 5.0 / 8, 1e-15);
    DG_CHECK_NEAR(dg_overlap_predicted_fraction(&all), 0.5, 1e-15);
    DG_CHECK_NEAR(dg_overlap_labelled_fraction(&all), 0.375, 1e-15);
    const dg_overlap none = {.counted = 0}, empty = {.counted = 5}, missed = {.counted = 5, .labelled = 2};
    DG_CHECK(dg_overlap_dice(&empty) == 1 && dg_overlap_iou(&empty) == 1 && dg_overlap_accuracy(&empty) == 1);
    DG_CHECK(isnan(dg_overlap_precision(&empty)) && isnan(dg_overlap_recall(&empty)));
    DG_CHECK(dg_overlap_dice(&missed) == 0 && dg_overlap_recall(&missed) == 0 && isnan(dg_overlap_precision(&missed)));
    DG_CHECK(isnan(dg_overlap_accuracy(&none)) && isnan(dg_overlap_labelled_fraction(&none)));
    return 0;
}
