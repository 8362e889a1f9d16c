// Letting other Python threads run while the core computes.
#pragma once

#include <pybind11/pybind11.h>
#include <unistd.h>

namespace fastsoftmax {

// The GIL is handed back until the end of the scope. Python before 3.14 ends a daemon thread that
// asks for it when the interpreter is gone: it unwinds the stack, which a destructor does not let
// pass (std::terminate), and which would drop references to Python objects on its way. Such a
// thread stops here instead, as from 3.14 on, until the process ends.
class WithoutGil {
public:
    WithoutGil() : state_(PyEval_SaveThread()) {}
    ~WithoutGil() {
        try {
            PyEval_RestoreThread(state_);
        } catch (...) {  // no exception: the unwinding, which must not be brought to an end
            for (;;) pause();
        }
    }
    WithoutGil(const WithoutGil&) = delete;
    WithoutGil& operator=(const WithoutGil&) = delete;

private:
    PyThreadState* const state_;
};

}  // namespace fastsoftmax
