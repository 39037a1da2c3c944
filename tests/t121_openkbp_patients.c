/* ctest: libs=dg_formats,dg_analysis,dg_grid label=slow timeout=300 */
/* t121_openkbp_patients.c - every OpenKBP patient of ../shared/data/openkbp against its reference numbers. Patients are
 * unpacked one by one into a temporary folder; skipped when the data is not there. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_file.h"
#include "dg_mem.h"
#include "dg_openkbp.h"
#include "dg_openkbp_score.h"

#include <unistd.h>

enum { COLUMNS = 64, WIDTH = 48 };
typedef struct table {
    char name[COLUMNS][WIDTH], value[COLUMNS][WIDTH];
    int columns;
} table;

/* Splits a tab-separated line; returns the number of fields. */
static int split(const char *line, char field[COLUMNS][WIDTH])
{
    int count = 0;
    while (count < COLUMNS) {
        size_t length = strcspn(line, "\t\n");
        snprintf(field[count++], WIDTH, "%.*s", (int)length, line);
        if (line[length] != '\t') break;
        line += length + 1;
    }
    return count;
}

/* Reference number of a column; false when the field is empty (no such structure). */
static bool column(const table *t, const char *name, double *value)
{
    for (int i = 0; i < t->columns; i++)
        if (strcmp(t->name[i], name) == 0) {
            *value = atof(t->value[i]);
            return t->value[i][0] != '\0';
        }
    fprintf(stderr, "reference_metrics.tsv has no column %s\n", name);
    exit(1);
}

static void expect(const table *t, const char *name, double got, double tolerance)
{
    double want = 0;
    DG_CHECK(column(t, name, &want));
    if (fabs(got - want) <= tolerance) return;
    fprintf(stderr, "%s: %s is %.9g, the reference says %.9g\n", t->value[0], name, got, want);
    exit(1);
}

static void check_volume(const table *t, const dg_openkbp_patient *p)
{
    double dose_sum = 0, dose_max = 0, centroid[3] = {0, 0, 0};
    int64_t possible = 0;
    const uint64_t bit = (uint64_t)1 << (p->structure_count - 1);
    for (int64_t i = 0; i < DG_OPENKBP_VOXELS; i++) {
        dose_sum += p->dose_gy[i];
        dose_max = fmax(dose_max, p->dose_gy[i]);
        if ((p->masks[i] & bit) == 0) continue;
        possible++;
        centroid[0] += (double)(i / 128 % 128); /* their axes: posterior, left, feet */
        centroid[1] += (double)(i % 128);
        centroid[2] += (double)(127 - i / 128 / 128);
    }
    expect(t, "possible_voxels", (double)possible, 0);
    expect(t, "dose_sum", dose_sum, 1e-6 * dose_sum);
    expect(t, "dose_max", dose_max, 1e-4);
    expect(t, "dose_voxels_outside_possible", (double)p->dose_outside_possible, 0);
    expect(t, "centroid_axis0", centroid[0] / (double)possible, 1e-4);
    expect(t, "centroid_axis1", centroid[1] / (double)possible, 1e-4);
    expect(t, "centroid_axis2", centroid[2] / (double)possible, 1e-4);
}

static void check_ct(const table *t, const dg_openkbp_patient *p)
{
    int64_t nonzero = 0, sum = 0, top = 0;
    for (int64_t i = 0; i < DG_OPENKBP_VOXELS; i++) {
        int64_t value = p->ct_hu[i] + 1000;
        nonzero += value != 0;
        sum += value;
        top = value > top ? value : top;
    }
    expect(t, "ct_nonzero", (double)nonzero, 0);
    expect(t, "ct_sum", (double)sum, 0);
    expect(t, "ct_max", (double)top, 0);
    expect(t, "ct_noninteger", (double)p->ct_rounded, 0);
}

static void check_structures(const table *t, const dg_openkbp_patient *p)
{
    dg_openkbp_case c = {.reference_gy = p->dose_gy,
                         .prediction_gy = p->dose_gy,
                         .masks = p->masks,
                         .voxels = DG_OPENKBP_VOXELS,
                         .possible_bits = (uint64_t)1 << (p->structure_count - 1),
                         .voxel_mm3 = p->grid.spacing_mm[0] * p->grid.spacing_mm[1] * p->grid.spacing_mm[2]};
    for (int b = 0; b < p->structure_count - 1; b++)
        for (int roi = 0; roi < DG_OPENKBP_ROIS; roi++)
            if (strcmp(dg_openkbp_structure_at(p->row[b])->name, dg_openkbp_roi_name(roi)) == 0)
                c.roi_bits[roi] = (uint64_t)1 << b;
    dg_openkbp_result r;
    DG_CHECK_OK(dg_openkbp_evaluate(&c, &r));
    DG_CHECK(r.dose_error_gy == 0 && r.dvh_error_sum_gy == 0);
    for (int m = 0; m < DG_OPENKBP_METRICS; m++) {
        char name[WIDTH];
        double want;
        const char *metric = dg_openkbp_metric_name(m), *bar = strchr(metric, '|');
        snprintf(name, sizeof name, "%s:%.*s", bar + 1, (int)(bar - metric), metric);
        bool present = column(t, name, &want);
        DG_CHECK(present == !isnan(r.reference_gy[m]));
        if (present) expect(t, name, r.reference_gy[m], 1e-5 * fmax(1, want));
    }
}

static void check_patient(const table *t, const char *data, const char *folder)
{
    const dg_openkbp_options options = {.require_dose = true, .keep_ct = true};
    char command[3 * DG_PATH_MAX], path[DG_PATH_MAX];
    dg_openkbp_patient p;
    snprintf(command, sizeof command, "tar -xJf '%s/%s.tar.xz' -C '%s'", data, t->value[0], folder);
    DG_CHECK(system(command) == 0);
    DG_CHECK_OK(dg_path_join(path, folder, t->value[0]));
    DG_CHECK_OK(dg_openkbp_read(path, t->value[0], &options, &p));
    check_volume(t, &p);
    check_ct(t, &p);
    check_structures(t, &p);
    dg_openkbp_release(&p);
    snprintf(command, sizeof command, "rm -r '%s'", path);
    DG_CHECK(system(command) == 0);
}

int main(void)
{
    const char *source = getenv("DG_TEST_SOURCE");
    char data[DG_PATH_MAX], path[DG_PATH_MAX], folder[] = "/tmp/dosegrid-t121-XXXXXX", line[4096];
    DG_CHECK_OK(dg_path_join(data, source != NULL ? source : ".", "../shared/data/openkbp"));
    DG_CHECK_OK(dg_path_join(path, data, "reference_metrics.tsv"));
    FILE *f = fopen(path, "r");
    if (f == NULL) {
        printf("skipped: ../shared/data/openkbp is not here\n");
        return DG_TEST_SKIPPED;
    }
    table t;
    int patients = 0;
    DG_CHECK(mkdtemp(folder) != NULL && fgets(line, sizeof line, f) != NULL);
    t.columns = split(line, t.name);
    for (; fgets(line, sizeof line, f) != NULL; patients++) {
        DG_CHECK(split(line, t.value) == t.columns);
        check_patient(&t, data, folder);
    }
    fclose(f);
    DG_CHECK(rmdir(folder) == 0 && patients > 0);
    printf("%d patients agree with their reference numbers\n", patients);
    return 0;
}
