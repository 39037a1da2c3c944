/* dicom_element.cc - elements as numbers and text, refusals as error records, identifiers as keys.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dicom_impl.h"

#include <charconv>
#include <cmath>
#include <stdarg.h>
#include <string.h>

namespace dicom
{

enum { TEXT_BYTES = 1 << 20 }; /* of a value that is a text and no list of numbers */

static std::string format_list(const char *format, va_list arguments)
{
    char text[768];
    vsnprintf(text, sizeof text, format, arguments);
    return text;
}

std::string format_text(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    std::string text = format_list(format, arguments);
    va_end(arguments);
    return text;
}

void refuse(dg_status status, const char *rule, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    std::string text = format_list(format, arguments);
    va_end(arguments);
    throw Refusal{status, rule, text};
}

void need(dg_status status)
{
    if (status != DG_OK) throw Refusal{status, nullptr, ""};
}

static std::string whose(const dg_dicom_context *context, const char *role)
{
    return context->case_id == nullptr ? std::string(role) : format_text("%s of case %.200s", role, context->case_id);
}

dg_status fail_with(dg_dicom_context *context, const char *role, const Refusal &refusal)
{
    context->rule = refusal.rule;
    if (refusal.text.empty()) return dg_error_context(refusal.status, "%s", whose(context, role).c_str());
    return DG_FAIL(refusal.status, "%s: %s%s%s%s", whose(context, role).c_str(), refusal.text.c_str(),
                   refusal.rule == nullptr ? "" : " (rule ", refusal.rule == nullptr ? "" : refusal.rule,
                   refusal.rule == nullptr ? "" : ")");
}

dg_status fail_without_memory(dg_dicom_context *context, const char *role)
{
    return DG_FAIL(DG_ERR_MEMORY, "%s: not enough memory", whose(context, role).c_str());
}

dg_status fail_unknown(dg_dicom_context *context, const char *role, const char *what)
{
    return DG_FAIL(DG_ERR_INTERNAL, "%s: %s", whose(context, role).c_str(), what);
}

void note(dg_dicom_context *context, const char *rule, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const std::string text = format_list(format, arguments);
    va_end(arguments);
    if (context->note_count < DG_DICOM_NOTES) {
        dg_dicom_note *to = &context->note[context->note_count];
        to->rule = rule;
        copy_text(to->text, sizeof to->text, text);
    }
    context->note_count++;
}

dg_dicom_limits limits_of(const dg_dicom_context *context)
{
    dg_dicom_limits limits = context->limits;
    if (limits.files == 0) limits.files = 4000000;
    if (limits.file_bytes == 0) limits.file_bytes = (int64_t)2 << 30;
    if (limits.elements == 0) limits.elements = 16000000;
    if (limits.depth == 0) limits.depth = 32;
    if (limits.voxels == 0) limits.voxels = (int64_t)1 << 29;
    if (limits.contours == 0) limits.contours = 2000000;
    if (limits.points == 0) limits.points = 100000000;
    return limits;
}

std::string key_of(const dg_dicom_context *context, const char *domain, const std::string &text)
{
    if (text.empty()) return "";
    char hex[DG_HASH_HEX];
    dg_hash *hash;
    need(dg_hash_create(&hash));
    dg_status status = dg_hash_add_string(hash, context->salt == nullptr ? "" : context->salt);
    if (status == DG_OK) status = dg_hash_add_string(hash, domain);
    if (status == DG_OK) status = dg_hash_add_string(hash, text.c_str());
    if (status == DG_OK) status = dg_hash_finish(hash, hex);
    dg_hash_destroy(&hash);
    need(status);
    return hex;
}

