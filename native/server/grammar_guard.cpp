// Stands before the engine's library in the global scope, as server_loader.cpp does. The engine keeps a stack for every
// way in which the text so far can be read by a grammar; some grammars double them with each character. Where there are
// too many, that answer may only end: the others of the batch, and the machine, go on.
#include <cstddef>
#include <cstdlib>

namespace {

// std::vector of the engine's C++ runtime, elements opaque.
struct Vector {
    char * begin, * end, * room;
};

constexpr size_t most_stacks = 4096;

using Accept = void (*)(void *, int);
using Stacks = Vector * (*)(void *);

Accept engines_accept = nullptr;
Stacks engines_stacks = nullptr;

}  // namespace

// The engine's own functions, which this library's name for the first hides.
extern "C" __attribute__((visibility("default"))) void sixgig_guard_grammars(Accept accept, Stacks stacks) {
    engines_accept = accept;
    engines_stacks = stacks;
}

// llama_grammar_accept_impl(llama_grammar &, llama_token)
extern "C" __attribute__((visibility("default"))) void sixgig_accept_token(void * grammar, int token) __asm__(
    "_Z25llama_grammar_accept_implR13llama_grammari");

void sixgig_accept_token(void * grammar, int token) {
    engines_accept(grammar, token);
    Vector * stacks = engines_stacks(grammar);
    const auto first = reinterpret_cast<Vector *>(stacks->begin), end = reinterpret_cast<Vector *>(stacks->end);
    if (size_t(end - first) <= most_stacks) return;
    for (Vector * stack = first + 1; stack < end; stack++) std::free(stack->begin);
    first->end = first->begin;  // one that has been read to its end
    stacks->end = reinterpret_cast<char *>(first + 1);
}
