// Draws of classes: from a generator's uniform numbers to ids, with or without replacement. What a
// sampler's probabilities are, and what follows when the draws run out, is not known here.
#pragma once

#include "sampled.hpp"

namespace fastsoftmax {

// A random generator as NumPy lays it out: its `bitgen_t`.
struct Generator {
    void* state;
    uint64_t (*next_uint64)(void*);
    uint32_t (*next_uint32)(void*);
    double (*next_double)(void*);
    uint64_t (*next_raw)(void*);
};

// The maps from u in [0, 1) to an id, as in `_typing.py`.
enum class DrawKind : int { uniform, log_uniform, alias, counts };
constexpr int num_draw_kinds = 4;

// Fields as in `_typing.DrawCall`; tables are null where their map needs none.
struct DrawRequest {
    DrawKind kind;
    int64_t num_classes;
    double scale;
    const double* thresholds;
    const int64_t *aliases, *tree;
    Generator* generator;
    int64_t* ids;
    int64_t wanted;
    bool unique;
    const int64_t* excluded;  // sorted
    int64_t num_excluded;
    int64_t most_draws;
};

struct Drawn {
    int64_t found, tries;
};

// Takes one number of the generator for each draw, and not one more than are needed.
Drawn draw(const Kernels& kernels, const DrawRequest& request);

}  // namespace fastsoftmax
