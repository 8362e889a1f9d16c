// Shortcut's operations: a public function's own arguments, in the ordinary case: exact arrays in C
// order, the last axis or all, at most a mask of x's shape, one temperature and a result of another
// type. They decline everything else (NotImplemented) for `_arrays` to treat or to refuse.

#include "ordinary.hpp"
#include "results.hpp"

namespace fastsoftmax {
namespace {

// The type that `dtype` names, if that is a descriptor or the scalar type of one at hand.
Type named_type(PyObject* dtype, const Type& x, const api& numpy) {
    if (dtype == Py_None) return x;
    if (PyObject_TypeCheck(dtype, numpy.PyArrayDescr_Type_)) return type_of(dtype);
    for (const int number : {api::NPY_FLOAT_, api::NPY_DOUBLE_}) {
        PyObject* const known = numpy.PyArray_DescrFromType_(number);
        Py_DECREF(known);  // NumPy's own types live as long as the process
        if (py::detail::array_descriptor_proxy(known)->typeobj == dtype) return type_of(known);
    }
    return {};
}

// The rows of x along `axis`, if that is the last one or all; else none.
struct Rows {
    int64_t count, classes;
    int kept;  // leading dimensions that are not classes
};

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

// The ordinary case of a call; it is none if `x` is null.
struct Given {
    const Array *x = nullptr, *where = nullptr;
    Type in, out;
    Rows rows{};
    double temperature = 1;

