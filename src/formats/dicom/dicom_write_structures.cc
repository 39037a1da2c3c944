/* dicom_write_structures.cc - masks as an RTSTRUCT; see dg_dicom_write.h. SPDX-License-Identifier: Apache-2.0 */
#include "dicom_write_impl.h"

extern "C" {
#include "dg_outline.h"
}

#include <cmath>
#include <cstring>

namespace dicom {

/* Outlines of one structure in one slice; freed with it. */
struct Outlines {
    dg_outlines o = {};
    ~Outlines() { dg_outlines_release(&o); }
};

static const char *interpreted_type(const dg_structure &structure)
{
    switch (structure.role) {
    case DG_ROLE_TARGET:
        return strncmp(structure.name, "GTV", 3) == 0   ? "GTV"
               : strncmp(structure.name, "CTV", 3) == 0 ? "CTV"
               : strncmp(structure.name, "PTV", 3) == 0 ? "PTV"
                                                        : "";
    case DG_ROLE_OAR: return "ORGAN";
    case DG_ROLE_BODY: return "EXTERNAL";
    case DG_ROLE_SUPPORT: return "SUPPORT";
    default: return "";
    }
}

/* In the character set of any reference: printable ASCII without the separator of values. */
static std::string safe_name(const char *name)
{
    std::string text = name;
    for (char &c : text)
        if (c < ' ' || c > '~' || c == '\\') c = '_';
    return text.substr(0, LINE_BYTES);
}

static std::string colour(int row, const dg_structure &structure)
{
    if (structure.role == DG_ROLE_TARGET) return "255\\" + std::to_string(row * 40 % 160) + "\\0";
    if (structure.role == DG_ROLE_OAR)
        return std::to_string(row * 53 % 160) + "\\" + std::to_string(96 + row * 37 % 160) + "\\" +
               std::to_string(128 + row * 71 % 128);
    return "160\\160\\160";
}

static const Slice *slice_at(const Writer &writer, double z_mm)
{
    for (const Slice &slice : writer.slices)
        if (std::fabs(slice.z_mm - z_mm) < 1e-2) return &slice;
    return nullptr;
}

static void add_contour(const Writer &writer, DcmItem &roi, const dg_grid *grid, int64_t z, const int32_t (*corner)[2],
                        int64_t count)
{
    const double z_mm = grid->origin_mm[0] + (double)z * grid->spacing_mm[0];
    DcmItem &contour = add_item(roi, DCM_ContourSequence);
    const Slice *slice = slice_at(writer, z_mm);
    if (slice != nullptr) put_reference(contour, DCM_ContourImageSequence, slice->sop_class, slice->uid);
    put(contour, DCM_ContourGeometricType, "CLOSED_PLANAR");
    put(contour, DCM_NumberOfContourPoints, std::to_string(count));
    const std::string end = "\\" + decimal(z_mm);
    std::string points;
    for (int64_t i = 0; i < count; i++) {
        if (i > 0) points += "\\";
        points += decimal(grid->origin_mm[2] + (corner[i][1] - 0.5) * grid->spacing_mm[2]) + "\\" +
                  decimal(grid->origin_mm[1] + (corner[i][0] - 0.5) * grid->spacing_mm[1]) + end;
    }
    put(contour, DCM_ContourData, points);
}

static void add_contours(const Writer &writer, DcmItem &roi, const dg_grid *grid, int row, const uint64_t *bits)
{
    const int64_t plane = grid->shape[1] * grid->shape[2];
    std::vector<uint8_t> mask((size_t)plane);
    for (int64_t z = 0; z < grid->shape[0]; z++) {
        uint8_t any = 0;
        for (int64_t i = 0; i < plane; i++) any |= mask[(size_t)i] = bits[z * plane + i] >> row & 1;
        if (any == 0) continue;
        Outlines traced;
        need(dg_outlines_trace(mask.data(), grid->shape[1], grid->shape[2], &traced.o));
        for (int64_t p = 0; p < traced.o.count; p++) {
            const int64_t first = traced.o.first[p];
            add_contour(writer, roi, grid, z, traced.o.corner + first, traced.o.first[p + 1] - first);
        }
    }
}

static void put_frame(const Writer &writer, DcmDataset &data)
{
    DcmItem &frame = add_item(data, DCM_ReferencedFrameOfReferenceSequence);
    put(frame, DCM_FrameOfReferenceUID, writer.identity.frame);
    DcmItem &study = add_item(frame, DCM_RTReferencedStudySequence);
    put(study, DCM_ReferencedSOPClassUID, UID_RETIRED_DetachedStudyManagementSOPClass); /* required, and retired */
    put(study, DCM_ReferencedSOPInstanceUID, writer.identity.study);
    DcmItem &series = add_item(study, DCM_RTReferencedSeriesSequence);
    put(series, DCM_SeriesInstanceUID, writer.series);
    for (const Slice &slice : writer.slices) put_reference(series, DCM_ContourImageSequence, slice.sop_class, slice.uid);
}

static void add_structure(const Writer &writer, DcmDataset &data, const dg_grid *grid, const dg_structure &structure,
                          int row, int number, const uint64_t *bits)
{
    DcmItem &roi = add_item(data, DCM_StructureSetROISequence);
    put(roi, DCM_ROINumber, std::to_string(number));
    put(roi, DCM_ReferencedFrameOfReferenceUID, writer.identity.frame);
    put(roi, DCM_ROIName, safe_name(structure.name));
    put(roi, DCM_ROIDescription, "outline of a voxel mask");
    put(roi, DCM_ROIGenerationAlgorithm, "AUTOMATIC");
    DcmItem &contours = add_item(data, DCM_ROIContourSequence);
    put(contours, DCM_ROIDisplayColor, colour(row, structure));
    put(contours, DCM_ReferencedROINumber, std::to_string(number));
    add_contours(writer, contours, grid, row, bits);
    DcmItem &observation = add_item(data, DCM_RTROIObservationsSequence);
    put(observation, DCM_ObservationNumber, std::to_string(number));
    put(observation, DCM_ReferencedROINumber, std::to_string(number));
    put(observation, DCM_RTROIInterpretedType, interpreted_type(structure));
    put(observation, DCM_ROIInterpreter, "");
}

static int write_structures(Writer &writer, const dg_grid *grid, const dg_structure *structure, int count,
                            const uint64_t *bits, const char *path)
{
    DcmFileFormat file;
    DcmDataset &data = *file.getDataset();
    uint64_t present = 0;
    int number = 0;
    need_level_grid(grid);
    for (int64_t i = 0; i < dg_grid_voxels(grid); i++) present |= bits[i];
    const std::string uid = begin_object(writer, data, UID_RTStructureSetStorage, "RTSTRUCT",
                                         "STRUCTURES FROM VOXEL MASKS - RESEARCH USE", SERIES_STRUCTURES);
    put(data, DCM_StructureSetLabel, "VOXEL MASKS");
    put(data, DCM_StructureSetDate, text_of(data, DCM_InstanceCreationDate));
    put(data, DCM_StructureSetTime, text_of(data, DCM_InstanceCreationTime));
    put_frame(writer, data);
    for (int k = 0; k < count; k++)
        if ((present >> k & 1) != 0) add_structure(writer, data, grid, structure[k], k, ++number, bits);
    if (number == 0) refuse(DG_ERR_DATA, nullptr, "no structure has voxels");
    put(data, DCM_ApprovalStatus, "UNAPPROVED");
    /* Explicit VR has no room for a contour of more than 64 kB. */
    save(file, path, EXS_LittleEndianImplicit);
    writer.structures_uid = uid;
    return number;
}

} // namespace dicom

dg_status dg_dicom_write_structures(dg_dicom_context *context, dg_dicom_writer *writer, const dg_grid *grid,
                                    const dg_structure *structure, int count, const uint64_t *bits, const char *path,
                                    int *written)
{
    return dicom::guarded(context, "new structure set", [&] {
        const int number = dicom::write_structures(*writer, grid, structure, count, bits, path);
        if (written != nullptr) *written = number;
    });
}
