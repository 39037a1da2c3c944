/* ctest: libs=golden_io,dg_backend,dg_formats,dg_grid label=unit timeout=120 args=--backend ref; --backend onednn */
/* golden_geometry.c - distances, resampling, contours, crops, patches, augmentation and stitching against the reference's
 * results (golden README section 9), and the resizing and pooling of a backend. Groups that are absent are skipped.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_backend.h"
#include "dg_check.h"
#include "dg_conditioning.h"
#include "dg_distance.h"
#include "dg_mem.h"
#include "dg_patch.h"
#include "dg_raster.h"
#include "dg_resample.h"
#include "dg_volume.h"
#include "dg_window.h"
#include "golden_io.h"

enum { THREADS = 2 };

/* Blends windows, and has the operations that are checked. */
static dg_backend *device;

static char label_text[512];

/* "a/b" for messages and paths. */
static const char *path_of(const char *format, const char *a, const char *b)
{
    snprintf(label_text, sizeof label_text, format, a, b);
    return label_text;
}

/* Ends the program when the dataset is no array of `rank` axes with something in it. */
static void want_rank(golden *file, const char *path, const golden_array *a, int rank)
{
    if (a->rank != rank || a->count == 0) golden_reject(file, path, "has not the rank this layout gives it");
}

/* The same shape along the last three axes. */
static void want_volume(golden *file, const char *path, const golden_array *a, const int64_t shape[3])
{
    if (a->rank < 3 || a->count == 0 || memcmp(a->shape + a->rank - 3, shape, 3 * sizeof *shape) != 0)
        golden_reject(file, path, "has not the shape of the volume it belongs to");
}

static float *floats(int64_t count)
{
    float *p;
    DG_CHECK_OK(DG_NEW(&p, count, "golden"));
    return p;
}

static uint8_t *bytes_of(const golden_array *a)
{
    uint8_t *p;
    DG_CHECK_OK(DG_NEW(&p, a->count, "golden"));
    for (int64_t i = 0; i < a->count; i++) p[i] = (uint8_t)a->i64[i];
    return p;
}

/* The tolerance of the README for this file: 1e-6 of the largest value. */
static void check_floats(golden_tally *tally, const char *what, const float *got, const golden_array *want,
                         double scale)
{
    golden_error e = golden_compare(got, want->f32, want->count);
    golden_check(tally, what, "max", e.max, scale * (e.absmax > 0 ? e.absmax : 1));
}

static void check_count(golden_tally *tally, const char *what, int64_t different)
{
    golden_check(tally, what, "different", (double)different, 0);
}

/* ---- sdf ---------------------------------------------------------------------------------------------------------- */

static void compare_dataset(golden *file, golden_tally *tally, const char *group, const char *name, const float *got,
                            int64_t voxels, double factor)
{
    char path[256];
    snprintf(path, sizeof path, "sdf/%s/%s", group, name);
    if (!golden_has(file, path)) return;
    golden_array want = golden_read_f32(file, "%s", path);
    golden_want_count(file, path, &want, voxels);
    float *scaled = floats(want.count);
    for (int64_t i = 0; i < want.count; i++) scaled[i] = (float)(got[i] * factor);
    check_floats(tally, path, scaled, &want, 1e-6);
    dg_free(&scaled);
    golden_array_free(&want);
}

/* Dataset "sdf" with the file's clip distance, "sdf_clip8" with 8 mm and so on. */
static void check_signed(golden *file, golden_tally *tally, const char *group, const uint8_t *mask, const dg_grid *grid,
                         double clip_mm, float *sdf)
{
    char **names;
    int count = golden_children(file, path_of("%s/%s", "sdf", group), &names);
    for (int i = 0; i < count; i++) {
        double clip = clip_mm;
        if (strcmp(names[i], "sdf") != 0 && sscanf(names[i], "sdf_clip%lf", &clip) != 1) continue;
        DG_CHECK_OK(dg_signed_distance_upstream(mask, grid, clip, THREADS, sdf));
        compare_dataset(file, tally, group, names[i], sdf, dg_grid_voxels(grid), 1 / clip);
    }
    golden_names_free(&names, count);
}

static void check_mask_distances(golden *file, golden_tally *tally, const char *group, const double spacing[3],
                                 double clip_mm)
{
    golden_array raw = golden_read_i64(file, "sdf/%s/mask", group);
    want_rank(file, path_of("%s/%s", "sdf", group), &raw, 3);
    dg_grid grid = dg_grid_make(raw.shape, spacing);
    uint8_t *mask = bytes_of(&raw), *inverse = bytes_of(&raw);
    float *sdf = floats(raw.count);
    int64_t set = 0;
    for (int64_t i = 0; i < raw.count; i++) {
        set += mask[i] != 0;
        inverse[i] = mask[i] == 0;
    }
    check_signed(file, tally, group, mask, &grid, clip_mm, sdf);
    /* without any opposite voxel the reference measures to its phantom: only the upstream variant knows that one */
    bool phantom_inside = set == raw.count, phantom_outside = set == 0;
    if (phantom_inside)
        DG_CHECK_OK(dg_signed_distance_upstream(mask, &grid, 1e9, THREADS, sdf));
    else
        DG_CHECK_OK(dg_distance(inverse, &grid, THREADS, sdf));
    compare_dataset(file, tally, group, "edt_inside", sdf, raw.count, phantom_inside ? -1 : 1);
    if (phantom_outside)
        DG_CHECK_OK(dg_signed_distance_upstream(inverse, &grid, 1e9, THREADS, sdf));
    else
        DG_CHECK_OK(dg_distance(mask, &grid, THREADS, sdf));
    compare_dataset(file, tally, group, "edt_outside", sdf, raw.count, phantom_outside ? -1 : 1);
    dg_free(&sdf);
    dg_free(&mask);
    dg_free(&inverse);
    golden_array_free(&raw);
}

