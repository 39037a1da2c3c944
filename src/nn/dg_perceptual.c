/* dg_perceptual.c - see dg_perceptual.h. Images are tensors with z = 1: of a 3x3x3 kernel only the middle plane is filled, and
 * pooling leaves an axis z of one as it is. SPDX-License-Identifier: Apache-2.0 */
#include "dg_perceptual.h"

#include "dg_counted.h"
#include "dg_mem.h"

#include <stdio.h>
#include <string.h>

enum { BLOCKS = 5, COLOURS = 3, LAYER_NAME = 32 };
static const float colour_mean[COLOURS] = {0.485f, 0.456f, 0.406f}, colour_std[COLOURS] = {0.229f, 0.224f, 0.225f};
static const int64_t block_channels[BLOCKS] = {64, 128, 256, 512, 512};
static const struct {
    const char *name;
    int convs[BLOCKS];
} architectures[] = {
    {"vgg11", {1, 1, 2, 2, 2}}, {"vgg13", {2, 2, 2, 2, 2}}, {"vgg16", {2, 2, 3, 3, 3}}, {"vgg19", {2, 2, 4, 4, 4}}};
enum { ARCHITECTURES = sizeof architectures / sizeof *architectures };

/* ---- the network ------------------------------------------------------------------------------------------------------ */

static dg_status read_part(dg_perceptual_part *part, dg_perceptual_read read, void *context)
{
    const int64_t shape[4] = {part->cout, part->cin, 3, 3};
    char name[48];
    DG_TRY(DG_NEW(&part->weight, part->cout * part->cin * 9, "weights of the perceptual loss"));
    DG_TRY(DG_NEW(&part->bias, part->cout, "weights of the perceptual loss"));
    (void)snprintf(name, sizeof name, "%s.weight", part->name);
    DG_TRY(read(context, name, 4, shape, part->weight));
    (void)snprintf(name, sizeof name, "%s.bias", part->name);
    return read(context, name, 1, shape, part->bias);
}

/* All parts of an architecture, none compared yet; their layers' names beside them. */
static void list_parts(const int convs[BLOCKS], dg_perceptual_net *net, char layer[DG_PERCEPTUAL_PARTS][LAYER_NAME])
{
    int index = 0; /* of torchvision's list, in which ReLUs and poolings count */
    int64_t cin = COLOURS;
    net->parts = 0;
    for (int b = 0; b < BLOCKS; b++, index++)
        for (int c = 0; c < convs[b]; c++, index += 2) {
            dg_perceptual_part *part = &net->part[net->parts];
            *part = (dg_perceptual_part){.cin = cin, .cout = block_channels[b], .pools = b > 0 && c == 0};
            (void)snprintf(part->name, sizeof part->name, "features.%d", index);
            (void)snprintf(layer[net->parts++], LAYER_NAME, "relu%d_%d", b + 1, c + 1);
            cin = part->cout;
        }
}

/* Marks the layers that are compared and ends the network behind the last of them. */
static dg_status choose_layers(const char *architecture, const char *const *layer, int layers,
                               char known[DG_PERCEPTUAL_PARTS][LAYER_NAME], dg_perceptual_net *net)
{
    int end = 0;
    for (int l = 0; l < layers; l++) {
        int k = 0;
        while (k < net->parts && strcmp(known[k], layer[l]) != 0) k++;
        if (k == net->parts)
            return DG_FAIL(DG_ERR_USAGE, "loss.perceptual.layers: %s has no layer '%.40s'; its last one is %s",
                           architecture, layer[l], known[net->parts - 1]);
        if (net->part[k].compared)
            return DG_FAIL(DG_ERR_USAGE, "loss.perceptual.layers: '%.40s' is listed twice", layer[l]);
        net->part[k].compared = true;
        if (k + 1 > end) end = k + 1;
    }
    net->parts = end;
    net->layers = layers;
    return DG_OK;
}

