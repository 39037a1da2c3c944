/* trained.c - see trained.h. SPDX-License-Identifier: Apache-2.0 */
#include "trained.h"

#include "dg_mem.h"

#include <stdio.h>
#include <string.h>

/* Loading never saves: the states of a trained network are read-only. */
static dg_status refuse_save(const void *object, const dg_state_sink *sink)
{
    (void)object;
    (void)sink;
    return DG_FAIL(DG_ERR_INTERNAL, "a trained network is not saved again");
}

static dg_status load_weights(void *object, const dg_state_source *source, int version)
{
    (void)version;
    dg_trained *trained = object;
    return dg_params_load(&trained->model->params, trained->weights, source);
}

/* Names of the average inside the optimiser's state. */
static dg_status get_average(void *context, const char *name, dg_dtype type, int rank, const int64_t *shape,
                             void *values)
{
    const dg_state_source *source = context;
    char full[DG_PARAM_NAME + 8];
    snprintf(full, sizeof full, "ema/%s", name);
    return source->get(source->context, full, type, rank, shape, values);
}

static dg_status load_average(void *object, const dg_state_source *source, int version)
{
    (void)version;
    dg_trained *trained = object;
    char first[DG_PARAM_NAME + 8];
    snprintf(first, sizeof first, "ema/%s", trained->model->params.item[0].name);
    trained->averaged = source->has(source->context, first);
    if (!trained->averaged) return DG_OK;
    dg_state_source inner = {.context = (void *)(uintptr_t)source, .get = get_average};
    return dg_params_load(&trained->model->params, trained->weights, &inner);
}

static dg_status read_settings(const char *path, dg_trained *out)
{
    json_t *json = NULL;
    dg_options options = {0};
    int count;
    const dg_option *rows = dg_run_config_rows(&count);
    DG_TRY(dg_checkpoint_read_meta(path, &out->meta, &json));
    dg_status status = dg_options_init(&options, rows, count, &out->config);
    if (status == DG_OK) status = dg_options_from_json(&options, json, "checkpoint");
    dg_options_release(&options);
    json_decref(json);
    return status;
}

static dg_status load(const char *path, dg_trained *out)
{
    DG_TRY(read_settings(path, out));
    dg_state recipe = dg_recipe_state(&out->recipe);
    DG_TRY(dg_checkpoint_load_one(path, &recipe));
    dg_model_config model = dg_run_config_model(&out->config, out->recipe.count, out->recipe.constraint_count);
    DG_TRY(dg_model_create(&model, &out->model));
    DG_TRY(DG_NEW(&out->weights, out->model->params.total, "weights"));
    dg_state weights = {.name = "params", .version = 1, .object = out, .save = refuse_save, .load = load_weights};
    dg_state average = {.name = "optimizer", .version = 1, .object = out, .save = refuse_save, .load = load_average};
    DG_TRY(dg_checkpoint_load_one(path, &weights));
    DG_TRY(dg_checkpoint_load_one(path, &average));
    return dg_params_sha256(&out->model->params, out->weights, out->weights_sha256);
}

dg_status dg_trained_load(const char *path, dg_trained *out)
{
    memset(out, 0, sizeof *out);
    dg_status status = load(path, out);
    if (status != DG_OK) dg_trained_release(out);
    return status;
}

void dg_trained_release(dg_trained *trained)
{
    dg_model_destroy(&trained->model);
    dg_free(&trained->weights);
}

/* Whether weights mean the same and are given the same. */
static bool fit_together(const dg_trained *a, const dg_trained *b)
{
    const dg_param_table *p = &a->model->params, *q = &b->model->params;
    json_t *input_a = dg_recipe_to_json(&a->recipe), *input_b = dg_recipe_to_json(&b->recipe);
    static const char *const seen[] = {"seen_low_mm", "seen_high_mm", "loss_mask",
                                       "domain"}; /* of the training cases */
    for (size_t k = 0; k < sizeof seen / sizeof *seen; k++) {
        json_object_del(input_a, seen[k]);
        json_object_del(input_b, seen[k]);
    }
    bool fit = input_a != NULL && json_equal(input_a, input_b) && p->count == q->count && p->total == q->total &&
               strcmp(a->model->config.kind, b->model->config.kind) == 0;
    for (int i = 0; i < p->count && fit; i++)
        fit = strcmp(p->item[i].name, q->item[i].name) == 0 && p->item[i].count == q->item[i].count;
    json_decref(input_a);
    json_decref(input_b);
    return fit;
}

