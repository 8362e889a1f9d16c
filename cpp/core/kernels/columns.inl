// Many rows side by side, for a class axis that is not contiguous: lanes are rows ("columns" of the
// array in memory), classes follow one another. Same sums as GroupSum, so same bits as the row
// kernel for such an axis, which takes over where a column's maximum is infinite or out of reach.

// Vectors at a time: 256 bytes with AVX-512, four lines of each class. Their sums and shifts fill
// its 32 registers; with AVX2's 16 there is room for half as many. Vectors of 16 bytes need four to
// fill a line, and are exponentiated that many at a time.
constexpr int stripe = sizeof(Vec<float>) == 32 ? 2 : 4;

// Classes that are looked at for a guess of the maxima.
constexpr int64_t guessed_classes = 32;

// So many ties can be counted in float32 and stay exact.
constexpr int64_t countable = 1 << 20;

constexpr int cache_line = 64;  // of memory, in bytes

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

    ColumnLogs(const ColumnSum<double>& ties, const ColumnSum<double>& rest)
        : logs(log_of(ties.lanes.sum.high, rest.lanes.sum, 0.0)) {}
    Vec<double> rounded() const { return logs.high + logs.low; }
    Vec<double> plus(Vec<double> a) const {  // as rounded_sum
        const Pair<Vec<double>> sum = two_sum(a, logs.high);
        return sum.high + (sum.low + logs.low);
    }
};

// One array's part of a stripe of N vectors, of elements E in memory. Not Whole: of its one vector
// `lanes` are there.
template <class E, int N, bool Whole>
struct Panel {
    static_assert(Whole || N == 1);
    using T = typename Computed<E>::Type;
    char* at;
    int64_t step;  // bytes from one class to the next
    int lanes;

    // Whether all its classes start at multiples of so many bytes.
    bool aligned_to(uintptr_t bytes) const {
        return (reinterpret_cast<uintptr_t>(at) | static_cast<uintptr_t>(step)) % bytes == 0;
    }
    E* place(int64_t k, int u) const {
        return reinterpret_cast<E*>(at + k * step) + u * Vec<T>::lanes;
    }
    FASTSOFTMAX_INLINE Vec<T> get(int64_t k, int u) const {
        return Whole ? load(place(k, u)) : load_part(place(k, u), lanes, T(0));
    }
    FASTSOFTMAX_INLINE void put(int64_t k, int u, Vec<T> v) const {
        Whole ? store(place(k, u), v) : store_part(place(k, u), v, lanes);
    }
    // The lines that vector u begins, where it is the vectors of a stripe that begin them.
    FASTSOFTMAX_INLINE void fetch(int64_t k, int u) const {
        if (u * sizeof(E) * Vec<T>::lanes % cache_line == 0) __builtin_prefetch(place(k, u));
    }
};

// A stripe: its scores, and what becomes of them.
template <class E, int N, bool Whole>
struct Columns {
    using P = Panel<E, N, Whole>;
    using T = typename P::T;
    using Terms = Panel<T, N, Whole>;
    static constexpr int L = Vec<T>::lanes;
    static constexpr bool has_whole_lines = Whole && N * L * sizeof(E) % cache_line == 0;

    P x, next;  // next: the scores that follow, fetched while these are computed
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

