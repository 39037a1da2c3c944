/* Channels of a run: auto and named, left and right, what is refused; what a checkpoint stores and compares.
 * ctest: libs=dg_run label=unit timeout=60
 * SPDX-License-Identifier: Apache-2.0 */
#include "recipe.h"
#include "t7_cases.h"

static const int64_t shape[3] = {4, 5, 6};
static const int64_t all[4] = {0, 1, 2, 3};

static void expect(const dg_recipe *recipe, int channel, const char *name, bool required, int mirror)
{
    char text[DG_OPT_WORD];
    dg_channel_name(&recipe->channel[channel], text, sizeof text);
    DG_CHECK(strcmp(text, name) == 0);
    DG_CHECK(recipe->channel[channel].required == required && recipe->channel[channel].mirror == mirror);
}

static void test_auto(const t7_cohort *t)
{
    dg_run_config config;
    dg_recipe recipe;
    t7_config("data: {augment: {flip: true}}", &config);
    DG_CHECK_OK(dg_recipe_resolve(&config, t->cohort, all, 4, &recipe));
    DG_CHECK(recipe.count == 5);
    expect(&recipe, 0, "ct", true, 0);
    expect(&recipe, 1, "sdf.PTV56", false, 1); /* in cases 0 and 3 only */
    expect(&recipe, 2, "sdf.PTV70", true, 2);
    expect(&recipe, 3, "sdf.Left", true, 4);
    expect(&recipe, 4, "sdf.Right", true, 3);
    DG_CHECK(recipe.seen_low_mm[0] == 3 && recipe.seen_high_mm[2] == 2);
    DG_CHECK(dg_channel_outside(&recipe, 0) == -1 && dg_channel_outside(&recipe, 1) == 1);
}

/* Trained on cases that all have PTV56, in a cohort where others lack it. */
static void test_relax(const t7_cohort *t)
{
    static const int64_t train[2] = {0, 3}, other[2] = {1, 2};
    dg_run_config config;
    dg_recipe recipe;
    t7_config("data: {channels: [ct, sdf.PTV56, sdf.PTV70, rx]}", &config);
    DG_CHECK_OK(dg_recipe_resolve(&config, t->cohort, train, 2, &recipe));
    expect(&recipe, 1, "sdf.PTV56", true, 1);
    DG_CHECK_FAILS(dg_recipe_check_case(&recipe, dg_cohort_case(t->cohort, 1)), DG_ERR_DATA, "'sdf.PTV56'");
    dg_recipe_relax(&recipe, t->cohort, other, 2);
    expect(&recipe, 1, "sdf.PTV56", false, 1);
    expect(&recipe, 2, "sdf.PTV70", true, 2);
    expect(&recipe, 3, "rx", true, 3);
    DG_CHECK_OK(dg_recipe_check_case(&recipe, dg_cohort_case(t->cohort, 1)));
}

static void test_checks(const t7_cohort *t)
{
    dg_run_config config;
    dg_recipe recipe;
    t7_config("data: {channels: [ct, mask.PTV70, rx, possible_dose, body]}", &config);
    DG_CHECK_OK(dg_recipe_resolve(&config, t->cohort, all, 4, &recipe));
    dg_case_info info = *dg_cohort_case(t->cohort, 0);
    DG_CHECK_OK(dg_recipe_check_case(&recipe, &info));
    snprintf(info.structure[0].name, sizeof info.structure[0].name, "GTV");
    DG_CHECK_FAILS(dg_recipe_check_case(&recipe, &info), DG_ERR_DATA, "case case-00 lacks what channel 'mask.PTV70'");
    info = *dg_cohort_case(t->cohort, 0);
    DG_CHECK(!dg_recipe_outside(&recipe, &info));
    info.grid.spacing_mm[1] *= 1.2;
    DG_CHECK(dg_recipe_outside(&recipe, &info));
    info.prescription_gy = 0;
    double scale;
    DG_CHECK_FAILS(dg_recipe_scale(&recipe, &info, &scale), DG_ERR_DATA, "case case-00 has no prescription");
    recipe.scale_gy = 60;
    DG_CHECK_OK(dg_recipe_scale(&recipe, &info, &scale));
    DG_CHECK(scale == 60);
}

static void refuse(const t7_cohort *t, const char *yaml, dg_status status, const char *words)
{
    dg_run_config config;
    dg_recipe recipe;
    t7_config(yaml, &config);
    DG_CHECK_FAILS(dg_recipe_resolve(&config, t->cohort, all, 4, &recipe), status, words);
}

