/* metrics.c - see metrics.h. SPDX-License-Identifier: Apache-2.0 */
#include "metrics.h"

#include "dg_file.h"
#include "dg_mem.h"
#include "dg_trace.h"
#include "tfevents.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CSV_LIMIT = 1 << 30 };
static const double FLUSH_INTERVAL_S = 2;
static const char HEAD[] = "step,seconds,lr,loss";
static const char TAIL[] = ",grad_norm,samples_per_s,val_mae_gy,val_mae_ptv_gy,val_dose_score,val_dice_error"
                           ",val_fraction_error,val_fraction_distance,val_denoise_gy"
                           ",gpu_temperature_c,gpu_power_w,gpu_memory_mb,gpu_sm_clock_mhz,gpu_ecc_errors,gpu_xid\n";
enum { HEADER_MAX = sizeof HEAD + sizeof TAIL + DG_METRICS_PARTS_MAX * (DG_METRICS_NAME + 1) };

struct dg_metrics {
    FILE *csv;
    dg_tfevents *events;
    double flushed_s;
    int parts;
    char part_name[DG_METRICS_PARTS_MAX][DG_METRICS_NAME];
};

static int64_t print_header(const dg_metrics *metrics, char text[HEADER_MAX])
{
    int length = snprintf(text, HEADER_MAX, "%s", HEAD);
    for (int k = 0; k < metrics->parts; k++)
        length += snprintf(text + length, (size_t)(HEADER_MAX - length), ",%s", metrics->part_name[k]);
    return length + snprintf(text + length, (size_t)(HEADER_MAX - length), "%s", TAIL);
}

/* Keeps the header and the rows up to `step` of a run that goes on. */
static dg_status trim(const dg_metrics *metrics, const char *path, int64_t step)
{
    char header[HEADER_MAX];
    if (step == 0 || !dg_file_exists(path)) return dg_file_write(path, header, print_header(metrics, header));
    char *text = NULL;
    int64_t length = 0;
    DG_TRY(dg_file_read(path, "metrics.csv", CSV_LIMIT, &text, &length));
    char *line = strchr(text, '\n');
    char *end = line != NULL ? line + 1 : text;
    while (end < text + length && strtoll(end, NULL, 10) <= step) {
        line = strchr(end, '\n');
        if (line == NULL) break; /* a row cut short by a crash */
        end = line + 1;
    }
    dg_status status = dg_file_write(path, text, end - text);
    dg_free(&text);
    return status;
}

static double wall_time_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static dg_status failed(void)
{
    char reason[128];
    return DG_FAIL(DG_ERR_IO, "metrics.csv cannot be written: %s", strerror_r(errno, reason, sizeof reason));
}

static dg_status open_files(dg_metrics *metrics, const char *folder, int64_t step)
{
    char path[DG_PATH_MAX];
    DG_TRY(dg_path_join(path, folder, "metrics.csv"));
    DG_TRY(trim(metrics, path, step));
    metrics->csv = fopen(path, "ae");
    return metrics->csv != NULL ? dg_tfevents_create(folder, wall_time_s(), &metrics->events) : failed();
}

dg_status dg_metrics_create(const char *folder, int64_t step, const char (*part_name)[DG_METRICS_NAME], int parts,
                            dg_metrics **out)
{
    dg_metrics *metrics;
    if (parts > DG_METRICS_PARTS_MAX)
        return DG_FAIL(DG_ERR_INTERNAL, "metrics.csv has room for %d parts of a loss, not %d", DG_METRICS_PARTS_MAX,
                       parts);
    DG_TRY(DG_NEW(&metrics, 1, "metrics writer"));
    metrics->parts = parts;
    memcpy(metrics->part_name, part_name, (size_t)parts * sizeof *part_name);
    dg_status status = open_files(metrics, folder, step);
    if (status != DG_OK) dg_metrics_destroy(&metrics);
    *out = metrics;
    return status;
}

static void put_number(FILE *csv, double value)
{
    if (isfinite(value))
        fprintf(csv, ",%.9g", value);
    else
        fputs(isnan(value) ? ",nan" : ",inf", csv);
}

/* Empty where a part was not measured in this step. */
static void put_part(FILE *csv, double value)
{
    if (isnan(value))
        fputc(',', csv);
    else
        put_number(csv, value);
}

/* Where there is no such score the field stays empty. */
static void put_score(FILE *csv, bool validated, double value)
{
    if (validated && !isnan(value))
        fprintf(csv, ",%.6f", value);
    else
        fputc(',', csv);
}

