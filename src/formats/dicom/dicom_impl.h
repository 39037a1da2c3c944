/* dicom_impl.h - what the readers of DICOM share: files behind DCMTK, elements as numbers and text, refusals. C++ stays in
 * this folder: inside, a refusal is an exception; every function of dg_dicom.h catches them all. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_DICOM_IMPL_H
#define DG_DICOM_IMPL_H

extern "C" {
#include "dg_dicom.h"
#include "dg_mem.h"
}

#include <dcmtk/config/osconfig.h>
#include <dcmtk/dcmdata/dctk.h>

#include <memory>
#include <string>
#include <vector>

namespace dicom
{

/* A rule refuses: what dg_dicom.h promises of it. `status` DG_OK: the thread's error record is written already. */
struct Refusal {
    dg_status status;
    const char *rule; /* static; NULL: no rule */
    std::string text;
};

/* Throws a Refusal; the text says what was found and what to do, without naming the case. */
[[noreturn]] void refuse(dg_status status, const char *rule, const char *format, ...) DG_PRINTF(3, 4);
/* Throws when a C function failed; its message stays. */
void need(dg_status status);
std::string format_text(const char *format, ...) DG_PRINTF(1, 2);

/* Ends a guarded call: makes an error record of what was thrown. `role`: "CT", "dose". */
dg_status fail_with(dg_dicom_context *context, const char *role, const Refusal &refusal);
dg_status fail_without_memory(dg_dicom_context *context, const char *role);
dg_status fail_unknown(dg_dicom_context *context, const char *role, const char *what);

/* Runs `body`, the C++ part of a public function: nothing is thrown past it. */
template <class Body> dg_status guarded(dg_dicom_context *context, const char *role, Body &&body)
{
    context->rule = nullptr;
    try {
        body();
        return DG_OK;
    } catch (const Refusal &refusal) {
        return fail_with(context, role, refusal);
    } catch (const std::bad_alloc &) {
        return fail_without_memory(context, role);
    } catch (const std::exception &other) {
        return fail_unknown(context, role, other.what());
    } catch (...) {
        return fail_unknown(context, role, "an unknown exception");
    }
}

/* Tells something that refuses nothing. */
void note(dg_dicom_context *context, const char *rule, const char *format, ...) DG_PRINTF(3, 4);

/* The limits with their defaults. */
dg_dicom_limits limits_of(const dg_dicom_context *context);

/* Salted hash of an identifier; `domain` keeps equal texts of different meaning apart. "" stays "". */
std::string key_of(const dg_dicom_context *context, const char *domain, const std::string &text);

class Bytes; /* what a file holds, inflated where it was deflated */

/* One DICOM file. Values of more than a few kB stay in it until they are asked for. */
class File
{
  public:
    enum Outcome { READ, NOT_DICOM, DAMAGED, TRUNCATED, TOO_DEEP, TOO_LARGE, UNREADABLE };

    File();
    ~File();
    /* Reads up to the element `stop` (DCM_UndefinedTagKey: all). What was read before damage can be looked at. */
    Outcome read(const char *path, const dg_dicom_limits &limits, const DcmTagKey &stop);
    DcmDataset &data() { return *format_.getDataset(); }
    E_TransferSyntax syntax() const { return syntax_; }
    int64_t size() const { return size_; } /* bytes on the disk */

  private:
    Outcome parse(const DcmTagKey &stop, const dg_dicom_limits &limits);
    std::unique_ptr<Bytes> bytes_; /* outlives format_, which reads from it late */
    DcmFileFormat format_;
    E_TransferSyntax syntax_ = EXS_Unknown;
    int64_t size_ = 0;
};

/* Reads all of a member of a case or refuses with PREFIX-damaged, PREFIX-truncated or PREFIX-too-large; `what`: "slice". */
void read_or_refuse(File &file, const char *path, const dg_dicom_limits &limits, const char *what, const char *damaged,
                    const char *truncated, const char *too_large);

/* Silences DCMTK, registers its decoders (once a process); DG_ERR_UNSUPPORTED refusal without its data dictionary. */
void prepare_dcmtk();

/* ---- Elements. Absent, empty and wrongly typed ones are all "not there" unless said otherwise. ---- */
enum class Found { ABSENT, BAD, GOOD };

/* First value as text without blanks at its ends and without control characters; "" when not there. */
std::string text_of(DcmItem &item, const DcmTagKey &tag);
/* All values, with their backslashes. */
std::string texts_of(DcmItem &item, const DcmTagKey &tag);
/* All values of a decimal or integer string, or of a binary number. BAD: one is no finite number. */
Found numbers_of(DcmItem &item, const DcmTagKey &tag, std::vector<double> &values);
/* The one (or first) value. */
Found number_of(DcmItem &item, const DcmTagKey &tag, double *value);
/* Unsigned binary value of Rows, BitsStored and such; -1 when not there. */
long whole_of(DcmItem &item, const DcmTagKey &tag);
/* Appends to `values` the numbers of a text separated by backslashes; at most `limit`. */
Found parse_numbers(const char *text, size_t length, size_t limit, std::vector<double> &values);
/* Items of a sequence in order; empty when not there. */
std::vector<DcmItem *> items_of(DcmItem &item, const DcmTagKey &tag);
/* Copies text into a fixed field, cut at a whole character. */
void copy_text(char *field, size_t size, const std::string &text);
/* A coded string that the standard defines; '?' for any other text, which could name somebody. */
void copy_code(char *field, const std::string &text);
/* Valid UTF-8 without control characters. */
std::string cleaned(const std::string &text);

/* ---- Images (CT and dose) ---- */

/* How rows and columns lie. */
enum class Turn { HFS, HFP, FFS, FFP, DECUBITUS, TILTED, OBLIQUE, MISSING, BAD };

struct Plane {
    Turn turn = Turn::MISSING;
    bool flip_x = false, flip_y = false; /* index runs against the patient axis */
    bool normal_down = false;            /* row x column points to the feet */
    double tilt_deg = 0;                 /* of TILTED */
    double position[3] = {0, 0, 0};      /* x, y, z of the first pixel */
    bool has_position = false;
    double spacing[2] = {0, 0}; /* mm between rows (y), between columns (x) */
    bool has_spacing = false;
    long rows = -1, columns = -1;
};
/* The frame of reference UID of a structure set. */
std::string structures_frame(DcmItem &set);

Plane plane_of(DcmItem &item);
const char *turn_name(Turn turn);

/* How a stored pixel becomes a number. */
struct Pixels {
    int allocated = 0, stored = 0, high = 0;
    bool is_signed = false;
    int64_t frames = 1, rows = 0, columns = 0;
    bool swap_words = false; /* 32 bits in big-endian words of 16 */
};
/* Reads and checks the pixel description; the rules are PREFIX-pixel-format and PREFIX-transfer-syntax. */
Pixels pixels_of(File &file, const char *format_rule, const char *syntax_rule, bool may_be_32_bit);
/* Refuses with `truncated` when the file cannot hold that many pixels: before room is made for them. */
void need_pixels(File &file, const Pixels &pixels, const char *truncated);
/* Decodes frame `index` into raw[rows * columns] (sign extended). Refuses with `truncated` when it is not all there. */
void read_frame(File &file, const Pixels &pixels, int64_t index, const char *truncated, const char *damaged,
                std::vector<uint8_t> &scratch, std::vector<double> &raw);

} // namespace dicom

#endif
