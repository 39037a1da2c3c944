/* ctest: libs=dg_analysis label=unit timeout=300 */
/* Figures: text of a case is drawn and never obeyed, files are what they claim to be, nothing is drawn from nothing, and
 * a gnuplot that is missing, fails or hangs is answered in time. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_file.h"
#include "dg_figures.h"
#include "dg_mem.h"
#include "dg_trace.h"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { N = 16 };
/* Would run a command, end a string, start markup, leave the page or stop pango, were it taken for more than text. */
#define HOSTILE                                                                                                        \
    "a\"b'c\\d`touch pwned`$(touch pwned)\n@pwned {/Bold %s} \"; system(\"touch pwned\") # \xff\xc3\x28 \xe2\x80\xae " \
    "\xce\xb3 %d %n ^2_3"

static char folder[256];
static dg_figure_output both;

static char *slurp(const char *name, int64_t *length)
{
    char path[DG_PATH_MAX], *text;
    DG_CHECK_OK(dg_path_join(path, folder, name));
    DG_CHECK_OK(dg_file_read(path, name, 1 << 28, &text, length));
    return text;
}

static uint32_t u32(const char *at)
{
    const unsigned char *b = (const unsigned char *)at;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static bool holds(const char *text, int64_t length, const char *words)
{
    return memmem(text, (size_t)length, words, strlen(words)) != NULL;
}

/* A PNG of a page's width that says its resolution. */
static void check_png(const char *name, uint32_t width, uint32_t per_metre)
{
    char file[DG_FIGURE_NAME + 8];
    int64_t length;
    snprintf(file, sizeof file, "%s.png", name);
    char *png = slurp(file, &length);
    DG_CHECK(length > 2000 && memcmp(png, "\x89PNG\r\n\x1a\n", 8) == 0);
    DG_CHECK(u32(png + 16) == width && u32(png + 20) > width / 8 && u32(png + 20) < 4000);
    DG_CHECK(u32(png + 33) == 9 && memcmp(png + 37, "pHYs", 4) == 0);
    DG_CHECK(u32(png + 41) == per_metre && u32(png + 45) == per_metre && png[49] == 1);
    dg_free(&png);
}

/* A PNG of the width of a page at 300 dpi that says so, and a PDF; `vector`: without pictures in it. */
static void check_files(const char *name, uint32_t width, bool vector)
{
    char file[DG_FIGURE_NAME + 8];
    int64_t length;
    check_png(name, width, 11811);
    snprintf(file, sizeof file, "%s.pdf", name);
    char *pdf = slurp(file, &length);
    DG_CHECK(memcmp(pdf, "%PDF-", 5) == 0);
    DG_CHECK(holds(pdf, length, "/Subtype /Image") == !vector);
    DG_CHECK(holds(pdf, length, "/CreationDate (D:20000101000000"));
    if (vector) DG_CHECK(length < 200000);
    dg_free(&pdf);
}

static int count_entries(const char *path, const char *prefix)
{
    int count = 0;
    DIR *open = opendir(path);
    DG_CHECK(open != NULL);
    for (struct dirent *e = readdir(open); e != NULL; e = readdir(open))
        count += strncmp(e->d_name, prefix, strlen(prefix)) == 0;
    closedir(open);
    return count;
}

/* A sphere of dose with two targets and two organs. */
typedef struct example {
    dg_grid grid;
    float ct[N * N * N], reference[N * N * N], prediction[N * N * N], gamma[N * N * N];
    uint64_t masks[N * N * N];
    dg_structure structure[4];
    dg_figure_case data;
} example;

static void make_example(example *e)
{
    static const struct {
        const char *name;
        dg_role role;
        double level;
    } kind[4] = {{"PTV70", DG_ROLE_TARGET, 70},
                 {HOSTILE, DG_ROLE_OAR, 0},
                 {"PTV56", DG_ROLE_TARGET, 56},
                 {"SpinalCord", DG_ROLE_OAR, 0}};
    *e = (example){.grid = dg_grid_make((int64_t[3]){N, N, N}, (double[3]){3, 4, 4})};
    for (int k = 0; k < 4; k++) {
        e->structure[k] = (dg_structure){.role = kind[k].role, .prescription_gy = kind[k].level};
        snprintf(e->structure[k].name, DG_STRUCTURE_NAME, "%.63s", kind[k].name);
    }
    for (int i = 0; i < N * N * N; i++) {
        double z = i / (N * N) - 7.5, y = i / N % N - 7.5, x = i % N - 7.5, r = sqrt(x * x + y * y + z * z);
        e->ct[i] = r < 7 ? (float)(30 * x) : -1000;
        e->reference[i] = (float)(72 / (1 + exp(r - 4)));
        e->prediction[i] = (float)(71 / (1 + exp(r - 4.2)));
        e->gamma[i] = e->reference[i] > 7 ? (float)fmin(2, 0.1 * r * r) : NAN;
        e->masks[i] = (uint64_t)(r < 3) | (uint64_t)(x > 4) << 1 | (uint64_t)(r < 5) << 2 | (uint64_t)(y > 5) << 3;
    }
    e->data =
        (dg_figure_case){HOSTILE,       DG_PICK_MEDIAN, HOSTILE, 2.5,      "Gy",         &e->grid, e->ct, e->reference,
                         e->prediction, e->gamma,       HOSTILE, e->masks, e->structure, 4,        70,    {0, 0}, NULL};
}

typedef dg_status (*case_figure)(const dg_figure_output *, const dg_figure_case *, dg_figure_result *);

static void test_case_figures(void)
{
    static example e;
    dg_figure_result result;
    static const case_figure figure[4] = {dg_figure_dose_colorwash, dg_figure_dose_difference, dg_figure_dvh_comparison,
                                          dg_figure_gamma_map};
    static const char *const name[4] = {"fig2_dose_colorwash", "fig3_dose_difference", "fig4_dvh_comparison",
                                        "fig11_gamma_map"};
    make_example(&e);
    for (int k = 0; k < 4; k++) {
        DG_CHECK_OK(figure[k](&both, &e.data, &result));
        DG_CHECK(result.drawn && strcmp(result.name, name[k]) == 0 && result.caption[0] != '\0' &&
                 result.reason[0] == '\0');
        check_files(name[k], 2160, k == 2);
    }
    e.data.pick = DG_PICK_WORST; /* no CT, no gamma, no prescription, a mirrored grid, unknown doses */
    e.data.ct_hu = e.data.gamma = NULL;
    e.data.gamma_label = NULL;
    e.data.prescription_gy = 0;
    e.grid.direction[0] = e.grid.direction[4] = -1;
    for (int i = 0; i < N * N * N; i += 7) e.reference[i] = e.prediction[N * N * N - 1 - i] = NAN;
    DG_CHECK_OK(dg_figure_dose_colorwash(&both, &e.data, &result));
    DG_CHECK(result.drawn);
    check_files("fig2_dose_colorwash_worst", 2160, false);
    DG_CHECK_OK(dg_figure_dvh_comparison(&both, &e.data, &result));
    DG_CHECK(result.drawn);
    DG_CHECK_OK(dg_figure_gamma_map(&both, &e.data, &result));
    DG_CHECK(!result.drawn && strstr(result.reason, "no gamma map") != NULL);
    e.structure[0].role = e.structure[2].role = DG_ROLE_SUPPORT; /* no target: the planes follow the dose */
    DG_CHECK_OK(dg_figure_dose_difference(&both, &e.data, &result));
    DG_CHECK(result.drawn && strstr(result.caption, "centroid of the high dose") != NULL);
    DG_CHECK(strstr(result.caption, "the reference maximum") != NULL);
    for (int i = 0; i < N * N * N; i++) e.reference[i] = NAN;
    for (int k = 0; k < 4; k++) {
        DG_CHECK_OK(figure[k](&both, &e.data, &result));
        DG_CHECK(!result.drawn && result.reason[0] != '\0');
    }
    DG_CHECK(count_entries(folder, "fig11_gamma_map_worst") == 0);
    e.data.reference_gy = NULL;
    DG_CHECK_FAILS(dg_figure_dvh_comparison(&both, &e.data, &result), DG_ERR_DATA, "reference dose");
}

/* What came in: with dose, without one, without CT; bodies are outlined; a scan of its own range; the resolution asked for. */
static void test_contact(void)
{
    static example e;
    dg_figure_result result;
    const dg_figure_output small = {folder, true, false, 60, 50};
    make_example(&e);
    e.data.prediction_gy = e.data.gamma = NULL;
    e.structure[3].role = DG_ROLE_BODY;
    DG_CHECK_OK(dg_figure_contact(&small, &e.data, "sheet_1", &result));
    DG_CHECK(result.drawn && strstr(result.caption, "centroid of the targets") != NULL);
    check_png("sheet_1", 360, 1969);
    DG_CHECK(count_entries(folder, "sheet_1") == 1);
    e.data.reference_gy = NULL;
    e.structure[0].role = e.structure[2].role = DG_ROLE_SUPPORT;
    DG_CHECK_OK(dg_figure_contact(&small, &e.data, "sheet_2", &result));
    DG_CHECK(result.drawn && strstr(result.caption, "without dose") != NULL);
    e.data.ct_window[1] = 100;
    e.data.masks = NULL;
    e.data.structure_count = 0;
    DG_CHECK_OK(dg_figure_contact(&small, &e.data, "sheet_3", &result));
    e.data.ct_hu = NULL;
    DG_CHECK_OK(dg_figure_contact(&small, &e.data, "sheet_4", &result));
    DG_CHECK(result.drawn && count_entries(folder, "sheet_4") == 1);
    e.data.structure_count = 1;
    DG_CHECK_FAILS(dg_figure_contact(&small, &e.data, "sheet_5", &result), DG_ERR_DATA, "with masks");
}

static void write_csv(const char *text, char path[DG_PATH_MAX])
{
    DG_CHECK_OK(dg_path_join(path, folder, "metrics.csv"));
    DG_CHECK_OK(dg_file_write(path, text, (int64_t)strlen(text)));
}

static void test_training(void)
{
    char path[DG_PATH_MAX], *text = NULL;
    size_t size;
    dg_figure_table table;
    dg_figure_result result;
    FILE *csv = open_memstream(&text, &size);
    DG_CHECK(csv != NULL);
    fprintf(csv, "step,seconds,lr,loss,mse,mae,negative,val_mae_gy,val_dose_score,sigma_mse\n");
    for (int i = 1; i <= 3000; i++)
        fprintf(csv, "%d,%d,1e-4,%.6g,%.6g,%.6g,0,%s,%s,%.3g\n", i, i, 10.0 / i + 0.1, 10.0 / i, 3.0 / i,
                i % 100 ? "" : "3.5",
                i % 100     ? ""
                : i == 2000 ? "1.25"
                            : "2.5",
                1 + 1.0 / i);
    fprintf(csv, "3001,3001,1e-4,0.");
    DG_CHECK(fclose(csv) == 0);
    write_csv(text, path);
    free(text);
    DG_CHECK_OK(dg_figure_table_read(path, "metrics.csv of run x", &table));
    DG_CHECK(table.rows == 3000 && table.columns == 10 && dg_figure_table_find(&table, "loss") == 3 &&
             dg_figure_table_find(&table, "nothing") == -1 && table.value[3] == 10.1 && isnan(table.value[7]));
    DG_CHECK_OK(dg_figure_training_curves(&both, &(dg_figure_training){&table, NULL}, &result));
    DG_CHECK(result.drawn && strstr(result.caption, "val_dose_score: step 2000, 1.250 Gy") != NULL);
    check_files("fig1_training_curves", 2160, true);
    DG_CHECK_OK(dg_figure_loss_components(&both, &table, (const double[]){10, 20}, 2, &result));
    DG_CHECK(result.drawn && strstr(result.caption, "learned") != NULL);
    check_files("fig9_loss_components", 2160, true);
    table.rows = 1;
    DG_CHECK_OK(dg_figure_training_curves(&both, &(dg_figure_training){&table, NULL}, &result));
    DG_CHECK(!result.drawn && strstr(result.reason, "fewer than two steps") != NULL);
    dg_figure_table_release(&table);
    static const struct {
        const char *text, *words;
    } bad[] = {{"", "no line of column names"},      {"step,loss", "no line of column names"},
               {"step,\n", "has no name"},           {"step,loss\n1\n", "line 2"},
               {"step,loss\n1,2,3,4,5\n", "line 2"}, {"step,loss\n1,2\n2,`id`\n", "line 3: '`id`'"}};
    for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
        write_csv(bad[k].text, path);
        DG_CHECK_FAILS(dg_figure_table_read(path, "metrics.csv of run x", &table), DG_ERR_FORMAT, bad[k].words);
        DG_CHECK(strstr(dg_error_last()->text, "metrics.csv of run x") != NULL && table.value == NULL);
    }
    write_csv("step,loss,mse\n1,inf,nan\n2,nan,0\n", path);
    DG_CHECK_OK(dg_figure_table_read(path, "m", &table));
    DG_CHECK_OK(dg_figure_loss_components(&both, &table, NULL, 0, &result));
    DG_CHECK(!result.drawn);
    dg_figure_table_release(&table);
}

