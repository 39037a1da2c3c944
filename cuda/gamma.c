/* gamma.c - a gamma search on the device: the problem goes there, the map comes back. SPDX-License-Identifier: Apache-2.0 */
#include "cuda_impl.h"

#include "dg_mem.h"
#include "gamma_kernels.h"

#include <string.h>

enum { CHUNK_POINTS = 1 << 20, COPIES = 48 };

/* Everything of one search that lies on the device. */
typedef struct device_search {
    dg_backend *backend;
    void *copy[COPIES];
    int copies;
    dg_gamma_problem problem;
    int64_t voxels;
} device_search;

/* Device memory that lives as long as the search, with what `host` holds (NULL: zeros). */
static dg_status place(device_search *d, const void *host, int64_t bytes, void *out)
{
    void *data = NULL;
    DG_TRY(cuda_alloc(d->backend, bytes, "gamma search", &data));
    d->copy[d->copies++] = data;
    memcpy(out, &data, sizeof data);
    return host == NULL ? DG_OK : d->backend->ops->upload(d->backend, data, host, bytes);
}

static dg_status place_problem(device_search *d, const dg_gamma_problem *host)
{
    dg_gamma_problem *p = &d->problem;
    dg_gamma_field *f = &p->field;
    *p = *host;
    const int64_t rows = f->ranged[0] * f->ranged[1], evaluated = f->shape[0] * f->shape[1] * f->shape[2];
    d->voxels = p->shape[0] * p->shape[1] * p->shape[2];
    DG_TRY(place(d, f->dose_gy, evaluated * (int64_t)sizeof *f->dose_gy, &f->dose_gy));
    DG_TRY(place(d, f->range_gy, 2 * rows * f->ranged[2] * (int64_t)sizeof *f->range_gy, &f->range_gy));
    DG_TRY(place(d, f->row_range_gy, 2 * rows * (int64_t)sizeof *f->row_range_gy, &f->row_range_gy));
    DG_TRY(place(d, p->reference_gy, d->voxels * (int64_t)sizeof *p->reference_gy, &p->reference_gy));
    if (p->where != NULL) DG_TRY(place(d, p->where, d->voxels, &p->where));
    for (int a = 0; a < 3; a++) {
        DG_TRY(place(d, f->axis_mm[a], f->shape[a] * (int64_t)sizeof *f->axis_mm[a], &f->axis_mm[a]));
        DG_TRY(place(d, p->axis_mm[a], p->shape[a] * (int64_t)sizeof *p->axis_mm[a], &p->axis_mm[a]));
        DG_TRY(place(d, p->cell[a], p->shape[a] * (int64_t)sizeof *p->cell[a], &p->cell[a]));
    }
    return DG_OK;
}

static dg_status search_continuous(device_search *d, float *gamma)
{
    cuda_backend *backend = cuda_of(d->backend);
    struct cudaDeviceProp properties;
    dg_gamma_box *stacks = NULL;
    DG_CUDA(cudaGetDeviceProperties(&properties, backend->device));
    int64_t count = dg_cuda_gamma_stacks(properties.multiProcessorCount);
    if (count > (d->voxels + 127) / 128 * 128) count = (d->voxels + 127) / 128 * 128;
    DG_TRY(place(d, NULL, count * DG_GAMMA_DEPTH * (int64_t)sizeof *stacks, &stacks));
    DG_CUDA(dg_cuda_gamma_search(backend->stream, &d->problem, d->voxels, stacks, count, gamma));
    return DG_OK;
}

/* Tables of all spheres, and the groups. */
static dg_status place_spheres(device_search *d, const dg_gamma_samples *host, int64_t *point_end,
                               dg_cuda_gamma_spheres *s)
{
    int64_t points = 0;
    *s = (dg_cuda_gamma_spheres){.axes = host->axes, .grouped = host->grouped};
    for (int64_t k = 0; k < host->spheres; k++) point_end[k] = points += host->points[k];
    DG_TRY(place(d, host->radius_mm, host->spheres * (int64_t)sizeof *s->radius_mm, &s->radius_mm));
    DG_TRY(place(d, point_end, host->spheres * (int64_t)sizeof *s->point_end, &s->point_end));
    if (host->grouped == 0) return DG_OK;
    DG_TRY(place(d, host->group_end, host->grouped * (int64_t)sizeof *s->group_end, &s->group_end));
    DG_TRY(place(d, host->group, host->groups * (int64_t)sizeof *s->group, &s->group));
    for (int a = 0; a < 3; a++) {
        DG_TRY(place(d, host->share[a], host->shares * (int64_t)sizeof *s->share[a], &s->share[a]));
        DG_TRY(place(d, host->cell[a], d->problem.shape[a] * (int64_t)sizeof *s->cell[a], &s->cell[a]));
    }
    return DG_OK;
}

