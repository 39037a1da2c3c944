/* domain.c - see domain.h. SPDX-License-Identifier: Apache-2.0 */
#include "domain.h"

#include "dg_mem.h"
#include "region.h"
#include "source.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VALUES_OF_SLICE = 16384, QUANTILES = 3, SPREAD = 5 };
static const char dose_name[] = "dose/scale ";
static const double quantile[QUANTILES] = {0.01, 0.5, 0.99};
static const double spread_at[SPREAD] = {0, 0.05, 0.5, 0.95, 1};

/* What is read of a case. */
typedef struct reader {
    const dg_recipe *recipe;
    dg_case *c;
    const dg_case_info *info;
    const float *dose_gy; /* or NULL */
    uint64_t region;      /* bits of the structures whose voxels count; 0: all do */
    uint64_t *bits;       /* [plane] */
    float *slice;         /* [plane] */
    float *ct, *dose;     /* [count] of the voxels taken */
    int64_t count;
    double depth_mm[DG_CHANNELS_MAX], voxels[DG_CHANNELS_MAX];
} reader;

static int ascending(const void *a, const void *b)
{
    const float p = *(const float *)a, q = *(const float *)b;
    return (p > q) - (p < q);
}

static double quantile_of(const float *sorted, int64_t count, double share)
{
    const double at = share * (double)(count - 1);
    const int64_t low = (int64_t)at, high = low + 1 < count ? low + 1 : low;
    return sorted[low] + (at - (double)low) * ((double)sorted[high] - sorted[low]);
}

static void add(dg_domain_case *out, bool has, double value, const char *kind, const char *name, const char *what)
{
    if (out->count == DG_DOMAIN_MAX) return;
    snprintf(out->name[out->count], sizeof out->name[0], "%s%s%s", kind, name, what);
    out->has[out->count] = has && isfinite(value);
    out->value[out->count] = out->has[out->count] ? value : 0;
    out->count++;
}

/* The values of a slice's voxels that are taken: every `step`-th in y and x. */
static void take(reader *r, const float *from, float *to, int64_t step)
{
    const int64_t ny = r->info->grid.shape[1], nx = r->info->grid.shape[2];
    int64_t count = r->count;
    for (int64_t y = 0; y < ny; y += step)
        for (int64_t x = 0; x < nx; x += step)
            if (r->region == 0 || (r->bits[y * nx + x] & r->region) != 0) to[count++] = from[y * nx + x];
}

static int64_t count_taken(const reader *r, int64_t step)
{
    const int64_t ny = r->info->grid.shape[1], nx = r->info->grid.shape[2];
    int64_t count = 0;
    for (int64_t y = 0; y < ny; y += step)
        for (int64_t x = 0; x < nx; x += step) count += r->region == 0 || (r->bits[y * nx + x] & r->region) != 0;
    return count;
}

static dg_status read_structures(reader *r, const dg_box *box)
{
    const int64_t plane = dg_box_voxels(box);
    for (int c = 0; c < r->recipe->count; c++) {
        const dg_channel *channel = &r->recipe->channel[c];
        const int s = channel->structure[0] != '\0' ? dg_case_info_structure(r->info, channel->structure) : -1;
        if (s < 0) continue;
        for (int64_t i = 0; i < plane; i++) r->voxels[c] += (r->bits[i] >> s & 1) != 0;
        if (channel->kind != DG_CHANNEL_SDF) continue;
        DG_TRY(dg_case_read(r->c, DG_FIELD_SDF_MM, s, box, r->slice));
        for (int64_t i = 0; i < plane; i++) r->depth_mm[c] = fmin(r->depth_mm[c], (double)r->slice[i]);
    }
    return DG_OK;
}

static dg_status read_slice(reader *r, int64_t z, int64_t step)
{
    const dg_grid *grid = &r->info->grid;
    const dg_box box = {.start = {z, 0, 0}, .shape = {1, grid->shape[1], grid->shape[2]}};
    DG_TRY(dg_case_read_mask_bits(r->c, &box, r->bits));
    DG_TRY(dg_case_read(r->c, DG_FIELD_CT_HU, 0, &box, r->slice));
    take(r, r->slice, r->ct, step);
    if (r->dose_gy != NULL)
        take(r, r->dose_gy + z * dg_box_voxels(&box), r->dose, step);
    else if (r->info->has_dose) {
        DG_TRY(dg_case_read(r->c, DG_FIELD_DOSE_GY, 0, &box, r->slice));
        take(r, r->slice, r->dose, step);
    }
    r->count += count_taken(r, step);
    return read_structures(r, &box);
}

