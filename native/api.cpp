// The door for Python (sixgig/pager/native.py) and for llama.cpp builds that load backends themselves.
#include <cstdlib>
#include <cstring>

#include "expert_split.h"
#include "huge_pages.h"
#include "manifest.h"
#include "model_stream.h"
#include "paged_backend.h"
#include "paged_buffer.h"
#include "pager.h"
#include "self_check.h"

#define SIXGIG_API extern "C" __attribute__((visibility("default")))

using namespace sixgig;

namespace {

using Handle = std::shared_ptr<Pager>;

Pager & pager_of(void * handle) { return **static_cast<Handle *>(handle); }

}  // namespace

struct sixgig_file {
    const char * path;
    uint64_t size, inode;
    int64_t modified_ns;
};

struct sixgig_tensor {
    const char * name;
    uint64_t file_offset, size_bytes;
    int32_t layer, part, n_experts, reserved;
};

struct sixgig_counters {
    uint64_t hits, misses, evictions, bytes_read, visits, predicted, predicted_useful, predicted_wasted;
    uint64_t resident_bytes, peak_resident_bytes;
    double read_s, stall_s, compute_s;
};

struct sixgig_failure {
    char path[1024];
    char reason[64];
    uint64_t offset;
    int32_t error_number, reserved;
};

namespace {

std::vector<FileIdentity> identities(const sixgig_file * files, int n_files) {
    std::vector<FileIdentity> known;
    for (int i = 0; i < n_files; i++) known.push_back({files[i].path, files[i].size, files[i].inode, files[i].modified_ns});
    return known;
}

void copy_failure(const ReadFailure & from, sixgig_failure * to) {
    std::memset(to, 0, sizeof *to);
    std::strncpy(to->path, from.path.c_str(), sizeof to->path - 1);
    std::strncpy(to->reason, from.reason.c_str(), sizeof to->reason - 1);
    to->offset = from.offset;
    to->error_number = from.error_number;
}

}  // namespace

// --- what Python mirrors ---

struct sixgig_constant {
    const char * name;
    int64_t number;
    const char * text;
};

// Ends with a null name. tests/paged/test_constants.py compares.
SIXGIG_API const sixgig_constant * sixgig_constants(void) {
    static const sixgig_constant all[] = {
        {"page bytes", PAGE_BYTES, nullptr},
        {"stream bytes", READ_AHEAD_BYTES, nullptr},
        {"group bytes", GROUP_SCRATCH_BYTES, nullptr},
        {"paged buffer", 0, PAGED_BUFFER},
        {"segment of zeros", PART_ZEROS, nullptr},
        {"segment of the header", PART_HEADER, nullptr},
        {"policy LRU", int(PolicyKind::LRU), nullptr},
        {"policy DECAYED_FREQUENCY", int(PolicyKind::DECAYED_FREQUENCY), nullptr},
        {"sizeof OpenedFile", sizeof(sixgig_file), nullptr},
        {"sizeof PagedTensor", sizeof(sixgig_tensor), nullptr},
        {"sizeof StreamSegment", sizeof(StreamSegment), nullptr},
        {"sizeof NativeCounters", sizeof(sixgig_counters), nullptr},
        {"sizeof Failure", sizeof(sixgig_failure), nullptr},
        {nullptr, 0, nullptr},
    };
    return all;
}

// --- dynamic backend entry ---

namespace {

constexpr const char * MANIFEST = "SIXGIG_EXPERTS";

// A program that was told to page must not go on without: it would take the memory of the whole model.
void refuse(const std::string & problem) {
    std::fprintf(stderr, "sixgig: not loaded: %s\n", problem.c_str());
    if (std::getenv(MANIFEST) != nullptr) std::_Exit(EXIT_FAILURE);
}

}  // namespace

SIXGIG_API int ggml_backend_score(void) {
    const char * mismatch = interface_mismatch();
    if (mismatch != nullptr) refuse(mismatch);
    return mismatch == nullptr ? 1 : 0;
}

// What the program loads after this is paged, when SIXGIG_EXPERTS says how.
SIXGIG_API ggml_backend_reg * ggml_backend_init(void) {
    const char * path = std::getenv(MANIFEST);
    const char * mismatch = interface_mismatch();
    std::string problem = mismatch != nullptr ? mismatch : "";
    if (problem.empty() && path != nullptr && environment_pager() == nullptr) {
        set_environment_pager(read_manifest(path, &problem));
    }
    if (problem.empty()) return paged_registry();
    refuse(problem);
    return nullptr;
}

// The pager that the environment asked for, as a handle to read its counters; null without one.
SIXGIG_API void * sixgig_environment_pager(void) {
    std::shared_ptr<Pager> pager = environment_pager();
    return pager == nullptr ? nullptr : new Handle(std::move(pager));
}

// --- registration ---

SIXGIG_API const char * sixgig_interface_mismatch(void) { return interface_mismatch(); }
SIXGIG_API void sixgig_register(void) {
    static const bool once = [] {
        if (ggml_backend_reg_by_name("SIXGIG") == nullptr) ggml_backend_register(paged_registry());
        return true;
    }();
    (void) once;
}

