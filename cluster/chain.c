/* chain.c - several batch jobs that wait for each other. SPDX-License-Identifier: Apache-2.0 */
#include "cluster_impl.h"

#include "dg_file.h"
#include "dg_mem.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ANSWER_MAX = 1 << 14 };
static const double QUEUE_S = 120;

static dg_status path_of(const char *folder, const char *name, const char *ending, char path[DG_PATH_MAX])
{
    char file[300];
    snprintf(file, sizeof file, "%.250s%s", name, ending);
    return dg_path_join(path, folder, file);
}

/* A line that queues the job: the ids of those before it stand in the shell's ids[]. */
static dg_status write_queue_line(FILE *to, const dg_batch_job *jobs, int index, const char *folder)
{
    char path[DG_PATH_MAX];
    const dg_batch_job *job = &jobs[index];
    DG_TRY(path_of(folder, job->name, ".sbatch", path));
    if (job->after >= index || (job->task_by_task && jobs[job->after].count != job->count))
        return DG_FAIL(DG_ERR_INTERNAL, "job %s waits for what does not come before it", job->name);
    fprintf(to, "queue %s ", job->name);
    if (job->after >= 0)
        fprintf(to, "--kill-on-invalid-dep=yes --dependency=%s:\"${ids[%d]}\" ",
                job->task_by_task ? "aftercorr" : "afterok", job->after);
    dg_shell_word(to, path);
    fputc('\n', to);
    return DG_OK;
}

static dg_status write_starter(const dg_batch_job *jobs, int count, const char *folder, const char *path)
{
    char here[DG_PATH_MAX], *lines = NULL, *quoted = NULL, *text = NULL;
    size_t size;
    if (getcwd(here, sizeof here) == NULL) return DG_FAIL(DG_ERR_IO, "the working folder is gone");
    FILE *to = open_memstream(&lines, &size), *word = open_memstream(&quoted, &size);
    dg_status status = to != NULL && word != NULL ? DG_OK : DG_FAIL(DG_ERR_MEMORY, "no memory for a batch script");
    for (int i = 0; i < count && status == DG_OK; i++) status = write_queue_line(to, jobs, i, folder);
    if (word != NULL) dg_shell_word(word, here);
    bool written = to != NULL && fclose(to) == 0;
    written = word != NULL && fclose(word) == 0 && written;
    if (status == DG_OK && !written) status = DG_FAIL(DG_ERR_MEMORY, "no memory for a batch script");
    const batch_field fields[] = {{"FOLDER", quoted}, {"JOBS", lines}};
    if (status == DG_OK) status = dg_template_fill("chain.sh", fields, 2, &text);
    if (status == DG_OK) status = dg_file_write(path, text, (int64_t)strlen(text));
    dg_free(&text);
    free(lines);
    free(quoted);
    return status;
}

dg_status dg_batch_write_chain(const dg_batch_resources *resources, const dg_batch_job *jobs, int count,
                               const char *folder, const char *name)
{
    char path[DG_PATH_MAX];
    for (int i = 0; i < count; i++) DG_TRY(dg_batch_check(resources, &jobs[i]));
    DG_TRY(dg_make_folder(folder));
    for (int i = 0; i < count; i++) {
        char *text;
        DG_TRY(path_of(folder, jobs[i].name, ".sbatch", path));
        DG_TRY(dg_batch_render(resources, &jobs[i], &text));
        dg_status status = dg_file_write(path, text, (int64_t)strlen(text));
        dg_free(&text);
        if (status != DG_OK) return status;
    }
    DG_TRY(path_of(folder, name, ".sh", path));
    return write_starter(jobs, count, folder, path);
}

/* "NAME ID" lines, one per job in order. */
static dg_status read_ids(const char *answer, const dg_batch_job *jobs, int count, char (*ids)[DG_BATCH_ID])
{
    for (int i = 0; i < count; i++) {
        size_t name = strlen(jobs[i].name), length = strcspn(answer, "\n");
        bool mine = strncmp(answer, jobs[i].name, name) == 0 && answer[name] == ' ';
        size_t digits = mine ? strspn(answer + name + 1, "0123456789") : 0;
        if (digits == 0 || digits >= DG_BATCH_ID || name + 1 + digits != length)
            return DG_FAIL(DG_ERR_IO, "sbatch gave no number for job %s: %.300s", jobs[i].name, answer);
        snprintf(ids[i], DG_BATCH_ID, "%.*s", (int)digits, answer + name + 1);
        answer += length + (answer[length] == '\n');
    }
    return DG_OK;
}

dg_status dg_batch_submit_chain(const dg_batch_job *jobs, int count, const char *folder, const char *name,
                                char (*ids)[DG_BATCH_ID])
{
    char path[DG_PATH_MAX], *answer;
    int code;
    DG_TRY(path_of(folder, name, ".sh", path));
    const char *argv[] = {"bash", path, NULL};
    DG_TRY(dg_alloc(&answer, ANSWER_MAX, 1, "answer of sbatch"));
    dg_status status = dg_command_run(argv, QUEUE_S, answer, ANSWER_MAX, &code);
    if (status == DG_OK && code != 0)
        status = DG_FAIL(DG_ERR_IO, "nothing was queued: %.500s", answer[0] != '\0' ? answer : "the scheduler refused");
    if (status == DG_OK) status = read_ids(answer, jobs, count, ids);
    dg_free(&answer);
    return status;
}
