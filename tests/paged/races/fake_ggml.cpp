// As much of ggml as native/ calls, without the engine: a registry, a CPU device with ordinary memory, and one operation.
// Compiled with the thread sanitizer, which would see nothing of what happens inside the engine's own library.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "ggml_abi.h"

namespace {

const char * const OPERATIONS[] = {"NONE", "MUL_MAT_ID", "ADD", "ADD_ID", "GLU", "UNARY", "MUL", "SCALE", "CLAMP", "RESHAPE", "VIEW"};
constexpr int N_OPERATIONS = sizeof OPERATIONS / sizeof OPERATIONS[0];
constexpr size_t OBJECT_BYTES = 32;

std::vector<ggml_backend_reg *> & registries() {
    static std::vector<ggml_backend_reg *> all;
    return all;
}

const char * cpu_name(ggml_backend_device *) { return "CPU"; }
const char * type_name(ggml_backend_buffer_type *) { return "CPU"; }
bool is_host(ggml_backend_buffer_type *) { return true; }

extern ggml_backend_device cpu;
ggml_backend_buffer_type cpu_type = {{type_name, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, is_host}, &cpu, nullptr};
ggml_backend_buffer_type * cpu_buffer_type(ggml_backend_device *) { return &cpu_type; }

void * function_at(ggml_backend_reg *, const char *) { return nullptr; }
ggml_backend_reg cpu_registry = {GGML_BACKEND_API_VERSION, {nullptr, nullptr, nullptr, function_at}, nullptr};

// [n, slots, tokens] of weights [k, n, experts], inputs [k, 1, tokens] and choices [slots, tokens], all dense but the last.
void multiply(const ggml_tensor & product) {
    const ggml_tensor & weights = *product.src[0], & inputs = *product.src[1], & choices = *product.src[2];
    const int64_t k = weights.ne[0], n = weights.ne[1];
    for (int64_t token = 0; token < product.ne[2]; token++) {
        for (int64_t slot = 0; slot < product.ne[1]; slot++) {
            int32_t expert;
            std::memcpy(&expert, static_cast<const char *>(choices.data) + token * choices.nb[1] + slot * choices.nb[0], sizeof expert);
            const auto * w = static_cast<const float *>(weights.data) + expert * n * k;
            const auto * x = static_cast<const float *>(inputs.data) + token * k;
            auto * y = static_cast<float *>(product.data) + (token * product.ne[1] + slot) * n;
            for (int64_t row = 0; row < n; row++) {
                y[row] = 0;
                for (int64_t i = 0; i < k; i++) y[row] += w[row * k + i] * x[i];
            }
        }
    }
}

ggml_status compute(ggml_backend *, ggml_cgraph * graph) {
    for (int i = 0; i < graph->n_nodes; i++) multiply(*graph->nodes[i]);
    return GGML_STATUS_SUCCESS;
}

void free_backend(ggml_backend * backend) { delete backend; }

ggml_backend * init_cpu(ggml_backend_device * device, const char *) {
    ggml_backend_i iface{};
    iface.free = free_backend;
    iface.graph_compute = compute;
    return new ggml_backend{nullptr, iface, device, nullptr};
}

ggml_backend_device cpu = {{cpu_name, cpu_name, nullptr, nullptr, nullptr, init_cpu, cpu_buffer_type, nullptr, nullptr, nullptr, nullptr,
                            nullptr, nullptr, nullptr, nullptr}, &cpu_registry, nullptr};

}  // namespace

const char * ggml_version(void) { return GGML_EXPECTED_VERSION; }
const char * ggml_op_name(ggml_op op) { return op < N_OPERATIONS ? OPERATIONS[op] : nullptr; }
const char * ggml_type_name(ggml_type type) { return type == GGML_TYPE_I32 ? "i32" : "f32"; }
size_t ggml_tensor_overhead(void) { return sizeof(ggml_tensor) + OBJECT_BYTES; }

size_t ggml_nbytes(const ggml_tensor * tensor) {
    return sizeof(float) * tensor->ne[0] * tensor->ne[1] * tensor->ne[2] * tensor->ne[3];
}

void ggml_backend_register(ggml_backend_reg * reg) { registries().push_back(reg); }

ggml_backend_reg * ggml_backend_reg_by_name(const char * name) {
    for (ggml_backend_reg * reg : registries()) {
        if (std::strcmp(reg->iface.get_name(reg), name) == 0) return reg;
    }
    return nullptr;
}

ggml_backend_device * ggml_backend_dev_by_type(ggml_backend_dev_type) { return &cpu; }
ggml_backend_buffer_type * ggml_backend_dev_buffer_type(ggml_backend_device * device) { return device->iface.get_buffer_type(device); }
ggml_backend * ggml_backend_dev_init(ggml_backend_device * device, const char * params) { return device->iface.init_backend(device, params); }
ggml_backend_reg * ggml_backend_dev_backend_reg(ggml_backend_device * device) { return device->reg; }
void * ggml_backend_reg_get_proc_address(ggml_backend_reg * reg, const char * name) { return reg->iface.get_proc_address(reg, name); }
void ggml_backend_free(ggml_backend * backend) { backend->iface.free(backend); }

ggml_status ggml_backend_graph_compute(ggml_backend * backend, ggml_cgraph * graph) {
    return backend->iface.graph_compute(backend, graph);
}

bool ggml_backend_buft_is_host(ggml_backend_buffer_type * type) { return type->iface.is_host(type); }

ggml_backend_buffer * ggml_backend_buffer_init(ggml_backend_buffer_type * type, ggml_backend_buffer_i iface, void * context, size_t size) {
    return new ggml_backend_buffer{iface, type, context, size, GGML_BACKEND_BUFFER_USAGE_ANY};
}
