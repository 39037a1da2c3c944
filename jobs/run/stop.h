/* stop.h - requests to stop from outside: SIGTERM, SIGUSR1 (a scheduler's warning) and SIGINT are noted, and acted on at
 * the next step or case. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_STOP_H
#define DG_STOP_H

/* Begins to note signals; a second SIGINT ends the process at once. */
void dg_stop_install(void);
/* The noted signal, or 0. */
int dg_stop_requested(void);
/* Gives the signals back to the system and forgets what was noted. */
void dg_stop_remove(void);

#endif
