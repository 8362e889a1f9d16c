// log_softmax and logsumexp of contiguous float32 rows, which need one reading for their sum:
// float64 has digits to spare for the arithmetic of a row. The logarithms of as many rows as
// float64 has lanes are taken together. Rows that this does not serve to all digits go to logs.inl.

constexpr int rows_of_logs = Vec<double>::lanes;
constexpr double log_2 = 0x1.62e42fefa39efp-1;

// Of a number of the size that a sum in range allows.
inline double power_of_two(double n) {
    const uint64_t bits = static_cast<uint64_t>(static_cast<int64_t>(n) + 1023) << 52;
    double power;
    memcpy(&power, &bits, sizeof power);
    return power;
}

// What is subtracted from x * c in the exponents of a row's terms.
template <class T>
inline double shift_of(const Shift<T>& s) {
    return static_cast<double>(magic<T> - first_lane(s.magic_less_shift));
}

// logsumexp ---------------------------------------------------------------------------------------

// Terms that are added in float32, whose roundings a logarithm of 2 or more takes to a half: pairs
// take 1.1 times as long.
constexpr int terms_together = 4;

// Whether the error of the sum, which is absolute in its logarithm, stays small beside the unit of
// the result: where that, the maximum or what is added to it is 2 or more. Largest error seen: 1.11
// ULP, few classes dominating.
template <class In>
inline bool tells_apart(Source<float, In>& x, double lse) {
    if (magnitude(lse) >= 2) return true;
    const double top = static_cast<double>(row_max(x));
    return magnitude(top) >= 2 || lse - top >= 2;
}

template <class In>
inline void logsumexp_rows_of(const Job& job, Row row, int64_t count, const Axis& step) {
    Temperature<float> temperature(row);
    for (int64_t done = 0; done < count; done += rows_of_logs) {
        Row rows[rows_of_logs];
        double sums[rows_of_logs] = {}, lse[rows_of_logs] = {};
        const int64_t n = count - done < rows_of_logs ? count - done : rows_of_logs;
        for (int64_t i = 0; i < n; ++i, advance(row, step, 1)) {
            rows[i] = row;
            Source<float, In> x(job, row);
            Shift<float> s;
            Total sum;
            const bool defined =
                sum_under_shift(x, temperature.at(row), true, s, sum, [&]() FASTSOFTMAX_LAMBDA {
                    return sweep_row<terms_together>(x, static_cast<float*>(nullptr), s,
                                                     BlockSum<float>{}, NothingPending{});
                });
            sums[i] = defined ? sum.high * (1 / Exp2<float>::factor) : NAN;
            lse[i] = defined ? static_cast<double>(x.offset) + shift_of(s) * log_2 : NAN;
        }
        store(lse, load(lse) + log(load(sums)));
        for (int64_t i = 0; i < n; ++i) {
            Source<float, In> x(job, rows[i]);
            if (lse[i] == lse[i] && tells_apart(x, lse[i]))
                put_logsumexp<float>(job, rows[i], lse[i]);
            else
                logsumexp_row<float, BlockSum<float>>(job, rows[i], temperature.at(rows[i]));
        }
    }
}

inline void logsumexp_rows(const Job& job, const Row& row, int64_t count, const Axis& step) {
    with_reader<float>(job, row,
                       [&](auto in) { logsumexp_rows_of<decltype(in)>(job, row, count, step); });
}

// log_softmax -------------------------------------------------------------------------------------

constexpr int pair = 2;  // vectors of terms added in float32; see `without_max`

// What a row is read from holds elements of this type.
template <class In>
struct ElementOf;
template <template <class> class In, class E>
struct ElementOf<In<E>> {
    using Type = E;
};

// Along a sweep: the maximum, and the log-probabilities of another row.
template <class In, class Y>
struct LogProbabilities {
    In x;
    Y* y;
    LogProbability<float> result;
    FASTSOFTMAX_INLINE void vector(int i) const { store(y + i, result.of(x.get(i))); }
    void part(int i, int n) const { store_part(y + i, result.of(x.part(i, n)), n); }
};
template <class A, class B>
struct Both {
    A one;
    B other;
    FASTSOFTMAX_INLINE void vector(int i) {
        one.vector(i);
        other.vector(i);
    }
    void part(int i, int n) {
        one.part(i, n);
        other.part(i, n);
    }
};

