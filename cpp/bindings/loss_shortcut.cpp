// The shortcut of cross_entropy: logits and class indices as exact arrays in C order, the last
// axis, no weights and no mask. As in shortcut.cpp, everything else is declined, wrong labels too.

#include <math.h>

#include <memory>

#include "ordinary.hpp"
#include "reduce.hpp"
#include "results.hpp"

namespace fastsoftmax {
namespace {

enum class Reduction { mean, sum, none, other };

Reduction reduction_of(PyObject* name) {
    if (!PyUnicode_CheckExact(name)) return Reduction::other;
    const auto is = [name](const char* text) {
        return PyUnicode_CompareWithASCIIString(name, text) == 0;
    };
    return is("mean")   ? Reduction::mean
           : is("sum")  ? Reduction::sum
           : is("none") ? Reduction::none
                        : Reduction::other;
}

// Labels of type L at any address as the kernels take them: copied, so that what was looked at is
// what is used. Returns how many count, or -1 if one is out of range.
template <class L>
int64_t labels_from(const void* given, int64_t rows, int64_t classes, const int64_t* ignored,
                    int64_t* to) {
    const char* const from = static_cast<const char*>(given);
    int64_t kept = rows;
    for (int64_t i = 0; i < rows; ++i) {
        L own;
        memcpy(&own, from + i * int64_t{sizeof(L)}, sizeof own);
        const auto label = static_cast<int64_t>(own);
        to[i] = label;
        if (ignored && label == *ignored) {
            to[i] = ignored_label;
            --kept;
        } else if (label < 0 || label >= classes) {
            return -1;
        }
    }
    return kept;
}

struct Labels {
    std::unique_ptr<int64_t[]> indices;  // null if they are not of the ordinary kind
    int64_t kept = 0;
};

Labels ordinary_labels(PyObject* given, const Array& logits, int64_t rows, int64_t classes,
                       PyObject* ignore_index, const api& numpy) {
    const Array* const array = plain(given, numpy);
    if (!array || !same_shape(*array, logits.nd - 1, logits.dimensions)) return {};
    int64_t ignored = 0;
    if (ignore_index != Py_None) {
        int overflow = 1;
        if (PyLong_CheckExact(ignore_index))
            ignored = PyLong_AsLongLongAndOverflow(ignore_index, &overflow);
        if (overflow) return {};
    }
    const auto* const descr = py::detail::array_descriptor_proxy(array->descr);
    const auto elsize = py::reinterpret_borrow<py::dtype>(array->descr).itemsize();
    if (descr->kind != 'i' || descr->byteorder != '=' || (elsize != 8 && elsize != 4)) return {};
    Labels labels{std::unique_ptr<int64_t[]>(new int64_t[static_cast<size_t>(rows)])};
    const int64_t* const special = ignore_index == Py_None ? nullptr : &ignored;
    labels.kept =
        (elsize == 8 ? labels_from<int64_t> : labels_from<int32_t>)(array->data, rows, classes,
                                                                    special, labels.indices.get());
    return labels.kept < 0 ? Labels{} : std::move(labels);
}

// The gradient for a call and the caller's `grad_out`; null if that is not of the ordinary kind.
py::object gradient_for(const Array& x, const Type& type, int64_t bytes, PyObject* grad_out,
                        const api& numpy) {
    if (grad_out == Py_None) return new_array(type.descr, x.nd, x.dimensions, x.data);
    const Array* const grad = plain(grad_out, numpy);
    if (!grad || !(grad->flags & api::NPY_ARRAY_WRITEABLE_) ||
        !same_shape(*grad, x.nd, x.dimensions))
        return {};
    const Type own = type_of(grad->descr);
    if (!own.descr || own.elem != type.elem) return {};
    if (grad->data != x.data && !apart(grad->data, bytes, x.data, bytes)) return {};
    return py::reinterpret_borrow<py::object>(grad_out);
}

template <class T>
py::object loss_of(Reduction reduction, const Type& type, const T* losses, int64_t rows,
                   int64_t kept) {
    double sum = sum_of(losses, rows);
    if (reduction == Reduction::mean) sum = kept ? sum / static_cast<double>(kept) : NAN;
    const auto rounded = static_cast<T>(sum);
    return new_scalar(type, &rounded);
}

}  // namespace

// Arguments: logits, labels, axis, weight, ignore_index, label_smoothing, reduction, where,
// return_grad, grad_out, check_labels, on_empty, threads.
PyObject* ordinary_cross_entropy(PyObject* self, PyObject* const* arguments) {
    const auto& [logits, labels, axis, weight, ignore_index, label_smoothing, reduction_name, where,
                 return_grad, grad_out, check_labels, on_empty, threads] =
        *reinterpret_cast<PyObject* const(*)[13]>(arguments);
    const api& numpy = api::get();
    const Array* const x = plain(logits, numpy);
    const Type type = x ? type_of(x->descr) : Type{};
    if (!type.descr || type.size() < 4 || x->nd == 0) return declined();
    int overflow = 1;
    const long last = PyLong_CheckExact(axis) ? PyLong_AsLongAndOverflow(axis, &overflow) : 0;
    if (overflow || (last != -1 && last != x->nd - 1)) return declined();
    const Reduction reduction = reduction_of(reduction_name);
    const bool graded = return_grad == Py_True;
    if (weight != Py_None || where != Py_None || check_labels != Py_True ||
        reduction == Reduction::other || !PyFloat_CheckExact(label_smoothing) ||
        (!graded && (return_grad != Py_False || grad_out != Py_None)) ||
        !PyUnicode_CheckExact(on_empty) || PyUnicode_CompareWithASCIIString(on_empty, "nan") != 0)
        return declined();
    const double smoothing = PyFloat_AS_DOUBLE(label_smoothing);
    const int64_t classes = x->dimensions[x->nd - 1];
    int64_t rows = 1;
    for (int i = 0; i < x->nd - 1; ++i) rows *= x->dimensions[i];
    if (!(smoothing >= 0 && smoothing <= 1) || rows * classes == 0) return declined();
    const bool none = reduction == Reduction::none;
    if (none && x->nd == 1) return declined();  // a scalar, by the general way

    const Labels own = ordinary_labels(labels, *x, rows, classes, ignore_index, numpy);
    if (!own.indices) return declined();
    const int64_t size = type.size(), bytes = rows * classes * size;
    py::object grad = py::none();
    if (graded && !(grad = gradient_for(*x, type, bytes, grad_out, numpy))) return declined();
    py::object result = py::none();
    std::unique_ptr<char[]> memory;
    char* losses;
    if (none) {
        result = new_array(type.descr, x->nd - 1, x->dimensions, x->data);
        losses = py::detail::array_proxy(result.ptr())->data;
    } else {
        memory.reset(new char[static_cast<size_t>(rows * size)]);
        losses = memory.get();
    }

    Request r;
    r.op = Op::cross_entropy;
    r.in = r.out = type.elem;
    r.weighted = false;
    r.smoothing = smoothing;
    r.scale = reduction == Reduction::mean ? 1 / static_cast<double>(own.kept) : 1;
    r.num_batch = r.num_class = 1;
    const int64_t step = graded ? size : 0;
    r.batch[0] = {rows, classes * size, classes * step, 0, 0, 0, 0, 8, 0, 0, size};
    r.classes[0] = {classes, size, step, 0, 0, 0, 0, 0, 0, 0, 0};
    const double one = 1;  // the temperature
    r.first = {x->data,
               graded ? py::detail::array_proxy(grad.ptr())->data : nullptr,
               nullptr,
               reinterpret_cast<const char*>(&one),
               nullptr,
               nullptr,
               reinterpret_cast<const char*>(own.indices.get()),
               nullptr,
               nullptr,
               losses};
    r.threads = static_cast<int>(PyLong_AsLong(threads));
    if (r.threads == -1 && PyErr_Occurred()) throw py::error_already_set();
    run_unlocked(*Shortcut::of(self).kernels, r);
    if (!none)
        result = type.wide()
                     ? loss_of(reduction, type, reinterpret_cast<double*>(losses), rows, own.kept)
                     : loss_of(reduction, type, reinterpret_cast<float*>(losses), rows, own.kept);
    return graded ? py::make_tuple(result, grad).release().ptr() : result.release().ptr();
}

}  // namespace fastsoftmax
