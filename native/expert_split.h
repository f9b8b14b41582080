// Computes the parts of a graph that use routed experts: makes the chosen experts resident, then hands the same nodes
// to ggml's own CPU backend. The arithmetic is ggml's, so the result equals that of the library without us.
#pragma once

#include <vector>

#include "ggml_abi.h"
#include "pager.h"

namespace sixgig {

constexpr size_t GROUP_SCRATCH_BYTES = 16 << 20;  // rows copied together for one group, unless one expert needs more

class ExpertSplit {
  public:
    ExpertSplit();
    ~ExpertSplit();
    void set_n_threads(int n_threads);
    void set_abort_callback(ggml_abort_callback callback, void * data);
    ggml_status compute(ggml_cgraph & graph);

    struct Row { int64_t slot, token; };  // one of a token's chosen experts

  private:
    // One layer's nodes [begin, end) that share a router's choice.
    struct Visit {
        Pager * pager;
        int layer, begin, end, n_tokens, n_used;
        const ggml_tensor * input;  // of the first product
        std::vector<int> experts;   // chosen by any token, in order of first use
    };

    Visit collect_visit(const ggml_cgraph & graph, int begin) const;
    ggml_status run_visit(ggml_cgraph & graph, const Visit & visit);
    ggml_status run_whole(ggml_cgraph & graph, const Visit & visit);
    ggml_status run_in_groups(ggml_cgraph & graph, const Visit & visit);
    ggml_status multiply_in_groups(const Visit & visit, ggml_tensor * product, int tensor);
    ggml_status multiply_group(ggml_tensor * product, const std::vector<int> & group,
                               const std::vector<std::vector<Row>> & rows_by_expert);
    void prefetch_next_layer(const Visit & visit);
    ggml_status run_nodes(ggml_cgraph & graph, int begin, int end);
    ggml_status run_on_cpu(Pager & pager, ggml_cgraph & graph, int begin, int end);

    bool aborted() const { return abort_callback_ != nullptr && abort_callback_(abort_data_); }

    ggml_backend * cpu_;
    ggml_abort_callback abort_callback_ = nullptr;
    void * abort_data_ = nullptr;
    std::vector<float> input_rows_, output_rows_;
    std::vector<int32_t> row_experts_;
};

}  // namespace sixgig
