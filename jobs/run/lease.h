/* lease.h - the right to write an output folder: one run at a time, on one host or several that share the file system.
 *
 * FOLDER/run.lock is locked (flock; NFS passes it on) and says who holds it: host, process and its start time. Where a
 * file system does not pass locks on, that record decides: its time is renewed every few seconds by a thread; a record of
 * a process of this host that is gone, or of another host that is not renewed, is stale and taken over. Whoever lost its
 * lease that way (its host was cut off, say) learns so before it writes again. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_LEASE_H
#define DG_LEASE_H

#include "dg_status.h"

typedef struct dg_lease dg_lease;

/* `what` stands for the folder in messages ("run 'a'"). DG_ERR_BUSY names the holder and when it was last seen. A holder
 * on another host whose lock is gone is watched for DG_LEASE_WATCH_S first. Not collective: one rank takes it. */
enum { DG_LEASE_RENEW_S = 5, DG_LEASE_WATCH_S = 16 };
DG_MUST_USE dg_status dg_lease_take(const char *folder, const char *what, dg_lease **out);
/* DG_ERR_BUSY when another run has taken the folder over: nothing may be written any more. */
DG_MUST_USE dg_status dg_lease_check(dg_lease *lease);
/* Gives it back; NULL is fine. */
void dg_lease_release(dg_lease **lease);

#endif