static void check_sdf(golden *file, golden_tally *tally)
{
    char **names;
    double spacing[3];
    DG_CHECK(golden_attr_list(file, "sdf", "spacing_mm", spacing, 3) == 3);
    int count = golden_children(file, "sdf", &names);
    for (int i = 0; i < count; i++)
        check_mask_distances(file, tally, names[i], spacing, golden_attr_or(file, "sdf", "clip_mm", 50));
    golden_names_free(&names, count);
}

/* ---- bspline ------------------------------------------------------------------------------------------------------ */

static dg_grid read_grid(golden *file, const char *group, const char *prefix, const int64_t shape[3])
{
    double spacing[3], origin[3], direction[9];
    char name[64];
    snprintf(name, sizeof name, "%s_spacing_xyz", prefix);
    DG_CHECK(golden_attr_list(file, group, name, spacing, 3) == 3);
    snprintf(name, sizeof name, "%s_origin_xyz", prefix);
    DG_CHECK(golden_attr_list(file, group, name, origin, 3) == 3);
    snprintf(name, sizeof name, "%s_direction", prefix);
    DG_CHECK(golden_attr_list(file, group, name, direction, 9) == 9);
    dg_grid grid = dg_grid_make(shape, (double[3]){spacing[2], spacing[1], spacing[0]});
    for (int a = 0; a < 3; a++) grid.origin_mm[a] = origin[2 - a];
    memcpy(grid.direction, direction, sizeof direction);
    return grid;
}

static void check_bspline_case(golden *file, golden_tally *tally, const char *name)
{
    char group[128], label[256];
    double size[3];
    snprintf(group, sizeof group, "bspline/%s", name);
    golden_array in = golden_read_f32(file, "%s/in/dose_zyx", group);
    golden_array want = golden_read_f32(file, "%s/out/resampled_zyx", group);
    golden_array final = golden_read_f32(file, "%s/out/final_yxz", group);
    DG_CHECK(golden_attr_list(file, group, "ref_size_xyz", size, 3) == 3);
    const int64_t shape[3] = {(int64_t)size[2], (int64_t)size[1], (int64_t)size[0]};
    want_rank(file, path_of("%s/%s", group, "in/dose_zyx"), &in, 3);
    want_volume(file, path_of("%s/%s", group, "out/resampled_zyx"), &want, shape);
    golden_want_count(file, path_of("%s/%s", group, "out/final_yxz"), &final, want.count);
    dg_grid from = read_grid(file, group, "in", in.shape), to = read_grid(file, group, "ref", shape);
    float *out = floats(want.count), *turned = floats(want.count);
    float outside = (float)golden_attr_or(file, group, "default_value", 0);
    DG_CHECK_OK(dg_resample_bspline(in.f32, &from, &to, outside, THREADS, out));
    golden_error e = golden_compare(out, want.f32, want.count);
    snprintf(label, sizeof label, "%s/out/resampled_zyx", group);
    golden_check(tally, label, "max Gy", e.max, 1e-4);
    for (int64_t z = 0; z < shape[0]; z++)
        for (int64_t y = 0; y < shape[1]; y++)
            for (int64_t x = 0; x < shape[2]; x++)
                turned[(y * shape[2] + x) * shape[0] + z] = fmaxf(0, out[dg_grid_index(&to, z, y, x)]);
    e = golden_compare(turned, final.f32, final.count);
    snprintf(label, sizeof label, "%s/out/final_yxz", group);
    golden_check(tally, label, "max Gy", e.max, 1e-4);
    dg_free(&out);
    dg_free(&turned);
    golden_array_free(&in);
    golden_array_free(&want);
    golden_array_free(&final);
}

static void check_bspline(golden *file, golden_tally *tally)
{
    char **names;
    int count = golden_children(file, "bspline", &names);
    for (int i = 0; i < count; i++) check_bspline_case(file, tally, names[i]);
    golden_names_free(&names, count);
}

/* ---- polygon ------------------------------------------------------------------------------------------------------ */

/* Voxels where the mask [slice, row, column] differs from the reference's [row, column, slice]. */
static int64_t mask_difference(const uint8_t *mask, const int64_t *want, const dg_raster_slices *s)
{
    int64_t different = 0;
    for (int64_t r = 0; r < s->rows; r++)
        for (int64_t c = 0; c < s->columns; c++)
            for (int64_t k = 0; k < s->count; k++)
                different +=
                    mask[(k * s->rows + r) * s->columns + c] != (want[(r * s->columns + c) * s->count + k] != 0);
    return different;
}

