/* heartbeat_gpu.c - the GPUs of this host as NVML tells, where there are any. The library is opened at run time (its ABI is
 * stable: NVML API reference, "nvmlInit_v2" and on), by a thread of its own: a driver that hangs is one of the faults that
 * are reported. SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"
#include "dg_trace.h"
#include "heartbeat_impl.h"

#include <dlfcn.h>
#include <stdio.h>
#include <time.h>

enum { GPU_TEXT = 4096, GPUS_MAX = 16, NAME_TEXT = 96, ABSENT = -1 };
static const double ANSWER_S = 1.0;

typedef struct gpu_rates {
    unsigned gpu, memory; /* percent */
} gpu_rates;

typedef struct gpu_memory {
    unsigned long long total, free, used; /* bytes */
} gpu_memory;

/* Shared by who asks and who answers; the later of the two to leave frees it. */
typedef struct gpu_question {
    atomic_int left, answered;
    char text[GPU_TEXT];
} gpu_question;

static void leave_question(gpu_question *q)
{
    if (atomic_fetch_sub(&q->left, 1) == 1) dg_free(&q);
}

/* One line on device `index`; a call that fails tells its code instead of a value (15: the GPU is lost). */
static size_t describe(void *library, unsigned index, char *text, size_t room)
{
    int (*by_index)(unsigned, void **) = (int (*)(unsigned, void **))dlsym(library, "nvmlDeviceGetHandleByIndex_v2");
    int (*get_name)(void *, char *, unsigned) = (int (*)(void *, char *, unsigned))dlsym(library, "nvmlDeviceGetName");
    int (*get_rates)(void *, gpu_rates *) =
        (int (*)(void *, gpu_rates *))dlsym(library, "nvmlDeviceGetUtilizationRates");
    int (*get_memory)(void *, gpu_memory *) = (int (*)(void *, gpu_memory *))dlsym(library, "nvmlDeviceGetMemoryInfo");
    int (*get_heat)(void *, int, unsigned *) =
        (int (*)(void *, int, unsigned *))dlsym(library, "nvmlDeviceGetTemperature");
    void *device = NULL;
    char name[NAME_TEXT] = "?";
    gpu_rates rates = {0, 0};
    gpu_memory memory = {0, 0, 0};
    unsigned heat = 0;
    int failed = by_index == NULL ? ABSENT : by_index(index, &device);
    if (failed == 0) failed = get_name == NULL ? ABSENT : get_name(device, name, sizeof name);
    if (failed == 0) failed = get_rates == NULL ? ABSENT : get_rates(device, &rates);
    if (failed == 0) failed = get_memory == NULL ? ABSENT : get_memory(device, &memory);
    if (failed == 0) failed = get_heat == NULL ? ABSENT : get_heat(device, 0, &heat);
    if (failed != 0) return (size_t)snprintf(text, room, "GPU %u (%s): NVML fails with code %d\n", index, name, failed);
    return (size_t)snprintf(text, room, "GPU %u (%s): %u %% busy, %llu of %llu MB used, %u degrees C\n", index, name,
                            rates.gpu, memory.used >> 20, memory.total >> 20, heat);
}

static void *answer(void *context)
{
    gpu_question *q = context;
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    int (*init)(void) = library == NULL ? NULL : (int (*)(void))dlsym(library, "nvmlInit_v2");
    int (*get_count)(unsigned *) =
        library == NULL ? NULL : (int (*)(unsigned *))dlsym(library, "nvmlDeviceGetCount_v2");
    unsigned count = 0;
    size_t used = 0;
    if (init != NULL && get_count != NULL && init() == 0 && get_count(&count) == 0)
        for (unsigned i = 0; i < count && i < GPUS_MAX && used < sizeof q->text; i++)
            used += describe(library, i, q->text + used, sizeof q->text - used);
    atomic_store(&q->answered, 1);
    leave_question(q);
    return NULL;
}

void dg_gpus_print(FILE *stream)
{
    gpu_question *q = NULL;
    pthread_t thread;
    if (DG_NEW(&q, 1, "state of the GPUs") != DG_OK) return;
    atomic_init(&q->left, 2);
    if (pthread_create(&thread, NULL, answer, q) != 0) {
        dg_free(&q);
        return;
    }
    (void)pthread_detach(thread);
    const double until = dg_time_s() + ANSWER_S;
    while (!atomic_load(&q->answered) && dg_time_s() < until) nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    fputs(atomic_load(&q->answered) ? q->text : "the GPU driver does not answer\n", stream);
    leave_question(q);
}
