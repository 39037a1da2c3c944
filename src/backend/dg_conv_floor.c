/* dg_conv_floor.c - the floor of a build without a library to measure. SPDX-License-Identifier: Apache-2.0 */
#include "dg_conv_floor.h"

#if !DG_WITH_ONEDNN
dg_status dg_conv_floor(const dg_conv_desc *desc, int threads, int repeats, dg_conv_times *out)
{
    return DG_FAIL(DG_ERR_UNSUPPORTED, "this build has no oneDNN whose convolutions could be timed: configure with "
                                       "-DDG_WITH_ONEDNN=ON");
}
#endif
