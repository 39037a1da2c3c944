/* dg_optim.c - AdamW and SGD over the flat buffer, clipping by global norm, average of the weights, and their state.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_optim.h"

#include "dg_mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOMENTS = 2 };
static const char *const adamw_moment[MOMENTS] = {"m", "v"};
static const char *const sgd_moment[MOMENTS] = {"momentum", NULL};

struct dg_optim {
    dg_optim_config config;
    const dg_param_table *table; /* borrowed */
    dg_backend *backend;         /* borrowed */
    float *moment[MOMENTS];      /* backend memory, flat */
    float *average;
    int64_t step; /* updates made */
    dg_optim_scalars scalars;
    double scalar_moment[MOMENTS][DG_OPTIM_SCALARS_MAX];
    bool *frozen; /* [parameters of the table], owned; NULL: none is */
};

static dg_status check(bool good, const char *key, double value, const char *range)
{
    return good ? DG_OK : DG_FAIL(DG_ERR_USAGE, "optimiser: %s is %g; it must be %s", key, value, range);
}

static dg_status check_config(const dg_optim_config *c)
{
    DG_TRY(check(isfinite(c->lr) && c->lr >= 0.0, "lr", c->lr, "at least 0"));
    DG_TRY(check(isfinite(c->weight_decay) && c->weight_decay >= 0.0, "weight_decay", c->weight_decay, "at least 0"));
    if (c->kind == DG_OPTIM_ADAMW) {
        DG_TRY(check(c->beta1 >= 0.0 && c->beta1 < 1.0, "beta1", c->beta1, "in [0, 1)"));
        DG_TRY(check(c->beta2 >= 0.0 && c->beta2 < 1.0, "beta2", c->beta2, "in [0, 1)"));
        DG_TRY(check(isfinite(c->eps) && c->eps > 0.0, "eps", c->eps, "above 0"));
    } else {
        DG_TRY(check(c->momentum >= 0.0 && c->momentum < 1.0, "momentum", c->momentum, "in [0, 1)"));
        DG_TRY(check(!c->nesterov || c->momentum > 0.0, "momentum", c->momentum, "above 0 with nesterov"));
    }
    DG_TRY(check(isfinite(c->clip) && c->clip >= 0.0, "clip", c->clip, "at least 0 (0: none)"));
    DG_TRY(check(c->ema >= 0.0 && c->ema < 1.0, "ema", c->ema, "in [0, 1) (0: none)"));
    DG_TRY(check(c->swa_start == 0 || c->ema == 0.0, "ema", c->ema, "0 where weights are averaged from an update on"));
    DG_TRY(check(c->swa_start >= 0 && (c->swa_start == 0 || c->swa_every >= 1), "swa_every", (double)c->swa_every,
                 "at least 1"));
    DG_TRY(check(c->schedule != DG_SCHEDULE_RESTARTS || c->restart_steps >= 1, "restart_steps",
                 (double)c->restart_steps, "at least 1"));
    DG_TRY(check(c->schedule != DG_SCHEDULE_RESTARTS || c->restart_factor >= 1.0, "restart_factor", c->restart_factor,
                 "at least 1"));
    DG_TRY(check(isfinite(c->min_lr) && c->min_lr >= 0.0, "min_lr", c->min_lr, "at least 0"));
    DG_TRY(check(c->warmup >= 0, "warmup", (double)c->warmup, "at least 0"));
    return check(c->schedule != DG_SCHEDULE_COSINE || c->total_steps >= c->warmup, "warmup", (double)c->warmup,
                 "at most the steps of the schedule");
}

static const char *const *moment_names(const dg_optim *optim)
{
    return optim->config.kind == DG_OPTIM_ADAMW ? adamw_moment : sgd_moment;
}

static dg_status allocate(dg_optim *optim)
{
    dg_backend *backend = optim->backend;
    const int64_t bytes = optim->table->total * (int64_t)sizeof(float);
    for (int i = 0; i < MOMENTS; i++)
        if (moment_names(optim)[i] != NULL)
            DG_TRY(backend->ops->alloc(backend, bytes, "moments of the optimiser", (void **)&optim->moment[i]));
    if (optim->config.ema == 0.0 && optim->config.swa_start == 0) return DG_OK;
    return backend->ops->alloc(backend, bytes, "average of the weights", (void **)&optim->average);
}