static void test_picks(void)
{
    static const char *const id[7] = {"g", "b", "c", "d", "e", "f", "a"};
    static const double value[7] = {3, 1, NAN, 9, 4, 1, 3}; /* finite ones: 1 1 3 3 4 9, median 3 */
    int64_t index[DG_PICKS];
    dg_figure_pick_cases(id, value, 7, false, index);
    DG_CHECK(index[DG_PICK_MEDIAN] == 6 && index[DG_PICK_WORST] == 3 && index[DG_PICK_BEST] == 1);
    dg_figure_pick_cases(id, value, 7, true, index);
    DG_CHECK(index[DG_PICK_MEDIAN] == 6 && index[DG_PICK_WORST] == 1 && index[DG_PICK_BEST] == 3);
    dg_figure_pick_cases(id, value, 1, false, index);
    DG_CHECK(index[DG_PICK_MEDIAN] == 0 && index[DG_PICK_WORST] == -1 && index[DG_PICK_BEST] == -1);
    dg_figure_pick_cases(id, value, 2, false, index); /* the median is one of the two */
    DG_CHECK(index[DG_PICK_MEDIAN] == 1 && index[DG_PICK_WORST] == 0 && index[DG_PICK_BEST] == -1);
    dg_figure_pick_cases(id, value + 2, 1, false, index);
    DG_CHECK(index[DG_PICK_MEDIAN] == -1 && index[DG_PICK_WORST] == -1);
}

