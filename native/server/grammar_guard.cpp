// Stands before the engine's library in the global scope, as server_loader.cpp does. The engine keeps a stack for every
// way in which the text so far can be read by a grammar; some grammars double them with each character. Where there are
// too many, that answer may only end: the others of the batch, and the machine, go on. Where the candidates of one token
// can be split in countless ways, nothing ends the engine's recursion but the end of the process, which is started anew.
#include <pthread.h>
#include <time.h>

#include <atomic>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <thread>

namespace {

// std::vector of the engine's C++ runtime, elements opaque.
struct Vector {
    char * begin, * end, * room;
};

constexpr size_t most_stacks = 4096;
constexpr double most_s = 5.0, look_s = 0.5;  // of the processor, for the candidates of one token

using Accept = void (*)(void *, int);
using Apply = void (*)(const void *, void *);
using Stacks = Vector * (*)(void *);

Accept engines_accept = nullptr;
Apply engines_apply = nullptr;
Stacks engines_stacks = nullptr;

// The token under way: its number, 0 between two, and the clock of its thread.
std::atomic<unsigned> token_number{0};
std::atomic<clockid_t> token_clock;
thread_local unsigned n_tokens = 0;

double seconds_of(clockid_t clock) {
    timespec now{};
    clock_gettime(clock, &now);
    return double(now.tv_sec) + 1e-9 * double(now.tv_nsec);
}

void watch() {
    unsigned seen = 0;
    double since_s = 0;
    for (;;) {
        const timespec pause{0, long(look_s * 1e9)};
        nanosleep(&pause, nullptr);
        const unsigned now = token_number;
        if (now == 0) {
            seen = 0;
        } else if (now != seen) {
            seen = now;
            since_s = seconds_of(token_clock);
        } else if (seconds_of(token_clock) - since_s > most_s) {
            std::fprintf(stderr, "a grammar took more than %.0f s for one token\n", most_s);
            std::_Exit(EXIT_FAILURE);
        }
    }
}

}  // namespace

// The engine's own functions, which this library's names for the first two hide.
extern "C" __attribute__((visibility("default"))) void sixgig_guard_grammars(Accept accept, Apply apply, Stacks stacks) {
    engines_accept = accept;
    engines_apply = apply;
    engines_stacks = stacks;
    std::thread(watch).detach();
}

// llama_grammar_accept_impl(llama_grammar &, llama_token)
extern "C" __attribute__((visibility("default"))) void sixgig_accept_token(void * grammar, int token) __asm__(
    "_Z25llama_grammar_accept_implR13llama_grammari");

// llama_grammar_apply_impl(const llama_grammar &, llama_token_data_array *)
extern "C" __attribute__((visibility("default"))) void sixgig_apply_grammar(const void * grammar, void * candidates) __asm__(
    "_Z24llama_grammar_apply_implRK13llama_grammarP22llama_token_data_array");

void sixgig_accept_token(void * grammar, int token) {
    engines_accept(grammar, token);
    Vector * stacks = engines_stacks(grammar);
    const auto first = reinterpret_cast<Vector *>(stacks->begin), end = reinterpret_cast<Vector *>(stacks->end);
    if (size_t(end - first) <= most_stacks) return;
    for (Vector * stack = first + 1; stack < end; stack++) std::free(stack->begin);
    first->end = first->begin;  // one that has been read to its end
    stacks->end = reinterpret_cast<char *>(first + 1);
}

void sixgig_apply_grammar(const void * grammar, void * candidates) {
    clockid_t clock;
    pthread_getcpuclockid(pthread_self(), &clock);
    token_clock = clock;
    n_tokens = n_tokens + 1 == 0 ? 1 : n_tokens + 1;
    token_number = n_tokens;
    engines_apply(grammar, candidates);
    token_number = 0;
}