static void check_polygon(golden *file, golden_tally *tally)
{
    golden_array z = golden_read_f64(file, "polygon/slice_z"), points = golden_read_f64(file, "polygon/points_xyz_mm");
    golden_array offset = golden_read_i64(file, "polygon/offsets");
    golden_array each = golden_read_i64(file, "polygon/mask_per_contour");
    golden_array all = golden_read_i64(file, "polygon/mask_yxz");
    double spacing[2], origin[2];
    want_rank(file, "polygon/mask_yxz", &all, 3);
    want_rank(file, "polygon/offsets", &offset, 1);
    golden_want_count(file, "polygon/slice_z", &z, all.shape[2]);
    golden_want_count(file, "polygon/mask_per_contour", &each, all.count * (offset.count - 1));
    for (int64_t i = 0; i < offset.count; i++)
        if (offset.i64[i] < (i > 0 ? offset.i64[i - 1] : 0) || 3 * offset.i64[i] > points.count)
            golden_reject(file, "polygon/offsets", "does not rise within the points there are");
    DG_CHECK(golden_attr_list(file, "polygon", "pixel_spacing", spacing, 2) == 2);
    DG_CHECK(golden_attr_list(file, "polygon", "origin_xy", origin, 2) == 2);
    /* the reference takes PixelSpacing[0], DICOM's row spacing, along x (quirk 9) */
    dg_raster_slices slices = {.rows = all.shape[0],
                               .columns = all.shape[1],
                               .count = all.shape[2],
                               .spacing_mm = {spacing[1], spacing[0]},
                               .origin_mm = {origin[1], origin[0]},
                               .slice_z_mm = z.f64};
    int64_t count = offset.count - 1;
    dg_contour *contours;
    uint8_t *mask;
    DG_CHECK_OK(DG_NEW(&contours, count, "golden"));
    DG_CHECK_OK(DG_NEW(&mask, all.count, "golden"));
    for (int64_t i = 0; i < count; i++) {
        char label[64];
        contours[i] = (dg_contour){points.f64 + 3 * offset.i64[i], offset.i64[i + 1] - offset.i64[i]};
        DG_CHECK_OK(dg_raster_contours(&contours[i], 1, &slices, DG_RASTER_UNION_UPSTREAM, mask, NULL));
        snprintf(label, sizeof label, "polygon/mask_per_contour[%lld]", (long long)i);
        check_count(tally, label, mask_difference(mask, each.i64 + i * all.count, &slices));
    }
    DG_CHECK_OK(dg_raster_contours(contours, count, &slices, DG_RASTER_UNION_UPSTREAM, mask, NULL));
    check_count(tally, "polygon/mask_yxz", mask_difference(mask, all.i64, &slices));
    dg_free(&contours);
    dg_free(&mask);
    golden_array *arrays[] = {&z, &points, &offset, &each, &all};
    for (int i = 0; i < 5; i++) golden_array_free(arrays[i]);
}

/* ---- crop, constraints -------------------------------------------------------------------------------------------- */

static void check_crop_case(golden *file, golden_tally *tally, const char *name)
{
    char group[128], **children;
    double want[6], centre[3];
    snprintf(group, sizeof group, "crop/%s", name);
    golden_array target = golden_read_i64(file, "%s/%s", group,
                                          golden_has(file, path_of("%s/%s", group, "prostate")) ? "prostate" : "ptv70");
    want_rank(file, group, &target, 3);
    uint8_t *mask = bytes_of(&target), *any = bytes_of(&target);
    int count = golden_children(file, group, &children);
    for (int i = 0; i < count; i++) {
        golden_array one = golden_read_i64(file, "%s/%s", group, children[i]);
        want_volume(file, path_of("%s/%s", group, children[i]), &one, target.shape);
        for (int64_t k = 0; k < one.count; k++) any[k] |= one.i64[k] != 0;
        golden_array_free(&one);
    }
    golden_names_free(&children, count);
    DG_CHECK(golden_attr_list(file, group, "box_y0y1x0x1z0z1", want, 6) == 6);
    DG_CHECK(golden_attr_list(file, group, "centroid", centre, 3) == 3);
    dg_box box;
    int64_t centroid[3], different = 0;
    DG_CHECK_OK(dg_volume_crop_box_upstream(mask, any, target.shape, golden_attr_or(file, group, "z_spacing", 1),
                                            golden_attr_or(file, group, "z_margin_mm", 30),
                                            (int64_t)golden_attr_or(file, group, "inplane_size", 300),
                                            (int64_t)golden_attr_or(file, group, "min_z", 128), &box, centroid));
    for (int a = 0; a < 3; a++) {
        different += box.start[a] != (int64_t)want[2 * a];
        different += box.start[a] + box.shape[a] != (int64_t)want[2 * a + 1];
        different += centroid[a] != (int64_t)centre[a];
    }
    check_count(tally, group, different);
    dg_free(&mask);
    dg_free(&any);
    golden_array_free(&target);
}

