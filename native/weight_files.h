// The part files of one model, opened once for reading; after every read the file must still be the one that
// was described: what changed before or during the read is noticed.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "read_failure.h"

namespace sixgig {

constexpr uint64_t PAGE_BYTES = 4096;

constexpr uint64_t page_floor(uint64_t x) { return x & ~(PAGE_BYTES - 1); }
constexpr uint64_t page_ceil(uint64_t x) { return page_floor(x + PAGE_BYTES - 1); }

// A file as it was when its header was read.
struct FileIdentity {
    std::string path;
    uint64_t size = 0, inode = 0;
    int64_t modified_ns = 0;
};

class WeightFiles {
  public:
    // Opens all; false with *failure filled when one cannot be opened or is not the one described.
    bool open(const std::vector<FileIdentity> & files, ReadFailure * failure);
    ~WeightFiles();

    // Reads [offset, offset + size) of a part to dst. When offset and dst agree modulo the page size, whole pages are
    // read with direct I/O: the caller owns the pages around dst, and their file neighbours' bytes land in them.
    bool read(int part, uint64_t offset, uint64_t size, char * dst, ReadFailure * failure);

    // The same bytes through the page cache, leaving none of them in it.
    bool read_buffered(int part, uint64_t offset, uint64_t size, char * dst, ReadFailure * failure);

    size_t n_parts() const { return parts_.size(); }
    uint64_t size_bytes(int part) const { return parts_[part].identity.size; }

  private:
    struct Part {
        FileIdentity identity;
        int buffered_fd = -1;
        int direct_fd = -1;
    };

    bool unchanged(const Part & part, uint64_t offset, ReadFailure * failure) const;
    bool read_cached(Part & part, uint64_t offset, uint64_t size, char * dst, ReadFailure * failure);
    bool read_direct(Part & part, uint64_t offset, uint64_t size, char * dst, ReadFailure * failure);

    std::vector<Part> parts_;
};

}  // namespace sixgig
