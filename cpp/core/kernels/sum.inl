// Sums of exponentials that keep their digits over millions of classes, in the two fixed orders.
// Knows nothing of where the terms come from.
//
// Both fold float32 terms, one, two or four at a time, into float64; float64 terms are added with
// their rounding errors kept. `BlockSum` serves contiguous rows: vectors of classes, a sum per
// lane. `GroupSum` serves every other class axis: classes one after another, which the column
// kernels do for many rows at once. The order never depends on the batch, on threads, on alignment
// or on where the result goes.

// Terms of a softmax that are added in their own type before the fold, of either order. Each level
// of such a tree costs up to 1 ULP of the sum; the largest error of a float32 softmax that a search
// for bad rows has found, in ULP: pairs 3.8, groups of four 4.87 (random rows: 3.1, 4.25).
constexpr int group_size = 2;
template <class V>
FASTSOFTMAX_INLINE V tree(const V (&e)[4]) {
    return (e[0] + e[1]) + (e[2] + e[3]);
}
template <class V>
FASTSOFTMAX_INLINE V tree(const V (&e)[2]) {
    return e[0] + e[1];
}
template <class V>
FASTSOFTMAX_INLINE V tree(const V (&e)[1]) {
    return e[0];
}

template <class T>
struct Pair {  // an unevaluated sum
    T high, low;
};

// Knuth's exact addition.
template <class V>
FASTSOFTMAX_INLINE Pair<V> two_sum(V a, V b) {
    const V s = a + b, b1 = s - a;
    return {s, (a - (s - b1)) + (b - b1)};
}

// A sum's value: `low` is what `high` rounded away, where that matters.
struct Total {
    double high, low;
    double value() const { return high + low; }
    // Of terms that may be infinite, which make NaN of what is rounded away.
    double value_or_infinity() const { return low == low ? high + low : high; }
};

template <class T>
inline T first_lane(Vec<T> v) {
    T lanes[Vec<T>::lanes];
    store(lanes, v);
    return lanes[0];
}

// 1 / total as a sum of two numbers: one alone would cost up to 1 ULP of every quotient.
template <class T>
struct Inverse {
    T hi, lo;
};
// Of float64 sums by lane. One division of float32 instead of two of float64, which take three
// times as long; the sum's rest and the quotient's go into `lo`.
FASTSOFTMAX_INLINE Inverse<Vec<float>> inverse(Vec<double> low, Vec<double> high) {
    const Vec<float> one = Vec<float>::all(1), zero = Vec<float>::all(0);
    const Vec<float> sum = narrow(low, high);
    const Vec<float> rest = narrow(low - widen_low(sum), high - widen_high(sum));
    const Vec<float> hi = one / sum, minus_hi = zero - hi;
    return {hi, fused(minus_hi, sum, one) * hi + rest * minus_hi * hi};
}
// The same for one sum, to the bit, in half the time: a row's quotients wait for it. The product is
// exact in float64.
inline Inverse<float> inverse(const Total& t, float) {
    const auto wide = [](float a) { return static_cast<double>(a); };
    const float sum = static_cast<float>(t.high), rest = static_cast<float>(t.high - wide(sum));
    const float hi = 1 / sum, left = static_cast<float>(1 - wide(hi) * wide(sum));
    return {hi, left * hi + rest * -hi * hi};
}
inline Inverse<double> inverse(const Total& total, double) {
    // `low` of many terms is as much as 50 ULP, and quotients near 0 do without `lo`, flushed.
    const Pair<double> t = two_sum(total.high, total.low);
    const double q = 1 / t.high;
    return {q, (__builtin_fma(-q, t.high, 1) - q * t.low) * q};
}
template <class V>
FASTSOFTMAX_INLINE V quotient(V e, const Inverse<V>& by) {
    return times(e, by.hi, by.lo);
}
template <class T>
inline Inverse<Vec<T>> in_all_lanes(const Inverse<T>& by) {
    return {Vec<T>::all(by.hi), Vec<T>::all(by.lo)};
}

// One running sum of float64 terms, as a number or a vector of them.
template <class V>
struct Compensated {
    Pair<V> sum;
    FASTSOFTMAX_INLINE void add(V term) {
        const Pair<V> next = two_sum(sum.high, term);
        sum = {next.high, sum.low + next.low};
    }
};

template <class T>
struct BlockSum;

template <>
struct BlockSum<float> {
    Vec<double> low = Vec<double>::all(0), high = Vec<double>::all(0);
    Vec<float> lost = Vec<float>::all(0);  // low parts of terms: far too small to be lost in turn
    FASTSOFTMAX_INLINE void add(Vec<float> part) {
        low = low + widen_low(part);
        high = high + widen_high(part);
    }
    void lose(Vec<float> part) { lost = lost + part; }
    void add(const BlockSum& other) {
        low = low + other.low;
        high = high + other.high;
        lost = lost + other.lost;
    }
    FASTSOFTMAX_INLINE Total total() const {
        const Vec<double> all = (low + widen_low(lost)) + (high + widen_high(lost));
        return {sum_of_lanes(all), 0};
    }
    double value_or_infinity() const { return total().value(); }
};

