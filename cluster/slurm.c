/* slurm.c - the scheduler adapter of Slurm, through its commands. SPDX-License-Identifier: Apache-2.0 */
#include "cluster_impl.h"

#include "dg_mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ANSWER_MAX = 1 << 16 };
static const double ANSWER_S = 5, ASK_EVERY_S = 600, ASK_EVERY_NEAR_S = 60;

typedef struct slurm {
    dg_sched base;
    bool asked;
    double end_time, next_ask; /* Unix time */
} slurm;

static double clock_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* The value of " NAME=value" on a line; false: it is not there. */
static bool find_field(const char *line, const char *end, const char *name, char *value, size_t capacity)
{
    size_t length = strlen(name);
    for (const char *at = line; at + length < end; at++) {
        if ((at != line && at[-1] != ' ') || strncmp(at, name, length) != 0 || at[length] != '=') continue;
        const char *from = at + length + 1;
        size_t span = strcspn(from, " \n");
        snprintf(value, capacity, "%.*s", (int)(span < capacity ? span : capacity - 1), from);
        return true;
    }
    return false;
}

static dg_status read_fields(const char *line, const char *end, const char *id, dg_sched_job *out)
{
    char text[64], *rest;
    if (!find_field(line, end, "JobState", out->state, sizeof out->state))
        return DG_FAIL(DG_ERR_FORMAT, "scontrol tells no JobState of job %s", id);
    out->restarts = find_field(line, end, "Restarts", text, sizeof text) ? (int)strtol(text, NULL, 10) : 0;
    out->requeue = find_field(line, end, "Requeue", text, sizeof text) && strcmp(text, "1") == 0;
    out->end_time = INFINITY; /* "Unknown" and "NONE": nothing limits it */
    if (find_field(line, end, "EndTime", text, sizeof text)) {
        double time = strtod(text, &rest);
        if (rest != text && *rest == '\0') out->end_time = time;
    }
    return DG_OK;
}

dg_status dg_slurm_read_job(const char *text, const char *id, dg_sched_job *out)
{
    char found[64];
    while (*text != '\0') {
        const char *end = text + strcspn(text, "\n");
        if (find_field(text, end, "JobId", found, sizeof found) && strcmp(found, id) == 0)
            return read_fields(text, end, id, out);
        text = *end == '\0' ? end : end + 1;
    }
    return DG_FAIL(DG_ERR_USAGE, "Slurm knows no job %s (any more)", id);
}

static void slurm_destroy(dg_sched *sched) { dg_free(&sched); }

static dg_status slurm_job(dg_sched *sched, const char *job_id, dg_sched_job *out)
{
    const char *argv[] = {"scontrol", "-o", "show", "job", job_id, NULL};
    char *answer;
    int code;
    DG_TRY(dg_alloc(&answer, ANSWER_MAX, 1, "answer of scontrol"));
    dg_status status = dg_command_run(argv, ANSWER_S, answer, ANSWER_MAX, &code);
    if (status == DG_OK && code != 0) {
        bool unknown = strstr(answer, "Invalid job id") != NULL;
        status = unknown ? DG_FAIL(DG_ERR_USAGE, "Slurm knows no job %s (any more)", job_id)
                         : DG_FAIL(DG_ERR_IO, "scontrol show job %s ended with %d: %.300s", job_id, code, answer);
    }
    if (status == DG_OK) status = dg_slurm_read_job(answer, job_id, out);
    dg_free(&answer);
    return status;
}

static dg_status slurm_end_time(dg_sched *sched, double *end_time)
{
    slurm *s = (slurm *)sched;
    double now = clock_s();
    if (!s->asked || now >= s->next_ask) {
        dg_sched_job job = {.end_time = INFINITY};
        dg_status status = slurm_job(sched, sched->job_id, &job);
        if (status != DG_OK && !s->asked) return status;
        if (status == DG_OK)
            s->end_time = job.end_time;
        else
            dg_error_clear();
        s->asked = true;
        double left = s->end_time - now;
        s->next_ask = now + (left < 2 * ASK_EVERY_S ? ASK_EVERY_NEAR_S : ASK_EVERY_S);
    }
    *end_time = s->end_time;
    return DG_OK;
}

static dg_status slurm_requeue(dg_sched *sched)
{
    const char *argv[] = {"scontrol", "requeue", sched->job_id, NULL};
    char answer[512];
    int code;
    DG_TRY(dg_command_run(argv, ANSWER_S, answer, sizeof answer, &code));
    if (code == 0) return DG_OK;
    return DG_FAIL(DG_ERR_IO, "scontrol requeue %s ended with %d: %.300s", sched->job_id, code, answer);
}

static const dg_sched_ops slurm_ops = {
    .name = "slurm",
    .destroy = slurm_destroy,
    .job = slurm_job,
    .end_time = slurm_end_time,
    .requeue = slurm_requeue,
};

static int number_of(const char *variable)
{
    const char *text = getenv(variable);
    long value = text == NULL ? 0 : strtol(text, NULL, 10);
    return value > 0 && value < 1 << 30 ? (int)value : 0;
}

dg_status dg_sched_slurm_create(dg_sched **out)
{
    const char *id = getenv("SLURM_JOB_ID");
    *out = NULL;
    if (id == NULL || id[0] == '\0' || strlen(id) >= sizeof(*out)->job_id || id[strspn(id, "0123456789")] != '\0')
        return DG_FAIL(DG_ERR_USAGE, "SLURM_JOB_ID is '%.60s', not the number of a job", id == NULL ? "" : id);
    slurm *s;
    DG_TRY(DG_NEW(&s, 1, "scheduler adapter"));
    s->base = (dg_sched){.ops = &slurm_ops,
                         .expected_ranks = number_of("SLURM_NTASKS"),
                         .restart_count = number_of("SLURM_RESTART_COUNT")};
    snprintf(s->base.job_id, sizeof s->base.job_id, "%s", id);
    *out = &s->base;
    return DG_OK;
}

dg_status dg_sched_open(dg_sched **out)
{
    const char *id = getenv("SLURM_JOB_ID");
    return id == NULL || id[0] == '\0' ? dg_sched_none_create(out) : dg_sched_slurm_create(out);
}