    int64_t count() const { return rows.count * rows.classes; }
};

// Whether the reduction by log2(e) / temperature keeps its digits: as `_arrays` has it.
bool temperature_suits(double t, const Type& out) {
    return out.wide() ? t >= 1e-270 && t <= 1e270 : t >= 1e-24 && t <= 1e24;
}

Given ordinary(PyObject* x, PyObject* axis, bool all, PyObject* where, PyObject* dtype,
               double temperature, const api& numpy) {
    Given g;
    const Array* const scores = plain(x, numpy);
    if (!scores || !(g.in = type_of(scores->descr)).descr ||
        !(g.out = named_type(dtype, g.in, numpy)).descr)
        return g;
    g.rows = rows_of(*scores, axis, all);
    g.temperature = temperature;
    if (g.count() == 0 || !temperature_suits(temperature, g.out)) return g;
    if (where != Py_None) {
        g.where = plain(where, numpy);
        if (!g.where || !same_shape(*g.where, scores->nd, scores->dimensions) ||
            py::detail::array_descriptor_proxy(g.where->descr)->type_num != api::NPY_BOOL_)
            return g;
    }
    g.x = scores;
    return g;
}

// The result for a call and the caller's `out`; null if `out` is not of the ordinary kind.
template <Op op>
py::object result_for(const Given& g, PyObject* out, const api& numpy) {
    const int nd = op == Op::logsumexp ? g.rows.kept : g.x->nd;
    if (out == Py_None) return new_array(g.out.descr, nd, g.x->dimensions, g.x->data);
    const Array* const y = plain(out, numpy);
    if (!y || !(y->flags & api::NPY_ARRAY_WRITEABLE_) || !same_shape(*y, nd, g.x->dimensions))
        return {};
    const Type type = type_of(y->descr);
    if (!type.descr || type.elem != g.out.elem) return {};
    const int64_t written = (op == Op::logsumexp ? g.rows.count : g.count()) * g.out.size();
    const bool in_place = op != Op::logsumexp && g.x->data == y->data && g.in.elem == g.out.elem;
    if (!in_place && !apart(g.x->data, g.count() * g.in.size(), y->data, written)) return {};
    if (g.where && !apart(g.where->data, g.count(), y->data, written)) return {};
    return py::reinterpret_borrow<py::object>(out);
}

template <Op op>
PyObject* over_rows(const Ordinary& self, const Given& g, PyObject* out, PyObject* threads,
                    const api& numpy) {
    constexpr bool reduces = op == Op::logsumexp;
    const bool single = reduces && g.rows.kept == 0 && out == Py_None;
    if (single && g.out.size() < 4) return declined();
    py::object result = single ? py::none() : result_for<op>(g, out, numpy);
    if (!result) return declined();

    double number;  // a single result, which becomes a scalar
    const int64_t in = g.in.size(), to = g.out.size(), classes = g.rows.classes;
    Request r;
    r.op = op;
    r.in = g.in.elem;
    r.out = g.out.elem;
    r.weighted = false;
    r.num_batch = r.num_class = 1;
    const int64_t masked = g.where ? 1 : 0;
    r.batch[0] = {g.rows.count,
                  classes * in,
                  reduces ? to : classes * to,
                  classes * masked,
                  0,
                  0,
                  0,
                  0,
                  0,
                  0,
                  0};
    r.classes[0] = {classes, in, reduces ? 0 : to, masked, 0, 0, 0, 0, 0, 0, 0};
    char* const y =
        single ? reinterpret_cast<char*>(&number) : py::detail::array_proxy(result.ptr())->data;
    r.first = {g.x->data,
               y,
               g.where ? g.where->data : nullptr,
               reinterpret_cast<const char*>(&g.temperature),
               nullptr,
               nullptr,
               nullptr,
               nullptr,
               nullptr,
               nullptr};
    r.threads = static_cast<int>(PyLong_AsLong(threads));
    if (r.threads == -1 && PyErr_Occurred()) throw py::error_already_set();
    run_unlocked(*self.kernels, r);
    if (single) result = new_scalar(g.out, &number);
    return result.release().ptr();
}

// Arguments: x, axis, out, dtype, where, temperature, dim, threads.
template <Op op>
PyObject* elementwise(PyObject* self, PyObject* const* arguments) {
    const auto& [x, axis, out, dtype, where, temperature, dim, threads] =
        *reinterpret_cast<PyObject* const(*)[8]>(arguments);
    const Ordinary& own = Shortcut::of(self);
    if (dim != own.unset.ptr() || !PyFloat_CheckExact(temperature)) return declined();
    const api& numpy = api::get();
    const Given g = ordinary(x, axis == own.unset.ptr() ? nullptr : axis, false, where, dtype,
                             PyFloat_AS_DOUBLE(temperature), numpy);
    return g.x ? over_rows<op>(own, g, out, threads, numpy) : declined();
}

// Arguments: x, axis, b, keepdims, return_sign, where, dtype, out, dim, threads.
PyObject* logsumexp(PyObject* self, PyObject* const* arguments) {
    const auto& [x, axis, b, keepdims, return_sign, where, dtype, out, dim, threads] =
        *reinterpret_cast<PyObject* const(*)[10]>(arguments);
    const Ordinary& own = Shortcut::of(self);
    if (dim != own.unset.ptr() || b != Py_None || keepdims != Py_False || return_sign != Py_False)
        return declined();
    const api& numpy = api::get();
    const Given g =
        ordinary(x, axis == own.unset.ptr() ? nullptr : axis, true, where, dtype, 1, numpy);
    return g.x ? over_rows<Op::logsumexp>(own, g, out, threads, numpy) : declined();
}

}  // namespace

void add_shortcut(py::module_& m) {
    static PyMethodDef methods[] = {
        fast_method<elementwise<Op::softmax>, 8>(
            "softmax", "x, axis, out, dtype, where, temperature, dim, threads"),
        fast_method<elementwise<Op::log_softmax>, 8>("log_softmax", "As softmax."),
        fast_method<logsumexp, 10>(
            "logsumexp", "x, axis, b, keepdims, return_sign, where, dtype, out, dim, threads"),
        fast_method<ordinary_cross_entropy, 13>(
            "cross_entropy",
            "logits, labels, axis, weight, ignore_index, label_smoothing, reduction, where, "
            "return_grad, grad_out, check_labels, on_empty, threads"),
        {nullptr, nullptr, 0, nullptr}};
    Shortcut::ready(m, "Shortcut", methods, nullptr);
    m.def(
        "shortcuts",
        [](py::handle target, py::object unset) {
            if (!TargetObject::is(target.ptr())) throw py::type_error("target: not a Target");
            const auto own = Shortcut::make({TargetObject::of(target.ptr()), std::move(unset)});
            py::dict all;
            for (const PyMethodDef* each = methods; each->ml_name; ++each)
                all[each->ml_name] = own.attr(each->ml_name);
            return all;
        },
        "The shortcuts to a target's operations; `unset` stands for an argument not given.",
        py::arg("target"), py::arg("unset"));
}

}  // namespace fastsoftmax
