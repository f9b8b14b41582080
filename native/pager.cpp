#include "pager.h"

#include "paged_backend.h"
#include "paged_buffer.h"

namespace sixgig {

namespace {

constexpr int MAX_READERS = 64, MAX_EXPERTS = 65535;

bool lies_in_its_file(const PagedTensor & t, const WeightFiles & files) {
    if (t.part < 0 || size_t(t.part) >= files.n_parts()) return false;
    const uint64_t file_size = files.size_bytes(t.part);
    return t.size_bytes > 0 && t.size_bytes <= file_size && t.file_offset <= file_size - t.size_bytes;
}

struct Environment {
    Mutex mutex;
    std::shared_ptr<Pager> pager;
};

Environment & environment() {
    static auto * known = new Environment();  // never destroyed: exit() must not wait for readers
    return *known;
}

}  // namespace

Pager::Pager() : device(weights_device(this)), buffer_type(paged_buffer_type(this)) {}

const char * Pager::open_cache(std::vector<PagedTensor> tensors, int n_readers) {
    if (tensors.empty()) return "there is nothing to page";
    if (n_readers < 1 || n_readers > MAX_READERS) return "the number of reader threads must be from 1 to 64";
    for (size_t i = 0; i < tensors.size(); i++) {
        const PagedTensor & t = tensors[i];
        if (t.n_experts < 1 || t.n_experts > MAX_EXPERTS) return "a tensor has an impossible number of experts";
        if (t.layer < 0 || size_t(t.layer) >= tensors.size()) return "a tensor is in an impossible layer";
        if (!lies_in_its_file(t, files)) return "a tensor lies outside its file";
        if (t.size_bytes % t.n_experts != 0) return "a tensor does not divide into its experts";
        if (!by_name.emplace(t.name, int(i)).second) return "a tensor is named twice";
    }
    asked_.resize(tensors.size());
    cache = std::make_unique<ExpertCache>(files, std::move(tensors), n_readers);
    return cache->n_readers() > 0 ? nullptr : "the system grants no reader thread";
}

bool Pager::claim(const void * buffer) {
    Lock lock(computing);
    if (holder_ == nullptr) holder_ = buffer;
    return holder_ == buffer;
}

void Pager::forget(const void * buffer) {
    Lock lock(computing);
    if (holder_ != buffer) return;
    cache->forget_all();
    other_model = false;
    holder_ = nullptr;
}

void Pager::note_asked(int tensor) {
    Lock lock(asking_);
    asked_[tensor] = true;
}

const PagedTensor * Pager::first_elsewhere(bool or_asked) {
    Lock lock(asking_);
    const std::vector<PagedTensor> & all = cache->tensors();
    for (size_t i = 0; i < all.size(); i++) {
        if (!cache->is_placed(int(i)) && !(or_asked && asked_[i])) return &all[i];
    }
    return nullptr;
}

std::shared_ptr<Pager> environment_pager() {
    Lock lock(environment().mutex);
    return environment().pager;
}

void set_environment_pager(std::shared_ptr<Pager> pager) {
    Lock lock(environment().mutex);
    environment().pager = std::move(pager);
}

}  // namespace sixgig
