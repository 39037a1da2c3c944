/* submit_site.c - what a batch job asks of the site: the flags that `submit` and `sweep --submit` share, and the
 * scripts made with them. SPDX-License-Identifier: Apache-2.0 */
#include "submit_impl.h"

#include "dg_file.h"
#include "dg_mem.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SRUN, MPIRUN };
static const char *const launcher_names[] = {"srun", "mpirun", NULL};
static const char *const word_none[] = {"none", NULL};

#define AT(field) .offset = offsetof(submit_settings, field)
/* clang-format off */
#define TEXT(flag_, letter_, field, default_, help_) \
    {.key = "submit." flag_, .flag = flag_, .letter = letter_, .type = DG_OPT_STRING, AT(field), .fallback = default_, \
     .unit = "", .help = help_}
#define WHOLE(flag_, field, low, high, default_, unit_, help_) \
    {.key = "submit." flag_, .flag = flag_, .type = DG_OPT_INT, AT(field), .min = low, .max = high, \
     .fallback = default_, .unit = unit_, .help = help_}
#define SWITCH(flag_, field, default_, help_) \
    {.key = "submit." flag_, .flag = flag_, .type = DG_OPT_BOOL, AT(field), .fallback = default_, .unit = "", .help = help_}
static const dg_option rows[] = {
    WHOLE("nodes", nodes, 1, 100000, "1", "nodes", "nodes of each job"),
    WHOLE("gpus", gpus, 0, 64, "0", "GPUs", "GPUs per node of train and predict"),
    WHOLE("ranks", ranks, 0, 4096, "0", "ranks", "ranks per node; 0: one per GPU, one where there is none"),
    WHOLE("cpus", cpus, 0, 4096, "0", "cores", "cores per rank; 0: the site's default"),
    TEXT("memory", 0, memory, "", "memory per node, as sbatch takes it: 64G"),
    TEXT("time", 't', time, "", "time limit of each job, as sbatch takes it: 1-12:00:00"),
    TEXT("partition", 'p', partition, "", "partition, or several with commas"),
    TEXT("account", 'A', account, "", "account that pays"),
    TEXT("qos", 0, qos, "", "quality of service"),
    {.key = "submit.sbatch", .flag = "sbatch", .type = DG_OPT_STRING_LIST, AT(more), .list_min = 1,
     .list_max = DG_OPT_STRINGS_MAX, .names = word_none, .fallback = "none", .unit = "",
     .help = "a further option of sbatch: --sbatch=--exclusive"},
    SWITCH("requeue", requeue, "true", "a job that was preempted, or whose rank or node went away, goes back to the queue"),
    WHOLE("max-restarts", restarts, 0, 1000, "5", "", "of a job that is killed again and again"),
    WHOLE("signal", signal_s, 10, 86400, "180", "s", "warning before the time limit; the ranks then save and stop"),
    {.key = "submit.launcher", .flag = "launcher", .type = DG_OPT_ENUM, AT(launcher), .names = launcher_names,
     .fallback = "srun", .unit = "", .help = "what starts the ranks: srun --mpi=pmix, or mpirun inside the allocation"},
    TEXT("program", 0, program, "", "the program as the shell calls it; empty: this one. In a container: apptainer exec --nv IMAGE.sif dosegrid"),
    TEXT("setup", 0, setup, "", "file of shell lines that run first, such as module load"),
};
/* clang-format on */
_Static_assert(sizeof rows / sizeof rows[0] == SUBMIT_SITE_ROWS, "SUBMIT_SITE_ROWS counts the rows");

void submit_site_rows(dg_option *out, size_t offset)
{
    for (int i = 0; i < SUBMIT_SITE_ROWS; i++) {
        out[i] = rows[i];
        out[i].offset += offset;
    }
}

/* The path of this very program, quoted for the shell. */
static dg_status own_program(char *text, size_t capacity)
{
    char path[DG_PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length <= 0) return DG_FAIL(DG_ERR_IO, "this program's own path cannot be read: name it with --program");
    path[length] = '\0';
    if (strchr(path, '\'') != NULL || (size_t)length + 3 > capacity)
        return DG_FAIL(DG_ERR_USAGE, "this program's path is odd or long: name it with --program");
    snprintf(text, capacity, "'%s'", path);
    return DG_OK;
}

static dg_batch_resources resources_of(const submit_settings *s, const char **more, const char *program,
                                       const char *setup, const char *logs)
{
    int64_t ranks = s->ranks > 0 ? s->ranks : (s->gpus > 0 ? s->gpus : 1);
    for (int i = 0; i < s->more.count; i++) more[i] = s->more.value[i];
    return (dg_batch_resources){.nodes = (int)s->nodes,
                                .ranks_per_node = (int)ranks,
                                .gpus_per_node = (int)s->gpus,
                                .cpus_per_rank = (int)s->cpus,
                                .memory = s->memory,
                                .time = s->time,
                                .partition = s->partition,
                                .account = s->account,
                                .qos = s->qos,
                                .more = more,
                                .more_count = s->more.count,
                                .requeue = s->requeue,
                                .signal_s = (int)s->signal_s,
                                .max_restarts = (int)s->restarts,
                                .mpirun = s->launcher == MPIRUN,
                                .program = program,
                                .setup = setup,
                                .logs = logs};
}

dg_status submit_write(const submit_settings *s, const dg_batch_job *jobs, int count, const char *folder,
                       const char *name, char (*ids)[DG_BATCH_ID])
{
    const char *more[DG_OPT_STRINGS_MAX];
    char program[DG_PATH_MAX + 3], *setup = NULL;
    int64_t length;
    snprintf(program, sizeof program, "%s", s->program);
    if (program[0] == '\0') DG_TRY(own_program(program, sizeof program));
    if (s->setup[0] != '\0') DG_TRY(dg_file_read(s->setup, "file of --setup", 1 << 16, &setup, &length));
    dg_batch_resources resources = resources_of(s, more, program, setup, folder);
    dg_status status = dg_batch_write_chain(&resources, jobs, count, folder, name);
    if (status == DG_OK && ids != NULL) status = dg_batch_submit_chain(jobs, count, folder, name, ids);
    dg_free(&setup);
    return status;
}
