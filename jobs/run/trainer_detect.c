/* trainer_detect.c - measures for the detectors what rank 0's first sample shows; findings go to the log, metrics.csv,
 * training_summary.json and the checkpoint. SPDX-License-Identifier: Apache-2.0 */
#include "dg_bf16.h"
#include "dg_mem.h"
#include "trainer_impl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { EVERY_AUTO = 50, TEXT = 400 };

static int64_t look_every(const dg_trainer *t)
{
    const dg_int_list *every = &t->config.train.detect.every;
    if (t->config.loss.compat == DG_LOSS_UPSTREAM) return 0; /* whose terms want the whole batch */
    if (every->count > 0) return every->value[0];
    return t->recipe.labels ? EVERY_AUTO : 0;
}

static bool looks_now(const dg_trainer *t)
{
    const int64_t every = look_every(t);
    return every > 0 && t->progress.step % every == 0;
}

dg_status trainer_detect_make(dg_trainer *t)
{
    t->detectors = (dg_detectors){.terms = t->setup.config.count};
    return DG_OK;
}

/* ---- a look -------------------------------------------------------------------------------------------------------------- */

/* Work space of a look. */
typedef struct look_work {
    int64_t voxels;                     /* of the first sample's output */
    int64_t length;                     /* of a gradient */
    float *output;                      /* [voxels] */
    float *target;                      /* [voxels] */
    uint8_t *counted;                   /* [voxels] */
    void *raw;                          /* [voxels] in the type of the backend's array */
    float *gradient[DG_LOSS_TERMS_MAX]; /* [length]; NULL: the term has no weight now */
} look_work;

static void release_work(look_work *w)
{
    dg_free(&w->output);
    dg_free(&w->target);
    dg_free(&w->counted);
    dg_free(&w->raw);
    for (int k = 0; k < DG_LOSS_TERMS_MAX; k++) dg_free(&w->gradient[k]);
}

static dg_status make_work(const dg_trainer *t, const double *now, look_work *w)
{
    const bool parameters = t->config.train.detect.space == DG_DETECT_PARAMETERS;
    w->voxels = t->size.outputs;
    w->length = parameters ? t->model->params.total : w->voxels;
    DG_TRY(DG_NEW(&w->output, w->voxels, "look at the output"));
    DG_TRY(DG_NEW(&w->target, w->voxels, "look at the output"));
    DG_TRY(DG_NEW(&w->counted, w->voxels, "look at the output"));
    DG_TRY(dg_alloc(&w->raw, (size_t)w->voxels, sizeof(float), "look at the output"));
    for (int k = 0; k < t->setup.config.count; k++)
        if (now[k] > 0) DG_TRY(DG_NEW(&w->gradient[k], w->length, "gradient of a term"));
    return DG_OK;
}

/* The first sample of a tensor of the pass, as floats. */
static dg_status download(const dg_trainer *t, const dg_tensor *tensor, look_work *w, float *to)
{
    DG_TRY(
        t->backend->ops->download(t->backend, w->raw, tensor->data, w->voxels * (int64_t)dg_dtype_size(tensor->dtype)));
    if (tensor->dtype == DG_F32) memcpy(to, w->raw, (size_t)w->voxels * sizeof *to);
    for (int64_t i = 0; i < w->voxels && tensor->dtype == DG_BF16; i++)
        to[i] = dg_bf16_to_f32(((const dg_bf16 *)w->raw)[i]);
    return DG_OK;
}

/* The gradient of term k alone. At the logits of a probability p it is p (1 - p) times that at p. */
static dg_status term_gradient(dg_trainer *t, int k, look_work *w)
{
    const bool parameters = t->config.train.detect.space == DG_DETECT_PARAMETERS;
    double one[DG_LOSS_TERMS_MAX] = {0};
    dg_tensor dy = trainer_loss_gradient(t);
    const dg_loss_batch batch = trainer_loss_batch(t);
    one[k] = 1;
    DG_TRY(dg_loss_set_weights(t->loss, one, 1));
    if (parameters) { /* a backward pass overwrites what the forward pass left */
        DG_TRY(dg_reducer_begin(t->reducer));
        DG_TRY(dg_plan_forward(t->plan, NULL));
    }
    DG_TRY(dg_loss_evaluate(t->loss, &batch, &dy));
    if (parameters) {
        DG_TRY(dg_plan_backward(t->plan, dg_reducer_buffer(t->reducer), NULL, NULL, NULL));
        return t->backend->ops->download(t->backend, w->gradient[k], dg_reducer_buffer(t->reducer),
                                         w->length * (int64_t)sizeof(float));
    }
    DG_TRY(download(t, &dy, w, w->gradient[k]));
    for (int64_t i = 0; i < w->voxels && t->recipe.labels; i++) w->gradient[k][i] *= w->output[i] * (1 - w->output[i]);
    return DG_OK;
}

