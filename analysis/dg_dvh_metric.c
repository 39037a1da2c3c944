/* dg_dvh_metric.c - see dg_dvh_metric.h. Numbers are read by hand: strtod would take signs, exponents, "inf" and the
 * locale's decimal point. SPDX-License-Identifier: Apache-2.0 */
#include "dg_dvh_metric.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { SHOWN = 40, DIGITS = 6 };

typedef struct cursor {
    const char *text, *at;
} cursor;

static dg_status fail(const cursor *c, const char *expected)
{
    char shown[SHOWN + 4];
    size_t n = 0;
    for (; c->text[n] != '\0' && n < SHOWN; n++) shown[n] = isprint((unsigned char)c->text[n]) ? c->text[n] : '?';
    snprintf(shown + n, sizeof shown - n, "%s", c->text[n] == '\0' ? "" : "..");
    return DG_FAIL(DG_ERR_USAGE, "metric '%s', column %d: %s", shown, (int)(c->at - c->text) + 1, expected);
}

/* Takes `word` when it comes next, whatever its case. */
static bool take(cursor *c, const char *word)
{
    size_t length = strlen(word);
    if (strncasecmp(c->at, word, length) != 0) return false;
    c->at += length;
    return true;
}

/* Digits, at most six before and six after the point: exact to print and to read again. */
static bool take_number(cursor *c, double *value)
{
    int64_t number = 0, scale = 1;
    const char *p = c->at;
    int whole = 0, fraction = 0;
    for (; *p >= '0' && *p <= '9'; p++, whole++) {
        if (whole == DIGITS) return false;
        number = number * 10 + (*p - '0');
    }
    if (*p == '.') {
        for (p++; *p >= '0' && *p <= '9'; p++, fraction++) {
            if (fraction == DIGITS) return false;
            number = number * 10 + (*p - '0');
            scale *= 10;
        }
        if (fraction == 0) return false;
    }
    if (whole == 0) return false;
    *value = (double)number / (double)scale;
    c->at = p;
    return true;
}

static void number_text(double value, char text[16])
{
    int used = snprintf(text, 16, "%.6f", value);
    while (text[used - 1] == '0') text[--used] = '\0';
    if (text[used - 1] == '.') text[--used] = '\0';
}

static dg_status finish(const cursor *c, dg_metric *m, dg_metric_kind kind, const char *prefix, const char *suffix)
{
    char number[16] = "";
    if (*c->at != '\0') return fail(c, "nothing may follow the metric");
    if (suffix != NULL) number_text(m->value, number);
    m->kind = kind;
    snprintf(m->text, sizeof m->text, "%s%s%s", prefix, number, suffix == NULL ? "" : suffix);
    return DG_OK;
}

static dg_status parse_dose_at(cursor *c, dg_metric *m)
{
    char number[16], expected[200];
    const cursor start = *c;
    if (!take_number(c, &m->value))
        return fail(c, "expected a number of at most six digits before and after the point, as in D95% or D2cc, "
                       "or mean, max, min, median");
    if (take(c, "%")) {
        if (!(m->value > 0 && m->value <= 100))
            return fail(&start, "a share of the volume is above 0 and at most 100 %");
        return finish(c, m, DG_METRIC_DOSE_AT_PERCENT, "D", "%");
    }
    if (take(c, "cc")) {
        if (!(m->value > 0)) return fail(&start, "a volume is above 0 cc");
        return finish(c, m, DG_METRIC_DOSE_AT_CC, "D", "cc");
    }
    number_text(m->value, number);
    snprintf(expected, sizeof expected, "expected a unit: D%s%% (dose to %s %% of the volume) or D%scc (dose to %s cc)",
             number, number, number, number);
    return fail(c, expected);
}

/* After the dose of a V: its volume's unit. */
static dg_status parse_volume_unit(cursor *c, dg_metric *m, const char *dose_unit)
{
    char number[16], expected[200], suffix[12];
    number_text(m->value, number);
    if (take(c, "%")) {
        snprintf(suffix, sizeof suffix, "%s%%", dose_unit);
        return finish(c, m, DG_METRIC_VOLUME_PERCENT, "V", suffix);
    }
    if (take(c, "cc")) {
        snprintf(suffix, sizeof suffix, "%scc", dose_unit);
        return finish(c, m, DG_METRIC_VOLUME_CC, "V", suffix);
    }
    snprintf(expected, sizeof expected,
             "expected the volume's unit: V%s%s%% (share of the structure) or V%s%scc (volume in cc)", number,
             dose_unit, number, dose_unit);
    return fail(c, expected);
}

