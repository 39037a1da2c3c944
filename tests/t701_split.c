/* Splits: groups stay whole, shares are kept, one seed is one split; files in JSON and YAML, good and bad.
 * ctest: libs=dg_run label=unit timeout=60
 * SPDX-License-Identifier: Apache-2.0 */
#include "split.h"
#include "t7_cases.h"

#include "dg_file.h"

#include <unistd.h>

static const int64_t tiny[3] = {3, 4, 5};

static dg_part part_of(const dg_split *split, int64_t index)
{
    for (int p = 0; p < DG_PARTS; p++) {
        for (int64_t i = 0; i < split->count[p]; i++) {
            if (split->index[p][i] == index) return (dg_part)p;
        }
    }
    return DG_PARTS;
}

static void test_drawn(const t7_cohort *t)
{
    dg_split_config config = {.train = 0.5, .val = 0.25, .test = 0.25, .seed = 42};
    dg_split a, b, c;
    DG_CHECK_OK(dg_split_make(&config, t->cohort, &a));
    DG_CHECK_OK(dg_split_make(&config, t->cohort, &b));
    config.seed = 43;
    DG_CHECK_OK(dg_split_make(&config, t->cohort, &c));
    /* six patients of two cases: 3, 2 and 1 of them, or 3, 1 and 2 */
    DG_CHECK(a.count[0] == 6 && a.count[1] + a.count[2] == 6 && a.count[1] >= 2 && a.count[2] >= 2);
    bool differs = false;
    for (int64_t i = 0; i < t->count; i++) {
        DG_CHECK(part_of(&a, i) == part_of(&b, i) && part_of(&a, i) != DG_PARTS);
        DG_CHECK(part_of(&a, i) == part_of(&a, i ^ 1)); /* the patient's other case */
        differs = differs || part_of(&a, i) != part_of(&c, i);
    }
    DG_CHECK(differs);
    for (int p = 0; p < DG_PARTS; p++) {
        for (int64_t i = 1; i < a.count[p]; i++) DG_CHECK(a.index[p][i] > a.index[p][i - 1]);
    }
    dg_split_release(&a);
    dg_split_release(&b);
    dg_split_release(&c);
}

/* Cases without what is learned, dose or labels, are drawn by nobody. */
static void test_without_dose(t7_cohort *t)
{
    dg_split_config config = {.train = 0.6, .val = 0.2, .test = 0.2, .seed = 1};
    dg_case_data some[T7_CASES];
    dg_cohort *other;
    dg_split split;
    memcpy(some, t->data, sizeof some);
    for (int c = 0; c < T7_CASES; c++) some[c].info.has_dose = c < 2;
    DG_CHECK_OK(dg_cohort_memory_create(some, T7_CASES, &other));
    DG_CHECK_OK(dg_split_make(&config, other, &split));
    DG_CHECK(split.count[0] == 2 && split.count[1] == 0 && split.count[2] == 0);
    DG_CHECK(split.index[0][0] == 0 && split.index[0][1] == 1);
    dg_split_release(&split);
    dg_cohort_close(&other);
    for (int c = 0; c < T7_CASES; c++) some[c].info.has_dose = false;
    DG_CHECK_OK(dg_cohort_memory_create(some, T7_CASES, &other));
    DG_CHECK_FAILS(dg_split_make(&config, other, &split), DG_ERR_USAGE, "no case with a dose");
    config.labels = true;
    DG_CHECK_FAILS(dg_split_make(&config, other, &split), DG_ERR_USAGE, "no case with labels");
    dg_cohort_close(&other);
    static const uint8_t labels[3 * 4 * 5] = {1};
    for (int c = 2; c < 4; c++) some[c].labels = labels;
    DG_CHECK_OK(dg_cohort_memory_create(some, T7_CASES, &other));
    DG_CHECK_OK(dg_split_make(&config, other, &split));
    DG_CHECK(split.count[0] == 2 && split.count[1] == 0 && split.count[2] == 0);
    DG_CHECK(split.index[0][0] == 2 && split.index[0][1] == 3);
    dg_split_release(&split);
    dg_cohort_close(&other);
}

static void write_file(const char *path, const char *text)
{
    DG_CHECK_OK(dg_file_write(path, text, (int64_t)strlen(text)));
}

