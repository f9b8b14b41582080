#include "paged_backend.h"

#include <cstdio>
#include <cstdlib>

#include "expert_split.h"
#include "ops.h"
#include "paged_buffer.h"
#include "self_check.h"

namespace sixgig {

namespace {

constexpr const char * NAME = "SIXGIG";

// --- a program that is not ours must page what it was told to page, or stop ---

constexpr const char * CURE = "load the announced file, and keep its experts in main memory (--cpu-moe beside a GPU)";

// False, said on stderr, where the engine has put experts elsewhere or loaded another model's.
bool experts_are_here() {
    const std::shared_ptr<Pager> pager = environment_pager();
    if (pager != nullptr && pager->other_model) return false;  // said when it was noticed
    const PagedTensor * tensor = pager == nullptr ? nullptr : pager->first_elsewhere(true);
    if (tensor == nullptr) return true;
    std::fprintf(stderr, "sixgig: error: the engine does not page %s; %s\n", tensor->name.c_str(), CURE);
    return false;
}

void stop_unless_placed() {
    const std::shared_ptr<Pager> pager = environment_pager();
    const PagedTensor * tensor = pager == nullptr ? nullptr : pager->first_elsewhere(false);
    if (tensor == nullptr) return;
    std::fprintf(stderr, "sixgig: error: stopped: the engine has loaded %s unpaged; %s\n", tensor->name.c_str(), CURE);
    std::_Exit(EXIT_FAILURE);
}

// --- backend ---

const char * backend_name(ggml_backend *) { return NAME; }

void free_backend(ggml_backend * backend) {
    delete static_cast<ExpertSplit *>(backend->context);
    delete backend;
}

ggml_status compute(ggml_backend * backend, ggml_cgraph * graph) {
    return static_cast<ExpertSplit *>(backend->context)->compute(*graph);
}

// Called before everything that a context computes; never for a model that is only measured.
void set_n_threads(ggml_backend * backend, int n_threads) {
    stop_unless_placed();
    static_cast<ExpertSplit *>(backend->context)->set_n_threads(n_threads);
}

void set_abort_callback(ggml_backend * backend, ggml_abort_callback callback, void * data) {
    static_cast<ExpertSplit *>(backend->context)->set_abort_callback(callback, data);
}

void record_event(ggml_backend *, ggml_backend_event *) {}

// The loader's backend and a context's. They belong to another device than the one they were asked of, whose buffer type is
// for weights only: the engine takes it to be out of the processor's reach, which what is computed must not be.
ggml_backend * init_backend(ggml_backend_device *, const char *) {
    static ggml_guid guid = {0x73, 0x69, 0x78, 0x67, 0x69, 0x67, 0x2d, 0x70, 0x61, 0x67, 0x65, 0x72, 0, 0, 0, 1};
    if (!experts_are_here()) return nullptr;
    ggml_backend_i iface{};
    iface.get_name = backend_name;
    iface.free = free_backend;
    iface.graph_compute = compute;
    iface.event_record = record_event;
    return new ggml_backend{&guid, iface, computing_device(), new ExpertSplit()};
}

// --- which operations we take ---

bool leads_to_our_product(const ggml_tensor * t, int depth);

// The factors of an adapter lie in plain memory beside the experts they adapt. Taken by us too, their products leave a
// layer's graph in one piece: one visit.
bool is_factor_product(const ggml_tensor * op) {
    const ggml_backend_buffer * buffer = op->op == ops().mul_mat_id ? op->src[0]->buffer : nullptr;
    const bool has_memory = buffer != nullptr && buffer->context != nullptr;  // else the loader only asks where to place it
    return has_memory && is_paged(buffer->buft) && find_paged(op->src[0]).tensor < 0;
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

// A weight by itself, as the scheduler of a context asks about it.
bool is_our_leaf(const ggml_tensor * op) {
    return op->op == GGML_OP_NONE && op->buffer != nullptr && is_paged(op->buffer->buft);
}

bool computes(ggml_backend_device *, const ggml_tensor * op) {
    return is_our_leaf(op) || is_our_product(op) || is_step_between_products(op, MAX_STEPS);
}

// A loader that was not told where to put a weight asks with the product that the weight is for, before it places it.
bool holds_weights_of(ggml_backend_device * device, const ggml_tensor * op) {
    const int tensor = is_our_product(op) ? find_paged(op->src[0]).tensor : -1;
    if (tensor >= 0) static_cast<Pager *>(device->context)->note_asked(tensor);
    return computes(device, op);
}

bool supports_buft(ggml_backend_device *, ggml_backend_buffer_type * type) {
    return is_paged(type) || ggml_backend_buft_is_host(type);
}

// --- device and registry ---

const char * device_name(ggml_backend_device *) { return NAME; }
const char * device_description(ggml_backend_device *) { return "experts paged from the model file"; }
ggml_backend_dev_type device_type(ggml_backend_device *) { return GGML_BACKEND_DEVICE_TYPE_ACCEL; }
ggml_backend_buffer_type * weights_buffer_type(ggml_backend_device * device) { return &static_cast<Pager *>(device->context)->buffer_type; }
ggml_backend_buffer_type * computing_buffer_type(ggml_backend_device *) { return scratch_buffer_type(); }

void device_memory(ggml_backend_device *, size_t * free, size_t * total) { *free = *total = 0; }

ggml_backend_buffer_type * host_buffer_type(ggml_backend_device *) {
    return ggml_backend_dev_buffer_type(ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU));
}

void computing_props(ggml_backend_device *, ggml_backend_dev_props * props) {
    *props = {NAME, device_description(nullptr), 0, 0, GGML_BACKEND_DEVICE_TYPE_ACCEL, nullptr, ggml_backend_dev_caps{}};
}

// What is claimed here makes the loader hand tensors over through a few small buffers; otherwise it stages each expert
// tensor in memory as large as the tensor.
void weights_props(ggml_backend_device * device, ggml_backend_dev_props * props) {
    computing_props(device, props);
    props->caps.async = props->caps.host_buffer = props->caps.events = true;
}

ggml_backend_event * new_event(ggml_backend_device * device) { return new ggml_backend_event{device, nullptr}; }
void free_event(ggml_backend_device *, ggml_backend_event * event) { delete event; }
void wait_event(ggml_backend_device *, ggml_backend_event *) {}

const char * registry_name(ggml_backend_reg *) { return NAME; }
size_t device_count(ggml_backend_reg *) { return 1; }

// A context makes a backend of what is registered. And a program that is not ours finds the place of weights there.
ggml_backend_device * device_at(ggml_backend_reg *, size_t) {
    const std::shared_ptr<Pager> pager = environment_pager();
    return pager == nullptr ? computing_device() : &pager->device;
}

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

ggml_backend_device * computing_device() {
    static ggml_backend_device device = {
        {device_name, device_description, device_memory, device_type, computing_props, init_backend, computing_buffer_type,
         nullptr, nullptr, computes, supports_buft, nullptr, nullptr, nullptr, nullptr},
        paged_registry(), nullptr};
    return &device;
}

ggml_backend_device weights_device(Pager * pager) {
    return {{device_name, device_description, device_memory, device_type, weights_props, init_backend, weights_buffer_type,
             host_buffer_type, nullptr, holds_weights_of, supports_buft, nullptr, new_event, free_event, wait_event},
            paged_registry(), pager};
}

}  // namespace sixgig
