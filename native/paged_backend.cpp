#include "paged_backend.h"

#include "expert_split.h"
#include "ops.h"
#include "paged_buffer.h"
#include "self_check.h"

namespace sixgig {

namespace {

constexpr const char * NAME = "SIXGIG";

// --- backend ---

const char * backend_name(ggml_backend *) { return NAME; }

void free_backend(ggml_backend * backend) {
    delete static_cast<ExpertSplit *>(backend->context);
    delete backend;
}

ggml_status compute(ggml_backend * backend, ggml_cgraph * graph) {
    return static_cast<ExpertSplit *>(backend->context)->compute(*graph);
}

void set_n_threads(ggml_backend * backend, int n_threads) {
    static_cast<ExpertSplit *>(backend->context)->set_n_threads(n_threads);
}

void set_abort_callback(ggml_backend * backend, ggml_abort_callback callback, void * data) {
    static_cast<ExpertSplit *>(backend->context)->set_abort_callback(callback, data);
}

void record_event(ggml_backend *, ggml_backend_event *) {}

ggml_backend * init_backend(ggml_backend_device * device, const char *) {
    static ggml_guid guid = {0x73, 0x69, 0x78, 0x67, 0x69, 0x67, 0x2d, 0x70, 0x61, 0x67, 0x65, 0x72, 0, 0, 0, 1};
    ggml_backend_i iface{};
    iface.get_name = backend_name;
    iface.free = free_backend;
    iface.graph_compute = compute;
    iface.event_record = record_event;
    return new ggml_backend{&guid, iface, device, new ExpertSplit()};
}

// --- which operations we take ---

bool leads_to_our_product(const ggml_tensor * t, int depth);

// The factors of an adapter lie in plain memory beside the experts they adapt. Taken by us too, their products leave a
// layer's graph in one piece: one visit.
bool is_factor_product(const ggml_tensor * op) {
    const ggml_backend_buffer * buffer = op->op == ops().mul_mat_id ? op->src[0]->buffer : nullptr;
    const bool has_memory = buffer != nullptr && buffer->context != nullptr;  // else the loader only asks where to place it
    return has_memory && buffer->buft == paged_buffer_type() && find_paged(op->src[0]).tensor < 0;
}

bool is_our_product(const ggml_tensor * op) {
    return op->op == ops().mul_mat_id && (find_paged(op->src[0]).tensor >= 0 || is_factor_product(op));
}

bool is_adapter_sum(const ggml_tensor * op, int depth) {
    const ggml_tensor * scaled = op->op == ops().add ? op->src[1] : nullptr;
    return scaled != nullptr && scaled->op == ops().scale && is_factor_product(scaled->src[0]) &&
           leads_to_our_product(op->src[0], depth);
}

// The steps between an expert's products: activation, biases, clamps, adapters, and gate times up. Never the weighting
// of the experts, whose second factor does not come from us.
bool is_step_between_products(const ggml_tensor * op, int depth) {
    const Ops & known = ops();
    if (op->op == known.glu) {
        return leads_to_our_product(op->src[0], depth) &&
               (op->src[1] == nullptr || leads_to_our_product(op->src[1], depth));
    }
    if (op->op == known.mul) return leads_to_our_product(op->src[0], depth) && leads_to_our_product(op->src[1], depth);
    if (is_adapter_sum(op, depth)) return true;
    const bool one_source = op->op == known.unary || op->op == known.scale || op->op == known.clamp ||
                            op->op == known.add_id || op->op == known.view || op->op == known.reshape;
    return one_source && leads_to_our_product(op->src[0], depth);
}

bool leads_to_our_product(const ggml_tensor * t, int depth) {
    if (t == nullptr || depth == 0) return false;
    return is_our_product(t) || is_step_between_products(t, depth - 1);
}

constexpr int MAX_STEPS = 8;  // longest chain seen: view, bias, clamp, silu, clamp, mul

// A tensor without an operation is only asked about by the scheduler of a context: then loading is over, if the tensor is
// of the model being loaded. Another model may be computing meanwhile.
bool is_our_leaf(const ggml_tensor * op) {
    if (op->op != GGML_OP_NONE || op->buffer == nullptr || op->buffer->buft != paged_buffer_type()) return false;
    if (owner_of(op->buffer) == loading_pager().get()) loading() = false;
    return true;
}

bool supports_op(ggml_backend_device *, const ggml_tensor * op) {
    return is_our_leaf(op) || is_our_product(op) || is_step_between_products(op, MAX_STEPS);
}

bool supports_buft(ggml_backend_device *, ggml_backend_buffer_type * type) {
    return type == paged_buffer_type() || ggml_backend_buft_is_host(type);
}

// --- device and registry ---

const char * device_name(ggml_backend_device *) { return NAME; }
const char * device_description(ggml_backend_device *) { return "experts paged from the model file"; }
ggml_backend_dev_type device_type(ggml_backend_device *) { return GGML_BACKEND_DEVICE_TYPE_ACCEL; }
ggml_backend_buffer_type * device_buffer_type(ggml_backend_device *) { return paged_buffer_type(); }

void device_memory(ggml_backend_device *, size_t * free, size_t * total) { *free = *total = 0; }

void device_props(ggml_backend_device *, ggml_backend_dev_props * props) {
    ggml_backend_dev_caps caps{};
    caps.async = caps.host_buffer = caps.events = loading();
    *props = {NAME, device_description(nullptr), 0, 0, GGML_BACKEND_DEVICE_TYPE_ACCEL, nullptr, caps};
}

// --- uploads: while loading we claim what makes the loader hand tensors over through a few small buffers; otherwise it
// --- stages each expert tensor in memory as large as the tensor

ggml_backend_buffer_type * staging_buffer_type(ggml_backend_device *) {
    return loading() ? ggml_backend_dev_buffer_type(ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU)) : nullptr;
}

ggml_backend_event * new_event(ggml_backend_device * device) { return new ggml_backend_event{device, nullptr}; }
void free_event(ggml_backend_device *, ggml_backend_event * event) { delete event; }
void wait_event(ggml_backend_device *, ggml_backend_event *) {}

const char * registry_name(ggml_backend_reg *) { return NAME; }
size_t device_count(ggml_backend_reg *) { return 1; }
ggml_backend_device * device_at(ggml_backend_reg *, size_t) { return paged_device(); }

void * function_at(ggml_backend_reg *, const char * name) {
    const std::string wanted = name;
    if (wanted == "ggml_backend_set_n_threads") return reinterpret_cast<void *>(set_n_threads);
    if (wanted == "ggml_backend_set_abort_callback") return reinterpret_cast<void *>(set_abort_callback);
    return nullptr;
}

}  // namespace

ggml_backend_reg * paged_registry() {
    static ggml_backend_reg registry = {
        GGML_BACKEND_API_VERSION, {registry_name, device_count, device_at, function_at}, nullptr};
    return &registry;
}

ggml_backend_device * paged_device() {
    static ggml_backend_device device = {
        {device_name, device_description, device_memory, device_type, device_props, init_backend, device_buffer_type,
         staging_buffer_type, nullptr, supports_op, supports_buft, nullptr, new_event, free_event, wait_event},
        paged_registry(), nullptr};
    return &device;
}

}  // namespace sixgig
