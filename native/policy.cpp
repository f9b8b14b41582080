#include "policy.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

namespace sixgig {

namespace {

// Both policies keep the admitted experts ordered by a score that only grows with use; the smallest leaves first.
class ScoredPolicy : public Policy {
  public:
    explicit ScoredPolicy(uint32_t n_keys) : score_(n_keys, 0.0), admitted_(n_keys, false) {}

    void admitted(uint32_t key) override {
        if (admitted_[key]) return;
        admitted_[key] = true;
        order_.insert({score_[key], key});
    }

    void removed(uint32_t key) override {
        if (!admitted_[key]) return;
        admitted_[key] = false;
        order_.erase({score_[key], key});
    }

    int64_t victim(const std::function<bool(uint32_t)> & may_leave) override {
        for (const auto & [score, key] : order_) {
            if (may_leave(key)) return key;
        }
        return -1;
    }

  protected:
    double score(uint32_t key) const { return score_[key]; }

    void set_score(uint32_t key, double score) {
        if (admitted_[key]) {
            order_.erase({score_[key], key});
            order_.insert({score, key});
        }
        score_[key] = score;
    }

  private:
    std::vector<double> score_;
    std::vector<bool> admitted_;
    std::set<std::pair<double, uint32_t>> order_;
};

class Lru : public ScoredPolicy {
  public:
    using ScoredPolicy::ScoredPolicy;
    void used(uint32_t key) override { set_score(key, ++clock_); }

  private:
    double clock_ = 0;
};

}  // namespace

std::unique_ptr<Policy> make_policy(PolicyKind, uint32_t n_keys, uint32_t, uint32_t) {
    return std::make_unique<Lru>(n_keys);
}

}  // namespace sixgig
