/* ctest: libs=dg_nn timeout=60 */
/* t302_place.c - placement by lifetime: nothing alive at the same time overlaps, on random blocks and on the plans of
 * many shapes; the arena stays near its lower bound; estimates. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_rng.h"
#include "plan_impl.h"

static void check_disjoint(const dg_block *block, int count, int64_t arena)
{
    for (int i = 0; i < count; i++) {
        DG_CHECK(block[i].offset >= 0 && block[i].offset % 64 == 0 && block[i].offset + block[i].bytes <= arena);
        for (int k = 0; k < i; k++) {
            const bool together = block[i].first <= block[k].last && block[k].first <= block[i].last;
            const bool overlap = block[i].offset < block[k].offset + block[k].bytes &&
                                 block[k].offset < block[i].offset + block[i].bytes;
            DG_CHECK(!(together && overlap));
        }
    }
}

/* The most bytes alive at one time: no placement needs less. */
static int64_t lower_bound(const dg_block *block, int count, int times)
{
    int64_t most = 0;
    for (int time = 0; time < times; time++) {
        int64_t alive = 0;
        for (int i = 0; i < count; i++)
            if (block[i].first <= time && time <= block[i].last) alive += block[i].bytes;
        if (alive > most) most = alive;
    }
    return most;
}

static void check_random(uint32_t round)
{
    enum { BLOCKS = 60, TIMES = 40 };
    dg_block block[BLOCKS];
    dg_rng rng = dg_rng_stream(1, DG_RNG_TEST, round, 0);
    for (int i = 0; i < BLOCKS; i++) {
        const int first = (int)dg_rng_below(&rng, TIMES);
        block[i] = (dg_block){.bytes = 64 * (1 + dg_rng_below(&rng, round % 2 ? 100 : 4)),
                              .offset = -1,
                              .first = first,
                              .last = first + (int)dg_rng_below(&rng, TIMES - first)};
    }
    int64_t arena = 0;
    DG_CHECK_OK(dg_blocks_place(block, BLOCKS, &arena));
    check_disjoint(block, BLOCKS, arena);
    DG_CHECK(arena >= lower_bound(block, BLOCKS, TIMES));
    DG_CHECK((double)arena <= 1.5 * (double)lower_bound(block, BLOCKS, TIMES));
}

/* A backend that fuses most residuals, for plans that are compiled and never run. */
static bool fuses(const dg_backend *backend, const dg_conv_desc *desc) { return desc->cin <= 64; }

static dg_status never(dg_backend *backend, const dg_norm_desc *desc, const dg_tensor *x, const float *gamma,
                       const float *beta, const float *film, const dg_tensor *residual, float *stats, dg_tensor *y,
                       const dg_norm_fusion *with)
{
    return DG_FAIL(DG_ERR_INTERNAL, "not to be run");
}

/* Every block of a plan is placed, its lifetime holds all steps that touch it, and it is written before it is read. */
static void check_program(const dg_model_config *config, const dg_plan_config *plan, const dg_backend *backend)
{
    dg_model *model = NULL;
    dg_program program;
    DG_CHECK_OK(dg_model_create(config, &model));
    DG_CHECK_OK(dg_program_compile(model, plan, backend, &program));
    check_disjoint(program.block, program.blocks, program.arena_bytes);
    for (int i = 0; i < program.blocks; i++) DG_CHECK(program.block[i].first >= 0);
    for (int s = 0; s < program.steps; s++) {
        int touched[DG_STEP_BLOCKS];
        const int count = dg_program_touched(&program, &program.step[s], touched);
        DG_CHECK(count >= 1 && count <= DG_STEP_BLOCKS);
        for (int i = 0; i < count; i++)
            DG_CHECK(program.block[touched[i]].first <= s && s <= program.block[touched[i]].last);
    }
    const int64_t bound = lower_bound(program.block, program.blocks, program.steps);
    DG_CHECK((double)program.arena_bytes <= 1.15 * (double)bound);
    dg_plan_memory memory;
    double flops = 0;
    DG_CHECK_OK(dg_plan_estimate(model, plan, &memory, &flops));
    DG_CHECK(memory.arena_bytes >= program.arena_bytes &&
             (backend != NULL || memory.arena_bytes == program.arena_bytes));
    DG_CHECK(memory.parameter_bytes == model->params.total * 4);
    DG_CHECK(memory.packed_bytes > 0 && flops > 0);
    dg_program_release(&program);
    dg_model_destroy(&model);
}

