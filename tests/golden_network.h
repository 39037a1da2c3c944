/* golden_network.h - what the golden programs of networks share: weights from a file, and a network's outputs and gradients
 * against those of the file at the golden README's tolerances. bf16 is measured by what PyTorch's own autocast does there;
 * where the file does not say, 1 % of outputs and 30 % of gradients. SPDX-License-Identifier: Apache-2.0 */
#ifndef GOLDEN_NETWORK_H
#define GOLDEN_NETWORK_H

#include "golden_io.h"
#include "test_net.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* All parameters from GROUP/NAME, flat; free(). */
static inline float *golden_network_weights(golden *file, const char *group, const dg_param_table *table)
{
    float *weights = test_floats(table->total);
    for (int i = 0; i < table->count; i++) {
        golden_array a = golden_read_f32(file, "%s/%s", group, table->item[i].name);
        golden_want_count(file, table->item[i].name, &a, table->item[i].count);
        dg_param_from_torch(&table->item[i], a.f32, weights);
        golden_array_free(&a);
    }
    return weights;
}

/* An output or activation; `label` is what the line is called. */
static inline void golden_network_output(golden *file, const golden_args *args, golden_tally *tally, const char *label,
                                         const char *path, const float *got, int64_t count)
{
    golden_array wanted = golden_read_f32(file, "%s", path);
    golden_want_count(file, path, &wanted, count);
    const golden_error e = golden_compare(got, wanted.f32, wanted.count);
    if (args->bf16) {
        golden_check(tally, label, "rel-L2", e.rel_l2, 3 * golden_attr_or(file, path, "bf16_rel_l2", 0.01));
    } else {
        /* Activations are stored with as few as 13 bits, which alone may take more than 2e-5. */
        const bool rounded = strncmp(path, "out/act/", 8) == 0;
        const double noise = rounded ? golden_attr_or(file, path, "noise_rel_l2", 0) : 0;
        golden_check(tally, label, "rel-L2", e.rel_l2, fmax(2e-5, 2 * noise));
        golden_check(tally, label, "max", e.max, 1e-4 * e.absmax);
    }
    golden_array_free(&wanted);
}

/* Allowed relative error of a gradient. */
static inline double golden_network_tolerance(golden *file, const golden_args *args, const char *path)
{
    if (args->bf16) return 2.5 * golden_attr_or(file, path, "bf16_rel_l2", 0.3) + 0.01;
    return fmax(2e-4, 20 * golden_attr_or(file, path, "noise_rel_l2", 0));
}

/* Gradient of one parameter against out/grad/NAME, unless its exact value is 0. The group may be absent, but where it is it holds
 * every parameter. */
static inline void golden_network_parameter(golden *file, const golden_args *args, golden_tally *tally,
                                            const dg_param *param, const float *flat)
{
    char path[GOLDEN_TEXT];
    (void)snprintf(path, sizeof path, "out/grad/%s", param->name);
    if (!golden_has(file, "out/grad") || golden_attr_or(file, path, "null_gradient", 0) != 0) return;
    golden_array wanted = golden_read_f32(file, "%s", path);
    float *got = test_floats(param->count);
    golden_want_count(file, path, &wanted, param->count);
    dg_param_to_torch(param, flat, got);
    const golden_error e = golden_compare(got, wanted.f32, wanted.count);
    golden_check(tally, path, "rel-L2", e.rel_l2, golden_network_tolerance(file, args, path));
    free(got);
    golden_array_free(&wanted);
}

/* Gradient of the input against out/grad_input, where the file has it. */
static inline void golden_network_input_gradient(golden *file, const golden_args *args, golden_tally *tally,
                                                 test_net *net)
{
    if (!golden_has(file, "out/grad_input")) return;
    golden_array wanted = golden_read_f32(file, "out/grad_input");
    const dg_tensor gradient = dg_plan_input_gradient(net->plan);
    float *got = test_net_torch(net, &gradient);
    golden_want_count(file, "out/grad_input", &wanted, gradient.n * dg_tensor_voxels(&gradient) * gradient.c);
    const golden_error e = golden_compare(got, wanted.f32, wanted.count);
    if (args->bf16)
        golden_check(tally, "out/grad_input", "1-cosine", 1 - e.cosine, 0.1);
    else
        golden_check(tally, "out/grad_input", "rel-L2", e.rel_l2, 1e-3);
    free(got);
    golden_array_free(&wanted);
}

#endif
