// Rows of a table of weights: to contiguous memory of the compute type, and what a sampled loss
// does with such rows. Matrix products are not here: they are the caller's BLAS.

// Rows that are fetched while one is copied, for they lie anywhere: 9216 of 64 columns out of 1M
// take 0.22 to 0.28 ms, and 0.41 to 0.45 without.
constexpr int64_t rows_ahead = 8;

template <class T>
void gather_rows(const Table& table, const int64_t* ids, int64_t n, void* out) {
    const FloatMode mode;
    T* to = static_cast<T*>(out);
    const int64_t columns = table.columns;
    const int64_t size = elem_size[static_cast<int>(table.type)], bytes = columns * size;
    const bool contiguous = table.column_step == size;
    for (int64_t i = 0; i < n; ++i, to += columns) {
        if (contiguous && i + rows_ahead < n) {
            const char* const next = table.data + ids[i + rows_ahead] * table.row_step;
            for (int64_t b = 0; b < bytes; b += 64) __builtin_prefetch(next + b);
        }
        const char* const row = table.data + ids[i] * table.row_step;
        if (contiguous && sizeof(T) == size)
            memcpy(to, row, static_cast<size_t>(bytes));
        else
            for (int64_t k = 0; k < columns; k += block)
                gather(table.type, row + k * table.column_step, table.column_step, to + k,
                       static_cast<int>(columns - k < block ? columns - k : block));
    }
}

inline double sum_of_all(VecF a) { return sum_of_lanes(widen_low(a) + widen_high(a)); }
inline double sum_of_all(VecD a) { return sum_of_lanes(a); }

template <class T>
inline T dot(const T* a, const T* b, int64_t n) {
    constexpr int L = Vec<T>::lanes, chains = 4;  // an addition takes 4 cycles, two start in each
    Vec<T> sum[chains];
    for (Vec<T>& s : sum) s = Vec<T>::all(0);
    int64_t i = 0;
    for (; i + chains * L <= n; i += chains * L)
        for (int c = 0; c < chains; ++c)
            sum[c] = mul_add(load(a + i + c * L), load(b + i + c * L), sum[c]);
    for (; i + L <= n; i += L) sum[0] = mul_add(load(a + i), load(b + i), sum[0]);
    if (const int left = static_cast<int>(n - i))
        sum[1] = mul_add(load_part(a + i, left, T(0)), load_part(b + i, left, T(0)), sum[1]);
    return static_cast<T>(sum_of_all((sum[0] + sum[1]) + (sum[2] + sum[3])));
}

template <class T>
void row_dots(const TrueRows& r, const void* x, void* out, int64_t first, int64_t last) {
    const FloatMode mode;
    const T* const inputs = static_cast<const T*>(x);
    const T* const rows = static_cast<const T*>(r.rows);
    for (int64_t i = first * r.true_classes; i < last * r.true_classes; ++i)
        static_cast<T*>(out)[i] =
            dot(inputs + i / r.true_classes * r.columns, rows + i * r.columns, r.columns);
}

// Adds a row times a factor; `fresh`: in place of what is there.
template <class T>
inline void add_scaled(T factor, const T* row, T* to, int64_t n, bool fresh) {
    if (fresh)
        for (int64_t i = 0; i < n; ++i) to[i] = factor * row[i];
    else
        for (int64_t i = 0; i < n; ++i) to[i] += factor * row[i];
}

template <class T>
void add_scaled_rows(const TrueRows& r, const void* factors, void* out, int64_t first,
                     int64_t last) {
    const FloatMode mode;
    const T* const rows = static_cast<const T*>(r.rows);
    for (int64_t i = first * r.true_classes; i < last * r.true_classes; ++i)
        add_scaled(static_cast<const T*>(factors)[i], rows + i * r.columns,
                   static_cast<T*>(out) + i / r.true_classes * r.columns, r.columns, false);
}

template <class T>
void shift_columns(char* logits, int64_t row_step, const void* offsets, int64_t columns,
                   int64_t first, int64_t last) {
    const FloatMode mode;
    const T* const by = static_cast<const T*>(offsets);
    for (int64_t row = first; row < last; ++row) {
        T* const at = reinterpret_cast<T*>(logits + row * row_step);
        for (int64_t i = 0; i < columns; ++i) at[i] -= by[i];
    }
}

template <class T>
void sum_rows(const RowSums& s, int64_t first, int64_t last) {
    const FloatMode mode;
    const auto* const of_candidates = static_cast<const T*>(s.of_candidates);
    const auto* const factors = static_cast<const T*>(s.factors);
    const auto* const x = static_cast<const T*>(s.x);
    const int64_t columns = s.columns;
    for (int64_t u = first; u < last; ++u) {
        T* const to = static_cast<T*>(s.out) + u * columns;
        for (int64_t place = s.starts[u]; place < s.starts[u + 1]; ++place) {
            const bool fresh = place == s.starts[u];
            const int64_t number = s.order[place], pair = number - s.candidates;
            if (pair < 0)
                add_scaled(T(1), of_candidates + number * columns, to, columns, fresh);
            else
                add_scaled(factors[pair], x + pair / s.true_classes * columns, to, columns, fresh);
        }
    }
}