/* The spheres from s->first on whose points fit into `room`; one at least. */
static int64_t choose_spheres(const dg_gamma_samples *host, int64_t first, int64_t room)
{
    int64_t count = 0, points = 0;
    while (first + count < host->spheres && (count == 0 || points + host->points[first + count] <= room))
        points += host->points[first + count++];
    return count;
}

/* Chunk by chunk, as long as a voxel wants more. `points_mm` [3][room] is host memory, offset_mm the device's. */
static dg_status step_through(device_search *d, const dg_gamma_samples *host, dg_cuda_gamma_spheres *s, int64_t room,
                              double *points_mm, double *const offset_mm[3], double *found, int *open)
{
    dg_backend *backend = d->backend;
    int left = 1;
    for (; s->first < host->spheres && left > 0; s->first += s->count) {
        int64_t at = 0;
        s->count = choose_spheres(host, s->first, room);
        for (int64_t k = s->first; k < s->first + s->count; k++) {
            double *const out[3] = {points_mm + at, points_mm + room + at, points_mm + 2 * room + at};
            host->write(host->context, k, out);
            at += host->points[k];
        }
        for (int a = 0; a < 3; a++) {
            DG_TRY(backend->ops->upload(backend, offset_mm[a], points_mm + a * room, at * (int64_t)sizeof(double)));
            s->offset_mm[a] = offset_mm[a];
        }
        left = 0;
        DG_TRY(backend->ops->upload(backend, open, &left, sizeof left));
        DG_CUDA(dg_cuda_gamma_spheres_step(cuda_of(backend)->stream, &d->problem, s, d->voxels, found, open));
        DG_TRY(backend->ops->download(backend, &left, open, sizeof left));
        s->points_before += at;
    }
    return DG_OK;
}

static dg_status search_spheres(device_search *d, const dg_gamma_samples *host, float *gamma)
{
    cudaStream_t stream = cuda_of(d->backend)->stream;
    dg_cuda_gamma_spheres s;
    double *points_mm = NULL, *offset_mm[3] = {NULL, NULL, NULL}, *found = NULL;
    int64_t *point_end = NULL, room = 0, all = 0;
    int *open = NULL;
    dg_status status;
    for (int64_t k = 0; k < host->spheres; k++) {
        all += host->points[k];
        room = host->points[k] > room ? host->points[k] : room;
    }
    if (room < CHUNK_POINTS) room = all < CHUNK_POINTS ? all : CHUNK_POINTS;
    DG_TRY_GOTO(status, DG_NEW(&point_end, host->spheres, "spheres"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&points_mm, 3 * room, "sample points"), cleanup);
    DG_TRY_GOTO(status, place_spheres(d, host, point_end, &s), cleanup);
    for (int a = 0; a < 3; a++)
        DG_TRY_GOTO(status, place(d, NULL, room * (int64_t)sizeof(double), &offset_mm[a]), cleanup);
    DG_TRY_GOTO(status, place(d, NULL, d->voxels * (int64_t)sizeof *found, &found), cleanup);
    DG_TRY_GOTO(status, place(d, NULL, sizeof *open, &open), cleanup);
    DG_TRY_GOTO(status, dg_cuda_check(dg_cuda_gamma_begin(stream, &d->problem, d->voxels, found), "gamma"), cleanup);
    DG_TRY_GOTO(status, step_through(d, host, &s, room, points_mm, offset_mm, found, open), cleanup);
    status = dg_cuda_check(dg_cuda_gamma_finish(stream, &d->problem, d->voxels, found, gamma), "gamma");
cleanup:
    dg_free(&points_mm);
    dg_free(&point_end);
    return status;
}

dg_status dg_cuda_gamma(dg_backend *backend, const dg_gamma_problem *problem, const dg_gamma_samples *samples,
                        float *gamma)
{
    device_search d = {.backend = backend};
    float *map = NULL;
    dg_status status = place_problem(&d, problem);
    if (status == DG_OK) status = place(&d, NULL, d.voxels * (int64_t)sizeof *map, &map);
    if (status == DG_OK) status = samples == NULL ? search_continuous(&d, map) : search_spheres(&d, samples, map);
    if (status == DG_OK) status = backend->ops->download(backend, gamma, map, d.voxels * (int64_t)sizeof *map);
    while (d.copies > 0) cuda_free(backend, d.copy[--d.copies]);
    return status;
}
