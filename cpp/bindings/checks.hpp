// Questions that the bindings ask of what Python hands in, and their refusals: they are for
// mistakes in this package's own Python, which asks first and says more.
#pragma once

#include <string>

#include "fastcall.hpp"
#include "kernels.hpp"

namespace fastsoftmax {

inline void require(bool holds, const char* message) {
    if (!holds) throw py::value_error(message);
}

inline py::array array_of(py::handle given, const char* name) {
    if (!py::isinstance<py::array>(given)) throw py::type_error(std::string(name) + ": no array");
    return py::reinterpret_borrow<py::array>(given);
}

inline Elem elem_of(const py::array& a, const char* name) {
    const py::dtype type = a.dtype();
    if (type.byteorder() != '>') {
        switch (type.char_()) {
            case 'f':
                return Elem::f32;
            case 'd':
                return Elem::f64;
            case 'e':
                return Elem::f16;
            default:
                break;
        }
        if (type.kind() == 'V' && type.itemsize() == 2) return Elem::bf16;
    }
    throw py::type_error(std::string(name) + ": unexpected dtype " +
                         py::str(type).cast<std::string>());
}

inline void require_contiguous(const py::array& a, const char* name) {
    if ((a.flags() & py::array::c_style) == 0)
        throw py::value_error(std::string(name) + ": not contiguous");
}

}  // namespace fastsoftmax
