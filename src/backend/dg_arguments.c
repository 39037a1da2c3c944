/* dg_arguments.c - see dg_arguments.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_arguments.h"

#include <inttypes.h>
#include <stdio.h>

enum { SHAPE_TEXT = 160 };

static const char *shape_text(const dg_tensor *t, char text[SHAPE_TEXT])
{
    snprintf(text, SHAPE_TEXT, "[%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 "] pitch %" PRId64, t->n,
             t->z, t->y, t->x, t->c, t->pitch);
    return text;
}

/* A usable view: memory, positive axes, a pitch that holds its channels, a type activations can have. */
static dg_status check_view(const char *operation, const char *name, const dg_tensor *t)
{
    char text[SHAPE_TEXT];
    if (t == NULL || t->data == NULL) return DG_FAIL(DG_ERR_INTERNAL, "%s: tensor %s has no memory", operation, name);
    if (t->n < 1 || t->z < 1 || t->y < 1 || t->x < 1 || t->c < 1 || t->pitch < t->c)
        return DG_FAIL(DG_ERR_INTERNAL, "%s: tensor %s %s is not a valid view", operation, name, shape_text(t, text));
    if (t->dtype != DG_F32 && t->dtype != DG_BF16)
        return DG_FAIL(DG_ERR_INTERNAL, "%s: tensor %s has element type %d; activations are f32 or bf16", operation,
                       name, (int)t->dtype);
    return DG_OK;
}

/* A usable view of exactly this shape. */
static dg_status check_shape(const char *operation, const char *name, const dg_tensor *t, int64_t n, int64_t z,
                             int64_t y, int64_t x, int64_t c)
{
    DG_TRY(check_view(operation, name, t));
    char text[SHAPE_TEXT];
    if (t->n != n || t->z != z || t->y != y || t->x != x || t->c != c)
        return DG_FAIL(DG_ERR_INTERNAL,
                       "%s: tensor %s is %s, the others need [%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64
                       "]",
                       operation, name, shape_text(t, text), n, z, y, x, c);
    return DG_OK;
}

static dg_status check_like(const char *operation, const char *name, const dg_tensor *t, const dg_tensor *like)
{
    return check_shape(operation, name, t, like->n, like->z, like->y, like->x, like->c);
}

static dg_status check_given(const char *operation, const char *name, const void *pointer)
{
    if (pointer == NULL) return DG_FAIL(DG_ERR_INTERNAL, "%s: %s is missing", operation, name);
    return DG_OK;
}

dg_status dg_arguments_conv_desc(const dg_conv_desc *desc)
{
    bool same = desc->kind == DG_CONV_SAME && (desc->kernel == 1 || desc->kernel == 3);
    bool transposed = desc->kind == DG_CONV_TRANSPOSE2 && desc->kernel == 2;
    bool strided = desc->kind == DG_CONV_STRIDE2 && desc->kernel == 4;
    if (!same && !transposed && !strided)
        return DG_FAIL(
            DG_ERR_UNSUPPORTED,
            "convolution of kind %d with kernel %d: kernels are 1 and 3, 2 when transposed and 4 with stride 2",
            (int)desc->kind, desc->kernel);
    if (desc->dtype != DG_F32 && desc->dtype != DG_BF16)
        return DG_FAIL(DG_ERR_UNSUPPORTED, "convolution of element type %d: choose f32 or bf16", (int)desc->dtype);
    if (desc->n < 1 || desc->z < 1 || desc->y < 1 || desc->x < 1 || desc->cin < 1 || desc->cout < 1)
        return DG_FAIL(DG_ERR_INTERNAL,
                       "convolution of input [%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 "] to %" PRId64
                       " channels: every size must be at least 1",
                       desc->n, desc->z, desc->y, desc->x, desc->cin, desc->cout);
    if (strided && (desc->z % 2 != 0 || desc->y % 2 != 0 || desc->x % 2 != 0))
        return DG_FAIL(DG_ERR_INTERNAL,
                       "convolution with stride 2 of axes %" PRId64 ", %" PRId64 ", %" PRId64 ": each must be even",
                       desc->z, desc->y, desc->x);
    return DG_OK;
}

