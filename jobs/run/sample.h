/* sample.h - what sample (seed, step, slot) is: which case, which box, how varied; and its arrays as the network wants
 * them. A pure function of these numbers and the split: any rank can make any sample. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_SAMPLE_H
#define DG_SAMPLE_H

#include "dg_device.h"
#include "dg_patch.h"
#include "source.h"

/* Where samples are drawn from. Everything is borrowed. */
typedef struct dg_sampler {
    uint64_t seed;
    int64_t batch;        /* samples of a step over all ranks */
    const int64_t *cases; /* [case_count], training cases */
    int64_t case_count;
    int64_t patch[3]; /* zyx on the network's grid */
    double high_dose_fraction;
    dg_augment_config augment;
} dg_sampler;

/* The case of slot `slot` of a step: every epoch goes once through a new Philox permutation of the cases. */
int64_t dg_sampler_case(const dg_sampler *sampler, int64_t step, int64_t slot);

typedef struct dg_sample_draw {
    int64_t index; /* of the cohort */
    dg_box box;    /* on the network's grid */
    dg_augmentation augment;
} dg_sample_draw;

/* Draws box and augmentation. The case must be pinned in the source (target voxels are read). Thread-safe. */
DG_MUST_USE dg_status dg_sampler_draw(const dg_sampler *sampler, dg_source *source, int64_t step, int64_t slot,
                                      dg_sample_draw *out);

/* Arrays of one sample in host memory; voxel order z,y,x. */
typedef struct dg_sample {
    void *input;       /* [z,y,x,c], f32 or bf16 */
    float *target;     /* [z,y,x,s]: s = the output voxels of a network voxel in z,y,x order */
    uint8_t *counted;  /* [z,y,x,s] */
    uint32_t *regions; /* [z,y,x,s]; NULL where the loss looks at none */
    float *distance;   /* [z,y,x] to the label's surface in voxels, within the patch; NULL where the loss looks at none */
    float *scale_gy;   /* [1] dose of 1 */
    float *constraint; /* [constraints] */
    int64_t coupled;   /* voxels that count and lie in dg_sample_size.coupled */
    dg_sample_draw draw;
} dg_sample;

/* Sizes of those arrays for a patch. */
typedef struct dg_sample_size {
    int64_t patch[3], sub[3];
    int64_t voxels, channels, outputs; /* outputs: voxels of the target */
    int64_t constraints;
    bool regions, distance, labels;
    uint32_t coupled; /* regions that the loss counts over the whole batch; 0: none */
    bool raw; /* a device varies the sample: the arrays are those that were read, input [c,z,y,x] of f32, the others
                       * [z,y,x] of the outputs' grid; labels are moved already, and distances are as the network's */
    dg_dtype dtype; /* of the network's input */
} dg_sample_size;
dg_sample_size dg_sample_size_of(const dg_recipe *recipe, const int64_t patch_zyx[3], dg_dtype dtype);
int64_t dg_sample_input_bytes(const dg_sample_size *size);

/* Where the arrays of a sample lie in a block of `bytes`. */
typedef struct dg_sample_layout {
    int64_t input, target, counted, regions, distance, scale_gy, constraint, bytes;
} dg_sample_layout;
dg_sample_layout dg_sample_layout_of(const dg_sample_size *size);
/* Points a sample's arrays into a block, 64-byte aligned. */
void dg_sample_place(const dg_sample_size *size, void *block, dg_sample *out);

/* Work space of one thread. */
typedef struct dg_sample_work {
    float *channels, *dose, *spare; /* owned */
    uint8_t *counted;
    uint32_t *regions; /* NULL where the loss looks at none */
} dg_sample_work;
DG_MUST_USE dg_status dg_sample_work_create(const dg_sample_size *size, dg_sample_work *out);
void dg_sample_work_release(dg_sample_work *work);

/* Reads and varies the drawn sample into `out`; a raw one is only read. DG_ERR_DATA names a case whose input or dose holds a value that is not
 * finite. Thread-safe with one work space per thread. */
DG_MUST_USE dg_status dg_sample_make(dg_source *source, const dg_sample_size *size, const dg_sample_draw *draw,
                                     dg_sample_work *work, dg_sample *out);

/* How a device is to vary a raw sample of this draw. */
void dg_sample_variation(const dg_recipe *recipe, const dg_case_info *info, const dg_sample_size *size,
                         const dg_sample_draw *draw, dg_variation *out);

bool dg_all_finite(const float *values, int64_t count);
/* Channels [c,z,y,x] to network input [z,y,x,c] of a type; mirrored: x reversed and left/right channels exchanged. */
void dg_sample_interleave(const dg_recipe *recipe, const dg_sample_size *size, bool mirrored, const float *channels,
                          void *input);

#endif
