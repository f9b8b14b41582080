// Paging without Python: a llama.cpp program that loads this backend finds what to page in a file that the environment
// variable SIXGIG_EXPERTS names. The format is described in sixgig/pager/manifest.py.
#pragma once

#include <memory>
#include <string>

#include "pager.h"

namespace sixgig {

// Null with *problem filled when the file cannot be used.
std::shared_ptr<Pager> read_manifest(const char * path, std::string * problem);

}  // namespace sixgig
