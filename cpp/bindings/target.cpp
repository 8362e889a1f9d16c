// Target's operations: calls in the normal form of `_typing.Call`, with any strides, masks and
// temperatures. Checks and translates; no algorithm.

#include <string>

#include "bindings.hpp"
#include "checks.hpp"

namespace fastsoftmax {
namespace {

// Arguments: x, out, axes, where, temperature, threads; for logsumexp weights and sign as well.
// Checks all of it again, cheaply: strides and shapes become addresses from here on.
template <Op op>
PyObject* call(PyObject* self, PyObject* const* arguments) {
    const auto x = array_of(arguments[0], "x");
    auto out = array_of(arguments[1], "out");
    const auto axes = py::handle(arguments[2]).cast<py::tuple>();
    const auto where = optional_array_of(arguments[3], "where");
    const py::handle temperature = arguments[4];

    Request r;  // its axes are 7 KB: not cleared
    r.num_batch = r.num_class = 0;
    r.op = op;
    r.in = elem_of(x, "x");
    r.out = elem_of(out, "out");
    r.threads = py::handle(arguments[5]).cast<int>();
    require(x.ndim() <= max_axes, "x: too many dimensions");
    require(x.size() > 0, "x: empty");
    require(out.writeable(), "out: read-only");
    require(r.threads >= 1, "threads: not positive");

    bool is_class[max_axes] = {};
    mark_axes(axes, x.ndim(), is_class);
    constexpr bool reduces = op == Op::logsumexp;
    require_shape(out, x, reduces ? is_class : nullptr, "out");

    double scalar = 1;
    py::array per_row = py::reinterpret_steal<py::array>(py::handle());
    if (py::isinstance<py::array>(temperature)) {
        per_row = array_of(temperature, "temperature");
        require(elem_of(per_row, "temperature") == Elem::f64, "temperature: dtype");
        require_shape(per_row, x, is_class, "temperature");
    } else {
        scalar = temperature.cast<double>();
    }
    if (where) {
        require(where.dtype().kind() == 'b', "where: not bool");
        require_shape(where, x, nullptr, "where");
    }
    auto weights = optional_array_of(reduces ? arguments[6] : Py_None, "weights");
    auto sign = optional_array_of(reduces ? arguments[7] : Py_None, "sign");
    if (weights) {
        const Elem wanted = r.out == Elem::f64 ? Elem::f64 : Elem::f32;
        require(elem_of(weights, "weights") == wanted, "weights: dtype");
        require_shape(weights, x, nullptr, "weights");
    }
    if (sign) {
        require(elem_of(sign, "sign") == r.out && sign.writeable(), "sign: dtype or read-only");
        require_shape(sign, x, is_class, "sign");
    }
    r.weighted = static_cast<bool>(weights);

    r.first = {
        static_cast<const char*>(x.data()),
        static_cast<char*>(out.mutable_data()),
        where ? static_cast<const char*>(where.data()) : nullptr,
        per_row ? static_cast<const char*>(per_row.data()) : reinterpret_cast<const char*>(&scalar),
        weights ? static_cast<const char*>(weights.data()) : nullptr,
        sign ? static_cast<char*>(sign.mutable_data()) : nullptr,
        nullptr,
        nullptr,
        nullptr,
        nullptr};
    for (py::ssize_t i = 0; i < x.ndim(); ++i) {
        const bool batch = !is_class[i];
        Axis& a = batch ? r.batch[r.num_batch++] : r.classes[r.num_class++];
        a.size = x.shape(i);
        a.x = x.strides(i);
        a.out = batch || !reduces ? out.strides(i) : 0;
        a.where = where ? where.strides(i) : 0;
        a.temperature = batch && per_row ? per_row.strides(i) : 0;
        a.weights = weights ? weights.strides(i) : 0;
        a.sign = batch && sign ? sign.strides(i) : 0;
        a.label = a.target = a.pos_weights = a.loss = 0;
    }
    run_unlocked(*TargetObject::of(self), r);
    return py::none().release().ptr();
}

PyObject* name(PyObject* self, void*) { return PyUnicode_FromString(TargetObject::of(self)->name); }

}  // namespace

void add_target(py::module_& m) {
    static PyMethodDef methods[] = {
        fast_method<call<Op::softmax>, 6>("softmax", "x, out, axes, where, temperature, threads"),
        fast_method<call<Op::log_softmax>, 6>("log_softmax", "As softmax."),
        fast_method<call<Op::logsumexp>, 8>("logsumexp", "As softmax; and weights, sign."),
        fast_method<call<Op::sigmoid>, 6>("sigmoid", "As softmax, without class axes."),
        fast_method<call<Op::log_sigmoid>, 6>("log_sigmoid", "As sigmoid."),
        fast_method<class_loss<Op::cross_entropy>, 11>("cross_entropy", "What a LossCall holds."),
        fast_method<class_loss<Op::nll_loss>, 11>("nll_loss", "The same."),
        fast_method<binary_loss, 8>("binary_cross_entropy", "What a BinaryCall holds."),
        fast_method<backward<Op::softmax_backward>, 5>("softmax_backward",
                                                       "What a BackwardCall holds."),
        fast_method<backward<Op::log_softmax_backward>, 5>("log_softmax_backward", "The same."),
        fast_method<gather_rows, 4>("gather_rows", "table, ids, out, threads"),
        fast_method<match_classes, 3>("match", "ids, labels, limit"),
        fast_method<row_dots, 4>("row_dots", "x, rows, out, threads"),
        fast_method<add_scaled_rows, 4>("add_scaled_rows", "factors, rows, out, threads"),
        fast_method<shift_columns, 5>("shift_columns",
                                      "logits, offsets, hit_rows, hit_columns, threads"),
        fast_method<sum_rows, 7>("sum_rows",
                                 "order, starts, of_candidates, factors, x, out, threads"),
        fast_method<draw_classes, 11>("draw", "What a DrawCall holds, the generator as a capsule."),
        fast_method<update_rows, 10>("update_rows", "What an UpdateCall holds."),
        {nullptr, nullptr, 0, nullptr}};
    static PyGetSetDef properties[] = {{"name", name, nullptr, "Its instruction set.", nullptr},
                                       {nullptr, nullptr, nullptr, nullptr, nullptr}};
    TargetObject::ready(m, "Target", methods, properties);
}

}  // namespace fastsoftmax
