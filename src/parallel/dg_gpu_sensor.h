/* dg_gpu_sensor.h - temperature, power, memory, clock and errors of one GPU, as NVML tells them. A thread of its own asks
 * twice a second, so that reading costs nothing and a driver that hangs holds nobody up. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_GPU_SENSOR_H
#define DG_GPU_SENSOR_H

#include "dg_status.h"

typedef struct dg_gpu_sensor dg_gpu_sensor;

/* NaN: the GPU or its driver does not tell. */
typedef struct dg_gpu_reading {
    double temperature_c, power_w;
    double memory_mb;    /* MiB in use, by all programs */
    double sm_clock_mhz; /* of its multiprocessors */
    double ecc_errors;   /* of memory, not corrected, since the driver was loaded */
    double xid;          /* number of the last fault that the driver reported since the sensor was opened; 0: none */
} dg_gpu_reading;

/* All NaN. */
dg_gpu_reading dg_gpu_reading_none(void);

/* The GPU at a PCI address such as "0000:1b:00.0". DG_ERR_UNSUPPORTED says why its temperature cannot be read: no NVML, no
 * such GPU, or no answer within five seconds. The caller's (dg_gpu_sensor_close). Not collective. */
DG_MUST_USE dg_status dg_gpu_sensor_open(const char *pci, dg_gpu_sensor **out);
/* What was last read; all NaN where the driver has not answered for five seconds, and for a NULL sensor. */
dg_gpu_reading dg_gpu_sensor_read(dg_gpu_sensor *sensor);
/* NULL is fine. */
void dg_gpu_sensor_close(dg_gpu_sensor **sensor);

#endif
