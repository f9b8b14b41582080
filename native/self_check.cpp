#include "self_check.h"

#include <cstdio>
#include <cstring>
#include <string>

#include "ops.h"

namespace sixgig {

namespace {

constexpr int MAX_OPS = 256;
constexpr size_t GGML_OBJECT_BYTES = 32;  // the header ggml puts before each tensor of a context

ggml_op find_op(const char * name, const char ** missing) {
    for (int op = 0; op < MAX_OPS; op++) {
        const char * known = ggml_op_name(op);
        if (known == nullptr || known[0] == '\0') break;
        if (std::strcmp(known, name) == 0) return op;
    }
    if (*missing == nullptr) *missing = name;
    return -1;
}

Ops find_ops() {
    Ops found{};
    found.mul_mat_id = find_op("MUL_MAT_ID", &found.missing);
    found.add = find_op("ADD", &found.missing);
    found.add_id = find_op("ADD_ID", &found.missing);
    found.glu = find_op("GLU", &found.missing);
    found.unary = find_op("UNARY", &found.missing);
    found.mul = find_op("MUL", &found.missing);
    found.scale = find_op("SCALE", &found.missing);
    found.clamp = find_op("CLAMP", &found.missing);
    found.reshape = find_op("RESHAPE", &found.missing);
    found.view = find_op("VIEW", &found.missing);
    return found;
}

std::string find_mismatch() {
    char message[256];
    const char * version = ggml_version();
    if (std::strcmp(version, GGML_EXPECTED_VERSION) != 0) {
        std::snprintf(message, sizeof message, "built for ggml %s, the loaded library is ggml %s",
                      GGML_EXPECTED_VERSION, version);
        return message;
    }
    const size_t tensor_bytes = ggml_tensor_overhead() - GGML_OBJECT_BYTES;
    if (tensor_bytes != sizeof(ggml_tensor)) {
        std::snprintf(message, sizeof message, "built for a ggml_tensor of %zu bytes, the loaded library has %zu",
                      sizeof(ggml_tensor), tensor_bytes);
        return message;
    }
    if (std::strcmp(ggml_type_name(GGML_TYPE_I32), "i32") != 0) return "the tensor type I32 has another number";
    if (ops().missing != nullptr) {
        std::snprintf(message, sizeof message, "the loaded library does not know the operation %s", ops().missing);
        return message;
    }
    return "";
}

}  // namespace

const Ops & ops() {
    static const Ops found = find_ops();
    return found;
}

const char * interface_mismatch() {
    static const std::string found = find_mismatch();
    return found.empty() ? nullptr : found.c_str();
}

}  // namespace sixgig