struct NothingKnown {
    template <class In>
    Alone from(int64_t, In) const {
        return {};
    }
};

// A row whose log-probabilities are known but not yet written: the sweep over the next one can
// take it along, if it reads x in the type of the result.
struct Known {
    bool waits = false;
    Row row;
    Scale<float> c;
    float max, log_sum;

    LogProbability<float> result() const {
        return {c, Vec<float>::all(max), Vec<float>::all(log_sum)};
    }
    template <class In>
    auto from(int64_t k, In) const {
        using Y = typename ElementOf<In>::Type;
        Y* const y = reinterpret_cast<Y*>(row.out) + k;
        return LogProbabilities<In, Y>{In::of(row, k), y, result()};
    }
    void finish(const Job& job) {
        if (waits) put_log_probabilities(job, row, result());
        waits = false;
    }
};

// The sum of a row, and its maximum.
template <class In, class Beside>
FASTSOFTMAX_INLINE Total sweep_for_max(Source<float, In>& x, const Shift<float>& s, float& max,
                                       const Beside& beside) {
    Vec<float> top = Vec<float>::all(-HUGE_VALF);
    Folded<float> folded;
    for (int64_t k0 = 0, K = x.job.num_classes; k0 < K; k0 += piece) {
        BlockSum<float> sum;
        x.visit(k0, K - k0 < piece ? K - k0 : piece,
                [&](int64_t k, int n, auto in) FASTSOFTMAX_LAMBDA {
                    using Top = Maximum<float, decltype(in)>;
                    Both<Top, decltype(beside.from(k, in))> along{{in, top}, beside.from(k, in)};
                    sweep<false, pair>(in, static_cast<float*>(nullptr), n, s, sum, along);
                    top = along.one.top;
                });
        folded.add(sum.total());
    }
    max = largest_lane(top);
    return folded.total();
}

// The first class that has the maximum.
template <class In>
inline int64_t class_of(Source<float, In>& x, float max) {
    constexpr int L = Vec<float>::lanes;
    const Vec<float> top = Vec<float>::all(max);
    const int64_t K = x.job.num_classes;
    int64_t found = K;
    for (int64_t k0 = 0; k0 < K && found == K; k0 += block) {
        x.visit(k0, K - k0 < block ? K - k0 : block, [&](int64_t, int n, auto in) {
            for (int i = 0; i < n; i += L) {
                const int lane = first_equal(n - i < L ? in.part(i, n - i) : in.get(i), top);
                if (lane < L) {
                    found = k0 + i + lane;
                    return;
                }
            }
        });
    }
    return found;
}

template <class T, class In>
inline double term_of(Source<T, In>& x, int64_t k, const Shift<T>& s) {
    T term = 0;
    x.visit(k, 1,
            [&](int64_t, int, auto in) { term = first_lane(exp2_shifted(in.part(0, 1), s)); });
    return static_cast<double>(term);
}

// The class whose term is added to that of class k in float32, in sweeps by pairs.
constexpr int64_t partner_of(int64_t k) { return k ^ Vec<float>::lanes; }

// A sum but for one of its terms: float64 keeps the others beside it, but for the one that was
// added to it in float32.
inline double sum_without(double sum, double term, double partner) {
    const double both = static_cast<double>(static_cast<float>(term) + static_cast<float>(partner));
    return (sum - both) + partner;
}

// The terms of a row but for that of its maximum.
template <class In>
inline double without_max(Source<float, In>& x, const Shift<float>& s, double sum, float max) {
    const int64_t k = class_of(x, max), partner = partner_of(k);
    return sum_without(sum, term_of(x, k, s),
                       partner < x.job.num_classes ? term_of(x, partner, s) : 0);
}

// Below this share of the maximum's term the others' sum has lost digits that a result near 0
// shows: 1024 float64 additions to one lane err by 2^-48 or so.
constexpr double least_rest = 0x1p-22;

