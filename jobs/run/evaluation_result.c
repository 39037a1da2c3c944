/* evaluation_result.c - results of cases as plain bytes, and how the parts of a cut case become one. See evaluation.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "evaluation_impl.h"

#include "dg_mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

_Static_assert(sizeof(dg_case_result) % 8 == 0 && sizeof(dg_structure_result) % 8 == 0 &&
                   sizeof(dg_region_result) % 8 == 0 && sizeof(dg_gamma_result) % 8 == 0 &&
                   sizeof(dg_constraint_result) % 8 == 0 && sizeof(dg_slab_result) % 8 == 0,
               "arrays behind the head are aligned");

const dg_structure_result *dg_case_structures(const dg_case_result *result)
{
    return (const dg_structure_result *)(const void *)(result + 1);
}

const dg_region_result *dg_case_regions(const dg_case_result *result)
{
    return (const dg_region_result *)(const void *)(dg_case_structures(result) + result->structure_count);
}

const dg_gamma_result *dg_case_gamma(const dg_case_result *result)
{
    return (const dg_gamma_result *)(const void *)(dg_case_regions(result) + result->region_count);
}

const dg_constraint_result *dg_case_constraints(const dg_case_result *result)
{
    return (const dg_constraint_result *)(const void *)(dg_case_gamma(result) +
                                                        result->region_count * result->criteria);
}

const char *dg_case_text(const dg_case_result *result)
{
    return result->text_bytes == 0 ? "" : (const char *)(dg_case_constraints(result) + result->constraint_count);
}

static char *put(char *at, const void *from, size_t bytes)
{
    if (bytes > 0) memcpy(at, from, bytes);
    return at + bytes;
}

dg_status dg_case_result_assemble(const dg_case_result *head, const dg_result_parts *parts, dg_case_result **out)
{
    const size_t gammas = (size_t)(head->region_count * head->criteria);
    size_t text = (size_t)head->text_bytes;
    size_t bytes = sizeof *head + (size_t)head->structure_count * sizeof *parts->structure +
                   (size_t)head->region_count * sizeof *parts->region + gammas * sizeof *parts->gamma +
                   (size_t)head->constraint_count * sizeof *parts->constraint + text;
    bytes = (bytes + 7) / 8 * 8;
    DG_TRY(dg_alloc(out, bytes, 1, "result of a case"));
    char *at = put((char *)*out, head, sizeof *head);
    at = put(at, parts->structure, (size_t)head->structure_count * sizeof *parts->structure);
    at = put(at, parts->region, (size_t)head->region_count * sizeof *parts->region);
    at = put(at, parts->gamma, gammas * sizeof *parts->gamma);
    at = put(at, parts->constraint, (size_t)head->constraint_count * sizeof *parts->constraint);
    put(at, parts->text, text);
    (*out)->bytes = (int64_t)bytes;
    return DG_OK;
}

dg_status dg_evaluation_fail(const char *id, const char *reason, dg_case_result **out)
{
    dg_case_result *head = NULL;
    DG_TRY(DG_NEW(&head, 1, "result of a case"));
    head->bytes = (int64_t)sizeof *head;
    head->failed = true;
    snprintf(head->id, sizeof head->id, "%s", id);
    snprintf(head->reason, sizeof head->reason, "%.511s", reason);
    *out = head;
    return DG_OK;
}

/* ---- merging ------------------------------------------------------------------------------------------------------ */

/* Arrays behind a slab's head. */
static const dg_region_result *slab_regions(const dg_slab_result *s)
{
    return (const dg_region_result *)(const void *)(s + 1);
}
static const uint64_t *slab_bits(const dg_slab_result *s)
{
    return (const uint64_t *)(const void *)(slab_regions(s) + s->region_count);
}
static const float *slab_gamma(const dg_slab_result *s, int64_t criterion)
{
    return (const float *)(const void *)(slab_bits(s) + s->evaluated) + criterion * s->evaluated;
}

/* A region that is empty in the whole case keeps the reason of the case. A slab far from the target says that there is
 * none; the others' "no voxel .." is the case's, and the later of the two in the alphabet. */
static void merge_region(const dg_slab_result *const *slabs, int64_t count, int64_t r, dg_region_result *out)
{
    *out = slab_regions(slabs[0])[r];
    for (int64_t k = 1; k < count; k++) {
        const dg_region_result *more = &slab_regions(slabs[k])[r];
        out->voxels += more->voxels;
        out->absolute_q20 += more->absolute_q20;
        dg_calibration_merge(&out->members, &more->members);
        if (strcmp(more->reason, out->reason) > 0) memcpy(out->reason, more->reason, sizeof out->reason);
    }
    if (out->voxels > 0) memset(out->reason, 0, sizeof out->reason);
}