static dg_status parse_volume(cursor *c, dg_metric *m)
{
    char number[16], expected[240];
    if (!take_number(c, &m->value))
        return fail(c, "expected a dose of at most six digits before and after the point, as in V20Gy% or V45Gycc");
    number_text(m->value, number);
    if (take(c, "Gy")) return parse_volume_unit(c, m, "Gy");
    cursor unit = *c;
    if (take(c, "%Rx")) {
        m->dose_is_percent_rx = true;
        if (!(m->value > 0)) return fail(&unit, "a share of the prescription is above 0 %");
        return parse_volume_unit(c, m, "%Rx");
    }
    if (take(&unit, "%"))
        snprintf(expected, sizeof expected,
                 "expected the dose's unit: V%sGy%% (share of the structure at %s Gy) or V%s%%Rx%% (at %s %% of the "
                 "prescription)",
                 number, number, number, number);
    else if (take(&unit, "cc"))
        snprintf(expected, sizeof expected,
                 "expected the dose's unit: V%sGycc (volume at %s Gy) or V%s%%Rxcc (at %s %% of the prescription)",
                 number, number, number, number);
    else
        snprintf(expected, sizeof expected,
                 "expected units: V%sGy%% (share of the structure at %s Gy), V%sGycc (volume in cc at %s Gy) or "
                 "V%s%%Rx%% (at %s %% of the prescription)",
                 number, number, number, number, number, number);
    return fail(c, expected);
}

static dg_status parse_cold_volume(cursor *c, dg_metric *m)
{
    if (!take_number(c, &m->value))
        return fail(c, "expected a dose of at most six digits before and after the point, as in CV20Gycc");
    if (!take(c, "Gycc"))
        return fail(c, "expected Gycc: a critical volume is in cc below a dose in Gy, as in CV20Gycc");
    return finish(c, m, DG_METRIC_COLD_VOLUME_CC, "CV", "Gycc");
}

dg_status dg_metric_parse(const char *text, dg_metric *out)
{
    static const struct {
        const char *word;
        dg_metric_kind kind;
    } WORDS[] = {{"Dmean", DG_METRIC_MEAN},     {"Dmax", DG_METRIC_MAX}, {"Dmin", DG_METRIC_MIN},
                 {"Dmedian", DG_METRIC_MEDIAN}, {"HI", DG_METRIC_HI},    {"CIpaddick", DG_METRIC_CI_PADDICK},
                 {"CIrtog", DG_METRIC_CI_RTOG}, {"R50", DG_METRIC_R50}};
    cursor c = {.text = text, .at = text};
    memset(out, 0, sizeof *out);
    for (size_t w = 0; w < sizeof WORDS / sizeof *WORDS; w++)
        if (take(&c, WORDS[w].word)) return finish(&c, out, WORDS[w].kind, WORDS[w].word, NULL);
    if (take(&c, "CV")) return parse_cold_volume(&c, out);
    if (take(&c, "CI"))
        return fail(&c, "which conformity index: CIpaddick (TV_RI^2 / (TV V_RI)) or CIrtog (V_RI / TV)");
    if (take(&c, "D")) return parse_dose_at(&c, out);
    if (take(&c, "V")) return parse_volume(&c, out);
    return fail(&c, "expected D.., V.., CV..Gycc, Dmean, Dmax, Dmin, Dmedian, HI, CIpaddick, CIrtog or R50");
}

const char *dg_metric_unit(const dg_metric *metric)
{
    switch (metric->kind) {
    case DG_METRIC_DOSE_AT_PERCENT:
    case DG_METRIC_DOSE_AT_CC:
    case DG_METRIC_MEAN:
    case DG_METRIC_MAX:
    case DG_METRIC_MIN:
    case DG_METRIC_MEDIAN: return "Gy";
    case DG_METRIC_VOLUME_PERCENT: return "%";
    case DG_METRIC_VOLUME_CC:
    case DG_METRIC_COLD_VOLUME_CC: return "cc";
    case DG_METRIC_HI:
    case DG_METRIC_CI_PADDICK:
    case DG_METRIC_CI_RTOG:
    case DG_METRIC_R50: return "";
    }
    return "";
}

