/* dicom_write_impl.h - what the writers of DICOM share. Private to this folder. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_DICOM_WRITE_IMPL_H
#define DG_DICOM_WRITE_IMPL_H

#include "dicom_impl.h"

extern "C" {
#include "dg_dicom_write.h"
#include "dg_file.h"
}

#include <tuple>

namespace dicom {

enum {
    DECIMAL_BYTES = 16,   /* of a decimal string */
    LINE_BYTES = 64,      /* of a long string */
    VALUE_BYTES = 65534,  /* of an element of explicit VR with a short length */
    SERIES_STRUCTURES = 9001, /* numbers of the new series: beyond those of a scanner */
    SERIES_PLAN = 9002,
    SERIES_DOSE = 9003
};
constexpr int64_t PIXEL_BYTES_MAX = 4294967294;
constexpr const char *MARK = "PREDICTED DOSE - NOT CALCULATED - RESEARCH USE";

/* Who the objects belong to. */
struct Identity {
    std::string patient, study, frame;
    bool operator!=(const Identity &other) const
    {
        return std::tie(patient, study, frame) != std::tie(other.patient, other.study, other.frame);
    }
};

struct Slice {
    double z_mm;
    std::string sop_class, uid;
};

} // namespace dicom

/* The reference, and what was written so far. */
struct dg_dicom_writer {
    mutable DcmDataset common; /* elements that every object repeats; DCMTK's walk over them is not const */
    dicom::Identity identity;
    dicom::Plane plane; /* of the first slice: orientation */
    std::string series, weights, structures_uid, plan_uid;
    std::vector<dicom::Slice> slices;
};

namespace dicom {

using Writer = ::dg_dicom_writer;

/* 2.25.UUID, PS3.5 B.2. */
std::string new_uid();
/* The number as a decimal string of 16 bytes, as exact as they allow. */
std::string decimal(double value);
void put(DcmItem &item, const DcmTagKey &tag, const std::string &value);
void put_whole(DcmItem &item, const DcmTagKey &tag, long value);
/* A new last item of a sequence. */
DcmItem &add_item(DcmItem &item, const DcmTagKey &tag);
/* A new item that refers to an object. */
void put_reference(DcmItem &item, const DcmTagKey &tag, const std::string &sop_class, const std::string &uid);
/* What the objects say of themselves: in 64 characters, and in full. */
std::string mark(const Writer &writer);
std::string long_mark(const Writer &writer);
/* Patient, study, frame, a new series, equipment; returns the object's identifier. */
std::string begin_object(const Writer &writer, DcmDataset &data, const char *sop_class, const char *modality,
                         const std::string &description, int series_number);
void save(DcmFileFormat &file, const char *path, E_TransferSyntax syntax);
/* Refuses a grid that is turned against the patient's axes. */
void need_level_grid(const dg_grid *grid);

} // namespace dicom

#endif
