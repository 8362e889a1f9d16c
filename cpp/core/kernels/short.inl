// Rows of few classes, many at a time: turned into columns in a panel that L1 holds, computed
// there, and turned back. No arithmetic here.

constexpr int short_classes = 64;

// The transpose of blocks of `size` lanes, in log2(size) steps.
template <int step, int size, class T>
FASTSOFTMAX_INLINE void transpose(Vec<T> (&v)[size]) {
    if constexpr (step < size) {
        for (int i = 0; i < size; ++i)
            if (!(i & step)) exchange<step>(v[i], v[i + step]);
        transpose<2 * step>(v);
    }
}

// Up to L rows and one vector of columns. Rows lie in slots of S lanes (a power of two, at least
// the number of classes or all lanes), so that S vectors hold L rows, L / S of them each.
template <class T, int S>
struct Turned {
    static constexpr int L = Vec<T>::lanes, width = stripe * L;

    // Which row a lane of a column holds.
    static int row_of(int lane) { return lane % S * (L / S) + lane / S; }

    static void in(const char* x, int64_t step, int classes, int rows, T* panel) {
        if constexpr (S == L) {
            for (int k0 = 0; k0 < classes; k0 += L) {
                const int left = classes - k0 < L ? classes - k0 : L;
                Vec<T> v[L];
                for (int i = 0; i < L; ++i) {
                    const T* const row = reinterpret_cast<const T*>(x + i * step) + k0;
                    v[i] = i >= rows  ? Vec<T>::all(0)
                           : left < L ? load_part(row, left, T(0))
                                      : load(row);
                }
                transpose<1>(v);
                for (int k = 0; k < left; ++k) store(panel + (k0 + k) * width, v[k]);
            }
        } else {
            T slots[L * S] = {};
            const int64_t dense = classes * int64_t{sizeof(T)};
            const bool direct = classes == S && step == dense && rows == L;
            if (!direct)
                for (int i = 0; i < rows; ++i) {
                    // Only inside of a dense block may a copy run on into the next row.
                    const bool inside = step == dense && i + 1 < rows;
                    copy(slots + i * S, x + i * step, inside ? S : classes);
                }
            const T* const from = direct ? reinterpret_cast<const T*>(x) : slots;
            Vec<T> v[S];
            for (int j = 0; j < S; ++j) v[j] = load(from + j * L);
            transpose<1>(v);
            for (int k = 0; k < classes; ++k) store(panel + k * width, v[k]);
        }
    }

    static void out(const T* panel, int classes, int rows, char* y, int64_t step) {
        if constexpr (S == L) {
            for (int k0 = 0; k0 < classes; k0 += L) {
                const int left = classes - k0 < L ? classes - k0 : L;
                Vec<T> v[L];
                for (int k = 0; k < L; ++k)
                    v[k] = k < left ? load(panel + (k0 + k) * width) : Vec<T>::all(0);
                transpose<1>(v);
                for (int i = 0; i < rows; ++i) {
                    T* const row = reinterpret_cast<T*>(y + i * step) + k0;
                    if (left < L)
                        store_part(row, v[i], left);
                    else
                        store(row, v[i]);
                }
            }
        } else {
            Vec<T> v[S];
            for (int k = 0; k < S; ++k)
                v[k] = k < classes ? load(panel + k * width) : Vec<T>::all(0);
            transpose<1>(v);
            T slots[L * S];
            const int64_t dense = classes * int64_t{sizeof(T)};
            const bool direct = classes == S && step == dense && rows == L;
            T* const to = direct ? reinterpret_cast<T*>(y) : slots;
            for (int j = 0; j < S; ++j) store(to + j * L, v[j]);
            if (direct) return;
            for (int i = 0; i < rows; ++i) {
                const bool inside = step == dense && i + 1 < rows;  // the next row covers the rest
                copy(y + i * step, slots + i * S, inside ? S : classes);
            }
        }
    }

private:
    static void copy(void* to, const void* from, int n) {
        if (n == S)
            memcpy(to, from, S * sizeof(T));  // one instruction
        else
            memcpy(to, from, static_cast<size_t>(n) * sizeof(T));
    }
};

template <class T, Op op, int S>
inline void short_rows_in_slots(const Job& job, Row row, int64_t count, const Axis& step,
                                void* scratch) {
    using Block = Turned<T, S>;
    constexpr int L = Block::L, width = Block::width;
    alignas(64) T panel[short_classes * width];
    const int K = static_cast<int>(job.num_classes);
    char* const at = reinterpret_cast<char*>(panel);
    const Panel<T, true> all{at, width * int64_t{sizeof(T)}, width};
    const Columns<T, true> columns{all, all, all, K, Scale<T>(number_at(row.temperature))};
    for (; count > 0; count -= width, advance(row, step, width)) {
        const int n = static_cast<int>(count < width ? count : width);
        const auto rows_in = [n](int u) { return n - u * L < L ? n - u * L : L; };
        for (int u = 0; u < stripe; ++u)
            Block::in(row.x + u * L * step.x, step.x, K, rows_in(u), panel + u * L);
        const auto order = [](int lane) { return lane / L * L + Block::row_of(lane % L); };
        if (!column_stripe<T, op>(columns, job, row, step, n, order))
            rows<T, op, GroupSum<T>>(job, row, n, step, scratch);
        else if (op != Op::logsumexp)
            for (int u = 0; u * L < n; ++u)
                Block::out(panel + u * L, K, rows_in(u), row.out + u * L * step.out, step.out);
    }
}

template <class T, Op op>
void short_rows(const Job& job, Row row, int64_t count, const Axis& step, void* scratch) {
    const FloatMode mode;
    constexpr int L = Vec<T>::lanes;
    if constexpr (L > 2)
        if (job.num_classes <= 2)
            return short_rows_in_slots<T, op, 2>(job, row, count, step, scratch);
    if constexpr (L > 4)
        if (job.num_classes <= 4)
            return short_rows_in_slots<T, op, 4>(job, row, count, step, scratch);
    if constexpr (L > 8)
        if (job.num_classes <= 8)
            return short_rows_in_slots<T, op, 8>(job, row, count, step, scratch);
    short_rows_in_slots<T, op, L>(job, row, count, step, scratch);
}
