// What measures the core rather than uses it: its exponential, and rates of memory.

#include <stdint.h>

#include <vector>

#include "bindings.hpp"
#include "checks.hpp"

namespace fastsoftmax {
namespace {

const Kernels& kernels_of(py::handle target) {
    if (!TargetObject::is(target.ptr())) throw py::type_error("target: not a Target");
    return *TargetObject::of(target.ptr());
}

py::tuple exp_array(py::handle target, const py::array& x) {
    const bool wide = elem_of(x, "x") == Elem::f64;
    require(wide || elem_of(x, "x") == Elem::f32, "x: neither float32 nor float64");
    require_contiguous(x, "x");
    py::array y(x.dtype(), std::vector<py::ssize_t>(x.shape(), x.shape() + x.ndim()));
    const double unit = kernels_of(target).exp[wide](x.data(), y.mutable_data(), x.size());
    return py::make_tuple(y, unit);
}

// Floats in a contiguous array of any type.
int64_t floats_in(const py::array& a, const char* name) {
    require_contiguous(a, name);
    return a.nbytes() / static_cast<int64_t>(sizeof(float));
}

void probe_copy(py::handle target, const py::array& x, py::array y, bool non_temporal,
                int64_t repetitions) {
    const Kernels& kernels = kernels_of(target);
    const int64_t n = floats_in(x, "x");
    require(floats_in(y, "y") == n, "y: another size than x");
    require(y.writeable(), "y: read-only");
    require(reinterpret_cast<uintptr_t>(y.data()) % sizeof(float) == 0, "y: not aligned");
    const void* const from = x.data();
    void* const to = y.mutable_data();
    const WithoutGil unlocked;
    kernels.probes.copy[non_temporal](from, to, n, repetitions);
}

double probe_read(py::handle target, const py::array& x, int64_t repetitions) {
    const Kernels& kernels = kernels_of(target);
    const int64_t n = floats_in(x, "x");
    const void* const from = x.data();
    const WithoutGil unlocked;
    return kernels.probes.read(from, n, repetitions);
}

double probe_exp(py::handle target, bool wide, int64_t n) {
    const Kernels& kernels = kernels_of(target);
    const WithoutGil unlocked;
    return kernels.probes.exp[wide](n);
}

}  // namespace

void add_probes(py::module_& m) {
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
}

}  // namespace fastsoftmax
