/* run_config.c - the option rows of a run and the checks that need more than one of them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "run_config.h"

#include "diffusion_setup.h"

#include "dg_mem.h"

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AT(field) offsetof(dg_run_config, field)
#define BIG 9e15

/* clang-format off */
#define TEXT(key_, field, default_, help_) \
    {.key = key_, .type = DG_OPT_STRING, .offset = AT(field), .fallback = default_, .unit = "", .help = help_}
#define FLAG(key_, field, default_, help_) \
    {.key = key_, .type = DG_OPT_BOOL, .offset = AT(field), .fallback = default_, .unit = "", .help = help_}
#define WHOLE(key_, field, low, high, default_, unit_, help_) \
    {.key = key_, .type = DG_OPT_INT, .offset = AT(field), .min = low, .max = high, .fallback = default_, .unit = unit_, \
     .help = help_}
#define REAL(key_, field, low, high, default_, unit_, help_) \
    {.key = key_, .type = DG_OPT_DOUBLE, .offset = AT(field), .min = low, .max = high, .fallback = default_, \
     .unit = unit_, .help = help_}
#define WORD(key_, field, words, default_, help_) \
    {.key = key_, .type = DG_OPT_ENUM, .offset = AT(field), .names = words, .fallback = default_, .unit = "", .help = help_}
#define LIST(type_, key_, field, low, high, few, many, words, default_, unit_, help_) \
    {.key = key_, .type = type_, .offset = AT(field), .min = low, .max = high, .list_min = few, .list_max = many, \
     .names = words, .fallback = default_, .unit = unit_, .help = help_}

static const char *const word_auto[] = {"auto", NULL};
static const char *const word_native[] = {"native", NULL};
static const char *const word_prescription[] = {"prescription", NULL};
static const char *const mask_names[] = {"none", "body", "possible_dose", NULL};
static const char *const optim_names[] = {"adamw", "sgd", NULL};
static const char *const schedule_names[] = {"constant", "cosine", "cosine_restarts", "plateau", NULL};
static const char *const space_names[] = {"output", "parameters", NULL};
static const char *const dtype_names[] = {"bf16", "f32", NULL};
static const char *const reduction_names[] = {"fast", "ordered", NULL};
static const char *const cuda_graph_names[] = {"auto", "off", NULL};
static const char *const shared_gpu_names[] = {"refuse", "mpi", NULL};
static const char *const nan_names[] = {"skip", "abort", "rollback", NULL};
static const char *const degradation_names[] = {"ignore", "abort", "rollback", NULL};
static const char *const monitor_names[] = {"auto", "val_dose_score", "val_mae_gy", "val_mae_ptv_gy", "val_dice_error",
                                             "val_fraction_distance", "val_denoise_gy", NULL};
static const char *const frame_names[] = {"volume", "region", NULL};
static const char *const target_names[] = {"dose", "labels", NULL};
static const char *const word_none[] = {"none", NULL};
static const char *const word_all[] = {"all", NULL};
static const char *const fault_names[] = {"none", "penalty", "start", "noise", "eta", NULL};
static const char *const compat_names[] = {"corrected", "upstream", NULL};
static const char *const weighting_names[] = {"fixed", "learned", NULL};
static const char *const gamma_names[] = {"continuous", "pymedphys", NULL};
static const char *const process_names[] = {"ddpm", "flow", NULL};
static const char *const noise_names[] = {"cosine", "linear", NULL};
static const char *const words_names[] = {"auto", "noise", "clean", "v", NULL};
static const char *const times_names[] = {"uniform", "min_snr", NULL};
static const char *const sampler_names[] = {"ddim", "ddpm", "dpm_solver", NULL};
static const char *const rule_names[] = {"icru", "lower", "linear", NULL};

