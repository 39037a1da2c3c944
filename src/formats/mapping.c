/* mapping.c - reads mappings of regions to structures, see dg_mapping.h. SPDX-License-Identifier: Apache-2.0 */
#include "mapping_impl.h"

#include "dg_file.h"
#include "dg_mem.h"
#include "dg_yaml_field.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* Takes every occurrence of `word` out of a lower-case text. */
static void take_out(char *text, const char *word)
{
    const size_t length = strlen(word);
    for (char *at = strstr(text, word); at != NULL; at = strstr(at, word))
        memmove(at, at + length, strlen(at + length) + 1);
}

void dg_mapping_key(const dg_mapping *m, const char *name, char key[DG_STRUCTURE_NAME])
{
    size_t length = 0;
    while (*name == ' ') name++;
    for (; *name != '\0' && length + 1 < DG_STRUCTURE_NAME; name++) key[length++] = (char)tolower((unsigned char)*name);
    while (length > 0 && key[length - 1] == ' ') length--;
    key[length] = '\0';
    for (int i = 0; i < m->ignored_count; i++) take_out(key, m->ignored[i]);
}

static int find_key(const dg_mapping *m, const char *key)
{
    for (int a = 0; a < m->alias_count; a++)
        if (strcmp(m->alias[a].key, key) == 0) return a;
    return -1;
}

int dg_mapping_find(const dg_mapping *m, const char *name)
{
    char key[DG_STRUCTURE_NAME];
    /* what does not fit would be compared by its beginning */
    if (strlen(name) >= DG_STRUCTURE_NAME) return -1;
    dg_mapping_key(m, name, key);
    return key[0] == '\0' ? -1 : find_key(m, key);
}

int dg_mapping_row_find(const dg_mapping *m, const char *name)
{
    for (int r = 0; r < m->count; r++)
        if (strcasecmp(m->row[r].structure.name, name) == 0) return r;
    return -1;
}

/* Names of one key are one alias; *other gets the row that has it already, or -1. False: too many. */
static bool add_alias(dg_mapping *m, int row, const char *name, int *other)
{
    char key[DG_STRUCTURE_NAME];
    dg_mapping_key(m, name, key);
    *other = -1;
    if (key[0] == '\0') return true; /* no region can be called so */
    const int known = find_key(m, key);
    *other = known >= 0 && m->alias[known].row != row ? m->alias[known].row : -1;
    if (known >= 0) return true;
    if (m->alias_count == DG_MAPPING_ALIASES_MAX) return false;
    snprintf(m->alias[m->alias_count].name, DG_STRUCTURE_NAME, "%s", name);
    memcpy(m->alias[m->alias_count].key, key, sizeof key);
    m->alias[m->alias_count++].row = row;
    return true;
}

static dg_status take_alias(const dg_yaml_place *at, int line, const char *name, int row, dg_mapping *m)
{
    char key[DG_STRUCTURE_NAME];
    int other;
    dg_mapping_key(m, name, key);
    if (key[0] == '\0')
        return dg_yaml_field_fail(at, line, "nothing is left of the name '%s' when what is ignored is taken out", name);
    if (!add_alias(m, row, name, &other))
        return dg_yaml_field_fail(at, line, "more than %d names in all", DG_MAPPING_ALIASES_MAX);
    if (other >= 0)
        return dg_yaml_field_fail(at, line, "the name '%s' belongs to %s already: a region becomes one structure", name,
                                  m->row[other].structure.name);
    return DG_OK;
}

/* The names of a row: its own, and those listed under `key`. */
static dg_status read_aliases(const dg_yaml_place *at, const dg_yaml_node *map, const char *key, int row, dg_mapping *m)
{
    char name[DG_STRUCTURE_NAME];
    const dg_yaml_node *list = dg_yaml_get(map, key);
    DG_TRY(take_alias(at, map->line, m->row[row].structure.name, row, m));
    if (list == NULL) return DG_OK;
    if (list->kind != DG_YAML_LIST)
        return dg_yaml_field_fail(at, list->line, "%s takes a list of names: [Name_A, Name_B]", key);
    for (const dg_yaml_node *n = list->child; n != NULL; n = n->next) {
        DG_TRY(dg_yaml_field_word(at, n, "an alias", sizeof name, name));
        DG_TRY(take_alias(at, n->line, name, row, m));
    }
    return DG_OK;
}

