// The engine's own chat code behind a C interface: what its server makes of messages, and what it reads out of answers.
#include "chat_abi.h"

#include <exception>

#define SIXGIG_API extern "C" __attribute__((visibility("default")))

namespace {

thread_local std::string last_error;

// What a call gives, or `failed` with the reason in sixgig_chat_error(). Templates and answers are foreign text.
template <typename Result, typename Call> Result guarded(Result failed, Call call) {
    try {
        return call();
    } catch (const std::exception & error) {
        last_error = error.what();
    } catch (...) {
        last_error = "unknown error";
    }
    return failed;
}

}  // namespace

struct sixgig_chat_text {
    const char * data;
    size_t size;
};

struct sixgig_chat_message {
    sixgig_chat_text role, content, reasoning;
};

static std::string string_of(const sixgig_chat_text & text) { return std::string(text.data, text.size); }

// What an answer holds so far; valid until the next call.
struct sixgig_chat_answer {
    sixgig_chat_text content, reasoning;
};

SIXGIG_API const char * sixgig_chat_error() { return last_error.c_str(); }

// The templates of a model, or ChatML where it brings none; null on failure.
SIXGIG_API common_chat_templates * sixgig_chat_open(const llama_model * model) {
    common_log_set_verbosity_thold(-1);  // it would write to stderr
    return guarded<common_chat_templates *>(nullptr, [&] {
        return common_chat_templates_init(model, std::string(), std::string(), std::string()).release();
    });
}

SIXGIG_API void sixgig_chat_close(common_chat_templates * templates) { common_chat_templates_free(templates); }

SIXGIG_API bool sixgig_chat_has_template(const common_chat_templates * templates) {
    return common_chat_templates_was_explicit(templates);
}

// The prompt of a conversation and the parser of its answer; null on failure.
SIXGIG_API common_chat_session * sixgig_chat_begin(const common_chat_templates * templates, const llama_vocab * vocab,
                                                   const sixgig_chat_message * messages, int n_messages) {
    return guarded<common_chat_session *>(nullptr, [&] {
        common_chat_templates_inputs inputs;
        inputs.enable_thinking = common_chat_templates_support_enable_thinking(templates);
        for (int i = 0; i < n_messages; i++) {
            common_chat_msg message;
            message.role = string_of(messages[i].role);
            message.content = string_of(messages[i].content);
            message.reasoning_content = string_of(messages[i].reasoning);
            inputs.messages.push_back(message);
        }
        return new common_chat_session(templates, vocab, inputs, common_chat_session_params());
    });
}

SIXGIG_API void sixgig_chat_end(common_chat_session * session) { delete session; }

SIXGIG_API sixgig_chat_text sixgig_chat_prompt(const common_chat_session * session) {
    return {session->prompt_text.data(), session->prompt_text.size()};
}

// Is this control token part of the format, to be spelt for the parser?
SIXGIG_API bool sixgig_chat_preserves(const common_chat_session * session, int32_t token) {
    return session->preserved_tokens.count(token) > 0;
}

// The number-th string that ends an answer; null past the last.
SIXGIG_API const char * sixgig_chat_stop(const common_chat_session * session, size_t number) {
    return number < session->stops.size() ? session->stops[number].c_str() : nullptr;
}

// Takes what the model wrote since the last call: pieces[i] spells tokens[i]. False on failure.
SIXGIG_API bool sixgig_chat_feed(common_chat_session * session, const sixgig_chat_text * pieces, const int32_t * tokens,
                                 int n_pieces, bool last, sixgig_chat_answer * answer) {
    return guarded(false, [&] {
        common_chat_input chunk;
        for (int i = 0; i < n_pieces; i++) chunk.append(string_of(pieces[i]), tokens[i]);
        const common_chat_msg & parsed = last ? session->finish(chunk) : session->feed(chunk);
        answer->content = {parsed.content.data(), parsed.content.size()};
        answer->reasoning = {parsed.reasoning_content.data(), parsed.reasoning_content.size()};
        return true;
    });
}
