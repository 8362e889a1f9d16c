// Many rows side by side, for a class axis that is not contiguous: lanes are rows ("columns" of the
// array in memory), classes follow one another. Same sums as GroupSum, so same bits as the row
// kernel for such an axis, which takes over where a column's maximum is infinite or out of reach.

constexpr int stripe = 4;  // vectors at a time: 256 bytes with AVX-512, four lines of each class

// Classes that are looked at for a guess of the maxima.
constexpr int64_t guessed_classes = 32;

// So many ties can be counted in float32 and stay exact.
constexpr int64_t countable = 1 << 20;

// Of each column, from its ties and the sum of its other terms.
inline void logs_of(const ColumnSum<float>& count, const ColumnSum<float>& rest,
                    Pair<double> (&out)[Vec<float>::lanes]) {
    double logs[Vec<float>::lanes];
    store(logs, log_of(count.low, rest.low + widen_low(rest.lost), 0.0f));
    store(logs + Vec<double>::lanes, log_of(count.high, rest.high + widen_high(rest.lost), 0.0f));
    for (int i = 0; i < Vec<float>::lanes; ++i) out[i] = {logs[i], 0};
}
inline void logs_of(const ColumnSum<double>& count, const ColumnSum<double>& rest,
                    Pair<double> (&out)[Vec<double>::lanes]) {
    Total counts[Vec<double>::lanes], rests[Vec<double>::lanes];
    count.totals(counts);
    rest.totals(rests);
    for (int i = 0; i < Vec<double>::lanes; ++i) out[i] = log_of(counts[i].high, rests[i], 0.0);
}

// One array's part of a stripe. Whole: all its vectors are full; else `count` columns are there.
template <class T, bool Whole>
struct Panel {
    char* at;
    int64_t step;  // bytes from one class to the next
    int count;

    static constexpr int L = Vec<T>::lanes;
    int vectors() const { return Whole ? stripe : (count + L - 1) / L; }
    int lanes(int u) const { return Whole || count - u * L > L ? L : count - u * L; }

    // A column of vectors.
    struct Column {
        char* at;
        int64_t step;
        int lanes;
        T* place(int64_t k) const { return reinterpret_cast<T*>(at + k * step); }
        FASTSOFTMAX_INLINE Vec<T> get(int64_t k) const {
            if (Whole || lanes == L) return load(place(k));
            return load_part(place(k), lanes, T(0));
        }
        FASTSOFTMAX_INLINE void put(int64_t k, Vec<T> v) const {
            if (Whole || lanes == L)
                store(place(k), v);
            else
                store_part(place(k), v, lanes);
        }
    };
    Column column(int u) const { return {at + u * L * int64_t{sizeof(T)}, step, lanes(u)}; }
};

// A stripe: its scores, room for exponentials (perhaps the result's), the result.
template <class T, bool Whole>
struct Columns {
    using P = Panel<T, Whole>;
    using Column = typename P::Column;

    P x, e, out;
    int64_t classes;
    // Classes that one vector goes through before the next one has its turn: rows of memory a power
    // of two apart share their sets of L1, where eight of them have room.
    int64_t turn;
    Scale<T> c;

    int vectors() const { return x.vectors(); }

    // Calls f(vector, first class, class after the last) until all of `last` classes are through.
    template <class F>
    FASTSOFTMAX_INLINE void turns(int64_t last, F f) const {
        for (int64_t k = 0; k < last; k += turn)
            for (int u = 0; u < vectors(); ++u) f(u, k, last - k < turn ? last : k + turn);
    }

    // The largest of the first classes of each column; false if one is not within reach.
    bool maxima(int64_t first, Vec<T> (&top)[stripe]) const {
        for (auto& t : top) t = Vec<T>::all(-HUGE_VAL);
        turns(first, [&](int u, int64_t k, int64_t end) {
            const Column from = x.column(u);
            Vec<T> largest = top[u];
            for (; k < end; ++k) largest = larger(largest, from.get(k));
            top[u] = largest;
        });
        bool ordinary = true;
        for (int u = 0; u < vectors(); ++u) ordinary &= within_reach(top[u], c);
        return ordinary;
    }

    // Exponentials and their sums; false if a sum tells that a maximum was guessed too low, or NaN.
    bool exp2(const Vec<T> (&top)[stripe], ColumnSum<T> (&sums)[stripe]) const {
        Shift<T> shifts[stripe];
        for (int u = 0; u < vectors(); ++u) {
            shifts[u] = Shift<T>(c, nearest(top[u], c));
            sums[u].clear();
        }
        const Vec<T> c_hi = Vec<T>::all(c.c_hi), c_lo = Vec<T>::all(c.c_lo);
        turns(classes, [&](int u, int64_t k, int64_t end) {
            const Column from = x.column(u), to = e.column(u);
            Shift<T> s = shifts[u];
            s.c_hi = c_hi;
            s.c_lo = c_lo;
            ColumnSum<T> sum = sums[u];
            const auto term = [&](int64_t i) __attribute__((always_inline)) {
                const Vec<T> v = exp2_shifted(from.get(i), s);
                to.put(i, v);
                return v;
            };
            for (; k + class_group <= end; k += class_group) sum.add(term(k) + term(k + 1));
            if (k < end) sum.add(term(k));
            sums[u] = sum;
        });
        bool in_range = true;
        for (int u = 0; u < vectors(); ++u) in_range &= sums[u].within(1, Limits<T>::overflow);
        return in_range;
    }

