/* dicom_file.cc - one DICOM file behind DCMTK, with what DCMTK lacks against hostile ones: a bound on nesting (it recurses
 * for every nested sequence), values that claim more than the file holds, deflated data sets without end.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dicom_impl.h"

#include <dcmtk/dcmdata/dcrledrg.h>
#include <dcmtk/dcmjpeg/djdecode.h>
#include <dcmtk/oflog/oflog.h>

#include <fcntl.h>
#include <mutex>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

namespace dicom
{

enum {
    WINDOW = 1 << 16,
    STACK_BYTES = 384 << 10, /* of DCMTK's recursion: several hundred nested sequences, more than any object has */
    DEFERRED = 4096,         /* values from here on are left in the file: their length was never trusted */
    READS = 4                /* that DCMTK takes for the head of an element, at most */
};

/* The bytes of a file: read in windows as they are asked for, or inflated on the way. */
class Bytes
{
  public:
    explicit Bytes(int fd, int64_t size) : fd_(fd), size_(size), window_(WINDOW) {}
    ~Bytes()
    {
        if (inflating_) inflateEnd(&zlib_);
        if (fd_ >= 0) close(fd_);
    }
    Bytes(const Bytes &) = delete;
    Bytes &operator=(const Bytes &) = delete;

    /* How much there is from `offset` on: all, or of deflated data some if there is any. */
    int64_t from(int64_t offset, int64_t wanted)
    {
        if (inflating_) inflate_to(offset + wanted);
        const int64_t end = inflating_ ? (int64_t)inflated_.size() : size_;
        return end > offset ? end - offset : 0;
    }
    int64_t read(int64_t offset, void *to, int64_t count)
    {
        const int64_t there = from(offset, count);
        if (count > there) count = there;
        if (count <= 0) return 0;
        if (inflating_) {
            memcpy(to, inflated_.data() + offset, (size_t)count);
            return count;
        }
        if (offset >= start_ && offset + count <= start_ + held_) {
            memcpy(to, window_.data() + (offset - start_), (size_t)count);
            return count;
        }
        if (count >= WINDOW) return from_disk(offset, (uint8_t *)to, count);
        start_ = offset;
        held_ = from_disk(offset, window_.data(), WINDOW);
        if (count > held_) count = held_;
        memcpy(to, window_.data(), (size_t)count);
        return count;
    }
    /* From here on the bytes are what the deflated rest of the file inflates to, `limit` at most. */
    bool inflate_from(int64_t offset, int64_t limit)
    {
        memset(&zlib_, 0, sizeof zlib_);
        if (inflateInit2(&zlib_, -MAX_WBITS) != Z_OK) return false;
        inflating_ = true;
        packed_ = offset;
        limit_ = limit;
        return true;
    }
    bool failed() const { return failed_; }
    bool over_limit() const { return over_; }

  private:
    int64_t from_disk(int64_t offset, uint8_t *to, int64_t count)
    {
        int64_t done = 0;
        while (done < count) {
            const ssize_t got = pread(fd_, to + done, (size_t)(count - done), (off_t)(offset + done));
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) failed_ = true;
            if (got <= 0) break;
            done += got;
        }
        return done;
    }
    void inflate_to(int64_t end)
    {
        while ((int64_t)inflated_.size() < end && !ended_) {
            if (zlib_.avail_in == 0) {
                const int64_t got = packed_ < size_ ? from_disk(packed_, window_.data(), WINDOW) : 0;
                packed_ += got;
                zlib_.next_in = window_.data();
                zlib_.avail_in = (uInt)got;
                if (got == 0) ended_ = true;
            }
            if ((int64_t)inflated_.size() + WINDOW > limit_) {
                over_ = ended_ = true;
                break;
            }
            const size_t old = inflated_.size();
            inflated_.resize(old + WINDOW);
            zlib_.next_out = inflated_.data() + old;
            zlib_.avail_out = WINDOW;
            const int result = ended_ ? Z_STREAM_END : inflate(&zlib_, Z_NO_FLUSH);
            inflated_.resize(old + WINDOW - zlib_.avail_out);
            if (result != Z_OK) ended_ = true;
        }
    }

    int fd_;
    int64_t size_;
    std::vector<uint8_t> window_, inflated_;
    int64_t start_ = 0, held_ = 0, packed_ = 0, limit_ = 0;
    z_stream zlib_;
    bool inflating_ = false, ended_ = false, over_ = false, failed_ = false;
};

