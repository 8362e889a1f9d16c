// Many rows side by side, for a class axis that is not contiguous: lanes are rows ("columns" of the
// array in memory), classes follow one another. Same sums as GroupSum, so same bits as the row
// kernel for such an axis, which takes over where a column's maximum is infinite or out of reach.

// Vectors at a time: 256 bytes with AVX-512, four lines of each class. Their sums and shifts fill
// its 32 registers; with 16 there is room for half as many.
constexpr int stripe = sizeof(Vec<float>) == 64 ? 4 : 2;

// Classes that are looked at for a guess of the maxima.
constexpr int64_t guessed_classes = 32;

// So many ties can be counted in float32 and stay exact.
constexpr int64_t countable = 1 << 20;

// f(0), ..., f(N - 1), unrolled: arrays that are indexed by the argument stay in registers.
template <int N, int i = 0, class F>
FASTSOFTMAX_INLINE void each(const F& f) {
    if constexpr (i < N) {
        f(i);
        each<N, i + 1>(f);
    }
}

// log(ties + rest) by lane, to more digits than T has.
template <class T>
struct ColumnLogs;

template <>
struct ColumnLogs<float> {
    Vec<double> low, high;  // lanes

    ColumnLogs(const ColumnSum<float>& ties, const ColumnSum<float>& rest)
        : low(log_of(ties.low, rest.low + widen_low(rest.lost), 0.0f)),
          high(log_of(ties.high, rest.high + widen_high(rest.lost), 0.0f)) {}
    Vec<float> rounded() const { return narrow(low, high); }
    Vec<float> plus(Vec<float> a) const { return narrow(widen_low(a) + low, widen_high(a) + high); }
};

template <>
struct ColumnLogs<double> {
    Pair<Vec<double>> logs;

    ColumnLogs(const ColumnSum<double>& ties, const ColumnSum<double>& rest) {
        Total counts[Vec<double>::lanes], rests[Vec<double>::lanes];
        ties.totals(counts);
        rest.totals(rests);
        double high[Vec<double>::lanes], low[Vec<double>::lanes];
        for (int i = 0; i < Vec<double>::lanes; ++i) {
            const Pair<double> one = log_of(counts[i].high, rests[i], 0.0);
            high[i] = one.high;
            low[i] = one.low;
        }
        logs = {load(high), load(low)};
    }
    Vec<double> rounded() const { return logs.high + logs.low; }
    Vec<double> plus(Vec<double> a) const {  // as rounded_sum
        const Pair<Vec<double>> sum = two_sum(a, logs.high);
        return sum.high + (sum.low + logs.low);
    }
};

// One array's part of a stripe of N vectors. Not Whole: of its one vector `lanes` are there.
template <class T, int N, bool Whole>
struct Panel {
    static_assert(Whole || N == 1);
    char* at;
    int64_t step;  // bytes from one class to the next
    int lanes;

    T* place(int64_t k, int u) const {
        return reinterpret_cast<T*>(at + k * step) + u * Vec<T>::lanes;
    }
    FASTSOFTMAX_INLINE Vec<T> get(int64_t k, int u) const {
        return Whole ? load(place(k, u)) : load_part(place(k, u), lanes, T(0));
    }
    FASTSOFTMAX_INLINE void put(int64_t k, int u, Vec<T> v) const {
        Whole ? store(place(k, u), v) : store_part(place(k, u), v, lanes);
    }
};

// A stripe: its scores, and what becomes of them.
template <class T, int N, bool Whole>
struct Columns {
    using P = Panel<T, N, Whole>;

    P x;
    int64_t classes;
    Scale<T> c;

    // The largest of the first classes of each column.
    FASTSOFTMAX_INLINE void maxima(int64_t first, Vec<T> (&top)[N]) const {
        Vec<T> largest[N];
        each<N>([&](int u) FASTSOFTMAX_LAMBDA { largest[u] = Vec<T>::all(-HUGE_VAL); });
        for (int64_t k = 0; k < first; ++k)
            each<N>([&](int u)
                        FASTSOFTMAX_LAMBDA { largest[u] = larger(largest[u], x.get(k, u)); });
        each<N>([&](int u) FASTSOFTMAX_LAMBDA { top[u] = largest[u]; });
    }

    bool all_within_reach(const Vec<T> (&top)[N]) const {
        bool ordinary = true;
        for (const auto& t : top) ordinary &= within_reach(t, c);
        return ordinary;
    }

    // Exponentials and their sums.
    void exp2(const Vec<T> (&top)[N], const P& e, ColumnSum<T> (&sums)[N]) const {
        const P from = x, to = e;  // copies that stores to `e` cannot alias
        Shift<T> s[N];
        ColumnSum<T> sum[N];
        each<N>([&](int u) FASTSOFTMAX_LAMBDA {
            s[u] = Shift<T>(c, nearest(top[u], c));
            sum[u].clear();
        });
        const auto term = [&](int64_t k, int u) FASTSOFTMAX_LAMBDA {
            const Vec<T> v = exp2_shifted(from.get(k, u), s[u]);
            to.put(k, u, v);
            return v;
        };
        int64_t k = 0;
        for (; k + class_group <= classes; k += class_group)
            each<N>([&](int u) FASTSOFTMAX_LAMBDA { sum[u].add(term(k, u) + term(k + 1, u)); });
        if (k < classes) each<N>([&](int u) FASTSOFTMAX_LAMBDA { sum[u].add(term(k, u)); });
        each<N>([&](int u) FASTSOFTMAX_LAMBDA { sums[u] = sum[u]; });
    }

