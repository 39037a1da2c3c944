/* ctest: libs=dg_base label=unit timeout=30
 * States saved to memory and loaded back; unknown, missing, newer and misfitting ones are named.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"

#include "dg_mem.h"
#include "dg_state.h"

typedef struct thing {
    int64_t step;
    double rate;
    float values[6];
    char note[16];
    bool breaks;
} thing;

static dg_status save(const void *object, const dg_state_sink *sink)
{
    const thing *t = object;
    DG_TRY(dg_state_put_int(sink, "step", t->step));
    DG_TRY(dg_state_put_double(sink, "rate", t->rate));
    DG_TRY(sink->put(sink->context, "values", DG_F32, 2, (int64_t[]){2, 3}, t->values));
    if (t->breaks) return DG_FAIL(DG_ERR_NUMERIC, "a thing breaks");
    return sink->put_text(sink->context, "note", t->note);
}

static dg_status load(void *object, const dg_state_source *source, int version)
{
    thing *t = object;
    DG_CHECK(version == 1);
    DG_TRY(dg_state_get_int(source, "step", &t->step));
    DG_TRY(dg_state_get_double(source, "rate", &t->rate));
    DG_TRY(source->get(source->context, "values", DG_F32, 2, (int64_t[]){2, 3}, t->values));
    DG_CHECK(source->has(source->context, "note") && !source->has(source->context, "nothing"));
    return source->get_text(source->context, "note", t->note, sizeof t->note);
}

static dg_status save_twice(const void *object, const dg_state_sink *sink)
{
    DG_TRY(save(object, sink));
    return dg_state_put_int(sink, "step", 1);
}

static dg_status load_wrong_shape(void *object, const dg_state_source *source, int version)
{
    return source->get(source->context, "values", DG_F32, 2, (int64_t[]){3, 2}, ((thing *)object)->values);
}

static dg_status load_short_text(void *object, const dg_state_source *source, int version)
{
    return source->get_text(source->context, "note", ((thing *)object)->note, 3);
}

static dg_status load_missing(void *object, const dg_state_source *source, int version)
{
    return dg_state_get_int(source, "momentum", &((thing *)object)->step);
}

static dg_state state_of(const char *name, thing *object)
{
    return (dg_state){.name = name, .version = 1, .object = object, .save = save, .load = load};
}

static void check_failures(dg_state_memory *memory, const dg_state_registry *good, thing *t)
{
    dg_state_registry other = *good;
    other.item[1].name = "ema";
    DG_CHECK_FAILS(dg_state_memory_load(memory, &other), DG_ERR_MISMATCH, "sampler is unknown");
    other = *good;
    DG_CHECK_OK(dg_state_register(&other, state_of("ema", t)));
    DG_CHECK_FAILS(dg_state_memory_load(memory, &other), DG_ERR_MISMATCH, "no state ema");
    other = *good;
    other.item[0].load = load_wrong_shape;
    DG_CHECK_FAILS(dg_state_memory_load(memory, &other), DG_ERR_MISMATCH, "values was saved with another");
    other.item[0].load = load_short_text;
    DG_CHECK_FAILS(dg_state_memory_load(memory, &other), DG_ERR_MISMATCH, "note is no text of fewer than 3");
    other.item[0].load = load_missing;
    DG_CHECK_FAILS(dg_state_memory_load(memory, &other), DG_ERR_FORMAT, "params has no momentum");
    other = *good;
    other.item[0].save = save_twice;
    DG_CHECK_FAILS(dg_state_memory_save(memory, &other), DG_ERR_INTERNAL, "saves step twice");
    DG_CHECK_FAILS(dg_state_register(&other, state_of("params", t)), DG_ERR_INTERNAL, "two states are called params");
    DG_CHECK_FAILS(dg_state_register(&other, state_of(NULL, t)), DG_ERR_INTERNAL, "no name");
}

/* A large object: what was taken is saved, whatever became of the object since; its copy is made once. */
static int copies;

static dg_status take(const void *object, void **copy)
{
    if (*copy == NULL) {
        DG_TRY(dg_alloc(copy, 1, sizeof(thing), "copy"));
        copies++;
    }
    memcpy(*copy, object, sizeof(thing));
    return ((const thing *)object)->breaks ? DG_FAIL(DG_ERR_BACKEND, "cannot be taken") : DG_OK;
}