/* The first one becomes the mean of all. */
static dg_status average_weights(dg_trained *network, int count)
{
    for (int64_t i = 0; i < network->model->params.total; i++) {
        double sum = 0;
        for (int k = 0; k < count; k++) sum += (double)network[k].weights[i];
        network[0].weights[i] = (float)(sum / count);
    }
    return dg_params_sha256(&network->model->params, network->weights, network->weights_sha256);
}

dg_status dg_trained_load_list(const dg_string_list *paths, bool mean_weights, dg_trained out[DG_TRAINED_MAX],
                               int *count)
{
    dg_status status = DG_OK;
    *count = 0;
    if (paths->count > DG_TRAINED_MAX)
        return DG_FAIL(DG_ERR_USAGE, "%d checkpoints; at most %d predict together", paths->count, DG_TRAINED_MAX);
    for (int k = 0; k < paths->count && status == DG_OK; k++) {
        status = dg_trained_load(paths->value[k], &out[k]);
        if (status == DG_OK) (*count)++;
        if (status == DG_OK && k > 0 && !fit_together(&out[0], &out[k]))
            status = DG_FAIL(DG_ERR_MISMATCH,
                             "%s is not of the network that %s is of: only networks of one architecture and the same "
                             "input predict together",
                             paths->value[k], paths->value[0]);
        else if (status != DG_OK && paths->count > 1)
            status = dg_error_context(status, "checkpoint %d, %s", k + 1, paths->value[k]);
    }
    if (status == DG_OK && mean_weights && *count > 1) status = average_weights(out, *count);
    while ((status != DG_OK && *count > 0) || (mean_weights && *count > 1)) dg_trained_release(&out[--*count]);
    return status;
}

/* What rank 0 read: settings, recipe and notes are plain structs, and all ranks run one program; the model is made from them. */
static dg_status share(dg_comm *comm, dg_trained *t)
{
    dg_status status = DG_OK;
    DG_TRY(dg_comm_broadcast(comm, &t->config, (int64_t)sizeof t->config, 0));
    DG_TRY(dg_comm_broadcast(comm, &t->recipe, (int64_t)sizeof t->recipe, 0));
    DG_TRY(dg_comm_broadcast(comm, &t->averaged, (int64_t)sizeof t->averaged, 0));
    DG_TRY(dg_comm_broadcast(comm, t->weights_sha256, (int64_t)sizeof t->weights_sha256, 0));
    DG_TRY(dg_comm_broadcast(comm, &t->meta, (int64_t)sizeof t->meta, 0));
    if (comm->rank != 0) {
        const dg_model_config model = dg_run_config_model(&t->config, t->recipe.count, t->recipe.constraint_count);
        status = dg_model_create(&model, &t->model);
        if (status == DG_OK) status = DG_NEW(&t->weights, t->model->params.total, "weights");
    }
    DG_TRY(dg_comm_agree(comm, status));
    return dg_comm_broadcast(comm, t->weights, t->model->params.total * (int64_t)sizeof *t->weights, 0);
}

dg_status dg_trained_share_list(dg_comm *comm, const dg_string_list *paths, bool mean_weights,
                                dg_trained out[DG_TRAINED_MAX], int *count)
{
    int64_t networks = 0;
    *count = 0;
    DG_TRY(dg_comm_agree(comm, comm->rank == 0 ? dg_trained_load_list(paths, mean_weights, out, count) : DG_OK));
    networks = *count;
    dg_status status = dg_comm_broadcast(comm, &networks, (int64_t)sizeof networks, 0);
    for (int k = 0; k < networks && status == DG_OK; k++) {
        if (comm->rank != 0) memset(&out[(*count)++], 0, sizeof *out);
        status = share(comm, &out[k]);
    }
    while (status != DG_OK && *count > 0) dg_trained_release(&out[--*count]);
    return status;
}
