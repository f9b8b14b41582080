// Our own declarations of the ggml plug-in interface, API version 3, as ggml 0.26 has it.
// They are checked against the loaded library at start-up (self_check.cpp): a mismatch refuses to run.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

constexpr int GGML_BACKEND_API_VERSION = 3;
constexpr const char * GGML_EXPECTED_VERSION = "0.26.0";

enum ggml_status : int { GGML_STATUS_ALLOC_FAILED = -2, GGML_STATUS_FAILED = -1, GGML_STATUS_SUCCESS = 0, GGML_STATUS_ABORTED = 1 };
enum ggml_type : int { GGML_TYPE_F32 = 0, GGML_TYPE_I32 = 26 };
typedef int ggml_op;  // numbers drift between builds: looked up by name (ops.h)
constexpr ggml_op GGML_OP_NONE = 0;
enum ggml_backend_dev_type : int { GGML_BACKEND_DEVICE_TYPE_CPU = 0, GGML_BACKEND_DEVICE_TYPE_ACCEL = 3 };
enum ggml_backend_buffer_usage : int { GGML_BACKEND_BUFFER_USAGE_ANY = 0, GGML_BACKEND_BUFFER_USAGE_WEIGHTS = 1 };

struct ggml_backend_buffer;
struct ggml_backend_buffer_type;
struct ggml_backend;
struct ggml_backend_device;
struct ggml_backend_reg;
struct ggml_backend_event {
    ggml_backend_device * device;
    void * context;
};
typedef uint8_t ggml_guid[16];

typedef bool (*ggml_abort_callback)(void * data);

struct ggml_tensor {
    ggml_type type;
    ggml_backend_buffer * buffer;
    int64_t ne[4];
    size_t nb[4];
    ggml_op op;
    int32_t op_params[16];
    int32_t flags;
    ggml_tensor * src[10];
    ggml_tensor * view_src;
    size_t view_offs;
    void * data;
    char name[64];
    void * extra;
    char padding[8];
};

struct ggml_cgraph {
    int size;
    int n_nodes;
    int n_leafs;
    ggml_tensor ** nodes;
    ggml_tensor ** grads;
    ggml_tensor ** grad_accs;
    ggml_tensor ** leafs;
    int32_t * use_counts;
    struct { size_t size; uint32_t * used; ggml_tensor ** keys; } visited;
    int order;
    uint64_t uid;
};

struct ggml_backend_buffer_type {
    struct {
        const char * (*get_name)(ggml_backend_buffer_type *);
        ggml_backend_buffer * (*alloc_buffer)(ggml_backend_buffer_type *, size_t);
        ggml_backend_buffer * (*alloc_buffer_n)(ggml_backend_buffer_type *, ggml_tensor **, int);
        size_t (*get_alignment)(ggml_backend_buffer_type *);
        size_t (*get_max_size)(ggml_backend_buffer_type *);
        size_t (*get_alloc_size)(ggml_backend_buffer_type *, const ggml_tensor *);
        size_t (*get_alloc_size_n)(ggml_backend_buffer_type *, ggml_tensor **, int);
        bool (*is_host)(ggml_backend_buffer_type *);
    } iface;
    ggml_backend_device * device;
    void * context;
};

struct ggml_backend_buffer_i {
    void (*free_buffer)(ggml_backend_buffer *);
    void * (*get_base)(ggml_backend_buffer *);
    ggml_status (*init_tensor)(ggml_backend_buffer *, ggml_tensor *);
    void (*memset_tensor)(ggml_backend_buffer *, ggml_tensor *, uint8_t, size_t, size_t);
    void (*set_tensor)(ggml_backend_buffer *, ggml_tensor *, const void *, size_t, size_t);
    void (*get_tensor)(ggml_backend_buffer *, const ggml_tensor *, void *, size_t, size_t);
    void (*set_tensor_2d)(ggml_backend_buffer *, ggml_tensor *, const void *, size_t, size_t, size_t, size_t, size_t);
    void (*get_tensor_2d)(ggml_backend_buffer *, const ggml_tensor *, void *, size_t, size_t, size_t, size_t, size_t);
    bool (*cpy_tensor)(ggml_backend_buffer *, const ggml_tensor *, ggml_tensor *);
    void (*clear)(ggml_backend_buffer *, uint8_t);
    void (*reset)(ggml_backend_buffer *);
};

struct ggml_backend_buffer {
    ggml_backend_buffer_i iface;
    ggml_backend_buffer_type * buft;
    void * context;
    size_t size;
    ggml_backend_buffer_usage usage;
};