typedef struct gathered {
    const float *gamma[DG_EVALUATION_CRITERIA]; /* of all slabs, [evaluated] */
    const uint64_t *bits;
    float *gamma_copy;
    uint64_t *bits_copy;
    int64_t evaluated;
} gathered;

/* One slab is used where it lies. */
static dg_status gather_voxels(const dg_slab_result *const *slabs, int64_t count, int64_t criteria, gathered *g)
{
    int64_t at = 0;
    for (int64_t k = 0; k < count; k++) g->evaluated += slabs[k]->evaluated;
    if (count == 1) {
        g->bits = slab_bits(slabs[0]);
        for (int64_t c = 0; c < criteria; c++) g->gamma[c] = slab_gamma(slabs[0], c);
        return DG_OK;
    }
    DG_TRY(DG_NEW(&g->bits_copy, g->evaluated, "regions of evaluated voxels"));
    DG_TRY(DG_NEW(&g->gamma_copy, g->evaluated * criteria, "gammas of evaluated voxels"));
    for (int64_t k = 0; k < count; k++) {
        size_t n = (size_t)slabs[k]->evaluated;
        if (n > 0) memcpy(g->bits_copy + at, slab_bits(slabs[k]), n * sizeof *g->bits_copy);
        for (int64_t c = 0; c < criteria && n > 0; c++)
            memcpy(g->gamma_copy + c * g->evaluated + at, slab_gamma(slabs[k], c), n * sizeof *g->gamma_copy);
        at += slabs[k]->evaluated;
    }
    g->bits = g->bits_copy;
    for (int64_t c = 0; c < criteria; c++) g->gamma[c] = g->gamma_copy + c * g->evaluated;
    return DG_OK;
}

static dg_status summarise(const gathered *g, int64_t region, int64_t criterion, dg_gamma_result *out)
{
    const uint64_t which = (uint64_t)1 << region;
    dg_gamma_summary s = dg_gamma_summary_init();
    dg_gamma_summary_add(&s, g->gamma[criterion], g->bits, which, g->evaluated);
    out->evaluated = s.evaluated;
    out->passed = s.passed;
    out->mean = dg_gamma_summary_mean(&s);
    out->max = s.evaluated > 0 ? (double)s.max : NAN;
    return dg_gamma_median(g->gamma[criterion], g->bits, which, g->evaluated, &out->median);
}

static dg_status merge_slabs(const dg_case_result *volume, const dg_slab_result *const *slabs, int64_t count,
                             dg_case_result **out)
{
    dg_case_result *head = NULL;
    dg_region_result *region = NULL;
    dg_gamma_result *gamma = NULL;
    gathered g = {0};
    dg_status status;
    const int64_t regions = slabs[0]->region_count, criteria = slabs[0]->criteria;
    DG_TRY_GOTO(status, DG_NEW(&head, 1, "result of a case"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&region, regions, "regions of a case"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&gamma, regions * criteria, "gamma results of a case"), cleanup);
    DG_TRY_GOTO(status, gather_voxels(slabs, count, criteria, &g), cleanup);
    for (int64_t r = 0; r < regions; r++) {
        merge_region(slabs, count, r, &region[r]);
        for (int64_t c = 0; c < criteria; c++)
            DG_TRY_GOTO(status, summarise(&g, r, c, &gamma[r * criteria + c]), cleanup);
    }
    *head = *volume;
    head->read_s = head->compute_s = 0;
    head->region_count = regions;
    head->criteria = criteria;
    head->norm_gy = slabs[0]->norm_gy;
    const dg_result_parts parts = {.structure = dg_case_structures(volume),
                                   .region = region,
                                   .gamma = gamma,
                                   .constraint = dg_case_constraints(volume),
                                   .text = dg_case_text(volume)};
    status = dg_case_result_assemble(head, &parts, out);
cleanup:
    dg_free(&g.bits_copy);
    dg_free(&g.gamma_copy);
    dg_free(&gamma);
    dg_free(&region);
    dg_free(&head);
    return status;
}

dg_status dg_evaluation_merge(const dg_case_result *volume, const dg_slab_result *const *slabs, int64_t count,
                              dg_case_result **out)
{
    const char *reason = volume->failed ? volume->reason : NULL;
    for (int64_t k = 0; k < count && reason == NULL; k++)
        if (slabs[k]->failed) reason = slabs[k]->reason;
    *out = NULL;
    if (reason != NULL) return dg_evaluation_fail(volume->id, reason, out);
    for (int64_t k = 1; k < count; k++)
        if (slabs[k]->region_count != slabs[0]->region_count || slabs[k]->criteria != slabs[0]->criteria)
            return DG_FAIL(DG_ERR_INTERNAL, "case %s: its slabs have different regions", volume->id);
    return merge_slabs(volume, slabs, count, out);
}
