/* export_dicom.c - predictions and masks as DICOM-RT beside the CT they belong to: ID/RTPLAN.dcm, ID/RTDOSE.dcm,
 * ID/RTSTRUCT.dcm.
 *
 * The cohort does not hold who the patient is: the reference does. A prediction must not go to another patient, so the
 * reference's CT is read whole and has to be the case's, voxel by voxel. SPDX-License-Identifier: Apache-2.0 */
#include "dg_dicom.h"
#include "dg_dicom_write.h"
#include "dg_file.h"
#include "dg_mem.h"
#include "dg_predictions.h"
#include "export_impl.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>

#define SAME_PLACE_MM 0.01
#define SAME_HU 0.51 /* what rounding to whole numbers may do */

typedef struct reference {
    dg_dicom_context context;
    dg_dicom_tree tree;
    const dg_dicom_case *chosen; /* whose CT it is */
    const dg_dicom_files *plan;  /* for --link-plan */
    dg_dicom_writer *writer;
} reference;

static void release(reference *r)
{
    dg_dicom_writer_destroy(&r->writer);
    dg_dicom_tree_release(&r->tree);
}

/* ---- which files ---- */

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* REFERENCE/ID, or REFERENCE itself where it can only mean one case. */
static dg_status find_folder(const exporter *x, char folder[DG_PATH_MAX])
{
    const char *id = x->info->id, *root = x->config->reference;
    const bool plain = id[0] != '.' && strchr(id, '/') == NULL;
    DG_TRY(dg_path_join(folder, root, plain ? id : "."));
    if (plain && is_folder(folder)) return DG_OK;
    if (x->count > 1)
        return DG_FAIL(DG_ERR_USAGE,
                       "case %s: --reference has no folder of that name; give it one folder a case, or export one case "
                       "at a time (--cases)",
                       id);
    return dg_path_join(folder, root, ".");
}

static bool same_files(const dg_dicom_files *a, const dg_dicom_files *b)
{
    if (a->count != b->count) return false;
    for (int64_t i = 0; i < a->count; i++)
        if (strcmp(a->path[i], b->path[i]) != 0) return false;
    return true;
}

/* The one CT of the folder; candidates that share it are plans of it. */
static dg_status choose_candidate(const exporter *x, reference *r)
{
    int64_t plans = 0;
    for (int64_t i = 0; i < r->tree.case_count; i++) {
        const dg_dicom_case *c = &r->tree.cases[i];
        if (c->ct.count == 0) continue;
        if (r->chosen == NULL) r->chosen = c;
        if (!same_files(&c->ct, &r->chosen->ct))
            return DG_FAIL(DG_ERR_DATA, "case %s: --reference holds several CTs; name the folder of the one",
                           x->info->id);
        for (int64_t k = 0; k < c->plans.count; k++) r->plan = &c->plans;
        plans += c->plans.count;
    }
    if (r->chosen == NULL) return DG_FAIL(DG_ERR_DATA, "case %s: --reference holds no CT", x->info->id);
    if (x->config->link_plan && plans != 1)
        return DG_FAIL(DG_ERR_DATA, "case %s: --link-plan: --reference holds %lld plans for its CT, one is wanted",
                       x->info->id, (long long)plans);
    return DG_OK;
}

/* ---- whose CT ---- */

static dg_status find_box(const exporter *x, const dg_grid *ct, dg_box *box)
{
    const dg_grid *own = &x->info->grid;
    for (int a = 0; a < 3; a++) {
        const double voxels = (own->origin_mm[a] - ct->origin_mm[a]) / ct->spacing_mm[a], whole = nearbyint(voxels);
        const double off_mm = fabs(voxels - whole) * ct->spacing_mm[a] +
                              fabs(own->spacing_mm[a] - ct->spacing_mm[a]) * (double)own->shape[a];
        if (!(off_mm < SAME_PLACE_MM) || whole < 0 || whole + (double)own->shape[a] > (double)ct->shape[a])
            return DG_FAIL(DG_ERR_DATA,
                           "case %s: its grid is no part of the CT below --reference: another patient, or a case that "
                           "was not imported from this CT",
                           x->info->id);
        box->start[a] = (int64_t)whole;
        box->shape[a] = own->shape[a];
    }
    for (int i = 0; i < 9; i++)
        if (fabs(own->direction[i] - ct->direction[i]) > 1e-6)
            return DG_FAIL(DG_ERR_UNSUPPORTED, "case %s: its grid is turned against the CT's", x->info->id);
    return DG_OK;
}

