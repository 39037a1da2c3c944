/* ctest: libs=dg_run label=unit timeout=60 */
/* t710_scaling.c - the arithmetic of `dosegrid plan` on cases computed by hand, what must rise and fall with the ranks, the
 * costs of a small network, and device tables that are refused. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_mem.h"
#include "scaling.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Round numbers: 1 Tflop/s, 100 GB/s, four to a node at 10 GB/s and 1 us, nodes at 1 GB/s and 10 us. */
static const dg_device ROUND = {.bf16_flops = 1e12,
                                .f32_flops = 1e11,
                                .memory_bytes_s = 1e11,
                                .launch_s = 1e-6,
                                .ranks_per_node = 4,
                                .inside = {1e10, 1e-6},
                                .between = {1e9, 1e-5}};

static void check_operation(void)
{
    DG_CHECK_NEAR(dg_scaling_operation_s(&ROUND, DG_BF16, 1e9, 1e6), 1e-3 + 1e-6, 1e-12);
    DG_CHECK_NEAR(dg_scaling_operation_s(&ROUND, DG_F32, 1e9, 1e6), 1e-2 + 1e-6, 1e-12);
    DG_CHECK_NEAR(dg_scaling_operation_s(&ROUND, DG_BF16, 1e6, 1e9), 1e-2 + 1e-6, 1e-12);
}

static void check_reduce(void)
{
    const double s = 4e6;
    DG_CHECK(dg_scaling_reduce_s(&ROUND, 1, s) == 0 && dg_scaling_ordered_s(&ROUND, 1, s) == 0);
    DG_CHECK_NEAR(dg_scaling_reduce_s(&ROUND, 2, s), 2 * (1e-6 + 2e-4), 1e-12);          /* ring of two */
    DG_CHECK_NEAR(dg_scaling_reduce_s(&ROUND, 4, s), 2 * 3 * (1e-6 + 1e-4), 1e-12);      /* ring of four */
    DG_CHECK_NEAR(dg_scaling_reduce_s(&ROUND, 4, 40), 2 * 2 * 1e-6 + 2 * 40e-10, 1e-15); /* few bytes: a tree */
    /* Two nodes: 6.06e-4 inside, 2 (1e-5 + 2e-3) between; a ring over all eight: 14 (1e-5 + 5e-4) is longer. */
    DG_CHECK_NEAR(dg_scaling_reduce_s(&ROUND, 8, s), 6 * 1.01e-4 + 2 * 2.01e-3, 1e-9);
    DG_CHECK_NEAR(dg_scaling_ordered_s(&ROUND, 4, s), 2 * 2 * (1e-6 + 4e-4), 1e-12);
    DG_CHECK_NEAR(dg_scaling_ordered_s(&ROUND, 5, s), 2 * 3 * (1e-5 + 4e-3), 1e-12);
    for (int64_t r = 1; r < 4096; r *= 2)
        DG_CHECK(dg_scaling_reduce_s(&ROUND, 2 * r, s) > dg_scaling_reduce_s(&ROUND, r, s));
}

/* Forward 1 ms; backward of two steps of 1 ms, each completing half of the gradients; a bucket is such a half. */
static void check_overlap(void)
{
    dg_device d = ROUND;
    d.launch_s = 0;
    const dg_plan_cost cost[] = {{.flops = 1e9, .ready = -1},
                                 {.backward = true, .flops = 1e9, .ready = 1000000},
                                 {.backward = true, .flops = 1e9, .ready = 0}};
    dg_scaling_work w = {.cost = cost,
                         .count = 3,
                         .passes = 2,
                         .dtype = DG_BF16,
                         .parameters = 2000000,
                         .bucket_bytes = 4e6,
                         .wire_bytes = 4,
                         .update_bytes = 1e8};
    const double bucket =
        dg_scaling_reduce_s(&d, 4, 4e6); /* 0.606 ms: the first is hidden, the second comes at the end */
    dg_scaling_step t = dg_scaling_step_time(&d, &w, 4);
    DG_CHECK_NEAR(t.forward_s, 2e-3, 1e-12);
    DG_CHECK_NEAR(t.backward_s, 4e-3, 1e-12);
    DG_CHECK_NEAR(t.update_s, 1e-3, 1e-12);
    DG_CHECK_NEAR(t.reduce_s, 2 * bucket, 1e-12);
    DG_CHECK_NEAR(t.exposed_s, bucket, 1e-12);
    DG_CHECK_NEAR(t.step_s, 7e-3 + bucket, 1e-12);
    DG_CHECK_NEAR(t.efficiency, 7e-3 / (7e-3 + bucket), 1e-12);
    const double far = dg_scaling_reduce_s(&d, 8, 4e6); /* longer than a step of backward: the second bucket waits */
    DG_CHECK(far > 1e-3);
    DG_CHECK_NEAR(dg_scaling_step_time(&d, &w, 8).exposed_s, 2 * far - 1e-3, 1e-12);
    w.wire_bytes = 2; /* bf16 */
    DG_CHECK_NEAR(dg_scaling_step_time(&d, &w, 4).reduce_s, 2 * dg_scaling_reduce_s(&d, 4, 2e6), 1e-12);
    w.wire_bytes = 4;
    w.ordered = true;
    t = dg_scaling_step_time(&d, &w, 4);
    DG_CHECK_NEAR(t.exposed_s, dg_scaling_ordered_s(&d, 4, 8e6), 1e-12); /* nothing overlaps */
    DG_CHECK(t.reduce_s == t.exposed_s && dg_scaling_step_time(&d, &w, 1).efficiency == 1);
}

