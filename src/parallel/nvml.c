/* nvml.c - see nvml_impl.h. SPDX-License-Identifier: Apache-2.0 */
#include "nvml_impl.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

const char *dg_nvml_open(nvml_library *out)
{
    static const struct {
        const char *name;
        size_t at;
    } functions[] = {
        {"nvmlInit_v2", offsetof(nvml_library, init)},
        {"nvmlDeviceGetCount_v2", offsetof(nvml_library, count)},
        {"nvmlDeviceGetHandleByIndex_v2", offsetof(nvml_library, by_index)},
        {"nvmlDeviceGetHandleByPciBusId_v2", offsetof(nvml_library, by_address)},
        {"nvmlDeviceGetName", offsetof(nvml_library, name)},
        {"nvmlDeviceGetUtilizationRates", offsetof(nvml_library, rates)},
        {"nvmlDeviceGetMemoryInfo", offsetof(nvml_library, memory)},
        {"nvmlDeviceGetTemperature", offsetof(nvml_library, heat)},
        {"nvmlDeviceGetPowerUsage", offsetof(nvml_library, power)},
        {"nvmlDeviceGetClockInfo", offsetof(nvml_library, clock)},
        {"nvmlDeviceGetTotalEccErrors", offsetof(nvml_library, ecc)},
        {"nvmlEventSetCreate", offsetof(nvml_library, event_set)},
        {"nvmlDeviceRegisterEvents", offsetof(nvml_library, event_register)},
        {"nvmlEventSetWait_v2", offsetof(nvml_library, event_wait)},
        {"nvmlEventSetFree", offsetof(nvml_library, event_free)},
    };
    memset(out, 0, sizeof *out);
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    if (library == NULL) return "libnvidia-ml.so.1, a part of NVIDIA's driver, is not found";
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        void *function = dlsym(library, functions[i].name);
        memcpy((char *)out + functions[i].at, &function, sizeof function);
    }
    return NVML_CALL(out->init) == 0 ? NULL : "nvmlInit_v2 of libnvidia-ml.so.1 fails";
}
