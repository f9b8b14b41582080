#include "paged_buffer.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "paged_backend.h"

namespace sixgig {

namespace {

constexpr size_t TENSOR_ALIGNMENT = PAGE_BYTES;

// What is computed and the factors of an adapter live in such memory too: untouched pages cost nothing, touched ones are
// ordinary memory. Only tensors that were announced as experts are paged.
struct Region {
    std::shared_ptr<Pager> pager;  // null until an announced expert is placed here
    void * base;
    size_t size;
};

// Regions that hold paged weights now.
struct Regions {
    Mutex mutex;
    std::vector<Region *> all;
};

Regions & regions() {
    static auto * known = new Regions();  // never destroyed: buffers may be freed during exit()
    return *known;
}

Region & region(ggml_backend_buffer * buffer) { return *static_cast<Region *>(buffer->context); }

int announced_index(const Pager * pager, const ggml_tensor * tensor) {
    if (pager == nullptr || tensor->op != GGML_OP_NONE || tensor->view_src != nullptr) return -1;
    const auto it = pager->by_name.find(tensor->name);
    return it == pager->by_name.end() ? -1 : it->second;
}

void free_region(ggml_backend_buffer * buffer) {
    Region * r = &region(buffer);
    if (r->pager) {
        Lock lock(r->pager->computing);
        r->pager->forget_places();
        Lock known(regions().mutex);
        std::vector<Region *> & all = regions().all;
        all.erase(std::remove(all.begin(), all.end(), r), all.end());
    }
    munmap(r->base, r->size);
    delete r;
}

void * region_base(ggml_backend_buffer * buffer) { return region(buffer).base; }

void hand_over(Region & r, std::shared_ptr<Pager> pager) {
    r.pager = std::move(pager);
#ifdef MADV_NOHUGEPAGE
    madvise(r.base, r.size, MADV_NOHUGEPAGE);  // a huge page would hold experts that the budget does not count
#endif
    Lock known(regions().mutex);
    regions().all.push_back(&r);
}

// Why an announced tensor cannot be placed in a region; null when it can.
const char * problem_of(const Region & r, const Pager & pager, const PagedTensor & paged, const ggml_tensor * tensor) {
    if (ggml_nbytes(tensor) != paged.size_bytes) return "has another size than in the file that was announced";
    if (!r.pager && pager.is_placed()) return "is in use by another model of this process already";
    return nullptr;
}

// Shifts an expert tensor so that its address agrees with its file offset modulo the page size: direct I/O then reads
// straight into place.
ggml_status place_tensor(ggml_backend_buffer * buffer, ggml_tensor * tensor) {
    const std::shared_ptr<Pager> pager = announced_pager();
    const int index = announced_index(pager.get(), tensor);
    if (index < 0) return GGML_STATUS_SUCCESS;
    const PagedTensor & paged = pager->cache->tensors()[index];
    if (const char * problem = problem_of(region(buffer), *pager, paged, tensor)) {
        std::fprintf(stderr, "sixgig: not loaded: the expert tensor %s %s\n", tensor->name, problem);
        return GGML_STATUS_FAILED;
    }
    if (!region(buffer).pager) hand_over(region(buffer), pager);
    tensor->data = static_cast<char *>(tensor->data) + paged.file_offset % PAGE_BYTES;
    pager->place(index, static_cast<char *>(tensor->data));
    return GGML_STATUS_SUCCESS;
}

bool is_paged(const ggml_tensor * tensor) { return find_paged(tensor).tensor >= 0; }

void memset_tensor(ggml_backend_buffer *, ggml_tensor * tensor, uint8_t value, size_t offset, size_t size) {
    if (!is_paged(tensor)) std::memset(static_cast<char *>(tensor->data) + offset, value, size);
}

// A program that loads the model by itself may have been given another file than the one we page from.
void compare_upload(Pager & pager, const PagedTensor & t, const void * data, size_t offset, size_t size) {
    char ours[512];
    const size_t n = std::min(size, sizeof ours);
    ReadFailure failure;
    const bool read = pager.files.read_buffered(t.part, t.file_offset + offset, n, ours, &failure);
    if ((read && std::memcmp(ours, data, n) == 0) || pager.other_model) return;
    pager.other_model = true;
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
    if (!region(buffer).pager) std::memset(region(buffer).base, value, region(buffer).size);
}

const char * paged_name(ggml_backend_buffer_type *) { return "SIXGIG_PAGED"; }
const char * scratch_name(ggml_backend_buffer_type *) { return "SIXGIG"; }

ggml_backend_buffer * alloc_region(ggml_backend_buffer_type * type, size_t size) {
    void * base = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) return nullptr;
    ggml_backend_buffer_i iface{};
    iface.free_buffer = free_region;
    iface.get_base = region_base;
    iface.init_tensor = type == paged_buffer_type() ? place_tensor : nullptr;
    iface.memset_tensor = memset_tensor;
    iface.set_tensor = set_tensor;
    iface.get_tensor = get_tensor;
    iface.clear = clear_region;
    return ggml_backend_buffer_init(type, iface, new Region{nullptr, base, size}, size);
}

size_t alignment(ggml_backend_buffer_type *) { return TENSOR_ALIGNMENT; }

// Room to shift an expert tensor by less than a page, and to read whole pages at its end.
size_t alloc_size(ggml_backend_buffer_type *, const ggml_tensor * tensor) {
    const bool paged = announced_index(announced_pager().get(), tensor) >= 0;
    return ggml_nbytes(tensor) + (paged ? 2 * PAGE_BYTES : 0);
}

bool is_host(ggml_backend_buffer_type *) { return true; }
bool is_not_host(ggml_backend_buffer_type *) { return false; }  // the loader hands tensors over instead of reading into them

}  // namespace

bool overlaps_paged_region(uintptr_t begin, uintptr_t end) {
    Lock known(regions().mutex);
    return std::any_of(regions().all.begin(), regions().all.end(), [&](const Region * r) {
        return uintptr_t(r->base) < end && begin < uintptr_t(r->base) + r->size;
    });
}

PagedWeight find_paged(const ggml_tensor * weight) {
    if (weight == nullptr || weight->buffer == nullptr || weight->buffer->buft != paged_buffer_type()) return {nullptr, -1};
    if (weight->buffer->context == nullptr) {
        const std::shared_ptr<Pager> pager = announced_pager();
        return {nullptr, announced_index(pager.get(), weight)};
    }
    Pager * pager = region(weight->buffer).pager.get();
    return {pager, pager == nullptr ? -1 : pager->find(weight->data)};
}

ggml_backend_buffer_type * paged_buffer_type() {
    static ggml_backend_buffer_type type = {
        {paged_name, alloc_region, nullptr, alignment, nullptr, alloc_size, nullptr, is_not_host}, paged_device(), nullptr};
    return &type;
}

ggml_backend_buffer_type * scratch_buffer_type() {
    static ggml_backend_buffer_type type = {
        {scratch_name, alloc_region, nullptr, alignment, nullptr, nullptr, nullptr, is_host}, paged_device(), nullptr};
    return &type;
}

}  // namespace sixgig
