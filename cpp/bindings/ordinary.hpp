// Shortcuts: what a public function's own arguments are, without Python's normal form of a call.
#pragma once

#include <string.h>

#include <algorithm>

#include "bindings.hpp"

namespace fastsoftmax {

struct Ordinary {
    const Kernels* kernels;
    py::object unset;  // the value of an argument that was not given
};
using Shortcut = Object<Ordinary>;

using api = py::detail::npy_api;
using Array = py::detail::PyArray_Proxy;

inline PyObject* declined() {
    return py::reinterpret_borrow<py::object>(Py_NotImplemented).release().ptr();
}

// A type of scores or results, and its descriptor (borrowed); none if that is null.
struct Type {
    Elem elem{};
    PyObject* descr = nullptr;

    bool wide() const { return elem == Elem::f64; }
    int64_t size() const { return elem_size[static_cast<int>(elem)]; }
};

// bfloat16 is of ml_dtypes, which numbers its types as it is imported: known by name.
inline bool is_bfloat16(const PyTypeObject* scalar) {
    const char* const dot = strrchr(scalar->tp_name, '.');
    return strcmp(dot ? dot + 1 : scalar->tp_name, "bfloat16") == 0;
}

inline Type type_of(PyObject* descr) {
    const auto* const d = py::detail::array_descriptor_proxy(descr);
    if (d->byteorder != '=') return {};
    switch (d->type_num) {
        case api::NPY_FLOAT_:
            return {Elem::f32, descr};
        case api::NPY_DOUBLE_:
            return {Elem::f64, descr};
        case 23:  // NPY_HALF
            return {Elem::f16, descr};
        default:
            break;
    }
    if (d->kind == 'V' && is_bfloat16(reinterpret_cast<PyTypeObject*>(d->typeobj)))
        return {Elem::bf16, descr};
    return {};
}

// An exact ndarray in C order; else null.
inline const Array* plain(PyObject* given, const api& numpy) {
    if (Py_TYPE(given) != numpy.PyArray_Type_) return nullptr;
    const Array* const a = py::detail::array_proxy(given);
    return a->flags & api::NPY_ARRAY_C_CONTIGUOUS_ ? a : nullptr;
}

// Not by memcmp: of nothing, at the null pointer of an array without dimensions, it is a masked
// load that faults in silence, which takes 30 ns with AVX-512.
inline bool same_shape(const Array& a, int nd, const py::ssize_t* shape) {
    return a.nd == nd && std::equal(shape, shape + nd, a.dimensions);
}

inline bool apart(const void* a, int64_t a_size, const void* b, int64_t b_size) {
    const auto first = reinterpret_cast<intptr_t>(a), second = reinterpret_cast<intptr_t>(b);
    return first + a_size <= second || second + b_size <= first;
}

// A float32 or float64 as a NumPy scalar, 120 ns quicker than by way of an array and its [()].
inline py::object new_scalar(const Type& of, const void* number) {
    auto* const type =
        reinterpret_cast<PyTypeObject*>(py::detail::array_descriptor_proxy(of.descr)->typeobj);
    PyObject* const made = type->tp_alloc(type, 0);
    if (!made) throw py::error_already_set();
    memcpy(made + 1, number, static_cast<size_t>(of.size()));  // Py(Float|Double)ScalarObject
    return py::reinterpret_steal<py::object>(made);
}

}  // namespace fastsoftmax
