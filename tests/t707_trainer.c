/* Whole runs, tiny, in one process on any number of ranks: what is left behind, the gain, resume to the same weights,
 * refusals that name keys, a stop by signal, a step that is not finite, a constraint vector.
 * ctest: libs=dg_run label=mpi ranks=1,2,4 timeout=240
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_file.h"
#include "dg_mpi.h"
#include "t7_cases.h"
#include "trained.h"
#include "trainer.h"

#include <ftw.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

static const int64_t shape[3] = {8, 8, 8};
static char root[64];

/* Settings of a run in the test's folder, changed by `more`. */
typedef struct setup {
    dg_run_config config;
    dg_options options;
} setup;

static void open_setup(setup *s, const char *name, const char *more)
{
    char text[1024];
    int count;
    const dg_option *rows = dg_run_config_rows(&count);
    snprintf(text, sizeof text,
             "run: {dir: %s/runs, name: %s}\n"
             "data: {cohort: %s/cohort, split: {train: 0.6, val: 0.4, test: 0}, channels: [ct, rx], patch: auto, "
             "coarsen: 2, "
             "ct_range: [-600, 600]}\n"
             "model: {base: 4, levels: 2}\n"
             "loss: {mask: possible_dose, mse: 0, mae: 1}\n"
             "optim: {lr: 1e-2, ema: 0.5, schedule: {kind: constant}}\n"
             "train: {steps: 8, batch: 5, threads: 1, dtype: f32, reduction: ordered, backend: ref, validate_every: 4, "
             "checkpoint_every: 4, keep: 2}\n"
             "predict: {dtype: f32}\n",
             root, name, root);
    DG_CHECK_OK(dg_options_init(&s->options, rows, count, &s->config));
    DG_CHECK_OK(dg_options_read_yaml_text(&s->options, text, strlen(text), "test"));
    const dg_origin origin = {.kind = DG_FROM_COMMAND_LINE, .where = "test"};
    char key[64];
    for (const char *at = more; *at != '\0'; at += strcspn(at, ";") + (at[strcspn(at, ";")] == ';')) {
        char value[128];
        snprintf(key, sizeof key, "%.*s", (int)strcspn(at, "="), at);
        snprintf(value, sizeof value, "%.*s", (int)strcspn(at + strlen(key) + 1, ";"), at + strlen(key) + 1);
        DG_CHECK_OK(dg_options_set(&s->options, key, value, &origin));
    }
}

static dg_status train(dg_comm *comm, const char *name, const char *more, bool resume, dg_trainer_summary *summary)
{
    setup s;
    dg_trainer *trainer = NULL;
    open_setup(&s, name, more);
    dg_trainer_request request = {
        .options = &s.options, .config = &s.config, .resume = resume, .init = "", .trace = "", .level = DG_LOG_ERROR};
    dg_status status = dg_trainer_create(comm, &request, &trainer);
    if (status == DG_OK) status = dg_trainer_run(trainer, summary);
    dg_trainer_destroy(&trainer);
    dg_options_release(&s.options);
    return status;
}

static bool left(const char *run, const char *file)
{
    char path[DG_PATH_MAX];
    snprintf(path, sizeof path, "%s/runs/%s/%s", root, run, file);
    return dg_file_exists(path);
}

static void test_run(dg_comm *comm, dg_trainer_summary *whole)
{
    static const char *const files[] = {"training_config.json",
                                        "environment.json",
                                        "metrics.csv",
                                        "test_cases.json",
                                        "training_summary.json",
                                        "checkpoints/best.h5",
                                        "checkpoints/step-00000008.h5",
                                        "checkpoints/last.h5",
                                        "log/rank-0.log"};
    DG_CHECK_OK(train(comm, "whole", "", false, whole));
    DG_CHECK(whole->step == 8 && whole->end == DG_END_STEPS && whole->skipped == 0);
    DG_CHECK(strcmp(whole->monitor, "val_dose_score") == 0 && isfinite(whole->best) && whole->best < 20);
    DG_CHECK(isfinite(whole->scores.mae_gy) && isfinite(whole->scores.mae_ptv_gy));
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) DG_CHECK(left("whole", files[i]));
    dg_trainer_summary longer;
    DG_CHECK_OK(train(comm, "longer", "train.steps=60;train.validate_every=0", false, &longer));
    DG_CHECK(longer.best < 0.6 * whole->best || longer.best < 1.5); /* it learns */
    DG_CHECK(left("longer", "checkpoints/step-00000060.h5") && !left("longer", "checkpoints/step-00000048.h5"));
}