dg_status dg_arguments_conv(const dg_conv_desc *desc, const dg_tensor *x, const dg_tensor *y)
{
    const int64_t f = desc->kind == DG_CONV_TRANSPOSE2 ? 2 : 1, d = desc->kind == DG_CONV_STRIDE2 ? 2 : 1;
    DG_TRY(check_shape("convolution", "x", x, desc->n, desc->z, desc->y, desc->x, desc->cin));
    DG_TRY(check_shape("convolution", "y", y, desc->n, f * desc->z / d, f * desc->y / d, f * desc->x / d, desc->cout));
    if (x->dtype != desc->dtype || y->dtype != desc->dtype)
        return DG_FAIL(DG_ERR_INTERNAL, "convolution: element types %d and %d, made for %d", (int)x->dtype,
                       (int)y->dtype, (int)desc->dtype);
    if (desc->kernel > 1 && (x->pitch != x->c || y->pitch != y->c))
        return DG_FAIL(DG_ERR_INTERNAL,
                       "convolution with kernel %d takes dense tensors, got pitches %" PRId64 " and %" PRId64
                       " for %" PRId64 " and %" PRId64 " channels",
                       desc->kernel, x->pitch, y->pitch, x->c, y->c);
    return DG_OK;
}

dg_status dg_arguments_conv_backward(const dg_conv_desc *desc, const dg_tensor *x, const dg_tensor *y)
{
    if (!desc->training) return DG_FAIL(DG_ERR_INTERNAL, "backward of a convolution made for inference");
    return dg_arguments_conv(desc, x, y);
}

dg_status dg_arguments_norm(const dg_norm_desc *desc, const dg_tensor *x, const float *gamma, const float *beta,
                            const dg_tensor *residual, const float *stats, const dg_tensor *y)
{
    DG_TRY(check_view("norm", "x", x));
    DG_TRY(check_like("norm", "y", y, x));
    if (residual != NULL) DG_TRY(check_like("norm", "residual", residual, x));
    if (desc->groups < 0 || (desc->groups > 0 && x->c % desc->groups != 0))
        return DG_FAIL(DG_ERR_INTERNAL, "norm: %" PRId64 " groups do not divide %" PRId64 " channels", desc->groups,
                       x->c);
    if (desc->groups > 0) DG_TRY(check_given("norm", "stats", stats));
    if ((gamma == NULL) != (beta == NULL)) return DG_FAIL(DG_ERR_INTERNAL, "norm: one of gamma and beta is missing");
    if (desc->groups == 0 && gamma != NULL)
        return DG_FAIL(DG_ERR_INTERNAL, "norm: gamma and beta are given, but without groups there is no normalisation");
    return DG_OK;
}

dg_status dg_arguments_norm_backward(const dg_norm_desc *desc, const dg_tensor *x, const float *gamma,
                                     const float *beta, const float *film, const float *stats, const dg_tensor *dy,
                                     const dg_tensor *dx, bool accumulate, const float *dfilm)
{
    DG_TRY(dg_arguments_norm(desc, x, gamma, beta, dx, stats, dy));
    if (film != NULL) DG_TRY(check_given("norm backward", "dfilm", dfilm));
    if (accumulate && dx->data == dy->data)
        return DG_FAIL(DG_ERR_INTERNAL, "norm backward: dx may be dy only without accumulation");
    return DG_OK;
}

dg_status dg_arguments_same(const char *operation, const dg_tensor *a, const dg_tensor *b, const dg_tensor *c)
{
    DG_TRY(check_view(operation, "x", a));
    DG_TRY(check_like(operation, "y", b, a));
    if (c != NULL) DG_TRY(check_like(operation, "dx", c, a));
    return DG_OK;
}

dg_status dg_arguments_layer_norm(const dg_tensor *x, const float *gamma, const float *stats, const dg_tensor *y)
{
    DG_TRY(check_given("layer norm", "gamma", gamma));
    DG_TRY(check_given("layer norm", "stats", stats));
    return dg_arguments_same("layer norm", x, y, NULL);
}

