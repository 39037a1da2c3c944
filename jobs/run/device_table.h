/* device_table.h - what is known of a machine: rates, memory and links of a device, from jobs/configs/devices.yaml (which
 * the program carries inside) or a file of the user. SPDX-License-Identifier: Apache-2.0 */
#ifndef DEVICE_TABLE_H
#define DEVICE_TABLE_H

#include "dg_status.h"

#include <stdint.h>

/* A message of S bytes takes latency_s + S / bytes_s. */
typedef struct dg_link {
    double bytes_s, latency_s;
} dg_link;

/* Rates are those reached: peak times share; 0: to be measured, and multiplied by the share. */
typedef struct dg_device {
    char name[32];
    double memory_mb;             /* 0: not known */
    double bf16_flops, f32_flops; /* of matrix products */
    double memory_bytes_s;
    double matrix_share, memory_share;
    double launch_s; /* of each operation */
    int64_t ranks_per_node;
    dg_link inside, between; /* of a device in its node; of a node, all links together */
} dg_device;

/* `path` empty: the table inside. DG_ERR_USAGE: no such device (the known ones are named), or file, line and key of what
 * is wrong, missing or unknown. */
DG_MUST_USE dg_status dg_device_find(const char *path, const char *name, dg_device *out);

/* The embedded file. */
typedef struct dg_device_file {
    const char *name;
    const unsigned char *bytes;
    unsigned long length;
} dg_device_file;
extern const dg_device_file dg_device_files[];
extern const int dg_device_file_count;

#endif
