/* What the heartbeat costs a training step: the marks of a step times what one takes, and the share of a processor that its
 * thread takes, together under 1 % of a small step (16 channels, 32^3 voxels). With an argument N also N pairs of whole
 * trainings with and without it, one after the other, and the ratio of their median steps: what tests/bench reports.
 * ctest: libs=dg_run label=slow ranks=1,2 timeout=120
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_file.h"
#include "dg_mpi.h"
#include "dg_trace.h"
#include "t7_cases.h"
#include "trainer.h"

#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { STEPS = 24, WARM = 4, RUNS_MAX = 64, MARKS = 1000000, NAP_S = 2 };
static char root[64];

static void nobody_tells(void *context, const char *text) { fprintf(stderr, "%s\n", text); }
static void nobody_leaves(void *context, const char *text)
{
    fprintf(stderr, "%s\n", text);
    _exit(1);
}

static dg_heartbeat *begin(dg_comm *comm)
{
    char warning[512];
    dg_heartbeat *heartbeat;
    const dg_heartbeat_options options = {.tell = nobody_tells, .leave = nobody_leaves};
    DG_CHECK_OK(dg_heartbeat_open(comm, &options, warning, sizeof warning, &heartbeat));
    return heartbeat;
}

/* A run of STEPS steps; the mean seconds of those after the first WARM (metrics.csv tells milliseconds). */
static double train(dg_comm *comm, const char *name)
{
    char text[1024], path[DG_PATH_MAX], *table;
    int rows;
    int64_t length;
    dg_run_config config;
    dg_options options;
    dg_trainer *trainer;
    dg_trainer_summary summary;
    snprintf(text, sizeof text,
             "run: {dir: %s/runs, name: %s}\n"
             "data: {cohort: %s/cohort, split: {train: 0.5, val: 0.5, test: 0}, channels: [ct, rx], patch: auto}\n"
             "model: {base: 16, levels: 3}\n"
             "train: {steps: %d, batch: 2, threads: 1, validate_every: 0, checkpoint_every: 0}\n",
             root, name, root, STEPS);
    const dg_option *option_rows = dg_run_config_rows(&rows);
    DG_CHECK_OK(dg_options_init(&options, option_rows, rows, &config));
    DG_CHECK_OK(dg_options_read_yaml_text(&options, text, strlen(text), "test"));
    const dg_trainer_request request = {
        .options = &options, .config = &config, .init = "", .trace = "", .level = DG_LOG_ERROR};
    DG_CHECK_OK(dg_trainer_create(comm, &request, &trainer));
    DG_CHECK_OK(dg_trainer_run(trainer, &summary));
    dg_trainer_destroy(&trainer);
    dg_options_release(&options);
    DG_CHECK_OK(dg_comm_barrier(comm));
    snprintf(path, sizeof path, "%s/runs/%s/metrics.csv", root, name);
    DG_CHECK_OK(dg_file_read(path, "metrics", 1 << 24, &table, &length));
    char *rest = table, *line;
    double first = 0, last = 0;
    (void)strsep(&rest, "\n");
    for (int row = 0; row < STEPS && (line = strsep(&rest, "\n")) != NULL; row++) {
        DG_CHECK(sscanf(line, "%*d,%lf", &last) == 1);
        if (row == WARM - 1) first = last;
    }
    dg_free(&table);
    return (last - first) / (STEPS - WARM);
}

static int rising(const void *a, const void *b)
{
    const double *p = a, *q = b;
    return (*p > *q) - (*p < *q);
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, rising);
    return values[count / 2];
}

static double processor_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* Seconds of a mark, and the thread's share of a processor while it writes its file each second. */
static void measure_parts(dg_comm *comm, double *mark_s, double *share)
{
    dg_heartbeat *heartbeat = begin(comm);
    double start = dg_time_s();
    for (int i = 0; i < MARKS; i++) (void)dg_heartbeat_phase(heartbeat, DG_PHASE_FORWARD);
    *mark_s = (dg_time_s() - start) / MARKS;
    dg_heartbeat_folder(heartbeat, root);
    start = processor_s();
    nanosleep(&(struct timespec){.tv_sec = NAP_S}, NULL);
    *share = (processor_s() - start) / NAP_S;
    dg_heartbeat_destroy(&heartbeat);
    comm->heartbeat = NULL;
}

