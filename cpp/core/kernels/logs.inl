// log_softmax and logsumexp, one row after another, for either order of summation: in two readings,
// to all digits whatever the row holds.

// A row's maximum and log(sum(exp((x - max) / T))), to all digits even where that is close to 0.
template <class T>
struct LogSum {
    T max;
    Pair<double> log_sum;  // NaN if the row has no finite maximum or holds NaN

    double value() const { return log_sum.high + log_sum.low; }
};

// Sums of a row relative to its maximum.
template <class T, class Sum>
struct Apart {
    Sum rest;
    double ties = 0;
};

template <Digits, class T, class In>
inline void add_block(Apart<T, BlockSum<T>>& sums, In x, int n, const Below<T>& below) {
    constexpr int L = Vec<T>::lanes;
    Vec<T> ties = Vec<T>::all(0);
    for (int i = 0; i < n; i += L) {
        const int left = n - i;
        const Split<T> terms(left < L ? x.part(i, left) : x.get(i), below);
        sums.rest.add(terms.rest.high);
        sums.rest.lose(terms.rest.low);
        ties = ties + terms.tie;
    }
    T counts[L];
    store(counts, ties);
    for (T count : counts) sums.ties += static_cast<double>(count);
}

template <Digits digits, class T, class In>
inline void add_block(Apart<T, GroupSum<T>>& sums, In x, int n, const Below<T>& below) {
    constexpr int L = Vec<T>::lanes;
    T rest[block + L] = {}, low[block + L] = {}, tie[block + L] = {};
    for (int i = 0; i < n; i += L) {
        const int left = n - i;
        const Split<T> terms(left < L ? x.part(i, left) : x.get(i), below);
        store(rest + i, terms.rest.high);
        store(low + i, terms.rest.low);
        store(tie + i, terms.tie);
    }
    for (int i = 0; i < n; ++i) sums.ties += static_cast<double>(tie[i]);
    if (in_pairs<T, digits>) return add_terms<group_size>(sums.rest, rest, n);
    add_terms<1>(sums.rest, rest, n);
    if (keeps_low<T, digits>)
        for (int i = 0; i < n; ++i) sums.rest.lose(low[i]);
}

// With the maximum known beforehand and its terms left out.
template <Digits digits, class T, class Sum>
inline LogSum<T> exact_log_sum(Source<T>& x, const Scale<T>& c, Sum) {
    const T max = row_max(x);
    if (!is_finite(max)) return {max, {NAN, 0}};
    const Below<T> below(Vec<T>::all(brought_within_reach(x, max, c)), c);
    Apart<T, Sum> sums;
    for_blocks(x.job, [&](int64_t k0, int n) {
        x.visit(k0, n,
                [&](int64_t, int count, auto in) { add_block<digits>(sums, in, count, below); });
    });
    return {max, log_of(sums.ties, sums.rest.total(), T())};
}

// Writes (x - max) / T - log_sum for n classes.
template <class T, class In, class Y>
inline void put_log_probabilities(In x, Y* y, int n, const LogProbability<T>& result) {
    constexpr int L = Vec<T>::lanes;
    const LogProbability<T> of = result;  // a copy that stores to `y` cannot alias
    int i = 0;
    for (; i + L <= n; i += L) store(y + i, of.of(x.get(i)));
    if (i < n) store_part(y + i, of.of(x.part(i, n - i)), n - i);
}

// The same past the caches: a store there must be aligned.
template <class T, class In, class Y>
inline void stream_log_probabilities(In x, Y* y, int n, const LogProbability<T>& result) {
    constexpr int L = Vec<T>::lanes;
    const LogProbability<T> of = result;
    const auto part = [&](int i, int count) {
        if (count > 0) store_part(y + i, of.of(x.part(i, count)), count);
    };
    int i = static_cast<int>(elements_to_alignment(y, n));
    part(0, i);
    for (; i + L <= n; i += L) stream(y + i, of.of(x.get(i)));
    part(i, n - i);
}

template <class T>
inline void put_log_probabilities(const Job& job, const Row& row, const LogProbability<T>& result) {
    Source<T> x(job, row);
    if (job.contiguous_out) {
        with_result_type<T>(job, [&](auto type) {
            auto* const y = reinterpret_cast<decltype(type)*>(row.out);
            x.visit_pieces([&](int64_t k, int n, auto in) {
                if (job.streaming)
                    stream_log_probabilities(in, y + k, n, result);
                else
                    put_log_probabilities(in, y + k, n, result);
            });
        });
        return;
    }
    T buffer[block];
    for_blocks(job, [&](int64_t k0, int n) {
        x.visit(k0, n, [&](int64_t, int count, auto in) {
            put_log_probabilities(in, buffer, count, result);
        });
        put(job, row, k0, buffer, n);
    });
}

template <class T, class Sum>
inline void log_softmax_row(const Job& job, const Row& row, const Scale<T>& c) {
    Source<T> x(job, row);
    const LogSum<T> found = exact_log_sum<Digits::terms>(x, c, Sum{});
    if (!(found.value() >= 0))
        return fill<T>(job, row, row_is_absent(job, row) ? -HUGE_VAL : NAN, -HUGE_VAL);
    const auto log_sum = Vec<T>::all(static_cast<T>(found.value()));
    put_log_probabilities(job, row, LogProbability<T>(c, Vec<T>::all(found.max), log_sum));
}

template <class T>
inline void put_number(Elem type, char* p, double value) {
    const T number = static_cast<T>(value);
    scatter(type, &number, p, 0, 1);
}

// logsumexp of a row and, where asked for, the sign of the sum.
template <class T>
inline void put_logsumexp(const Job& job, const Row& row, double lse) {
    put_number<T>(job.out, row.out, lse);
    if (row.sign) put_number<T>(job.out, row.sign, lse != lse ? lse : lse > -HUGE_VAL);
}

template <class T, class Sum>
inline void logsumexp_row(const Job& job, const Row& row, const Scale<T>& c) {
    Source<T> x(job, row);
    LogSum<T> found;
    const auto value = [&] { return rounded_sum(static_cast<double>(found.max), found.log_sum); };
    // BlockSum has all digits always.
    const bool enough = !by_vectors<T, Sum> && worth_trying<T>(job.num_classes);
    if (enough) found = exact_log_sum<Digits::pairs>(x, c, Sum{});
    if (!enough || needs_all_digits(found.max, static_cast<T>(value())))
        found = exact_log_sum<Digits::all>(x, c, Sum{});
    if (is_finite(found.max))
        put_logsumexp<T>(job, row, value());
    else
        put_logsumexp<T>(job, row, row_has_nan(x) ? NAN : static_cast<double>(found.max));
}
