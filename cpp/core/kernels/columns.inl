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
    T* place(int64_t k, int u) const { return reinterpret_cast<T*>(at + k * step) + u * L; }
    FASTSOFTMAX_INLINE Vec<T> get(int64_t k, int u) const {
        if (Whole || lanes(u) == L) return load(place(k, u));
        return load_part(place(k, u), lanes(u), T(0));
    }
    FASTSOFTMAX_INLINE void put(int64_t k, int u, Vec<T> v) const {
        if (Whole || lanes(u) == L)
            store(place(k, u), v);
        else
            store_part(place(k, u), v, lanes(u));
    }
};

// A stripe: its scores, room for exponentials (perhaps the result's), the result. For logsumexp
// `out` is a single line, and so is `sign`.
template <class T, bool Whole>
struct Columns {
    Panel<T, Whole> x, e, out;
    int64_t classes;
    Scale<T> c;

    int vectors() const { return x.vectors(); }

    // The largest of the first classes of each column; false if one is not within reach.
    bool maxima(int64_t first, Vec<T> (&top)[stripe]) const {
        for (auto& t : top) t = Vec<T>::all(-HUGE_VAL);
        for (int64_t k = 0; k < first; ++k)
            for (int u = 0; u < vectors(); ++u) top[u] = larger(top[u], x.get(k, u));
        bool ordinary = true;
        for (int u = 0; u < vectors(); ++u) ordinary &= within_reach(top[u], c);
        return ordinary;
    }

    template <int size>
    FASTSOFTMAX_INLINE void exp2_group(int64_t k, const Shift<T> (&shift)[stripe],
                                       ColumnSum<T> (&sum)[stripe]) const {
        for (int u = 0; u < vectors(); ++u) {
            Shift<T> s = shift[u];
            s.c_hi = Vec<T>::all(c.c_hi);  // one register for all
            s.c_lo = Vec<T>::all(c.c_lo);
            Vec<T> terms[size];
            for (int j = 0; j < size; ++j) {
                terms[j] = exp2_shifted(x.get(k + j, u), s);
                e.put(k + j, u, terms[j]);
            }
            sum[u].add(tree(terms));
        }
    }

    // Exponentials and their sums; false if a sum tells that a maximum was guessed too low, or NaN.
    bool exp2(const Vec<T> (&top)[stripe], ColumnSum<T> (&sum)[stripe]) const {
        Shift<T> shift[stripe];
        for (int u = 0; u < vectors(); ++u) {
            shift[u] = Shift<T>(c, nearest(top[u], c));
            sum[u] = ColumnSum<T>();
        }
        int64_t k = 0;
        for (; k + class_group <= classes; k += class_group) exp2_group<class_group>(k, shift, sum);
        if (k < classes) exp2_group<1>(k, shift, sum);
        bool in_range = true;
        for (int u = 0; u < vectors(); ++u) in_range &= sum[u].within(1, Limits<T>::overflow);
        return in_range;
    }

    // False, with x as it was, if a column needs the row kernel; so the other operations.
    bool softmax() const {
        Vec<T> top[stripe];
        ColumnSum<T> sum[stripe];
        // Where exponentials replace x there is no second try.
        const bool guess = e.at != x.at && classes > guessed_classes;
        if (!guess || !maxima(guessed_classes, top) || !exp2(top, sum)) {
            if (!maxima(classes, top)) return false;
            exp2(top, sum);  // a sum that is NaN now has a NaN in x
        }
        Inverse<Vec<T>> by[stripe];
        for (int u = 0; u < vectors(); ++u) by[u] = sum[u].inverses();
        for (int64_t k = 0; k < classes; ++k)
            for (int u = 0; u < vectors(); ++u) out.put(k, u, quotient(e.get(k, u), by[u]));
        return true;
    }

    template <int size>
    FASTSOFTMAX_INLINE void log_group_of(int64_t k, const Vec<T> (&top)[stripe],
                                         ColumnSum<T> (&rest)[stripe],
                                         Vec<T> (&ties)[stripe]) const {
        for (int u = 0; u < vectors(); ++u) {
            const Below<T> below(top[u], c);
            Vec<T> terms[size];
            for (int j = 0; j < size; ++j) {
                const Split<T> apart(x.get(k + j, u), below);
                terms[j] = apart.rest.high;
                rest[u].lose(apart.rest.low);
                ties[u] = ties[u] + apart.tie;
            }
            rest[u].add(tree(terms));
        }
    }

    // log(sum(exp((x - max) / T))) by lane, as sums of two numbers.
    bool log_sums(Vec<T> (&top)[stripe], Pair<double> (&found)[stripe][Vec<T>::lanes]) const {
        if (!maxima(classes, top)) return false;
        constexpr int G = log_group<T>;
        ColumnSum<T> rest[stripe], count[stripe];
        for (int64_t k = 0; k < classes;) {
            const int64_t end = classes - k < countable ? classes : k + countable;
            Vec<T> ties[stripe];
            for (auto& t : ties) t = Vec<T>::all(0);
            for (; k + G <= end; k += G) log_group_of<G>(k, top, rest, ties);
            if (k < end) log_group_of<1>(k++, top, rest, ties);
            for (int u = 0; u < vectors(); ++u) count[u].add(ties[u]);
        }
        for (int u = 0; u < vectors(); ++u) logs_of(count[u], rest[u], found[u]);
        return true;
    }

    bool log_softmax() const {
        Vec<T> top[stripe];
        Pair<double> found[stripe][Vec<T>::lanes];
        if (!log_sums(top, found)) return false;
        LogProbability<T> result[stripe];
        for (int u = 0; u < vectors(); ++u) {
            T rounded[Vec<T>::lanes];
            for (int i = 0; i < Vec<T>::lanes; ++i)
                rounded[i] = static_cast<T>(found[u][i].high + found[u][i].low);
            result[u] = LogProbability<T>(c, top[u], load(rounded));
        }
        for (int64_t k = 0; k < classes; ++k)
            for (int u = 0; u < vectors(); ++u) {
                LogProbability<T> r = result[u];
                r.t_hi = Vec<T>::all(c.t_hi);  // one register for all
                r.t_lo = Vec<T>::all(c.t_lo);
                out.put(k, u, r.of(x.get(k, u)));
            }
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
    const Columns<T, Whole> columns{x, job.scratch_len ? packed : out, out, job.num_classes, c};
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
