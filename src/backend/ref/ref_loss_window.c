/* ref_loss_window.c - loss terms of labels that look through windows: connectivity, and clDice by soft skeletons. A voxel
 * that does not count is like one beyond the edge. SPDX-License-Identifier: Apache-2.0 */
#include "ref_loss.h"

#include <math.h>
#include <string.h>

static int64_t place_of(const dg_loss_grid *g, int64_t z, int64_t y, int64_t x)
{
    if (z < 0 || y < 0 || x < 0 || z >= g->z || y >= g->y || x >= g->x) return -1;
    return (z * g->y + y) * g->x + x;
}

/* The place of the first greatest (sign 1) or least (sign -1) value of a window around voxel v; v counts. */
static int64_t extreme(const ref_sample *s, const double *x, int64_t v, const int radius[3], double sign)
{
    const dg_loss_grid *g = &s->grid;
    const int64_t z = v / (g->y * g->x), y = v / g->x % g->y, c = v % g->x;
    int64_t best = -1;
    for (int i = -radius[0]; i <= radius[0]; i++)
        for (int j = -radius[1]; j <= radius[1]; j++)
            for (int l = -radius[2]; l <= radius[2]; l++) {
                const int64_t at = place_of(g, z + i, y + j, c + l);
                if (at < 0 || !ref_counts(s, at)) continue;
                if (best < 0 || sign * x[at] > sign * x[best]) best = at;
            }
    return best;
}

static int64_t greatest(const ref_sample *s, const double *x, int64_t v, int radius)
{
    return extreme(s, x, v, (const int[3]){radius, radius, radius}, 1);
}

/* Where the least of the three windows of three voxels lies, and with what share of the gradient. */
typedef struct least {
    int64_t at[3];
    double share[3], value;
} least;

static least least_at(const ref_sample *s, const double *x, int64_t v)
{
    static const int ALONG[3][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}};
    least out = {.value = 0};
    for (int a = 0; a < 3; a++) out.at[a] = extreme(s, x, v, ALONG[a], -1);
    const double a = x[out.at[0]], b = x[out.at[1]], c = x[out.at[2]], pair = fmin(a, b);
    const double of_pair = pair < c ? 1 : (pair == c ? 0.5 : 0);
    out.share[0] = of_pair * (a < b ? 1 : (a == b ? 0.5 : 0));
    out.share[1] = of_pair - out.share[0];
    out.share[2] = 1 - of_pair;
    out.value = fmin(pair, c);
    return out;
}

dg_status ref_loss_connectivity(const dg_loss_term *term, const ref_sample *s, int64_t voxels, double *value, double *d)
{
    double sum = 0, count = 0, *label;
    DG_TRY(DG_NEW(&label, voxels, "labels"));
    for (int64_t i = 0; i < voxels; i++) label[i] = s->t[i] > 0.5;
    for (int64_t i = 0; i < voxels; i++) {
        if (!ref_counts(s, i)) continue;
        const int64_t from = greatest(s, s->p, i, term->kernel / 2);
        const double e = s->p[from] - label[greatest(s, label, i, term->kernel / 2)];
        sum += e * e;
        count += 1;
        d[from] += 2 * e;
    }
    for (int64_t i = 0; i < voxels && count > 0; i++) d[i] /= count;
    *value = count > 0 ? sum / count : 0;
    dg_free(&label);
    return DG_OK;
}

/* ---- clDice ---------------------------------------------------------------------------------------------------------- */

/* x_0 is eroded [0]; level k holds e_k = max(0, x_k - dilate x_{k+1}) and the skeleton s_k after it. */
typedef struct skeleton {
    int levels;
    double *eroded, *skeleton; /* [levels + 1], [levels] of [voxels] */
} skeleton;

static double excess(const ref_sample *s, const double *x, const double *eroded, int64_t v)
{
    return fmax(0, x[v] - eroded[greatest(s, eroded, v, 1)]);
}

static void make(const ref_sample *s, int64_t voxels, skeleton *k)
{
    for (int level = 0; level < k->levels; level++) {
        double *x = k->eroded + level * voxels, *next = x + voxels, *out = k->skeleton + level * voxels;
        for (int64_t v = 0; v < voxels; v++) next[v] = ref_counts(s, v) ? least_at(s, x, v).value : 0;
        for (int64_t v = 0; v < voxels; v++) {
            if (!ref_counts(s, v)) continue;
            const double e = excess(s, x, next, v), before = level > 0 ? out[v - voxels] : 0;
            out[v] = before + fmax(0, e - before * e);
        }
    }
}

