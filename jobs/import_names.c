/* import_names.c - see import_names.h. SPDX-License-Identifier: Apache-2.0 */
#include "import_names.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORD = 64 };

/* Common spellings without sides, blanks and capitals; the standard name (AAPM TG-263) gets _L or _R behind it where paired. */
static const struct {
    const char *word, *standard;
    bool paired;
} ORGANS[] = {
    {"bladder", "Bladder", false},
    {"rectum", "Rectum", false},
    {"rect", "Rectum", false},
    {"bowel", "Bowel", false},
    {"bowelbag", "Bag_Bowel", false},
    {"smallbowel", "Bowel_Small", false},
    {"bowelsmall", "Bowel_Small", false},
    {"largebowel", "Bowel_Large", false},
    {"bowellarge", "Bowel_Large", false},
    {"sigmoid", "Colon_Sigmoid", false},
    {"prostate", "Prostate", false},
    {"penilebulb", "PenileBulb", false},
    {"seminalvesicles", "SeminalVes", false},
    {"femur", "Femur_Head", true},
    {"femurhead", "Femur_Head", true},
    {"femoralhead", "Femur_Head", true},
    {"femhead", "Femur_Head", true},
    {"brainstem", "Brainstem", false},
    {"brain", "Brain", false},
    {"spinalcord", "SpinalCord", false},
    {"cord", "SpinalCord", false},
    {"parotid", "Parotid", true},
    {"submandibular", "Glnd_Submand", true},
    {"mandible", "Bone_Mandible", false},
    {"larynx", "Larynx", false},
    {"esophagus", "Esophagus", false},
    {"oesophagus", "Esophagus", false},
    {"oralcavity", "Cavity_Oral", false},
    {"cochlea", "Cochlea", true},
    {"eye", "Eye", true},
    {"lens", "Lens", true},
    {"opticnerve", "OpticNrv", true},
    {"chiasm", "OpticChiasm", false},
    {"opticchiasm", "OpticChiasm", false},
    {"lung", "Lung", true},
    {"heart", "Heart", false},
    {"breast", "Breast", true},
    {"liver", "Liver", false},
    {"kidney", "Kidney", true},
    {"stomach", "Stomach", false},
    {"thyroid", "Glnd_Thyroid", false},
};

/* Lower-case letters and digits of the name, but for words that tell a side. */
static void split_side(const char *name, char word[WORD], char *side)
{
    size_t length = 0;
    word[0] = '\0';
    *side = '\0';
    while (*name != '\0') {
        char part[WORD];
        size_t n = 0;
        for (; isalnum((unsigned char)*name); name++) {
            /* "FemurL": a capital behind a small letter begins a word */
            if (n > 0 && isupper((unsigned char)*name) && islower((unsigned char)name[-1])) break;
            if (n + 1 < WORD) part[n++] = (char)tolower((unsigned char)*name);
        }
        part[n] = '\0';
        if (strcmp(part, "l") == 0 || strcmp(part, "lt") == 0 || strcmp(part, "left") == 0)
            *side = 'L';
        else if (strcmp(part, "r") == 0 || strcmp(part, "rt") == 0 || strcmp(part, "right") == 0)
            *side = 'R';
        else if (length + n + 1 < WORD) {
            memcpy(word + length, part, n + 1);
            length += n;
        }
        if (n == 0 && *name != '\0') name++;
    }
}

/* "PTV_7000", "ptv 56Gy", "PTV50.4": the first number behind the word, in Gy or cGy. */
static bool propose_target(const char *name, dg_structure *out)
{
    const char *at = strcasestr(name, "ptv");
    while (*at != '\0' && !isdigit((unsigned char)*at)) at++;
    out->role = DG_ROLE_TARGET;
    double level = strspn(at, "0123456789.") > 6 ? 0 : strtod(at, NULL);
    if (level > 200) level /= 100;
    if (!(level >= 10 && level <= 200)) level = 0;
    out->prescription_gy = level;
    snprintf(out->name, sizeof out->name, "PTV");
    if (level > 0) {
        snprintf(out->name, sizeof out->name, "PTV%g", level);
        snprintf(out->tg263, sizeof out->tg263, "PTV_%.0f", 100 * level);
    }
    return true;
}

static bool propose_organ(const char *word, char side, dg_structure *out)
{
    for (size_t i = 0; i < sizeof ORGANS / sizeof *ORGANS; i++) {
        if (strcmp(word, ORGANS[i].word) != 0 || ORGANS[i].paired != (side != '\0')) continue;
        out->role = DG_ROLE_OAR;
        if (!ORGANS[i].paired) {
            snprintf(out->name, sizeof out->name, "%s", ORGANS[i].standard);
        } else {
            snprintf(out->name, sizeof out->name, "%s_%c", ORGANS[i].standard, side);
            snprintf(out->mirror, sizeof out->mirror, "%s_%c", ORGANS[i].standard, side == 'L' ? 'R' : 'L');
        }
        snprintf(out->tg263, sizeof out->tg263, "%s", out->name);
        return true;
    }
    return false;
}

bool import_names_propose(const char *name, const char *type, dg_structure *out)
{
    char word[WORD], side;
    memset(out, 0, sizeof *out);
    split_side(name, word, &side);
    if (strcmp(word, "body") == 0 || strcmp(word, "external") == 0 || strcmp(word, "skin") == 0 ||
        strcmp(type, "EXTERNAL") == 0) {
        out->role = DG_ROLE_BODY;
        snprintf(out->name, sizeof out->name, "Body");
        snprintf(out->tg263, sizeof out->tg263, "External");
        return true;
    }
    if (strncmp(word, "couch", 5) == 0 || strcmp(type, "SUPPORT") == 0) {
        out->role = DG_ROLE_SUPPORT;
        snprintf(out->name, sizeof out->name, "Couch");
        return true;
    }
    if (strncmp(word, "ptv", 3) == 0) return propose_target(name, out);
    return propose_organ(word, side, out);
}
