/* bench_layers.c - `dosegrid bench model --layers`: each step of a pass by itself, beside what the device could do at most.
 * SPDX-License-Identifier: Apache-2.0 */
#include "bench_impl.h"
#include "device_table.h"

#include "dg_device.h"
#include "dg_mem.h"

#include <math.h>
#include <stdio.h>

enum { REPEATS = 3 };

/* Peaks of the vendor's papers; 0: not known. */
static dg_status find_peaks(const bench_settings *s, const dg_backend *backend, double *flops, double *bytes_s)
{
    dg_device table;
    *flops = *bytes_s = 0.0;
    if (s->device[0] != '\0') {
        DG_TRY(dg_device_find("", s->device, &table));
        *flops = (s->dtype == BENCH_BF16 ? table.bf16_flops : table.f32_flops) / table.matrix_share;
        *bytes_s = table.memory_bytes_s / table.memory_share;
    } else if (backend->ops->device != NULL) {
        backend->ops->device->peaks(backend->options.device, bytes_s, flops);
        if (s->dtype == BENCH_F32) *flops /= 2; /* TF32 has half of the products of bf16 */
    }
    return DG_OK;
}

static double roofline_s(const dg_plan_cost *step, double flops, double bytes_s)
{
    return flops > 0 && bytes_s > 0 ? fmax(step->flops / flops, step->bytes / bytes_s) : 0.0;
}

static json_t *layer_json(const dg_plan_cost *step, double flops, double bytes_s)
{
    const double floor_s = roofline_s(step, flops, bytes_s);
    json_t *layer = json_pack("{s:s, s:s, s:f, s:f, s:f}", "name", step->name, "step", step->what, "seconds",
                              step->seconds, "gflop", step->flops * 1e-9, "megabytes", step->bytes * 1e-6);
    if (floor_s <= 0) return layer;
    json_object_set_new(layer, "bound", json_string(step->flops / flops > step->bytes / bytes_s ? "matrix" : "memory"));
    json_object_set_new(layer, "percent_of_peak", json_real(100.0 * floor_s / step->seconds));
    return layer;
}

dg_status bench_layers(const bench_settings *s, dg_plan *plan, dg_backend *backend, float *gradients, json_t *answer)
{
    dg_plan_cost *step;
    double flops, bytes_s, conv_s = 0.0, all_s = 0.0, floor_s = 0.0;
    int count;
    DG_TRY(find_peaks(s, backend, &flops, &bytes_s));
    DG_TRY(dg_plan_measure(plan, gradients, REPEATS, &step, &count));
    json_t *layers = json_array();
    for (int i = 0; i < count; i++) {
        if (step[i].kind == DG_OP_CONV) conv_s += step[i].seconds;
        all_s += step[i].seconds;
        floor_s += roofline_s(&step[i], flops, bytes_s);
        json_array_append_new(layers, layer_json(&step[i], flops, bytes_s));
    }
    if (backend->ops->device != NULL) json_object_set_new(answer, "conv_s", json_real(conv_s));
    if (floor_s > 0) {
        json_object_set_new(answer, "roofline_s", json_real(floor_s));
        json_object_set_new(answer, "percent_of_peak", json_real(100.0 * floor_s / all_s));
    }
    if (s->layers) json_object_set(answer, "layers", layers);
    json_decref(layers);
    dg_free(&step);
    return DG_OK;
}

/* The layers of `bench conv`, timed by direction. */
static void print_convolutions(const json_t *layers)
{
    size_t i;
    json_t *layer;
    printf("\n%-28s %6s %6s %6s %12s %12s %12s\n", "layer", "cin", "cout", "edge", "forward", "data", "weights");
    json_array_foreach(layers, i, layer)
    {
        printf(
            "%-28s %6lld %6lld %6lld %9.4f ms %9.4f ms %9.4f ms\n", json_string_value(json_object_get(layer, "name")),
            json_integer_value(json_object_get(layer, "cin")), json_integer_value(json_object_get(layer, "cout")),
            json_integer_value(json_object_get(layer, "edge")), json_real_value(json_object_get(layer, "forward_ms")),
            json_real_value(json_object_get(layer, "data_ms")), json_real_value(json_object_get(layer, "weights_ms")));
    }
}

void bench_print_layers(const json_t *layers)
{
    size_t i;
    json_t *layer;
    if (layers == NULL) return;
    if (json_object_get(json_array_get(layers, 0), "gflop") == NULL) {
        print_convolutions(layers);
        return;
    }
    printf("\n%-28s %-18s %12s %12s %12s %9s\n", "layer", "step", "time", "GFLOP", "MB", "of peak");
    json_array_foreach(layers, i, layer)
    {
        const json_t *percent = json_object_get(layer, "percent_of_peak");
        char share[32] = "-";
        if (percent != NULL) snprintf(share, sizeof share, "%.1f %%", json_real_value(percent));
        printf("%-28s %-18s %9.4f ms %12.4g %12.4g %9s\n", json_string_value(json_object_get(layer, "name")),
               json_string_value(json_object_get(layer, "step")),
               1e3 * json_real_value(json_object_get(layer, "seconds")),
               json_real_value(json_object_get(layer, "gflop")), json_real_value(json_object_get(layer, "megabytes")),
               share);
    }
}
