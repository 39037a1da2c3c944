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