static const dg_option rows[] = {
    TEXT("run.name", run.name, "run", "name of the run: its folder under run.dir"),
    TEXT("run.dir", run.dir, "runs", "folder of all runs"),
    TEXT("run.condition", run.condition, "", "condition of an experiment that the run belongs to, for compare"),
    WHOLE("run.seed", run.seed, 0, BIG, "42", "", "seed of weights, samples and augmentation"),

    TEXT("data.cohort", data.cohort, "", "cohort to train on: cohort.h5, its folder, or a packed file"),
    REAL("data.split.train", data.split.train, 0, BIG, "0.8", "", "share of the groups for training"),
    REAL("data.split.val", data.split.val, 0, BIG, "0.1", "", "share of the groups for choosing best.h5"),
    REAL("data.split.test", data.split.test, 0, BIG, "0.1", "", "share of the groups kept untouched"),
    WHOLE("data.split.seed", data.split.seed, 0, BIG, "42", "", "seed of the split, apart from run.seed"),
    TEXT("data.split.file", data.split.file, "", "JSON or YAML file with lists train, val, test of case ids, in place of a drawn split"),
    WORD("data.target", data.target, target_names, "dose", "what the network learns: doses, or the labels of a segmentation (data.labels)"),
    LIST(DG_OPT_INT_LIST, "data.labels.foreground", data.labels.foreground, 0, 255, 0, 64, word_none, "none", "",
         "values of a label that are the foreground, as in [1]; has to be given with data.target labels"),
    LIST(DG_OPT_INT_LIST, "data.labels.background", data.labels.background, 0, 255, 0, 64, word_none, "[0]", "",
         "values of a label that are the background"),
    LIST(DG_OPT_INT_LIST, "data.labels.ignore", data.labels.ignore, 0, 255, 0, 64, word_none, "none", "",
         "values of a label that say nothing: such voxels count in no loss and no score; a value in none of the three lists is an error"),
    LIST(DG_OPT_STRING_LIST, "data.channels", data.channels, 0, 0, 1, DG_OPT_STRINGS_MAX, word_auto, "auto", "",
         "network inputs: ct, sdf.NAME, mask.NAME, rx, possible_dose, body; auto is ct and the sdf of every target and organ"),
    LIST(DG_OPT_DOUBLE_LIST, "data.scale", data.scale_gy, 1e-3, 1e4, 1, 1, word_prescription, "prescription", "Gy",
         "dose that the network calls 1: each case's prescription, or one number for all"),
    LIST(DG_OPT_DOUBLE_LIST, "data.ct_range", data.ct_range_hu, -32768, 65535, 2, 2, NULL, "[-1000, 1000]", "HU",
         "CT values that become -1 and 1; values beyond are clipped"),
    LIST(DG_OPT_DOUBLE_LIST, "data.spacing_mm", data.spacing_mm, 0.05, 100, 3, 3, word_native, "native", "mm",
         "voxel size [z, y, x] that cases are resampled to"),
    LIST(DG_OPT_INT_LIST, "data.coarsen", data.coarsen, 1, 16, 1, 3, NULL, "1", "voxels",
         "inputs are block averages of the native grid, outputs all voxels of a block: one factor, or [z, y, x]"),
    FLAG("data.constraints", data.constraints, "false", "feeds each case's constraint vector to the network"),
    LIST(DG_OPT_INT_LIST, "data.patch", data.patch, 1, 4096, 3, 3, word_auto, "[64, 64, 64]", "voxels",
         "size [z, y, x] of a training sample; auto is the whole volume"),
    WORD("data.frame", data.frame, frame_names, "volume",
         "where samples and windows lie: anywhere in the volume, or in the box of the region whose dose is predicted (possible_dose, else the body): no work on the rest"),
    REAL("data.high_dose_fraction", data.high_dose_fraction, 0, 1, "0.5", "", "share of patches centred in a target, of labels in the foreground"),
    FLAG("data.augment.flip", data.augment.flip, "false", "mirrors half of the samples left to right, structures swapped"),
    REAL("data.augment.shift", data.augment.shift_voxels, 0, 64, "0", "voxels", "largest random shift along an axis"),
    REAL("data.augment.rotate_deg", data.augment.rotate_deg, 0, 45, "0", "degrees", "largest random rotation about z"),
    WHOLE("data.augment.rotate_fold", data.augment.rotate_fold, 1, 360, "1", "", "turns by random multiples of 360/fold degrees too: the number of equally spaced beams of every plan; for whole volumes"),
    REAL("data.augment.contrast", data.augment.contrast, 0, 1, "0", "",
         "largest random change of the CT's contrast, about the middle of data.ct_range: 0.1 is 10 %"),
    REAL("data.augment.brightness", data.augment.brightness_hu, 0, 1000, "0", "HU",
         "largest random change of all numbers of the CT"),
    REAL("data.augment.noise", data.augment.noise_hu, 0, 1000, "0", "HU", "standard deviation of noise on the CT"),
    WHOLE("data.cache_mb", data.cache_mb, 0, 1e7, "2048", "MiB", "memory per rank for resampled cases"),
    WHOLE("data.readers", data.readers, 1, 64, "1", "threads", "threads per rank that prepare samples ahead of the step"),

    TEXT("model.kind", model.kind, "unet", "architecture: unet, attention_unet (gated skip connections), bottleneck_attn (self-attention at the bottom), cascade (a coarse U-Net and one that refines its dose), topology_unet (segmentation: instance norm, leaky ReLU, output a probability) or diffusion_unet (draws doses, see diffusion.process)"),
    WHOLE("model.base", model.base, 1, 1024, "48", "channels", "channels of the first level"),
    WHOLE("model.levels", model.levels, 1, 8, "5", "", "resolution levels, the bottleneck included"),
    WHOLE("model.cond_channels", model.cond_channels, 1, 4096, "256", "channels", "width of the embedded constraint vector"),

    WORD("diffusion.process", diffusion.process, process_names, "ddpm", "of model.kind diffusion_unet: ddpm, noise added step by step, or flow, the straight line from dose to noise (rectified flow)"),
    WORD("diffusion.schedule", diffusion.schedule, noise_names, "cosine", "process ddpm: course of the noise over its steps"),
    WHOLE("diffusion.steps", diffusion.steps, 1, 10000, "1000", "steps", "steps of the process, from the dose to noise"),
    WORD("diffusion.predict", diffusion.predict, words_names, "auto", "what the network says: the noise, the clean dose, or v, their mixture (with flow the velocity); auto is v, and noise with compat upstream"),
    WORD("diffusion.weighting", diffusion.weighting, times_names, "uniform", "weight of a time in the loss: uniform, or min_snr, the signal-to-noise ratio of the dose's error up to a limit"),
    REAL("diffusion.snr_limit", diffusion.snr_limit, 1e-3, 1e6, "5", "", "limit of weighting min_snr"),
    REAL("diffusion.drop_condition", diffusion.drop_condition, 0, 0.9, "0", "", "share of training samples that are not told the case, so that diffusion.guidance can be other than 1"),
    WORD("diffusion.compat", diffusion.compat, compat_names, "corrected", "upstream: schedule, penalty of negative doses and sampler with the reference tool's faults"),
    WORD("diffusion.fault", diffusion.fault, fault_names, "none", "one fault of the reference tool alone, to see what it does: penalty (of negative doses, without bound at late times), start (ddim begins where there is less noise than told), noise (not made again after the dose was held in its range), eta (the whole noise of the next time)"),
    WORD("diffusion.sampler", diffusion.sampler, sampler_names, "ddim", "how doses are drawn: ddim (with flow: steps of Euler's), ddpm, or dpm_solver, the second-order solver"),
    WHOLE("diffusion.sample_steps", diffusion.sample_steps, 1, 10000, "50", "steps", "steps of the sampler, each a pass of the network over the case"),
    REAL("diffusion.eta", diffusion.eta, 0, 1, "0", "", "sampler ddim: 0 draws no fresh noise, 1 as much as ddpm"),
    REAL("diffusion.guidance", diffusion.guidance, 0, 100, "1", "", "how much more the case counts than in training (classifier-free guidance); other than 1 takes two passes a step"),
    WHOLE("diffusion.ensemble", diffusion.ensemble, 1, 100000, "1", "samples", "doses drawn of a case; of more than one the prediction is the mean, with std and percentiles"),
    LIST(DG_OPT_DOUBLE_LIST, "diffusion.percentiles", diffusion.percentiles, 0, 100, 0, DG_OPT_LIST_MAX, word_none, "[5, 95]", "%",
         "percentiles of an ensemble that are kept voxel by voxel; none: mean and std only"),
    WHOLE("diffusion.seed", diffusion.seed, 0, BIG, "42", "", "seed of the noise that doses are drawn from, in prediction and validation"),
    WHOLE("diffusion.validate_steps", diffusion.validate_steps, 1, 10000, "10", "steps", "steps of the sampler in validation (ddim, eta 0)"),

    WORD("loss.mask", loss.mask, mask_names, "none", "voxels that count in the loss"),
    WORD("loss.compat", loss.compat, compat_names, "corrected", "upstream: the reference tool's own forms with their faults, to repeat its numbers (doc/losses.md)"),
    WORD("loss.weighting", loss.weighting, weighting_names, "fixed", "learned: each term but negative gets a width that is learned with the network; its weight only says that it is there"),
    TEXT("loss.calibration", loss.calibration, "", "JSON of `dosegrid calibrate` with the widths that learned weights start from; empty: 1"),
    LIST(DG_OPT_STRING_LIST, "loss.schedule", loss.schedule, 0, 0, 1, DG_OPT_STRINGS_MAX, word_none, "none", "",
         "factors of fixed weights over epochs, linear in between: [dvh 0@0 1@20, ...]"),
    LIST(DG_OPT_STRING_LIST, "loss.phases", loss.phases, 0, 0, 1, DG_OPT_STRINGS_MAX, word_none, "none", "",
         "weights by phases of the run: [0-30 dice=1, 31-50 dice=0.9 focal=0.1] in epochs, last one included, or 0%-60% of the run"),
    REAL("loss.blend", loss.blend, 0, BIG, "0", "", "length over which weights move from one phase to the next, in the unit of loss.phases; 0: at once"),
    REAL("loss.mse.weight", loss.mse, 0, BIG, "1", "", "weight of the mean squared error"),
    REAL("loss.mae.weight", loss.mae, 0, BIG, "0", "", "weight of the mean absolute error"),
    REAL("loss.huber.weight", loss.huber.weight, 0, BIG, "0", "", "weight of the Huber loss"),
    REAL("loss.huber.delta", loss.huber.delta, 1e-9, 1e3, "0.05", "scale", "error from which the Huber loss is linear"),
    REAL("loss.poisson.weight", loss.poisson.weight, 0, BIG, "0", "", "weight of the Poisson likelihood (half its deviance)"),
    REAL("loss.poisson.eps", loss.poisson.eps, 1e-9, 1, "0.01", "scale", "dose below which the Poisson loss goes on as its tangent"),
    REAL("loss.negative.weight", loss.negative, 0, BIG, "0.1", "", "weight of the mean of negative doses"),
    REAL("loss.gradient.weight", loss.gradient, 0, BIG, "0", "", "weight of the mean difference of 3-D Sobel gradients"),
    REAL("loss.ssim.weight", loss.ssim, 0, BIG, "0", "", "weight of 1 - structural similarity, over windows of 11 voxels in every axis"),
    REAL("loss.dice.weight", loss.dice.weight, 0, BIG, "0", "", "weight of the Dice loss (labels)"),
    REAL("loss.dice.smooth", loss.dice.smooth, 1e-9, 1e6, "1e-5", "voxels", "added above and below its fraction"),
    REAL("loss.focal.weight", loss.focal.weight, 0, BIG, "0", "", "weight of the focal loss (labels)"),
    REAL("loss.focal.alpha", loss.focal.alpha, 0, 1, "0.25", "", "its weight of foreground voxels; background voxels get 1 - alpha"),
    REAL("loss.focal.gamma", loss.focal.gamma, 0, 16, "2", "", "how fast it forgets voxels that are right already"),
    REAL("loss.focal.foreground", loss.focal.foreground, 1e-9, BIG, "1", "", "class weight of the foreground, times alpha"),
    REAL("loss.focal.background", loss.focal.background, 1e-9, BIG, "1", "", "class weight of the background, times 1 - alpha"),
    REAL("loss.boundary.weight", loss.boundary.weight, 0, BIG, "0", "", "weight of the cross-entropy near the label's surface (labels)"),
    REAL("loss.boundary.theta0", loss.boundary.theta0, 0, 1e6, "3", "voxels", "distance up to which a voxel counts in full"),
    REAL("loss.boundary.theta", loss.boundary.theta, 1e-6, 1e6, "5", "voxels", "distance from which it does not count"),
    REAL("loss.cldice.weight", loss.cldice.weight, 0, BIG, "0", "", "weight of the centreline Dice loss of soft skeletons (labels)"),
    WHOLE("loss.cldice.iterations", loss.cldice.iterations, 0, DG_LOSS_ITERATIONS_MAX, "3", "", "erosions of a skeleton: at least half the thickness of what is to be thinned"),
    REAL("loss.cldice.smooth", loss.cldice.smooth, 1e-9, 1e6, "1e-5", "voxels", "added above and below its fractions"),
    REAL("loss.connectivity.weight", loss.connectivity.weight, 0, BIG, "0", "", "weight of the squared difference of greatest values in windows (labels)"),
    WHOLE("loss.connectivity.kernel", loss.connectivity.kernel, 3, DG_LOSS_KERNEL_MAX, "3", "voxels", "side of a window, odd"),
    REAL("loss.variance.weight", loss.variance.weight, 0, BIG, "0", "", "weight of (1 - variance)^2 and too little entropy (labels)"),
    REAL("loss.variance.least_entropy", loss.variance.least_entropy, 0, 0.6931471805599453, "0.5", "nats", "mean entropy below which it grows"),
    REAL("loss.entropy.weight", loss.entropy.weight, 0, BIG, "0", "", "weight of too little entropy (labels)"),
    REAL("loss.entropy.least_entropy", loss.entropy.least_entropy, 0, 0.6931471805599453, "0.3", "nats", "mean entropy below which it grows"),
    REAL("loss.perceptual.weight", loss.perceptual.weight, 0, BIG, "0", "", "weight of the difference of slices to a network trained on photographs"),
    TEXT("loss.perceptual.file", loss.perceptual.file, "", "its weights, .safetensors with torchvision's names; none come with the program"),
    TEXT("loss.perceptual.architecture", loss.perceptual.architecture, "vgg16", "vgg11, vgg13, vgg16 or vgg19"),
    LIST(DG_OPT_STRING_LIST, "loss.perceptual.layers", loss.perceptual.layers, 0, 0, 1, DG_PERCEPTUAL_LAYERS, NULL, "[relu1_2, relu2_2, relu3_3]", "",
         "layers whose features are compared: block 1 to 5 and convolution in the block"),
    WHOLE("loss.perceptual.every", loss.perceptual.every, 1, 1024, "8", "planes", "every so many planes one is looked at"),
    REAL("loss.adversarial.weight", loss.adversarial.weight, 0, BIG, "0", "", "weight of what a discriminator, which learns to tell plans from predictions, finds of the prediction"),
    WHOLE("loss.adversarial.base", loss.adversarial.base, 1, 512, "64", "channels", "channels of the discriminator's first layer"),
    WHOLE("loss.adversarial.layers", loss.adversarial.layers, 1, 6, "3", "", "its layers of stride 2; the patch must be a multiple of 2 to this power"),
    WHOLE("loss.adversarial.start", loss.adversarial.start, 0, BIG, "0", "steps", "step from which it learns and its term counts"),
    REAL("loss.adversarial.lr", loss.adversarial.lr, 0, 1e3, "2e-4", "", "its learning rate, on the course of the network's; it learns by adamw without decay"),
    REAL("loss.adversarial.beta1", loss.adversarial.beta1, 0, 0.999999, "0.5", "", "its decay of the first moment"),
    REAL("loss.adversarial.beta2", loss.adversarial.beta2, 0, 0.99999999, "0.999", "", "its decay of the second moment"),
    REAL("loss.adversarial.clip", loss.adversarial.clip, 0, BIG, "0", "", "largest norm of its gradient; 0 does not clip"),
    REAL("loss.dvh.weight", loss.dvh.weight, 0, BIG, "0", "", "weight of the sum of dose-volume goals"),
    LIST(DG_OPT_STRING_LIST, "loss.dvh.goals", loss.dvh.goals, 0, 0, 1, DG_OPT_STRINGS_MAX, word_auto, "auto", "",
         "STRUCTURE:METRIC[:WEIGHT[:LIMIT]] with metric D95, V70 (Gy) or mean; auto: D95 (weight 10) of targets and mean of organs"),
    WHOLE("loss.dvh.min_voxels", loss.dvh.min_voxels, 1, 1e6, "100", "voxels", "a structure with fewer voxels in the patch gives no goal"),
    REAL("loss.dvh.window", loss.dvh.window, 1e-6, 0.5, "0.0125", "", "D_x is the mean dose of ranks within this share of the volume"),
    LIST(DG_OPT_DOUBLE_LIST, "loss.dvh.vx_temperature", loss.dvh.vx_temperature, 1e-6, 1e3, 1, 1, word_auto, "auto", "scale",
         "width of the step of V_x; auto is 0.0005, and 1 with compat upstream"),
    REAL("loss.structure.weight", loss.structure.weight, 0, BIG, "0", "", "weight of the squared error weighted by structure"),
    REAL("loss.structure.inside", loss.structure.inside, 0, BIG, "2", "", "its factor inside targets"),
    REAL("loss.structure.near", loss.structure.near, 0, BIG, "1.5", "", "its factor near the boundary of organs"),
    REAL("loss.structure.elsewhere", loss.structure.elsewhere, 0, BIG, "0.5", "", "its factor elsewhere"),
    REAL("loss.structure.near_mm", loss.structure.near_mm, 1e-3, 50, "5", "mm", "distance to a boundary that is near"),
    LIST(DG_OPT_STRING_LIST, "loss.structure.targets", loss.structure.targets, 0, 0, 1, DG_OPT_STRINGS_MAX, word_auto, "auto", "",
         "targets of the structure term; auto: all"),
    LIST(DG_OPT_STRING_LIST, "loss.structure.organs", loss.structure.organs, 0, 0, 1, DG_OPT_STRINGS_MAX, word_auto, "auto", "",
         "organs of the structure term; auto: all"),
    REAL("loss.asymmetric.weight", loss.asymmetric.weight, 0, BIG, "0", "", "weight of the asymmetric squared error in targets"),
    REAL("loss.asymmetric.ratio", loss.asymmetric.ratio, 1e-6, 1e6, "3", "", "how much worse too little dose is than too much"),
    LIST(DG_OPT_STRING_LIST, "loss.asymmetric.targets", loss.asymmetric.targets, 0, 0, 1, DG_OPT_STRINGS_MAX, word_auto, "auto", "",
         "targets of the asymmetric term; auto: all"),

    WORD("optim.kind", optim.kind, optim_names, "adamw", "optimiser"),
    REAL("optim.lr", optim.lr, 0, 1e3, "1e-4", "", "learning rate"),
    REAL("optim.weight_decay", optim.weight_decay, 0, 1e3, "1e-2", "", "weight decay; decoupled with adamw"),
    REAL("optim.beta1", optim.beta1, 0, 0.999999, "0.9", "", "adamw: decay of the first moment"),
    REAL("optim.beta2", optim.beta2, 0, 0.99999999, "0.999", "", "adamw: decay of the second moment"),
    REAL("optim.eps", optim.eps, 0, 1, "1e-8", "", "adamw: added to the root of the second moment"),
    REAL("optim.momentum", optim.momentum, 0, 0.999999, "0.9", "", "sgd: momentum"),
    FLAG("optim.nesterov", optim.nesterov, "false", "sgd: Nesterov momentum"),
    REAL("optim.clip", optim.clip, 0, BIG, "0", "", "largest global gradient norm; 0 does not clip"),
    REAL("optim.ema", optim.ema, 0, 0.9999999, "0", "", "decay of the averaged weights used by validation and predict; 0: none"),
    WORD("optim.schedule.kind", optim.schedule.kind, schedule_names, "cosine", "course of the learning rate"),
    WHOLE("optim.schedule.warmup", optim.schedule.warmup, 0, BIG, "0", "steps", "linear rise to optim.lr at the start"),
    REAL("optim.schedule.warmup_epochs", optim.schedule.warmup_epochs, 0, BIG, "0", "epochs", "the same in epochs; 0: not used"),
    REAL("optim.schedule.min_lr", optim.schedule.min_lr, 0, 1e3, "1e-6", "", "learning rate at the end of a cosine, and the lowest of a plateau"),
    REAL("optim.schedule.restart_epochs", optim.schedule.restart_epochs, 1e-6, BIG, "10", "epochs", "cosine_restarts: length of the first cycle"),
    REAL("optim.schedule.restart_factor", optim.schedule.restart_factor, 1, 100, "2", "", "cosine_restarts: length of each cycle over that of the one before"),
    WHOLE("optim.schedule.patience", optim.schedule.patience, 1, BIG, "5", "validations", "plateau: validations without gain of train.monitor before the rate falls"),
    REAL("optim.schedule.factor", optim.schedule.factor, 1e-6, 0.999999, "0.5", "", "plateau: the rate is multiplied by this"),
    TEXT("optim.swa.start", optim.swa.start, "none", "average of the weights with equal parts (stochastic weight averaging) from this epoch on, or from a share of the run as in 60%; validation and predict use it"),
    REAL("optim.swa.every", optim.swa.every, 1e-6, BIG, "1", "epochs", "how often weights are added to that average"),
    REAL("optim.swa.lr", optim.swa.lr, 0, 1e3, "0", "", "learning rate from optim.swa.start on; 0: the schedule goes on"),
    REAL("optim.grad_noise.std", optim.grad_noise.std, 0, 1e3, "0", "", "noise on the gradient: its standard deviation at the first step; 0: none"),
    REAL("optim.grad_noise.decay", optim.grad_noise.decay, 0, 10, "0.55", "", "its variance falls as 1 / (1 + step)^decay"),

    WHOLE("train.steps", train.steps, 0, BIG, "0", "steps", "length of the run; 0: by epochs or minutes, or 10000 when none is given"),
    REAL("train.epochs", train.epochs, 0, BIG, "0", "epochs", "length of the run in passes over the training cases; 0: not used"),
    REAL("train.minutes", train.minutes, 0, BIG, "0", "minutes", "ends training, validated and saved, after this time; 0: no limit"),
    WHOLE("train.batch", train.batch, 1, 65536, "2", "samples", "samples of a step over all ranks"),
    WHOLE("train.batch_min", train.batch_min, 0, 65536, "0", "samples", "every step takes from so many up to train.batch samples, by seed and step; 0: always train.batch"),
    LIST(DG_OPT_INT_LIST, "train.micro_batch", train.micro_batch, 1, 65536, 1, 1, word_auto, "auto", "samples",
         "samples one rank holds in one pass; auto is 1"),
    LIST(DG_OPT_INT_LIST, "train.threads", train.threads, 1, 4096, 1, 1, word_auto, "auto", "threads",
         "compute threads per rank; auto is its share of the allowed cores"),
    TEXT("train.backend", train.backend, "auto", "device library: auto, cuda, onednn, ref"),
    WORD("train.dtype", train.dtype, dtype_names, "bf16", "type of activations; weights and sums are f32"),
    WORD("train.reduction", train.reduction, reduction_names, "fast", "ordered gives the same bits on any number of ranks"),
    WORD("train.wire", train.wire, dtype_names, "f32", "type of the gradients that ranks send each other; bf16: half the bytes, with reduction fast only"),
    FLAG("train.recompute", train.recompute, "false", "computes normalised activations again in backward: less memory, more time"),
    {.key = "train.freeze", .flag = "freeze", .type = DG_OPT_STRING_LIST, .offset = AT(train.freeze), .list_min = 1,
     .list_max = DG_OPT_STRINGS_MAX, .names = word_none, .fallback = "none", .unit = "",
     .help = "parameters that stay as they are, by patterns of their names: [enc*, bottleneck.*]; with --init: fine-tuning"},
    WHOLE("train.validate_every", train.validate_every, 0, BIG, "500", "steps", "steps between validations; 0: only at the end"),
    WORD("train.monitor", train.monitor, monitor_names, "auto",
         "what picks best.h5; auto is val_denoise_gy of a diffusion, val_dose_score on OpenKBP cases, else val_mae_ptv_gy, of labels val_dice_error; val_fraction_distance: labels, predicted minus labelled fraction without its sign"),
    WHOLE("train.early_stopping.patience", train.early_stopping.patience, 0, BIG, "0", "validations",
          "validations without gain before training ends; 0: never"),
    REAL("train.early_stopping.min_delta", train.early_stopping.min_delta, 0, BIG, "0", "", "smallest gain of train.monitor that counts, here and for plateaus, in its unit"),
    TEXT("train.checkpoint_every", train.checkpoint_every, "auto", "steps between checkpoints (0: only at the end), or a time: 90 s, 10 min, 2 h; auto: by Young's rule from what one costs"),
    REAL("train.mtbi_h", train.mtbi_h, 0.001, 1e5, "24", "hours", "mean time between interruptions, which checkpoint_every auto reckons with"),
    WHOLE("train.max_restarts", train.max_restarts, 0, BIG, "3", "starts", "starts by the scheduler in a row that may find the run at the same step; 0: any number"),
    WHOLE("train.keep", train.keep, 1, 10000, "3", "files", "newest step-*.h5 that are kept"),
    WORD("train.on_nan", train.on_nan, nan_names, "skip", "what a loss or gradient that is not finite does: skip the step, abort, or roll back to the last checkpoint's weights"),
    WORD("train.on_degradation", train.on_degradation, degradation_names, "ignore", "what a loss does that climbs, averaged over 50 steps, far above its lowest: nothing, abort, or roll back to the last good checkpoint's weights"),
    REAL("train.degradation_factor", train.degradation_factor, 1.01, 1e9, "10", "", "how many times its lowest the mean loss may be"),
    TEXT("train.weight_noise.start", train.rules.weight_noise.start, "none", "noise is added to the weights from this epoch on, or from a share of the run as in 60%"),
    REAL("train.weight_noise.every", train.rules.weight_noise.every, 1e-6, BIG, "10", "epochs", "how often"),
    REAL("train.weight_noise.std", train.rules.weight_noise.std, 0, 1e3, "0.001", "", "its standard deviation the first time"),
    REAL("train.weight_noise.decay", train.rules.weight_noise.decay, 0, 1, "0.9", "", "its standard deviation is multiplied by this each time"),
    LIST(DG_OPT_STRING_LIST, "train.weight_noise.layers", train.rules.weight_noise.layers, 0, 0, 1, DG_OPT_STRINGS_MAX, word_all, "all", "",
         "parameters that get noise, by patterns of their names, as in [decoders.*, output.*]; those of a plateau too"),
    WHOLE("train.plateau.patience", train.rules.plateau.patience, 0, BIG, "0", "validations", "validations without gain of train.monitor before an intervention; 0: none"),
    REAL("train.plateau.lr_factor", train.rules.plateau.lr_factor, 1, 10, "1.5", "", "intervention k multiplies the learning rate by min(lr_cap, lr_factor^k), until train.monitor gains"),
    REAL("train.plateau.lr_cap", train.rules.plateau.lr_cap, 1, 100, "3", "", "most that all interventions together multiply the rate of the schedule by"),
    REAL("train.plateau.noise", train.rules.plateau.noise, 0, 1e3, "0", "", "an intervention adds noise of this standard deviation to the weights"),
    WHOLE("train.plateau.max", train.rules.plateau.max, 1, BIG, "3", "", "interventions between two gains"),
    REAL("train.rollback.rise", train.rules.rollback.rise, 0, BIG, "0", "", "a validation whose train.monitor lies by more than this share above the best brings the weights of the best back; 0: off"),
    WHOLE("train.rollback.patience", train.rules.rollback.patience, 0, BIG, "0", "validations", "so many validations in a row that are worse than the best do it too; 0: off"),
    WHOLE("train.rollback.max", train.rules.rollback.max, 1, BIG, "3", "", "rollbacks to the same best; after that the run goes on without"),
    LIST(DG_OPT_INT_LIST, "train.detect.every", train.detect.every, 0, 1000000000, 1, 1, word_auto, "auto", "steps",
         "steps between looks for losses that conflict and uniform or one-sided outputs; auto is 50 for labels; 0, and auto for doses: never"),
    WORD("train.detect.space", train.detect.space, space_names, "output", "where gradients of terms are compared: at the network's output (of labels: at the logits), or over all parameters, which takes a pass for each term"),
    WORD("train.cuda_graph", train.cuda_graph, cuda_graph_names, "auto", "auto: passes on a GPU are recorded once and then queued as a whole; off: operation by operation"),
    WORD("train.shared_gpu", train.shared_gpu, shared_gpu_names, "refuse", "two ranks with one GPU: refused, or sums that go by MPI through pinned host memory"),
    WHOLE("train.cooling.every_steps", train.cooling.every_steps, 0, BIG, "0", "steps", "pauses for train.cooling.pause_s after every so many steps; 0: never"),
    REAL("train.cooling.pause_s", train.cooling.pause_s, 0, 86400, "0", "s", "length of that pause"),
    REAL("train.cooling.above_c", train.cooling.above_c, 0, 150, "0", "degrees C", "pauses before a step while a GPU of the run is hotter, by NVML; 0: never"),
    REAL("train.comm_timeout_s", train.comm_timeout_s, 1, 1e6, "300", "s", "ends the run when a rank that others wait for, or a file, makes no progress for so long, and says which"),

    REAL("predict.overlap", predict.overlap, 0, 0.9, "0.5", "", "share of a window that the next one covers again"),
    FLAG("predict.flips", predict.flips, "false", "averages the prediction with that of the mirrored case"),
    WORD("predict.dtype", predict.dtype, dtype_names, "bf16", "type of activations"),

    WORD("evaluate.compat", evaluate.compat, compat_names, "corrected", "upstream: the reference tool's criterion, regions, statistics, limits and keys, to repeat its numbers"),
    LIST(DG_OPT_STRING_LIST, "evaluate.gamma", evaluate.gamma, 0, 0, 1, 16, word_none, "[3/3, 3/2, 2/2]", "% / mm",
         "gamma criteria, dose difference in % / distance in mm; none: no gamma"),
    REAL("evaluate.cutoff_percent", evaluate.cutoff_percent, 0, 100, "10", "%", "gamma is worked out where the reference dose is at least this share of the norm"),
    REAL("evaluate.max_gamma", evaluate.max_gamma, 1, 100, "2", "", "search limit: larger gammas count as this"),
    TEXT("evaluate.norm", evaluate.norm, "max", "dose that gamma percentages refer to: max (of the reference), prescription, or Gy"),
    WORD("evaluate.gamma_method", evaluate.gamma_method, gamma_names, "continuous", "true minimum over the interpolated dose, or pymedphys' sample points"),
    FLAG("evaluate.local", evaluate.local, "false", "dose differences in % of the voxel's own reference dose"),
    REAL("evaluate.interp_fraction", evaluate.interp_fraction, 1, 1000, "10", "", "gamma_method pymedphys: samples per distance criterion"),
    LIST(DG_OPT_INT_LIST, "evaluate.subsample", evaluate.subsample, 1, 16, 1, 1, word_auto, "auto", "voxels",
         "compat upstream only: gamma on every n-th voxel of each axis; auto is 2, as in the reference tool"),
    LIST(DG_OPT_STRING_LIST, "evaluate.regions", evaluate.regions, 0, 0, 1, DG_OPT_STRINGS_MAX, word_all, "all", "",
         "regions of errors and gamma: global, ptv_region, low_dose, mid_dose, high_dose, no_mans_land, oar, oar_NAME"),
    REAL("evaluate.margin_mm", evaluate.margin_mm, 0, 100, "5", "mm", "margin around the targets in ptv_region and no_mans_land"),
    TEXT("evaluate.constraint_table", evaluate.constraint_table, "auto", "clinical constraints: none, upstream_prostate, quantec_prostate, openkbp_hn, a file, or auto: by what the cases are"),
    WHOLE("evaluate.supersample", evaluate.supersample, 1, 8, "1", "", "partial volumes of n^3 points a voxel in DVH and constraints; 1: a voxel counts wholly"),
    WORD("evaluate.dvh_rule", evaluate.dvh_rule, rule_names, "icru", "dose to x % of the volume: icru, or the reference tool's lower, or linear as in OpenKBP"),
    LIST(DG_OPT_DOUBLE_LIST, "evaluate.vx_gy", evaluate.vx_gy, 0, 1000, 1, DG_OPT_LIST_MAX, NULL, "[5, 20, 40, 60]", "Gy",
         "doses of the V_x statistics: the share of a structure that receives at least x"),
    WHOLE("evaluate.members", evaluate.members, 0, 100000, "0", "samples", "judges an ensemble by this many of the samples that predict --keep-samples left: their mean is the dose, and their spread is held against the reference; 0: the prediction as it is"),
    WHOLE("evaluate.resamples", evaluate.resamples, 100, 1000000, "10000", "", "bootstrap resamples of the patients"),
    WHOLE("evaluate.seed", evaluate.seed, 0, 9007199254740992, "42", "", "seed of the bootstrap"),
};
/* clang-format on */

