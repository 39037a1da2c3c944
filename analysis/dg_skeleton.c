/* dg_skeleton.c - see dg_skeleton.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_skeleton.h"

#include "dg_mem.h"

#include <stdbool.h>

/* A neighbourhood is a number of 27 bits: bit 9 (dz + 1) + 3 (dy + 1) + dx + 1 is set where the neighbour is. */
enum { CENTRE = 13, DIRECTIONS = 6, FIELDS = 8 };
enum { ABSENT, INNER, RIM, MARKED, MARKED_THICK }; /* of a voxel; the rim is what a list holds */
static const uint32_t LOW_X = 0x1249249, LOW_Y = 0x1C0E07, LOW_Z = 0x1FF;
static const uint32_t FACES = 0x415410, EDGES_AND_FACES = 0x2EBDEBA;

typedef struct thinning {
    uint8_t *state;           /* of the volume with a background of one voxel around it */
    int64_t *rim, count;      /* voxels of the foreground that have or had a face to the background */
    int64_t *marked;          /* scratch, as long */
    int64_t step[DIRECTIONS]; /* to the neighbour over a face: -z, +z, -y, +y, -x, +x */
    dg_skeleton_kind kind;
} thinning;

static uint32_t neighbourhood(const thinning *t, int64_t voxel)
{
    uint32_t code = 0;
    int bit = 0;
    for (int64_t z = -1; z <= 1; z++)
        for (int64_t y = -1; y <= 1; y++) {
            const uint8_t *line = t->state + voxel + z * t->step[1] + y * t->step[3];
            for (int64_t x = -1; x <= 1; x++) code |= (uint32_t)(line[x] != ABSENT) << bit++;
        }
    return code;
}

static uint32_t along_x(uint32_t m) { return (m & ~(LOW_X << 2)) << 1 | (m & ~LOW_X) >> 1; }
static uint32_t along_y(uint32_t m) { return (m & ~(LOW_Y << 6)) << 3 | (m & ~LOW_Y) >> 3; }
static uint32_t along_z(uint32_t m) { return (m & ~(LOW_Z << 18)) << 9 | (m & ~LOW_Z) >> 9; }

/* The foreground around the voxel is one component over corners. */
static bool is_one_object(uint32_t code)
{
    const uint32_t around = code & ~(1U << CENTRE);
    uint32_t reached = around & -around, before = 0;
    while (reached != before) {
        before = reached;
        reached |= along_x(reached);
        reached |= along_y(reached);
        reached |= along_z(reached);
        reached &= around;
    }
    return around != 0 && reached == around;
}

/* The background that the voxel has faces with is one component over faces within the 18 neighbours. */
static bool is_one_background(uint32_t code)
{
    const uint32_t around = ~code & EDGES_AND_FACES, faces = around & FACES;
    uint32_t reached = faces & -faces, before = 0;
    while (reached != before) {
        before = reached;
        reached = (reached | along_x(reached) | along_y(reached) | along_z(reached)) & around;
    }
    return faces != 0 && (reached & faces) == faces;
}

/* Background on both sides along some axis. */
static bool is_thin(uint32_t code)
{
    for (int side = 1; side <= 9; side *= 3)
        if ((code & (1U << (CENTRE - side) | 1U << (CENTRE + side))) == 0) return true;
    return false;
}

/* The foreground would fall apart without the voxel, or background join over its faces. */
static bool is_isthmus(const thinning *t, int64_t voxel)
{
    const uint32_t code = neighbourhood(t, voxel);
    const bool touches_both = (code & ~(1U << CENTRE)) != 0 && (~code & FACES) != 0;
    return touches_both && !(is_one_object(code) && is_one_background(code));
}

static bool has_isthmus(const thinning *t, int64_t voxel, uint32_t code)
{
    for (int bit = 0; bit < 27; bit++) {
        const int64_t to = (bit / 9 - 1) * t->step[1] + (bit / 3 % 3 - 1) * t->step[3] + bit % 3 - 1;
        if (bit != CENTRE && (code >> bit & 1) != 0 && is_isthmus(t, voxel + to)) return true;
    }
    return false;
}

static bool is_end(const thinning *t, int64_t voxel, uint32_t code)
{
    const uint32_t around = code & ~(1U << CENTRE);
    if (t->kind == DG_SKELETON_CURVE) return (around & (around - 1)) == 0;
    return is_thin(code) && has_isthmus(t, voxel, code);
}

/* What becomes of a voxel of the rim that a side is taken from. */
static int judge(const thinning *t, int64_t voxel)
{
    const uint32_t code = neighbourhood(t, voxel);
    if (!is_one_object(code) || !is_one_background(code) || is_end(t, voxel, code)) return RIM;
    return t->kind == DG_SKELETON_SURFACE && !is_thin(code) ? MARKED_THICK : MARKED;
}

