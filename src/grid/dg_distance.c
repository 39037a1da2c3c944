/* dg_distance.c - see dg_distance.h. Three passes of 1-D squared distances: along x by scanning, along y and z as lower
 * envelopes of parabolas. All in double, so that the result is the exact distance rounded once.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_distance.h"
#include "dg_mem.h"

#include <math.h>
#include <omp.h>
#include <string.h>

enum { COLUMNS = 8, TILE = 16 }; /* columns of one cache line are transposed together; of a tile worked off together */

/* The set voxels of one row: the first and the last; without any n and -1. */
typedef struct row_range {
    int64_t first, last;
} row_range;

/* One column's workspace of the envelope: positions and values of its parabolas, and where each begins to be lowest. */
typedef struct envelope {
    double *f, *vertex_f, *begin;
    int64_t *vertex;
} envelope;

static dg_status envelopes_create(int threads, int64_t longest, envelope **out)
{
    dg_status status = DG_OK;
    DG_TRY(DG_NEW(out, threads, "distance transform workspace"));
    for (int t = 0; t < threads && status == DG_OK; t++) {
        envelope *e = &(*out)[t];
        DG_TRY_GOTO(status, DG_NEW(&e->f, longest * COLUMNS, "distance columns"), done);
        DG_TRY_GOTO(status, DG_NEW(&e->vertex_f, longest, "distance envelope"), done);
        DG_TRY_GOTO(status, DG_NEW(&e->begin, longest + 1, "distance envelope"), done);
        DG_TRY_GOTO(status, DG_NEW(&e->vertex, longest, "distance envelope"), done);
    }
done:
    return status;
}

static void envelopes_destroy(int threads, envelope **list)
{
    if (*list == NULL) return;
    for (int t = 0; t < threads; t++) {
        dg_free(&(*list)[t].f);
        dg_free(&(*list)[t].vertex_f);
        dg_free(&(*list)[t].begin);
        dg_free(&(*list)[t].vertex);
    }
    dg_free(list);
}

/* What a transform works on: distances to the nearest voxel with (mask != 0) == wanted. */
typedef struct transform {
    const uint8_t *mask;
    const dg_grid *grid;
    const row_range *rows; /* [z,y] */
    bool wanted;
} transform;

/* The last wanted voxel before `at` of a row; -1 without one. */
static int64_t wanted_before(const uint8_t *row, const row_range *range, bool wanted, int64_t at)
{
    if (!wanted) {
        const uint8_t *found = memrchr(row, 0, (size_t)at);
        return found == NULL ? -1 : found - row;
    }
    int64_t i = at - 1 < range->last ? at - 1 : range->last;
    while (i >= range->first && row[i] == 0) i--;
    return i >= range->first ? i : -1;
}

/* The first wanted one from `at` on; n without one. */
static int64_t wanted_from(const uint8_t *row, const row_range *range, bool wanted, int64_t at, int64_t n)
{
    if (!wanted) {
        const uint8_t *found = memchr(row + at, 0, (size_t)(n - at));
        return found == NULL ? n : found - row;
    }
    int64_t i = at > range->first ? at : range->first;
    while (i <= range->last && row[i] == 0) i++;
    return i <= range->last ? i : n;
}

/* d[i] = (distance in mm from voxel from + i of row (z, y) to the nearest wanted voxel of the row)^2, for `count` voxels; false
 * where the row has none. */
static bool scan_row(const transform *t, int64_t z, int64_t y, int64_t from, int64_t count, double *d)
{
    const int64_t n = t->grid->shape[2];
    const double spacing = t->grid->spacing_mm[2];
    const uint8_t *row = t->mask + dg_grid_index(t->grid, z, y, 0);
    const row_range *range = &t->rows[z * t->grid->shape[1] + y];
    int64_t left = wanted_before(row, range, t->wanted, from);
    int64_t right = wanted_from(row, range, t->wanted, from + count, n);
    for (int64_t i = 0; i < count; i++) {
        if ((row[from + i] != 0) == t->wanted) left = from + i;
        d[i] = left < 0 ? INFINITY : (double)(from + i - left);
    }
    if (left < 0 && right == n) return false;
    for (int64_t i = count - 1; i >= 0; i--) {
        if ((row[from + i] != 0) == t->wanted) right = from + i;
        double after = right < n ? (double)(right - from - i) : INFINITY;
        double steps = (d[i] < after ? d[i] : after) * spacing;
        d[i] = steps * steps;
    }
    return true;
}