// 2^x, for |x| <= 1.
inline Vec<double> power_of_two(Vec<double> x) {
    const auto all = [](double a) { return Vec<double>::all(a); };
    const Shift<double> none(Scale<double>(1), all(Limits<double>::bias));
    return exp2_shifted(x * all(log_2), none) * all(1 / Exp2<double>::factor);
}

// log(sum(exp((x - max) / T))) of several rows, each as log(own + rest 2^power).
struct LogSums {
    float max[rows_of_logs];
    double own[rows_of_logs] = {};   // 1 where the maximum's term is left out of `rest`
    double rest[rows_of_logs] = {};  // NaN if this does not serve
    double power[rows_of_logs] = {};

    // `known` is written on the way.
    template <class In>
    FASTSOFTMAX_INLINE void find(int64_t i, Source<float, In>& x, const Scale<float>& c,
                                 Known& known) {
        Shift<float> s;
        float top = 0;
        Total sum;
        const bool defined = sum_under_shift(x, c, true, s, sum, [&]() FASTSOFTMAX_LAMBDA {
            if (!known.waits || x.shifted) return sweep_for_max(x, s, top, NothingKnown{});
            known.waits = false;
            return sweep_for_max(x, s, top, known);
        });
        known.finish(x.job);
        max[i] = x.shifted ? x.offset : top;
        rest[i] = NAN;
        if (!defined) return;
        const Vec<float> tops = Vec<float>::all(top);
        const double term = static_cast<double>(first_lane(exp2_shifted(tops, s)));
        const bool dominates = sum.value() < 3 * term;
        const double terms = dominates ? without_max(x, s, sum.value(), top) : sum.value();
        if (terms < least_rest * term) return;
        // `terms` are in units of 2^(shift - n - r) of the maximum's, which is 2^(n + r).
        const double n = static_cast<double>(first_lane(nearest(tops, c)));
        const double r =
            static_cast<double>(top) * (static_cast<double>(c.c_hi) + static_cast<double>(c.c_lo)) -
            n;
        own[i] = dominates ? 1 : 0;
        rest[i] = terms * power_of_two(shift_of(s) - n) * (1 / Exp2<float>::factor);
        power[i] = -r;
    }

    // Into `rest`.
    void take_logs() {
        const Vec<double> sums = load(rest) * power_of_two(load(power));
        store(rest, log_of_one_and(load(own) - Vec<double>::all(1), sums));
    }
};

// Whether a row is better written during the sweep over the next one than right away: shorter rows
// do not make up for one logarithm at a time, longer ones leave the cache near by, past the caches
// bursts of reads and writes are no worse, and 16 registers do not hold the constants of both.
inline bool worth_keeping(const Job& job) {
    const bool alike = job.plain_x && job.contiguous_out && job.in == job.out;
    return sizeof(Vec<float>) == 64 && alike && !job.streaming && job.num_classes >= 640 &&
           job.num_classes <= deferrable;
}

template <class In>
inline void log_softmax_rows_of(const Job& job, Row row, int64_t count, const Axis& step) {
    const bool keep = worth_keeping(job);
    // Of rows that stay in the cache near by until they are read again.
    const int64_t together = !keep && job.num_classes <= 4096 ? rows_of_logs : 1;
    Temperature<float> temperature(row);
    Known known;
    for (int64_t done = 0; done < count; done += together) {
        Row rows[rows_of_logs];
        LogSums found;
        const int64_t n = count - done < together ? count - done : together;
        for (int64_t i = 0; i < n; ++i, advance(row, step, 1)) {
            rows[i] = row;
            Source<float, In> x(job, row);
            found.find(i, x, temperature.at(row), known);
        }
        found.take_logs();
        for (int64_t i = 0; i < n; ++i) {
            const Scale<float>& c = temperature.at(rows[i]);
            if (!(found.rest[i] >= 0)) {
                log_softmax_row<float, BlockSum<float>>(job, rows[i], c);
                continue;
            }
            known = {true, rows[i], c, found.max[i], static_cast<float>(found.rest[i])};
            if (!keep) known.finish(job);
        }
    }
    known.finish(job);
}

inline void log_softmax_rows(const Job& job, const Row& row, int64_t count, const Axis& step) {
    with_reader<float>(job, row,
                       [&](auto in) { log_softmax_rows_of<decltype(in)>(job, row, count, step); });
}