static double cosine(const float *a, const float *b, int64_t length)
{
    double ab = 0, aa = 0, bb = 0;
    for (int64_t i = 0; i < length; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : NAN;
}

static void measure_output(const dg_trainer *t, const look_work *w, dg_detector_look *look)
{
    double sum = 0, squares = 0;
    int64_t counted = 0, predicted = 0, labelled = 0;
    for (int64_t i = 0; i < w->voxels; i++) {
        if (w->counted[i] == 0) continue;
        counted++;
        sum += (double)w->output[i];
        squares += (double)w->output[i] * (double)w->output[i];
        predicted += w->output[i] >= 0.5f;
        labelled += w->target[i] > 0.5f;
    }
    const double n = (double)(counted > 0 ? counted : 1), mean = sum / n;
    look->spread = sqrt(fmax(0, squares / n - mean * mean));
    look->predicted = t->recipe.labels ? (double)predicted / n : NAN;
    look->labelled = t->recipe.labels ? (double)labelled / n : NAN;
}

static dg_status measure(dg_trainer *t, const double *now, look_work *w, dg_detector_look *look)
{
    const int terms = t->setup.config.count;
    const dg_tensor output = trainer_loss_batch(t).y;
    DG_TRY(make_work(t, now, w));
    DG_TRY(trainer_fill_pass(t, 0, 1));
    DG_TRY(dg_plan_forward(t->plan, NULL));
    DG_TRY(download(t, &output, w, w->output));
    DG_TRY(t->backend->ops->download(t->backend, w->target, t->target, w->voxels * (int64_t)sizeof(float)));
    DG_TRY(t->backend->ops->download(t->backend, w->counted, t->counted, w->voxels));
    measure_output(t, w, look);
    for (int k = 0; k < terms; k++) {
        look->active[k] = w->gradient[k] != NULL;
        if (look->active[k]) DG_TRY(term_gradient(t, k, w));
    }
    for (int a = 0; a < terms; a++)
        for (int b = a + 1; b < terms; b++)
            look->cosine[a][b] =
                look->active[a] && look->active[b] ? cosine(w->gradient[a], w->gradient[b], w->length) : NAN;
    return DG_OK;
}

static const char *term_name(const void *trainer, int k)
{
    return ((const dg_trainer *)trainer)->setup.weights.name[k];
}

static void tell(const dg_trainer *t, unsigned found)
{
    char text[TEXT];
    for (int kind = 0; kind < DG_FINDINGS; kind++) {
        if ((found >> kind & 1) == 0) continue;
        dg_finding_describe(&t->detectors, (dg_finding_kind)kind, term_name, t, text, sizeof text);
        dg_log_write(t->log, DG_LOG_WARNING, "step %lld: %s", (long long)t->progress.step, text);
    }
}

dg_status trainer_detect_look(dg_trainer *t)
{
    dg_detector_look look = {.step = t->progress.step};
    look_work work = {.voxels = 0};
    double now[DG_LOSS_TERMS_MAX];
    if (t->comm->rank != 0 || !looks_now(t)) return DG_OK;
    trainer_loss_now(t, now);
    dg_status status = measure(t, now, &work, &look);
    release_work(&work);
    DG_TRY(status);
    tell(t, dg_detectors_look(&t->detectors, &look));
    return DG_OK;
}

void trainer_detect_step(dg_trainer *t, const double *mean) { dg_detectors_step(&t->detectors, mean); }

void trainer_detect_validated(dg_trainer *t, double value, double best)
{
    tell(t, dg_detectors_validated(&t->detectors, t->progress.step, value, best));
}

/* ---- what is told -------------------------------------------------------------------------------------------------------- */

enum { COLUMNS = 4 };

int trainer_detect_columns(const dg_trainer *t, char (*name)[DG_METRICS_NAME])
{
    static const char *const NAMES[COLUMNS] = {"detect_cosine", "detect_spread", "detect_predicted", "detect_labelled"};
    if (look_every(t) == 0) return 0;
    for (int k = 0; k < COLUMNS; k++) snprintf(name[k], DG_METRICS_NAME, "%s", NAMES[k]);
    return COLUMNS;
}

void trainer_detect_parts(const dg_trainer *t, double *part)
{
    const dg_detectors *d = &t->detectors;
    if (look_every(t) == 0) return;
    for (int k = 0; k < COLUMNS; k++) part[k] = NAN;
    if (!looks_now(t) || t->comm->rank != 0) return;
    for (int64_t a = 0; a < d->terms; a++)
        for (int64_t b = a + 1; b < d->terms; b++)
            if (d->pair_looks[a][b] > 0) part[0] = fmin(isnan(part[0]) ? 1 : part[0], d->cosine[a][b]);
    part[1] = d->spread;
    part[2] = t->recipe.labels ? d->predicted : NAN;
    part[3] = t->recipe.labels ? d->labelled : NAN;
}

json_t *trainer_detect_findings(const dg_trainer *t)
{
    json_t *all = json_array();
    char text[TEXT];
    for (int kind = 0; kind < DG_FINDINGS; kind++) {
        const dg_finding *f = &t->detectors.finding[kind];
        if (f->times == 0) continue;
        dg_finding_describe(&t->detectors, (dg_finding_kind)kind, term_name, t, text, sizeof text);
        json_array_append_new(
            all, json_pack("{s:s, s:I, s:I, s:I, s:b, s:f, s:s}", "kind", dg_finding_name((dg_finding_kind)kind),
                           "times", (json_int_t)f->times, "first_step", (json_int_t)f->first_step, "last_step",
                           (json_int_t)f->last_step, "at_the_end", (int)f->now, "value", f->value, "advice", text));
    }
    return all;
}

/* ---- checkpoints --------------------------------------------------------------------------------------------------------- */

/* One row of numbers: written and read by this program alone. */
static dg_status save_detectors(const void *object, const dg_state_sink *sink)
{
    const dg_detectors *d = &((const dg_trainer *)object)->detectors;
    const int64_t terms[1] = {DG_LOSS_TERMS_MAX}, pairs[2] = {DG_LOSS_TERMS_MAX, DG_LOSS_TERMS_MAX};
    const int64_t shape[2] = {DG_FINDINGS, 7};
    double row[DG_FINDINGS][7];
    for (int k = 0; k < DG_FINDINGS; k++) {
        const dg_finding *f = &d->finding[k];
        const double value[7] = {(double)f->times,
                                 (double)f->first_step,
                                 (double)f->last_step,
                                 f->value,
                                 (double)f->a,
                                 (double)f->b,
                                 f->now};
        memcpy(row[k], value, sizeof value);
    }
    DG_TRY(dg_state_put_int(sink, "looks", d->looks));
    DG_TRY(dg_state_put_int(sink, "steps", d->steps));
    DG_TRY(dg_state_put_int(sink, "worse", d->worse));
    DG_TRY(dg_state_put_double(sink, "spread", d->spread));
    DG_TRY(dg_state_put_double(sink, "predicted", d->predicted));
    DG_TRY(dg_state_put_double(sink, "labelled", d->labelled));
    DG_TRY(sink->put(sink->context, "cosine", DG_F64, 2, pairs, d->cosine));
    DG_TRY(sink->put(sink->context, "pair_looks", DG_I64, 2, pairs, d->pair_looks));
    DG_TRY(sink->put(sink->context, "sum", DG_F64, 1, terms, d->sum));
    DG_TRY(sink->put(sink->context, "at_best", DG_F64, 1, terms, d->at_best));
    return sink->put(sink->context, "finding", DG_F64, 2, shape, row);
}

static dg_status load_detectors(void *object, const dg_state_source *source, int version)
{
    (void)version;
    dg_trainer *t = object;
    dg_detectors d = {.terms = t->setup.config.count};
    const int64_t terms[1] = {DG_LOSS_TERMS_MAX}, pairs[2] = {DG_LOSS_TERMS_MAX, DG_LOSS_TERMS_MAX};
    const int64_t shape[2] = {DG_FINDINGS, 7};
    double row[DG_FINDINGS][7];
    DG_TRY(dg_state_get_int(source, "looks", &d.looks));
    DG_TRY(dg_state_get_int(source, "steps", &d.steps));
    DG_TRY(dg_state_get_int(source, "worse", &d.worse));
    DG_TRY(dg_state_get_double(source, "spread", &d.spread));
    DG_TRY(dg_state_get_double(source, "predicted", &d.predicted));
    DG_TRY(dg_state_get_double(source, "labelled", &d.labelled));
    DG_TRY(source->get(source->context, "cosine", DG_F64, 2, pairs, d.cosine));
    DG_TRY(source->get(source->context, "pair_looks", DG_I64, 2, pairs, d.pair_looks));
    DG_TRY(source->get(source->context, "sum", DG_F64, 1, terms, d.sum));
    DG_TRY(source->get(source->context, "at_best", DG_F64, 1, terms, d.at_best));
    DG_TRY(source->get(source->context, "finding", DG_F64, 2, shape, row));
    for (int k = 0; k < DG_FINDINGS; k++)
        d.finding[k] = (dg_finding){.times = (int64_t)row[k][0],
                                    .first_step = (int64_t)row[k][1],
                                    .last_step = (int64_t)row[k][2],
                                    .value = row[k][3],
                                    .a = (int64_t)row[k][4],
                                    .b = (int64_t)row[k][5],
                                    .now = row[k][6] != 0};
    for (int k = 0; k < DG_FINDINGS; k++)
        if (d.finding[k].a < 0 || d.finding[k].a >= d.terms || d.finding[k].b < 0 || d.finding[k].b >= d.terms)
            return DG_FAIL(DG_ERR_FORMAT,
                           "the checkpoint's detectors are damaged: a finding on terms %lld and %lld of %lld",
                           (long long)d.finding[k].a, (long long)d.finding[k].b, (long long)d.terms);
    t->detectors = d;
    return DG_OK;
}

dg_status trainer_detect_register(dg_trainer *t)
{
    if (look_every(t) == 0) return DG_OK;
    return dg_state_register(
        &t->registry,
        (dg_state){.name = "detectors", .version = 1, .object = t, .save = save_detectors, .load = load_detectors});
}