/* f[q] = min over p of f[p] + (spacing (q - p))^2; infinite f are no parabolas. */
static void lower_envelope(double *f, int64_t n, double spacing, envelope *e)
{
    const double h2 = spacing * spacing;
    int64_t count = 0;
    for (int64_t q = 0; q < n; q++) {
        if (!(f[q] < INFINITY)) continue;
        double begin = -INFINITY;
        while (count > 0) {
            int64_t p = e->vertex[count - 1];
            begin = 0.5 * ((double)(q + p) + (f[q] - e->vertex_f[count - 1]) / (h2 * (double)(q - p)));
            if (begin > e->begin[count - 1]) break;
            count--;
            begin = -INFINITY;
        }
        e->vertex[count] = q;
        e->vertex_f[count] = f[q];
        e->begin[count++] = begin;
    }
    if (count == 0) return;
    int64_t k = 0;
    for (int64_t q = 0; q < n; q++) {
        while (k + 1 < count && e->begin[k + 1] < (double)q) k++;
        double steps = (double)(q - e->vertex[k]);
        f[q] = e->vertex_f[k] + h2 * steps * steps;
    }
}

/* The envelope of `width` neighbouring columns whose elements lie `stride` apart. */
static void pass_columns(double *first, int64_t width, int64_t n, int64_t stride, double spacing, envelope *e)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < width; c++) e->f[c * n + i] = first[i * stride + c];
    for (int64_t c = 0; c < width; c++) lower_envelope(e->f + c * n, n, spacing, e);
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < width; c++) first[i * stride + c] = e->f[c * n + i];
}

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* Squared distances of columns first .. first + width - 1 of `box` to the nearest wanted voxel of the box; called by a whole
 * team. */
static void squared_distance(const transform *t, const dg_box *box, int64_t first, int64_t width, envelope *mine,
                             double *d)
{
    const int64_t nz = box->shape[0], ny = box->shape[1], nx = width;
    const int64_t blocks = (nx + COLUMNS - 1) / COLUMNS;
#pragma omp for schedule(static)
    for (int64_t z = 0; z < nz; z++) {
        bool any = false;
        for (int64_t y = 0; y < ny; y++)
            any |= scan_row(t, box->start[0] + z, box->start[1] + y, box->start[2] + first, nx, d + (z * ny + y) * nx);
        for (int64_t x = 0; any && x < nx; x += COLUMNS)
            pass_columns(d + z * ny * nx + x, least(COLUMNS, nx - x), ny, nx, t->grid->spacing_mm[1], mine);
    }
#pragma omp for schedule(static)
    for (int64_t c = 0; c < ny * blocks; c++) {
        int64_t y = c / blocks, x = c % blocks * COLUMNS;
        pass_columns(d + y * nx + x, least(COLUMNS, nx - x), nz, ny * nx, t->grid->spacing_mm[0], mine);
    }
}

/* Takes a row of squared distances: `count` of them, of the voxels from `index` on. */
typedef void take_row(void *user, int64_t index, int64_t count, const double *squared);

/* Columns of the box are independent, so they are worked off tile by tile: the squares of a large volume would be its largest
 * array. */
static dg_status each_row(const transform *t, const dg_box *box, int threads, take_row *take, void *user)
{
    const int64_t nz = box->shape[0], ny = box->shape[1], nx = box->shape[2];
    envelope *work = NULL;
    double *d = NULL;
    dg_status status;
    DG_TRY_GOTO(status, envelopes_create(threads, most(nz, ny), &work), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&d, nz * ny * least(TILE, nx), "squared distances"), cleanup);
#pragma omp parallel num_threads(threads)
    for (int64_t first = 0; first < nx; first += TILE) {
        const int64_t width = least(TILE, nx - first);
        squared_distance(t, box, first, width, &work[omp_get_thread_num()], d);
#pragma omp for schedule(static)
        for (int64_t z = 0; z < nz; z++)
            for (int64_t y = 0; y < ny; y++)
                take(user, dg_grid_index(t->grid, box->start[0] + z, box->start[1] + y, box->start[2] + first), width,
                     d + (z * ny + y) * width);
    }
cleanup:
    dg_free(&d);
    envelopes_destroy(threads, &work);
    return status;
}

/* Voxels of a row that are 0 before the first that is not; eight at a time, most rows are empty. */
static int64_t zeros_before(const uint8_t *row, int64_t n)
{
    int64_t i = 0;
    uint64_t eight;
    for (; i + 8 <= n; i += 8) {
        memcpy(&eight, row + i, sizeof eight);
        if (eight != 0) break;
    }
    while (i < n && row[i] == 0) i++;
    return i;
}

/* *rows is the caller's (dg_free). */
static dg_status find_rows(const uint8_t *mask, const dg_grid *grid, int threads, row_range **rows)
{
    const int64_t n = grid->shape[2], count = grid->shape[0] * grid->shape[1];
    DG_TRY(DG_NEW(rows, count, "rows of a mask"));
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t k = 0; k < count; k++) {
        const uint8_t *row = mask + k * n;
        const int64_t first = zeros_before(row, n);
        int64_t last = first == n ? -1 : n - 1;
        while (last >= 0 && row[last] == 0) last--;
        (*rows)[k] = (row_range){first, last};
    }
    return DG_OK;
}