dg_status dg_optim_create(const dg_optim_config *config, const dg_param_table *table, dg_backend *backend,
                          dg_optim **out)
{
    dg_optim *optim = NULL;
    DG_TRY(check_config(config));
    DG_TRY(DG_NEW(&optim, 1, "optimiser"));
    optim->config = *config;
    optim->table = table;
    optim->backend = backend;
    dg_status status = allocate(optim);
    if (status != DG_OK)
        dg_optim_destroy(&optim);
    else
        *out = optim;
    return status;
}

void dg_optim_destroy(dg_optim **optim)
{
    if (optim == NULL || *optim == NULL) return;
    dg_backend *backend = (*optim)->backend;
    float *const memory[] = {(*optim)->moment[0], (*optim)->moment[1], (*optim)->average};
    for (int i = 0; i < 3; i++)
        if (memory[i] != NULL) backend->ops->free(backend, memory[i]);
    dg_free(&(*optim)->frozen);
    dg_free(optim);
}

static dg_status update_range(dg_optim *optim, double lr, double grad_scale, bool decay, int64_t first, int64_t end,
                              float *weights, const float *gradients)
{
    const dg_optim_config *config = &optim->config;
    dg_backend *backend = optim->backend;
    const double weight_decay = decay ? config->weight_decay : 0.0;
    float *moment = optim->moment[0] + first;
    if (config->kind == DG_OPTIM_SGD) {
        const dg_sgd_desc desc = {.lr = lr,
                                  .momentum = config->momentum,
                                  .weight_decay = weight_decay,
                                  .nesterov = config->nesterov,
                                  .grad_scale = grad_scale};
        return backend->ops->sgd(backend, &desc, end - first, weights + first, gradients + first, moment);
    }
    const dg_adamw_desc desc = {.lr = lr,
                                .beta1 = config->beta1,
                                .beta2 = config->beta2,
                                .eps = config->eps,
                                .weight_decay = weight_decay,
                                .step = optim->step + 1,
                                .grad_scale = grad_scale};
    return backend->ops->adamw(backend, &desc, end - first, weights + first, gradients + first, moment,
                               optim->moment[1] + first);
}

/* A stretch of the flat buffer whose parameters learn and agree on decay: for most models, all of it. */
typedef struct stretch {
    int item; /* the table's next parameter */
    int64_t first, end;
    bool decay;
} stretch;

static bool is_frozen(const dg_optim *optim, int item) { return optim->frozen != NULL && optim->frozen[item]; }

static bool next_stretch(const dg_optim *optim, stretch *s)
{
    const dg_param_table *table = optim->table;
    while (s->item < table->count && is_frozen(optim, s->item)) s->item++;
    if (s->item == table->count) return false;
    s->first = table->item[s->item].offset;
    s->decay = table->item[s->item].decay;
    while (s->item < table->count && !is_frozen(optim, s->item) && table->item[s->item].decay == s->decay) s->item++;
    s->end = s->item < table->count ? table->item[s->item].offset : table->total;
    return true;
}

static dg_status update(dg_optim *optim, double lr, double grad_scale, float *weights, const float *gradients)
{
    for (stretch s = {.item = 0}; next_stretch(optim, &s);)
        DG_TRY(update_range(optim, lr, grad_scale, s.decay, s.first, s.end, weights, gradients));
    return DG_OK;
}

/* One sum over all that learns, whatever its decay. */
static dg_status sum_squares(const dg_optim *optim, const float *gradients, double *sum)
{
    const dg_backend_ops *ops = optim->backend->ops;
    double part;
    *sum = 0.0;
    if (optim->frozen == NULL) return ops->sum_squares(optim->backend, optim->table->total, gradients, sum);
    for (stretch s = {.item = 0}; next_stretch(optim, &s); *sum += part)
        DG_TRY(ops->sum_squares(optim->backend, s.end - s.first, gradients + s.first, &part));
    return DG_OK;
}

/* Of the average before an update to the one after it; 1: it stays as it is. */
static double average_decay(const dg_optim_config *config, int64_t update_number)
{
    const double k = (double)update_number;
    if (config->swa_start == 0) return fmin(config->ema, (1.0 + k) / (10.0 + k));
    const int64_t since = update_number + 1 - config->swa_start;
    if (since <= 0) return 0.0;
    const double taken = (double)(since / config->swa_every);
    return since % config->swa_every == 0 ? taken / (taken + 1.0) : 1.0;
}