const dg_option *dg_run_config_rows(int *count)
{
    *count = (int)(sizeof rows / sizeof rows[0]);
    return rows;
}

dg_status dg_run_config_table(const dg_option *extra, int extra_count, dg_option **table, int *count)
{
    int base;
    const dg_option *first = dg_run_config_rows(&base);
    DG_TRY(dg_alloc(table, (size_t)(base + extra_count), sizeof **table, "option table"));
    memcpy(*table, first, (size_t)base * sizeof **table);
    if (extra_count > 0) memcpy(*table + base, extra, (size_t)extra_count * sizeof **table);
    *count = base + extra_count;
    return DG_OK;
}

dg_status dg_run_config_read_environment(dg_options *options)
{
    static const char *const left_out[] = {"DG_SUBMIT__", "DG_SWEEP__", "DG_DIFF__"};
    char **kept;
    size_t count = 0, used = 0;
    while (environ[count] != NULL) count++;
    DG_TRY(DG_NEW(&kept, count + 1, "environment"));
    for (size_t i = 0; i < count; i++) {
        bool own = false;
        for (size_t k = 0; k < sizeof left_out / sizeof left_out[0]; k++)
            own = own || strncmp(environ[i], left_out[k], strlen(left_out[k])) == 0;
        if (!own) kept[used++] = environ[i];
    }
    dg_status status = dg_options_read_environment(options, kept);
    dg_free(&kept);
    return status;
}

