/* no_cuda.c - the CUDA backend of a program that was linked without one: a linker takes this file from its archive only
 * where cuda/ is absent. SPDX-License-Identifier: Apache-2.0 */
#include "dg_backend.h"

#include <stddef.h>

static const char *unavailable(void)
{
    return "this build has no CUDA backend: install the CUDA toolkit, cuDNN 9 and NCCL, then configure with "
           "-DDG_WITH_CUDA=ON";
}

const dg_backend_ops dg_backend_cuda = {.name = "cuda", .unavailable = unavailable};