    // False, with x as it was, if a column needs the row kernel; so the other operations. `e` is
    // room for exponentials, perhaps the result's.
    bool softmax(const P& e, const P& out) const {
        Vec<T> top[N];
        ColumnSum<T> sums[N];
        bool done = false;
        // Where exponentials replace x there is no second try.
        if (e.at != x.at && classes > guessed_classes) {
            maxima(guessed_classes, top);
            if (all_within_reach(top)) {
                exp2(top, e, sums);
                done = true;
                // A sum tells that a maximum was guessed too low, or NaN.
                for (const auto& sum : sums) done &= sum.within(1, Limits<T>::overflow);
            }
        }
        if (!done) {
            maxima(classes, top);
            if (!all_within_reach(top)) return false;
            exp2(top, e, sums);  // a sum that is NaN now has a NaN in x
        }
        Inverse<Vec<T>> by[N];
        each<N>([&](int u) FASTSOFTMAX_LAMBDA { by[u] = sums[u].inverses(); });
        for (int64_t k = 0; k < classes; ++k)
            each<N>([&](int u) FASTSOFTMAX_LAMBDA { out.put(k, u, quotient(e.get(k, u), by[u])); });
        return true;
    }

    // Ties of the maxima, and the sums of the other terms.
    void split(const Vec<T> (&top)[N], ColumnSum<T> (&ties)[N], ColumnSum<T> (&rests)[N]) const {
        for (int u = 0; u < N; ++u) {
            const Below<T> below(top[u], c);
            ColumnSum<T> rest, count;
            rest.clear();
            count.clear();
            for (int64_t k = 0; k < classes;) {
                const int64_t end = classes - k < countable ? classes : k + countable;
                Vec<T> tie = Vec<T>::all(0);
                const auto term = [&](int64_t i) FASTSOFTMAX_LAMBDA {
                    const Split<T> apart(x.get(i, u), below);
                    rest.lose(apart.rest.low);
                    tie = tie + apart.tie;
                    return apart.rest.high;
                };
                for (; k < end; ++k) rest.add(term(k));
                count.add(tie);
            }
            ties[u] = count;
            rests[u] = rest;
        }
    }

    // `use(u, logs)` takes those of each vector.
    template <class Use>
    bool log_sums(Vec<T> (&top)[N], Use use) const {
        if (!all_within_reach(top)) return false;
        ColumnSum<T> ties[N], rests[N];
        split(top, ties, rests);
        for (int u = 0; u < N; ++u) use(u, ColumnLogs<T>(ties[u], rests[u]));
        return true;
    }

    bool log_softmax(const P& out) const {
        Vec<T> top[N];
        LogProbability<T> results[N];
        maxima(classes, top);
        const auto use = [&](int u, const ColumnLogs<T>& logs) {
            results[u] = LogProbability<T>(c, top[u], logs.rounded());
        };
        if (!log_sums(top, use)) return false;
        for (int64_t k = 0; k < classes; ++k)
            each<N>([&](int u) FASTSOFTMAX_LAMBDA { out.put(k, u, results[u].of(x.get(k, u))); });
        return true;
    }

    // `use(u, values)` takes the results.
    template <class Use>
    bool logsumexp(Use use) const {
        Vec<T> top[N];
        maxima(classes, top);
        return log_sums(top, [&](int u, const ColumnLogs<T>& logs) { use(u, logs.plus(top[u])); });
    }
};

// Writes the logsumexp of up to a vector of rows.
template <class T>
inline void put_logsumexps(const Job& job, Row row, const Axis& step, Vec<T> lse, int rows) {
    if (step.out == int64_t{sizeof(T)} && !row.sign) {
        T* const to = reinterpret_cast<T*>(row.out);
        return rows == Vec<T>::lanes ? store(to, lse) : store_part(to, lse, rows);
    }
    T values[Vec<T>::lanes];
    store(values, lse);
    for (int i = 0; i < rows; ++i, advance(row, step, 1))
        put_logsumexp<T>(job, row, static_cast<double>(values[i]));
}

template <class T, Op op, int N, bool Whole>
inline void columns_of(const Job& job, Row row, int lanes, const Axis& step, void* scratch,
                       const Scale<T>& c) {
    constexpr int L = Vec<T>::lanes;
    using P = Panel<T, N, Whole>;
    const Axis& axis = job.classes[0];
    const P x{const_cast<char*>(row.x), axis.x, lanes}, out{row.out, axis.out, lanes};
    const P packed{static_cast<char*>(scratch), N * L * int64_t{sizeof(T)}, lanes};
    const Columns<T, N, Whole> columns{x, job.num_classes, c};
    bool done;
    if constexpr (op == Op::softmax)
        done = columns.softmax(job.scratch_len ? packed : out, out);
    else if constexpr (op == Op::log_softmax)
        done = columns.log_softmax(out);
    else
        done = columns.logsumexp([&](int u, Vec<T> values) {
            Row at = row;
            advance(at, step, u * L);
            put_logsumexps<T>(job, at, step, values, lanes);
        });
    if (!done) rows<T, op, GroupSum<T>>(job, row, Whole ? N * L : lanes, step, scratch);
}

template <class T, Op op>
void columns(const Job& job, Row row, int64_t count, const Axis& step, void* scratch) {
    const FloatMode mode;
    constexpr int L = Vec<T>::lanes;
    const Scale<T> c(number_at(row.temperature));
    for (; count >= stripe * L; count -= stripe * L, advance(row, step, stripe * L))
        columns_of<T, op, stripe, true>(job, row, L, step, scratch, c);
    for (; count >= L; count -= L, advance(row, step, L))
        columns_of<T, op, 1, true>(job, row, L, step, scratch, c);
    if (count > 0) columns_of<T, op, 1, false>(job, row, static_cast<int>(count), step, scratch, c);
}
