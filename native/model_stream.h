// A model as one GGUF stream for llama_model_load_from_file_ptr: the header and the dense tensors come from the part
// files, routed experts are passed over without being read.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "weight_files.h"

namespace sixgig {

struct StreamSegment {
    uint64_t start;   // in the stream
    uint64_t size;
    uint64_t offset;  // in the part's file, or in the header
    int32_t part;     // or one of the two below
    int32_t skip;     // 1: never read; what the reader gets is arbitrary
};

// What is read of the dense weights at once, and so what of them passes the page cache at a time.
constexpr uint64_t READ_AHEAD_BYTES = 4 << 20;

constexpr int32_t PART_ZEROS = -1, PART_HEADER = -2;

// Segments are in order of start, without gaps. Null when a file cannot be opened. The caller closes the stream.
FILE * open_model_stream(const std::vector<FileIdentity> & files, const std::vector<StreamSegment> & segments,
                         const std::string & header, ReadFailure * failure);

}  // namespace sixgig
