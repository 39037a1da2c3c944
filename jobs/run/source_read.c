/* source_read.c - from stored fields (HU, mm, mask bits, Gy) to channels, dose and counted voxels.
 * SPDX-License-Identifier: Apache-2.0 */
#include "source_read.h"

#include "dg_mem.h"
#include "dg_resample.h"

#include <math.h>
#include <string.h>

/* Bits of the structures with a role. */
static uint64_t bits_of_role(const dg_case_info *info, dg_role role)
{
    uint64_t bits = 0;
    for (int s = 0; s < info->structure_count; s++) {
        if (info->structure[s].role == role) bits |= UINT64_C(1) << s;
    }
    return bits;
}

static bool wants_bits(const dg_recipe *recipe, const dg_source_buffers *out)
{
    if (out->counted != NULL && recipe->loss_mask != DG_MASK_NONE) return true;
    for (int r = 0; out->regions != NULL && r < recipe->regions; r++)
        if (recipe->region[r].near_mm == 0) return true;
    for (int c = 0; out->channels != NULL && c < recipe->count; c++) {
        if (recipe->channel[c].kind != DG_CHANNEL_CT && recipe->channel[c].kind != DG_CHANNEL_SDF) return true;
    }
    return false;
}

static bool wants_mask(const dg_loss_region *region) { return region->near_mm == 0; }

/* Whether structure s of the case belongs to a region. */
static bool is_of(const dg_loss_region *region, const dg_structure *structure)
{
    if (region->structure[0] != '\0') return strcmp(region->structure, structure->name) == 0;
    return region->role == structure->role;
}

static void fill(float *out, int64_t count, float value)
{
    for (int64_t i = 0; i < count; i++) out[i] = value;
}

static void mark(const uint64_t *bits, uint64_t wanted, int64_t count, float *out)
{
    for (int64_t i = 0; i < count; i++) out[i] = (bits[i] & wanted) != 0 ? 1.0f : 0.0f;
}

static void prescriptions(const dg_case_info *info, double scale_gy, const uint64_t *bits, int64_t count, float *out)
{
    fill(out, count, 0);
    for (int s = 0; s < info->structure_count; s++) {
        if (info->structure[s].role != DG_ROLE_TARGET) continue;
        float value = (float)(info->structure[s].prescription_gy / scale_gy);
        for (int64_t i = 0; i < count; i++) {
            if ((bits[i] >> s & 1) != 0 && out[i] < value) out[i] = value;
        }
    }
}

/* To -1 .. 1; what is not a number stays so, to be found and named later. */
static inline float clip(float value) { return value < -1 ? -1 : value > 1 ? 1 : value; }

/* One channel of a box of the native grid, of voxels as they are. `bits` may be NULL for CT and distances. */
static dg_status read_native(const dg_recipe *recipe, int index, dg_case *c, const dg_perturbation *perturbation,
                             const dg_box *box, const uint64_t *bits, float *out)
{
    const dg_channel *channel = &recipe->channel[index];
    const dg_case_info *info = dg_case_get_info(c);
    int64_t count = dg_box_voxels(box);
    int row = channel->structure[0] != '\0' ? dg_case_info_structure(info, channel->structure) : -1;
    double scale;
    switch (channel->kind) {
    case DG_CHANNEL_CT: {
        DG_TRY(dg_case_read(c, DG_FIELD_CT_HU, 0, box, out));
        if (perturbation != NULL) dg_perturb_hu(perturbation, info->id, &info->grid, box, out);
        float low = (float)recipe->ct_low_hu, factor = (float)(2 / (recipe->ct_high_hu - recipe->ct_low_hu));
        for (int64_t i = 0; i < count; i++) out[i] = clip((out[i] - low) * factor - 1);
        return DG_OK;
    }
    case DG_CHANNEL_SDF:
        if (row < 0) {
            fill(out, count, 1);
            return DG_OK;
        }
        DG_TRY(dg_case_read(c, DG_FIELD_SDF_MM, row, box, out));
        for (int64_t i = 0; i < count; i++) out[i] = clip(out[i] * (1.0f / DG_SDF_CLIP_MM));
        return DG_OK;
    case DG_CHANNEL_MASK: mark(bits, row < 0 ? 0 : UINT64_C(1) << row, count, out); return DG_OK;
    case DG_CHANNEL_RX:
        DG_TRY(dg_recipe_scale(recipe, info, &scale));
        prescriptions(info, scale, bits, count, out);
        return DG_OK;
    case DG_CHANNEL_POSSIBLE_DOSE: mark(bits, bits_of_role(info, DG_ROLE_POSSIBLE_DOSE), count, out); return DG_OK;
    case DG_CHANNEL_BODY: mark(bits, bits_of_role(info, DG_ROLE_BODY), count, out); return DG_OK;
    }
    return DG_OK;
}