static void test_files(const t7_cohort *t, const char *path)
{
    dg_split_config config = {.train = 1};
    dg_split split;
    snprintf(config.file, sizeof config.file, "%s", path);
    write_file(path,
               "{\"train\": [\"case-03\", \"case-02\"], \"structures\": {\"PTV70\": {\"train\": 3, \"x\": [1]}},\n"
               " \"test\": [\"case-05\"], \"val\": []}");
    DG_CHECK_OK(dg_split_make(&config, t->cohort, &split));
    DG_CHECK(split.count[0] == 2 && split.index[0][0] == 2 && split.index[0][1] == 3);
    DG_CHECK(split.count[1] == 0 && split.count[2] == 1 && split.index[2][0] == 5);
    json_t *json = dg_split_to_json(&split, t->cohort);
    char *text = json_dumps(json, 0), warning[256];
    write_file(path, text);
    free(text);
    DG_CHECK(json_integer_value(
                 json_object_get(json_object_get(json_object_get(json, "structures"), "PTV56"), "train")) == 1);
    json_decref(json);
    dg_split_warning(&split, t->cohort, warning, sizeof warning);
    DG_CHECK(strstr(warning, "PTV56 in no test case") != NULL);
    dg_split_release(&split);
    DG_CHECK_OK(dg_split_make(&config, t->cohort, &split)); /* what was written is read again */
    DG_CHECK(split.count[0] == 2 && split.count[2] == 1);
    dg_split_release(&split);
    char(*ids)[DG_CASE_ID];
    int64_t count;
    DG_CHECK_OK(dg_split_read_part(path, DG_PART_TEST, &ids, &count));
    DG_CHECK(count == 1 && strcmp(ids[0], "case-05") == 0);
    dg_free(&ids);
    write_file(path, "train:\n  - case-00\n  - case-01\nval: [case-08, case-09]\n");
    DG_CHECK_OK(dg_split_make(&config, t->cohort, &split));
    DG_CHECK(split.count[0] == 2 && split.count[1] == 2 && split.index[1][0] == 8);
    dg_split_release(&split);
}

static void refuse(const t7_cohort *t, const char *path, const char *text, dg_status status, const char *words)
{
    dg_split_config config = {.train = 1};
    dg_split split;
    snprintf(config.file, sizeof config.file, "%s", path);
    write_file(path, text);
    DG_CHECK_FAILS(dg_split_make(&config, t->cohort, &split), status, words);
}

static void test_bad_files(const t7_cohort *t, const char *path)
{
    char named[160];
    snprintf(named, sizeof named,
             "split file '%s': train case 'case-99' is not in the cohort; --set data.split.file=", path);
    refuse(t, path, "{train: [case-00, case-99]}", DG_ERR_DATA, named);
    refuse(t, path, "{train: [case-00], val: [case-00]}", DG_ERR_DATA, "listed in train and again in val");
    refuse(t, path, "{train: [case-00], val: [case-01]}", DG_ERR_DATA, "are of one patient");
    refuse(t, path, "{val: [case-00]}", DG_ERR_USAGE, "no case with a dose");
    refuse(t, path, "{train: case-00}", DG_ERR_FORMAT, "line 1: 'train' must be a list");
    refuse(t, path, "{train: [[case-00]]}", DG_ERR_FORMAT, "a case id is wanted");
    refuse(t, path, "[case-00]", DG_ERR_FORMAT, "a map with lists");
    refuse(t, path, "train: [case-00\nval: x", DG_ERR_FORMAT, "line 2");
    refuse(t, path, "{train: &a [case-00], val: *a}", DG_ERR_FORMAT, "aliases");
    dg_split_config config = {.train = 1, .file = "/nowhere/split.json"};
    dg_split split;
    DG_CHECK_FAILS(dg_split_make(&config, t->cohort, &split), DG_ERR_IO,
                   "No such file or directory; check data.split.file");
    config = (dg_split_config){.train = 1, .file = "nowhere.json"};
    DG_CHECK_FAILS(dg_split_make(&config, t->cohort, &split), DG_ERR_IO, "relative to the working folder");
}

int main(void)
{
    t7_cohort t;
    char path[64];
    t7_create(&t, T7_CASES, tiny);
    snprintf(path, sizeof path, "t701_split-%ld.json", (long)getpid());
    test_drawn(&t);
    test_without_dose(&t);
    test_files(&t, path);
    test_bad_files(&t, path);
    unlink(path);
    t7_release(&t);
    return 0;
}
