// What the files of the extension module share.
#pragma once

#include "fastcall.hpp"
#include "gil.hpp"
#include "plan.hpp"

namespace fastsoftmax {

// The kernels of one instruction set as a Python object.
using TargetObject = Object<const Kernels*>;

void add_target(py::module_& m);    // Target, with its operations on the normal form of a call
void add_shortcut(py::module_& m);  // Shortcut, with its operations on a caller's own arguments
void add_function(py::module_& m);  // Function, which calls shortcuts on behalf of Python functions
void add_probes(py::module_& m);    // what measures the core

// A method of Shortcut, in loss_shortcut.cpp.
PyObject* ordinary_cross_entropy(PyObject* self, PyObject* const* arguments);

// Methods of Target, in losses.cpp.
template <Op op>
PyObject* class_loss(PyObject* self, PyObject* const* arguments);
PyObject* binary_loss(PyObject* self, PyObject* const* arguments);
template <Op op>
PyObject* backward(PyObject* self, PyObject* const* arguments);

// Methods of Target, in table_rows.cpp.
PyObject* gather_rows(PyObject* self, PyObject* const* arguments);
PyObject* match_classes(PyObject* self, PyObject* const* arguments);
PyObject* row_dots(PyObject* self, PyObject* const* arguments);
PyObject* add_scaled_rows(PyObject* self, PyObject* const* arguments);
PyObject* shift_columns(PyObject* self, PyObject* const* arguments);
PyObject* sum_rows(PyObject* self, PyObject* const* arguments);

// A method of Target, in draws.cpp.
PyObject* draw_classes(PyObject* self, PyObject* const* arguments);
// A method of Target, in row_updates.cpp.
PyObject* update_rows(PyObject* self, PyObject* const* arguments);

// Below this many elements a call is over sooner than the GIL is handed back and forth.
constexpr int64_t elements_with_gil = 16 * 1024;

inline void run_unlocked(const Kernels& kernels, Request& request) {
    if (elements(request) < elements_with_gil) return run(kernels, request);
    const WithoutGil unlocked;
    run(kernels, request);
}

}  // namespace fastsoftmax
