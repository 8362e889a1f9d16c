// One row after another: softmax, log_softmax, logsumexp with lanes along the classes.
// `Sum` is BlockSum (contiguous class axis) or GroupSum (any other); both see the same code.

template <class T>
inline T reduce_max(Vec<T> v) {
    T lanes[Vec<T>::lanes], top = -HUGE_VAL;
    store(lanes, v);
    for (T lane : lanes) top = lane > top ? lane : top;
    return top;
}

template <class T>
inline Vec<T> max_of_block(const T* x, int n) {
    constexpr int L = Vec<T>::lanes;
    Vec<T> top[4];
    for (auto& t : top) t = Vec<T>::all(-HUGE_VAL);
    int i = 0;
    for (; i + 4 * L <= n; i += 4 * L)
        for (int u = 0; u < 4; ++u) top[u] = larger(top[u], load(x + i + u * L));
    for (; i + L <= n; i += L) top[0] = larger(top[0], load(x + i));
    if (i < n) top[1] = larger(top[1], load_part(x + i, n - i, static_cast<T>(-HUGE_VAL)));
    return larger(larger(top[0], top[1]), larger(top[2], top[3]));
}

template <class T>
inline bool block_has_nan(const T* x, int n) {
    constexpr int L = Vec<T>::lanes;
    bool found = false;
    int i = 0;
    for (; i + L <= n; i += L) found |= any_nan(load(x + i));
    if (i < n) found |= any_nan(load_part(x + i, n - i, T(0)));
    return found;
}

// Exponentials of a block, stored to `e` if Store, added to `sum` in groups of G vectors.
template <bool Store, int G, class T>
inline void exp2_block(const T* x, T* e, int n, const Shift<T>& s, BlockSum<T>& sum) {
    constexpr int L = Vec<T>::lanes;
    const auto term = [&](int i) {
        const Vec<T> v = exp2_shifted(load(x + i), s);
        if constexpr (Store) store(e + i, v);
        return v;
    };
    int i = 0;
    for (; i + G * L <= n; i += G * L) {
        Vec<T> part[G];
        for (int u = 0; u < G; ++u) part[u] = term(i + u * L);
        sum.add(tree(part));
    }
    for (; i + L <= n; i += L) sum.add(term(i));
    if (i < n) {
        const Vec<T> v = exp2_shifted(load_part(x + i, n - i, static_cast<T>(-HUGE_VAL)), s);
        if constexpr (Store) store_part(e + i, v, n - i);
        sum.add(v);
    }
}

// Exponentials of a block and nothing else.
template <class T>
inline void exp2_block(const T* x, T* e, int n, const Shift<T>& s) {
    constexpr int L = Vec<T>::lanes;
    int i = 0;
    for (; i + L <= n; i += L) store(e + i, exp2_shifted(load(x + i), s));
    if (i < n) {
        const Vec<T> v = load_part(x + i, n - i, static_cast<T>(-HUGE_VAL));
        store_part(e + i, exp2_shifted(v, s), n - i);
    }
}

template <class T>
inline void divide_block(const T* e, T* y, int n, const Inverse<T>& by) {
    constexpr int L = Vec<T>::lanes;
    const Inverse<Vec<T>> all = in_all_lanes(by);
    int i = 0;
    for (; i + 4 * L <= n; i += 4 * L)
        for (int u = 0; u < 4; ++u) store(y + i + u * L, quotient(load(e + i + u * L), all));
    for (; i + L <= n; i += L) store(y + i, quotient(load(e + i), all));
    if (i < n) store_part(y + i, quotient(load_part(e + i, n - i, T(0)), all), n - i);
}

// Calls visit(k0, n) for each block of the row.
template <class Visit>
inline void for_blocks(const Job& job, Visit visit) {
    for (int64_t k0 = 0; k0 < job.num_classes; k0 += block)
        visit(k0, static_cast<int>(job.num_classes - k0 < block ? job.num_classes - k0 : block));
}

