/* dg_perceptual.h - how far prediction and plan are apart to a network that was trained on photographs: mean absolute
 * difference of its features, slice by slice (Johnson, Alahi & Fei-Fei 2016), with the convolutions of VGG (Simonyan & Zisserman
 * 2015) as torchvision numbers and names them. Every `every`-th plane z of a sample is an image in grey: its doses, as
 * red, green and blue, less the mean and over the deviation of ImageNet. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_PERCEPTUAL_H
#define DG_PERCEPTUAL_H

#include "dg_backend.h"

enum { DG_PERCEPTUAL_LAYERS = 8, DG_PERCEPTUAL_OPS = 48, DG_PERCEPTUAL_PARTS = 16 };

/* A part of the network: one convolution with its ReLU. Parts follow each other; `pools`: a 2x2 pooling before it. */
typedef struct dg_perceptual_part {
    char name[32]; /* torchvision's: "features.0" */
    int64_t cin, cout;
    bool pools, compared;
    float *weight, *bias; /* host memory, PyTorch layout (cout,cin,3,3) and (cout); owned */
} dg_perceptual_part;

/* The network up to its last compared part. */
typedef struct dg_perceptual_net {
    dg_perceptual_part part[DG_PERCEPTUAL_PARTS];
    int parts, layers; /* layers: compared parts */
    int64_t every;
    dg_dtype dtype; /* of features */
} dg_perceptual_net;

/* Reads one parameter by its name in torchvision's state_dict; the shape must be that. */
typedef dg_status (*dg_perceptual_read)(void *context, const char *name, int rank, const int64_t *shape, float *values);

/* `architecture` is vgg11, vgg13, vgg16 or vgg19; layer[layers] are "relu1_2" (block 1 to 5, convolution in the block).
 * DG_ERR_USAGE lists what there is; what `read` returns. */
DG_MUST_USE dg_status dg_perceptual_net_make(const char *architecture, const char *const *layer, int layers,
                                             int64_t every, dg_dtype dtype, dg_perceptual_read read, void *context,
                                             dg_perceptual_net *out);
void dg_perceptual_net_release(dg_perceptual_net *net);

/* The network on a backend, for batches of a shape. */
typedef struct dg_perceptual dg_perceptual;
/* `net` is read and not kept, `backend` outlives the object. DG_ERR_UNSUPPORTED: blocks of voxels, or slices too small for the
 * poolings. */
DG_MUST_USE dg_status dg_perceptual_create(const dg_perceptual_net *net, dg_backend *backend,
                                           const dg_loss_batch *shape, dg_perceptual **out);
void dg_perceptual_destroy(dg_perceptual **perceptual);
/* Queues value[i * stride + l] = mean absolute difference of layer l's features in sample i (f64, backend memory), and dy
 * (NULL: not wanted; dense f32) (=|+=) d/dy of *weight * their sum. Voxels that batch->mask leaves out are 0 in both images; a mask must
 * have been there at creation. */
DG_MUST_USE dg_status dg_perceptual_evaluate(dg_perceptual *perceptual, const dg_loss_batch *batch, const float *weight,
                                             double *value, int64_t stride, dg_tensor *dy, bool accumulate);

#endif
