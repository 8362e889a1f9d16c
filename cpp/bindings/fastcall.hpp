// C++ functions as methods of Python objects by CPython's fast calling convention: positional
// arguments in place, exceptions translated. pybind11's own dispatcher takes 0.3 us, more than a
// softmax of ten numbers.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <new>
#include <string>

namespace fastsoftmax {

namespace py = pybind11;

// Method = PyObject* (PyObject* self, PyObject* const* arguments)
template <auto method, Py_ssize_t count>
PyObject* fastcall(PyObject* self, PyObject* const* arguments, Py_ssize_t given) noexcept {
    try {
        if (given != count)
            throw py::type_error("expected " + std::to_string(count) + " arguments, not " +
                                 std::to_string(given));
        return method(self, arguments);
    } catch (py::error_already_set& error) {
        error.restore();
    } catch (const py::builtin_exception& error) {
        error.set_error();
    } catch (const std::bad_alloc&) {
        PyErr_NoMemory();
    }
    return nullptr;
}

template <auto method, Py_ssize_t count>
PyMethodDef fast_method(const char* name, const char* doc) {
    // By way of void*: the table's type is that of the plainest convention.
    void* const entry = reinterpret_cast<void*>(&fastcall<method, count>);
    return {name, reinterpret_cast<PyCFunction>(entry), METH_FASTCALL, doc};
}

// A Python type of objects that consist of a `Body`, which are made by `make` only.
template <class Body>
struct Object {
    PyObject_HEAD Body body;

    static PyTypeObject* type;

    static void ready(py::module_& m, const char* name, PyMethodDef* methods,
                      PyGetSetDef* properties, getbufferproc memory = nullptr) {
        PyType_Slot slots[5] = {{Py_tp_dealloc, reinterpret_cast<void*>(&dealloc)}};
        int count = 1;
        if (methods) slots[count++] = {Py_tp_methods, methods};
        if (properties) slots[count++] = {Py_tp_getset, properties};
        if (memory) slots[count++] = {Py_bf_getbuffer, reinterpret_cast<void*>(memory)};
        const std::string full = std::string("fastsoftmax._core.") + name;
        PyType_Spec spec{full.c_str(), sizeof(Object), 0,
                         Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
        type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
        if (!type) throw py::error_already_set();
        m.attr(name) = py::handle(reinterpret_cast<PyObject*>(type));
    }

    static py::object make(Body body) {
        auto* const made = reinterpret_cast<Object*>(type->tp_alloc(type, 0));
        if (!made) throw py::error_already_set();
        new (&made->body) Body(std::move(body));
        return py::reinterpret_steal<py::object>(reinterpret_cast<PyObject*>(made));
    }

    // `self` of a method is of the type already; other arguments are to be checked.
    static Body& of(PyObject* object) { return reinterpret_cast<Object*>(object)->body; }
    static bool is(PyObject* object) { return Py_TYPE(object) == type; }

private:
    static void dealloc(PyObject* self) {
        PyTypeObject* const own = Py_TYPE(self);
        of(self).~Body();
        own->tp_free(self);
        Py_DECREF(own);
    }
};

template <class Body>
PyTypeObject* Object<Body>::type = nullptr;

}  // namespace fastsoftmax
