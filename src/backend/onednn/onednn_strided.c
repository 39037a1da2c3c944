/* onednn_strided.c - 4x4x4 convolutions of stride 2 as matrix products of gathered rows. Forward: the inputs of an output voxel,
 * [tap][cin], are a row, and the engine's weights [tap][cin][cout] then those of a 1x1x1 convolution of 64 cin channels. Data
 * gradient: input voxels of one corner of the 2x2x2 cells are read through the same eight taps, so that their readers' gradients,
 * [tap][cout], are a row, and each corner has a 1x1x1 convolution of 8 cout channels: every result is rounded once.
 * SPDX-License-Identifier: Apache-2.0 */
#include "conv_impl.h"

#include "dg_bf16.h"

#include <string.h>

enum { SIDE = 4, TAPS = SIDE * SIDE * SIDE, CORNERS = 8 };

struct onednn_strided {
    dg_conv *windows, *corner[CORNERS];
    void *gathered; /* rows of the product that runs */
    void *result;   /* of a corner: [output voxels][cin] */
    float *weights; /* of a corner: [8 cout][cin] */
};

/* Bits of a corner or of one of its readers: z, y, x. */
static int bit(int of, int axis) { return of >> (2 - axis) & 1; }
/* Along an axis, voxel 2 m + corner is read through this tap by output m + corner - reader. */
static int tap_of(int corner, int reader) { return 1 - corner + 2 * reader; }

dg_status onednn_strided_create(dg_backend *head, dg_conv *conv)
{
    const dg_conv_desc *d = &conv->desc;
    const int64_t outputs = d->n * (d->z / 2) * (d->y / 2) * (d->x / 2), size = (int64_t)dg_dtype_size(d->dtype);
    int64_t width = TAPS * d->cin;
    onednn_strided *s;
    DG_TRY(DG_NEW(&conv->strided, 1, "strided convolution"));
    s = conv->strided;
    dg_conv_desc rows = {DG_CONV_SAME, 1,       d->n,     d->z / 2,    d->y / 2, d->x / 2,
                         width,        d->cout, d->dtype, d->training, false};
    DG_TRY(onednn_conv_create(head, &rows, &s->windows));
    rows.cin = CORNERS * d->cout;
    rows.cout = d->cin;
    rows.training = false;
    for (int k = 0; k < CORNERS && d->training; k++) DG_TRY(onednn_conv_create(head, &rows, &s->corner[k]));
    if (d->training && rows.cin > width) width = rows.cin;
    DG_TRY(onednn_alloc(head, outputs * width * size, "windows of a strided convolution", &s->gathered));
    if (!d->training) return DG_OK;
    void *block;
    DG_TRY(onednn_alloc(head, rows.cin * rows.cout * (int64_t)sizeof(float), "weights", &block));
    s->weights = block;
    return onednn_alloc(head, outputs * d->cin * size, "data gradient of a strided convolution", &s->result);
}

void onednn_strided_destroy(dg_backend *head, onednn_strided **strided)
{
    onednn_strided *s = *strided;
    if (s == NULL) return;
    onednn_conv_destroy(head, s->windows);
    for (int k = 0; k < CORNERS; k++) onednn_conv_destroy(head, s->corner[k]);
    onednn_free(head, s->gathered);
    onednn_free(head, s->result);
    onednn_free(head, s->weights);
    dg_free(strided);
}

/* Weights of corner k, a row for each reader and output channel. */
static void corner_weights(const dg_conv_desc *d, int k, const float *w, float *out)
{
    for (int r = 0; r < CORNERS; r++) {
        int64_t tap = 0;
        for (int axis = 0; axis < 3; axis++) tap = tap * SIDE + tap_of(bit(k, axis), bit(r, axis));
        for (int64_t o = 0; o < d->cout; o++)
            for (int64_t i = 0; i < d->cin; i++)
                out[(r * d->cout + o) * d->cin + i] = w[(tap * d->cin + i) * d->cout + o];
    }
}

dg_status onednn_strided_pack(dg_backend *head, dg_conv *conv, const float *w, const float *bias)
{
    onednn_strided *s = conv->strided;
    DG_TRY(onednn_conv_pack(head, s->windows, w, bias));
    for (int k = 0; k < CORNERS && conv->desc.training; k++) {
        corner_weights(&conv->desc, k, w, s->weights);
        DG_TRY(onednn_conv_pack(head, s->corner[k], s->weights, NULL));
    }
    return DG_OK;
}

/* A line of rows along x, of all samples: item = (n * z + at[0]) * y + at[1]. */
typedef struct strided_job {
    const dg_conv_desc *desc; /* of the strided convolution */
    const onednn_strided *strided;
    const dg_tensor *from;
    dg_tensor *to;
    int corner;
} strided_job;

static bool inside(int64_t index, int64_t size) { return index >= 0 && index < size; }

/* The windows of output line `item`; what lies beyond the edge is 0. */
static void gather_windows(void *context, int64_t item)
{
    const strided_job *job = context;
    const dg_tensor *x = job->from;
    const int64_t lines_z = x->z / 2, lines_y = x->y / 2, width = x->x / 2;
    const int64_t n = item / lines_y / lines_z, first_z = 2 * (item / lines_y % lines_z) - 1,
                  first_y = 2 * (item % lines_y) - 1;
    const size_t cell = (size_t)x->c * dg_dtype_size(x->dtype);
    char *row = (char *)job->strided->gathered + (size_t)(item * width * TAPS) * cell;
    for (int64_t o = 0; o < width; o++)
        for (int t = 0; t < SIDE * SIDE; t++, row += SIDE * cell) {
            const int64_t z = first_z + t / SIDE, y = first_y + t % SIDE, first = 2 * o - 1;
            const int64_t left = first < 0 ? 1 : 0, right = first + SIDE > x->x ? x->x - first : SIDE;
            const bool there = inside(z, x->z) && inside(y, x->y);
            if (!there || right - left < SIDE) memset(row, 0, SIDE * cell);
            if (!there) continue;
            memcpy(row + (size_t)left * cell,
                   (const char *)x->data + (size_t)(((n * x->z + z) * x->y + y) * x->x + first + left) * cell,
                   (size_t)(right - left) * cell);
        }
}

