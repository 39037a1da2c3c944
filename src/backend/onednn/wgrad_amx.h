/* wgrad_amx.h - the weight gradient of 3x3x3 and 1x1x1 convolutions in bf16 on the tile unit (Intel AMX), where oneDNN's
 * own leaves it idle on small grids. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_WGRAD_AMX_H
#define DG_WGRAD_AMX_H

#include <stdbool.h>

/* True when the processor has the unit and the kernel lets this process use it; asks for the permission. */
bool dg_wgrad_amx_available(void);

#endif
