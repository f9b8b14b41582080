// One model's paging: its files, its cache, its routers for prediction, its routing trace.
#pragma once

#include <cstdio>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "expert_cache.h"
#include "router_guess.h"
#include "routing_trace.h"

namespace sixgig {

struct Pager {
    WeightFiles files;
    std::unique_ptr<ExpertCache> cache;
    std::unordered_map<std::string, int> by_name;        // tensor name -> index, used while loading only
    std::unordered_map<const void *, int> by_address;    // tensor data -> index, used when computing
    RouterGuess guess;
    RoutingTrace trace;
    bool foreign_loader = false;     // the program loads by itself: it hands over real bytes, which must be those of our files
    bool other_model = false;        // they were not; nothing may be computed
    Mutex computing;  // one expert split at a time: contexts that share the model share its cache

    // Null, or what makes it impossible to page these tensors from these files.
    const char * open_cache(std::vector<PagedTensor> tensors, int n_readers);

    int find(const void * data) const {
        const auto it = by_address.find(data);
        return it == by_address.end() ? -1 : it->second;
    }

    // While a model is only measured, the loader asks where its tensors would go and places none of them.
    void note_asked(int tensor) { asked_[tensor] = true; }
    void place(int tensor, char * data);
    bool is_placed() const { return !by_address.empty(); }
    void forget_places();  // the engine freed their memory

    // The first announced tensor that has no place here; null when all have. or_asked: it is enough that it would get one.
    const PagedTensor * first_elsewhere(bool or_asked) const;

  private:
    std::vector<char> asked_;
};

// The pager whose tensors the loader is told to place in paged buffers. Null: stock behaviour. Belongs to Python's call that
// loads, or to the whole life of a program that is not ours: it may load twice, the first time only to measure.
std::shared_ptr<Pager> announced_pager();
void announce(std::shared_ptr<Pager> pager);

}  // namespace sixgig
