/* compare_words.c - what the dotted name of a metric says: region, unit, and which way is better.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_compare.h"

#include <ctype.h>
#include <string.h>

static bool ends_with(const char *text, const char *end)
{
    const size_t a = strlen(text), b = strlen(end);
    return a >= b && strcmp(text + a - b, end) == 0;
}

static void copy_part(const char *from, size_t length, char out[DG_RESULTS_METRIC])
{
    if (length >= DG_RESULTS_METRIC) length = DG_RESULTS_METRIC - 1;
    memcpy(out, from, length);
    out[length] = '\0';
}

/* "gamma.REGION_3mm3pct.name": the criterion is the last part before ".name" that begins with a digit. */
static void gamma_region(const char *rest, char out[DG_RESULTS_METRIC])
{
    const char *end = strstr(rest, "pct."), *cut = NULL;
    for (const char *c = rest; end != NULL && c < end; c++)
        if (*c == '_' && isdigit((unsigned char)c[1])) cut = c;
    if (cut != NULL) copy_part(rest, (size_t)(cut - rest), out);
}

/* "dvh_metrics.NAME.metric": names hold dots ("PTV50.4"), and so do metrics ("D0.1cc_error_gy"): a metric's own dot follows a
 * digit of D or V. */
static void dvh_region(const char *rest, char out[DG_RESULTS_METRIC])
{
    const char *dot = strrchr(rest, '.');
    while (dot != NULL && dot > rest && isdigit((unsigned char)dot[-1]) && isdigit((unsigned char)dot[1])) {
        const char *before = dot;
        do before--;
        while (before > rest && *before != '.');
        if (before == rest) break;
        dot = before;
    }
    if (dot != NULL) copy_part(rest, (size_t)(dot - rest), out);
}

static void dose_region(const char *name, char out[DG_RESULTS_METRIC])
{
    const size_t length = strlen(name);
    if (strncmp(name, "mae_", 4) == 0 && ends_with(name, "_gy") && length > 7)
        copy_part(name + 4, length - 7, out);
    else
        copy_part("global", 6, out);
}

static const char *unit_of(const char *metric, const char *last)
{
    if (ends_with(metric, "_gy") || strstr(last, "_gy_") != NULL) return "Gy";
    if (ends_with(metric, "_percent") || ends_with(metric, "gamma_pass_rate") || ends_with(metric, "compliance_rate"))
        return "%";
    if (ends_with(metric, "_mm")) return "mm";
    if (ends_with(metric, "_cc")) return "cc";
    if (strstr(last, "voxels") != NULL) return "voxels";
    /* the reference tool's names: D95_error, pred_D95, pred_V70 */
    const char *letter = strstr(last, "pred_") == last ? last + 5 : strstr(last, "target_") == last ? last + 7 : last;
    if (strncmp(metric, "dvh_metrics.", 12) != 0 || !isdigit((unsigned char)letter[letter[0] != '\0'])) return "";
    return letter[0] == 'D' ? "Gy" : letter[0] == 'V' ? (strstr(letter, "_cc") != NULL ? "cc" : "%") : "";
}

static dg_better better_of(const char *metric, const char *last)
{
    if (ends_with(metric, "gamma_pass_rate") || ends_with(metric, "compliance_rate") || strcmp(last, "passed") == 0)
        return DG_BETTER_HIGHER;
    if (strncmp(metric, "segmentation_metrics.", 21) == 0 || strncmp(metric, "challenge.", 10) == 0) {
        if (strncmp(last, "betti", 5) == 0 || strcmp(last, "dice_error") == 0 || strstr(last, "hausdorff") != NULL || strstr(last, "distance") != NULL ||
            strstr(last, "voi_bits") != NULL)
            return DG_BETTER_LOWER;
        if (strcmp(last, "fraction_error") == 0) return DG_BETTER_NEAR_ZERO;
        return strstr(last, "fraction") != NULL || strstr(last, "voxels") != NULL || strstr(last, "tolerance") != NULL
                   ? DG_BETTER_UNKNOWN
                   : DG_BETTER_HIGHER;
    }
    /* A spread is right or wrong, not high or low; differences from the true mean have no sign. */
    if (strncmp(metric, "ensemble.", 9) == 0)
        return strcmp(last, "crps_gy") == 0 || strncmp(last, "mean_", 5) == 0 ? DG_BETTER_LOWER : DG_BETTER_UNKNOWN;
    if (strncmp(last, "mae_", 4) == 0 || strncmp(last, "rmse_", 5) == 0 || strncmp(last, "max_error", 9) == 0 ||
        strncmp(last, "gamma_", 6) == 0 || strncmp(metric, "openkbp.d", 9) == 0)
        return DG_BETTER_LOWER;
    return strstr(last, "error") != NULL ? DG_BETTER_NEAR_ZERO : DG_BETTER_UNKNOWN;
}

void dg_metric_describe(const char *metric, dg_metric_words *out)
{
    const char *first = strchr(metric, '.'), *last = strrchr(metric, '.');
    *out = (dg_metric_words){.unit = ""};
    if (first == NULL) return;
    if (strncmp(metric, "gamma.", 6) == 0) {
        gamma_region(first + 1, out->region);
    } else if (strncmp(metric, "dvh_metrics.", 12) == 0) {
        dvh_region(first + 1, out->region);
        if (out->region[0] != '\0') last = first + 1 + strlen(out->region);
    } else if (strncmp(metric, "dose_metrics.", 13) == 0) {
        dose_region(last + 1, out->region);
    }
    out->unit = unit_of(metric, last + 1);
    out->better = better_of(metric, last + 1);
}
