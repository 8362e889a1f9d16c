// Target's losses and gradients: calls in the normal form of `_typing.LossCall` and its like.
// Checks and translates, as target.cpp does; no algorithm.

#include "bindings.hpp"
#include "checks.hpp"
#include "reduce.hpp"

namespace fastsoftmax {
namespace {

// Steps of an array that may be missing.
py::ssize_t step_of(const py::array& a, py::ssize_t axis) { return a ? a.strides(axis) : 0; }
const char* start_of(const py::array& a) {
    return a ? static_cast<const char*>(a.data()) : nullptr;
}
char* start_of(py::array& a) { return a ? static_cast<char*>(a.mutable_data()) : nullptr; }

const double no_temperature = 1;
const char* const temperature = reinterpret_cast<const char*>(&no_temperature);

}  // namespace

// Arguments: logits, axis, where, labels, probabilities, weight, smoothing, losses, grad, scale,
// threads. Returns the sum of the losses.
template <Op op>
PyObject* class_loss(PyObject* self, PyObject* const* arguments) {
    const auto& [logits, class_axis, mask, indices, probabilities, factors, smoothing, results,
                 gradient, scale, threads] = *reinterpret_cast<PyObject* const(*)[11]>(arguments);
    const auto x = array_of(logits, "logits");
    const auto axis = py::handle(class_axis).cast<py::ssize_t>();
    const auto where = optional_array_of(mask, "where");
    const auto labels = optional_array_of(indices, "labels");
    const auto targets = optional_array_of(probabilities, "probabilities");
    const auto weight = optional_array_of(factors, "weight");
    auto losses = array_of(results, "losses");
    auto grad = optional_array_of(gradient, "grad");

    Request r;
    r.num_batch = r.num_class = 0;
    r.op = op;
    r.in = r.out = elem_of(x, "logits");
    r.threads = py::handle(threads).cast<int>();
    r.smoothing = py::handle(smoothing).cast<double>();
    r.scale = py::handle(scale).cast<double>();
    r.weighted = false;
    const Elem compute = r.in == Elem::f64 ? Elem::f64 : Elem::f32;
    require(x.ndim() <= max_axes, "logits: too many dimensions");
    require(x.size() > 0, "logits: empty");
    require(axis >= 0 && axis < x.ndim(), "axis: out of range");
    bool is_class[max_axes] = {};
    is_class[axis] = true;
    require(r.threads >= 1, "threads: not positive");
    require(static_cast<bool>(labels) != static_cast<bool>(targets), "labels or probabilities");
    if (labels) {
        const py::dtype type = labels.dtype();
        require(type.kind() == 'i' && type.itemsize() == 8 && type.byteorder() != '>',
                "labels: not int64");
        require_shape(labels, x, is_class, "labels");
    } else {
        r.target = elem_of(targets, "probabilities");
        require_shape(targets, x, nullptr, "probabilities");
    }
    require(elem_of(losses, "losses") == compute && losses.writeable(), "losses: dtype");
    require_shape(losses, x, is_class, "losses");
    require_contiguous(losses, "losses");
    if (weight) {
        require(elem_of(weight, "weight") == compute, "weight: dtype");
        require_contiguous(weight, "weight");
        require(weight.ndim() == 1 && weight.shape(0) == x.shape(axis), "weight: shape");
    }
    if (grad) {
        require(elem_of(grad, "grad") == r.in && grad.writeable(), "grad: dtype or read-only");
        require_shape(grad, x, nullptr, "grad");
    }
    if (where) {
        require(where.dtype().kind() == 'b', "where: not bool");
        require_shape(where, x, nullptr, "where");
    }
    r.class_weights = weight ? weight.data() : nullptr;

    require(op == Op::cross_entropy || (labels && !grad && !where), "not for nll_loss");

    r.first = {start_of(x), start_of(grad),   start_of(where),   temperature, nullptr,
               nullptr,     start_of(labels), start_of(targets), nullptr,     start_of(losses)};
    for (py::ssize_t i = 0; i < x.ndim(); ++i) {
        const bool batch = i != axis;
        (batch ? r.batch[r.num_batch++] : r.classes[r.num_class++]) =
            Axis{x.shape(i),
                 x.strides(i),
                 step_of(grad, i),
                 step_of(where, i),
                 0,
                 0,
                 0,
                 batch ? step_of(labels, i) : 0,
                 step_of(targets, i),
                 0,
                 batch ? losses.strides(i) : 0};
    }
    run_unlocked(*TargetObject::of(self), r);
    const void* const written = losses.data();
    const double sum = compute == Elem::f64
                           ? sum_of(static_cast<const double*>(written), losses.size())
                           : sum_of(static_cast<const float*>(written), losses.size());
    return py::float_(sum).release().ptr();
}
template PyObject* class_loss<Op::cross_entropy>(PyObject*, PyObject* const*);
template PyObject* class_loss<Op::nll_loss>(PyObject*, PyObject* const*);

// Arguments: logits, targets, weight, pos_weight, losses, grad, scale, threads. Returns the sum.
PyObject* binary_loss(PyObject* self, PyObject* const* arguments) {
    const auto& [logits, aims, factors, pos_factors, results, gradient, scale, threads] =
        *reinterpret_cast<PyObject* const(*)[8]>(arguments);
    const auto x = array_of(logits, "logits"), targets = array_of(aims, "targets");
    const auto weight = optional_array_of(factors, "weight");
    const auto pos_weight = optional_array_of(pos_factors, "pos_weight");
    auto losses = optional_array_of(results, "losses"), grad = optional_array_of(gradient, "grad");

    Request r;
    r.num_batch = r.num_class = 0;
    r.op = Op::binary_cross_entropy;
    r.in = r.out = elem_of(x, "logits");
    r.target = elem_of(targets, "targets");
    r.threads = py::handle(threads).cast<int>();
    r.scale = py::handle(scale).cast<double>();
    r.weighted = false;
    const Elem compute = r.in == Elem::f64 ? Elem::f64 : Elem::f32;
    require(x.ndim() <= max_axes, "logits: too many dimensions");
    require(x.size() > 0, "logits: empty");
    require(r.threads >= 1, "threads: not positive");
    require_shape(targets, x, nullptr, "targets");
    const auto require_like = [&](const py::array& a, Elem type, const char* name) {
        if (!a) return;
        require(elem_of(a, name) == type, "unexpected dtype");
        require_shape(a, x, nullptr, name);
    };
    require_like(weight, compute, "weight");
    require_like(pos_weight, compute, "pos_weight");
    require_like(losses, r.in, "losses");
    require_like(grad, r.in, "grad");
    require((!losses || losses.writeable()) && (!grad || grad.writeable()), "out: read-only");

    double sum = 0;
    r.sum = &sum;
    r.first = {start_of(x),          start_of(grad),  nullptr, temperature,
               start_of(weight),     nullptr,         nullptr, start_of(targets),
               start_of(pos_weight), start_of(losses)};
    for (py::ssize_t i = 0; i < x.ndim(); ++i)
        r.batch[r.num_batch++] = {x.shape(i),
                                  x.strides(i),
                                  step_of(grad, i),
                                  0,
                                  0,
                                  step_of(weight, i),
                                  0,
                                  0,
                                  targets.strides(i),
                                  step_of(pos_weight, i),
                                  step_of(losses, i)};
    run_unlocked(*TargetObject::of(self), r);
    return py::float_(sum).release().ptr();
}

// Arguments: grad_output, output, out, axes, threads.
template <Op op>
PyObject* backward(PyObject* self, PyObject* const* arguments) {
    const auto& [grad_output, output, result, class_axes, threads] =
        *reinterpret_cast<PyObject* const(*)[5]>(arguments);
    const auto dy = array_of(grad_output, "grad_output"), y = array_of(output, "output");
    auto out = array_of(result, "out");

    Request r;
    r.num_batch = r.num_class = 0;
    r.op = op;
    r.in = elem_of(y, "output");
    r.target = elem_of(dy, "grad_output");
    r.out = elem_of(out, "out");
    r.threads = py::handle(threads).cast<int>();
    r.weighted = false;
    require(y.ndim() <= max_axes, "output: too many dimensions");
    require(y.size() > 0, "output: empty");
    require(out.writeable(), "out: read-only");
    require(r.threads >= 1, "threads: not positive");
    require_shape(dy, y, nullptr, "grad_output");
    require_shape(out, y, nullptr, "out");
    bool is_class[max_axes] = {};
    mark_axes(py::handle(class_axes).cast<py::tuple>(), y.ndim(), is_class);

    r.first = {start_of(y), start_of(out), nullptr,      temperature, nullptr,
               nullptr,     nullptr,       start_of(dy), nullptr,     nullptr};
    for (py::ssize_t i = 0; i < y.ndim(); ++i)
        (is_class[i] ? r.classes[r.num_class++] : r.batch[r.num_batch++]) =
            Axis{y.shape(i), y.strides(i), out.strides(i), 0, 0, 0, 0, 0, dy.strides(i), 0, 0};
    run_unlocked(*TargetObject::of(self), r);
    return py::none().release().ptr();
}
template PyObject* backward<Op::softmax_backward>(PyObject*, PyObject* const*);
template PyObject* backward<Op::log_softmax_backward>(PyObject*, PyObject* const*);

}  // namespace fastsoftmax
