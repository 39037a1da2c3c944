/* gamma_ranges.c - smallest and largest dose of the cells a search can come to. SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"
#include "gamma_impl.h"

#include <omp.h>

/* The planes of one axis that hold wanted voxels. */
static void wanted_planes(const dg_gamma_setup *s, int64_t low[3], int64_t high[3])
{
    int64_t z0 = s->problem.shape[0], z1 = -1, y0 = s->problem.shape[1], y1 = -1, x0 = s->problem.shape[2], x1 = -1;
#pragma omp parallel for num_threads(s->threads) reduction(min : z0, y0, x0) reduction(max : z1, y1, x1)
    for (int64_t row = 0; row < s->problem.shape[0] * s->problem.shape[1]; row++) {
        int64_t first = 0, last = s->problem.shape[2] - 1;
        const int64_t at = row * s->problem.shape[2];
        while (first <= last && !dg_gamma_is_wanted(&s->problem, at + first)) first++;
        if (first > last) continue;
        while (!dg_gamma_is_wanted(&s->problem, at + last)) last--;
        const int64_t z = row / s->problem.shape[1], y = row % s->problem.shape[1];
        z0 = z < z0 ? z : z0;
        z1 = z > z1 ? z : z1;
        y0 = y < y0 ? y : y0;
        y1 = y > y1 ? y : y1;
        x0 = first < x0 ? first : x0;
        x1 = last > x1 ? last : x1;
    }
    low[0] = z0, low[1] = y0, low[2] = x0;
    high[0] = z1, high[1] = y1, high[2] = x1;
}

/* The box of cells within reach of them; false when nothing is wanted. */
static bool find_box(dg_gamma_setup *s)
{
    int64_t low[3], high[3];
    const double reach_mm = s->params->max_gamma * s->params->distance_mm;
    dg_gamma_field *f = &s->problem.field;
    wanted_planes(s, low, high);
    if (high[0] < 0) return false;
    for (int a = 0; a < 3; a++) {
        const double from = s->problem.axis_mm[a][low[a]], to = s->problem.axis_mm[a][high[a]];
        int64_t first = dg_gamma_cell_of(f->axis_mm[a], f->cells[a], fmin(from, to) - reach_mm) - 1;
        int64_t last = dg_gamma_cell_of(f->axis_mm[a], f->cells[a], fmax(from, to) + reach_mm) + 1;
        first = first < 0 ? 0 : first;
        last = last < f->cells[a] ? last : f->cells[a] - 1;
        f->first[a] = first;
        f->ranged[a] = last - first + 1;
    }
    return true;
}

/* Ranges of the cells between the four rows of corners; low and high [count + 1] are scratch. */
static void range_row(const float *const corner[4], int64_t count, int64_t last, float *low, float *high, float *range,
                      float *row_range)
{
    for (int64_t x = 0; x <= last; x++) {
        const float a = corner[0][x], b = corner[1][x], c = corner[2][x], d = corner[3][x];
        const float ab = a < b ? a : b, cd = c < d ? c : d, ba = a > b ? a : b, dc = c > d ? c : d;
        low[x] = ab < cd ? ab : cd;
        high[x] = ba > dc ? ba : dc;
    }
    float row_low = low[0], row_high = high[0];
    for (int64_t x = 0; x < count; x++) {
        const int64_t next = x < last ? x + 1 : last; /* an axis of one plane */
        range[2 * x] = low[x] < low[next] ? low[x] : low[next];
        range[2 * x + 1] = high[x] > high[next] ? high[x] : high[next];
        row_low = range[2 * x] < row_low ? range[2 * x] : row_low;
        row_high = range[2 * x + 1] > row_high ? range[2 * x + 1] : row_high;
    }
    row_range[0] = row_low;
    row_range[1] = row_high;
}

static void fill_ranges(const dg_gamma_setup *s, float *scratch, int64_t row)
{
    const dg_gamma_field *f = &s->problem.field;
    const int64_t count = f->ranged[2], z = f->first[0] + row / f->ranged[1], y = f->first[1] + row % f->ranged[1];
    const int64_t last = f->first[2] + count < f->shape[2] ? count : count - 1; /* last corner */
    const float *corner[4];
    for (int k = 0; k < 4; k++) {
        const int64_t at_z = (k & 2) != 0 ? dg_gamma_upper(f, 0, z) : z;
        const int64_t at_y = (k & 1) != 0 ? dg_gamma_upper(f, 1, y) : y;
        corner[k] = f->dose_gy + (at_z * f->shape[1] + at_y) * f->shape[2] + f->first[2];
    }
    range_row(corner, count, last, scratch, scratch + count + 1, s->range_gy + 2 * row * count,
              s->row_range_gy + 2 * row);
}

dg_status dg_gamma_setup_ranges(dg_gamma_setup *s, bool *any)
{
    dg_gamma_field *f = &s->problem.field;
    float *scratch = NULL;
    dg_status status;
    *any = find_box(s);
    if (!*any) return DG_OK;
    const int64_t rows = f->ranged[0] * f->ranged[1], each = 2 * (f->ranged[2] + 1);
    DG_TRY(DG_NEW(&s->range_gy, 2 * rows * f->ranged[2], "dose ranges"));
    DG_TRY(DG_NEW(&s->row_range_gy, 2 * rows, "dose ranges"));
    DG_TRY_GOTO(status, DG_NEW(&scratch, each * s->threads, "dose ranges"), cleanup);
#pragma omp parallel for num_threads(s->threads)
    for (int64_t row = 0; row < rows; row++) fill_ranges(s, scratch + each * omp_get_thread_num(), row);
    f->range_gy = s->range_gy;
    f->row_range_gy = s->row_range_gy;
cleanup:
    dg_free(&scratch);
    return status;
}
