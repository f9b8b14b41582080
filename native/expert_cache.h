// Residency of routed experts within a byte budget: what is in memory, what is being read, what leaves.
//
// The unit of memory is a piece: one expert's slice of one tensor. The unit of policy and of counting is an expert of
// a layer: all its pieces. A piece that is pinned, or being read, is never evicted.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "policy.h"
#include "sync.h"
#include "weight_files.h"

namespace sixgig {

struct PagedTensor {
    std::string name;
    int layer = 0;           // position among the expert layers, not the model's layer number
    int part = 0;
    uint64_t file_offset = 0;
    uint64_t size_bytes = 0;
    int n_experts = 0;
    char * data = nullptr;   // set when the engine places it; agrees with file_offset modulo the page size

    uint64_t expert_bytes() const { return size_bytes / n_experts; }
};

struct Counters {
    uint64_t hits = 0, misses = 0, evictions = 0;  // experts per layer visit
    uint64_t bytes_read = 0;                       // of experts wanted or predicted, without page padding
    uint64_t visits = 0;
    uint64_t predicted = 0, predicted_useful = 0, predicted_wasted = 0;
    uint64_t resident_bytes = 0, peak_resident_bytes = 0;
    double read_s = 0;     // wall time with at least one read in flight
    double stall_s = 0;    // wall time the computation waited for reads
    double compute_s = 0;  // wall time in the CPU backend, expert splits only
};

class ExpertCache {
  public:
    ExpertCache(WeightFiles & files, std::vector<PagedTensor> tensors, int n_readers);
    ~ExpertCache();

    int n_readers() const { return int(readers_.size()); }  // those the system granted
    const std::vector<PagedTensor> & tensors() const { return tensors_; }  // where one lies: place(), is_placed()
    const std::vector<int> & layer_tensors(int layer) const { return layers_[layer]; }
    int n_layers() const { return int(layers_.size()); }
    void place(int tensor, char * data);
    bool is_placed(int tensor);
    void forget_all();  // the engine freed the memory: finish reads, evict everything

    void configure(uint64_t budget_bytes, PolicyKind kind);
    uint64_t budget_bytes();

    // A visit that fits: fetch everything, wait tensor by tensor, release.
    bool fits(int layer, const std::vector<int> & experts);
    void count_visit(int layer, const std::vector<int> & experts);
    // Pins these tensors' pieces of the experts, evicts others, queues the missing; false: no room now, nothing pinned.
    bool fetch(const std::vector<int> & tensors, const std::vector<int> & experts);
    bool ready(int tensor, const std::vector<int> & experts);    // all resident, without waiting
    bool wait(int tensor, const std::vector<int> & experts);     // false: a read failed
    void release(int tensor, const std::vector<int> & experts);  // unpins
    bool is_resident(int tensor, int expert);
    uint64_t piece_room(int tensor, int expert) const;           // page-rounded bytes of a piece

    // Reads that are only started while nothing wanted is queued or in flight.
    void prefetch(int layer, const std::vector<int> & experts);
    bool all_resident(int layer);

    Counters counters();
    void reset_counters();
    void add_compute_s(double seconds);
    bool take_failure(ReadFailure * failure);  // the last failed read, once

  private:
    enum State : uint8_t { ABSENT, QUEUED, RESIDENT };
    struct Piece {
        State state = ABSENT;
        bool pinned = false, guessed = false, urgent = false, failed = false;
        uint16_t reads_in_flight = 0;
        uint64_t next = 0;  // bytes of the piece already handed to readers
    };
    struct PieceRef { int tensor; int expert; };
    struct Read { PieceRef piece; uint64_t begin, size; bool urgent; };

    Piece & piece(PieceRef r) { return pieces_[r.tensor][r.expert]; }
    uint32_t key(int layer, int expert) const { return uint32_t(layer) * experts_per_layer_ + expert; }
    bool may_leave(uint32_t key);
    bool make_room(uint64_t bytes, bool patient);
    void evict(uint32_t key);
    void drop_piece(PieceRef r);
    void release_pages(PieceRef r);
    void queue(PieceRef r, bool urgent);
    void settle_guesses(int layer, const std::vector<int> & experts);
    bool give_up_guesses();
    bool waits_for_idle_disk(const Piece & p) const;
    bool next_read(Read * read);
    void finish_read(const Read & read, bool ok, const ReadFailure & failure);
    void reader_loop();
    static void * reader_main(void * self);

    WeightFiles & files_;
    std::vector<PagedTensor> tensors_;
    std::vector<std::vector<int>> layers_;
    std::vector<std::vector<Piece>> pieces_;
    std::vector<std::vector<int>> guessed_;  // experts read ahead for each layer, until its next visit
    uint32_t experts_per_layer_ = 0;
    uint64_t budget_bytes_ = 0, used_bytes_ = 0;
    std::unique_ptr<Policy> policy_;

    Mutex mutex_;
    Condition work_, done_;
    std::deque<PieceRef> wanted_, speculative_;
    int wanted_in_flight_ = 0, in_flight_ = 0;
    double busy_since_ = 0;
    bool stop_ = false, has_failure_ = false;
    ReadFailure failure_;
    Counters counters_;
    std::vector<pthread_t> readers_;
};

}  // namespace sixgig