/* What was applied carries its variable as its origin. */
static dg_status applied_json(const dg_options *options, json_t **out)
{
    *out = json_object();
    for (int i = 0; i < options->count; i++) {
        const char *name = options->origin[i].where;
        if (options->origin[i].kind != DG_FROM_ENVIRONMENT) continue;
        if (json_object_set_new(*out, name, json_string(getenv(name))) == 0) continue;
        json_decref(*out);
        *out = NULL;
        return DG_FAIL(DG_ERR_USAGE, "environment: the value of %s is no UTF-8", name);
    }
    return DG_OK;
}

dg_status dg_run_config_environment_json(json_t **out)
{
    dg_options options;
    dg_run_config *config;
    int count;
    const dg_option *row = dg_run_config_rows(&count);
    DG_TRY(DG_NEW(&config, 1, "settings"));
    dg_status status = dg_options_init(&options, row, count, config);
    if (status == DG_OK) {
        status = dg_run_config_read_environment(&options);
        if (status == DG_OK) status = applied_json(&options, out);
        dg_options_release(&options);
    }
    dg_free(&config);
    return status;
}

static bool read_save_rule(const char *text, dg_save_rule *out)
{
    static const struct {
        const char *name;
        double seconds;
    } units[] = {{"s", 1}, {"min", 60}, {"h", 3600}};
    char *end;
    *out = (dg_save_rule){.automatic = strcmp(text, "auto") == 0};
    if (out->automatic) return true;
    double value = strtod(text, &end);
    if (end == text || !(value >= 0) || value > BIG) return false;
    while (*end == ' ') end++;
    if (*end == '\0') {
        out->steps = (int64_t)value;
        return (double)out->steps == value;
    }
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (strcmp(end, units[i].name) == 0) out->seconds = value * units[i].seconds;
    return out->seconds > 0;
}

