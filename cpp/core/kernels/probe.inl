// Loops that only move memory, or only exponentiate: what the hardware allows, measured by the same
// vectors as the kernels, so that a kernel's time can be given as a share of it. No kernel uses
// them.

constexpr int probe_unroll = 4;

// How far ahead of the loads a line is asked for, in bytes.
constexpr int64_t probe_ahead = 4096;

// Moves whole vectors, then single floats; `put` stores a vector.
template <class Put>
inline void move_floats(const float* from, float* to, int64_t n, Put put) {
    constexpr int64_t L = Vec<float>::lanes, step = probe_unroll * L;
    int64_t i = 0;
    for (; i + step <= n; i += step) {
        const char* const next = reinterpret_cast<const char*>(from + i) + probe_ahead;
        for (int64_t line = 0; line < step * 4; line += 64) __builtin_prefetch(next + line);
        for (int64_t u = 0; u < step; u += L) put(to + i + u, load(from + i + u));
    }
    for (; i < n; ++i) to[i] = from[i];
}

template <bool Stream>
void probe_copy(const void* x, void* y, int64_t n, int64_t repetitions) {
    const float* from = static_cast<const float*>(x);
    float* to = static_cast<float*>(y);
    for (; repetitions > 0; --repetitions) {
        if constexpr (Stream) {
            // Up to the first address that a streaming store may go to.
            const auto past = reinterpret_cast<uintptr_t>(to) % sizeof(Vec<float>);
            int64_t head = past ? static_cast<int64_t>(sizeof(Vec<float>) - past) / 4 : 0;
            head = head < n ? head : n;
            for (int64_t i = 0; i < head; ++i) to[i] = from[i];
            move_floats(from + head, to + head, n - head,
                        [](float* p, Vec<float> a) { stream(p, a); });
            stream_end();
        } else {
            move_floats(from, to, n, [](float* p, Vec<float> a) { store(p, a); });
        }
        __asm__ volatile("" : : "r"(to) : "memory");  // or one repetition would stand for all
    }
}

double probe_read(const void* x, int64_t n, int64_t repetitions) {
    constexpr int64_t L = Vec<float>::lanes;
    constexpr int sums = 2 * probe_unroll;  // as many as additions take cycles, on two ports
    const FloatMode mode;
    const float* from = static_cast<const float*>(x);
    double total = 0;
    for (; repetitions > 0; --repetitions) {
        Vec<float> sum[sums];
        for (auto& s : sum) s = Vec<float>::all(0);
        int64_t i = 0;
        for (; i + sums * L <= n; i += sums * L) {
            const char* const next = reinterpret_cast<const char*>(from + i) + probe_ahead;
            for (int64_t line = 0; line < sums * L * 4; line += 64) __builtin_prefetch(next + line);
            for (int u = 0; u < sums; ++u) sum[u] = sum[u] + load(from + i + u * L);
        }
        for (; i < n; ++i) total += static_cast<double>(from[i]);
        for (int u = 1; u < sums; ++u) sum[0] = sum[0] + sum[u];
        float lanes[L];
        store(lanes, sum[0]);
        for (float lane : lanes) total += static_cast<double>(lane);
        __asm__ volatile("" : : "r"(from) : "memory");
    }
    return total;
}

// At least n exponentials of numbers that are in registers already, and their sum. Nothing ties one
// to the next but the sums, so that as many are in flight as the processor can hold; written out
// four or eight times instead of twice it is as fast or, where registers run out, slower.
template <class T>
double probe_exp(int64_t n) {
    constexpr int L = Vec<T>::lanes, width = 2;
    const FloatMode mode;
    const Shift<T> shift(Scale<T>(1), Vec<T>::all(0));
    Vec<T> x[width], sum[width];
    for (int u = 0; u < width; ++u) {
        x[u] = Vec<T>::all(static_cast<T>(-1 - u));
        sum[u] = Vec<T>::all(0);
    }
    for (int64_t i = 0; i < n; i += width * L) {
        for (int u = 0; u < width; ++u) {
            forget(x[u]);
            sum[u] = sum[u] + exp2_shifted(x[u], shift);
        }
    }
    double total = 0;
    for (const Vec<T>& part : sum) {
        T lanes[L];
        store(lanes, part);
        for (T lane : lanes) total += static_cast<double>(lane);
    }
    return total;
}
