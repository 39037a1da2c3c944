/* mapping_resolve.c - regions of a case become structures, or the case is refused: see dg_mapping.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "mapping_impl.h"

#include <stdio.h>
#include <string.h>

/* Does the name say that a clinician, not a margin, drew it? */
static bool is_clinical(const char *key)
{
    return strstr(key, "ptv") == NULL && (strstr(key, "ctv") || strstr(key, "gtv"));
}

static bool is_planning(const dg_structure *s)
{
    return s->role == DG_ROLE_TARGET && strncasecmp(s->name, "ptv", 3) == 0;
}

/* "PTV_7000, CTV_7000": the regions that would be a structure, as the mapping spells them. */
static int list_candidates(const dg_mapping *m, const dg_mapping_result *result, int count, int row, char *text,
                           size_t capacity, bool *clinical)
{
    int candidates = 0;
    size_t used = 0;
    text[0] = '\0';
    *clinical = false;
    for (int i = 0; i < count; i++) {
        if (result[i].row != row) continue;
        const struct dg_mapping_alias *alias = &m->alias[result[i].alias];
        *clinical = *clinical || is_clinical(alias->key);
        if (used < capacity)
            used += (size_t)snprintf(text + used, capacity - used, "%s%s", candidates == 0 ? "" : ", ", alias->name);
        candidates++;
    }
    return candidates;
}

static dg_status check_row(const dg_mapping *m, const dg_mapping_result *result, int count, int row, const char **rule)
{
    const dg_mapping_row *r = &m->row[row];
    char list[400];
    bool clinical;
    const int candidates = list_candidates(m, result, count, row, list, sizeof list, &clinical);
    *rule = candidates == 0 ? "structure-missing" : "structure-ambiguous";
    if (candidates == 0 && r->required)
        return DG_FAIL(DG_ERR_DATA,
                       "no region with contours is %s, which the mapping requires; `import --scan` "
                       "lists the names there are",
                       r->structure.name);
    if (clinical && is_planning(&r->structure) && !m->allow_ctv_as_ptv)
        return DG_FAIL(
            DG_ERR_DATA,
            "%s is a planning target and a clinical one would be taken for it or joined "
            "to it; candidates: %s; set allow_ctv_as_ptv: true in a mapping if that is meant, or leave the name out",
            r->structure.name, list);
    if (candidates > 1 && !m->unite)
        return DG_FAIL(DG_ERR_DATA,
                       "%d regions are %s; candidates: %s; leave all but one out of the mapping, or "
                       "join them with a preset",
                       candidates, r->structure.name, list);
    *rule = NULL;
    return DG_OK;
}

dg_status dg_mapping_resolve(const dg_mapping *m, const char *const *name, const bool *filled, int count,
                             dg_mapping_result *out, const char **rule)
{
    *rule = NULL;
    for (int i = 0; i < count; i++) {
        out[i].alias = filled[i] ? dg_mapping_find(m, name[i]) : -1;
        out[i].row = out[i].alias < 0 ? -1 : m->alias[out[i].alias].row;
    }
    for (int row = 0; row < m->count; row++) DG_TRY(check_row(m, out, count, row, rule));
    return DG_OK;
}