/* Length of the valid UTF-8 character at `at`, 0 for none. */
static size_t character_length(const std::string &text, size_t at)
{
    const unsigned char first = (unsigned char)text[at];
    const size_t length = first < 0x80                    ? 1
                          : first >= 0xf0 && first < 0xf5 ? 4
                          : first >= 0xe0                 ? 3
                          : first >= 0xc2                 ? 2
                                                          : 0;
    if (length == 0 || first >= 0xf5 || at + length > text.size()) return 0;
    uint32_t code = length == 1 ? first : first & (0xffU >> (length + 1));
    for (size_t k = 1; k < length; k++) {
        const unsigned char next = (unsigned char)text[at + k];
        if ((next & 0xc0) != 0x80) return 0;
        code = code << 6 | (next & 0x3f);
    }
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    if (code < least[length] || (code >= 0xd800 && code < 0xe000) || code > 0x10ffff) return 0;
    return length;
}

std::string cleaned(const std::string &text)
{
    std::string out;
    for (size_t at = 0; at < text.size();) {
        const size_t length = character_length(text, at);
        const unsigned char c = (unsigned char)text[at];
        const bool c1 = length == 2 && c == 0xc2 && (unsigned char)text[at + 1] < 0xa0;
        if (length == 0)
            out += '?';
        else if (c < ' ' || c == 0x7f || c1)
            out += ' ';
        else
            out.append(text, at, length);
        at += length == 0 ? 1 : length;
    }
    while (!out.empty() && out.back() == ' ') out.pop_back();
    size_t blanks = 0;
    while (blanks < out.size() && out[blanks] == ' ') blanks++;
    return out.substr(blanks);
}

void copy_text(char *field, size_t size, const std::string &text)
{
    size_t length = 0;
    while (length < text.size()) {
        const size_t next = character_length(text, length);
        if (length + (next == 0 ? 1 : next) >= size) break;
        length += next == 0 ? 1 : next;
    }
    memcpy(field, text.data(), length);
    field[length] = '\0';
}

/* Coded strings are short, but a person can be named in one: only words that the standard defines go on. */
static bool is_word_of_standard(const std::string &text)
{
    static const char *const words[] = {
        /* PatientPosition */
        "HFP", "HFS", "HFDR", "HFDL", "FFDR", "FFDL", "FFP", "FFS", "LFP", "LFS", "RFP", "RFS", "AFDR", "AFDL", "PFDR",
        "PFDL",
        /* doses */
        "GY", "RELATIVE", "PHYSICAL", "EFFECTIVE", "ERROR", "PLAN", "MULTI_PLAN", "PLAN_OVERVIEW", "FRACTION", "BEAM",
        "BRACHY", "FRACTION_SESSION", "BEAM_SESSION", "BRACHY_SESSION", "CONTROL_POINT", "RECORD",
        /* beams */
        "STATIC", "DYNAMIC", "PHOTON", "ELECTRON", "NEUTRON", "PROTON", "ION", "TREATMENT", "OPEN_PORTFILM",
        "TRMT_PORTFILM", "CONTINUATION", "SETUP", "VERIFICATION", "CW", "CC", "NONE", "MLCX", "MLCY",
        /* RTROIInterpretedType */
        "EXTERNAL", "PTV", "CTV", "GTV", "TREATED_VOLUME", "IRRAD_VOLUME", "BOLUS", "AVOIDANCE", "ORGAN", "MARKER",
        "REGISTRATION", "ISOCENTER", "CONTRAST_AGENT", "CAVITY", "BRACHY_CHANNEL", "BRACHY_ACCESSORY", "BRACHY_SRC_APP",
        "BRACHY_CHNL_SHLD", "SUPPORT", "FIXATION", "DOSE_REGION", "CONTROL", "DOSE_MEASUREMENT", "DEVICE"};
    for (const char *word : words)
        if (text == word) return true;
    return false;
}

void copy_code(char *field, const std::string &text)
{
    copy_text(field, DG_DICOM_CODE, text.empty() || is_word_of_standard(text) ? text : "?");
}

/* The text of an element of a text type, as it stands in the file. */
static bool raw_text(DcmItem &item, const DcmTagKey &tag, Uint32 limit, char **text, Uint32 *length)
{
    DcmElement *element = nullptr;
    *text = nullptr;
    *length = 0;
    if (item.findAndGetElement(tag, element).bad() || element == nullptr || !element->isLeaf()) return false;
    /* Not getLength: it reads the value first, however much a damaged file claims it to be. */
    if (element->getLengthField() == 0 || element->getLengthField() > limit) return false;
    return element->getString(*text, *length).good() && *text != nullptr && *length > 0;
}

