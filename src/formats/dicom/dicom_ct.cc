/* dicom_ct.cc - a CT series in any file order becomes a volume in HU on an ascending LPS grid.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dicom_impl.h"

#include <algorithm>
#include <cmath>

namespace dicom
{

static const double SAME_MM = 0.01;      /* two positions no further apart are the same */
static const double EVEN = 0.01;         /* of the slice spacing: how much it may vary */
static const double SAME_SPACING = 1e-5; /* of a pixel spacing, relative */

/* What the slices of a series have in common, taken from the first one read. */
struct Series {
    Plane plane;
    std::string frame, position_tag;
    int64_t padding = 0;
    double tilt_tag = 0;
    int64_t rescale_missing = 0; /* slices without RescaleSlope or RescaleIntercept */
};

static void check_turn(const Plane &plane)
{
    switch (plane.turn) {
    case Turn::HFS:
    case Turn::HFP:
    case Turn::FFS:
    case Turn::FFP: return;
    case Turn::MISSING:
        refuse(DG_ERR_DATA, "ct-position", "a slice has no ImageOrientationPatient: export it again as CT images");
    case Turn::BAD:
        refuse(DG_ERR_DATA, "ct-position",
               "ImageOrientationPatient of a slice is no pair of unit vectors at a right angle");
    case Turn::DECUBITUS:
        refuse(DG_ERR_UNSUPPORTED, "ct-decubitus",
               "the patient lies on the side (decubitus): HFS, HFP, FFS and FFP are read; resample it to one of these");
    case Turn::TILTED:
        refuse(DG_ERR_UNSUPPORTED, "ct-tilt",
               "the gantry is tilted by %.2f degrees: resample the series to axial slices first", plane.tilt_deg);
    case Turn::OBLIQUE:
        refuse(DG_ERR_UNSUPPORTED, "ct-oblique",
               "the slices are not axial (oblique, sagittal or coronal): resample the series to axial slices first");
    }
}

static void check_plane(const Plane &plane)
{
    if (!plane.has_position)
        refuse(DG_ERR_DATA, "ct-position", "a slice has no ImagePositionPatient that is three numbers in mm");
    if (!plane.has_spacing)
        refuse(DG_ERR_DATA, "ct-spacing", "PixelSpacing of a slice is no pair of numbers of 0.001 .. 1000 mm");
    check_turn(plane);
}

static void check_same(const Series &series, const Plane &plane, const std::string &frame)
{
    if (plane.turn != series.plane.turn)
        refuse(DG_ERR_DATA, "ct-orientation-differs",
               "slices of one series lie in different ways (%s and %s): take the localizer or other images out",
               turn_name(series.plane.turn), turn_name(plane.turn));
    if (plane.rows != series.plane.rows || plane.columns != series.plane.columns)
        refuse(DG_ERR_DATA, "ct-shape-differs", "one slice has %ld x %ld pixels, another %ld x %ld: export it again",
               series.plane.rows, series.plane.columns, plane.rows, plane.columns);
    for (int k = 0; k < 2; k++)
        if (std::fabs(plane.spacing[k] - series.plane.spacing[k]) > SAME_SPACING * series.plane.spacing[k])
            refuse(DG_ERR_DATA, "ct-spacing-differs",
                   "one slice has a pixel spacing of %.5g mm, another of %.5g mm: export it again",
                   series.plane.spacing[k], plane.spacing[k]);
    for (int k = 0; k < 2; k++)
        if (std::fabs(plane.position[k] - series.plane.position[k]) > SAME_MM)
            refuse(DG_ERR_DATA, "ct-origin-differs",
                   "slices are shifted against each other in their plane by %.3f mm (a tilted gantry, or two series): "
                   "resample the series to axial slices first",
                   std::fabs(plane.position[k] - series.plane.position[k]));
    if (frame != series.frame)
        refuse(DG_ERR_DATA, "ct-frame-differs", "slices of one series have different frames of reference");
}

/* RescaleSlope and RescaleIntercept of a slice. */
static void rescale_of(DcmItem &item, Series &series, double *slope, double *intercept)
{
    *slope = 1;
    *intercept = 0;
    const Found a = number_of(item, DCM_RescaleSlope, slope), b = number_of(item, DCM_RescaleIntercept, intercept);
    if (a == Found::BAD || b == Found::BAD || *slope == 0 || std::fabs(*slope) > 1e6 || std::fabs(*intercept) > 1e9)
        refuse(DG_ERR_DATA, "ct-rescale",
               "RescaleSlope or RescaleIntercept of a slice is no number that makes HU: export it again");
    series.rescale_missing += a == Found::ABSENT || b == Found::ABSENT;
}

/* PixelPaddingValue in the stored values' own range; false when not said. */
static bool padding_of(DcmItem &item, const Pixels &pixels, double *value)
{
    if (number_of(item, DCM_PixelPaddingValue, value) != Found::GOOD) return false;
    if (pixels.is_signed && *value >= 32768) *value -= 65536; /* written as US though the pixels are signed */
    if (!pixels.is_signed && *value < 0) *value += 65536;
    return true;
}

