/* start_watch.c - MPI_Init cannot be polled: a thread keeps its deadline, and sees when the launcher is gone.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"
#include "mpi_impl.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { LOOK_NANOSECONDS = 100000000 };

struct dg_start_watch {
    double seconds;
    void (*leave)(void *context, const char *why);
    void *context;
    pid_t launcher;
    pthread_t thread;
    atomic_bool stop;
};

static void say_late(const dg_start_watch *watch, char *text, size_t capacity)
{
    static const char *const rank_of[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"};
    const char *rank = NULL;
    char host[64] = "";
    for (size_t i = 0; i < sizeof rank_of / sizeof rank_of[0] && rank == NULL; i++) rank = getenv(rank_of[i]);
    (void)gethostname(host, sizeof host - 1);
    snprintf(text, capacity,
             "rank %s on %s: MPI did not start within %g s: another rank of the job never came to it, or MPI uses a "
             "network that the hosts do not share (Open MPI: OMPI_MCA_btl_tcp_if_include names the right one); "
             "DG_START_TIMEOUT sets the limit in seconds",
             rank == NULL ? "unknown" : rank, host, watch->seconds);
}

static void *look(void *context)
{
    dg_start_watch *watch = context;
    char text[DG_ERROR_TEXT_MAX];
    for (double left = watch->seconds; !atomic_load(&watch->stop); left -= LOOK_NANOSECONDS * 1e-9) {
        text[0] = '\0';
        if (left <= 0) say_late(watch, text, sizeof text);
        if (getppid() != watch->launcher)
            snprintf(text, sizeof text, "the launcher (process %d) is gone before MPI has started",
                     (int)watch->launcher);
        if (text[0] != '\0') watch->leave(watch->context, text);
        nanosleep(&(struct timespec){.tv_nsec = LOOK_NANOSECONDS}, NULL);
    }
    return NULL;
}

dg_status dg_start_watch_begin(double seconds, void (*leave)(void *context, const char *why), void *context,
                               dg_start_watch **out)
{
    sigset_t all, before;
    *out = NULL;
    if (!dg_mpi_launched()) return DG_OK;
    DG_TRY(DG_NEW(out, 1, "start watch"));
    dg_start_watch *watch = *out;
    watch->seconds = seconds;
    watch->leave = leave;
    watch->context = context;
    watch->launcher = getppid();
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the main thread's */
    int failed = pthread_create(&watch->thread, NULL, look, watch);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed == 0) return DG_OK;
    dg_free(out);
    return DG_FAIL(DG_ERR_MEMORY, "the thread that watches the start of MPI cannot be made");
}

void dg_start_watch_end(dg_start_watch **watch)
{
    if (*watch == NULL) return;
    atomic_store(&(*watch)->stop, true);
    pthread_join((*watch)->thread, NULL);
    dg_free(watch);
}
