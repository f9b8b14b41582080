// Our own declarations of the engine's C++ chat interface, as the pinned wheel exports it: templates, prompts, parsers.
// Names and member order are the interface (they make the symbols and the layout); what follows the last member that is
// read here is room only. The engine's strings are those of the libstdc++ ABI that it was built with, so this is
// compiled once for each (CMakeLists.txt). Pinned with the wheel; tests/null/test_chat_format.py would notice a change.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

struct llama_model;
struct llama_vocab;
struct common_chat_templates;

struct common_chat_msg_content_part {
    std::string type, text;
};

struct common_chat_tool_call {
    std::string name, arguments, id;
};

struct common_chat_msg {
    std::string role, content;
    std::vector<common_chat_msg_content_part> content_parts;
    std::vector<common_chat_tool_call> tool_calls;
    std::string reasoning_content, tool_name, tool_call_id;
};

enum common_reasoning_format : int { COMMON_REASONING_FORMAT_DEEPSEEK = 3 };  // thinking apart, as the server's default

struct common_chat_tool {
    std::string name, description, parameters;
};

struct common_chat_templates_inputs {
    std::vector<common_chat_msg> messages;
    std::string grammar, json_schema;
    bool add_generation_prompt = true;
    int continue_final_message = 0;
    bool use_jinja = true;
    std::vector<common_chat_tool> tools;
    int tool_choice = 0;
    bool parallel_tool_calls = false;
    common_reasoning_format reasoning_format = COMMON_REASONING_FORMAT_DEEPSEEK;
    bool enable_thinking = true;
    std::chrono::system_clock::time_point now = std::chrono::system_clock::now();
    std::map<std::string, std::string> chat_template_kwargs;
    bool add_bos = false, add_eos = false;
    bool force_pure_content = false;
};

struct common_chat_input {
    std::string text;
    std::vector<int32_t> tokens;  // one for each byte of text

    void append(const std::string & piece, int32_t token);
};

struct common_chat_session_params {
    bool echo = false, debug = false;
};

struct common_grammar_trigger {
    int type;
    std::string value;
    int32_t token;
};

class common_chat_session {
  public:
    common_chat_session(const common_chat_templates *, const llama_vocab *, const common_chat_templates_inputs &,
                        const common_chat_session_params &);
    common_chat_session(const common_chat_session &) = delete;
    ~common_chat_session();

    const common_chat_msg & feed(const common_chat_input & chunk);
    const common_chat_msg & finish(const common_chat_input & chunk);

    std::string prompt_text, grammar_text;
    bool grammar_lazy;
    std::vector<common_grammar_trigger> grammar_triggers;
    std::set<int32_t> preserved_tokens;
    std::vector<std::string> stops;
    alignas(16) char room[4096];
};

void common_chat_templates_free(common_chat_templates *);

struct common_chat_templates_deleter {
    void operator()(common_chat_templates * templates) const { common_chat_templates_free(templates); }
};

using common_chat_templates_ptr = std::unique_ptr<common_chat_templates, common_chat_templates_deleter>;

common_chat_templates_ptr common_chat_templates_init(const llama_model *, const std::string & source,
                                                     const std::string & bos, const std::string & eos);
bool common_chat_templates_was_explicit(const common_chat_templates *);
bool common_chat_templates_support_enable_thinking(const common_chat_templates *);
void common_log_set_verbosity_thold(int verbosity);
