/* ctest: libs=dg_formats,dg_grid,dg_base label=unit timeout=60 */
/* t134_dicom_write.c - predicted doses, plans and structures as DICOM, read back by our own reader: the same dose and the same
 * masks at the same place for all four patient positions, marked for what they are, and refused where they would belong to
 * another patient. The references are CTs made by ../shared/data/make_dicom.py, no patients.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_dicom_write.h"
#include "dg_file.h"
#include "dg_mem.h"
#include "dg_raster.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STRUCTURES = 4 };
static const char *const position[4] = {"hfs", "hfp", "ffs", "ffp"};
static const char weights[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
static const char mark[] = "PREDICTED DOSE - NOT CALCULATED - RESEARCH USE v" DG_VERSION " w01234567";
static char data_folder[DG_PATH_MAX];

static const dg_structure structure[STRUCTURES] = {{.name = "PTV70", .role = DG_ROLE_TARGET},
                                                   {.name = "Ring", .role = DG_ROLE_OAR},
                                                   {.name = "Nothing", .role = DG_ROLE_OAR},
                                                   {.name = "Body\\1", .role = DG_ROLE_BODY}};

/* A reference and what is written for it; the dose tells its place in the patient. */
typedef struct set {
    dg_dicom_context context;
    dg_dicom_tree tree;
    dg_dicom_ct ct;
    dg_dicom_writer *writer;
    float *gy;
    uint64_t *bits;
} set;

static double dose_at(const double point_zyx[3])
{
    return 0.1 + 40 + point_zyx[0] / 7 + point_zyx[1] / 11 - point_zyx[2] / 13;
}

static void open_set(const char *which, set *s)
{
    char folder[DG_PATH_MAX];
    *s = (set){.context = {.case_id = "case-a"}};
    DG_CHECK_OK(dg_path_join(folder, data_folder, which));
    DG_CHECK_OK(dg_dicom_scan(&s->context, folder, &s->tree));
    DG_CHECK(s->tree.case_count == 1 && s->tree.cases[0].ct.count == 8);
    DG_CHECK_OK(dg_dicom_read_ct(&s->context, &s->tree.cases[0].ct, &s->ct));
    DG_CHECK_OK(dg_dicom_writer_create(&s->context, &s->tree.cases[0].ct, weights, &s->writer));
    const dg_grid *g = &s->ct.grid;
    DG_CHECK_OK(DG_NEW(&s->gy, dg_grid_voxels(g), "dose"));
    DG_CHECK_OK(DG_NEW(&s->bits, dg_grid_voxels(g), "masks"));
    for (int64_t z = 0; z < g->shape[0]; z++)
        for (int64_t y = 0; y < g->shape[1]; y++)
            for (int64_t x = 0; x < g->shape[2]; x++) {
                const double index[3] = {(double)z, (double)y, (double)x};
                const int64_t i = dg_grid_index(g, z, y, x), far = llabs(y - 7) + llabs(x - 9);
                double point[3];
                dg_grid_point(g, index, point);
                s->gy[i] = (float)dose_at(point);
                s->bits[i] = 8 | (z > 2 && far < 4 ? 1 : 0) | (z != 4 && (far == 3 || far == 4 || far == 0) ? 2 : 0);
            }
}

static void close_set(set *s)
{
    dg_dicom_writer_destroy(&s->writer);
    dg_dicom_ct_release(&s->ct);
    dg_dicom_tree_release(&s->tree);
    dg_free(&s->gy);
    dg_free(&s->bits);
}

static void check_grid(const dg_grid *a, const dg_grid *b)
{
    for (int k = 0; k < 3; k++) {
        DG_CHECK(a->shape[k] == b->shape[k]);
        DG_CHECK_NEAR(a->spacing_mm[k], b->spacing_mm[k], 1e-9);
        DG_CHECK_NEAR(a->origin_mm[k], b->origin_mm[k], 1e-9);
    }
    for (int k = 0; k < 9; k++) DG_CHECK_NEAR(a->direction[k], b->direction[k], 1e-12);
}

