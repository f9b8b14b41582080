#include "paged_buffer.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <unordered_map>

#include "paged_backend.h"

namespace sixgig {

namespace {

constexpr size_t TENSOR_ALIGNMENT = PAGE_BYTES;

// What is computed and the factors of an adapter live in such memory too: untouched pages cost nothing, touched ones are
// ordinary memory. Only tensors that were announced as experts are paged.
struct Region {
    std::shared_ptr<Pager> pager;  // null: what is computed
    void * base;
    size_t size;
    std::unordered_map<const void *, int> experts;  // address -> index; written by the load alone, before all else
};

// Regions that hold paged weights now: the kernel's advice is for the whole process, whichever load asks for it.
struct Regions {
    Mutex mutex;
    std::vector<Region *> all;
};

Regions & regions() {
    static auto * known = new Regions();  // never destroyed: buffers may be freed during exit()
    return *known;
}

Region & region(ggml_backend_buffer * buffer) { return *static_cast<Region *>(buffer->context); }

Pager & pager_of(const ggml_backend_buffer_type * type) { return *static_cast<Pager *>(type->context); }

int announced_index(const Pager & pager, const ggml_tensor * tensor) {
    if (tensor->op != GGML_OP_NONE || tensor->view_src != nullptr) return -1;
    const auto it = pager.by_name.find(tensor->name);
    return it == pager.by_name.end() ? -1 : it->second;
}

void free_region(ggml_backend_buffer * buffer) {
    Region * r = &region(buffer);
    if (!r->experts.empty()) {
        r->pager->forget(r);
        Lock known(regions().mutex);
        std::vector<Region *> & all = regions().all;
        all.erase(std::remove(all.begin(), all.end(), r), all.end());
    }
    munmap(r->base, r->size);
    delete r;
}

void * region_base(ggml_backend_buffer * buffer) { return region(buffer).base; }

void hand_over(Region & r) {
    Lock known(regions().mutex);
#ifdef MADV_NOHUGEPAGE
    madvise(r.base, r.size, MADV_NOHUGEPAGE);  // a huge page would hold experts that the budget does not count
#endif
    regions().all.push_back(&r);
}

// Why an announced tensor cannot be placed in a region; null when it can.
const char * problem_of(const Region & r, const PagedTensor & paged, const ggml_tensor * tensor) {
    if (ggml_nbytes(tensor) != paged.size_bytes) return "has another size than in the file that was announced";
    return r.pager->claim(&r) ? nullptr : "is in use by another model of this process already";
}

// Shifts an expert tensor so that its address agrees with its file offset modulo the page size: direct I/O then reads
// straight into place.
ggml_status place_tensor(ggml_backend_buffer * buffer, ggml_tensor * tensor) {
    Region & r = region(buffer);
    const int index = announced_index(*r.pager, tensor);
    if (index < 0) return GGML_STATUS_SUCCESS;
    const PagedTensor & paged = r.pager->cache->tensors()[index];
    if (const char * problem = problem_of(r, paged, tensor)) {
        std::fprintf(stderr, "sixgig: not loaded: the expert tensor %s %s\n", tensor->name, problem);
        return GGML_STATUS_FAILED;
    }
    if (r.experts.empty()) hand_over(r);
    tensor->data = static_cast<char *>(tensor->data) + paged.file_offset % PAGE_BYTES;
    r.experts[tensor->data] = index;
    r.pager->cache->place(index, static_cast<char *>(tensor->data));
    return GGML_STATUS_SUCCESS;
}

void memset_tensor(ggml_backend_buffer *, ggml_tensor * tensor, uint8_t value, size_t offset, size_t size) {
    if (find_paged(tensor).tensor < 0) std::memset(static_cast<char *>(tensor->data) + offset, value, size);
}

// A program that loads the model by itself may have been given another file than the one we page from.
void compare_upload(Pager & pager, const PagedTensor & t, const void * data, size_t offset, size_t size) {
    char ours[512];
    const size_t n = std::min(size, sizeof ours);
    ReadFailure failure;
    const bool read = pager.files.read_buffered(t.part, t.file_offset + offset, n, ours, &failure);
    if ((read && std::memcmp(ours, data, n) == 0) || pager.other_model.exchange(true)) return;
    std::fprintf(stderr, "sixgig: error: not the model that was announced: %s has other bytes\n", t.name.c_str());
}

void set_tensor(ggml_backend_buffer *, ggml_tensor * tensor, const void * data, size_t offset, size_t size) {
    const PagedWeight paged = find_paged(tensor);
    if (paged.tensor < 0) {
        std::memcpy(static_cast<char *>(tensor->data) + offset, data, size);
    } else if (paged.pager->foreign_loader) {
        compare_upload(*paged.pager, paged.pager->cache->tensors()[paged.tensor], data, offset, size);
    }
}

void get_tensor(ggml_backend_buffer *, const ggml_tensor * tensor, void * data, size_t offset, size_t size) {
    const PagedWeight paged = find_paged(tensor);
    if (paged.tensor < 0) {
        std::memcpy(data, static_cast<const char *>(tensor->data) + offset, size);
        return;
    }
    const PagedTensor & t = paged.pager->cache->tensors()[paged.tensor];
    ReadFailure failure;  // an unreadable weight reads as zeros here; no computation passes this way
    if (!paged.pager->files.read_buffered(t.part, t.file_offset + offset, size, static_cast<char *>(data), &failure)) {
        std::memset(data, 0, size);
    }
}

void clear_region(ggml_backend_buffer * buffer, uint8_t value) {
    if (region(buffer).experts.empty()) std::memset(region(buffer).base, value, region(buffer).size);
}

const char * paged_name(ggml_backend_buffer_type *) { return PAGED_BUFFER; }
const char * scratch_name(ggml_backend_buffer_type *) { return "SIXGIG"; }

ggml_backend_buffer * alloc_region(ggml_backend_buffer_type * type, size_t size) {
    std::shared_ptr<Pager> pager = is_paged(type) ? pager_of(type).shared_from_this() : nullptr;
    void * base = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) return nullptr;
    ggml_backend_buffer_i iface{};
    iface.free_buffer = free_region;
    iface.get_base = region_base;
    iface.init_tensor = pager != nullptr ? place_tensor : nullptr;
    iface.memset_tensor = memset_tensor;
    iface.set_tensor = set_tensor;
    iface.get_tensor = get_tensor;
    iface.clear = clear_region;
    return ggml_backend_buffer_init(type, iface, new Region{std::move(pager), base, size, {}}, size);
}

size_t alignment(ggml_backend_buffer_type *) { return TENSOR_ALIGNMENT; }

// Room to shift an expert tensor by less than a page, and to read whole pages at its end.
size_t alloc_size(ggml_backend_buffer_type * type, const ggml_tensor * tensor) {
    const bool paged = announced_index(pager_of(type), tensor) >= 0;
    return ggml_nbytes(tensor) + (paged ? 2 * PAGE_BYTES : 0);
}

bool is_host(ggml_backend_buffer_type *) { return true; }
bool is_not_host(ggml_backend_buffer_type *) { return false; }  // the loader hands tensors over instead of reading into them

}  // namespace