/* DCMTK asks it for bytes from the innermost of its recursion, so that it sees how deep that is. */
class Producer : public DcmProducer
{
  public:
    Producer(Bytes *bytes, int64_t position) : bytes_(bytes), position_(position) {}
    void bound_reads(int64_t reads) { reads_left_ = reads; }
    bool too_many() const { return reads_left_ < 0; }
    void bound_stack() { base_ = (const char *)__builtin_frame_address(0); }
    bool too_deep() const { return too_deep_; }
    bool ran_out() const { return ran_out_; }
    int64_t position() const { return position_; }
    const Bytes *bytes() const { return bytes_; }

    OFBool good() const override { return !too_deep_ && !lost_ && !too_many(); }
    OFCondition status() const override { return good() ? EC_Normal : EC_CorruptedData; }
    OFBool eos() override { return bytes_->from(position_, 1) == 0; }
    offile_off_t avail() override
    {
        const char *here = (const char *)__builtin_frame_address(0);
        if (base_ != nullptr && base_ - here > STACK_BYTES) too_deep_ = true;
        if (!good()) return 0;
        const int64_t there = bytes_->from(position_, WINDOW);
        if (there == 0) ran_out_ = true;
        return there;
    }
    offile_off_t read(void *buffer, offile_off_t length) override
    {
        reads_left_--;
        const int64_t got = good() ? bytes_->read(position_, buffer, length) : 0;
        if (got < length) {
            ran_out_ = true;
            memset((char *)buffer + got, 0, (size_t)(length - got));
        }
        position_ += got;
        return got;
    }
    offile_off_t skip(offile_off_t length) override
    {
        const int64_t there = good() ? bytes_->from(position_, length) : 0;
        if (there < length) ran_out_ = true;
        const int64_t done = there < length ? there : length;
        position_ += done;
        return done;
    }
    void putback(offile_off_t count) override
    {
        if (count > position_)
            lost_ = true;
        else
            position_ -= count;
    }

  private:
    Bytes *bytes_;
    int64_t position_;
    const char *base_ = nullptr;
    int64_t reads_left_ = INT64_MAX;
    bool too_deep_ = false, lost_ = false, ran_out_ = false;
};

class Stream;

/* Values that are read late come through one of these. */
class Factory : public DcmInputStreamFactory
{
  public:
    Factory(Bytes *bytes, int64_t position) : bytes_(bytes), position_(position) {}
    DcmInputStream *create() const override;
    DcmInputStreamFactory *clone() const override { return new Factory(bytes_, position_); }
    DcmInputStreamFactoryType ident() const override { return DFT_DcmInputFileStreamFactory; }

  private:
    Bytes *bytes_;
    int64_t position_;
};

class Stream : public DcmInputStream
{
  public:
    Stream(Bytes *bytes, int64_t position) : DcmInputStream(&producer_), producer_(bytes, position), bytes_(bytes) {}
    DcmInputStreamFactory *newFactory() const override { return new Factory(bytes_, producer_.position()); }
    /* Inflating happens in Bytes, within bounds; DCMTK's filter would hide how deep it recurses. */
    OFCondition installCompressionFilter(E_StreamCompression) override
    {
        deflated_at_ = producer_.position();
        return EC_IllegalCall;
    }
    Producer &producer() { return producer_; }
    int64_t deflated_at() const { return deflated_at_; }

  private:
    Producer producer_;
    Bytes *bytes_;
    int64_t deflated_at_ = -1;
};

DcmInputStream *Factory::create() const { return new Stream(bytes_, position_); }

File::File() = default;
File::~File() = default;

/* Part 10 files say so; others begin with a group 2 or 8 element in one of the three encodings. */
static bool looks_like_dicom(Bytes &bytes)
{
    uint8_t head[132];
    const int64_t got = bytes.read(0, head, sizeof head);
    if (got == sizeof head && memcmp(head + 128, "DICM", 4) == 0) return true;
    if (got < 8) return false;
    if ((head[0] == 2 || head[0] == 8) && head[1] == 0 && head[3] == 0) return true;
    return head[0] == 0 && head[1] == 8 && head[2] == 0;
}