dg_save_rule dg_run_config_save_rule(const dg_run_config *config)
{
    dg_save_rule rule;
    (void)read_save_rule(config->train.checkpoint_every, &rule);
    return rule;
}

static bool lists(const dg_int_list *list, int64_t value)
{
    for (int i = 0; i < list->count; i++)
        if (list->value[i] == value) return true;
    return false;
}

/* Labels want the network whose output is a probability, on the scan's own grid, and terms that know no dose. */
static dg_status check_labels(const dg_run_config *config, const int64_t factor[3])
{
    const dg_data_config *data = &config->data;
    const bool labels = data->target == DG_TARGET_LABELS, probable = strcmp(config->model.kind, "topology_unet") == 0;
    if (labels != probable)
        return DG_FAIL(DG_ERR_USAGE,
                       "data.target is %s and model.kind %s: labels are learned by topology_unet, whose output is a "
                       "probability, and doses by the others",
                       labels ? "labels" : "dose", config->model.kind);
    if (config->train.monitor != DG_MONITOR_AUTO && labels != (config->train.monitor >= DG_MONITOR_DICE_ERROR))
        return DG_FAIL(DG_ERR_USAGE, "train.monitor: labels are judged by val_dice_error or val_fraction_distance, doses by the others");
    if (!labels) return DG_OK;
    if (data->labels.foreground.count == 0)
        return DG_FAIL(DG_ERR_USAGE, "data.labels.foreground is not set: say which values of the labels are the "
                                     "foreground, as in data.labels.foreground=[1]");
    for (int i = 0; i < data->labels.ignore.count; i++)
        if (lists(&data->labels.foreground, data->labels.ignore.value[i]) ||
            lists(&data->labels.background, data->labels.ignore.value[i]))
            return DG_FAIL(DG_ERR_USAGE, "data.labels: value %lld is both ignored and a class",
                           (long long)data->labels.ignore.value[i]);
    for (int i = 0; i < data->labels.foreground.count; i++)
        if (lists(&data->labels.background, data->labels.foreground.value[i]))
            return DG_FAIL(DG_ERR_USAGE, "data.labels: value %lld is both foreground and background",
                           (long long)data->labels.foreground.value[i]);
    if (data->spacing_mm.count > 0 || factor[0] * factor[1] * factor[2] != 1)
        return DG_FAIL(DG_ERR_USAGE, "data.target labels works on the scan's own grid; leave out data.spacing_mm and "
                                     "data.coarsen");
    if (data->frame == DG_FRAME_REGION)
        return DG_FAIL(DG_ERR_USAGE, "data.frame region is that of a dose; data.target labels has none");
    const dg_loss_settings *loss = &config->loss;
    if (loss->dvh.weight + loss->structure.weight + loss->asymmetric.weight > 0 || loss->mask != DG_MASK_NONE)
        return DG_FAIL(DG_ERR_USAGE, "loss.dvh, loss.structure, loss.asymmetric and loss.mask look at a patient's "
                                     "structures; data.target labels has none");
    return DG_OK;
}

