#include "model_stream.h"

#include <errno.h>

#include <algorithm>
#include <cstring>

namespace sixgig {

namespace {

// The C library's buffer. A seek reads a whole one from before its target, so it is small.
constexpr size_t BUFFER_BYTES = 16 << 10;

class ModelStream {
  public:
    WeightFiles files;
    std::vector<StreamSegment> segments;
    std::string header;
    ReadFailure * failure = nullptr;
    std::vector<char> buffer = std::vector<char>(BUFFER_BYTES);  // the FILE's own

    // Ends at a segment's end: going on would read ahead of what may not be wanted.
    ssize_t read(char * to, size_t wanted) {
        if (position_ >= size()) return 0;
        const size_t n = read_some(to, wanted);
        position_ += n;
        if (n > 0) return ssize_t(n);
        errno = failure->error_number != 0 ? failure->error_number : EIO;
        return -1;
    }

    int seek(off64_t * position, int whence) {
        const off64_t from = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? off64_t(position_) : off64_t(size());
        if (from + *position < 0) return -1;
        position_ = *position = from + *position;
        return 0;
    }

  private:
    uint64_t size() const { return segments.empty() ? 0 : segments.back().start + segments.back().size; }

    const StreamSegment & segment_at(uint64_t position) const {
        const auto after = std::upper_bound(segments.begin(), segments.end(), position,
                                            [](uint64_t p, const StreamSegment & s) { return p < s.start; });
        return *(after - 1);
    }

    size_t read_some(char * to, size_t wanted) {
        const StreamSegment & s = segment_at(position_);
        const uint64_t inside = position_ - s.start, left = s.size - inside;
        const size_t n = std::min<uint64_t>(wanted, left);
        if (s.skip) return n;
        if (s.part >= 0) return read_part(s, inside, to, n);
        if (s.part == PART_ZEROS) std::memset(to, 0, n);
        if (s.part == PART_HEADER) std::memcpy(to, header.data() + s.offset + inside, n);
        return n;
    }

    size_t read_part(const StreamSegment & s, uint64_t inside, char * to, size_t wanted) {
        if (position_ < ahead_begin_ || position_ >= ahead_begin_ + ahead_.size()) {
            ahead_.resize(std::min(s.size - inside, READ_AHEAD_BYTES));
            ahead_begin_ = position_;
            if (!files.read_buffered(s.part, s.offset + inside, ahead_.size(), ahead_.data(), failure)) {
                ahead_.clear();
                return 0;
            }
        }
        const size_t n = std::min<uint64_t>(wanted, ahead_begin_ + ahead_.size() - position_);
        std::memcpy(to, ahead_.data() + (position_ - ahead_begin_), n);
        return n;
    }

    uint64_t position_ = 0, ahead_begin_ = 0;
    std::vector<char> ahead_;
};

ssize_t stream_read(void * cookie, char * buffer, size_t size) { return static_cast<ModelStream *>(cookie)->read(buffer, size); }

int stream_close(void * cookie) {
    delete static_cast<ModelStream *>(cookie);
    return 0;
}

#ifdef __GLIBC__
int stream_seek(void * cookie, off64_t * position, int whence) { return static_cast<ModelStream *>(cookie)->seek(position, whence); }

FILE * open_cookie(ModelStream * stream) {
    return fopencookie(stream, "rb", cookie_io_functions_t{stream_read, nullptr, stream_seek, stream_close});
}
#else
int stream_read_int(void * cookie, char * buffer, int size) { return int(stream_read(cookie, buffer, size)); }

fpos_t stream_seek(void * cookie, fpos_t position, int whence) {
    off64_t p = position;
    return static_cast<ModelStream *>(cookie)->seek(&p, whence) == 0 ? fpos_t(p) : -1;
}

FILE * open_cookie(ModelStream * stream) { return funopen(stream, stream_read_int, nullptr, stream_seek, stream_close); }
#endif

}  // namespace

FILE * open_model_stream(const std::vector<FileIdentity> & files, const std::vector<StreamSegment> & segments,
                         const std::string & header, ReadFailure * failure) {
    auto * stream = new ModelStream();
    stream->segments = segments;
    stream->header = header;
    stream->failure = failure;
    FILE * file = stream->files.open(files, failure) ? open_cookie(stream) : nullptr;
    if (file == nullptr) {
        delete stream;
        return nullptr;
    }
    setvbuf(file, stream->buffer.data(), _IOFBF, BUFFER_BYTES);
    return file;
}

}  // namespace sixgig