template <>
struct BlockSum<double> {
    Compensated<Vec<double>> lanes{{Vec<double>::all(0), Vec<double>::all(0)}};
    FASTSOFTMAX_INLINE void add(Vec<double> part) { lanes.add(part); }
    void lose(Vec<double> part) { lanes.sum.low = lanes.sum.low + part; }
    void add(const BlockSum& other) {
        add(other.lanes.sum.high);
        lose(other.lanes.sum.low);
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
    // Of terms that may be infinite, which make NaN of what is rounded away.
    double value_or_infinity() const {
        const double value = total().value();
        return value == value ? value : sum_of_lanes(lanes.sum.high);
    }
};

template <class T>
struct GroupSum;

template <>
struct GroupSum<float> {
    double sum = 0;
    float lost = 0;
    void add(float part) { sum += static_cast<double>(part); }
    void lose(float part) { lost += part; }
    Total total() const { return {sum, static_cast<double>(lost)}; }
};

template <>
struct GroupSum<double> {
    Compensated<double> sum{{0, 0}};
    void add(double part) { sum.add(part); }
    void lose(double part) { sum.sum.low += part; }
    Total total() const { return {sum.sum.high, sum.sum.low}; }
};

// Adds n terms, a multiple of G unless they end the row.
template <int G, class T>
inline void add_terms(GroupSum<T>& sum, const T* e, int n) {
    for (int i = 0; i < n; i += G) {
        T g[G];
        for (int j = 0; j < G; ++j) g[j] = i + j < n ? e[i + j] : 0;
        sum.add(tree(g));
    }
}

// The same over the lanes of a vector: one sum per column.
template <class T>
struct ColumnSum;

template <>
struct ColumnSum<float> {
    Vec<double> low, high;
    Vec<float> lost;
    void clear() {
        low = high = Vec<double>::all(0);
        lost = Vec<float>::all(0);
    }
    FASTSOFTMAX_INLINE void add(Vec<float> part) {
        low = low + widen_low(part);
        high = high + widen_high(part);
    }
    void lose(Vec<float> part) { lost = lost + part; }
    bool within(double least, double most) const {
        const Vec<double> a = Vec<double>::all(least), b = Vec<double>::all(most);
        return all_at_most(a, low) && all_at_most(a, high) && all_at_most(low, b) &&
               all_at_most(high, b);
    }
    FASTSOFTMAX_INLINE Inverse<Vec<float>> inverses() const { return inverse(low, high); }
    void values(double* to) const {
        store(to, low);
        store(to + Vec<double>::lanes, high);
    }
    // Adds to sums in memory.
    FASTSOFTMAX_INLINE static void accumulate(double* to, double*, Vec<float> part) {
        constexpr int half = Vec<double>::lanes;
        store(to, load(to) + widen_low(part));
        store(to + half, load(to + half) + widen_high(part));
    }
};

template <>
struct ColumnSum<double> {
    Compensated<Vec<double>> lanes;
    void clear() { lanes.sum.low = lanes.sum.high = Vec<double>::all(0); }
    FASTSOFTMAX_INLINE void add(Vec<double> part) { lanes.add(part); }
    void lose(Vec<double> part) { lanes.sum.low = lanes.sum.low + part; }
    bool within(double least, double most) const {
        return all_at_most(Vec<double>::all(least), lanes.sum.high) &&
               all_at_most(lanes.sum.high, Vec<double>::all(most));
    }
    void values(double* to) const { store(to, lanes.sum.high + lanes.sum.low); }
    FASTSOFTMAX_INLINE static void accumulate(double* to, double* lost, Vec<double> part) {
        const Pair<Vec<double>> sum = two_sum(load(to), part);
        store(to, sum.high);
        store(lost, load(lost) + sum.low);
    }
    void totals(Total (&out)[Vec<double>::lanes]) const {
        double high[Vec<double>::lanes], low[Vec<double>::lanes];
        store(high, lanes.sum.high);
        store(low, lanes.sum.low);
        for (int i = 0; i < Vec<double>::lanes; ++i) out[i] = {high[i], low[i]};
    }
    Inverse<Vec<double>> inverses() const {
        Total sums[Vec<double>::lanes];
        totals(sums);
        double hi[Vec<double>::lanes], lo[Vec<double>::lanes];
        for (int i = 0; i < Vec<double>::lanes; ++i) {
            const Inverse<double> one = inverse(sums[i], 0.0);
            hi[i] = one.hi;
            lo[i] = one.lo;
        }
        return {load(hi), load(lo)};
    }
};