/* Two levels by hand: the flops of every convolution and linear layer. */
static void check_flops(void)
{
    const dg_model_config config = {.kind = "unet",
                                    .in_channels = 3,
                                    .out_channels = 1,
                                    .base_channels = 4,
                                    .levels = 2,
                                    .constraints = 5,
                                    .cond_channels = 6};
    const dg_plan_config plan = {.n = 2, .z = 4, .y = 6, .x = 8, .dtype = DG_F32};
    dg_model *model = NULL;
    dg_plan_memory memory;
    double flops = 0;
    DG_CHECK_OK(dg_model_create(&config, &model));
    DG_CHECK_OK(dg_plan_estimate(model, &plan, &memory, &flops));
    const double fine = 4 * 6 * 8, coarse = fine / 8;
    const double convs = fine * (27 * (3 * 4 + 4 * 4) + 3 * 4)                 /* enc1 */
                         + coarse * (27 * (4 * 8 + 8 * 8) + 4 * 8)             /* bottleneck */
                         + fine * (27 * (12 * 4 + 4 * 4) + 12 * 4) + fine * 4; /* dec1, out_conv */
    const double linear = 5 * 6 + 6 * 6 + 6 * (8 + 16 + 8);
    DG_CHECK_NEAR(flops, 2 * 2 * (convs + linear), 0.5);
    dg_model_destroy(&model);
}

static double arena_of(dg_plan_config plan)
{
    const dg_model_config config = {.kind = "unet",
                                    .in_channels = 10,
                                    .out_channels = 1,
                                    .base_channels = 48,
                                    .levels = 5,
                                    .constraints = 13,
                                    .cond_channels = 256};
    dg_model *model = NULL;
    dg_plan_memory memory;
    plan.n = 1, plan.z = plan.y = plan.x = 64, plan.dtype = DG_BF16;
    DG_CHECK_OK(dg_model_create(&config, &model));
    DG_CHECK_OK(dg_plan_estimate(model, &plan, &memory, NULL));
    dg_model_destroy(&model);
    return (double)memory.arena_bytes / (64 * 64 * 64 * 48 * 2);
}

int main(void)
{
    const dg_backend_ops ops = {.residual_fuses = fuses, .norm_forward_fused = never};
    const dg_backend fusing = {.ops = &ops};
    for (uint32_t round = 0; round < 50; round++) check_random(round);
    for (int i = 0; i < 32; i++) {
        const dg_model_config config = {.kind = "unet",
                                        .in_channels = i % 3 == 0 ? 8 : 5,
                                        .out_channels = 1 + i % 2,
                                        .base_channels = 8,
                                        .levels = 2 + i % 5,
                                        .constraints = i % 2 ? 7 : 0,
                                        .cond_channels = 16};
        const dg_plan_config plan = {.n = 1 + i % 3,
                                     .z = 64,
                                     .y = 128,
                                     .x = 64,
                                     .dtype = i & 4 ? DG_BF16 : DG_F32,
                                     .training = i & 8,
                                     .recompute = (i & 8) && (i & 16),
                                     .keep_all = i == 3 || i == 11};
        check_program(&config, &plan, NULL);
        check_program(&config, &plan, &fusing);
    }
    check_flops();
    /* Base 48 at 64^3, in units of one 48-channel tensor of the first level: what the design promises at most. */
    const double infer = arena_of((dg_plan_config){.n = 1}), train = arena_of((dg_plan_config){.training = true}),
                 less = arena_of((dg_plan_config){.training = true, .recompute = true});
    printf("arena in first-level tensors: inference %.2f, training %.2f, recompute %.2f\n", infer, train, less);
    DG_CHECK(infer <= 4.6 && train <= 13.5 && less <= 11.0);
    return 0;
}
