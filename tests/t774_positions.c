/* ctest: libs=test_dicom,dg_h5,dg_formats,dg_grid,dg_base label=slow timeout=120 */
/* t774_positions.c - one patient scanned and planned in each of the four positions (HFS, HFP, FFS, FFP), through `dosegrid
 * import`: at the same point of the patient the same dose, CT number and structures, which are those that were put there.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_cohort.h"
#include "test_dicom.h"
#include "test_program.h"

#include <math.h>

enum { POSITIONS = 4 };
static const char *const position[POSITIONS] = {"HFS", "HFP", "FFS", "FFP"};

static const char mapping[] = "format: dosegrid-mapping\nversion: 1\nname: positions\nstructures:\n"
                              "  - {name: PTV70, role: target, required: true}\n  - {name: Rectum, role: oar}\n";

/* The doses reach six voxels beyond the CT, where the splines feel their ends no more; each has a grid of its own. */
static void write_patients(void)
{
    DG_CHECK(shell("mkdir tree") == 0);
    for (int p = 0; p < POSITIONS; p++) {
        char folder[32];
        snprintf(folder, sizeof folder, "tree/%s", position[p]);
        DG_CHECK(shell("mkdir %s", folder) == 0);
        dicom_case c = dicom_case_make(folder);
        c.turn = p;
        c.patient = position[p];
        for (int a = 0; a < 3; a++) {
            c.dose_shape[a] = 20;
            c.dose_origin[a] = c.origin[a] - 6 * c.dose_spacing[a];
        }
        c.dose_descending = p % 2 == 1;
        dicom_case_write(&c);
    }
    DG_CHECK_OK(dg_file_write("m.yaml", mapping, (int64_t)strlen(mapping)));
}

typedef struct volume {
    dg_grid grid;
    float *gy, *hu;
    uint64_t *masks;
} volume;

static volume read_volume(const dg_cohort *cohort, int64_t index)
{
    dg_case *c;
    volume v;
    DG_CHECK_OK(dg_case_open(cohort, index, &c));
    const dg_case_info *info = dg_case_get_info(c);
    v.grid = info->grid;
    DG_CHECK(info->has_dose && info->structure_count == 2);
    const dg_box all = {{0, 0, 0}, {v.grid.shape[0], v.grid.shape[1], v.grid.shape[2]}};
    const int64_t voxels = dg_grid_voxels(&v.grid);
    DG_CHECK(dg_box_voxels(&info->dose_box) == voxels); /* the dose is known everywhere */
    DG_CHECK_OK(DG_NEW(&v.gy, voxels, "dose"));
    DG_CHECK_OK(DG_NEW(&v.hu, voxels, "CT"));
    DG_CHECK_OK(DG_NEW(&v.masks, voxels, "masks"));
    DG_CHECK_OK(dg_case_read(c, DG_FIELD_DOSE_GY, 0, &all, v.gy));
    DG_CHECK_OK(dg_case_read(c, DG_FIELD_CT_HU, 0, &all, v.hu));
    DG_CHECK_OK(dg_case_read_mask_bits(c, &all, v.masks));
    dg_case_close(&c);
    return v;
}

/* The voxel of `v` whose centre is this point of the patient. */
static int64_t voxel_at(const volume *v, const double point[3])
{
    int64_t at[3];
    for (int a = 0; a < 3; a++) {
        const double index = (point[a] - v->grid.origin_mm[a]) / v->grid.spacing_mm[a];
        at[a] = (int64_t)nearbyint(index);
        DG_CHECK_NEAR(index, (double)at[a], 1e-6);
        DG_CHECK(at[a] >= 0 && at[a] < v->grid.shape[a]);
    }
    return dg_grid_index(&v->grid, at[0], at[1], at[2]);
}

/* On every slice a square of 2.25 mm about the point (14, -15.5), on the third an annulus from 1.25 to 3.25 mm. */
static uint64_t masks_at(const double point[3])
{
    const double off = fmax(fabs(point[1] - 14), fabs(point[2] + 15.5));
    const bool rectum = point[0] == 11 && off > 1.25 && off < 3.25;
    return (off < 2.25 ? 1U : 0U) | (rectum ? 2U : 0U);
}

static void compare(const volume *v)
{
    int64_t target = 0;
    for (int64_t i = 0; i < dg_grid_voxels(&v[0].grid); i++) {
        const int64_t x = i % v->grid.shape[2], zy = i / v->grid.shape[2];
        const double index[3] = {(double)(zy / v->grid.shape[1]), (double)(zy % v->grid.shape[1]), (double)x};
        double point[3];
        dg_grid_point(&v[0].grid, index, point);
        DG_CHECK_NEAR(v[0].gy[i], dicom_gy_at(point[0], point[1], point[2]), 2e-3);
        DG_CHECK(v[0].masks[i] == masks_at(point));
        DG_CHECK(v[0].hu[i] == (float)dicom_hu_at(point[0], point[1], point[2]));
        target += v[0].masks[i] & 1;
        for (int p = 1; p < POSITIONS; p++) {
            const int64_t same = voxel_at(&v[p], point);
            DG_CHECK_NEAR(v[p].gy[same], v[0].gy[i], 1e-5);
            DG_CHECK(v[p].hu[same] == v[0].hu[i] && v[p].masks[same] == v[0].masks[i]);
        }
    }
    DG_CHECK(target > 0);
}

int main(void)
{
    dg_cohort *cohort;
    volume v[POSITIONS];
    program_begin();
    write_patients();
    program_runs(0, "import tree -o cohort --mapping m.yaml --salt pepper", "4 cases imported");
    for (int p = 0; p < POSITIONS; p++) /* each was read as what it is */
        DG_CHECK(shell("test $(grep -l '\"position\": \"%s\"' cohort/validation/*.json | wc -l) = 1", position[p]) ==
                 0);
    DG_CHECK_OK(dg_cohort_open("cohort", &cohort));
    DG_CHECK(dg_cohort_count(cohort) == POSITIONS);
    for (int p = 0; p < POSITIONS; p++) v[p] = read_volume(cohort, p);
    compare(v);
    for (int p = 0; p < POSITIONS; p++) {
        dg_free(&v[p].gy);
        dg_free(&v[p].hu);
        dg_free(&v[p].masks);
    }
    dg_cohort_close(&cohort);
    program_end();
    return 0;
}
