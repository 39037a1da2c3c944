/* ctest: libs=dg_formats label=unit timeout=60 */
/* t139_mapping.c - names of regions against presets and mappings of one's own. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_mapping.h"
#include "dg_mem.h"

/* What the reference's scripts take these names for; -1: nothing. */
static const struct {
    const char *name;
    int channel;
} NAMES[] = {{"PTV70", 0},
             {"ptv 70", 0},
             {"PTV-70", 0},
             {"PTV70Gy", 0},
             {"ptv_70_gy", 0},
             {"PTV70 Gy AP", 0},
             {"PTV 7000", 0},
             {"CTV_7000", 0},
             {"CTV70", -1},
             {"PTV7000eval", 0},
             {"PTV70.0", -1},
             {"PTV", -1},
             {"PTV_56_Gy", 1},
             {"SV", 1},
             {"S V", 1},
             {"PTV5600eval", -1},
             {"PROSTATE", 2},
             {"Prostate_Gy", 2},
             {"prostate jc", 2},
             {"Pros", -1},
             {"CTV_Prostate", -1},
             {"Rect", -1},
             {"rec_tum", 3},
             {"Rectum Wall", -1},
             {"Bladder_Wall", -1},
             {"BLAD DER", 4},
             {"FemurL", 5},
             {"L_Femur", -1},
             {"Left Femur", -1},
             {"femur head-l", 5},
             {"femurheadr", 6},
             {"BowelBag", -1},
             {"Sigmoid", 7},
             {"sm bowel", 7},
             {"bowel-avoid", 7},
             {"PTV50.4", 8},
             {"PTV_5040", 8},
             {"PTV50_4", 8},
             {"ptv50.4gy", 8},
             {"PTV70g-y", -1},
             {"PTV70g y", 0},
             {"BODY", -1},
             {"", -1},
             {"SplResdMax_Rectum_AP_5_AP", 3},
             {"SplResdMax_Rectum_AP_6_AP", -1},
             {"PTV70 at 2.5 Gy per fx - MS", 0}};

static const char HEAD[] = "format: dosegrid-mapping\nversion: 1\nname: m\n";

static dg_status read_text(const char *more, bool preset, dg_mapping **out)
{
    char text[4096];
    snprintf(text, sizeof text, "%s%s", HEAD, more);
    return dg_mapping_read(text, strlen(text), "m.yaml", preset, out);
}

static void test_presets(void)
{
    dg_mapping *v23, *v24, *none;
    DG_CHECK_OK(dg_mapping_load_preset("v2.3", &v23));
    DG_CHECK_OK(dg_mapping_load_preset("v2.4", &v24));
    DG_CHECK(v23->count == 8 && v24->count == 9 && v24->unite && v24->prescription_gy == 70 && v24->fractions == 28);
    DG_CHECK(v23->row[1].required && !v24->row[1].required && v24->crop.inplane == 300 && v24->centre_count == 2);
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        const int alias = dg_mapping_find(v24, NAMES[i].name), old = dg_mapping_find(v23, NAMES[i].name);
        DG_CHECK((alias < 0 ? -1 : v24->alias[alias].row) == NAMES[i].channel);
        DG_CHECK((old < 0 ? -1 : v23->alias[old].row) == (NAMES[i].channel == 8 ? -1 : NAMES[i].channel));
    }
    DG_CHECK_FAILS(dg_mapping_load_preset("/nowhere/v2.9", &none), DG_ERR_USAGE, "neither one of v2.3, v2.4");
    dg_free(&v23);
    dg_free(&v24);
}

static const char *rule;

static dg_status resolve(const dg_mapping *m, const char *const *name, int count, dg_mapping_result *out)
{
    static const bool filled[8] = {true, true, true, true, true, true, true, true};
    const dg_status status = dg_mapping_resolve(m, name, filled, count, out, &rule);
    DG_CHECK((rule != NULL) == (status != DG_OK));
    return status;
}

