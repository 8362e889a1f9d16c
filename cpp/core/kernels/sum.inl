// Sums of exponentials that keep their digits over millions of classes, in the two fixed orders.
// Knows nothing of where the terms come from.
//
// Both fold float32 terms, one or two at a time, into float64; float64 terms are added with their
// rounding errors kept. `BlockSum` serves contiguous rows: vectors of classes, a sum per lane.
// `GroupSum` serves every other class axis: classes one after another, which the column kernels do
// for many rows at once. The order never depends on the batch, on threads, on alignment or on where
// the result goes.

// Terms of a softmax that are added in their own type before the fold. Two roundings among them cost
// up to 2 ULP of the sum, three (groups of 8) took the worst result seen from 3.5 to 3.9 ULP. The
// logarithms, with logsumexp at 1.5 and 2 ULP, fold each term.
constexpr int group = 4;

template <class V>
inline V tree(const V (&e)[group]) {
    return (e[0] + e[1]) + (e[2] + e[3]);
}
template <class V>
inline V tree(const V (&e)[1]) {
    return e[0];
}

template <class T>
struct Pair {  // an unevaluated sum
    T high, low;
};

// Knuth's exact addition.
template <class V>
inline Pair<V> two_sum(V a, V b) {
    const V s = a + b, b1 = s - a;
    return {s, (a - (s - b1)) + (b - b1)};
}

// A sum's value: `low` is what `high` rounded away, where that matters.
struct Total {
    double high, low;
    double value() const { return high + low; }
};

// 1 / total as a sum of two numbers: one alone would cost up to 1 ULP of every quotient.
template <class T>
struct Inverse {
    T hi, lo;
};
inline Inverse<float> inverse(const Total& t, float) {
    const double q = 1 / t.high;
    const float hi = static_cast<float>(q);
    return {hi, static_cast<float>(q - static_cast<double>(hi))};
}
inline Inverse<double> inverse(const Total& t, double) {
    const double q = 1 / t.high;
    return {q, (__builtin_fma(-q, t.high, 1) - q * t.low) * q};
}
template <class T>
inline Vec<T> quotient(Vec<T> e, Vec<T> inverse_hi, Vec<T> inverse_lo) {
    return fused(e, inverse_hi, e * inverse_lo);
}

// One running sum of float64 terms, as a number or a vector of them.
template <class V>
struct Compensated {
    Pair<V> sum;
    void add(V term) {
        const Pair<V> next = two_sum(sum.high, term);
        sum = {next.high, sum.low + next.low};
    }
    void add(const Pair<V>& term) {
        add(term.high);
        sum.low = sum.low + term.low;
    }
};

template <class T>
struct BlockSum;

template <>
struct BlockSum<float> {
    Vec<double> low = Vec<double>::all(0), high = Vec<double>::all(0);
    void add(Vec<float> part) {
        low = low + widen_low(part);
        high = high + widen_high(part);
    }
    void add(const Pair<Vec<float>>& term) { add(term.high); }
    void add(const BlockSum& other) {
        low = low + other.low;
        high = high + other.high;
    }
    Total total() const {
        double lanes[Vec<double>::lanes], sum = 0;
        store(lanes, low + high);
        for (double lane : lanes) sum += lane;
        return {sum, 0};
    }
};

template <>
struct BlockSum<double> {
    Compensated<Vec<double>> lanes{{Vec<double>::all(0), Vec<double>::all(0)}};
    void add(Vec<double> part) { lanes.add(part); }
    void add(const Pair<Vec<double>>& term) { lanes.add(term); }
    void add(const BlockSum& other) {
        lanes.add(other.lanes.sum.high);
        lanes.add(other.lanes.sum.low);
    }
    Total total() const {
        double high[Vec<double>::lanes], low[Vec<double>::lanes];
        store(high, lanes.sum.high);
        store(low, lanes.sum.low);
        Compensated<double> sum{{0, 0}};
        for (double lane : high) sum.add(lane);
        for (double lane : low) sum.add(lane);
        return {sum.sum.high, sum.sum.low};
    }
};

template <class T>
struct GroupSum;

template <>
struct GroupSum<float> {
    double sum = 0;
    void add(float part) { sum += static_cast<double>(part); }
    void add(const Pair<float>& term) { add(term.high); }
    Total total() const { return {sum, 0}; }
};

template <>
struct GroupSum<double> {
    Compensated<double> sum{{0, 0}};
    void add(double part) { sum.add(part); }
    void add(const Pair<double>& term) { sum.add(term); }
    Total total() const { return {sum.sum.high, sum.sum.low}; }
};

// Adds n terms, a multiple of a group unless they end the row.
template <class T>
inline void add_terms(GroupSum<T>& sum, const T* e, int n) {
    for (int i = 0; i < n; i += group) {
        T g[group];
        for (int j = 0; j < group; ++j) g[j] = i + j < n ? e[i + j] : 0;
        sum.add(tree(g));
    }
}

// The same over the lanes of a vector: one sum per column.
template <class T>
struct ColumnSum;

template <>
struct ColumnSum<float> {
    Vec<double> low = Vec<double>::all(0), high = Vec<double>::all(0);
    void add(Vec<float> part) {
        low = low + widen_low(part);
        high = high + widen_high(part);
    }
    void add(const Pair<Vec<float>>& term) { add(term.high); }
    void totals(Total* out) const {
        double sums[Vec<float>::lanes];
        store(sums, low);
        store(sums + Vec<double>::lanes, high);
        for (int i = 0; i < Vec<float>::lanes; ++i) out[i] = {sums[i], 0};
    }
};

template <>
struct ColumnSum<double> {
    Compensated<Vec<double>> lanes{{Vec<double>::all(0), Vec<double>::all(0)}};
    void add(Vec<double> part) { lanes.add(part); }
    void add(const Pair<Vec<double>>& term) { lanes.add(term); }
    void totals(Total* out) const {
        double high[Vec<double>::lanes], low[Vec<double>::lanes];
        store(high, lanes.sum.high);
        store(low, lanes.sum.low);
        for (int i = 0; i < Vec<double>::lanes; ++i) out[i] = {high[i], low[i]};
    }
};
