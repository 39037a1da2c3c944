/* sample.c - drawing samples by counters, and assembling their arrays. SPDX-License-Identifier: Apache-2.0 */
#include "sample.h"

#include "dg_augment_point.h"
#include "dg_distance.h"
#include "dg_loss_space.h"
#include "dg_mem.h"

#include <math.h>
#include <string.h>

/* Keeps the permutation streams of DG_RNG_SAMPLE apart from those of (step, slot). */
static const uint64_t EPOCH_STREAM = UINT64_C(1) << 39;

/* Position `place` of a permutation of n items, by a keyed Feistel network walked until it falls below n: no table, so a
 * draw costs the same for ten cases and for a million. */
static int64_t permuted(uint64_t seed, int64_t epoch, int64_t n, int64_t place)
{
    if (n < 2) return 0;
    dg_rng rng = dg_rng_stream(seed, DG_RNG_SAMPLE, EPOCH_STREAM + (uint64_t)epoch, 0);
    uint32_t round_key[6];
    for (int r = 0; r < 6; r++) round_key[r] = dg_rng_u32(&rng);
    int half = 1;
    while ((INT64_C(1) << (2 * half)) < n) half++;
    uint32_t low_bits = (UINT32_C(1) << half) - 1;
    uint64_t at = (uint64_t)place;
    do {
        uint32_t left = (uint32_t)(at >> half), right = (uint32_t)at & low_bits;
        for (int r = 0; r < 6; r++) {
            const uint32_t counter[4] = {right, (uint32_t)r, 0, 0}, key[2] = {round_key[r], (uint32_t)n};
            uint32_t word[4];
            dg_philox4x32(counter, key, word);
            uint32_t next = left ^ (word[0] & low_bits);
            left = right;
            right = next;
        }
        at = (uint64_t)left << half | right;
    } while (at >= (uint64_t)n);
    return (int64_t)at;
}

int64_t dg_sampler_case(const dg_sampler *sampler, int64_t step, int64_t slot)
{
    int64_t drawn = step * sampler->batch + slot;
    return sampler
        ->cases[permuted(sampler->seed, drawn / sampler->case_count, sampler->case_count, drawn % sampler->case_count)];
}

static bool covers(const int64_t patch[3], const dg_box *frame)
{
    return patch[0] >= frame->shape[0] && patch[1] >= frame->shape[1] && patch[2] >= frame->shape[2];
}

dg_status dg_sampler_draw(const dg_sampler *sampler, dg_source *source, int64_t step, int64_t slot, dg_sample_draw *out)
{
    dg_rng rng = dg_rng_stream(sampler->seed, DG_RNG_SAMPLE, (uint64_t)step, (uint32_t)slot);
    dg_rng vary = dg_rng_stream(sampler->seed, DG_RNG_AUGMENT, (uint64_t)step, (uint32_t)slot);
    out->index = dg_sampler_case(sampler, step, slot);
    out->augment = dg_augment_draw(&sampler->augment, &vary);
    const dg_case_info *info = dg_cohort_case(dg_source_cohort(source), out->index);
    dg_grid net;
    dg_box frame;
    int64_t sub[3];
    dg_recipe_geometry(dg_source_recipe(source), &info->grid, &net, sub);
    DG_TRY(dg_source_frame(source, out->index, &frame));
    bool aim = dg_rng_uniform(&rng) < sampler->high_dose_fraction;
    out->box = dg_patch_uniform(net.shape, &frame, sampler->patch, &rng);
    if (!aim || covers(sampler->patch, &frame)) return DG_OK;
    const int64_t *voxel;
    int64_t count;
    DG_TRY(dg_source_targets(source, out->index, &voxel, &count));
    if (count == 0) return DG_OK;
    int64_t at = voxel[dg_rng_below(&rng, count)];
    int64_t centre[3] = {at / (net.shape[1] * net.shape[2]), at / net.shape[2] % net.shape[1], at % net.shape[2]};
    out->box = dg_patch_around(net.shape, &frame, sampler->patch, centre);
    return DG_OK;
}

