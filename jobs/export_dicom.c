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

#define SAME_PLACE_MM 0.01
#define SAME_HU 0.51 /* what rounding to whole numbers may do */

/* What lies below --reference; looked through once. */
typedef struct reference {
    dg_dicom_context context;
    dg_dicom_tree tree;
    const dg_dicom_case *chosen; /* whose CT is the case's */
    dg_dicom_writer *writer;     /* of the case at hand */
} reference;

static dg_status begin(exporter *x)
{
    reference *r;
    if (x->config->reference[0] == '\0')
        return DG_FAIL(DG_ERR_USAGE,
                       "export: name the folder of the cases' DICOM files with --reference: the cohort does not hold "
                       "who the patients are");
    DG_TRY(DG_NEW(&r, 1, "reference"));
    x->state = r;
    r->context.salt = x->config->salt;
    return dg_dicom_scan(&r->context, x->config->reference, &r->tree);
}

static void end(exporter *x)
{
    reference *r = x->state;
    if (r == NULL) return;
    dg_dicom_writer_destroy(&r->writer);
    dg_dicom_tree_release(&r->tree);
    dg_free(&x->state);
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
    dg_box box = {.start = {0, 0, 0}};
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

static dg_status check_ct(exporter *x, reference *r, const dg_dicom_case *candidate)
{
    dg_dicom_ct ct;
    DG_TRY(dg_dicom_read_ct(&r->context, &candidate->ct, &ct));
    const dg_status status = compare_ct(x, &ct);
    dg_dicom_ct_release(&ct);
    return status;
}

/* ---- which candidate ---- */

static bool same_files(const dg_dicom_files *a, const dg_dicom_files *b)
{
    if (a->count != b->count) return false;
    for (int64_t i = 0; i < a->count; i++)
        if (strcmp(a->path[i], b->path[i]) != 0) return false;
    return true;
}

/* Ways to tell that a candidate may be the case, the surest first. */
typedef enum hint { BY_HASH, BY_PATIENT, BY_FOLDER, ALONE, HINTS } hint;

static bool may_be(const exporter *x, const dg_dicom_case *c, hint how)
{
    const size_t id = strlen(x->info->id);
    switch (how) { /* as jobs/import_ids.c names cases and patients */
    case BY_HASH: return id == 16 && strncmp(c->key, x->info->id, 16) == 0;
    case BY_PATIENT: return strlen(x->info->group) == 32 && strncmp(c->patient_key, x->info->group, 32) == 0;
    case BY_FOLDER:
        return c->folder != NULL && strncmp(c->folder, x->info->id, id) == 0 &&
               (c->folder[id] == '\0' || c->folder[id] == '/');
    default: return x->count == 1;
    }
}

/* The first that may be it and whose CT is the case's. One CT is read once, however many plans share it. */
static dg_status choose_by(exporter *x, reference *r, hint how, int64_t *tried)
{
    dg_status status = DG_OK;
    const dg_dicom_case *before = NULL;
    *tried = 0;
    for (int64_t i = 0; i < r->tree.case_count; i++) {
        const dg_dicom_case *c = &r->tree.cases[i];
        if (c->ct.count == 0 || !may_be(x, c, how)) continue;
        if (before != NULL && same_files(&c->ct, &before->ct)) continue;
        before = c;
        ++*tried;
        status = check_ct(x, r, c);
        if (status == DG_ERR_MEMORY) return status;
        if (status != DG_OK) continue;
        dg_error_clear();
        r->chosen = c;
        return DG_OK;
    }
    return status;
}

static dg_status choose(exporter *x, reference *r)
{
    int64_t tried = 0;
    r->chosen = NULL;
    for (int how = 0; how < HINTS && tried == 0; how++) DG_TRY(choose_by(x, r, (hint)how, &tried));
    if (r->chosen != NULL) return DG_OK;
    return DG_FAIL(
        DG_ERR_DATA,
        "case %s: --reference holds no CT of its patient; give the --salt of the import, or name the folder of "
        "its files by its id",
        x->info->id);
}

/* The plan of the candidate, else the one plan of those that share its CT. */
static dg_status find_plan(const exporter *x, const reference *r, const dg_dicom_files **plan)
{
    int64_t plans = 0;
    *plan = &r->chosen->plans;
    if (may_be(x, r->chosen, BY_HASH) && r->chosen->plans.count == 1) return DG_OK;
    for (int64_t i = 0; i < r->tree.case_count; i++) {
        const dg_dicom_case *c = &r->tree.cases[i];
        if (c->plans.count == 0 || !same_files(&c->ct, &r->chosen->ct)) continue;
        *plan = &c->plans;
        plans += c->plans.count;
    }
    if (plans == 1) return DG_OK;
    return DG_FAIL(DG_ERR_DATA, "case %s: --link-plan: --reference holds %lld plans for its CT, one is wanted",
                   x->info->id, (long long)plans);
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
    const dg_dicom_files *plan;
    char path[DG_PATH_MAX];
    if (x->config->link_plan) {
        DG_TRY(find_plan(x, r, &plan));
        DG_TRY(dg_dicom_link_plan(&r->context, r->writer, plan));
    } else {
        DG_TRY(make_path(x, "RTPLAN.dcm", path));
        DG_TRY(dg_dicom_write_plan(&r->context, r->writer, x->info->fractions, path));
    }
    DG_TRY(make_path(x, "RTDOSE.dcm", path));
    return dg_dicom_write_dose(&r->context, r->writer, &x->info->grid, gy, bits[x->config->bits], path);
}

static dg_status write_all(exporter *x, reference *r, const char *weights_sha256, const float *gy)
{
    DG_TRY(choose(x, r));
    DG_TRY(dg_dicom_writer_create(&r->context, &r->chosen->ct, weights_sha256, &r->writer));
    if (x->wanted[WHAT_MASKS]) DG_TRY(write_structures(x, r));
    return gy != NULL ? write_prediction(x, r, gy) : DG_OK;
}

static dg_status write_case(exporter *x)
{
    reference *r = x->state;
    dg_prediction_info info = {.model_sha256 = ""};
    float *gy = NULL;
    dg_status status = DG_OK;
    if (x->wanted[WHAT_PRED]) {
        DG_TRY(export_read_prediction(x, &gy));
        status = dg_prediction_peek(x->config->predictions, x->info->id, &info);
    }
    r->context.case_id = x->info->id;
    if (status == DG_OK) status = write_all(x, r, info.model_sha256, gy);
    dg_dicom_writer_destroy(&r->writer);
    dg_free(&gy);
    return status;
}

const export_target export_dicom = {.name = "dicom",
                                    .what = "pred, masks",
                                    .knows = 1U << WHAT_PRED | 1U << WHAT_MASKS,
                                    .by_default = 1U << WHAT_PRED,
                                    .begin = begin,
                                    .write_case = write_case,
                                    .end = end};
