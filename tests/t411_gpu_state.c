/* The report of a fault tells the state of the GPUs, of a lost one too, and does not wait for a driver that hangs.
 * ctest: libs=dg_parallel,fake_nvml label=unit timeout=60
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_heartbeat.h"
#include "dg_trace.h"

#include <sys/wait.h>
#include <unistd.h>

static int told[2];

static void tell(void *context, const char *report) { (void)!write(told[1], report, strlen(report)); }
static void leave(void *context, const char *why) { _exit(3); }

/* The report of a process whose wait is late, and how long that took. */
static void report(char text[8192], double *seconds)
{
    DG_CHECK(pipe(told) == 0);
    double start = dg_time_s();
    pid_t pid = fork();
    DG_CHECK(pid >= 0);
    if (pid == 0) {
        const dg_heartbeat_options options = {.tell = tell, .leave = leave};
        dg_comm *comm;
        dg_heartbeat *heartbeat;
        dg_wait wait;
        dg_status status = DG_OK;
        DG_CHECK_OK(dg_comm_self_create(&comm));
        dg_comm_set_timeout(comm, 0.2);
        DG_CHECK_OK(dg_heartbeat_create(comm, &options, NULL, "test", &heartbeat));
        dg_wait_begin(comm, "all-reduce", -1, &wait);
        while (status == DG_OK) status = dg_wait_poll(&wait);
        _exit(status == DG_ERR_COMM ? 0 : 1);
    }
    close(told[1]);
    size_t length = 0;
    for (ssize_t got; (got = read(told[0], text + length, 8191 - length)) > 0;) length += (size_t)got;
    text[length] = '\0';
    close(told[0]);
    int status;
    DG_CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    *seconds = dg_time_s() - start;
}

int main(void)
{
    char text[8192];
    double seconds;
    report(text, &seconds);
    DG_CHECK(strstr(text, "GPU 0 (Fake 0): 97 % busy, 20480 of 81920 MB used, 61 degrees C\n") != NULL);
    DG_CHECK(strstr(text, "GPU 1 (Fake 1): NVML fails with code 15\n") != NULL);
    DG_CHECK(setenv("FAKE_NVML_HANGS", "1", 1) == 0);
    report(text, &seconds);
    DG_CHECK(strstr(text, "the GPU driver does not answer\n") != NULL && seconds < 20);
    return 0;
}