static void check_dose(set *s, int bits, const char *path)
{
    char *paths[1] = {(char *)(uintptr_t)path};
    const dg_dicom_files files = {.path = paths, .count = 1};
    dg_dicom_dose back;
    double worst = 0;
    DG_CHECK_OK(dg_dicom_write_dose(&s->context, s->writer, &s->ct.grid, s->gy, bits, path));
    DG_CHECK_OK(dg_dicom_read_dose(&s->context, &files, NULL, s->ct.frame_key, &back));
    check_grid(&back.grid, &s->ct.grid);
    for (int64_t i = 0; i < dg_grid_voxels(&back.grid); i++) worst = fmax(worst, fabs((double)back.gy[i] - s->gy[i]));
    /* Half a step of the pixels, and a rounding to float. */
    DG_CHECK(worst < (bits == 32 ? 1e-5 : 0.51 * 80 / 65535));
    DG_CHECK(strcmp(back.summation, "PLAN") == 0 && strcmp(back.type, "PHYSICAL") == 0);
    dg_dicom_dose_release(&back);
}

/* Contours of one ROI, filled again. */
static void check_roi(const set *s, const dg_dicom_roi *roi, int row)
{
    const dg_grid *g = &s->ct.grid;
    double z[64];
    dg_contour contour[256];
    uint8_t *mask;
    dg_raster_report told;
    for (int64_t k = 0; k < g->shape[0]; k++) z[k] = g->origin_mm[0] + (double)k * g->spacing_mm[0];
    DG_CHECK(roi->contour_count <= 256);
    for (int64_t k = 0; k < roi->contour_count; k++) {
        DG_CHECK(roi->contours[k].type == DG_DICOM_CLOSED_PLANAR);
        contour[k] = (dg_contour){.points_xyz_mm = roi->contours[k].points_xyz_mm, .count = roi->contours[k].count};
    }
    const dg_raster_slices slices = {.rows = g->shape[1],
                                     .columns = g->shape[2],
                                     .count = g->shape[0],
                                     .spacing_mm = {g->spacing_mm[1], g->spacing_mm[2]},
                                     .origin_mm = {g->origin_mm[1], g->origin_mm[2]},
                                     .slice_z_mm = z};
    DG_CHECK_OK(DG_NEW(&mask, dg_grid_voxels(g), "mask"));
    for (int rule = DG_RASTER_EVEN_ODD; rule <= DG_RASTER_UNION_UPSTREAM; rule++) {
        DG_CHECK_OK(dg_raster_contours(contour, roi->contour_count, &slices, (dg_raster_rule)rule, mask, &told));
        DG_CHECK(told.left_out == 0 && told.sub_voxel == 0);
        for (int64_t i = 0; i < dg_grid_voxels(g); i++) DG_CHECK(mask[i] == (s->bits[i] >> row & 1));
    }
    dg_free(&mask);
}

static void check_structures(set *s, const char *path)
{
    static const int row_of[3] = {0, 1, 3};
    static const char *const names[3] = {"PTV70", "Ring", "Body_1"}, *const types[3] = {"PTV", "ORGAN", "EXTERNAL"};
    char *paths[1] = {(char *)(uintptr_t)path};
    const dg_dicom_files files = {.path = paths, .count = 1};
    dg_dicom_structures back;
    int written = 0;
    DG_CHECK_OK(
        dg_dicom_write_structures(&s->context, s->writer, &s->ct.grid, structure, STRUCTURES, s->bits, path, &written));
    DG_CHECK(written == 3);
    DG_CHECK_OK(dg_dicom_read_structures(&s->context, &files, s->ct.frame_key, &back));
    DG_CHECK(back.roi_count == 3);
    for (int k = 0; k < 3; k++) {
        DG_CHECK(strcmp(back.rois[k].name, names[k]) == 0 && strcmp(back.rois[k].interpreted_type, types[k]) == 0);
        check_roi(s, &back.rois[k], row_of[k]);
    }
    dg_dicom_structures_release(&back);
}

/* True when the file holds the words, byte by byte. */
static bool holds(const char *path, const char *words)
{
    char *bytes;
    int64_t length;
    DG_CHECK_OK(dg_file_read(path, "object", 1 << 24, &bytes, &length));
    const bool found = memmem(bytes, (size_t)length, words, strlen(words)) != NULL;
    dg_free(&bytes);
    return found;
}

