// Numbers of the graph operations we look at, found by name in the loaded library.
#pragma once

#include "ggml_abi.h"

namespace sixgig {

struct Ops {
    ggml_op mul_mat_id, add, add_id, glu, unary, mul, scale, clamp, reshape, view;
    const char * missing;  // the first name the library does not know, or null
};

const Ops & ops();

}  // namespace sixgig