static void test_cohort_figures(void)
{
    dg_figure_result result;
    static const double none[3] = {NAN, NAN, NAN}, a[3] = {1, 2, 4}, b[3] = {2, NAN, 3};
    dg_figure_gamma_bar bar[3] = {
        {HOSTILE, HOSTILE, 90, 5, 3}, {HOSTILE, "2 %/2 mm", 80, NAN, 3}, {"PTV", HOSTILE, NAN, NAN, 0}};
    DG_CHECK_OK(dg_figure_gamma_bar_chart(&both, &(dg_figure_gamma_bars){bar, 3, 95}, &result));
    DG_CHECK(result.drawn && strstr(result.caption, "project target") != NULL);
    check_files("fig5_gamma_bar_chart", 2160, true);
    DG_CHECK_OK(dg_figure_gamma_bar_chart(&both, &(dg_figure_gamma_bars){bar + 2, 1, 95}, &result));
    DG_CHECK(!result.drawn && result.reason[0] != '\0');

    dg_figure_box box[3] = {{HOSTILE, a, 3}, {"b", b, 3}, {"none", none, 3}};
    dg_figure_box_panel panel[2] = {{HOSTILE, HOSTILE, box, 3, 0}, {"empty", NULL, box + 2, 1, NAN}};
    DG_CHECK_OK(dg_figure_per_case_boxplots(&both, panel, 2, &result));
    DG_CHECK(result.drawn);
    check_files("fig6_per_case_boxplots", 2160, true);
    DG_CHECK_OK(dg_figure_per_case_boxplots(&both, panel + 1, 1, &result));
    DG_CHECK(!result.drawn);

    static const char *const text[2] = {HOSTILE, "%s%n"};
    dg_figure_constraint_cell cell[4] = {{{DG_VERDICT_PASS, DG_VERDICT_FAIL}, -12},
                                         {{DG_VERDICT_FAIL, DG_VERDICT_PASS}, 200},
                                         {{DG_VERDICT_NOT_EVALUATED, DG_VERDICT_NOT_EVALUATED}, NAN},
                                         {{DG_VERDICT_PASS, DG_VERDICT_PASS}, 3}};
    dg_figure_constraint_map map = {HOSTILE, text, text, cell, 2, 2};
    DG_CHECK_OK(dg_figure_constraint_heat_map(&both, &map, &result));
    DG_CHECK(result.drawn && strstr(result.caption, "3 of 4 cells") != NULL);
    check_files("fig7_quantec_compliance", 2160, true);
    map.cell = cell + 2;
    map.rows = map.cases = 1;
    DG_CHECK_OK(dg_figure_constraint_heat_map(&both, &map, &result));
    DG_CHECK(!result.drawn);

    dg_figure_mirror_pair pair[2] = {{HOSTILE, "Femur_R", {a, b}, {b, a}, 3}, {"x", "y", {a, none}, {a, a}, 3}};
    DG_CHECK_OK(dg_figure_asymmetry(&both, pair, 2, &result));
    DG_CHECK(result.drawn);
    check_files("fig8_femur_asymmetry", 2160, true);
    DG_CHECK_OK(dg_figure_asymmetry(&both, pair + 1, 1, &result));
    DG_CHECK(!result.drawn);

    dg_figure_seed_run run[3] = {{HOSTILE, 42, a}, {"other", 42, a}, {HOSTILE, -7, b}};
    dg_figure_seeds seeds = {HOSTILE, "Gy", run, 3, 3, 2};
    DG_CHECK_OK(dg_figure_seed_variability(&both, &seeds, 1, &result));
    DG_CHECK(result.drawn);
    check_files("fig10_seed_variability", 2160, true);
    seeds.runs = 2; /* one seed a condition */
    DG_CHECK_OK(dg_figure_seed_variability(&both, &seeds, 1, &result));
    DG_CHECK(!result.drawn && strstr(result.reason, "two seeds") != NULL);
}