dg_sample_size dg_sample_size_of(const dg_recipe *recipe, const int64_t patch_zyx[3], dg_dtype dtype)
{
    dg_sample_size size = {.channels = recipe->count,
                           .constraints = recipe->constraint_count,
                           .regions = recipe->regions > 0,
                           .labels = recipe->labels,
                           .distance = recipe->distance,
                           .dtype = dtype};
    memcpy(size.patch, patch_zyx, sizeof size.patch);
    memcpy(size.sub, recipe->coarsen, sizeof size.sub);
    size.voxels = patch_zyx[0] * patch_zyx[1] * patch_zyx[2];
    size.outputs = size.voxels * size.sub[0] * size.sub[1] * size.sub[2];
    return size;
}

int64_t dg_sample_input_bytes(const dg_sample_size *size)
{
    return size->voxels * size->channels * (int64_t)dg_dtype_size(size->raw ? DG_F32 : size->dtype);
}

/* The next array of a block: where it begins. */
static int64_t place(int64_t *end, int64_t bytes)
{
    enum { ALIGNMENT = 256 }; /* of device memory */
    const int64_t begin = *end;
    *end += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return begin;
}

dg_sample_layout dg_sample_layout_of(const dg_sample_size *size)
{
    dg_sample_layout at = {.bytes = 0};
    at.input = place(&at.bytes, dg_sample_input_bytes(size));
    at.target = place(&at.bytes, size->outputs * (int64_t)sizeof(float));
    at.counted = place(&at.bytes, size->outputs);
    at.regions = place(&at.bytes, size->regions ? size->outputs * (int64_t)sizeof(uint32_t) : 0);
    at.distance = place(&at.bytes, size->distance ? size->outputs * (int64_t)sizeof(float) : 0);
    at.scale_gy = place(&at.bytes, (int64_t)sizeof(float));
    at.constraint = place(&at.bytes, size->constraints * (int64_t)sizeof(float));
    return at;
}

void dg_sample_place(const dg_sample_size *size, void *block, dg_sample *out)
{
    const dg_sample_layout at = dg_sample_layout_of(size);
    char *base = block;
    out->input = base + at.input;
    out->target = (void *)(base + at.target);
    out->counted = (void *)(base + at.counted);
    out->regions = size->regions ? (void *)(base + at.regions) : NULL;
    out->distance = size->distance ? (void *)(base + at.distance) : NULL;
    out->scale_gy = (void *)(base + at.scale_gy);
    out->constraint = (void *)(base + at.constraint);
}

dg_status dg_sample_work_create(const dg_sample_size *size, dg_sample_work *out)
{
    memset(out, 0, sizeof *out);
    if (size->raw && !size->labels) return DG_OK;
    int64_t spare = size->outputs > size->voxels ? size->outputs : size->voxels;
    dg_status status = DG_OK;
    if (!size->raw) status = DG_NEW(&out->channels, size->voxels * size->channels, "channels of a sample");
    if (status == DG_OK) status = DG_NEW(&out->dose, size->outputs, "dose of a sample");
    if (status == DG_OK) status = DG_NEW(&out->counted, size->outputs, "counted voxels of a sample");
    if (status == DG_OK && size->regions) status = DG_NEW(&out->regions, size->outputs, "regions of a sample");
    if (status == DG_OK) status = DG_NEW(&out->spare, 2 * spare, "augmentation");
    if (status != DG_OK) dg_sample_work_release(out);
    return status;
}

void dg_sample_work_release(dg_sample_work *work)
{
    dg_free(&work->channels);
    dg_free(&work->dose);
    dg_free(&work->counted);
    dg_free(&work->regions);
    dg_free(&work->spare);
}

/* Round to nearest even, as the backends convert; a NaN stays one. */
static inline uint16_t to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

void dg_sample_interleave(const dg_recipe *recipe, const dg_sample_size *size, bool mirrored, const float *channels,
                          void *input)
{
    int64_t count = size->channels, nx = size->patch[2], rows = size->voxels / nx;
    const float *from[DG_CHANNELS_MAX];
    for (int64_t c = 0; c < count; c++) {
        from[c] = channels + (mirrored ? recipe->channel[c].mirror : c) * size->voxels;
    }
    for (int64_t row = 0; row < rows; row++) {
        for (int64_t x = 0; x < nx; x++) {
            int64_t source = row * nx + (mirrored ? nx - 1 - x : x), target = (row * nx + x) * count;
            if (size->dtype == DG_BF16) {
                uint16_t *to = (uint16_t *)input + target;
                for (int64_t c = 0; c < count; c++) to[c] = to_bf16(from[c][source]);
            } else {
                float *to = (float *)input + target;
                for (int64_t c = 0; c < count; c++) to[c] = from[c][source];
            }
        }
    }
}

