// Rows of few classes, many at a time: turned into columns in a panel that L1 holds, computed
// there, and turned back. No arithmetic here.

constexpr int short_classes = 64;

// The transpose of blocks of `size` lanes, in log2(size) steps.
template <int step, class T, int size>
FASTSOFTMAX_INLINE void transpose(Vec<T> (&v)[size]) {
    if constexpr (step < size) {
        for (int i = 0; i < size; ++i)
            if (!(i & step)) exchange<step>(v[i], v[i + step]);
        transpose<2 * step>(v);
    }
}

// S classes (a power of two) of up to L rows, lane by row. Vector v holds rows v, v + S, v + 2S,
// ... in slots of S lanes; the transpose of the slots makes vector k class k of all rows.
template <class T, int S>
struct Tile {
    static constexpr int L = Vec<T>::lanes, width = stripe * L;

    // Rows that are not there repeat the last one.
    static void in(const char* x, int64_t step, int rows, T* panel) {
        const auto row = [&](int r) {
            return reinterpret_cast<const T*>(x + (r < rows ? r : rows - 1) * step);
        };
        Vec<T> v[S];
        if constexpr (S == L) {
            for (int i = 0; i < S; ++i) v[i] = load(row(i));
        } else if constexpr (2 * S == L) {
            for (int i = 0; i < S; ++i) v[i] = load_halves(row(i), row(i + S));
        } else {
            T slots[S * L];
            for (int r = 0; r < L; ++r) memcpy(slots + slot(r), row(r), sizeof(T) * S);
            for (int i = 0; i < S; ++i) v[i] = load(slots + i * L);
        }
        transpose<1>(v);
        for (int k = 0; k < S; ++k) store(panel + k * width, v[k]);
    }

    static void out(const T* panel, int rows, char* y, int64_t step) {
        const auto row = [&](int r) { return reinterpret_cast<T*>(y + r * step); };
        Vec<T> v[S];
        for (int k = 0; k < S; ++k) v[k] = load(panel + k * width);
        transpose<1>(v);
        if (S == L && rows == L) {
            for (int i = 0; i < S; ++i) store(row(i), v[i]);
            return;
        }
        if constexpr (2 * S == L)
            if (rows == L) {
                for (int i = 0; i < S; ++i) store_halves(row(i), row(i + S), v[i]);
                return;
            }
        T slots[S * L];
        for (int i = 0; i < S; ++i) store(slots + i * L, v[i]);
        if (rows == L)
            for (int r = 0; r < L; ++r) memcpy(row(r), slots + slot(r), sizeof(T) * S);
        else
            for (int r = 0; r < rows; ++r) memcpy(row(r), slots + slot(r), sizeof(T) * S);
    }

private:
    static int slot(int r) { return r % S * L + r / S * S; }
};

// Rows of any number of classes, as tiles of powers of two.
template <class T>
struct Tiled {
    static constexpr int L = Vec<T>::lanes;
    static int row_of(int lane) { return lane; }
    static void in(const char* x, int64_t step, int classes, int rows, T* panel) {
        tiles<L>(0, classes, [&](auto tile, int k) {
            tile.in(x + k * int64_t{sizeof(T)}, step, rows, panel + k * tile.width);
        });
    }
    static void out(const T* panel, int classes, int rows, char* y, int64_t step) {
        tiles<L>(0, classes, [&](auto tile, int k) {
            tile.out(panel + k * tile.width, rows, y + k * int64_t{sizeof(T)}, step);
        });
    }

private:
    template <int S, class F>
    static void tiles(int k, int classes, F f) {
        for (; k + S <= classes; k += S) f(Tile<T, S>{}, k);
        if constexpr (S > 1) tiles<S / 2>(k, classes, f);
    }
};

// Dense rows of S classes: vectors as they lie in memory hold L / S rows each, in which order the
// columns then are.
template <class T, int S>
struct Dense {
    static constexpr int L = Vec<T>::lanes, width = stripe * L;
    static int row_of(int lane) { return lane % S * (L / S) + lane / S; }
    static void in(const char* x, int64_t, int, int rows, T* panel) {
        T slots[S * L];
        const T* from = reinterpret_cast<const T*>(x);
        if (rows < L) {
            for (int i = 0; i < S * L; ++i) slots[i] = from[i < rows * S ? i : 0];
            from = slots;
        }
        Vec<T> v[S];
        for (int i = 0; i < S; ++i) v[i] = load(from + i * L);
        transpose<1>(v);
        for (int k = 0; k < S; ++k) store(panel + k * width, v[k]);
    }
    static void out(const T* panel, int, int rows, char* y, int64_t) {
        Vec<T> v[S];
        for (int k = 0; k < S; ++k) v[k] = load(panel + k * width);
        transpose<1>(v);
        T slots[S * L];
        T* const to = rows < L ? slots : reinterpret_cast<T*>(y);
        for (int i = 0; i < S; ++i) store(to + i * L, v[i]);
        if (rows < L) memcpy(y, slots, sizeof(T) * static_cast<size_t>(rows * S));
    }
};

template <class T, Op op, class Turned>
inline void turned_rows(const Job& job, Row row, int64_t count, const Axis& step, void* scratch) {
    constexpr int L = Vec<T>::lanes, width = stripe * L;
    alignas(64) T panel[short_classes * width];
    const int K = static_cast<int>(job.num_classes);
    const Panel<T, true> all{reinterpret_cast<char*>(panel), width * int64_t{sizeof(T)}, width};
    const Columns<T, true> columns{all, all, all, K, K, Scale<T>(number_at(row.temperature))};
    for (; count > 0; count -= width, advance(row, step, width)) {
        const int n = static_cast<int>(count < width ? count : width);
        // Vectors without a row repeat the first one's.
        const auto first = [n](int u) { return u * L < n ? u * L : 0; };
        const auto rows_in = [n, first](int u) { return n - first(u) < L ? n - first(u) : L; };
        for (int u = 0; u < stripe; ++u)
            Turned::in(row.x + first(u) * step.x, step.x, K, rows_in(u), panel + u * L);
        const auto order = [](int column) { return column / L * L + Turned::row_of(column % L); };
        if (!column_stripe<T, op>(columns, job, row, step, n, order))
            rows<T, op, GroupSum<T>>(job, row, n, step, scratch);
        else if (op != Op::logsumexp)
            for (int u = 0; u * L < n; ++u)
                Turned::out(panel + u * L, K, rows_in(u), row.out + u * L * step.out, step.out);
    }
}

template <class T, Op op>
void short_rows(const Job& job, Row row, int64_t count, const Axis& step, void* scratch) {
    const FloatMode mode;
    constexpr int L = Vec<T>::lanes;
    const int64_t K = job.num_classes, row_bytes = K * int64_t{sizeof(T)};
    const bool dense = step.x == row_bytes && (op == Op::logsumexp || step.out == row_bytes);
    if constexpr (L >= 2)
        if (dense && K == 2) return turned_rows<T, op, Dense<T, 2>>(job, row, count, step, scratch);
    if constexpr (L >= 4)
        if (dense && K == 4) return turned_rows<T, op, Dense<T, 4>>(job, row, count, step, scratch);
    if constexpr (L >= 8)
        if (dense && K == 8) return turned_rows<T, op, Dense<T, 8>>(job, row, count, step, scratch);
    turned_rows<T, op, Tiled<T>>(job, row, count, step, scratch);
}
