/* ctest: sources=src/base/*.c,src/grid/dg_grid.c,src/formats/rt_plan.c,src/formats/dicom/dicom_[a-v]*.cc headers=src/formats pkg=jansson,yaml-0.1,libcrypto,zlib lib=dcmjpeg,dcmimgle,dcmdata,oflog,ofstd seconds=20 */
/* fuzz_dicom.c - a folder of any files: it is scanned, and what its candidates hold is read or refused by rule, within bounds of
 * memory. An input is up to 12 files: a number of two bytes says how long each is. SPDX-License-Identifier: Apache-2.0 */
#include "dg_dicom.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILES = 12 };

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void must(bool condition)
{
    if (!condition) abort();
}

static void check_refusal(dg_status status)
{
    must(status == DG_OK || dg_error_last()->text[0] != '\0');
    must(status != DG_ERR_INTERNAL);
}

static void check_grid(const dg_grid *grid, const float *values)
{
    const int64_t voxels = dg_grid_voxels(grid);
    must(voxels >= 2 && voxels <= 1 << 20 && dg_grid_check(grid) == DG_OK);
    volatile float last = values[voxels - 1];
    (void)last;
}

static void check_structures(const dg_dicom_structures *set)
{
    int64_t contours = 0, points = 0;
    for (int64_t k = 0; k < set->roi_count; k++) {
        must(strlen(set->rois[k].name) < DG_DICOM_NAME);
        for (int64_t c = 0; c < set->rois[k].contour_count; c++) {
            const dg_dicom_contour *contour = &set->rois[k].contours[c];
            must(contour->count > 0 && isfinite(contour->z_mm) && contour->z_range_mm >= 0);
            must(isfinite(contour->points_xyz_mm[3 * contour->count - 1]));
            points += contour->count;
        }
        contours += set->rois[k].contour_count;
    }
    must(contours == set->contour_count && points == set->point_count);
}

static void check_plan(const dg_dicom_plan *plan)
{
    for (int64_t k = 0; k < plan->beam_count; k++) {
        const dg_dicom_beam *beam = &plan->beams[k];
        const int64_t last = beam->control_points - 1;
        if (last < 0) continue;
        volatile double sum = beam->gantry_deg[last] + beam->jaw_y2[last] + beam->weight[last];
        if (beam->mlc_b != NULL) sum += beam->mlc_b[(last + 1) * beam->leaf_pairs - 1];
        if (beam->leaf_boundaries != NULL) sum += beam->leaf_boundaries[beam->leaf_pairs];
        (void)sum;
    }
}

static void read_case(dg_dicom_context *context, const dg_dicom_case *one)
{
    dg_dicom_ct ct;
    dg_dicom_structures set;
    dg_dicom_plan plan;
    dg_dicom_dose dose;
    check_refusal(dg_dicom_case_check(context, one));
    dg_status status = dg_dicom_read_ct(context, &one->ct, &ct);
    check_refusal(status);
    if (status == DG_OK) check_grid(&ct.grid, ct.hu);
    dg_dicom_ct_release(&ct);
    status = dg_dicom_read_structures(context, &one->structures, NULL, &set);
    check_refusal(status);
    if (status == DG_OK) check_structures(&set);
    dg_dicom_structures_release(&set);
    const dg_status planned = dg_dicom_read_plan(context, &one->plans, &plan);
    check_refusal(planned);
    if (planned == DG_OK) check_plan(&plan);
    status = dg_dicom_read_dose(context, &one->doses, planned == DG_OK ? &plan : NULL, NULL, &dose);
    check_refusal(status);
    if (status == DG_OK) check_grid(&dose.grid, dose.gy);
    dg_dicom_dose_release(&dose);
    dg_dicom_plan_release(&plan);
}

static void write_file(const char *folder, int number, const unsigned char *data, size_t size)
{
    char path[96];
    snprintf(path, sizeof path, "%s/%02d", folder, number);
    FILE *file = fopen(path, "wb");
    must(file != NULL && fwrite(data, 1, size, file) == size && fclose(file) == 0);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    char folder[] = "/dev/shm/fuzz-dicom-XXXXXX", path[96];
    dg_dicom_context context = {.case_id = "x",
                                .limits = {.voxels = 1 << 20, .file_bytes = 1 << 24, .points = 1 << 16}};
    dg_dicom_tree tree;
    int count = 0;
    must(mkdtemp(folder) != NULL);
    for (size_t at = 0; at + 2 <= size && count < FILES; count++) {
        size_t length = (size_t)data[at] << 8 | data[at + 1];
        at += 2;
        if (length > size - at) length = size - at;
        write_file(folder, count, data + at, length);
        at += length;
    }
    const dg_status status = dg_dicom_scan(&context, folder, &tree);
    check_refusal(status);
    for (int64_t k = 0; k < tree.case_count; k++) read_case(&context, &tree.cases[k]);
    dg_dicom_tree_release(&tree);
    for (int k = 0; k < count; k++) {
        snprintf(path, sizeof path, "%s/%02d", folder, k);
        must(unlink(path) == 0);
    }
    must(rmdir(folder) == 0);
    return 0;
}
