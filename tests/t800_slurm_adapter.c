/* The Slurm adapter against a scontrol of our own: what it reads, when it asks, and what it says when nobody answers.
 * ctest: libs=dg_cluster label=unit
 * SPDX-License-Identifier: Apache-2.0 */
#include "cluster_impl.h"
#include "dg_check.h"

#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* What Slurm 22.05 prints for an array of two: the id of its last task is that of the array. */
static const char array_text[] =
    "JobId=7 ArrayJobId=7 ArrayTaskId=4 JobName=JobState=FAKE JobState=RUNNING Reason=None Requeue=1 Restarts=2 "
    "TimeLimit=00:05:00 StartTime=1795324496 EndTime=1795324796 Deadline=N/A NodeList=n[1-2] \n"
    "JobId=8 ArrayJobId=7 ArrayTaskId=3 JobName=x JobState=PENDING Reason=Resources Requeue=0 Restarts=0 "
    "StartTime=Unknown EndTime=Unknown NodeList= \n";

static void test_reading(void)
{
    dg_sched_job job;
    DG_CHECK_OK(dg_slurm_read_job(array_text, "7", &job));
    DG_CHECK(strcmp(job.state, "RUNNING") == 0 && job.restarts == 2 && job.requeue && job.end_time == 1795324796);
    DG_CHECK_OK(dg_slurm_read_job(array_text, "8", &job));
    DG_CHECK(strcmp(job.state, "PENDING") == 0 && job.restarts == 0 && !job.requeue && isinf(job.end_time));
    DG_CHECK_FAILS(dg_slurm_read_job(array_text, "77", &job), DG_ERR_USAGE, "no job 77");
    DG_CHECK_FAILS(dg_slurm_read_job("", "7", &job), DG_ERR_USAGE, "no job 7");
    DG_CHECK_FAILS(dg_slurm_read_job("JobId=7 Restarts=1", "7", &job), DG_ERR_FORMAT, "no JobState of job 7");
}

static void test_commands(void)
{
    char output[8];
    int code;
    const char *echo[] = {"sh", "-c", "echo 0123456789; echo late >&2; exit 3", NULL};
    DG_CHECK_OK(dg_command_run(echo, 5, output, sizeof output, &code));
    DG_CHECK(code == 3 && strcmp(output, "0123456") == 0);
    const char *killed[] = {"sh", "-c", "kill -9 $$", NULL}, *absent[] = {"no-such-command", NULL};
    DG_CHECK_OK(dg_command_run(killed, 5, output, sizeof output, &code));
    DG_CHECK(code == 137);
    DG_CHECK_FAILS(dg_command_run(absent, 5, output, sizeof output, &code), DG_ERR_IO, "no-such-command");
    const char *slow[] = {"sleep", "60", NULL};
    time_t begin = time(NULL);
    DG_CHECK_FAILS(dg_command_run(slow, 0.3, output, sizeof output, &code), DG_ERR_IO, "no answer within");
    DG_CHECK(time(NULL) - begin < 30 && code == 137);
}

/* A scontrol that does what the shell lines say and counts its calls. */
static void plant_scontrol(const char *folder, const char *lines)
{
    char path[256];
    snprintf(path, sizeof path, "%s/scontrol", folder);
    FILE *file = fopen(path, "w");
    DG_CHECK(file != NULL);
    fprintf(file, "#!/bin/sh\necho \"$@\" >>%s/calls\n%s\n", folder, lines);
    DG_CHECK(fclose(file) == 0 && chmod(path, 0755) == 0);
}

static int calls(const char *folder)
{
    char path[256], line[256];
    int count = 0;
    snprintf(path, sizeof path, "%s/calls", folder);
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) count++;
    if (file != NULL) fclose(file);
    return count;
}

static void test_adapter(const char *folder)
{
    dg_sched *sched;
    dg_sched_job job;
    double end = 0, left = 0;
    char lines[256];
    setenv("SLURM_JOB_ID", "7", 1);
    setenv("SLURM_NTASKS", "4", 1);
    setenv("SLURM_RESTART_COUNT", "2", 1);
    snprintf(lines, sizeof lines, "[ \"$SLURM_TIME_FORMAT\" = %%s ] && echo \"JobId=7 JobState=RUNNING EndTime=%lld\"",
             (long long)time(NULL) + 1000);
    plant_scontrol(folder, lines);
    DG_CHECK_OK(dg_sched_open(&sched));
    DG_CHECK(strcmp(sched->ops->name, "slurm") == 0 && strcmp(sched->job_id, "7") == 0);
    DG_CHECK(sched->expected_ranks == 4 && sched->restart_count == 2);
    for (int i = 0; i < 100; i++) DG_CHECK_OK(dg_sched_seconds_left(sched, &left));
    DG_CHECK(left > 900 && left <= 1000);
    DG_CHECK(calls(folder) == 1); /* steps that ask for it do not disturb the controller */
    DG_CHECK_OK(dg_sched_requeue(sched));
    plant_scontrol(folder, "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1");
    DG_CHECK_FAILS(dg_sched_job_state(sched, "7", &job), DG_ERR_USAGE, "knows no job 7");
    plant_scontrol(folder, "echo 'Unable to contact slurm controller' >&2; exit 1");
    DG_CHECK_FAILS(dg_sched_job_state(sched, "7", &job), DG_ERR_IO, "Unable to contact slurm controller");
    DG_CHECK_FAILS(dg_sched_requeue(sched), DG_ERR_IO, "requeue 7 ended with 1");
    dg_sched_destroy(&sched);
    DG_CHECK_OK(dg_sched_open(&sched));
    DG_CHECK_FAILS(dg_sched_end_time(sched, &end), DG_ERR_IO, "Unable to contact");
    plant_scontrol(folder, "echo 'JobId=7 JobState=RUNNING EndTime=Unknown'");
    DG_CHECK_OK(dg_sched_seconds_left(sched, &left));
    DG_CHECK(isinf(left));
    dg_sched_destroy(&sched);
    setenv("SLURM_JOB_ID", "7; rm", 1);
    DG_CHECK_FAILS(dg_sched_open(&sched), DG_ERR_USAGE, "not the number of a job");
    DG_CHECK(sched == NULL);
    unsetenv("SLURM_JOB_ID");
    DG_CHECK_OK(dg_sched_open(&sched));
    DG_CHECK(strcmp(sched->ops->name, "none") == 0);
    dg_sched_destroy(&sched);
}

int main(void)
{
    char folder[] = "/tmp/dg_t800.XXXXXX", path[4096], clean[256];
    DG_CHECK(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s:%s", folder, getenv("PATH"));
    setenv("PATH", path, 1);
    test_reading();
    test_commands();
    test_adapter(folder);
    snprintf(clean, sizeof clean, "%s/scontrol", folder);
    unlink(clean);
    snprintf(clean, sizeof clean, "%s/calls", folder);
    unlink(clean);
    return rmdir(folder);
}
