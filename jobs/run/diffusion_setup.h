/* diffusion_setup.h - the diffusion of a run from its settings: the process, the sampler, and which settings fit.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_DIFFUSION_SETUP_H
#define DG_DIFFUSION_SETUP_H

#include "dg_sampler.h"
#include "run_config.h"

bool dg_run_is_diffusion(const dg_run_config *config);
dg_diffusion_config dg_run_config_diffusion(const dg_run_config *config);
/* Doses are held in 0 to 1.5 of the scale within a step; the reference tool: -1 to 2. */
dg_sampler_config dg_run_config_sampler(const dg_run_config *config);
/* Whether the penalty of negative doses divides by the signal, as the reference tool's (dg_diffusion_dose_scale). */
bool dg_run_raw_penalty(const dg_run_config *config);
/* What a run's diffusion cannot be: DG_ERR_USAGE names the keys. Also for settings of a sampler that predict changed. */
DG_MUST_USE dg_status dg_run_check_diffusion(const dg_run_config *config);
DG_MUST_USE dg_status dg_run_check_sampling(const dg_run_config *config);
/* Terms of a loss, as bits: those that compare what the network says, and those that look at the dose it speaks of. */
uint32_t dg_diffusion_terms_of_words(const dg_loss_term *term, int count);

#endif
