// Records which experts each layer visit used. The format is described in sixgig/pager/trace.py.
#pragma once

#include <cstdint>
#include <cstdio>
#include <vector>

namespace sixgig {

class RoutingTrace {
  public:
    ~RoutingTrace() { stop(); }
    bool start(const char * path, int n_experts, const std::vector<uint64_t> & expert_bytes_per_layer);
    void record(int layer, int n_tokens, const std::vector<int> & experts);
    bool stop();  // false when something could not be written

  private:
    FILE * file_ = nullptr;
    uint32_t visit_ = 0;
};

}  // namespace sixgig