static void test_positions(void)
{
    for (int p = 0; p < 4; p++) {
        set s;
        open_set(position[p], &s);
        check_structures(&s, "t134-rtstruct.dcm");
        DG_CHECK_OK(dg_dicom_write_plan(&s.context, s.writer, 35, "t134-rtplan.dcm"));
        check_dose(&s, 32, "t134-rtdose.dcm");
        check_dose(&s, 16, "t134-rtdose16.dcm");
        const char *const marked[3] = {"t134-rtplan.dcm", "t134-rtdose.dcm", "t134-rtdose16.dcm"};
        for (int k = 0; k < 3; k++) DG_CHECK(holds(marked[k], mark) && holds(marked[k], weights));
        DG_CHECK(holds("t134-rtplan.dcm", "UNAPPROVED") && holds("t134-rtplan.dcm", "PREDICTED - NOT CALCULATED"));
        DG_CHECK(holds("t134-rtstruct.dcm", "UNAPPROVED") && !holds("t134-rtstruct.dcm", "case-a"));
        char patient[8];
        snprintf(patient, sizeof patient, "%s", position[p]);
        DG_CHECK(holds("t134-rtdose.dcm", patient)); /* the reference's patient id */
        close_set(&s);
    }
}

/* What was written makes a case of its own: the dose refers to the new plan, this to the structures, these to the CT. */
static void test_references(void)
{
    set s;
    dg_dicom_context context = {.case_id = "case-a"};
    dg_dicom_tree tree;
    char command[2 * DG_PATH_MAX + 64];
    open_set("hfp", &s);
    snprintf(command, sizeof command, "rm -rf t134-set && mkdir t134-set && cp %s/hfp/CT_* t134-set", data_folder);
    DG_CHECK(system(command) == 0);
    DG_CHECK_OK(dg_dicom_write_structures(&s.context, s.writer, &s.ct.grid, structure, STRUCTURES, s.bits,
                                          "t134-set/RTSTRUCT.dcm", NULL));
    DG_CHECK_OK(dg_dicom_write_plan(&s.context, s.writer, 0, "t134-set/RTPLAN.dcm"));
    DG_CHECK_OK(dg_dicom_write_dose(&s.context, s.writer, &s.ct.grid, s.gy, 32, "t134-set/RTDOSE.dcm"));
    DG_CHECK_OK(dg_dicom_scan(&context, "t134-set", &tree));
    DG_CHECK(tree.case_count == 1 && tree.counts.unused == 0 && tree.counts.damaged == 0);
    DG_CHECK(tree.cases[0].flaw == DG_DICOM_FLAW_NONE && tree.cases[0].ct.count == 8);
    DG_CHECK(tree.cases[0].structures.count == 1 && tree.cases[0].plans.count == 1 && tree.cases[0].doses.count == 1);
    dg_dicom_tree_release(&tree);
    /* The clinical plan instead, on request. */
    DG_CHECK_OK(dg_dicom_link_plan(&s.context, s.writer, &s.tree.cases[0].plans));
    DG_CHECK_OK(dg_dicom_write_dose(&s.context, s.writer, &s.ct.grid, s.gy, 32, "t134-linked.dcm"));
    set other;
    open_set("ffs", &other);
    DG_CHECK_FAILS(dg_dicom_link_plan(&s.context, s.writer, &other.tree.cases[0].plans), DG_ERR_DATA,
                   "not of the CT's patient");
    close_set(&other);
    close_set(&s);
}

