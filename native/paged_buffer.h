// The buffer type that routed experts are placed in: reserved address space, filled on demand. And the one for what is computed
// with them, which the processor's own backend may read and write.
#pragma once

#include "ggml_abi.h"
#include "pager.h"

namespace sixgig {

ggml_backend_buffer_type * paged_buffer_type();
ggml_backend_buffer_type * scratch_buffer_type();

// The pager and tensor index behind a weight, or {null, -1} when the tensor is not a paged expert. While the loader only asks
// where to put a weight (no memory yet), it is known by the name that was announced for it, and there is no pager to ask.
struct PagedWeight { Pager * pager; int tensor; };
PagedWeight find_paged(const ggml_tensor * weight);

// Whether [begin, end) touches memory of a paged buffer that holds weights.
bool overlaps_paged_region(uintptr_t begin, uintptr_t end);

}  // namespace sixgig
