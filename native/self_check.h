// Refuses a llama.cpp library whose plug-in interface is not the one ggml_abi.h declares.
#pragma once

namespace sixgig {

// Null when the loaded library matches; else a sentence naming what was expected and what was found.
const char * interface_mismatch();

}  // namespace sixgig
