#include "huge_pages.h"

#include <sys/mman.h>

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include "paged_buffer.h"

namespace sixgig {

namespace {

constexpr uintptr_t LARGE_BYTES = 32 << 20;

struct Mapping { uintptr_t begin, end; };

// Private, writable, anonymous mappings of at least LARGE_BYTES, from the kernel's list.
std::vector<Mapping> large_mappings() {
    std::vector<Mapping> found;
    FILE * maps = std::fopen("/proc/self/maps", "r");
    if (maps == nullptr) return found;
    char line[4352], permissions[5];
    while (std::fgets(line, sizeof line, maps) != nullptr) {
        Mapping m;
        unsigned long inode = 0;
        const int fields = std::sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s %*s %*s %lu", &m.begin, &m.end, permissions, &inode);
        if (fields == 4 && inode == 0 && std::strcmp(permissions, "rw-p") == 0 && m.end - m.begin >= LARGE_BYTES) found.push_back(m);
    }
    std::fclose(maps);
    return found;
}

}  // namespace

void advise_huge_pages() {
#ifdef MADV_HUGEPAGE
    for (const Mapping & m : large_mappings()) {
        advise_unless_paged(m.begin, m.end, MADV_HUGEPAGE);
    }
#endif
}

}  // namespace sixgig
