/* dg_morphology.c - slabs of a volume, and binary morphology on them, plane by plane: each step asks the neighbours for one
 * plane, so that no slab need be thicker than that. SPDX-License-Identifier: Apache-2.0 */
#include "components_impl.h"
#include "dg_mem.h"

#include <string.h>

/* ---- slabs ----------------------------------------------------------------------------------------------------------- */

dg_slab dg_slab_of(const int64_t shape[3], int rank, int size)
{
    dg_slab slab = {.shape = {shape[0], shape[1], shape[2]}, .first = shape[0] * rank / size};
    slab.count = shape[0] * (rank + 1) / size - slab.first;
    return slab;
}

void dg_slab_neighbours(const dg_slab *slab, int rank, int size, int *previous, int *next)
{
    *previous = *next = -1;
    if (slab->count == 0) return;
    for (int r = rank - 1; r >= 0 && *previous < 0; r--)
        if (dg_slab_of(slab->shape, r, size).count > 0) *previous = r;
    for (int r = rank + 1; r < size && *next < 0; r++)
        if (dg_slab_of(slab->shape, r, size).count > 0) *next = r;
}

/* ---- morphology ------------------------------------------------------------------------------------------------------ */

typedef struct morpher {
    dg_comm *comm;
    const dg_slab *slab;
    int previous, next;
    int64_t ny, nx;
    bool dilates, corners;
    uint8_t *before, *after;               /* planes of the neighbours; 0 beyond the volume */
    uint8_t *above, *here, *across, *thin; /* planes: the one before and this one as they were, and sums so far */
} morpher;

static uint8_t both(const morpher *m, uint8_t a, uint8_t b) { return m->dilates ? (uint8_t)(a | b) : (uint8_t)(a & b); }

/* out[i] = a[i] with its neighbours at `stride` along an axis of n voxels, whose place is i / stride % n. */
static void along(const morpher *m, const uint8_t *a, int64_t stride, int64_t n, uint8_t *out)
{
    for (int64_t i = 0; i < m->ny * m->nx; i++) {
        const int64_t at = i / stride % n;
        out[i] = both(m, both(m, at > 0 ? a[i - stride] : 0, a[i]), at + 1 < n ? a[i + stride] : 0);
    }
}

/* One plane from itself and those beside it. */
static void one_plane(const morpher *m, const uint8_t *above, const uint8_t *here, const uint8_t *below, uint8_t *out)
{
    const int64_t area = m->ny * m->nx;
    if (m->corners) { /* the box is the axes one after the other */
        for (int64_t i = 0; i < area; i++) m->across[i] = both(m, both(m, above[i], here[i]), below[i]);
        along(m, m->across, m->nx, m->ny, m->thin);
        along(m, m->thin, 1, m->nx, out);
        return;
    }
    along(m, here, m->nx, m->ny, m->across);
    along(m, here, 1, m->nx, m->thin);
    for (int64_t i = 0; i < area; i++) out[i] = both(m, both(m, above[i], below[i]), both(m, m->across[i], m->thin[i]));
}

/* Down the chain of slabs, and back up. */
static dg_status swap_planes(morpher *m, const uint8_t *mask)
{
    const int64_t area = m->ny * m->nx;
    const uint8_t *last = mask + (m->slab->count - 1) * area;
    memset(m->before, 0, (size_t)area);
    memset(m->after, 0, (size_t)area);
    if (m->previous >= 0) DG_TRY(dg_comm_receive(m->comm, m->before, area, m->previous, DG_TAG_SEAM));
    if (m->next >= 0) {
        DG_TRY(dg_comm_send(m->comm, last, area, m->next, DG_TAG_SEAM));
        DG_TRY(dg_comm_receive(m->comm, m->after, area, m->next, DG_TAG_SEAM));
    }
    return m->previous >= 0 ? dg_comm_send(m->comm, mask, area, m->previous, DG_TAG_SEAM) : DG_OK;
}

static dg_status one_step(morpher *m, uint8_t *mask)
{
    const int64_t area = m->ny * m->nx, count = m->slab->count;
    if (count == 0) return DG_OK;
    DG_TRY(swap_planes(m, mask));
    memcpy(m->above, m->before, (size_t)area);
    for (int64_t z = 0; z < count; z++) {
        uint8_t *plane = mask + z * area, *spare = m->above;
        memcpy(m->here, plane, (size_t)area);
        one_plane(m, m->above, m->here, z + 1 < count ? plane + area : m->after, plane);
        m->above = m->here;
        m->here = spare;
    }
    return DG_OK;
}

static dg_status repeat(morpher *m, bool dilates, int steps, uint8_t *mask)
{
    m->dilates = dilates;
    for (int k = 0; k < steps; k++) DG_TRY(one_step(m, mask));
    return DG_OK;
}

dg_status dg_morphology_apply(dg_comm *comm, const dg_slab *slab, dg_morphology what, dg_touch touch, int steps,
                              uint8_t *mask)
{
    morpher m = {
        .comm = comm, .slab = slab, .ny = slab->shape[1], .nx = slab->shape[2], .corners = touch == DG_TOUCH_CORNER};
    uint8_t **const plane[] = {&m.before, &m.after, &m.above, &m.here, &m.across, &m.thin};
    if (steps < 0) return DG_FAIL(DG_ERR_USAGE, "morphology of %d steps; give 0 or more", steps);
    if (touch == DG_TOUCH_EDGE)
        return DG_FAIL(DG_ERR_USAGE, "morphology knows neighbours over faces and over corners, not over edges alone");
    dg_status status = DG_OK;
    for (int i = 0; i < 6 && status == DG_OK; i++) status = DG_NEW(plane[i], m.ny * m.nx, "planes of a slab");
    DG_TRY_GOTO(status, dg_comm_agree(comm, status), done);
    dg_slab_neighbours(slab, comm->rank, comm->size, &m.previous, &m.next);
    const bool first_dilates = what == DG_DILATE || what == DG_CLOSE;
    status = repeat(&m, first_dilates, steps, mask);
    if (status == DG_OK && (what == DG_OPEN || what == DG_CLOSE)) status = repeat(&m, !first_dilates, steps, mask);
    status = dg_comm_agree(comm, status);
done:
    for (int i = 0; i < 6; i++) dg_free(plane[i]);
    return status;
}