static void check_crop(golden *file, golden_tally *tally)
{
    char **names;
    int count = golden_children(file, "crop", &names);
    for (int i = 0; i < count; i++) check_crop_case(file, tally, names[i]);
    golden_names_free(&names, count);
}

static void check_constraints(golden *file, golden_tally *tally)
{
    golden_array has = golden_read_i64(file, "constraints/exists_ptv70_ptv56_ptv504");
    golden_array want = golden_read_f32(file, "constraints/vector");
    want_rank(file, "constraints/vector", &want, 2);
    golden_want_count(file, "constraints/exists_ptv70_ptv56_ptv504", &has, 3 * want.shape[0]);
    golden_want_count(file, "constraints/vector", &want, DG_CONDITIONING_PROSTATE * want.shape[0]);
    float *got = floats(want.count);
    for (int64_t i = 0; i < want.shape[0]; i++) {
        const int64_t *row = has.i64 + 3 * i;
        dg_conditioning_prostate(row[0] != 0, row[1] != 0, row[2] != 0, 70, got + DG_CONDITIONING_PROSTATE * i);
    }
    check_floats(tally, "constraints/vector", got, &want, 1e-6);
    dg_free(&got);
    golden_array_free(&has);
    golden_array_free(&want);
}

/* ---- patch -------------------------------------------------------------------------------------------------------- */

static void compare_patch(golden *file, golden_tally *tally, const char *in_name, const char *out_name,
                          const int64_t volume_shape[3], const dg_box *box)
{
    if (!golden_has(file, path_of("%s/%s", "patch", out_name))) return;
    golden_array in = golden_read_f32(file, "patch/%s", in_name), want = golden_read_f32(file, "patch/%s", out_name);
    const int64_t *shape = in.shape + in.rank - 3;
    want_volume(file, path_of("%s/%s", "patch", in_name), &in, volume_shape);
    want_volume(file, path_of("%s/%s", "patch", out_name), &want, box->shape);
    int64_t volume = shape[0] * shape[1] * shape[2], voxels = dg_box_voxels(box);
    golden_want_count(file, path_of("%s/%s", "patch", out_name), &want, in.count / volume * voxels);
    float *got = floats(want.count);
    for (int64_t c = 0; c < in.count / volume; c++)
        dg_volume_crop(in.f32 + c * volume, shape, box, 0, got + c * voxels);
    golden_error e = golden_compare(got, want.f32, want.count);
    golden_check(tally, path_of("%s/%s", "patch", out_name), "max", e.max, 0);
    dg_free(&got);
    golden_array_free(&in);
    golden_array_free(&want);
}

static void check_patch(golden *file, golden_tally *tally)
{
    golden_array dose = golden_read_f32(file, "patch/dose");
    int64_t size = (int64_t)golden_attr_or(file, "patch", "patch_size", 0), (*centres)[3];
    int64_t chosen = (int64_t)golden_attr_or(file, "patch", "chosen", 0);
    float threshold = (float)golden_attr_or(file, "patch", "dose_threshold", 0.1);
    double want[3];
    want_rank(file, "patch/dose", &dose, 3);
    if (size < 1) golden_reject(file, "patch", "has no patch_size");
    DG_CHECK(golden_attr_list(file, "patch", "center", want, 3) == 3);
    DG_CHECK_OK(DG_NEW(&centres, dose.count, "golden"));
    const int64_t patch[3] = {size, size, size};
    int64_t count = dg_patch_centres_upstream(dose.shape, patch, dose.f32, threshold, centres);
    check_count(tally, "patch n_candidates", llabs(count - (int64_t)golden_attr_or(file, "patch", "n_candidates", -1)));
    if (chosen < 0 || chosen >= count) golden_reject(file, "patch", "chosen is not the number of a candidate");
    dg_box box;
    int64_t different = 0;
    for (int a = 0; a < 3; a++) {
        different += centres[chosen][a] != (int64_t)want[a];
        box.start[a] = centres[chosen][a] - size / 2;
        /* a volume shorter than the patch gives a short patch (quirk 8) */
        box.shape[a] = box.start[a] + size < dose.shape[a] ? size : dose.shape[a] - box.start[a];
    }
    check_count(tally, "patch center", different);
    compare_patch(file, tally, "dose", "out_dose", dose.shape, &box);
    compare_patch(file, tally, "sdf", "out_sdf", dose.shape, &box);
    compare_patch(file, tally, "ct", "out_ct", dose.shape, &box);
    dg_free(&centres);
    golden_array_free(&dose);
}

/* ---- augment ------------------------------------------------------------------------------------------------------ */

typedef struct recipe {
    bool flip, shift, rotate, noise;
    int64_t by[3];
    double angle_rad, clip[2];
    const float *noise_values;
    int64_t shape[3];
} recipe;

