// The engine's server makes a chat completion of a request in Anthropic's format and keeps only the fields it knows. Which of
// its slots shall answer, and whether what that slot holds may be reused, is not among them. Stands before that conversion in
// the global scope, as server_loader.cpp does before another function, and copies these fields as well.
#define _GLIBCXX_USE_CXX11_ABI 0  // std::string as the engine's library was built with
#include <dlfcn.h>

#include <string>

#define SIXGIG_API extern "C" __attribute__((visibility("default")))

// The engine's JSON value: what lies in it is its own affair, and moved by functions of its library only.
class common_json {
  public:
    common_json(const common_json & other);
    ~common_json();

  private:
    alignas(8) unsigned char storage_[32];
};

namespace {

constexpr const char * COPIED[] = {"id_slot", "cache_prompt"};

// Addresses in the engine's library, by their C++ names.
struct Engine {
    common_json (*convert)(const common_json &);
    void (*copy)(common_json *, const common_json &);
    void (*destroy)(common_json *);
    bool (*contains)(const common_json *, const std::string &);
    const common_json & (*at)(const common_json *, const std::string &);
    common_json & (*field)(common_json *, const std::string &);
    common_json & (*assign)(common_json *, common_json);
} engine;

template <class Function> bool find(void * library, const char * name, Function * function) {
    *function = reinterpret_cast<Function>(dlsym(library, name));
    return *function != nullptr;
}

}  // namespace

common_json::common_json(const common_json & other) { engine.copy(this, other); }
common_json::~common_json() { engine.destroy(this); }

// 1 when all was found in the engine's library, a handle of dlopen(); before a server is made.
SIXGIG_API int sixgig_prepare_messages(void * library) {
    return find(library, "_Z36server_chat_convert_anthropic_to_oaiRK11common_json", &engine.convert) &&
           find(library, "_ZN11common_jsonC1ERKS_", &engine.copy) && find(library, "_ZN11common_jsonD1Ev", &engine.destroy) &&
           find(library, "_ZNK11common_json8containsERKSs", &engine.contains) &&
           find(library, "_ZNK11common_json2atERKSs", &engine.at) && find(library, "_ZN11common_jsonixERKSs", &engine.field) &&
           find(library, "_ZN11common_jsonaSES_", &engine.assign);
}

__attribute__((visibility("default"))) common_json server_chat_convert_anthropic_to_oai(const common_json & body) {
    common_json converted = engine.convert(body);
    for (const char * name : COPIED) {
        const std::string key(name);
        if (engine.contains(&body, key)) engine.assign(&engine.field(&converted, key), engine.at(&body, key));
    }
    return converted;
}
