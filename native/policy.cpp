#include "policy.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <vector>

namespace sixgig {

namespace {

class Lru : public Policy {
  public:
    explicit Lru(uint32_t n_keys) : last_use_(n_keys, 0), admitted_(n_keys, false) {}

    void begin_visit(uint32_t) override {}

    void used(uint32_t key) override {
        if (admitted_[key]) order_.erase({last_use_[key], key});
        last_use_[key] = ++clock_;
        if (admitted_[key]) order_.insert({last_use_[key], key});
    }

    void admitted(uint32_t key) override {
        admitted_[key] = true;
        order_.insert({last_use_[key], key});
    }

    void removed(uint32_t key) override {
        admitted_[key] = false;
        order_.erase({last_use_[key], key});
    }

    int64_t victim(const std::function<bool(uint32_t)> & may_leave) override {
        for (const auto & [last_use, key] : order_) {
            if (may_leave(key)) return key;
        }
        return -1;
    }

  private:
    std::vector<uint64_t> last_use_;
    std::vector<bool> admitted_;
    std::set<std::pair<uint64_t, uint32_t>> order_;
    uint64_t clock_ = 0;
};

// Evicts the expert with the longest expected wait until its next use. The wait is estimated from the frequency of
// past uses, decayed with four half-lives in visits of the expert's own layer, plus the part of a token cycle until that
// layer comes round again. The weights of the four follow what foretold the uses best so far (online expectation
// maximisation with a uniform guess as fifth). What left keeps its history: the shortest half-life protects new entries.
// The readable twin is DecayedFrequency in sixgig/pager/policies.py; both replay a trace alike, hit by hit.
class DecayedFrequency : public Policy {
  public:
    DecayedFrequency(uint32_t n_layers, uint32_t experts_per_layer) : n_experts_(experts_per_layer), layers_(n_layers) {
        for (int k = 0; k < N_RATES; k++) decay_[k] = std::exp2(-1.0 / HALF_LIVES[k]);
        for (double & weight : weight_) weight = 1.0 / (N_RATES + 1);
        for (Layer & layer : layers_) {
            layer.experts.resize(n_experts_);
            for (Expert & e : layer.experts) e.wait = expected_wait(e);
        }
    }

    void begin_visit(uint32_t layer) override {
        learn();
        now_ = layer;
        layers_[layer].longest = UNKNOWN;
        for (Expert & e : layers_[layer].experts) {
            for (int k = 0; k < N_RATES; k++) {
                e.rate[k] *= decay_[k];
                if (e.rate[k] < VANISHED) e.rate[k] = 0.0;
            }
            e.wait = expected_wait(e);
        }
    }

    void used(uint32_t key) override {
        Expert & e = expert(key);
        Guess foretold;  // as it stood before this visit
        for (int k = 0; k < N_RATES; k++) {
            foretold[k] = e.rate[k] / decay_[k];
            e.rate[k] += 1.0 - decay_[k];
        }
        foretold_.push_back(foretold);
        e.wait = expected_wait(e);
        layer_of(key).longest = UNKNOWN;
    }

    void admitted(uint32_t key) override { set_admitted(key, true); }
    void removed(uint32_t key) override { set_admitted(key, false); }

    int64_t victim(const std::function<bool(uint32_t)> & may_leave) override {
        int64_t best = -1;
        double longest = -1.0;
        for (uint32_t l = 0; l < layers_.size(); l++) {
            const int64_t key = longest_wait(l, may_leave);
            if (key < 0) continue;
            const double wait = expert(uint32_t(key)).wait + until_visited(l);
            if (wait > longest) {
                longest = wait;
                best = key;
            }
        }
        return best;
    }

  private:
    static constexpr int N_RATES = 4;
    static constexpr double HALF_LIVES[N_RATES] = {1, 4, 16, 64};
    static constexpr double VANISHED = 1e-30, FLOOR = 1e-6;
    static constexpr double LEARNING_RATE = 1.0 / 128.0, LEAST_WEIGHT = 1e-3;
    static constexpr int64_t UNKNOWN = -2, NOBODY = -1;

    struct Expert {
        double rate[N_RATES] = {};
        double wait = 0.0;  // in token cycles
        bool admitted = false;
    };
    using Guess = std::array<double, N_RATES>;
    struct Layer {
        std::vector<Expert> experts;
        int64_t longest = UNKNOWN;  // key of the admitted expert with the longest wait, leave or no leave
    };

    Layer & layer_of(uint32_t key) { return layers_[key / n_experts_]; }
    Expert & expert(uint32_t key) { return layer_of(key).experts[key % n_experts_]; }

    void set_admitted(uint32_t key, bool admitted) {
        expert(key).admitted = admitted;
        layer_of(key).longest = UNKNOWN;
    }

    double expected_wait(const Expert & e) const {
        double rate = weight_[0] * e.rate[0];
        for (int k = 1; k < N_RATES; k++) rate += weight_[k] * e.rate[k];
        return 1.0 / (rate + FLOOR);
    }

    // Moves the weights towards each component's mean share in foretelling the last visit's experts.
    void learn() {
        if (foretold_.empty()) return;
        double share[N_RATES + 1] = {};
        for (const Guess & foretold : foretold_) {
            double credit[N_RATES + 1], total = 0.0;
            for (int k = 0; k < N_RATES; k++) total += credit[k] = weight_[k] * foretold[k];
            total += credit[N_RATES] = weight_[N_RATES] * (double(foretold_.size()) / n_experts_);
            for (int k = 0; k <= N_RATES; k++) share[k] += credit[k] / total;
        }
        for (int k = 0; k <= N_RATES; k++) {
            weight_[k] += LEARNING_RATE * (share[k] / double(foretold_.size()) - weight_[k]);
            weight_[k] = std::max(weight_[k], LEAST_WEIGHT);
        }
        foretold_.clear();
    }

    double until_visited(uint32_t layer) const {
        const double n = double(layers_.size());
        return (std::fmod(double(layer) - now_ - 1 + n, n) + 1) / n;
    }

    int64_t longest_wait(uint32_t l, const std::function<bool(uint32_t)> & may_leave) {
        Layer & layer = layers_[l];
        if (layer.longest == UNKNOWN) layer.longest = search(l, [](uint32_t) { return true; });
        if (layer.longest == NOBODY || may_leave(uint32_t(layer.longest))) return layer.longest;
        return search(l, may_leave);
    }

    template <class Allowed> int64_t search(uint32_t l, const Allowed & allowed) {
        int64_t found = NOBODY;
        double longest = -1.0;
        for (uint32_t e = 0; e < n_experts_; e++) {
            const Expert & candidate = layers_[l].experts[e];
            if (!candidate.admitted || candidate.wait <= longest || !allowed(l * n_experts_ + e)) continue;
            longest = candidate.wait;
            found = l * n_experts_ + e;
        }
        return found;
    }

    uint32_t n_experts_;
    std::vector<Layer> layers_;
    std::vector<Guess> foretold_;  // of this visit's experts, by half-life
    double decay_[N_RATES];
    double weight_[N_RATES + 1];
    double now_ = 0;
};

}  // namespace

std::unique_ptr<Policy> make_policy(PolicyKind kind, uint32_t n_layers, uint32_t experts_per_layer) {
    if (kind == PolicyKind::LRU) return std::make_unique<Lru>(n_layers * experts_per_layer);
    return std::make_unique<DecayedFrequency>(n_layers, experts_per_layer);
}

}  // namespace sixgig
