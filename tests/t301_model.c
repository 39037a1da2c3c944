/* ctest: libs=dg_nn timeout=60 */
/* t301_model.c - the baseline U-Net: its parameters by name and shape, their order, and refused configurations.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_model.h"

static const dg_model_config BASELINE = {.kind = "unet",
                                         .in_channels = 9,
                                         .out_channels = 1,
                                         .base_channels = 8,
                                         .levels = 5,
                                         .constraints = 13,
                                         .cond_channels = 256};

static dg_model *create(dg_model_config config)
{
    dg_model *model = NULL;
    DG_CHECK_OK(dg_model_create(&config, &model));
    return model;
}

static void expect(const dg_model *model, const char *name, int rank, int64_t a, int64_t b, int64_t k)
{
    const int index = dg_param_find(&model->params, name);
    const int64_t shape[] = {a, b, k, k, k};
    if (index < 0) fprintf(stderr, "no parameter %s\n", name);
    DG_CHECK(index >= 0);
    const dg_param *p = &model->params.item[index];
    DG_CHECK(p->rank == rank && memcmp(p->torch_shape, shape, (size_t)rank * sizeof *shape) == 0);
}

static int64_t count_elements(const dg_model *model)
{
    int64_t count = 0;
    for (int i = 0; i < model->params.count; i++) count += model->params.item[i].count;
    return count;
}

static void check_baseline(void)
{
    dg_model *model = create(BASELINE);
    DG_CHECK(count_elements(model) == 836001); /* n_parameters of the reference file */
    expect(model, "constraint_mlp.0.weight", 2, 256, 13, 0);
    expect(model, "constraint_mlp.2.bias", 1, 256, 0, 0);
    expect(model, "enc1.conv1.weight", 5, 8, 9, 3);
    expect(model, "enc1.residual.weight", 5, 8, 9, 1);
    expect(model, "enc4.conv2.weight", 5, 64, 64, 3);
    expect(model, "bottleneck.cond_mlp.1.weight", 2, 128, 256, 0);
    expect(model, "dec4.conv1.weight", 5, 32, 128, 3);
    expect(model, "dec2.norm1.bias", 1, 8, 0, 0);
    expect(model, "dec1.conv1.weight", 5, 8, 16, 3);
    expect(model, "out_conv.weight", 5, 1, 8, 1);
    DG_CHECK(dg_param_find(&model->params, "bottleneck.residual.weight") == -1); /* the channels stay */
    /* Everything conditions on the MLP: its gradient is complete last. */
    DG_CHECK(strcmp(model->params.item[0].name, "constraint_mlp.0.weight") == 0 && model->params.item[0].offset == 0);
    DG_CHECK(strcmp(model->params.item[model->params.count - 1].name, "out_conv.bias") == 0);
    DG_CHECK(dg_model_multiple(model) == 16);
    dg_model_destroy(&model);
    DG_CHECK(model == NULL);
    dg_model_destroy(&model);
}

static void check_variants(void)
{
    dg_model_config config = BASELINE;
    config.base_channels = 16;
    dg_model *model = create(config);
    DG_CHECK(count_elements(model) == 2873537); /* n_parameters of the wider file */
    dg_model_destroy(&model);

    config.constraints = 0;
    config.levels = 3;
    config.in_channels = 16;
    config.out_channels = 2;
    model = create(config);
    DG_CHECK(model->graph.constraints == -1 && dg_model_multiple(model) == 4);
    for (int i = 0; i < model->params.count; i++) DG_CHECK(strstr(model->params.item[i].name, "cond") == NULL);
    DG_CHECK(dg_param_find(&model->params, "enc1.residual.weight") == -1);
    expect(model, "bottleneck.conv1.weight", 5, 64, 32, 3);
    expect(model, "dec2.conv1.weight", 5, 16, 96, 3);
    expect(model, "out_conv.weight", 5, 2, 16, 1);
    DG_CHECK(dg_param_find(&model->params, "enc3.conv1.weight") == -1);
    dg_model_destroy(&model);

    config.levels = 6; /* widening stops at 8 */
    model = create(config);
    expect(model, "enc5.conv1.weight", 5, 128, 128, 3);
    expect(model, "bottleneck.conv1.weight", 5, 128, 128, 3);
    dg_model_destroy(&model);
}

static void refused(dg_model_config config, const char *words)
{
    dg_model *model = NULL;
    DG_CHECK_FAILS(dg_model_create(&config, &model), DG_ERR_USAGE, words);
    DG_CHECK(model == NULL);
}

int main(void)
{
    check_baseline();
    check_variants();
    dg_model_config c = BASELINE;
    (void)snprintf(c.kind, sizeof c.kind, "u-net");
    refused(c, "unknown model kind 'u-net'; known: unet, attention_unet, bottleneck_attn, cascade, topology_unet, "
               "diffusion_unet, patchgan");
    c = BASELINE, c.in_channels = 0;
    refused(c, "in_channels is 0; it must be 1 to");
    c = BASELINE, c.out_channels = -1;
    refused(c, "out_channels is -1");
    c = BASELINE, c.base_channels = 1000000;
    refused(c, "base_channels is 1000000");
    c = BASELINE, c.levels = 1;
    refused(c, "levels is 1; it must be 2 to 10");
    c = BASELINE, c.constraints = -2;
    refused(c, "constraints is -2");
    c = BASELINE, c.cond_channels = 0;
    refused(c, "cond_channels is 0");
    return 0;
}
