/* dg_model_unet.c - the residual 3-D U-Net with group norm and FiLM conditioning: the baseline; two of them in a cascade, and one
 * conditioned on the time of a diffusion.
 *
 * Block: h = silu(GN(conv3(x))); h = h (1 + s) + t; h = silu(GN(conv3(h))); result h + R(x), R a 1x1x1 convolution where
 * the channels change. Levels enc1 .. enc{L-1}, bottleneck, dec{L-1} .. dec1; the decoder reads
 * [trilinear up | skip]. Ronneberger et al. 2015 (U-Net), Wu & He 2018 (group norm), Perez et al. 2018 (FiLM).
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_impl.h"

#include <stdio.h>
#include <string.h>

static const double norm_eps = 1e-5;
enum { MAX_GROUPS = 8, MAX_WIDENING = 8, ATTENTION_HEADS = 4 };

/* What all blocks share. */
typedef struct unet {
    dg_builder *builder;
    const dg_model_config *config;
    int condition;      /* silu(conditioning embedding), or -1 */
    const char *film;   /* PyTorch's name of what a block makes of it */
    const char *prefix; /* of all names: "", or the stage of a cascade */
} unet;

static int64_t channels_of(const unet *net, int64_t level)
{
    int64_t widening = level < 3 ? (int64_t)1 << level : MAX_WIDENING;
    return net->config->base_channels * widening;
}

static dg_norm_desc group_norm(int64_t channels)
{
    int64_t groups = MAX_GROUPS < channels ? MAX_GROUPS : channels;
    while (channels % groups != 0) groups--;
    return (dg_norm_desc){.groups = groups, .eps = norm_eps, .act = DG_ACT_SILU};
}

/* "enc1" and ".conv1" to "enc1.conv1". */
typedef struct label {
    char text[DG_GRAPH_NAME];
} label;

static label join(const char *block, const char *leaf)
{
    label out;
    (void)snprintf(out.text, sizeof out.text, "%.23s%.23s", block, leaf);
    return out;
}

static label numbered(const unet *net, const char *stem, int64_t number)
{
    label out;
    (void)snprintf(out.text, sizeof out.text, "%s%s%lld", net->prefix, stem, (long long)number);
    return out;
}

static label named(const unet *net, const char *name) { return join(net->prefix, name); }

static void block(const unet *net, const char *name, int x, int y)
{
    dg_builder *b = net->builder;
    if (b->status != DG_OK) return;
    const int level = b->graph->tensor[x].level;
    const int64_t cin = b->graph->tensor[x].c, cout = b->graph->tensor[y].c;
    const dg_norm_desc norm = group_norm(cout);
    int residual = x, film = -1;
    if (cin != cout) {
        residual = dg_build_tensor(b, join(name, ":residual").text, level, cout);
        dg_build_conv(b, join(name, ".residual").text, DG_CONV_SAME, 1, true, x, residual);
    }
    if (net->condition >= 0) {
        film = dg_build_tensor(b, join(name, ":film").text, DG_LEVEL_VECTOR, 2 * cout);
        dg_build_linear(b, join(name, net->film).text, net->condition, film);
    }
    int c1 = dg_build_tensor(b, join(name, ":conv1").text, level, cout);
    int h1 = dg_build_tensor(b, join(name, ":norm1").text, level, cout);
    int c2 = dg_build_tensor(b, join(name, ":conv2").text, level, cout);
    dg_build_conv(b, join(name, ".conv1").text, DG_CONV_SAME, 3, true, x, c1);
    dg_build_norm(b, join(name, ".norm1").text, &norm, true, c1, film, -1, h1);
    dg_build_conv(b, join(name, ".conv2").text, DG_CONV_SAME, 3, true, h1, c2);
    dg_build_norm(b, join(name, ".norm2").text, &norm, true, c2, -1, residual, y);
}

