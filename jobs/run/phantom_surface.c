/* phantom_surface.c - see phantom_surface.h. SPDX-License-Identifier: Apache-2.0 */
#include "phantom_surface.h"

#include "dg_mem.h"
#include "dg_rng.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double FRACTION = 0.04, THICKNESS = 3.5; /* of the volume; voxels */
static const double AIR = 250, CONTRAST = 110, NOISE = 55;
enum { SHEETS_MAX = 64, HOLES = 3, TEXT = 96 };

/* y of a sheet over (z, x), all in voxels, within an ellipse; sheets come in pairs that touch in places. */
typedef struct sheet {
    double base, height[2], turns[2], phase[2];
    double centre[2], radius[2]; /* z, x */
    double hole[HOLES][3];       /* z, x, radius */
    double stray[2];             /* of the label: height and phase */
} sheet;

typedef struct surface {
    sheet sheet[SHEETS_MAX];
    int sheets;
    double unknown[2][4]; /* balls that nobody labelled: z, y, x, radius */
} surface;

static double between(dg_rng *rng, double low, double high) { return low + (high - low) * dg_rng_uniform(rng); }

static void draw_sheet(const int64_t n[3], double radius, const sheet *beside, dg_rng *rng, sheet *s)
{
    if (beside != NULL) { /* the gap swings between nothing and a sheet's thickness */
        *s = *beside;
        s->base += 1.5 * THICKNESS;
        s->height[0] += THICKNESS / 2;
    } else {
        s->base = between(rng, 0.15, 0.75) * (double)n[1];
        for (int k = 0; k < 2; k++) {
            s->height[k] = between(rng, 0.02, 0.06) * (double)n[1];
            s->turns[k] = between(rng, 0.5, 1.5);
            s->phase[k] = between(rng, 0, 2 * M_PI);
            s->radius[k] = radius * (double)n[k == 0 ? 0 : 2];
            s->centre[k] = between(rng, 0.35, 0.65) * (double)n[k == 0 ? 0 : 2];
        }
    }
    for (int h = 0; h < HOLES; h++) {
        s->hole[h][0] = s->centre[0] + s->radius[0] * between(rng, -0.7, 0.7);
        s->hole[h][1] = s->centre[1] + s->radius[1] * between(rng, -0.7, 0.7);
        s->hole[h][2] = between(rng, 1.5, 3.5);
    }
    s->stray[0] = between(rng, 0.3, 0.8);
    s->stray[1] = between(rng, 0, 2 * M_PI);
}

/* As many pairs as fill the wanted share of the volume with extents of about half of it. */
static void draw_surface(const dg_phantom_config *config, int64_t index, surface *out)
{
    const int64_t *n = config->shape;
    dg_rng rng = dg_rng_stream(config->seed, DG_RNG_PHANTOM, (uint64_t)index, 1);
    int pairs = (int)lround(FRACTION * (double)n[1] / (THICKNESS * 0.5) / 2);
    if (pairs < 1) pairs = 1;
    if (pairs > SHEETS_MAX / 2) pairs = SHEETS_MAX / 2;
    const double extent = fmin(0.7, FRACTION * (double)n[1] / (THICKNESS * 2 * pairs));
    out->sheets = 2 * pairs;
    for (int k = 0; k < out->sheets; k++)
        draw_sheet(n, sqrt(extent / M_PI), k % 2 == 1 ? &out->sheet[k - 1] : NULL, &rng, &out->sheet[k]);
    for (int b = 0; b < 2; b++) {
        for (int a = 0; a < 3; a++) out->unknown[b][a] = between(&rng, 0.1, 0.9) * (double)n[a];
        out->unknown[b][3] = between(&rng, 0.08, 0.14) * (double)(n[0] < n[1] ? n[0] : n[1]);
    }
}

static double height_at(const sheet *s, const int64_t n[3], double z, double x)
{
    return s->base + s->height[0] * sin(2 * M_PI * s->turns[0] * z / (double)n[0] + s->phase[0]) +
           s->height[1] * sin(2 * M_PI * s->turns[1] * x / (double)n[2] + s->phase[1]);
}

static bool exists_at(const sheet *s, double z, double x)
{
    const double dz = (z - s->centre[0]) / s->radius[0], dx = (x - s->centre[1]) / s->radius[1];
    if (dz * dz + dx * dx > 1) return false;
    for (int h = 0; h < HOLES; h++)
        if (hypot(z - s->hole[h][0], x - s->hole[h][1]) < s->hole[h][2]) return false;
    return true;
}

