/* dicom_write.cc - what goes out as DICOM: the reference, plan and dose; see dg_dicom_write.h. SPDX-License-Identifier: Apache-2.0 */
#include "dicom_write_impl.h"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <sys/random.h>
#include <unistd.h>

namespace dicom {

/* ---- values ---- */

std::string new_uid()
{
    unsigned char raw[16];
    if (getrandom(raw, sizeof raw, 0) != (ssize_t)sizeof raw)
        refuse(DG_ERR_IO, nullptr, "the system gives no random numbers for new identifiers");
    raw[6] = (unsigned char)((raw[6] & 0x0f) | 0x40); /* UUID version 4, RFC 4122 */
    raw[8] = (unsigned char)((raw[8] & 0x3f) | 0x80);
    std::string digits;
    for (bool more = true; more;) { /* the number, a decimal digit a turn */
        unsigned rest = 0;
        more = false;
        for (unsigned char &byte : raw) {
            const unsigned part = rest << 8 | byte;
            byte = (unsigned char)(part / 10);
            rest = part % 10;
            more = more || byte != 0;
        }
        digits.insert(digits.begin(), (char)('0' + rest));
    }
    return "2.25." + digits;
}

std::string decimal(double value)
{
    char text[40];
    for (int digits = 15; digits > 0; digits--) {
        snprintf(text, sizeof text, "%.*g", digits, value == 0 ? 0.0 : value);
        if (strlen(text) <= DECIMAL_BYTES) break;
    }
    return text;
}

void put(DcmItem &item, const DcmTagKey &tag, const std::string &value)
{
    if (item.putAndInsertOFStringArray(tag, value.c_str()).bad()) throw std::bad_alloc();
}

void put_whole(DcmItem &item, const DcmTagKey &tag, long value)
{
    if (item.putAndInsertUint16(tag, (Uint16)value).bad()) throw std::bad_alloc();
}

DcmItem &add_item(DcmItem &item, const DcmTagKey &tag)
{
    DcmItem *made = nullptr;
    if (item.findOrCreateSequenceItem(tag, made, -2).bad() || made == nullptr) throw std::bad_alloc();
    return *made;
}

void put_reference(DcmItem &item, const DcmTagKey &tag, const std::string &sop_class, const std::string &uid)
{
    DcmItem &to = add_item(item, tag);
    put(to, DCM_ReferencedSOPClassUID, sop_class);
    put(to, DCM_ReferencedSOPInstanceUID, uid);
}

/* ---- the reference ---- */

/* What of the reference every object repeats, byte by byte. */
static const DcmTagKey *repeated_tags(size_t *count)
{
    static const DcmTagKey tags[] = {
        DCM_SpecificCharacterSet,   DCM_PatientName,        DCM_PatientID,          DCM_IssuerOfPatientID,
        DCM_PatientBirthDate,       DCM_PatientSex,         DCM_OtherPatientIDsSequence, DCM_PatientIdentityRemoved,
        DCM_DeidentificationMethod, DCM_StudyInstanceUID,   DCM_StudyDate,          DCM_StudyTime,
        DCM_ReferringPhysicianName, DCM_StudyID,            DCM_AccessionNumber,    DCM_StudyDescription,
        DCM_FrameOfReferenceUID,    DCM_PositionReferenceIndicator};
    *count = sizeof tags / sizeof tags[0];
    return tags;
}

static void take_common(Writer &writer, DcmItem &from)
{
    size_t count;
    const DcmTagKey *tags = repeated_tags(&count);
    for (size_t k = 0; k < count; k++) {
        DcmElement *copy = nullptr;
        if (from.findAndGetElement(tags[k], copy, OFFalse, OFTrue).bad() || copy == nullptr) continue;
        if (writer.common.insert(copy, OFTrue).bad()) {
            delete copy;
            throw std::bad_alloc();
        }
    }
    /* Elements of type 2 are there, if without a value. */
    static const DcmTagKey empty[] = {DCM_PatientName, DCM_PatientBirthDate, DCM_PatientSex,
                                      DCM_StudyDate,   DCM_StudyTime,        DCM_ReferringPhysicianName,
                                      DCM_StudyID,     DCM_AccessionNumber,  DCM_PositionReferenceIndicator};
    for (const DcmTagKey &tag : empty)
        if (!writer.common.tagExists(tag) && writer.common.insertEmptyElement(tag).bad()) throw std::bad_alloc();
}

static Identity identity_of(DcmItem &item)
{
    return {text_of(item, DCM_PatientID), text_of(item, DCM_StudyInstanceUID), text_of(item, DCM_FrameOfReferenceUID)};
}

static void take_slice(Writer &writer, File &file, bool first)
{
    DcmItem &item = file.data();
    const Plane plane = plane_of(item);
    const Identity identity = identity_of(item);
    const std::string series = text_of(item, DCM_SeriesInstanceUID);
    if (first) {
        if (plane.turn != Turn::HFS && plane.turn != Turn::HFP && plane.turn != Turn::FFS && plane.turn != Turn::FFP)
            refuse(DG_ERR_UNSUPPORTED, "reference-orientation",
                   "the CT lies %s: HFS, HFP, FFS and FFP are written", turn_name(plane.turn));
        if (identity.patient.empty() || identity.study.empty() || identity.frame.empty())
            refuse(DG_ERR_DATA, "reference-identity", "the CT lacks %s",
                   identity.patient.empty() ? "a patient id"
                   : identity.study.empty() ? "a study"
                                            : "a frame of reference");
        writer.identity = identity;
        writer.series = series;
        writer.plane = plane;
        take_common(writer, item);
    }
    if (identity != writer.identity || series != writer.series || plane.turn != writer.plane.turn || !plane.has_position)
        refuse(DG_ERR_DATA, "reference-series", "the files are not one CT series of one patient");
    writer.slices.push_back({plane.position[2], text_of(item, DCM_SOPClassUID), text_of(item, DCM_SOPInstanceUID)});
}

static void read_reference(dg_dicom_context *context, const dg_dicom_files *ct, Writer &writer)
{
    const dg_dicom_limits limits = limits_of(context);
    prepare_dcmtk();
    if (ct->count < 1) refuse(DG_ERR_DATA, "reference-series", "there is no CT");
    for (int64_t i = 0; i < ct->count; i++) {
        File file;
        if (file.read(ct->path[i], limits, DCM_PixelData) != File::READ)
            refuse(DG_ERR_FORMAT, "reference-damaged", "slice %lld of %lld of the CT cannot be read", (long long)i + 1,
                   (long long)ct->count);
        take_slice(writer, file, i == 0);
    }
}

/* ---- what all objects have ---- */

/* A line of at most 64 characters, so the weights' hash is cut; SoftwareVersions has all of it. */
std::string mark(const Writer &writer)
{
    std::string text = std::string(MARK) + " v" DG_VERSION;
    if (!writer.weights.empty()) text += " w" + writer.weights;
    return text.substr(0, LINE_BYTES);
}

std::string long_mark(const Writer &writer)
{
    return std::string(MARK) + ". Predicted by dosegrid " DG_VERSION " with weights of SHA-256 " + writer.weights +
           ". No dose engine took part and no one approved it.";
}

std::string begin_object(const Writer &writer, DcmDataset &data, const char *sop_class, const char *modality,
                         const std::string &description, int series_number)
{
    static const char *const now_format[2] = {"%Y%m%d", "%H%M%S"};
    const time_t now = time(nullptr);
    struct tm local;
    char date[16], clock[16];
    localtime_r(&now, &local);
    strftime(date, sizeof date, now_format[0], &local);
    strftime(clock, sizeof clock, now_format[1], &local);
    for (DcmObject *at = nullptr; (at = writer.common.nextInContainer(at)) != nullptr;) {
        DcmElement *copy = static_cast<DcmElement *>(at->clone());
        if (copy == nullptr || data.insert(copy).bad()) {
            delete copy;
            throw std::bad_alloc();
        }
    }
    const std::string uid = new_uid();
    put(data, DCM_SOPClassUID, sop_class);
    put(data, DCM_SOPInstanceUID, uid);
    put(data, DCM_InstanceCreationDate, date);
    put(data, DCM_InstanceCreationTime, clock);
    put(data, DCM_Modality, modality);
    put(data, DCM_SeriesInstanceUID, new_uid());
    put(data, DCM_SeriesNumber, std::to_string(series_number));
    put(data, DCM_SeriesDate, date);
    put(data, DCM_SeriesTime, clock);
    put(data, DCM_SeriesDescription, description);
    put(data, DCM_OperatorsName, "");
    put(data, DCM_InstanceNumber, "1");
    put(data, DCM_ContentQualification, "RESEARCH");
    put(data, DCM_Manufacturer, "dosegrid");
    put(data, DCM_ManufacturerModelName, "dosegrid");
    put(data, DCM_SoftwareVersions, writer.weights.empty() ? DG_VERSION : DG_VERSION "\\" + writer.weights);
    return uid;
}

/* Complete or absent, as every file that dosegrid writes. */
void save(DcmFileFormat &file, const char *path, E_TransferSyntax syntax)
{
    const std::string temporary = std::string(path) + ".tmp";
    const OFCondition done = file.saveFile(temporary.c_str(), syntax);
    if (done.bad()) {
        unlink(temporary.c_str());
        refuse(DG_ERR_IO, nullptr, "it cannot be written: %s", done.text());
    }
    need(dg_file_commit(temporary.c_str(), path));
}

void need_level_grid(const dg_grid *grid)
{
    need(dg_grid_check(grid));
    for (int i = 0; i < 9; i++)
        if (std::fabs(grid->direction[i] - (i % 4 == 0 ? 1 : 0)) > 1e-6)
            refuse(DG_ERR_UNSUPPORTED, nullptr, "the grid is turned against the patient's axes");
}

/* ---- plan ---- */

static void write_plan(Writer &writer, int64_t fractions, const char *path)
{
    DcmFileFormat file;
    DcmDataset &data = *file.getDataset();
    const std::string uid = begin_object(writer, data, UID_RTPlanStorage, "RTPLAN", mark(writer), SERIES_PLAN);
    put(data, DCM_RTPlanLabel, "PREDICTED");
    put(data, DCM_RTPlanName, "PREDICTED - NOT CALCULATED");
    put(data, DCM_RTPlanDescription, long_mark(writer));
    put(data, DCM_RTPlanDate, text_of(data, DCM_InstanceCreationDate));
    put(data, DCM_RTPlanTime, text_of(data, DCM_InstanceCreationTime));
    put(data, DCM_PlanIntent, "RESEARCH");
    put(data, DCM_RTPlanGeometry, writer.structures_uid.empty() ? "TREATMENT_DEVICE" : "PATIENT");
    if (!writer.structures_uid.empty())
        put_reference(data, DCM_ReferencedStructureSetSequence, UID_RTStructureSetStorage, writer.structures_uid);
    DcmItem &group = add_item(data, DCM_FractionGroupSequence);
    put(group, DCM_FractionGroupNumber, "1");
    put(group, DCM_NumberOfFractionsPlanned, fractions > 0 ? std::to_string(fractions) : "");
    put(group, DCM_NumberOfBeams, "0");
    put(group, DCM_NumberOfBrachyApplicationSetups, "0");
    put(data, DCM_ApprovalStatus, "UNAPPROVED");
    save(file, path, EXS_LittleEndianExplicit);
    writer.plan_uid = uid;
}

static void link_plan(dg_dicom_context *context, Writer &writer, const dg_dicom_files *plan)
{
    File file;
    if (plan->count != 1 || file.read(plan->path[0], limits_of(context), DCM_UndefinedTagKey) != File::READ)
        refuse(DG_ERR_FORMAT, "plan-damaged", "the plan cannot be read");
    Identity identity = identity_of(file.data());
    if (identity.frame.empty()) identity.frame = writer.identity.frame; /* a plan need not name one */
    const std::string uid = text_of(file.data(), DCM_SOPInstanceUID);
    if (identity != writer.identity || text_of(file.data(), DCM_SOPClassUID) != UID_RTPlanStorage || uid.empty())
        refuse(DG_ERR_DATA, "plan-reference", "the plan is not of the CT's patient, study and frame of reference");
    writer.plan_uid = uid;
}

/* ---- dose ---- */

/* Gy a step of the pixels, as the text of DoseGridScaling has it: the largest value just fits. */
static std::string choose_scaling(const float *gy, int64_t voxels, double steps, double *scaling)
{
    double largest = 0;
    for (int64_t i = 0; i < voxels; i++) {
        if (!std::isfinite(gy[i]) || gy[i] < 0)
            refuse(DG_ERR_DATA, "dose-values", "the dose is %g Gy at voxel %lld", (double)gy[i], (long long)i);
        largest = std::fmax(largest, (double)gy[i]);
    }
    double wanted = largest > 0 ? largest / steps : 1 / steps;
    std::string text = decimal(wanted);
    while (strtod(text.c_str(), nullptr) * steps < largest) {
        wanted *= 1 + 1e-10;
        text = decimal(wanted);
    }
    *scaling = strtod(text.c_str(), nullptr);
    return text;
}

/* Values in the order of the reference's rows and columns; frames go along the normal. */
template <class Pixel>
static void fill_pixels(const Plane &plane, const dg_grid *grid, const float *gy, double scaling, Pixel *out)
{
    const int64_t *n = grid->shape;
    for (int64_t f = 0; f < n[0]; f++) {
        const int64_t z = plane.normal_down ? n[0] - 1 - f : f;
        for (int64_t r = 0; r < n[1]; r++) {
            const float *row = gy + dg_grid_index(grid, z, plane.flip_y ? n[1] - 1 - r : r, 0);
            for (int64_t c = 0; c < n[2]; c++)
                *out++ = (Pixel)std::llround((double)row[plane.flip_x ? n[2] - 1 - c : c] / scaling);
        }
    }
}

static void put_pixels(const Writer &writer, DcmDataset &data, const dg_grid *grid, const float *gy, int bits,
                       double scaling)
{
    const int64_t voxels = dg_grid_voxels(grid), words = voxels * (bits / 16);
    auto *pixels = new DcmPixelData(DCM_PixelData);
    Uint16 *to = nullptr;
    pixels->setVR(EVR_OW);
    if (data.insert(pixels, OFTrue).bad()) {
        delete pixels;
        throw std::bad_alloc();
    }
    if (pixels->createUint16Array((Uint32)words, to).bad() || to == nullptr) throw std::bad_alloc();
    if (bits == 16) {
        fill_pixels(writer.plane, grid, gy, scaling, to);
        return;
    }
    std::vector<Uint32> wide((size_t)voxels); /* the words' array is aligned for 16 bits alone */
    fill_pixels(writer.plane, grid, gy, scaling, wide.data());
    memcpy(to, wide.data(), (size_t)voxels * sizeof(Uint32));
}

static void put_place(const Writer &writer, DcmDataset &data, const dg_grid *grid)
{
    const Plane &plane = writer.plane;
    double index[3] = {0, 0, 0}, point[3];
    if (plane.normal_down) index[0] = (double)(grid->shape[0] - 1);
    if (plane.flip_y) index[1] = (double)(grid->shape[1] - 1);
    if (plane.flip_x) index[2] = (double)(grid->shape[2] - 1);
    dg_grid_point(grid, index, point);
    put(data, DCM_ImagePositionPatient, decimal(point[2]) + "\\" + decimal(point[1]) + "\\" + decimal(point[0]));
    put(data, DCM_ImageOrientationPatient,
        std::string(plane.flip_x ? "-1" : "1") + "\\0\\0\\0\\" + (plane.flip_y ? "-1" : "1") + "\\0");
    put(data, DCM_PixelSpacing, decimal(grid->spacing_mm[1]) + "\\" + decimal(grid->spacing_mm[2]));
    put(data, DCM_SliceThickness, decimal(grid->spacing_mm[0]));
    std::string offsets;
    for (int64_t f = 0; f < grid->shape[0]; f++)
        offsets += (f == 0 ? "" : "\\") + decimal((double)f * grid->spacing_mm[0]);
    if (offsets.size() > VALUE_BYTES)
        refuse(DG_ERR_UNSUPPORTED, "dose-size", "the offsets of %lld frames do not fit into one element",
               (long long)grid->shape[0]);
    put(data, DCM_GridFrameOffsetVector, offsets);
}

static void put_description(DcmDataset &data, const dg_grid *grid, int bits, const std::string &scaling)
{
    put(data, DCM_ImageType, "DERIVED\\SECONDARY");
    put(data, DCM_ContentDate, text_of(data, DCM_InstanceCreationDate));
    put(data, DCM_ContentTime, text_of(data, DCM_InstanceCreationTime));
    put_whole(data, DCM_SamplesPerPixel, 1);
    put(data, DCM_PhotometricInterpretation, "MONOCHROME2");
    put(data, DCM_NumberOfFrames, std::to_string(grid->shape[0]));
    if (data.putAndInsertTagKey(DCM_FrameIncrementPointer, DCM_GridFrameOffsetVector).bad()) throw std::bad_alloc();
    put_whole(data, DCM_Rows, (long)grid->shape[1]);
    put_whole(data, DCM_Columns, (long)grid->shape[2]);
    put_whole(data, DCM_BitsAllocated, bits);
    put_whole(data, DCM_BitsStored, bits);
    put_whole(data, DCM_HighBit, bits - 1);
    put_whole(data, DCM_PixelRepresentation, 0);
    put(data, DCM_DoseUnits, "GY");
    put(data, DCM_DoseType, "PHYSICAL");
    put(data, DCM_DoseSummationType, "PLAN");
    put(data, DCM_DoseGridScaling, scaling);
}

static void write_dose(Writer &writer, const dg_grid *grid, const float *gy, int bits, const char *path)
{
    DcmFileFormat file;
    DcmDataset &data = *file.getDataset();
    double scaling;
    need_level_grid(grid);
    if (writer.weights.empty() || writer.plan_uid.empty() || (bits != 16 && bits != 32))
        refuse(DG_ERR_USAGE, nullptr, "a dose needs the weights that predicted it, a plan, and 16 or 32 bits");
    if (dg_grid_voxels(grid) > PIXEL_BYTES_MAX / (bits / 8))
        refuse(DG_ERR_UNSUPPORTED, "dose-size", "%lld voxels of %d bits do not fit into one object",
               (long long)dg_grid_voxels(grid), bits);
    const std::string step = choose_scaling(gy, dg_grid_voxels(grid), bits == 16 ? 65535.0 : 4294967295.0, &scaling);
    begin_object(writer, data, UID_RTDoseStorage, "RTDOSE", mark(writer), SERIES_DOSE);
    put_description(data, grid, bits, step);
    put_place(writer, data, grid);
    put(data, DCM_DoseComment, mark(writer));
    put(data, DCM_ImageComments, long_mark(writer));
    put_reference(data, DCM_ReferencedRTPlanSequence, UID_RTPlanStorage, writer.plan_uid);
    put_pixels(writer, data, grid, gy, bits, scaling);
    save(file, path, EXS_LittleEndianExplicit);
}

} // namespace dicom

