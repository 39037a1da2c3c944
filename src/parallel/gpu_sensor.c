/* gpu_sensor.c - see dg_gpu_sensor.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_gpu_sensor.h"

#include "dg_mem.h"
#include "dg_trace.h"
#include "nvml_impl.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>

enum { SLICES = 10, SLICE_NANOSECONDS = 50000000 }; /* between two readings */
static const double ANSWER_S = 5.0, LEAVE_S = 1.0;

/* Shared by who asks and the thread that answers; the later of the two to leave frees it. */
struct dg_gpu_sensor {
    atomic_int left;
    atomic_bool stop, opened, ended;
    char pci[32], reason[160]; /* reason: written before `ended` */
    pthread_mutex_t lock;      /* of what follows */
    dg_gpu_reading reading;
    double read_s;
};

dg_gpu_reading dg_gpu_reading_none(void) { return (dg_gpu_reading){NAN, NAN, NAN, NAN, NAN, NAN}; }

static void leave(dg_gpu_sensor *s)
{
    if (atomic_fetch_sub(&s->left, 1) != 1) return;
    pthread_mutex_destroy(&s->lock);
    dg_free(&s);
}

/* A value that the GPU does not have (power of some laptops, ECC of consumer cards) is left out. */
static dg_gpu_reading ask(const nvml_library *nvml, void *device)
{
    dg_gpu_reading out = dg_gpu_reading_none();
    unsigned value = 0;
    unsigned long long errors = 0;
    nvml_memory memory = {0, 0, 0};
    if (NVML_CALL(nvml->heat, device, NVML_CORE_HEAT, &value) == 0) out.temperature_c = value;
    if (NVML_CALL(nvml->power, device, &value) == 0) out.power_w = 1e-3 * value;
    if (NVML_CALL(nvml->memory, device, &memory) == 0) out.memory_mb = (double)(memory.used >> 20);
    if (NVML_CALL(nvml->clock, device, NVML_SM_CLOCK, &value) == 0) out.sm_clock_mhz = value;
    if (NVML_CALL(nvml->ecc, device, NVML_ECC_UNCORRECTED, NVML_ECC_SINCE_LOAD, &errors) == 0)
        out.ecc_errors = (double)errors;
    return out;
}

/* Has the driver report Xids of `device`; NULL where it does not. */
static void *watch_faults(const nvml_library *nvml, void *device)
{
    void *set = NULL;
    if (NVML_CALL(nvml->event_set, &set) != 0) return NULL;
    if (NVML_CALL(nvml->event_register, device, NVML_XID_EVENT, set) == 0) return set;
    (void)NVML_CALL(nvml->event_free, set);
    return NULL;
}

static void put(dg_gpu_sensor *s, const dg_gpu_reading *reading)
{
    pthread_mutex_lock(&s->lock);
    s->reading = *reading;
    s->read_s = dg_time_s();
    pthread_mutex_unlock(&s->lock);
}

static void watch(dg_gpu_sensor *s, const nvml_library *nvml, void *device)
{
    void *faults = watch_faults(nvml, device);
    double xid = faults != NULL ? 0 : NAN;
    while (!atomic_load(&s->stop)) {
        nvml_event event;
        dg_gpu_reading reading = ask(nvml, device);
        if (faults != NULL && NVML_CALL(nvml->event_wait, faults, &event, 0) == 0) xid = (double)event.data;
        reading.xid = xid;
        put(s, &reading);
        atomic_store(&s->opened, true);
        for (int i = 0; i < SLICES && !atomic_load(&s->stop); i++)
            nanosleep(&(struct timespec){.tv_nsec = SLICE_NANOSECONDS}, NULL);
    }
    if (faults != NULL) (void)NVML_CALL(nvml->event_free, faults);
}

static void *run(void *context)
{
    dg_gpu_sensor *s = context;
    nvml_library nvml;
    void *device = NULL;
    unsigned heat = 0;
    int failed = 0;
    const char *missing = dg_nvml_open(&nvml);
    if (missing == NULL) failed = NVML_CALL(nvml.by_address, s->pci, &device);
    if (missing == NULL && failed == 0) failed = NVML_CALL(nvml.heat, device, NVML_CORE_HEAT, &heat);
    if (missing != NULL)
        snprintf(s->reason, sizeof s->reason, "%s", missing);
    else if (failed != 0)
        snprintf(s->reason, sizeof s->reason, "NVML fails with code %d", failed);
    else
        watch(s, &nvml, device);
    atomic_store(&s->ended, true);
    leave(s);
    return NULL;
}

static void wait_until(const atomic_bool *this, const atomic_bool *or_that, double seconds)
{
    const double until = dg_time_s() + seconds;
    while (!atomic_load(this) && !atomic_load(or_that) && dg_time_s() < until)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

dg_status dg_gpu_sensor_open(const char *pci, dg_gpu_sensor **out)
{
    dg_gpu_sensor *s = NULL;
    pthread_t thread;
    *out = NULL;
    DG_TRY(DG_NEW(&s, 1, "sensor of a GPU"));
    snprintf(s->pci, sizeof s->pci, "%s", pci);
    s->reading = dg_gpu_reading_none();
    atomic_init(&s->left, 2);
    pthread_mutex_init(&s->lock, NULL);
    if (pthread_create(&thread, NULL, run, s) != 0) {
        pthread_mutex_destroy(&s->lock);
        dg_free(&s);
        return DG_FAIL(DG_ERR_MEMORY, "no thread for the sensor of GPU %s", pci);
    }
    (void)pthread_detach(thread);
    wait_until(&s->opened, &s->ended, ANSWER_S);
    if (atomic_load(&s->opened)) {
        *out = s;
        return DG_OK;
    }
    dg_status status = DG_FAIL(DG_ERR_UNSUPPORTED, "the sensors of GPU %s cannot be read: %s", pci,
                               atomic_load(&s->ended) ? s->reason : "its driver does not answer");
    atomic_store(&s->stop, true);
    leave(s);
    return status;
}

dg_gpu_reading dg_gpu_sensor_read(dg_gpu_sensor *sensor)
{
    dg_gpu_reading reading = dg_gpu_reading_none();
    if (sensor == NULL) return reading;
    pthread_mutex_lock(&sensor->lock);
    if (dg_time_s() - sensor->read_s < ANSWER_S) reading = sensor->reading;
    pthread_mutex_unlock(&sensor->lock);
    return reading;
}

void dg_gpu_sensor_close(dg_gpu_sensor **sensor)
{
    if (*sensor == NULL) return;
    atomic_store(&(*sensor)->stop, true);
    wait_until(&(*sensor)->ended, &(*sensor)->ended, LEAVE_S);
    leave(*sensor);
    *sensor = NULL;
}
