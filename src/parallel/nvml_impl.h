/* nvml_impl.h - the functions of NVML that are used, found at run time: its ABI is stable (NVML API reference, "nvmlInit_v2"
 * and on), and a machine without it still trains. A driver that hangs does so inside these functions: they are called by
 * threads of their own only. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_NVML_IMPL_H
#define DG_NVML_IMPL_H

typedef struct nvml_rates {
    unsigned gpu, memory; /* percent */
} nvml_rates;

typedef struct nvml_memory {
    unsigned long long total, free, used; /* bytes */
} nvml_memory;

typedef struct nvml_event {
    void *device;
    unsigned long long type, data; /* data of an Xid event: its number */
    unsigned gpu_instance, compute_instance;
} nvml_event;

enum {
    NVML_ABSENT = -1, /* in place of a code: this library has no such function */
    NVML_CORE_HEAT = 0,
    NVML_SM_CLOCK = 1,
    NVML_ECC_UNCORRECTED = 1,
    NVML_ECC_SINCE_LOAD = 0, /* of the driver */
    NVML_XID_EVENT = 8
};

/* All return 0 or a code (15: the GPU is lost); NULL where the library lacks the function. */
typedef struct nvml_library {
    int (*init)(void);
    int (*count)(unsigned *count);
    int (*by_index)(unsigned index, void **device);
    int (*by_address)(const char *pci, void **device);
    int (*name)(void *device, char *name, unsigned room);
    int (*rates)(void *device, nvml_rates *rates);
    int (*memory)(void *device, nvml_memory *memory);
    int (*heat)(void *device, int sensor, unsigned *degrees);
    int (*power)(void *device, unsigned *milliwatts);
    int (*clock)(void *device, int which, unsigned *mhz);
    int (*ecc)(void *device, int kind, int since, unsigned long long *errors);
    int (*event_set)(void **set);
    int (*event_register)(void *device, unsigned long long types, void *set);
    int (*event_wait)(void *set, nvml_event *event, unsigned milliseconds);
    int (*event_free)(void *set);
} nvml_library;

/* A call, or NVML_ABSENT. */
#define NVML_CALL(function, ...) ((function) == NULL ? NVML_ABSENT : (function)(__VA_ARGS__))

/* Loads and initialises NVML, which stays for the life of the process. NULL, or a literal that says what fails. */
const char *dg_nvml_open(nvml_library *out);

#endif
