// The buffer type that one pager's routed experts are placed in: reserved address space, filled on demand. And the one for what
// is computed with experts, which the processor's own backend may read and write.
#pragma once

#include "ggml_abi.h"
#include "pager.h"

namespace sixgig {

constexpr const char * PAGED_BUFFER = "SIXGIG_PAGED";

ggml_backend_buffer_type paged_buffer_type(Pager * pager);
bool is_paged(const ggml_backend_buffer_type * type);  // any pager's
ggml_backend_buffer_type * scratch_buffer_type();

// The pager and tensor index behind a weight, or {null, -1} when the tensor is not a paged expert. While the loader only asks
// where to put a weight, and where a model is only measured, there is no memory: it is known by its name, its pager is null.
struct PagedWeight { Pager * pager; int tensor; };
PagedWeight find_paged(const ggml_tensor * weight);

// madvise(2), unless [begin, end) touches memory of a paged buffer that holds experts.
void advise_unless_paged(uintptr_t begin, uintptr_t end, int advice);

}  // namespace sixgig