static dg_status check_arguments(const dg_grid *grid, int threads)
{
    DG_TRY(dg_grid_check(grid));
    if (threads < 1) return DG_FAIL(DG_ERR_USAGE, "distance transform with %d threads; give 1 or more", threads);
    return DG_OK;
}

static void put_distances(void *user, int64_t index, int64_t count, const double *squared)
{
    float *distance_mm = (float *)user + index;
    for (int64_t i = 0; i < count; i++) distance_mm[i] = (float)sqrt(squared[i]);
}

dg_status dg_distance(const uint8_t *mask, const dg_grid *grid, int threads, float *distance_mm)
{
    dg_box all = {{0, 0, 0}, {grid->shape[0], grid->shape[1], grid->shape[2]}};
    row_range *rows = NULL;
    DG_TRY(check_arguments(grid, threads));
    DG_TRY(find_rows(mask, grid, threads, &rows));
    const transform t = {.mask = mask, .grid = grid, .rows = rows, .wanted = true};
    const dg_status status = each_row(&t, &all, threads, put_distances, distance_mm);
    dg_free(&rows);
    return status;
}

/* The smallest box that holds all set voxels, grown by `margin` voxels on every side within the grid; false when none is set. */
static bool bounding_box(const row_range *rows, const dg_grid *grid, const int64_t margin[3], dg_box *box)
{
    int64_t low[3] = {INT64_MAX, INT64_MAX, INT64_MAX}, high[3] = {-1, -1, -1};
    for (int64_t z = 0, k = 0; z < grid->shape[0]; z++)
        for (int64_t y = 0; y < grid->shape[1]; y++, k++) {
            if (rows[k].last < 0) continue;
            const int64_t from[3] = {z, y, rows[k].first}, to[3] = {z, y, rows[k].last};
            for (int a = 0; a < 3; a++) {
                low[a] = least(low[a], from[a]);
                high[a] = most(high[a], to[a]);
            }
        }
    if (high[0] < 0) return false;
    for (int a = 0; a < 3; a++) {
        box->start[a] = most(0, low[a] - margin[a]);
        box->shape[a] = least(grid->shape[a], high[a] + 1 + margin[a]) - box->start[a];
    }
    return true;
}

/* One side of a surface. */
typedef struct side {
    const uint8_t *mask;
    float *sdf_mm;  /* one of the two */
    int16_t *steps; /* of step_mm each */
    double clip_mm, step_mm;
    bool outside;
} side;

static int16_t steps_of(const side *s, double mm) { return (int16_t)lrint((double)(float)mm / s->step_mm); }

/* Writes the distances into the voxels of the side that are nearer than the clip, which the others have already. */
static void put_side(void *user, int64_t index, int64_t count, const double *squared)
{
    const side *s = user;
    const double far = s->clip_mm * s->clip_mm * (1 + 1e-12); /* rounding lets nobody out who is near */
    for (int64_t i = 0; i < count; i++) {
        if ((s->mask[index + i] == 0) != s->outside || squared[i] > far) continue;
        const double mm = fmin(sqrt(squared[i]), s->clip_mm), signed_mm = s->outside ? mm : -mm;
        if (s->sdf_mm != NULL)
            s->sdf_mm[index + i] = (float)signed_mm;
        else
            s->steps[index + i] = steps_of(s, signed_mm);
    }
}

/* Every voxel gets the clip of its side. */
static void put_clip(const side *s, const dg_grid *grid, int threads)
{
    const int64_t voxels = dg_grid_voxels(grid);
    const float far_mm[2] = {(float)s->clip_mm, (float)-s->clip_mm};
    const int16_t far[2] = {s->steps == NULL ? 0 : steps_of(s, s->clip_mm),
                            s->steps == NULL ? 0 : steps_of(s, -s->clip_mm)};
    if (s->sdf_mm != NULL) {
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t i = 0; i < voxels; i++) s->sdf_mm[i] = s->mask[i] != 0 ? far_mm[1] : far_mm[0];
    } else {
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t i = 0; i < voxels; i++) s->steps[i] = s->mask[i] != 0 ? far[1] : far[0];
    }
}

static dg_status both_sides(side *to, const dg_grid *grid, const row_range *rows, int threads)
{
    int64_t reach[3];
    const int64_t one[3] = {1, 1, 1};
    dg_box near, inner;
    transform t = {.mask = to->mask, .grid = grid, .rows = rows};
    for (int a = 0; a < 3; a++)
        reach[a] = (int64_t)fmin(ceil(to->clip_mm / grid->spacing_mm[a]) + 1, (double)grid->shape[a]);
    if (!bounding_box(rows, grid, reach, &near)) return DG_OK;
    to->outside = t.wanted = true;
    DG_TRY(each_row(&t, &near, threads, put_side, to));
    /* the voxel outside the structure that is nearest to one inside lies at most one step out of its bounding box */
    (void)bounding_box(rows, grid, one, &inner);
    to->outside = t.wanted = false;
    return each_row(&t, &inner, threads, put_side, to);
}

