#include "weight_files.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>

namespace sixgig {

namespace {

#ifndef O_DIRECT
constexpr int O_DIRECT = 0;  // macOS: reads go through the page cache
#endif

int64_t modified_ns(const struct stat & s) {
#ifdef __APPLE__
    return s.st_mtimespec.tv_sec * 1000000000LL + s.st_mtimespec.tv_nsec;
#else
    return s.st_mtim.tv_sec * 1000000000LL + s.st_mtim.tv_nsec;
#endif
}

bool fail(ReadFailure * failure, const std::string & path, uint64_t offset, uint64_t size, int error_number,
          const char * reason) {
    *failure = ReadFailure{path, offset, size, error_number, reason};
    return false;
}

// What we skip must not be read for us.
void advise_no_read_ahead(int fd) {
#ifdef POSIX_FADV_RANDOM
    posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
#else
    (void) fd;
#endif
}

void drop_from_page_cache(int fd, uint64_t offset, uint64_t size) {
#ifdef POSIX_FADV_DONTNEED
    posix_fadvise(fd, page_floor(offset), page_ceil(offset + size) - page_floor(offset), POSIX_FADV_DONTNEED);
#else
    (void) fd, (void) offset, (void) size;
#endif
}

}  // namespace

bool WeightFiles::open(const std::vector<FileIdentity> & files, ReadFailure * failure) {
    for (const FileIdentity & identity : files) {
        parts_.push_back(Part{identity});
        Part & part = parts_.back();
        part.buffered_fd = ::open(identity.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (part.buffered_fd < 0) return fail(failure, identity.path, 0, 0, errno, "cannot open");
        if (!unchanged(part, 0, failure)) return false;
        advise_no_read_ahead(part.buffered_fd);
        part.direct_fd = O_DIRECT != 0 ? ::open(identity.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_DIRECT) : -1;
        struct stat s;
        if (part.direct_fd >= 0 && (fstat(part.direct_fd, &s) != 0 || uint64_t(s.st_ino) != identity.inode)) {
            return fail(failure, identity.path, 0, 0, 0, "file changed while it was opened");
        }
    }
    return true;
}

WeightFiles::~WeightFiles() {
    for (const Part & part : parts_) {
        if (part.buffered_fd >= 0) close(part.buffered_fd);
        if (part.direct_fd >= 0) close(part.direct_fd);
    }
}

bool WeightFiles::unchanged(const Part & part, uint64_t offset, ReadFailure * failure) const {
    const FileIdentity & then = part.identity;
    struct stat now;
    if (fstat(part.buffered_fd, &now) != 0) return fail(failure, then.path, offset, 0, errno, "cannot stat");
    const bool same = uint64_t(now.st_size) == then.size && uint64_t(now.st_ino) == then.inode && modified_ns(now) == then.modified_ns;
    return same || fail(failure, then.path, offset, 0, 0, "file changed while running");
}

bool WeightFiles::read(int index, uint64_t offset, uint64_t size, char * dst, ReadFailure * failure) {
    Part & part = parts_[index];
    const bool agree = (offset - reinterpret_cast<uintptr_t>(dst)) % PAGE_BYTES == 0;
    bool ok = agree && part.direct_fd >= 0 && read_direct(part, offset, size, dst, failure);
    if (!ok && (failure->reason.empty() || failure->error_number == EINVAL)) {  // EINVAL: direct I/O is refused here
        ok = read_cached(part, offset, size, dst, failure);
    }
    return unchanged(part, offset, failure) && ok;
}

bool WeightFiles::read_buffered(int index, uint64_t offset, uint64_t size, char * dst, ReadFailure * failure) {
    const bool ok = read_cached(parts_[index], offset, size, dst, failure);
    return unchanged(parts_[index], offset, failure) && ok;
}

bool WeightFiles::read_direct(Part & part, uint64_t offset, uint64_t size, char * dst, ReadFailure * failure) {
    const uint64_t begin = page_floor(offset), wanted_end = offset + size, end = page_ceil(wanted_end);
    char * base = dst - (offset - begin);
    uint64_t at = begin;
    while (at < wanted_end) {
        const ssize_t n = pread(part.direct_fd, base + (at - begin), end - at, off_t(at));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail(failure, part.identity.path, at, end - at, errno, "read error");
        if (n == 0 || (n % 512 != 0 && at + n < wanted_end)) {
            return fail(failure, part.identity.path, at, end - at, 0, "short read");
        }
        at += n;
    }
    return true;
}

bool WeightFiles::read_cached(Part & part, uint64_t offset, uint64_t size, char * dst, ReadFailure * failure) {
    uint64_t done = 0;
    while (done < size) {
        const ssize_t n = pread(part.buffered_fd, dst + done, size - done, off_t(offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail(failure, part.identity.path, offset + done, size - done, errno, "read error");
        if (n == 0) return fail(failure, part.identity.path, offset + done, size - done, 0, "short read");
        done += n;
    }
    drop_from_page_cache(part.buffered_fd, offset, size);
    return true;
}

}  // namespace sixgig