/* The reference's pipeline on one channel, in its order. */
static void augment(const recipe *r, const int64_t n[3], bool is_ct, const float *in, float *out)
{
    int64_t voxels = n[0] * n[1] * n[2];
    float *a = floats(voxels);
    memcpy(out, in, (size_t)voxels * sizeof *out);
    if (r->flip) {
        memcpy(a, out, (size_t)voxels * sizeof *a);
        dg_augment_reverse(n[0], n[1], n[2], 0, a, out);
    }
    if (r->shift) {
        memcpy(a, out, (size_t)voxels * sizeof *a);
        dg_augment_shift(n[0], n[1], n[2], r->by, a, out);
    }
    if (r->rotate) {
        memcpy(a, out, (size_t)voxels * sizeof *a);
        dg_augment_rotate01(n[0], n[1], n[2], r->angle_rad, a, out);
    }
    for (int64_t i = 0; r->noise && is_ct && i < voxels; i++)
        out[i] = fminf(fmaxf(out[i] + r->noise_values[i], (float)r->clip[0]), (float)r->clip[1]);
    dg_free(&a);
}

static void check_augmented(golden *file, golden_tally *tally, const recipe *r, const char *variant, const char *name,
                            const double swap[2])
{
    char path[128];
    snprintf(path, sizeof path, "augment/out/%s/%s", variant, name);
    if (!golden_has(file, path)) return;
    golden_array in = golden_read_f32(file, "augment/in/%s", name), want = golden_read_f32(file, "%s", path);
    want_volume(file, path, &in, r->shape);
    golden_want_count(file, path, &want, in.count);
    const int64_t *shape = r->shape;
    int64_t voxels = shape[0] * shape[1] * shape[2], channels = in.count / voxels;
    if (in.rank == 4 && r->flip && !(fmin(swap[0], swap[1]) >= 0 && fmax(swap[0], swap[1]) < (double)channels))
        golden_reject(file, path, "has no channels femur_channels");
    float *got = floats(want.count);
    for (int64_t c = 0; c < channels; c++) {
        int64_t from = c;
        if (r->flip && c == (int64_t)swap[0] && in.rank == 4) from = (int64_t)swap[1];
        if (r->flip && c == (int64_t)swap[1] && in.rank == 4) from = (int64_t)swap[0];
        augment(r, shape, strcmp(name, "ct") == 0, in.f32 + from * voxels, got + c * voxels);
    }
    check_floats(tally, path, got, &want, 1e-6);
    dg_free(&got);
    golden_array_free(&in);
    golden_array_free(&want);
}

static void check_augment(golden *file, golden_tally *tally)
{
    static const char *const names[] = {"ct", "dose", "sdf"};
    golden_array noise = golden_read_f32(file, "augment/in/noise");
    recipe r = {.noise_values = noise.f32, .angle_rad = golden_attr_or(file, "augment", "angle_deg", 0) * M_PI / 180};
    double by[3], swap[2];
    want_rank(file, "augment/in/noise", &noise, 3);
    memcpy(r.shape, noise.shape, sizeof r.shape);
    DG_CHECK(golden_attr_list(file, "augment", "shift_yxz", by, 3) == 3);
    DG_CHECK(golden_attr_list(file, "augment", "femur_channels", swap, 2) == 2);
    DG_CHECK(golden_attr_list(file, "augment", "ct_clip", r.clip, 2) == 2);
    for (int a = 0; a < 3; a++) r.by[a] = (int64_t)by[a];
    char **variants;
    int count = golden_children(file, "augment/out", &variants);
    for (int i = 0; i < count; i++) {
        bool all = strcmp(variants[i], "all") == 0;
        r.flip = all || strcmp(variants[i], "flip") == 0;
        r.shift = all || strcmp(variants[i], "shift") == 0;
        r.rotate = all || strcmp(variants[i], "rotate") == 0;
        r.noise = all || strcmp(variants[i], "noise") == 0;
        for (int k = 0; k < 3; k++) check_augmented(file, tally, &r, variants[i], names[k], swap);
    }
    golden_names_free(&variants, count);
    golden_array_free(&noise);
}

/* ---- stitch ------------------------------------------------------------------------------------------------------- */

/* Floats in backend memory. */
static float *on_backend(dg_backend *backend, const float *values, int64_t count)
{
    void *data;
    DG_CHECK_OK(backend->ops->alloc(backend, count * 4, "golden", &data));
    if (values != NULL) DG_CHECK_OK(backend->ops->upload(backend, data, values, count * 4));
    return data;
}

/* The weights of a window and their sums along one axis of the volume. */
static void axis_weights(int64_t length, int64_t patch, double overlap, float *g, float *sum)
{
    int64_t *starts, count;
    DG_CHECK_OK(dg_window_starts(length, patch, overlap, &starts, &count));
    dg_window_importance(patch, g);
    for (int64_t w = 0; w < count; w++)
        for (int64_t i = 0; i < patch; i++) sum[starts[w] + i] += g[i];
    dg_free(&starts);
}