static dg_status read_role(const dg_yaml_place *at, const dg_yaml_node *map, dg_role *role)
{
    static const char *const WORDS[] = {"target", "oar", "body", "support", "possible_dose"};
    const dg_yaml_node *n = dg_yaml_get(map, "role");
    for (int k = 0; n != NULL && n->kind == DG_YAML_SCALAR && k < 5; k++)
        if (strcmp(n->text, WORDS[k]) == 0) {
            *role = (dg_role)k;
            return DG_OK;
        }
    return dg_yaml_field_fail(at, n == NULL ? map->line : n->line,
                              "role is one of target, oar, body, support, possible_dose");
}

/* Names go into tables and channel names: what separates words there may not be in them. */
static dg_status check_name(const dg_yaml_place *at, int line, const char *name)
{
    const size_t good = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-+~");
    if (name[good] == '\0') return DG_OK;
    return dg_yaml_field_fail(at, line, "a structure's name has letters, digits, '.', '_', '-', '+' and '~', not '%s'",
                              name);
}

static dg_status read_row(dg_yaml_place *at, const dg_yaml_node *map, dg_mapping *m)
{
    static const char *const KNOWN[] = {"name",    "tg263",    "mirror", "role", "prescription_gy",
                                        "aliases", "required", NULL};
    dg_mapping_row *row = &m->row[m->count];
    dg_structure *s = &row->structure;
    snprintf(at->within, sizeof at->within, "structure %d: ", m->count + 1);
    if (map->kind != DG_YAML_MAP) return dg_yaml_field_fail(at, map->line, "it is a map that begins with 'name: ..'");
    DG_TRY(dg_yaml_field_text(at, map, "name", true, sizeof s->name, s->name));
    DG_TRY(check_name(at, map->line, s->name));
    snprintf(at->within, sizeof at->within, "structure %d (%s): ", m->count + 1, s->name);
    DG_TRY(dg_yaml_field_keys(at, map, KNOWN));
    if (dg_mapping_row_find(m, s->name) >= 0)
        return dg_yaml_field_fail(at, map->line, "the structure is there already: add to its aliases");
    DG_TRY(dg_yaml_field_text(at, map, "tg263", false, sizeof s->tg263, s->tg263));
    DG_TRY(dg_yaml_field_text(at, map, "mirror", false, sizeof s->mirror, s->mirror));
    DG_TRY(read_role(at, map, &s->role));
    DG_TRY(dg_yaml_field_optional(at, map, "prescription_gy", 0.01, 200, &s->prescription_gy));
    if (s->prescription_gy > 0 && s->role != DG_ROLE_TARGET)
        return dg_yaml_field_fail(at, map->line, "only a target has a prescription");
    DG_TRY(dg_yaml_field_bool(at, map, "required", &row->required));
    m->count++;
    return read_aliases(at, map, "aliases", m->count - 1, m);
}

static dg_status read_ignored(const dg_yaml_place *at, const dg_yaml_node *root, dg_mapping *m)
{
    const dg_yaml_node *list = dg_yaml_get(root, "ignore");
    if (list == NULL) return DG_OK;
    if (list->kind != DG_YAML_LIST)
        return dg_yaml_field_fail(at, list->line, "ignore takes a list of texts: [\"_\", \" \"]");
    for (const dg_yaml_node *n = list->child; n != NULL; n = n->next) {
        if (m->ignored_count == DG_MAPPING_IGNORED_MAX)
            return dg_yaml_field_fail(at, n->line, "more than %d texts to ignore", DG_MAPPING_IGNORED_MAX);
        char *word = m->ignored[m->ignored_count];
        DG_TRY(dg_yaml_field_word(at, n, "a text to ignore", sizeof m->ignored[0], word));
        for (; *word != '\0'; word++) *word = (char)tolower((unsigned char)*word);
        m->ignored_count++;
    }
    return DG_OK;
}