static dg_status read_slices(reader *r)
{
    const int64_t *shape = r->info->grid.shape, plane = shape[1] * shape[2];
    const int64_t slices = shape[0] < DG_DOMAIN_SLICES ? shape[0] : DG_DOMAIN_SLICES;
    const int64_t step = (int64_t)ceil(sqrt((double)plane / VALUES_OF_SLICE));
    const int64_t most = slices * ((shape[1] + step - 1) / step) * ((shape[2] + step - 1) / step);
    DG_TRY(DG_NEW(&r->bits, plane, "slice of a case"));
    DG_TRY(DG_NEW(&r->slice, plane, "slice of a case"));
    DG_TRY(DG_NEW(&r->ct, most, "values of a case"));
    DG_TRY(DG_NEW(&r->dose, most, "values of a case"));
    for (int c = 0; c < r->recipe->count; c++) r->depth_mm[c] = INFINITY;
    for (int64_t i = 0; i < slices; i++) DG_TRY(read_slice(r, (2 * i + 1) * shape[0] / (2 * slices), step));
    qsort(r->ct, (size_t)r->count, sizeof *r->ct, ascending);
    qsort(r->dose, (size_t)r->count, sizeof *r->dose, ascending);
    for (int c = 0; c < r->recipe->count; c++) r->voxels[c] *= (double)shape[0] / (double)slices;
    return DG_OK;
}

static void list_numbers(const reader *r, double scale_gy, dg_domain_case *out)
{
    static const char *const names[QUANTILES] = {"1%", "50%", "99%"};
    const bool any = r->count > 0, dosed = any && (r->dose_gy != NULL || r->info->has_dose);
    const double *spacing = r->info->grid.spacing_mm, cc = spacing[0] * spacing[1] * spacing[2] / 1000;
    for (int q = 0; q < QUANTILES; q++)
        add(out, any, any ? quantile_of(r->ct, r->count, quantile[q]) : 0, "ct HU ", names[q], "");
    for (int q = 0; q < QUANTILES; q++)
        add(out, dosed, dosed ? quantile_of(r->dose, r->count, quantile[q]) / scale_gy : 0, dose_name, names[q], "");
    add(out, r->info->prescription_gy > 0, r->info->prescription_gy, "prescription Gy", "", "");
    for (int c = 0; c < r->recipe->count; c++) {
        const dg_channel *channel = &r->recipe->channel[c];
        if (channel->structure[0] == '\0') continue;
        const bool there = r->voxels[c] > 0;
        if (channel->kind == DG_CHANNEL_SDF)
            add(out, isfinite(r->depth_mm[c]), r->depth_mm[c], "sdf.", channel->structure, " least mm");
        else
            add(out, there, r->voxels[c] * cc, "mask.", channel->structure, " cc");
    }
    for (int k = 0; k < r->recipe->constraint_count; k++)
        add(out, k < r->info->constraint_count, (double)r->info->constraint[k], "constraint.",
            r->recipe->constraint_name[k], "");
}

dg_status dg_domain_measure(const dg_recipe *recipe, dg_case *c, const float *dose_gy, dg_domain_case *out)
{
    reader r = {.recipe = recipe, .c = c, .info = dg_case_get_info(c), .dose_gy = dose_gy};
    double scale_gy;
    out->count = 0;
    DG_TRY(dg_recipe_scale(recipe, r.info, &scale_gy));
    r.region = dg_region_of(r.info).bits;
    dg_status status = read_slices(&r);
    if (status == DG_OK) list_numbers(&r, scale_gy, out);
    dg_free(&r.bits);
    dg_free(&r.slice);
    dg_free(&r.ct);
    dg_free(&r.dose);
    return status;
}

/* Numbers of one case in a table that other ranks fill elsewhere: value and whether it is there. A case that cannot be read is
 * left out here: the loader tells of it when its turn comes. */
static dg_status measure_row(dg_source *source, int64_t index, double *row, dg_domain_case *found)
{
    dg_status status = dg_source_pin(source, index);
    if (status == DG_OK) {
        status = dg_domain_measure(dg_source_recipe(source), dg_source_case(source, index), NULL, found);
        dg_source_unpin(source, index);
    }
    if (status == DG_ERR_IO || status == DG_ERR_FORMAT || status == DG_ERR_DATA) {
        dg_error_clear();
        return DG_OK;
    }
    for (int k = 0; k < found->count && status == DG_OK; k++) {
        row[2 * k] = found->value[k];
        row[2 * k + 1] = found->has[k];
    }
    return status;
}

