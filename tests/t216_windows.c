/* ctest: libs=test_tensor,dg_grid label=unit timeout=120 args=--backend ref; --backend onednn */
/* t216_windows.c - sliding windows of a backend: a network that changes nothing gives the volume back, whatever the sizes;
 * planes come and go through a ring; mirrored windows, several output voxels under a window's one, strips added as a whole;
 * values that are no numbers are found in their window. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_mem.h"
#include "dg_window.h"
#include "test_tensor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static float value_at(int64_t c, int64_t z, int64_t y, int64_t x)
{
    return (float)((3 * z + 5 * y + 7 * x + 11 * c) % 31) * 0.125f - 1.5f; /* exact in bf16 */
}

/* A ring of zeros with room for `height` planes. */
static dg_ring ring_make(test_scope *s, int64_t c, const int64_t shape[3], int64_t height)
{
    return (dg_ring){.data = test_buffer(s, NULL, c * height * shape[1] * shape[2]),
                     .c = c,
                     .z = shape[0],
                     .y = shape[1],
                     .x = shape[2],
                     .height = height};
}

/* Planes first .. end - 1 of the volume of value_at come ahead of what is queued. */
static void fill_planes(test_scope *s, const dg_ring *ring, int64_t first, int64_t end)
{
    const int64_t plane = ring->y * ring->x;
    float *host = test_floats(plane);
    for (int64_t c = 0; c < ring->c; c++)
        for (int64_t z = first; z < end; z++) {
            for (int64_t i = 0; i < plane; i++) host[i] = value_at(c, z, i / ring->x, i % ring->x);
            DG_CHECK_OK(s->ops->upload_ahead(s->backend, ring->data + (c * ring->height + z % ring->height) * plane,
                                             host, plane * 4));
            memset(host, 0xff, (size_t)plane * 4); /* it may change on return */
        }
    free(host);
}

/* Weights of a window and their sums along an axis, as backend memory. */
static float *axis_weights(test_scope *s, int64_t length, int64_t patch, const int64_t *starts, int64_t count,
                           float **sums)
{
    float *g = test_floats(patch), *sum = test_floats(length);
    dg_window_importance(patch, g);
    for (int64_t w = 0; w < count; w++)
        for (int64_t i = 0; i < patch; i++)
            if (starts[w] + i < length) sum[starts[w] + i] += g[i];
    for (int64_t i = 0; i < length; i++) DG_CHECK(sum[i] > 1e-4f);
    float *out = test_buffer(s, g, patch);
    *sums = test_buffer(s, sum, length);
    free(g);
    free(sum);
    return out;
}

