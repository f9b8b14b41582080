// A product whose experts do not fit the budget at once: group by group. All rows of an expert stay together and each
// row's arithmetic is ggml's own, so the result is the same to the last bit.
#include <algorithm>
#include <cstring>

#include "clock.h"
#include "expert_split.h"
#include "ops.h"

namespace sixgig {

namespace {

using Row = ExpertSplit::Row;

int32_t chosen(const ggml_tensor * ids, const Row & row) {
    return *reinterpret_cast<const int32_t *>(static_cast<const char *>(ids->data) + row.token * ids->nb[1] + row.slot * ids->nb[0]);
}

std::vector<std::vector<Row>> rows_by_expert(const ggml_tensor * ids, int n_experts) {
    std::vector<std::vector<Row>> rows(n_experts);
    for (Row row{0, 0}; row.token < ids->ne[1]; row.token++) {
        for (row.slot = 0; row.slot < ids->ne[0]; row.slot++) rows[chosen(ids, row)].push_back(row);
    }
    return rows;
}

ggml_tensor plain_tensor(ggml_type type, void * data, size_t element_bytes, int64_t ne0, int64_t ne1, int64_t ne2) {
    ggml_tensor t{};
    t.type = type;
    t.data = data;
    const int64_t ne[4] = {ne0, ne1, ne2, 1};
    size_t stride = element_bytes;
    for (int i = 0; i < 4; i++) {
        t.ne[i] = ne[i];
        t.nb[i] = stride;
        stride *= ne[i];
    }
    return t;
}

}  // namespace

// Groups hold at most half the budget, so that the next group is read while this one is computed.
ggml_status ExpertSplit::multiply_in_groups(const Visit & visit, ggml_tensor * product, int tensor) {
    ExpertCache & cache = *visit.pager->cache;
    const auto rows = rows_by_expert(product->src[2], int(product->src[0]->ne[2]));
    const size_t row_bytes = (product->src[1]->ne[0] + product->ne[0]) * sizeof(float);
    std::vector<int> order = visit.experts;  // resident experts first: reading the others may push them out
    std::stable_partition(order.begin(), order.end(), [&](int e) { return cache.is_resident(tensor, e); });
    std::vector<std::vector<int>> groups;
    uint64_t group_room = 0, group_scratch = 0;
    for (int e : order) {
        const uint64_t room = cache.piece_room(tensor, e), scratch = rows[e].size() * row_bytes;
        const bool full = group_room + room > cache.budget_bytes() / 2 || group_scratch + scratch > GROUP_SCRATCH_BYTES;
        if (groups.empty() || full) {
            groups.emplace_back();
            group_room = group_scratch = 0;
        }
        groups.back().push_back(e);
        group_room += room;
        group_scratch += scratch;
    }
    bool fetched = cache.fetch({tensor}, groups[0]);
    for (size_t g = 0; g < groups.size(); g++) {
        const bool have = fetched || cache.fetch({tensor}, groups[g]);
        const bool more = g + 1 < groups.size();
        fetched = have && more && cache.fetch({tensor}, groups[g + 1]);
        const bool arrived = have && cache.wait(tensor, groups[g]);
        const double since = now_s();
        ggml_status status = arrived ? multiply_group(product, groups[g], rows) : GGML_STATUS_FAILED;
        if (status == GGML_STATUS_SUCCESS && aborted()) status = GGML_STATUS_ABORTED;
        cache.add_compute_s(now_s() - since);
        if (have) cache.release(tensor, groups[g]);
        if (status == GGML_STATUS_SUCCESS) continue;
        if (fetched) cache.release(tensor, groups[g + 1]);
        return status;
    }
    return GGML_STATUS_SUCCESS;
}

// Gathers the group's rows, multiplies them as one product of [K, 1, m] with ids [1, m], scatters the results.
ggml_status ExpertSplit::multiply_group(ggml_tensor * product, const std::vector<int> & group,
                                        const std::vector<std::vector<Row>> & rows_by_expert) {
    const ggml_tensor * input = product->src[1];
    const int64_t k = input->ne[0], n = product->ne[0];
    std::vector<Row> rows;
    row_experts_.clear();
    for (int e : group) {
        rows.insert(rows.end(), rows_by_expert[e].begin(), rows_by_expert[e].end());
        row_experts_.resize(rows.size(), e);
    }
    const int64_t m = int64_t(rows.size());
    input_rows_.resize(k * m);
    output_rows_.resize(n * m);
    for (int64_t i = 0; i < m; i++) {
        const char * from = static_cast<const char *>(input->data) + (rows[i].slot % input->ne[1]) * input->nb[1] + rows[i].token * input->nb[2];
        std::memcpy(input_rows_.data() + i * k, from, k * sizeof(float));
    }
    ggml_tensor gathered = plain_tensor(GGML_TYPE_F32, input_rows_.data(), sizeof(float), k, 1, m);
    ggml_tensor experts = plain_tensor(GGML_TYPE_I32, row_experts_.data(), sizeof(int32_t), 1, m, 1);
    ggml_tensor result = plain_tensor(GGML_TYPE_F32, output_rows_.data(), sizeof(float), n, 1, m);
    result.op = product->op;
    result.flags = product->flags;
    std::memcpy(result.op_params, product->op_params, sizeof result.op_params);
    result.src[0] = product->src[0];
    result.src[1] = &gathered;
    result.src[2] = &experts;
    ggml_tensor * node = &result;
    ggml_cgraph graph{};
    graph.size = graph.n_nodes = 1;
    graph.nodes = &node;
    const ggml_status status = ggml_backend_graph_compute(cpu_, &graph);
    for (int64_t i = 0; i < m && status == GGML_STATUS_SUCCESS; i++) {
        char * to = static_cast<char *>(product->data) + rows[i].slot * product->nb[1] + rows[i].token * product->nb[2];
        std::memcpy(to, output_rows_.data() + i * n, n * sizeof(float));
    }
    return status;
}

}  // namespace sixgig
