// Rows of few classes, many at a time: turned into columns in a panel that L1 holds, computed
// there, and turned back. No arithmetic here.

constexpr int short_classes = 64;

// Vectors of rows at a time, so that the latencies of one hide behind the others' arithmetic: one
// at a time takes 1.3 to 2.5 times as long, two 1.1 to 1.5 times, eight as long. Longer rows have
// enough to hide behind, and past the caches gain a fifth from asking memory for less at a time.
constexpr int abreast = 4, abreast_if_long = 2;
constexpr int64_t long_classes = 17;

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

// S classes (a power of two) of L rows, lane by row. Vector v holds rows v, v + S, v + 2S, ... in
// slots of S lanes; the transpose of the slots makes vector k class k of all rows.
template <class T, int S>
struct Tile {
    // take(k, class k)
    template <class Take>
    FASTSOFTMAX_INLINE static void in(const char* x, int64_t step, const Take& take) {
        Vec<T> v[S];
        each<S>([&](int i) FASTSOFTMAX_LAMBDA {
            v[i] = load_slots<T, S>([&](int j) FASTSOFTMAX_LAMBDA {
                return reinterpret_cast<const T*>(x + (i + j * S) * step);
            });
        });
        transpose<1>(v);
        each<S>([&](int k) FASTSOFTMAX_LAMBDA { take(k, v[k]); });
    }

    // give(k) is class k.
    template <class Give>
    FASTSOFTMAX_INLINE static void out(const Give& give, char* y, int64_t step) {
        Vec<T> v[S];
        each<S>([&](int k) FASTSOFTMAX_LAMBDA { v[k] = give(k); });
        transpose<1>(v);
        each<S>([&](int i) FASTSOFTMAX_LAMBDA {
            store_slots<S>(
                [&](int j)
                    FASTSOFTMAX_LAMBDA { return reinterpret_cast<T*>(y + (i + j * S) * step); },
                v[i]);
        });
    }
};

// Rows of any number of classes, as tiles of powers of two.
template <class T>
struct Tiled {
    static Vec<T> in_order(Vec<T> v) { return v; }

