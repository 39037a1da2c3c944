/* dicom_dose.cc - the RTDOSE objects of a plan become one dose in Gy on an ascending LPS grid.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dicom_impl.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace dicom
{

static const double EVEN_MM = 0.01;

/* One RTDOSE object without its pixels. */
struct Dose {
    const char *path;
    std::string summation, type, frame;
    std::set<long> beams, groups; /* that it says it is of */
    Plane plane;
    Pixels pixels;
    double scaling = 0;
    dg_grid grid;
    bool flip_z = false;
};

struct Doses {
    dg_dicom_context *context;
    dg_dicom_limits limits;
    const dg_dicom_plan *plan;
    std::vector<Dose> all, chosen;
};

static void check_words(Dose &dose, DcmItem &item)
{
    char code[DG_DICOM_CODE];
    const std::string units = text_of(item, DCM_DoseUnits);
    dose.type = text_of(item, DCM_DoseType);
    dose.summation = text_of(item, DCM_DoseSummationType);
    if (units != "GY") {
        copy_code(code, units);
        refuse(DG_ERR_DATA, "rtdose-units", "DoseUnits is '%s': only doses in GY are read, export the absolute dose",
               code);
    }
    if (dose.type != "PHYSICAL" && dose.type != "EFFECTIVE") {
        copy_code(code, dose.type);
        refuse(DG_ERR_DATA, "rtdose-type", "DoseType is '%s': PHYSICAL and EFFECTIVE doses are read", code);
    }
    if (dose.summation != "PLAN" && dose.summation != "BEAM" && dose.summation != "FRACTION") {
        copy_code(code, dose.summation);
        refuse(DG_ERR_DATA, "rtdose-summation",
               "DoseSummationType is '%s': export the dose of one plan (PLAN, or all of BEAM or FRACTION)", code);
    }
}

/* Patient z of every frame. PS3.3 C.8.8.3.2: offsets along the normal when the first is 0; patient z when the first is the z
 * of the position and the orientation is 1,0,0,0,1,0; anything else is undefined. */
static std::vector<double> frame_positions(const Dose &dose, DcmItem &item)
{
    std::vector<double> offsets;
    const Found found = numbers_of(item, DCM_GridFrameOffsetVector, offsets);
    const double z = dose.plane.position[2];
    if (found == Found::ABSENT)
        refuse(DG_ERR_DATA, "rtdose-frames", "%lld frames have no GridFrameOffsetVector: export the dose again",
               (long long)dose.pixels.frames);
    if (found == Found::BAD) refuse(DG_ERR_DATA, "rtdose-number", "GridFrameOffsetVector holds text that is no number");
    if ((int64_t)offsets.size() != dose.pixels.frames)
        refuse(DG_ERR_DATA, "rtdose-frames",
               "GridFrameOffsetVector has %zu values for %lld frames: export the dose again", offsets.size(),
               (long long)dose.pixels.frames);
    if (std::fabs(offsets[0]) < 1e-6) {
        for (double &offset : offsets) offset = z + (dose.plane.normal_down ? -offset : offset);
    } else if (std::fabs(offsets[0] - z) > EVEN_MM || dose.plane.normal_down) {
        refuse(DG_ERR_DATA, "rtdose-frames",
               "GridFrameOffsetVector begins with %.4g at z = %.4g mm (%s): neither the relative nor the absolute form",
               offsets[0], z, turn_name(dose.plane.turn));
    }
    return offsets;
}

