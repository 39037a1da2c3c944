/* fake_nvml.c - what the heartbeat asks of NVML: GPU 0 works, GPU 1 is lost; with FAKE_NVML_HANGS in the environment the
 * driver does not answer. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int nvmlInit_v2(void);
int nvmlDeviceGetCount_v2(unsigned *count);
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device);
int nvmlDeviceGetName(void *device, char *name, unsigned room);
int nvmlDeviceGetUtilizationRates(void *device, unsigned rates[2]);
int nvmlDeviceGetMemoryInfo(void *device, unsigned long long memory[3]);
int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *degrees);

static char devices[2];
enum { LOST = 15 };

int nvmlInit_v2(void)
{
    if (getenv("FAKE_NVML_HANGS") != NULL) sleep(600);
    return 0;
}

int nvmlDeviceGetCount_v2(unsigned *count)
{
    *count = 2;
    return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device)
{
    *device = &devices[index];
    return 0;
}

int nvmlDeviceGetName(void *device, char *name, unsigned room)
{
    snprintf(name, room, "Fake %d", (int)((char *)device - devices));
    return 0;
}

int nvmlDeviceGetUtilizationRates(void *device, unsigned rates[2])
{
    rates[0] = 97;
    rates[1] = 12;
    return device == &devices[1] ? LOST : 0;
}

int nvmlDeviceGetMemoryInfo(void *device, unsigned long long memory[3])
{
    memory[0] = 80ULL << 30;
    memory[1] = 60ULL << 30;
    memory[2] = 20ULL << 30;
    return 0;
}

int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *degrees)
{
    *degrees = 61;
    return sensor;
}