/* The average of a frozen parameter is what it was at the first update. */
static dg_status average_weights(dg_optim *optim, int64_t update_number, const float *weights)
{
    const double decay = average_decay(&optim->config, update_number);
    const dg_backend_ops *ops = optim->backend->ops;
    if (optim->average == NULL || decay == 1.0) return DG_OK;
    if (update_number == 0) return ops->ema(optim->backend, 0.0, optim->table->total, weights, optim->average);
    for (stretch s = {.item = 0}; next_stretch(optim, &s);)
        DG_TRY(ops->ema(optim->backend, decay, s.end - s.first, weights + s.first, optim->average + s.first));
    return DG_OK;
}

dg_status dg_optim_freeze(dg_optim *optim, const bool *frozen)
{
    const int count = optim->table->count;
    DG_TRY(DG_NEW(&optim->frozen, count, "frozen parameters"));
    memcpy(optim->frozen, frozen, (size_t)count * sizeof *frozen);
    return DG_OK;
}

void dg_optim_attach(dg_optim *optim, const dg_optim_scalars *scalars) { optim->scalars = *scalars; }

/* The same updates as of the weights, in double and without decay; `scale` is that of clipping. */
static void update_scalars(dg_optim *optim, double lr, double scale)
{
    const dg_optim_config *c = &optim->config;
    const double steps = (double)(optim->step + 1);
    for (int i = 0; i < optim->scalars.count; i++) {
        const double g = optim->scalars.gradient[i] * scale;
        double *m = &optim->scalar_moment[0][i], *v = &optim->scalar_moment[1][i], *p = &optim->scalars.value[i];
        if (c->kind == DG_OPTIM_SGD) {
            *m = c->momentum * *m + g;
            *p -= lr * (c->nesterov ? g + c->momentum * *m : *m);
            continue;
        }
        *m = c->beta1 * *m + (1.0 - c->beta1) * g;
        *v = c->beta2 * *v + (1.0 - c->beta2) * g * g;
        *p -= lr / (1.0 - pow(c->beta1, steps)) * *m / (sqrt(*v / (1.0 - pow(c->beta2, steps))) + c->eps);
    }
}

dg_status dg_optim_step(dg_optim *optim, double lr, double grad_scale, float *weights, const float *gradients,
                        double *grad_norm)
{
    const dg_optim_config *config = &optim->config;
    double squares = 0.0;
    DG_TRY(sum_squares(optim, gradients, &squares));
    squares *= grad_scale * grad_scale;
    for (int i = 0; i < optim->scalars.count; i++) squares += optim->scalars.gradient[i] * optim->scalars.gradient[i];
    const double norm = sqrt(squares);
    *grad_norm = norm;
    if (!isfinite(norm))
        return DG_FAIL(DG_ERR_NUMERIC, "gradient norm of update %lld is not finite; weights are as before",
                       (long long)optim->step);
    const double clip = config->clip > 0.0 ? fmin(1.0, config->clip / (norm + 1e-6)) : 1.0;
    DG_TRY(update(optim, lr, grad_scale * clip, weights, gradients));
    update_scalars(optim, lr, clip);
    return average_weights(optim, optim->step++, weights);
}

const float *dg_optim_average(const dg_optim *optim) { return optim->average; }

/* A sink and a source that put a prefix before every name: m/enc1.conv1.weight. */
typedef struct prefixed {
    const dg_state_sink *sink;
    const dg_state_source *source;
    const char *prefix;
} prefixed;

static dg_status put_prefixed(void *context, const char *name, dg_dtype type, int rank, const int64_t *shape,
                              const void *values)
{
    const prefixed *to = context;
    char full[DG_PARAM_NAME + 16];
    (void)snprintf(full, sizeof full, "%s/%s", to->prefix, name);
    return to->sink->put(to->sink->context, full, type, rank, shape, values);
}

static dg_status get_prefixed(void *context, const char *name, dg_dtype type, int rank, const int64_t *shape,
                              void *values)
{
    const prefixed *from = context;
    char full[DG_PARAM_NAME + 16];
    (void)snprintf(full, sizeof full, "%s/%s", from->prefix, name);
    return from->source->get(from->source->context, full, type, rank, shape, values);
}

/* What a save needs of an optimiser, in host memory. */
typedef struct optim_copy {
    int64_t step;
    float *flat[MOMENTS + 1]; /* moments and average; NULL where there is none */
    double scalar[MOMENTS][DG_OPTIM_SCALARS_MAX];
} optim_copy;

static const float *flat_of(const dg_optim *optim, int k) { return k < MOMENTS ? optim->moment[k] : optim->average; }

