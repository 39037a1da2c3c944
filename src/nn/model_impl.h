/* model_impl.h - what the registry of architectures knows of each. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_MODEL_IMPL_H
#define DG_MODEL_IMPL_H

#include "dg_model.h"

/* Each fills graph and parameters from a checked configuration; failure sticks in the builder. */
void dg_model_build_unet(dg_builder *builder, const dg_model_config *config);
void dg_model_build_cascade(dg_builder *builder, const dg_model_config *config);
void dg_model_build_diffusion(dg_builder *builder, const dg_model_config *config);
void dg_model_build_patchgan(dg_builder *builder, const dg_model_config *config);
void dg_model_build_topology(dg_builder *builder, const dg_model_config *config);

#endif
