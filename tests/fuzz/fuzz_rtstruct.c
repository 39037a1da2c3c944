/* ctest: sources=src/base/*.c,src/grid/dg_grid.c,src/formats/rt_plan.c,src/formats/dicom/dicom_[a-v]*.cc headers=src/formats pkg=jansson,yaml-0.1,libcrypto,zlib lib=dcmjpeg,dcmimgle,dcmdata,oflog,ofstd seconds=20 */
/* fuzz_rtstruct.c - a structure set whose ROI list, contours and observations are any bytes: whatever is read adds up and is
 * finite, in implicit encoding (first byte even) and explicit one (odd). SPDX-License-Identifier: Apache-2.0 */
#include "dg_dicom.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void must(bool condition)
{
    if (!condition) abort();
}

/* Preamble, meta header and SOP class of a structure set in one of the two encodings. */
static size_t put_head(unsigned char *to, bool is_explicit)
{
    static const char class_uid[] = "1.2.840.10008.5.1.4.1.1.481.3"; /* and its NUL: 30 bytes */
    unsigned char *at = to + 128;
    memset(to, 0, 128);
    at += sprintf((char *)at, "DICM");
    memcpy(at, "\2\0\0\0UL\4\0\34\0\0\0\2\0\20\0UI\24\0", 20);
    at += 20;
    memcpy(at, is_explicit ? "1.2.840.10008.1.2.1\0" : "1.2.840.10008.1.2\0\0\0", 20);
    at += 20;
    memcpy(at, is_explicit ? "\10\0\26\0UI\36\0" : "\10\0\26\0\36\0\0\0", 8);
    at += 8;
    memcpy(at, class_uid, 30);
    return (size_t)(at + 30 - to);
}

static void check(const dg_dicom_structures *set)
{
    int64_t contours = 0, points = 0;
    for (int64_t k = 0; k < set->roi_count; k++) {
        const dg_dicom_roi *roi = &set->rois[k];
        must(strlen(roi->name) < DG_DICOM_NAME && strlen(roi->interpreted_type) < DG_DICOM_CODE);
        for (const char *c = roi->name; *c != '\0'; c++) must((unsigned char)*c >= ' ' && *c != 0x7f);
        for (int64_t c = 0; c < roi->contour_count; c++) {
            const dg_dicom_contour *contour = &roi->contours[c];
            must(contour->count > 0 && contour->z_range_mm >= 0);
            for (int64_t p = 0; p < contour->count * 3; p++) must(fabs(contour->points_xyz_mm[p]) <= 1e6);
            points += contour->count;
        }
        contours += roi->contour_count;
    }
    must(contours == set->contour_count && points == set->point_count);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    char path[64];
    char *paths[] = {path};
    const dg_dicom_files files = {paths, 1};
    dg_dicom_context context = {.case_id = "x", .limits = {.points = 1 << 16}};
    dg_dicom_structures set;
    if (size < 1 || size > 1 << 20) return 0;
    unsigned char *bytes = malloc(256 + size);
    must(bytes != NULL);
    size_t length = put_head(bytes, data[0] & 1);
    memcpy(bytes + length, data + 1, size - 1);
    length += size - 1;
    snprintf(path, sizeof path, "/dev/shm/fuzz-rtstruct-%d", (int)getpid());
    FILE *file = fopen(path, "wb");
    must(file != NULL && fwrite(bytes, 1, length, file) == length && fclose(file) == 0);
    const dg_status status = dg_dicom_read_structures(&context, &files, NULL, &set);
    if (status == DG_OK)
        check(&set);
    else
        must(status != DG_ERR_INTERNAL && context.rule != NULL);
    dg_dicom_structures_release(&set);
    must(unlink(path) == 0);
    free(bytes);
    return 0;
}