// --- a pager's life ---

SIXGIG_API void * sixgig_pager_open(const sixgig_file * files, int n_files, const sixgig_tensor * tensors, int n_tensors,
                                    int n_readers, sixgig_failure * failure) {
    auto * handle = new Handle(std::make_shared<Pager>());
    Pager & pager = **handle;
    ReadFailure reason;
    std::vector<PagedTensor> paged;
    for (int i = 0; i < n_tensors; i++) {
        const sixgig_tensor & t = tensors[i];
        PagedTensor tensor;
        tensor.name = t.name;
        tensor.layer = t.layer;
        tensor.part = t.part;
        tensor.file_offset = t.file_offset;
        tensor.size_bytes = t.size_bytes;
        tensor.n_experts = t.n_experts;
        paged.push_back(tensor);
    }
    const bool opened = pager.files.open(identities(files, n_files), &reason);
    const char * wrong = opened ? pager.open_cache(std::move(paged), n_readers) : nullptr;
    if (opened && wrong == nullptr) return handle;
    if (wrong != nullptr) reason.reason = wrong;
    copy_failure(reason, failure);
    delete handle;
    return nullptr;
}

// After the model is freed; buffers that still live keep the pager alive.
SIXGIG_API void sixgig_pager_close(void * handle) { delete static_cast<Handle *>(handle); }

// Where a load must put the experts (llama_model_params.tensor_buft_overrides); lives as long as the pager.
SIXGIG_API ggml_backend_buffer_type * sixgig_pager_buffer_type(void * handle) { return &pager_of(handle).buffer_type; }

// Whether the engine has placed this tensor, by its index, in the pager's memory.
SIXGIG_API int sixgig_pager_has_placed(void * handle, int tensor) {
    return pager_of(handle).cache->is_placed(tensor) ? 1 : 0;
}

SIXGIG_API void sixgig_pager_configure(void * handle, uint64_t budget_bytes, int policy) {
    pager_of(handle).cache->configure(budget_bytes, PolicyKind(policy));
}

SIXGIG_API void sixgig_pager_set_router(void * handle, int layer, int n_experts, int n_embd, const float * weight,
                                        const float * bias) {
    Lock lock(pager_of(handle).computing);
    pager_of(handle).guess.set_router(layer, n_experts, n_embd, weight, bias);
}

// When the engine has allocated a model's weights and not yet filled them.
SIXGIG_API void sixgig_advise_huge_pages(void) { advise_huge_pages(); }

// --- what happened ---

SIXGIG_API void sixgig_pager_counters(void * handle, sixgig_counters * out) {
    const Counters c = pager_of(handle).cache->counters();
    *out = {c.hits, c.misses, c.evictions, c.bytes_read, c.visits, c.predicted, c.predicted_useful, c.predicted_wasted,
            c.resident_bytes, c.peak_resident_bytes, c.read_s, c.stall_s, c.compute_s};
}

SIXGIG_API void sixgig_pager_reset_counters(void * handle) { pager_of(handle).cache->reset_counters(); }

// 1 and fills `out` when a read failed since the last call.
SIXGIG_API int sixgig_pager_take_failure(void * handle, sixgig_failure * out) {
    ReadFailure failure;
    if (!pager_of(handle).cache->take_failure(&failure)) return 0;
    copy_failure(failure, out);
    return 1;
}

SIXGIG_API int sixgig_pager_start_trace(void * handle, const char * path) {
    Pager & pager = pager_of(handle);
    const ExpertCache & cache = *pager.cache;
    std::vector<uint64_t> expert_bytes(cache.n_layers());
    for (const PagedTensor & t : cache.tensors()) expert_bytes[t.layer] += t.expert_bytes();
    Lock lock(pager.computing);
    return pager.trace.start(path, cache.tensors().front().n_experts, expert_bytes) ? 1 : 0;
}

SIXGIG_API int sixgig_pager_stop_trace(void * handle) {
    Lock lock(pager_of(handle).computing);
    return pager_of(handle).trace.stop() ? 1 : 0;
}

// --- loading without reading experts ---

// The failure record is the caller's: it outlives the stream and says why a load failed.
SIXGIG_API FILE * sixgig_open_model_stream(const sixgig_file * files, int n_files, const StreamSegment * segments, int n_segments,
                                           const char * header, uint64_t header_bytes,
                                           void ** failure_record) {
    auto * failure = new ReadFailure();
    *failure_record = failure;
    return open_model_stream(identities(files, n_files), {segments, segments + n_segments},
                             std::string(header, header_bytes), failure);
}

// 1 and fills `out` when the record holds a failure.
SIXGIG_API int sixgig_failure_of(const void * record, sixgig_failure * out) {
    const auto & failure = *static_cast<const ReadFailure *>(record);
    if (failure.reason.empty()) return 0;
    copy_failure(failure, out);
    return 1;
}

SIXGIG_API void sixgig_free_failure(void * record) { delete static_cast<ReadFailure *>(record); }
