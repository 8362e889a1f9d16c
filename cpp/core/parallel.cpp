// The only OpenMP. Fork guard, thread budget, dynamic dealing; no mathematics, no Python.

#include "parallel.hpp"

#include <omp.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>

namespace fastsoftmax {
namespace {

std::atomic<int> computing{0};       // threads inside calls now
std::atomic<bool> pool_made{false};  // libgomp has started workers in this process ...
std::atomic<bool> pool_lost{false};  // ... that a fork did not carry over: a region would hang

// A region ends when all its threads have come and gone, and where another process keeps a
// processor busy a worker may come milliseconds late: 16 ms were seen for 0.03 ms of work. After
// such a wait calls stay on their own thread for 20 times as long, so that not one call in ten
// meets it again.
using Clock = std::chrono::steady_clock;
constexpr Clock::duration patience = std::chrono::microseconds(500);
constexpr int caution = 20;
constexpr Clock::duration longest_caution = std::chrono::seconds(1);
std::atomic<Clock::rep> alone_until{0};

void note_wait(Clock::time_point done) {
    const Clock::time_point now = Clock::now();
    const Clock::duration wait = now - done;
    if (wait > patience)
        alone_until = (now + std::min(wait * caution, longest_caution)).time_since_epoch().count();
}

// What OpenMP grants when nobody limits it; threadpoolctl and omp_set_num_threads change the value
// that omp_get_max_threads gives later.
const int unlimited = omp_get_max_threads();

const int fork_guard = pthread_atfork(nullptr, nullptr, [] {
    computing = 0;
    pool_lost = pool_lost || pool_made;
});

}  // namespace

Team::Team(int wanted) {
    const int limit = omp_get_max_threads();
    if (limit != unlimited) wanted = std::min(wanted, limit);
    if (pool_lost || fork_guard != 0 || omp_in_parallel()) wanted = 1;
    if (wanted > 1 && Clock::now().time_since_epoch().count() < alone_until) wanted = 1;
    int busy = computing;
    do {
        size_ = std::max(1, wanted - busy);
    } while (!computing.compare_exchange_weak(busy, busy + size_));
}

Team::~Team() { computing -= size_; }

namespace {

// A worker's share of the units, from which the others help themselves when theirs are done: so a
// worker meets the memory again that it had in the region before, and nobody waits for a worker
// that the system does not let run.
struct alignas(64) Share {
    std::atomic<int64_t> next;
    int64_t end;
};

}  // namespace

void Team::run(int64_t units, Task task, void* context) const {
    if (size_ == 1 || units < 2) {
        for (int64_t unit = 0; unit < units; ++unit) task(context, unit, 0);
        return;
    }
    pool_made = true;
    const std::unique_ptr<Share[]> shares(new Share[static_cast<size_t>(size_)]);
    for (int i = 0; i < size_; ++i) {
        shares[i].next = units * i / size_;
        shares[i].end = units * (i + 1) / size_;
    }
    Clock::time_point done;  // when the calling thread had nothing left to do
#pragma omp parallel num_threads(size_)
    {
        const int worker = omp_get_thread_num();
        for (int i = 0; i < size_; ++i) {
            Share& share = shares[(worker + i) % size_];
            for (int64_t unit; (unit = share.next.fetch_add(1)) < share.end;)
                task(context, unit, worker);
        }
        if (worker == 0) done = Clock::now();
    }
    note_wait(done);
}

}  // namespace fastsoftmax
