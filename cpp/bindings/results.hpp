// Arrays for results, large ones in recycled memory.
#pragma once

#include "fastcall.hpp"

namespace fastsoftmax {

// From so many bytes on memory is recycled. NumPy keeps smaller blocks itself, and is quicker
// there.
constexpr py::ssize_t recycled_from = 64 * 1024;

// An array of unknown content, in C order if `strides` is null, for a result computed from what
// lies at `source`.
py::object new_array(py::handle dtype, int nd, const py::ssize_t* shape, const void* source,
                     const py::ssize_t* strides = nullptr);

void add_results(py::module_& m);

}  // namespace fastsoftmax