/* What a window gives: field0, and half the mean of field1 in it. */
static void window_values(const golden_array *field0, const golden_array *field1, const dg_box *box, float *out)
{
    const int64_t voxels = dg_box_voxels(box);
    float *two = floats(voxels);
    double mean = 0;
    dg_volume_crop(field0->f32, field0->shape, box, 0, out);
    dg_volume_crop(field1->f32, field1->shape, box, 0, two);
    for (int64_t i = 0; i < voxels; i++) mean += two[i];
    for (int64_t i = 0; i < voxels; i++) out[i] += (float)(0.5 * mean / (double)voxels);
    dg_free(&two);
}

static void stitch(const golden_array *field0, const golden_array *field1, const dg_box *boxes, int64_t count,
                   double overlap, float *out)
{
    const int64_t *patch = boxes[0].shape, *n = field0->shape, voxels = dg_box_voxels(&boxes[0]), one[3] = {1, 1, 1};
    float *weight[3], *total[3], *axis[3], *values = floats(voxels), *sum = floats(field0->count);
    for (int a = 0; a < 3; a++) {
        float *g = floats(patch[a]);
        axis[a] = floats(n[a]);
        axis_weights(n[a], patch[a], overlap, g, axis[a]);
        weight[a] = on_backend(device, g, patch[a]);
        total[a] = on_backend(device, axis[a], n[a]);
        dg_free(&g);
    }
    dg_ring ring = {on_backend(device, NULL, field0->count), 1, n[0], n[1], n[2], n[0]};
    float *window = on_backend(device, NULL, voxels), *done = on_backend(device, NULL, field0->count);
    const dg_tensor y = {window, DG_F32, 1, patch[0], patch[1], patch[2], 1, 1};
    for (int64_t w = 0; w < count; w++) {
        dg_windows at = {.mirrored = false};
        memcpy(at.start[0], boxes[w].start, sizeof at.start[0]);
        window_values(field0, field1, &boxes[w], values);
        DG_CHECK_OK(device->ops->upload(device, window, values, voxels * 4));
        DG_CHECK_OK(device->ops->window_blend(device, &y, one, &at, (const float *const *)weight, 1, &ring));
    }
    /* the reference divides by (weight + 1e-8): visible where one corner of a window alone covers a voxel */
    DG_CHECK_OK(device->ops->download(device, sum, ring.data, field0->count * 4));
    for (int64_t i = 0; i < field0->count; i++) {
        const float w = axis[0][i / n[2] / n[1]] * axis[1][i / n[2] % n[1]] * axis[2][i % n[2]];
        sum[i] *= w / (w + 1e-8F);
    }
    DG_CHECK_OK(device->ops->upload(device, ring.data, sum, field0->count * 4));
    DG_CHECK_OK(device->ops->window_finish(device, &ring, 0, n[0], (const float *const *)total, 0, 1.5F, done));
    DG_CHECK_OK(device->ops->download(device, out, done, field0->count * 4));
    float *memory[] = {weight[0], weight[1], weight[2], total[0], total[1], total[2], ring.data, window, done};
    for (int i = 0; i < 9; i++) device->ops->free(device, memory[i]);
    for (int a = 0; a < 3; a++) dg_free(&axis[a]);
    dg_free(&values);
    dg_free(&sum);
}

static void check_stitch_case(golden *file, golden_tally *tally, const char *name)
{
    char group[64];
    snprintf(group, sizeof group, "stitch/%s", name);
    golden_array field0 = golden_read_f32(file, "%s/field0", group), field1 = golden_read_f32(file, "%s/field1", group);
    golden_array want = golden_read_f32(file, "%s/out", group);
    golden_array places = golden_read_i64(file, "%s/positions_yxz", group);
    int64_t size = (int64_t)golden_attr_or(file, group, "patch_size", 0), count, different = 0;
    double overlap = golden_attr_or(file, group, "overlap", 0) / (double)size;
    const int64_t patch[3] = {size, size, size};
    dg_box *boxes;
    want_rank(file, path_of("%s/%s", group, "field0"), &field0, 3);
    want_rank(file, path_of("%s/%s", group, "positions_yxz"), &places, 2);
    golden_want_count(file, path_of("%s/%s", group, "positions_yxz"), &places, 3 * places.shape[0]);
    want_volume(file, path_of("%s/%s", group, "field1"), &field1, field0.shape);
    want_volume(file, path_of("%s/%s", group, "out"), &want, field0.shape);
    for (int a = 0; a < 3; a++)
        if (size < 1 || overlap >= 1 || field0.shape[a] < size)
            golden_reject(file, group, "needs 0 <= overlap < patch_size <= every axis of field0");
    DG_CHECK_OK(dg_window_boxes(field0.shape, patch, overlap, &boxes, &count));
    for (int64_t w = 0; w < count && w < places.shape[0]; w++)
        for (int a = 0; a < 3; a++) different += boxes[w].start[a] != places.i64[3 * w + a];
    check_count(tally, path_of("%s/%s", group, "positions_yxz"), different + llabs(count - places.shape[0]));
    float *out = floats(want.count);
    stitch(&field0, &field1, boxes, count, overlap, out);
    check_floats(tally, path_of("%s/%s", group, "out"), out, &want, 1e-6);
    dg_free(&out);
    dg_free(&boxes);
    golden_array *arrays[] = {&field0, &field1, &want, &places};
    for (int i = 0; i < 4; i++) golden_array_free(arrays[i]);
}