/* ---- for C ---- */

using namespace dicom;

dg_status dg_dicom_writer_create(dg_dicom_context *context, const dg_dicom_files *ct, const char *weights_sha256,
                                 dg_dicom_writer **out)
{
    *out = nullptr;
    return guarded(context, "reference", [&] {
        auto made = std::make_unique<dg_dicom_writer>();
        made->weights = weights_sha256;
        read_reference(context, ct, *made);
        *out = made.release();
    });
}

void dg_dicom_writer_destroy(dg_dicom_writer **writer)
{
    delete *writer;
    *writer = nullptr;
}

dg_status dg_dicom_write_plan(dg_dicom_context *context, dg_dicom_writer *writer, int64_t fractions, const char *path)
{
    return guarded(context, "new plan", [&] { write_plan(*writer, fractions, path); });
}

dg_status dg_dicom_link_plan(dg_dicom_context *context, dg_dicom_writer *writer, const dg_dicom_files *plan)
{
    return guarded(context, "plan to link", [&] { link_plan(context, *writer, plan); });
}

dg_status dg_dicom_write_dose(dg_dicom_context *context, dg_dicom_writer *writer, const dg_grid *grid, const float *gy,
                              int bits, const char *path)
{
    return guarded(context, "new dose", [&] { write_dose(*writer, grid, gy, bits, path); });
}