/* Where a row of outputs goes: the voxels of one network voxel lie side by side, as its output channels do. */
static int64_t output_row(const dg_sample_size *size, int64_t z, int64_t y)
{
    const int64_t *s = size->sub;
    return dg_block_row(z, y, 0, size->patch[1] * s[1], size->patch[2] * s[2], s[0], s[1], s[2]);
}

static void arrange_outputs(const dg_sample_size *size, bool mirrored, const float *dose, const uint8_t *counted,
                            float *target, uint8_t *mask)
{
    const int64_t *s = size->sub, block = s[0] * s[1] * s[2], nx = size->patch[2] * s[2];
    for (int64_t z = 0, row = 0; z < size->patch[0] * s[0]; z++)
        for (int64_t y = 0; y < size->patch[1] * s[1]; y++, row += nx) {
            int64_t x = 0, to = output_row(size, z, y);
            for (int64_t b = 0; b < size->patch[2]; b++, to += block)
                for (int64_t k = 0; k < s[2]; k++, x++) {
                    const int64_t from = row + (mirrored ? nx - 1 - x : x);
                    target[to + k] = dose[from];
                    mask[to + k] = counted[from];
                }
        }
}

/* The same of the regions; in a mirrored sample each bit goes to its partner's place. */
static void arrange_regions(const dg_recipe *recipe, const dg_sample_size *size, bool mirrored, const uint32_t *regions,
                            uint32_t *out)
{
    const int64_t *s = size->sub, block = s[0] * s[1] * s[2], nx = size->patch[2] * s[2];
    int8_t partner[DG_LOSS_REGIONS_MAX];
    for (int r = 0; r < recipe->regions; r++) partner[r] = (int8_t)recipe->region[r].mirror;
    for (int64_t z = 0, row = 0; z < size->patch[0] * s[0]; z++)
        for (int64_t y = 0; y < size->patch[1] * s[1]; y++, row += nx) {
            int64_t x = 0, to = output_row(size, z, y);
            for (int64_t b = 0; b < size->patch[2]; b++, to += block)
                for (int64_t k = 0; k < s[2]; k++, x++) {
                    const uint32_t bits = regions[row + (mirrored ? nx - 1 - x : x)];
                    out[to + k] = mirrored ? dg_mirrored_regions(bits, partner, recipe->regions) : bits;
                }
        }
}

/* Shift and rotation of one array; the flip comes later, when arrays are laid out. */
static void move(const dg_augmentation *augment, const int64_t shape[3], const double spacing[3], bool nearest,
                 float *values, float *spare)
{
    int64_t count = shape[0] * shape[1] * shape[2];
    dg_augment_apply(augment, shape, spacing, nearest, values, spare);
    memcpy(values, spare, (size_t)count * sizeof *values);
}

static void move_counted(const dg_augmentation *augment, const int64_t shape[3], const double spacing[3],
                         uint8_t *counted, float *spare)
{
    int64_t count = shape[0] * shape[1] * shape[2];
    float *as_float = spare + count;
    for (int64_t i = 0; i < count; i++) as_float[i] = counted[i];
    dg_augment_apply(augment, shape, spacing, true, as_float, spare);
    for (int64_t i = 0; i < count; i++) counted[i] = spare[i] > 0.5f;
}

/* Bits of a voxel stay together: its nearest neighbour's, as a number that f32 holds exactly. */
static void move_regions(const dg_augmentation *augment, const int64_t shape[3], const double spacing[3],
                         uint32_t *regions, float *spare)
{
    int64_t count = shape[0] * shape[1] * shape[2];
    float *as_float = spare + count;
    for (int64_t i = 0; i < count; i++) as_float[i] = (float)regions[i];
    dg_augment_apply(augment, shape, spacing, true, as_float, spare);
    for (int64_t i = 0; i < count; i++) regions[i] = (uint32_t)spare[i];
}

/* The move of a draw on the network's grid and on the outputs', each with its shape and spacing; the flip is left out. */
typedef struct moves {
    dg_augmentation coarse, fine;
    int64_t fine_shape[3];
    double coarse_spacing[3], fine_spacing[3];
    bool any;
} moves;

