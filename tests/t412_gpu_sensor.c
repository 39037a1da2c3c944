/* What NVML tells of one GPU found by its PCI address; what it does not tell is NaN; a GPU that is not there, one that is
 * lost and a driver that hangs are refused with the reason.
 * ctest: libs=dg_parallel,fake_nvml label=unit timeout=60
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_gpu_sensor.h"
#include "dg_trace.h"

#include <math.h>
#include <time.h>

/* The next reading that shows no heat of FAKE_NVML_HOT any more. */
static dg_gpu_reading when_cool(dg_gpu_sensor *sensor)
{
    const double until = dg_time_s() + 20;
    dg_gpu_reading reading = dg_gpu_sensor_read(sensor);
    while (reading.temperature_c == 91 && dg_time_s() < until) {
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        reading = dg_gpu_sensor_read(sensor);
    }
    return reading;
}

static void test_values(void)
{
    dg_gpu_sensor *sensor;
    DG_CHECK(setenv("FAKE_NVML_HOT", "2", 1) == 0); /* one to open it, one to be read */
    DG_CHECK_OK(dg_gpu_sensor_open("0000:01:00.0", &sensor));
    dg_gpu_reading r = dg_gpu_sensor_read(sensor);
    DG_CHECK(r.temperature_c == 91 && r.power_w == 212.5 && r.memory_mb == 20480 && r.sm_clock_mhz == 1755);
    DG_CHECK(r.ecc_errors == 3 && r.xid == 79);
    r = when_cool(sensor);
    DG_CHECK(r.temperature_c == 61 && r.xid == 79); /* an Xid stays */
    dg_gpu_sensor_close(&sensor);
    DG_CHECK(sensor == NULL);
    dg_gpu_sensor_close(&sensor);
    r = dg_gpu_sensor_read(NULL);
    DG_CHECK(isnan(r.temperature_c) && isnan(r.power_w) && isnan(r.memory_mb) && isnan(r.xid));
    DG_CHECK(setenv("FAKE_NVML_NO_ECC", "1", 1) == 0);
    DG_CHECK_OK(dg_gpu_sensor_open("0000:01:00.0", &sensor));
    r = dg_gpu_sensor_read(sensor);
    DG_CHECK(r.temperature_c == 61 && isnan(r.ecc_errors) && r.xid == 0);
    dg_gpu_sensor_close(&sensor);
}

static void refused(const char *pci, const char *words)
{
    dg_gpu_sensor *sensor;
    DG_CHECK(dg_gpu_sensor_open(pci, &sensor) == DG_ERR_UNSUPPORTED && sensor == NULL);
    if (strstr(dg_error_last()->text, words) == NULL) fprintf(stderr, "%s\n", dg_error_last()->text);
    DG_CHECK(strstr(dg_error_last()->text, words) != NULL);
    dg_error_clear();
}

int main(void)
{
    test_values();
    refused("0000:05:00.0", "GPU 0000:05:00.0 cannot be read: NVML fails with code 6");
    refused("0000:02:00.0", "GPU 0000:02:00.0 cannot be read: NVML fails with code 15");
    DG_CHECK(setenv("FAKE_NVML_HANGS", "1", 1) == 0);
    const double start = dg_time_s();
    refused("0000:01:00.0", "its driver does not answer");
    DG_CHECK(dg_time_s() - start < 20);
    return 0;
}
