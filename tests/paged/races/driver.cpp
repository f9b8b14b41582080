// Loads, measures, computes and closes models from several threads through native/api.cpp, as the engine's loader and its
// contexts do; ends with 1 where a result is wrong. All models' tensors have the same names.
//   driver FOLDER            as our own program: each load is told its buffer type
//   driver FOLDER foreign    as another: the manifest that SIXGIG_EXPERTS names, and the registered device's buffer type
#include <sys/stat.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "ggml_abi.h"

// As in native/api.cpp.
struct sixgig_file { const char * path; uint64_t size, inode; int64_t modified_ns; };
struct sixgig_tensor { const char * name; uint64_t file_offset, size_bytes; int32_t layer, part, n_experts, reserved; };
struct sixgig_counters { uint64_t whole[10]; double seconds[3]; };
struct sixgig_failure { char path[1024], reason[64]; uint64_t offset; int32_t error_number, reserved; };
extern "C" {
ggml_backend_reg * ggml_backend_init(void);
void sixgig_register(void);
void * sixgig_environment_pager(void);
void * sixgig_pager_open(const sixgig_file *, int, const sixgig_tensor *, int, int, sixgig_failure *);
void sixgig_pager_close(void *);
ggml_backend_buffer_type * sixgig_pager_buffer_type(void *);
int sixgig_pager_has_placed(void *, int);
void sixgig_pager_configure(void *, uint64_t, int);
void sixgig_pager_set_router(void *, int, int, int, const float *, const float *);
void sixgig_pager_counters(void *, sixgig_counters *);
void sixgig_pager_reset_counters(void *);
int sixgig_pager_take_failure(void *, sixgig_failure *);
int sixgig_pager_start_trace(void *, const char *);
int sixgig_pager_stop_trace(void *);
void sixgig_advise_huge_pages(void);
}

namespace {

constexpr int N_LAYERS = 3, N_PROJECTIONS = 2, N_TENSORS = N_LAYERS * N_PROJECTIONS, N_EXPERTS = 12, N_USED = 3, WIDTH = 32;
// An expert is whole pages: of a page that two share, the second one's read writes the first one's bytes once more, the same
// ones, while they may be computed with. The kernel does that without harm; here it would be a race.
constexpr uint64_t PAGE = 4096, EXPERT_BYTES = WIDTH * WIDTH * sizeof(float), TENSOR_BYTES = N_EXPERTS * EXPERT_BYTES;
static_assert(EXPERT_BYTES == PAGE);
constexpr ggml_op MUL_MAT_ID = 1;

std::string folder;
std::atomic<bool> wrong{false};

void expect(bool right, const char * what) {
    if (right) return;
    std::fprintf(stderr, "wrong: %s\n", what);
    wrong = true;
}

// Small whole numbers: sums are exact in any order.
float weight(int model, int tensor, int expert, int row, int column) {
    return float((model * 7 + tensor * 5 + expert * 3 + row * 2 + column) % 11 - 5);
}

std::string tensor_name(int tensor) {
    return "blk." + std::to_string(tensor / N_PROJECTIONS) + (tensor % N_PROJECTIONS == 0 ? ".ffn_up_exps.weight" : ".ffn_down_exps.weight");
}

std::string write_model(int model) {
    const std::string path = folder + "/model" + std::to_string(model);
    std::ofstream file(path, std::ios::binary);
    for (int t = 0; t < N_TENSORS; t++) {
        for (int e = 0; e < N_EXPERTS; e++) {
            for (int row = 0; row < WIDTH; row++) {
                for (int column = 0; column < WIDTH; column++) {
                    const float w = weight(model, t, e, row, column);
                    file.write(reinterpret_cast<const char *>(&w), sizeof w);
                }
            }
        }
    }
    return path;
}

struct Part {
    std::string path;
    struct stat status;
    explicit Part(const std::string & path) : path(path) { expect(stat(path.c_str(), &status) == 0, "a model is there"); }
    int64_t modified_ns() const { return status.st_mtim.tv_sec * 1000000000LL + status.st_mtim.tv_nsec; }
};

void * open_pager(const Part & part) {
    const sixgig_file file = {part.path.c_str(), uint64_t(part.status.st_size), uint64_t(part.status.st_ino), part.modified_ns()};
    std::vector<std::string> names;
    std::vector<sixgig_tensor> tensors;
    for (int t = 0; t < N_TENSORS; t++) names.push_back(tensor_name(t));
    for (int t = 0; t < N_TENSORS; t++) {
        tensors.push_back({names[t].c_str(), t * TENSOR_BYTES, TENSOR_BYTES, t / N_PROJECTIONS, 0, N_EXPERTS, 0});
    }
    sixgig_failure failure;
    void * pager = sixgig_pager_open(&file, 1, tensors.data(), N_TENSORS, 2, &failure);
    expect(pager != nullptr, "a pager opens");
    return pager;
}

// The room for experts: one expert of one tensor, a part of a layer, or everything.
void configure(void * pager, int nth) { sixgig_pager_configure(pager, std::vector<uint64_t>{3, 20, 100}[nth % 3] * PAGE, nth % 2); }

ggml_tensor new_tensor(ggml_op op, void * data, int64_t ne0, int64_t ne1, int64_t ne2) {
    ggml_tensor t{};
    t.op = op;
    t.data = data;
    t.ne[0] = ne0, t.ne[1] = ne1, t.ne[2] = ne2, t.ne[3] = 1;
    t.nb[0] = sizeof(float);
    for (int i = 1; i < 4; i++) t.nb[i] = t.nb[i - 1] * t.ne[i - 1];
    return t;
}

// What the engine's loader makes of one model; the order of its questions is that of llama-model-loader.cpp.
class Loaded {
  public:
    explicit Loaded(ggml_backend_buffer_type * type) : type_(type), weights_(N_TENSORS) {
        for (int t = 0; t < N_TENSORS; t++) {
            weights_[t] = new_tensor(GGML_OP_NONE, nullptr, WIDTH, WIDTH, N_EXPERTS);
            std::strncpy(weights_[t].name, tensor_name(t).c_str(), sizeof weights_[t].name - 1);
        }
    }
    Loaded(const Loaded &) = delete;