dg_status dg_run_config_check(const dg_run_config *config)
{
    const dg_data_config *data = &config->data;
    if (data->cohort[0] == '\0') {
        return DG_FAIL(DG_ERR_USAGE, "data.cohort is not set: name the cohort to train on, as in "
                                     "--set data.cohort=COHORT/cohort.h5");
    }
    if (strchr(config->run.name, '/') != NULL || config->run.name[0] == '\0' || config->run.name[0] == '.') {
        return DG_FAIL(DG_ERR_USAGE, "run.name '%s' is not a plain name: put folders into run.dir", config->run.name);
    }
    if (data->coarsen.count == 2) {
        return DG_FAIL(DG_ERR_USAGE, "data.coarsen has 2 numbers; give one factor, or three for z, y, x");
    }
    int64_t factor[3];
    dg_run_config_coarsen(config, factor);
    if (data->spacing_mm.count > 0 && factor[0] * factor[1] * factor[2] != 1) {
        return DG_FAIL(DG_ERR_USAGE, "data.spacing_mm and data.coarsen both set the voxel size; leave one out");
    }
    if (!(data->ct_range_hu.value[0] < data->ct_range_hu.value[1])) {
        return DG_FAIL(DG_ERR_USAGE, "data.ct_range [%g, %g] must rise", data->ct_range_hu.value[0],
                       data->ct_range_hu.value[1]);
    }
    if (data->split.file[0] == '\0' && !(data->split.train > 0)) {
        return DG_FAIL(DG_ERR_USAGE, "data.split.train is %g: there would be no case to train on", data->split.train);
    }
    const dg_loss_settings *loss = &config->loss;
    if (loss->mse + loss->mae + loss->negative + loss->gradient + loss->ssim + loss->huber.weight + loss->poisson.weight +
            loss->perceptual.weight + loss->dvh.weight + loss->structure.weight + loss->asymmetric.weight + loss->dice.weight +
            loss->focal.weight + loss->boundary.weight + loss->cldice.weight + loss->connectivity.weight +
            loss->variance.weight + loss->entropy.weight <= 0 &&
        loss->phases.count == 0) {
        return DG_FAIL(DG_ERR_USAGE, "all loss weights are 0: set loss.mse or loss.mae");
    }
    if (strcmp(config->model.kind, "patchgan") == 0) {
        return DG_FAIL(DG_ERR_USAGE, "model.kind patchgan predicts nothing: it is the discriminator that "
                                     "loss.adversarial.weight brings; choose another kind");
    }
    if (loss->adversarial.weight > 0 && (data->target == DG_TARGET_LABELS || dg_run_is_diffusion(config))) {
        return DG_FAIL(DG_ERR_USAGE, "loss.adversarial judges predicted doses, and %s: set loss.adversarial.weight to 0",
                       data->target == DG_TARGET_LABELS ? "data.target labels predicts none" : "diffusion_unet predicts noise");
    }
    if (dg_run_is_diffusion(config)) DG_TRY(dg_run_check_diffusion(config));
    else if (config->train.monitor == DG_MONITOR_DENOISE)
        return DG_FAIL(DG_ERR_USAGE, "train.monitor val_denoise_gy is of model.kind diffusion_unet");
    DG_TRY(check_labels(config, factor));
    if (config->optim.schedule.min_lr > config->optim.lr && config->optim.schedule.kind != DG_SCHEDULE_CONSTANT) {
        return DG_FAIL(DG_ERR_USAGE, "optim.schedule.min_lr %g is above optim.lr %g", config->optim.schedule.min_lr,
                       config->optim.lr);
    }
    if (config->train.wire == DG_TYPE_BF16 && config->train.reduction == DG_REDUCE_ORDERED) {
        return DG_FAIL(DG_ERR_USAGE, "train.wire is bf16 and train.reduction is ordered: sums that are rounded on their way "
                                     "depend on the number of ranks; choose train.wire f32 or train.reduction fast");
    }
    dg_save_rule rule;
    if (!read_save_rule(config->train.checkpoint_every, &rule)) {
        return DG_FAIL(DG_ERR_USAGE,
                       "train.checkpoint_every '%.60s' is neither auto, nor a number of steps, nor a time such as 10 min "
                       "(units: s, min, h)",
                       config->train.checkpoint_every);
    }
    if ((config->train.cooling.every_steps > 0) != (config->train.cooling.pause_s > 0)) {
        return DG_FAIL(DG_ERR_USAGE,
                       "train.cooling.every_steps is %lld and train.cooling.pause_s is %g: a pause needs both, above 0",
                       (long long)config->train.cooling.every_steps, config->train.cooling.pause_s);
    }
    if (config->train.steps > 0 && config->train.epochs > 0) {
        return DG_FAIL(DG_ERR_USAGE, "train.steps and train.epochs both set the length of the run; leave one out");
    }
    return dg_run_config_check_rules(config);
}

