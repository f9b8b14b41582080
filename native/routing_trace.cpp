#include "routing_trace.h"

#include <algorithm>

namespace sixgig {

bool RoutingTrace::start(const char * path, int n_experts, const std::vector<uint64_t> & expert_bytes_per_layer) {
    stop();
    file_ = std::fopen(path, "wb");
    if (file_ == nullptr) return false;
    visit_ = 0;
    const uint16_t counts[2] = {uint16_t(expert_bytes_per_layer.size()), uint16_t(n_experts)};
    const uint32_t reserved = 0;
    std::fwrite("SGTRACE1", 1, 8, file_);
    std::fwrite(counts, sizeof counts, 1, file_);
    std::fwrite(&reserved, sizeof reserved, 1, file_);
    std::fwrite(expert_bytes_per_layer.data(), sizeof(uint64_t), expert_bytes_per_layer.size(), file_);
    return std::ferror(file_) == 0;
}

void RoutingTrace::record(int layer, int n_tokens, const std::vector<int> & experts) {
    if (file_ == nullptr) return;
    std::vector<uint16_t> fields{uint16_t(layer), uint16_t(std::min(n_tokens, 65535)), uint16_t(experts.size())};
    fields.insert(fields.end(), experts.begin(), experts.end());
    std::fwrite(&visit_, sizeof visit_, 1, file_);
    std::fwrite(fields.data(), sizeof(uint16_t), fields.size(), file_);
    visit_++;
}

bool RoutingTrace::stop() {
    if (file_ == nullptr) return true;
    const bool wrote = std::ferror(file_) == 0;
    const bool closed = std::fclose(file_) == 0;
    file_ = nullptr;
    return wrote && closed;
}

}  // namespace sixgig
