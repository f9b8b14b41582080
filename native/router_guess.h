// Guesses a layer's experts from the input of the layer before, with that layer's router. The router's rows are kept
// as 8-bit integers with a scale per row: a guess needs their order, not their values.
#pragma once

#include <cstdint>
#include <vector>

namespace sixgig {

class RouterGuess {
  public:
    // weight: [n_experts][n_embd], row major; bias: [n_experts] or null, added to the router's output.
    void set_router(int layer, int n_experts, int n_embd, const float * weight, const float * bias);
    bool knows(int layer) const;
    // The `count` experts with the largest scores for x: [n_embd].
    std::vector<int> guess(int layer, const float * x, int n_embd, int count) const;

  private:
    struct Router {
        int n_experts = 0, n_embd = 0;
        std::vector<int8_t> rows;
        std::vector<float> scales, bias;
    };
    std::vector<Router> routers_;
};

}  // namespace sixgig