dg_status dg_arguments_gate(const dg_tensor *x, const dg_tensor *gate, const dg_tensor *y)
{
    DG_TRY(dg_arguments_same("gate", x, y, NULL));
    return check_shape("gate", "gate", gate, x->n, x->z, x->y, x->x, 1);
}

dg_status dg_arguments_pool(const dg_tensor *x, const dg_tensor *y)
{
    DG_TRY(check_view("pool", "x", x));
    return check_shape("pool", "y", y, x->n, x->z == 1 ? 1 : x->z / 2, x->y / 2, x->x / 2, x->c);
}

dg_status dg_arguments_resize(const dg_tensor *x, const dg_tensor *y)
{
    DG_TRY(check_view("resize", "x", x));
    DG_TRY(check_view("resize", "y", y));
    return check_shape("resize", "y", y, x->n, y->z, y->y, y->x, x->c);
}

dg_status dg_arguments_linear(const dg_tensor *x, const float *w, const dg_tensor *y)
{
    DG_TRY(check_view("linear", "x", x));
    DG_TRY(check_view("linear", "y", y));
    DG_TRY(check_shape("linear", "x", x, y->n, 1, 1, 1, x->c));
    DG_TRY(check_shape("linear", "y", y, x->n, 1, 1, 1, y->c));
    if (x->dtype != DG_F32 || y->dtype != DG_F32) return DG_FAIL(DG_ERR_INTERNAL, "linear: vectors are f32");
    return check_given("linear", "w", w);
}

dg_status dg_arguments_attention(int heads, const dg_tensor *qkv, const dg_tensor *y)
{
    DG_TRY(check_view("attention", "y", y));
    DG_TRY(check_shape("attention", "qkv", qkv, y->n, y->z, y->y, y->x, 3 * y->c));
    if (heads < 1 || y->c % heads != 0)
        return DG_FAIL(DG_ERR_INTERNAL, "attention: %d heads do not divide %" PRId64 " channels", heads, y->c);
    return DG_OK;
}

dg_status dg_arguments_loss(const dg_loss_term *term, const dg_loss_batch *batch, const float *weight,
                            const double *value, const dg_tensor *dy)
{
    const dg_tensor *y = &batch->y, *target = &batch->target;
    if ((int)term->kind < 0 || term->kind >= DG_LOSS_KINDS)
        return DG_FAIL(DG_ERR_INTERNAL, "loss: %d is no kind of term", (int)term->kind);
    DG_TRY(check_view("loss", "y", y));
    DG_TRY(check_shape("loss", "target", target, y->n, y->z, y->y, y->x, 1));
    DG_TRY(check_like("loss", "target", target, y));
    if (dy != NULL) DG_TRY(check_like("loss", "dy", dy, y));
    if (dy != NULL) DG_TRY(check_given("loss", "weight", weight));
    if (term->kind == DG_LOSS_STRUCTURE || term->kind == DG_LOSS_ASYMMETRIC || term->kind == DG_LOSS_DVH)
        DG_TRY(check_given("loss", "regions", batch->regions));
    if (term->kind == DG_LOSS_BOUNDARY) DG_TRY(check_given("loss", "distance", batch->distance));
    const dg_loss_grid grid = dg_loss_grid_of(batch);
    if (grid.z * grid.y * grid.x != dg_tensor_voxels(y))
        return DG_FAIL(DG_ERR_INTERNAL,
                       "loss: blocks of %" PRId64 " x %" PRId64 " x %" PRId64 " do not make up rows of %" PRId64
                       " voxels",
                       grid.block[0], grid.block[1], grid.block[2], y->x);
    if (dg_loss_has_windows(term->kind) && grid.block[0] * grid.block[1] * grid.block[2] != 1)
        return DG_FAIL(DG_ERR_INTERNAL, "loss: windows of a network that predicts blocks of voxels");
    return check_given("loss", "value", value);
}

static dg_status check_ring(const char *operation, const dg_ring *ring)
{
    if (ring == NULL || ring->data == NULL) return DG_FAIL(DG_ERR_INTERNAL, "%s: the ring has no memory", operation);
    if (ring->c < 1 || ring->z < 1 || ring->y < 1 || ring->x < 1 || ring->height < 1)
        return DG_FAIL(DG_ERR_INTERNAL,
                       "%s: a ring of %" PRId64 " planes of a volume [%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 "]",
                       operation, ring->height, ring->c, ring->z, ring->y, ring->x);
    return DG_OK;
}