    // False, with x as it was, if a column needs the row kernel; so the other operations.
    bool softmax() const {
        Vec<T> top[stripe];
        ColumnSum<T> sums[stripe];
        // Where exponentials replace x there is no second try.
        const bool guess = e.at != x.at && classes > guessed_classes;
        if (!guess || !maxima(guessed_classes, top) || !exp2(top, sums)) {
            if (!maxima(classes, top)) return false;
            exp2(top, sums);  // a sum that is NaN now has a NaN in x
        }
        Inverse<Vec<T>> inverses[stripe];
        for (int u = 0; u < vectors(); ++u) inverses[u] = sums[u].inverses();
        turns(classes, [&](int u, int64_t k, int64_t end) {
            const Column from = e.column(u), to = out.column(u);
            const Inverse<Vec<T>> by = inverses[u];
            for (; k < end; ++k) to.put(k, quotient(from.get(k), by));
        });
        return true;
    }

    // log(sum(exp((x - max) / T))) by lane, as sums of two numbers.
    bool log_sums(Vec<T> (&top)[stripe], Pair<double> (&found)[stripe][Vec<T>::lanes]) const {
        if (!maxima(classes, top)) return false;
        ColumnSum<T> rests[stripe], counts[stripe];
        for (int u = 0; u < vectors(); ++u) rests[u].clear(), counts[u].clear();
        const auto count_from = [&](int64_t first, int64_t last) {
            Vec<T> ties[stripe];
            for (auto& t : ties) t = Vec<T>::all(0);
            turns(last - first, [&](int u, int64_t k, int64_t end) {
                const Column from = x.column(u);
                const Below<T> below(top[u], c);
                ColumnSum<T> rest = rests[u];
                Vec<T> tie = ties[u];
                const auto term = [&](int64_t i) __attribute__((always_inline)) {
                    const Split<T> apart(from.get(first + i), below);
                    rest.lose(apart.rest.low);
                    tie = tie + apart.tie;
                    return apart.rest.high;
                };
                if constexpr (log_group<T> == 2)
                    for (; k + 2 <= end; k += 2) {
                        const Vec<T> one = term(k);
                        rest.add(one + term(k + 1));
                    }
                for (; k < end; ++k) rest.add(term(k));
                rests[u] = rest;
                ties[u] = tie;
            });
            for (int u = 0; u < vectors(); ++u) counts[u].add(ties[u]);
        };
        for (int64_t k = 0; k < classes; k += countable)
            count_from(k, classes - k < countable ? classes : k + countable);
        for (int u = 0; u < vectors(); ++u) logs_of(counts[u], rests[u], found[u]);
        return true;
    }

    bool log_softmax() const {
        Vec<T> top[stripe];
        Pair<double> found[stripe][Vec<T>::lanes];
        if (!log_sums(top, found)) return false;
        LogProbability<T> results[stripe];
        for (int u = 0; u < vectors(); ++u) {
            T rounded[Vec<T>::lanes];
            for (int i = 0; i < Vec<T>::lanes; ++i)
                rounded[i] = static_cast<T>(found[u][i].high + found[u][i].low);
            results[u] = LogProbability<T>(c, top[u], load(rounded));
        }
        turns(classes, [&](int u, int64_t k, int64_t end) {
            const Column from = x.column(u), to = out.column(u);
            const LogProbability<T> result = results[u];
            for (; k < end; ++k) to.put(k, result.of(from.get(k)));
        });
        return true;
    }

    // `store_lse(column, value)` takes the results.
    template <class Store>
    bool logsumexp(Store store_lse) const {
        Vec<T> top[stripe];
        Pair<double> found[stripe][Vec<T>::lanes];
        if (!log_sums(top, found)) return false;
        for (int u = 0; u < vectors(); ++u) {
            T maxima_of[Vec<T>::lanes];
            store(maxima_of, top[u]);
            for (int i = 0; i < x.lanes(u); ++i)
                store_lse(u * Vec<T>::lanes + i,
                          rounded_sum(static_cast<double>(maxima_of[i]), found[u][i]));
        }
        return true;
    }
};

// The first `count` columns of a stripe; `order` maps a column to its row among them.
template <class T, Op op, bool Whole, class Order>
inline bool column_stripe(const Columns<T, Whole>& columns, const Job& job, const Row& row,
                          const Axis& step, int count, Order order) {
    if constexpr (op == Op::softmax) return columns.softmax();
    if constexpr (op == Op::log_softmax) return columns.log_softmax();
    return columns.logsumexp([&](int column, double lse) {
        Row at = row;
        advance(at, step, order(column));
        if (order(column) < count) put_logsumexp<T>(job, at, lse);
    });
}

template <class T, Op op, bool Whole>
inline void columns_of(const Job& job, Row row, int count, const Axis& step, void* scratch,
                       const Scale<T>& c) {
    const Axis& axis = job.classes[0];
    const Panel<T, Whole> x{const_cast<char*>(row.x), axis.x, count};
    const Panel<T, Whole> out{row.out, axis.out, count};
    const Panel<T, Whole> packed{static_cast<char*>(scratch),
                                 stripe * Vec<T>::lanes * int64_t{sizeof(T)}, count};
    const Columns<T, Whole> columns{x, job.scratch_len ? packed : out, out, job.num_classes, 8, c};
    const auto order = [](int column) { return column; };
    if (!column_stripe<T, op>(columns, job, row, step, count, order))
        rows<T, op, GroupSum<T>>(job, row, count, step, scratch);
}

template <class T, Op op>
void columns(const Job& job, Row row, int64_t count, const Axis& step, void* scratch) {
    const FloatMode mode;
    constexpr int width = stripe * Vec<T>::lanes;
    const Scale<T> c(number_at(row.temperature));
    for (; count >= width; count -= width, advance(row, step, width))
        columns_of<T, op, true>(job, row, width, step, scratch, c);
    if (count > 0) columns_of<T, op, false>(job, row, static_cast<int>(count), step, scratch, c);
}
