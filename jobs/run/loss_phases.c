/* loss_phases.c - phases of a run with their weights: read, checked for gaps and overlaps, and turned into the courses of
 * single terms. SPDX-License-Identifier: Apache-2.0 */
#include "loss_setup.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double SLACK = 1e-9; /* of epochs that are shares of a run */

static dg_status bad_phase(const char *text, const char *why)
{
    return DG_FAIL(DG_ERR_USAGE,
                   "loss.phases: '%s': %s; write FIRST-LAST TERM=WEIGHT ..., as in 0-30 dice=1 (epochs, the last one "
                   "included) or 0%%-60%% dice=1 (of the run)",
                   text, why);
}

/* "31-39" in epochs, or "60%-100%"; *text moves behind it. */
static dg_status read_range(const char *whole, const char **text, double epochs, double *begin, double *end)
{
    char *rest;
    *begin = strtod(*text, &rest);
    const bool shares = *rest == '%';
    if (rest == *text || rest[shares] != '-') return bad_phase(whole, "no range in front");
    const char *from = rest + shares + 1;
    *end = strtod(from, &rest);
    if (rest == from || (*rest == '%') != shares) return bad_phase(whole, "no range in front");
    *text = rest + shares;
    if (!(*begin >= 0) || !isfinite(*end) || *end < *begin) return bad_phase(whole, "the range does not rise");
    if (!shares) {
        if (*begin != floor(*begin) || *end != floor(*end)) return bad_phase(whole, "epochs are whole numbers");
        *end += 1;
        return DG_OK;
    }
    if (epochs <= 0)
        return bad_phase(whole, "shares of a run want its length, and train.minutes says none; give epochs");
    *begin *= epochs / 100;
    *end *= epochs / 100;
    return *end > *begin ? DG_OK : bad_phase(whole, "the range does not rise");
}

static int kind_of(const char *name, size_t length)
{
    for (int kind = 0; kind < DG_LOSS_KINDS; kind++) {
        const char *known = dg_loss_kind_name((dg_loss_kind)kind);
        if (strlen(known) == length && strncmp(known, name, length) == 0) return kind;
    }
    return -1;
}

static dg_status read_weights(const char *whole, const char *text, dg_loss_phases *out)
{
    double sum = 0;
    bool seen[DG_LOSS_ALL_KINDS] = {false};
    for (;;) {
        char *rest;
        text += strspn(text, " ");
        if (*text == '\0') break;
        const size_t length = strcspn(text, "= ");
        const int kind = kind_of(text, length);
        if (kind < 0 || text[length] != '=') return bad_phase(whole, "no term of the loss, or one without a weight");
        const double weight = strtod(text + length + 1, &rest);
        if (rest == text + length + 1 || (*rest != ' ' && *rest != '\0') || !(weight >= 0) || !isfinite(weight))
            return bad_phase(whole, "a weight is a number of at least 0");
        if (seen[kind]) return bad_phase(whole, "a term stands there twice");
        seen[kind] = out->named[kind] = true;
        out->weight[out->count][kind] = weight;
        sum += weight;
        text = rest;
    }
    return sum > 0 ? DG_OK : bad_phase(whole, "no term has a weight");
}

/* Phase `i` must begin where the one before ends. */
static dg_status check_join(const char *whole, const dg_loss_phases *p, int i)
{
    const double before = i > 0 ? p->end[i - 1] : 0;
    char why[160];
    if (fabs(p->begin[i] - before) <= SLACK * (1 + before)) return DG_OK;
    snprintf(why, sizeof why, "%s with the phase before, which ends where epoch %g begins",
             p->begin[i] > before ? "a gap" : "an overlap", before);
    return bad_phase(whole, i > 0 ? why : "the first phase begins with the run, at 0");
}

dg_status dg_loss_phases_read(const dg_string_list *text, double blend, double epochs, dg_loss_phases *out)
{
    *out = (dg_loss_phases){.count = 0};
    if (text->count == 0 && blend > 0)
        return DG_FAIL(DG_ERR_USAGE, "loss.blend is %g and there are no loss.phases to blend", blend);
    if (text->count > DG_LOSS_PHASES_MAX)
        return DG_FAIL(DG_ERR_USAGE, "loss.phases lists %d phases; %d are possible", text->count, DG_LOSS_PHASES_MAX);
    bool shares = false;
    for (int i = 0; i < text->count; i++) {
        const char *whole = text->value[i], *rest = whole;
        const bool in_shares = strchr(whole, '%') != NULL;
        if (i > 0 && in_shares != shares) return bad_phase(whole, "epochs and shares are mixed");
        shares = in_shares;
        DG_TRY(read_range(whole, &rest, epochs, &out->begin[i], &out->end[i]));
        DG_TRY(check_join(whole, out, i));
        DG_TRY(read_weights(whole, rest, out));
        out->count++;
    }
    if (out->count == 0) return DG_OK;
    const double end = out->end[out->count - 1];
    if (epochs > end + SLACK * epochs)
        return DG_FAIL(DG_ERR_USAGE, "loss.phases end with epoch %g and the run has %g epochs: a gap at the end", end,
                       epochs);
    out->blend = shares ? blend * epochs / 100 : blend;
    for (int i = 1; i < out->count; i++)
        if (out->blend > out->end[i] - out->begin[i])
            return DG_FAIL(DG_ERR_USAGE, "loss.blend is longer than the phase '%s'", text->value[i]);
    return DG_OK;
}

dg_loss_course dg_loss_phases_course(const dg_loss_phases *p, dg_loss_kind kind)
{
    dg_loss_course course = {.points = 1, .factor = {p->weight[0][kind]}};
    for (int i = 1; i < p->count; i++) {
        course.epoch[course.points] = p->begin[i];
        course.factor[course.points++] = p->weight[i - 1][kind];
        course.epoch[course.points] = p->begin[i] + p->blend;
        course.factor[course.points++] = p->weight[i][kind];
    }
    return course;
}