static moves moves_of(const dg_recipe *recipe, const dg_case_info *info, const dg_sample_size *size,
                      const dg_sample_draw *draw)
{
    moves m = {.coarse = draw->augment};
    const int64_t *shift = draw->augment.shift;
    dg_grid net;
    int64_t sub[3];
    m.coarse.flip = false;
    const double per_hu = 2 / (recipe->ct_high_hu - recipe->ct_low_hu); /* as channels are scaled: -1 to 1 */
    m.coarse.noise_hu *= per_hu;
    m.coarse.offset_hu *= per_hu;
    m.fine = m.coarse;
    dg_recipe_geometry(recipe, &info->grid, &net, sub);
    for (int axis = 0; axis < 3; axis++) {
        m.fine.shift[axis] *= sub[axis];
        m.fine_shape[axis] = size->patch[axis] * sub[axis];
        m.coarse_spacing[axis] = net.spacing_mm[axis];
        m.fine_spacing[axis] = net.spacing_mm[axis] / (double)sub[axis];
    }
    m.any = draw->augment.angle_rad != 0 || shift[0] != 0 || shift[1] != 0 || shift[2] != 0;
    return m;
}

static void vary(const dg_recipe *recipe, const moves *m, const dg_sample_size *size, dg_sample_work *work)
{
    for (int c = 0; c < recipe->count; c++) {
        float *channel = work->channels + c * size->voxels;
        if (m->any) {
            /* masks may hold fractions after coarsening, so they are interpolated like everything else */
            move(&m->coarse, size->patch, m->coarse_spacing, false, channel, work->spare);
        }
        if (recipe->channel[c].kind == DG_CHANNEL_CT) dg_augment_ct(&m->coarse, size->voxels, channel);
    }
    if (!m->any) return;
    move(&m->fine, m->fine_shape, m->fine_spacing, recipe->labels, work->dose, work->spare);
    move_counted(&m->fine, m->fine_shape, m->fine_spacing, work->counted, work->spare);
    if (work->regions != NULL) move_regions(&m->fine, m->fine_shape, m->fine_spacing, work->regions, work->spare);
}

void dg_sample_variation(const dg_recipe *recipe, const dg_case_info *info, const dg_sample_size *size,
                         const dg_sample_draw *draw, dg_variation *out)
{
    const moves m = moves_of(recipe, info, size, draw);
    _Static_assert((int)DG_CHANNELS_MAX <= (int)DG_VARIED_CHANNELS, "a bit for each channel");
    memset(out, 0, sizeof *out);
    dg_augment_move(&m.coarse, size->patch, m.coarse_spacing, &out->coarse);
    const dg_augmentation still = {.flip = false}; /* labels are moved already */
    dg_augment_move(recipe->labels ? &still : &m.fine, m.fine_shape, m.fine_spacing, &out->fine);
    out->mirrored = draw->augment.flip;
    dg_augment_noise(&m.coarse, &out->noise);
    out->brightening = dg_augment_brightening(&m.coarse);
    for (int c = 0; c < recipe->count; c++) {
        out->channel[c] = (int8_t)(draw->augment.flip ? recipe->channel[c].mirror : c);
        if (recipe->channel[c].kind == DG_CHANNEL_CT) out->scan |= UINT64_C(1) << c;
    }
    out->regions = recipe->regions;
    for (int r = 0; r < recipe->regions; r++) out->region[r] = (int8_t)recipe->region[r].mirror;
}

/* Voxels of the varied sample that count and lie in one of the regions `inside`, from the arrays as they were read. */
static int64_t count_coupled(const dg_variation *how, uint32_t inside, const uint8_t *counted, const uint32_t *regions)
{
    const dg_move *m = &how->fine;
    int64_t count = 0;
    for (int64_t y = 0; y < m->n[1]; y++)
        for (int64_t x = 0; x < m->n[2]; x++) {
            const dg_corners nearest = dg_move_corners(m, y, x, true);
            for (int64_t z = 0; z < m->n[0]; z++) {
                const int64_t at = dg_move_plane(m, z) + nearest.y0 + nearest.x0;
                const uint32_t bits =
                    how->mirrored ? dg_mirrored_regions(regions[at], how->region, how->regions) : regions[at];
                count += counted[at] != 0 && (bits & inside) != 0;
            }
        }
    return count;
}

