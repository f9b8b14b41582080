#include "pager.h"

namespace sixgig {

namespace {

constexpr int MAX_READERS = 64, MAX_EXPERTS = 65535;

bool lies_in_its_file(const PagedTensor & t, const WeightFiles & files) {
    if (t.part < 0 || size_t(t.part) >= files.n_parts()) return false;
    const uint64_t file_size = files.size_bytes(t.part);
    return t.size_bytes > 0 && t.size_bytes <= file_size && t.file_offset <= file_size - t.size_bytes;
}

struct Announcement {
    Mutex mutex;
    std::shared_ptr<Pager> pager;
};

Announcement & announcement() {
    static auto * current = new Announcement();  // never destroyed: exit() must not wait for readers
    return *current;
}

}  // namespace

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

void Pager::place(int tensor, char * data) {
    cache->place(tensor, data);
    by_address[data] = tensor;
}

void Pager::forget_places() {
    cache->forget_all();
    by_address.clear();
    other_model = false;
}

const PagedTensor * Pager::first_elsewhere(bool or_asked) const {
    const std::vector<PagedTensor> & all = cache->tensors();
    for (size_t i = 0; i < all.size(); i++) {
        if (all[i].data == nullptr && !(or_asked && asked_[i])) return &all[i];
    }
    return nullptr;
}

std::shared_ptr<Pager> announced_pager() {
    Lock lock(announcement().mutex);
    return announcement().pager;
}

void announce(std::shared_ptr<Pager> pager) {
    Lock lock(announcement().mutex);
    announcement().pager = std::move(pager);
}

}  // namespace sixgig