    template <class Take>
    FASTSOFTMAX_INLINE static void in(const char* x, int64_t step, int classes, const Take& take) {
        tiles<Vec<T>::lanes>(0, classes, [&](auto tile, int k) FASTSOFTMAX_LAMBDA {
            tile.in(x + k * int64_t{sizeof(T)}, step,
                    [&](int i, Vec<T> v) FASTSOFTMAX_LAMBDA { take(k + i, v); });
        });
    }
    template <class Give>
    FASTSOFTMAX_INLINE static void out(const Give& give, int classes, char* y, int64_t step) {
        tiles<Vec<T>::lanes>(0, classes, [&](auto tile, int k) FASTSOFTMAX_LAMBDA {
            tile.out([&](int i) FASTSOFTMAX_LAMBDA { return give(k + i); },
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
    static Vec<T> in_order(Vec<T> v) { return regroup<S>(v); }

    template <class Take>
    FASTSOFTMAX_INLINE static void in(const char* x, int64_t, int, const Take& take) {
        Vec<T> v[S];
        each<S>([&](int i)
                    FASTSOFTMAX_LAMBDA { v[i] = load(reinterpret_cast<const T*>(x) + i * L); });
        transpose<1>(v);
        each<S>([&](int k) FASTSOFTMAX_LAMBDA { take(k, v[k]); });
    }
    template <class Give>
    FASTSOFTMAX_INLINE static void out(const Give& give, int, char* y, int64_t) {
        Vec<T> v[S];
        each<S>([&](int k) FASTSOFTMAX_LAMBDA { v[k] = give(k); });
        transpose<1>(v);
        each<S>([&](int i) FASTSOFTMAX_LAMBDA { store(reinterpret_cast<T*>(y) + i * L, v[i]); });
    }
};

// N vectors of rows. False, with x as it was, if one needs the row kernel.
template <class T, Op op, class Turned, int N>
inline bool turned(const Job& job, const Row& row, const Axis& step, T* panel, const Scale<T>& c) {
    constexpr int L = Vec<T>::lanes;
    const int K = static_cast<int>(job.num_classes);
    constexpr int64_t bytes = N * L * sizeof(T);
    const Panel<T, N, true> all{reinterpret_cast<char*>(panel), bytes, L};
    const Panel<T, N, true> next{const_cast<char*>(row.x) + N * L * step.x, bytes, L};
    const Columns<T, N, true> columns{all, next, K, c};
    Vec<T> top[N];
    for (int u = 0; u < N; ++u) {
        Vec<T> largest = Vec<T>::all(-HUGE_VAL);
        Turned::in(row.x + u * L * step.x, step.x, K, [&](int k, Vec<T> v) FASTSOFTMAX_LAMBDA {
            all.put(k, u, v);
            largest = larger(largest, v);
        });
        top[u] = largest;
    }
    if (!columns.all_within_reach(top)) return false;
    const auto out = [&](int u, const auto& result) FASTSOFTMAX_LAMBDA {
        Turned::out([&](int k) FASTSOFTMAX_LAMBDA { return result(all.get(k, u)); }, K,
                    row.out + u * L * step.out, step.out);
    };
    if constexpr (op == Op::softmax) {
        ColumnSum<T> sums[N];
        columns.exp2(top, all, sums);
        Inverse<Vec<T>> by[N];
        each<N>([&](int u) FASTSOFTMAX_LAMBDA { by[u] = sums[u].inverses(); });
        for (int u = 0; u < N; ++u)
            out(u, [&](Vec<T> e) FASTSOFTMAX_LAMBDA { return quotient(e, by[u]); });
        return true;
    }
    Vec<T> logs[N];
    if constexpr (op == Op::logsumexp)
        columns.logsumexps(top, logs);
    else
        columns.template log_sums<Digits::terms>(top, logs, false);
    for (int u = 0; u < N; ++u)
        if constexpr (op == Op::log_softmax) {
            const LogProbability<T> result(c, top[u], logs[u]);
            out(u, [&](Vec<T> x) FASTSOFTMAX_LAMBDA { return result.of(x); });
        } else {
            put_logsumexps<T>(job, row, step, u * L, Turned::in_order(logs[u]), L);
        }
    return true;
}

// Fewer rows than a vector has lanes, by way of a copy of them.
template <class T, Op op, class Turned>
inline bool turned_part(const Job& job, const Row& row, int count, const Axis& step, T* panel,
                        const Scale<T>& c) {
    constexpr int L = Vec<T>::lanes;
    alignas(64) T copy[short_classes * L];
    const auto size = static_cast<size_t>(job.num_classes) * sizeof(T);
    const auto bytes = static_cast<int64_t>(size);
    char* const start = reinterpret_cast<char*>(copy);
    memset(start, 0, L * size);
    for (int r = 0; r < count; ++r) memcpy(start + r * bytes, row.x + r * step.x, size);
    Row at = row;
    at.x = at.out = start;
    Axis dense = step;
    dense.x = bytes;
    dense.out = op == Op::logsumexp ? int64_t{sizeof(T)} : bytes;
    at.sign = nullptr;
    if (!turned<T, op, Turned, 1>(job, at, dense, panel, c)) return false;
    if constexpr (op == Op::logsumexp)
        put_logsumexps<T>(job, row, step, 0, load(copy), count);
    else
        for (int r = 0; r < count; ++r) memcpy(row.out + r * step.out, start + r * bytes, size);
    return true;
}

template <class T, Op op, class Turned, int N = abreast>
inline void turned_rows(const Job& job, Row row, int64_t count, const Axis& step, void* scratch) {
    constexpr int L = Vec<T>::lanes;
    alignas(64) T panel[short_classes * N * L];
    const Scale<T> c(number_at(row.temperature));
    for (int64_t n; count > 0; count -= n, advance(row, step, n)) {
        n = count >= N * L ? N * L : count >= L ? L : count;
        const bool done =
            n == N * L ? turned<T, op, Turned, N>(job, row, step, panel, c)
            : n == L   ? turned<T, op, Turned, 1>(job, row, step, panel, c)
                       : turned_part<T, op, Turned>(job, row, static_cast<int>(n), step, panel, c);
        if (!done) rows<T, op, GroupSum<T>>(job, row, n, step, scratch);
    }
}

template <class T, Op op>
inline void short_rows_of(const Job& job, const Row& row, int64_t count, const Axis& step,
                          void* scratch) {
    constexpr int L = Vec<T>::lanes;
    const int64_t K = job.num_classes, row_bytes = K * int64_t{sizeof(T)};
    const bool dense = step.x == row_bytes && (op == Op::logsumexp || step.out == row_bytes);
    if constexpr (L >= 2)
        if (dense && K == 2) return turned_rows<T, op, Dense<T, 2>>(job, row, count, step, scratch);
    if constexpr (L >= 4)
        if (dense && K == 4) return turned_rows<T, op, Dense<T, 4>>(job, row, count, step, scratch);
    if constexpr (L >= 8)
        if (dense && K == 8) return turned_rows<T, op, Dense<T, 8>>(job, row, count, step, scratch);
    if (K >= long_classes)
        turned_rows<T, op, Tiled<T>, abreast_if_long>(job, row, count, step, scratch);
    else
        turned_rows<T, op, Tiled<T>>(job, row, count, step, scratch);
}

// By way of float32, where x or the result is in another type: as many rows at a time as a copy of
// them has room for that L1 holds beside the panel.
template <Op op, class Kernel>
inline void rows_by_copy(const Job& job, Row row, int64_t count, const Axis& step, void* scratch,
                         Kernel kernel) {
    constexpr int width = abreast * Vec<float>::lanes, size = sizeof(float);
    alignas(64) float copy[short_classes * width];
    const int K = static_cast<int>(job.num_classes), per_row = op == Op::logsumexp ? 1 : K;
    const int64_t most = short_classes / K * width;
    Axis axis = job.classes[0], dense = step;
    axis.x = axis.out = size;
    dense.x = K * size;
    dense.out = per_row * size;
    Job inner = job;
    inner.in = inner.out = Elem::f32;
    inner.in_place = true;
    inner.streaming = false;
    inner.classes = &axis;
    inner.rows_kept = 0;
    // Rows to or from the copy, at once if they are as close together there.
    const auto each_run = [&](int64_t n, int64_t row_step, Elem type, int length, auto f) {
        const int bytes = elem_size[static_cast<int>(type)];
        if (row_step == length * bytes) return f(0, static_cast<int>(n) * length, bytes);
        for (int64_t i = 0; i < n; ++i) f(i, length, bytes);
    };
    for (int64_t n; count > 0; count -= n, advance(row, step, n)) {
        n = count < most ? count : most;
        each_run(n, step.x, job.in, K, [&](int64_t i, int length, int bytes) {
            gather(job.in, row.x + i * step.x, bytes, copy + i * K, length);
        });
        Row at = row;
        at.x = at.out = reinterpret_cast<char*>(copy);
        at.sign = nullptr;
        kernel(inner, at, n, dense, scratch);
        if (op == Op::logsumexp && row.sign) {
            Row to = row;
            for (int64_t i = 0; i < n; ++i, advance(to, step, 1))
                put_logsumexp<float>(job, to, static_cast<double>(copy[i]));
        } else {
            each_run(n, step.out, job.out, per_row, [&](int64_t i, int length, int bytes) {
                scatter(job.out, copy + i * per_row, row.out + i * step.out, bytes, length);
            });
        }
    }
}

template <class T, Op op>
void short_rows(const Job& job, Row row, int64_t count, const Axis& step, void* scratch) {
    const FloatMode mode;
    if constexpr (sizeof(T) == 4)
        if (job.in != Elem::f32 || job.out != Elem::f32)
            return rows_by_copy<op>(job, row, count, step, scratch, short_rows_of<float, op>);
    short_rows_of<T, op>(job, row, count, step, scratch);
}