/* Is a marked voxel still simple, and no end that became one while others went? The rim of a plate that had two layers before is
 * no such end: it goes with its layer. */
static bool may_go(const thinning *t, int64_t voxel, int mark)
{
    const uint32_t code = neighbourhood(t, voxel);
    return is_one_object(code) && is_one_background(code) && (mark == MARKED_THICK || !is_end(t, voxel, code));
}

static void add_to_rim(thinning *t, int64_t voxel)
{
    t->state[voxel] = RIM;
    t->rim[t->count++] = voxel;
}

/* Of eight fields, by even and odd z, y and x: voxels of one do not touch each other. */
static int field_of(const thinning *t, int64_t voxel)
{
    const int64_t plane = t->step[1], line = t->step[3];
    return (int)(voxel / plane % 2 * 4 + voxel % plane / line % 2 * 2 + voxel % line % 2);
}

/* Returns 1 if the marked voxel goes, else 0. */
static int take(thinning *t, int64_t voxel)
{
    const int mark = t->state[voxel];
    t->state[voxel] = RIM;
    if (!may_go(t, voxel, mark)) return 0;
    t->state[voxel] = ABSENT;
    for (int d = 0; d < DIRECTIONS; d++)
        if (t->state[voxel + t->step[d]] == INNER) add_to_rim(t, voxel + t->step[d]);
    return 1;
}

/* Takes one layer away from a side. Returns how many voxels went. */
static int64_t peel(thinning *t, int direction)
{
    int64_t marks = 0, gone = 0;
    for (int64_t i = 0; i < t->count; i++) {
        const int64_t voxel = t->rim[i];
        if (t->state[voxel + t->step[direction]] != ABSENT) continue;
        const int mark = judge(t, voxel);
        if (mark == RIM) continue;
        t->state[voxel] = (uint8_t)mark;
        t->marked[marks++] = voxel;
    }
    for (int field = 0; field < FIELDS; field++)
        for (int64_t i = 0; i < marks; i++)
            if (field_of(t, t->marked[i]) == field) gone += take(t, t->marked[i]);
    int64_t kept = 0;
    for (int64_t i = 0; i < t->count; i++)
        if (t->state[t->rim[i]] != ABSENT) t->rim[kept++] = t->rim[i];
    t->count = kept;
    return gone;
}

static void thin(thinning *t)
{
    for (int64_t gone = 1; gone > 0;) {
        gone = 0;
        for (int d = 0; d < DIRECTIONS; d++) gone += peel(t, d);
    }
}

/* Where a line of the volume begins in `state`. */
static int64_t line_start(const thinning *t, int64_t z, int64_t y)
{
    return (z + 1) * t->step[1] + (y + 1) * t->step[3] + 1;
}

static void find_rim(thinning *t, const int64_t n[3])
{
    for (int64_t z = 0; z < n[0]; z++)
        for (int64_t y = 0; y < n[1]; y++)
            for (int64_t x = 0, voxel = line_start(t, z, y); x < n[2]; x++, voxel++) {
                bool has_face = false;
                for (int d = 0; d < DIRECTIONS; d++) has_face |= t->state[voxel + t->step[d]] == ABSENT;
                if (t->state[voxel] == INNER && has_face) add_to_rim(t, voxel);
            }
}

dg_status dg_skeleton_make(const uint8_t *mask, const int64_t n[3], dg_skeleton_kind kind, uint8_t *skeleton)
{
    const int64_t plane = (n[1] + 2) * (n[2] + 2), line = n[2] + 2;
    thinning t = {.step = {-plane, plane, -line, line, -1, 1}, .kind = kind};
    int64_t foreground = 0;
    for (int64_t i = 0; i < n[0] * n[1] * n[2]; i++) foreground += mask[i] != 0;
    dg_status status = DG_NEW(&t.state, (n[0] + 2) * plane, "volume of a skeleton");
    if (status == DG_OK) status = DG_NEW(&t.rim, foreground + 1, "rim of a skeleton");
    if (status == DG_OK) status = DG_NEW(&t.marked, foreground + 1, "rim of a skeleton");
    if (status == DG_OK) {
        for (int64_t i = 0; i < n[0] * n[1]; i++)
            for (int64_t x = 0; x < n[2]; x++)
                t.state[line_start(&t, i / n[1], i % n[1]) + x] = mask[i * n[2] + x] != 0 ? INNER : ABSENT;
        find_rim(&t, n);
        thin(&t);
        for (int64_t i = 0; i < n[0] * n[1]; i++)
            for (int64_t x = 0; x < n[2]; x++)
                skeleton[i * n[2] + x] = t.state[line_start(&t, i / n[1], i % n[1]) + x] != ABSENT;
    }
    dg_free(&t.state);
    dg_free(&t.rim);
    dg_free(&t.marked);
    return status;
}