/* 3 steps, then the rest: the weights of 8 in one go. A checkpoint remembers what it was made of. */
static void test_resume(dg_comm *comm, const dg_trainer_summary *whole)
{
    dg_trainer_summary part;
    DG_CHECK_OK(train(comm, "parts", "train.steps=3", false, &part));
    DG_CHECK(strcmp(part.weights_sha256, whole->weights_sha256) != 0);
    DG_CHECK_FAILS(train(comm, "parts", "", false, &part), DG_ERR_USAGE, "already holds checkpoints");
    DG_CHECK_FAILS(train(comm, "parts", "model.base=8", true, &part), DG_ERR_MISMATCH, "model.base is 8, was 4");
    DG_CHECK_FAILS(train(comm, "parts", "optim.lr=0.5;data.ct_range=[-500, 500]", true, &part), DG_ERR_MISMATCH,
                   "data.ct_range is [-500.0,500.0], was [-600.0,600.0]; optim.lr is 0.5, was 0.01");
    DG_CHECK_FAILS(train(comm, "parts", "train.threads=2", true, &part), DG_ERR_MISMATCH,
                   "begun with 1 threads per rank, not 2");
    DG_CHECK_OK(train(comm, "parts", "", true, &part));
    DG_CHECK(strcmp(part.weights_sha256, whole->weights_sha256) == 0 && part.step == 8);
    DG_CHECK(part.best == whole->best);
}

/* The same bits on one rank: rank 0 trains alone what all trained together. */
static void test_alone(dg_comm *comm, const dg_trainer_summary *whole)
{
    dg_status status = DG_OK;
    if (comm->rank == 0) {
        dg_comm *self;
        dg_trainer_summary alone;
        DG_CHECK_OK(dg_comm_self_create(&self));
        DG_CHECK_OK(train(self, "alone", "", false, &alone));
        DG_CHECK(strcmp(alone.weights_sha256, whole->weights_sha256) == 0 && alone.best == whole->best);
        dg_comm_destroy(&self);
    }
    DG_CHECK_OK(dg_comm_agree(comm, status));
}

static void test_refused(dg_comm *comm)
{
    dg_trainer_summary summary;
    DG_CHECK_FAILS(train(comm, "x", "data.channels=[ct, sdf.None]", false, &summary), DG_ERR_USAGE, "sdf.None");
    DG_CHECK_FAILS(train(comm, "x", "train.backend=none", false, &summary), DG_ERR_USAGE, "none");
    if (comm->size > 1) {
        DG_CHECK_FAILS(train(comm, "y", "train.batch=1", false, &summary), DG_ERR_USAGE, "train.batch");
    }
}

/* Sends this process SIGUSR1 once the run has written its first checkpoint. */
static void *send_signal(void *unused)
{
    while (!left("stopped", "checkpoints/step-00000004.h5")) usleep(1000);
    kill(getpid(), SIGUSR1);
    return unused;
}

/* SIGUSR1 to the last rank stops all of them at the same step, with a checkpoint to go on from. */
static void test_signal(dg_comm *comm)
{
    dg_trainer_summary summary;
    pthread_t thread;
    bool mine = comm->rank == comm->size - 1;
    if (mine) DG_CHECK(pthread_create(&thread, NULL, send_signal, NULL) == 0);
    DG_CHECK_FAILS(train(comm, "stopped", "train.steps=1000000;train.validate_every=0", false, &summary),
                   DG_ERR_PREEMPTED, "stopped on request at step");
    if (mine) pthread_join(thread, NULL);
    DG_CHECK(left("stopped", "checkpoints/last.h5") && !left("stopped", "training_summary.json"));
}

/* A step size that makes weights of no use: the loss is soon not finite, the steps are left out, then the run ends. */
static void test_not_finite(dg_comm *comm)
{
    dg_trainer_summary summary;
    const char *wild =
        "train.steps=40;optim.lr=1000;optim.kind=sgd;optim.momentum=0;loss.mse=1e8;train.validate_every=0";
    char more[256];
    DG_CHECK_FAILS(train(comm, "wild", wild, false, &summary), DG_ERR_NUMERIC, "10 steps in a row were not finite");
    DG_CHECK(strstr(dg_error_last()->text, "case-") != NULL || strstr(dg_error_last()->text, "gradient of") != NULL);
    snprintf(more, sizeof more, "%s;train.on_nan=abort", wild);
    DG_CHECK_FAILS(train(comm, "wild-2", more, false, &summary), DG_ERR_NUMERIC, "train.on_nan is abort");
}

/* best.h5 as predict takes it: the average of the weights, and the recipe. */
static void test_trained(const dg_trainer_summary *whole)
{
    dg_trained trained;
    char path[DG_PATH_MAX];
    snprintf(path, sizeof path, "%s/runs/whole/checkpoints/last.h5", root);
    DG_CHECK_OK(dg_trained_load(path, &trained));
    DG_CHECK(trained.averaged && trained.recipe.count == 2 && trained.recipe.coarsen[2] == 2);
    DG_CHECK(strcmp(trained.meta.weights_sha256, whole->weights_sha256) == 0);
    DG_CHECK(strcmp(trained.weights_sha256, whole->weights_sha256) != 0);
    DG_CHECK(trained.config.model.base == 4 && trained.meta.step == 8);
    dg_trained_release(&trained);
    DG_CHECK_FAILS(dg_trained_load("nowhere/best.h5", &trained), DG_ERR_IO, "best.h5");
}

