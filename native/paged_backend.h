// The ggml backend: one device of type ACCEL that takes over the routed experts' products and nothing else.
#pragma once

#include "ggml_abi.h"

namespace sixgig {

ggml_backend_device * paged_device();
ggml_backend_reg * paged_registry();

}  // namespace sixgig
