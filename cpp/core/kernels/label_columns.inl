// Cross-entropy by labels for a class axis that is not contiguous: many rows side by side, as in
// columns.inl. A column's own term is left out of its sum where it comes by, class by class, which
// gives the bits of the row kernel for such an axis.

// Class numbers are compared as numbers of type T.
template <class T>
constexpr int64_t comparable = sizeof(T) == 4 ? int64_t{1} << 24 : int64_t{1} << 53;

// The same as scaled_inverse, to the bit, for a vector of rows.
FASTSOFTMAX_INLINE Inverse<Vec<float>> scaled_inverses(const double* scale, const double* others,
                                                       const double* own, float) {
    const auto by = [&](int i) FASTSOFTMAX_LAMBDA {
        return load(scale + i) / (load(others + i) + load(own + i));
    };
    const Vec<double> first = by(0), second = by(Vec<double>::lanes);
    const Vec<float> high = narrow(first, second);
    return {high, narrow(first - widen_low(high), second - widen_high(high))};
}
inline Inverse<Vec<double>> scaled_inverses(const double* scale, const double* others,
                                            const double* own, double) {
    constexpr int L = Vec<double>::lanes;
    double high[L], low[L];
    for (int i = 0; i < L; ++i) {
        const Pair<double> total = Sides{others[i], own[i]}.total();
        const Inverse<double> by =
            scaled_inverse<double>(scale[i], total.high, total.low / total.high);
        high[i] = by.hi;
        low[i] = by.lo;
    }
    return {load(high), load(low)};
}

template <class E, int N, bool Whole>
struct LabelColumns {
    using Of = Columns<E, N, Whole>;
    using P = typename Of::P;
    using T = typename Of::T;
    using Terms = typename Of::Terms;
    static constexpr int L = Vec<T>::lanes, width = N * L;

    const Of& columns;
    const Job& job;
    const Axis& step;
    int count;  // columns that there are
    Labelled<T> labelled[width];
    double scores[width];  // where the columns will be gone

    LabelColumns(const Of& of, const Job& of_job, Row row, const Axis& of_rows, int columns_there)
        : columns(of), job(of_job), step(of_rows), count(columns_there) {
        for (int i = 0; i < count; ++i, advance(row, step, 1)) {
            labelled[i] = Labelled<T>(job, row);
            if (is_gone_after_sweep(job) && labelled[i].counts())
                scores[i] = labelled[i].score(job, row);
        }
    }

    // False, with x as it was, if a column needs the row kernel. `e` is room for exponentials, or
    // for one class of them, again and again, where no gradient is wanted.
    bool compute(const Row& row, const Terms& e, const P& out) const {
        if (columns.classes > comparable<T>) return false;
        Vec<T> top[N];
        columns.maxima(columns.classes, top);
        if (!columns.all_within_reach(top)) return false;
        Inverse<Vec<T>> by[N];
        bool lost[width];
        settle(row, top, e, by, lost);
        if (!out.at) return true;
        columns.put_quotients(e, out, by, e.at != out.at && job.streaming);
        for (int i = 0; i < count; ++i)
            for (int64_t k = 0; lost[i] && k < columns.classes; ++k) out.place(k, 0)[i] = E{};
        return true;
    }

