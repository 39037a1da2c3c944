/* stop.c - the one place with state of the whole process, because signals have nowhere else to put theirs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "stop.h"

#include <signal.h>
#include <stddef.h>
#include <string.h>

static volatile sig_atomic_t noted;

static void note(int number)
{
    if (number == SIGINT && noted == SIGINT) {
        signal(SIGINT, SIG_DFL);
        raise(SIGINT);
    }
    noted = number;
}

static void set_handler(void (*handler)(int))
{
    static const int numbers[] = {SIGTERM, SIGUSR1, SIGINT};
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) sigaction(numbers[i], &action, NULL);
}

void dg_stop_install(void)
{
    noted = 0;
    set_handler(note);
}

int dg_stop_requested(void) { return noted; }

void dg_stop_remove(void)
{
    set_handler(SIG_DFL);
    noted = 0;
}