/* Windows layer by layer; the network is a copy of channel 0. With strips, windows of one y are blended apart first. */
static void check_identity(test_scope *s, const int64_t shape[3], const int64_t patch[3], double overlap, int64_t batch,
                           bool strips, bool mirrored)
{
    int64_t *start[3], count[3];
    float *weight[3], *sums[3];
    const int64_t one[3] = {1, 1, 1}, strip_shape[3] = {patch[0], patch[1], shape[2]};
    for (int a = 0; a < 3; a++) {
        DG_CHECK_OK(dg_window_starts(shape[a], patch[a], overlap, &start[a], &count[a]));
        weight[a] = axis_weights(s, shape[a], patch[a], start[a], count[a], &sums[a]);
    }
    const int64_t held = patch[0] < shape[0] ? patch[0] : shape[0], plane = shape[1] * shape[2];
    dg_ring volume = ring_make(s, 2, shape, held), sum = ring_make(s, 1, shape, held);
    dg_ring strip = ring_make(s, 1, strip_shape, patch[0]);
    dg_tensor x = test_tensor(s, DG_F32, (test_shape){batch, patch[0], patch[1], patch[2], 2}, 0, NULL);
    dg_tensor y = test_tensor(s, DG_F32, (test_shape){batch, patch[0], patch[1], patch[2], 1}, 0, NULL);
    const dg_window_channels channels = {.from = {1, 0}, .outside = {5, 1e30f}};
    float *out = test_buffer(s, NULL, shape[0] * plane);
    int64_t known = 0, ready = 0;
    DG_CHECK_OK(s->ops->sync(s->backend));
    for (int64_t z = 0; z < count[0]; z++) {
        const int64_t end = start[0][z] + held < shape[0] ? start[0][z] + held : shape[0];
        DG_CHECK_OK(s->ops->sync(s->backend)); /* the planes that are written over are no longer used */
        fill_planes(s, &volume, known > start[0][z] ? known : start[0][z], end);
        known = end;
        for (int64_t row = 0; row < count[1]; row++)
            for (int64_t first = 0; first < count[2]; first += batch) {
                dg_windows windows = {.mirrored = mirrored};
                const int64_t n = count[2] - first < batch ? count[2] - first : batch;
                for (int64_t i = 0; i < n; i++)
                    memcpy(windows.start[i], (int64_t[3]){start[0][z], start[1][row], start[2][first + i]},
                           sizeof windows.start[i]);
                dg_tensor some = x, from = x, to = y;
                some.n = from.n = to.n = n;
                DG_CHECK_OK(s->ops->window_gather(s->backend, &volume, &channels, &windows, &some));
                from.data = (float *)x.data + 1;
                from.c = 1;
                DG_CHECK_OK(s->ops->copy(s->backend, &from, &to, false));
                if (!strips) {
                    DG_CHECK_OK(
                        s->ops->window_blend(s->backend, &to, one, &windows, (const float *const *)weight, 1, &sum));
                    continue;
                }
                for (int64_t i = 0; i < n; i++) windows.start[i][0] = windows.start[i][1] = 0;
                for (int half = 0; half < 2; half++) /* two halves make a whole */
                    DG_CHECK_OK(s->ops->window_blend(s->backend, &to, one, &windows, (const float *const *)weight, 0.5f,
                                                     &strip));
                if (first + n < count[2]) continue;
                const float *const none[3] = {NULL, NULL, NULL};
                const dg_windows whole = {.start = {{start[0][z], start[1][row], 0}}};
                const dg_tensor all = {strip.data, DG_F32, 1, patch[0], patch[1], shape[2], 1, 1};
                DG_CHECK_OK(s->ops->window_blend(s->backend, &all, one, &whole, none, 1, &sum));
                DG_CHECK_OK(s->ops->fill(s->backend, strip.data, patch[0] * patch[1] * shape[2], 0));
            }
        const int64_t next = z + 1 < count[0] ? start[0][z + 1] : shape[0];
        DG_CHECK_OK(s->ops->window_finish(s->backend, &sum, ready, next - ready, (const float *const *)sums, -100, 2.2f,
                                          out + ready * plane));
        ready = next;
    }
    float *got = test_buffer_get(s, out, shape[0] * plane), *left = test_buffer_get(s, sum.data, held * plane);
    for (int64_t i = 0; i < shape[0] * plane; i++)
        DG_CHECK_NEAR(got[i], fminf(value_at(0, i / plane, i / shape[2] % shape[1], i % shape[2]), 2.2f), 2e-6);
    for (int64_t i = 0; i < held * plane; i++) DG_CHECK(left[i] == 0);
    free(got);
    free(left);
    for (int a = 0; a < 3; a++) dg_free(&start[a]);
    test_scope_clear(s);
}

/* Outside values, channel order, bf16 and a pitch, one voxel at a time. */
static void check_gather(test_scope *s, dg_dtype dtype, bool mirrored)
{
    const int64_t shape[3] = {4, 3, 5};
    dg_ring volume = ring_make(s, 3, shape, 5);
    const dg_window_channels channels = {.from = {2, 0, 1, 2}, .outside = {-1, 1, 0.5f, 2}};
    const dg_windows windows = {.start = {{-2, -1, -3}, {2, 1, 3}}, .mirrored = mirrored};
    dg_tensor x = test_tensor(s, dtype, (test_shape){2, 5, 3, 4, 4}, 3, NULL);
    DG_CHECK_OK(s->ops->sync(s->backend));
    fill_planes(s, &volume, 0, 4);
    DG_CHECK_OK(s->ops->window_gather(s->backend, &volume, &channels, &windows, &x));
    float *got = test_tensor_get(s, &x);
    for (int64_t i = 0; i < 2 * 60 * 4; i++) {
        const int64_t k = i % 4, v = i / 4 % 60, *start = windows.start[i / 240];
        const int64_t z = start[0] + v / 12, y = start[1] + v / 4 % 3, x0 = v % 4,
                      xx = start[2] + (mirrored ? 3 - x0 : x0);
        const bool in = z >= 0 && z < 4 && y >= 0 && y < 3 && xx >= 0 && xx < 5;
        DG_CHECK(got[i] == (in ? value_at(channels.from[k], z, y, xx) : channels.outside[k]));
    }
    free(got);
    test_scope_clear(s);
}

/* Blocks of output voxels under every voxel of a window land where the native grid has them. */
static void check_blocks(test_scope *s, bool mirrored)
{
    const int64_t sub[3] = {1, 2, 3}, shape[3] = {3, 6, 12};
    dg_ring sum = ring_make(s, 1, shape, 3);
    const float *const none[3] = {NULL, NULL, NULL};
    float *values = test_floats(2 * 2 * 4 * 6);
    for (int i = 0; i < 2 * 2 * 4 * 6; i++) values[i] = (float)i;
    dg_tensor y = test_tensor(s, DG_F32, (test_shape){1, 2, 2, 4, 6}, 0, values);
    const dg_windows windows = {.start = {{1, -1, 0}}, .mirrored = mirrored};
    DG_CHECK_OK(s->ops->window_blend(s->backend, &y, sub, &windows, none, 2, &sum));
    float *got = test_buffer_get(s, sum.data, 3 * 6 * 12);
    for (int64_t i = 0; i < 3 * 6 * 12; i++) {
        const int64_t z = i / 72 - 1, row = i / 12 % 6 + 2, x = mirrored ? 11 - i % 12 : i % 12;
        const bool in = z >= 0 && row < 4;
        const int64_t voxel = (z * 2 + row / 2) * 4 + x / 3;
        DG_CHECK(got[i] == (in ? 2 * values[voxel * 6 + row % 2 * 3 + x % 3] : 0));
    }
    free(got);
    free(values);
    test_scope_clear(s);
}