    // Exponentials, and the sums of what counted(k, u, exponential) makes of them.
    template <class Counted>
    FASTSOFTMAX_INLINE void exp2(const Vec<T> (&top)[N], const Terms& e, ColumnSum<T> (&sums)[N],
                                 const Counted& counted) const {
        const P from = x, beside = next;
        const Terms to = e;  // copies that stores to `e` cannot alias
        Shift<T> s[N];
        ColumnSum<T> sum[N];
        each<N>([&](int u) FASTSOFTMAX_LAMBDA {
            s[u] = Shift<T>(c, nearest(top[u], c));
            sum[u].clear();
        });
        constexpr int W = abreast_of<N>;
        // Exponentials of W vectors of class k.
        const auto terms = [&](int64_t k, int first, Vec<T>(&v)[W]) FASTSOFTMAX_LAMBDA {
            each<W>([&](int u) FASTSOFTMAX_LAMBDA { v[u] = from.get(k, first + u); });
            exp2_abreast(v,
                         [&](int u) FASTSOFTMAX_LAMBDA -> const Shift<T>& { return s[first + u]; });
            each<W>([&](int u) FASTSOFTMAX_LAMBDA {
                to.put(k, first + u, v[u]);
                beside.fetch(k, first + u);
            });
        };
        int64_t k = 0;
        for (; k + group_size <= classes; k += group_size)
            each<N / W>([&](int w) FASTSOFTMAX_LAMBDA {
                Vec<T> one[W], other[W];
                terms(k, w * W, one);
                terms(k + 1, w * W, other);
                each<W>([&](int i) FASTSOFTMAX_LAMBDA {
                    const int u = w * W + i;
                    sum[u].add(counted(k, u, one[i]) + counted(k + 1, u, other[i]));
                });
            });
        if (k < classes)
            each<N / W>([&](int w) FASTSOFTMAX_LAMBDA {
                Vec<T> one[W];
                terms(k, w * W, one);
                each<W>([&](int i) FASTSOFTMAX_LAMBDA {
                    const int u = w * W + i;
                    sum[u].add(counted(k, u, one[i]));
                });
            });
        each<N>([&](int u) FASTSOFTMAX_LAMBDA { sums[u] = sum[u]; });
    }

    void exp2(const Vec<T> (&top)[N], const Terms& e, ColumnSum<T> (&sums)[N]) const {
        exp2(top, e, sums, [](int64_t, int, Vec<T> v) FASTSOFTMAX_LAMBDA { return v; });
    }

    // False, with x as it was, if a column needs the row kernel; so the other operations. `e` is
    // room for exponentials, perhaps the result's; they are packed if the result is streamed.
    bool softmax(const Terms& e, const P& out, bool streaming) const {
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
        put_quotients(e, out, by, streaming);
        return true;
    }

    void put_quotients(const Terms& e, const P& out, const Inverse<Vec<T>> (&by)[N],
                       bool streaming) const {
        const auto result = [&](int64_t k, int u)
                                FASTSOFTMAX_LAMBDA { return quotient(e.get(k, u), by[u]); };
        if (has_whole_lines && streaming && out.aligned_to(cache_line))
            return put_streaming(out, result);
        if constexpr (has_whole_lines && L * sizeof(E) == cache_line)
            if (streaming && out.aligned_to(sizeof(E))) return put_sharing_lines(e, out, by);
        put(out, 0, classes, result);
    }

    // Writes result(k, u) for classes `first` .. `last` - 1.
    template <class Result>
    FASTSOFTMAX_INLINE void put(const P& out, int64_t first, int64_t last,
                                const Result& result) const {
        const P to = out;
        for (int64_t k = first; k < last; ++k)
            each<N>([&](int u) FASTSOFTMAX_LAMBDA { to.put(k, u, result(k, u)); });
    }
    template <class Result>
    FASTSOFTMAX_INLINE void put_streaming(const P& out, const Result& result) const {
        const P to = out;
        for (int64_t k = 0; k < classes; ++k)
            each<N>([&](int u) FASTSOFTMAX_LAMBDA { stream(to.place(k, u), result(k, u)); });
    }

