/* dnnl_compat.h - the only file that knows which oneDNN it is: version 3's C API, and the few shapes of primitive this
 * backend makes of it. Each maker yields NULL where the library has no implementation.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_DNNL_COMPAT_H
#define DG_DNNL_COMPAT_H

#include "dg_backend.h"

#include <oneapi/dnnl/dnnl.h>

#if DNNL_VERSION_MAJOR != 3
#error "this backend is written for oneDNN 3: run ./setup.sh build, which fetches the pinned version"
#endif

/* Fails with the library's status and what was tried. What a processor lacks is a request this backend cannot serve. */
#define DG_DNNL(call)                                                                                               \
    do {                                                                                                            \
        dnnl_status_t dnnl_ = (call);                                                                               \
        if (dnnl_ == dnnl_unimplemented)                                                                            \
            return DG_FAIL(DG_ERR_UNSUPPORTED,                                                                      \
                           "oneDNN has no implementation of %s for this processor; bf16 needs AVX-512, f32 always " \
                           "works",                                                                                 \
                           #call);                                                                                  \
        if (dnnl_ != dnnl_success)                                                                                  \
            return DG_FAIL(DG_ERR_BACKEND, "oneDNN: %s gave status %d%s", #call, (int)dnnl_,                        \
                           dnnl_ == dnnl_out_of_memory ? ": out of memory, use a smaller patch" : "");              \
    } while (0)

static inline dnnl_data_type_t dg_dnnl_type(dg_dtype type) { return type == DG_BF16 ? dnnl_bf16 : dnnl_f32; }

/* Attributes with a caller-owned scratchpad and, if wanted, accumulation into the destination. */
static inline dnnl_status_t dg_dnnl_attributes(bool accumulate, dnnl_primitive_attr_t *out)
{
    dnnl_status_t status = dnnl_primitive_attr_create(out);
    if (status != dnnl_success) return status;
    status = dnnl_primitive_attr_set_scratchpad_mode(*out, dnnl_scratchpad_mode_user);
    if (status == dnnl_success && accumulate) {
        dnnl_post_ops_t post;
        status = dnnl_post_ops_create(&post);
        if (status == dnnl_success) {
            status = dnnl_post_ops_append_sum(post, 1.0f, 0, dnnl_data_type_undef);
            if (status == dnnl_success) status = dnnl_primitive_attr_set_post_ops(*out, post);
            dnnl_post_ops_destroy(post);
        }
    }
    if (status != dnnl_success) dnnl_primitive_attr_destroy(*out);
    return status;
}

/* Forward 3x3x3 convolution of channels-last tensors, weights in any layout; bias f32 or NULL. */
static inline dnnl_status_t dg_dnnl_conv_forward(dnnl_engine_t engine, const_dnnl_memory_desc_t src,
                                                 const_dnnl_memory_desc_t weights, const_dnnl_memory_desc_t bias,
                                                 const_dnnl_memory_desc_t dst, const_dnnl_primitive_attr_t attributes,
                                                 dnnl_primitive_desc_t *out)
{
    const dnnl_dims_t one = {1, 1, 1}, zero = {0, 0, 0};
    return dnnl_convolution_forward_primitive_desc_create(out, engine, dnnl_forward_training, dnnl_convolution_direct,
                                                          src, weights, bias, dst, one, zero, one, one, attributes);
}

static inline dnnl_status_t dg_dnnl_conv_weights(dnnl_engine_t engine, const_dnnl_memory_desc_t src,
                                                 const_dnnl_memory_desc_t diff_weights,
                                                 const_dnnl_memory_desc_t diff_dst, const_dnnl_primitive_desc_t hint,
                                                 const_dnnl_primitive_attr_t attributes, dnnl_primitive_desc_t *out)
{
    const dnnl_dims_t one = {1, 1, 1}, zero = {0, 0, 0};
    return dnnl_convolution_backward_weights_primitive_desc_create(
        out, engine, dnnl_convolution_direct, src, diff_weights, NULL, diff_dst, one, zero, one, one, hint, attributes);
}

static inline dnnl_status_t dg_dnnl_matmul(dnnl_engine_t engine, const_dnnl_memory_desc_t src,
                                           const_dnnl_memory_desc_t weights, const_dnnl_memory_desc_t bias,
                                           const_dnnl_memory_desc_t dst, const_dnnl_primitive_attr_t attributes,
                                           dnnl_primitive_desc_t *out)
{
    return dnnl_matmul_primitive_desc_create(out, engine, src, weights, bias, dst, attributes);
}

/* Channels-last [n,c,z,y,x]. */
static inline dnnl_status_t dg_dnnl_activation_desc(int64_t n, int64_t c, int64_t z, int64_t y, int64_t x,
                                                    dg_dtype type, dnnl_memory_desc_t *out)
{
    const dnnl_dims_t dims = {n, c, z, y, x};
    return dnnl_memory_desc_create_with_tag(out, 5, dims, dg_dnnl_type(type), dnnl_ndhwc);
}

/* A matrix with a row and a column stride in elements. */
static inline dnnl_status_t dg_dnnl_matrix_desc(int64_t rows, int64_t columns, int64_t row_stride,
                                                int64_t column_stride, dg_dtype type, dnnl_memory_desc_t *out)
{
    const dnnl_dims_t dims = {rows, columns}, strides = {row_stride, column_stride};
    return dnnl_memory_desc_create_with_strides(out, 2, dims, dg_dnnl_type(type), strides);
}

#endif
