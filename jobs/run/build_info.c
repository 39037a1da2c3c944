/* build_info.c - see build_info.h. SPDX-License-Identifier: Apache-2.0 */
#include "build_info.h"

#include "dg_backend.h"
#include "dg_build.h"
#include "dg_commit.h"
#include "dg_mem.h"

#include <stdio.h>
#include <string.h>

/* Value of the first "key : value" line of /proc/cpuinfo; "" when there is none. */
static void cpu_field(const char *key, char *value, size_t capacity)
{
    char line[8192]; /* the flags of a new processor take more than 2000 characters */
    value[0] = '\0';
    FILE *file = fopen("/proc/cpuinfo", "re");
    if (file == NULL) return;
    while (fgets(line, sizeof line, file) != NULL) {
        char *colon = strchr(line, ':');
        if (colon == NULL || strncmp(line, key, strlen(key)) != 0) continue;
        line[strcspn(line, "\n")] = '\0';
        snprintf(value, capacity, "%s", colon[1] == ' ' ? colon + 2 : colon + 1);
        break;
    }
    fclose(file);
}

void dg_cpu_name(char *text, size_t capacity)
{
    cpu_field("model name", text, capacity);
    if (text[0] == '\0') snprintf(text, capacity, "unknown");
}

const char *dg_cpu_isa(void)
{
    static const char *const flag[][2] = {
        {" amx_bf16 ", "amx"}, {" avx512_bf16 ", "avx512_bf16"}, {" avx512f ", "avx512"}, {" avx2 ", "avx2"}};
    char flags[8192];
    flags[0] = ' ';
    cpu_field("flags", flags + 1, sizeof flags - 2);
    strcat(flags, " ");
    for (size_t i = 0; i < sizeof flag / sizeof flag[0]; i++)
        if (strstr(flags, flag[i][0]) != NULL) return flag[i][1];
    return "sse";
}

/* "name=version;name=version" of the build as an object. */
static json_t *libraries(void)
{
    json_t *object = json_object();
    const char *at = DG_LIBRARIES;
    while (object != NULL && *at != '\0') {
        char name[32], version[64];
        int used = 0;
        if (sscanf(at, "%31[^=]=%63[^;]%n", name, version, &used) != 2) break;
        json_object_set_new(object, name, json_string(version));
        at += used;
        if (*at == ';') at++;
    }
    return object;
}

static json_t *backends(void)
{
    json_t *object = json_object();
    for (int i = 0; i < dg_backend_count(); i++) {
        const dg_backend_ops *ops = dg_backend_at(i);
        const char *why = ops->unavailable();
        json_object_set_new(object, ops->name, json_string(why == NULL ? "available" : why));
    }
    return object;
}

json_t *dg_build_info(void)
{
    char cpu[160];
    dg_cpu_name(cpu, sizeof cpu);
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:{s:s, s:s}, s:o}", "version", DG_VERSION, "commit", DG_COMMIT,
                     "build_type", DG_BUILD_TYPE, "compiler", DG_COMPILER, "libraries", libraries(), "cpu", "name", cpu,
                     "isa", dg_cpu_isa(), "backends", backends());
}
