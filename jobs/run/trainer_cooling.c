/* trainer_cooling.c - how hot the GPUs are, and when training rests for them. SPDX-License-Identifier: Apache-2.0 */
#include "trainer_impl.h"

#include "dg_device.h"

#include <math.h>

static dg_status open_own(dg_trainer *t)
{
    const dg_device_ops *device = t->backend->ops->device;
    char address[32];
    if (device == NULL)
        return DG_FAIL(DG_ERR_USAGE, "the backend %s computes on the CPU, without a GPU to read",
                       t->backend->ops->name);
    device->pci_address(t->backend->options.device, address, sizeof address);
    return dg_gpu_sensor_open(address, &t->sensor);
}

dg_status trainer_open_sensor(dg_trainer *t)
{
    const bool needed = t->config.train.cooling.above_c > 0;
    if (!needed && t->backend->ops->device == NULL) return DG_OK;
    dg_status status = open_own(t);
    if (needed && status != DG_OK)
        status = dg_error_context(status, "train.cooling.above_c is %g", t->config.train.cooling.above_c);
    if (needed) return dg_comm_agree(t->comm, status);
    if (status != DG_OK)
        dg_log_write(t->log, DG_LOG_INFO, "metrics.csv tells nothing of the GPU: %s", dg_error_last()->text);
    if (status != DG_OK) dg_error_clear();
    return DG_OK;
}

double trainer_heat_c(dg_trainer *t)
{
    const double heat = dg_gpu_sensor_read(t->sensor).temperature_c;
    const bool blind = t->config.train.cooling.above_c > 0 && isnan(heat);
    if (blind && !t->sensor_blind)
        dg_log_write(
            t->log, DG_LOG_WARNING,
            "step %lld: NVML no longer tells the temperature of this rank's GPU: train.cooling.above_c does not "
            "see it",
            (long long)t->progress.step);
    t->sensor_blind = blind;
    return isnan(heat) ? -INFINITY : heat;
}

double trainer_pause_s(const dg_trainer *t)
{
    const int64_t every = t->config.train.cooling.every_steps, step = t->progress.step;
    return every > 0 && step > 0 && step % every == 0 ? t->config.train.cooling.pause_s : 0;
}

bool trainer_is_hot(const dg_trainer *t, double hottest_c)
{
    return t->config.train.cooling.above_c > 0 && hottest_c > t->config.train.cooling.above_c;
}