static dg_status read_crop(const dg_yaml_place *at, const dg_yaml_node *root, dg_mapping *m)
{
    static const char *const KNOWN[] = {"inplane_voxels", "z_margin_mm", "min_slices", "centre", NULL};
    const dg_yaml_node *n = dg_yaml_get(root, "crop");
    double inplane = 0, slices = 1;
    if (n == NULL) return DG_OK;
    if (n->kind != DG_YAML_MAP) return dg_yaml_field_fail(at, n->line, "crop takes a map with inplane_voxels and more");
    DG_TRY(dg_yaml_field_keys(at, n, KNOWN));
    DG_TRY(dg_yaml_field_optional(at, n, "inplane_voxels", 1, 16384, &inplane));
    DG_TRY(dg_yaml_field_optional(at, n, "z_margin_mm", 0, 10000, &m->crop.margin_mm));
    DG_TRY(dg_yaml_field_optional(at, n, "min_slices", 1, 16384, &slices));
    if (inplane == 0) return dg_yaml_field_fail(at, n->line, "inplane_voxels is missing: add 'inplane_voxels: 300'");
    m->crop.inplane = (int64_t)inplane;
    m->crop.min_slices = (int64_t)slices;
    const dg_yaml_node *centre = dg_yaml_get(n, "centre");
    for (const dg_yaml_node *c = centre == NULL ? NULL : centre->child; c != NULL; c = c->next) {
        if (m->centre_count == DG_MAPPING_CENTRES_MAX)
            return dg_yaml_field_fail(at, c->line, "more than %d structures to crop about", DG_MAPPING_CENTRES_MAX);
        DG_TRY(dg_yaml_field_word(at, c, "a structure to crop about", sizeof m->centre[0], m->centre[m->centre_count]));
        m->centre_count++;
    }
    return DG_OK;
}

/* What a preset alone may say: it changes what a case is, and a mapping only names its parts. */
static dg_status read_policy(const dg_yaml_place *at, const dg_yaml_node *root, bool preset, dg_mapping *m)
{
    static const char *const OF_PRESET[] = {"unite", "prescription_gy", "fractions", "crop", "constraints"};
    const dg_yaml_node *n = dg_yaml_get(root, "constraints");
    double fractions = 0;
    for (size_t k = 0; !preset && k < sizeof OF_PRESET / sizeof *OF_PRESET; k++) {
        const dg_yaml_node *said = dg_yaml_get(root, OF_PRESET[k]);
        if (said != NULL)
            return dg_yaml_field_fail(at, said->line, "%s is for presets: give the file as --preset", OF_PRESET[k]);
    }
    DG_TRY(dg_yaml_field_bool(at, root, "unite", &m->unite));
    DG_TRY(dg_yaml_field_bool(at, root, "allow_ctv_as_ptv", &m->allow_ctv_as_ptv));
    DG_TRY(dg_yaml_field_optional(at, root, "prescription_gy", 0.01, 200, &m->prescription_gy));
    DG_TRY(dg_yaml_field_optional(at, root, "fractions", 1, 200, &fractions));
    m->fractions = (int64_t)fractions;
    if ((double)m->fractions != fractions) return dg_yaml_field_fail(at, root->line, "fractions is a whole number");
    if (n != NULL && (n->kind != DG_YAML_SCALAR || strcmp(n->text, "prostate") != 0))
        return dg_yaml_field_fail(at, n->line, "constraints is 'prostate', or left out");
    m->constraints = n == NULL ? DG_MAPPING_CONSTRAINTS_NONE : DG_MAPPING_CONSTRAINTS_PROSTATE;
    return read_crop(at, root, m);
}

/* What rows say of each other can be checked when all are read. */
static dg_status check_mirrors(const dg_yaml_place *at, const dg_yaml_node *root, const dg_mapping *m)
{
    for (int r = 0; r < m->count; r++) {
        const dg_structure *s = &m->row[r].structure;
        const int other = s->mirror[0] == '\0' ? r : dg_mapping_row_find(m, s->mirror);
        if (other < 0 || (s->mirror[0] != '\0' && strcmp(m->row[other].structure.mirror, s->name) != 0))
            return dg_yaml_field_fail(at, root->line,
                                      "structure %s has the mirror %s, which is no structure that names it "
                                      "back",
                                      s->name, s->mirror);
    }
    for (int c = 0; c < m->centre_count; c++)
        if (dg_mapping_row_find(m, m->centre[c]) < 0)
            return dg_yaml_field_fail(at, root->line, "the structure to crop about, %s, is none of the structures",
                                      m->centre[c]);
    return DG_OK;
}