bool dg_metric_needs_body(const dg_metric *metric)
{
    return metric->kind == DG_METRIC_CI_PADDICK || metric->kind == DG_METRIC_CI_RTOG || metric->kind == DG_METRIC_R50;
}

bool dg_metric_needs_prescription(const dg_metric *metric)
{
    return dg_metric_needs_body(metric) || metric->dose_is_percent_rx;
}

static double unknown(char reason[96], const char *why)
{
    snprintf(reason, 96, "%s", why);
    return NAN;
}

static double dose_at_cc(const dg_metric *m, const dg_metric_input *in, char reason[96])
{
    const double total_cc = dg_dvh_total_cc(in->dvh);
    char number[16];
    if (!(m->value <= total_cc * (1 + 1e-12))) {
        number_text(m->value, number);
        snprintf(reason, 96, "structure smaller than %s cc", number);
        return NAN;
    }
    if (in->rule == DG_DVH_ICRU) return dg_dvh_dose_at_cc(in->dvh, m->value);
    return dg_dvh_dose_at_percent(in->dvh, fmin(100, 100 * m->value / total_cc), in->rule);
}

static double homogeneity(const dg_metric_input *in, char reason[96])
{
    const double median = dg_dvh_dose_at_percent(in->dvh, 50, in->rule);
    if (!(median > 0)) return unknown(reason, "D50% is not above 0 Gy");
    return (dg_dvh_dose_at_percent(in->dvh, 2, in->rule) - dg_dvh_dose_at_percent(in->dvh, 98, in->rule)) / median;
}

static double conformity(const dg_metric *m, const dg_metric_input *in, char reason[96])
{
    const double rx = in->prescription_gy, volume_cc = dg_dvh_total_cc(in->dvh);
    if (in->body == NULL || in->body->count == 0) return unknown(reason, "no body");
    const double body_cc = dg_dvh_volume_cc(in->body, rx), covered_cc = dg_dvh_volume_cc(in->dvh, rx);
    if (m->kind == DG_METRIC_CI_RTOG) return body_cc / volume_cc;
    if (m->kind == DG_METRIC_R50) return dg_dvh_volume_cc(in->body, 50 * rx / 100) / volume_cc;
    if (!(body_cc > 0)) return unknown(reason, "no voxel of the body reaches the prescription");
    return covered_cc * covered_cc / (volume_cc * body_cc);
}

double dg_metric_evaluate(const dg_metric *metric, const dg_metric_input *input, char reason[96])
{
    const dg_dvh *dvh = input->dvh;
    const double gy = metric->dose_is_percent_rx ? metric->value * input->prescription_gy / 100 : metric->value;
    reason[0] = '\0';
    if (dvh->count == 0) return unknown(reason, "structure has no voxel");
    if (dg_metric_needs_prescription(metric) && !(input->prescription_gy > 0))
        return unknown(reason, "no prescription");
    switch (metric->kind) {
    case DG_METRIC_DOSE_AT_PERCENT: return dg_dvh_dose_at_percent(dvh, metric->value, input->rule);
    case DG_METRIC_DOSE_AT_CC: return dose_at_cc(metric, input, reason);
    case DG_METRIC_MEAN: return dg_dvh_mean(dvh);
    case DG_METRIC_MAX: return dg_dvh_max(dvh);
    case DG_METRIC_MIN: return dg_dvh_min(dvh);
    case DG_METRIC_MEDIAN: return dg_dvh_dose_at_percent(dvh, 50, input->rule);
    case DG_METRIC_VOLUME_PERCENT: return dg_dvh_volume_percent(dvh, gy);
    case DG_METRIC_VOLUME_CC: return dg_dvh_volume_cc(dvh, gy);
    case DG_METRIC_COLD_VOLUME_CC: return dg_dvh_total_cc(dvh) - dg_dvh_volume_cc(dvh, gy);
    case DG_METRIC_HI: return homogeneity(input, reason);
    case DG_METRIC_CI_PADDICK:
    case DG_METRIC_CI_RTOG:
    case DG_METRIC_R50: return conformity(metric, input, reason);
    }
    return NAN;
}
