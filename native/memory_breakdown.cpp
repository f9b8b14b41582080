// Exact bytes of a context, as the engine itself accounts for them: the C++ function behind the C interface below is
// exported by the library under its mangled name, and returns a std::map of plain structs.
#include <cstring>
#include <map>

#include "ggml_abi.h"

struct llama_context;
struct MemoryUse { size_t model, context, compute; };

extern "C" {

std::map<ggml_backend_buffer_type *, MemoryUse> engine_memory_breakdown(const llama_context *)
    __asm__("_Z26llama_get_memory_breakdownPK13llama_context");
const char * ggml_backend_buft_name(ggml_backend_buffer_type * type);

struct sixgig_memory_use {
    char buffer_type[64];
    uint64_t model_bytes, context_bytes, compute_bytes;
};

// Fills at most `capacity` rows, one per buffer type; returns how many there are.
__attribute__((visibility("default"))) int sixgig_memory_breakdown(const llama_context * context,
                                                                    sixgig_memory_use * rows, int capacity) {
    int n = 0;
    for (const auto & [type, use] : engine_memory_breakdown(context)) {
        if (n < capacity) {
            sixgig_memory_use & row = rows[n];
            std::memset(row.buffer_type, 0, sizeof row.buffer_type);
            std::strncpy(row.buffer_type, ggml_backend_buft_name(type), sizeof row.buffer_type - 1);
            row.model_bytes = use.model;
            row.context_bytes = use.context;
            row.compute_bytes = use.compute;
        }
        n++;
    }
    return n;
}
}