dg_status dg_perceptual_net_make(const char *architecture, const char *const *layer, int layers, int64_t every,
                                 dg_dtype dtype, dg_perceptual_read read, void *context, dg_perceptual_net *out)
{
    char known[DG_PERCEPTUAL_PARTS][LAYER_NAME];
    int a = 0;
    memset(out, 0, sizeof *out);
    out->every = every;
    out->dtype = dtype;
    while (a < ARCHITECTURES && strcmp(architectures[a].name, architecture) != 0) a++;
    if (a == ARCHITECTURES)
        return DG_FAIL(DG_ERR_USAGE,
                       "loss.perceptual.architecture: '%.40s' is not known; known: vgg11, vgg13, vgg16, vgg19",
                       architecture);
    if (layers < 1 || layers > DG_PERCEPTUAL_LAYERS)
        return DG_FAIL(DG_ERR_USAGE, "loss.perceptual.layers lists %d layers; it must be 1 to %d", layers,
                       DG_PERCEPTUAL_LAYERS);
    list_parts(architectures[a].convs, out, known);
    dg_status status = choose_layers(architecture, layer, layers, known, out);
    for (int k = 0; k < out->parts && status == DG_OK; k++) status = read_part(&out->part[k], read, context);
    if (status != DG_OK) dg_perceptual_net_release(out);
    return status;
}

void dg_perceptual_net_release(dg_perceptual_net *net)
{
    for (int k = 0; k < DG_PERCEPTUAL_PARTS; k++) {
        dg_free(&net->part[k].weight);
        dg_free(&net->part[k].bias);
    }
    net->parts = 0;
}

/* ---- on a backend ----------------------------------------------------------------------------------------------------- */

typedef enum op_kind { OP_CONV, OP_RELU, OP_POOL } op_kind;

typedef struct op {
    op_kind kind;
    dg_conv *conv;
    dg_tensor y;     /* its result: for the prediction, to go back through */
    bool compared;   /* with... */
    dg_tensor known; /* ... the plan's */
} op;

struct dg_perceptual {
    dg_backend *backend; /* borrowed */
    int64_t n, slices, every;
    op op[DG_PERCEPTUAL_OPS];
    int ops;
    dg_tensor grey, image, counted; /* [n*slices,1,y,x,1]: f32, the features' type, f32 */
    dg_tensor slope[2];             /* of any size that occurs */
    void *workspace;                /* of the comparison; NULL: it needs none */
    dg_counted *mask;               /* NULL: voxels all count */
    void *memory[3 * DG_PERCEPTUAL_OPS];
    int held;
};

static dg_status hold(dg_perceptual *p, int64_t bytes, void *out)
{
    void *memory = NULL;
    DG_TRY(p->backend->ops->alloc(p->backend, bytes, "features of the perceptual loss", &memory));
    p->memory[p->held++] = memory;
    memcpy(out, &memory, sizeof memory);
    return DG_OK;
}

static int64_t elements(const dg_tensor *t) { return t->n * dg_tensor_voxels(t) * t->c; }

static dg_status make_tensor(dg_perceptual *p, dg_tensor shape, dg_tensor *out)
{
    shape.pitch = shape.c;
    DG_TRY(hold(p, elements(&shape) * (int64_t)dg_dtype_size(shape.dtype), &shape.data));
    *out = shape;
    return DG_OK;
}

/* A convolution of `x` with weights in host memory, engine layout. */
static dg_status make_conv(dg_perceptual *p, const dg_tensor *x, int kernel, int64_t cout, const float *weight,
                           const float *bias, dg_conv **out)
{
    const dg_backend_ops *ops = p->backend->ops;
    const int64_t count = (int64_t)kernel * kernel * kernel * x->c * cout;
    const dg_conv_desc desc = {.kind = DG_CONV_SAME,
                               .kernel = kernel,
                               .n = x->n,
                               .z = 1,
                               .y = x->y,
                               .x = x->x,
                               .cin = x->c,
                               .cout = cout,
                               .dtype = x->dtype,
                               .training = true};
    void *memory = NULL;
    dg_status status;
    DG_TRY(ops->alloc(p->backend, (count + cout) * (int64_t)sizeof(float), "weights of the perceptual loss", &memory));
    float *flat = memory;
    DG_TRY_GOTO(status, ops->upload(p->backend, flat, weight, count * (int64_t)sizeof *flat), done);
    DG_TRY_GOTO(status, ops->upload(p->backend, flat + count, bias, cout * (int64_t)sizeof *flat), done);
    DG_TRY_GOTO(status, ops->conv_create(p->backend, &desc, out), done);
    DG_TRY_GOTO(status, ops->conv_pack(p->backend, *out, flat, flat + count), done);
    status = ops->sync(p->backend);
done:
    ops->free(p->backend, memory);
    return status;
}