// Under the lock: a region that is handed over meanwhile is advised against it afterwards.
void advise_unless_paged(uintptr_t begin, uintptr_t end, int advice) {
    Lock known(regions().mutex);
    const bool paged = std::any_of(regions().all.begin(), regions().all.end(), [&](const Region * r) {
        return uintptr_t(r->base) < end && begin < uintptr_t(r->base) + r->size;
    });
    if (!paged) madvise(reinterpret_cast<void *>(begin), end - begin, advice);
}

bool is_paged(const ggml_backend_buffer_type * type) { return type->iface.get_name == paged_name; }

PagedWeight find_paged(const ggml_tensor * weight) {
    if (weight == nullptr || weight->buffer == nullptr || !is_paged(weight->buffer->buft)) return {nullptr, -1};
    if (weight->buffer->context == nullptr) return {nullptr, announced_index(pager_of(weight->buffer->buft), weight)};
    const Region & r = region(weight->buffer);
    const auto it = r.experts.find(weight->data);
    return it == r.experts.end() ? PagedWeight{nullptr, -1} : PagedWeight{r.pager.get(), it->second};
}

ggml_backend_buffer_type paged_buffer_type(Pager * pager) {
    return {{paged_name, alloc_region, nullptr, alignment, nullptr, alloc_size, nullptr, is_not_host}, &pager->device, pager};
}

ggml_backend_buffer_type * scratch_buffer_type() {
    static ggml_backend_buffer_type type = {
        {scratch_name, alloc_region, nullptr, alignment, nullptr, nullptr, nullptr, is_host}, computing_device(), nullptr};
    return &type;
}

}  // namespace sixgig
