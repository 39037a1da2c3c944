/* wgrad_amx.c - see wgrad_amx.h. SPDX-License-Identifier: Apache-2.0 */
#include "wgrad_amx.h"

bool dg_wgrad_amx_available(void) { return false; }
