#include "expert_split.h"

#include <algorithm>

#include "clock.h"
#include "ops.h"
#include "paged_buffer.h"

namespace sixgig {

namespace {

constexpr int MAX_PREDICTED_TOKENS = 4;  // a prompt needs nearly every expert anyway

int32_t chosen(const ggml_tensor * ids, int64_t slot, int64_t token) {
    return *reinterpret_cast<const int32_t *>(static_cast<const char *>(ids->data) + token * ids->nb[1] + slot * ids->nb[0]);
}

// Experts chosen in ids: [n_used, n_tokens], each once, in order of first use.
std::vector<int> unique_experts(const ggml_tensor * ids, int n_experts) {
    std::vector<bool> seen(n_experts);
    std::vector<int> experts;
    for (int64_t token = 0; token < ids->ne[1]; token++) {
        for (int64_t slot = 0; slot < ids->ne[0]; slot++) {
            const int e = chosen(ids, slot, token);
            if (seen[e]) continue;
            seen[e] = true;
            experts.push_back(e);
        }
    }
    return experts;
}

template <class Function> Function cpu_function(ggml_backend * cpu, const char * name) {
    return reinterpret_cast<Function>(ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(cpu->device), name));
}

}  // namespace

ExpertSplit::ExpertSplit()
    : cpu_(ggml_backend_dev_init(ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU), nullptr)) {}

ExpertSplit::~ExpertSplit() { ggml_backend_free(cpu_); }

void ExpertSplit::set_n_threads(int n_threads) {
    using SetThreads = void (*)(ggml_backend *, int);
    if (auto f = cpu_function<SetThreads>(cpu_, "ggml_backend_set_n_threads")) f(cpu_, n_threads);
}

void ExpertSplit::set_abort_callback(ggml_abort_callback callback, void * data) {
    using SetAbort = void (*)(ggml_backend *, ggml_abort_callback, void *);
    abort_callback_ = callback;
    abort_data_ = data;
    if (auto f = cpu_function<SetAbort>(cpu_, "ggml_backend_set_abort_callback")) f(cpu_, callback, data);
}

ggml_status ExpertSplit::compute(ggml_cgraph & graph) {
    int plain_from = 0;
    for (int i = 0; i < graph.n_nodes;) {
        const bool product = graph.nodes[i]->op == ops().mul_mat_id;
        Pager * pager = product ? find_paged(graph.nodes[i]->src[0]).pager : nullptr;
        if (pager == nullptr) {
            i++;
            continue;
        }
        ggml_status status = run_nodes(graph, plain_from, i);
        if (status != GGML_STATUS_SUCCESS) return status;
        Lock lock(pager->computing);
        if (pager->other_model) return GGML_STATUS_FAILED;
        if (aborted()) return GGML_STATUS_ABORTED;
        const Visit visit = collect_visit(graph, i);
        status = run_visit(graph, visit);
        if (status != GGML_STATUS_SUCCESS) return status;
        i = plain_from = visit.end;
    }
    return run_nodes(graph, plain_from, graph.n_nodes);
}

ExpertSplit::Visit ExpertSplit::collect_visit(const ggml_cgraph & graph, int begin) const {
    const ggml_tensor * first = graph.nodes[begin];
    const ggml_tensor * ids = first->src[2];
    const PagedWeight weight = find_paged(first->src[0]);
    const PagedTensor & tensor = weight.pager->cache->tensors()[weight.tensor];
    Visit visit{weight.pager, tensor.layer, begin, begin + 1, int(ids->ne[1]), int(ids->ne[0]), first->src[1],
                unique_experts(ids, tensor.n_experts)};
    for (int i = begin + 1; i < graph.n_nodes; i++) {
        const ggml_tensor * node = graph.nodes[i];
        if (node->op != ops().mul_mat_id) continue;
        const PagedWeight other = find_paged(node->src[0]);
        if (other.pager == nullptr) continue;
        if (node->src[2]->data != ids->data || other.pager->cache->tensors()[other.tensor].layer != visit.layer) break;
        visit.end = i + 1;
    }
    return visit;
}

