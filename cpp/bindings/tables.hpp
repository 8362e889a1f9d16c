// What operations on rows of tables share: tables and indices as Python hands them in, parts of the
// work with or without the GIL. Checks as in checks.hpp.
#pragma once

#include "bindings.hpp"
#include "checks.hpp"
#include "parts.hpp"
#include "sampled.hpp"

namespace fastsoftmax {

inline Table table_of(py::handle given, const char* name = "table") {
    const auto a = array_of(given, name);
    require(a.ndim() == 2, "a table: not two-dimensional");
    return {const_cast<char*>(static_cast<const char*>(a.data())),
            a.shape(0),
            a.shape(1),
            a.strides(0),
            a.strides(1),
            elem_of(a, name)};
}

// Contiguous int64, each of them from 0 to below `limit`.
inline const int64_t* indices_of(const py::array& a, int64_t limit, const char* name) {
    const py::dtype type = a.dtype();
    require(type.kind() == 'i' && type.itemsize() == 8 && type.byteorder() != '>', name);
    require_contiguous(a, name);
    const auto* const found = static_cast<const int64_t*>(a.data());
    const int64_t n = a.size();
    bool inside = true;
    for (int64_t i = 0; i < n; ++i)
        inside &= static_cast<uint64_t>(found[i]) < static_cast<uint64_t>(limit);
    require(inside, name);
    return found;
}

inline int threads_of(py::handle given) {
    const int threads = given.cast<int>();
    require(threads >= 1, "threads: not positive");
    return threads;
}

inline const SampledKernels& sampled_of(PyObject* self) { return *TargetObject::of(self)->sampled; }

// Runs do_part on parts of `count` things of `size` numbers each, without the GIL if that pays.
template <class DoPart>
void deal(int64_t count, int64_t size, int threads, DoPart do_part) {
    if (count * size < elements_with_gil) {
        do_part(int64_t(0), count);
    } else {
        const WithoutGil unlocked;
        in_parts(count, size, threads, do_part);
    }
}

// The same as the last of a method: returns None.
template <class DoPart>
PyObject* dealt(int64_t count, int64_t size, int threads, DoPart do_part) {
    deal(count, size, threads, do_part);
    return py::none().release().ptr();
}

}  // namespace fastsoftmax
