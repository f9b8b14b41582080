// Stands before the engine's library in the global scope, so that its HTTP server, which loads a model by a path, gets
// the model from us instead: from the stream and with the parameters that were prepared. The server's own thread calls
// this while the interpreter's lock is held, so nothing that loads may enter Python. And its evaluations come through
// here, so that each computes on as many threads as others leave cores for.
#include <dlfcn.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>

#define SIXGIG_API extern "C" __attribute__((visibility("default")))

namespace {

// llama_model_params by its size, which sixgig/llamacpp/layout.py checks: above 16 bytes it is passed in memory.
struct ModelParams {
    void * opaque[10];
};

// llama_batch, likewise.
struct Batch {
    void * opaque[7];
};

using Decode = int32_t (*)(void *, Batch);
using SetThreads = void (*)(void *, int32_t, int32_t);
using LoadFromStream = void * (*)(FILE *, ModelParams);
using Step = void (*)();

}  // namespace

// What Python prepares. report_fd gets a line of JSON for each percent; weights_allocated is called once.
// decode and set_threads are the engine's own functions. choose_threads is told how many seconds ago the last
// evaluation ended, before and after each; null where the number is fixed.
struct sixgig_server_load {
    FILE * source;
    const void * params;
    int report_fd;
    int calls;
    Step weights_allocated;
    Decode decode;
    SetThreads set_threads;
    int (*choose_threads)(double idle_s);
};

namespace {

sixgig_server_load * prepared = nullptr;
int last_percent;
int n_threads = 0;
double evaluated_s = 0;

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

SIXGIG_API void sixgig_prepare_server_load(sixgig_server_load * load) { prepared = load; }

// The progress_callback of the parameters: its first call finds weights allocated, not filled.
SIXGIG_API bool sixgig_report_loading(float fraction, void *) {
    const int percent = int(100 * fraction);
    if (last_percent < 0 && prepared->weights_allocated != nullptr) prepared->weights_allocated();
    if (percent != last_percent) dprintf(prepared->report_fd, "{\"event\": \"loading\", \"fraction\": %.2f}\n", double(fraction));
    last_percent = percent;
    return true;
}

SIXGIG_API void * llama_model_load_from_file(const char *, ModelParams) {
    if (prepared == nullptr || prepared->calls++ > 0) return nullptr;
    // The address of a function that the engine's library exports; it was opened before the server was made.
    const auto load = reinterpret_cast<LoadFromStream>(dlsym(RTLD_DEFAULT, "llama_model_load_from_file_ptr"));
    if (load == nullptr) return nullptr;
    ModelParams params;
    std::memcpy(&params, prepared->params, sizeof params);
    last_percent = -1;
    return load(prepared->source, params);
}

// One context a process, evaluated by one thread.
SIXGIG_API int32_t llama_decode(void * context, Batch batch) {
    if (prepared == nullptr) return -3;  // the computation failed
    if (prepared->choose_threads != nullptr) {
        const int chosen = prepared->choose_threads(now_s() - evaluated_s);
        if (chosen > 0 && chosen != n_threads) {
            prepared->set_threads(context, chosen, chosen);
            n_threads = chosen;
        }
    }
    const int32_t status = prepared->decode(context, batch);
    if (prepared->choose_threads != nullptr) prepared->choose_threads(0);
    evaluated_s = now_s();
    return status;
}