static void spread_of(const double *table, int64_t cases, int k, dg_domain_row *row)
{
    float value[DG_DOMAIN_CASES];
    row->cases = 0;
    for (int64_t i = 0; i < cases; i++)
        if (table[(i * DG_DOMAIN_MAX + k) * 2 + 1] != 0)
            value[row->cases++] = (float)table[(i * DG_DOMAIN_MAX + k) * 2];
    if (row->cases == 0) return;
    qsort(value, (size_t)row->cases, sizeof *value, ascending);
    for (int q = 0; q < SPREAD; q++) row->spread[q] = quantile_of(value, row->cases, spread_at[q]);
}

dg_status dg_domain_survey(dg_comm *comm, dg_source *source, const int64_t *cases, int64_t count, dg_domain *out)
{
    const int64_t taken = count < DG_DOMAIN_CASES ? count : DG_DOMAIN_CASES, cells = taken * DG_DOMAIN_MAX * 2;
    dg_domain_case *found = NULL;
    double *table = NULL;
    dg_status status = DG_NEW(&found, 1, "numbers of a case");
    if (status == DG_OK) status = DG_NEW(&table, cells, "numbers of the training cases");
    for (int64_t i = comm->rank; i < taken && status == DG_OK; i += comm->size)
        status = measure_row(source, cases[i * count / taken], table + i * DG_DOMAIN_MAX * 2, found);
    status = dg_comm_agree(comm, status);
    if (status == DG_OK) status = dg_comm_all_reduce(comm, table, cells, DG_F64, DG_SUM);
    memset(out, 0, sizeof *out);
    if (status == DG_OK) { /* names alone, also on a rank that measured nothing */
        const reader names = {.recipe = dg_source_recipe(source),
                              .info = dg_cohort_case(dg_source_cohort(source), cases[0])};
        found->count = 0;
        list_numbers(&names, 1, found);
    }
    for (int k = 0; status == DG_OK && k < found->count; k++) {
        dg_domain_row *row = &out->row[out->count];
        memcpy(row->name, found->name[k], sizeof row->name);
        spread_of(table, taken, k, row);
        out->count += row->cases > 0;
    }
    dg_free(&table);
    dg_free(&found);
    return status;
}

bool dg_domain_is_dose(const char *name) { return strncmp(name, dose_name, strlen(dose_name)) == 0; }

/* A difference that means nothing even where the training cases were all alike. */
static double least_room(const dg_domain_row *row)
{
    if (strncmp(row->name, "ct HU ", 6) == 0) return 20;
    if (dg_domain_is_dose(row->name)) return 0.05;
    if (strncmp(row->name, "sdf.", 4) == 0) return 2;
    return 0.01 * fmax(fabs(row->spread[0]), fabs(row->spread[SPREAD - 1])) + 1e-6;
}

bool dg_domain_outside(const dg_domain *domain, const dg_domain_case *found, int k, const dg_domain_row **row)
{
    enum { ENOUGH = 20 };
    int i = 0;
    while (i < domain->count && strcmp(domain->row[i].name, found->name[k]) != 0) i++;
    if (!found->has[k] || i == domain->count || domain->row[i].cases < 2) return false;
    *row = &domain->row[i];
    const double low = (*row)->spread[0], high = (*row)->spread[SPREAD - 1];
    const double room = fmax((high - low) * ((*row)->cases < ENOUGH ? 0.5 : 0.1), least_room(*row));
    return found->value[k] < low - room || found->value[k] > high + room;
}

json_t *dg_domain_to_json(const dg_domain *domain)
{
    json_t *root = json_object();
    for (int i = 0; i < domain->count; i++) {
        const dg_domain_row *row = &domain->row[i];
        json_object_set_new(root, row->name,
                            json_pack("[I, f, f, f, f, f]", (json_int_t)row->cases, row->spread[0], row->spread[1],
                                      row->spread[2], row->spread[3], row->spread[4]));
    }
    return root;
}

bool dg_domain_from_json(const json_t *json, dg_domain *out)
{
    const char *name;
    json_t *list;
    out->count = 0;
    if (json == NULL) return true;
    if (!json_is_object(json) || json_object_size(json) > DG_DOMAIN_MAX) return false;
    json_object_foreach((json_t *)json, name, list)
    {
        dg_domain_row *row = &out->row[out->count++];
        if (strlen(name) >= sizeof row->name || json_array_size(list) != SPREAD + 1) return false;
        memcpy(row->name, name, strlen(name) + 1);
        row->cases = json_integer_value(json_array_get(list, 0));
        for (int q = 0; q < SPREAD; q++) row->spread[q] = json_number_value(json_array_get(list, (size_t)q + 1));
    }
    return true;
}
