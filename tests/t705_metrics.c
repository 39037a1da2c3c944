/* The TensorBoard file byte by byte, decoded by hand; metrics.csv of a run that goes on.
 * ctest: libs=dg_run label=unit timeout=60
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_file.h"
#include "dg_mem.h"
#include "metrics.h"
#include "tfevents.h"

#include <dirent.h>
#include <unistd.h>

/* Known answers of CRC-32C (RFC 3720, B.4). */
static void test_crc(void)
{
    unsigned char zeros[32] = {0}, ones[32], rising[32];
    memset(ones, 0xff, sizeof ones);
    for (int i = 0; i < 32; i++) rising[i] = (unsigned char)i;
    DG_CHECK(dg_crc32c(zeros, 32) == 0x8a9136aau);
    DG_CHECK(dg_crc32c(ones, 32) == 0x62a8ab43u);
    DG_CHECK(dg_crc32c(rising, 32) == 0x46dd794eu);
    DG_CHECK(dg_crc32c("123456789", 9) == 0xe3069283u);
}

static void find_events(const char *folder, char path[DG_PATH_MAX])
{
    DIR *stream = opendir(folder);
    DG_CHECK(stream != NULL);
    path[0] = '\0';
    for (struct dirent *item = readdir(stream); item != NULL; item = readdir(stream)) {
        if (strncmp(item->d_name, "events.out.tfevents.", 20) == 0)
            DG_CHECK_OK(dg_path_join(path, folder, item->d_name));
    }
    closedir(stream);
    DG_CHECK(path[0] != '\0');
}

