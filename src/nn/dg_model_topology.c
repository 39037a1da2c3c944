/* dg_model_topology.c - the 3-D U-Net of the surface detection study: instance norm without affine and leaky ReLU, transposed
 * convolutions on the way up, and a sigmoid at the end, so that the output is a probability (once: whoever reads it applies
 * no other).
 *
 * Block: twice conv3, instance norm, leaky ReLU. Levels encoders.0 .. encoders.{L-2}, bottleneck, decoders.0 (deepest) ..;
 * a decoder reads [transposed convolution | skip]. Cicek et al. 2016 (3-D U-Net), Ulyanov et al. 2016 (instance norm).
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_impl.h"

#include <stdio.h>

static const double norm_eps = 1e-5, leak = 0.01;
enum { DEPTH_MAX = 16 };

typedef struct label {
    char text[DG_GRAPH_NAME];
} label;

static label numbered(const char *stem, int64_t number, const char *leaf)
{
    label out;
    (void)snprintf(out.text, sizeof out.text, "%.20s%lld%.10s", stem, (long long)number, leaf);
    return out;
}

/* conv3, instance norm and leaky ReLU from x to y, the convolution named `conv`. */
static void half(dg_builder *b, const char *conv, int x, int y)
{
    if (b->status != DG_OK) return;
    const int64_t c = b->graph->tensor[y].c;
    const dg_norm_desc norm = {.groups = c, .eps = norm_eps, .act = DG_ACT_LEAKY_RELU, .negative_slope = leak};
    label inner, of_norm;
    (void)snprintf(inner.text, sizeof inner.text, "%.40s:conv", conv);
    (void)snprintf(of_norm.text, sizeof of_norm.text, "%.40s:norm", conv);
    const int h = dg_build_tensor(b, inner.text, b->graph->tensor[y].level, c);
    dg_build_conv(b, conv, DG_CONV_SAME, 3, true, x, h);
    dg_build_norm(b, of_norm.text, &norm, false, h, -1, -1, y);
}

static void block(dg_builder *b, const char *stem, int64_t number, int x, int y)
{
    if (b->status != DG_OK) return;
    const dg_graph_tensor *to = &b->graph->tensor[y];
    const label first = number < 0 ? (label){"bottleneck.0"} : numbered(stem, number, ".0"),
                second = number < 0 ? (label){"bottleneck.3"} : numbered(stem, number, ".3");
    label middle;
    (void)snprintf(middle.text, sizeof middle.text, "%.40s:act", first.text);
    const int h = dg_build_tensor(b, middle.text, to->level, to->c);
    half(b, first.text, x, h);
    half(b, second.text, h, y);
}

/* From the level below into the first half of this level's concat. */
static void raise(dg_builder *b, int64_t number, int x, int level, int64_t c, int up)
{
    const label name = numbered("upconvs.", number, ""), copy = numbered("upconvs.", number, ":copy");
    const int raised = dg_build_tensor(b, name.text, level, c);
    dg_build_conv(b, name.text, DG_CONV_TRANSPOSE2, 2, true, x, raised);
    dg_build_copy(b, copy.text, raised, up);
}

void dg_model_build_topology(dg_builder *b, const dg_model_config *config)
{
    const int64_t depth = config->levels - 1, base = config->base_channels;
    int concat[DEPTH_MAX], up[DEPTH_MAX];
    int x = dg_build_tensor(b, "input", 0, config->in_channels);
    b->graph->input = x;
    for (int64_t l = 0; l < depth; l++) {
        const int64_t c = base << l;
        concat[l] = dg_build_tensor(b, numbered("concat", l, "").text, (int)l, 2 * c);
        up[l] = dg_build_slice(b, numbered("up", l, "").text, concat[l], 0, c);
        const int skip = dg_build_slice(b, numbered("enc", l, "").text, concat[l], c, c);
        block(b, "encoders.", l, x, skip);
        x = dg_build_tensor(b, numbered("pool", l, "").text, (int)l + 1, c);
        dg_build_pool(b, numbered("pool", l, "").text, skip, x);
    }
    int y = dg_build_tensor(b, "bottleneck", (int)depth, base << depth);
    block(b, "bottleneck", -1, x, y);
    for (int64_t i = 0; i < depth; i++) {
        const int64_t l = depth - 1 - i;
        raise(b, i, y, (int)l, base << l, up[l]);
        y = dg_build_tensor(b, numbered("dec", i, "").text, (int)l, base << l);
        block(b, "decoders.", i, concat[l], y);
    }
    const int last = dg_build_tensor(b, "output:conv", 0, config->out_channels),
              logits = dg_build_tensor(b, "logits", 0, config->out_channels),
              output = dg_build_tensor(b, "output", 0, config->out_channels);
    dg_build_conv(b, "output", DG_CONV_SAME, 1, true, y, last);
    dg_build_copy(b, "logits", last, logits);
    dg_build_act(b, "sigmoid", DG_ACT_SIGMOID, 0.0, logits, output);
    if (b->status != DG_OK) return;
    b->graph->tensor[logits].f32 = b->graph->tensor[output].f32 = true;
    b->graph->output = output;
}