static void free_copy(void **copy)
{
    optim_copy *c = *copy;
    for (int k = 0; c != NULL && k <= MOMENTS; k++) dg_free(&c->flat[k]);
    dg_free(copy);
}

static dg_status take(const void *object, void **copy)
{
    const dg_optim *optim = object;
    if (*copy == NULL) DG_TRY(dg_alloc(copy, 1, sizeof(optim_copy), "copy of the optimiser"));
    optim_copy *c = *copy;
    c->step = optim->step;
    memcpy(c->scalar, optim->scalar_moment, sizeof c->scalar);
    for (int k = 0; k <= MOMENTS; k++) {
        const float *device = flat_of(optim, k);
        if (device == NULL) continue;
        if (c->flat[k] == NULL) DG_TRY(DG_NEW(&c->flat[k], optim->table->total, "copy of the optimiser"));
        DG_TRY(optim->backend->ops->download(optim->backend, c->flat[k], device,
                                             optim->table->total * (int64_t)sizeof *c->flat[k]));
    }
    return DG_OK;
}

static dg_status save_scalars(const dg_optim *optim, const optim_copy *copy, const dg_state_sink *sink)
{
    const int64_t shape[1] = {optim->scalars.count};
    if (optim->scalars.count == 0) return DG_OK;
    DG_TRY(sink->put(sink->context, "scalars/m", DG_F64, 1, shape, copy->scalar[0]));
    return sink->put(sink->context, "scalars/v", DG_F64, 1, shape, copy->scalar[1]);
}

static dg_status save_copy(const void *object, const void *copy, const dg_state_sink *sink)
{
    const dg_optim *optim = object;
    const optim_copy *c = copy;
    DG_TRY(dg_state_put_int(sink, "step", c->step));
    DG_TRY(save_scalars(optim, c, sink));
    for (int k = 0; k <= MOMENTS; k++) {
        prefixed to = {.sink = sink, .prefix = k < MOMENTS ? moment_names(optim)[k] : "ema"};
        const dg_state_sink inner = {.context = &to, .put = put_prefixed};
        if (c->flat[k] != NULL) DG_TRY(dg_params_save(optim->table, c->flat[k], &inner));
    }
    return DG_OK;
}

static dg_status load_flat(dg_optim *optim, float *device, const char *prefix, float *host,
                           const dg_state_source *source)
{
    prefixed from = {.source = source, .prefix = prefix};
    const dg_state_source inner = {.context = &from, .get = get_prefixed};
    memset(host, 0, (size_t)optim->table->total * sizeof *host);
    DG_TRY(dg_params_load(optim->table, host, &inner));
    return optim->backend->ops->upload(optim->backend, device, host, optim->table->total * (int64_t)sizeof *host);
}

static dg_status load_scalars(dg_optim *optim, const dg_state_source *source)
{
    const int64_t shape[1] = {optim->scalars.count};
    if (optim->scalars.count == 0) return DG_OK;
    DG_TRY(source->get(source->context, "scalars/m", DG_F64, 1, shape, optim->scalar_moment[0]));
    return source->get(source->context, "scalars/v", DG_F64, 1, shape, optim->scalar_moment[1]);
}

static dg_status load(void *object, const dg_state_source *source, int version)
{
    dg_optim *optim = object;
    float *host = NULL;
    dg_status status = DG_OK;
    (void)version; /* 1 is the only one so far; the caller has checked the range */
    DG_TRY(dg_state_get_int(source, "step", &optim->step));
    if (optim->step < 0) return DG_FAIL(DG_ERR_FORMAT, "optimizer: step is %lld", (long long)optim->step);
    DG_TRY(load_scalars(optim, source));
    DG_TRY(DG_NEW(&host, optim->table->total, "optimiser state"));
    for (int i = 0; i < MOMENTS; i++)
        if (optim->moment[i] != NULL)
            DG_TRY_GOTO(status, load_flat(optim, optim->moment[i], moment_names(optim)[i], host, source), done);
    if (optim->average != NULL) DG_TRY_GOTO(status, load_flat(optim, optim->average, "ema", host, source), done);
done:
    dg_free(&host);
    return status;
}

dg_state dg_optim_state(dg_optim *optim)
{
    return (dg_state){.name = "optimizer",
                      .version = 1,
                      .object = optim,
                      .load = load,
                      .take = take,
                      .save_copy = save_copy,
                      .free_copy = free_copy};
}
