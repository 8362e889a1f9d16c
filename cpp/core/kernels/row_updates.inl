// Steps of optimizers on rows of a table of weights, in place. Operations of IEEE 754 only, each
// rounded, in one order, subnormals kept: whoever computes the same gets the same bits.

template <class T>
struct Numbers {
    T rate, decay, eps, shares[2];
};

inline float root(float a) { return __builtin_sqrtf(a); }
inline double root(double a) { return __builtin_sqrt(a); }

// A rule gives the direction in which an element goes, `rate` of it, by its gradient and what is
// kept beside it: the sum of squares, or two means that move by a share of what is new. The means
// are written by the difference: beta and 1 - beta, each rounded, would not add up to 1, and 0.999
// in float32 would move the mean of a constant by 1e-5 of it.
struct Sgd {
    template <class T>
    static FASTSOFTMAX_INLINE T direction(const Numbers<T>&, T g, T*, T*) {
        return g;
    }
};
struct Adagrad {
    template <class T>
    static FASTSOFTMAX_INLINE T direction(const Numbers<T>& by, T g, T* squares, T*) {
        *squares += g * g;
        return g / (root(*squares) + by.eps);
    }
};
struct Adam {
    template <class T>
    static FASTSOFTMAX_INLINE T direction(const Numbers<T>& by, T g, T* mean, T* square) {
        *mean += (g - *mean) * by.shares[0];
        *square += (g * g - *square) * by.shares[1];
        return *mean / (root(*square) + by.eps);
    }
};

template <class By, bool decays, class T>
inline void step_block(const Numbers<T>& by, const T* __restrict g, T* __restrict w,
                       T* __restrict a, T* __restrict b, int n) {
    for (int i = 0; i < n; ++i) {
        const T own = decays ? g[i] + by.decay * w[i] : g[i];
        w[i] -= by.rate * By::direction(by, own, a + i, b + i);
    }
}

// A table of which blocks of rows are used in the compute type: where they lie, or copied.
template <class T>
struct RowBlocks {
    const Table& table;
    const int size;
    const bool direct;
    T copy[block];

    explicit RowBlocks(const Table& of)
        : table(of),
          size(elem_size[static_cast<int>(of.type)]),
          direct(size == sizeof(T) && (of.column_step == size || of.columns == 1) &&
                 is_aligned(of)) {}

    static bool is_aligned(const Table& of) {
        return reinterpret_cast<uintptr_t>(of.data) % sizeof(T) == 0 &&
               of.row_step % static_cast<int64_t>(sizeof(T)) == 0;
    }
    char* at(int64_t row, int64_t k) const {
        return table.data + row * table.row_step + k * table.column_step;
    }
    T* get(int64_t row, int64_t k, int n) {
        if (direct) return reinterpret_cast<T*>(at(row, k));
        gather(table.type, at(row, k), table.column_step, copy, n);
        return copy;
    }
    void put(int64_t row, int64_t k, int n) const {
        if (!direct) scatter(table.type, copy, at(row, k), table.column_step, n);
    }
};

// Nothing is fetched ahead: rows do not wait for each other, so that the processor itself is
// several rows on. Fetching 0, 1, 2, 4, ... 32 rows ahead took the same time, 64 and 256 columns,
// large pages and small ones.
template <class T, class By>
void update_rows(const RowUpdate& u, int64_t first, int64_t last) {
    constexpr int states = same<By, Adam> ? 2 : same<By, Adagrad>;
    const FloatMode mode(Subnormals::kept);
    const Numbers<T> by = {T(u.rate), T(u.decay), T(u.eps), {T(u.shares[0]), T(u.shares[1])}};
    const auto step = u.decay == 0 ? step_block<By, false, T> : step_block<By, true, T>;
    RowBlocks<T> gradient(u.rows), weight(u.weight);
    // A rule's missing states stand for nothing: never read.
    RowBlocks<T> a(states > 0 ? u.states[0] : u.weight), b(states > 1 ? u.states[1] : u.weight);
    for (int64_t i = first; i < last; ++i) {
        const int64_t row = u.ids[i];
        for (int64_t k = 0; k < u.weight.columns; k += block) {
            const int64_t left = u.weight.columns - k;
            const int n = static_cast<int>(left < block ? left : block);
            step(by, gradient.get(i, k, n), weight.get(row, k, n),
                 states > 0 ? a.get(row, k, n) : a.copy, states > 1 ? b.get(row, k, n) : b.copy, n);
            weight.put(row, k, n);
            if (states > 0) a.put(row, k, n);
            if (states > 1) b.put(row, k, n);
        }
    }
}