json_t *dg_run_config_to_json(const dg_options *options)
{
    json_t *all = dg_options_to_json(options), *out = json_object();
    int count;
    const dg_option *row = dg_run_config_rows(&count);
    for (int i = 0; i < count; i++) {
        json_t *value = json_object_get(all, row[i].key);
        if (value != NULL) json_object_set(out, row[i].key, value);
    }
    json_decref(all);
    return out;
}

int64_t dg_run_config_steps(const dg_run_config *config, int64_t cases)
{
    const dg_train_config *train = &config->train;
    if (train->steps > 0) return train->steps;
    if (train->epochs > 0) {
        double steps = ceil(train->epochs * (double)cases / (double)train->batch);
        return steps < 1 ? 1 : (int64_t)steps;
    }
    return train->minutes > 0 ? INT64_MAX : DG_RUN_STEPS;
}

void dg_run_config_coarsen(const dg_run_config *config, int64_t factor_zyx[3])
{
    const dg_int_list *list = &config->data.coarsen;
    for (int axis = 0; axis < 3; axis++) factor_zyx[axis] = list->count == 3 ? list->value[axis] : list->value[0];
}

dg_model_config dg_run_config_model(const dg_run_config *config, int64_t in_channels, int64_t constraints)
{
    int64_t factor[3];
    dg_run_config_coarsen(config, factor);
    dg_model_config model = {.in_channels = in_channels + dg_run_is_diffusion(config), /* the noisy dose comes first */
                             .out_channels = factor[0] * factor[1] * factor[2],
                             .base_channels = config->model.base,
                             .levels = config->model.levels,
                             .constraints = constraints,
                             .cond_channels = config->model.cond_channels};
    snprintf(model.kind, sizeof model.kind, "%.31s", config->model.kind);
    return model;
}

