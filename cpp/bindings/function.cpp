// Function: a public function as compiled code. It puts a call's arguments in the order of the
// Python function's signature and asks the shortcut that holds, in 40 ns where Python's own frames
// and keywords take 280. What no shortcut takes, wrong calls too, goes to the Python function as it
// came: nothing is refused here, and no array is looked at.

#include "bindings.hpp"

#include <structmember.h>  // wants Python.h before it

#include <algorithm>

namespace fastsoftmax {
namespace {

constexpr Py_ssize_t max_parameters = 16;

// Set once, by `make`; but for `attributes` and `weak_references` read only.
struct Function {
    PyObject_HEAD vectorcallfunc call;
    PyObject *attributes, *weak_references;
    PyObject* python;                     // the function itself
    PyObject *shortcuts, *backend;        // dict by name, with None for the usual one; ContextVar
    PyObject *threads, *process, *found;  // ContextVar; lists of a number or of nothing
    long most_threads;

    Py_ssize_t count, by_position;       // parameters, and those of them that need no keyword
    PyObject* names;                     // tuple
    PyObject* defaults[max_parameters];  // null where a value is required
};

PyTypeObject* type = nullptr;

Function& of(PyObject* self) { return *reinterpret_cast<Function*>(self); }

py::object stolen(PyObject* reference) { return py::reinterpret_steal<py::object>(reference); }

// What a dict of str and None has for a key, or nothing.
py::object item(PyObject* dict, PyObject* key) {
#if PY_VERSION_HEX >= 0x030D0000
    PyObject* value;
    PyDict_GetItemRef(dict, key, &value);
    return stolen(value);
#else
    return py::reinterpret_borrow<py::object>(PyDict_GetItemWithError(dict, key));
#endif
}

// The number in a list that has one or none.
py::object only_item(PyObject* list) {
    if (PyList_GET_SIZE(list) == 0) return {};
#if PY_VERSION_HEX >= 0x030D0000
    PyObject* const number = PyList_GetItemRef(list, 0);
    if (!number) PyErr_Clear();  // emptied by another thread just now
    return stolen(number);
#else
    return py::reinterpret_borrow<py::object>(PyList_GET_ITEM(list, 0));
#endif
}

py::object value_of(PyObject* variable) {
    PyObject* value = nullptr;
    PyContextVar_Get(variable, nullptr, &value);
    return stolen(value);
}

// The shortcut that the argument `backend` leads to, or nothing.
py::object shortcut_for(const Function& f, PyObject* backend) {
    const py::object name =
        backend == Py_None ? value_of(f.backend) : py::reinterpret_borrow<py::object>(backend);
    const bool plain = name && (name.is_none() || PyUnicode_CheckExact(name.ptr()));
    return plain ? item(f.shortcuts, name.ptr()) : py::object();
}

// The number of threads that the argument `threads` leads to, or nothing: as `_threads.resolve`.
py::object threads_for(const Function& f, PyObject* threads) {
    if (threads != Py_None) {
        int overflow = 1;
        const long n =
            PyLong_CheckExact(threads) ? PyLong_AsLongAndOverflow(threads, &overflow) : 0;
        const bool fits = !overflow && 1 <= n && n <= f.most_threads;
        return fits ? py::reinterpret_borrow<py::object>(threads) : py::object();
    }
    py::object number = value_of(f.threads);
    if (!number || !number.is_none()) return number;
    number = only_item(f.process);
    return number ? number : only_item(f.found);
}

Py_ssize_t index_of(const Function& f, PyObject* name) {
    for (Py_ssize_t i = 0; i < f.count; ++i)
        if (PyTuple_GET_ITEM(f.names, i) == name) return i;
    if (PyUnicode_CheckExact(name))  // made at run time: equal to a parameter's, but another object
        for (Py_ssize_t i = 0; i < f.count; ++i)
            if (PyUnicode_Compare(PyTuple_GET_ITEM(f.names, i), name) == 0) return i;
    return f.count;
}

// Fills `slots` in the order of the signature; false if that is not a plain matter.
bool arrange(const Function& f, PyObject* const* arguments, Py_ssize_t given, PyObject* keywords,
             PyObject** slots) {
    if (given > f.by_position) return false;
    std::copy_n(arguments, given, slots);
    std::copy(f.defaults + given, f.defaults + f.count, slots + given);
    unsigned seen = (1U << given) - 1;
    const Py_ssize_t named = keywords ? PyTuple_GET_SIZE(keywords) : 0;
    for (Py_ssize_t i = 0; i < named; ++i) {
        const Py_ssize_t k = index_of(f, PyTuple_GET_ITEM(keywords, i));
        if (k == f.count || seen >> k & 1U) return false;
        seen |= 1U << k;
        slots[k] = arguments[given + i];
    }
    return std::find(slots, slots + f.count, nullptr) == slots + f.count;
}

// The shortcut's answer: a result, nothing with an error, or NotImplemented.
PyObject* ask(const Function& f, PyObject* const* arguments, Py_ssize_t given,
              PyObject* keywords) noexcept {
    PyObject* slots[max_parameters];
    if (arrange(f, arguments, given, keywords, slots)) {
        PyObject*& backend = slots[f.count - 2];
        const py::object shortcut = shortcut_for(f, backend);
        const py::object threads = shortcut ? threads_for(f, slots[f.count - 1]) : py::object();
        if (threads) {
            backend = threads.ptr();  // the last one that a shortcut takes
            return PyObject_Vectorcall(shortcut.ptr(), slots, static_cast<size_t>(f.count - 1),
                                       nullptr);
        }
        PyErr_Clear();
    }
    Py_INCREF(Py_NotImplemented);
    return Py_NotImplemented;
}

PyObject* call(PyObject* self, PyObject* const* arguments, size_t flags, PyObject* keywords) {
    const Function& f = of(self);
    PyObject* const done = ask(f, arguments, PyVectorcall_NARGS(flags), keywords);
    if (done != Py_NotImplemented) return done;
    Py_DECREF(done);
    return PyObject_Vectorcall(f.python, arguments, flags, keywords);
}

// What an object of Python is, besides -----------------------------------------------------------

PyObject* bound(PyObject* self, PyObject* instance, PyObject*) {
    if (instance) return PyMethod_New(self, instance);
    Py_INCREF(self);
    return self;
}

PyObject* repr(PyObject* self) { return PyObject_Repr(of(self).python); }

// Pickled by where it is found.
PyObject* reduce(PyObject* self, PyObject*) { return PyObject_GetAttrString(self, "__qualname__"); }

template <class F>
int each_reference(Function& f, F visit) {
    for (PyObject** const held : {&f.attributes, &f.python, &f.shortcuts, &f.backend, &f.threads,
                                  &f.process, &f.found, &f.names})
        if (const int stop = visit(*held)) return stop;
    for (PyObject*& held : f.defaults)
        if (const int stop = visit(held)) return stop;
    return 0;
}

int traverse(PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    return each_reference(of(self), [=](PyObject* held) { return held ? visit(held, arg) : 0; });
}

// What a call needs stays: a cycle by way of it runs through the attributes, or through what the
// Python function itself clears.
int clear(PyObject* self) {
    Py_CLEAR(of(self).attributes);
    return 0;
}

void dealloc(PyObject* self) {
    PyTypeObject* const own = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (of(self).weak_references) PyObject_ClearWeakRefs(self);
    each_reference(of(self), [](PyObject*& held) {
        Py_CLEAR(held);
        return 0;
    });
    own->tp_free(self);
    Py_DECREF(own);
}

// From the Python function whose last parameters are backend and threads.
py::object make(const py::function& python, const py::dict& shortcuts, py::object backend,
                py::object threads, const py::list& process, const py::list& found,
                long most_threads) {
    const py::object code = python.attr("__code__");
    const auto by_position = code.attr("co_argcount").cast<Py_ssize_t>();
    const auto count = by_position + code.attr("co_kwonlyargcount").cast<Py_ssize_t>();
    const py::tuple names(code.attr("co_varnames")[py::slice(0, count, 1)]);
    if (count < 2 || count > max_parameters ||
        !py::object(names[count - 2]).equal(py::str("backend")) ||
        !py::object(names[count - 1]).equal(py::str("threads")))
        throw py::value_error("python: its last parameters are not backend and threads");
    if (code.attr("co_posonlyargcount").cast<int>() != 0 ||
        (code.attr("co_flags").cast<int>() & (CO_VARARGS | CO_VARKEYWORDS)) != 0)
        throw py::value_error("python: takes arguments that are not in its list of names");
    if (!PyContextVar_CheckExact(backend.ptr()) || !PyContextVar_CheckExact(threads.ptr()))
        throw py::type_error("backend, threads: not ContextVars");

    py::object made = stolen(type->tp_alloc(type, 0));
    if (!made) throw py::error_already_set();
    Function& f = of(made.ptr());
    f.call = call;
    f.python = python.inc_ref().ptr();
    f.shortcuts = shortcuts.inc_ref().ptr();
    f.backend = backend.release().ptr();
    f.threads = threads.release().ptr();
    f.process = process.inc_ref().ptr();
    f.found = found.inc_ref().ptr();
    f.most_threads = most_threads;
    f.count = count;
    f.by_position = by_position;
    f.names = names.inc_ref().ptr();
    // Either is None where there is nothing in it.
    const py::object first = python.attr("__defaults__"), named = python.attr("__kwdefaults__");
    const py::tuple positional = first.is_none() ? py::tuple() : py::tuple(first);
    for (size_t i = 0, from = static_cast<size_t>(by_position) - positional.size();
         i < positional.size(); ++i)
        f.defaults[from + i] = py::object(positional[i]).release().ptr();
    const py::dict by_name = named.is_none() ? py::dict() : py::dict(named);
    for (Py_ssize_t i = by_position; i < count; ++i)
        if (by_name.contains(names[i]))
            f.defaults[i] = py::object(by_name[names[i]]).release().ptr();
    return made;
}

}  // namespace

void add_function(py::module_& m) {
    static PyMethodDef methods[] = {{"__reduce__", reduce, METH_NOARGS, nullptr},
                                    {nullptr, nullptr, 0, nullptr}};
    static PyGetSetDef properties[] = {
        {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr},
        {nullptr, nullptr, nullptr, nullptr, nullptr}};
    static PyMemberDef members[] = {
        {"__vectorcalloffset__", T_PYSSIZET, offsetof(Function, call), READONLY, nullptr},
        {"__dictoffset__", T_PYSSIZET, offsetof(Function, attributes), READONLY, nullptr},
        {"__weaklistoffset__", T_PYSSIZET, offsetof(Function, weak_references), READONLY, nullptr},
        {}};
    static PyType_Slot slots[] = {{Py_tp_methods, methods},
                                  {Py_tp_getset, properties},
                                  {Py_tp_members, members},
                                  {Py_tp_call, reinterpret_cast<void*>(&PyVectorcall_Call)},
                                  {Py_tp_descr_get, reinterpret_cast<void*>(&bound)},
                                  {Py_tp_repr, reinterpret_cast<void*>(&repr)},
                                  {Py_tp_traverse, reinterpret_cast<void*>(&traverse)},
                                  {Py_tp_clear, reinterpret_cast<void*>(&clear)},
                                  {Py_tp_dealloc, reinterpret_cast<void*>(&dealloc)},
                                  {0, nullptr}};
    static PyType_Spec spec{"fastsoftmax._core.Function", sizeof(Function), 0,
                            Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION |
                                Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                                Py_TPFLAGS_METHOD_DESCRIPTOR,
                            slots};
    type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
    if (!type) throw py::error_already_set();
    m.attr("Function") = py::handle(reinterpret_cast<PyObject*>(type));
    m.def("function", &make,
          "A Python function, compiled: a shortcut is asked first, with the arguments in the order "
          "of the signature, `backend` left out and `threads` a number.",
          py::arg("python"), py::arg("shortcuts"), py::arg("backend"), py::arg("threads"),
          py::arg("process"), py::arg("found"), py::arg("most_threads"));
}

}  // namespace fastsoftmax
