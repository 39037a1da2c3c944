/* dg_model_patchgan.c - the discriminator of an adversarial loss: it says of every patch of a volume whether it looks like a
 * plan (1) or like a prediction (0), with no sigmoid at the end (PatchGAN: Isola et al. 2017, in 3-D; least squares: Mao et al. 2017).
 *
 * levels - 1 convolutions of 4x4x4 and stride 2 with base * (1,2,4,8,8,...) channels, one of 3x3x3 with the next number of them, and
 * one of 3x3x3 to a single channel; leaky ReLU of slope 0.2 behind all but the last, instance norm without affine before it behind
 * all but the first. As pix2pix's, but that the last two kernels are 3 and not 4 wide, so that every tensor is of a level's size, and
 * that convolutions in front of a norm, which takes their bias away again, have none. SPDX-License-Identifier: Apache-2.0 */
#include "model_impl.h"

#include <stdio.h>

static const double norm_eps = 1e-5, leak = 0.2;
enum { WIDEST = 8 };

typedef struct label {
    char text[DG_GRAPH_NAME];
} label;

static label numbered(int64_t number, const char *leaf)
{
    label out;
    (void)snprintf(out.text, sizeof out.text, "layers.%lld%.10s", (long long)number, leaf);
    return out;
}

/* Layer `number`: convolution, norm (but the first) and leaky ReLU; returns its result. */
static int layer(dg_builder *b, int64_t number, int x, int level, int64_t c)
{
    if (b->status != DG_OK) return 0;
    const bool shrinks = level > b->graph->tensor[x].level, first = number == 0;
    const dg_norm_desc norm = {.groups = c, .eps = norm_eps, .act = DG_ACT_LEAKY_RELU, .negative_slope = leak};
    const int h = dg_build_tensor(b, numbered(number, ":conv").text, level, c),
              y = dg_build_tensor(b, numbered(number, "").text, level, c);
    dg_build_conv(b, numbered(number, "").text, shrinks ? DG_CONV_STRIDE2 : DG_CONV_SAME, shrinks ? 4 : 3, first, x, h);
    if (first)
        dg_build_act(b, numbered(number, ":act").text, norm.act, leak, h, y);
    else
        dg_build_norm(b, numbered(number, ":norm").text, &norm, false, h, -1, -1, y);
    return y;
}

void dg_model_build_patchgan(dg_builder *b, const dg_model_config *config)
{
    const int64_t depth = config->levels - 1;
    int x = dg_build_tensor(b, "input", 0, config->in_channels);
    b->graph->input = x;
    for (int64_t l = 0; l <= depth; l++) {
        const int64_t factor = l < 3 ? INT64_C(1) << l : WIDEST;
        x = layer(b, l, x, (int)(l < depth ? l + 1 : depth), config->base_channels * factor);
    }
    const int last = dg_build_tensor(b, "output:conv", (int)depth, config->out_channels),
              output = dg_build_tensor(b, "output", (int)depth, config->out_channels);
    dg_build_conv(b, "output", DG_CONV_SAME, 3, true, x, last);
    dg_build_copy(b, "output:copy", last, output);
    if (b->status != DG_OK) return;
    b->graph->tensor[output].f32 = true;
    b->graph->output = output;
}
