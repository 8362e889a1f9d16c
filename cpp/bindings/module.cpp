// The extension module: checks what Python hands in, releases the GIL, calls the core. The only
// pybind11. No algorithm.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <vector>

#include "dispatch.hpp"
#include "plan.hpp"

namespace py = pybind11;

namespace {

using namespace fastsoftmax;

// Below this many elements a call is over sooner than the GIL is handed back and forth.
constexpr int64_t elements_with_gil = 16 * 1024;

Elem elem_of(const py::array& a, const char* name) {
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

void require(bool holds, const char* message) {
    if (!holds) throw py::value_error(message);
}

void require_shape(const py::array& a, const py::array& x, const bool* reduced, const char* name) {
    bool same = a.ndim() == x.ndim();
    for (py::ssize_t i = 0; same && i < x.ndim(); ++i)
        same = a.shape(i) == (reduced && reduced[i] ? 1 : x.shape(i));
    if (!same) throw py::value_error(std::string(name) + ": unexpected shape");
}

// Checks all of it again, cheaply: strides and shapes become addresses from here on.
void call(Op op, const Kernels& kernels, const py::array& x, py::array out, const py::tuple& axes,
          const std::optional<py::array>& where, const py::object& temperature, int threads,
          const std::optional<py::array>& weights, std::optional<py::array> sign) {
    Request r;  // its axes are 7 KB: not cleared
    r.num_batch = r.num_class = 0;
    r.op = op;
    r.in = elem_of(x, "x");
    r.out = elem_of(out, "out");
    r.weighted = weights.has_value();
    r.threads = threads;
    require(x.ndim() <= max_axes, "x: too many dimensions");
    require(x.size() > 0, "x: empty");
    require(out.writeable(), "out: read-only");
    require(threads >= 1, "threads: not positive");

    bool is_class[max_axes] = {};
    for (const py::handle axis : axes) {
        const auto i = axis.cast<py::ssize_t>();
        require(i >= 0 && i < x.ndim() && !is_class[i], "axes: out of range or repeated");
        is_class[i] = true;
    }
    const bool* const reduced = op == Op::logsumexp ? is_class : nullptr;
    require_shape(out, x, reduced, "out");

    double scalar = 1;
    std::optional<py::array_t<double>> per_row;
    if (py::isinstance<py::array>(temperature)) {
        per_row = temperature.cast<py::array_t<double>>();
        require_shape(*per_row, x, is_class, "temperature");
    } else {
        scalar = temperature.cast<double>();
    }
    if (where) {
        require(where->dtype().kind() == 'b', "where: not bool");
        require_shape(*where, x, nullptr, "where");
    }
    const bool wide = r.out == Elem::f64;
    if (weights) {
        require(op == Op::logsumexp, "weights: logsumexp only");
        require(elem_of(*weights, "weights") == (wide ? Elem::f64 : Elem::f32), "weights: dtype");
        require_shape(*weights, x, nullptr, "weights");
    }
    if (sign) {
        require(elem_of(*sign, "sign") == r.out && sign->writeable(), "sign: dtype or read-only");
        require_shape(*sign, x, is_class, "sign");
    }

    r.first = {static_cast<const char*>(x.data()),
               static_cast<char*>(out.mutable_data()),
               where ? static_cast<const char*>(where->data()) : nullptr,
               reinterpret_cast<const char*>(per_row ? per_row->data() : &scalar),
               weights ? static_cast<const char*>(weights->data()) : nullptr,
               sign ? static_cast<char*>(sign->mutable_data()) : nullptr};
    for (py::ssize_t i = 0; i < x.ndim(); ++i) {
        const bool batch = !is_class[i];
        Axis& a = batch ? r.batch[r.num_batch++] : r.classes[r.num_class++];
        a.size = x.shape(i);
        a.x = x.strides(i);
        a.out = batch || !reduced ? out.strides(i) : 0;
        a.where = where ? where->strides(i) : 0;
        a.temperature = batch && per_row ? per_row->strides(i) : 0;
        a.weights = weights ? weights->strides(i) : 0;
        a.sign = batch && sign ? sign->strides(i) : 0;
    }
    if (elements(r) < elements_with_gil) return run(kernels, r);
    const py::gil_scoped_release unlocked;
    run(kernels, r);
}

const Kernels& target(const std::string& name) {
    Target list[max_targets];
    const int count = targets(list);
    for (int i = 0; i < count; ++i) {
        if (name != list[i].kernels->name) continue;
        if (list[i].against) throw py::value_error(name + ": " + list[i].against);
        return *list[i].kernels;
    }
    throw py::value_error("no target is called " + name);
}

py::dict reasons() {
    Target list[max_targets];
    const int count = targets(list);
    py::dict found;
    for (int i = 0; i < count; ++i)
        found[list[i].kernels->name] =
            list[i].against ? py::object(py::str(list[i].against)) : py::none();
    return found;
}

py::tuple exp_array(const Kernels& kernels, const py::array& x) {
    const bool wide = elem_of(x, "x") == Elem::f64;
    require(wide || elem_of(x, "x") == Elem::f32, "x: neither float32 nor float64");
    require((x.flags() & py::array::c_style) != 0, "x: not contiguous");
    py::array y(x.dtype(), std::vector<py::ssize_t>(x.shape(), x.shape() + x.ndim()));
    const double unit = kernels.exp[wide](x.data(), y.mutable_data(), x.size());
    return py::make_tuple(y, unit);
}

// Floats in a contiguous array of any type.
int64_t floats_in(const py::array& a, const char* name) {
    if ((a.flags() & py::array::c_style) == 0)
        throw py::value_error(std::string(name) + ": not contiguous");
    return a.nbytes() / static_cast<int64_t>(sizeof(float));
}

void probe_copy(const Kernels& kernels, const py::array& x, py::array y, bool non_temporal,
                int64_t repetitions) {
    const int64_t n = floats_in(x, "x");
    require(floats_in(y, "y") == n, "y: another size than x");
    require(y.writeable(), "y: read-only");
    require(reinterpret_cast<uintptr_t>(y.data()) % sizeof(float) == 0, "y: not aligned");
    const void* const from = x.data();
    void* const to = y.mutable_data();
    const py::gil_scoped_release unlocked;
    kernels.probes.copy[non_temporal](from, to, n, repetitions);
}

double probe_read(const Kernels& kernels, const py::array& x, int64_t repetitions) {
    const int64_t n = floats_in(x, "x");
    const void* const from = x.data();
    const py::gil_scoped_release unlocked;
    return kernels.probes.read(from, n, repetitions);
}

double probe_exp(const Kernels& kernels, bool wide, int64_t n) {
    const py::gil_scoped_release unlocked;
    return kernels.probes.exp[wide](n);
}

}  // namespace

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
    m.doc() = "The C++ core of fastsoftmax; private, see fastsoftmax.backends._cpp.";
    py::class_<Kernels, std::unique_ptr<Kernels, py::nodelete>>(m, "Target")
        .def_property_readonly("name", [](const Kernels& k) { return k.name; });
    m.def("targets", &reasons, "Instruction sets, best first, each with the reason against it.");
    m.def("target", &target, py::return_value_policy::reference, py::arg("name"));
    m.def("exp", &exp_array, "e^x * unit, and the unit: the kernels' exponential of x <= 0.",
          py::arg("target"), py::arg("x").noconvert());
    m.def("probe_copy", &probe_copy, "Copy contiguous x to y, so many times over.",
          py::arg("target"), py::arg("x").noconvert(), py::arg("y").noconvert(),
          py::arg("non_temporal"), py::arg("repetitions"));
    m.def("probe_read", &probe_read, "Read contiguous x so many times over: a sum of its floats.",
          py::arg("target"), py::arg("x").noconvert(), py::arg("repetitions"));
    m.def("probe_exp", &probe_exp,
          "The sum of n exponentials in registers, n rounded up to whole vectors.",
          py::arg("target"), py::arg("wide"), py::arg("n"));
    const auto elementwise = [&m](const char* name, Op op) {
        m.def(
            name,
            [op](const Kernels& kernels, const py::array& x, py::array out, const py::tuple& axes,
                 const std::optional<py::array>& where, const py::object& temperature,
                 int threads) {
                call(op, kernels, x, std::move(out), axes, where, temperature, threads,
                     std::nullopt, std::nullopt);
            },
            py::arg("target"), py::arg("x").noconvert(), py::arg("out").noconvert(),
            py::arg("axes"), py::arg("where").noconvert(), py::arg("temperature"),
            py::arg("threads"));
    };
    elementwise("softmax", Op::softmax);
    elementwise("log_softmax", Op::log_softmax);
    m.def(
        "logsumexp",
        [](const Kernels& kernels, const py::array& x, py::array out, const py::tuple& axes,
           const std::optional<py::array>& where, const py::object& temperature, int threads,
           const std::optional<py::array>& weights, std::optional<py::array> sign) {
            call(Op::logsumexp, kernels, x, std::move(out), axes, where, temperature, threads,
                 weights, std::move(sign));
        },
        py::arg("target"), py::arg("x").noconvert(), py::arg("out").noconvert(), py::arg("axes"),
        py::arg("where").noconvert(), py::arg("temperature"), py::arg("threads"),
        py::arg("weights").noconvert(), py::arg("sign").noconvert());
}