template <class T>
inline T row_max(Source<T>& x) {
    Vec<T> top = Vec<T>::all(-HUGE_VAL);
    for_blocks(x.job, [&](int64_t k0, int n) { top = larger(top, max_of_block(x.at(k0, n), n)); });
    return reduce_max(top);
}

template <class T>
inline bool row_has_nan(Source<T>& x) {
    bool found = false;
    for_blocks(x.job, [&](int64_t k0, int n) { found |= block_has_nan(x.at(k0, n), n); });
    return found;
}

template <class T>
inline bool is_finite(T a) {
    return a - a == 0;
}

// The maximum of the first classes, nearly always close enough to shift by: of 64, or a sixteenth
// of a longer row up to one block.
template <class T>
inline T guessed_max(Source<T>& x) {
    const int64_t K = x.job.num_classes, sixteenth = K / 16;
    const int n = static_cast<int>(K < 64              ? K
                                   : sixteenth < 64    ? 64
                                   : sixteenth < block ? sixteenth
                                                       : block);
    return reduce_max(max_of_block(x.at(0, n), n));
}

// A shift that suits a maximum; false if none does without subtracting the maximum first.
template <class T>
inline bool shift_for(T top, const Scale<T>& c, Shift<T>& s) {
    const Vec<T> all = Vec<T>::all(top);
    if (!within_reach(all, c)) return false;
    s = Shift<T>(c, nearest(all, c));
    return true;
}

// Where |max * c| is too large for its reduction, x - max has few digits to lose: then the source
// subtracts a finite maximum. Returns the maximum of what the source gives from here on.
template <class T>
inline T brought_within_reach(Source<T>& x, T max, const Scale<T>& c) {
    if (within_reach(Vec<T>::all(max), c)) return max;
    x.offset = max;
    x.shifted = true;
    return 0;
}

// Shifts by the row's own maximum, which is returned.
template <class T>
inline T shift_exactly(Source<T>& x, const Scale<T>& c, Shift<T>& s) {
    const T top = row_max(x);
    if (is_finite(top)) shift_for(brought_within_reach(x, top, c), c, s);
    return top;
}

// True if nothing overflowed and the largest term is not lost below the others.
template <class T>
inline bool in_range(const Total& sum) {
    return sum.high <= Limits<T>::overflow && sum.high >= 1;
}

// Exponentials of the whole row into `e` (or nowhere), and their sum.
template <class T>
inline Total sweep(Source<T>& x, T* e, const Shift<T>& s, BlockSum<T> sum) {
    if (e)
        for_blocks(x.job, [&](int64_t k0, int n) {
            exp2_block<true, vector_group<T>>(x.at(k0, n), e + k0, n, s, sum);
        });
    else
        for_blocks(x.job, [&](int64_t k0, int n) {
            exp2_block<false, vector_group<T>>(x.at(k0, n), e, n, s, sum);
        });
    return sum.total();
}

template <class T>
inline Total sweep(Source<T>& x, T* e, const Shift<T>& s, GroupSum<T> sum) {
    T terms[block];
    for_blocks(x.job, [&](int64_t k0, int n) {
        T* const to = e ? e + k0 : terms;
        exp2_block(x.at(k0, n), to, n, s);
        add_terms<class_group>(sum, to, n);
    });
    return sum.total();
}

// Whether the mask takes every class of the row out.
inline bool row_is_absent(const Job& job, const Row& row) {
    bool absent = row.where != nullptr;
    for_blocks(job, [&](int64_t k0, int n) {
        for_runs(job, row, k0, n, [&](const Row& at, const Axis& axis, int, int run) {
            for (int i = 0; absent && i < run; ++i) absent = !at.where[i * axis.where];
        });
    });
    return absent;
}

