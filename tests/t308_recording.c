/* ctest: libs=test_net,dg_nn timeout=120 args=--backend cuda */
/* t308_recording.c - passes that are recorded and replayed: what may change between two passes (weights, gradients and their
 * memory, scratch of the backend, weights of the loss, another plan's shapes) gives what an unrecorded plan gives, and makes a
 * new recording where, and only where, the old one is stale. Skipped where no backend records.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "plan_impl.h"
#include "test_net.h"

enum { STRETCHES = 2 }; /* of a step without announcements: forward and backward */

static dg_loss_config loss = {
    .count = 2, .term = {{.kind = DG_LOSS_MSE}, {.kind = DG_LOSS_NEGATIVE}}, .weight = {1.0, 0.1}};

/* The backend's table with a count of recordings and replays. */
static struct watch {
    dg_backend_ops ops;
    dg_device_ops device;
    const dg_device_ops *real;
    int begun, replayed;
} watch;

static dg_status count_begin(dg_backend *backend)
{
    watch.begun++;
    return watch.real->record_begin(backend);
}

static dg_status count_replay(dg_backend *backend, dg_recording *recording)
{
    watch.replayed++;
    return watch.real->replay(backend, recording);
}

static void watch_backend(dg_backend *backend)
{
    watch.ops = *backend->ops;
    watch.real = backend->ops->device;
    watch.device = *watch.real;
    watch.device.record_begin = count_begin;
    watch.device.replay = count_replay;
    watch.ops.device = &watch.device;
    backend->ops = &watch.ops;
}

/* The same network twice: with recorded passes and without. */
typedef struct pair {
    test_net recorded, plain;
    float *target;
    int64_t inputs, targets;
    uint64_t seed; /* of the input that comes */
} pair;

static pair open_pair(const char *backend, const dg_model_config *model, dg_plan_config plan)
{
    const int64_t voxels = plan.n * plan.z * plan.y * plan.x;
    pair p = {.inputs = voxels * model->in_channels, .targets = voxels, .seed = 100};
    plan.record = false;
    p.plain = test_net_open(backend, 1, model, &plan);
    if (p.plain.scope.backend->ops->device == NULL) {
        printf("backend %s records nothing: skipped\n", backend);
        exit(77);
    }
    plan.record = true;
    p.recorded = test_net_open(backend, 1, model, &plan);
    p.target = test_random(23, p.targets, 0.5, 1.0);
    watch_backend(p.recorded.scope.backend);
    return p;
}

static void set_weights(pair *p, uint64_t seed)
{
    float *weights = test_net_random_weights(&p->plain.model->params, seed);
    test_net_weights(&p->recorded, weights);
    test_net_weights(&p->plain, weights);
    free(weights);
}

/* One step of both with an input of its own; whether all numbers are the same. */
static bool step_agrees(pair *p)
{
    float *x = test_random(p->seed++, p->inputs, 1.0, 0.0);
    test_net_input(&p->recorded, x, NULL);
    test_net_input(&p->plain, x, NULL);
    const double a = test_net_step(&p->recorded, &loss, p->target, NULL);
    const double b = test_net_step(&p->plain, &loss, p->target, NULL);
    float *got = test_buffer_get(&p->recorded.scope, p->recorded.gradients, p->recorded.total);
    float *want = test_buffer_get(&p->plain.scope, p->plain.gradients, p->plain.total);
    const bool same = a == b && memcmp(got, want, (size_t)p->plain.total * sizeof *got) == 0;
    free(x);
    free(got);
    free(want);
    return same;
}

/* A right step that records or replays as many stretches as are named. */
static void check_step(pair *p, int begun, int replayed)
{
    const int begun_before = watch.begun, replayed_before = watch.replayed;
    DG_CHECK(step_agrees(p));
    DG_CHECK(watch.begun - begun_before == begun);
    DG_CHECK(watch.replayed - replayed_before == replayed); /* what is recorded is queued by a replay, too */
}

/* Two passes run, the third is recorded, others are replayed. */
static void check_new_recording(pair *p)
{
    check_step(p, 0, 0);
    check_step(p, 0, 0);
    check_step(p, STRETCHES, STRETCHES);
    check_step(p, 0, STRETCHES);
}

static float *more_floats(pair *p, float value)
{
    void *memory;
    dg_backend *backend = p->recorded.scope.backend;
    DG_CHECK_OK(backend->ops->alloc(backend, p->recorded.total * (int64_t)sizeof(float), "test", &memory));
    DG_CHECK_OK(backend->ops->fill(backend, memory, p->recorded.total, value));
    return memory;
}

static void test_weights(pair *p)
{
    dg_backend *backend = p->recorded.scope.backend;
    set_weights(p, 5); /* other numbers in the same memory */
    check_step(p, 0, STRETCHES);
    float *const old = p->recorded.weights;
    p->recorded.weights = more_floats(p, 0.0f);
    set_weights(p, 6);
    DG_CHECK_OK(backend->ops->fill(backend, old, p->recorded.total, NAN)); /* nobody reads them any more */
    check_new_recording(p);
    backend->ops->free(backend, p->recorded.weights);
    p->recorded.weights = old;
    set_weights(p, 7);
    check_new_recording(p);
}