static dg_status read_channel(const dg_recipe *recipe, int index, dg_case *c, const dg_perturbation *perturbation,
                              const dg_box *box, const uint64_t *bits, float *out)
{
    const dg_channel_kind kind = recipe->channel[index].kind;
    DG_TRY(read_native(recipe, index, c, perturbation, box, bits, out));
    if (perturbation == NULL || perturbation->kind != DG_PERTURB_SPACING) return DG_OK;
    const dg_grid grid = dg_grid_boxed(&dg_case_get_info(c)->grid, box);
    const bool smooth = kind == DG_CHANNEL_CT || kind == DG_CHANNEL_SDF;
    return dg_perturb_spacing(perturbation, &grid,
                              smooth                    ? DG_PERTURB_SMOOTH
                              : kind == DG_CHANNEL_RX ? DG_PERTURB_NEAREST
                                                      : DG_PERTURB_SHARE,
                              out);
}

/* Counted: inside the volume, the box of known dose, and the mask of the loss. */
static void count_voxels(const dg_recipe *recipe, const dg_case_info *info, const dg_box *box, const uint64_t *bits,
                         uint8_t *out)
{
    uint64_t wanted =
        recipe->loss_mask == DG_MASK_NONE
            ? 0
            : bits_of_role(info, recipe->loss_mask == DG_MASK_BODY ? DG_ROLE_BODY : DG_ROLE_POSSIBLE_DOSE);
    const dg_box all = {.shape = {info->grid.shape[0], info->grid.shape[1], info->grid.shape[2]}};
    const dg_box *known = recipe->labels ? &all : &info->dose_box;
    int64_t low[3], high[3]; /* of the counted part, in box coordinates */
    for (int axis = 0; axis < 3; axis++) {
        int64_t start = known->start[axis] > 0 ? known->start[axis] : 0;
        int64_t end = known->start[axis] + known->shape[axis];
        if (end > info->grid.shape[axis]) end = info->grid.shape[axis];
        low[axis] = start - box->start[axis];
        high[axis] = end - box->start[axis];
    }
    int64_t i = 0;
    for (int64_t z = 0; z < box->shape[0]; z++) {
        for (int64_t y = 0; y < box->shape[1]; y++) {
            bool row_inside = z >= low[0] && z < high[0] && y >= low[1] && y < high[1];
            for (int64_t x = 0; x < box->shape[2]; x++, i++) {
                bool inside = row_inside && x >= low[2] && x < high[2];
                out[i] = (uint8_t)(inside && (wanted == 0 || (bits[i] & wanted) != 0));
            }
        }
    }
}

/* Marks one region's bit in a box of the native grid; `plane` [box] is scratch. */
static dg_status mark_region(const dg_recipe *recipe, int r, dg_case *c, const dg_box *box, const uint64_t *bits,
                             float *plane, uint32_t *out)
{
    const dg_loss_region *region = &recipe->region[r];
    const dg_case_info *info = dg_case_get_info(c);
    const int64_t count = dg_box_voxels(box);
    const uint32_t bit = UINT32_C(1) << r;
    const float near = (float)region->near_mm;
    uint64_t wanted = 0;
    int found = 0;
    for (int s = 0; s < info->structure_count; s++) {
        if (!is_of(region, &info->structure[s])) continue;
        found++;
        wanted |= UINT64_C(1) << s;
        if (wants_mask(region)) continue;
        DG_TRY(dg_case_read(c, DG_FIELD_SDF_MM, s, box, plane));
        for (int64_t i = 0; i < count; i++)
            if (plane[i] < near && plane[i] > -near) out[i] |= bit;
    }
    for (int64_t i = 0; wants_mask(region) && i < count; i++)
        if ((bits[i] & wanted) != 0) out[i] |= bit;
    for (int64_t i = 0; found == 0 && region->everywhere_if_absent && i < count; i++) out[i] |= bit;
    return DG_OK;
}

