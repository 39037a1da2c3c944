/* ctest: libs=dg_run,dg_mpi label=mpi ranks=1,2,3,4 timeout=120 */
/* t719_predict_shared.c - a case whose windows ranks share has the bits of one rank's; a window that is no number fails on all
 * of them, and the next case goes on. SPDX-License-Identifier: Apache-2.0 */
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
    t7_release(&t);
    dg_comm_destroy(&comm);
    dg_mpi_stop();
    return 0;
}
