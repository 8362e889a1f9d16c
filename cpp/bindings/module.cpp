// The extension module: what it holds, how it was built, and the instruction sets that can run
// here. The bindings are the only code that knows Python, by pybind11 and, where calls must be
// quick, by its C API.

#include <string>

#include "bindings.hpp"
#include "dispatch.hpp"
#include "results.hpp"

namespace {

using namespace fastsoftmax;

py::object target(const std::string& name) {
    Target list[max_targets];
    const int count = targets(list);
    for (int i = 0; i < count; ++i) {
        if (name != list[i].kernels->name) continue;
        if (list[i].against) throw py::value_error(name + ": " + list[i].against);
        return TargetObject::make(list[i].kernels);
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

// As CMakeLists.txt says; its macros are this file's alone.
py::dict build() {
    py::dict found;
    found["compiler"] = FASTSOFTMAX_COMPILER;
    found["flags"] = FASTSOFTMAX_FLAGS;
    return found;
}

}  // namespace

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
    m.doc() = "The C++ core of fastsoftmax; private, see fastsoftmax.backends._cpp.";
    add_target(m);
    add_shortcut(m);
    add_function(m);
    add_results(m);
    add_probes(m);
    m.def("build", &build, "The compiler with its version, and the flags that change code.");
    m.def("targets", &reasons, "Instruction sets, best first, each with the reason against it.");
    m.def("target", &target, "The target of that name.", py::arg("name"));
}