static dg_status mark_regions(const dg_recipe *recipe, dg_case *c, const dg_box *box, const uint64_t *bits,
                              uint32_t *out)
{
    float *plane = NULL;
    const int64_t count = dg_box_voxels(box);
    dg_status status = DG_NEW(&plane, count, "distances of a patch");
    memset(out, 0, (size_t)count * sizeof *out);
    for (int r = 0; r < recipe->regions && status == DG_OK; r++)
        status = mark_region(recipe, r, c, box, bits, plane, out);
    dg_free(&plane);
    return status;
}

/* Mean over blocks of factor voxels; in has shape * factor voxels. */
static void average_blocks(const float *in, const int64_t shape[3], const int64_t factor[3], float *out)
{
    int64_t nx = shape[2] * factor[2], ny = shape[1] * factor[1];
    float share = 1.0f / (float)(factor[0] * factor[1] * factor[2]);
    for (int64_t z = 0; z < shape[0]; z++) {
        for (int64_t y = 0; y < shape[1]; y++) {
            float *row = out + (z * shape[1] + y) * shape[2];
            for (int64_t x = 0; x < shape[2]; x++) {
                float sum = 0;
                for (int64_t dz = 0; dz < factor[0]; dz++) {
                    for (int64_t dy = 0; dy < factor[1]; dy++) {
                        const float *from = in + ((z * factor[0] + dz) * ny + y * factor[1] + dy) * nx + x * factor[2];
                        for (int64_t dx = 0; dx < factor[2]; dx++) sum += from[dx];
                    }
                }
                row[x] = sum * share;
            }
        }
    }
}

dg_box source_output_box(const dg_box *box, const int64_t sub_zyx[3])
{
    dg_box out;
    for (int axis = 0; axis < 3; axis++) {
        out.start[axis] = box->start[axis] * sub_zyx[axis];
        out.shape[axis] = box->shape[axis] * sub_zyx[axis];
    }
    return out;
}

/* Labels as targets: 1 is the foreground. What is ignored is taken out of `counted` (NULL: not wanted). */
static dg_status read_labels(const dg_recipe *recipe, dg_case *c, const dg_box *native, float *out, uint8_t *counted)
{
    const int64_t count = dg_box_voxels(native);
    DG_TRY(dg_case_read(c, DG_FIELD_LABEL, 0, native, out));
    for (int64_t i = 0; i < count; i++) {
        const int value = (int)out[i];
        /* beyond the edge there is a 0, whatever the labels say of it, and nothing is counted */
        if (recipe->label_class[value] == DG_LABEL_UNKNOWN && (value != 0 || counted == NULL || counted[i] != 0))
            return DG_FAIL(DG_ERR_USAGE,
                           "case %s: a label has the value %d, which data.labels lists neither as foreground nor as "
                           "background nor as ignored",
                           dg_case_get_info(c)->id, value);
        if (counted != NULL && recipe->label_class[value] == DG_LABEL_IGNORE) counted[i] = 0;
        out[i] = recipe->label_class[value] == DG_LABEL_FOREGROUND;
    }
    return DG_OK;
}

static dg_status read_dose(const dg_recipe *recipe, dg_case *c, const dg_box *native, float *out)
{
    double scale;
    DG_TRY(dg_recipe_scale(recipe, dg_case_get_info(c), &scale));
    DG_TRY(dg_case_read(c, DG_FIELD_DOSE_GY, 0, native, out));
    float factor = (float)(1 / scale);
    int64_t count = dg_box_voxels(native);
    for (int64_t i = 0; i < count; i++) out[i] *= factor;
    return DG_OK;
}