/* The gradients of the readers of a corner's voxels in line `item` of cells. */
static void gather_readers(void *context, int64_t item)
{
    const strided_job *job = context;
    const dg_tensor *dy = job->from;
    const int64_t n = item / dy->y / dy->z;
    const size_t cell = (size_t)dy->c * dg_dtype_size(dy->dtype);
    char *row = (char *)job->strided->gathered + (size_t)(item * dy->x * CORNERS) * cell;
    for (int64_t m = 0; m < dy->x; m++)
        for (int r = 0; r < CORNERS; r++, row += cell) {
            const int64_t z = item / dy->y % dy->z + bit(job->corner, 0) - bit(r, 0),
                          y = item % dy->y + bit(job->corner, 1) - bit(r, 1), x = m + bit(job->corner, 2) - bit(r, 2);
            if (inside(z, dy->z) && inside(y, dy->y) && inside(x, dy->x))
                memcpy(row, (const char *)dy->data + (size_t)(((n * dy->z + z) * dy->y + y) * dy->x + x) * cell, cell);
            else
                memset(row, 0, cell);
        }
}

static void add_bf16(const dg_bf16 *from, dg_bf16 *to, int64_t count)
{
    for (int64_t i = 0; i < count; i++) to[i] = dg_bf16_from_f32(dg_bf16_to_f32(to[i]) + dg_bf16_to_f32(from[i]));
}

/* A corner's results in line `item` of cells to their voxels. */
static void scatter_corner(void *context, int64_t item)
{
    const strided_job *job = context;
    const dg_tensor *dx = job->to;
    const int64_t lines_z = dx->z / 2, lines_y = dx->y / 2, width = dx->x / 2, c = dx->c;
    const int64_t n = item / lines_y / lines_z, z = 2 * (item / lines_y % lines_z) + bit(job->corner, 0),
                  y = 2 * (item % lines_y) + bit(job->corner, 1);
    for (int64_t m = 0; m < width; m++) {
        const int64_t from = (item * width + m) * c,
                      to = (((n * dx->z + z) * dx->y + y) * dx->x + 2 * m + bit(job->corner, 2)) * c;
        if (dx->dtype == DG_BF16 && job->desc->accumulate_dx)
            add_bf16((const dg_bf16 *)job->strided->result + from, (dg_bf16 *)dx->data + to, c);
        else if (job->desc->accumulate_dx)
            for (int64_t i = 0; i < c; i++)
                ((float *)dx->data)[to + i] += ((const float *)job->strided->result)[from + i];
        else
            memcpy((char *)dx->data + (size_t)to * dg_dtype_size(dx->dtype),
                   (const char *)job->strided->result + (size_t)from * dg_dtype_size(dx->dtype),
                   (size_t)c * dg_dtype_size(dx->dtype));
    }
}

/* Rows of a product in this memory. */
static dg_tensor rows_of(const dg_conv *product, void *data, int64_t c)
{
    const dg_conv_desc *d = &product->desc;
    return (dg_tensor){data, d->dtype, d->n, d->z, d->y, d->x, c, c};
}

static dg_tensor gather(dg_backend *head, const dg_conv *conv, const dg_tensor *x)
{
    const onednn_strided *s = conv->strided;
    strided_job job = {.desc = &conv->desc, .strided = s, .from = x};
    onednn_parallel(onednn_of(head), x->n * (x->z / 2) * (x->y / 2), gather_windows, &job);
    return rows_of(s->windows, s->gathered, s->windows->desc.cin);
}

dg_status onednn_strided_forward(dg_backend *head, dg_conv *conv, const dg_tensor *x, dg_tensor *y)
{
    const dg_tensor rows = gather(head, conv, x);
    return onednn_conv_forward(head, conv->strided->windows, &rows, y);
}

dg_status onednn_strided_backward_data(dg_backend *head, dg_conv *conv, const dg_tensor *dy, dg_tensor *dx)
{
    const onednn_strided *s = conv->strided;
    const int64_t lines = dy->n * dy->z * dy->y;
    for (int k = 0; k < CORNERS; k++) {
        strided_job job = {.desc = &conv->desc, .strided = s, .from = dy, .to = dx, .corner = k};
        const dg_tensor rows = rows_of(s->corner[k], s->gathered, CORNERS * dy->c);
        dg_tensor result = rows_of(s->corner[k], s->result, dx->c);
        onednn_parallel(onednn_of(head), lines, gather_readers, &job);
        DG_TRY(onednn_conv_forward(head, s->corner[k], &rows, &result));
        onednn_parallel(onednn_of(head), lines, scatter_corner, &job);
    }
    return DG_OK;
}

dg_status onednn_strided_backward_weights(dg_backend *head, dg_conv *conv, const dg_tensor *x, const dg_tensor *dy,
                                          float *dw, float *db)
{
    const dg_tensor rows = gather(head, conv, x);
    return onednn_conv_backward_weights(head, conv->strided->windows, &rows, dy, dw, db);
}