    // Quotients past the caches where the result's lines are not the stripe's vectors, though a
    // vector is as large as a line. The lines at the ends are shared with the stripes beside:
    // written in the ordinary way, under masks that stay within the line (touching one that is
    // streamed costs 250 ns), and fetched beforehand. Vectors for these reach into the classes
    // before and after in `e`, which is packed; so the first and the last class are not streamed.
    void put_sharing_lines(const Terms& e, const P& out, const Inverse<Vec<T>> (&by)[N]) const {
        constexpr int width = N * L;
        constexpr int64_t ahead = 8;
        T hi[width + 2 * L] = {}, lo[width + 2 * L] = {};
        each<N>([&](int u) FASTSOFTMAX_LAMBDA {
            store(hi + L + u * L, by[u].hi);
            store(lo + L + u * L, by[u].lo);
        });
        const auto result = [&](int64_t k, int u)
                                FASTSOFTMAX_LAMBDA { return quotient(e.get(k, u), by[u]); };
        put(out, 0, 1, result);
        for (int64_t k = 1; k < classes - 1; ++k) {
            E* const y = out.place(k, 0);
            const T* const terms = e.place(k, 0);
            const auto from = [&](int i) FASTSOFTMAX_LAMBDA {
                return quotient(load(terms + i),
                                Inverse<Vec<T>>{load(hi + L + i), load(lo + L + i)});
            };
            __builtin_prefetch(out.place(k + ahead, N), 1);
            int i = static_cast<int>(elements_to_alignment(y, width));
            if (i > 0) store_rest(y + (i - L), from(i - L), L - i);
            for (; i + L <= width; i += L) stream(y + i, from(i));
            if (i < width) store_part(y + i, from(i), width - i);
        }
        put(out, classes - 1, classes, result);
    }

    // Ties of a vector's maxima, and the sums of the other terms.
    template <Digits digits>
    FASTSOFTMAX_INLINE void split(int u, Vec<T> top, ColumnSum<T>& ties,
                                  ColumnSum<T>& rests) const {
        const P from = x, beside = next;
        const Below<T> below(top, c);
        ColumnSum<T> rest, count;
        rest.clear();
        count.clear();
        for (int64_t k = 0; k < classes;) {
            const int64_t end = classes - k < countable ? classes : k + countable;
            Vec<T> tie = Vec<T>::all(0);
            const auto term = [&](int64_t i) FASTSOFTMAX_LAMBDA {
                const Vec<T> score = from.get(i, u);
                beside.fetch(i, u);
                const Pair<Vec<T>> one = below.exp2(score);
                if constexpr (keeps_low<T, digits>) rest.lose(one.low);
                tie = one_more_where_equal(tie, score, below.max);
                return one.high;
            };
            if constexpr (in_pairs<T, digits>)
                for (; k + group_size <= end; k += group_size) rest.add(term(k) + term(k + 1));
            for (; k < end; ++k) rest.add(term(k));
            count.add(tie);
        }
        ties = count;
        rests = rest;
    }

    // log(sum(exp((x - max) / T))), with the maximum added if it is asked for. The logarithms of
    // all vectors together, where their latencies hide behind one another.
    template <Digits digits>
    FASTSOFTMAX_INLINE void log_sums(const Vec<T> (&top)[N], Vec<T> (&logs)[N],
                                     bool add_max) const {
        ColumnSum<T> ties[N], rests[N];
        for (int u = 0; u < N; ++u) split<digits>(u, top[u], ties[u], rests[u]);
        each<N>([&](int u) FASTSOFTMAX_LAMBDA {
            const ColumnLogs<T> sum(ties[u], rests[u]);
            logs[u] = add_max ? sum.plus(top[u]) : sum.rounded();
        });
    }

    void logsumexps(const Vec<T> (&top)[N], Vec<T> (&found)[N]) const {
        if (!worth_trying<T>(classes)) return log_sums<Digits::all>(top, found, true);
        log_sums<Digits::pairs>(top, found, true);
        for (int u = 0; u < N; ++u) with_all_digits(u, top[u], found[u]);
    }
    // Where `lse` needs them.
    void with_all_digits(int u, Vec<T> top, Vec<T>& lse) const {
        const Vec<T> zero = Vec<T>::all(0);
        const Vec<T> size = larger(larger(top, zero - top), larger(lse, zero - lse));
        if (all_at_most(Vec<T>::all(1), size)) return;
        ColumnSum<T> ties, rests;
        split<Digits::all>(u, top, ties, rests);
        T max[L], result[L], better[L];
        store(max, top);
        store(result, lse);
        store(better, ColumnLogs<T>(ties, rests).plus(top));
        for (int i = 0; i < L; ++i)
            if (needs_all_digits(max[i], result[i])) result[i] = better[i];
        lse = load(result);
    }

