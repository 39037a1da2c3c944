/* dicom_structures.cc - an RTSTRUCT becomes ROIs with contours in one block of points. SPDX-License-Identifier: Apache-2.0 */
#include "dicom_impl.h"

#include <cmath>
#include <map>
#include <string.h>

namespace dicom
{

enum { ROIS_MAX = 4096, PART_LEAST = 3 };

struct Roi {
    dg_dicom_roi plain;
    std::string frame; /* key */
};

/* Reader of one structure set. Contours know their points by offset until the block stops growing. */
struct Sets {
    dg_dicom_context *context;
    dg_dicom_limits limits;
    std::vector<Roi> rois;
    std::map<int32_t, size_t> by_number;
    std::vector<dg_dicom_contour> contours;      /* points_xyz_mm unset */
    std::vector<std::pair<size_t, size_t>> span; /* of each ROI in contours */
    std::vector<double> points;
    std::string frame; /* of the set */
    int64_t empty = 0, other_frame = 0;

    void read_rois(DcmItem &set);
    void read_kinds(DcmItem &set);
    void read_contours(DcmItem &set, const char *frame_key);
    void read_contour(DcmItem &item, Roi &roi);
};

static bool roi_number(DcmItem &item, const DcmTagKey &tag, int32_t *number)
{
    double value;
    if (number_of(item, tag, &value) != Found::GOOD || std::fabs(value) > 2147483647.0 || value != std::floor(value))
        return false;
    *number = (int32_t)value;
    return true;
}

/* ROI names are in the character set of the file; ours are UTF-8. What cannot be converted becomes '?'. */
static void names_to_utf8(DcmItem &set, DcmItem &item)
{
    const std::string from = texts_of(set, DCM_SpecificCharacterSet);
    if (!from.empty() && from != "ISO_IR 192" && from.size() < 256)
        (void)item.convertCharacterSet(from.c_str(), "ISO_IR 192");
}

/* What the file calls its patient: number, birth date, the parts of the name. One or two letters say nothing. */
static std::vector<std::string> words_of_patient(DcmItem &set)
{
    std::vector<std::string> words = {texts_of(set, DCM_PatientID), texts_of(set, DCM_PatientBirthDate), ""};
    for (const char c : texts_of(set, DCM_PatientName)) {
        if (strchr("^= ,.-\\", c) != nullptr)
            words.push_back("");
        else
            words.back() += c;
    }
    return words;
}

static bool names_one_of(const char *name, const std::vector<std::string> &words)
{
    for (const std::string &word : words)
        if (word.size() >= PART_LEAST && strcasestr(name, word.c_str()) != nullptr) return true;
    return false;
}

void Sets::read_rois(DcmItem &set)
{
    const std::vector<std::string> patient = words_of_patient(set);
    const std::vector<DcmItem *> items = items_of(set, DCM_StructureSetROISequence);
    if (items.size() > ROIS_MAX)
        refuse(DG_ERR_DATA, "rtstruct-too-large", "%zu ROIs are more than %d", items.size(), (int)ROIS_MAX);
    for (DcmItem *item : items) {
        Roi roi;
        memset(&roi.plain, 0, sizeof roi.plain);
        if (!roi_number(*item, DCM_ROINumber, &roi.plain.number))
            refuse(DG_ERR_DATA, "rtstruct-number", "an ROI has no ROINumber that is a whole number: export it again");
        names_to_utf8(set, *item);
        copy_text(roi.plain.name, sizeof roi.plain.name, text_of(*item, DCM_ROIName));
        roi.plain.names_patient = names_one_of(roi.plain.name, patient);
        for (int k = 0; k < 3; k++) roi.plain.color[k] = -1;
        roi.frame = key_of(context, "frame", text_of(*item, DCM_ReferencedFrameOfReferenceUID));
        if (!by_number.emplace(roi.plain.number, rois.size()).second)
            refuse(DG_ERR_DATA, "rtstruct-roi", "two ROIs have the number %d: export it again", (int)roi.plain.number);
        rois.push_back(roi);
    }
    span.resize(rois.size());
}

void Sets::read_kinds(DcmItem &set)
{
    for (DcmItem *item : items_of(set, DCM_RTROIObservationsSequence)) {
        int32_t number;
        if (!roi_number(*item, DCM_ReferencedROINumber, &number) || by_number.count(number) == 0) continue;
        copy_code(rois[by_number[number]].plain.interpreted_type, text_of(*item, DCM_RTROIInterpretedType));
    }
}

static dg_dicom_contour_type type_of(const std::string &word)
{
    if (word == "CLOSED_PLANAR") return DG_DICOM_CLOSED_PLANAR;
    if (word == "CLOSEDPLANAR_XOR" || word == "CLOSED_PLANAR_XOR") return DG_DICOM_CLOSED_PLANAR_XOR;
    if (word == "POINT") return DG_DICOM_POINT;
    if (word == "OPEN_PLANAR") return DG_DICOM_OPEN_PLANAR;
    if (word == "OPEN_NONPLANAR") return DG_DICOM_OPEN_NONPLANAR;
    return DG_DICOM_CONTOUR_OTHER;
}

/* The numbers of ContourData appended to `points`; how many points. */
static int64_t points_of(DcmItem &item, const Roi &roi, size_t limit, std::vector<double> &points)
{
    DcmElement *element = nullptr;
    char *text = nullptr;
    Uint32 length = 0;
    const size_t before = points.size();
    if (item.findAndGetElement(DCM_ContourData, element).bad() || element == nullptr || element->getLengthField() == 0)
        return 0;
    if (!element->isLeaf() || element->getString(text, length).bad())
        refuse(DG_ERR_FORMAT, "rtstruct-damaged", "ContourData of an ROI cannot be read: export it again");
    if (text == nullptr || length == 0) return 0;
    const Found found = parse_numbers(text, length, limit, points);
    (void)element->compact(); /* what came from the file late can go again */
    if (found == Found::BAD && points.size() >= limit)
        refuse(DG_ERR_DATA, "rtstruct-too-large", "the contours have more than %zu points", limit / 3);
    if (found == Found::BAD)
        refuse(DG_ERR_DATA, "rtstruct-points",
               "a contour of ROI number %d holds text that is no number: export it again", (int)roi.plain.number);
    const size_t count = points.size() - before;
    if (count % 3 != 0)
        refuse(DG_ERR_DATA, "rtstruct-points",
               "a contour of ROI number %d has %zu coordinates, no multiple of three: export it again",
               (int)roi.plain.number, count);
    for (size_t k = before; k < points.size(); k++)
        if (std::fabs(points[k]) > 1e6)
            refuse(DG_ERR_DATA, "rtstruct-points", "a contour of ROI number %d lies %.3g mm away: export it again",
                   (int)roi.plain.number, points[k]);
    return (int64_t)count / 3;
}

void Sets::read_contour(DcmItem &item, Roi &roi)
{
    dg_dicom_contour contour = dg_dicom_contour();
    const size_t at = points.size();
    contour.count = points_of(item, roi, (size_t)limits.points * 3, points);
    if (contour.count == 0) {
        roi.plain.empty_contours++;
        empty++;
        return;
    }
    double low = points[at + 2], high = low, sum = 0;
    for (size_t k = at + 2; k < points.size(); k += 3) {
        low = std::fmin(low, points[k]);
        high = std::fmax(high, points[k]);
        sum += points[k] - points[at + 2];
    }
    contour.type = type_of(text_of(item, DCM_ContourGeometricType));
    contour.z_mm = points[at + 2] + sum / (double)contour.count;
    contour.z_range_mm = high - low;
    contours.push_back(contour);
    roi.plain.contour_count++;
    roi.plain.point_count += contour.count;
}

void Sets::read_contours(DcmItem &set, const char *frame_key)
{
    int64_t items = 0;
    for (DcmItem *list : items_of(set, DCM_ROIContourSequence)) {
        int32_t number;
        std::vector<double> color;
        const std::vector<DcmItem *> parts = items_of(*list, DCM_ContourSequence);
        if (!roi_number(*list, DCM_ReferencedROINumber, &number)) {
            if (parts.empty()) continue;
            refuse(DG_ERR_DATA, "rtstruct-number", "contours name no ROI number: the file is damaged, export it again");
        }
        if (by_number.count(number) == 0) {
            if (parts.empty()) continue;
            refuse(DG_ERR_DATA, "rtstruct-roi", "contours are of ROI number %d, which is not listed: export it again",
                   (int)number);
        }
        const size_t index = by_number[number];
        Roi &roi = rois[index];
        if (numbers_of(*list, DCM_ROIDisplayColor, color) == Found::GOOD && color.size() == 3)
            for (int k = 0; k < 3; k++)
                if (color[(size_t)k] >= 0 && color[(size_t)k] <= 255) roi.plain.color[k] = (int32_t)color[(size_t)k];
        if (parts.empty()) continue;
        if (roi.plain.contour_count > 0 || roi.plain.empty_contours > 0)
            refuse(DG_ERR_DATA, "rtstruct-roi", "ROI number %d has two lists of contours: export it again",
                   (int)number);
        const std::string &own = roi.frame.empty() ? frame : roi.frame;
        if (frame_key != nullptr && own != frame_key) {
            other_frame++;
            continue;
        }
        items += (int64_t)parts.size();
        if (items > limits.contours)
            refuse(DG_ERR_DATA, "rtstruct-too-large", "there are more than %lld contours", (long long)limits.contours);
        span[index].first = contours.size();
        for (DcmItem *part : parts) read_contour(*part, roi);
        span[index].second = contours.size();
    }
}

/* The frame of reference of the set: of its list of referenced frames where there is one, else its own. */
std::string structures_frame(DcmItem &set)
{
    const std::vector<DcmItem *> frames = items_of(set, DCM_ReferencedFrameOfReferenceSequence);
    const std::string listed = frames.empty() ? "" : text_of(*frames[0], DCM_FrameOfReferenceUID);
    return listed.empty() ? text_of(set, DCM_FrameOfReferenceUID) : listed;
}

static void hand_over(Sets &sets, dg_dicom_structures *out)
{
    need(dg_alloc(&out->rois, sets.rois.size() + 1, sizeof *out->rois, "ROIs"));
    need(dg_alloc(&out->contours, sets.contours.size() + 1, sizeof *out->contours, "contours"));
    need(dg_alloc(&out->points_xyz_mm, sets.points.size() + 1, sizeof *out->points_xyz_mm, "points of contours"));
    out->roi_count = (int64_t)sets.rois.size();
    out->contour_count = (int64_t)sets.contours.size();
    out->point_count = (int64_t)sets.points.size() / 3;
    if (!sets.points.empty())
        memcpy(out->points_xyz_mm, sets.points.data(), sets.points.size() * sizeof *out->points_xyz_mm);
    int64_t at = 0;
    for (size_t k = 0; k < sets.contours.size(); k++) {
        out->contours[k] = sets.contours[k];
        out->contours[k].points_xyz_mm = out->points_xyz_mm + at * 3;
        at += sets.contours[k].count;
    }
    for (size_t k = 0; k < sets.rois.size(); k++) {
        out->rois[k] = sets.rois[k].plain;
        if (out->rois[k].contour_count > 0) out->rois[k].contours = out->contours + sets.span[k].first;
    }
    copy_text(out->frame_key, sizeof out->frame_key, sets.frame);
}

static void read_set(Sets &sets, const dg_dicom_files *files, const char *frame_key, dg_dicom_structures *out)
{
    if (files->count == 0)
        refuse(DG_ERR_DATA, "rtstruct-missing", "there is no structure set: export the RTSTRUCT of the plan");
    if (files->count > 1)
        refuse(DG_ERR_DATA, "rtstruct-several", "%lld structure sets fit: leave the one of the plan",
               (long long)files->count);
    File file;
    read_or_refuse(file, files->path[0], sets.limits, "file", "rtstruct-damaged", "rtstruct-damaged",
                   "rtstruct-too-large");
    sets.frame = key_of(sets.context, "frame", structures_frame(file.data()));
    sets.read_rois(file.data());
    sets.read_kinds(file.data());
    sets.read_contours(file.data(), frame_key);
    if (frame_key != nullptr && (sets.other_frame > 0 ? sets.contours.empty() : sets.frame != frame_key))
        refuse(DG_ERR_DATA, "rtstruct-frame",
               "the structures are drawn in another frame of reference than the CT's: export the structure set of this "
               "CT");
    if (sets.other_frame > 0)
        note(sets.context, "rtstruct-frame-roi", "%lld ROI(s) of another frame of reference are left out",
             (long long)sets.other_frame);
    if (sets.empty > 0)
        note(sets.context, "contour-empty", "%lld contour(s) without points are left out", (long long)sets.empty);
    hand_over(sets, out);
}

} // namespace dicom

extern "C" dg_status dg_dicom_read_structures(dg_dicom_context *context, const dg_dicom_files *files,
                                              const char *frame_key, dg_dicom_structures *out)
{
    *out = dg_dicom_structures();
    const dg_status status = dicom::guarded(context, "structure set", [&] {
        dicom::Sets sets;
        sets.context = context;
        sets.limits = dicom::limits_of(context);
        dicom::prepare_dcmtk();
        dicom::read_set(sets, files, frame_key, out);
    });
    if (status != DG_OK) dg_dicom_structures_release(out);
    return status;
}

extern "C" void dg_dicom_structures_release(dg_dicom_structures *structures)
{
    dg_free(&structures->rois);
    dg_free(&structures->contours);
    dg_free(&structures->points_xyz_mm);
    *structures = dg_dicom_structures();
}
