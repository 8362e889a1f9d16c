// Cross-entropy by labels for rows of few classes, contiguous: turned into columns in a panel that
// L1 holds, as in short.inl, and computed as label_columns.inl does. No arithmetic here.

// N vectors of rows. False, with x as it was, if one needs the row kernel.
template <class T, int N>
inline bool labels_turned(const Job& job, const Row& row, const Axis& step, T* panel,
                          const Scale<T>& c) {
    constexpr int L = Vec<T>::lanes;
    constexpr int64_t bytes = N * L * sizeof(T);
    const int K = static_cast<int>(job.num_classes);
    const Panel<T, N, true> all{reinterpret_cast<char*>(panel), bytes, L};
    const Panel<T, N, true> next{const_cast<char*>(row.x) + N * L * step.x, bytes, L};
    const Columns<T, N, true> columns{all, next, K, c};
    Vec<T> top[N];
    for (int u = 0; u < N; ++u) {
        Vec<T> largest = Vec<T>::all(-HUGE_VAL);
        Tiled<T>::in(row.x + u * L * step.x, step.x, K, [&](int k, Vec<T> v) FASTSOFTMAX_LAMBDA {
            all.put(k, u, v);
            largest = larger(largest, v);
        });
        top[u] = largest;
    }
    if (!columns.all_within_reach(top)) return false;
    const LabelColumns<T, N, true> labels(columns, job, row, step, N * L);
    Inverse<Vec<T>> by[N];
    bool lost[N * L];
    labels.settle(row, top, all, by, lost);
    if (!row.out) return true;
    for (int u = 0; u < N; ++u)
        Tiled<T>::out([&](int k) FASTSOFTMAX_LAMBDA { return quotient(all.get(k, u), by[u]); }, K,
                      row.out + u * L * step.out, step.out);
    for (int i = 0; i < N * L; ++i)
        if (lost[i]) memset(row.out + i * step.out, 0, static_cast<size_t>(K) * sizeof(T));
    return true;
}

template <class T>
void label_short_rows(const Job& job, Row row, int64_t count, const Axis& step, void* scratch) {
    const FloatMode mode;
    constexpr int L = Vec<T>::lanes;
    alignas(64) T panel[short_classes * abreast * L];
    const Scale<T> c(number_at(row.temperature));
    const auto rows_of = [&](auto n) {
        constexpr int N = decltype(n)::value;
        for (; count >= N * L; count -= N * L, advance(row, step, N * L))
            if (!labels_turned<T, N>(job, row, step, panel, c))
                rows_by_label<T, GroupSum<T>>(job, row, N * L, step, scratch);
    };
    if (job.num_classes < long_classes) rows_of(Number<abreast>{});
    rows_of(Number<abreast_if_long>{});
    rows_of(Number<1>{});
    if (count > 0) rows_by_label<T, GroupSum<T>>(job, row, count, step, scratch);
}
