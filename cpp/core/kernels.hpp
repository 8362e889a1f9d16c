// THE SEAM: what a compiled copy of the kernels takes and offers, in plain structs and pointers.
// No Python, no SIMD types, no STL: this header is read by baseline and by ISA-specific code alike.
#pragma once

#include <stdint.h>

namespace fastsoftmax {

enum class Elem : uint8_t { f32, f64, f16, bf16 };
constexpr int num_elems = 4;
constexpr int elem_size[] = {4, 8, 2, 2};

enum class Op : uint8_t {
    softmax,
    log_softmax,
    logsumexp,
    cross_entropy,
    nll_loss,
    softmax_backward,
    log_softmax_backward,
    sigmoid,
    log_sigmoid,
    binary_cross_entropy
};
constexpr int num_ops = 3;  // that have a kernel for every regime: the first ones

// In place of a class label: the row has loss 0, whatever it holds. Any other number out of range
// makes its loss NaN; the gradient is 0 for both.
constexpr int64_t ignored_label = -1;

// One axis: its length and, for each array, the step from one index to the next in bytes.
struct Axis {
    int64_t size;
    int64_t x, out, where, temperature, weights, sign, label, target, pos_weights, loss;
};

// One row: where each array has its first element. All but x, out and temperature may be null, and
// out is where only losses are wanted.
struct Row {
    const char* x;
    char* out;
    const char* where;
    const char* temperature;  // float64
    const char* weights;      // in the compute type
    char* sign;               // like out
    const char* label;        // int64
    const char* target;       // class probabilities; or the gradient of a result
    const char* pos_weights;  // in the compute type
    char* loss;               // in the compute type; of independent classes in that of x
};

// Local to each object file: a shared inline function could carry one ISA's code into another's.
namespace {
inline void advance(Row& row, const Axis& a, int64_t by) {
    row.x += by * a.x;
    row.out += by * a.out;
    row.temperature += by * a.temperature;
    if (row.where) row.where += by * a.where;
    if (row.weights) row.weights += by * a.weights;
    if (row.sign) row.sign += by * a.sign;
    if (!row.target && !row.label) return;  // the rest come with one of these
    if (row.label) row.label += by * a.label;
    if (row.target) row.target += by * a.target;
    if (row.pos_weights) row.pos_weights += by * a.pos_weights;
    if (row.loss) row.loss += by * a.loss;
}
}  // namespace

// What all rows of a call have in common.
struct Job {
    Elem in, out;
    bool in_place;        // x and out are the same memory
    bool plain_x;         // x: one contiguous class axis, and so is the mask's; readable in vectors
    bool contiguous_out;  // out: one contiguous class axis
    bool streaming;       // the result goes past the caches
    int num_class_axes;   // merged; 1 in nearly all calls
    const Axis* classes;  // outermost first
    int64_t num_classes;
    int rows_kept;  // rows that `scratch` has room for, in the compute type
    bool aside;     // exponentials go there though the result could hold them
    // Of losses:
    const void* class_weights;  // in the compute type, contiguous; null: 1
    double smoothing;           // share of a label's distribution that goes to all classes
    double scale;               // of the gradient
    Elem target;
};

// Computes `count` rows, `step` apart; for a column kernel x and out are contiguous along `step`.
// `scratch` is aligned to 64 bytes.
using Kernel = void (*)(const Job&, Row first, int64_t count, const Axis& step, void* scratch);

// What a piece of a row, or all of them, sum to.
struct Part {
    double high, low;
};

// softmax of one row by several threads, in pieces of `length` classes from k0 = 0, length, ... on.
// For contiguous class axes. `kept`: room for a row in the compute type, or null.
struct Pieces {
    int64_t length;
    double (*guess)(const Job&, const Row&);            // of the maximum; reads the first classes
    double (*max)(const Job&, const Row&, int64_t k0);  // of a piece, NaN left out
    bool (*suits)(const Job&, const Row&, double top);  // as `top` of the functions below
    Part (*sum)(const Job&, const Row&, void* kept, double top, int64_t k0);
    bool (*total)(const Part*, int64_t count, Part* of);  // false if the guess was too far off
    void (*finish)(const Job&, const Row&, void* kept, double top, const Part& total, int64_t k0);
};

// Loops that do one thing only, to learn what the hardware allows: n floats moved or read, so many
// times over; n exponentials. What they return keeps the work from being left out.
struct Probes {
    void (*copy[2])(const void* x, void* y, int64_t n, int64_t repetitions);  // [non-temporal]
    double (*read)(const void* x, int64_t n, int64_t repetitions);
    double (*exp[2])(int64_t n);  // [float64]
};

// Those of candidate sampling, in sampled.hpp.
struct SampledKernels;

// Those of losses and gradients.
struct LossKernels {
    int few_classes;  // up to so many, by labels, a contiguous row is summed class by class
    // Cross-entropy by labels, [float64][the sums of `rows`, of `strided`]; by distributions.
    Kernel by_label[2][2], by_distribution[2];
    Kernel label_few[2];             // by labels, few classes side by side; as well
    Kernel label_column[num_elems];  // by labels; the sums of `strided`, rows side by side
    Kernel at_label[2];              // nll_loss
    // [float64][log_softmax][class axis not contiguous: any number of rows side by side]
    Kernel backward[2][2][2];
    // [float64][sigmoid, log_sigmoid, binary cross-entropy]: rows of one element; the last leaves
    // the sum of the losses, a double, in `scratch`.
    Kernel elements[2][3];
};

// The kernels of one instruction set, by [float64][op].
struct Kernels {
    const char* name;
    int columns[2];                     // rows that `column` and `few` take at a time, by [float64]
    int few_classes[2][num_ops];        // up to so many a contiguous row is summed class by class
    int several_classes;                // up to so many `several` takes rows
    Kernel rows[2][num_ops];            // contiguous class axis: sums vector by vector
    Kernel strided[2][num_ops];         // any class axis: sums class by class
    Kernel column[num_elems][num_ops];  // the same sums, rows side by side; by type of x and out
    Kernel few[2][num_ops];             // the same sums, few classes, contiguous class axis
    Kernel several;                     // softmax in float32 of more; the sums of `rows`
    Pieces split[num_elems];            // softmax of a long row, by type of the result
    // The exponential inside the kernels, for x <= 0: to measure its error and its speed. Gives e^x
    // times a unit, which it returns; to divide by it would add a rounding that no kernel does.
    double (*exp[2])(const void* x, void* y, int64_t n);
    Probes probes;
    const LossKernels* losses;
    const SampledKernels* sampled;
};

}  // namespace fastsoftmax