static void place(Dose &dose, DcmItem &item, const dg_dicom_limits &limits)
{
    const Plane &plane = dose.plane;
    const Pixels &pixels = dose.pixels;
    int64_t voxels = pixels.rows * pixels.columns;
    if (!dg_mul_int64(voxels, pixels.frames, &voxels) || voxels > limits.voxels)
        refuse(DG_ERR_DATA, "rtdose-too-large", "%lld frames of %lld x %lld are more than %lld voxels",
               (long long)pixels.frames, (long long)pixels.rows, (long long)pixels.columns, (long long)limits.voxels);
    if (plane.turn == Turn::MISSING || plane.turn == Turn::BAD)
        refuse(DG_ERR_DATA, "rtdose-position",
               "ImageOrientationPatient is no pair of unit vectors at a right angle: export the dose again");
    if (plane.turn > Turn::FFP)
        refuse(DG_ERR_UNSUPPORTED, "rtdose-orientation",
               "the planes of the dose are %s: HFS, HFP, FFS and FFP are read; resample it to one of these",
               turn_name(plane.turn));
    if (!plane.has_position)
        refuse(DG_ERR_DATA, "rtdose-position", "there is no ImagePositionPatient that is three numbers in mm");
    if (!plane.has_spacing)
        refuse(DG_ERR_DATA, "rtdose-spacing", "PixelSpacing is no pair of numbers of 0.001 .. 1000 mm");
    if (pixels.frames < 2)
        refuse(DG_ERR_UNSUPPORTED, "rtdose-single-frame",
               "the dose is a single plane: a volume of two frames or more is read");
    std::vector<double> z = frame_positions(dose, item);
    dose.flip_z = z.back() < z.front();
    if (dose.flip_z) std::reverse(z.begin(), z.end());
    const double dz = (z.back() - z.front()) / (double)(z.size() - 1), allowed = std::fmax(EVEN_MM, 0.01 * dz);
    for (size_t k = 0; k < z.size(); k++)
        if (!(dz > 0.01) || std::fabs(z[k] - (z[0] + (double)k * dz)) > allowed)
            refuse(DG_ERR_UNSUPPORTED, "rtdose-frames-uneven",
                   "the frames are not evenly spaced (%.4g mm on average, one is %.3g mm off): export the dose on an "
                   "even grid",
                   dz, z[k] - (z[0] + (double)k * dz));
    const int64_t shape[3] = {pixels.frames, pixels.rows, pixels.columns};
    const double spacing[3] = {dz, plane.spacing[0], plane.spacing[1]};
    dose.grid = dg_grid_make(shape, spacing);
    dose.grid.origin_mm[0] = z[0];
    dose.grid.origin_mm[1] = plane.position[1] - (plane.flip_y ? (double)(plane.rows - 1) * plane.spacing[0] : 0);
    dose.grid.origin_mm[2] = plane.position[0] - (plane.flip_x ? (double)(plane.columns - 1) * plane.spacing[1] : 0);
    need(dg_grid_check(&dose.grid));
}

static void add_number(DcmItem &item, const DcmTagKey &tag, std::set<long> &numbers)
{
    double value;
    if (number_of(item, tag, &value) == Found::GOOD && std::fabs(value) < 2e9) numbers.insert((long)value);
}

static void read_references(DcmItem &item, Dose &dose)
{
    for (DcmItem *plan : items_of(item, DCM_ReferencedRTPlanSequence))
        for (DcmItem *group : items_of(*plan, DCM_ReferencedFractionGroupSequence)) {
            add_number(*group, DCM_ReferencedFractionGroupNumber, dose.groups);
            for (DcmItem *beam : items_of(*group, DCM_ReferencedBeamSequence))
                add_number(*beam, DCM_ReferencedBeamNumber, dose.beams);
        }
}

static Dose read_head(Doses &doses, const char *path)
{
    File file;
    Dose dose;
    dose.path = path;
    read_or_refuse(file, path, doses.limits, "file", "rtdose-damaged", "rtdose-truncated", "rtdose-too-large");
    DcmItem &item = file.data();
    check_words(dose, item);
    dose.frame = key_of(doses.context, "frame", text_of(item, DCM_FrameOfReferenceUID));
    dose.plane = plane_of(item);
    dose.pixels = pixels_of(file, "rtdose-pixel-format", "rtdose-transfer-syntax", true);
    read_references(item, dose);
    const Found found = number_of(item, DCM_DoseGridScaling, &dose.scaling);
    if (found == Found::BAD)
        refuse(DG_ERR_DATA, "rtdose-number", "DoseGridScaling is no number: export the dose again");
    if (found == Found::ABSENT || !(dose.scaling > 0) || dose.scaling > 1e6)
        refuse(DG_ERR_DATA, "rtdose-scaling", "DoseGridScaling is %s: export the dose again",
               found == Found::ABSENT ? "absent" : "no positive number");
    place(dose, item, doses.limits);
    need_pixels(file, dose.pixels, "rtdose-truncated");
    return dose;
}

/* Sum of the steps between neighbours of a frame over the range of its values. */
static double roughness(const std::vector<double> &raw)
{
    double sum = 0;
    const auto range = std::minmax_element(raw.begin(), raw.end());
    for (size_t k = 1; k < raw.size(); k++) sum += std::fabs(raw[k] - raw[k - 1]);
    return *range.second > *range.first ? sum / (*range.second - *range.first) : 0;
}

/* A big-endian 32-bit value in words of 16 bits is written either as PS3.5 has it after a conversion by words (least significant
 * word first) or as one 32-bit number. Nothing in the file tells which, but a dose is smooth in one of them only; the number is taken where both are. */