static dg_plan_cost total(const dg_model *model, const dg_plan_config *plan, bool backward, int *steps)
{
    dg_plan_cost *cost, sum = {.ready = -1};
    int count;
    DG_CHECK_OK(dg_plan_costs(model, plan, &cost, &count));
    *steps = 0;
    for (int i = 0; i < count; i++) {
        DG_CHECK(cost[i].bytes > 0 && cost[i].flops >= 0);
        if (cost[i].backward != backward) continue;
        sum.flops += cost[i].flops;
        sum.bytes += cost[i].bytes;
        if (cost[i].ready >= 0) sum.ready = cost[i].ready;
        ++*steps;
    }
    dg_free(&cost);
    return sum;
}

static void check_costs(void)
{
    const dg_model_config config = {
        .kind = "unet", .in_channels = 8, .out_channels = 1, .base_channels = 8, .levels = 2};
    dg_plan_config plan = {.n = 1, .z = 4, .y = 4, .x = 4, .dtype = DG_BF16};
    dg_model *model;
    dg_plan_memory memory;
    double flops;
    int steps, again;
    DG_CHECK_OK(dg_model_create(&config, &model));
    DG_CHECK_OK(dg_plan_estimate(model, &plan, &memory, &flops));
    const dg_plan_cost infer = total(model, &plan, false, &steps);
    DG_CHECK_NEAR(infer.flops, flops, 1e-6);
    /* By hand: bytes of bf16 tensors, fine 64 voxels, coarse 8; 8 channels fine, 16 coarse, 24 where they meet. */
    const double fine = 64 * 8 * 2, coarse = 8 * 16 * 2, meet = 64 * 24 * 2;
    const double enc = 4 * fine + 2 * 27 * 64 * 2 + 3 * fine + 4 * fine; /* the residual is the input itself */
    const double pool = fine + 8 * 8 * 2;
    const double deep = (8 * 8 * 2 + coarse) * 2 + 2 * coarse + 2 * (8 * 16 + 27 * (8 * 16 + 16 * 16)) + 7 * coarse;
    const double up = coarse + 64 * 16 * 2;
    const double dec = (meet + fine) * 2 + 2 * fine + 2 * (24 * 8 + 27 * (24 * 8 + 8 * 8)) + 7 * fine;
    const double out = fine + 64 * 2 + 8 * 2 + 64 * 2 + 64 * 4;
    const double norms = 4.0 * (8 + 8 + 16 + 16 + 8 + 8); /* gamma */
    DG_CHECK_NEAR(infer.bytes, enc + pool + deep + up + dec + out + norms, 0.5);
    plan.training = true;
    DG_CHECK_NEAR(total(model, &plan, false, &again).bytes, infer.bytes, 0.5);
    const dg_plan_cost back = total(model, &plan, true, &again);
    DG_CHECK_NEAR(back.flops, 2 * flops, 1e-6);
    DG_CHECK(back.bytes > infer.bytes && back.bytes < 4 * infer.bytes && back.ready == 0 && again > steps);
    plan.recompute = true;
    DG_CHECK(total(model, &plan, true, &again).bytes > back.bytes);
    dg_model_destroy(&model);
}

static void check_refused(const char *text, const char *name, const char *message)
{
    char path[] = "/tmp/t710_XXXXXX";
    const int file = mkstemp(path);
    dg_device d;
    DG_CHECK(file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text));
    close(file);
    DG_CHECK_FAILS(dg_device_find(path, name, &d), DG_ERR_USAGE, message);
    unlink(path);
}

static void check_devices(void)
{
    dg_device d;
    DG_CHECK_OK(dg_device_find("", "a100", &d));
    DG_CHECK(strcmp(d.name, "a100") == 0 && d.ranks_per_node == 8 && d.memory_mb == 81920);
    DG_CHECK_NEAR(d.bf16_flops, 312e12 * 0.35, 1e6);
    DG_CHECK_NEAR(d.memory_bytes_s, 2039e9 * 0.8, 1e3);
    DG_CHECK_NEAR(d.between.latency_s, 5e-6, 1e-15);
    DG_CHECK_OK(dg_device_find("", "rtx3090", &d));
    DG_CHECK_OK(dg_device_find("", "h100", &d));
    DG_CHECK_OK(dg_device_find("", "cpu", &d));
    DG_CHECK(d.bf16_flops == 0 && d.memory_bytes_s == 0); /* measured */
    DG_CHECK_FAILS(dg_device_find("", "tpu", &d), DG_ERR_USAGE,
                   "device 'tpu' is not in devices.yaml; it has cpu, rtx3090, a100, h100");
    check_refused("devices: {x: {memory_mb: 1}}\n", "x", "device x lacks bf16_tflops");
    check_refused("devices: {x: {memory_mb: much}}\n", "x", ":1: memory_mb: a number, 0 to 1e+09, is wanted");
    check_refused("devices:\n  x:\n    memory_mb: -1\n", "x", ":3: memory_mb: a number");
    check_refused("devices: {x: {colour: 1}}\n", "x", "unknown key colour");
    check_refused("devices: {x: 3}\n", "x", "keys and numbers are wanted");
    check_refused("[1, 2]\n", "x", "a map 'devices' is wanted");
}

int main(void)
{
    check_operation();
    check_reduce();
    check_overlap();
    check_costs();
    check_devices();
    return 0;
}
