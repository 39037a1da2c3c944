/* heartbeat_stack.c - the stack of the main thread, which alone can walk it: a signal makes it write the addresses down.
 * State of the whole process, because signals have nowhere else to put theirs. SPDX-License-Identifier: Apache-2.0 */
#include "heartbeat_impl.h"

#include <execinfo.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FRAMES = 48, OWN_FRAMES = 2, WAIT_STEPS = 100, STEP_NANOSECONDS = 10000000 };

static void *frames[FRAMES];
static atomic_int frame_count; /* 0: asked for; negative: nobody asked */

static int stack_signal(void) { return SIGRTMIN + 6; /* Linux threads, NCCL and MPI use lower ones */ }

static void take(int number)
{
    if (atomic_load(&frame_count) != 0) return;
    atomic_store(&frame_count, backtrace(frames, FRAMES));
}

void dg_stack_install(void)
{
    struct sigaction action;
    void *first[1];
    (void)backtrace(first, 1); /* loads what it needs now: a handler must not */
    atomic_store(&frame_count, -1);
    memset(&action, 0, sizeof action);
    action.sa_handler = take;
    action.sa_flags = SA_RESTART;
    sigaction(stack_signal(), &action, NULL);
}

bool dg_stack_take(pthread_t main_thread, char *text, size_t capacity)
{
    size_t used = 0;
    text[0] = '\0';
    atomic_store(&frame_count, 0);
    if (pthread_kill(main_thread, stack_signal()) != 0) return false;
    for (int i = 0; i < WAIT_STEPS && atomic_load(&frame_count) == 0; i++)
        nanosleep(&(struct timespec){.tv_nsec = STEP_NANOSECONDS}, NULL);
    int count = atomic_exchange(&frame_count, -1);
    if (count <= 0) return false;
    char **names = backtrace_symbols(frames, count);
    for (int i = OWN_FRAMES; i < count && names != NULL && used < capacity; i++) {
        const char *name = strrchr(names[i], '/');
        used += (size_t)snprintf(text + used, capacity - used, "    %s\n", name == NULL ? names[i] : name + 1);
    }
    free(names);
    return used > 0;
}
