// log(sum(exp((x - max) / T))) to all its digits, even where it is close to 0: what rows and
// columns share. A sum with the maximum in it would lose a confident winner: at scale 100 and ten
// classes half of all winners come out as exactly 0 elsewhere. So the maximum's own terms are
// counted, the others are summed, and the logarithm is that of 1 + (count - 1) + sum.

// 2^((x - max) * c + bias) for x < max, 0 for the maximum itself, as a sum of two numbers: with max
// * c = n + p, n rounded, the exponent is x * c - n less the same p for all, whose digits are those
// of a remainder. `low` is what the last rounding took from the term, so that logsumexp stays
// within 1.5 (2) ULP where one term decides. Takes 5 instructions more than a shift. The bias is
// large: without the maximum, a sum as small as the smallest normal number has to keep its digits,
// to which a million terms far below that add up.
template <class T>
struct Below {
    static constexpr T bias = Limits<T>::bias_of_rest;
    Reduction<T> by;
    Vec<T> max, floor, minus_max_c, n_less_bias, minus_p;

    FASTSOFTMAX_INLINE Below(Vec<T> of, const Scale<T>& c) : by(c), max(of) {
        const auto all = [](T a) { return Vec<T>::all(a); };
        const T lowest = (Limits<T>::lowest - bias) * c.c_inverse;
        floor = max + all(lowest);
        minus_max_c = all(0) - max * by.c_hi;
        const Vec<T> n = (all(magic<T>) - minus_max_c) - all(magic<T>);
        n_less_bias = n - all(bias);
        minus_p = all(0) - by.remainder(max, n);
    }

    FASTSOFTMAX_INLINE Pair<Vec<T>> exp2(Vec<T> x) const {
        x = at_least(x, floor);
        const Vec<T> z = mul_add(x, by.c_hi, minus_max_c) + Vec<T>::all(magic<T> + bias);
        const Vec<T> n = (z - Vec<T>::all(magic<T>)) + n_less_bias;
        const Vec<T> own = power(z, magic<T>, Exp2<T>::table);
        const Vec<T> r[] = {by.remainder_and(minus_p, x, n)};
        const Vec<T> t[] = {zero_where_equal(own, x, max)};
        Growth<T, 1> growth;
        by.grow(t, r, growth);
        const Vec<T> e = growth.added_to(t[0], 0);
        return {e, growth.added_to(t[0] - e, 0)};
    }
};

// How the terms of few classes are added. In pairs, `low` left out, a float32 sum errs by at most
// 2.3 units of 2^-24, its logarithm by rest / (1 + rest) of that: below 1 ULP where 1 or more is
// the largest of |logsumexp|, |max| and their difference, which 2 is from rest = 6.4 on. So pairs
// are enough for logsumexp there. One by one without `low` it errs by 1.3, which is enough for
// log_softmax; in pairs 3.1 ULP were seen.
enum class Digits { pairs, terms, all };
template <class T, Digits digits>
constexpr bool in_pairs = sizeof(T) == 4 && digits == Digits::pairs;
template <class T, Digits digits>
constexpr bool keeps_low = sizeof(T) == 8 || digits == Digits::all;

// Whether it pays for logsumexp to try that first: of fewer classes too many rows need more.
template <class T>
inline bool worth_trying(int64_t classes) {
    return sizeof(T) == 4 && classes >= 17;
}

// Whether that was not enough for logsumexp.
template <class T>
inline bool needs_all_digits(T max, T lse) {
    return magnitude(max) < 1 && magnitude(lse) < 1;
}

// What a vector of scores adds: terms of others than the maximum, and 1 where it is the maximum.
template <class T>
struct Split {
    Pair<Vec<T>> rest;
    Vec<T> tie;

    FASTSOFTMAX_INLINE Split(Vec<T> x, const Below<T>& below) {
        const Vec<T> one = Vec<T>::all(1);
        rest = below.exp2(x);
        tie = one - zero_where_equal(one, x, below.max);
    }
};

// log(ties + rest), `rest` being a sum of terms of `Below`: of as many rows as there are lanes.
inline Vec<double> log_of(Vec<double> ties, Vec<double> rest, float) {
    const double unit = 1 / (Exp2<float>::factor * __builtin_exp2(Below<float>::bias));
    return log_of_one_and(ties - Vec<double>::all(1), rest * Vec<double>::all(unit));
}
inline Pair<Vec<double>> log_of(Vec<double> ties, const Pair<Vec<double>>& rest, double) {
    constexpr double factor = Exp2<double>::factor;
    const auto all = [](double a) { return Vec<double>::all(a); };
    constexpr double unit = 1 / factor;
    const double unit_low =
        (__builtin_fma(-unit, factor, 1.0) - unit * Exp2<double>::factor_low) / factor;
    const Vec<double> high = rest.high * all(unit);
    const Vec<double> lost = mul_add(rest.high, all(unit), all(0) - high);
    const Vec<double> low = lost + mul_add(rest.high, all(unit_low), rest.low * all(unit));
    // One number before the bias goes: `low`, as much as a ULP for each 7 classes, is flushed to 0
    // where the sum is below 2^-970.
    const Pair<Vec<double>> one = two_sum(high, low);
    const Vec<double> bias = all(__builtin_exp2(-Below<double>::bias));
    const Pair<Vec<double>> sum = two_sum(ties, one.high * bias);
    return log(Pair<Vec<double>>{sum.high, sum.low + one.low * bias});
}

// ... and of a single one.
inline Pair<double> log_of(double ties, const Total& rest, float) {
    const auto all = [](double a) { return Vec<double>::all(a); };
    return {first_lane(log_of(all(ties), all(rest.high) + all(rest.low), 0.0f)), 0};
}
inline Pair<double> log_of(double ties, const Total& rest, double) {
    const auto all = [](double a) { return Vec<double>::all(a); };
    const Pair<Vec<double>> logs = log_of(all(ties), {all(rest.high), all(rest.low)}, 0.0);
    return {first_lane(logs.high), first_lane(logs.low)};
}

// The number nearest to a + b.high + b.low.
inline double rounded_sum(double a, const Pair<double>& b) {
    const Pair<double> sum = two_sum(a, b.high);
    return sum.high + (sum.low + b.low);
}

// (x - max) / T - log_sum. Half the difference, times 2 / T: the whole one may overflow where the
// result does not.
template <class T>
struct LogProbability {
    Vec<T> minus_half_max, t_hi, t_lo, minus_log_sum;

    LogProbability() = default;
    LogProbability(const Scale<T>& c, Vec<T> max, Vec<T> log_sum)
        : minus_half_max(max * Vec<T>::all(T(-0.5))),
          t_hi(Vec<T>::all(c.t_hi)),
          t_lo(Vec<T>::all(c.t_lo)),
          minus_log_sum(Vec<T>::all(0) - log_sum) {}

    FASTSOFTMAX_INLINE Vec<T> of(Vec<T> x) const {
        const Vec<T> half = mul_add(x, Vec<T>::all(T(0.5)), minus_half_max);
        return mul_add(half, t_hi, mul_add(half, t_lo, minus_log_sum));
    }
};
