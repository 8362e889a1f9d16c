// Many rows side by side, for a class axis that is not contiguous: lanes are rows ("columns" of the
// array in memory), classes follow one another. Same sums as GroupSum, so same bits as `strided`.

constexpr int stripe = 4;  // vectors at a time: 256 bytes with AVX-512, four lines of each class

template <class T>
inline Vec<T> load_lanes(const char* p, int n) {
    const T* const a = reinterpret_cast<const T*>(p);
    return n < Vec<T>::lanes ? load_part(a, n, T(0)) : load(a);
}
template <class T>
inline void store_lanes(char* p, Vec<T> v, int n) {
    T* const a = reinterpret_cast<T*>(p);
    if (n < Vec<T>::lanes)
        store_part(a, v, n);
    else
        store(a, v);
}

// One vector of columns: each has its own temperature, maximum and shift.
template <class T>
struct Columns {
    static constexpr int L = Vec<T>::lanes;
    int n = 0;  // columns in use
    T max[L], t_hi[L], t_lo[L];
    Shift<T> shift;
    Vec<T> offset;   // subtracted from x where its maximum is out of reach, else 0
    Below<T> below;  // for the logarithms: relative to the maximum of x - offset

    void prepare(Row row, const Axis& step, Vec<T> maxima, int columns) {
        n = columns;
        store(max, maxima);
        double temperature = number_at(row.temperature);
        Scale<T> c(temperature);
        T shift_of[L], floor[L], ceiling[L], finite[L], lowest[L], c_hi[L], c_lo[L], offsets[L];
        for (int i = 0; i < L; ++i) {
            const double own = number_at(row.temperature);
            if (own != temperature) c = Scale<T>(temperature = own);
            const bool ordinary = magnitude(max[i] * c.c_hi) <= Limits<T>::reach;
            offsets[i] = ordinary || !is_finite(max[i]) ? 0 : max[i];
            shift_of[i] = (ordinary ? nearest(max[i], c) : 0) - Limits<T>::bias;
            floor[i] = (shift_of[i] + Limits<T>::lowest) / c.c_hi;
            ceiling[i] = (shift_of[i] + Limits<T>::highest) / c.c_hi;
            c_hi[i] = c.c_hi, c_lo[i] = c.c_lo, t_hi[i] = c.t_hi, t_lo[i] = c.t_lo;
            finite[i] = is_finite(max[i]) ? max[i] - offsets[i] : 0;
            lowest[i] = finite[i] + Below<T>::lowest(c);
            if (i + 1 < n) advance(row, step, 1);
        }
        offset = load(offsets);
        shift.magic_less_shift = Vec<T>::all(magic<T>) - load(shift_of);
        shift.c_hi = load(c_hi);
        shift.c_lo = load(c_lo);
        shift.floor = load(floor);
        shift.ceiling = load(ceiling);
        below = {load(finite), load(lowest), shift.c_hi, shift.c_lo};
    }

    // +inf comes out finite: its row is settled by its maximum.
    Vec<T> exp2(Vec<T> x) const { return exp2_shifted(at_most(x - offset, shift.ceiling), shift); }

    // 1 / sum, or NaN for a row without probabilities.
    void inverses(const ColumnSum<T>& sum, Vec<T>& hi, Vec<T>& lo) const {
        Total totals[L];
        T his[L], los[L];
        sum.totals(totals);
        for (int i = 0; i < L; ++i) {
            const Inverse<T> one = is_finite(max[i]) ? inverse(totals[i], T()) : Inverse<T>{NAN, 0};
            his[i] = one.hi;
            los[i] = one.lo;
        }
        hi = load(his);
        lo = load(los);
    }

    void log_sums(const Split<ColumnSum<T>>& sums, LogSum<T> (&out)[L]) const {
        Total tops[L], others[L];
        sums.top.totals(tops);
        sums.rest.totals(others);
        for (int i = 0; i < L; ++i)
            out[i] = {max[i],
                      is_finite(max[i]) ? log_of<T>(tops[i], others[i]) : Pair<double>{NAN, 0}};
    }