    ~Loaded() {
        if (buffer_ == nullptr) return;
        buffer_->iface.free_buffer(buffer_);
        delete buffer_;
    }

    void measure() {
        ggml_backend_buffer nothing{{}, type_, nullptr, 0, GGML_BACKEND_BUFFER_USAGE_ANY};
        for (ggml_tensor & w : weights_) {
            w.buffer = &nothing;
            ggml_tensor product = new_tensor(MUL_MAT_ID, nullptr, WIDTH, N_USED, 1);
            product.src[0] = &w;
            expect(type_->device->iface.supports_op(type_->device, &product), "experts are asked for");
            expect(type_->iface.get_alloc_size(type_, &w) > TENSOR_BYTES, "experts are known by their names");
            w.buffer = nullptr;
        }
    }

    bool load() {
        size_t size = 0;
        for (const ggml_tensor & w : weights_) size += padded(w);
        buffer_ = type_->iface.alloc_buffer(type_, size);
        char * at = static_cast<char *>(buffer_->iface.get_base(buffer_));
        for (ggml_tensor & w : weights_) {
            w.data = at;
            w.buffer = buffer_;
            at += padded(w);
            if (buffer_->iface.init_tensor(buffer_, &w) != GGML_STATUS_SUCCESS) return false;
        }
        return true;
    }

    // file: the model's own bytes, as a program hands them over that is not ours; empty: none are read.
    void fill(const std::string & file) {
        ggml_backend * uploads = ggml_backend_dev_init(type_->device, nullptr);
        expect(uploads != nullptr, "there is a backend to load with");
        std::ifstream from(file, std::ios::binary);
        std::vector<char> bytes(2 * PAGE);
        for (ggml_tensor & w : weights_) {
            for (uint64_t done = 0; done < TENSOR_BYTES; done += bytes.size()) {
                if (!file.empty()) from.read(bytes.data(), long(bytes.size()));
                buffer_->iface.set_tensor(buffer_, &w, bytes.data(), done, bytes.size());
            }
        }
        ggml_backend_free(uploads);
    }

    std::vector<ggml_tensor> & weights() { return weights_; }

  private:
    size_t padded(const ggml_tensor & w) const {
        const size_t alignment = type_->iface.get_alignment(type_);
        return (type_->iface.get_alloc_size(type_, &w) + alignment - 1) / alignment * alignment;
    }