/* silu(W2 silu(W0 k + b0) + b2): every block's cond_mlp begins with the same silu, so it is made once. */
static int conditioning(const unet *net)
{
    dg_builder *b = net->builder;
    const int64_t width = net->config->cond_channels;
    if (net->config->constraints == 0) return -1;
    int k = dg_build_tensor(b, "constraints", DG_LEVEL_VECTOR, net->config->constraints);
    int hidden = dg_build_tensor(b, "cond:hidden", DG_LEVEL_VECTOR, width);
    int active = dg_build_tensor(b, "cond:active", DG_LEVEL_VECTOR, width);
    int embedding = dg_build_tensor(b, "cond:embedding", DG_LEVEL_VECTOR, width);
    int condition = dg_build_tensor(b, "cond:silu", DG_LEVEL_VECTOR, width);
    b->graph->constraints = k;
    dg_build_linear(b, "constraint_mlp.0", k, hidden);
    dg_build_act(b, "constraint_mlp.1", DG_ACT_SILU, 0.0, hidden, active);
    dg_build_linear(b, "constraint_mlp.2", active, embedding);
    dg_build_act(b, "cond_mlp.0", DG_ACT_SILU, 0.0, embedding, condition);
    return condition;
}

/* skip * sigmoid(psi(relu(W_skip skip + W_gate up))), with half as many channels inside (Oktay et al. 2018). */
static void gate(const unet *net, const char *name, int skip, int up, int y)
{
    dg_builder *b = net->builder;
    if (b->status != DG_OK) return;
    const int level = b->graph->tensor[skip].level;
    const int64_t inner = b->graph->tensor[skip].c > 1 ? b->graph->tensor[skip].c / 2 : 1;
    const dg_norm_desc sum = {.act = DG_ACT_NONE};
    int of_skip = dg_build_tensor(b, join(name, ":skip").text, level, inner);
    int of_up = dg_build_tensor(b, join(name, ":gate").text, level, inner);
    int both = dg_build_tensor(b, join(name, ":sum").text, level, inner);
    int active = dg_build_tensor(b, join(name, ":relu").text, level, inner);
    int score = dg_build_tensor(b, join(name, ":score").text, level, 1);
    int open = dg_build_tensor(b, join(name, ":open").text, level, 1);
    dg_build_conv(b, join(name, ".W_gate").text, DG_CONV_SAME, 1, false, up, of_up);
    dg_build_conv(b, join(name, ".W_skip").text, DG_CONV_SAME, 1, false, skip, of_skip);
    dg_build_norm(b, join(name, ".sum").text, &sum, false, of_skip, -1, of_up, both);
    dg_build_act(b, join(name, ".relu").text, DG_ACT_RELU, 0.0, both, active);
    dg_build_conv(b, join(name, ".psi.0").text, DG_CONV_SAME, 1, true, active, score);
    dg_build_act(b, join(name, ".psi.1").text, DG_ACT_SIGMOID, 0.0, score, open);
    dg_build_gate(b, name, skip, open, y);
}

/* x + proj(attention(layer norm(x))) over the voxels of a sample (Vaswani et al. 2017); returns the sum. */
static int attend(const unet *net, int x)
{
    dg_builder *b = net->builder;
    if (b->status != DG_OK) return x;
    const int level = b->graph->tensor[x].level;
    const int64_t c = b->graph->tensor[x].c;
    const dg_norm_desc sum = {.act = DG_ACT_NONE};
    if (c % ATTENTION_HEADS != 0) {
        b->status = DG_FAIL(DG_ERR_USAGE,
                            "model kind bottleneck_attn has %d heads, which do not divide the %lld channels of its "
                            "bottom; choose another model.base",
                            ATTENTION_HEADS, (long long)c);
        return x;
    }
    int normed = dg_build_tensor(b, "bottleneck_attn:norm", level, c);
    int qkv = dg_build_tensor(b, "bottleneck_attn:qkv", level, 3 * c);
    int core = dg_build_tensor(b, "bottleneck_attn:core", level, c);
    int projected = dg_build_tensor(b, "bottleneck_attn:proj", level, c);
    int y = dg_build_tensor(b, "bottleneck_attn", level, c);
    dg_build_layer_norm(b, "bottleneck_attn.norm", norm_eps, x, normed);
    dg_build_voxel_linear(b, "bottleneck_attn.qkv", false, normed, qkv);
    dg_build_attention(b, "bottleneck_attn.attention", ATTENTION_HEADS, qkv, core);
    dg_build_voxel_linear(b, "bottleneck_attn.proj", true, core, projected);
    dg_build_norm(b, "bottleneck_attn.sum", &sum, false, projected, -1, x, y);
    return y;
}

