/* ctest: libs=dg_run,dg_mpi label=mpi ranks=1,2,3,4 timeout=120 */
/* t719_predict_shared.c - a case whose windows ranks share has the bits of one rank's; a window that is no number fails on all
 * of them, and the next case goes on; what fails on one rank while a dose is drawn fails on all. SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"
#include "dg_mpi.h"
#include "predictor.h"
#include "t7_cases.h"

#include <math.h>
#include <string.h>

static const int64_t shape[3] = {11, 9, 10}, cases[2] = {0, 1};
enum { VOXELS = 990 };

typedef struct bench {
    dg_recipe recipe;
    dg_model *model;
    dg_backend *backend;
    dg_source *source;
    void *weights;
} bench;

static void open_bench(const t7_cohort *t, const char *yaml, bench *b)
{
    dg_run_config config;
    const dg_backend_options options = {.threads = 1, .deterministic = true};
    t7_config(yaml, &config);
    DG_CHECK_OK(dg_recipe_resolve(&config, t->cohort, cases, 2, &b->recipe));
    const dg_model_config model = dg_run_config_model(&config, b->recipe.count, b->recipe.constraint_count);
    DG_CHECK_OK(dg_model_create(&model, &b->model));
    DG_CHECK_OK(dg_backend_create("ref", &options, &b->backend));
    DG_CHECK_OK(dg_source_create(t->cohort, &b->recipe, 0, &b->source));
    DG_CHECK_OK(b->backend->ops->alloc(b->backend, b->model->params.total * 4, "weights", &b->weights));
    dg_params_init(&b->model->params, 3, b->weights);
}

static void close_bench(bench *b)
{
    b->backend->ops->free(b->backend, b->weights);
    dg_source_destroy(&b->source);
    dg_backend_destroy(&b->backend);
    dg_model_destroy(&b->model);
}

static dg_predictor *open_predictor(const bench *b, dg_comm *comm, bool flips, int64_t batch)
{
    const dg_predictor_config config = {.dtype = DG_F32, .overlap = 0.5, .flips = flips, .batch = batch, .comm = comm};
    dg_predictor *p;
    DG_CHECK_OK(dg_predictor_create(b->model, b->backend, b->source, &config, NULL, &p));
    DG_CHECK_OK(dg_predictor_set_weights(p, b->weights));
    return p;
}

static void check_same(const t7_cohort *t, dg_comm *comm, const char *yaml, bool flips)
{
    static float alone[VOXELS], shared[VOXELS];
    dg_predictor_note note;
    bench b;
    open_bench(t, yaml, &b);
    dg_predictor *one = open_predictor(&b, NULL, flips, 1), *all = open_predictor(&b, comm, flips, 3);
    for (int64_t c = 0; c < 2; c++) {
        DG_CHECK_OK(dg_source_pin(b.source, c));
        DG_CHECK_OK(dg_predictor_run(one, c, -1, alone, &note));
        int64_t windows = note.windows, mine = 0;
        DG_CHECK_OK(dg_predictor_run(all, c, -1, comm->rank == 0 ? shared : NULL, &note));
        mine = note.windows;
        DG_CHECK_OK(dg_comm_all_reduce(comm, &mine, 1, DG_I64, DG_SUM));
        DG_CHECK(mine == windows && (comm->size == 1 || note.windows < windows));
        DG_CHECK(comm->rank != 0 || memcmp(alone, shared, sizeof alone) == 0);
        dg_source_unpin(b.source, c);
    }
    dg_predictor_destroy(&one);
    dg_predictor_destroy(&all);
    close_bench(&b);
}

static void check_failure(dg_comm *comm)
{
    static float ct[VOXELS], dose[VOXELS];
    dg_predictor_note note;
    t7_cohort m;
    bench b;
    t7_create(&m, 2, shape);
    for (int i = 0; i < VOXELS; i++) ct[i] = m.ct[0][i];
    ct[VOXELS / 2] = NAN;
    m.data[0].ct_hu = NULL;
    m.data[0].ct_hu_f32 = ct;
    dg_cohort_close(&m.cohort);
    DG_CHECK_OK(dg_cohort_memory_create(m.data, 2, &m.cohort));
    open_bench(&m, "{data: {channels: [ct, mask.Left, mask.Right], patch: [4, 4, 4]}, model: {base: 4, levels: 2}}",
               &b);
    dg_predictor *p = open_predictor(&b, comm, false, 2);
    for (int64_t c = 0; c < 2; c++) DG_CHECK_OK(dg_source_pin(b.source, c));
    DG_CHECK_FAILS(dg_predictor_run(p, 0, -1, dose, &note), DG_ERR_NUMERIC,
                   "case case-00: its CT or distances hold a value that is not finite in the window at voxel");
    DG_CHECK_OK(dg_predictor_run(p, 1, -1, dose, &note));
    for (int64_t c = 0; c < 2; c++) dg_source_unpin(b.source, c);
    dg_predictor_destroy(&p);
    close_bench(&b);
    m.data[0].ct_hu_f32 = NULL;
    m.data[0].ct_hu = m.ct[0];
    t7_release(&m);
}

static int64_t calls_left; /* until a call of the backend fails */
static const dg_backend_ops *true_ops;