/* A program named gnuplot in a folder of its own, which becomes the PATH. */
static void fake_gnuplot(const char *script)
{
    char bin[512], path[1024];
    snprintf(bin, sizeof bin, "%s/bin", folder);
    DG_CHECK_OK(dg_make_folder(bin));
    snprintf(path, sizeof path, "%s/gnuplot", bin);
    DG_CHECK_OK(dg_file_write(path, script, (int64_t)strlen(script)));
    DG_CHECK(chmod(path, 0700) == 0 && setenv("PATH", bin, 1) == 0);
}

static dg_status draw_something(const dg_figure_output *output)
{
    static const double value[3] = {1, 2, 3};
    dg_figure_box box = {HOSTILE, value, 3};
    dg_figure_result result;
    dg_status status = dg_figure_per_case_boxplots(output, &(dg_figure_box_panel){"t", "Gy", &box, 1, NAN}, 1, &result);
    DG_CHECK(result.drawn == (status == DG_OK));
    return status;
}

static void test_gnuplot_faults(void)
{
    char kept[DG_PATH_MAX], copy[1200];
    snprintf(kept, sizeof kept, "%s", getenv("PATH"));
    fake_gnuplot("#!/bin/sh\necho 'line 3: cannot go on' >&2\nexit 1\n");
    DG_CHECK_FAILS(draw_something(&both), DG_ERR_IO, "exit code 1: line 3: cannot go on");
    fake_gnuplot("#!/bin/sh\nexit 0\n");
    DG_CHECK_FAILS(draw_something(&both), DG_ERR_IO, "without writing");
    fake_gnuplot("#!/bin/sh\nprintf hello > figure.png; printf hello > figure.pdf\n");
    DG_CHECK_FAILS(draw_something(&both), DG_ERR_IO, "no PNG file");
    fake_gnuplot("#!/bin/sh\nkill -SEGV $$\n");
    DG_CHECK_FAILS(draw_something(&both), DG_ERR_IO, "signal 11");
    fake_gnuplot("#!/bin/sh\necho 'unknown or ambiguous terminal type' >&2\nexit 1\n");
    DG_CHECK_FAILS(draw_something(&both), DG_ERR_UNSUPPORTED, "gnuplot-nox");
    /* Hangs, with a child of its own that holds on too: both are stopped in time. */
    fake_gnuplot("#!/bin/sh\necho begun\n/bin/sleep 71 & echo $! > \"$DG_TEST_CHILD\"\nwait\n");
    snprintf(copy, sizeof copy, "%s/child", folder);
    setenv("DG_TEST_CHILD", copy, 1);
    dg_figure_output hasty = both;
    hasty.deadline_s = 0.7;
    double start_s = dg_time_s();
    DG_CHECK_FAILS(draw_something(&hasty), DG_ERR_IO, "within 0.7 s and was stopped: begun");
    DG_CHECK(dg_time_s() - start_s < 20);
    int64_t length;
    char *child = slurp("child", &length), state[64];
    snprintf(state, sizeof state, "/proc/%d/stat", atoi(child));
    bool alive = true;
    for (int i = 0; i < 500 && alive; i++, usleep(10000)) {
        FILE *stat_file = fopen(state, "r");
        char letter = 'X';
        if (stat_file != NULL && fscanf(stat_file, "%*d %*s %c", &letter) != 1) letter = 'X';
        if (stat_file != NULL) fclose(stat_file);
        alive = stat_file != NULL && letter != 'Z' && letter != 'X'; /* a zombie waits for init alone */
    }
    DG_CHECK(atoi(child) > 1 && !alive);
    dg_free(&child);
    setenv("PATH", folder, 1);
    DG_CHECK_FAILS(draw_something(&both), DG_ERR_UNSUPPORTED, "gnuplot-nox");
    DG_CHECK_FAILS(dg_figures_available(), DG_ERR_UNSUPPORTED, "gnuplot-nox");
    setenv("PATH", kept, 1);
    DG_CHECK_OK(dg_figures_available());
}