static void find_word_order(File &file, Pixels &pixels)
{
    std::vector<uint8_t> scratch;
    std::vector<double> raw;
    if (file.syntax() != EXS_BigEndianExplicit || pixels.allocated != 32) return;
    pixels.swap_words = true; /* DCMTK has swapped the bytes of each word */
    for (int64_t f = pixels.frames / 2; f < pixels.frames; f++) {
        Pixels other = pixels;
        other.swap_words = false;
        read_frame(file, pixels, f, "rtdose-truncated", "rtdose-damaged", scratch, raw);
        const double numbers = roughness(raw);
        read_frame(file, other, f, "rtdose-truncated", "rtdose-damaged", scratch, raw);
        const double words = roughness(raw);
        if (std::fabs(numbers - words) <= 1e-6 * numbers) continue;
        pixels.swap_words = numbers < words;
        return;
    }
}

/* Adds the dose of one object, [z,y,x] ascending, to gy (or sets it). */
template <class Number> static void add_dose(const Doses &doses, const Dose &dose, bool add, Number *gy)
{
    File file;
    std::vector<uint8_t> scratch;
    std::vector<double> raw;
    read_or_refuse(file, dose.path, doses.limits, "file", "rtdose-damaged", "rtdose-truncated", "rtdose-too-large");
    Pixels pixels = dose.pixels;
    const int64_t rows = pixels.rows, columns = pixels.columns, frames = pixels.frames;
    find_word_order(file, pixels);
    if (file.syntax() == EXS_BigEndianExplicit && pixels.allocated == 32 && !pixels.swap_words)
        note(doses.context, "rtdose-word-order", "a big-endian 32-bit dose holds the less significant word first");
    for (int64_t f = 0; f < frames; f++) {
        read_frame(file, pixels, f, "rtdose-truncated", "rtdose-damaged", scratch, raw);
        Number *plane = gy + (dose.flip_z ? frames - 1 - f : f) * rows * columns;
        for (int64_t r = 0; r < rows; r++) {
            const double *from = raw.data() + (dose.plane.flip_y ? rows - 1 - r : r) * columns;
            Number *to = plane + r * columns;
            for (int64_t c = 0; c < columns; c++) {
                const double value = from[dose.plane.flip_x ? columns - 1 - c : c] * dose.scaling;
                to[c] = (Number)(add ? to[c] + value : value);
            }
        }
    }
}

static bool same_grid(const dg_grid &a, const dg_grid &b)
{
    for (int k = 0; k < 3; k++)
        if (a.shape[k] != b.shape[k] || std::fabs(a.spacing_mm[k] - b.spacing_mm[k]) > 1e-5 * a.spacing_mm[k] ||
            std::fabs(a.origin_mm[k] - b.origin_mm[k]) > EVEN_MM)
            return false;
    return true;
}

/* The parts (beams or fraction groups) that the plan has and that have to be summed. */
static std::set<long> parts_of_plan(const dg_dicom_plan *plan, bool beams)
{
    std::set<long> parts;
    for (int64_t k = 0; beams && k < plan->beam_count; k++) {
        const dg_dicom_beam *beam = &plan->beams[k];
        const bool treats = beam->delivery[0] == '\0' || std::string(beam->delivery) == "TREATMENT";
        if (treats && !(beam->meterset_mu == 0)) parts.insert(beam->number);
    }
    for (int64_t k = 0; !beams && k < plan->fraction_groups; k++) parts.insert((long)k + 1);
    return parts;
}

/* Each beam (or group) of the plan once, or a sum would be of another plan. */
static void check_parts(const Doses &doses, const std::vector<Dose> &parts, bool beams)
{
    const char *what = beams ? "beam" : "fraction group";
    std::set<long> seen;
    if (doses.plan == nullptr)
        refuse(DG_ERR_DATA, "rtdose-beams",
               "the dose is given by %s and there is no plan to tell whether all are here: export the plan's dose",
               what);
    for (const Dose &dose : parts) {
        const std::set<long> &own = beams ? dose.beams : dose.groups;
        if (own.empty())
            refuse(DG_ERR_DATA, "rtdose-beams", "a %s dose does not say of which: export the plan's dose", what);
        for (long number : own)
            if (!seen.insert(number).second)
                refuse(DG_ERR_DATA, "rtdose-beams", "two doses are of %s %ld: leave one", what, number);
    }
    const std::set<long> wanted = parts_of_plan(doses.plan, beams);
    if (beams ? seen != wanted : seen.size() != wanted.size())
        refuse(DG_ERR_DATA, "rtdose-beams",
               "doses of %zu %s(s) are here, the plan has %zu: export all of them, or the plan's dose", seen.size(),
               what, wanted.size());
}