/* Writes the slice in ascending order of both axes. */
static void store_slice(const Series &series, const std::vector<double> &raw, double slope, double intercept,
                        float *out)
{
    const int64_t rows = series.plane.rows, columns = series.plane.columns;
    for (int64_t r = 0; r < rows; r++) {
        const double *from = raw.data() + (series.plane.flip_y ? rows - 1 - r : r) * columns;
        float *to = out + r * columns;
        if (series.plane.flip_x)
            for (int64_t c = 0; c < columns; c++) to[c] = (float)(from[columns - 1 - c] * slope + intercept);
        else
            for (int64_t c = 0; c < columns; c++) to[c] = (float)(from[c] * slope + intercept);
    }
}

static bool is_multiframe(DcmItem &item, const Pixels &pixels)
{
    return pixels.frames > 1 || item.tagExists(DCM_PerFrameFunctionalGroupsSequence);
}

/* Reader of one series: slices in file order, then sorted. */
struct Reader {
    dg_dicom_context *context;
    dg_dicom_limits limits;
    int64_t count;
    Series series;
    std::vector<double> z;
    std::vector<uint8_t> scratch;
    std::vector<double> raw;
    float *hu = nullptr;

    void read_slice(const char *path, int64_t index);
    void begin(const Plane &plane, DcmItem &item, const std::string &frame);
    double check_stack(const std::vector<int64_t> &order) const;
    void sort_slices(const std::vector<int64_t> &order);
};

void Reader::begin(const Plane &plane, DcmItem &item, const std::string &frame)
{
    int64_t voxels = plane.rows * plane.columns;
    if (!dg_mul_int64(voxels, count, &voxels) || voxels > limits.voxels)
        refuse(DG_ERR_DATA, "ct-too-large", "%lld slices of %ld x %ld pixels are more than %lld voxels",
               (long long)count, plane.rows, plane.columns, (long long)limits.voxels);
    series.plane = plane;
    series.frame = frame;
    series.position_tag = text_of(item, DCM_PatientPosition);
    if (number_of(item, DCM_GantryDetectorTilt, &series.tilt_tag) != Found::GOOD) series.tilt_tag = 0;
    need(dg_alloc(&hu, (size_t)voxels, sizeof *hu, "CT"));
}

void Reader::read_slice(const char *path, int64_t index)
{
    File file;
    double slope, intercept, padding;
    read_or_refuse(file, path, limits, "slice", "ct-damaged", "ct-truncated", "ct-too-large");
    DcmItem &item = file.data();
    const Pixels pixels = pixels_of(file, "ct-pixel-format", "ct-transfer-syntax", false);
    if (is_multiframe(item, pixels))
        refuse(DG_ERR_UNSUPPORTED, "ct-multiframe",
               "this is an enhanced or multi-frame CT: export it as single CT images");
    const Plane plane = plane_of(item);
    const std::string frame = key_of(context, "frame", text_of(item, DCM_FrameOfReferenceUID));
    check_plane(plane);
    need_pixels(file, pixels, "ct-truncated");
    if (hu == nullptr) begin(plane, item, frame);
    check_same(series, plane, frame);
    z.push_back(plane.position[2]);
    rescale_of(item, series, &slope, &intercept);
    read_frame(file, pixels, 0, "ct-truncated", "ct-damaged", scratch, raw);
    if (padding_of(item, pixels, &padding)) series.padding += std::count(raw.begin(), raw.end(), padding);
    store_slice(series, raw, slope, intercept, hu + index * plane.rows * plane.columns);
}

/* The slice spacing; refuses doubled, missing and unevenly spaced slices. */
double Reader::check_stack(const std::vector<int64_t> &order) const
{
    const size_t n = order.size();
    auto at = [&](size_t k) { return z[(size_t)order[k]]; };
    std::vector<double> steps(n - 1);
    for (size_t k = 0; k + 1 < n; k++) {
        steps[k] = at(k + 1) - at(k);
        if (steps[k] < SAME_MM)
            refuse(DG_ERR_DATA, "ct-duplicate-slice",
                   "two slices lie at z = %.2f mm (two series mixed, or a slice twice): leave one", at(k));
    }
    std::vector<double> sorted = steps;
    std::nth_element(sorted.begin(), sorted.begin() + (ptrdiff_t)(n - 1) / 2, sorted.end());
    const double usual = sorted[(n - 1) / 2], allowed = std::fmax(SAME_MM, EVEN * usual);
    for (size_t k = 0; k + 1 < n; k++) {
        const double times = std::round(steps[k] / usual);
        if (std::fabs(steps[k] - usual) <= allowed) continue;
        if (times >= 2 && std::fabs(steps[k] - times * usual) <= allowed * times)
            refuse(DG_ERR_DATA, "ct-gap",
                   "%.0f slice(s) are missing between z = %.2f and %.2f mm, %.4g mm apart elsewhere: export all slices",
                   times - 1, at(k), at(k + 1), usual);
        refuse(DG_ERR_DATA, "ct-uneven",
               "slices are unevenly spaced: %.4g mm between z = %.2f and %.2f mm, %.4g mm elsewhere: resample the "
               "series first",
               steps[k], at(k), at(k + 1), usual);
    }
    const double spacing = (at(n - 1) - at(0)) / (double)(n - 1);
    for (size_t k = 0; k < n; k++)
        if (std::fabs(at(k) - (at(0) + (double)k * spacing)) > 5 * allowed)
            refuse(DG_ERR_DATA, "ct-uneven", "the spacing of the slices drifts: the one at z = %.2f mm is %.3f mm off",
                   at(k), at(k) - (at(0) + (double)k * spacing));
    return spacing;
}