static bool is_unknown(const surface *s, double z, double y, double x)
{
    for (int b = 0; b < 2; b++) {
        const double *u = s->unknown[b], dz = z - u[0], dy = y - u[1], dx = x - u[2];
        if (dz * dz + dy * dy + dx * dx < u[3] * u[3]) return true;
    }
    return false;
}

/* One column of voxels along y. */
static void paint_column(const surface *s, const int64_t n[3], int64_t z, int64_t x, int64_t stride, float *bright,
                         uint8_t *labels)
{
    for (int k = 0; k < s->sheets; k++) {
        const sheet *one = &s->sheet[k];
        if (!exists_at(one, (double)z, (double)x)) continue;
        const double at = height_at(one, n, (double)z, (double)x);
        const double label = at + one->stray[0] * sin(0.37 * (double)(z + 2 * x) + one->stray[1]);
        for (int64_t y = 0; y < n[1]; y++) {
            const double off = fabs((double)y - at) / (THICKNESS / 2);
            bright[y] = fmaxf(bright[y], (float)(CONTRAST * exp(-off * off * off * off)));
            if (fabs((double)y - label) <= THICKNESS / 2) labels[y * stride] = DG_SURFACE_SHEET;
        }
    }
    for (int64_t y = 0; y < n[1]; y++)
        if (is_unknown(s, (double)z, (double)y, (double)x)) labels[y * stride] = DG_SURFACE_UNKNOWN;
}

static dg_status paint(const dg_phantom_config *config, int64_t index, dg_phantom_surface *out)
{
    const int64_t *n = config->shape;
    surface s;
    float *bright;
    DG_TRY(DG_NEW(&bright, n[1], "a column of a scan"));
    draw_surface(config, index, &s);
    for (int64_t z = 0; z < n[0]; z++) {
        dg_rng rng = dg_rng_stream(config->seed, DG_RNG_PHANTOM, (uint64_t)index, (uint32_t)(2 + z));
        for (int64_t x = 0; x < n[2]; x++) {
            const int64_t first = z * n[1] * n[2] + x;
            memset(bright, 0, (size_t)n[1] * sizeof *bright);
            paint_column(&s, n, z, x, n[2], bright, out->labels + first);
            for (int64_t y = 0; y < n[1]; y++)
                out->scan[first + y * n[2]] = (int16_t)lround(AIR + (double)bright[y] + NOISE * dg_rng_normal(&rng));
        }
    }
    dg_free(&bright);
    return DG_OK;
}

static dg_status fill_info(const dg_phantom_config *config, int64_t index, dg_case_info *info)
{
    char who[TEXT], hex[DG_HASH_HEX];
    snprintf(who, sizeof who, "phantom surface %llu/%lld", (unsigned long long)config->seed, (long long)index);
    DG_TRY(dg_hash_bytes(who, strlen(who), hex));
    snprintf(info->id, sizeof info->id, "surface-%04lld", (long long)index + 1);
    memcpy(info->group, hex, 16);
    snprintf(info->site, sizeof info->site, "surface");
    snprintf(info->source_format, sizeof info->source_format, "phantom");
    info->grid = dg_grid_make(config->shape, config->spacing_mm);
    return dg_grid_check(&info->grid);
}

dg_status dg_phantom_surface_create(const dg_phantom_config *config, int64_t index, dg_phantom_surface **out)
{
    dg_status status;
    *out = NULL;
    DG_TRY(DG_NEW(out, 1, "phantom"));
    DG_TRY_GOTO(status, fill_info(config, index, &(*out)->data.info), done);
    const int64_t voxels = dg_grid_voxels(&(*out)->data.info.grid);
    DG_TRY_GOTO(status, DG_NEW(&(*out)->scan, voxels, "scan of a phantom"), done);
    DG_TRY_GOTO(status, DG_NEW(&(*out)->labels, voxels, "labels of a phantom"), done);
    (*out)->data.ct_hu = (*out)->scan;
    (*out)->data.labels = (*out)->labels;
    status = paint(config, index, *out);
done:
    if (status != DG_OK) dg_phantom_surface_destroy(out);
    return status;
}

void dg_phantom_surface_destroy(dg_phantom_surface **scan)
{
    if (scan == NULL || *scan == NULL) return;
    dg_free(&(*scan)->scan);
    dg_free(&(*scan)->labels);
    dg_free(scan);
}