dg_optim_config dg_run_config_optim(const dg_run_config *config, int64_t total_steps)
{
    return (dg_optim_config){.kind = (dg_optim_kind)config->optim.kind,
                             .lr = config->optim.lr,
                             .weight_decay = config->optim.weight_decay,
                             .beta1 = config->optim.beta1,
                             .beta2 = config->optim.beta2,
                             .eps = config->optim.eps,
                             .momentum = config->optim.momentum,
                             .nesterov = config->optim.nesterov,
                             .clip = config->optim.clip,
                             .ema = config->optim.ema,
                             .schedule = (dg_schedule_kind)config->optim.schedule.kind,
                             .warmup = config->optim.schedule.warmup,
                             .min_lr = config->optim.schedule.min_lr,
                             .restart_factor = config->optim.schedule.restart_factor,
                             .total_steps = total_steps};
}

dg_adversary_config dg_run_config_adversary(const dg_run_config *config, int64_t inputs, int64_t outputs)
{
    return (dg_adversary_config){.inputs = inputs,
                                 .outputs = outputs,
                                 .base = config->loss.adversarial.base,
                                 .layers = config->loss.adversarial.layers,
                                 .seed = (uint64_t)config->run.seed,
                                 .optim = {.kind = DG_OPTIM_ADAMW,
                                           .lr = config->loss.adversarial.lr,
                                           .beta1 = config->loss.adversarial.beta1,
                                           .beta2 = config->loss.adversarial.beta2,
                                           .eps = 1e-8,
                                           .clip = config->loss.adversarial.clip}};
}

dg_reducer_config dg_run_config_sums(const dg_run_config *config, int64_t gradients)
{
    return (dg_reducer_config){.kind = (dg_reduction)config->train.reduction,
                               .wire = dg_run_dtype(config->train.wire),
                               .count = gradients,
                               .batch = config->train.batch};
}

dg_split_config dg_run_config_split(const dg_run_config *config)
{
    dg_split_config split = config->data.split;
    split.labels = config->data.target == DG_TARGET_LABELS;
    return split;
}

dg_augment_config dg_run_config_augment(const dg_run_config *config)
{
    return (dg_augment_config){.flip = config->data.augment.flip,
                               .shift_voxels = config->data.augment.shift_voxels,
                               .rotate_deg = config->data.augment.rotate_deg,
                               .rotate_fold = config->data.augment.rotate_fold,
                               .contrast = config->data.augment.contrast,
                               .brightness_hu = config->data.augment.brightness_hu,
                               .noise_hu = config->data.augment.noise_hu};
}

dg_dtype dg_run_dtype(int type) { return type == DG_TYPE_F32 ? DG_F32 : DG_BF16; }