    bool log_softmax(const P& out, bool streaming) const {
        Vec<T> top[N], logs[N];
        maxima(classes, top);
        if (!all_within_reach(top)) return false;
        log_sums<Digits::terms>(top, logs, false);
        LogProbability<T> results[N];
        each<N>([&](int u)
                    FASTSOFTMAX_LAMBDA { results[u] = LogProbability<T>(c, top[u], logs[u]); });
        const P from = x;
        const auto result = [&](int64_t k, int u)
                                FASTSOFTMAX_LAMBDA { return results[u].of(from.get(k, u)); };
        if (has_whole_lines && streaming && out.aligned_to(cache_line))
            put_streaming(out, result);
        else
            put(out, 0, classes, result);
        return true;
    }

    bool logsumexp(Vec<T> (&found)[N]) const {
        Vec<T> top[N];
        maxima(classes, top);
        if (!all_within_reach(top)) return false;
        logsumexps(top, found);
        return true;
    }
};

// Writes the logsumexp of `count` rows, at most a vector, from the `first` on.
template <class E, class T = typename Computed<E>::Type>
inline void put_logsumexps(const Job& job, const Row& row, const Axis& step, int first, Vec<T> lse,
                           int count) {
    if (step.out == int64_t{sizeof(E)} && !row.sign) {
        E* const to = reinterpret_cast<E*>(row.out) + first;
        return count == Vec<T>::lanes ? store(to, lse) : store_part(to, lse, count);
    }
    T values[Vec<T>::lanes];
    store(values, lse);
    Row at = row;
    advance(at, step, first);
    for (int i = 0; i < count; ++i, advance(at, step, 1))
        put_logsumexp<T>(job, at, static_cast<double>(values[i]));
}

template <class E, Op op, int N, bool Whole, class T>
inline void columns_of(const Job& job, Row row, int lanes, const Axis& step, void* scratch,
                       const Scale<T>& c) {
    constexpr int L = Vec<T>::lanes;
    using P = Panel<E, N, Whole>;
    using Terms = Panel<T, N, Whole>;
    const Axis& axis = job.classes[0];
    const P x{const_cast<char*>(row.x), axis.x, lanes}, out{row.out, axis.out, lanes};
    const P beside{x.at + N * L * int64_t{sizeof(E)}, axis.x, lanes};
    const Columns<E, N, Whole> columns{x, beside, job.num_classes, c};
    bool done;
    if constexpr (op == Op::softmax) {
        const bool kept = job.rows_kept > 0;
        const Terms packed{static_cast<char*>(scratch), N * L * int64_t{sizeof(T)}, lanes};
        const Terms in_result{out.at, out.step, lanes};
        done = columns.softmax(kept ? packed : in_result, out, kept && job.streaming);
    } else if constexpr (op == Op::log_softmax) {
        done = columns.log_softmax(out, job.streaming);
    } else {
        Vec<T> found[N];
        done = columns.logsumexp(found);
        for (int u = 0; done && u < N; ++u)
            put_logsumexps<E>(job, row, step, u * L, found[u], lanes);
    }
    if (!done) rows<T, op, GroupSum<T>>(job, row, Whole ? N * L : lanes, step, scratch);
}

template <class E, Op op>
void columns(const Job& job, Row row, int64_t count, const Axis& step, void* scratch) {
    const FloatMode mode;
    using T = typename Computed<E>::Type;
    constexpr int L = Vec<T>::lanes;
    const Scale<T> c(number_at(row.temperature));
    for (; count >= stripe * L; count -= stripe * L, advance(row, step, stripe * L))
        columns_of<E, op, stripe, true>(job, row, L, step, scratch, c);
    for (; count >= L; count -= L, advance(row, step, L))
        columns_of<E, op, 1, true>(job, row, L, step, scratch, c);
    if (count > 0) columns_of<E, op, 1, false>(job, row, static_cast<int>(count), step, scratch, c);
    if (job.streaming) stream_end();
}
