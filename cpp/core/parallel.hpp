// Deals out independent units of work to threads. The interface hides what threads there are.
#pragma once

#include <stdint.h>

namespace fastsoftmax {

// A number of threads for a call that may use `wanted`, from a budget that all concurrent calls
// share: computing threads count, idle ones do not. Holds them until destroyed.
class Team {
public:
    explicit Team(int wanted);
    ~Team();
    Team(const Team&) = delete;
    Team& operator=(const Team&) = delete;

    int size() const { return size_; }

    // Calls task(context, unit, worker) once for each unit in [0, units), worker in [0, size()).
    // The tasks must not throw. Returns when all are done.
    using Task = void (*)(void* context, int64_t unit, int worker);
    void run(int64_t units, Task task, void* context) const;

private:
    int size_;
};

}  // namespace fastsoftmax
