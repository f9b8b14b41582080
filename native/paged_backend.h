// The ggml backend: devices of type ACCEL that take over the routed experts' products and nothing else.
#pragma once

#include "ggml_abi.h"

namespace sixgig {

struct Pager;

ggml_backend_reg * paged_registry();

// Where all contexts compute, whichever pagers their weights belong to.
ggml_backend_device * computing_device();

// The device behind one pager's buffer type, which a load asks how to fill it.
ggml_backend_device weights_device(Pager * pager);

}  // namespace sixgig