static void test_gradients(pair *p)
{
    dg_backend *backend = p->recorded.scope.backend;
    float *const old = p->recorded.gradients, *other = more_floats(p, 0.0f);
    DG_CHECK_OK(backend->ops->fill(backend, old, p->recorded.total, 3.0f));
    p->recorded.gradients = other;
    check_step(p, 0, 1); /* forward is as it was; backward is new */
    check_step(p, 0, 1);
    check_step(p, 1, STRETCHES);
    check_step(p, 0, STRETCHES);
    float *untouched = test_buffer_get(&p->recorded.scope, old, p->recorded.total);
    for (int64_t i = 0; i < p->recorded.total; i++) DG_CHECK(untouched[i] == 3.0f);
    free(untouched);
    p->recorded.gradients = old;
    check_step(p, 0, STRETCHES); /* it has its recording still */
    backend->ops->free(backend, other);
}

static void test_loss_weights(pair *p)
{
    loss.weight[0] = 0.25;
    loss.weight[1] = 2.0;
    check_step(p, 0, STRETCHES);
    loss.count = 1;
    check_step(p, 0, STRETCHES);
    loss =
        (dg_loss_config){.count = 2, .term = {{.kind = DG_LOSS_MSE}, {.kind = DG_LOSS_NEGATIVE}}, .weight = {1, 0.1}};
    check_step(p, 0, STRETCHES);
}

static void test_input_gradient(pair *p)
{
    DG_CHECK_OK(dg_plan_want_input_gradient(p->recorded.plan));
    DG_CHECK_OK(dg_plan_want_input_gradient(p->plain.plan));
    check_new_recording(p);
    const dg_tensor a = dg_plan_input_gradient(p->recorded.plan), b = dg_plan_input_gradient(p->plain.plan);
    float *got = test_net_torch(&p->recorded, &a), *want = test_net_torch(&p->plain, &b);
    DG_CHECK(memcmp(got, want, (size_t)p->inputs * sizeof *got) == 0);
    free(got);
    free(want);
}

/* Another plan on the same backend, of larger shapes: its own recording, and scratch that moves under the first one's. */
static void test_shapes(pair *p, dg_plan_config plan)
{
    dg_plan *const small = p->recorded.plan, *large = NULL;
    dg_backend *backend = p->recorded.scope.backend;
    plan.record = true;
    plan.n *= 8;
    plan.z *= 2;
    DG_CHECK_OK(dg_plan_create(p->recorded.model, backend, &plan, &large));
    DG_CHECK_OK(dg_plan_set_weights(large, p->recorded.weights));
    for (int pass = 0; pass < 4; pass++) {
        const int begun = watch.begun;
        DG_CHECK_OK(dg_plan_forward(large, NULL));
        DG_CHECK(watch.begun - begun == (pass == 2 ? 1 : 0));
    }
    DG_CHECK(p->recorded.plan == small);
    check_step(p, 0, 0); /* stale by now: step by step once, then recorded anew */
    check_step(p, STRETCHES, STRETCHES);
    check_step(p, 0, STRETCHES);
    dg_plan_destroy(&large);
    check_step(p, 0, STRETCHES);
}

/* The test of the test: a recording that should have been forgotten gives other numbers. */
static void test_planted(pair *p)
{
    dg_backend *backend = p->recorded.scope.backend;
    float *const old = p->recorded.weights;
    p->recorded.weights = more_floats(p, 0.0f);
    p->recorded.plan->weights = p->recorded.weights; /* so that the plan sees no change and keeps what it recorded */
    set_weights(p, 9);
    DG_CHECK(!step_agrees(p));
    dg_plan_forget(p->recorded.plan);
    check_new_recording(p);
    backend->ops->free(backend, p->recorded.weights);
    p->recorded.weights = old;
    set_weights(p, 10);
    check_new_recording(p);
}

int main(int argc, char **argv)
{
    const char *backend = argc == 3 ? argv[2] : "cuda";
    const dg_model_config model = {
        .kind = "unet", .in_channels = 2, .out_channels = 1, .base_channels = 4, .levels = 2, .cond_channels = 8};
    const dg_plan_config plan = {.n = 1, .z = 4, .y = 4, .x = 4, .dtype = DG_F32, .training = true};
    pair p = open_pair(backend, &model, plan);
    set_weights(&p, 4);
    check_new_recording(&p);
    test_weights(&p);
    test_gradients(&p);
    test_loss_weights(&p);
    test_input_gradient(&p);
    test_shapes(&p, plan);
    test_planted(&p);
    free(p.target);
    test_net_close(&p.recorded);
    test_net_close(&p.plain);
    return 0;
}
