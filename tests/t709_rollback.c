/* train.on_nan rollback: after a step that is not finite the weights are those of the last checkpoint, on every rank and
 * with both reductions; without an end in sight the run ends. A resumed run goes on alike.
 * ctest: libs=dg_run label=mpi ranks=1,2,4 timeout=240
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_checkpoint.h"
#include "dg_file.h"
#include "dg_mpi.h"
#include "sample.h"
#include "split.h"
#include "t7_cases.h"
#include "trainer.h"

#include <ftw.h>
#include <math.h>
#include <unistd.h>

static const int64_t shape[3] = {8, 8, 8};
enum { CASES = 12, BATCH = 4, EVERY = 3, SEED = 7 };
static char root[64];

typedef struct setup {
    dg_run_config config;
    dg_options options;
} setup;

static void open_setup(setup *s, const char *name)
{
    char text[1024];
    int count;
    const dg_option *rows = dg_run_config_rows(&count);
    snprintf(text, sizeof text,
             "run: {dir: %s/runs, name: %s, seed: %d}\n"
             "data: {cohort: %s/cohort, split: {train: 0.84, val: 0, test: 0.16}, channels: [ct, rx], patch: auto}\n"
             "model: {base: 4, levels: 2}\n"
             "loss: {mse: 1e8, mae: 0}\n"
             "optim: {lr: 1e-2, ema: 0.5, schedule: {kind: constant}}\n"
             "train: {batch: %d, threads: 1, dtype: f32, reduction: ordered, backend: ref, validate_every: 0, "
             "checkpoint_every: %d, keep: 50}\n",
             root, name, SEED, root, BATCH, EVERY);
    DG_CHECK_OK(dg_options_init(&s->options, rows, count, &s->config));
    DG_CHECK_OK(dg_options_read_yaml_text(&s->options, text, strlen(text), "test"));
}

static dg_status train(dg_comm *comm, const char *name, const char *reduction, const char *policy, int64_t steps,
                       bool resume, dg_trainer_summary *summary)
{
    static const char *const keys[] = {"train.reduction", "train.on_nan", "train.steps"};
    const dg_origin origin = {.kind = DG_FROM_COMMAND_LINE, .where = "test"};
    char number[24];
    const char *const values[] = {reduction, policy, number};
    setup s;
    dg_trainer *trainer = NULL;
    snprintf(number, sizeof number, "%lld", (long long)steps);
    open_setup(&s, name);
    for (int i = 0; i < 3; i++) DG_CHECK_OK(dg_options_set(&s.options, keys[i], values[i], &origin));
    dg_trainer_request request = {
        .options = &s.options, .config = &s.config, .resume = resume, .init = "", .trace = "", .level = DG_LOG_ERROR};
    dg_status status = dg_trainer_create(comm, &request, &trainer);
    if (status == DG_OK) status = dg_trainer_run(trainer, summary);
    dg_trainer_destroy(&trainer);
    dg_options_release(&s.options);
    return status;
}

/* `poisoned`: a dose whose gradients overflow, though it is a finite number itself; -1: none. */
static void write_cohort(int64_t poisoned)
{
    char folder[128];
    t7_cohort t;
    t7_create(&t, CASES, shape);
    snprintf(folder, sizeof folder, "%s/cohort", root);
    for (int c = 0; c < t.count; c++) {
        for (int64_t i = 0; c == poisoned && i < shape[0] * shape[1] * shape[2]; i++) t.dose[c][i] = 3e38f;
        DG_CHECK_OK(dg_case_write(folder, &t.data[c]));
    }
    DG_CHECK_OK(dg_cohort_write_index(folder, NULL, 0));
    t7_release(&t);
}

/* The steps up to `steps` that draw the case, as a bit set, by the split and sampler of the run. */
static uint64_t steps_with(int64_t case_index, int64_t steps, int64_t *first_training)
{
    char folder[128];
    setup s;
    dg_cohort *cohort;
    dg_split split;
    uint64_t bits = 0;
    snprintf(folder, sizeof folder, "%s/cohort", root);
    open_setup(&s, "none");
    DG_CHECK_OK(dg_cohort_open(folder, &cohort));
    DG_CHECK_OK(dg_split_make(&s.config.data.split, cohort, &split));
    const dg_sampler sampler = {
        .seed = SEED, .batch = BATCH, .cases = split.index[DG_PART_TRAIN], .case_count = split.count[DG_PART_TRAIN]};
    *first_training = split.index[DG_PART_TRAIN][0];
    for (int64_t step = 0; step < steps; step++)
        for (int slot = 0; slot < BATCH; slot++)
            if (dg_sampler_case(&sampler, step, slot) == case_index) bits |= UINT64_C(1) << step;
    dg_split_release(&split);
    dg_cohort_close(&cohort);
    dg_options_release(&s.options);
    return bits;
}

static void checkpoint_weights(const char *run, int64_t step, char hex[DG_HASH_HEX])
{
    char path[DG_PATH_MAX];
    dg_checkpoint_meta meta;
    snprintf(path, sizeof path, "%s/runs/%s/checkpoints/step-%08lld.h5", root, run, (long long)step);
    DG_CHECK_OK(dg_checkpoint_read_meta(path, &meta, NULL));
    memcpy(hex, meta.weights_sha256, DG_HASH_HEX);
}

