/* onednn_pack.c - weights between the engine's [tap][cin][cout] f32 and oneDNN's blocked layouts. In a blocked layout
 * the place of an element is a sum of one term per dimension, so three small tables describe any of them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "conv_impl.h"

#include <string.h>

dg_status onednn_layout_offsets(const_dnnl_memory_desc_t layout, int dimension, int64_t count, int64_t *offset)
{
    dnnl_format_kind_t kind;
    DG_DNNL(dnnl_memory_desc_query(layout, dnnl_query_format_kind, &kind));
    if (kind != dnnl_blocked)
        return DG_FAIL(DG_ERR_BACKEND, "oneDNN: a weight layout of kind %d, only blocked ones can be packed",
                       (int)kind);
    dnnl_dims_t *strides, *blocks, *indices;
    int32_t inner;
    DG_DNNL(dnnl_memory_desc_query(layout, dnnl_query_strides, &strides));
    DG_DNNL(dnnl_memory_desc_query(layout, dnnl_query_inner_nblks_s32, &inner));
    DG_DNNL(dnnl_memory_desc_query(layout, dnnl_query_inner_blks, &blocks));
    DG_DNNL(dnnl_memory_desc_query(layout, dnnl_query_inner_idxs, &indices));
    for (int64_t i = 0; i < count; i++) {
        int64_t rest = i, step = 1, place = 0;
        for (int b = inner - 1; b >= 0; b--) {
            const int64_t size = (*blocks)[b];
            if ((*indices)[b] == dimension) {
                place += rest % size * step;
                rest /= size;
            }
            step *= size;
        }
        offset[i] = place + rest * (*strides)[dimension];
    }
    return DG_OK;
}

enum { ROWS = 16 };

typedef struct pack_job {
    const dg_conv *conv;
    const dg_kernels *kernels;
    void *data;
    const float *source;
    float *dw;
    const int64_t *plane, *row, *column;
    int64_t row_step, column_step;
    bool mirror;
    int64_t chunks;
} pack_job;

static void run_pack(void *context, int64_t item)
{
    const pack_job *job = context;
    const dg_conv *conv = job->conv;
    const int64_t t = item / job->chunks, first = item % job->chunks * ROWS;
    const int64_t rows = conv->rows - first < ROWS ? conv->rows - first : ROWS;
    const int64_t plane = job->mirror ? conv->planes - 1 - t : t;
    const float *source = job->source + (t * conv->rows + first) * conv->columns;
    const size_t size = dg_dtype_size(conv->desc.dtype);
    const int64_t *column = job->column + plane % 3 * job->column_step;
    if (conv->outputs > conv->columns) column += t * conv->columns;
    job->kernels->pack(source, rows, conv->columns, job->row + plane % 3 * job->row_step + first, column,
                       conv->desc.dtype, (char *)job->data + (size_t)job->plane[plane] * size);
}

void onednn_pack(onednn_backend *backend, const dg_conv *conv, const onednn_packed *packed, bool mirror, const float *w)
{
    pack_job job = {.conv = conv,
                    .kernels = backend->kernels,
                    .data = packed->data,
                    .source = w,
                    .plane = packed->plane,
                    .row = packed->row,
                    .column = packed->column,
                    .row_step = packed->row_step,
                    .column_step = packed->column_step,
                    .mirror = mirror,
                    .chunks = (conv->rows + ROWS - 1) / ROWS};
    onednn_parallel(backend, conv->planes * job.chunks, run_pack, &job);
}

static void run_unpack(void *context, int64_t item)
{
    const pack_job *job = context;
    const dg_conv *conv = job->conv;
    const int64_t t = item / job->chunks, first = item % job->chunks * ROWS;
    for (int64_t i = first; i < first + ROWS && i < conv->rows; i++) {
        const float *source = job->source + job->plane[t] + job->row[i];
        float *dw = job->dw + (t * conv->rows + i) * conv->columns;
        for (int64_t j = 0; j < conv->columns; j++) dw[j] += source[job->column[j]];
    }
}

void onednn_unpack_add(onednn_backend *backend, const dg_conv *conv, const float *result, const int64_t *plane,
                       const int64_t *row, const int64_t *column, float *dw)
{
    pack_job job = {.conv = conv,
                    .source = result,
                    .dw = dw,
                    .plane = plane,
                    .row = row,
                    .column = column,
                    .chunks = (conv->rows + ROWS - 1) / ROWS};
    onednn_parallel(backend, conv->planes * job.chunks, run_unpack, &job);
}
