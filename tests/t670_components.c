/* ctest: libs=dg_analysis,dg_mpi,dg_parallel label=mpi ranks=0,1,2,4 timeout=120 */
/* t670_components.c - components and morphology of slabs over ranks: analytic cases, a naive flood fill and naive windows of
 * the whole volume. With MASK Z Y X OUT: labels and opens a file of bytes, with times (bench/bench_components.py). SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_components.h"
#include "dg_mem.h"
#include "dg_mpi.h"
#include "dg_rng.h"
#include "dg_trace.h"

static const dg_touch TOUCHES[] = {DG_TOUCH_FACE, DG_TOUCH_EDGE, DG_TOUCH_CORNER};

static bool touches(dg_touch touch, int64_t dz, int64_t dy, int64_t dx)
{
    const int64_t steps = llabs(dz) + llabs(dy) + llabs(dx);
    return steps > 0 && steps <= (touch == DG_TOUCH_FACE ? 1 : touch == DG_TOUCH_EDGE ? 2 : 3);
}

/* Every voxel of the whole by flood fill from its first voxel on. */
static int64_t flood(const int64_t n[3], const uint8_t *mask, dg_touch touch, uint32_t *labels)
{
    const int64_t voxels = n[0] * n[1] * n[2];
    int64_t *stack = malloc((size_t)(27 * voxels + 1) * sizeof *stack), count = 0;
    DG_CHECK(stack != NULL);
    memset(labels, 0, (size_t)voxels * sizeof *labels);
    for (int64_t seed = 0; seed < voxels; seed++) {
        int64_t depth = 0;
        if (mask[seed] == 0 || labels[seed] != 0) continue;
        labels[seed] = (uint32_t)++count;
        stack[depth++] = seed;
        while (depth > 0) {
            const int64_t v = stack[--depth], z = v / (n[1] * n[2]), y = v / n[2] % n[1], x = v % n[2];
            for (int64_t o = 0; o < 27; o++) {
                const int64_t i = z + o / 9 - 1, j = y + o / 3 % 3 - 1, l = x + o % 3 - 1;
                if (!touches(touch, i - z, j - y, l - x)) continue;
                if (i < 0 || j < 0 || l < 0 || i >= n[0] || j >= n[1] || l >= n[2]) continue;
                const int64_t w = (i * n[1] + j) * n[2] + l;
                if (mask[w] == 0 || labels[w] != 0) continue;
                labels[w] = (uint32_t)count;
                stack[depth++] = w;
            }
        }
    }
    free(stack);
    return count;
}

static uint8_t *draw(const int64_t n[3], uint64_t seed, double share)
{
    dg_rng rng = dg_rng_stream(seed, DG_RNG_TEST, 0, 0);
    uint8_t *mask = malloc((size_t)(n[0] * n[1] * n[2]));
    DG_CHECK(mask != NULL);
    for (int64_t i = 0; i < n[0] * n[1] * n[2]; i++) mask[i] = dg_rng_uniform(&rng) < share;
    return mask;
}

static void check_labels(dg_comm *comm, const int64_t n[3], uint64_t seed, double share)
{
    const dg_slab slab = dg_slab_of(n, comm->rank, comm->size);
    const int64_t area = n[1] * n[2], voxels = n[0] * area, mine = slab.count * area;
    uint8_t *mask = draw(n, seed, share);
    uint32_t *wanted = malloc((size_t)voxels * sizeof *wanted), *got = malloc((size_t)(mine + 1) * sizeof *got);
    DG_CHECK(wanted != NULL && got != NULL);
    for (int k = 0; k < 3; k++) {
        int64_t count = -1;
        const int64_t truth = flood(n, mask, TOUCHES[k], wanted);
        DG_CHECK_OK(dg_components_label(comm, &slab, mask + slab.first * area, TOUCHES[k], got, &count));
        DG_CHECK(count == truth);
        DG_CHECK(memcmp(got, wanted + slab.first * area, (size_t)mine * sizeof *got) == 0);
    }
    free(mask);
    free(wanted);
    free(got);
}

