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

// A null array for None.
inline py::array optional_array_of(py::handle given, const char* name) {
    if (given.is_none()) return py::reinterpret_steal<py::array>(py::handle());
    return array_of(given, name);
}

// The shape of x, with length 1 where `reduced` says so.
inline void require_shape(const py::array& a, const py::array& x, const bool* reduced,
                          const char* name) {
    bool same = a.ndim() == x.ndim();
    for (py::ssize_t i = 0; same && i < x.ndim(); ++i)
        same = a.shape(i) == (reduced && reduced[i] ? 1 : x.shape(i));
    if (!same) throw py::value_error(std::string(name) + ": unexpected shape");
}

// Marks those of `ndim` axes that a tuple names, each once.
inline void mark_axes(const py::tuple& axes, py::ssize_t ndim, bool* marked) {
    for (const py::handle axis : axes) {
        const auto i = axis.cast<py::ssize_t>();
        require(i >= 0 && i < ndim && !marked[i], "axes: out of range or repeated");
        marked[i] = true;
    }
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
