/* dg_structure.h - what a delineated structure is called and what it is for. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_STRUCTURE_H
#define DG_STRUCTURE_H

enum { DG_STRUCTURE_NAME = 64, DG_STRUCTURES_MAX = 64 };

typedef enum dg_role { DG_ROLE_TARGET, DG_ROLE_OAR, DG_ROLE_BODY, DG_ROLE_SUPPORT, DG_ROLE_POSSIBLE_DOSE } dg_role;

typedef struct dg_structure {
    char name[DG_STRUCTURE_NAME];   /* the mapped name: "PTV70" */
    char tg263[DG_STRUCTURE_NAME];  /* standard name (AAPM TG-263), "" if none */
    char mirror[DG_STRUCTURE_NAME]; /* name of the left/right partner, "" if none */
    dg_role role;
    double prescription_gy; /* of a target; 0 otherwise */
} dg_structure;

#endif