/* PyTorch's (cout,cin,3,3) in the middle plane of the engine's [3,3,3,cin,cout]. */
static dg_status make_part_conv(dg_perceptual *p, const dg_perceptual_part *part, const dg_tensor *x, dg_conv **out)
{
    float *weight = NULL;
    DG_TRY(DG_NEW(&weight, 27 * part->cin * part->cout, "weights of the perceptual loss"));
    for (int64_t o = 0; o < part->cout; o++)
        for (int64_t i = 0; i < part->cin; i++)
            for (int64_t tap = 0; tap < 9; tap++)
                weight[((9 + tap) * part->cin + i) * part->cout + o] = part->weight[(o * part->cin + i) * 9 + tap];
    dg_status status = make_conv(p, x, 3, part->cout, weight, part->bias, out);
    dg_free(&weight);
    return status;
}

static dg_status add_op(dg_perceptual *p, op_kind kind, dg_conv *conv, dg_tensor y)
{
    op *o = &p->op[p->ops++];
    *o = (op){.kind = kind, .conv = conv};
    return make_tensor(p, y, &o->y);
}

/* Grey to colours, less their mean and over their deviation. */
static dg_status add_colours(dg_perceptual *p, dg_tensor *x)
{
    float weight[COLOURS], bias[COLOURS];
    for (int c = 0; c < COLOURS; c++) {
        weight[c] = 1 / colour_std[c];
        bias[c] = -colour_mean[c] / colour_std[c];
    }
    op *o = &p->op[p->ops];
    DG_TRY(make_conv(p, x, 1, COLOURS, weight, bias, &o->conv));
    dg_conv *conv = o->conv;
    x->c = COLOURS;
    return add_op(p, OP_CONV, conv, *x);
}

static dg_status add_part(dg_perceptual *p, const dg_perceptual_part *part, dg_tensor *x)
{
    if (part->pools) {
        if (x->y < 2 || x->x < 2)
            return DG_FAIL(DG_ERR_UNSUPPORTED, "loss.perceptual: the slices of the patch are too small for %s",
                           part->name);
        x->y /= 2;
        x->x /= 2;
        DG_TRY(add_op(p, OP_POOL, NULL, *x));
    }
    op *o = &p->op[p->ops];
    DG_TRY(make_part_conv(p, part, x, &o->conv));
    dg_conv *conv = o->conv;
    x->c = part->cout;
    DG_TRY(add_op(p, OP_CONV, conv, *x));
    DG_TRY(add_op(p, OP_RELU, NULL, *x));
    o = &p->op[p->ops - 1];
    o->compared = part->compared;
    return part->compared ? make_tensor(p, *x, &o->known) : DG_OK;
}

/* Features of the samples' images as one channel, a sample's in one piece. */
static dg_tensor as_values(const dg_perceptual *p, dg_tensor t)
{
    t.n = p->n;
    t.z = p->slices;
    t.x *= t.c;
    t.c = t.pitch = 1;
    return t;
}

static dg_status build(dg_perceptual *p, const dg_perceptual_net *net, const dg_tensor *y)
{
    dg_tensor x = {.dtype = DG_F32, .n = p->n * p->slices, .z = 1, .y = y->y, .x = y->x, .c = 1};
    int64_t largest = 0;
    DG_TRY(make_tensor(p, x, &p->grey));
    DG_TRY(make_tensor(p, x, &p->counted));
    x.dtype = net->dtype;
    DG_TRY(make_tensor(p, x, &p->image));
    DG_TRY(add_colours(p, &x));
    for (int k = 0; k < net->parts; k++) DG_TRY(add_part(p, &net->part[k], &x));
    for (int o = 0; o < p->ops; o++)
        if (elements(&p->op[o].y) > largest) largest = elements(&p->op[o].y);
    const dg_loss_term term = {.kind = DG_LOSS_MAE};
    const dg_loss_batch values = {.y = as_values(p, p->op[p->ops - 1].y)};
    const int64_t bytes = p->backend->ops->loss_workspace(&term, &values);
    if (bytes > 0) DG_TRY(hold(p, bytes, &p->workspace));
    for (int s = 0; s < 2; s++) {
        p->slope[s] = (dg_tensor){.dtype = net->dtype};
        DG_TRY(hold(p, largest * (int64_t)sizeof(float), &p->slope[s].data));
    }
    return DG_OK;
}

