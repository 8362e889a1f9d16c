// Target's operations on rows of tables of weights. Checks and translates; no algorithm.

#include "bindings.hpp"
#include "checks.hpp"
#include "sampled.hpp"

namespace fastsoftmax {
namespace {

Table table_of(py::handle given, const char* name) {
    py::array a = array_of(given, name);
    require(a.ndim() == 2, "a table: not two-dimensional");
    return {const_cast<char*>(static_cast<const char*>(a.data())),
            a.shape(0),
            a.shape(1),
            a.strides(0),
            a.strides(1),
            elem_of(a, name)};
}

// Pointer to contiguous int64, each of them a row of the table.
const int64_t* rows_of(const py::array& ids, const Table& table) {
    const py::dtype type = ids.dtype();
    require(type.kind() == 'i' && type.itemsize() == 8 && type.byteorder() != '>',
            "ids: not int64");
    require_contiguous(ids, "ids");
    const auto* const found = static_cast<const int64_t*>(ids.data());
    for (py::ssize_t i = 0; i < ids.size(); ++i)
        require(found[i] >= 0 && found[i] < table.rows, "ids: out of range");
    return found;
}

}  // namespace

// Arguments: table, ids, out.
PyObject* gather_rows(PyObject* self, PyObject* const* arguments) {
    const Table table = table_of(arguments[0], "table");
    const auto ids = array_of(arguments[1], "ids");
    auto out = array_of(arguments[2], "out");
    const int64_t* const rows = rows_of(ids, table);
    const bool wide = elem_of(out, "out") == Elem::f64;
    require(wide || elem_of(out, "out") == Elem::f32, "out: neither float32 nor float64");
    require(wide || table.type != Elem::f64, "out: narrower than the table");
    require_contiguous(out, "out");
    require(out.writeable() && out.size() == ids.size() * table.columns, "out: unexpected size");
    const Kernels& kernels = *TargetObject::of(self);
    void* const to = out.mutable_data();
    const auto n = static_cast<int64_t>(ids.size());
    if (n * table.columns < elements_with_gil) {
        kernels.sampled->gather[wide](table, rows, n, to);
    } else {
        const WithoutGil unlocked;
        kernels.sampled->gather[wide](table, rows, n, to);
    }
    return py::none().release().ptr();
}

}  // namespace fastsoftmax