static dg_status add_events(dg_metrics *metrics, const dg_metrics_row *row)
{
    double now = wall_time_s();
    const dg_gpu_reading gpu = row->gpu != NULL ? *row->gpu : dg_gpu_reading_none();
    const struct {
        const char *tag;
        double value;
        bool shown;
    } item[] = {
        {"train/loss", row->loss, !row->untrained},
        {"train/lr", row->lr, !row->untrained},
        {"train/grad_norm", row->grad_norm, !row->untrained},
        {"train/samples_per_s", row->samples_per_s, !row->untrained},
        {"gpu/temperature_c", gpu.temperature_c, !isnan(gpu.temperature_c)},
        {"gpu/power_w", gpu.power_w, !isnan(gpu.power_w)},
        {"gpu/memory_mb", gpu.memory_mb, !isnan(gpu.memory_mb)},
        {"gpu/sm_clock_mhz", gpu.sm_clock_mhz, !isnan(gpu.sm_clock_mhz)},
        {"val/mae_gy", row->scores.mae_gy, row->validated && !isnan(row->scores.mae_gy)},
        {"val/mae_ptv_gy", row->scores.mae_ptv_gy, row->validated && !isnan(row->scores.mae_ptv_gy)},
        {"val/dose_score", row->scores.dose_score, row->validated && !isnan(row->scores.dose_score)},
        {"val/dice_error", row->scores.dice_error, row->validated && !isnan(row->scores.dice_error)},
        {"val/fraction_error", row->scores.fraction_error, row->validated && !isnan(row->scores.fraction_error)},
        {"val/fraction_distance", row->scores.fraction_distance,
         row->validated && !isnan(row->scores.fraction_distance)},
        {"val/denoise_gy", row->scores.denoise_gy, row->validated && !isnan(row->scores.denoise_gy)}};
    for (size_t i = 0; i < sizeof item / sizeof item[0]; i++) {
        if (item[i].shown)
            DG_TRY(dg_tfevents_scalar(metrics->events, now, row->step, item[i].tag, (float)item[i].value));
    }
    for (int k = 0; k < metrics->parts && !row->untrained; k++) {
        char tag[DG_METRICS_NAME + 8];
        if (isnan(row->part[k])) continue;
        snprintf(tag, sizeof tag, "train/%s", metrics->part_name[k]);
        DG_TRY(dg_tfevents_scalar(metrics->events, now, row->step, tag, (float)row->part[k]));
    }
    return DG_OK;
}

static void put_training(const dg_metrics *metrics, const dg_metrics_row *row)
{
    FILE *csv = metrics->csv;
    if (row->untrained) {
        for (int k = 0; k < metrics->parts + 4; k++) fputc(',', csv);
        return;
    }
    put_number(csv, row->lr);
    put_number(csv, row->loss);
    for (int k = 0; k < metrics->parts; k++) put_part(csv, row->part[k]);
    put_number(csv, row->grad_norm);
    fprintf(csv, ",%.3f", row->samples_per_s);
}

static void put_gpu(FILE *csv, const dg_gpu_reading *gpu)
{
    const double value[] = {gpu->temperature_c, gpu->power_w,    gpu->memory_mb,
                            gpu->sm_clock_mhz,  gpu->ecc_errors, gpu->xid};
    for (size_t i = 0; i < sizeof value / sizeof value[0]; i++) {
        fputc(',', csv);
        if (!isnan(value[i])) fprintf(csv, "%.9g", value[i]);
    }
}

dg_status dg_metrics_add(dg_metrics *metrics, const dg_metrics_row *row)
{
    FILE *csv = metrics->csv;
    const dg_gpu_reading gpu = row->gpu != NULL ? *row->gpu : dg_gpu_reading_none();
    fprintf(csv, "%lld,%.3f", (long long)row->step, row->seconds);
    put_training(metrics, row);
    put_score(csv, row->validated, row->scores.mae_gy);
    put_score(csv, row->validated, row->scores.mae_ptv_gy);
    put_score(csv, row->validated, row->scores.dose_score);
    put_score(csv, row->validated, row->scores.dice_error);
    put_score(csv, row->validated, row->scores.fraction_error);
    put_score(csv, row->validated, row->scores.fraction_distance);
    put_score(csv, row->validated, row->scores.denoise_gy);
    put_gpu(csv, &gpu);
    fputc('\n', csv);
    if (ferror(csv)) return failed();
    DG_TRY(add_events(metrics, row));
    double now = dg_time_s();
    if (row->validated || now - metrics->flushed_s > FLUSH_INTERVAL_S) {
        metrics->flushed_s = now;
        return dg_metrics_flush(metrics);
    }
    return DG_OK;
}

dg_status dg_metrics_flush(dg_metrics *metrics)
{
    if (fflush(metrics->csv) != 0) return failed();
    return dg_tfevents_flush(metrics->events);
}

void dg_metrics_destroy(dg_metrics **metrics)
{
    if (*metrics == NULL) return;
    if ((*metrics)->csv != NULL) fclose((*metrics)->csv);
    dg_tfevents_destroy(&(*metrics)->events);
    dg_free(metrics);
}