/* A voxel of the whole after one step, by looking at its neighbours; outside is background. */
static void step(const int64_t n[3], dg_touch touch, bool dilates, const uint8_t *from, uint8_t *to)
{
    for (int64_t v = 0; v < n[0] * n[1] * n[2]; v++) {
        const int64_t z = v / (n[1] * n[2]), y = v / n[2] % n[1], x = v % n[2];
        bool any = from[v] != 0, all = from[v] != 0;
        for (int64_t o = 0; o < 27; o++) {
            const int64_t i = z + o / 9 - 1, j = y + o / 3 % 3 - 1, l = x + o % 3 - 1;
            if (!touches(touch, i - z, j - y, l - x)) continue;
            const bool inside = i >= 0 && j >= 0 && l >= 0 && i < n[0] && j < n[1] && l < n[2];
            const bool set = inside && from[(i * n[1] + j) * n[2] + l] != 0;
            any = any || set;
            all = all && set;
        }
        to[v] = dilates ? any : all;
    }
}

static void check_morphology(dg_comm *comm, const int64_t n[3], dg_morphology what, dg_touch touch, int steps)
{
    const dg_slab slab = dg_slab_of(n, comm->rank, comm->size);
    const int64_t area = n[1] * n[2], voxels = n[0] * area, mine = slab.count * area;
    uint8_t *mask = draw(n, 11, what == DG_ERODE || what == DG_OPEN ? 0.93 : 0.06);
    uint8_t *got = malloc((size_t)mine + 1), *other = malloc((size_t)voxels);
    DG_CHECK(got != NULL && other != NULL);
    memcpy(got, mask + slab.first * area, (size_t)mine);
    DG_CHECK_OK(dg_morphology_apply(comm, &slab, what, touch, steps, got));
    const bool first = what == DG_DILATE || what == DG_CLOSE, twice = what == DG_OPEN || what == DG_CLOSE;
    for (int k = 0; k < (twice ? 2 : 1) * steps; k++) {
        step(n, touch, k < steps ? first : !first, mask, other);
        memcpy(mask, other, (size_t)voxels);
    }
    DG_CHECK(memcmp(got, mask + slab.first * area, (size_t)mine) == 0);
    free(mask);
    free(got);
    free(other);
}

/* A hollow box with one voxel inside, a box with a hole to the outside, and single voxels: by their sizes. */
static void check_sizes(dg_comm *comm)
{
    const int64_t n[3] = {12, 9, 9}, area = n[1] * n[2];
    const dg_slab slab = dg_slab_of(n, comm->rank, comm->size);
    uint8_t mask[12 * 9 * 9] = {0};
    for (int64_t z = 1; z < 11; z++)
        for (int64_t y = 1; y < 8; y++)
            for (int64_t x = 1; x < 8; x++)
                mask[z * area + y * 9 + x] = z == 1 || z == 10 || y == 1 || y == 7 || x == 1 || x == 7;
    mask[0] = mask[6 * area + 4 * 9 + 4] = 1; /* two specks, one inside */
    int64_t changed = -1, sum = 0;
    uint8_t *part = mask + slab.first * area;
    DG_CHECK_OK(dg_components_drop_small(comm, &slab, part, DG_TOUCH_FACE, 2, &changed));
    DG_CHECK(changed == 2);
    DG_CHECK_OK(dg_components_fill_holes(comm, &slab, part, 8 * 5 * 5 - 1, &changed));
    DG_CHECK(changed == 0);  /* the hole is larger */
    uint8_t any[12 * 9 * 9]; /* holes of any size */
    memcpy(any, mask, sizeof any);
    DG_CHECK_OK(dg_components_fill_holes(comm, &slab, any + slab.first * area, INT64_MAX, &changed));
    DG_CHECK(changed == 1);
    DG_CHECK_OK(dg_components_fill_holes(comm, &slab, part, 8 * 5 * 5, &changed));
    DG_CHECK(changed == 1 && memcmp(part, any + slab.first * area, (size_t)(slab.count * area)) == 0);
    for (int64_t i = 0; i < slab.count * area; i++) sum += part[i];
    DG_CHECK_OK(dg_comm_all_reduce(comm, &sum, 1, DG_I64, DG_SUM));
    DG_CHECK(sum == 10 * 7 * 7);
}

static void check_refusals(dg_comm *comm)
{
    const int64_t n[3] = {4, 3, 3};
    const dg_slab slab = dg_slab_of(n, comm->rank, comm->size);
    uint8_t mask[36] = {0};
    DG_CHECK_FAILS(dg_morphology_apply(comm, &slab, DG_ERODE, DG_TOUCH_FACE, -1, mask), DG_ERR_USAGE, "-1 steps");
    DG_CHECK_FAILS(dg_morphology_apply(comm, &slab, DG_ERODE, DG_TOUCH_EDGE, 1, mask), DG_ERR_USAGE, "over edges");
}

