/* absent.c - what cuda/ answers in a program that was linked without it: a linker takes this file from its archive only
 * where the real ones are missing. SPDX-License-Identifier: Apache-2.0 */
#include "cuda_site.h"

void dg_cuda_site_ask(dg_cuda_site *site) { *site = (dg_cuda_site){.built = false}; }

void dg_cuda_site_device(int device, char *text, size_t capacity)
{
    if (capacity > 0) text[0] = '\0';
}
