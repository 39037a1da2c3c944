/* build_info.h - what this program was made of and what it runs on: `--version`, `doctor`, environment.json.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_BUILD_INFO_H
#define DG_BUILD_INFO_H

#include <jansson.h>
#include <stddef.h>

/* {"version", "commit", "build_type", "compiler", "libraries": {name: version}, "cpu": {"name", "isa"}, "backends":
 * {name: "available" or why not}}; the caller's. NULL: no memory. */
json_t *dg_build_info(void);
/* Strongest instruction set the CPU kernels can use here: "amx", "avx512_bf16", "avx512", "avx2" or "sse". */
const char *dg_cpu_isa(void);
/* Model name of the processor, "unknown" where the system does not tell. */
void dg_cpu_name(char *text, size_t capacity);

#endif