    // Whether a row holds NaN: it alone makes the clamped terms' sum NaN.
    void find_nan(const ColumnSum<T>& sum, bool (&out)[L]) const {
        Total totals[L];
        sum.totals(totals);
        for (int i = 0; i < L; ++i) out[i] = totals[i].high != totals[i].high;
    }
};

// All classes of up to `stripe` vectors of columns, three passes over memory that L2 holds.
template <class T, Op op>
inline void column_stripe(const Job& job, Row row, int count, const Axis& step) {
    constexpr int L = Vec<T>::lanes;
    const Axis& axis = job.classes[0];
    const int64_t K = job.num_classes;
    const int used = (count + L - 1) / L;
    const auto lanes = [&](int u) { return count - u * L < L ? count - u * L : L; };
    const auto bytes = [](int u) { return static_cast<int64_t>(u * L * sizeof(T)); };
    const auto x = [&](int64_t k, int u) {
        return load_lanes<T>(row.x + k * axis.x + bytes(u), lanes(u));
    };
    const auto put = [&](int64_t k, int u, Vec<T> v) {
        store_lanes(row.out + k * axis.out + bytes(u), v, lanes(u));
    };

    Vec<T> top[stripe];
    for (auto& t : top) t = Vec<T>::all(-HUGE_VAL);
    for (int64_t k = 0; k < K; ++k)
        for (int u = 0; u < used; ++u) top[u] = larger(top[u], x(k, u));
    Columns<T> columns[stripe];
    Row first = row;
    for (int u = 0; u < used; ++u, advance(first, step, L))
        columns[u].prepare(first, step, top[u], lanes(u));

    Split<ColumnSum<T>> sums[stripe];
    constexpr int G = op == Op::softmax ? class_group : 1;
    for (int64_t k = 0; k < K; k += G)
        for (int u = 0; u < used; ++u) {
            const Columns<T>& c = columns[u];
            if constexpr (op == Op::softmax) {
                Vec<T> e[G];
                for (int j = 0; j < G; ++j) {
                    e[j] = k + j < K ? c.exp2(x(k + j, u)) : Vec<T>::all(0);
                    if (k + j < K) put(k + j, u, e[j]);
                }
                sums[u].rest.add(tree(e));
            } else {
                add_split(sums[u], x(k, u) - c.offset, c.below, c.below.max);
            }
        }

    for (int u = 0; u < used; ++u) {
        const Columns<T>& c = columns[u];
        if constexpr (op == Op::softmax) {
            Vec<T> hi, lo;
            c.inverses(sums[u].rest, hi, lo);
            for (int64_t k = 0; k < K; ++k) {
                const Vec<T> e = load_lanes<T>(row.out + k * axis.out + bytes(u), c.n);
                put(k, u, quotient(e, hi, lo));
            }
            continue;
        }
        LogSum<T> found[L];
        c.log_sums(sums[u], found);
        if constexpr (op == Op::logsumexp) {
            bool has_nan[L];
            c.find_nan(sums[u].rest, has_nan);
            Row at = row;
            advance(at, step, u * L);
            for (int i = 0; i < c.n; ++i, advance(at, step, 1))
                put_logsumexp(job, at, found[i], has_nan[i]);
        } else if constexpr (op == Op::log_softmax) {
            T half_max[L], log_sum[L];
            for (int i = 0; i < L; ++i) {
                half_max[i] = -c.max[i] / 2;
                log_sum[i] = static_cast<T>(-found[i].value());
            }
            const LogProbability<T> result{load(half_max), load(c.t_hi), load(c.t_lo),
                                           load(log_sum)};
            for (int64_t k = 0; k < K; ++k) put(k, u, result.of(x(k, u)));
        }
    }
}

template <class T, Op op>
void columns(const Job& job, Row row, int64_t count, const Axis& step, void*) {
    const FloatMode mode;
    constexpr int width = stripe * Vec<T>::lanes;
    for (; count > 0; count -= width, advance(row, step, width))
        column_stripe<T, op>(job, row, static_cast<int>(count < width ? count : width), step);
}
