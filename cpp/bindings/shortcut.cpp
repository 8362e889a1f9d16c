// Shortcut's operations: a public function's own arguments, in the ordinary case: exact arrays of
// float32 or float64 in C order, the last axis or all, nothing masked, scaled or converted. They
// decline everything else (NotImplemented) for `_arrays` to treat or to refuse.

#include <string.h>

#include "bindings.hpp"
#include "results.hpp"

namespace fastsoftmax {
namespace {

struct Ordinary {
    const Kernels* kernels;
    py::object unset;  // the value of an argument that was not given
};
using Shortcut = Object<Ordinary>;

using api = py::detail::npy_api;
using Array = py::detail::PyArray_Proxy;

PyObject* declined() {
    return py::reinterpret_borrow<py::object>(Py_NotImplemented).release().ptr();
}

int type_number(const Array& a) { return py::detail::array_descriptor_proxy(a.descr)->type_num; }

// An exact ndarray in C order of native float32 or float64; else null.
const Array* plain(PyObject* given, const api& numpy) {
    if (Py_TYPE(given) != numpy.PyArray_Type_) return nullptr;
    const Array* const a = py::detail::array_proxy(given);
    const auto* const type = py::detail::array_descriptor_proxy(a->descr);
    const bool fits = (type->type_num == api::NPY_FLOAT_ || type->type_num == api::NPY_DOUBLE_) &&
                      type->byteorder == '=' && (a->flags & api::NPY_ARRAY_C_CONTIGUOUS_);
    return fits ? a : nullptr;
}

struct Rows {
    int64_t count, classes;
    int kept;  // leading dimensions that are not classes
};

// The rows of x along `axis`, if that is the last one or all; else none.
Rows rows_of(const Array& x, PyObject* axis, bool all) {
    Rows rows{1, 1, 0};
    if (axis == Py_None)
        all = true;
    else if (axis) {
        all = false;
        if (!PyLong_CheckExact(axis)) return {};
        int overflow;
        const long i = PyLong_AsLongAndOverflow(axis, &overflow);
        if (overflow || (i != -1 && i != x.nd - 1)) return {};
    }
    rows.kept = all ? 0 : x.nd - 1;
    for (int i = 0; i < x.nd; ++i) (i < rows.kept ? rows.count : rows.classes) *= x.dimensions[i];
    return x.nd ? rows : Rows{};
}

bool apart(const char* a, int64_t a_size, const char* b, int64_t b_size) {
    return a + a_size <= b || b + b_size <= a;
}

// A number of x's type as a NumPy scalar, 120 ns quicker than by way of an array and its [()].
py::object new_scalar(const Array& like, const void* number, size_t size) {
    auto* const type =
        reinterpret_cast<PyTypeObject*>(py::detail::array_descriptor_proxy(like.descr)->typeobj);
    PyObject* const made = type->tp_alloc(type, 0);
    if (!made) throw py::error_already_set();
    memcpy(made + 1, number, size);  // PyFloatScalarObject, PyDoubleScalarObject
    return py::reinterpret_steal<py::object>(made);
}

// The result for `x`, `rows` and the caller's `out`; null if `out` is not of the ordinary kind.
template <Op op>
py::object result_for(const Array& x, const Rows& rows, PyObject* out, const api& numpy) {
    const int nd = op == Op::logsumexp ? rows.kept : x.nd;
    if (out == Py_None) return new_array(x.descr, nd, x.dimensions, x.data);
    const Array* const y = plain(out, numpy);
    if (!y || !(y->flags & api::NPY_ARRAY_WRITEABLE_) || y->nd != nd ||
        type_number(*y) != type_number(x) ||
        memcmp(y->dimensions, x.dimensions, static_cast<size_t>(nd) * sizeof *x.dimensions) != 0)
        return {};
    const int64_t size = type_number(x) == api::NPY_DOUBLE_ ? 8 : 4;
    const int64_t bytes = rows.count * rows.classes * size;
    const bool in_place = op != Op::logsumexp && x.data == y->data;
    if (!in_place &&
        !apart(x.data, bytes, y->data, op == Op::logsumexp ? rows.count * size : bytes))
        return {};
    return py::reinterpret_borrow<py::object>(out);
}

template <Op op>
PyObject* over_rows(const Ordinary& self, PyObject* given, PyObject* axis, PyObject* out,
                    PyObject* threads) {
    const api& numpy = api::get();
    const Array* const x = plain(given, numpy);
    if (!x) return declined();
    const Rows rows = rows_of(*x, axis == self.unset.ptr() ? nullptr : axis, op == Op::logsumexp);
    if (rows.count * rows.classes == 0) return declined();
    const bool single = op == Op::logsumexp && rows.kept == 0 && out == Py_None;
    py::object result = single ? py::none() : result_for<op>(*x, rows, out, numpy);
    if (!result) return declined();

    constexpr double temperature = 1;
    double number;  // a single result, which becomes a scalar
    const bool wide = type_number(*x) == api::NPY_DOUBLE_;
    const int64_t size = wide ? 8 : 4, row = rows.classes * size;
    Request r;
    r.op = op;
    r.in = r.out = wide ? Elem::f64 : Elem::f32;
    r.weighted = false;
    r.num_batch = r.num_class = 1;
    r.batch[0] = {rows.count, row, op == Op::logsumexp ? size : row, 0, 0, 0, 0};
    r.classes[0] = {rows.classes, size, op == Op::logsumexp ? 0 : size, 0, 0, 0, 0};
    char* const y =
        single ? reinterpret_cast<char*>(&number) : py::detail::array_proxy(result.ptr())->data;
    r.first = {x->data, y, nullptr, reinterpret_cast<const char*>(&temperature), nullptr, nullptr};
    r.threads = static_cast<int>(PyLong_AsLong(threads));
    if (r.threads == -1 && PyErr_Occurred()) throw py::error_already_set();
    run_unlocked(*self.kernels, r);
    if (single) result = new_scalar(*x, &number, static_cast<size_t>(size));
    return result.release().ptr();
}

// Arguments: x, axis, dim, out, dtype, where, temperature, threads.
template <Op op>
PyObject* elementwise(PyObject* self, PyObject* const* arguments) {
    const auto& [x, axis, dim, out, dtype, where, temperature, threads] =
        *reinterpret_cast<PyObject* const(*)[8]>(arguments);
    const Ordinary& own = Shortcut::of(self);
    if (dim != own.unset.ptr() || dtype != Py_None || where != Py_None ||
        !PyFloat_CheckExact(temperature) || PyFloat_AS_DOUBLE(temperature) != 1)
        return declined();
    return over_rows<op>(own, x, axis, out, threads);
}

// Arguments: x, axis, dim, b, keepdims, return_sign, where, dtype, out, threads.
PyObject* logsumexp(PyObject* self, PyObject* const* arguments) {
    const auto& [x, axis, dim, b, keepdims, return_sign, where, dtype, out, threads] =
        *reinterpret_cast<PyObject* const(*)[10]>(arguments);
    const Ordinary& own = Shortcut::of(self);
    if (dim != own.unset.ptr() || b != Py_None || keepdims != Py_False || return_sign != Py_False ||
        where != Py_None || dtype != Py_None)
        return declined();
    return over_rows<Op::logsumexp>(own, x, axis, out, threads);
}

}  // namespace

void add_shortcut(py::module_& m) {
    static PyMethodDef methods[] = {
        fast_method<elementwise<Op::softmax>, 8>(
            "softmax", "x, axis, dim, out, dtype, where, temperature, threads"),
        fast_method<elementwise<Op::log_softmax>, 8>("log_softmax", "As softmax."),
        fast_method<logsumexp, 10>(
            "logsumexp", "x, axis, dim, b, keepdims, return_sign, where, dtype, out, threads"),
        {nullptr, nullptr, 0, nullptr}};
    Shortcut::ready(m, "Shortcut", methods, nullptr);
    m.def(
        "shortcut",
        [](py::handle target, py::object unset) {
            if (!TargetObject::is(target.ptr())) throw py::type_error("target: not a Target");
            return Shortcut::make({TargetObject::of(target.ptr()), std::move(unset)});
        },
        "The shortcut to a target's operations; `unset` stands for an argument not given.",
        py::arg("target"), py::arg("unset"));
}

}  // namespace fastsoftmax
