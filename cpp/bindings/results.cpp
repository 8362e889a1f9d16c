// Arrays for results: which memory they get, in which order, and who gives it back. Large ones have
// a Buffer as their base, which returns its memory to the pool when the last view of it is gone.

#include "results.hpp"

#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "checks.hpp"
#include "pool.hpp"

namespace fastsoftmax {
namespace {

struct GiveBack {
    int64_t bytes;
    void operator()(void* memory) const { pool::give(memory, bytes); }
};
using Buffer = Object<std::unique_ptr<void, GiveBack>>;

// A result that was made read-only may be written to again only if its base says so.
int memory_of(PyObject* buffer, Py_buffer* view, int flags) {
    const auto& memory = Buffer::of(buffer);
    return PyBuffer_FillInfo(view, buffer, memory.get(), memory.get_deleter().bytes, 0, flags);
}

// NumPy's order 'K': axes as they lie in memory, by the size of their strides.
std::vector<py::ssize_t> strides_like(const py::array& like, py::ssize_t itemsize) {
    const auto nd = static_cast<size_t>(like.ndim());
    std::vector<size_t> order(nd);
    for (size_t i = 0; i < nd; ++i) order[i] = i;
    if (like.flags() & py::array::c_style)
        ;  // strides of axes of length 1 mean nothing
    else if (like.flags() & py::array::f_style)
        std::reverse(order.begin(), order.end());
    else
        std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
            return std::abs(like.strides()[a]) > std::abs(like.strides()[b]);
        });
    std::vector<py::ssize_t> strides(nd);
    for (size_t i = nd; i-- > 0; itemsize *= std::max<py::ssize_t>(1, like.shape()[order[i]]))
        strides[order[i]] = itemsize;
    return strides;
}

// Arguments: shape, dtype, and None or an array of that shape whose order in memory is wanted.
PyObject* empty(PyObject*, PyObject* const* arguments) {
    const auto shape = py::handle(arguments[0]).cast<std::vector<py::ssize_t>>();
    const auto dtype = py::reinterpret_borrow<py::dtype>(arguments[1]);
    const int nd = static_cast<int>(shape.size());
    if (arguments[2] == Py_None) return new_array(dtype, nd, shape.data(), nullptr).release().ptr();
    const py::array like = array_of(arguments[2], "like");
    const auto strides = strides_like(like, dtype.itemsize());
    return new_array(dtype, nd, like.shape(), like.data(), strides.data()).release().ptr();
}

// Where in its page a result begins: aligned to 64 bytes, and half a page away from its source. A
// processor that compares the last 12 bits of addresses takes a load shortly behind a store for its
// reader: where both lie alike in their pages, as NumPy's large arrays do, that costs up to 20 %.
int64_t start(const void* source) {
    return (reinterpret_cast<intptr_t>(source) + pool::page / 2) % pool::page / 64 * 64;
}

py::ssize_t bytes_of(py::handle dtype, int nd, const py::ssize_t* shape) {
    py::ssize_t bytes = py::reinterpret_borrow<py::dtype>(dtype).itemsize();
    for (int i = 0; i < nd; ++i)
        if (__builtin_mul_overflow(bytes, shape[i], &bytes)) return 0;  // NumPy refuses it
    return bytes;
}

}  // namespace

py::object new_array(py::handle dtype, int nd, const py::ssize_t* shape, const void* source,
                     const py::ssize_t* strides) {
    const auto& numpy = py::detail::npy_api::get();
    const py::ssize_t bytes = bytes_of(dtype, nd, shape);
    void* const memory = bytes < recycled_from ? nullptr : pool::take(bytes);
    py::object base;
    if (memory) base = Buffer::make({memory, GiveBack{bytes}});
    char* const data = memory ? static_cast<char*>(memory) + start(source) : nullptr;
    // Without memory NumPy finds some, or words of its own for that there is none.
    PyObject* const made =
        numpy.PyArray_NewFromDescr_(numpy.PyArray_Type_, dtype.inc_ref().ptr(), nd, shape, strides,
                                    data, data ? numpy.NPY_ARRAY_WRITEABLE_ : 0, nullptr);
    if (!made) throw py::error_already_set();
    auto array = py::reinterpret_steal<py::object>(made);
    if (base && numpy.PyArray_SetBaseObject_(made, base.release().ptr()) != 0)
        throw py::error_already_set();
    return array;
}

void add_results(py::module_& m) {
    Buffer::ready(m, "Buffer", nullptr, nullptr, memory_of);
    static PyMethodDef method =
        fast_method<empty, 3>("empty", "shape, dtype, like: an array of unknown content.");
    m.attr("empty") = py::reinterpret_steal<py::object>(PyCFunction_New(&method, nullptr));
    m.def("clear_cache", &pool::clear, "Return all idle memory of results to the system.");
    m.def("idle_bytes", &pool::idle, "Memory of results that is kept for others.");
    m.def("idle_limit", &pool::limit, "The most of it.");
    m.def("set_idle_limit", &pool::set_limit, py::arg("limit"));
}

}  // namespace fastsoftmax
