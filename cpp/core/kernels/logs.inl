// log_softmax and logsumexp, one row after another, for either order of summation.

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

template <class T, class In>
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

template <class T, class In>
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
    add_terms<1>(sums.rest, rest, n);
    for (int i = 0; i < n; ++i) {
        sums.rest.lose(low[i]);
        sums.ties += static_cast<double>(tie[i]);
    }
}

// With the maximum known beforehand and its terms left out.
template <class T, class Sum>
inline LogSum<T> exact_log_sum(Source<T>& x, const Scale<T>& c, Sum) {
    const T max = row_max(x);
    if (!is_finite(max)) return {max, {NAN, 0}};
    const Below<T> below(Vec<T>::all(brought_within_reach(x, max, c)), c);
    Apart<T, Sum> sums;
    for_blocks(x.job, [&](int64_t k0, int n) {
        x.visit(k0, n, [&](int64_t, int count, auto in) { add_block(sums, in, count, below); });
    });
    return {max, log_of(sums.ties, sums.rest.total(), T())};
}

// What a log(sum) is for: subtracted from each score, or added to the maximum.
enum class For { probabilities, sum };

template <class T, class Sum>
inline LogSum<T> log_sum(Source<T>& x, const Scale<T>& c, Sum sum, For) {
    return exact_log_sum(x, c, sum);
}

// float32 in block order needs one reading: float64 has digits to spare for the arithmetic of a
// row. The block that holds the maximum is kept apart from the others, so that it alone is summed
// again, without the maximum, if that turns out to dominate. (With `Below`, whose terms keep what
// they round, this took twice as long; one block's terms are no worse than the others'.)
struct Swept {
    BlockSum<float> others, own;  // own: of the block that holds the maximum
    int64_t at = -1;              // where that block starts
    float top = -HUGE_VALF;

    Total total() const {
        BlockSum<float> all = others;
        all.add(own);
        return all.total();
    }
};

inline Swept sweep_for_max(Source<float>& x, const Shift<float>& s) {
    Swept found;
    for_blocks(x.job, [&](int64_t k0, int n) {
        BlockSum<float> sum;
        Vec<float> top = Vec<float>::all(-HUGE_VALF);
        x.visit(k0, n, [&](int64_t, int count, auto in) {
            sweep<false, 2>(in, static_cast<float*>(nullptr), count, s, sum,
                            Maximum<float, decltype(in)>{in, top});
        });
        if (found.at >= 0 && !any_greater(top, Vec<float>::all(found.top)))
            return found.others.add(sum);
        if (found.at >= 0) found.others.add(found.own);
        found.own = sum;
        found.at = k0;
        found.top = largest_lane(top);
    });
    return found;
}

// The block that holds the maximum, summed without it.
struct Without {
    double rest = 0, ties = 0;
};

inline Without block_without(Source<float>& x, const Swept& found, const Shift<float>& s) {
    constexpr int L = Vec<float>::lanes;
    const int64_t left = x.job.num_classes - found.at;
    const Vec<float> top = Vec<float>::all(found.top), one = Vec<float>::all(1);
    BlockSum<float> rest, ties;
    x.visit(found.at, left < block ? left : block, [&](int64_t, int n, auto in) {
        for (int i = 0; i < n; i += L) {
            const Vec<float> v = n - i < L ? in.part(i, n - i) : in.get(i);
            rest.add(zero_where_equal(exp2_shifted(v, s), v, top));
            ties.add(one - zero_where_equal(one, v, top));
        }
    });
    return {rest.total().value(), ties.total().value()};
}

inline LogSum<float> log_sum(Source<float>& x, const Scale<float>& c, BlockSum<float> order,
                             For use) {
    Shift<float> s;
    Swept found;
    Total sum{0, 0};
    if (shift_for(guessed_max(x, c), c, s)) {
        found = sweep_for_max(x, s);
        sum = found.total();
    }
    float max = found.top;
    if (!in_range<float>(sum)) {
        max = shift_exactly(x, c, s);
        if (!is_finite(max)) return {max, {NAN, 0}};
        found = sweep_for_max(x, s);
        sum = found.total();
        if (!(sum.high > 0)) return {max, {NAN, 0}};
    }
    // The maximum's term is 2^(n + r), the others' sums are in units of 2^(shift - n) of it.
    const float n = first_lane(nearest(Vec<float>::all(found.top), c));
    const double r = static_cast<double>(found.top) *
                         (static_cast<double>(c.c_hi) + static_cast<double>(c.c_lo)) -
                     static_cast<double>(n);
    const float shift = magic<float> - first_lane(s.magic_less_shift);
    const double unit = times_power(1 / Exp2<float>::factor, static_cast<double>(shift - n));
    const auto lanes = [](double a) { return Vec<double>::all(a); };
    // The sum errs by 2.3 units of 2^-24: too much for logsumexp where neither the maximum nor what
    // is added to it is as large as 2, which then is 1.1 ULP.
    const double all = sum.value() * unit;
    const bool large = magnitude(max) >= 2 || all >= 8;
    if (use == For::sum && !large) {
        x.shifted = false;
        return exact_log_sum(x, c, order);
    }
    if (use == For::sum || all >= 3)
        return {max, {first_lane(log(lanes(all))), -r * 0x1.62e42fefa39efp-1}};
    const Without own = block_without(x, found, s);
    const double rest = (found.others.total().value() + own.rest) * unit / __builtin_exp2(r);
    return {max, {first_lane(log_of_one_and(lanes(own.ties - 1), lanes(rest))), 0}};
}

// Writes (x - max) / T - log_sum for n classes.
template <class T, class In>
inline void put_log_probabilities(In x, T* y, int n, const LogProbability<T>& result) {
    constexpr int L = Vec<T>::lanes;
    const LogProbability<T> of = result;  // a copy that stores to `y` cannot alias
    int i = 0;
    for (; i + L <= n; i += L) store(y + i, of.of(x.get(i)));
    if (i < n) store_part(y + i, of.of(x.part(i, n - i)), n - i);
}

// The same past the caches: a store there must be aligned.
template <class T, class In>
inline void stream_log_probabilities(In x, T* y, int n, const LogProbability<T>& result) {
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

template <class T, class Sum>
inline void log_softmax_row(const Job& job, const Row& row, const Scale<T>& c) {
    Source<T> x(job, row);
    const LogSum<T> found = log_sum(x, c, Sum{}, For::probabilities);
    if (!(found.value() >= 0))
        return fill<T>(job, row, row_is_absent(job, row) ? -HUGE_VAL : NAN, -HUGE_VAL);
    const LogProbability<T> result(c, Vec<T>::all(found.max),
                                   Vec<T>::all(static_cast<T>(found.value())));
    x.shifted = false;
    if (job.plain_out) {
        T* const y = reinterpret_cast<T*>(row.out);
        x.visit_pieces([&](int64_t k, int n, auto in) {
            if (job.streaming)
                stream_log_probabilities(in, y + k, n, result);
            else
                put_log_probabilities(in, y + k, n, result);
        });
        if (job.streaming) stream_end();
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
    const LogSum<T> found = log_sum(x, c, Sum{}, For::sum);
    const double max = static_cast<double>(found.max);
    if (is_finite(found.max))
        put_logsumexp<T>(job, row, rounded_sum(max, found.log_sum));
    else
        put_logsumexp<T>(job, row, row_has_nan(x) ? NAN : max);
}
