// Memory for results, kept for the next ones when it is given back: pages that the system has to
// clear first cost more time than a softmax.
#pragma once

#include <stdint.h>

namespace fastsoftmax::pool {

constexpr int64_t page = 4096;

// At least so many bytes and a page more, aligned to a page, of unknown content; null if there are
// none to be had. The page lets the caller choose where in a page to begin.
void* take(int64_t bytes) noexcept;

// Back with what `take` gave for so many bytes.
void give(void* memory, int64_t bytes) noexcept;

// Returns all that is idle to the system.
void clear() noexcept;

// Idle memory is at most `bytes`; of more, that which was idle longest goes back to the system.
void set_limit(int64_t bytes) noexcept;

int64_t limit() noexcept;
int64_t idle() noexcept;

}  // namespace fastsoftmax::pool