/* With the vector the network knows the level, in training, validation and resume; without it can only guess. */
static void test_constraints(dg_comm *comm)
{
    const char *const common = "train.validate_every=0;model.cond_channels=8";
    dg_trainer_summary with, without;
    dg_trained trained;
    char more[256], path[DG_PATH_MAX];
    DG_CHECK_FAILS(train(comm, "x", "data.constraints=true", false, &with), DG_ERR_DATA, "has no constraint vector");
    snprintf(more, sizeof more, "data.cohort=%s/told;train.steps=60;%s", root, common);
    DG_CHECK_OK(train(comm, "untold", more, false, &without));
    snprintf(more, sizeof more, "data.cohort=%s/told;train.steps=30;data.constraints=true;%s", root, common);
    DG_CHECK_OK(train(comm, "told", more, false, &with));
    snprintf(more, sizeof more, "data.cohort=%s/told;train.steps=60;data.constraints=true;%s", root, common);
    DG_CHECK_OK(train(comm, "told", more, true, &with));
    if (comm->rank == 0) printf("told %.3f Gy, untold %.3f Gy\n", with.best, without.best);
    DG_CHECK(without.best > 10 && with.best < 0.6 * without.best);
    snprintf(path, sizeof path, "%s/runs/told/checkpoints/last.h5", root);
    DG_CHECK_OK(dg_trained_load(path, &trained));
    DG_CHECK(trained.recipe.constraint_count == 2 && strcmp(trained.recipe.constraint_name[1], "level") == 0);
    dg_trained_release(&trained);
}

/* A gain below min_delta does not keep the run alive, and best.h5 is the lowest score all the same. */
static void test_early(dg_comm *comm, const dg_trainer_summary *whole)
{
    dg_trainer_summary early;
    const char *const more = "train.steps=60;train.early_stopping.patience=1;train.early_stopping.min_delta=1e6";
    DG_CHECK_OK(train(comm, "early", more, false, &early));
    DG_CHECK(early.end == DG_END_EARLY_STOPPING && early.step == 8);
    DG_CHECK(whole->best_step == 8 && early.best_step == 8 && early.best == whole->best);
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)info;
    (void)type;
    (void)walk;
    return remove(path);
}

/* `told`: half of the doses are four times the others, and only the constraint vector tells which. */
static void write_cohort(const char *name, bool told)
{
    char folder[128];
    t7_cohort t;
    t7_create(&t, 10, shape);
    snprintf(folder, sizeof folder, "%s/%s", root, name);
    for (int c = 0; c < t.count; c++) {
        dg_case_info *info = &t.data[c].info;
        info->constraint_count = told ? 2 : 0;
        snprintf(info->constraint_name[0], sizeof info->constraint_name[0], "none");
        snprintf(info->constraint_name[1], sizeof info->constraint_name[1], "level");
        info->constraint[1] = (float)(c % 2);
        for (int64_t i = 0; told && i < shape[0] * shape[1] * shape[2]; i++) {
            t.ct[c][i] = 0;
            t.dose[c][i] = c % 2 == 0 ? 10 : 40;
        }
        DG_CHECK_OK(dg_case_write(folder, &t.data[c]));
    }
    DG_CHECK_OK(dg_cohort_write_index(folder, NULL, 0));
    t7_release(&t);
}

int main(int argc, char **argv)
{
    dg_comm *comm;
    dg_trainer_summary whole;
    int64_t id = getpid();
    DG_CHECK_OK(dg_comm_open(&argc, &argv, &comm));
    DG_CHECK_OK(dg_comm_broadcast(comm, &id, sizeof id, 0));
    snprintf(root, sizeof root, "t707_trainer-%lld", (long long)id);
    if (comm->rank == 0) {
        write_cohort("cohort", false);
        write_cohort("told", true);
    }
    DG_CHECK_OK(dg_comm_barrier(comm));
    test_run(comm, &whole);
    test_resume(comm, &whole);
    test_alone(comm, &whole);
    test_refused(comm);
    test_signal(comm);
    test_not_finite(comm);
    test_trained(&whole);
    test_constraints(comm);
    test_early(comm, &whole);
    DG_CHECK_OK(dg_comm_barrier(comm));
    if (comm->rank == 0) nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    dg_comm_destroy(&comm);
    dg_mpi_stop();
    return 0;
}