static void write_planes(const char *out, int rank, const char *kind, const void *data, size_t size, int64_t count)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%.4000s.%d.%s", out, rank, kind);
    FILE *file = fopen(path, "wb");
    DG_CHECK(file != NULL);
    DG_CHECK(fwrite(data, size, (size_t)count, file) == (size_t)count);
    DG_CHECK(fclose(file) == 0);
}

/* Reads this rank's planes of a file of bytes; labels, opens, closes and fills them, each from the mask as it was, and
 * writes OUT.RANK.labels, .opened, .closed and .filled. */
static void file_mode(dg_comm *comm, char **argv)
{
    static const char *const kinds[] = {"labels", "opened", "closed", "filled"};
    const int64_t n[3] = {atoll(argv[2]), atoll(argv[3]), atoll(argv[4])}, area = n[1] * n[2];
    const dg_slab slab = dg_slab_of(n, comm->rank, comm->size);
    const int64_t mine = slab.count * area;
    uint8_t *mask = malloc((size_t)mine + 1), *work = malloc((size_t)mine + 1);
    uint32_t *labels = malloc((size_t)(mine + 1) * sizeof *labels);
    int64_t count = 0, changed;
    double seconds[4];
    FILE *file = fopen(argv[1], "rb");
    DG_CHECK(mask != NULL && work != NULL && labels != NULL && file != NULL);
    DG_CHECK(fseek(file, slab.first * area, SEEK_SET) == 0 && fread(mask, 1, (size_t)mine, file) == (size_t)mine);
    fclose(file);
    for (int k = 0; k < 4; k++) {
        memcpy(work, mask, (size_t)mine);
        DG_CHECK_OK(dg_comm_barrier(comm));
        const double start = dg_time_s();
        if (k == 0) DG_CHECK_OK(dg_components_label(comm, &slab, work, DG_TOUCH_CORNER, labels, &count));
        if (k == 1) DG_CHECK_OK(dg_morphology_apply(comm, &slab, DG_OPEN, DG_TOUCH_FACE, 1, work));
        if (k == 2) DG_CHECK_OK(dg_morphology_apply(comm, &slab, DG_CLOSE, DG_TOUCH_FACE, 1, work));
        if (k == 3) DG_CHECK_OK(dg_components_fill_holes(comm, &slab, work, INT64_MAX, &changed));
        DG_CHECK_OK(dg_comm_barrier(comm));
        seconds[k] = dg_time_s() - start;
        write_planes(argv[5], comm->rank, kinds[k], k == 0 ? (void *)labels : work, k == 0 ? sizeof *labels : 1, mine);
    }
    if (comm->rank == 0)
        printf("{\"ranks\": %d, \"components\": %lld, \"label_s\": %.2f, \"open_s\": %.2f, \"close_s\": %.2f, "
               "\"fill_s\": %.2f}\n",
               comm->size, (long long)count, seconds[0], seconds[1], seconds[2], seconds[3]);
    free(mask);
    free(work);
    free(labels);
}

int main(int argc, char **argv)
{
    dg_comm *comm;
    DG_CHECK_OK(dg_comm_open(&argc, &argv, &comm));
    if (argc == 6) {
        file_mode(comm, argv);
    } else {
        static const int64_t SHAPES[][3] = {{13, 7, 9}, {2, 5, 4}, {9, 1, 6}, {5, 6, 1}, {1, 1, 1}};
        for (size_t s = 0; s < sizeof SHAPES / sizeof *SHAPES; s++)
            for (int share = 1; share < 10; share += 2) check_labels(comm, SHAPES[s], s, share / 10.0);
        for (int what = DG_ERODE; what <= DG_CLOSE; what++)
            for (int steps = 0; steps < 4; steps++) {
                check_morphology(comm, SHAPES[0], (dg_morphology)what, DG_TOUCH_FACE, steps);
                check_morphology(comm, SHAPES[1], (dg_morphology)what, DG_TOUCH_CORNER, steps);
            }
        check_sizes(comm);
        check_refusals(comm);
    }
    dg_comm_destroy(&comm);
    dg_mpi_stop();
    return 0;
}