    // Losses, and what the exponentials are to be multiplied by. `lost`: columns whose gradient is
    // 0 though their exponentials hold NaN.
    void settle(Row row, const Vec<T> (&top)[N], const Terms& e, Inverse<Vec<T>> (&by)[N],
                bool (&lost)[width]) const {
        constexpr int D = Vec<double>::lanes;
        T tops[width], high[width], low[width];
        double others[width], owns[width], scales[width], losses[width];
        sweep(top, e, others, owns);
        for (int i = 0; i < width; ++i) scales[i] = job.scale * labelled[i].weight;
        each<N>([&](int u) FASTSOFTMAX_LAMBDA {
            const int i = u * L;
            const Inverse<Vec<T>> factors = scaled_inverses(scales + i, others + i, owns + i, T());
            store(high + i, factors.hi);
            store(low + i, factors.lo);
            store(tops + i, top[u]);
        });
        for (int i = 0; i < width; i += D)
            store(losses + i, losses_of(load(others + i) / load(owns + i), T()));
        for (int i = 0; i < count; ++i, advance(row, step, 1)) {
            const Labelled<T>& column = labelled[i];
            lost[i] = !column.counts() && others[i] != others[i];
            if (!column.counts()) {
                put_loss(row.loss, column.without_logits(), T());
                high[i] = low[i] = 0;
                continue;
            }
            const Sides sides{others[i], owns[i]};
            const double loss =
                is_divisible<T>(sides) ? column.weight * losses[i] : far(row, i, sides, tops[i]);
            put_loss(row.loss, loss, T());
            if (!row.out) continue;
            e.place(column.label, 0)[i] = static_cast<T>(0 - sides.others);
            const double scale = scales[i];
            if (!is_tiny<T>(scale, sides.total().high) && !is_huge(Inverse<T>{high[i], low[i]}))
                continue;
            const Factor<T> factor = factor_of<T>(sides, scale);
            fit_terms(e.place(0, 0) + i, columns.classes, e.step, factor);
            high[i] = factor.by.hi;
            low[i] = factor.by.lo;
        }
        each<N>([&](int u) FASTSOFTMAX_LAMBDA { by[u] = {load(high + u * L), load(low + u * L)}; });
    }

private:
    // Exponentials, their sums without the label's, and the label's.
    void sweep(const Vec<T> (&top)[N], const Terms& e, double (&others)[width],
               double (&owns)[width]) const {
        T numbers[width];
        for (int i = 0; i < width; ++i)
            numbers[i] = static_cast<T>(i < count ? labelled[i].label : ignored_label);
        Vec<T> own[N], at[N];
        each<N>([&](int u) FASTSOFTMAX_LAMBDA {
            own[u] = Vec<T>::all(0);
            at[u] = load(numbers + u * L);
        });
        ColumnSum<T> sums[N];
        columns.exp2(top, e, sums, [&](int64_t k, int u, Vec<T> v) FASTSOFTMAX_LAMBDA {
            const Vec<T> rest = zero_where_equal(v, at[u], Vec<T>::all(static_cast<T>(k)));
            own[u] = own[u] + (v - rest);
            return rest;
        });
        each<N>([&](int u) FASTSOFTMAX_LAMBDA {
            ColumnSum<T> alone;
            alone.clear();
            alone.add(own[u]);
            alone.values(owns + u * L);
            sums[u].values(others + u * L);
        });
    }

    double far(const Row& row, int i, const Sides& sides, T top) const {
        const Shift<T> s(columns.c, nearest(Vec<T>::all(top), columns.c));
        const double score = is_gone_after_sweep(job) ? scores[i] : labelled[i].score(job, row);
        return weighted_loss(labelled[i].weight, far_loss(sides.total().high, s, 0, score));
    }
};

template <class E, int N, bool Whole, class T>
inline void label_columns_of(const Job& job, const Row& row, int lanes, const Axis& step,
                             void* scratch, const Scale<T>& c) {
    using Of = LabelColumns<E, N, Whole>;
    constexpr int L = Vec<T>::lanes;
    const Axis& axis = job.classes[0];
    const typename Of::P x{const_cast<char*>(row.x), axis.x, lanes};
    const typename Of::P out{row.out, axis.out, lanes};
    const typename Of::P beside{x.at + N * L * int64_t{sizeof(E)}, axis.x, lanes};
    const Columns<E, N, Whole> columns{x, beside, job.num_classes, c};
    alignas(64) T one_class[N * L];
    const typename Of::Terms packed{static_cast<char*>(scratch), N * L * int64_t{sizeof(T)}, lanes};
    const typename Of::Terms in_result{out.at, out.step, lanes};
    const typename Of::Terms passing{reinterpret_cast<char*>(one_class), 0, lanes};
    const int count = Whole ? N * L : lanes;
    const Of of(columns, job, row, step, count);
    if (!of.compute(row, !row.out ? passing : job.rows_kept ? packed : in_result, out))
        rows_by_label<T, GroupSum<T>>(job, row, count, step, scratch);
}

template <class E>
void label_columns(const Job& job, Row row, int64_t count, const Axis& step, void* scratch) {
    const FloatMode mode;
    using T = typename Computed<E>::Type;
    constexpr int L = Vec<T>::lanes;
    const Scale<T> c(number_at(row.temperature));
    for (; count >= stripe * L; count -= stripe * L, advance(row, step, stripe * L))
        label_columns_of<E, stripe, true>(job, row, L, step, scratch, c);
    for (; count >= L; count -= L, advance(row, step, L))
        label_columns_of<E, 1, true>(job, row, L, step, scratch, c);
    if (count > 0)
        label_columns_of<E, 1, false>(job, row, static_cast<int>(count), step, scratch, c);
    if (row.out && job.streaming) stream_end();
}
