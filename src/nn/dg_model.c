/* dg_model.c - the registry of architectures. SPDX-License-Identifier: Apache-2.0 */
#include "dg_model.h"

#include "dg_mem.h"
#include "model_impl.h"

#include <string.h>

static const struct {
    const char *kind;
    void (*build)(dg_builder *builder, const dg_model_config *config);
} architectures[] = {
    {"unet", dg_model_build_unet},
    {"attention_unet", dg_model_build_unet},
    {"bottleneck_attn", dg_model_build_unet},
    {"cascade", dg_model_build_cascade},
    {"topology_unet", dg_model_build_topology},
    {"diffusion_unet", dg_model_build_diffusion},
    {"patchgan", dg_model_build_patchgan},
};

static dg_status check_range(const char *key, int64_t value, int64_t low, int64_t high)
{
    if (value >= low && value <= high) return DG_OK;
    return DG_FAIL(DG_ERR_USAGE, "model %s is %lld; it must be %lld to %lld", key, (long long)value, (long long)low,
                   (long long)high);
}

static dg_status check_config(const dg_model_config *config)
{
    DG_TRY(check_range("in_channels", config->in_channels, 1, 4096));
    DG_TRY(check_range("out_channels", config->out_channels, 1, 4096));
    DG_TRY(check_range("base_channels", config->base_channels, 1, 4096));
    DG_TRY(check_range("levels", config->levels, 2, 10));
    DG_TRY(check_range("constraints", config->constraints, 0, 65536));
    if (config->constraints > 0) DG_TRY(check_range("cond_channels", config->cond_channels, 1, 65536));
    if (strcmp(config->kind, "diffusion_unet") == 0) {
        DG_TRY(check_range("cond_channels", config->cond_channels, 2, 65536));
        if (config->base_channels % 2 != 0 || config->base_channels < 4 || config->cond_channels % 2 != 0)
            return DG_FAIL(
                DG_ERR_USAGE,
                "model kind diffusion_unet has base_channels %lld and cond_channels %lld; both must be even, "
                "and base_channels, which is also the number of its sinusoids of time, at least 4",
                (long long)config->base_channels, (long long)config->cond_channels);
    }
    if (config->constraints > 0 && strcmp(config->kind, "topology_unet") == 0)
        return DG_FAIL(DG_ERR_USAGE, "model kind topology_unet takes no constraints; leave out data.constraints");
    return DG_OK;
}

dg_status dg_model_create(const dg_model_config *config, dg_model **out)
{
    const int count = (int)(sizeof architectures / sizeof *architectures);
    int found = 0;
    while (found < count && strcmp(architectures[found].kind, config->kind) != 0) found++;
    if (found == count)
        return DG_FAIL(DG_ERR_USAGE, "unknown model kind '%s'; known: %s, %s, %s, %s, %s, %s, %s", config->kind,
                       architectures[0].kind, architectures[1].kind, architectures[2].kind, architectures[3].kind,
                       architectures[4].kind, architectures[5].kind, architectures[6].kind);
    DG_TRY(check_config(config));
    dg_model *model = NULL;
    DG_TRY(DG_NEW(&model, 1, "model"));
    model->config = *config;
    dg_builder builder = {.graph = &model->graph, .params = &model->params, .status = DG_OK};
    model->graph.constraints = -1;
    architectures[found].build(&builder, config);
    dg_status status = builder.status;
    if (status != DG_OK)
        dg_model_destroy(&model);
    else
        *out = model;
    return status;
}

void dg_model_destroy(dg_model **model)
{
    if (model == NULL || *model == NULL) return;
    dg_graph_release(&(*model)->graph);
    dg_param_table_release(&(*model)->params);
    dg_free(model);
}

int64_t dg_model_multiple(const dg_model *model) { return (int64_t)1 << (model->config.levels - 1); }
