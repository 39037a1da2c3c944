/* export_csv.c - tables of cases: doses as OpenKBP's sparse tables (pred/ID.csv is what the challenge takes as a
 * submission), DVH curves as dvh/ID.csv. SPDX-License-Identifier: Apache-2.0 */
#include "dg_dvh.h"
#include "dg_file.h"
#include "dg_mem.h"
#include "dg_openkbp.h"
#include "export_impl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Curves: the volume at every tenth of a Gy. */
#define STEP_GY 0.1
enum { STEPS_MAX = 4000, LINE_MAX = DG_STRUCTURE_NAME + 64 };

static dg_status make_path(exporter *x, const char *folder, char *path)
{
    char name[DG_CASE_ID + 8], inner[DG_PATH_MAX];
    snprintf(name, sizeof name, "%s.csv", x->info->id);
    DG_TRY(dg_path_join(inner, x->config->output, folder));
    DG_TRY(dg_make_folder(inner));
    x->files++;
    return dg_path_join(path, inner, name);
}

static dg_status write_table(exporter *x, const char *folder, const float *dose_gy)
{
    char path[DG_PATH_MAX];
    const int64_t *shape = x->info->grid.shape;
    for (int a = 0; a < 3; a++)
        if (shape[a] != DG_OPENKBP_SIDE)
            return DG_FAIL(DG_ERR_UNSUPPORTED,
                           "case %s has %lld x %lld x %lld voxels; an OpenKBP table holds 128 x 128 x 128", x->info->id,
                           (long long)shape[0], (long long)shape[1], (long long)shape[2]);
    DG_TRY(make_path(x, folder, path));
    return dg_openkbp_write_dose(path, x->info->id, dose_gy);
}

/* ---- DVH ---- */

typedef struct curves {
    char *text;
    size_t used, room;
} curves;

static dg_status add_line(curves *c, const char *structure, const char *dose, double dose_gy, const dg_dvh *dvh)
{
    if (c->used + LINE_MAX > c->room) {
        DG_TRY(dg_grow(&c->text, c->room, 2 * c->room + (1 << 16), 1, "DVH table"));
        c->room = 2 * c->room + (1 << 16);
    }
    c->used += (size_t)snprintf(c->text + c->used, c->room - c->used, "%s,%s,%.1f,%.6g,%.6g\n", structure, dose,
                                dose_gy, dg_dvh_volume_percent(dvh, dose_gy), dg_dvh_volume_cc(dvh, dose_gy));
    return DG_OK;
}

/* A comma or a quote in a name would be another column. */
static void column_name(const char *name, char out[DG_STRUCTURE_NAME])
{
    snprintf(out, DG_STRUCTURE_NAME, "%s", name);
    for (char *c = out; *c != '\0'; c++)
        if (*c == ',' || *c == '"' || (unsigned char)*c < ' ') *c = '_';
}

static dg_status add_curve(exporter *x, int structure, const char *which, const float *dose_gy, const uint64_t *bits,
                           curves *c)
{
    const dg_grid *grid = &x->info->grid;
    const double voxel_mm3 = grid->spacing_mm[0] * grid->spacing_mm[1] * grid->spacing_mm[2];
    char name[DG_STRUCTURE_NAME];
    dg_dvh dvh;
    DG_TRY(dg_dvh_create(dose_gy, bits, UINT64_C(1) << structure, dg_grid_voxels(grid), voxel_mm3, &dvh));
    column_name(x->info->structure[structure].name, name);
    dg_status status = DG_OK;
    const int steps = dvh.count == 0 ? -1 : (int)fmin(STEPS_MAX, ceil(fmax(0, dg_dvh_max(&dvh)) / STEP_GY));
    for (int i = 0; i <= steps && status == DG_OK; i++) status = add_line(c, name, which, i * STEP_GY, &dvh);
    dg_dvh_release(&dvh);
    return status;
}

static dg_status add_curves(exporter *x, const char *which, const float *dose_gy, const uint64_t *bits, curves *c)
{
    for (int k = 0; k < x->info->structure_count; k++) DG_TRY(add_curve(x, k, which, dose_gy, bits, c));
    return DG_OK;
}

static dg_status write_dvh(exporter *x, const float *dose, const float *predicted)
{
    static const char head[] = "structure,dose,dose_gy,volume_percent,volume_cc\n";
    char path[DG_PATH_MAX];
    curves c = {.text = NULL};
    uint64_t *bits = NULL;
    dg_status status;
    DG_TRY_GOTO(status, export_read_mask_bits(x, &bits), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&c.text, sizeof head, "DVH table"), cleanup);
    c.room = sizeof head;
    memcpy(c.text, head, sizeof head);
    c.used = sizeof head - 1;
    if (dose != NULL) DG_TRY_GOTO(status, add_curves(x, "clinical", dose, bits, &c), cleanup);
    if (predicted != NULL) DG_TRY_GOTO(status, add_curves(x, "predicted", predicted, bits, &c), cleanup);
    DG_TRY_GOTO(status, make_path(x, "dvh", path), cleanup);
    status = dg_file_write(path, c.text, (int64_t)c.used);
cleanup:
    dg_free(&c.text);
    dg_free(&bits);
    return status;
}

/* ---- cases ---- */

static dg_status write_case(exporter *x)
{
    float *dose = NULL, *predicted = NULL;
    const bool dvh = x->wanted[WHAT_DVH], predictions = x->config->predictions[0] != '\0';
    dg_status status = DG_OK;
    if (x->wanted[WHAT_DOSE] || (dvh && (x->info->has_dose || !predictions)))
        DG_TRY_GOTO(status, export_read_dose(x, &dose), cleanup);
    if (x->wanted[WHAT_PRED] || (dvh && predictions))
        DG_TRY_GOTO(status, export_read_prediction(x, &predicted), cleanup);
    if (x->wanted[WHAT_DOSE]) DG_TRY_GOTO(status, write_table(x, "dose", dose), cleanup);
    if (x->wanted[WHAT_PRED]) DG_TRY_GOTO(status, write_table(x, "pred", predicted), cleanup);
    if (dvh) status = write_dvh(x, dose, predicted);
cleanup:
    dg_free(&predicted);
    dg_free(&dose);
    return status;
}

const export_target export_csv = {.name = "csv",
                                  .what = "dose, pred, dvh",
                                  .knows = 1U << WHAT_DOSE | 1U << WHAT_PRED | 1U << WHAT_DVH,
                                  .by_default = 1U << WHAT_PRED,
                                  .write_case = write_case};