/* All ranks hold the same weights. */
static void check_alike(dg_comm *comm, const dg_trainer_summary *summary)
{
    char first[DG_HASH_HEX];
    memcpy(first, summary->weights_sha256, sizeof first);
    DG_CHECK_OK(dg_comm_broadcast(comm, first, sizeof first, 0));
    DG_CHECK(strcmp(first, summary->weights_sha256) == 0);
}

/* Ends each run with a poisoned step that good ones, behind a checkpoint, preceded. */
static void test_reduction(dg_comm *comm, const char *reduction, uint64_t bad, int64_t bad_step,
                           char sha256[DG_HASH_HEX])
{
    dg_trainer_summary skipped, rolled, resumed;
    char name[32], before[DG_HASH_HEX];
    int64_t steps = bad_step + 1, kept = bad_step / EVERY * EVERY;
    int bads = __builtin_popcountll(bad & ((UINT64_C(1) << steps) - 1));
    snprintf(name, sizeof name, "skip-%s", reduction);
    DG_CHECK_OK(train(comm, name, reduction, "skip", steps, false, &skipped));
    snprintf(name, sizeof name, "roll-%s", reduction);
    DG_CHECK_OK(train(comm, name, reduction, "rollback", steps, false, &rolled));
    DG_CHECK(skipped.skipped == bads && skipped.rollbacks == 0);
    DG_CHECK(rolled.skipped == bads && rolled.rollbacks == bads && rolled.step == steps);
    checkpoint_weights(name, kept, before);
    DG_CHECK(strcmp(rolled.weights_sha256, before) == 0);
    DG_CHECK(strcmp(skipped.weights_sha256, before) != 0);
    check_alike(comm, &rolled);
    memcpy(sha256, rolled.weights_sha256, DG_HASH_HEX);
    /* stopped at the checkpoint and resumed: the same, and the count goes on */
    snprintf(name, sizeof name, "part-%s", reduction);
    DG_CHECK_OK(train(comm, name, reduction, "rollback", kept, false, &resumed));
    DG_CHECK_OK(train(comm, name, reduction, "rollback", steps, true, &resumed));
    DG_CHECK(resumed.rollbacks == bads && strcmp(resumed.weights_sha256, before) == 0);
}

/* A step size that makes weights of no use: after every rollback the next steps fail again. */
static void test_hopeless(dg_comm *comm)
{
    const dg_origin origin = {.kind = DG_FROM_COMMAND_LINE, .where = "test"};
    static const char *const set[][2] = {{"train.steps", "60"},   {"train.on_nan", "rollback"},
                                         {"optim.lr", "1000"},    {"optim.kind", "sgd"},
                                         {"optim.momentum", "0"}, {"train.checkpoint_every", "0"}};
    setup s;
    dg_trainer *trainer;
    dg_trainer_summary summary;
    open_setup(&s, "wild");
    for (size_t i = 0; i < sizeof set / sizeof set[0]; i++)
        DG_CHECK_OK(dg_options_set(&s.options, set[i][0], set[i][1], &origin));
    dg_trainer_request request = {
        .options = &s.options, .config = &s.config, .init = "", .trace = "", .level = DG_LOG_ERROR};
    DG_CHECK_OK(dg_trainer_create(comm, &request, &trainer));
    DG_CHECK_FAILS(dg_trainer_run(trainer, &summary), DG_ERR_NUMERIC,
                   "10 rollbacks to the same weights did not help, the last at step");
    dg_trainer_destroy(&trainer);
    dg_options_release(&s.options);
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)info, (void)type, (void)walk;
    return remove(path);
}

int main(int argc, char **argv)
{
    enum { LOOK = 40 };
    dg_comm *comm;
    char sha256[DG_HASH_HEX];
    int64_t id = getpid(), poisoned, bad_step = -1, ignored;
    DG_CHECK_OK(dg_comm_open(&argc, &argv, &comm));
    DG_CHECK_OK(dg_comm_broadcast(comm, &id, sizeof id, 0));
    snprintf(root, sizeof root, "t709_rollback-%lld", (long long)id);
    if (comm->rank == 0) write_cohort(-1);
    DG_CHECK_OK(dg_comm_barrier(comm));
    test_hopeless(comm);
    (void)steps_with(0, 1, &poisoned);
    DG_CHECK_OK(dg_comm_barrier(comm));
    if (comm->rank == 0) write_cohort(poisoned);
    DG_CHECK_OK(dg_comm_barrier(comm));
    uint64_t bad = steps_with(poisoned, LOOK, &ignored);
    for (int64_t step = EVERY + 1; step < LOOK && bad_step < 0; step++) {
        bool here = bad >> step & 1, good_before = (bad >> (step - 1) & 1) == 0, checkpoint_between = step % EVERY == 0;
        if (here && good_before && !checkpoint_between) bad_step = step;
    }
    DG_CHECK(bad_step > 0);
    test_reduction(comm, "ordered", bad, bad_step, sha256);
    if (comm->rank == 0) { /* one rank alone: the same bits */
        dg_comm *self;
        dg_trainer_summary alone;
        DG_CHECK_OK(dg_comm_self_create(&self));
        DG_CHECK_OK(train(self, "alone", "ordered", "rollback", bad_step + 1, false, &alone));
        DG_CHECK(strcmp(alone.weights_sha256, sha256) == 0);
        dg_comm_destroy(&self);
    }
    DG_CHECK_OK(dg_comm_barrier(comm));
    test_reduction(comm, "fast", bad, bad_step, sha256);
    DG_CHECK_OK(dg_comm_barrier(comm));
    if (comm->rank == 0) nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    dg_comm_destroy(&comm);
    dg_mpi_stop();
    return 0;
}