static dg_status check_windows(const char *operation, const dg_tensor *t)
{
    DG_TRY(check_view(operation, "of the windows", t));
    if (t->n > DG_WINDOW_BATCH)
        return DG_FAIL(DG_ERR_INTERNAL, "%s: %" PRId64 " windows; at most %d at once", operation, t->n,
                       DG_WINDOW_BATCH);
    return DG_OK;
}

dg_status dg_arguments_gather(const dg_ring *volume, const dg_window_channels *channels, const dg_tensor *x)
{
    DG_TRY(check_ring("window gather", volume));
    DG_TRY(check_windows("window gather", x));
    if (x->c > DG_WINDOW_CHANNELS)
        return DG_FAIL(DG_ERR_INTERNAL, "window gather: %" PRId64 " channels; at most %d", x->c, DG_WINDOW_CHANNELS);
    for (int64_t k = 0; k < x->c; k++)
        if (channels->from[k] < 0 || channels->from[k] >= volume->c)
            return DG_FAIL(DG_ERR_INTERNAL, "window gather: channel %" PRId64 " comes from %d, the volume has %" PRId64,
                           k, channels->from[k], volume->c);
    return DG_OK;
}

dg_status dg_arguments_blend(const dg_tensor *y, const int64_t sub[3], const dg_ring *sum)
{
    DG_TRY(check_ring("window blend", sum));
    DG_TRY(check_windows("window blend", y));
    if (sub[0] < 1 || sub[1] < 1 || sub[2] < 1 || y->c != sub[0] * sub[1] * sub[2])
        return DG_FAIL(DG_ERR_INTERNAL,
                       "window blend: %" PRId64 " channels for %" PRId64 " x %" PRId64 " x %" PRId64 " voxels", y->c,
                       sub[0], sub[1], sub[2]);
    if (y->dtype != DG_F32 || sum->c != 1)
        return DG_FAIL(DG_ERR_INTERNAL, "window blend: windows are f32 and the sum has one channel");
    return DG_OK;
}

dg_status dg_arguments_finish(const dg_ring *sum, int64_t first, int64_t count, const float *out)
{
    DG_TRY(check_ring("window finish", sum));
    DG_TRY(check_given("window finish", "out", out));
    if (first < 0 || count < 0 || count > sum->height || first + count > sum->z)
        return DG_FAIL(DG_ERR_INTERNAL,
                       "window finish: planes %" PRId64 " to %" PRId64 " of %" PRId64 ", %" PRId64 " of which are held",
                       first, first + count, sum->z, sum->height);
    return DG_OK;
}

dg_status dg_arguments_find(const dg_tensor *x, const int32_t *found)
{
    DG_TRY(check_view("find_nonfinite", "x", x));
    return check_given("find_nonfinite", "found", found);
}

dg_status dg_arguments_diffuse(const dg_tensor *condition, const float *clean, const float *wanted, const dg_tensor *x)
{
    DG_TRY(check_view("diffuse", "condition", condition));
    DG_TRY(check_shape("diffuse", "x", x, 1, condition->z, condition->y, condition->x, condition->c + 1));
    DG_TRY(check_given("diffuse", "clean", clean));
    DG_TRY(check_given("diffuse", "wanted", wanted));
    if (condition->n != 1 || condition->dtype != x->dtype)
        return DG_FAIL(DG_ERR_INTERNAL,
                       "diffuse: %" PRId64 " samples of type %d; it takes one at a time, of x's type %d", condition->n,
                       (int)condition->dtype, (int)x->dtype);
    return DG_OK;
}

dg_status dg_arguments_denoise(int64_t count, const float *said, const float *x, const float *clean)
{
    if (count < 0) return DG_FAIL(DG_ERR_INTERNAL, "denoise: %" PRId64 " voxels", count);
    DG_TRY(check_given("denoise", "said", said));
    DG_TRY(check_given("denoise", "x", x));
    return check_given("denoise", "clean", clean);
}
