/* dicom_image.cc - where the pixels of an image lie, and what they are: shared by CT and dose. Geometry comes from
 * ImagePositionPatient and ImageOrientationPatient alone (PS3.3 C.7.6.2.1.1). SPDX-License-Identifier: Apache-2.0 */
#include "dicom_impl.h"

#include <dcmtk/dcmdata/dcpxitem.h>

#include <cmath>

namespace dicom
{

enum { PACKED_MAX = 128 };           /* more than RLE (64) or Huffman's code (16) makes of a byte */
static const double STRAIGHT = 1e-4; /* of a direction cosine: 0.05 mm across 500 mm */

static bool near(double a, double b) { return std::fabs(a - b) <= STRAIGHT; }

/* Which of the positions the direction cosines of row (d[0..2]) and column (d[3..5]) are. */
static Turn turn_of(const double d[6], double *tilt_deg)
{
    const double row = std::hypot(d[0], d[1], d[2]), column = std::hypot(d[3], d[4], d[5]);
    const double across = d[0] * d[3] + d[1] * d[4] + d[2] * d[5];
    if (std::fabs(row - 1) > 1e-3 || std::fabs(column - 1) > 1e-3 || std::fabs(across) > 1e-3) return Turn::BAD;
    const bool flat = near(d[2], 0) && near(d[5], 0);
    if (flat && near(std::fabs(d[0]), 1) && near(std::fabs(d[4]), 1)) {
        if (d[0] > 0) return d[4] > 0 ? Turn::HFS : Turn::FFP;
        return d[4] > 0 ? Turn::FFS : Turn::HFP;
    }
    if (flat && near(std::fabs(d[1]), 1) && near(std::fabs(d[3]), 1)) return Turn::DECUBITUS;
    if (near(std::fabs(d[0]), 1) && std::fabs(d[4]) > 0.5) {
        *tilt_deg = std::asin(std::fmin(1, std::fabs(d[5]))) * 180 / M_PI;
        return Turn::TILTED;
    }
    return Turn::OBLIQUE;
}

const char *turn_name(Turn turn)
{
    static const char *const name[] = {"HFS", "HFP", "FFS", "FFP", "decubitus", "tilted", "oblique", "missing", "bad"};
    return name[(int)turn];
}

Plane plane_of(DcmItem &item)
{
    Plane plane;
    std::vector<double> values;
    const Found found = numbers_of(item, DCM_ImageOrientationPatient, values);
    if (found == Found::GOOD && values.size() == 6) {
        plane.turn = turn_of(values.data(), &plane.tilt_deg);
        plane.flip_x = values[0] < 0;
        plane.flip_y = values[4] < 0;
        plane.normal_down = values[0] * values[4] - values[1] * values[3] < 0;
    } else if (found != Found::ABSENT) {
        plane.turn = Turn::BAD;
    }
    plane.has_position = numbers_of(item, DCM_ImagePositionPatient, values) == Found::GOOD && values.size() == 3;
    for (int k = 0; k < 3 && plane.has_position; k++) {
        plane.position[k] = values[(size_t)k];
        if (std::fabs(values[(size_t)k]) > 1e6) plane.has_position = false;
    }
    plane.has_spacing = numbers_of(item, DCM_PixelSpacing, values) == Found::GOOD && values.size() == 2;
    for (int k = 0; k < 2 && plane.has_spacing; k++) {
        plane.spacing[k] = values[(size_t)k];
        if (!(values[(size_t)k] >= 1e-3 && values[(size_t)k] <= 1e3)) plane.has_spacing = false;
    }
    plane.rows = whole_of(item, DCM_Rows);
    plane.columns = whole_of(item, DCM_Columns);
    return plane;
}

static bool syntax_is_read(E_TransferSyntax syntax)
{
    switch (syntax) {
    case EXS_LittleEndianImplicit:
    case EXS_LittleEndianExplicit:
    case EXS_BigEndianExplicit:
    case EXS_DeflatedLittleEndianExplicit:
    case EXS_RLELossless:
    case EXS_JPEGProcess14:
    case EXS_JPEGProcess14SV1: return true;
    default: return false;
    }
}

Pixels pixels_of(File &file, const char *format_rule, const char *syntax_rule, bool may_be_32_bit)
{
    DcmItem &item = file.data();
    Pixels p;
    const E_TransferSyntax syntax = file.syntax();
    if (!syntax_is_read(syntax))
        refuse(DG_ERR_UNSUPPORTED, syntax_rule,
               "transfer syntax '%s' is not read: convert the files to an uncompressed, RLE or JPEG lossless one",
               syntax == EXS_Unknown ? "unknown" : DcmXfer(syntax).getXferName());
    p.allocated = (int)whole_of(item, DCM_BitsAllocated);
    p.stored = (int)whole_of(item, DCM_BitsStored);
    p.high = (int)whole_of(item, DCM_HighBit);
    p.rows = whole_of(item, DCM_Rows);
    p.columns = whole_of(item, DCM_Columns);
    const long samples = whole_of(item, DCM_SamplesPerPixel), sign = whole_of(item, DCM_PixelRepresentation);
    double frames = 1;
    const Found found = number_of(item, DCM_NumberOfFrames, &frames);
    const std::string colour = text_of(item, DCM_PhotometricInterpretation);
    if (p.rows < 1 || p.columns < 1 || p.rows > 16384 || p.columns > 16384)
        refuse(DG_ERR_DATA, format_rule, "Rows x Columns is %lld x %lld: not a size of an image", (long long)p.rows,
               (long long)p.columns);
    if (found == Found::BAD || !(frames >= 1 && frames <= 16384) || frames != std::floor(frames))
        refuse(DG_ERR_DATA, format_rule, "NumberOfFrames is not a number of 1 .. 16384");
    p.frames = (int64_t)frames;
    if (p.allocated != 16 && p.allocated != 8 && !(p.allocated == 32 && may_be_32_bit))
        refuse(DG_ERR_UNSUPPORTED, format_rule, "BitsAllocated is %d: %s are read", p.allocated,
               may_be_32_bit ? "8, 16 and 32" : "8 and 16");
    if (p.stored < 1 || p.stored > p.allocated || p.high < p.stored - 1 || p.high >= p.allocated)
        refuse(DG_ERR_DATA, format_rule, "BitsStored %d and HighBit %d do not fit into %d bits", p.stored, p.high,
               p.allocated);
    if (samples != 1 || (sign != 0 && sign != 1) || (!colour.empty() && colour.compare(0, 10, "MONOCHROME") != 0))
        refuse(DG_ERR_UNSUPPORTED, format_rule,
               "the pixels are no single grey value (SamplesPerPixel %ld, PixelRepresentation %ld)", samples, sign);
    p.is_signed = sign == 1;
    return p;
}

/* The value of the stored bits of a cell. */
static double value_of(const Pixels &p, uint32_t cell)
{
    const uint32_t mask = p.stored == 32 ? 0xffffffffU : (1U << p.stored) - 1;
    const uint32_t bits = (cell >> (p.high + 1 - p.stored)) & mask;
    const int64_t span = (int64_t)1 << p.stored;
    return p.is_signed && bits >= (uint32_t)(span / 2) ? (double)((int64_t)bits - span) : (double)bits;
}

/* DCMTK's decoder believes where the segments of an RLE frame are said to be: they have to lie in it, one behind the other. A
 * frame is one fragment (PS3.5 A.4.2), behind the table of offsets. */
static bool rle_is_sound(DcmPixelData *pixels, const Pixels &p, int64_t index)
{
    DcmPixelSequence *sequence = nullptr;
    DcmPixelItem *item = nullptr;
    Uint8 *data = nullptr;
    if (pixels->getEncapsulatedRepresentation(EXS_RLELossless, nullptr, sequence).bad() || sequence == nullptr)
        return false;
    if (sequence->card() != (unsigned long)p.frames + 1) return false;
    if (sequence->getItem(item, (unsigned long)index + 1).bad() || item == nullptr) return false;
    const uint32_t length = item->getLengthField();
    if (length < 64 || item->getUint8Array(data).bad() || data == nullptr) return false;
    uint32_t before = 63;
    for (int k = 0; k <= p.allocated / 8; k++) {
        const uint8_t *at = data + 4 * k;
        const uint32_t value = at[0] | at[1] << 8 | at[2] << 16 | (uint32_t)at[3] << 24;
        if (k == 0 && value != (uint32_t)p.allocated / 8) return false;
        if (k > 0 && (value <= before || value >= length)) return false;
        if (k > 0) before = value;
    }
    return true;
}

/* PixelData, once it is known to be there. */
static DcmPixelData *pixels_in(File &file, const Pixels &p, const char *truncated)
{
    DcmElement *element = nullptr;
    if (file.data().findAndGetElement(DCM_PixelData, element).bad() || element == nullptr ||
        element->ident() != EVR_PixelData)
        refuse(DG_ERR_FORMAT, truncated, "there are no pixels: export it again");
    const bool packed = DcmXfer(file.syntax()).isEncapsulated();
    const int64_t needed = p.rows * p.columns * (p.allocated / 8) * p.frames;
    const int64_t there = packed ? file.size() : (int64_t)element->getLengthField();
    if (there < (packed ? needed / PACKED_MAX : needed))
        refuse(DG_ERR_FORMAT, truncated,
               "the pixels are %lld bytes%s, Rows x Columns x frames needs %lld: copy or export it again",
               (long long)there, packed ? " at most (compressed)" : "", (long long)needed);
    return static_cast<DcmPixelData *>(element);
}

void need_pixels(File &file, const Pixels &pixels, const char *truncated) { (void)pixels_in(file, pixels, truncated); }

void read_frame(File &file, const Pixels &p, int64_t index, const char *truncated, const char *damaged,
                std::vector<uint8_t> &scratch, std::vector<double> &raw)
{
    DcmPixelData *pixels = pixels_in(file, p, truncated);
    const int64_t cells = p.rows * p.columns, bytes = cells * (p.allocated / 8);
    const bool packed = DcmXfer(file.syntax()).isEncapsulated();
    scratch.resize((size_t)(bytes + (bytes & 1)));
    if (file.syntax() == EXS_RLELossless && !rle_is_sound(pixels, p, index))
        refuse(DG_ERR_FORMAT, damaged, "a frame of compressed pixels is damaged: export it again");
    OFString colour;
    Uint32 fragment = 0;
    const OFCondition result = pixels->getUncompressedFrame(&file.data(), (Uint32)index, fragment, scratch.data(),
                                                            (Uint32)scratch.size(), colour, nullptr);
    if (result.bad())
        refuse(DG_ERR_FORMAT, damaged, "the pixels of a frame cannot be decoded%s: export it again",
               packed ? " (compressed)" : "");
    raw.resize((size_t)cells);
    for (int64_t k = 0; k < cells; k++) {
        const uint8_t *at = scratch.data() + k * (p.allocated / 8);
        uint32_t cell = at[0];
        if (p.allocated >= 16) cell = (uint32_t)(at[0] | at[1] << 8);
        if (p.allocated == 32) cell |= (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
        if (p.allocated == 32 && p.swap_words) cell = cell >> 16 | cell << 16;
        raw[(size_t)k] = value_of(p, cell);
    }
}

} // namespace dicom
