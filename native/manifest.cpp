#include "manifest.h"

#include <fstream>
#include <sstream>

namespace sixgig {

namespace {

constexpr const char * FIRST_LINE = "sixgig experts 1";

struct Manifest {
    uint64_t cache_bytes = 0;
    int policy = 0, readers = 0;
    std::vector<FileIdentity> parts;
    std::vector<PagedTensor> tensors;
};

// One line: a word that says what it is, then its fields. A path, which may hold spaces, is the rest of its line.
bool read_line(const std::string & line, Manifest * manifest) {
    std::istringstream fields(line);
    std::string kind;
    fields >> kind;
    if (kind == "cache") return bool(fields >> manifest->cache_bytes >> manifest->policy >> manifest->readers);
    if (kind == "part") {
        FileIdentity part;
        fields >> part.size >> part.modified_ns >> part.inode >> std::ws;
        std::getline(fields, part.path);
        manifest->parts.push_back(part);
        return !part.path.empty();
    }
    manifest->tensors.emplace_back();
    PagedTensor & last = manifest->tensors.back();
    return kind == "tensor" && (fields >> last.layer >> last.part >> last.file_offset >> last.size_bytes >> last.n_experts >> last.name);
}

}  // namespace

std::shared_ptr<Pager> read_manifest(const char * path, std::string * problem) {
    std::ifstream file(path);
    std::string line;
    if (!std::getline(file, line) || line != FIRST_LINE) {
        *problem = std::string(path) + " does not begin with '" + FIRST_LINE + "'";
        return nullptr;
    }
    Manifest manifest;
    for (int number = 2; std::getline(file, line); number++) {
        if (read_line(line, &manifest)) continue;
        *problem = std::string(path) + " line " + std::to_string(number) + " makes no sense";
        return nullptr;
    }
    auto pager = std::make_shared<Pager>();
    ReadFailure failure;
    if (!pager->files.open(manifest.parts, &failure)) {
        *problem = failure.path + ": " + failure.reason;
        return nullptr;
    }
    if (const char * wrong = pager->open_cache(std::move(manifest.tensors), manifest.readers)) {
        *problem = std::string(path) + ": " + wrong;
        return nullptr;
    }
    pager->cache->configure(manifest.cache_bytes, PolicyKind(manifest.policy));
    pager->foreign_loader = true;
    return pager;
}

}  // namespace sixgig