dg_status source_read_box(const dg_recipe *recipe, dg_case *c, const dg_perturbation *perturbation, const dg_box *box,
                          const dg_source_buffers *out)
{
    dg_box native = source_output_box(box, recipe->coarsen);
    int64_t coarse = dg_box_voxels(box), fine = dg_box_voxels(&native);
    uint64_t *bits = NULL;
    float *plane = NULL;
    dg_status status = DG_OK;
    if (wants_bits(recipe, out)) {
        DG_TRY_GOTO(status, DG_NEW(&bits, fine, "mask bits of a patch"), done);
        DG_TRY_GOTO(status, dg_case_read_mask_bits(c, &native, bits), done);
    }
    if (out->channels != NULL && fine != coarse) DG_TRY_GOTO(status, DG_NEW(&plane, fine, "native patch"), done);
    for (int k = 0; out->channels != NULL && k < recipe->count; k++) {
        float *channel = out->channels + k * coarse;
        DG_TRY_GOTO(status, read_channel(recipe, k, c, perturbation, &native, bits, plane != NULL ? plane : channel),
                    done);
        if (plane != NULL) average_blocks(plane, box->shape, recipe->coarsen, channel);
    }
    if (out->counted != NULL) count_voxels(recipe, dg_case_get_info(c), &native, bits, out->counted);
    if (out->dose != NULL && recipe->labels)
        DG_TRY_GOTO(status, read_labels(recipe, c, &native, out->dose, out->counted), done);
    else if (out->dose != NULL)
        DG_TRY_GOTO(status, read_dose(recipe, c, &native, out->dose), done);
    if (out->regions != NULL) DG_TRY_GOTO(status, mark_regions(recipe, c, &native, bits, out->regions), done);
done:
    dg_free(&bits);
    dg_free(&plane);
    return status;
}

/* Counted voxels of a resampled case: those at least half of which are counted in the native grid. */
static dg_status resample_counted(const dg_recipe *recipe, const dg_case_info *info, const dg_grid *net,
                                  const dg_box *native, const uint64_t *bits, float *plane, float *scratch,
                                  uint8_t *out)
{
    uint8_t *fine = NULL;
    dg_status status;
    int64_t count = dg_box_voxels(native), coarse = dg_grid_voxels(net);
    DG_TRY_GOTO(status, DG_NEW(&fine, count, "counted voxels"), done);
    count_voxels(recipe, info, native, bits, fine);
    for (int64_t i = 0; i < count; i++) plane[i] = fine[i];
    DG_TRY_GOTO(status, dg_resample_linear(plane, &info->grid, net, 0, 1, scratch), done);
    for (int64_t i = 0; i < coarse; i++) out[i] = scratch[i] >= 0.5f;
done:
    dg_free(&fine);
    return status;
}

/* Regions of a resampled case: a voxel is in one where at least half of it is. */
static dg_status resample_regions(const dg_recipe *recipe, dg_case *c, const dg_grid *net, const dg_box *native,
                                  const uint64_t *bits, float *plane, float *scratch, uint32_t *out)
{
    uint32_t *fine = NULL;
    dg_status status;
    const int64_t count = dg_box_voxels(native), coarse = dg_grid_voxels(net);
    DG_TRY_GOTO(status, DG_NEW(&fine, count, "regions of a case"), done);
    DG_TRY_GOTO(status, mark_regions(recipe, c, native, bits, fine), done);
    for (int r = 0; r < recipe->regions; r++) {
        for (int64_t i = 0; i < count; i++) plane[i] = (float)(fine[i] >> r & 1);
        DG_TRY_GOTO(status, dg_resample_linear(plane, &dg_case_get_info(c)->grid, net, 0, 1, scratch), done);
        for (int64_t i = 0; i < coarse; i++)
            if (scratch[i] >= 0.5f) out[i] |= UINT32_C(1) << r;
    }
done:
    dg_free(&fine);
    return status;
}

