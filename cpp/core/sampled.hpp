// The seam of candidate sampling: what a compiled copy offers for draws and for rows of a table of
// weights, a row per class: to read them, and to take an optimizer's steps on them. Plain structs
// and pointers, as in kernels.hpp.
#pragma once

#include "kernels.hpp"

namespace fastsoftmax {

// A matrix of any type and with any steps, in bytes, between rows and between columns.
struct Table {
    char* data;
    int64_t rows, columns, row_step, column_step;
    Elem type;
};

// The weights of each example's true classes, [examples, true_classes, columns].
struct TrueRows {
    const void* rows;
    int64_t true_classes, columns;
};

// What rows of one class are summed from; `order` and `starts` as in `_typing.Match`.
struct RowSums {
    const int64_t *order, *starts;
    int64_t candidates, true_classes, columns;
    const void *of_candidates, *factors, *x;
    void* out;
};

constexpr int most_at_once = 512;  // draws: what they need on the way stays in L1
enum class Rule : uint8_t { sgd, adagrad, adam };
constexpr int num_rules = 3;
constexpr int num_states[] = {0, 1, 2};  // tables that a rule keeps beside the weights

// A step on rows of a table; every table but `rows` is changed.
struct RowUpdate {
    Table weight;
    Table states[2];                     // of weight's size and the compute type
    Table rows;                          // gradients: row i is that of row ids[i] of the others
    const int64_t* ids;                  // in range, each greater than the one before
    double rate, decay, eps, shares[2];  // numbers of the compute type; see row_updates.inl
};

// By [float64], the compute type; what is not a `Table` is contiguous and of that type, but for the
// rows of logits, `row_step` bytes apart. Those with `first` and `last` do a part of the work.
struct SampledKernels {
    // Rows `ids`, n of them, which are in range.
    void (*gather[2])(const Table&, const int64_t* ids, int64_t n, void* out);
    void (*row_dots[2])(const TrueRows&, const void* x, void* out, int64_t first, int64_t last);
    void (*add_scaled[2])(const TrueRows&, const void* factors, void* out, int64_t first,
                          int64_t last);
    void (*shift[2])(char* logits, int64_t row_step, const void* offsets, int64_t columns,
                     int64_t first, int64_t last);
    void (*sum[2])(const RowSums&, int64_t first, int64_t last);
    // By [float64][rule].
    void (*update[2][num_rules])(const RowUpdate&, int64_t first, int64_t last);
    // Ids below `classes` from uniform numbers in [0, 1), n of them, at most `most_at_once`.
    void (*log_uniform)(const double* u, double log_range, int64_t classes, int64_t* ids, int n);
};

}  // namespace fastsoftmax
