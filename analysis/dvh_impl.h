/* dvh_impl.h - what the files of dose-volume statistics share; not for other folders.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DVH_IMPL_H
#define DVH_IMPL_H

#include "dg_dvh.h"

#include <string.h>

/* Order of float bits as unsigned numbers: negative numbers turned over, positive ones above them. */
static inline uint32_t dg_float_key(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
}

/* Sorts finite values in place, ascending. DG_ERR_MEMORY. */
DG_MUST_USE dg_status dg_dvh_sort(float *values, int64_t count);

#endif