dg_status dg_perceptual_create(const dg_perceptual_net *net, dg_backend *backend, const dg_loss_batch *shape,
                               dg_perceptual **out)
{
    const dg_loss_grid grid = dg_loss_grid_of(shape);
    dg_perceptual *p = NULL;
    *out = NULL;
    if (grid.block[0] * grid.block[1] * grid.block[2] != 1)
        return DG_FAIL(DG_ERR_UNSUPPORTED,
                       "loss.perceptual looks at slices of the network's own grid: set data.coarsen to 1");
    DG_TRY(DG_NEW(&p, 1, "perceptual loss"));
    *p = (dg_perceptual){.backend = backend, .n = shape->y.n, .every = net->every};
    p->slices = (shape->y.z + net->every - 1) / net->every;
    dg_status status = build(p, net, &shape->y);
    if (status == DG_OK && shape->mask != NULL) status = dg_counted_create(backend, &shape->y, &p->mask);
    if (status != DG_OK)
        dg_perceptual_destroy(&p);
    else
        *out = p;
    return status;
}

void dg_perceptual_destroy(dg_perceptual **perceptual)
{
    dg_perceptual *p = *perceptual;
    if (p == NULL) return;
    dg_counted_destroy(&p->mask);
    for (int o = 0; o < DG_PERCEPTUAL_OPS; o++)
        if (p->op[o].conv != NULL) p->backend->ops->conv_destroy(p->backend, p->op[o].conv);
    for (int k = 0; k < p->held; k++) p->backend->ops->free(p->backend, p->memory[k]);
    dg_free(perceptual);
}

/* ---- evaluation ------------------------------------------------------------------------------------------------------- */

/* Slice s of all samples: plane z of a volume [n,z,y,x,1] and its place among the images, both as one voxel plane. */
static dg_tensor plane_of(const dg_tensor *volume, int64_t sample, int64_t z)
{
    dg_tensor plane = *volume;
    plane.n = plane.z = 1;
    plane.data = (char *)volume->data + (sample * volume->z + z) * volume->y * volume->x * volume->pitch *
                                            (int64_t)dg_dtype_size(volume->dtype);
    return plane;
}

/* Copies the planes between a volume and the images. */
static dg_status move_planes(const dg_perceptual *p, const dg_tensor *volume, const dg_tensor *images, bool back)
{
    for (int64_t i = 0; i < p->n * p->slices; i++) {
        dg_tensor plane = plane_of(volume, i / p->slices, i % p->slices * p->every), image = plane_of(images, i, 0);
        dg_status status = back ? p->backend->ops->copy(p->backend, &image, &plane, true)
                                : p->backend->ops->copy(p->backend, &plane, &image, false);
        if (status != DG_OK) return status;
    }
    return DG_OK;
}

static dg_status take_mask(dg_perceptual *p, const dg_loss_batch *batch)
{
    dg_tensor mask;
    DG_TRY(dg_counted_take(p->mask, batch->mask, &mask));
    return move_planes(p, &mask, &p->counted, false);
}

/* Doses outside what counts become 0, in place of the images by way of `spare`. */
static dg_status mask(dg_perceptual *p, const dg_tensor *from, dg_tensor *to)
{
    return p->backend->ops->gate_forward(p->backend, from, &p->counted, to);
}

static dg_status forward(dg_perceptual *p, const dg_tensor *volume, bool masked)
{
    dg_backend *backend = p->backend;
    const dg_backend_ops *ops = backend->ops;
    dg_tensor spare = p->grey;
    spare.data = p->slope[0].data;
    DG_TRY(move_planes(p, volume, masked ? &spare : &p->grey, false));
    if (masked) DG_TRY(mask(p, &spare, &p->grey));
    DG_TRY(ops->copy(backend, &p->grey, &p->image, false));
    const dg_tensor *x = &p->image;
    for (int o = 0; o < p->ops; x = &p->op[o++].y) {
        op *at = &p->op[o];
        if (at->kind == OP_CONV) DG_TRY(ops->conv_forward(backend, at->conv, x, &at->y));
        if (at->kind == OP_RELU) DG_TRY(ops->act_forward(backend, DG_ACT_RELU, 0.0, x, &at->y));
        if (at->kind == OP_POOL) DG_TRY(ops->pool_forward(backend, x, &at->y));
    }
    return DG_OK;
}