static void test_resolve(void)
{
    static const char *const plain[3] = {"ptv", "Cord", "Cord_PRV"}, *const two[2] = {"PTV", "PTV boost"};
    static const char *const mixed[2] = {"PTV_7000", "CTV_7000"}, *const clinical[1] = {"CTV_7000"},
                             *const gtv[1] = {"GTV"};
    dg_mapping *own, *preset;
    dg_mapping_result got[8];
    DG_CHECK_OK(read_text("structures:\n  - {name: PTV, role: target, aliases: [ptv boost], required: true}\n"
                          "  - {name: SpinalCord, role: oar, aliases: [cord]}\n",
                          false, &own));
    DG_CHECK_OK(resolve(own, plain, 3, got));
    DG_CHECK(got[0].row == 0 && got[1].row == 1 && got[2].row == -1);
    DG_CHECK_FAILS(resolve(own, two, 2, got), DG_ERR_DATA, "candidates: PTV, ptv boost");
    DG_CHECK(strcmp(rule, "structure-ambiguous") == 0);
    DG_CHECK_FAILS(resolve(own, plain + 1, 2, got), DG_ERR_DATA, "which the mapping requires");
    DG_CHECK(strcmp(rule, "structure-missing") == 0);
    const bool empty[2] = {true, false}; /* a region without contours is none */
    DG_CHECK_OK(dg_mapping_resolve(own, two, empty, 2, got, &rule));
    DG_CHECK(got[1].row == -1);
    DG_CHECK_OK(dg_mapping_load_preset("v2.4", &preset));
    static const char *const united[3] = {"PTV70", "Sm Bowel", "Sigmoid"};
    DG_CHECK_OK(resolve(preset, united, 3, got));
    DG_CHECK(got[1].row == 7 && got[2].row == 7);
    DG_CHECK_FAILS(resolve(preset, mixed, 2, got), DG_ERR_DATA, "candidates: PTV_7000, CTV_7000; set allow_ctv_as_ptv");
    DG_CHECK_FAILS(resolve(preset, clinical, 1, got), DG_ERR_DATA, "candidates: CTV_7000");
    DG_CHECK_FAILS(resolve(preset, gtv, 1, got), DG_ERR_DATA, "no region with contours is PTV70");
    preset->allow_ctv_as_ptv = true;
    DG_CHECK_OK(resolve(preset, mixed, 2, got));
    DG_CHECK(got[0].row == 0 && got[1].row == 0);
    dg_free(&own);
    dg_free(&preset);
}

/* The reference's own file of names, alone and beside a preset. */
static void test_reference_file(void)
{
    static const char text[] =
        "{\n\t\"0\": {\"name\": \"ptv70\", \"variations\": [\"PTV70\", \"ptv70\", \"PTV_70 boost\"]},\n"
        "    \"12\": {\n \"name\": \"rectum\", \"variations\": [\"Rectum\", \"Rect\"]}\n}\n";
    static const char twice[] =
        "{\"0\": {\"name\": \"a\", \"variations\": [\"x\"]}, \"1\": {\"name\": \"b\", \"variations\": [\"X\"]}}";
    static const char strange[] = "{\"0\": {\"name\": \"a\", \"variation\": [\"x\"]}}";
    dg_mapping *own, *preset;
    DG_CHECK_OK(dg_mapping_read(text, strlen(text), "oar_mapping.json", false, &own));
    DG_CHECK(own->count == 2 && own->row[0].structure.role == DG_ROLE_TARGET &&
             own->row[1].structure.role == DG_ROLE_OAR);
    DG_CHECK(own->alias[dg_mapping_find(own, "PTV70 BoostGy")].row == 0 && dg_mapping_find(own, "PTV 70.0") < 0);
    DG_CHECK_OK(dg_mapping_load_preset("v2.4", &preset));
    DG_CHECK_OK(dg_mapping_extend(preset, own));
    DG_CHECK(preset->count == 9 && strcmp(preset->row[3].structure.name, "Rectum") == 0);
    DG_CHECK(preset->alias[dg_mapping_find(preset, "rect")].row == 3);
    dg_free(&own);
    dg_free(&preset);
    DG_CHECK_FAILS(dg_mapping_read(twice, strlen(twice), "m", false, &own), DG_ERR_USAGE, "'X' belongs to a already");
    DG_CHECK_FAILS(dg_mapping_read(strange, strlen(strange), "m", false, &own), DG_ERR_USAGE, "'variation'");
}

