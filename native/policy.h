// Which expert leaves the cache. An expert is named by its key: layer position x experts per layer + expert.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace sixgig {

class Policy {
  public:
    virtual ~Policy() = default;
    virtual void begin_visit(uint32_t layer) = 0;  // before the uses of one layer visit
    virtual void used(uint32_t key) = 0;           // this visit needs the expert, resident or not
    virtual void admitted(uint32_t key) = 0;       // its bytes are being brought in
    virtual void removed(uint32_t key) = 0;        // its bytes left
    // The admitted expert that should leave first among those `may_leave` allows; -1 when there is none.
    virtual int64_t victim(const std::function<bool(uint32_t)> & may_leave) = 0;
};

enum class PolicyKind : int { LRU = 0, DECAYED_FREQUENCY = 1 };

std::unique_ptr<Policy> make_policy(PolicyKind kind, uint32_t n_layers, uint32_t experts_per_layer);

}  // namespace sixgig