/* Distances to the surface of a label, as it lies in the patch. */
static dg_status measure(const dg_recipe *recipe, const dg_sample_size *size, const float *target,
                         const uint8_t *counted, float *distance)
{
    uint8_t *label;
    DG_TRY(DG_NEW(&label, size->outputs, "label of a sample"));
    for (int64_t i = 0; i < size->outputs; i++) label[i] = counted[i] != 0 && target[i] > 0.5f;
    dg_status status = dg_label_distance(label, counted, size->patch, recipe->upstream_distance, 1, distance);
    dg_free(&label);
    return status;
}

/* A raw sample's label goes by its nearest voxels, which a device does not: it is moved here, and only mirrored there. */
static dg_status move_label(const dg_recipe *recipe, const dg_sample_size *size, const moves *m, bool mirrored,
                            dg_sample_work *work, dg_sample *out)
{
    if (m->any) {
        move(&m->fine, m->fine_shape, m->fine_spacing, true, out->target, work->spare);
        move_counted(&m->fine, m->fine_shape, m->fine_spacing, out->counted, work->spare);
    }
    if (out->distance == NULL) return DG_OK;
    arrange_outputs(size, mirrored, out->target, out->counted, work->dose, work->counted);
    return measure(recipe, size, work->dose, work->counted, out->distance);
}

bool dg_all_finite(const float *values, int64_t count)
{
    /* By the exponent's bits, as whole numbers: sums of floats keep their order, so a loop over them does not vectorise. */
    uint32_t unfinite = 0;
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        unfinite |= (bits & 0x7f800000u) == 0x7f800000u;
    }
    return unfinite == 0;
}

static dg_status read_finite(dg_source *source, const dg_sample_size *size, const dg_sample_draw *draw,
                             const dg_source_buffers *buffers)
{
    DG_TRY(dg_source_read(source, draw->index, &draw->box, buffers));
    if (dg_all_finite(buffers->channels, size->voxels * size->channels) && dg_all_finite(buffers->dose, size->outputs))
        return DG_OK;
    return DG_FAIL(DG_ERR_DATA,
                   "case %s: its CT, distances or dose hold a value that is not finite in the patch at voxel "
                   "(%lld, %lld, %lld); import the case again or leave it out",
                   dg_cohort_case(dg_source_cohort(source), draw->index)->id, (long long)draw->box.start[0],
                   (long long)draw->box.start[1], (long long)draw->box.start[2]);
}

dg_status dg_sample_make(dg_source *source, const dg_sample_size *size, const dg_sample_draw *draw,
                         dg_sample_work *work, dg_sample *out)
{
    const dg_recipe *recipe = dg_source_recipe(source);
    const dg_case_info *info = dg_cohort_case(dg_source_cohort(source), draw->index);
    const bool mirrored = draw->augment.flip;
    dg_source_buffers buffers = {
        .channels = work->channels, .dose = work->dose, .counted = work->counted, .regions = work->regions};
    if (size->raw) buffers = (dg_source_buffers){out->input, out->target, out->counted, out->regions};
    DG_TRY(read_finite(source, size, draw, &buffers));
    out->draw = *draw;
    if (size->coupled != 0) {
        dg_variation how;
        dg_sample_variation(recipe, info, size, draw, &how);
        out->coupled = count_coupled(&how, size->coupled, buffers.counted, buffers.regions);
    }
    const moves m = moves_of(recipe, info, size, draw);
    if (size->raw && size->labels) DG_TRY(move_label(recipe, size, &m, mirrored, work, out));
    if (!size->raw) {
        vary(recipe, &m, size, work);
        dg_sample_interleave(recipe, size, mirrored, work->channels, out->input);
        arrange_outputs(size, mirrored, work->dose, work->counted, out->target, out->counted);
        if (out->regions != NULL) arrange_regions(recipe, size, mirrored, work->regions, out->regions);
        if (out->distance != NULL) DG_TRY(measure(recipe, size, out->target, out->counted, out->distance));
    }
    double scale_gy;
    DG_TRY(dg_recipe_scale(recipe, info, &scale_gy));
    *out->scale_gy = (float)scale_gy;
    dg_recipe_constraints(recipe, info, mirrored, out->constraint);
    return DG_OK;
}
