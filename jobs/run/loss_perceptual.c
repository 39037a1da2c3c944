/* loss_perceptual.c - the network of the perceptual term from the user's file. SPDX-License-Identifier: Apache-2.0 */
#include "loss_setup.h"

#include "dg_safetensors.h"

static dg_status read(void *context, const char *name, int rank, const int64_t *shape, float *values)
{
    return dg_safetensors_read(context, name, rank, shape, values);
}

dg_status dg_loss_setup_perceptual(const dg_run_config *config, dg_loss_setup *out)
{
    const char *layer[DG_PERCEPTUAL_LAYERS];
    const dg_string_list *layers = &config->loss.perceptual.layers;
    dg_safetensors *file = NULL;
    if (config->loss.perceptual.file[0] == '\0')
        return DG_FAIL(
            DG_ERR_USAGE,
            "loss.perceptual needs a trained network, and none comes with the program: name a .safetensors file "
            "of torchvision's %.40s in loss.perceptual.file, or set loss.perceptual to 0",
            config->loss.perceptual.architecture);
    if (config->loss.compat == DG_LOSS_UPSTREAM && config->loss.weighting == DG_LOSS_LEARNED)
        return DG_FAIL(DG_ERR_USAGE,
                       "the reference tool leaves loss.perceptual out where weights are learned (loss.compat "
                       "upstream, loss.weighting learned): set it to 0");
    for (int l = 0; l < layers->count && l < DG_PERCEPTUAL_LAYERS; l++) layer[l] = layers->value[l];
    DG_TRY(dg_safetensors_open(config->loss.perceptual.file, "loss.perceptual.file", &file));
    dg_status status = dg_perceptual_net_make(config->loss.perceptual.architecture, layer, layers->count,
                                              config->loss.perceptual.every, dg_run_dtype(config->train.dtype), read,
                                              file, &out->perceptual);
    dg_safetensors_close(&file);
    out->config.perceptual = &out->perceptual;
    return status;
}