/* The network between x and its output convolution; returns what that makes. */
static int stage(const unet *net, int x)
{
    dg_builder *b = net->builder;
    const dg_model_config *config = net->config;
    const int64_t deepest = config->levels - 1;
    const bool gated = strcmp(config->kind, "attention_unet") == 0;
    int up[16], concat[16], skip[16];
    for (int64_t l = 0; l < deepest; l++) {
        /* The decoder that reads this level's skip gets its other half from the level below. */
        int64_t skip_c = channels_of(net, l), up_c = l + 1 == deepest ? channels_of(net, deepest) : channels_of(net, l);
        concat[l] = dg_build_tensor(b, numbered(net, "concat", l + 1).text, (int)l, up_c + skip_c);
        up[l] = dg_build_slice(b, numbered(net, "up", l + 1).text, concat[l], 0, up_c);
        skip[l] = gated ? dg_build_tensor(b, numbered(net, "enc", l + 1).text, (int)l, skip_c)
                        : dg_build_slice(b, numbered(net, "enc", l + 1).text, concat[l], up_c, skip_c);
        block(net, numbered(net, "enc", l + 1).text, x, skip[l]);
        x = dg_build_tensor(b, numbered(net, "pool", l + 1).text, (int)l + 1, skip_c);
        dg_build_pool(b, numbered(net, "pool", l + 1).text, skip[l], x);
    }
    int y = dg_build_tensor(b, named(net, "bottleneck").text, (int)deepest, channels_of(net, deepest));
    block(net, named(net, "bottleneck").text, x, y);
    if (strcmp(config->kind, "bottleneck_attn") == 0) y = attend(net, y);
    for (int64_t l = deepest - 1; l >= 0; l--) {
        dg_build_resize(b, numbered(net, "up", l + 1).text, y, up[l]);
        if (gated) {
            const dg_graph_tensor *half = &b->graph->tensor[up[l]];
            label name = numbered(net, "attn", l + 1);
            int y_gate = dg_build_slice(b, name.text, concat[l], b->status == DG_OK ? half->c : 0, channels_of(net, l));
            gate(net, name.text, skip[l], up[l], y_gate);
        }
        y = dg_build_tensor(b, numbered(net, "dec", l + 1).text, (int)l, channels_of(net, l > 0 ? l - 1 : 0));
        block(net, numbered(net, "dec", l + 1).text, concat[l], y);
    }
    int last = dg_build_tensor(b, named(net, "out_conv").text, 0, config->out_channels);
    dg_build_conv(b, named(net, "out_conv").text, DG_CONV_SAME, 1, true, y, last);
    return last;
}

static unet begin(dg_builder *b, const dg_model_config *config)
{
    unet net = {.builder = b, .config = config, .film = ".cond_mlp.1", .prefix = ""};
    b->graph->input = dg_build_tensor(b, "input", 0, config->in_channels);
    net.condition = conditioning(&net);
    return net;
}

/* W2 silu(W0 k + b0) + b2 of a vector, into y. */
static void embed(dg_builder *b, const char *first, const char *act, const char *second, int k, int y)
{
    const int64_t width = b->graph->tensor[y].c;
    int hidden = dg_build_tensor(b, join(first, ":hidden").text, DG_LEVEL_VECTOR, width);
    int active = dg_build_tensor(b, join(first, ":active").text, DG_LEVEL_VECTOR, width);
    dg_build_linear(b, first, k, hidden);
    dg_build_act(b, act, DG_ACT_SILU, 0.0, hidden, active);
    dg_build_linear(b, second, active, y);
}