ggml_status ExpertSplit::run_visit(ggml_cgraph & graph, const Visit & visit) {
    Pager & pager = *visit.pager;
    pager.trace.record(visit.layer, visit.n_tokens, visit.experts);
    pager.cache->count_visit(visit.layer, visit.experts);
    return pager.cache->fits(visit.layer, visit.experts) ? run_whole(graph, visit) : run_in_groups(graph, visit);
}

// All experts of the visit fit: queue every read at once, and compute each product as soon as its experts are in.
ggml_status ExpertSplit::run_whole(ggml_cgraph & graph, const Visit & visit) {
    ExpertCache & cache = *visit.pager->cache;
    const std::vector<int> & tensors = cache.layer_tensors(visit.layer);
    bool ok = cache.fetch(tensors, visit.experts);
    if (ok) prefetch_next_layer(visit);
    ggml_status status = ok ? GGML_STATUS_SUCCESS : GGML_STATUS_FAILED;
    int from = visit.begin;
    for (int i = visit.begin; ok && status == GGML_STATUS_SUCCESS && i < visit.end; i++) {
        const ggml_tensor * node = graph.nodes[i];
        if (node->op != ops().mul_mat_id) continue;
        const int tensor = find_paged(node->src[0]).tensor;
        if (tensor < 0 || cache.ready(tensor, visit.experts)) continue;
        status = run_on_cpu(*visit.pager, graph, from, i);  // while the reads go on
        from = i;
        ok = cache.wait(tensor, visit.experts);
    }
    if (ok && status == GGML_STATUS_SUCCESS) status = run_on_cpu(*visit.pager, graph, from, visit.end);
    for (int t : tensors) cache.release(t, visit.experts);
    return ok ? status : GGML_STATUS_FAILED;
}

// The visit needs more experts at once than the budget holds: node by node, the experts of one product in groups.
ggml_status ExpertSplit::run_in_groups(ggml_cgraph & graph, const Visit & visit) {
    for (int i = visit.begin; i < visit.end; i++) {
        ggml_tensor * node = graph.nodes[i];
        const int tensor = node->op == ops().mul_mat_id ? find_paged(node->src[0]).tensor : -1;
        const ggml_status status =
            tensor < 0 ? run_on_cpu(*visit.pager, graph, i, i + 1) : multiply_in_groups(visit, node, tensor);
        if (status != GGML_STATUS_SUCCESS) return status;
    }
    return GGML_STATUS_SUCCESS;
}

// The next layer's router, applied to this layer's input, names most of the next layer's experts.
void ExpertSplit::prefetch_next_layer(const Visit & visit) {
    Pager & pager = *visit.pager;
    const int next = visit.layer + 1;
    if (visit.n_tokens > MAX_PREDICTED_TOKENS || visit.input->ne[1] != 1 || !pager.guess.knows(next)) return;
    if (pager.cache->all_resident(next)) return;
    for (int token = 0; token < visit.n_tokens; token++) {
        const auto * x = reinterpret_cast<const float *>(static_cast<const char *>(visit.input->data) + token * visit.input->nb[2]);
        pager.cache->prefetch(next, pager.guess.guess(next, x, int(visit.input->ne[0]), visit.n_used));
    }
}

ggml_status ExpertSplit::run_on_cpu(Pager & pager, ggml_cgraph & graph, int begin, int end) {
    const double since = now_s();
    const ggml_status status = run_nodes(graph, begin, end);
    pager.cache->add_compute_s(now_s() - since);
    return status;
}

ggml_status ExpertSplit::run_nodes(ggml_cgraph & graph, int begin, int end) {
    if (begin >= end) return GGML_STATUS_SUCCESS;
    ggml_cgraph part = graph;
    part.nodes += begin;
    part.n_nodes = end - begin;
    part.uid = 0;
    return ggml_backend_graph_compute(cpu_, &part);
}

}  // namespace sixgig
