/* fake_nvml.c - what the program asks of NVML: GPU 0 (PCI 0000:01:00.0) works, GPU 1 (0000:02:00.0) is lost; with
 * FAKE_NVML_HANGS in the environment the driver does not answer. FAKE_NVML_HOT=N: the first N readings of the temperature
 * say 91 degrees instead of 61. SPDX-License-Identifier: Apache-2.0 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int nvmlInit_v2(void);
int nvmlDeviceGetCount_v2(unsigned *count);
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device);
int nvmlDeviceGetName(void *device, char *name, unsigned room);
int nvmlDeviceGetUtilizationRates(void *device, unsigned rates[2]);
int nvmlDeviceGetMemoryInfo(void *device, unsigned long long memory[3]);
int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *degrees);
int nvmlDeviceGetHandleByPciBusId_v2(const char *address, void **device);
int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts);
int nvmlDeviceGetClockInfo(void *device, int which, unsigned *mhz);
int nvmlDeviceGetTotalEccErrors(void *device, int kind, int since, unsigned long long *errors);
int nvmlEventSetCreate(void **set);
int nvmlDeviceRegisterEvents(void *device, unsigned long long types, void *set);
int nvmlEventSetWait_v2(void *set, void *event, unsigned milliseconds);
int nvmlEventSetFree(void *set);

static char devices[2];
enum { NOT_SUPPORTED = 3, NOT_FOUND = 6, TIMEOUT = 10, LOST = 15 };

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
    static atomic_int readings;
    const char *hot = getenv("FAKE_NVML_HOT");
    *degrees = hot != NULL && atomic_fetch_add(&readings, 1) < atoi(hot) ? 91 : 61;
    return device == &devices[1] ? LOST : sensor;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *address, void **device)
{
    if (strncmp(address, "0000:0", 6) != 0 || strcmp(address + 7, ":00.0") != 0) return NOT_FOUND;
    if (address[6] != '1' && address[6] != '2') return NOT_FOUND;
    *device = &devices[address[6] - '1'];
    return 0;
}

int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts)
{
    *milliwatts = 212500;
    return device == &devices[0] ? 0 : LOST;
}

int nvmlDeviceGetClockInfo(void *device, int which, unsigned *mhz)
{
    *mhz = which == 1 ? 1755 : 9999; /* 1: of the multiprocessors */
    return device == &devices[0] ? 0 : LOST;
}

int nvmlDeviceGetTotalEccErrors(void *device, int kind, int since, unsigned long long *errors)
{
    *errors = kind == 1 && since == 0 ? 3 : 777; /* uncorrected, since the driver was loaded */
    return getenv("FAKE_NVML_NO_ECC") != NULL ? NOT_SUPPORTED : device == &devices[0] ? 0 : LOST;
}

int nvmlEventSetCreate(void **set)
{
    *set = devices;
    return 0;
}

int nvmlDeviceRegisterEvents(void *device, unsigned long long types, void *set)
{
    return device == &devices[0] && set == devices && types == 8 ? 0 : NOT_SUPPORTED; /* 8: Xids */
}

/* One Xid, then none. */
int nvmlEventSetWait_v2(void *set, void *event, unsigned milliseconds)
{
    static atomic_int told;
    struct {
        void *device;
        unsigned long long type, data;
        unsigned instances[2];
    } xid = {&devices[0], 8, 79, {0, 0}};
    if (set != devices || milliseconds != 0 || atomic_exchange(&told, 1) != 0) return TIMEOUT;
    memcpy(event, &xid, sizeof xid);
    return 0;
}

int nvmlEventSetFree(void *set) { return set == devices ? 0 : LOST; }