static uint32_t masked(const unsigned char *bytes, size_t count)
{
    uint32_t crc = dg_crc32c(bytes, count);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* Checks one frame at `at` and returns its payload. */
static const unsigned char *frame(const unsigned char *at, size_t *length)
{
    uint64_t size;
    uint32_t head, tail;
    memcpy(&size, at, 8);
    memcpy(&head, at + 8, 4);
    memcpy(&tail, at + 12 + size, 4);
    DG_CHECK(head == masked(at, 8) && tail == masked(at + 12, size));
    *length = size;
    return at + 12;
}

static void test_events(const char *folder)
{
    dg_tfevents *events;
    char path[DG_PATH_MAX], *text;
    int64_t total;
    DG_CHECK_OK(dg_tfevents_create(folder, 1.5, &events));
    DG_CHECK_OK(dg_tfevents_scalar(events, 2.0, 300, "a/b", 0.15625f));
    DG_CHECK_OK(dg_tfevents_flush(events));
    dg_tfevents_destroy(&events);
    find_events(folder, path);
    DG_CHECK_OK(dg_file_read(path, "events", 1 << 20, &text, &total));
    size_t length;
    const unsigned char *first = frame((unsigned char *)text, &length);
    static const unsigned char version[] = {0x09, 0,   0,   0,   0,   0,   0,   0xf8, 0x3f, /* wall_time 1.5 */
                                            0x1a, 13,  'b', 'r', 'a', 'i', 'n', '.',  'E',
                                            'v',  'e', 'n', 't', ':', '2'};
    DG_CHECK(length == sizeof version && memcmp(first, version, sizeof version) == 0);
    const unsigned char *second = frame(first + length + 4, &length);
    static const unsigned char scalar[] = {0x09, 0,    0,    0,    0,    0, 0,   0,   0x40, /* wall_time 2 */
                                           0x10, 0xac, 0x02,                                /* step 300 */
                                           0x2a, 12,   0x0a, 10,   0x0a, 3, 'a', '/', 'b',  /* tag */
                                           0x15, 0,    0,    0x20, 0x3e};                   /* 0.15625 */
    DG_CHECK(length == sizeof scalar && memcmp(second, scalar, sizeof scalar) == 0);
    DG_CHECK((const char *)second + length + 4 == text + total);
    dg_free(&text);
    unlink(path);
}

static const char PARTS[3][DG_METRICS_NAME] = {"mse", "term_dvh", "sigma_dvh"};
static const double PART[3] = {0.25, 0.5, 0};
static const dg_gpu_reading GPU = {71, 212.5, 20480, 1755, 3, 79};

static dg_metrics_row row_of(int64_t step)
{
    return (dg_metrics_row){.step = step,
                            .seconds = (double)step,
                            .lr = 1e-3,
                            .loss = 0.5,
                            .part = PART,
                            .grad_norm = 2,
                            .samples_per_s = 4,
                            .validated = step == 4,
                            .scores = {1.25, NAN, 3.5, NAN, NAN, NAN, NAN},
                            .gpu = step == 2 ? &GPU : NULL};
}

static void test_csv(const char *folder)
{
    dg_metrics *metrics;
    char path[DG_PATH_MAX], *text;
    int64_t length;
    DG_CHECK_OK(dg_path_join(path, folder, "metrics.csv"));
    DG_CHECK_OK(dg_metrics_create(folder, 0, PARTS, 3, &metrics));
    for (int64_t step = 1; step <= 6; step++) {
        dg_metrics_row row = row_of(step);
        DG_CHECK_OK(dg_metrics_add(metrics, &row));
    }
    dg_metrics_destroy(&metrics);
    DG_CHECK_OK(dg_metrics_create(folder, 4, PARTS, 3, &metrics)); /* resumed at step 4: rows 5 and 6 never were */
    dg_metrics_row row = row_of(5);
    DG_CHECK_OK(dg_metrics_add(metrics, &row));
    row = (dg_metrics_row){
        .step = 5, .seconds = 5.5, .untrained = true, .validated = true, .scores = {1, 2, NAN, NAN, NAN, NAN, NAN}};
    DG_CHECK_OK(dg_metrics_add(metrics, &row)); /* the validation that ends a run */
    dg_metrics_destroy(&metrics);
    DG_CHECK_OK(dg_file_read(path, "metrics.csv", 1 << 20, &text, &length));
    DG_CHECK(strcmp(text, "step,seconds,lr,loss,mse,term_dvh,sigma_dvh,grad_norm,samples_per_s,val_mae_gy,"
                          "val_mae_ptv_gy,val_dose_score,val_dice_error,val_fraction_error,val_fraction_distance,"
                          "val_denoise_gy,"
                          "gpu_temperature_c,gpu_power_w,gpu_memory_mb,gpu_sm_clock_mhz,gpu_ecc_errors,gpu_xid\n"
                          "1,1.000,0.001,0.5,0.25,0.5,0,2,4.000,,,,,,,,,,,,,\n"
                          "2,2.000,0.001,0.5,0.25,0.5,0,2,4.000,,,,,,,,71,212.5,20480,1755,3,79\n"
                          "3,3.000,0.001,0.5,0.25,0.5,0,2,4.000,,,,,,,,,,,,,\n"
                          "4,4.000,0.001,0.5,0.25,0.5,0,2,4.000,1.250000,,3.500000,,,,,,,,,,\n"
                          "5,5.000,0.001,0.5,0.25,0.5,0,2,4.000,,,,,,,,,,,,,\n"
                          "5,5.500,,,,,,,,1.000000,2.000000,,,,,,,,,,,\n") == 0);
    dg_free(&text);
    unlink(path);
    find_events(folder, path);
    unlink(path);
}

int main(void)
{
    char folder[64];
    snprintf(folder, sizeof folder, "t705_metrics-%ld", (long)getpid());
    DG_CHECK_OK(dg_make_folder(folder));
    test_crc();
    test_events(folder);
    test_csv(folder);
    DIR *stream = opendir(folder);
    for (struct dirent *item = readdir(stream); item != NULL; item = readdir(stream)) {
        char path[DG_PATH_MAX];
        if (item->d_name[0] != '.' && dg_path_join(path, folder, item->d_name) == DG_OK) unlink(path);
    }
    closedir(stream);
    rmdir(folder);
    return 0;
}