static void test_refused(const t7_cohort *t)
{
    refuse(t, "data: {channels: [ct, sdf]}", DG_ERR_USAGE, "'sdf' is no channel");
    refuse(t, "data: {channels: [ct.PTV70]}", DG_ERR_USAGE, "'ct.PTV70' is no channel");
    refuse(t, "data: {channels: [dose]}", DG_ERR_USAGE, "'dose' is no channel");
    refuse(t, "data: {channels: [ct, sdf.Liver]}", DG_ERR_USAGE, "channel 'sdf.Liver'");
    refuse(t, "data: {channels: [ct, rx, ct]}", DG_ERR_USAGE, "'ct' is listed twice");
    refuse(t, "data: {channels: [ct, sdf.Left], augment: {flip: true}}", DG_ERR_USAGE, "its partner 'Right' is not");
    refuse(t, "{data: {channels: [mask.Right]}, predict: {flips: true}}", DG_ERR_USAGE, "its partner 'Left' is not");
    refuse(t, "data: {constraints: true}", DG_ERR_DATA, "case case-00 has no constraint vector");
    dg_run_config config;
    dg_recipe recipe;
    t7_config("data: {channels: [ct]}", &config);
    DG_CHECK_FAILS(dg_recipe_resolve(&config, t->cohort, all, 0, &recipe), DG_ERR_USAGE, "no case to train on");
}

static void test_geometry(void)
{
    dg_recipe recipe = {.count = 1, .coarsen = {2, 3, 1}};
    const int64_t odd[3] = {5, 9, 7};
    const double spacing[3] = {3, 2, 1};
    dg_grid native = dg_grid_make(odd, spacing), net;
    int64_t sub[3];
    dg_recipe_geometry(&recipe, &native, &net, sub);
    DG_CHECK(net.shape[0] == 3 && net.shape[1] == 3 && net.shape[2] == 7);
    DG_CHECK(net.spacing_mm[0] == 6 && net.spacing_mm[1] == 6 && net.spacing_mm[2] == 1);
    DG_CHECK(net.origin_mm[0] == 1.5 && net.origin_mm[1] == 2 && net.origin_mm[2] == 0);
    DG_CHECK(sub[0] == 2 && sub[1] == 3 && sub[2] == 1);
}

static void test_state(const t7_cohort *t)
{
    dg_run_config config;
    dg_recipe recipe, empty = {.count = 0}, other;
    dg_state_memory *memory;
    dg_state_registry saved = {.count = 0}, loaded = {.count = 0}, third = {.count = 0};
    t7_config("{data: {patch: auto, coarsen: 2, ct_range: [-900.5, 1234]}, loss: {mask: body}}", &config);
    DG_CHECK_OK(dg_recipe_resolve(&config, t->cohort, all, 4, &recipe));
    DG_CHECK_OK(dg_state_memory_create(&memory));
    DG_CHECK_OK(dg_state_register(&saved, dg_recipe_state(&recipe)));
    DG_CHECK_OK(dg_state_memory_save(memory, &saved));
    DG_CHECK_OK(dg_state_register(&loaded, dg_recipe_state(&empty)));
    DG_CHECK_OK(dg_state_memory_load(memory, &loaded)); /* adopts */
    json_t *a = dg_recipe_to_json(&recipe), *b = dg_recipe_to_json(&empty);
    DG_CHECK(json_equal(a, b) && empty.count == recipe.count && empty.ct_low_hu == -900.5);
    DG_CHECK(empty.channel[3].mirror == 4 && empty.loss_mask == DG_MASK_BODY);
    json_decref(a);
    json_decref(b);
    json_t *told = dg_recipe_describe(&recipe), *list = json_object_get(told, "channels");
    DG_CHECK(strcmp(json_string_value(json_object_get(told, "loss_mask")), "body") == 0);
    DG_CHECK(strcmp(json_string_value(json_object_get(json_array_get(list, 0), "channel")), "ct") == 0);
    DG_CHECK(json_object_get(json_array_get(list, 0), "mirror") == NULL);
    DG_CHECK(strcmp(json_string_value(json_object_get(json_array_get(list, 3), "mirror")),
                    json_string_value(json_object_get(json_array_get(list, 4), "channel"))) == 0);
    DG_CHECK(strncmp(json_string_value(json_object_get(json_array_get(list, 3), "channel")), "sdf.", 4) == 0);
    json_decref(told);
    DG_CHECK_OK(dg_state_memory_load(memory, &loaded)); /* compares with what it adopted */
    other = recipe;
    other.ct_high_hu = 1000;
    DG_CHECK_OK(dg_state_register(&third, dg_recipe_state(&other)));
    DG_CHECK_FAILS(dg_state_memory_load(memory, &third), DG_ERR_MISMATCH, "differs in 'ct_range_hu'");
    dg_state_memory_destroy(&memory);
}