File::Outcome File::parse(const DcmTagKey &stop, const dg_dicom_limits &limits)
{
    const uint32_t whole = DEFERRED;
    bool too_deep, too_many, ran_out;
    OFCondition result;
    int64_t deflated_at;
    {
        Stream stream(bytes_.get(), 0);
        stream.producer().bound_stack();
        stream.producer().bound_reads(READS * limits.elements);
        format_.transferInit();
        result = format_.readUntilTag(stream, EXS_Unknown, EGL_noChange, whole, stop);
        format_.transferEnd();
        too_deep = stream.producer().too_deep();
        too_many = stream.producer().too_many();
        ran_out = stream.producer().ran_out();
        deflated_at = stream.deflated_at();
    }
    syntax_ = data().getOriginalXfer();
    if (deflated_at >= 0) {
        if (!bytes_->inflate_from(deflated_at, limits.file_bytes / 4)) return UNREADABLE; /* it is held in memory */
        data().clear();
        Stream stream(bytes_.get(), 0);
        stream.producer().bound_stack();
        stream.producer().bound_reads(READS * limits.elements);
        data().transferInit();
        result = data().readUntilTag(stream, EXS_LittleEndianExplicit, EGL_noChange, whole, stop);
        data().transferEnd();
        too_deep = stream.producer().too_deep();
        too_many = stream.producer().too_many();
        ran_out = stream.producer().ran_out();
        syntax_ = EXS_LittleEndianExplicit;
    }
    if (too_deep) return TOO_DEEP;
    if (bytes_->failed()) return UNREADABLE;
    if (too_many || bytes_->over_limit()) return TOO_LARGE;
    if (result.good()) return READ;
    return ran_out || result == EC_StreamNotifyClient || result == EC_EndOfStream ? TRUNCATED : DAMAGED;
}

File::Outcome File::read(const char *path, const dg_dicom_limits &limits, const DcmTagKey &stop)
{
    struct stat status;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return UNREADABLE;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        close(fd);
        return UNREADABLE;
    }
    size_ = (int64_t)status.st_size;
    bytes_.reset(new Bytes(fd, size_));
    if (status.st_size > limits.file_bytes) return TOO_LARGE;
    if (!looks_like_dicom(*bytes_)) return NOT_DICOM;
    return parse(stop, limits);
}

void read_or_refuse(File &file, const char *path, const dg_dicom_limits &limits, const char *what, const char *damaged,
                    const char *truncated, const char *too_large)
{
    switch (file.read(path, limits, DCM_UndefinedTagKey)) {
    case File::READ: return;
    case File::NOT_DICOM: refuse(DG_ERR_FORMAT, damaged, "a %s is not DICOM any more: export it again", what);
    case File::DAMAGED: refuse(DG_ERR_FORMAT, damaged, "a %s is damaged: export it again", what);
    case File::TOO_DEEP:
        refuse(DG_ERR_FORMAT, damaged, "a %s nests its sequences too deep to be one: export it again", what);
    case File::TRUNCATED:
        refuse(DG_ERR_FORMAT, truncated, "a %s ends within an element, the file was cut short: copy or export it again",
               what);
    case File::TOO_LARGE:
        refuse(DG_ERR_DATA, too_large,
               "a %s is larger than %lld bytes or has more than %lld elements: no such object is", what,
               (long long)limits.file_bytes, (long long)limits.elements);
    case File::UNREADABLE:
        refuse(DG_ERR_IO, nullptr, "a %s cannot be read: check permissions and the file system", what);
    }
}

void prepare_dcmtk()
{
    static std::once_flag once;
    std::call_once(once, [] {
        OFLog::configure(OFLogger::OFF_LOG_LEVEL); /* its messages quote what the files hold */
        DcmRLEDecoderRegistration::registerCodecs();
        DJDecoderRegistration::registerCodecs();
        dcmEnableUnknownVRConversion.set(OFTrue); /* archives that did not know an element wrote it as UN */
    });
    if (!dcmDataDict.isDictionaryLoaded())
        refuse(DG_ERR_UNSUPPORTED, nullptr,
               "DCMTK finds no data dictionary: install dicom.dic (Debian: dcmtk or libdcmtk*) or set DCMDICTPATH");
}

} // namespace dicom