/* What gnuplot is given is the same every time, and so is what it makes of it; no byte of case text is bare in the script. */
static void test_deterministic(void)
{
    char path[DG_PATH_MAX], script[2048];
    int64_t length[4];
    char *text[4];
    snprintf(path, sizeof path, "%s", getenv("PATH"));
    snprintf(script, sizeof script, "#!/bin/sh\n/bin/cat run.gp figure.gp *.dat >> '%s/seen'\nexit 1\n", folder);
    fake_gnuplot(script);
    for (int k = 0; k < 2; k++) {
        DG_CHECK_FAILS(draw_something(&both), DG_ERR_IO, "it said nothing");
        text[k] = slurp("seen", &length[k]);
    }
    DG_CHECK(length[0] > 1000 && length[1] == 2 * length[0] &&
             memcmp(text[1] + length[0], text[0], (size_t)length[0]) == 0);
    DG_CHECK(holds(text[0], length[0], "pngcairo noenhanced") && holds(text[0], length[0], "pdfcairo noenhanced"));
    DG_CHECK(!holds(text[0], length[0], "`") && !holds(text[0], length[0], "$(") &&
             !holds(text[0], length[0], "@pwned") && !holds(text[0], length[0], "{/Bold") &&
             !holds(text[0], length[0], "system(\""));
    dg_free(&text[0]);
    dg_free(&text[1]);
    setenv("PATH", path, 1);
    for (int k = 0; k < 2; k++) {
        DG_CHECK_OK(draw_something(&both));
        text[2 * k] = slurp("fig6_per_case_boxplots.png", &length[2 * k]);
        text[2 * k + 1] = slurp("fig6_per_case_boxplots.pdf", &length[2 * k + 1]);
    }
    DG_CHECK(length[0] == length[2] && memcmp(text[0], text[2], (size_t)length[0]) == 0);
    DG_CHECK(length[1] == length[3] && memcmp(text[1], text[3], (size_t)length[1]) == 0);
    for (int k = 0; k < 4; k++) dg_free(&text[k]);
}

