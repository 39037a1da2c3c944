/* batch.c - one batch script. SPDX-License-Identifier: Apache-2.0 */
#include "cluster_impl.h"

#include <stdlib.h>
#include <string.h>

static const char name_letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";

static bool given(const char *text) { return text != NULL && text[0] != '\0'; }

/* A directive is read by sbatch, not by a shell: quotes and blanks in it mean other things there. */
static dg_status check_word(const char *what, const char *text, const char *also)
{
    for (const char *c = text; *c != '\0'; c++) {
        if (strchr(name_letters, *c) == NULL && strchr(also, *c) == NULL)
            return DG_FAIL(DG_ERR_USAGE, "%s '%.100s' cannot stand in a batch script: letters, digits and _ . - %s",
                           what, text, also);
    }
    return DG_OK;
}

dg_status dg_batch_check(const dg_batch_resources *r, const dg_batch_job *job)
{
    const struct {
        const char *what, *text, *also;
    } words[] = {{"the name", job->name, ""},
                 {"--memory", r->memory, ""},
                 {"--time", r->time, ":"},
                 {"--partition", r->partition, ","},
                 {"--account", r->account, ""},
                 {"--qos", r->qos, ""},
                 {"the folder of scripts", r->logs, "/+"}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (given(words[i].text)) DG_TRY(check_word(words[i].what, words[i].text, words[i].also));
    }
    for (int i = 0; i < r->more_count; i++) {
        if (strncmp(r->more[i], "--", 2) != 0 || strpbrk(r->more[i], " \t\n\"'\\") != NULL)
            return DG_FAIL(DG_ERR_USAGE, "'%.100s' is no option of sbatch: write --name or --name=value", r->more[i]);
    }
    if (!given(job->name)) return DG_FAIL(DG_ERR_USAGE, "a batch job needs a name");
    if (job->count < 1 || (job->count > 1 && job->task_ids == NULL))
        return DG_FAIL(DG_ERR_INTERNAL, "job %s: %d commands without an array", job->name, job->count);
    return DG_OK;
}

/* 1-4,7 for 1 2 3 4 7. */
static void write_array(FILE *to, const dg_batch_job *job)
{
    fprintf(to, "#SBATCH --array=");
    for (int i = 0; i < job->count; i++) {
        int last = i;
        while (last + 1 < job->count && job->task_ids[last + 1] == job->task_ids[last] + 1) last++;
        fprintf(to, "%s%d", i == 0 ? "" : ",", job->task_ids[i]);
        if (last > i) fprintf(to, "-%d", job->task_ids[last]);
        i = last;
    }
    if (job->at_once > 0) fprintf(to, "%%%d", job->at_once);
    fputc('\n', to);
}

static void write_directives(FILE *to, const dg_batch_resources *r, const dg_batch_job *job)
{
    const struct {
        const char *name, *value;
    } texts[] = {
        {"mem", r->memory}, {"time", r->time}, {"partition", r->partition}, {"account", r->account}, {"qos", r->qos}};
    fprintf(to, "#SBATCH --job-name=%s\n", job->name);
    fprintf(to, "#SBATCH --output=%s/%s-%s.log --open-mode=append\n", given(r->logs) ? r->logs : ".", job->name,
            job->task_ids != NULL ? "%A_%a" : "%j");
    fprintf(to, "#SBATCH --nodes=%d --ntasks-per-node=%d\n", job->ranks ? r->nodes : 1,
            job->ranks ? r->ranks_per_node : 1);
    if (r->cpus_per_rank > 0) fprintf(to, "#SBATCH --cpus-per-task=%d\n", r->cpus_per_rank);
    if (job->gpus && r->gpus_per_node > 0) fprintf(to, "#SBATCH --gpus-per-node=%d\n", r->gpus_per_node);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (given(texts[i].value)) fprintf(to, "#SBATCH --%s=%s\n", texts[i].name, texts[i].value);
    fprintf(to, "#SBATCH %s --signal=B:USR1@%d\n", r->requeue ? "--requeue" : "--no-requeue", r->signal_s);
    if (job->task_ids != NULL) write_array(to, job);
    for (int i = 0; i < r->more_count; i++) fprintf(to, "#SBATCH %s\n", r->more[i]);
}

static void write_commands(FILE *to, const dg_batch_job *job)
{
    for (int i = 0; i < job->count; i++) {
        fprintf(to, "%s%d) arguments=(", i == 0 ? "" : "\n", job->task_ids == NULL ? 0 : job->task_ids[i]);
        for (int a = 0; job->commands[i][a] != NULL; a++) {
            if (a > 0) fputc(' ', to);
            dg_shell_word(to, job->commands[i][a]);
        }
        fprintf(to, ") ;;");
    }
}

static dg_status make_text(void (*write)(FILE *, const dg_batch_resources *, const dg_batch_job *),
                           const dg_batch_resources *r, const dg_batch_job *job, char **text)
{
    size_t size;
    FILE *to = open_memstream(text, &size);
    if (to == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for a batch script");
    write(to, r, job);
    return fclose(to) == 0 ? DG_OK : DG_FAIL(DG_ERR_MEMORY, "no memory for a batch script");
}

static void commands_of(FILE *to, const dg_batch_resources *r, const dg_batch_job *job) { write_commands(to, job); }

dg_status dg_batch_render(const dg_batch_resources *r, const dg_batch_job *job, char **text)
{
    char *directives = NULL, *commands = NULL, save[16], restarts[16];
    *text = NULL;
    DG_TRY(dg_batch_check(r, job));
    snprintf(save, sizeof save, "%d", r->signal_s * 2 / 3);
    snprintf(restarts, sizeof restarts, "%d", r->max_restarts);
    dg_status status = make_text(write_directives, r, job, &directives);
    if (status == DG_OK) status = make_text(commands_of, r, job, &commands);
    if (status == DG_OK) {
        const batch_field fields[] = {{"DIRECTIVES", directives},
                                      {"SETUP", given(r->setup) ? r->setup : ":"},
                                      {"PROGRAM", r->program},
                                      {"COMMANDS", commands},
                                      {"LAUNCH", !job->ranks ? "" : (r->mpirun ? "mpirun " : "srun --mpi=pmix ")},
                                      {"SAVE_S", save},
                                      {"SOME_CASES", job->some_suffice ? "0" : "3"},
                                      {"REQUEUE", r->requeue ? "yes" : "no"},
                                      {"MAX_RESTARTS", restarts}};
        status = dg_template_fill("job.sbatch", fields, sizeof fields / sizeof fields[0], text);
    }
    free(directives);
    free(commands);
    return status;
}