static void check_importance(golden *file, golden_tally *tally, const char *name)
{
    golden_array want = golden_read_f32(file, "stitch/%s", name);
    want_rank(file, path_of("%s/%s", "stitch", name), &want, 3);
    float *got = floats(want.count), *g[3];
    for (int a = 0; a < 3; a++) {
        g[a] = floats(want.shape[a]);
        dg_window_importance(want.shape[a], g[a]);
    }
    for (int64_t i = 0; i < want.count; i++)
        got[i] =
            g[0][i / want.shape[2] / want.shape[1]] * g[1][i / want.shape[2] % want.shape[1]] * g[2][i % want.shape[2]];
    check_floats(tally, path_of("%s/%s", "stitch", name), got, &want, 1e-6);
    dg_free(&got);
    for (int a = 0; a < 3; a++) dg_free(&g[a]);
    golden_array_free(&want);
}

static void check_stitch(golden *file, golden_tally *tally)
{
    char **names;
    int count = golden_children(file, "stitch", &names);
    for (int i = 0; i < count; i++) {
        if (golden_is_dataset(file, path_of("%s/%s", "stitch", names[i])))
            check_importance(file, tally, names[i]);
        else
            check_stitch_case(file, tally, names[i]);
    }
    golden_names_free(&names, count);
}

/* ---- operations of the backend ------------------------------------------------------------------------------------ */

/* A backend tensor [n,z,y,x,c] from values [n,c,z,y,x] (NULL: zeros). */
static dg_tensor tensor_make(dg_backend *backend, const int64_t shape[5], const float *values)
{
    dg_tensor t = {
        .dtype = DG_F32, .n = shape[0], .z = shape[2], .y = shape[3], .x = shape[4], .c = shape[1], .pitch = shape[1]};
    int64_t voxels = dg_tensor_voxels(&t), count = t.n * voxels * t.c;
    float *host = floats(count);
    for (int64_t i = 0; values != NULL && i < count; i++) {
        int64_t v = i % voxels, c = i / voxels % t.c, n = i / voxels / t.c;
        host[(n * voxels + v) * t.c + c] = values[i];
    }
    DG_CHECK_OK(backend->ops->alloc(backend, count * 4, "golden", &t.data));
    DG_CHECK_OK(backend->ops->upload(backend, t.data, host, count * 4));
    dg_free(&host);
    return t;
}

/* The values back in [n,c,z,y,x]; the tensor is freed. */
static float *tensor_take(dg_backend *backend, dg_tensor *t)
{
    int64_t voxels = dg_tensor_voxels(t), count = t->n * voxels * t->c;
    float *host = floats(count), *out = floats(count);
    DG_CHECK_OK(backend->ops->download(backend, host, t->data, count * 4));
    backend->ops->free(backend, t->data);
    for (int64_t i = 0; i < count; i++) {
        int64_t v = i % voxels, c = i / voxels % t->c, n = i / voxels / t->c;
        out[i] = host[(n * voxels + v) * t->c + c];
    }
    dg_free(&host);
    return out;
}

static void check_taken(golden_tally *tally, dg_backend *backend, const char *label, dg_tensor *t,
                        const golden_array *want)
{
    float *got = tensor_take(backend, t);
    check_floats(tally, label, got, want, 1e-6);
    dg_free(&got);
}

/* x and y are (N,C,D,H,W), with gradients of their shapes. */
static void want_pairs(golden *file, const char *group, const golden_array *x, const golden_array *y,
                       const golden_array *grad_x, const golden_array *grad_y)
{
    want_rank(file, group, x, 5);
    want_rank(file, group, y, 5);
    golden_want_count(file, group, grad_x, x->count);
    golden_want_count(file, group, grad_y, y->count);
    if (x->shape[0] != y->shape[0] || x->shape[1] != y->shape[1])
        golden_reject(file, group, "has x and y of other samples or channels");
}

static void check_resize_case(golden *file, golden_tally *tally, dg_backend *backend, const char *group)
{
    golden_array x = golden_read_f32(file, "%s/x", group), y = golden_read_f32(file, "%s/y", group);
    golden_array grad_x = golden_read_f32(file, "%s/grad_x", group), grad_y = golden_read_f32(file, "%s/grad_y", group);
    want_pairs(file, group, &x, &y, &grad_x, &grad_y);
    dg_tensor tx = tensor_make(backend, x.shape, x.f32), ty = tensor_make(backend, y.shape, NULL);
    dg_tensor tdy = tensor_make(backend, y.shape, grad_y.f32), tdx = tensor_make(backend, x.shape, NULL);
    DG_CHECK_OK(backend->ops->resize_forward(backend, &tx, &ty));
    DG_CHECK_OK(backend->ops->resize_backward(backend, &tdy, &tdx, false));
    check_taken(tally, backend, path_of("%s/%s", group, "y"), &ty, &y);
    check_taken(tally, backend, path_of("%s/%s", group, "grad_x"), &tdx, &grad_x);
    backend->ops->free(backend, tx.data);
    backend->ops->free(backend, tdy.data);
    golden_array *arrays[] = {&x, &y, &grad_x, &grad_y};
    for (int i = 0; i < 4; i++) golden_array_free(arrays[i]);
}

