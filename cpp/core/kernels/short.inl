// Rows of few classes, many at a time: turned into columns in a panel that L1 holds, computed
// there, and turned back. No arithmetic here.

constexpr int short_classes = 64;

// The transpose of blocks of `size` lanes, in log2(size) steps.
template <int step, class T, int size>
FASTSOFTMAX_INLINE void transpose(Vec<T> (&v)[size]) {
    if constexpr (step < size) {
        each<size>([&](int i) FASTSOFTMAX_LAMBDA {
            if (!(i & step)) exchange<step>(v[i], v[i + step]);
        });
        transpose<2 * step>(v);
    }
}

// S classes (a power of two) of up to L rows, lane by row. Vector v holds rows v, v + S, v + 2S,
// ... in slots of S lanes; the transpose of the slots makes vector k class k of all rows.
template <class T, int S>
struct Tile {
    static constexpr int L = Vec<T>::lanes;

    // take(k, class k); rows that are not there repeat the last one.
    template <class Take>
    FASTSOFTMAX_INLINE static void in(const char* x, int64_t step, int rows, const Take& take) {
        Vec<T> v[S];
        each<S>([&](int i) FASTSOFTMAX_LAMBDA {
            v[i] = load_slots<T, S>([&](int j) FASTSOFTMAX_LAMBDA {
                const int r = i + j * S;
                return reinterpret_cast<const T*>(x + (r < rows ? r : rows - 1) * step);
            });
        });
        transpose<1>(v);
        each<S>([&](int k) FASTSOFTMAX_LAMBDA { take(k, v[k]); });
    }

    // give(k) is class k.
    template <class Give>
    FASTSOFTMAX_INLINE static void out(const Give& give, int rows, char* y, int64_t step) {
        Vec<T> v[S];
        each<S>([&](int k) FASTSOFTMAX_LAMBDA { v[k] = give(k); });
        transpose<1>(v);
        const auto row = [&](int r)
                             FASTSOFTMAX_LAMBDA { return reinterpret_cast<T*>(y + r * step); };
        if (rows == L) {
            each<S>([&](int i) FASTSOFTMAX_LAMBDA {
                store_slots<S>([&](int j) FASTSOFTMAX_LAMBDA { return row(i + j * S); }, v[i]);
            });
            return;
        }
        T slots[S * L];
        for (int i = 0; i < S; ++i) store(slots + i * L, v[i]);
        for (int r = 0; r < rows; ++r) memcpy(row(r), slots + r % S * L + r / S * S, sizeof(T) * S);
    }
};

// Rows of any number of classes, as tiles of powers of two.
template <class T>
struct Tiled {
    static constexpr int L = Vec<T>::lanes;

    template <class Take>
    FASTSOFTMAX_INLINE static void in(const char* x, int64_t step, int classes, int rows,
                                      const Take& take) {
        tiles<L>(0, classes, [&](auto tile, int k) FASTSOFTMAX_LAMBDA {
            tile.in(x + k * int64_t{sizeof(T)}, step, rows,
                    [&](int i, Vec<T> v) FASTSOFTMAX_LAMBDA { take(k + i, v); });
        });
    }
    template <class Give>
    FASTSOFTMAX_INLINE static void out(const Give& give, int classes, int rows, char* y,
                                       int64_t step) {
        tiles<L>(0, classes, [&](auto tile, int k) FASTSOFTMAX_LAMBDA {
            tile.out([&](int i) FASTSOFTMAX_LAMBDA { return give(k + i); }, rows,
                     y + k * int64_t{sizeof(T)}, step);
        });
    }

private:
    template <int S, class F>
    FASTSOFTMAX_INLINE static void tiles(int k, int classes, const F& f) {
        for (; k + S <= classes; k += S) f(Tile<T, S>{}, k);
        if constexpr (S > 1) tiles<S / 2>(k, classes, f);
    }
};

// Dense rows of S classes: vectors as they lie in memory hold L / S rows each, in which order the
// columns then are.
template <class T, int S>
struct Dense {
    static constexpr int L = Vec<T>::lanes;

