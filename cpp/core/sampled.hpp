// The seam of candidate sampling: what a compiled copy offers for draws and for rows of a table of
// weights, a row per class. Plain structs and pointers, as in kernels.hpp.
#pragma once

#include "kernels.hpp"

namespace fastsoftmax {

// A matrix of any type and with any steps, in bytes, between rows and between columns.
struct Table {
    char* data;
    int64_t rows, columns, row_step, column_step;
    Elem type;
};

// By [float64], the compute type; what is not a `Table` is contiguous and of that type.
struct SampledKernels {
    // Rows `ids`, n of them, which are in range.
    void (*gather[2])(const Table&, const int64_t* ids, int64_t n, void* out);
};

}  // namespace fastsoftmax
