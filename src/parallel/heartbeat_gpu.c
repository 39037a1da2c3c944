/* heartbeat_gpu.c - the GPUs of this host as NVML tells, where there are any. Asked by a thread of its own: a driver that
 * hangs is one of the faults that are reported. SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"
#include "dg_trace.h"
#include "heartbeat_impl.h"
#include "nvml_impl.h"

#include <stdio.h>
#include <time.h>

enum { GPU_TEXT = 4096, GPUS_MAX = 16, NAME_TEXT = 96 };
static const double ANSWER_S = 1.0;

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
static size_t describe(const nvml_library *nvml, unsigned index, char *text, size_t room)
{
    void *device = NULL;
    char name[NAME_TEXT] = "?";
    nvml_rates rates = {0, 0};
    nvml_memory memory = {0, 0, 0};
    unsigned heat = 0;
    int failed = NVML_CALL(nvml->by_index, index, &device);
    if (failed == 0) failed = NVML_CALL(nvml->name, device, name, sizeof name);
    if (failed == 0) failed = NVML_CALL(nvml->rates, device, &rates);
    if (failed == 0) failed = NVML_CALL(nvml->memory, device, &memory);
    if (failed == 0) failed = NVML_CALL(nvml->heat, device, NVML_CORE_HEAT, &heat);
    if (failed != 0) return (size_t)snprintf(text, room, "GPU %u (%s): NVML fails with code %d\n", index, name, failed);
    return (size_t)snprintf(text, room, "GPU %u (%s): %u %% busy, %llu of %llu MB used, %u degrees C\n", index, name,
                            rates.gpu, memory.used >> 20, memory.total >> 20, heat);
}

static void *answer(void *context)
{
    gpu_question *q = context;
    nvml_library nvml;
    unsigned count = 0;
    size_t used = 0;
    if (dg_nvml_open(&nvml) == NULL && NVML_CALL(nvml.count, &count) == 0)
        for (unsigned i = 0; i < count && i < GPUS_MAX && used < sizeof q->text; i++)
            used += describe(&nvml, i, q->text + used, sizeof q->text - used);
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