dg_status source_read_resampled(const dg_recipe *recipe, dg_case *c, const dg_perturbation *perturbation,
                                const dg_source_buffers *out)
{
    const dg_case_info *info = dg_case_get_info(c);
    dg_grid net;
    int64_t sub[3];
    dg_recipe_geometry(recipe, &info->grid, &net, sub);
    dg_box native = {.shape = {info->grid.shape[0], info->grid.shape[1], info->grid.shape[2]}};
    int64_t fine = dg_box_voxels(&native), coarse = dg_grid_voxels(&net);
    uint64_t *bits = NULL;
    float *plane = NULL, *scratch = NULL;
    dg_status status;
    DG_TRY_GOTO(status, DG_NEW(&plane, fine, "native volume"), done);
    DG_TRY_GOTO(status, DG_NEW(&scratch, coarse, "resampled volume"), done);
    if (wants_bits(recipe, out)) {
        DG_TRY_GOTO(status, DG_NEW(&bits, fine, "mask bits of a case"), done);
        DG_TRY_GOTO(status, dg_case_read_mask_bits(c, &native, bits), done);
    }
    for (int k = 0; out->channels != NULL && k < recipe->count; k++) {
        DG_TRY_GOTO(status, read_channel(recipe, k, c, perturbation, &native, bits, plane), done);
        DG_TRY_GOTO(
            status,
            dg_resample_linear(plane, &info->grid, &net, dg_channel_outside(recipe, k), 1, out->channels + k * coarse),
            done);
    }
    if (out->dose != NULL) {
        DG_TRY_GOTO(status, read_dose(recipe, c, &native, plane), done);
        DG_TRY_GOTO(status, dg_resample_linear(plane, &info->grid, &net, 0, 1, out->dose), done);
    }
    if (out->counted != NULL) {
        DG_TRY_GOTO(status, resample_counted(recipe, info, &net, &native, bits, plane, scratch, out->counted), done);
    }
    if (out->regions != NULL)
        DG_TRY_GOTO(status, resample_regions(recipe, c, &net, &native, bits, plane, scratch, out->regions), done);
done:
    dg_free(&bits);
    dg_free(&plane);
    dg_free(&scratch);
    return status;
}

void source_cut(const float *whole, const int64_t shape_zyx[3], const dg_box *box, float outside, float *out)
{
    int64_t i = 0;
    for (int64_t z = 0; z < box->shape[0]; z++) {
        for (int64_t y = 0; y < box->shape[1]; y++) {
            int64_t vz = box->start[0] + z, vy = box->start[1] + y;
            bool inside = vz >= 0 && vz < shape_zyx[0] && vy >= 0 && vy < shape_zyx[1];
            const float *row = inside ? whole + (vz * shape_zyx[1] + vy) * shape_zyx[2] : NULL;
            for (int64_t x = 0; x < box->shape[2]; x++, i++) {
                int64_t vx = box->start[2] + x;
                out[i] = row != NULL && vx >= 0 && vx < shape_zyx[2] ? row[vx] : outside;
            }
        }
    }
}

void source_cut_bytes(const uint8_t *whole, const int64_t shape_zyx[3], const dg_box *box, uint8_t *out)
{
    int64_t i = 0;
    for (int64_t z = 0; z < box->shape[0]; z++) {
        for (int64_t y = 0; y < box->shape[1]; y++) {
            int64_t vz = box->start[0] + z, vy = box->start[1] + y;
            bool inside = vz >= 0 && vz < shape_zyx[0] && vy >= 0 && vy < shape_zyx[1];
            for (int64_t x = 0; x < box->shape[2]; x++, i++) {
                int64_t vx = box->start[2] + x;
                bool in = inside && vx >= 0 && vx < shape_zyx[2];
                out[i] = in ? whole[(vz * shape_zyx[1] + vy) * shape_zyx[2] + vx] : 0;
            }
        }
    }
}

void source_cut_words(const uint32_t *whole, const int64_t shape_zyx[3], const dg_box *box, uint32_t *out)
{
    int64_t i = 0;
    for (int64_t z = 0; z < box->shape[0]; z++) {
        for (int64_t y = 0; y < box->shape[1]; y++) {
            int64_t vz = box->start[0] + z, vy = box->start[1] + y;
            bool inside = vz >= 0 && vz < shape_zyx[0] && vy >= 0 && vy < shape_zyx[1];
            for (int64_t x = 0; x < box->shape[2]; x++, i++) {
                int64_t vx = box->start[2] + x;
                bool in = inside && vx >= 0 && vx < shape_zyx[2];
                out[i] = in ? whole[(vz * shape_zyx[1] + vy) * shape_zyx[2] + vx] : 0;
            }
        }
    }
}
