// Which compiled copies of the kernels there are and which of them this processor can run.
#pragma once

#include "kernels.hpp"

namespace fastsoftmax {

struct Target {
    const Kernels* kernels;
    const char* against;  // why it cannot run here; null if it can
};

constexpr int max_targets = 3;

// All targets, best first; returns how many.
int targets(Target (&list)[max_targets]);

}  // namespace fastsoftmax