static void check_nonfinite(test_scope *s, dg_dtype dtype, int64_t channels, int64_t padding)
{
    const test_shape shape = {4, 3, 2, 5, channels};
    float *values = test_floats(test_count(shape));
    const int64_t each = 30 * channels;
    values[each + each - 1] = NAN;
    values[3 * each] = -INFINITY;
    values[2 * each + 1] = 3e38f;
    dg_tensor x = test_tensor(s, dtype, shape, padding, values);
    float *memory = test_buffer(s, (float[4]){0, 0, 0, 0}, 4);
    int32_t found[4];
    DG_CHECK_OK(s->ops->find_nonfinite(s->backend, &x, (int32_t *)memory));
    DG_CHECK_OK(s->ops->download(s->backend, found, memory, sizeof found));
    DG_CHECK(found[0] == 0 && found[1] == 1 && found[2] == 0 && found[3] == 1);
    free(values);
    test_scope_clear(s);
}

static void check_refusals(test_scope *s)
{
    const int64_t shape[3] = {4, 4, 4}, sub[3] = {2, 1, 1};
    dg_ring ring = ring_make(s, 1, shape, 4), empty = ring;
    dg_window_channels channels = {.from = {1}};
    const dg_windows windows = {.mirrored = false};
    dg_tensor x = test_tensor(s, DG_F32, (test_shape){1, 2, 2, 2, 1}, 0, NULL), many = x;
    const float *const none[3] = {NULL, NULL, NULL};
    DG_CHECK_FAILS(s->ops->window_gather(s->backend, &ring, &channels, &windows, &x), DG_ERR_INTERNAL,
                   "channel 0 comes from 1, the volume has 1");
    channels.from[0] = 0;
    many.n = DG_WINDOW_BATCH + 1;
    DG_CHECK_FAILS(s->ops->window_gather(s->backend, &ring, &channels, &windows, &many), DG_ERR_INTERNAL,
                   "33 windows; at most 32 at once");
    empty.height = 0;
    DG_CHECK_FAILS(s->ops->window_gather(s->backend, &empty, &channels, &windows, &x), DG_ERR_INTERNAL,
                   "a ring of 0 planes");
    DG_CHECK_FAILS(s->ops->window_blend(s->backend, &x, sub, &windows, none, 1, &ring), DG_ERR_INTERNAL,
                   "1 channels for 2 x 1 x 1 voxels");
    DG_CHECK_FAILS(s->ops->window_finish(s->backend, &ring, 3, 2, none, 0, 1, ring.data), DG_ERR_INTERNAL,
                   "planes 3 to 5 of 4");
    DG_CHECK_FAILS(s->ops->find_nonfinite(s->backend, &x, NULL), DG_ERR_INTERNAL, "found is missing");
    test_scope_clear(s);
}

int main(int argc, char **argv)
{
    test_scope s = test_scope_open(argc > 2 ? argv[2] : "ref", 2);
    const int64_t patch[3] = {3, 4, 2};
    for (int64_t i = 0; i < 16; i++) { /* every axis through 1 .. twice the window */
        const int64_t shape[3] = {i % 6 + 1, (3 * i + 2) % 8 + 1, (5 * i + 1) % 4 + 1};
        check_identity(&s, shape, patch, 0.5, 1 + i % 3, i % 2 == 0, i % 3 == 1);
        check_identity(&s, shape, patch, i % 5 * 0.2, 2, i % 2 == 1, false);
    }
    for (int mirrored = 0; mirrored < 2; mirrored++) {
        check_gather(&s, DG_F32, mirrored == 1);
        check_gather(&s, DG_BF16, mirrored == 1);
        check_blocks(&s, mirrored == 1);
    }
    for (int padding = 0; padding < 2; padding++) {
        check_nonfinite(&s, DG_F32, 3, padding);
        check_nonfinite(&s, DG_BF16, 5, padding);
        check_nonfinite(&s, DG_F32, 8, 8 * padding);
        check_nonfinite(&s, DG_BF16, 8, 8 * padding);
    }
    check_refusals(&s);
    test_scope_close(&s);
    return 0;
}
