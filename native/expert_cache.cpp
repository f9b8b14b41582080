#include "expert_cache.h"

#include <sys/mman.h>

#include <algorithm>

#include "clock.h"

namespace sixgig {

namespace {

uint64_t span_room(uint64_t begin, uint64_t size) { return page_ceil(begin + size) - page_floor(begin); }

}  // namespace

ExpertCache::ExpertCache(WeightFiles & files, std::vector<PagedTensor> tensors, int n_readers)
    : files_(files), tensors_(std::move(tensors)) {
    for (size_t i = 0; i < tensors_.size(); i++) {
        const PagedTensor & t = tensors_[i];
        if (size_t(t.layer) >= layers_.size()) layers_.resize(t.layer + 1);
        layers_[t.layer].push_back(int(i));
        pieces_.emplace_back(t.n_experts);
        experts_per_layer_ = std::max(experts_per_layer_, uint32_t(t.n_experts));
    }
    guessed_.resize(layers_.size());
    configure(0, PolicyKind::LRU);
    for (int i = 0; i < n_readers; i++) {
        pthread_t reader;
        if (pthread_create(&reader, nullptr, reader_main, this) == 0) readers_.push_back(reader);
    }
}

ExpertCache::~ExpertCache() {
    {
        Lock lock(mutex_);
        stop_ = true;
        work_.notify_all();
    }
    for (pthread_t reader : readers_) pthread_join(reader, nullptr);
}

void ExpertCache::place(int tensor, char * data) {
    Lock lock(mutex_);
    tensors_[tensor].data = data;
}

bool ExpertCache::is_placed(int tensor) {
    Lock lock(mutex_);
    return tensors_[tensor].data != nullptr;
}

uint64_t ExpertCache::budget_bytes() {
    Lock lock(mutex_);
    return budget_bytes_;
}

void ExpertCache::configure(uint64_t budget_bytes, PolicyKind kind) {
    Lock lock(mutex_);
    budget_bytes_ = budget_bytes;
    policy_ = make_policy(kind, n_layers(), experts_per_layer_);
}

void ExpertCache::forget_all() {
    Lock lock(mutex_);
    wanted_.clear();
    speculative_.clear();
    while (in_flight_ > 0) done_.wait(mutex_);
    for (size_t t = 0; t < pieces_.size(); t++) {
        for (int e = 0; e < int(pieces_[t].size()); e++) {
            policy_->removed(key(tensors_[t].layer, e));
            pieces_[t][e] = Piece{};
        }
        tensors_[t].data = nullptr;
    }
    for (std::vector<int> & guesses : guessed_) guesses.clear();
    used_bytes_ = 0;
}

uint64_t ExpertCache::piece_room(int tensor, int expert) const {
    const PagedTensor & t = tensors_[tensor];
    return span_room(t.file_offset + expert * t.expert_bytes(), t.expert_bytes());
}

bool ExpertCache::fits(int layer, const std::vector<int> & experts) {
    uint64_t need = 0;
    for (int t : layers_[layer]) {
        for (int e : experts) need += piece_room(t, e);
    }
    return need <= budget_bytes();
}

void ExpertCache::count_visit(int layer, const std::vector<int> & experts) {
    Lock lock(mutex_);
    counters_.visits++;
    policy_->begin_visit(layer);
    for (int e : experts) {
        bool present = true;
        for (int t : layers_[layer]) present = present && piece({t, e}).state == RESIDENT;
        (present ? counters_.hits : counters_.misses)++;
        policy_->used(key(layer, e));
    }
    settle_guesses(layer, experts);
}

// Guesses for this layer turn out right or wrong: the right ones count, of the wrong ones nothing more is read.
void ExpertCache::settle_guesses(int layer, const std::vector<int> & experts) {
    for (int e : guessed_[layer]) {
        const bool right = std::find(experts.begin(), experts.end(), e) != experts.end();
        (right ? counters_.predicted_useful : counters_.predicted_wasted)++;
        for (int t : layers_[layer]) {
            Piece & p = piece({t, e});
            p.guessed = false;
            if (!right && waits_for_idle_disk(p)) drop_piece({t, e});
        }
    }
    guessed_[layer].clear();
}

bool ExpertCache::fetch(const std::vector<int> & tensors, const std::vector<int> & experts) {
    Lock lock(mutex_);
    uint64_t need = 0;
    for (int t : tensors) {
        for (int e : experts) {
            Piece & p = piece({t, e});
            p.pinned = true;
            if (p.state == ABSENT) need += piece_room(t, e);
        }
    }
    const bool room = make_room(need, true);
    for (int t : tensors) {
        for (int e : experts) {
            Piece & p = piece({t, e});
            if (!room) {
                p.pinned = false;
            } else if (p.state == ABSENT || (p.state == QUEUED && !p.urgent)) {
                queue({t, e}, true);
            }
        }
    }
    work_.notify_all();
    return room;
}

void ExpertCache::queue(PieceRef r, bool urgent) {
    Piece & p = piece(r);
    if (p.state == ABSENT) {
        p = Piece{};
        p.state = QUEUED;
        p.pinned = urgent;
        used_bytes_ += piece_room(r.tensor, r.expert);
        policy_->admitted(key(tensors_[r.tensor].layer, r.expert));
        counters_.resident_bytes = used_bytes_;
        counters_.peak_resident_bytes = std::max(counters_.peak_resident_bytes, used_bytes_);
    }
    p.urgent = urgent;
    (urgent ? wanted_ : speculative_).push_back(r);
}

bool ExpertCache::ready(int tensor, const std::vector<int> & experts) {
    Lock lock(mutex_);
    return std::all_of(experts.begin(), experts.end(),
                       [&](int e) { return piece({tensor, e}).state == RESIDENT; });
}

bool ExpertCache::is_resident(int tensor, int expert) { return ready(tensor, {expert}); }

bool ExpertCache::wait(int tensor, const std::vector<int> & experts) {
    const double since = now_s();
    Lock lock(mutex_);
    bool ok = true;
    for (int e : experts) {
        Piece & p = piece({tensor, e});
        while (p.state == QUEUED) done_.wait(mutex_);
        ok = ok && p.state == RESIDENT;
    }
    counters_.stall_s += now_s() - since;
    return ok;
}

void ExpertCache::release(int tensor, const std::vector<int> & experts) {
    Lock lock(mutex_);
    for (int e : experts) {
        Piece & p = piece({tensor, e});
        while (p.state == QUEUED) done_.wait(mutex_);  // a failed visit leaves no read of its own behind
        p.pinned = false;
    }
}

bool ExpertCache::may_leave(uint32_t key) {
    const int layer = key / experts_per_layer_, expert = key % experts_per_layer_;
    for (int t : layers_[layer]) {
        const Piece & p = piece({t, expert});
        if (p.state == RESIDENT && !p.pinned && !p.guessed) return true;
    }
    return false;
}

bool ExpertCache::make_room(uint64_t bytes, bool patient) {
    if (bytes > budget_bytes_) return false;
    while (used_bytes_ + bytes > budget_bytes_) {
        const int64_t victim = policy_->victim([this](uint32_t key) { return may_leave(key); });
        if (victim >= 0) {
            evict(uint32_t(victim));
        } else if (!patient) {
            return false;
        } else if (in_flight_ > wanted_in_flight_) {
            done_.wait(mutex_);  // a guessed expert is on its way in; it can leave once it has arrived
        } else if (!give_up_guesses()) {
            return false;
        }
    }
    return true;
}

// Room is needed now: no guess is protected any longer. False when there was none.
bool ExpertCache::give_up_guesses() {
    bool any = false;
    for (int layer = 0; layer < n_layers(); layer++) {
        any = any || !guessed_[layer].empty();
        settle_guesses(layer, {});
    }
    for (PieceRef r : speculative_) {
        if (!waits_for_idle_disk(piece(r))) continue;
        drop_piece(r);
        any = true;
    }
    return any;
}

bool ExpertCache::waits_for_idle_disk(const Piece & p) const {
    return p.state == QUEUED && !p.urgent && p.reads_in_flight == 0;
}

void ExpertCache::evict(uint32_t key) {
    const int layer = key / experts_per_layer_, expert = key % experts_per_layer_;
    for (int t : layers_[layer]) {
        const Piece & p = piece({t, expert});
        if (p.state == RESIDENT && !p.pinned && !p.guessed) drop_piece({t, expert});
    }
    counters_.evictions++;
}

void ExpertCache::drop_piece(PieceRef r) {
    const int layer = tensors_[r.tensor].layer;
    piece(r) = Piece{};
    release_pages(r);
    used_bytes_ -= piece_room(r.tensor, r.expert);
    counters_.resident_bytes = used_bytes_;
    for (int t : layers_[layer]) {
        if (piece({t, r.expert}).state != ABSENT) return;
    }
    policy_->removed(key(layer, r.expert));
}

// Gives the pages back; an edge page that holds bytes of another present expert stays.
void ExpertCache::release_pages(PieceRef r) {
    const PagedTensor & t = tensors_[r.tensor];
    const uintptr_t base = uintptr_t(t.data), size = t.expert_bytes();
    const auto held = [&](uintptr_t page) {
        const uintptr_t first = page > base ? (page - base) / size : 0, last = (page + PAGE_BYTES - 1 - base) / size;
        for (uintptr_t e = first; e <= last && e < uintptr_t(t.n_experts); e++) {
            if (pieces_[r.tensor][e].state != ABSENT) return true;
        }
        return false;
    };
    uintptr_t from = page_floor(base + r.expert * size), to = page_ceil(base + (r.expert + 1) * size);
    if (held(from)) from += PAGE_BYTES;
    if (from < to && held(to - PAGE_BYTES)) to -= PAGE_BYTES;
    if (from < to) madvise(reinterpret_cast<void *>(from), to - from, MADV_DONTNEED);
}

void ExpertCache::prefetch(int layer, const std::vector<int> & experts) {
    Lock lock(mutex_);
    for (int e : experts) {
        bool queued = false;
        for (int t : layers_[layer]) {
            if (piece({t, e}).state != ABSENT || !make_room(piece_room(t, e), false)) continue;
            queue({t, e}, false);
            piece({t, e}).guessed = queued = true;
        }
        if (!queued) continue;
        guessed_[layer].push_back(e);
        counters_.predicted++;
    }
    work_.notify_all();
}

bool ExpertCache::all_resident(int layer) {
    Lock lock(mutex_);
    for (int t : layers_[layer]) {
        for (const Piece & p : pieces_[t]) {
            if (p.state != RESIDENT) return false;
        }
    }
    return true;
}

Counters ExpertCache::counters() {
    Lock lock(mutex_);
    Counters c = counters_;
    if (in_flight_ > 0) c.read_s += now_s() - busy_since_;
    return c;
}

void ExpertCache::reset_counters() {
    Lock lock(mutex_);
    const uint64_t resident = used_bytes_;
    counters_ = Counters{};
    counters_.resident_bytes = counters_.peak_resident_bytes = resident;
    busy_since_ = now_s();
}

void ExpertCache::add_compute_s(double seconds) {
    Lock lock(mutex_);
    counters_.compute_s += seconds;
}

bool ExpertCache::take_failure(ReadFailure * failure) {
    Lock lock(mutex_);
    if (!has_failure_) return false;
    *failure = failure_;
    has_failure_ = false;
    return true;
}

}  // namespace sixgig
