/* device_table.c - see device_table.h. SPDX-License-Identifier: Apache-2.0 */
#include "device_table.h"

#include "dg_file.h"
#include "dg_mem.h"
#include "dg_yaml.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MEMORY,
    BF16,
    F32,
    MATRIX_SHARE,
    BANDWIDTH,
    MEMORY_SHARE,
    LAUNCH,
    PER_NODE,
    NODE,
    NODE_US,
    NETWORK,
    NETWORK_US,
    KEYS
};
typedef struct key {
    const char *name;
    double low, high;
} key;
static const key keys[KEYS] = {
    [MEMORY] = {"memory_mb", 0, 1e9},        [BF16] = {"bf16_tflops", 0, 1e6},
    [F32] = {"f32_tflops", 0, 1e6},          [MATRIX_SHARE] = {"matrix_share", 1e-3, 1},
    [BANDWIDTH] = {"memory_gb_s", 0, 1e6},   [MEMORY_SHARE] = {"memory_share", 1e-3, 1},
    [LAUNCH] = {"launch_us", 0, 1e6},        [PER_NODE] = {"ranks_per_node", 1, 1024},
    [NODE] = {"node_gb_s", 1e-6, 1e6},       [NODE_US] = {"node_us", 0, 1e6},
    [NETWORK] = {"network_gb_s", 1e-6, 1e6}, [NETWORK_US] = {"network_us", 0, 1e6},
};

static dg_status read_key(const char *file, const dg_yaml_node *n, double value[KEYS], bool seen[KEYS])
{
    for (int k = 0; k < KEYS; k++) {
        if (strcmp(n->key, keys[k].name) != 0) continue;
        char *end = NULL;
        value[k] = n->kind == DG_YAML_SCALAR ? strtod(n->text, &end) : NAN;
        if (end == NULL || end == n->text || *end != '\0' || !(value[k] >= keys[k].low && value[k] <= keys[k].high))
            return DG_FAIL(DG_ERR_USAGE, "%s:%d: %s: a number, %g to %g, is wanted", file, n->line, n->key, keys[k].low,
                           keys[k].high);
        seen[k] = true;
        return DG_OK;
    }
    return DG_FAIL(DG_ERR_USAGE, "%s:%d: unknown key %s", file, n->line, n->key);
}

static dg_status read_device(const char *file, const dg_yaml_node *map, dg_device *out)
{
    double v[KEYS] = {0};
    bool seen[KEYS] = {false};
    if (map->kind != DG_YAML_MAP)
        return DG_FAIL(DG_ERR_USAGE, "%s:%d: device %s: keys and numbers are wanted", file, map->line, map->key);
    for (const dg_yaml_node *n = map->child; n != NULL; n = n->next) DG_TRY(read_key(file, n, v, seen));
    for (int k = 0; k < KEYS; k++)
        if (!seen[k])
            return DG_FAIL(DG_ERR_USAGE, "%s:%d: device %s lacks %s", file, map->line, map->key, keys[k].name);
    *out = (dg_device){.memory_mb = v[MEMORY],
                       .bf16_flops = v[BF16] * 1e12 * v[MATRIX_SHARE],
                       .f32_flops = v[F32] * 1e12 * v[MATRIX_SHARE],
                       .memory_bytes_s = v[BANDWIDTH] * 1e9 * v[MEMORY_SHARE],
                       .matrix_share = v[MATRIX_SHARE],
                       .memory_share = v[MEMORY_SHARE],
                       .launch_s = v[LAUNCH] * 1e-6,
                       .ranks_per_node = (int64_t)v[PER_NODE],
                       .inside = {v[NODE] * 1e9, v[NODE_US] * 1e-6},
                       .between = {v[NETWORK] * 1e9, v[NETWORK_US] * 1e-6}};
    snprintf(out->name, sizeof out->name, "%s", map->key);
    return DG_OK;
}

static dg_status find_in(const char *file, const dg_yaml_node *root, const char *name, dg_device *out)
{
    const dg_yaml_node *devices = root != NULL && root->kind == DG_YAML_MAP ? dg_yaml_get(root, "devices") : NULL;
    char known[256] = "";
    if (devices == NULL || devices->kind != DG_YAML_MAP)
        return DG_FAIL(DG_ERR_USAGE, "%s: a map 'devices' is wanted at its top", file);
    for (const dg_yaml_node *n = devices->child; n != NULL; n = n->next) {
        if (strcmp(n->key, name) == 0) return read_device(file, n, out);
        const size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", used > 0 ? ", " : "", n->key);
    }
    return DG_FAIL(DG_ERR_USAGE, "device '%.64s' is not in %s; it has %s", name, file, known);
}

dg_status dg_device_find(const char *path, const char *name, dg_device *out)
{
    dg_yaml_node *root = NULL;
    const bool inside = path[0] == '\0';
    const char *file = inside ? dg_device_files[0].name : path;
    char *text = NULL;
    int64_t length = 0;
    if (!inside) DG_TRY(dg_file_read(path, "device table", DG_YAML_LIMIT, &text, &length));
    dg_status status =
        inside ? dg_yaml_read_text((const char *)dg_device_files[0].bytes, dg_device_files[0].length, file, &root)
               : dg_yaml_read_text(text, (size_t)length, file, &root);
    if (status == DG_OK) status = find_in(file, root, name, out);
    dg_yaml_destroy(&root);
    dg_free(&text);
    return status;
}
