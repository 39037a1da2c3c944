/* scaling.c - see scaling.h and doc/scaling.md, whose equations are numbered. SPDX-License-Identifier: Apache-2.0 */
#include "scaling.h"

#include <math.h>

double dg_scaling_operation_s(const dg_device *device, dg_dtype dtype, double flops, double bytes)
{
    const double rate = dtype == DG_BF16 ? device->bf16_flops : device->f32_flops;
    return fmax(flops / rate, bytes / device->memory_bytes_s) + device->launch_s; /* (1) */
}

static double ring_s(const dg_link *link, int64_t members, double bytes) /* (2) */
{
    const double m = (double)members;
    return 2.0 * (m - 1.0) * (link->latency_s + bytes / (m * link->bytes_s));
}

static double levels_of(int64_t members) { return ceil(log2((double)members)); }

static double tree_s(const dg_link *link, int64_t members, double bytes) /* (3) */
{
    return 2.0 * levels_of(members) * link->latency_s + 2.0 * bytes / link->bytes_s;
}

static double best_s(const dg_link *link, int64_t members, double bytes)
{
    return fmin(ring_s(link, members, bytes), tree_s(link, members, bytes));
}

double dg_scaling_reduce_s(const dg_device *device, int64_t ranks, double bytes)
{
    const int64_t inside = ranks < device->ranks_per_node ? ranks : device->ranks_per_node;
    const int64_t nodes = (ranks + inside - 1) / inside;
    if (ranks == 1) return 0.0;
    if (nodes == 1) return best_s(&device->inside, ranks, bytes);
    const double parts = ring_s(&device->inside, inside, bytes) + best_s(&device->between, nodes, bytes); /* (4) */
    const dg_link slow = {fmin(device->inside.bytes_s, device->between.bytes_s),
                          fmax(device->inside.latency_s, device->between.latency_s)};
    return fmin(parts, ring_s(&slow, ranks, bytes));
}

double dg_scaling_ordered_s(const dg_device *device, int64_t ranks, double bytes)
{
    const dg_link *link = ranks > device->ranks_per_node ? &device->between : &device->inside;
    return ranks == 1 ? 0.0 : 2.0 * levels_of(ranks) * (link->latency_s + bytes / link->bytes_s); /* (5) */
}

/* Seconds from the start of backward to the time when gradients at offsets >= first are final. */
static double ready_s(const dg_device *device, const dg_scaling_work *w, int64_t first)
{
    double time = 0.0;
    for (int i = 0; i < w->count; i++) {
        if (!w->cost[i].backward) continue;
        time += dg_scaling_operation_s(device, w->dtype, w->cost[i].flops, w->cost[i].bytes);
        if (w->cost[i].ready >= 0 && w->cost[i].ready <= first) break;
    }
    return time;
}

/* Buckets go from the end of the gradients, one after the other, each when it is final (6). Returns when the last one has
 * arrived, seconds from the start of backward. */
static double overlapped_s(const dg_device *device, const dg_scaling_work *w, int64_t ranks, double *total)
{
    const int64_t floats = (int64_t)(w->bucket_bytes / sizeof(float));
    double end = 0.0;
    *total = 0.0;
    for (int64_t last = w->parameters; last > 0; last -= floats) {
        const int64_t first = last > floats ? last - floats : 0;
        const double takes = dg_scaling_reduce_s(device, ranks, (double)(last - first) * w->wire_bytes);
        end = fmax(end, ready_s(device, w, first)) + takes;
        *total += takes;
    }
    return end;
}

dg_scaling_step dg_scaling_step_time(const dg_device *device, const dg_scaling_work *w, int64_t ranks)
{
    dg_scaling_step t = {0};
    double backward = 0.0;
    for (int i = 0; i < w->count; i++) {
        const double takes = dg_scaling_operation_s(device, w->dtype, w->cost[i].flops, w->cost[i].bytes);
        *(w->cost[i].backward ? &backward : &t.forward_s) += takes;
    }
    t.forward_s = (double)w->passes * (t.forward_s + dg_scaling_operation_s(device, w->dtype, 0.0, w->pass_bytes));
    t.backward_s = (double)w->passes * backward;
    t.update_s = dg_scaling_operation_s(device, w->dtype, 0.0, w->update_bytes);
    if (ranks > 1 && w->ordered)
        t.reduce_s = t.exposed_s = dg_scaling_ordered_s(device, ranks, (double)w->parameters * w->wire_bytes);
    else if (ranks > 1)
        t.exposed_s = fmax(0.0, overlapped_s(device, w, ranks, &t.reduce_s) - backward);
    const double alone = t.forward_s + t.backward_s + t.update_s;
    t.step_s = alone + t.exposed_s; /* (7) */
    t.efficiency = alone / t.step_s;
    return t;
}