static void check_pairs(const dg_recipe *recipe, const int want[4])
{
    for (int k = 0; k < 4; k++) DG_CHECK(recipe->constraint_mirror[k] == want[k]);
}

/* Constraints of paired structures change places in mirrored samples, and a checkpoint keeps the pairs. */
static void test_constraints(void)
{
    static const char *const names[4] = {"Left mean", "Leftover", "Right mean", "PTV70"};
    static const int paired[4] = {2, 1, 0, 3}, alone[4] = {0, 1, 2, 3};
    const char *const yaml = "{data: {patch: auto, constraints: true, augment: {flip: true}}}";
    dg_run_config config;
    dg_recipe recipe, adopted = {.count = 0}, without;
    dg_state_registry saved = {.count = 0}, loaded = {.count = 0}, third = {.count = 0};
    dg_state_memory *memory;
    t7_cohort told;
    float vector[4];
    t7_create(&told, 4, shape);
    for (int c = 0; c < 4; c++) {
        dg_case_info *info = &told.data[c].info;
        info->constraint_count = 4;
        for (int k = 0; k < 4; k++) {
            snprintf(info->constraint_name[k], DG_STRUCTURE_NAME, "%s", names[k]);
            info->constraint[k] = (float)(k + 1);
        }
    }
    dg_cohort_close(&told.cohort);
    DG_CHECK_OK(dg_cohort_memory_create(told.data, 4, &told.cohort));
    t7_config(yaml, &config);
    DG_CHECK_OK(dg_recipe_resolve(&config, told.cohort, all, 4, &recipe));
    check_pairs(&recipe, paired);
    dg_recipe_constraints(&recipe, dg_cohort_case(told.cohort, 0), false, vector);
    DG_CHECK(vector[0] == 1 && vector[1] == 2 && vector[2] == 3 && vector[3] == 4);
    dg_recipe_constraints(&recipe, dg_cohort_case(told.cohort, 0), true, vector);
    DG_CHECK(vector[0] == 3 && vector[1] == 2 && vector[2] == 1 && vector[3] == 4);
    DG_CHECK_OK(dg_state_memory_create(&memory));
    DG_CHECK_OK(dg_state_register(&saved, dg_recipe_state(&recipe)));
    DG_CHECK_OK(dg_state_memory_save(memory, &saved));
    DG_CHECK_OK(dg_state_register(&loaded, dg_recipe_state(&adopted)));
    DG_CHECK_OK(dg_state_memory_load(memory, &loaded));
    check_pairs(&adopted, paired);
    without = recipe; /* as a checkpoint of before there were pairs */
    memcpy(without.constraint_mirror, alone, sizeof alone);
    DG_CHECK_OK(dg_state_register(&third, dg_recipe_state(&without)));
    DG_CHECK_OK(dg_state_memory_save(memory, &third));
    adopted.count = 0;
    DG_CHECK_OK(dg_state_memory_load(memory, &loaded));
    check_pairs(&adopted, alone);
    dg_state_memory_destroy(&memory);
    for (int c = 0; c < 4; c++) snprintf(told.data[c].info.constraint_name[2], DG_STRUCTURE_NAME, "Rightmost");
    dg_cohort_close(&told.cohort);
    DG_CHECK_OK(dg_cohort_memory_create(told.data, 4, &told.cohort));
    DG_CHECK_FAILS(dg_recipe_resolve(&config, told.cohort, all, 4, &recipe), DG_ERR_USAGE,
                   "constraint 'Left mean' is in the vectors of the cases and 'Right mean' is not");
    t7_config("{data: {patch: auto, constraints: true}}", &config);
    DG_CHECK_OK(dg_recipe_resolve(&config, told.cohort, all, 4, &recipe));
    check_pairs(&recipe, alone);
    t7_release(&told);
}

int main(void)
{
    t7_cohort t;
    t7_create(&t, 4, shape);
    test_auto(&t);
    test_relax(&t);
    test_checks(&t);
    test_refused(&t);
    test_geometry();
    test_state(&t);
    test_constraints();
    t7_release(&t);
    return 0;
}
