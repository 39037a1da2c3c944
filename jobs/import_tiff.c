/* import_tiff.c - scans and their labels as TIFF volumes of many pages: NAME.tif with NAME.label.tif beside it, or
 * images/NAME.tif (train_images/, ..) with labels/NAME.tif (train_labels/, ..). The files say no spacing: --spacing, else 1 mm.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"
#include "dg_tiff.h"
#include "import_format.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char LABEL[] = ".label.tif", IMAGES[] = "images", LABELS[] = "labels";

static bool ends_with(const char *text, const char *end)
{
    const size_t a = strlen(text), b = strlen(end);
    return a >= b && strcmp(text + a - b, end) == 0;
}

static double bytes_of(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode) ? (double)info.st_size : -1;
}

/* Labels are no patients of their own. */
static double patient_bytes(const char *path) { return ends_with(path, LABEL) ? -1 : bytes_of(path); }

/* Where the labels of a scan lie; false: nowhere. */
static bool find_labels(const char *path, char labels[DG_PATH_MAX])
{
    const size_t stem = strlen(path) - strlen(".tif");
    const char *slash = strrchr(path, '/');
    if (stem + sizeof LABEL <= DG_PATH_MAX) {
        snprintf(labels, DG_PATH_MAX, "%.*s%s", (int)stem, path, LABEL);
        if (bytes_of(labels) >= 0) return true;
    }
    const size_t folder = slash != NULL ? (size_t)(slash - path) : 0, word = strlen(IMAGES);
    if (folder < word || strncmp(path + folder - word, IMAGES, word) != 0) return false;
    snprintf(labels, DG_PATH_MAX, "%.*s%s%s", (int)(folder - word), path, LABELS, slash);
    return bytes_of(labels) >= 0;
}

/* The scan as the case's CT: 16 bits with sign where they suffice. */
static dg_status take_scan(dg_tiff *scan, import_case *out)
{
    const int64_t voxels = scan->shape[0] * scan->shape[1] * scan->shape[2];
    bool fits = true;
    for (int64_t i = 0; i < voxels; i++) fits = fits && scan->value[i] <= INT16_MAX;
    if (fits) {
        int16_t *values;
        DG_TRY(DG_NEW(&values, voxels, "scan"));
        for (int64_t i = 0; i < voxels; i++) values[i] = (int16_t)scan->value[i];
        import_case_own(out, values);
        out->data.ct_hu = values;
        return DG_OK;
    }
    float *values;
    DG_TRY(DG_NEW(&values, voxels, "scan"));
    for (int64_t i = 0; i < voxels; i++) values[i] = scan->value[i];
    import_case_own(out, values);
    out->data.ct_hu_f32 = values;
    return DG_OK;
}

static dg_status take_labels(const dg_tiff *labels, const dg_tiff *scan, const char *id, import_case *out)
{
    const int64_t voxels = scan->shape[0] * scan->shape[1] * scan->shape[2];
    uint8_t *values;
    for (int a = 0; a < 3; a++)
        if (labels->shape[a] != scan->shape[a])
            return DG_FAIL(DG_ERR_DATA, "case %s: the labels are %lld x %lld x %lld and the scan %lld x %lld x %lld",
                           id, (long long)labels->shape[0], (long long)labels->shape[1], (long long)labels->shape[2],
                           (long long)scan->shape[0], (long long)scan->shape[1], (long long)scan->shape[2]);
    for (int64_t i = 0; i < voxels; i++)
        if (labels->value[i] > UINT8_MAX)
            return DG_FAIL(DG_ERR_DATA, "case %s: a label has the value %d; 0 to 255 are possible", id,
                           labels->value[i]);
    DG_TRY(DG_NEW(&values, voxels, "labels"));
    for (int64_t i = 0; i < voxels; i++) values[i] = (uint8_t)labels->value[i];
    import_case_own(out, values);
    out->data.labels = values;
    return DG_OK;
}

static dg_status fill_info(const dg_tiff *scan, const import_item *item, const import_settings *settings,
                           dg_case_info *info)
{
    double spacing[3];
    for (int a = 0; a < 3; a++) spacing[a] = settings->spacing_mm[a] > 0 ? settings->spacing_mm[a] : 1;
    info->grid = dg_grid_make(scan->shape, spacing);
    snprintf(info->site, sizeof info->site, "surface");
    snprintf(info->source_format, sizeof info->source_format, "tiff");
    dg_status status = dg_grid_check(&info->grid);
    return status == DG_OK ? DG_OK : dg_error_context(status, "case %s", item->id);
}

static dg_status read_case(const char *path, const import_item *item, const import_settings *settings, import_case *out)
{
    char where[DG_PATH_MAX];
    dg_tiff scan = {.value = NULL}, labels = {.value = NULL};
    dg_status status = dg_tiff_read(path, "scan", &scan);
    const bool labelled = status == DG_OK && find_labels(path, where);
    if (labelled) status = dg_tiff_read(where, "label file", &labels);
    if (status != DG_OK) {
        status = dg_error_context(status, "case %s", item->id);
        goto done;
    }
    if (!labelled && settings->require_dose) {
        status = DG_FAIL(DG_ERR_DATA,
                         "case %s has no labels: they are NAME.label.tif beside NAME.tif, or labels/NAME.tif beside "
                         "images/; --for predict does without",
                         item->id);
        goto done;
    }
    DG_TRY_GOTO(status, fill_info(&scan, item, settings, &out->data.info), done);
    DG_TRY_GOTO(status, take_scan(&scan, out), done);
    if (labelled) status = take_labels(&labels, &scan, item->id, out);
done:
    dg_tiff_release(&scan);
    dg_tiff_release(&labels);
    return status;
}

const import_format import_tiff = {.name = "tiff", .suffix = ".tif", .patient_bytes = patient_bytes, .read = read_case};
