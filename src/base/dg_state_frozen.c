/* dg_state_frozen.c - the state of a moment. Large objects keep a copy of their own kind, used again from moment to moment:
 * fresh memory costs more than the copy itself. Small ones are saved into memory. SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"
#include "dg_state.h"

/* One object of the frozen registry. */
typedef struct slot {
    dg_state live;
    void *copy; /* NULL for small ones */
    const dg_state_frozen *owner;
} slot;

struct dg_state_frozen {
    slot slots[DG_STATE_MAX];
    dg_state_registry small, frozen;
    dg_state_memory *memory; /* of the small ones */
};

static dg_status save_slot(const void *object, const dg_state_sink *sink)
{
    const slot *s = object;
    if (s->live.take == NULL) return dg_state_memory_replay(s->owner->memory, s->live.name, sink);
    if (s->copy == NULL) return DG_FAIL(DG_ERR_INTERNAL, "state %s was never taken", s->live.name);
    return s->live.save_copy(s->live.object, s->copy, sink);
}

dg_status dg_state_frozen_create(const dg_state_registry *live, dg_state_frozen **out)
{
    dg_state_frozen *f = NULL;
    *out = NULL;
    DG_TRY(DG_NEW(&f, 1, "frozen state"));
    dg_status status = dg_state_memory_create(&f->memory);
    for (int i = 0; i < live->count && status == DG_OK; i++) {
        slot *s = &f->slots[i];
        *s = (slot){.live = live->item[i], .owner = f};
        f->frozen.item[f->frozen.count++] =
            (dg_state){.name = s->live.name, .version = s->live.version, .object = s, .save = save_slot};
        if (s->live.take == NULL) status = dg_state_register(&f->small, s->live);
    }
    if (status != DG_OK) dg_state_frozen_destroy(&f);
    *out = f;
    return status;
}

void dg_state_frozen_destroy(dg_state_frozen **frozen)
{
    dg_state_frozen *f = *frozen;
    if (f == NULL) return;
    for (int i = 0; i < f->frozen.count; i++)
        if (f->slots[i].copy != NULL) f->slots[i].live.free_copy(&f->slots[i].copy);
    dg_state_memory_destroy(&f->memory);
    dg_free(frozen);
}

dg_status dg_state_frozen_take(dg_state_frozen *frozen)
{
    for (int i = 0; i < frozen->frozen.count; i++) {
        slot *s = &frozen->slots[i];
        if (s->live.take != NULL) DG_TRY(s->live.take(s->live.object, &s->copy));
    }
    return dg_state_memory_save(frozen->memory, &frozen->small);
}

const dg_state_registry *dg_state_frozen_registry(const dg_state_frozen *frozen) { return &frozen->frozen; }