static void choose(Doses &doses)
{
    std::vector<Dose> plan, fraction, beam;
    for (const Dose &dose : doses.all) {
        if (dose.summation == "PLAN")
            plan.push_back(dose);
        else if (dose.summation == "FRACTION")
            fraction.push_back(dose);
        else
            beam.push_back(dose);
    }
    if (plan.size() > 1)
        refuse(DG_ERR_DATA, "rtdose-several", "%zu doses of the whole plan are here: leave the one to use",
               plan.size());
    if (plan.size() == 1)
        doses.chosen = plan;
    else {
        doses.chosen = fraction.empty() ? beam : fraction;
        check_parts(doses, doses.chosen, fraction.empty());
    }
    const Dose &first = doses.chosen[0];
    for (const Dose &dose : doses.chosen) {
        if (!same_grid(first.grid, dose.grid))
            refuse(DG_ERR_UNSUPPORTED, "rtdose-grids-differ",
                   "the doses to be summed lie on different grids: export the plan's dose");
        if (dose.type != first.type || dose.frame != first.frame)
            refuse(DG_ERR_DATA, "rtdose-beams", "the doses to be summed are of different types or frames of reference");
    }
}

static void tell_notes(dg_dicom_context *context, const dg_dicom_dose *out)
{
    if (out->left_out > 0)
        note(context, "rtdose-left-out", "%lld dose(s) of beams or fractions beside the one that is used are left out",
             (long long)out->left_out);
    if (std::string(out->type) == "EFFECTIVE") note(context, "rtdose-effective", "the dose is EFFECTIVE, not PHYSICAL");
    if (out->negative_voxels > 0)
        note(context, "rtdose-negative", "%lld voxels have a negative dose, left as it is",
             (long long)out->negative_voxels);
}

static void sum_up(const Doses &doses, dg_dicom_dose *out)
{
    const int64_t voxels = dg_grid_voxels(&out->grid);
    need(dg_alloc(&out->gy, (size_t)voxels, sizeof *out->gy, "dose"));
    if (doses.chosen.size() == 1) {
        add_dose(doses, doses.chosen[0], false, out->gy);
    } else {
        std::vector<double> sum((size_t)voxels);
        for (const Dose &dose : doses.chosen) add_dose(doses, dose, true, sum.data());
        std::copy(sum.begin(), sum.end(), out->gy);
    }
    for (int64_t k = 0; k < voxels; k++) {
        if (out->gy[k] < 0) out->negative_voxels++;
        if (out->gy[k] > out->max_gy) out->max_gy = out->gy[k];
    }
    if (!(out->max_gy > 0))
        refuse(DG_ERR_DATA, "rtdose-zero", "no voxel gets any dose: export the dose again after it was calculated");
}

static void read_doses(Doses &doses, const dg_dicom_files *files, const char *frame_key, dg_dicom_dose *out)
{
    if (files->count == 0) refuse(DG_ERR_DATA, "rtdose-missing", "there is no dose: export the RTDOSE of the plan");
    if (files->count > 4096) refuse(DG_ERR_DATA, "rtdose-several", "%lld doses are too many", (long long)files->count);
    for (int64_t k = 0; k < files->count; k++) doses.all.push_back(read_head(doses, files->path[k]));
    choose(doses);
    const Dose &first = doses.chosen[0];
    if (first.frame.empty() || (frame_key != nullptr && first.frame != frame_key))
        refuse(DG_ERR_DATA, "rtdose-frame", "the dose %s: export the dose that was calculated on this CT",
               first.frame.empty() ? "names no frame of reference" : "has another frame of reference than the CT");
    out->grid = first.grid;
    copy_text(out->frame_key, sizeof out->frame_key, first.frame);
    copy_code(out->summation, first.summation);
    copy_code(out->type, first.type);
    out->summed = (int64_t)doses.chosen.size();
    out->left_out = (int64_t)(doses.all.size() - doses.chosen.size());
    sum_up(doses, out);
    tell_notes(doses.context, out);
}

} // namespace dicom

extern "C" dg_status dg_dicom_read_dose(dg_dicom_context *context, const dg_dicom_files *files,
                                        const dg_dicom_plan *plan, const char *frame_key, dg_dicom_dose *out)
{
    *out = dg_dicom_dose();
    const dg_status status = dicom::guarded(context, "dose", [&] {
        dicom::Doses doses;
        doses.context = context;
        doses.limits = dicom::limits_of(context);
        doses.plan = plan;
        dicom::prepare_dcmtk();
        dicom::read_doses(doses, files, frame_key, out);
    });
    if (status != DG_OK) dg_dicom_dose_release(out);
    return status;
}

extern "C" void dg_dicom_dose_release(dg_dicom_dose *dose)
{
    dg_free(&dose->gy);
    *dose = dg_dicom_dose();
}
