// Target's operation that draws classes. Checks and translates; no algorithm.

#include "draws.hpp"

#include "bindings.hpp"
#include "checks.hpp"

namespace fastsoftmax {
namespace {

// A contiguous table with an entry for each class; null where the map needs none.
template <class T>
const T* table_of(PyObject* given, bool needed, int64_t classes, char kind, const char* name) {
    const auto a = array_of(given, name);
    if (!needed) return nullptr;
    const py::dtype type = a.dtype();
    require(type.kind() == kind && type.itemsize() == 8 && type.byteorder() != '>', name);
    require_contiguous(a, name);
    require(a.ndim() == 1 && a.size() == classes, name);
    return static_cast<const T*>(a.data());
}

}  // namespace

// Arguments: kind, num_classes, scale, thresholds, aliases, tree, capsule, ids, unique, excluded,
// most_draws; the caller holds the generator's lock. Returns how many were found, in how many
// tries.
PyObject* draw_classes(PyObject* self, PyObject* const* arguments) {
    const auto& [which, classes, factor, limits, others, counts, capsule, result, distinct, without,
                 budget] = *reinterpret_cast<PyObject* const(*)[11]>(arguments);
    DrawRequest r;
    const int kind = py::handle(which).cast<int>();
    require(kind >= 0 && kind < num_draw_kinds, "kind: unknown");
    r.kind = static_cast<DrawKind>(kind);
    r.num_classes = py::handle(classes).cast<int64_t>();
    r.scale = py::handle(factor).cast<double>();
    constexpr int64_t most_classes = int64_t{1} << 53;
    require(r.num_classes >= 1 && r.num_classes <= most_classes, "num_classes: out of range");
    require(r.scale >= 0 && r.scale <= static_cast<double>(most_classes), "scale: out of range");
    const bool alias = r.kind == DrawKind::alias;
    r.thresholds = table_of<double>(limits, alias, r.num_classes, 'f', "thresholds");
    r.aliases = table_of<int64_t>(others, alias, r.num_classes, 'i', "aliases");
    r.tree = table_of<int64_t>(counts, r.kind == DrawKind::counts, r.num_classes, 'i', "tree");
    r.generator = static_cast<Generator*>(PyCapsule_GetPointer(capsule, "BitGenerator"));
    if (!r.generator) throw py::error_already_set();
    auto ids = array_of(result, "ids");
    r.ids = const_cast<int64_t*>(table_of<int64_t>(result, true, ids.size(), 'i', "ids"));
    require(ids.writeable(), "ids: read-only");
    r.wanted = ids.size();
    r.unique = distinct == Py_True;
    require(!r.unique || r.wanted <= r.num_classes, "ids: more than there are classes");
    r.excluded = nullptr;
    r.num_excluded = 0;
    if (without != Py_None) {
        r.num_excluded = array_of(without, "excluded").size();
        r.excluded = table_of<int64_t>(without, true, r.num_excluded, 'i', "excluded");
    }
    r.most_draws = py::handle(budget).cast<int64_t>();

    const Kernels& kernels = *TargetObject::of(self);
    Drawn drawn;
    if (r.wanted < elements_with_gil) {
        drawn = draw(kernels, r);
    } else {
        const WithoutGil unlocked;
        drawn = draw(kernels, r);
    }
    return Py_BuildValue("LL", static_cast<long long>(drawn.found),
                         static_cast<long long>(drawn.tries));
}

}  // namespace fastsoftmax