/* Compares the features of operation o; `slope` (NULL: not wanted) gets or adds the gradient. */
static dg_status compare(dg_perceptual *p, const op *o, const float *weight, double *value, int64_t stride,
                         dg_tensor *slope, bool accumulate)
{
    const dg_loss_term term = {.kind = DG_LOSS_MAE};
    const dg_loss_batch batch = {.y = as_values(p, o->y), .target = as_values(p, o->known)};
    dg_tensor dy = slope != NULL ? as_values(p, *slope) : (dg_tensor){.data = NULL};
    return p->backend->ops->loss(p->backend, &term, &batch, weight, p->workspace, value, stride,
                                 slope != NULL ? &dy : NULL, accumulate);
}

static dg_tensor shaped(const dg_tensor *shape, void *data)
{
    dg_tensor t = *shape;
    t.data = data;
    return t;
}

/* From the last features to the images: the gradient ends in slope[*at]. */
static dg_status backward(dg_perceptual *p, const float *weight, double *value, int64_t stride, int *at)
{
    const dg_backend_ops *ops = p->backend->ops;
    dg_backend *backend = p->backend;
    int now = 0;
    for (int o = p->ops - 1, layer = 0; o >= 0; o--, now = 1 - now) {
        op *here = &p->op[o];
        const dg_tensor *x = o > 0 ? &p->op[o - 1].y : &p->image;
        dg_tensor dy = shaped(&here->y, p->slope[now].data), dx = shaped(x, p->slope[1 - now].data);
        if (here->compared) DG_TRY(compare(p, here, weight, value + layer++, stride, &dy, o < p->ops - 1));
        if (here->kind == OP_CONV) DG_TRY(ops->conv_backward_data(backend, here->conv, &dy, &dx));
        if (here->kind == OP_RELU) DG_TRY(ops->act_backward(backend, DG_ACT_RELU, 0.0, x, &dy, &dx, false));
        if (here->kind == OP_POOL) DG_TRY(ops->pool_backward(backend, x, &dy, &dx, false));
    }
    *at = now;
    return DG_OK;
}

/* The images' gradient to the planes of dy. */
static dg_status spread_gradient(dg_perceptual *p, int at, bool masked, dg_tensor *dy, bool accumulate)
{
    const dg_backend_ops *ops = p->backend->ops;
    const dg_tensor image = shaped(&p->image, p->slope[at].data);
    dg_tensor wide = shaped(&p->grey, p->slope[1 - at].data), kept = p->grey;
    if (!accumulate) DG_TRY(ops->fill(p->backend, dy->data, elements(dy), 0.0f));
    DG_TRY(ops->copy(p->backend, &image, &wide, false));
    if (masked) DG_TRY(mask(p, &wide, &kept));
    return move_planes(p, dy, masked ? &kept : &wide, true);
}

dg_status dg_perceptual_evaluate(dg_perceptual *p, const dg_loss_batch *batch, const float *weight, double *value,
                                 int64_t stride, dg_tensor *dy, bool accumulate)
{
    const dg_backend_ops *ops = p->backend->ops;
    const bool masked = batch->mask != NULL;
    int at = 0, layer = 0;
    if (masked && p->mask == NULL)
        return DG_FAIL(DG_ERR_INTERNAL, "perceptual loss: a mask, and there was none at its creation");
    if (dy != NULL && (dy->dtype != DG_F32 || dy->pitch != dy->c))
        return DG_FAIL(DG_ERR_INTERNAL, "perceptual loss: dy is not dense f32");
    if (masked) DG_TRY(take_mask(p, batch));
    DG_TRY(forward(p, &batch->target, masked));
    for (int o = 0; o < p->ops; o++)
        if (p->op[o].compared) DG_TRY(ops->copy(p->backend, &p->op[o].y, &p->op[o].known, false));
    DG_TRY(forward(p, &batch->y, masked));
    if (dy != NULL) {
        DG_TRY(backward(p, weight, value, stride, &at));
        return spread_gradient(p, at, masked, dy, accumulate);
    }
    for (int o = p->ops - 1; o >= 0; o--)
        if (p->op[o].compared) DG_TRY(compare(p, &p->op[o], weight, value + layer++, stride, NULL, false));
    return DG_OK;
}