/* ---- oar_mapping.json of the vmat-diffusion scripts: {"0": {"name": .., "variations": [..]}, ..} ---- */

static bool is_reference(const dg_yaml_node *root)
{
    if (root->kind != DG_YAML_MAP || root->child == NULL) return false;
    for (const dg_yaml_node *n = root->child; n != NULL; n = n->next)
        if (n->key[0] == '\0' || n->key[strspn(n->key, "0123456789")] != '\0') return false;
    return true;
}

/* It says no role: what is called a volume to treat is a target. */
static dg_role reference_role(const char *name)
{
    static const char *const TARGETS[] = {"PTV", "CTV", "GTV", "ITV"};
    for (int k = 0; k < 4; k++)
        if (strncasecmp(name, TARGETS[k], 3) == 0) return DG_ROLE_TARGET;
    return strcasecmp(name, "body") == 0 || strcasecmp(name, "external") == 0 ? DG_ROLE_BODY : DG_ROLE_OAR;
}

static dg_status read_reference_row(dg_yaml_place *at, const dg_yaml_node *map, dg_mapping *m)
{
    static const char *const KNOWN[] = {"name", "variations", NULL};
    snprintf(at->within, sizeof at->within, "structure %.40s: ", map->key);
    if (m->count == DG_STRUCTURES_MAX)
        return dg_yaml_field_fail(at, map->line, "more than %d structures", DG_STRUCTURES_MAX);
    dg_structure *s = &m->row[m->count].structure;
    if (map->kind != DG_YAML_MAP) return dg_yaml_field_fail(at, map->line, "it is a map with name and variations");
    DG_TRY(dg_yaml_field_keys(at, map, KNOWN));
    DG_TRY(dg_yaml_field_text(at, map, "name", true, sizeof s->name, s->name));
    DG_TRY(check_name(at, map->line, s->name));
    if (dg_mapping_row_find(m, s->name) >= 0)
        return dg_yaml_field_fail(at, map->line, "the structure %s is there already", s->name);
    s->role = reference_role(s->name);
    m->count++;
    return read_aliases(at, map, "variations", m->count - 1, m);
}

/* Names are compared as the scripts compare them. */
static dg_status read_reference(const char *file, const dg_yaml_node *root, dg_mapping *m)
{
    static const char *const IGNORED[] = {"_", " ", "gy", "-"};
    dg_yaml_place at = {.file = file};
    snprintf(m->name, sizeof m->name, "oar_mapping");
    for (; m->ignored_count < 4; m->ignored_count++)
        snprintf(m->ignored[m->ignored_count], sizeof m->ignored[0], "%s", IGNORED[m->ignored_count]);
    for (const dg_yaml_node *n = root->child; n != NULL; n = n->next) DG_TRY(read_reference_row(&at, n, m));
    return DG_OK;
}

static dg_status read_root(const char *file, const dg_yaml_node *root, bool preset, dg_mapping *m)
{
    static const char *const KNOWN[] = {
        "format",           "version",         "name",      "description", "site", "ignore",     "unite",
        "allow_ctv_as_ptv", "prescription_gy", "fractions", "constraints", "crop", "structures", NULL};
    char format[32], version[8], description[400];
    dg_yaml_place at = {.file = file};
    if (is_reference(root)) return read_reference(file, root, m);
    if (root->kind != DG_YAML_MAP)
        return dg_yaml_field_fail(&at, root->line, "a mapping is a map with format, version, name and structures");
    DG_TRY(dg_yaml_field_keys(&at, root, KNOWN));
    DG_TRY(dg_yaml_field_text(&at, root, "format", true, sizeof format, format));
    DG_TRY(dg_yaml_field_text(&at, root, "version", true, sizeof version, version));
    if (strcmp(format, "dosegrid-mapping") != 0 || strcmp(version, "1") != 0)
        return dg_yaml_field_fail(&at, root->line,
                                  "format '%s', version '%s': this program reads dosegrid-mapping, version 1", format,
                                  version);
    DG_TRY(dg_yaml_field_text(&at, root, "name", true, sizeof m->name, m->name));
    DG_TRY(dg_yaml_field_text(&at, root, "description", false, sizeof description, description));
    DG_TRY(dg_yaml_field_text(&at, root, "site", false, sizeof m->site, m->site));
    DG_TRY(read_ignored(&at, root, m));
    DG_TRY(read_policy(&at, root, preset, m));
    const dg_yaml_node *list = dg_yaml_get(root, "structures");
    if (list == NULL || list->kind != DG_YAML_LIST || list->child == NULL)
        return dg_yaml_field_fail(&at, list == NULL ? root->line : list->line, "structures is a list of at least one");
    for (const dg_yaml_node *n = list->child; n != NULL; n = n->next) {
        if (m->count == DG_STRUCTURES_MAX)
            return dg_yaml_field_fail(&at, n->line, "more than %d structures", DG_STRUCTURES_MAX);
        DG_TRY(read_row(&at, n, m));
    }
    at.within[0] = '\0';
    return check_mirrors(&at, root, m);
}

