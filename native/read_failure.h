// What went wrong in the last read: file, offset, errno. graph_compute can only say "failed"; this says why.
#pragma once

#include <cstdint>
#include <string>

namespace sixgig {

struct ReadFailure {
    std::string path;
    uint64_t offset = 0;
    uint64_t size = 0;
    int error_number = 0;  // errno, or 0 for a short read or a changed file
    std::string reason;    // "read error", "short read", "file changed while running"
};

}  // namespace sixgig