static dg_status signed_distance(side *to, const dg_grid *grid, int threads)
{
    row_range *rows = NULL;
    DG_TRY(check_arguments(grid, threads));
    if (!(to->clip_mm > 0))
        return DG_FAIL(DG_ERR_USAGE, "signed distance clipped to %g mm; give a positive one", to->clip_mm);
    put_clip(to, grid, threads);
    DG_TRY(find_rows(to->mask, grid, threads, &rows));
    const dg_status status = both_sides(to, grid, rows, threads);
    dg_free(&rows);
    return status;
}

dg_status dg_signed_distance(const uint8_t *mask, const dg_grid *grid, double clip_mm, int threads, float *sdf_mm)
{
    side to = {.mask = mask, .sdf_mm = sdf_mm, .clip_mm = clip_mm};
    return signed_distance(&to, grid, threads);
}

dg_status dg_signed_distance_steps(const uint8_t *mask, const dg_grid *grid, double clip_mm, double step_mm,
                                   int threads, int16_t *steps)
{
    side to = {.mask = mask, .steps = steps, .clip_mm = clip_mm, .step_mm = step_mm};
    if (!(step_mm > 0) || clip_mm / step_mm > INT16_MAX)
        return DG_FAIL(DG_ERR_USAGE, "signed distance up to %g mm in steps of %g mm; 16 bits hold at most %d steps",
                       clip_mm, step_mm, INT16_MAX);
    return signed_distance(&to, grid, threads);
}

dg_status dg_signed_distance_upstream(const uint8_t *mask, const dg_grid *grid, double clip_mm, int threads,
                                      float *sdf_mm)
{
    int64_t voxels = dg_grid_voxels(grid), set = 0;
    for (int64_t i = 0; i < voxels; i++) set += mask[i] != 0;
    if (set == 0) {
        memset(sdf_mm, 0, (size_t)voxels * sizeof *sdf_mm);
        return DG_OK;
    }
    if (set < voxels) return dg_signed_distance(mask, grid, clip_mm, threads, sdf_mm);
    DG_TRY(check_arguments(grid, threads));
    for (int64_t z = 0; z < grid->shape[0]; z++)
        for (int64_t y = 0; y < grid->shape[1]; y++)
            for (int64_t x = 0; x < grid->shape[2]; x++) {
                double dz = (double)(z + 1) * grid->spacing_mm[0], dy = (double)y * grid->spacing_mm[1];
                double dx = (double)x * grid->spacing_mm[2];
                sdf_mm[dg_grid_index(grid, z, y, x)] = (float)-fmin(sqrt(dz * dz + dy * dy + dx * dx), clip_mm);
            }
    return DG_OK;
}

/* Replaces what has no opposite by the distance to the phantom voxel. */
static void to_phantom(const dg_grid *grid, float *distance)
{
    for (int64_t z = 0; z < grid->shape[0]; z++)
        for (int64_t y = 0; y < grid->shape[1]; y++)
            for (int64_t x = 0; x < grid->shape[2]; x++) {
                float *d = &distance[dg_grid_index(grid, z, y, x)];
                if (isinf(*d)) *d = (float)sqrt((double)((z + 1) * (z + 1) + y * y + x * x));
            }
}

dg_status dg_label_distance(const uint8_t *label, const uint8_t *known, const int64_t shape[3], bool upstream,
                            int threads, float *distance)
{
    const dg_grid grid = {.shape = {shape[0], shape[1], shape[2]}, .spacing_mm = {1, 1, 1}};
    const int64_t voxels = dg_grid_voxels(&grid);
    dg_status status;
    uint8_t *background = NULL;
    float *inside = NULL;
    DG_TRY_GOTO(status, DG_NEW(&background, voxels, "background of a label"), done);
    DG_TRY_GOTO(status, DG_NEW(&inside, voxels, "distances inside a label"), done);
    for (int64_t i = 0; i < voxels; i++) background[i] = label[i] == 0 && (known == NULL || known[i] != 0);
    DG_TRY_GOTO(status, dg_distance(label, &grid, threads, distance), done);
    DG_TRY_GOTO(status, dg_distance(background, &grid, threads, inside), done);
    if (upstream) to_phantom(&grid, distance);
    if (upstream) to_phantom(&grid, inside);
    for (int64_t i = 0; i < voxels; i++)
        if (label[i] != 0) distance[i] = -inside[i];
done:
    dg_free(&background);
    dg_free(&inside);
    return status;
}
