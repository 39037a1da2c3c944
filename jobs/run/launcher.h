/* launcher.h - who started this process, as its environment says: `doctor`, environment.json.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_LAUNCHER_H
#define DG_LAUNCHER_H

#include <jansson.h>

/* {"started_by": "mpirun (Open MPI)" | "srun" | "mpirun (Hydra)" | "nothing", "process_manager": "PMIx 4.2.2" | "PMI" |
 * "none", "variables": {name: value}}: those of launcher, process manager, scheduler and threads that are set; none that
 * holds an address, a path or a key. The caller's. NULL: no memory. */
json_t *dg_launcher_json(void);

#endif