    ggml_backend_buffer_type * type_;
    std::vector<ggml_tensor> weights_;
    ggml_backend_buffer * buffer_ = nullptr;
};

// One evaluation of all layers by a context of its own, compared with what it must be.
void compute(int model, std::vector<ggml_tensor> & weights, int n_tokens, unsigned seed) {
    ggml_backend_reg * reg = ggml_backend_reg_by_name("SIXGIG");
    ggml_backend * backend = ggml_backend_dev_init(reg->iface.get_device(reg, 0), nullptr);
    expect(backend != nullptr, "there is a backend to compute with");
    if (backend == nullptr) return;
    std::minstd_rand random(seed);
    std::vector<float> inputs(WIDTH * n_tokens);
    for (float & x : inputs) x = float(random() % 5);
    ggml_tensor input = new_tensor(GGML_OP_NONE, inputs.data(), WIDTH, 1, n_tokens);
    for (int layer = 0; layer < N_LAYERS; layer++) {
        std::vector<int32_t> chosen;
        for (int token = 0; token < n_tokens; token++) {
            const int first = int(random() % N_EXPERTS);
            for (int slot = 0; slot < N_USED; slot++) chosen.push_back((first + slot * 5) % N_EXPERTS);
        }
        ggml_tensor choices = new_tensor(GGML_OP_NONE, chosen.data(), N_USED, n_tokens, 1);
        std::vector<float> outputs(N_PROJECTIONS * WIDTH * N_USED * n_tokens, -1);
        std::vector<ggml_tensor> products;
        std::vector<ggml_tensor *> nodes;
        for (int p = 0; p < N_PROJECTIONS; p++) {
            float * to = outputs.data() + p * outputs.size() / N_PROJECTIONS;
            products.push_back(new_tensor(MUL_MAT_ID, to, WIDTH, N_USED, n_tokens));
            products[p].src[0] = &weights[layer * N_PROJECTIONS + p];
            products[p].src[1] = &input;
            products[p].src[2] = &choices;
        }
        for (ggml_tensor & product : products) {
            nodes.push_back(&product);
            expect(backend->device->iface.supports_op(backend->device, &product), "a product with experts is ours");
            expect(backend->device->iface.supports_buft(backend->device, product.src[0]->buffer->buft), "so is its weight's buffer");
            expect(!ggml_backend_buft_is_host(product.src[0]->buffer->buft), "which nobody else may read");
        }
        ggml_cgraph graph{};
        graph.size = graph.n_nodes = N_PROJECTIONS;
        graph.nodes = nodes.data();
        expect(ggml_backend_graph_compute(backend, &graph) == GGML_STATUS_SUCCESS, "a layer computes");
        for (int p = 0; p < N_PROJECTIONS; p++) {
            const auto * result = static_cast<const float *>(products[p].data);
            for (int row = 0; row < WIDTH * N_USED * n_tokens; row++) {
                const int slot = row / WIDTH % N_USED, token = row / WIDTH / N_USED;
                float right = 0;
                for (int i = 0; i < WIDTH; i++) {
                    right += weight(model, layer * N_PROJECTIONS + p, chosen[token * N_USED + slot], row % WIDTH, i) * inputs[token * WIDTH + i];
                }
                expect(result[row] == right, "a result");
            }
        }
    }
    ggml_backend_free(backend);
}

void teach_routers(void * pager) {
    const std::vector<float> router(N_EXPERTS * WIDTH, 0.5f);
    for (int layer = 0; layer < N_LAYERS; layer++) sixgig_pager_set_router(pager, layer, N_EXPERTS, WIDTH, router.data(), nullptr);
}

void in_parallel(const std::vector<std::function<void()>> & all) {
    std::vector<std::thread> threads;
    for (const std::function<void()> & one : all) threads.emplace_back(one);
    for (std::thread & thread : threads) thread.join();
}

// A model from its file to its end, again and again.
void live(int model, int times) {
    const Part part(write_model(model));
    for (int nth = 0; nth < times; nth++) {
        void * pager = open_pager(part);
        Loaded(sixgig_pager_buffer_type(pager)).measure();
        configure(pager, model + nth);
        teach_routers(pager);
        {
            Loaded loaded(sixgig_pager_buffer_type(pager)), second(sixgig_pager_buffer_type(pager));
            loaded.measure();
            expect(loaded.load(), "a model loads");
            expect(!second.load(), "not twice at once with one pager");
            sixgig_advise_huge_pages();
            loaded.fill("");
            for (int t = 0; t < N_TENSORS; t++) expect(sixgig_pager_has_placed(pager, t), "experts are placed");
            const bool closed_early = nth % 2 == 1;  // what the engine still holds keeps the pager alive
            if (closed_early) sixgig_pager_close(pager);
            for (int n_tokens : {1, 2, 9, 1}) compute(model, loaded.weights(), n_tokens, unsigned(nth));
            if (closed_early) pager = nullptr;
        }
        if (pager != nullptr) sixgig_pager_close(pager);
    }
}

// Two contexts share a model, others look on, trace it and change its cache, until `all` is done.
void beside(int model, const std::vector<std::function<void()>> & all) {
    const Part part(write_model(model));
    void * pager = open_pager(part);
    configure(pager, 1);
    teach_routers(pager);
    {
        Loaded loaded(sixgig_pager_buffer_type(pager));
        expect(loaded.load(), "a model loads");
        loaded.fill("");
        std::atomic<bool> done{false};
        const auto computing = [&](unsigned seed) {
            for (; !done; seed++) compute(model, loaded.weights(), 1 + int(seed % 5), seed);
        };
        const auto looking = [&] {
            const std::string trace = folder + "/trace";
            while (!done) {
                sixgig_counters counters;
                sixgig_failure failure;
                sixgig_pager_counters(pager, &counters);
                expect(sixgig_pager_take_failure(pager, &failure) == 0, "no read fails");
                sixgig_advise_huge_pages();
                expect(sixgig_pager_start_trace(pager, trace.c_str()) == 1, "a trace begins");
                teach_routers(pager);
                expect(sixgig_pager_stop_trace(pager) == 1, "a trace ends");
                sixgig_pager_reset_counters(pager);
            }
        };
        in_parallel({[&] { in_parallel(all); done = true; }, [&] { computing(1); }, [&] { computing(1000); }, looking});
    }
    sixgig_pager_close(pager);
}

// A program that is not ours loads the announced model twice at once, measures it meanwhile, and computes.
void foreign(int times) {
    const Part part(write_model(0));
    const std::string manifest = folder + "/experts";
    {
        std::ofstream lines(manifest);
        lines << "sixgig experts 1\ncache " << 20 * PAGE << " 1 2\npart " << part.status.st_size << ' ' << part.modified_ns() << ' '
              << part.status.st_ino << ' ' << part.path << '\n';
        for (int t = 0; t < N_TENSORS; t++) {
            lines << "tensor " << t / N_PROJECTIONS << " 0 " << t * TENSOR_BYTES << ' ' << TENSOR_BYTES << ' ' << N_EXPERTS << ' '
                  << tensor_name(t) << '\n';
        }
    }
    setenv("SIXGIG_EXPERTS", manifest.c_str(), 1);
    ggml_backend_reg * reg = ggml_backend_init();
    expect(reg != nullptr, "the manifest is read");
    ggml_backend_register(reg);
    void * pager = sixgig_environment_pager();
    ggml_backend_buffer_type * type = ggml_backend_dev_buffer_type(reg->iface.get_device(reg, 0));
    Loaded(type).measure();
    std::atomic<int> computed{0};
    const auto loading = [&] {
        for (int nth = 0; nth < times; nth++) {
            Loaded loaded(type);
            loaded.measure();
            if (!loaded.load()) continue;  // the other has it
            loaded.fill(part.path);
            compute(0, loaded.weights(), 3, unsigned(nth));
            computed++;
        }
    };
    const auto looking = [&] {
        for (int nth = 0; nth < times; nth++) {
            sixgig_counters counters;
            sixgig_pager_counters(pager, &counters);
            Loaded(type).measure();
        }
    };
    in_parallel({loading, loading, looking});
    expect(computed > 0, "one of them has it");  // how often the other comes while it does is chance
    sixgig_pager_close(pager);
}

}  // namespace

int main(int n_arguments, char ** arguments) {
    folder = arguments[1];
    if (n_arguments > 2) {
        foreign(20);
    } else {
        sixgig_register();
        beside(0, {[] { live(1, 8); }, [] { live(2, 8); }, [] { live(3, 8); }});
    }
    if (wrong) return 1;
    std::puts("right");
    return 0;
}
