#include "router_guess.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace sixgig {

void RouterGuess::set_router(int layer, int n_experts, int n_embd, const float * weight, const float * bias) {
    if (size_t(layer) >= routers_.size()) routers_.resize(layer + 1);
    Router & router = routers_[layer];
    router.n_experts = n_experts;
    router.n_embd = n_embd;
    router.rows.resize(size_t(n_experts) * n_embd);
    router.scales.resize(n_experts);
    router.bias.assign(n_experts, 0.0f);
    if (bias != nullptr) router.bias.assign(bias, bias + n_experts);
    for (int e = 0; e < n_experts; e++) {
        const float * row = weight + size_t(e) * n_embd;
        float largest = 1e-30f;
        for (int i = 0; i < n_embd; i++) largest = std::max(largest, std::fabs(row[i]));
        router.scales[e] = largest / 127.0f;
        for (int i = 0; i < n_embd; i++) {
            router.rows[size_t(e) * n_embd + i] = int8_t(std::lround(row[i] / router.scales[e]));
        }
    }
}

bool RouterGuess::knows(int layer) const { return size_t(layer) < routers_.size() && routers_[layer].n_experts > 0; }

std::vector<int> RouterGuess::guess(int layer, const float * x, int n_embd, int count) const {
    const Router & router = routers_[layer];
    if (n_embd != router.n_embd) return {};
    std::vector<float> scores(router.n_experts);
    for (int e = 0; e < router.n_experts; e++) {
        const int8_t * row = router.rows.data() + size_t(e) * n_embd;
        float sum[8] = {};  // independent sums, so that the compiler may use vectors
        int i = 0;
        for (; i + 8 <= n_embd; i += 8) {
            for (int lane = 0; lane < 8; lane++) sum[lane] += x[i + lane] * row[i + lane];
        }
        for (; i < n_embd; i++) sum[0] += x[i] * row[i];
        scores[e] = std::accumulate(sum, sum + 8, 0.0f) * router.scales[e] + router.bias[e];
    }
    std::vector<int> order(router.n_experts);
    std::iota(order.begin(), order.end(), 0);
    count = std::min(count, router.n_experts);
    std::partial_sort(order.begin(), order.begin() + count, order.end(),
                      [&](int a, int b) { return scores[a] > scores[b]; });
    order.resize(count);
    return order;
}

}  // namespace sixgig
