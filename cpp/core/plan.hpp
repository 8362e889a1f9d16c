// From a request in terms of shapes and strides to kernels over blocks of rows on threads.
#pragma once

#include "kernels.hpp"

namespace fastsoftmax {

constexpr int max_axes = 64;  // NumPy's limit

struct Request {
    Op op;
    Elem in, out;
    bool weighted;
    int num_batch, num_class;  // axes; none is a single row, or a single class
    Axis batch[max_axes], classes[max_axes];
    Row first;
    int threads;  // at most
    // Of losses: as in `Job`; `out` gets the gradient, or is null.
    const void* class_weights = nullptr;
    double smoothing = 0, scale = 1;
    Elem target{};
    double* sum = nullptr;  // of a binary cross-entropy
};

// Fills `out` (and `sign`). No axis is empty. Throws std::bad_alloc before anything is written.
void run(const Kernels& kernels, Request& request);

// Elements that a request visits: what the work is proportional to.
int64_t elements(const Request& request);

}  // namespace fastsoftmax