static dg_status spend_call(void)
{
    return calls_left-- == 0 ? DG_FAIL(DG_ERR_MEMORY, "no memory, as asked for") : DG_OK;
}

static dg_status failing_upload(dg_backend *backend, void *device, const void *host, int64_t bytes)
{
    DG_TRY(spend_call());
    return true_ops->upload(backend, device, host, bytes);
}

static dg_status failing_axpy(dg_backend *backend, int64_t count, double a, const float *x, float *y)
{
    DG_TRY(spend_call());
    return true_ops->axpy(backend, count, a, x, y);
}

static dg_status failing_denoise(dg_backend *backend, const dg_denoise *step, const dg_noise *fresh, int64_t count,
                                 const float *said, float *x, float *clean)
{
    DG_TRY(spend_call());
    return true_ops->denoise(backend, step, fresh, count, said, x, clean);
}

/* Draws a dose again and again, and each time a later call fails on one rank, until none does. No rank may wait for one that left. */
static void check_sampling_failures(const t7_cohort *t, dg_comm *comm, int failing)
{
    static float dose[VOXELS];
    const dg_sampler_config sampler = {.kind = DG_SAMPLER_DDIM, .steps = 2, .low = 0, .high = 1.5};
    const dg_diffusion_config process = {.schedule = DG_NOISE_COSINE,
                                         .steps = 40,
                                         .offset = 0.008,
                                         .beta_min = 1e-4,
                                         .beta_max = 0.9999,
                                         .prediction = DG_PREDICT_V};
    dg_diffusion *diffusion;
    dg_sampler_step *step;
    dg_predictor_note note;
    bench b;
    open_bench(
        t,
        "{model: {kind: diffusion_unet, base: 4, levels: 2, cond_channels: 8}, data: {channels: [ct, mask.Left], "
        "patch: [8, 6, 10], ct_range: [-300, 300]}}",
        &b);
    DG_CHECK_OK(dg_diffusion_create(&process, &diffusion));
    dg_sampling sampling = {.diffusion = diffusion, .guidance = 2, .seed = 5};
    DG_CHECK_OK(dg_sampler_plan(diffusion, &sampler, &step, &sampling.count));
    sampling.step = step;
    dg_predictor *p = open_predictor(&b, comm, false, 2);
    dg_predictor_set_sampling(p, &sampling);
    true_ops = b.backend->ops;
    dg_backend_ops ops = *true_ops;
    ops.upload = failing_upload;
    ops.axpy = failing_axpy;
    ops.denoise = failing_denoise;
    b.backend->ops = &ops;
    DG_CHECK_OK(dg_source_pin(b.source, 0));
    int64_t failures = 0;
    for (dg_status status = DG_ERR_MEMORY; status != DG_OK; failures++) {
        calls_left = comm->rank == failing ? failures : -1;
        status = dg_predictor_run(p, 0, -1, dose, &note);
        DG_CHECK(status == DG_OK || status == DG_ERR_MEMORY);
        DG_CHECK_OK(dg_comm_agree(comm, DG_OK));
    }
    DG_CHECK(failures > 10);
    dg_source_unpin(b.source, 0);
    dg_predictor_destroy(&p);
    b.backend->ops = true_ops;
    dg_free(&step);
    dg_diffusion_destroy(&diffusion);
    close_bench(&b);
}

int main(int argc, char **argv)
{
    dg_comm *comm;
    t7_cohort t;
    DG_CHECK_OK(dg_comm_open(&argc, &argv, &comm));
    t7_create(&t, 2, shape);
    check_same(&t, comm,
               "{data: {channels: [ct, mask.Left, mask.Right], patch: [4, 4, 6], ct_range: [-300, 300]}, model: {base: "
               "4, levels: 2}}",
               false);
    check_same(&t, comm,
               "{data: {channels: [ct, mask.Left, mask.Right], patch: [4, 4, 4], ct_range: [-300, 300]}, model: {base: "
               "4, levels: 2}}",
               true);
    check_failure(comm);
    check_sampling_failures(&t, comm, 0);
    check_sampling_failures(&t, comm, comm->size - 1);
    t7_release(&t);
    dg_comm_destroy(&comm);
    dg_mpi_stop();
    return 0;
}