/* Puts slice order[k] at place k, following the cycles of the permutation with one slice of memory. */
void Reader::sort_slices(const std::vector<int64_t> &order)
{
    const int64_t slice = series.plane.rows * series.plane.columns;
    std::vector<float> kept((size_t)slice);
    std::vector<bool> done(order.size());
    for (int64_t start = 0; start < (int64_t)order.size(); start++) {
        if (done[(size_t)start] || order[(size_t)start] == start) continue;
        std::copy_n(hu + start * slice, slice, kept.data());
        int64_t to = start;
        for (; order[(size_t)to] != start; to = order[(size_t)to]) {
            std::copy_n(hu + order[(size_t)to] * slice, slice, hu + to * slice);
            done[(size_t)to] = true;
        }
        std::copy_n(kept.data(), slice, hu + to * slice);
        done[(size_t)to] = true;
    }
}

static void tell_notes(dg_dicom_context *context, const Series &series)
{
    const std::string &tag = series.position_tag;
    if (!tag.empty() && tag != turn_name(series.plane.turn)) {
        char code[DG_DICOM_CODE];
        copy_code(code, tag);
        note(context, "ct-position-tag", "PatientPosition says %s, the orientation says %s and is followed", code,
             turn_name(series.plane.turn));
    }
    if (series.padding > 0)
        note(context, "ct-padding", "%lld voxels hold the padding value, left as it is", (long long)series.padding);
    if (std::fabs(series.tilt_tag) > 0.05)
        note(context, "ct-tilt-tag", "GantryDetectorTilt says %.2f degrees, the slices lie straight", series.tilt_tag);
    if (series.rescale_missing)
        note(context, "ct-rescale-missing", "RescaleSlope or RescaleIntercept is absent: 1 and 0 are taken");
}

static void read_series(Reader &reader, const dg_dicom_files *files, dg_dicom_ct *out)
{
    if (files->count == 0) refuse(DG_ERR_DATA, "ct-missing", "there are no CT slices: export them with the plan");
    if (files->count == 1) refuse(DG_ERR_DATA, "ct-single-slice", "there is one CT slice: a volume needs two or more");
    for (int64_t k = 0; k < files->count; k++) reader.read_slice(files->path[k], k);
    if (reader.series.rescale_missing > 0 && reader.series.rescale_missing < files->count)
        refuse(DG_ERR_DATA, "ct-rescale",
               "RescaleSlope or RescaleIntercept is absent in %lld of %lld slices: export it again",
               (long long)reader.series.rescale_missing, (long long)files->count);
    std::vector<int64_t> order((size_t)files->count);
    for (size_t k = 0; k < order.size(); k++) order[k] = (int64_t)k;
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return reader.z[(size_t)a] < reader.z[(size_t)b]; });
    const double dz = reader.check_stack(order);
    reader.sort_slices(order);
    const Plane &plane = reader.series.plane;
    const int64_t shape[3] = {files->count, plane.rows, plane.columns};
    const double spacing[3] = {dz, plane.spacing[0], plane.spacing[1]};
    out->grid = dg_grid_make(shape, spacing);
    out->grid.origin_mm[0] = reader.z[(size_t)order[0]];
    out->grid.origin_mm[1] = plane.position[1] - (plane.flip_y ? (double)(plane.rows - 1) * plane.spacing[0] : 0);
    out->grid.origin_mm[2] = plane.position[0] - (plane.flip_x ? (double)(plane.columns - 1) * plane.spacing[1] : 0);
    need(dg_grid_check(&out->grid));
    copy_text(out->frame_key, sizeof out->frame_key, reader.series.frame);
    copy_text(out->position, sizeof out->position, turn_name(plane.turn));
    out->padding_voxels = reader.series.padding;
    tell_notes(reader.context, reader.series);
}

} // namespace dicom

extern "C" dg_status dg_dicom_read_ct(dg_dicom_context *context, const dg_dicom_files *files, dg_dicom_ct *out)
{
    dicom::Reader reader;
    reader.context = context;
    reader.limits = dicom::limits_of(context);
    reader.count = files->count;
    *out = dg_dicom_ct();
    const dg_status status = dicom::guarded(context, "CT", [&] {
        dicom::prepare_dcmtk();
        dicom::read_series(reader, files, out);
    });
    if (status == DG_OK)
        out->hu = reader.hu;
    else
        dg_free(&reader.hu);
    return status;
}

extern "C" void dg_dicom_ct_release(dg_dicom_ct *ct)
{
    dg_free(&ct->hu);
    *ct = dg_dicom_ct();
}
