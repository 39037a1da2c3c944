/* cohort_memory.c - a cohort over the caller's arrays: the fake of the file reader, for tests and phantoms.
 * SPDX-License-Identifier: Apache-2.0 */
#include "case_impl.h"

#include "dg_bits.h"
#include "dg_dicom.h"
#include "dg_mem.h"

#include <pthread.h>
#include <string.h>

/* Distance maps are made when first asked for, and are the same steps as in a file. */
typedef struct memory_case {
    const dg_case_data *data;
    pthread_mutex_t guard;
    int16_t *sdf[DG_STRUCTURES_MAX];
} memory_case;

static dg_status memory_open(const dg_cohort *cohort, int64_t index, dg_case *c)
{
    memory_case *m;
    DG_TRY(DG_NEW(&m, 1, "case in memory"));
    m->data = &cohort->data[index];
    pthread_mutex_init(&m->guard, NULL);
    c->source = m;
    return DG_OK;
}

static void memory_close(dg_case *c)
{
    memory_case *m = c->source;
    for (int k = 0; k < DG_STRUCTURES_MAX; k++) dg_free(&m->sdf[k]);
    pthread_mutex_destroy(&m->guard);
    dg_free(&m);
}

static dg_status make_sdf(const dg_case_data *data, int structure, int16_t **out)
{
    const int64_t voxels = dg_grid_voxels(&data->info.grid);
    uint8_t *mask = NULL;
    dg_status status;
    DG_TRY_GOTO(status, DG_NEW(&mask, voxels, "mask of a structure"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(out, voxels, "distances of a structure"), cleanup);
    status = dg_sdf_encode(data, structure, 1, mask, *out);
cleanup:
    dg_free(&mask);
    if (status != DG_OK) dg_free(out);
    return status;
}

static dg_status need_sdf(memory_case *m, int structure)
{
    dg_status status = DG_OK;
    pthread_mutex_lock(&m->guard);
    if (m->sdf[structure] == NULL) status = make_sdf(m->data, structure, &m->sdf[structure]);
    pthread_mutex_unlock(&m->guard);
    return status;
}

static float value_at(const memory_case *m, dg_field field, int structure, int64_t i)
{
    const dg_case_data *d = m->data;
    switch (field) {
    case DG_FIELD_CT_HU: return d->ct_hu != NULL ? (float)d->ct_hu[i] : d->ct_hu_f32[i];
    case DG_FIELD_DOSE_GY: return d->dose_gy[i];
    case DG_FIELD_MASK:
        return d->masks != NULL ? (float)(d->masks[i] >> structure & 1)
                                : (float)dg_bits_get(d->mask_bits[structure], i);
    case DG_FIELD_SDF_MM: return (float)m->sdf[structure][i] * (float)DG_SDF_SCALE_MM;
    case DG_FIELD_LABEL: return (float)d->labels[i];
    }
    return 0;
}

static bool has_field(const dg_case_data *d, dg_field field)
{
    switch (field) {
    case DG_FIELD_CT_HU: return true;
    case DG_FIELD_DOSE_GY: return d->dose_gy != NULL;
    case DG_FIELD_LABEL: return d->labels != NULL;
    default: return dg_case_has_masks(d);
    }
}

static bool memory_has(const dg_case *c, dg_field field)
{
    return has_field(((const memory_case *)c->source)->data, field);
}

static dg_status memory_read(dg_case *c, dg_field field, int structure, const dg_box *box, const int64_t stride[3],
                             float *out)
{
    static const char *const name[] = {"ct", "dose", "masks", "sdf", "labels"};
    memory_case *m = c->source;
    if (!has_field(m->data, field)) return DG_FAIL(DG_ERR_DATA, "case %s has no dataset %s", c->info->id, name[field]);
    if (field == DG_FIELD_SDF_MM) DG_TRY(need_sdf(m, structure));
    for (int64_t z = 0; z < box->shape[0]; z++)
        for (int64_t y = 0; y < box->shape[1]; y++)
            for (int64_t x = 0; x < box->shape[2]; x++)
                out[z * stride[0] + y * stride[1] + x] =
                    value_at(m, field, structure,
                             dg_grid_index(&c->info->grid, box->start[0] + z, box->start[1] + y, box->start[2] + x));
    return DG_OK;
}

static dg_status memory_read_mask_bits(dg_case *c, const dg_box *box, const int64_t stride[3], uint64_t *out)
{
    const dg_case_data *d = ((memory_case *)c->source)->data;
    if (!dg_case_has_masks(d)) return DG_FAIL(DG_ERR_DATA, "case %s has no dataset masks", c->info->id);
    for (int64_t z = 0; z < box->shape[0]; z++)
        for (int64_t y = 0; y < box->shape[1]; y++)
            dg_case_mask_words(d, dg_grid_index(&c->info->grid, box->start[0] + z, box->start[1] + y, box->start[2]),
                               box->shape[2], out + z * stride[0] + y * stride[1]);
    return DG_OK;
}

static dg_status copy_beam(const dg_dicom_beam *from, int64_t index, dg_dicom_beam *to)
{
    *to = *from;
    to->block = NULL; /* is the other's */
    to->number = (int32_t)index + 1;
    to->name[0] = '\0';
    DG_TRY(dg_dicom_beam_make(to, from->control_points, from->leaf_pairs));
    const int64_t values = dg_dicom_beam_values(from->control_points, from->leaf_pairs);
    memcpy(to->block, from->block, (size_t)values * sizeof *to->block);
    if (from->leaf_boundaries == NULL) to->leaf_boundaries = NULL;
    return DG_OK;
}

static dg_status memory_read_plan(dg_case *c, dg_dicom_plan *out)
{
    const dg_dicom_plan *plan = ((memory_case *)c->source)->data->plan;
    if (plan == NULL || plan->beam_count == 0) return DG_OK;
    DG_TRY(DG_NEW(&out->beams, plan->beam_count, "beams"));
    for (; out->beam_count < plan->beam_count; out->beam_count++)
        DG_TRY(copy_beam(&plan->beams[out->beam_count], out->beam_count, &out->beams[out->beam_count]));
    out->total_mu = dg_dicom_plan_total_mu(out);
    return DG_OK;
}

/* Arrays in memory have no checksum to differ from. */
static dg_status memory_verify(const dg_cohort *cohort, int64_t index) { return DG_OK; }

static const dg_case_ops memory_ops = {.open = memory_open,
                                       .close = memory_close,
                                       .read = memory_read,
                                       .read_mask_bits = memory_read_mask_bits,
                                       .has = memory_has,
                                       .read_plan = memory_read_plan,
                                       .verify = memory_verify};

dg_status dg_cohort_memory_create(const dg_case_data *cases, int64_t count, dg_cohort **out)
{
    dg_status status = DG_OK;
    DG_TRY(DG_NEW(out, 1, "cohort"));
    (*out)->ops = &memory_ops;
    (*out)->data = cases;
    DG_TRY_GOTO(status, DG_NEW(&(*out)->info, count, "cohort"), fail);
    for (int64_t i = 0; i < count; i++) {
        DG_TRY_GOTO(status, dg_case_info_check(&cases[i].info), fail);
        if (i > 0 && strcmp(cases[i - 1].info.id, cases[i].info.id) >= 0) {
            status = DG_FAIL(DG_ERR_USAGE, "cases of a cohort in memory must be sorted by id, each once: %s",
                             cases[i].info.id);
            goto fail;
        }
        (*out)->info[i] = cases[i].info;
    }
    (*out)->count = count;
    return DG_OK;
fail:
    dg_cohort_close(out);
    return status;
}