/* Marks that this rank leaves in a step, and its time. */
static void measure_step(dg_comm *comm, double *marks, double *step_s)
{
    int ranks = 0;
    dg_pulse *pulses;
    dg_heartbeat *heartbeat = begin(comm);
    *step_s = train(comm, "marks");
    dg_heartbeat_folder(heartbeat, root); /* writes at once */
    DG_CHECK_OK(dg_comm_barrier(comm));
    DG_CHECK_OK(dg_heartbeat_read(root, &pulses, &ranks));
    DG_CHECK(ranks == comm->size);
    *marks = (double)pulses[comm->rank].marks / STEPS; /* those of the beginning and the end among them */
    dg_free(&pulses);
    DG_CHECK_OK(dg_comm_barrier(comm));
    dg_heartbeat_destroy(&heartbeat);
    comm->heartbeat = NULL;
    DG_CHECK(*marks > 5);
}

static void compare(dg_comm *comm, int pairs)
{
    double with[RUNS_MAX], without[RUNS_MAX];
    for (int k = 0; k < pairs; k++) {
        char name[32];
        for (int half = 0; half < 2; half++) {
            bool on = (k + half) % 2 == 0;
            snprintf(name, sizeof name, "%s-%d", on ? "with" : "without", k);
            dg_heartbeat *heartbeat = on ? begin(comm) : NULL;
            *(on ? &with[k] : &without[k]) = train(comm, name);
            dg_heartbeat_destroy(&heartbeat);
            comm->heartbeat = NULL;
        }
    }
    double a = median(with, pairs), b = median(without, pairs);
    if (comm->rank == 0)
        printf("step, median of %d runs each: with heartbeat %.4f ms, without %.4f ms, difference %+.2f %%\n", pairs,
               1e3 * a, 1e3 * b, 100 * (a / b - 1));
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *walk) { return remove(path); }

static void write_cohort(void)
{
    static const int64_t shape[3] = {32, 32, 32};
    char folder[128];
    t7_cohort t;
    t7_create(&t, 4, shape);
    snprintf(folder, sizeof folder, "%s/cohort/cases", root);
    DG_CHECK_OK(dg_make_folder(folder));
    snprintf(folder, sizeof folder, "%s/cohort", root);
    for (int c = 0; c < t.count; c++) DG_CHECK_OK(dg_case_write(folder, &t.data[c]));
    DG_CHECK_OK(dg_cohort_write_index(folder, NULL, 0));
    t7_release(&t);
}

int main(int argc, char **argv)
{
    dg_comm *comm;
    int64_t id = getpid();
    double mark_s, share, marks, step_s;
    DG_CHECK_OK(dg_comm_open(&argc, &argv, &comm));
    DG_CHECK_OK(dg_comm_broadcast(comm, &id, sizeof id, 0));
    snprintf(root, sizeof root, "t910_heartbeat-%lld", (long long)id);
    if (comm->rank == 0) write_cohort();
    DG_CHECK_OK(dg_comm_barrier(comm));
    measure_parts(comm, &mark_s, &share);
    measure_step(comm, &marks, &step_s);
    double cost = marks * mark_s / step_s + share;
    printf(
        "rank %d of %d: %.1f marks a step of %.2f ms, %.0f ns each; the thread takes %.3f %% of a processor: %.3f %% "
        "of a step\n",
        comm->rank, comm->size, marks, 1e3 * step_s, 1e9 * mark_s, 100 * share, 100 * cost);
    if (argc > 1) compare(comm, atoi(argv[1]) < RUNS_MAX ? atoi(argv[1]) : RUNS_MAX);
    DG_CHECK_OK(dg_comm_barrier(comm));
    if (comm->rank == 0) nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    dg_comm_destroy(&comm);
    dg_mpi_stop();
    DG_CHECK(cost < 0.01);
    return 0;
}