static void test_extend(void)
{
    dg_mapping *preset, *more;
    DG_CHECK_OK(dg_mapping_load_preset("v2.4", &preset));
    DG_CHECK_OK(read_text("allow_ctv_as_ptv: true\nstructures:\n  - {name: rectum, role: oar, aliases: [Rect]}\n"
                          "  - {name: PenileBulb, role: oar}\n",
                          false, &more));
    DG_CHECK_OK(dg_mapping_extend(preset, more));
    DG_CHECK(preset->count == 10 && preset->allow_ctv_as_ptv);
    DG_CHECK(preset->alias[dg_mapping_find(preset, "RECT")].row == 3);
    DG_CHECK(preset->alias[dg_mapping_find(preset, "penile_bulb")].row == 9); /* compared as the preset compares */
    dg_free(&more);
    DG_CHECK_OK(read_text("structures:\n  - {name: Pouch, role: oar, aliases: [sigmoid]}\n", false, &more));
    DG_CHECK_FAILS(dg_mapping_extend(preset, more), DG_ERR_USAGE, "'sigmoid' belongs to Bowel in preset v2.4");
    dg_free(&more);
    dg_free(&preset);
}

static void test_refusals(void)
{
    static const struct {
        const char *text, *words;
    } BAD[] = {
        {"unite: true\nstructures: [{name: A, role: oar}]\n", "m.yaml:4: unite is for presets"},
        {"prescription_gy: 70\nstructures: [{name: A, role: oar}]\n", "m.yaml:4: prescription_gy is for presets"},
        {"structures: []\n", "a list of at least one"},
        {"structures: [{name: A, role: organ}]\n", "structure 1 (A): role is one of target, oar"},
        {"structures: [{name: A, role: oar}, {name: a, role: oar}]\n", "there already"},
        {"structures: [{name: A, role: oar}, {name: B, role: oar, aliases: [a]}]\n", "'a' belongs to A already"},
        {"structures: [{name: A, role: oar, mirror: B}]\n", "mirror B"},
        {"structures: [{name: A, role: oar, prescription_gy: 3}]\n", "only a target"},
        {"structures: [{name: \"A b\", role: oar}]\n", "not 'A b'"},
        {"ignore: [\"a\"]\nstructures: [{name: A, role: oar}]\n", "nothing is left"},
        {"unknown: 1\nstructures: [{name: A, role: oar}]\n", "unknown key 'unknown'"},
    };
    dg_mapping *m;
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
        DG_CHECK_FAILS(read_text(BAD[i].text, false, &m), DG_ERR_USAGE, BAD[i].words);
    DG_CHECK_FAILS(read_text("fractions: 2.5\nstructures: [{name: A, role: oar}]\n", true, &m), DG_ERR_USAGE,
                   "whole number");
    DG_CHECK_FAILS(dg_mapping_read("a: 1", 4, "m.yaml", true, &m), DG_ERR_USAGE, "unknown key 'a'");
    DG_CHECK_FAILS(dg_mapping_load("/nowhere/m.yaml", &m), DG_ERR_USAGE, "cannot be read");
}

int main(void)
{
    test_presets();
    test_resolve();
    test_reference_file();
    test_extend();
    test_refusals();
    return 0;
}
