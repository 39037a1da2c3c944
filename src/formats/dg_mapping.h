/* dg_mapping.h - which delineated regions of a plan become which structures: mappings, and presets that also say how a
 * site's cases are treated. Format and rules: doc/dicom.md. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_MAPPING_H
#define DG_MAPPING_H

#include "dg_structure.h"
#include "dg_volume.h"

#include <stdbool.h>

enum { DG_MAPPING_ALIASES_MAX = 2048, DG_MAPPING_IGNORED_MAX = 8, DG_MAPPING_CENTRES_MAX = 4 };

typedef struct dg_mapping_row {
    dg_structure structure;
    bool required;
} dg_mapping_row;

/* Whether the network's conditioning vector (dg_conditioning.h) is made for the cases. */
typedef enum dg_mapping_constraints {
    DG_MAPPING_CONSTRAINTS_NONE,
    DG_MAPPING_CONSTRAINTS_PROSTATE
} dg_mapping_constraints;

typedef struct dg_mapping {
    char name[DG_STRUCTURE_NAME], site[DG_STRUCTURE_NAME];
    char ignored[DG_MAPPING_IGNORED_MAX][8]; /* taken out of names, in this order, before they are compared */
    int ignored_count;
    bool unite;             /* several regions of one structure are joined; only a preset may say so */
    bool allow_ctv_as_ptv;  /* a region called CTV or GTV may be (part of) a PTV */
    double prescription_gy; /* where a plan does not say it; 0: none */
    int64_t fractions;      /* likewise */
    dg_mapping_constraints constraints;
    dg_crop_rule crop;                                      /* inplane 0: cases stay whole */
    char centre[DG_MAPPING_CENTRES_MAX][DG_STRUCTURE_NAME]; /* structures to crop about; the first that a case has */
    int centre_count;
    dg_mapping_row row[DG_STRUCTURES_MAX];
    int count;
    struct dg_mapping_alias {
        char name[DG_STRUCTURE_NAME], key[DG_STRUCTURE_NAME];
        int row;
    } alias[DG_MAPPING_ALIASES_MAX]; /* the structures' own names among them */
    int alias_count;
} dg_mapping;

/* Reads a mapping; *out is the caller's (dg_free). `preset` permits what only a preset may say (unite, prescription_gy,
 * fractions). `name` stands for the file in messages. DG_ERR_USAGE names file, line and remedy; DG_ERR_MEMORY. */
DG_MUST_USE dg_status dg_mapping_read(const char *text, size_t length, const char *name, bool preset, dg_mapping **out);
/* A mapping file, or a preset: one that is built in ("v2.3", "v2.4") or a file. */
DG_MUST_USE dg_status dg_mapping_load(const char *path, dg_mapping **out);
DG_MUST_USE dg_status dg_mapping_load_preset(const char *name_or_path, dg_mapping **out);

/* Adds the structures and aliases of `more` to a preset; a structure of the same name gets the aliases only. What else
 * `more` says is left, but for allow_ctv_as_ptv: true. DG_ERR_USAGE: an alias of another structure, too many. */
DG_MUST_USE dg_status dg_mapping_extend(dg_mapping *preset, const dg_mapping *more);

/* The form in which names are compared: lower case, blanks at both ends and what is ignored taken out, in `key`. */
void dg_mapping_key(const dg_mapping *m, const char *name, char key[DG_STRUCTURE_NAME]);
/* The alias a region's name equals, or -1. */
int dg_mapping_find(const dg_mapping *m, const char *name);

/* What regions became; notes and messages use the mapping's own spelling of names: what a file says stays unsaid. */
typedef struct dg_mapping_result {
    int row;   /* -1: no structure */
    int alias; /* of the mapping */
} dg_mapping_result;
/* Gives each region its structure. `filled` says whether it has contours; one without is passed over. DG_ERR_DATA: several
 * regions for a structure where they may not be joined, a CTV or GTV for a PTV without allow_ctv_as_ptv: the message lists
 * the candidates (rule structure-ambiguous); and a required structure that no region is (structure-missing). *rule gets the
 * static name of the rule that refused, or NULL. */
DG_MUST_USE dg_status dg_mapping_resolve(const dg_mapping *m, const char *const *name, const bool *filled, int count,
                                         dg_mapping_result *out, const char **rule);

#endif
