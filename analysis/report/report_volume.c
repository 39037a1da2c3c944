/* report_volume.c - volumes as small integers: quantised, written as differences, packed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "report_impl.h"

#include "dg_mem.h"

#include <math.h>
#include <string.h>

enum { UNKNOWN16 = 65535, UNKNOWN8 = 255, GAMMA_CODES = 250, COMBINATIONS = 65534, SLOTS = 1 << 17 };

int64_t report_part_voxels(const report_part *part) { return part->shape[0] * part->shape[1] * part->shape[2]; }

int64_t report_part_index(const report_part *part, const dg_grid *grid, int64_t z, int64_t y, int64_t x)
{
    const int64_t *start = part->box.start;
    return dg_grid_index(grid, start[0] + z * part->stride, start[1] + y * part->stride, start[2] + x * part->stride);
}

/* Codes as differences along the voxels, low bytes first: what changes little packs well. */
static dg_status attach16(dg_report_page *page, const uint16_t *code, int64_t count, char id[32])
{
    unsigned char *bytes = NULL;
    DG_TRY(DG_NEW(&bytes, 2 * count, "volume of a page"));
    unsigned before = 0;
    for (int64_t i = 0; i < count; i++) {
        unsigned difference = (code[i] - before) & 65535u;
        bytes[i] = (unsigned char)(difference & 255u);
        bytes[count + i] = (unsigned char)(difference >> 8);
        before = code[i];
    }
    dg_status status = report_page_attach_packed(page, bytes, (size_t)(2 * count), id);
    dg_free(&bytes);
    return status;
}