dg_status dg_mapping_read(const char *text, size_t length, const char *name, bool preset, dg_mapping **out)
{
    dg_yaml_node *root = NULL;
    dg_status status;
    *out = NULL;
    DG_TRY(dg_yaml_read_text(text, length, name, &root));
    DG_TRY_GOTO(status, DG_NEW(out, 1, "mapping of structures"), cleanup);
    DG_TRY_GOTO(status, read_root(name, root, preset, *out), cleanup);
cleanup:
    dg_yaml_destroy(&root);
    if (status != DG_OK) dg_free(out);
    return status;
}

static dg_status load_file(const char *path, bool preset, dg_mapping **out)
{
    char *text;
    int64_t length;
    DG_TRY(dg_file_read(path, path, DG_YAML_LIMIT, &text, &length));
    const dg_status status = dg_mapping_read(text, (size_t)length, path, preset, out);
    dg_free(&text);
    return status;
}

dg_status dg_mapping_load(const char *path, dg_mapping **out)
{
    *out = NULL;
    const dg_status status = load_file(path, false, out);
    if (status != DG_ERR_IO) return status;
    return dg_error_context(DG_ERR_USAGE, "mapping '%.200s' cannot be read", path);
}

dg_status dg_mapping_load_preset(const char *name_or_path, dg_mapping **out)
{
    char names[200] = "";
    *out = NULL;
    for (int i = 0; i < mapping_preset_count; i++) {
        const mapping_preset *p = &mapping_presets[i];
        const size_t word = strlen(p->name) - strlen(".yaml"), used = strlen(names);
        if (strlen(name_or_path) == word && strncmp(p->name, name_or_path, word) == 0)
            return dg_mapping_read((const char *)p->bytes, p->length, p->name, true, out);
        snprintf(names + used, sizeof names - used, "%s%.*s", used == 0 ? "" : ", ", (int)word, p->name);
    }
    const dg_status status = load_file(name_or_path, true, out);
    if (status != DG_ERR_IO) return status;
    return dg_error_context(DG_ERR_USAGE, "preset '%.200s' is neither one of %s nor a readable file", name_or_path,
                            names);
}

dg_status dg_mapping_extend(dg_mapping *preset, const dg_mapping *more)
{
    int row_of[DG_STRUCTURES_MAX], other;
    for (int r = 0; r < more->count; r++) {
        row_of[r] = dg_mapping_row_find(preset, more->row[r].structure.name);
        if (row_of[r] >= 0) continue;
        if (preset->count == DG_STRUCTURES_MAX)
            return DG_FAIL(DG_ERR_USAGE, "mapping %s: together with preset %s more than %d structures", more->name,
                           preset->name, DG_STRUCTURES_MAX);
        preset->row[preset->count] = more->row[r];
        row_of[r] = preset->count++;
    }
    for (int a = 0; a < more->alias_count; a++) {
        const struct dg_mapping_alias *alias = &more->alias[a];
        if (!add_alias(preset, row_of[alias->row], alias->name, &other))
            return DG_FAIL(DG_ERR_USAGE, "mapping %s: together with preset %s more than %d names", more->name,
                           preset->name, DG_MAPPING_ALIASES_MAX);
        if (other >= 0)
            return DG_FAIL(DG_ERR_USAGE,
                           "mapping %s: the name '%s' belongs to %s in preset %s: a region becomes one structure",
                           more->name, alias->name, preset->row[other].structure.name, preset->name);
    }
    preset->allow_ctv_as_ptv = preset->allow_ctv_as_ptv || more->allow_ctv_as_ptv;
    return DG_OK;
}