    template <class Take>
    FASTSOFTMAX_INLINE static void in(const char* x, int64_t, int, int rows, const Take& take) {
        T slots[S * L];
        const T* from = reinterpret_cast<const T*>(x);
        if (rows < L) {
            for (int i = 0; i < S * L; ++i) slots[i] = from[i < rows * S ? i : 0];
            from = slots;
        }
        Vec<T> v[S];
        each<S>([&](int i) FASTSOFTMAX_LAMBDA { v[i] = load(from + i * L); });
        transpose<1>(v);
        each<S>([&](int k) FASTSOFTMAX_LAMBDA { take(k, v[k]); });
    }
    template <class Give>
    FASTSOFTMAX_INLINE static void out(const Give& give, int, int rows, char* y, int64_t) {
        Vec<T> v[S];
        each<S>([&](int k) FASTSOFTMAX_LAMBDA { v[k] = give(k); });
        transpose<1>(v);
        T slots[S * L];
        T* const to = rows < L ? slots : reinterpret_cast<T*>(y);
        each<S>([&](int i) FASTSOFTMAX_LAMBDA { store(to + i * L, v[i]); });
        if (rows < L) memcpy(y, slots, sizeof(T) * static_cast<size_t>(rows * S));
    }
};

// N vectors of rows.
template <class T, Op op, class Turned, int N>
inline void turned(const Job& job, const Row& row, int rows_in, const Axis& step, T* panel,
                   const Scale<T>& c, void* scratch) {
    constexpr int L = Vec<T>::lanes, width = N * L;
    const int K = static_cast<int>(job.num_classes);
    const Panel<T, N, true> all{reinterpret_cast<char*>(panel), width * int64_t{sizeof(T)}, L};
    const Columns<T, N, true> columns{all, K, c};
    Vec<T> top[N];
    const auto out = [&](int u, const auto& result) FASTSOFTMAX_LAMBDA {
        Turned::out([&](int k) FASTSOFTMAX_LAMBDA { return result(all.get(k, u)); }, K, rows_in,
                    row.out + u * L * step.out, step.out);
    };
    for (int u = 0; u < N; ++u) {
        Vec<T> largest = Vec<T>::all(-HUGE_VAL);
        Turned::in(row.x + u * L * step.x, step.x, K, rows_in,
                   [&](int k, Vec<T> v) FASTSOFTMAX_LAMBDA {
                       all.put(k, u, v);
                       largest = larger(largest, v);
                   });
        top[u] = largest;
    }
    if (!columns.all_within_reach(top))
        return rows<T, op, GroupSum<T>>(job, row, N > 1 ? width : rows_in, step, scratch);
    if constexpr (op == Op::softmax) {
        ColumnSum<T> sums[N];
        columns.exp2(top, all, sums);
        Inverse<Vec<T>> by[N];
        each<N>([&](int u) FASTSOFTMAX_LAMBDA { by[u] = sums[u].inverses(); });
        for (int u = 0; u < N; ++u)
            out(u, [&](Vec<T> e) FASTSOFTMAX_LAMBDA { return quotient(e, by[u]); });
    } else {
        columns.log_sums(top, [&](int u, const ColumnLogs<T>& logs) {
            if constexpr (op == Op::log_softmax) {
                const LogProbability<T> result(c, top[u], logs.rounded());
                out(u, [&](Vec<T> x) FASTSOFTMAX_LAMBDA { return result.of(x); });
            } else {
                Row at = row;
                advance(at, step, u * L);
                put_logsumexps<T>(job, at, step, logs.plus(top[u]), rows_in);
            }
        });
    }
}

template <class T, Op op, class Turned>
inline void turned_rows(const Job& job, Row row, int64_t count, const Axis& step, void* scratch) {
    constexpr int L = Vec<T>::lanes, N = stripe;
    alignas(64) T panel[short_classes * N * L];
    const Scale<T> c(number_at(row.temperature));
    for (; count >= N * L; count -= N * L, advance(row, step, N * L))
        turned<T, op, Turned, N>(job, row, L, step, panel, c, scratch);
    for (; count > 0; count -= L, advance(row, step, L))
        turned<T, op, Turned, 1>(job, row, static_cast<int>(count < L ? count : L), step, panel, c,
                                 scratch);
}

template <class T, Op op>
void short_rows(const Job& job, Row row, int64_t count, const Axis& step, void* scratch) {
    const FloatMode mode;
    constexpr int L = Vec<T>::lanes;
    const int64_t K = job.num_classes, row_bytes = K * int64_t{sizeof(T)};
    if constexpr (op != Op::logsumexp) {
        const bool dense = step.x == row_bytes && step.out == row_bytes;
        if constexpr (L >= 2)
            if (dense && K == 2)
                return turned_rows<T, op, Dense<T, 2>>(job, row, count, step, scratch);
        if constexpr (L >= 4)
            if (dense && K == 4)
                return turned_rows<T, op, Dense<T, 4>>(job, row, count, step, scratch);
        if constexpr (L >= 8)
            if (dense && K == 8)
                return turned_rows<T, op, Dense<T, 8>>(job, row, count, step, scratch);
    }
    turned_rows<T, op, Tiled<T>>(job, row, count, step, scratch);
}