/* From the skeleton's gradient ds (which it changes) to that of x_0 in d; work: [2 * voxels], zeroed. */
static void back(const ref_sample *s, int64_t voxels, const skeleton *k, double *ds, double *d, double *work)
{
    double *dnext = work, *dx = work + voxels; /* of x_{k+1} and x_k */
    for (int level = k->levels - 1; level >= 0; level--) {
        const double *x = k->eroded + level * voxels, *next = x + voxels;
        const double *before = level > 0 ? k->skeleton + (level - 1) * voxels : NULL;
        memset(dx, 0, (size_t)voxels * sizeof *dx);
        for (int64_t v = 0; v < voxels; v++) {
            if (!ref_counts(s, v)) continue;
            const double e = excess(s, x, next, v), held = before != NULL ? before[v] : 0;
            const bool grows = e - held * e > 0;
            const double de = grows ? ds[v] * (1 - held) : 0;
            if (before != NULL && grows) ds[v] *= 1 - e;
            if (e > 0) dx[v] += de;
            if (e > 0) dnext[greatest(s, next, v, 1)] -= de;
        }
        for (int64_t v = 0; v < voxels; v++) {
            if (!ref_counts(s, v)) continue;
            const least from = least_at(s, x, v);
            for (int a = 0; a < 3; a++) dx[from.at[a]] += from.share[a] * dnext[v];
        }
        memcpy(dnext, dx, (size_t)voxels * sizeof *dx);
    }
    for (int64_t v = 0; v < voxels; v++) d[v] += dnext[v];
}

static double compare(const dg_loss_term *term, const ref_sample *s, int64_t voxels, const double *of_p,
                      const double *of_t, double *ds, double *d)
{
    const double eps = term->smooth;
    double sum[4] = {0};
    for (int64_t v = 0; v < voxels; v++) {
        if (!ref_counts(s, v)) continue;
        sum[0] += s->t[v] > 0.5 ? of_p[v] : 0;
        sum[1] += of_p[v];
        sum[2] += of_t[v] * s->p[v];
        sum[3] += of_t[v];
    }
    const double precision = (sum[0] + eps) / (sum[1] + eps), sensitivity = (sum[2] + eps) / (sum[3] + eps),
                 both = precision + sensitivity;
    for (int64_t v = 0; v < voxels; v++) {
        if (!ref_counts(s, v)) continue;
        const double dp = ((s->t[v] > 0.5) - precision) / (sum[1] + eps);
        ds[v] = -2 * pow(sensitivity / both, 2) * dp;
        d[v] = -2 * pow(precision / both, 2) * of_t[v] / (sum[3] + eps);
    }
    return 1 - 2 * precision * sensitivity / both;
}

dg_status ref_loss_cldice(const dg_loss_term *term, const ref_sample *s, int64_t voxels, double *value, double *d)
{
    const int levels = term->iterations + 1;
    dg_status status;
    double *memory = NULL; /* two pyramids, ds, work */
    DG_TRY_GOTO(status, DG_NEW(&memory, (2 * (2 * levels + 1) + 3) * voxels, "soft skeletons"), done);
    skeleton of_p = {levels, memory, memory + (levels + 1) * voxels}, of_t = of_p;
    of_t.eroded += (2 * levels + 1) * voxels;
    of_t.skeleton += (2 * levels + 1) * voxels;
    double *ds = of_t.skeleton + levels * voxels;
    for (int64_t v = 0; v < voxels; v++) {
        of_p.eroded[v] = s->p[v];
        of_t.eroded[v] = s->t[v] > 0.5;
    }
    make(s, voxels, &of_p);
    make(s, voxels, &of_t);
    *value =
        compare(term, s, voxels, of_p.skeleton + (levels - 1) * voxels, of_t.skeleton + (levels - 1) * voxels, ds, d);
    back(s, voxels, &of_p, ds, d, ds + voxels);
done:
    dg_free(&memory);
    return status;
}