struct ggml_backend_i {
    const char * (*get_name)(ggml_backend *);
    void (*free)(ggml_backend *);
    void (*set_tensor_async)(ggml_backend *, ggml_tensor *, const void *, size_t, size_t);
    void (*get_tensor_async)(ggml_backend *, const ggml_tensor *, void *, size_t, size_t);
    void (*set_tensor_2d_async)(ggml_backend *, ggml_tensor *, const void *, size_t, size_t, size_t, size_t, size_t);
    void (*get_tensor_2d_async)(ggml_backend *, const ggml_tensor *, void *, size_t, size_t, size_t, size_t, size_t);
    bool (*cpy_tensor_async)(ggml_backend *, ggml_backend *, const ggml_tensor *, ggml_tensor *);
    void (*synchronize)(ggml_backend *);
    void * (*graph_plan_create)(ggml_backend *, const ggml_cgraph *);
    void (*graph_plan_free)(ggml_backend *, void *);
    void (*graph_plan_update)(ggml_backend *, void *, const ggml_cgraph *);
    ggml_status (*graph_plan_compute)(ggml_backend *, void *);
    ggml_status (*graph_compute)(ggml_backend *, ggml_cgraph *);
    void (*event_record)(ggml_backend *, ggml_backend_event *);
    void (*event_wait)(ggml_backend *, ggml_backend_event *);
    void (*graph_optimize)(ggml_backend *, ggml_cgraph *, void *);
};

struct ggml_backend {
    ggml_guid * guid;
    ggml_backend_i iface;
    ggml_backend_device * device;
    void * context;
};

struct ggml_backend_dev_caps {
    bool async, host_buffer, buffer_from_host_ptr, events, mmap_support;
};

struct ggml_backend_dev_props {
    const char * name;
    const char * description;
    size_t memory_free;
    size_t memory_total;
    ggml_backend_dev_type type;
    const char * device_id;
    ggml_backend_dev_caps caps;
};

struct ggml_backend_device {
    struct {
        const char * (*get_name)(ggml_backend_device *);
        const char * (*get_description)(ggml_backend_device *);
        void (*get_memory)(ggml_backend_device *, size_t *, size_t *);
        ggml_backend_dev_type (*get_type)(ggml_backend_device *);
        void (*get_props)(ggml_backend_device *, ggml_backend_dev_props *);
        ggml_backend * (*init_backend)(ggml_backend_device *, const char *);
        ggml_backend_buffer_type * (*get_buffer_type)(ggml_backend_device *);
        ggml_backend_buffer_type * (*get_host_buffer_type)(ggml_backend_device *);
        ggml_backend_buffer * (*buffer_from_host_ptr)(ggml_backend_device *, void *, size_t, size_t);
        bool (*supports_op)(ggml_backend_device *, const ggml_tensor *);
        bool (*supports_buft)(ggml_backend_device *, ggml_backend_buffer_type *);
        bool (*offload_op)(ggml_backend_device *, const ggml_tensor *);
        ggml_backend_event * (*event_new)(ggml_backend_device *);
        void (*event_free)(ggml_backend_device *, ggml_backend_event *);
        void (*event_synchronize)(ggml_backend_device *, ggml_backend_event *);
    } iface;
    ggml_backend_reg * reg;
    void * context;
};

struct ggml_backend_reg {
    int api_version;
    struct {
        const char * (*get_name)(ggml_backend_reg *);
        size_t (*get_device_count)(ggml_backend_reg *);
        ggml_backend_device * (*get_device)(ggml_backend_reg *, size_t);
        void * (*get_proc_address)(ggml_backend_reg *, const char *);
    } iface;
    void * context;
};

// Resolved at run time against the llama.cpp library that is already loaded.
const char * ggml_version(void);
const char * ggml_op_name(ggml_op op);
const char * ggml_type_name(ggml_type type);
size_t ggml_tensor_overhead(void);
size_t ggml_nbytes(const ggml_tensor * tensor);
void ggml_backend_register(ggml_backend_reg * reg);
ggml_backend_reg * ggml_backend_reg_by_name(const char * name);
ggml_backend_device * ggml_backend_dev_by_type(ggml_backend_dev_type type);
ggml_backend_buffer_type * ggml_backend_dev_buffer_type(ggml_backend_device * device);
ggml_backend * ggml_backend_dev_init(ggml_backend_device * device, const char * params);
void * ggml_backend_reg_get_proc_address(ggml_backend_reg * reg, const char * name);
ggml_backend_reg * ggml_backend_dev_backend_reg(ggml_backend_device * device);
void ggml_backend_free(ggml_backend * backend);
ggml_status ggml_backend_graph_compute(ggml_backend * backend, ggml_cgraph * graph);
bool ggml_backend_buft_is_host(ggml_backend_buffer_type * buft);
ggml_backend_buffer * ggml_backend_buffer_init(
    ggml_backend_buffer_type * buft, ggml_backend_buffer_i iface, void * context, size_t size);
}
