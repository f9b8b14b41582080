// Large pages for memory the engine allocates: fewer address translations when weights are streamed through the CPU.
#pragma once

namespace sixgig {

// Advises huge pages for every large anonymous mapping that nobody advised otherwise; call it when buffers are allocated and
// not yet filled. The pager's own regions are left alone: a huge page there would hold experts the budget does not count.
void advise_huge_pages();

}  // namespace sixgig