template <class T, class Sum>
inline void softmax_row(const Job& job, const Row& row, const Scale<T>& c, T* scratch) {
    Source<T> x(job, row);
    T* const e = job.plain_out     ? reinterpret_cast<T*>(row.out)
                 : job.scratch_len ? scratch
                                   : nullptr;
    Shift<T> s;
    Total sum{0, 0};
    // In place the row cannot be read again: no guess.
    const bool guess = !(job.in_place && job.plain_out) && shift_for(guessed_max(x), c, s);
    if (guess) sum = sweep(x, e, s, Sum{});
    if (!in_range<T>(sum)) {
        const T top = shift_exactly(x, c, s);
        if (is_finite(top)) sum = sweep(x, e, s, Sum{});
        if (!is_finite(top) || !(sum.high > 0))
            return fill<T>(job, row, row_is_absent(job, row) ? 0 : NAN, 0);
    }
    const Inverse<T> by = inverse(sum, T());
    T y[block];
    for_blocks(job, [&](int64_t k0, int n) {
        if (job.plain_out) return divide_block(e + k0, e + k0, n, by);
        if (e) {
            divide_block(e + k0, y, n, by);
        } else {
            exp2_block(x.at(k0, n), y, n, s);
            divide_block(y, y, n, by);
        }
        put(job, row, k0, y, n);
    });
}

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

template <class T>
inline void add_block(Apart<T, BlockSum<T>>& sums, const T* x, int n, const Below<T>& below) {
    constexpr int L = Vec<T>::lanes;
    Vec<T> ties = Vec<T>::all(0);
    for (int i = 0; i < n; i += L) {
        const int left = n - i;
        const Split<T> terms(left < L ? load_part(x + i, left, T(-HUGE_VAL)) : load(x + i), below);
        sums.rest.add(terms.rest.high);
        sums.rest.lose(terms.rest.low);
        ties = ties + terms.tie;
    }
    T counts[L];
    store(counts, ties);
    for (T count : counts) sums.ties += static_cast<double>(count);
}

template <class T>
inline void add_block(Apart<T, GroupSum<T>>& sums, const T* x, int n, const Below<T>& below) {
    constexpr int L = Vec<T>::lanes;
    T rest[block + L], low[block + L], tie[block + L];
    for (int i = 0; i < n; i += L) {
        const int left = n - i;
        const Split<T> terms(left < L ? load_part(x + i, left, T(-HUGE_VAL)) : load(x + i), below);
        store(rest + i, terms.rest.high);
        store(low + i, terms.rest.low);
        store(tie + i, terms.tie);
    }
    add_terms<log_group<T>>(sums.rest, rest, n);
    for (int i = 0; i < n; ++i) {
        sums.rest.lose(low[i]);
        sums.ties += static_cast<double>(tie[i]);
    }
}

// With the maximum known beforehand and its terms left out.
template <class T, class Sum>
inline LogSum<T> log_sum(Source<T>& x, const Scale<T>& c, Sum) {
    const T max = row_max(x);
    if (!is_finite(max)) return {max, {NAN, 0}};
    const Below<T> below(Vec<T>::all(brought_within_reach(x, max, c)), c);
    Apart<T, Sum> sums;
    for_blocks(x.job, [&](int64_t k0, int n) { add_block(sums, x.at(k0, n), n, below); });
    return {max, log_of(sums.ties, sums.rest.total(), T())};
}

// float32 in block order needs one reading: float64 has digits to spare for the arithmetic of a
// row. The block that holds the maximum is kept apart from the others, so that it alone is summed
// again if the maximum turns out to dominate.
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
        const float* const xs = x.at(k0, n);
        BlockSum<float> sum;
        exp2_block<false, vector_group<float>>(xs, static_cast<float*>(nullptr), n, s, sum);
        const Vec<float> top = max_of_block(xs, n);
        if (found.at >= 0 && !any_greater(top, Vec<float>::all(found.top)))
            return found.others.add(sum);
        if (found.at >= 0) found.others.add(found.own);
        found.own = sum;
        found.at = k0;
        found.top = reduce_max(top);
    });
    return found;
}

