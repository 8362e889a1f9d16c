// Idle buffers by size, newest first, and the system calls behind them. No Python, no mathematics.

#include "pool.hpp"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <new>
#include <utility>

namespace fastsoftmax::pool {
namespace {

// Eight sizes between a power of two and the next: an eighth more than was asked for at most.
constexpr int steps = 8, num_sizes = 64 * steps;
constexpr int64_t smallest = 32 * 1024;
// NumPy asks for huge pages from here on too. They must begin at multiples of their size.
constexpr int64_t huge_from = 4 << 20, huge_page = 2 << 20;

const int64_t system_page = sysconf(_SC_PAGESIZE);

struct Size {
    int index;
    int64_t bytes;
};

Size size_of(int64_t bytes) {
    bytes = std::max(bytes, smallest);
    const int exponent = 63 - __builtin_clzll(static_cast<uint64_t>(bytes));
    const int64_t step = (int64_t{1} << exponent) / steps, count = (bytes + step - 1) / step;
    const int64_t mapped = (count * step + page + system_page - 1) / system_page * system_page;
    return {exponent * steps + static_cast<int>(count) - steps, mapped};
}

// An idle buffer holds its own place among the others, so that giving one back cannot fail.
struct Idle {
    Idle *newer, *older;  // of its size
    uint64_t since;
    int64_t bytes;
};

struct List {
    Idle *newest, *oldest;
};

// Constants and no destructors: results may outlive everything else in the process.
std::mutex guard;
List lists[num_sizes];
int64_t idle_bytes = 0;
uint64_t returns = 0;
std::atomic<int64_t> most_idle{0};  // none until somebody says how much there may be

// A child of a fork must not find the lock held by a thread that it has not got.
[[maybe_unused]] const int fork_guard =
    pthread_atfork([] { guard.lock(); }, [] { guard.unlock(); }, [] { guard.unlock(); });

void unlink(List& list, Idle* buffer) {
    (buffer->newer ? buffer->newer->older : list.newest) = buffer->older;
    (buffer->older ? buffer->older->newer : list.oldest) = buffer->newer;
    idle_bytes -= buffer->bytes;
}

void link(List& list, Idle* buffer) {
    buffer->newer = nullptr;
    buffer->older = list.newest;
    (list.newest ? list.newest->newer : list.oldest) = buffer;
    list.newest = buffer;
    idle_bytes += buffer->bytes;
}

// Takes out what was idle longest until `most` bytes are left: a chain along `older`.
Idle* surplus(int64_t most) {
    Idle* chain = nullptr;
    while (idle_bytes > most) {
        List* stalest = nullptr;
        for (List& list : lists)
            if (list.oldest && (!stalest || list.oldest->since < stalest->oldest->since))
                stalest = &list;
        Idle* const buffer = stalest->oldest;
        unlink(*stalest, buffer);
        buffer->older = std::exchange(chain, buffer);
    }
    return chain;
}

void unmap(Idle* chain) {
    while (chain) {
        Idle* const buffer = std::exchange(chain, chain->older);
        munmap(buffer, static_cast<size_t>(buffer->bytes));
    }
}

// Unmapping takes milliseconds, which nobody waits for at the lock.
void shrink(int64_t most) {
    std::unique_lock<std::mutex> held(guard);
    Idle* const chain = surplus(most);
    held.unlock();
    unmap(chain);
}

void* map(int64_t bytes) {
    const bool huge = bytes >= huge_from;
    const auto all = static_cast<size_t>(huge ? bytes + huge_page : bytes);
    void* const mapped =
        mmap(nullptr, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) return nullptr;
    if (!huge) return mapped;
    char* const begin = static_cast<char*>(mapped);
    const auto before = static_cast<size_t>(-reinterpret_cast<intptr_t>(begin) & (huge_page - 1));
    char* const aligned = begin + before;
    if (before) munmap(begin, before);
    munmap(aligned + bytes, static_cast<size_t>(huge_page) - before);
#ifdef MADV_HUGEPAGE
    madvise(aligned, static_cast<size_t>(bytes), MADV_HUGEPAGE);
#endif
    return aligned;
}

}  // namespace

void* take(int64_t bytes) noexcept {
    const Size size = size_of(bytes);
    {
        const std::lock_guard<std::mutex> held(guard);
        List& list = lists[size.index];
        if (Idle* const buffer = list.newest) {
            unlink(list, buffer);
            return buffer;
        }
    }
    if (void* const memory = map(size.bytes)) return memory;
    clear();
    return map(size.bytes);
}

void give(void* memory, int64_t bytes) noexcept {
    const Size size = size_of(bytes);
    Idle* const buffer = new (memory) Idle{nullptr, nullptr, 0, size.bytes};
    if (size.bytes > most_idle) return unmap(buffer);
    {
        const std::lock_guard<std::mutex> held(guard);
        buffer->since = ++returns;
        link(lists[size.index], buffer);
    }
    shrink(most_idle);
}

void clear() noexcept { shrink(0); }

void set_limit(int64_t bytes) noexcept {
    most_idle = bytes;
    shrink(bytes);
}

int64_t limit() noexcept { return most_idle; }

int64_t idle() noexcept {
    const std::lock_guard<std::mutex> held(guard);
    return idle_bytes;
}

}  // namespace fastsoftmax::pool