static void test_usage(void)
{
    dg_figure_output output = both;
    output.png = output.pdf = false;
    DG_CHECK_FAILS(draw_something(&output), DG_ERR_USAGE, "neither PNG nor PDF");
    output = both;
    output.deadline_s = 0;
    DG_CHECK_FAILS(draw_something(&output), DG_ERR_USAGE, "not positive");
    output = both;
    output.folder = "/nowhere/at/all";
    DG_CHECK_FAILS(draw_something(&output), DG_ERR_IO, "/nowhere/at/all");
}

int main(void)
{
    const char *temporary = getenv("TMPDIR");
    char inner[300], command[400];
    snprintf(folder, sizeof folder, "%.200s/dosegrid-t660-XXXXXX", temporary != NULL ? temporary : "/tmp");
    DG_CHECK(mkdtemp(folder) != NULL);
    both = (dg_figure_output){folder, true, true, 60, 0};
    if (dg_figures_available() != DG_OK) {
        puts("gnuplot is not installed (Debian package gnuplot-nox): skipped");
        rmdir(folder);
        return DG_TEST_SKIPPED;
    }
    snprintf(inner, sizeof inner, "%s/tmp", folder); /* gnuplot's folders are made here, and must be gone after */
    DG_CHECK_OK(dg_make_folder(inner));
    setenv("TMPDIR", inner, 1);
    test_case_figures();
    test_contact();
    test_training();
    test_picks();
    test_cohort_figures();
    test_usage();
    test_gnuplot_faults();
    test_deterministic();
    DG_CHECK(count_entries(inner, "") == 2); /* . and .. */
    DG_CHECK(count_entries(".", "pwned") == 0 && count_entries(folder, "pwned") == 0);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    DG_CHECK(system(command) == 0);
    return 0;
}