inline LogSum<float> log_sum(Source<float>& x, const Scale<float>& c, BlockSum<float>) {
    Shift<float> s;
    Swept found;
    Total sum{0, 0};
    if (shift_for(guessed_max(x), c, s)) {
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
    // The maximum's term is 2^(n + r); sums are in units of 2^(n - bias), whatever was guessed.
    const float n = first_lane(nearest(Vec<float>::all(found.top), c));
    const double r = static_cast<double>(found.top) *
                         (static_cast<double>(c.c_hi) + static_cast<double>(c.c_lo)) -
                     static_cast<double>(n);
    const float shift = magic<float> - first_lane(s.magic_less_shift);
    const double unit = times_power(1 / Exp2<float>::factor, static_cast<double>(shift - n));
    const double all = sum.value() * unit;
    const auto lanes = [](double a) { return Vec<double>::all(a); };
    if (all >= 3) return {max, {first_lane(log(lanes(all))), -r * 0x1.62e42fefa39efp-1}};
    const int64_t left = x.job.num_classes - found.at;
    const int length = static_cast<int>(left < block ? left : block);
    Apart<float, BlockSum<float>> own;
    add_block(own, x.at(found.at, length), length, Below<float>(Vec<float>::all(found.top), c));
    // The other blocks' sum in the terms of `Below`.
    const Total others = found.others.total(), rest = own.rest.total();
    const double rescale = times_power(1 / __builtin_exp2(r), static_cast<double>(shift - n)) *
                           __builtin_exp2(Limits<float>::bias);
    return {max, log_of(own.ties, {rest.high + others.value() * rescale, rest.low}, 0.0f)};
}

template <class T, class Sum>
inline void log_softmax_row(const Job& job, const Row& row, const Scale<T>& c, T*) {
    constexpr int L = Vec<T>::lanes;
    Source<T> x(job, row);
    const LogSum<T> found = log_sum(x, c, Sum{});
    if (!(found.value() >= 0))
        return fill<T>(job, row, row_is_absent(job, row) ? -HUGE_VAL : NAN, -HUGE_VAL);
    const LogProbability<T> result(c, Vec<T>::all(found.max),
                                   Vec<T>::all(static_cast<T>(found.value())));
    x.shifted = false;
    T buffer[block];
    for_blocks(job, [&](int64_t k0, int n) {
        const T* const xs = x.at(k0, n);
        T* const y = job.plain_out ? reinterpret_cast<T*>(row.out) + k0 : buffer;
        for (int i = 0; i < n; i += L) {
            const int left = n - i;
            if (left < L)
                store_part(y + i, result.of(load_part(xs + i, left, T(0))), left);
            else
                store(y + i, result.of(load(xs + i)));
        }
        if (!job.plain_out) put(job, row, k0, y, n);
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
inline void logsumexp_row(const Job& job, const Row& row, const Scale<T>& c, T*) {
    Source<T> x(job, row);
    const LogSum<T> found = log_sum(x, c, Sum{});
    const double max = static_cast<double>(found.max);
    if (is_finite(found.max))
        put_logsumexp<T>(job, row, rounded_sum(max, found.log_sum));
    else
        put_logsumexp<T>(job, row, row_has_nan(x) ? NAN : max);
}

// log(abs(sum(weights * exp(x)))) and the sum's sign, as a sum of exp(x + log(abs(weight))) with
// signs: neither x nor the weight alone decides which addend is the largest. In float64 throughout,
// since the addends may cancel. Weights that are 0 are masked.
template <class T>
inline void weighted_row(const Job& job, const Row& row, const Scale<T>&, T*) {
    Source<double> x(job, row);
    double addends[block], weights[block], e[block];
    const auto fetch = [&](int64_t k0, int n) {
        const double* const xs = x.at(k0, n);
        for_runs(job, row, k0, n, [&](const Row& at, const Axis& axis, int done, int run) {
            gather(sizeof(T) == 8 ? Elem::f64 : Elem::f32, at.weights, axis.weights, weights + done,
                   run);
        });
        for (int i = 0; i < n; ++i)  // a masked class has no addend, whatever its weight
            addends[i] = xs[i] == -HUGE_VAL ? xs[i] : xs[i] + __builtin_log(magnitude(weights[i]));
    };

    double top = -HUGE_VAL, infinite = 0;  // infinite: sum of the infinite addends
    bool nan = false;
    for_blocks(job, [&](int64_t k0, int n) {
        fetch(k0, n);
        for (int i = 0; i < n; ++i) {
            top = addends[i] > top ? addends[i] : top;
            nan |= addends[i] != addends[i];
            if (addends[i] == HUGE_VAL) infinite += weights[i] > 0 ? HUGE_VAL : -HUGE_VAL;
        }
    });
    double sum = nan ? NAN : infinite, lse = magnitude(sum);
    if (sum == 0 && is_finite(top)) {
        const double whole = static_cast<double>(static_cast<int64_t>(top > 1e15    ? 1e15
                                                                      : top < -1e15 ? -1e15
                                                                                    : top));
        const Shift<double> s(Scale<double>(1), Vec<double>::all(0));
        Compensated<double> total{{0, 0}};
        for_blocks(job, [&](int64_t k0, int n) {
            fetch(k0, n);
            for (int i = 0; i < n; ++i) addends[i] -= whole;
            exp2_block(addends, e, n, s);
            for (int i = 0; i < n; ++i)
                if (addends[i] > -HUGE_VAL) total.add(weights[i] > 0 ? e[i] : -e[i]);
        });
        sum = times_power(in_terms<double>({total.sum.high, total.sum.low}).high,
                          -Limits<double>::bias);
        lse = whole + __builtin_log(magnitude(sum));
    } else if (sum == 0) {
        lse = -HUGE_VAL;
    }
    if (!row.sign && sum < 0) lse = NAN;
    put_number<T>(job.out, row.out, lse);
    if (row.sign) put_number<T>(job.out, row.sign, sum > 0 ? 1 : sum < 0 ? -1 : sum);
}

// One class: probability 1, log-probability 0, and x itself, whatever its bits.
template <class T, Op op>
inline void single_class_row(const Job& job, const Row& row, const Scale<T>&, T*) {
    const bool present = !row.where || *row.where;
    T x;
    gather(job.in, row.x, 0, &x, 1);
    const double spoilt = is_finite(x) ? 0 : NAN;
    const double absent = op == Op::softmax ? 0 : -HUGE_VAL;
    const double result = op == Op::softmax ? 1 + spoilt : spoilt;
    if constexpr (op == Op::logsumexp) {
        if (!present)
            put_number<T>(job.out, row.out, absent);
        else if (job.in == job.out)
            memcpy(row.out, row.x, elem_size[static_cast<int>(job.in)]);
        else
            scatter(job.out, &x, row.out, 0, 1);
        if (row.sign) put_number<T>(job.out, row.sign, x != x ? NAN : present && x > -HUGE_VAL);
    } else {
        put_number<T>(job.out, row.out, present ? result : absent);
    }
}

template <class T>
using RowKernel = void (*)(const Job&, const Row&, const Scale<T>&, T*);

template <class T, Op op, class Sum>
inline RowKernel<T> row_kernel(const Job& job, const Row& row) {
    if (row.weights) return weighted_row<T>;
    if (job.num_classes == 1) return single_class_row<T, op>;
    if constexpr (op == Op::softmax)
        return softmax_row<T, Sum>;
    else if constexpr (op == Op::log_softmax)
        return log_softmax_row<T, Sum>;
    else
        return logsumexp_row<T, Sum>;
}

inline double number_at(const char* p) {
    double a;
    memcpy(&a, p, sizeof a);
    return a;
}

template <class T, Op op, class Sum>
void rows(const Job& job, Row row, int64_t count, const Axis& step, void* scratch) {
    const FloatMode mode;
    const RowKernel<T> kernel = row_kernel<T, op, Sum>(job, row);
    double temperature = number_at(row.temperature);
    Scale<T> c(temperature);
    for (int64_t i = 0; i < count; ++i) {
        const double own = number_at(row.temperature);
        if (own != temperature) c = Scale<T>(temperature = own);
        kernel(job, row, c, static_cast<T*>(scratch));
        advance(row, step, 1);
    }
}