std::string texts_of(DcmItem &item, const DcmTagKey &tag)
{
    char *text;
    Uint32 length;
    if (!raw_text(item, tag, TEXT_BYTES, &text, &length)) return "";
    return cleaned(std::string(text, strnlen(text, length)));
}

std::string text_of(DcmItem &item, const DcmTagKey &tag)
{
    const std::string all = texts_of(item, tag);
    return cleaned(all.substr(0, all.find('\\')));
}

Found parse_numbers(const char *text, size_t length, size_t limit, std::vector<double> &values)
{
    const char *at = text, *end = text + length;
    while (end > at && (end[-1] == ' ' || end[-1] == '\0')) end--;
    if (at == end) return Found::ABSENT;
    for (;;) {
        double value;
        while (at < end && *at == ' ') at++;
        if (at < end && *at == '+') at++;
        const std::from_chars_result got = std::from_chars(at, end, value, std::chars_format::general);
        if (got.ec != std::errc() || !std::isfinite(value) || values.size() >= limit) return Found::BAD;
        values.push_back(value);
        at = got.ptr;
        while (at < end && *at == ' ') at++;
        if (at == end) return Found::GOOD;
        if (*at++ != '\\') return Found::BAD;
    }
}

static Found binary_numbers(DcmElement *element, std::vector<double> &values)
{
    const unsigned long count = element->getVM();
    for (unsigned long k = 0; k < count && k < 65536; k++) {
        Uint16 u16;
        Sint16 s16;
        Uint32 u32;
        Sint32 s32;
        Float32 f32;
        Float64 f64;
        double value;
        if (element->getUint16(u16, k).good())
            value = u16;
        else if (element->getSint16(s16, k).good())
            value = s16;
        else if (element->getUint32(u32, k).good())
            value = u32;
        else if (element->getSint32(s32, k).good())
            value = s32;
        else if (element->getFloat32(f32, k).good())
            value = f32;
        else if (element->getFloat64(f64, k).good())
            value = f64;
        else
            return Found::BAD;
        if (!std::isfinite(value)) return Found::BAD;
        values.push_back(value);
    }
    return values.empty() ? Found::ABSENT : Found::GOOD;
}

Found numbers_of(DcmItem &item, const DcmTagKey &tag, std::vector<double> &values)
{
    DcmElement *element = nullptr;
    char *text;
    Uint32 length;
    values.clear();
    if (item.findAndGetElement(tag, element).bad() || element == nullptr || element->getLengthField() == 0)
        return Found::ABSENT;
    if (!element->isLeaf() || element->getLengthField() > TEXT_BYTES) return Found::BAD;
    if (raw_text(item, tag, TEXT_BYTES, &text, &length)) return parse_numbers(text, length, TEXT_BYTES, values);
    return binary_numbers(element, values);
}

Found number_of(DcmItem &item, const DcmTagKey &tag, double *value)
{
    std::vector<double> values;
    const Found found = numbers_of(item, tag, values);
    if (found == Found::GOOD) *value = values[0];
    return found;
}

long whole_of(DcmItem &item, const DcmTagKey &tag)
{
    double value;
    if (number_of(item, tag, &value) != Found::GOOD || value < 0 || value > 2147483647.0 || value != std::floor(value))
        return -1;
    return (long)value;
}

std::vector<DcmItem *> items_of(DcmItem &item, const DcmTagKey &tag)
{
    std::vector<DcmItem *> items;
    DcmElement *element = nullptr;
    if (item.findAndGetElement(tag, element).bad() || element == nullptr || element->ident() != EVR_SQ) return items;
    for (DcmObject *next = nullptr;
         (next = static_cast<DcmSequenceOfItems *>(element)->nextInContainer(next)) != nullptr;)
        if (next->ident() == EVR_item) items.push_back(static_cast<DcmItem *>(next));
    return items;
}

} // namespace dicom