/* silu([embedding of the time | embedding of the constraints]): half of the width each. The vector that comes in is the
 * time's sinusoids (dg_diffusion_sinusoids, base_channels of them) followed by the constraints. */
static int time_conditioning(const unet *net)
{
    dg_builder *b = net->builder;
    const int64_t times = net->config->base_channels, known = net->config->constraints;
    const int64_t half = net->config->cond_channels / 2, width = known > 0 ? 2 * half : half;
    int k = dg_build_tensor(b, "constraints", DG_LEVEL_VECTOR, times + known);
    int embedding = dg_build_tensor(b, "cond:embedding", DG_LEVEL_VECTOR, width);
    int of_time = dg_build_slice(b, "cond:time", embedding, 0, half);
    int condition = dg_build_tensor(b, "cond:silu", DG_LEVEL_VECTOR, width);
    b->graph->constraints = k;
    embed(b, "time_embed.1", "time_embed.2", "time_embed.3", dg_build_slice(b, "time", k, 0, times), of_time);
    if (known > 0) {
        int of_known = dg_build_slice(b, "cond:constraints", embedding, half, half);
        embed(b, "constraint_embed.0", "constraint_embed.1", "constraint_embed.2",
              dg_build_slice(b, "known", k, times, known), of_known);
    }
    dg_build_act(b, "time_mlp.0", DG_ACT_SILU, 0.0, embedding, condition);
    return condition;
}

static void finish(dg_builder *b, int last)
{
    if (b->status != DG_OK) return;
    int output = dg_build_tensor(b, "output", 0, b->graph->tensor[last].c);
    dg_build_copy(b, "output", last, output);
    if (b->status != DG_OK) return;
    b->graph->tensor[output].f32 = true;
    b->graph->output = output;
}

void dg_model_build_unet(dg_builder *b, const dg_model_config *config)
{
    const unet net = begin(b, config);
    finish(b, stage(&net, b->graph->input));
}

void dg_model_build_diffusion(dg_builder *b, const dg_model_config *config)
{
    unet net = {.builder = b, .config = config, .film = ".time_mlp.1", .prefix = ""};
    b->graph->input = dg_build_tensor(b, "input", 0, config->in_channels);
    net.condition = time_conditioning(&net);
    finish(b, stage(&net, b->graph->input));
}

/* Two U-Nets: `coarse` predicts from the input, `refine` corrects that prediction and sees it beside the input, which a 1x1x1
 * convolution brings to the first level's channels. The output is the sum, so that its gradient reaches both stages at once.
 * After the OpenKBP challenge's winner (Liu et al., Med. Phys. 2021), whose stages are both full U-Nets too. */
void dg_model_build_cascade(dg_builder *b, const dg_model_config *config)
{
    const dg_norm_desc sum = {.act = DG_ACT_NONE};
    unet net = begin(b, config);
    net.prefix = "coarse.";
    const int coarse = stage(&net, b->graph->input);
    net.prefix = "refine.";
    const int both = dg_build_tensor(b, "refine.both", 0, config->base_channels + config->out_channels);
    const int seen = dg_build_slice(b, "refine.input", both, 0, config->base_channels);
    const int known = dg_build_slice(b, "refine.known", both, config->base_channels, config->out_channels);
    dg_build_conv(b, "refine.input", DG_CONV_SAME, 1, true, b->graph->input, seen);
    dg_build_copy(b, "refine.known", coarse, known);
    const int correction = stage(&net, both);
    const int refined = dg_build_tensor(b, "refine.sum", 0, config->out_channels);
    dg_build_norm(b, "refine.sum", &sum, false, correction, -1, coarse, refined);
    finish(b, refined);
}
