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
    bool compares_uploads = false;   // the loader hands over real bytes: they must be those of our files
    bool other_model = false;        // they were not; nothing may be computed
    Mutex computing;  // one expert split at a time: contexts that share the model share its cache

    // Null, or what makes it impossible to page these tensors from these files.
    const char * open_cache(std::vector<PagedTensor> tensors, int n_readers);

    int find(const void * data) const {
        const auto it = by_address.find(data);
        return it == by_address.end() ? -1 : it->second;
    }
};

// The pager whose model is being loaded now; tensors it names are placed in paged buffers. Null: stock behaviour.
std::shared_ptr<Pager> & loading_pager();
// While true, paged buffers say they are not host memory, so that the loader hands tensors over instead of reading.
bool & loading();

}  // namespace sixgig