static void test_refusals(void)
{
    set s, other;
    dg_dicom_writer *none;
    open_set("hfs", &s);
    open_set("ffp", &other);
    DG_CHECK_FAILS(dg_dicom_write_dose(&s.context, s.writer, &s.ct.grid, s.gy, 32, "t134-none.dcm"), DG_ERR_USAGE,
                   "needs the weights that predicted it, a plan");
    DG_CHECK_OK(dg_dicom_write_plan(&s.context, s.writer, 0, "t134-rtplan.dcm"));
    DG_CHECK_FAILS(dg_dicom_write_dose(&s.context, s.writer, &s.ct.grid, s.gy, 24, "t134-none.dcm"), DG_ERR_USAGE,
                   "16 or 32 bits");
    s.gy[5] = -1;
    DG_CHECK_FAILS(dg_dicom_write_dose(&s.context, s.writer, &s.ct.grid, s.gy, 32, "t134-none.dcm"), DG_ERR_DATA,
                   "-1 Gy at voxel 5");
    DG_CHECK(strcmp(s.context.rule, "dose-values") == 0);
    s.gy[5] = NAN;
    DG_CHECK_FAILS(dg_dicom_write_dose(&s.context, s.writer, &s.ct.grid, s.gy, 32, "t134-none.dcm"), DG_ERR_DATA,
                   "at voxel 5");
    s.gy[5] = 1;
    dg_grid turned = s.ct.grid;
    turned.direction[0] = turned.direction[4] = -1;
    DG_CHECK_FAILS(dg_dicom_write_dose(&s.context, s.writer, &turned, s.gy, 32, "t134-none.dcm"), DG_ERR_UNSUPPORTED,
                   "turned");
    DG_CHECK_FAILS(dg_dicom_write_dose(&s.context, s.writer, &s.ct.grid, s.gy, 32, "/nowhere/t134.dcm"), DG_ERR_IO,
                   "new dose of case case-a");
    DG_CHECK(!dg_file_exists("t134-none.dcm") && !dg_file_exists("t134-none.dcm.tmp"));
    char *mixed[2] = {s.tree.cases[0].ct.path[0], other.tree.cases[0].ct.path[1]};
    const dg_dicom_files files = {.path = mixed, .count = 2}, nothing = {.count = 0};
    DG_CHECK_FAILS(dg_dicom_writer_create(&s.context, &files, weights, &none), DG_ERR_DATA, "not one CT series");
    DG_CHECK(none == NULL && strcmp(s.context.rule, "reference-series") == 0);
    DG_CHECK_FAILS(dg_dicom_writer_create(&s.context, &nothing, weights, &none), DG_ERR_DATA, "there is no CT");
    memset(s.bits, 0, (size_t)dg_grid_voxels(&s.ct.grid) * sizeof *s.bits);
    DG_CHECK_FAILS(dg_dicom_write_structures(&s.context, s.writer, &s.ct.grid, structure, STRUCTURES, s.bits,
                                             "t134-none.dcm", NULL),
                   DG_ERR_DATA, "no structure has voxels");
    close_set(&other);
    close_set(&s);
}

/* A dose of nothing can be written, but is none to those who read it; the largest value of any range is within half a step of itself. */
static void test_scaling(void)
{
    set s;
    open_set("hfs", &s);
    DG_CHECK_OK(dg_dicom_write_plan(&s.context, s.writer, 0, "t134-rtplan.dcm"));
    const int64_t voxels = dg_grid_voxels(&s.ct.grid);
    for (int k = 0; k < 40; k++) {
        char *paths[1] = {(char *)(uintptr_t) "t134-scaled.dcm"};
        const dg_dicom_files files = {.path = paths, .count = 1};
        const double top = k == 0 ? 0 : 400 * pow(0.77, k);
        dg_dicom_dose back;
        for (int64_t i = 0; i < voxels; i++) s.gy[i] = (float)(top * (double)i / (double)(voxels - 1));
        DG_CHECK_OK(dg_dicom_write_dose(&s.context, s.writer, &s.ct.grid, s.gy, 32, "t134-scaled.dcm"));
        if (top == 0) {
            DG_CHECK_FAILS(dg_dicom_read_dose(&s.context, &files, NULL, NULL, &back), DG_ERR_DATA, "rtdose-zero");
            continue;
        }
        DG_CHECK_OK(dg_dicom_read_dose(&s.context, &files, NULL, NULL, &back));
        for (int64_t i = 0; i < voxels; i++) DG_CHECK(fabs((double)back.gy[i] - s.gy[i]) <= 1e-7 * top + 2e-9);
        dg_dicom_dose_release(&back);
    }
    close_set(&s);
}

int main(void)
{
    const char *source = getenv("DG_TEST_SOURCE");
    DG_CHECK_OK(dg_path_join(data_folder, source != NULL ? source : ".", "tests/data/dicom_positions"));
    test_positions();
    test_references();
    test_refusals();
    test_scaling();
    DG_CHECK(system("rm -rf t134-set t134-*.dcm") == 0);
    return 0;
}