static dg_status make_entry(const char *id, int bits, double offset, double step, json_t **entry)
{
    *entry = json_pack("{s:s, s:i, s:f, s:f}", "id", id, "bits", bits, "offset", offset, "step", step);
    if (*entry == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for the description of a volume");
    return DG_OK;
}

/* Copies the kept voxels into values[voxels] and finds their range. */
static dg_status take(const report_part *part, const dg_grid *grid, const float *from, float *values, double range[2])
{
    int64_t at = 0;
    range[0] = INFINITY;
    range[1] = -INFINITY;
    for (int64_t z = 0; z < part->shape[0]; z++)
        for (int64_t y = 0; y < part->shape[1]; y++)
            for (int64_t x = 0; x < part->shape[2]; x++) {
                float value = values[at++] = from[report_part_index(part, grid, z, y, x)];
                if (isinf(value))
                    return DG_FAIL(DG_ERR_DATA,
                                   "a volume to picture has an infinite value near voxel (%lld, %lld, %lld)",
                                   (long long)z, (long long)y, (long long)x);
                if (value < range[0]) range[0] = value;
                if (value > range[1]) range[1] = value;
            }
    return DG_OK;
}

dg_status report_attach_volume(dg_report_page *page, const report_part *part, const dg_grid *grid, const float *values,
                               double least_step, json_t **entry)
{
    int64_t count = report_part_voxels(part);
    float *kept = NULL;
    uint16_t *code = NULL;
    double range[2];
    char id[32];
    dg_status status;
    DG_TRY_GOTO(status, DG_NEW(&kept, count, "voxels to picture"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&code, count, "codes of voxels"), cleanup);
    DG_TRY_GOTO(status, take(part, grid, values, kept, range), cleanup);
    if (!(range[0] <= range[1])) range[0] = range[1] = 0; /* nothing is known */
    double offset = floor(range[0] / least_step) * least_step, step = least_step;
    if ((range[1] - offset) / step > UNKNOWN16 - 2) step = (range[1] - offset) / (UNKNOWN16 - 2);
    for (int64_t i = 0; i < count; i++)
        code[i] = (uint16_t)(isnan(kept[i]) ? UNKNOWN16 : lround((kept[i] - offset) / step));
    DG_TRY_GOTO(status, attach16(page, code, count, id), cleanup);
    status = make_entry(id, 16, offset, step, entry);
cleanup:
    dg_free(&code);
    dg_free(&kept);
    return status;
}

dg_status report_attach_gamma(dg_report_page *page, const report_part *part, const dg_grid *grid, const float *gamma,
                              double max_gamma, json_t **entry)
{
    int64_t count = report_part_voxels(part);
    float *kept = NULL;
    unsigned char *code = NULL;
    double range[2], top = isfinite(max_gamma) ? fmax(max_gamma, 1) : 10, parts = fmin(100, floor(GAMMA_CODES / top));
    char id[32];
    dg_status status;
    if (parts < 1) parts = 1;
    DG_TRY_GOTO(status, DG_NEW(&kept, count, "gamma to picture"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&code, count, "codes of gamma"), cleanup);
    DG_TRY_GOTO(status, take(part, grid, gamma, kept, range), cleanup);
    for (int64_t i = 0; i < count; i++)
        code[i] = (unsigned char)(isnan(kept[i]) ? UNKNOWN8 : fmin(GAMMA_CODES, ceil((double)kept[i] * parts)));
    DG_TRY_GOTO(status, report_page_attach_packed(page, code, (size_t)count, id), cleanup);
    status = make_entry(id, 8, 0, 1 / parts, entry);
cleanup:
    dg_free(&code);
    dg_free(&kept);
    return status;
}

/* ---- masks: the combinations of structures that occur, numbered in the order of the voxels ---- */

typedef struct combinations {
    uint64_t *key;   /* [SLOTS] */
    int32_t *number; /* [SLOTS], 0: free, else number + 1 */
    uint64_t *list;  /* [COMBINATIONS + 1] */
    int32_t count;
} combinations;

static int32_t number_of(combinations *c, uint64_t bits)
{
    size_t slot = (size_t)((bits * 0x9e3779b97f4a7c15u) >> 47);
    while (c->number[slot] != 0 && c->key[slot] != bits) slot = (slot + 1) % SLOTS;
    if (c->number[slot] == 0) {
        if (c->count > COMBINATIONS) return -1;
        c->key[slot] = bits;
        c->list[c->count] = bits;
        c->number[slot] = ++c->count;
    }
    return c->number[slot] - 1;
}

static json_t *combinations_json(const combinations *c, int structures)
{
    json_t *all = json_array();
    for (int32_t i = 0; i < c->count; i++) {
        json_t *one = json_array();
        for (int k = 0; k < structures; k++)
            if ((c->list[i] >> k & 1) != 0) json_array_append_new(one, json_integer(k));
        json_array_append_new(all, one);
    }
    return all;
}

static bool number_voxels(const report_part *part, const dg_report_case *c, combinations *found, uint16_t *code)
{
    uint64_t known = c->structure_count >= 64 ? UINT64_MAX : ((uint64_t)1 << c->structure_count) - 1;
    int64_t at = 0;
    for (int64_t z = 0; z < part->shape[0]; z++)
        for (int64_t y = 0; y < part->shape[1]; y++)
            for (int64_t x = 0; x < part->shape[2]; x++) {
                int32_t number = number_of(found, c->masks[report_part_index(part, c->grid, z, y, x)] & known);
                if (number < 0) return false;
                code[at++] = (uint16_t)number;
            }
    return true;
}

static dg_status attach_codes(dg_report_page *page, const uint16_t *code, int64_t count, bool wide, json_t **entry)
{
    char id[32];
    if (wide) {
        DG_TRY(attach16(page, code, count, id));
        return make_entry(id, 16, 0, 1, entry);
    }
    unsigned char *bytes = NULL;
    DG_TRY(DG_NEW(&bytes, count, "codes of structures"));
    for (int64_t i = 0; i < count; i++) bytes[i] = (unsigned char)code[i];
    dg_status status = report_page_attach_packed(page, bytes, (size_t)count, id);
    dg_free(&bytes);
    return status == DG_OK ? make_entry(id, 8, 0, 1, entry) : status;
}

dg_status report_attach_masks(dg_report_page *page, const report_part *part, const dg_report_case *c, json_t **entry,
                              json_t **list)
{
    int64_t count = report_part_voxels(part);
    combinations found = {0};
    uint16_t *code = NULL;
    dg_status status;
    *entry = *list = NULL;
    DG_TRY_GOTO(status, DG_NEW(&found.key, SLOTS, "combinations of structures"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&found.number, SLOTS, "combinations of structures"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&found.list, COMBINATIONS + 1, "combinations of structures"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&code, count, "codes of structures"), cleanup);
    if (number_voxels(part, c, &found, code)) {
        DG_TRY_GOTO(status, attach_codes(page, code, count, found.count > UNKNOWN8, entry), cleanup);
        *list = combinations_json(&found, c->structure_count);
    }
cleanup:
    dg_free(&code);
    dg_free(&found.list);
    dg_free(&found.number);
    dg_free(&found.key);
    return status;
}
