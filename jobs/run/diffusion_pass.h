/* diffusion_pass.h - a pass of training as a diffusion wants it: noise goes into the dose, the network is told the time, and the
 * loss looks at what the network says and at the dose that it speaks of. Noise and times are functions of (seed, step, slot):
 * any rank can make any sample. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_DIFFUSION_PASS_H
#define DG_DIFFUSION_PASS_H

#include "dg_diffusion.h"
#include "dg_loss.h"
#include "dg_plan.h"
#include "feed.h"

typedef struct dg_diffusion_pass dg_diffusion_pass;

typedef struct dg_diffusion_pass_config {
    const dg_diffusion *diffusion; /* borrowed */
    uint64_t seed;
    double drop_condition;
    double snr_limit; /* of min-SNR weighting; 0: all times weigh the same */
    bool raw;         /* losses of the dose as the reference tool has them (dg_diffusion_dose_scale) */
} dg_diffusion_pass_config;

/* What is drawn for a sample. */
typedef struct dg_diffusion_draw {
    int64_t t;
    bool blind; /* the network is not told the case */
} dg_diffusion_draw;
dg_diffusion_draw dg_diffusion_draw_of(const dg_diffusion_pass_config *config, int64_t step, int64_t slot);
/* The noise of a sample, in the order of its voxels. */
dg_noise dg_diffusion_noise_of(const dg_diffusion_pass_config *config, int64_t step, int64_t slot);

/* Memory for passes of plan's batch; plan and backend are borrowed and outlive it. `size`: of the samples as they are fed. */
DG_MUST_USE dg_status dg_diffusion_pass_create(const dg_diffusion_pass_config *config, dg_backend *backend,
                                               dg_plan *plan, const dg_sample_size *size, dg_diffusion_pass **out);
void dg_diffusion_pass_destroy(dg_diffusion_pass **pass);
/* Memory that a pass of so many samples takes beyond what any training does. */
int64_t dg_diffusion_pass_bytes(int64_t samples, int64_t voxels, int64_t channels, dg_dtype dtype);

/* Where the feed is to put samples: instead of the plan's input and conditioning vectors, and of the target. */
void dg_diffusion_pass_places(const dg_diffusion_pass *pass, dg_feed_places *places);
/* Queues noise into samples [0, count), slots `slot` .. of the step: the plan's input and conditioning vectors, and
 * target[count, outputs] = what the network is to say. recipe and cohort tell which voxels of a sample lie in its volume. */
DG_MUST_USE dg_status dg_diffusion_pass_add_noise(dg_diffusion_pass *pass, int64_t step, int64_t slot, int64_t count,
                                                  const dg_sample *samples, const dg_recipe *recipe,
                                                  const dg_cohort *cohort, float *target);
/* dg_loss_evaluate of the samples that add_noise made: terms mse and structure of the words, the others of the dose. */
DG_MUST_USE dg_status dg_diffusion_pass_loss(dg_diffusion_pass *pass, dg_loss *loss, const dg_loss_batch *batch,
                                             dg_tensor *dy);

#endif