static dg_status compare_ct(exporter *x, const dg_dicom_ct *ct)
{
    dg_box box;
    float *hu;
    int64_t others = 0;
    const int64_t *n = x->info->grid.shape;
    DG_TRY(find_box(x, &ct->grid, &box));
    DG_TRY(export_read(x, DG_FIELD_CT_HU, 0, &hu));
    for (int64_t z = 0; z < n[0]; z++)
        for (int64_t y = 0; y < n[1]; y++)
            for (int64_t i = 0; i < n[2]; i++)
                others +=
                    !(fabsf(hu[dg_grid_index(&x->info->grid, z, y, i)] -
                            ct->hu[dg_grid_index(&ct->grid, z + box.start[0], y + box.start[1], i + box.start[2])]) <=
                      (float)SAME_HU);
    dg_free(&hu);
    if (others == 0) return DG_OK;
    return DG_FAIL(
        DG_ERR_DATA,
        "case %s: the CT below --reference is not the case's, %lld of %lld voxels differ: nothing is written "
        "for what may be another patient",
        x->info->id, (long long)others, (long long)dg_grid_voxels(&x->info->grid));
}

static dg_status check_ct(exporter *x, reference *r)
{
    dg_dicom_ct ct;
    DG_TRY(dg_dicom_read_ct(&r->context, &r->chosen->ct, &ct));
    const dg_status status = compare_ct(x, &ct);
    dg_dicom_ct_release(&ct);
    return status;
}

/* ---- writing ---- */

static dg_status make_path(exporter *x, const char *name, char path[DG_PATH_MAX])
{
    char folder[DG_PATH_MAX];
    DG_TRY(export_path(x, x->info->id, folder));
    DG_TRY(dg_make_folder(folder));
    return dg_path_join(path, folder, name);
}

static dg_status write_structures(exporter *x, reference *r)
{
    char path[DG_PATH_MAX];
    uint64_t *bits;
    int written = 0;
    DG_TRY(make_path(x, "RTSTRUCT.dcm", path));
    DG_TRY(export_read_mask_bits(x, &bits));
    const dg_status status = dg_dicom_write_structures(&r->context, r->writer, &x->info->grid, x->info->structure,
                                                       x->info->structure_count, bits, path, &written);
    dg_free(&bits);
    if (status == DG_OK && written < x->info->structure_count)
        dg_log_write(x->env->log, DG_LOG_WARNING, "case %s: %d of its %d structures have no voxels and were left out",
                     x->info->id, x->info->structure_count - written, x->info->structure_count);
    return status;
}

static dg_status write_prediction(exporter *x, reference *r, const float *gy)
{
    static const int bits[] = {32, 16};
    char path[DG_PATH_MAX];
    if (x->config->link_plan) {
        DG_TRY(dg_dicom_link_plan(&r->context, r->writer, r->plan));
    } else {
        DG_TRY(make_path(x, "RTPLAN.dcm", path));
        DG_TRY(dg_dicom_write_plan(&r->context, r->writer, x->info->fractions, path));
    }
    DG_TRY(make_path(x, "RTDOSE.dcm", path));
    return dg_dicom_write_dose(&r->context, r->writer, &x->info->grid, gy, bits[x->config->bits], path);
}

static dg_status write_all(exporter *x, reference *r, const char *weights_sha256, const float *gy)
{
    char folder[DG_PATH_MAX];
    DG_TRY(find_folder(x, folder));
    DG_TRY(dg_dicom_scan(&r->context, folder, &r->tree));
    DG_TRY(choose_candidate(x, r));
    DG_TRY(check_ct(x, r));
    DG_TRY(dg_dicom_writer_create(&r->context, &r->chosen->ct, weights_sha256, &r->writer));
    if (x->wanted[WHAT_MASKS]) DG_TRY(write_structures(x, r));
    return gy != NULL ? write_prediction(x, r, gy) : DG_OK;
}

static dg_status write_case(exporter *x)
{
    reference *r;
    dg_prediction_info info = {.model_sha256 = ""};
    float *gy = NULL;
    if (x->config->reference[0] == '\0')
        return DG_FAIL(DG_ERR_USAGE,
                       "export: name the folder of the case's DICOM files with --reference: the cohort does not hold "
                       "who the patient is");
    if (x->wanted[WHAT_PRED]) {
        DG_TRY(export_read_prediction(x, &gy));
        dg_status status = dg_prediction_peek(x->config->predictions, x->info->id, &info);
        if (status != DG_OK) {
            dg_free(&gy);
            return status;
        }
    }
    dg_status status = DG_NEW(&r, 1, "reference");
    if (status == DG_OK) {
        r->context.case_id = x->info->id;
        status = write_all(x, r, info.model_sha256, gy);
        release(r);
        dg_free(&r);
    }
    dg_free(&gy);
    return status;
}

const export_target export_dicom = {.name = "dicom",
                                    .what = "pred, masks",
                                    .knows = 1U << WHAT_PRED | 1U << WHAT_MASKS,
                                    .by_default = 1U << WHAT_PRED,
                                    .write_case = write_case};