static dg_status save_copy(const void *object, const void *copy, const dg_state_sink *sink)
{
    (void)object;
    return save(copy, sink);
}

static void free_copy(void **copy)
{
    copies--;
    dg_free(copy);
}

static void test_frozen(void)
{
    thing large = {.step = 1, .values = {1, 2}, .note = "large"}, small = {.step = 2, .note = "small"};
    thing large_then = large, small_then = small;
    dg_state_registry registry = {0};
    dg_state_frozen *frozen;
    dg_state_memory *memory;
    dg_state item = state_of("params", &large);
    item.save = NULL;
    DG_CHECK_FAILS(dg_state_register(&registry, item), DG_ERR_INTERNAL, "params has no name, version or functions");
    item.take = take;
    item.save_copy = save_copy;
    item.free_copy = free_copy;
    DG_CHECK_OK(dg_state_register(&registry, item));
    DG_CHECK_OK(dg_state_register(&registry, state_of("sampler", &small)));
    DG_CHECK_OK(dg_state_memory_create(&memory));
    DG_CHECK_OK(dg_state_frozen_create(&registry, &frozen));
    DG_CHECK_FAILS(dg_state_memory_save(memory, dg_state_frozen_registry(frozen)), DG_ERR_INTERNAL, "never taken");
    DG_CHECK_OK(dg_state_frozen_take(frozen));
    DG_CHECK_OK(dg_state_frozen_take(frozen));
    DG_CHECK(copies == 1);
    large = small = (thing){.step = -1};
    DG_CHECK_OK(dg_state_memory_save(memory, dg_state_frozen_registry(frozen)));
    DG_CHECK_OK(dg_state_memory_load(memory, &registry));
    DG_CHECK(memcmp(&large, &large_then, sizeof large) == 0 && small.step == 2 && strcmp(small.note, "small") == 0);
    DG_CHECK(memcmp(small.values, small_then.values, sizeof small.values) == 0);
    large.breaks = true;
    DG_CHECK_FAILS(dg_state_frozen_take(frozen), DG_ERR_BACKEND, "cannot be taken");
    dg_state_frozen_destroy(&frozen);
    DG_CHECK(frozen == NULL && copies == 0);
    dg_state_memory_destroy(&memory);
}

int main(void)
{
    test_frozen();
    thing a = {.step = 7, .rate = 0.1, .values = {1, 2, 3, 4, 5, 6}, .note = "first"},
          b = {.step = 9, .note = "second"};
    thing saved_a = a;
    dg_state_registry registry = {0};
    dg_state_memory *memory;
    DG_CHECK_OK(dg_state_register(&registry, state_of("params", &a)));
    DG_CHECK_OK(dg_state_register(&registry, state_of("sampler", &b)));
    DG_CHECK(dg_state_find(&registry, "sampler")->object == &b && dg_state_find(&registry, "x") == NULL);
    DG_CHECK_OK(dg_state_memory_create(&memory));
    DG_CHECK_FAILS(dg_state_memory_load(memory, &registry), DG_ERR_MISMATCH, "no state params");
    DG_CHECK_OK(dg_state_memory_save(memory, &registry));
    a = b = (thing){.step = -1};
    DG_CHECK_OK(dg_state_memory_load(memory, &registry));
    DG_CHECK(memcmp(&a, &saved_a, sizeof a) == 0);
    DG_CHECK(b.step == 9 && strcmp(b.note, "second") == 0);

    a.step = 100; /* a save that breaks half-way leaves what was stored */
    b.breaks = true;
    DG_CHECK_FAILS(dg_state_memory_save(memory, &registry), DG_ERR_NUMERIC, "breaks");
    DG_CHECK_OK(dg_state_memory_load(memory, &registry));
    DG_CHECK(a.step == 7);
    b.breaks = false;
    check_failures(memory, &registry, &a);

    registry.item[1].version = 2; /* an older program meets a newer file */
    DG_CHECK_OK(dg_state_memory_save(memory, &registry));
    registry.item[1].version = 1;
    DG_CHECK_FAILS(dg_state_memory_load(memory, &registry), DG_ERR_MISMATCH, "sampler was stored with version 2");
    dg_state_memory_destroy(&memory);
    DG_CHECK(memory == NULL);
    dg_state_memory_destroy(&memory);
    return 0;
}