/* The winners: numbers 1, 2, .. sent back from the pooled cells must arrive at the voxels the file names. */
static void check_winners(golden_tally *tally, dg_backend *backend, const char *label, dg_tensor *tx,
                          const golden_array *x, const golden_array *index)
{
    float *numbers = floats(index->count);
    int64_t cells = index->shape[2] * index->shape[3] * index->shape[4], different = 0;
    int64_t voxels = x->shape[2] * x->shape[3] * x->shape[4];
    for (int64_t i = 0; i < index->count; i++) numbers[i] = (float)(i % cells + 1);
    dg_tensor tdy = tensor_make(backend, index->shape, numbers), tdx = tensor_make(backend, x->shape, NULL);
    DG_CHECK_OK(backend->ops->pool_backward(backend, tx, &tdy, &tdx, false));
    float *arrived = tensor_take(backend, &tdx);
    for (int64_t i = 0; i < index->count; i++)
        different +=
            index->i64[i] < 0 || index->i64[i] >= voxels || arrived[i / cells * voxels + index->i64[i]] != numbers[i];
    check_count(tally, label, different);
    backend->ops->free(backend, tdy.data);
    dg_free(&numbers);
    dg_free(&arrived);
}

static void check_pool_case(golden *file, golden_tally *tally, dg_backend *backend, const char *group)
{
    golden_array x = golden_read_f32(file, "%s/x", group), y = golden_read_f32(file, "%s/y", group);
    golden_array grad_x = golden_read_f32(file, "%s/grad_x", group), grad_y = golden_read_f32(file, "%s/grad_y", group);
    golden_array index = golden_read_i64(file, "%s/index", group);
    want_rank(file, group, &index, 5);
    want_volume(file, group, &index, y.shape + 2);
    golden_want_count(file, group, &index, y.count);
    want_pairs(file, group, &x, &y, &grad_x, &grad_y);
    dg_tensor tx = tensor_make(backend, x.shape, x.f32), ty = tensor_make(backend, y.shape, NULL);
    dg_tensor tdy = tensor_make(backend, y.shape, grad_y.f32), tdx = tensor_make(backend, x.shape, NULL);
    DG_CHECK_OK(backend->ops->pool_forward(backend, &tx, &ty));
    DG_CHECK_OK(backend->ops->pool_backward(backend, &tx, &tdy, &tdx, false));
    check_taken(tally, backend, path_of("%s/%s", group, "y"), &ty, &y);
    check_taken(tally, backend, path_of("%s/%s", group, "grad_x"), &tdx, &grad_x);
    check_winners(tally, backend, path_of("%s/%s", group, "index"), &tx, &x, &index);
    backend->ops->free(backend, tx.data);
    backend->ops->free(backend, tdy.data);
    golden_array *arrays[] = {&x, &y, &grad_x, &grad_y, &index};
    for (int i = 0; i < 5; i++) golden_array_free(arrays[i]);
}

static void check_operations(golden *file, golden_tally *tally)
{
    dg_backend *backend = device;
    char **names, group[64];
    int count = golden_has(file, "upsample") ? golden_children(file, "upsample", &names) : 0;
    for (int i = 0; i < count; i++) {
        snprintf(group, sizeof group, "upsample/%s", names[i]);
        check_resize_case(file, tally, backend, group);
    }
    if (count > 0) golden_names_free(&names, count);
    if (golden_has(file, "interpolate_to_size")) check_resize_case(file, tally, backend, "interpolate_to_size");
    count = golden_has(file, "maxpool") ? golden_children(file, "maxpool", &names) : 0;
    for (int i = 0; i < count; i++) {
        snprintf(group, sizeof group, "maxpool/%s", names[i]);
        check_pool_case(file, tally, backend, group);
    }
    if (count > 0) golden_names_free(&names, count);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *group;
        void (*check)(golden *file, golden_tally *tally);
    } part[] = {{"sdf", check_sdf},
                {"bspline", check_bspline},
                {"polygon", check_polygon},
                {"crop", check_crop},
                {"constraints", check_constraints},
                {"patch", check_patch},
                {"augment", check_augment},
                {"stitch", check_stitch}};
    golden_args args = golden_parse(argc, argv, "geometry.h5");
    golden *file = golden_open(args.path);
    golden_tally tally = {0};
    const dg_backend_options options = {.threads = THREADS, .deterministic = true};
    DG_CHECK_OK(dg_backend_create(args.backend, &options, &device));
    for (size_t i = 0; i < sizeof part / sizeof *part; i++)
        if (golden_has(file, part[i].group)) part[i].check(file, &tally);
    check_operations(file, &tally);
    dg_backend_destroy(&device);
    golden_close(&file);
    return golden_finish(&tally);
}
