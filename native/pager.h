// One model's paging: its files, its cache, its routers for prediction, its routing trace; and the device and buffer type
// that one load of it puts its experts into. Two pagers share nothing.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "expert_cache.h"
#include "ggml_abi.h"
#include "router_guess.h"
#include "routing_trace.h"

namespace sixgig {

struct Pager : std::enable_shared_from_this<Pager> {
    Pager();
    Pager(const Pager &) = delete;
    Pager & operator=(const Pager &) = delete;

    ggml_backend_device device;
    ggml_backend_buffer_type buffer_type;
    WeightFiles files;
    std::unique_ptr<ExpertCache> cache;
    std::unordered_map<std::string, int> by_name;  // tensor name -> index
    bool foreign_loader = false;  // the program loads by itself: it hands over real bytes, which must be those of our files
    std::atomic<bool> other_model{false};  // they were not; nothing may be computed
    Mutex computing;  // one expert split at a time: contexts that share the model share its cache, guess and trace
    RouterGuess guess;
    RoutingTrace trace;

    // Null, or what makes it impossible to page these tensors from these files.
    const char * open_cache(std::vector<PagedTensor> tensors, int n_readers);

    // The experts lie in one buffer at a time: false when it is another than `buffer`.
    bool claim(const void * buffer);
    void forget(const void * buffer);  // the engine frees it

    // While a model is only measured, the loader asks where its tensors would go and places none of them.
    void note_asked(int tensor);

    // The first announced tensor that has no place here; null when all have. or_asked: it is enough that it would get one.
    const PagedTensor * first_elsewhere(bool or_asked);

  private:
    const void * holder_ = nullptr;  // the buffer; under `computing`
    Mutex asking_;
    std::vector<char> asked_;
};

// What a program that is not ours was told to page, for all its life: it may load twice, the first time only to measure.
// Null without one. It has no way to name a buffer type for a load, so this pager's device is the one that is registered.
std::shared_ptr<Pager> environment_pager();
void set_environment_pager(std::shared_ptr<Pager> pager);  // before the registry's device is asked for

}  // namespace sixgig
